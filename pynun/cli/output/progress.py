"""A progress line on the terminal."""

from __future__ import annotations

import sys
import time

_SECONDS = 0.1
"""How often it is updated."""


class Progress:
    """The line; nothing if standard error is not a terminal. End it before printing anything else there."""

    def __init__(self) -> None:
        self._is_shown = sys.stderr.isatty()
        self._next_time = 0.0
        self._width = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def show(self, step: str, done: int, total: int) -> None:
        """Show a step and its progress; `total` is 0 if unknown."""
        if total:
            self.show_text(f"{step}: {min(100, 100 * done // total)} %")
        else:
            self._next_time = 0.0  # it may take long, and nothing else be shown meanwhile
            self.show_text(f"{step} …")

    def show_text(self, text: str) -> None:
        """Show a text, unless one was just shown."""
        now = time.monotonic()
        if self._is_shown and now >= self._next_time:
            self._next_time = now + _SECONDS
            self._put(text)

    def clear(self) -> None:
        """Remove the line."""
        if self._width:
            self._put("")

    def _put(self, text: str) -> None:
        sys.stderr.write(f"\r{text.ljust(self._width)}\r{text}")
        sys.stderr.flush()
        self._width = len(text)
