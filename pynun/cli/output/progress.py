"""A line on the terminal that says how far a long command is."""

from __future__ import annotations

import sys
import time

_SECONDS = 0.1
"""It is shown anew so often."""


class Progress:
    """The line; nothing where standard error is no terminal. To be ended before anything else is printed there."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._next_time = 0.0
        self._width = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, step: str, done: int, total: int) -> None:
        """Show a step of the work, and how much of it is done; `total` is 0 where nobody knows it."""
        if total:
            self.show_text(f"{step}: {min(100, 100 * done // total)} %")
        else:
            self._next_time = 0.0  # it may take long, and nothing else be shown meanwhile
            self.show_text(f"{step} …")

    def show_text(self, text: str) -> None:
        """Show a text, unless one was shown just now."""
        now = time.monotonic()
        if self._is_shown and now >= self._next_time:
            self._next_time = now + _SECONDS
            self._put(text)

    def clear(self) -> None:
        """Take the line away."""
        if self._width:
            self._put("")

    def _put(self, text: str) -> None:
        sys.stderr.write(f"\r{text.ljust(self._width)}\r{text}")
        sys.stderr.flush()
        self._width = len(text)
