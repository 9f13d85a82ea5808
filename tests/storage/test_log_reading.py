"""Reading while the log is written and moved by another thread, and what it costs."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pynun.engine.overlay import Batch, Entry
from pynun.storage.store import LmdbStore
from tests.storage.steps import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DATABASE = b"\0\0\0\1"
LONG = DATABASE + b"x" * 600
SECONDS = 3.0


@pytest.fixture(name="store")
def _store(disk_folder: Path) -> Iterator[LmdbStore]:
    with contextlib.closing(LmdbStore(disk_folder / "data")) as store:
        yield store


def append(store: LmdbStore, entries: dict[bytes, Entry | None]) -> None:
    """Put entries into the log."""
    batch = Batch(store.revision + 1)
    batch.entries.update(entries)
    store.append(batch, 0)


@pytest.fixture
def often_switching() -> Iterator[None]:
    """Threads take turns a hundred times as often as usual."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(before / 100)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("often_switching")
def test_who_reads_while_entries_come_and_move_finds_all_that_stays(store: LmdbStore) -> None:
    """Keys beyond LMDB's limit too, whose full names are in the log first and in the data later."""
    stays = [name + b"stays-%d" % number for name in (DATABASE, LONG) for number in range(7)]
    append(store, dict.fromkeys(stays, Entry(1, "v")))
    is_over = threading.Event()

    def write() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            fresh = {LONG + b"%d-%d" % (number, key): Entry(1, "v") for key in range(20)}
            gone = {LONG + b"%d-%d" % (number - 3, key): None for key in range(20)}
            append(store, fresh | gone | dict.fromkeys(stays, Entry(number, "v")))
            while not store.is_drained:
                checkpoint(store, 15)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            found: list[bytes] = []
            position: bytes | None = b""
            while position is not None:
                names, position, _ = store.scan(DATABASE, position, 9)
                found += [DATABASE + name for name in names]
            assert len(found) == len(set(found))
            assert set(stays) <= set(found)
            assert all(store.get(key) is not None for key in stays)
            assert sum(1 for key, _ in store.read_all(DATABASE) if b"stays" in key) == len(stays)
            assert store.measure_database(DATABASE, b"", 1000)[0] >= len(stays)
    finally:
        is_over.set()
        writer.join()


def test_what_a_part_of_the_keys_costs_does_not_grow_with_the_log(store: LmdbStore) -> None:
    """A scan or a measuring that looked at all of the log for each slice would hold up everybody."""

    def seconds(read: Callable[[], object]) -> float:
        best = 1.0
        for _ in range(30):
            began = time.perf_counter()
            read()
            best = min(best, time.perf_counter() - began)
        return best

    def costs() -> list[float]:
        return [
            seconds(lambda: store.scan(DATABASE + b"000", b"", 10)),
            seconds(lambda: store.scan(DATABASE, b"", 10)),
            seconds(lambda: store.measure(b"", 10)),
            seconds(lambda: store.measure_database(DATABASE, b"", 10)),
        ]

    def fill(count: int) -> None:
        for first in range(0, count, 1000):
            append(store, {DATABASE + b"%05d" % key: Entry(1, "v") for key in range(first, first + 1000)})

    fill(1000)
    few = costs()
    fill(30_000)
    assert store.logged_entries == 30_000
    for many, cost in zip(costs(), few, strict=True):
        assert many < 5 * cost
