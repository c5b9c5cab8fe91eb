"""Build the firmware for an emulated board; `-t upload` starts that board in the background."""

import os
import subprocess
import sys
from pathlib import Path

from SCons.Script import AlwaysBuild, Default, DefaultEnvironment

env = DefaultEnvironment()


def fact(name):
    """A fact of this board from firmware/boards/*.ini."""
    return env.GetProjectOption(f"custom_sparcl_{name}")


def tool(name):
    return f"{fact('toolchain')}-{name}"


env.Replace(
    AR=tool("gcc-ar"),
    AS=tool("gcc"),
    CC=tool("gcc"),
    CXX=tool("g++"),
    LINK=tool("gcc"),
    RANLIB=tool("gcc-ranlib"),
    PROGSUFFIX=".elf",
)


def libc_specs():
    """Debian's RISC-V compiler comes with picolibc, every other one here with newlib."""
    found = subprocess.run([tool("gcc"), "-print-file-name=picolibc.specs"], capture_output=True, text=True, check=True)
    return "picolibc.specs" if Path(found.stdout.strip()).is_absolute() else "nano.specs"


script = Path(env.PioPlatform().get_dir()) / "emulated.ld"
part = "machine_" if os.environ.get("SPARCL_WHOLE_MEMORY") == "1" else ""
symbols = {
    "SCL_FLASH_ORIGIN": fact("flash_origin"),
    "SCL_FLASH_BYTES": fact(f"{part}flash_bytes"),
    "SCL_RAM_ORIGIN": fact("ram_origin"),
    "SCL_RAM_BYTES": fact(f"{part}ram_bytes"),
    "SCL_STACK_BYTES": fact("stack_bytes"),
}
cpu = [*fact("cpu_flags").split(), f"--specs={libc_specs()}"]
if os.environ.get("SPARCL_FLOATING") == "1":
    cpu += env.GetProjectOption("custom_sparcl_fpu_flags", "").split()
env.Append(
    ASFLAGS=cpu,
    CCFLAGS=cpu,
    CPPDEFINES=env.GetProjectOption("custom_sparcl_port_defines", "").split(),
    LINKFLAGS=[
        *cpu,
        "-nostartfiles",
        "-Wl,--gc-sections",
        "-Wl,--fatal-warnings",
        *(f"-Wl,--defsym={name}={value}" for name, value in symbols.items()),
        f"-Wl,-Map={env.subst('$BUILD_DIR')}/program.map",
        "-T",
        str(script),
    ],
)

program = env.BuildProgram()
env.Depends(program, str(script))
AlwaysBuild(env.Alias("buildprog", program, program))
Default(program)


def upload(source, target, env):
    """Start the board in the background, its UART on a TCP port: a free one, or that of --upload-port."""
    from sparcl_mcu.boards import BoardError, catalogue, qemu

    name = env.subst("$PIOENV")
    port = env.subst("$UPLOAD_PORT").rpartition(":")[2]
    try:
        if not port.isdigit() and port:
            raise BoardError(f"{port!r} is no TCP port; name one like this: --upload-port 5555")
        board = qemu.start_detached(catalogue.find(name), Path(str(source[0])), port=int(port or 0))
    except BoardError as error:
        sys.stderr.write(f"Error: {error}\n")
        return 1
    print(f"{name} runs; connect to {board.url}")
    print(f"stop it with: kill {board.pid}")
    return 0


env.AddPlatformTarget("upload", program, [env.VerboseAction(upload, "Starting the board")], "Start the board")
