"""Whatever a power cut takes of what was not synced, and wherever it comes: nothing acknowledged is lost."""

from __future__ import annotations

import contextlib
from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from tests.properties.effort import effort
from tests.storage.wal.life import Life
from tests.storage.wal.simulated_disk import CrashError, SimulatedDisk

CRASHES = 300
CRASHES_OF_A_LIFE = 5

totals: Counter[str] = Counter()


@effort(CRASHES // CRASHES_OF_A_LIFE)
@given(st.integers(0, 2**64 - 1))
def live(seed: int) -> None:
    random = Random(seed)
    life = Life(random)
    disk = SimulatedDisk(random)
    for _ in range(CRASHES_OF_A_LIFE):
        disk.calls, disk.crash_at = 0, random.randint(1, random.choice([30, 300, 1000]))
        try:
            while True:
                log = life.open(disk)
                while life.work(disk, log):
                    pass
                disk = disk.killed() if random.random() < 0.2 else disk
        except CrashError:
            disk = disk.crashed() if random.random() < 0.8 else disk.killed()
    life.open(disk)
    totals.update(life.counts)


def test_nothing_acknowledged_is_lost_in_a_power_cut() -> None:
    """`NUN_TEST_EFFORT=67` makes it 20,000 crashes."""
    live()
    # The simulation reaches what it is for.
    assert totals["stored"] > CRASHES
    assert totals["recovered"] > CRASHES // 30
    assert totals["lost"] > CRASHES // 30
    assert totals["full"]


def test_what_a_killed_start_left_in_the_cache_is_synced_by_the_next() -> None:
    for calls in range(1, 40):  # whichever call of the first start comes last
        for seed in range(5):
            random = Random(seed)
            life = Life(random)
            disk = SimulatedDisk(random)
            disk.crash_at = calls
            with contextlib.suppress(CrashError):
                life.open(disk)
            disk = disk.killed()
            disk.crash_at = None
            life.append(disk, life.open(disk))
            life.open(disk.crashed())
