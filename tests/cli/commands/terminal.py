"""A terminal for the shell in tests: a pseudo terminal whose text, without escape sequences, a test can wait for."""

from __future__ import annotations

import os
import pty
import re
import select
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Self

from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

TIMEOUT_S = 60.0

_ESCAPE_SEQUENCES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x08|\r")

# The terminal must be the session's own for Ctrl-C to be a signal.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


class Terminal:
    """`nun-db` with the given arguments in a terminal; a context manager that ends it."""

    def __init__(self, *arguments: str, environment: Mapping[str, str]) -> None:
        self._controller, terminal = pty.openpty()
        self.text = ""
        self._mark = 0
        # Without the NO_CPR the editor waits for an answer that only a real terminal gives.
        additions = {"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **environment}
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, sys.executable, "-m", "pynun", *arguments],
            stdin=terminal,
            stdout=terminal,
            stderr=terminal,
            env=clean_environment(additions),
            cwd=REPOSITORY,
            start_new_session=True,
        )
        os.close(terminal)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(TIMEOUT_S)
        os.close(self._controller)

    def type(self, keys: str) -> None:
        """Press keys; Enter is `\r`, Tab is `\t`."""
        os.write(self._controller, keys.encode())

    def expect(self, text: str) -> None:
        """Wait until `text` is shown behind what was expected before."""
        assert self._wait_for(text, TIMEOUT_S), f"wanted {text!r}, got {self.text[self._mark :][-500:]!r}"

    def press_until(self, key: str, text: str) -> None:
        """Press a key, a few times if need be, until `text` is shown: for a moment that can't be seen from outside."""
        for _ in range(10):
            self.type(key)
            if self._wait_for(text, TIMEOUT_S / 10):
                return
        raise AssertionError(f"wanted {text!r}, got {self.text[self._mark :][-500:]!r}")

    def _wait_for(self, text: str, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while (found := self.text.find(text, self._mark)) < 0:
            if not self._read(deadline - time.monotonic()):
                return False
        self._mark = found + len(text)
        return True

    def wait(self) -> int:
        """Wait for the end of the process and return its exit code."""
        deadline = time.monotonic() + TIMEOUT_S
        while self._read(deadline - time.monotonic()):
            pass
        return self.process.wait(TIMEOUT_S)

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self._controller], [], [], max(0.0, timeout_s))[0]:
            return False
        try:
            data = os.read(self._controller, 65536)
        except OSError:  # the process has ended
            return False
        self.text += _ESCAPE_SEQUENCES.sub("", data.decode(errors="replace"))
        return bool(data)
