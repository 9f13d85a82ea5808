"""Scan ranges of the data, merged with the log."""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from pynun.engine.key_layout import CONFLICT_BIT, ID_BYTES
from pynun.engine.overlay import LONG_NAME_BYTES, LongName
from pynun.storage import schema
from pynun.storage.memtable import merged

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import lmdb
    from lmdb import _Database

    from pynun.engine.overlay import Entry
    from pynun.storage.memtable import Logged, Memtable, Pair, Under

    AnyPair = tuple[bytes | memoryview, bytes | memoryview]

TOUCHED_BYTES: Final = 1024 * 1024
"""A slice reads at most this many bytes of values, or one value: py-lmdb touches every page of a value it returns."""


class Slice(NamedTuple):
    """Totals of a part of the data."""

    totals: dict[int, tuple[int, int]]
    """Keys, and bytes of keys and values, by database id."""
    names: dict[int, str]
    """Names by database id, as far as this part has them."""
    following: bytes | None
    """Start of the next part; None at the end."""


def entries_under(
    transaction: lmdb.Transaction, prefix: bytes, logged: Sequence[Logged] = ()
) -> Iterator[tuple[bytes, Entry]]:
    """All entries under a prefix of a transaction's database and of the log, keys without their first four bytes."""
    with transaction.cursor() as cursor:
        found = cast("Iterator[Pair]", cursor.iternext() if cursor.set_range(prefix) else iter(()))
        pairs = takewhile(lambda pair: pair[0].startswith(prefix), found)
        for stored, value in merged(pairs, [pair for pair in logged if pair[0].startswith(prefix)]):
            key = schema.long_key(value) if schema.is_long(stored) else stored
            yield key[ID_BYTES:], schema.decode_value(key, value)


def data_slice(cursor: lmdb.Cursor, start: bytes, first: bytes, count_max: int) -> tuple[list[bytes], bytes | None]:
    """Keys of the data that begin with `start`, from `first` on, and the one after them."""
    if not cursor.set_range(first):
        return [], None
    stored = list(islice(cast("Iterator[bytes]", cursor.iternext(keys=True, values=False)), count_max + 1))
    following = stored.pop() if len(stored) > count_max else None
    if not stored[-1].startswith(start):
        # Stored keys are in order: those of the prefix come first, then the rest is cut at once.
        return stored[: bisect_left(stored, True, key=lambda key: not key.startswith(start))], None
    if following is not None and not following.startswith(start):
        following = None
    return stored, following


def slice_with_log(
    stored: list[bytes], following: bytes | None, logged: Under, count_max: int
) -> tuple[list[bytes], bytes | None]:
    """The same slice, merged with the log."""
    entries, _, behind = logged
    if behind is not None and (following is None or behind < following):
        following = behind
        del stored[bisect_left(stored, behind) :]
    kept = [key for key in stored if key not in entries]
    kept += [key for key, entry in entries.items() if entry is not None and (following is None or key < following)]
    kept.sort()
    if len(kept) > count_max:
        return kept[:count_max], kept[count_max]
    return kept, following


def full_names(
    transaction: lmdb.Transaction[memoryview],
    start: bytes,
    stored: list[bytes],
    logged: dict[bytes, bytes],
    long_names: list[LongName] | None,
) -> tuple[list[bytes], bytes | None]:
    """The keys that begin with `start` of a slice of LMDB's, as far as a slice may read, and where that ends."""
    names: list[bytes] = []
    left = TOUCHED_BYTES
    for key in stored:
        if not schema.is_long(key):
            if key.startswith(start):
                names.append(key[ID_BYTES:])
            continue
        if left <= 0:
            return names, key
        name = logged.get(key)
        if name is None:
            value = transaction.get(key)
            if value is None:
                continue  # removed since the slice was read
            left -= len(value)
            if schema.long_key(value, 0, len(start)) != start:
                continue
            length = schema.long_key_bytes(value) - ID_BYTES
            if length > LONG_NAME_BYTES and long_names is not None:
                long_names.append(LongName(key, length))
                continue
            name = schema.long_key(value)
        left -= len(name)
        if name.startswith(start):
            names.append(name[ID_BYTES:])
    return names, None


def totals_of(pairs: Iterable[AnyPair], behind: bytes | None, count_max: int) -> Slice:
    """Totals of the first of these pairs; `behind` is where they end if there are more."""
    totals: dict[int, tuple[int, int]] = {}
    names: dict[int, str] = {}
    following = behind
    left = TOUCHED_BYTES
    for count, (key, value) in enumerate(pairs):
        if count == count_max or left <= 0:
            following = bytes(key)
            break
        left -= len(value)
        prefix = int.from_bytes(key[:ID_BYTES], "big")
        identifier = prefix & ~CONFLICT_BIT
        keys, size = totals.get(identifier, (0, 0))
        is_key = prefix == identifier  # not of the index of conflicts
        totals[identifier] = keys + is_key, size + (schema.text_bytes(key, value) if is_key else 0)
        if not prefix and len(key) > 4:
            whole = schema.long_key(bytes(value)) if schema.is_long(key) else bytes(key)
            names[schema.decode_value(whole, bytes(value)).version] = whole[ID_BYTES:].decode()
    return Slice(totals, names, following)


def size_of(pairs: Iterable[AnyPair], behind: bytes | None, count_max: int) -> tuple[int, int, bytes | None]:
    """How large the first of these pairs are: see `pynun.engine.overlay.Store.measure_database`."""
    count = size = 0
    for key, value in pairs:
        if count == count_max or size > TOUCHED_BYTES:
            return count, size, bytes(key)
        count += 1
        size += schema.text_bytes(key, value)
    return count, size, behind


def scan_both(
    environment: lmdb.Environment,
    data: _Database,
    memtable: Memtable,
    start: bytes,
    position: bytes,
    count_max: int,
    long_names: list[LongName] | None,
) -> tuple[list[bytes], bytes | None, bool]:
    """A slice of the keys of data and log that begin with `start`: see `pynun.engine.overlay.Store.scan`."""
    stored_start = start[: schema.PREFIX_BYTES]
    first = position[: schema.KEY_BYTES_MAX] or stored_start
    while True:
        logged = memtable.under(stored_start, first, count_max)
        with environment.begin(db=data) as transaction, transaction.cursor() as cursor:
            stored, following = data_slice(cursor, stored_start, first, count_max)
            if logged.entries:
                stored, following = slice_with_log(stored, following, logged, count_max)
                if not stored and following is not None:
                    first = following
                    continue
        if len(start) <= schema.PREFIX_BYTES and not any(map(schema.is_long, stored)):
            return [name[ID_BYTES:] for name in stored], following, True
        with environment.begin(db=data, buffers=True) as with_values:
            names, behind = full_names(with_values, start, stored, logged.full_keys, long_names)
        return names, behind or following, False
