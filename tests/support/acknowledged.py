"""Writers on all nodes of a cluster: they go on at another node whenever one fails, and note what was acknowledged."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from tools.clients.server import Address

DATABASE = "load"
TOKEN = "pwd"

_ANSWER_SECONDS_MAX = 30.0
_REST_SECONDS = 0.02
_LOST = messages.error(messages.OWNER_LOST)


class Writer(threading.Thread):
    """Counts up one key."""

    def __init__(
        self,
        key: str,
        addresses: list[Address],
        answer_seconds: float,
        rest_seconds: float,
        on_answer: Callable[[], None],
    ) -> None:
        super().__init__(daemon=True)
        self._answer_seconds = answer_seconds
        self._rest_seconds = rest_seconds
        self._on_answer = on_answer
        self._key = key
        self._addresses = itertools.cycle(addresses)
        self._is_over = threading.Event()
        self.acknowledged = 0
        """The newest number that was acknowledged; all before it were tried."""
        self.answers = 0
        self.longest_seconds = 0.0
        """Without an answer."""
        self._answered_at = time.monotonic()

    def run(self) -> None:
        """Write until `end`."""
        number = 0
        self._answered_at = time.monotonic()
        while not self._is_over.is_set():
            try:
                with (
                    socket.create_connection(next(self._addresses), self._answer_seconds) as connected,
                    connected.makefile("rw", encoding="utf-8", newline="\n") as file,
                ):
                    assert file.readline() == "ok \n"
                    file.write(f"use-db {DATABASE} {TOKEN}\n")
                    file.flush()
                    assert file.readline() == "ok \n"
                    while not self._is_over.wait(self._rest_seconds):
                        number += 1
                        file.write(f"set {self._key} {number}\n")
                        file.flush()
                        answer = file.readline()
                        if answer == _LOST:
                            continue  # it may be there or not; this connection goes on
                        assert answer == "ok \n"
                        self.acknowledged = number
                        self._note_answer()
            except (OSError, AssertionError, UnicodeDecodeError):
                time.sleep(0.02)  # a node went: try the next one

    def _note_answer(self) -> None:
        now = time.monotonic()
        self.longest_seconds = max(self.longest_seconds, now - self._answered_at)
        self._answered_at = now
        self.answers += 1
        self._on_answer()

    def end(self) -> None:
        """Stop after the answer that is waited for."""
        self._is_over.set()


class Load:
    """So many writers on each of these addresses, running within the block; `on_answer` is called after each answer.

    Without an answer for `answer_seconds`, a writer goes on at the next address. It rests for `rest_seconds` before
    each change: without a rest, few writers keep the processors busy.
    """

    def __init__(
        self,
        addresses: list[Address],
        *,
        each: int = 2,
        answer_seconds: float = _ANSWER_SECONDS_MAX,
        rest_seconds: float = _REST_SECONDS,
        on_answer: Callable[[], None] = lambda: None,
    ) -> None:
        self.writers = {
            f"k-{place}-{number}": Writer(
                f"k-{place}-{number}", addresses[place:] + addresses[:place], answer_seconds, rest_seconds, on_answer
            )
            for place in range(len(addresses))
            for number in range(each)
        }

    def __enter__(self) -> Self:
        for writer in self.writers.values():
            writer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for writer in self.writers.values():
            writer.end()
        for writer in self.writers.values():
            writer.join(2 * _ANSWER_SECONDS_MAX)

    @property
    def answers(self) -> int:
        """Changes acknowledged so far."""
        return sum(writer.answers for writer in self.writers.values())

    @property
    def longest_seconds(self) -> float:
        """The longest time that a writer was without an answer."""
        return max(writer.longest_seconds for writer in self.writers.values())

    def take_longest(self) -> float:
        """The longest time that a writer was without an answer since the last call."""
        longest = self.longest_seconds
        for writer in self.writers.values():
            writer.longest_seconds = 0.0
        return longest
