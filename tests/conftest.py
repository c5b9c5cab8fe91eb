"""Settings for every test."""

from __future__ import annotations

from hypothesis import settings

# The first example of a C test compiles the runtime, and these machines are noisy: a deadline would only flake.
# Derandomised, so that a red run can be repeated.
settings.register_profile("sparcl", deadline=None, derandomize=True)
settings.load_profile("sparcl")
