"""The thread that writes the log: an unread log delays nothing, and says how many lines it misses."""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pynun import limits
from pynun.server.process.log_writer import LogWriter

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

LATE_SECONDS = 20.0
GAP = re.compile(r"gap ([0-9]+)")


def gap_line(count: int) -> str:
    return f"gap {count}\n"


class Pipe:
    """A pipe that is read when the test wants it to be."""

    def __init__(self) -> None:
        self.reading, self.writing = os.pipe()
        self._received = bytearray()
        self._writers: list[LogWriter] = []

    def writer(self) -> LogWriter:
        writer = LogWriter(self.writing, gap_line)
        self._writers.append(writer)
        return writer

    def read_until(self, word: str) -> list[str]:
        """The lines up to and with the first one that begins so."""
        pattern = re.compile(rf"^{word}".encode(), re.MULTILINE)
        while not (pattern.search(self._received[-70_000:]) and self._received.endswith(b"\n")):
            self._received += os.read(self.reading, 65536)
        return self._received.decode().splitlines()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            os.close(self.reading)
        for writer in self._writers:
            writer.finish()  # its thread writes no more, for nobody can read it
        os.close(self.writing)


@pytest.fixture(name="pipe")
def _pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.close()


def accounted(lines: list[str]) -> int:
    """How many lines of the test there are, or are said to be missing; those that are there are in order."""
    numbers = [int(line.split()[1]) for line in lines if line.startswith("line ")]
    assert numbers == sorted(numbers)
    return len(numbers) + sum(int(match[1]) for match in map(GAP.match, lines) if match)


@pytest.mark.parametrize("line_bytes", [20, 8000])
def test_what_nobody_reads_is_bounded_and_counted(pipe: Pipe, line_bytes: int) -> None:
    """In lines and in bytes."""
    writer = pipe.writer()
    kept_max = min(limits.LOG_LINES_WAITING_MAX, limits.LOG_BYTES_WAITING_MAX // line_bytes)
    count = 2 * kept_max
    began = time.monotonic()
    for number in range(count):
        writer.put(f"line {number} ".ljust(line_bytes, "x") + "\n")
    assert time.monotonic() - began < LATE_SECONDS
    in_pipe_max = (65536 + 4096) // line_bytes + 10
    assert count - kept_max - in_pipe_max <= writer.dropped < count
    lines = pipe.read_until("gap")
    assert len(lines) == count - writer.dropped + 1, "one line tells of all that are missing"
    assert accounted(lines) == count
    writer.put("last\n")
    assert pipe.read_until("last")[-1] == "last"


def test_a_slow_reader_gets_few_gaps(pipe: Pipe) -> None:
    """Else there would be one for every line for which there is room."""
    writer = pipe.writer()
    while not writer.dropped:
        writer.put("x" * 10_000 + "\n")
    os.read(pipe.reading, 65536)
    dropped = writer.dropped
    for _ in range(100):
        writer.put("line\n")
    assert writer.dropped == dropped + 100


def test_all_is_written_at_the_end_if_somebody_reads(pipe: Pipe) -> None:
    writer = pipe.writer()
    for number in range(5000):
        writer.put(f"line {number}\n")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.extend(pipe.read_until("line 4999")))
    reader.start()
    writer.finish()
    reader.join()
    assert accounted(read) == 5000


def test_the_end_does_not_wait_for_ever(pipe: Pipe) -> None:
    writer = pipe.writer()
    for number in range(5000):
        writer.put(f"line {number} {'x' * 100}\n")
    began = time.monotonic()
    writer.finish()
    assert time.monotonic() - began < LATE_SECONDS / 2


def test_a_pipe_that_somebody_made_non_blocking(pipe: Pipe) -> None:
    """A process that shares it may do that."""
    os.set_blocking(pipe.writing, False)
    writer = pipe.writer()
    for number in range(5000):
        writer.put(f"line {number} {'x' * 100}\n")
    assert accounted(pipe.read_until("line 4999 ")) == 5000
    assert writer.dropped == 0


def test_lines_that_can_not_be_written_are_counted(tmp_path: Path) -> None:
    """A full disk, until there is room again."""
    path = tmp_path / "log"
    path.touch()
    descriptor = os.open("/dev/full", os.O_WRONLY)
    writer = LogWriter(descriptor, gap_line)
    for number in range(3):
        writer.put(f"line {number}\n")
        writer.finish()
    assert writer.dropped == 3
    file = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.dup2(file, descriptor)
    os.close(file)
    writer.put("line 3\n")
    writer.finish()
    assert path.read_text(encoding="utf-8") == "gap 3\nline 3\n"
    os.close(descriptor)


def test_nobody_will_ever_read(pipe: Pipe) -> None:
    writer = pipe.writer()
    os.close(pipe.reading)
    pipe.reading = -1
    for number in range(10):
        writer.put(f"line {number}\n")
    writer.finish()
    assert writer.dropped == 10
