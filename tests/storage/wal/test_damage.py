"""A bit flips anywhere in the log's files: damage is found, and no wrong data is read."""

from __future__ import annotations

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from pynun.storage.wal.recovery import LogError, open_segments, recover
from pynun.storage.wal.segment_format import RECORD_OVERHEAD_BYTES, RECORDS_AT
from tests.properties.effort import effort
from tests.storage.wal.life import LOG_ID, SIZE, Life
from tests.storage.wal.simulated_disk import CrashError, Inode, SimulatedDisk

FLIPS = 40

totals: Counter[str] = Counter()


@effort(60)
@given(st.integers(0, 2**64 - 1))
def flip(seed: int) -> None:
    random = Random(seed)
    life = Life(random)
    disk = SimulatedDisk(random)
    for _ in range(2):
        disk.calls, disk.crash_at = 0, random.randint(1, 300)
        try:
            while True:
                log = life.open(disk)
                while life.work(disk, log):
                    pass
        except CrashError:
            disk = disk.crashed()
    content = {name: bytes(inode.current) for name, inode in disk.inodes.items()}
    segments = open_segments(disk, SIZE)
    whole = recover(segments, LOG_ID, life.checkpoint, is_in_use=life.is_in_use)
    life.check(whole.records)
    newest = max(segments, key=lambda segment: segment.header.number, default=None)
    last = range(0)
    if newest is not None and not newest.is_empty and whole.records:
        size = RECORD_OVERHEAD_BYTES + len(whole.records[-1].changes)
        last = range(newest.end - size, newest.end)
    for _ in range(FLIPS if segments else 0):
        inodes = {name: Inode(was) for name, was in content.items()}
        name = random.choice([name for name in inodes if len(inodes[name].current) == SIZE])
        if newest is not None and random.random() < 0.5:
            name = newest.name
        at = random.choice([random.randrange(SIZE), random.randrange(80), random.randrange(RECORDS_AT, SIZE)])
        inodes[name].current[at] ^= 1 << random.randrange(8)
        damaged = SimulatedDisk(random, inodes)
        try:
            found = recover(open_segments(damaged, SIZE), LOG_ID, life.checkpoint, is_in_use=life.is_in_use)
        except LogError:
            totals["found"] += 1
            continue
        if found.records == whole.records:
            totals["harmless"] += 1
        else:
            assert found.records == whole.records[:-1]
            if whole.records[-1] in life.stored:
                # It can't be told from a record that was torn by the crash.
                assert newest is not None
                assert name == newest.name
                assert at in last
                totals["last"] += 1


def test_a_flipped_bit_never_gives_wrong_data() -> None:
    flip()
    assert totals["found"] > 20
    assert totals["harmless"] > 20
    assert totals["last"]
