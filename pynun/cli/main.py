"""Entry of the nun-db command."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # typing takes time to import, and signals are handled before that
if TYPE_CHECKING:
    from typing import NoReturn

    from pynun.cli.errors import CommandError

INTERRUPTED_EXIT_CODE = 130
"""The exit code in shells of a program ended by Ctrl-C (128 + SIGINT)."""


def main() -> NoReturn:
    """Run the command in the process's arguments, and exit with its code."""
    code: int | str | None
    try:
        # Importing takes most of the time of a short command; a Ctrl-C then must not show a traceback either.
        from pynun import stop_signals

        stop_signals.prepare(sys.argv[1:])
        from pynun.cli.output import standard_streams

        standard_streams.prepare()
        code = _run()
        try:
            standard_streams.finish()
        except standard_streams.OutputError as error:
            # A command that failed has told why, and with its own code.
            code = code or _told(error)
        except BrokenPipeError:
            pass
    except KeyboardInterrupt:
        code = INTERRUPTED_EXIT_CODE
    except SystemExit as stopped:  # while a server was starting
        code = stopped.code
    sys.exit(code)


def _run() -> int:
    """Run the command and return its exit code."""
    from pynun import stop_signals
    from pynun.cli.app import app
    from pynun.cli.output.standard_streams import OutputError

    try:
        app(prog_name="nun-db")
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except OutputError as error:  # of --help
        return _told(error)
    except BrokenPipeError:
        return 0  # the reader has enough
    except Exception:
        if stop_signals.is_ending_start():
            return 0
        raise
    raise AssertionError("the app always exits")


def _told(error: CommandError) -> int:
    import contextlib

    with contextlib.suppress(OSError):
        print(f"nun-db: {error}", file=sys.stderr, flush=True)
    return error.exit_code
