"""Programs a test needs and a computer may lack: skipped here, failed in CI."""

from __future__ import annotations

import os
import shutil

import pytest


def need(*programs: str) -> None:
    """Skip the test when a program is not on PATH; fail it instead when CI is set."""
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        message = f"not installed: {', '.join(missing)} (sparcl doctor says how to get them)"
        if "CI" in os.environ:
            pytest.fail(message)
        pytest.skip(message)
