"""A board that is a child process with its byte stream on standard input and output."""

from __future__ import annotations

import atexit
import os
import select
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .stream import BoardError

CLOSE_SECONDS = 2.0  # how long a process may take to end by itself
READ_BYTES = 1 << 16
QEMU_NOTICE = "icount sleep"  # said at every start with -icount sleep=off; never why a machine ended
EXIT_FAULT = 70  # the ports' exit status after a fault of the core


class ProcessStream:
    """ByteStream of a child process, which ends with the stream or with this program, whichever comes first."""

    def __init__(self, command: Sequence[str | Path], name: str) -> None:
        self._name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  # lives as long as the process
        try:
            # A session of its own: Ctrl-C on the terminal must reach this program alone, which then closes the board.
            self._process = subprocess.Popen(
                [str(part) for part in command],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            self._errors.close()
            raise BoardError(f"{name} cannot be started: {error}") from None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._in, self._out = self._process.stdin, self._process.stdout
        atexit.register(self.close)

    @property
    def name(self) -> str:
        return self._name

    def read(self, timeout: float) -> bytes:
        ready, _, _ = select.select([self._out], [], [], timeout)
        if not ready:
            return b""
        data = os.read(self._out.fileno(), READ_BYTES)
        if not data:
            raise self._gone()
        return data

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._in.fileno(), view) :]
        except BrokenPipeError:
            raise self._gone() from None

    def close(self) -> None:
        if self._in.closed:
            return
        atexit.unregister(self.close)
        self._in.close()
        self._process.terminate()
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._out.close()
        self._errors.close()

    @property
    def pid(self) -> int:
        """Of the child process."""
        return self._process.pid

    def kill(self) -> None:
        """End the process as a power cut ends a board: at once, whatever it does."""
        self._process.kill()

    def exit_status(self, timeout: float) -> int:
        """Wait for the process to end by itself; raises BoardError when it does not within `timeout` seconds."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise BoardError(f"{self._name} still runs after {timeout:g} s") from None

    def _gone(self) -> BoardError:
        status = self.exit_status(CLOSE_SECONDS)
        self._errors.seek(0)
        lines = self._errors.read().decode(errors="replace").splitlines()
        said = "\n".join(line for line in lines if QEMU_NOTICE not in line).strip()
        if status == EXIT_FAULT:
            why = "its core hit a fault, as a stack overflow causes one"
        elif status < 0:
            why = f"signal {signal.Signals(-status).name}"
        else:
            why = f"exit status {status}"
        heard = f": {said[-500:]}" if said else ""
        return BoardError(
            f"{self._name} ended ({why}){heard}; what it has not committed is lost: go on with "
            "sparcl run --resume RUN, or start the run again"
        )
