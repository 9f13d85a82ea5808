"""Write lines to standard output or standard error in a thread, so that the server never waits for their reader.

A pipe that nobody reads, a terminal with Ctrl-S or a hanging disk block only the thread. The queue is limited in lines
and bytes. Further lines are dropped and counted; once writing works again, a line says how many.
"""

from __future__ import annotations

import os
import select
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Final

from pynun import limits

if TYPE_CHECKING:
    from collections.abc import Callable

_PIECE_BYTES: Final = select.PIPE_BUF
"""Largest single write: a pipe takes this much atomically, so other processes' lines can't come between (POSIX,
write)."""


class LogWriter:
    """The lines of one descriptor. Safe to use from several threads and from signal handlers."""

    def __init__(self, descriptor: int, gap_line: Callable[[int], str]) -> None:
        """`gap_line` makes the line that says how many lines were dropped."""
        self.dropped = 0
        """Lines dropped so far."""
        self._descriptor = descriptor
        self._gap_line = gap_line
        self._changed = threading.Condition(threading.RLock())
        self._waiting: deque[bytes | int] = deque()  # lines; a number stands for that many dropped ones
        self._waiting_bytes = 0
        self._missing = 0  # since the last number in `_waiting`
        self._is_dropping = False
        self._is_writing = False
        self._progress = 0
        self._is_cut = False  # whether what was written last ends within a line
        self._thread: threading.Thread | None = None

    def put(self, text: str) -> None:
        """Queue whole lines. Never blocks."""
        data = text.encode(errors="backslashreplace")
        with self._changed:
            # After a drop, wait until half of the queue is free: one gap instead of many.
            share = 2 if self._is_dropping else 1
            if self._waiting and (
                len(self._waiting) >= limits.LOG_LINES_WAITING_MAX // share
                or self._waiting_bytes + len(data) > limits.LOG_BYTES_WAITING_MAX // share
            ):
                self._is_dropping = True
                self._drop(1)
                return
            self._note_gap()
            self._waiting.append(data)
            self._waiting_bytes += len(data)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="log", daemon=True)
                self._thread.start()
            self._changed.notify_all()

    def finish(self) -> None:
        """Wait until all is written; give up after a second without progress."""
        ends_at = time.monotonic() + limits.LOG_END_SECONDS
        with self._changed:
            while (self._waiting or self._is_writing) and time.monotonic() < ends_at:
                progress = self._progress
                self._changed.wait(limits.LOG_STALLED_SECONDS)
                if self._progress == progress:
                    return

    def _drop(self, lines: int) -> None:
        self._missing += lines
        self.dropped += lines

    def _note_gap(self) -> None:
        self._is_dropping = False
        if self._missing:
            self._waiting.append(self._missing)
            self._missing = 0

    def _run(self) -> None:
        while True:
            with self._changed:
                self._is_writing = False
                self._progress += 1
                self._changed.notify_all()
                if not self._waiting and self._is_dropping:
                    self._note_gap()
                while not self._waiting:
                    self._changed.wait()
                taken = self._take()
                self._is_writing = True
            if not self._write(b"".join(map(self._data_of, taken))):
                with self._changed:
                    self._missing += sum(part for part in taken if isinstance(part, int))  # they are counted already
                    self._drop(sum(isinstance(part, bytes) for part in taken))

    def _data_of(self, part: bytes | int) -> bytes:
        return self._gap_line(part).encode() if isinstance(part, int) else part

    def _take(self) -> list[bytes | int]:
        """The next text to write: several short lines, or one of any length."""
        taken: list[bytes | int] = []
        size = 0
        while self._waiting:
            part = self._waiting[0]
            part_bytes = len(part) if isinstance(part, bytes) else limits.LOG_GAP_BYTES
            if taken and size + part_bytes > _PIECE_BYTES:
                break
            taken.append(self._waiting.popleft())
            size += part_bytes
            if isinstance(part, bytes):
                self._waiting_bytes -= part_bytes
        return taken

    def _write(self, data: bytes) -> bool:
        """Write it all; False if that is impossible: the pipe is closed or the disk is full."""
        if self._is_cut:
            data = b"\n" + data
        left = memoryview(data)
        while left:
            try:
                left = left[os.write(self._descriptor, left) :]
            except BlockingIOError:  # another process that shares this pipe made it non-blocking
                poll = select.poll()
                poll.register(self._descriptor, select.POLLOUT)
                poll.poll()
            except OSError:
                if written := data[: len(data) - len(left)]:
                    self._is_cut = not written.endswith(b"\n")
                return False
        self._is_cut = False
        return True
