"""What the disk costs: one LMDB commit of ten puts, with fsync, in the same way as the server's store."""

from __future__ import annotations

import random
import shutil
import statistics
import tempfile
import time
from typing import TYPE_CHECKING

import lmdb

from tools.benchmark.load import key_name, value_of
from tools.benchmark.scenarios import KEY_COUNT

if TYPE_CHECKING:
    from pathlib import Path

PUTS_PER_COMMIT = 10
COMMITS = 100


def measure_commit(folder: Path) -> float:
    """The median time of a commit in ms, on the disk of this folder."""
    chance = random.Random(0)
    durations_ns = []
    data = tempfile.mkdtemp(prefix="commit-", dir=folder)
    try:
        with lmdb.open(data, map_size=1 << 28) as environment:
            for _ in range(COMMITS):
                began_ns = time.monotonic_ns()
                with environment.begin(write=True) as transaction:
                    for _ in range(PUTS_PER_COMMIT):
                        number = chance.randrange(KEY_COUNT)
                        transaction.put(key_name(number).encode(), value_of(number).encode())
                durations_ns.append(time.monotonic_ns() - began_ns)
    finally:
        shutil.rmtree(data)
    return statistics.median(durations_ns) / 1e6
