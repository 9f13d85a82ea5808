"""What others notice while something heavy is done: how long one waits, and how much memory the server takes."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

from tools.clients.sessions import tcp_session

if TYPE_CHECKING:
    from types import TracebackType

    from tools.clients.server import Server


class Bystander:
    """A client that asks for something all the time in a thread, and notes the longest wait; a context manager."""

    def __init__(self, server: Server, database: str) -> None:
        self.longest_seconds = 0.0
        self._server = server
        self._database = database
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with tcp_session(self._server, self._database) as client:
            while not self._is_over.is_set():
                began = time.perf_counter()
                client.ask("get short")
                self.longest_seconds = max(self.longest_seconds, time.perf_counter() - began)
                self._is_over.wait(0.002)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()


class MemoryWatch:
    """Looks at the server's memory in a thread; a context manager. `most_kib` is the most that was seen."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self.before_kib = self.most_kib = server.resident_private_kib()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._is_over.wait(0.005):
            self.most_kib = max(self.most_kib, self._server.resident_private_kib())

    @property
    def growth_kib(self) -> int:
        return self.most_kib - self.before_kib

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()
