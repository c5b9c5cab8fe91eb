"""Settings for every test."""

from __future__ import annotations

import os
from pathlib import Path

from hypothesis import settings

# Data sets that may lie beside the checkout; tests that need one skip without it.
BESIDE = Path(__file__).resolve().parents[2] / "shared" / "data"
if BESIDE.is_dir():
    os.environ.setdefault("SPARCL_DATA_DIR", str(BESIDE))

# The first example of a C test compiles the runtime, and these machines are noisy: a deadline would only flake.
# Derandomised, so that a red run can be repeated.
settings.register_profile("sparcl", deadline=None, derandomize=True)
settings.load_profile("sparcl")
