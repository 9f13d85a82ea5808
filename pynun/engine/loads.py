"""Databases being filled while the server runs: imports and copies. All or nothing, and nobody has to wait for them.

A load is filled under an identifier that no name refers to, with the note that a dropped database has (`tombstones`).
So after a crash the next start removes it. The last batch gives it its name and removes the note (`Engine.swap_in`).
Its slices are small, and each waits for the disk, so that a batch holds little of it beside the changes of clients.
"""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Final

from pynun import limits
from pynun.engine.conflicts import renamed
from pynun.engine.database import new_identifier
from pynun.engine.effects import Pause, Turn
from pynun.engine.key_layout import ID_BYTES, index_key, newest_of, prefixes
from pynun.engine.overlay import Entry
from pynun.engine.permissions import is_security_key
from pynun.engine.size_limit import growth
from pynun.engine.tombstones import note_key
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from pynun.engine.conflicts import Waiting
    from pynun.engine.effects import Answer, Need
    from pynun.engine.key_layout import Strategy
    from pynun.engine.overlay import Batch, View

IDLE_SECONDS: Final = 60.0
"""An import whose client sends nothing for so long is given up."""

_PAUSE_ENTRIES: Final = 64
_DISK_ENTRIES: Final = 512
_DISK_BYTES: Final = 256 * 1024
"""After so many entries or bytes, others get their turn, or the load waits for the disk: half a millisecond of the
loop, and less of a batch than it may hold."""

CHANGED_MAX: Final = 100_000
"""Keys that may change while a database is copied, and be copied again: some ten megabytes."""


class Load:
    """A database being filled."""

    def __init__(self, loads: Loads, name: str, identifier: int, strategy: Strategy, is_replacing: bool) -> None:
        self.name = name
        self.identifier = identifier
        self.strategy: Strategy = strategy
        self.is_replacing = is_replacing
        """Whether it takes the place of a database that has its name."""
        self.prefix, self.pending_prefix = prefixes(identifier)
        self.keys = 0
        self.bytes = 0
        """Of its keys and values."""
        self.newest_conflict = 0
        """The highest id of a conflict in it."""
        self.users = 0
        """Commands that work on it now."""
        self.touched_at = 0.0
        self._loads = loads
        self._since_pause = self._since_disk = self._bytes_since_disk = 0

    def put(self, key: str, entry: Entry, waiting: Waiting | None = None) -> None:
        """Put a key; the record of an unresolved conflict gets the name of this database, and is indexed."""
        view = self._loads.view
        stored = self.prefix + key.encode()
        if waiting is not None:
            view.write(index_key(self.pending_prefix, waiting.key, waiting.identifier), Entry(0, ""))
            entry = Entry(entry.version, renamed(waiting, self.name))
        old = view.read(stored)
        more = growth(key, old, entry.text)
        self.newest_conflict = newest_of((key,), self.newest_conflict)
        view.write(stored, entry)
        self.keys += old is None
        self._count(more, len(stored) + len(entry.text))

    def remove(self, key: str) -> None:
        """Remove a key that was put, because it was removed from what is copied."""
        view = self._loads.view
        stored = self.prefix + key.encode()
        old = view.read(stored)
        if old is not None:
            view.write(stored, None)
            self.keys -= 1
            self._count(growth(key, old, None), len(stored))

    def set_index(self, name: bytes, is_there: bool) -> None:
        """Set an entry of the index of conflicts."""
        self._loads.view.write(self.pending_prefix + name, Entry(0, "") if is_there else None)
        self._count(0, len(name))

    def has(self, key: str) -> bool:
        return self._loads.view.read(self.prefix + key.encode()) is not None

    def check_room(self, key: str, text: str, bytes_max: int | None) -> None:
        """Raises Refusal if the key makes the database larger than a database may be."""
        if bytes_max is not None and not is_security_key(key) and self.bytes + growth(key, None, text) > bytes_max:
            raise messages.database_full(bytes_max)

    def _count(self, more: int, written: int) -> None:
        self.bytes += more
        self._since_pause += 1
        self._since_disk += 1
        self._bytes_since_disk += written

    def breathe(self) -> Generator[Need, Answer, None]:
        """Let others work, and wait for the disk, as far as it is due. Raises Refusal if the load is over."""
        if self._since_disk >= _DISK_ENTRIES or self._bytes_since_disk >= _DISK_BYTES:
            yield from self.settle()
        elif self._since_pause >= _PAUSE_ENTRIES:
            self._since_pause = 0
            yield Pause()
            self._loads.check(self)

    def settle(self) -> Generator[Need, Answer, None]:
        """Wait until all of it so far is on disk. Raises Refusal if the load is over, or would fill the disk."""
        self._loads.check_disk()
        self._since_pause = self._since_disk = self._bytes_since_disk = 0
        yield Turn(_OnDisk(self._loads.view).ask)
        self._loads.check(self)


class _OnDisk:
    """Waits for the newest batch."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._on_end: Callable[[], None] = lambda: None

    def ask(self, on_end: Callable[[], None]) -> None:
        """Call back when it is on disk or lost."""
        self._on_end = on_end
        if not self._view.add_waiter(self._view.newest_unwritten, self):
            on_end()

    def released(self, _revision: int) -> None:
        self._on_end()

    def failed(self, _revision: int, _reason: str) -> None:
        self._on_end()


class Loads:
    """The loads of one engine."""

    def __init__(
        self,
        view: View,
        clock: Callable[[], float],
        on_change: Callable[[], None],
        is_disk_scarce: Callable[[], bool],
    ) -> None:
        """`on_change` is called when one began, or was given up: then keys may have to be removed, now or later."""
        self.view = view
        self._is_disk_scarce = is_disk_scarce
        self._on_change = on_change
        self._clock = clock
        self._numbers = itertools.count(1)
        self._loads: dict[int, Load] = {}

    @property
    def identifiers(self) -> frozenset[int]:
        """The identifiers of the databases being filled: their keys must stay."""
        return frozenset(load.identifier for load in self._loads.values())

    def begin(self, name: str, strategy: Strategy, *, is_replacing: bool = False) -> tuple[int, Load]:
        """A new load, and the number that finds it. Raises Refusal."""
        if len(self._loads) >= limits.LOADS_MAX:
            raise messages.too_many_loads(limits.LOADS_MAX)
        self.check_disk()
        identifier = new_identifier(self.view)
        self.view.write(note_key(identifier), Entry(identifier, name))
        load = Load(self, name, identifier, strategy, is_replacing)
        load.touched_at = self._clock()
        number = next(self._numbers)
        self._loads[number] = load
        self._on_change()
        return number, load

    def find(self, number: int) -> Load:
        """The load with this number. Raises Refusal."""
        if number not in self._loads:
            raise messages.NO_IMPORT
        return self._loads[number]

    def check(self, load: Load) -> None:
        """Raises Refusal if the load is over: given up, or lost with changes that could not be stored."""
        if load not in self._loads.values():
            raise messages.NO_IMPORT

    def check_disk(self) -> None:
        """Raises Refusal if loads would fill the disk."""
        if self._is_disk_scarce():
            raise messages.disk_is_scarce()

    @contextlib.contextmanager
    def working(self, load: Load) -> Iterator[None]:
        """A block that works on a load. If it fails, the load is given up."""
        load.users += 1
        try:
            yield
        except BaseException:
            self.end(load)
            raise
        finally:
            load.users -= 1
            load.touched_at = self._clock()

    def end(self, load: Load) -> None:
        """The load is complete, or given up: then what was put is removed like a dropped database."""
        self._loads = {number: one for number, one in self._loads.items() if one is not load}
        self._on_change()

    def expire(self) -> None:
        """Give up the loads whose clients have gone."""
        now = self._clock()
        for load in list(self._loads.values()):
            if not load.users and now - load.touched_at > IDLE_SECONDS:
                self.end(load)

    def clear(self) -> None:
        """Changes were lost, perhaps some of theirs."""
        self._loads.clear()
        self._on_change()

    def __bool__(self) -> bool:
        return bool(self._loads)


class ChangeTracker:
    """Notes which keys under some prefixes change while they are copied, so that the copy is that of one moment."""

    def __init__(self, view: View, *stored_prefixes: bytes) -> None:
        self._view = view
        self._prefixes = stored_prefixes
        self._changed: set[bytes] = set()

    def __enter__(self) -> ChangeTracker:
        self._view.on_taken.append(self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._view.on_taken.remove(self._take)

    def _take(self, batch: Batch) -> None:
        self._changed.update(key for key in batch.entries if key[:ID_BYTES] in self._prefixes)
        if len(self._changed) > CHANGED_MAX:
            self._changed = set(itertools.islice(self._changed, CHANGED_MAX + 1))

    def take(self) -> set[bytes]:
        """The stored keys that changed since the last call, also in the batch being filled. Raises Refusal."""
        self._take(self._view.batch)
        changed, self._changed = self._changed, set()
        if len(changed) > CHANGED_MAX:
            raise messages.changes_too_fast()
        return changed
