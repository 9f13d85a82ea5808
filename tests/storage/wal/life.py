"""A log's life over many crashes: what it was given, what it answered, and what must be there afterwards.

The data beside the log is simulated by two numbers: its checkpoint, and whether it relies on the log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pynun.storage.wal.segment_format import RECORDS_AT, Record
from pynun.storage.wal.write_ahead_log import WriteAheadLog

if TYPE_CHECKING:
    from random import Random

    from tests.storage.wal.simulated_disk import SimulatedDisk

LOG_ID: Final = b"the id of a log."
SIZE: Final = RECORDS_AT + 3 * 1024
"""Small segments, so that they are reused all the time."""


class Life:
    """The data beside the log, and what clients were told."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self._take_over_chance = random.choice([0.01, 0.15])
        self.checkpoint = 0
        self.is_in_use = False
        self.stored: list[Record] = []
        """Acknowledged batches after the checkpoint."""
        self.pending: Record | None = None
        """The one being written when the power was cut."""
        self.in_doubt: Record | None = None
        """One that was refused because it could not be synced, if nothing was stored since."""
        self.revision = 0
        self.counts = dict.fromkeys(("stored", "refused", "recovered", "lost", "full"), 0)

    def open(self, disk: SimulatedDisk) -> WriteAheadLog:
        """Open the log as a start does. Fails unless it has what it must have, and nothing else."""
        log = WriteAheadLog(disk, LOG_ID, self.checkpoint, is_in_use=self.is_in_use, size=SIZE)
        self.check(log.recovered)
        log.start()
        self.stored = log.recovered
        self.pending = self.in_doubt = None
        return log

    def check(self, recovered: list[Record]) -> None:
        """Every acknowledged record, in order; the unacknowledged last one whole, or not at all."""
        count = len(self.stored)
        assert recovered[:count] == self.stored
        rest = recovered[count:]
        possible = [record for record in (self.in_doubt, self.pending) if record is not None]
        assert not rest or (len(rest) == 1 and rest[0] in possible), (rest, possible)
        if self.pending is not None:
            self.counts["recovered" if rest else "lost"] += 1

    def work(self, disk: SimulatedDisk, log: WriteAheadLog) -> bool:
        """Do one of the things that a server does with its log; False if it was a clean stop."""
        choice = self.random.random()
        if choice > self._take_over_chance + 0.1:
            self.append(disk, log)
        elif choice > 0.1:
            self.take_over(disk, log, self.random.choice([self.checkpoint, *(one.revision for one in self.stored)]))
        elif choice > 0.07:
            self.revision += 1  # a large batch, stored in the data alone
            self.take_over(disk, log, self.revision)
        elif choice > 0.03:
            for inode in disk.inodes.values():
                inode.is_locked = self.random.random() < 0.3
        else:
            self.take_over(disk, log, self.revision)
            self.is_in_use = False
            log.close()
            return False
        return True

    def append(self, disk: SimulatedDisk, log: WriteAheadLog) -> None:
        """Store a batch, or have it refused."""
        self.revision += 1 + (self.random.random() < 0.1)
        changes = self.random.choice([b"", b"x", b"like a record" * 30, self.random.randbytes(900)])
        record = Record(self.revision, log.revision, self.revision * 10, self.random.getrandbits(60), changes)
        is_appended = False
        try:
            if not log.make_room(len(changes)):
                self.counts["full"] += 1
                self.take_over(disk, log, self.stored[-1].revision if self.stored else self.checkpoint)
                return
            if not self.is_in_use:
                disk.step()
                self.is_in_use = True
                disk.step()
            self.pending = record
            log.append(record.revision, record.operations, record.time_ns, changes)
            is_appended = True
            log.sync()
        except OSError:
            self.counts["refused"] += 1
            if is_appended:
                self.in_doubt = record
            self.pending = None
            return
        self.counts["stored"] += 1
        self.stored.append(record)
        self.pending = self.in_doubt = None

    def take_over(self, disk: SimulatedDisk, log: WriteAheadLog, checkpoint: int) -> None:
        """Have the data take over the records up to a revision, in one commit, and release them."""
        disk.step()
        self.checkpoint = checkpoint
        self.stored = [record for record in self.stored if record.revision > checkpoint]
        disk.step()
        log.release(checkpoint)
