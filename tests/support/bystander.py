"""What others notice while something heavy is done: how long one waits, and how much memory the server takes."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tools.clients.sessions import tcp_session

if TYPE_CHECKING:
    from types import TracebackType

    from tools.clients.server import Server


class Bystander:
    """A client that asks for something all the time in a thread, and notes the longest wait; a context manager.

    Time in which the server or this thread waits for a processor does not count: other programs use it, not the server.
    """

    def __init__(self, server: Server, database: str) -> None:
        self.longest_seconds = 0.0
        self._server = server
        self._database = database
        self._has_begun = threading.Event()
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with tcp_session(self._server, self._database) as client:
            while not self._is_over.is_set():
                began = self._now()
                client.ask("get short")
                self.longest_seconds = max(self.longest_seconds, self._now() - began)
                self._has_begun.set()
                self._is_over.wait(0.002)

    def _now(self) -> float:
        """A clock that stands still while the server's main thread, or this one, waits for a processor."""
        threads = (self._server.pid, self._server.pid), ("self", threading.get_native_id())
        return time.perf_counter() - sum(_processor_wait_seconds(*thread) for thread in threads)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._has_begun.wait(60)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._is_over.set()
        self._thread.join()


def _processor_wait_seconds(process: int | str, thread: int) -> float:
    """How long a thread could have run, and had no processor."""
    _, waited_ns, _ = Path(f"/proc/{process}/task/{thread}/schedstat").read_text(encoding="ascii").split()
    return int(waited_ns) / 1e9


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
