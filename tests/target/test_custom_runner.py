"""How `pio test` builds and runs the on-target tests: no package, and the same byte streams the host uses."""

import sys
import time
from pathlib import Path

import click
from platformio.test.exception import UnitTestSuiteError
from platformio.test.runners.unity import UnityTestRunner

from sparcl_mcu.boards import catalogue, open_board

SECONDS = 60.0


class CustomTestRunner(UnityTestRunner):
    EXTRA_LIB_DEPS = None

    def configure_build_env(self, env):
        # Here, because PlatformIO loads this file for every build, also of what needs no vectors.
        sys.path.insert(0, str(Path(__file__).parent))
        import vectors

        folder = Path(env.subst("$BUILD_DIR")) / "vectors"
        vectors.write(folder / "vectors.h")
        env.Append(CPPPATH=[str(folder)])
        return env

    def stage_testing(self):
        facts = catalogue.find(self.test_suite.env_name)
        if self.options.without_testing:
            return None
        if facts.reached == "serial":
            return super().stage_testing()
        click.secho("Testing...", bold=True)
        name = "program" if facts.reached == "native" else "program.elf"
        board = open_board(facts, Path(self.project_config.get("platformio", "build_dir")) / facts.name / name)
        deadline = time.monotonic() + SECONDS
        try:
            while not self.test_suite.is_finished():
                if time.monotonic() > deadline:
                    raise UnitTestSuiteError(f"{board.name} did not finish within {SECONDS:g} s")
                self.on_testing_data_output(board.read(1.0))
        finally:
            board.close()
        return None
