"""The console script `sparcl`; its imports wait until Ctrl-C is taken care of."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; Ctrl-C while it still starts ends it as later on: one line, exit code 130."""
    try:
        from .app import app

        app()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
