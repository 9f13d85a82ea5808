"""nun-db at a terminal: a pseudo terminal whose text, without escape sequences, a test can wait for."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
import time
from typing import TYPE_CHECKING, Self

from tests.support.fork_server import Forked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

COLUMNS, ROWS = 80, 24
TIMEOUT_SECONDS = 90.0

_ESCAPE_SEQUENCES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][A-Z0-9]|\x08|\r")


class Terminal:
    """`nun-db` with the given arguments at a terminal; a context manager that ends it.

    `output` is what was shown, `text` the same without escape sequences. `standard_input` is a descriptor in place of
    the terminal, as `<` of a shell gives one.
    """

    def __init__(
        self,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        cwd: str | None = None,
        standard_input: int | None = None,
    ) -> None:
        self.output = b""
        self.text = ""
        self._mark = 0
        self._controller, self._terminal = pty.openpty()
        fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, struct.pack("4H", ROWS, COLUMNS, 0, 0))
        self._mode = termios.tcgetattr(self._terminal)
        self.process = Forked(
            *arguments,
            descriptors=(self._terminal if standard_input is None else standard_input, self._terminal, self._terminal),
            # Without the NO_CPR the editor waits for an answer that only a real terminal gives.
            environment={"TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1", **(environment or {})},
            cwd=cwd,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.process.kill()
        os.close(self._controller)
        os.close(self._terminal)

    def type(self, keys: str) -> None:
        """Press keys; Enter is `\r`, Tab is `\t`."""
        os.write(self._controller, keys.encode())

    def expect(self, text: str) -> None:
        """Wait until `text` is shown behind what was expected before."""
        assert self._wait_for(text, TIMEOUT_SECONDS), f"wanted {text!r}, got {self.text[self._mark :][-500:]!r}"

    def press_until(self, key: str, text: str) -> None:
        """Press a key, a few times if need be, until `text` is shown: for a moment that can't be seen from outside."""
        for _ in range(int(TIMEOUT_SECONDS)):
            self.type(key)
            if self._wait_for(text, 1):
                return
        raise AssertionError(f"wanted {text!r}, got {self.text[self._mark :][-500:]!r}")

    def wait(self) -> int:
        """Wait for the end of the process and return its exit code; all that it showed is there then."""
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while self.process.poll() is None:
            assert time.monotonic() < deadline, f"it goes on: {self.text[-500:]!r}"
            self._read(0.05)
        while self._read(0.0):
            pass
        return self.process.wait(0)

    def assert_terminal_is_as_before(self) -> None:
        """The mode of the terminal, its screen and its cursor are what they were."""
        assert termios.tcgetattr(self._terminal) == self._mode
        assert self.output.count(b"\x1b[?1049h") == self.output.count(b"\x1b[?1049l") == 1
        assert self.output.rindex(b"\x1b[?25h") > self.output.rindex(b"\x1b[?25l")

    def _wait_for(self, text: str, seconds_max: float) -> bool:
        deadline = time.monotonic() + seconds_max
        while (found := self.text.find(text, self._mark)) < 0:
            has_ended = self.process.poll() is not None
            if not self._read(min(0.2, deadline - time.monotonic())) and (has_ended or time.monotonic() > deadline):
                return False
        self._mark = found + len(text)
        return True

    def _read(self, seconds: float) -> bool:
        if not select.select([self._controller], [], [], max(0.0, seconds))[0]:
            return False
        self.output += os.read(self._controller, 65536)
        self.text = _ESCAPE_SEQUENCES.sub("", self.output.decode(errors="replace"))
        return True


def run_at_terminal(
    arguments: Sequence[str],
    answers: Sequence[tuple[str, str]],
    *,
    standard_input: int | None = None,
    cwd: str | None = None,
) -> tuple[int, str]:
    """Run nun-db at a terminal; give each answer when its prompt is seen. Returns exit code and screen."""
    with Terminal(*arguments, standard_input=standard_input, cwd=cwd) as terminal:
        for prompt, answer in answers:
            terminal.expect(prompt)
            terminal.type(f"{answer}\n")
        return terminal.wait(), terminal.output.decode()
