"""A disk that fails: what it refused does not come back, and what was acknowledged is there."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.properties.effort import effort
from tests.storage.wal.life import Life
from tests.storage.wal.simulated_disk import CrashError, SimulatedDisk

if TYPE_CHECKING:
    from collections.abc import Callable

STEPS = 60
FAULTS = ("EIO", "ENOSPC", "short")
CALLS_OF_A_LIFE = 250


def failing(fault: str, first: int, last: int) -> Callable[[str], str | None]:
    """Answers the calls from the first to the last one with a fault."""
    count = 0

    def fail(call: str) -> str | None:
        nonlocal count
        count += 1
        return fault if first <= count <= last and (fault != "short" or call == "write") else None

    return fail


def survive(random: Random, fail: Callable[[str], str | None]) -> Life:
    """Live on a disk that fails, then on what is left of it."""
    life = Life(random)
    disk = SimulatedDisk(random)
    log = life.open(disk)
    disk.fail = fail
    for _ in range(STEPS):
        if not life.work(disk, log):
            disk.fail, fail = lambda _: None, disk.fail
            log = life.open(disk)
            disk.fail = fail
    disk = disk.crashed() if random.random() < 0.5 else disk.killed()
    life.open(disk)
    return life


@pytest.mark.parametrize("fault", FAULTS)
def test_one_call_fails_each_in_turn(fault: str) -> None:
    counts: Counter[str] = Counter()
    for at in range(1, CALLS_OF_A_LIFE):
        counts.update(survive(Random(at), failing(fault, at, at)).counts)
    assert counts["stored"] > CALLS_OF_A_LIFE
    if fault == "short":
        assert not counts["refused"]  # the rest is written by another call


@effort(200)
@given(st.integers(0, 2**64 - 1), st.sampled_from(FAULTS), st.integers(1, 200), st.integers(0, 100))
def test_many_calls_fail(seed: int, fault: str, first: int, count: int) -> None:
    survive(Random(seed), failing(fault, first, first + count))


@effort(200)
@example(133744, 4)  # a file counted whose name was not on disk
@example(6943, 35)  # a file whose header said where the valid records end was replaced
@given(st.integers(0, 2**64 - 1), st.integers(1, 100))
def test_any_calls_fail_while_the_power_is_cut(seed: int, percent: int) -> None:
    random = Random(seed)
    life = Life(random)
    disk = SimulatedDisk(random)
    for _ in range(4):
        disk.calls, disk.crash_at = 0, random.randint(1, 200)
        try:
            log = life.open(disk)
            disk.fail = lambda _: random.choice(FAULTS) if random.random() * 100 < percent else None
            while life.work(disk, log):
                pass
        except CrashError:
            pass
        disk = disk.crashed()
    life.open(disk)


@effort(100)
@given(st.integers(0, 2**64 - 1))
def test_a_start_needs_no_free_space(seed: int) -> None:
    random = Random(seed)
    life = Life(random)
    disk = SimulatedDisk(random)
    life.open(disk)
    for _ in range(10):
        disk.fail = lambda call: "ENOSPC" if call == "make" else None
        disk.calls, disk.crash_at = 0, random.randint(1, 100)
        try:
            log = life.open(disk)
            while life.work(disk, log):
                pass
        except CrashError:
            pass
        disk = disk.crashed()


def test_a_failed_sync_is_not_repeated() -> None:
    """The kernel forgets what it could not write, and says that the next sync was done."""
    random = Random(1)
    disk = SimulatedDisk(random)
    life = Life(random)
    log = life.open(disk)
    life.is_in_use = True
    synced: list[int] = []
    sync = disk.sync

    def record_sync(file: int) -> None:
        synced.append(file)
        sync(file)

    disk.sync = record_sync  # type: ignore[method-assign]
    assert log.make_room(5)
    log.append(1, 1, 0, b"first")
    log.sync()
    log.append(2, 2, 0, b"again")
    disk.fail = failing("EIO", 1, 1)
    log.sync()
    first, second = synced[0], synced[-1]
    assert first == synced[1] != second
    for revision in range(3, 100):
        if not log.make_room(900):
            log.release(revision - 1)
            assert log.make_room(900)
        log.append(revision, revision, 0, bytes(900))
        log.sync()
    assert synced.count(first) == 2
    # When its records are released, a new file takes its name.
    assert first not in disk.open_files
