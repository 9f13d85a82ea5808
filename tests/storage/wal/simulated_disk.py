"""A disk that loses unsynced writes in a crash, and fails as it is told.

A crash keeps what was synced. Of each 512-byte sector written since, it keeps any version or the synced one; of the
names changed since the folder was synced, the first few changes. A sync that fails writes any of the sectors and
forgets the others, as the kernel does: the next sync does not try them again.
"""

from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING, Final

from pynun.storage.wal.disk import Disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

SECTOR: Final = 512


class CrashError(BaseException):
    """The power is cut: nothing that runs may catch this."""


class Inode:
    """The content of one file."""

    def __init__(self, durable: bytes = b"") -> None:
        self.durable = bytearray(durable)
        self.current = bytearray(durable)
        self.versions: dict[int, list[bytes]] = {}
        """What was written to each sector since the last sync."""
        self.is_locked = False
        """Whether a reader holds a lock."""

    def write(self, data: bytes, at: int) -> None:
        """Write to the page cache."""
        if len(self.current) < at + len(data):
            self.current.extend(bytes(at + len(data) - len(self.current)))
        self.current[at : at + len(data)] = data
        for number in range(at // SECTOR, -(-(at + len(data)) // SECTOR)):
            sector = bytes(self.current[number * SECTOR : (number + 1) * SECTOR])
            self.versions.setdefault(number, []).append(sector)

    def sync(self) -> None:
        """Write everything to the disk."""
        for number, versions in self.versions.items():
            self._keep(number, versions[-1])
        self.versions.clear()

    def settle(self, random: Random) -> None:
        """Write any sectors to the disk, and forget the others."""
        for number, versions in self.versions.items():
            if version := random.choice([b"", *versions]):
                self._keep(number, version)
        self.versions.clear()

    def _keep(self, number: int, version: bytes) -> None:
        end = number * SECTOR + len(version)
        if len(self.durable) < end:
            self.durable.extend(bytes(end - len(self.durable)))
        self.durable[number * SECTOR : end] = version


class SimulatedDisk(Disk):
    """One folder. After a crash, a new one has what is left."""

    def __init__(self, random: Random, names: dict[str, Inode] | None = None) -> None:
        super().__init__(-1)
        self.random = random
        self.inodes = dict(names or {})
        """What the names lead to."""
        self._durable_names = dict(self.inodes)
        self._renamings: list[Callable[[dict[str, Inode]], object]] = []
        self.open_files: dict[int, Inode] = {}
        self._descriptors = 0
        self.calls = 0
        self.crash_at: int | None = None
        """The number of the call in which the power is cut."""
        self.fail: Callable[[str], str | None] = lambda _: None
        """Is given the name of each call, and returns EIO, ENOSPC, "short" or None."""

    def crashed(self) -> SimulatedDisk:
        """The disk after a power cut."""
        names = dict(self._durable_names)
        for rename in self._renamings[: self.random.randint(0, len(self._renamings))]:
            rename(names)
        inodes = {id(inode): inode for inode in (*self._durable_names.values(), *names.values())}
        for inode in inodes.values():
            inode.settle(self.random)
        return SimulatedDisk(self.random, {name: Inode(bytes(inode.durable)) for name, inode in names.items()})

    def killed(self) -> SimulatedDisk:
        """The same disk after the process was killed: what was written is not lost, nor is it synced."""
        disk = SimulatedDisk(self.random)
        disk.inodes, disk._durable_names, disk._renamings = self.inodes, self._durable_names, self._renamings
        disk.calls, disk.crash_at = self.calls, self.crash_at
        return disk

    def step(self) -> None:
        """Something after which the power may be cut."""
        self.calls += 1
        if self.calls == self.crash_at:
            raise CrashError

    def _fault(self, call: str) -> str | None:
        fault = self.fail(call)
        if fault in ("EIO", "ENOSPC"):
            number = errno.EIO if fault == "EIO" else errno.ENOSPC
            raise OSError(number, os.strerror(number))
        return fault

    def names(self) -> list[str]:
        return list(self.inodes)

    def make(self, name: str) -> int:
        self._fault("make")
        inode = Inode()
        self._rename(lambda names: names.update({name: inode}))
        self.step()
        return self._descriptor(inode)

    def open(self, name: str) -> int:
        if name not in self.inodes:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return self._descriptor(self.inodes[name])

    def _descriptor(self, inode: Inode) -> int:
        self._descriptors += 1
        self.open_files[self._descriptors] = inode
        return self._descriptors

    def has_name(self, _file: int) -> bool:
        return True

    def size(self, file: int) -> int:
        return len(self.open_files[file].current)

    def read(self, file: int, size: int, at: int) -> bytes:
        return bytes(self.open_files[file].current[at : at + size])

    def write(self, file: int, data: bytes | memoryview, at: int) -> int:
        fault = self._fault("write")
        whole = bytes(data)
        if fault == "short":
            whole = whole[: self.random.randint(1, len(whole))]
        self.open_files[file].write(whole, at)
        self.step()
        return len(whole)

    def sync(self, file: int) -> None:
        self.step()
        try:
            self._fault("sync")
        except OSError:
            self.open_files[file].settle(self.random)
            raise
        self.open_files[file].sync()
        self.step()

    def rename(self, name: str, new_name: str) -> None:
        self._fault("rename")
        self._rename(lambda names: names.update({new_name: names.pop(name)}))
        self.step()

    def remove(self, name: str) -> None:
        self._fault("remove")
        self._rename(lambda names: names.pop(name, None))
        self.step()

    def _rename(self, change: Callable[[dict[str, Inode]], object]) -> None:
        change(self.inodes)
        self._renamings.append(change)

    def sync_folder(self) -> None:
        self.step()
        self._fault("sync_folder")
        self._durable_names = dict(self.inodes)
        self._renamings = []
        self.step()

    def lock(self, file: int) -> bool:
        return not self.open_files[file].is_locked

    def unlock(self, file: int) -> None:
        pass

    def close(self, file: int) -> None:
        del self.open_files[file]
