"""Servers that are ready in a tenth of the time: forked from a process that has imported everything already."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
import time
from typing import IO, TYPE_CHECKING

from tests.support.fork_server import Forked

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_POLL_SECONDS = 0.01
_forking = threading.Lock()


class ForkedServer:
    """A process of nun-db, with pipes for what it prints; for `Server.fork`. Any thread may use it."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        output, errors = os.pipe(), os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        try:
            with _forking:
                self._forked = Forked(*arguments, descriptors=(nothing, output[1], errors[1]), environment=environment)
        finally:
            for descriptor in (nothing, output[1], errors[1]):
                os.close(descriptor)
        self.pid = self._forked.pid
        self.stdout: IO[str] | None = os.fdopen(output[0], encoding="utf-8", errors="replace")
        self.stderr: IO[str] | None = os.fdopen(errors[0], encoding="utf-8", errors="replace")
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """The exit code if it has ended."""
        with self._lock:
            return self._forked.poll()

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end; the exit code. Raises subprocess.TimeoutExpired."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise subprocess.TimeoutExpired("nun-db", timeout or 0)
            time.sleep(_POLL_SECONDS)
        return code

    def send_signal(self, sig: int) -> None:
        """Send it a signal, unless it has ended."""
        with self._lock:
            if self._forked.poll() is None:
                with contextlib.suppress(ProcessLookupError):  # it has ended just now
                    self._forked.send_signal(signal.Signals(sig))

    def terminate(self) -> None:
        """Ask it to stop."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)
