"""What is printed of a failure: a screenful, whatever a server's log or a compared text holds."""

from __future__ import annotations

from typing import TYPE_CHECKING

from _pytest._code.code import ExceptionChainRepr

if TYPE_CHECKING:
    import pytest

_FIRST_LINES = 10
_LAST_LINES = 30
_MESSAGE_LINES = 3
_CAPTURED_LINES = 20
_CHARACTERS = 400


def shortened(text: str, first: int, last: int) -> str:
    """Return the first and the last lines of a text, each cut to what can be read."""
    lines = [
        line if len(line) <= _CHARACTERS else f"{line[:_CHARACTERS]}… ({len(line)} characters)"
        for line in text.splitlines()
    ]
    left_out = len(lines) - first - last
    if left_out > 1:
        lines[first : len(lines) - last] = [f"… ({left_out} lines; pytest -vv shows all)"]
    return "\n".join(lines)


def shorten(report: pytest.TestReport) -> None:
    """Cut what a report shows: beginning and end of each part of the traceback, and the end of what was printed."""
    if isinstance(report.longrepr, ExceptionChainRepr):
        for traceback, crash, _ in report.longrepr.chain:
            for entry in traceback.reprentries:
                entry.lines = shortened("\n".join(entry.lines), _FIRST_LINES, _LAST_LINES).split("\n")
            if crash is not None:
                crash.message = shortened(crash.message, _MESSAGE_LINES, _MESSAGE_LINES)
    report.sections = [(name, shortened(printed, 0, _CAPTURED_LINES)) for name, printed in report.sections]
