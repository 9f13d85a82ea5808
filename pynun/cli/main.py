"""Entry of the nun-db command."""

from __future__ import annotations

import sys
from typing import NoReturn

INTERRUPTED_EXIT_CODE = 130
"""What shells give for a program ended by Ctrl-C (128 + SIGINT)."""


def main() -> NoReturn:
    """Run the command that the arguments of the process name, and exit with its code."""
    try:
        # Importing takes most of the time of a short command; a Ctrl-C then must not show a traceback either.
        from pynun.cli.app import app

        app(prog_name="nun-db")
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED_EXIT_CODE)
    raise AssertionError("the app always exits")
