"""Scan ranges of the data, merged with the log."""

from __future__ import annotations

from bisect import bisect_left
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Final, NamedTuple, cast

from pynun.engine.key_layout import ID_BYTES
from pynun.engine.overlay import LONG_NAME_BYTES, LongName
from pynun.storage import schema
from pynun.storage.memtable import merged

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import lmdb

    from pynun.engine.overlay import Entry
    from pynun.storage.memtable import Logged, Pair, Under

TOUCHED_BYTES: Final = 1024 * 1024
"""A slice reads at most this many bytes of values, or one value: py-lmdb touches every page of a value it returns."""


class Slice(NamedTuple):
    """Totals of a part of the data."""

    totals: dict[int, tuple[int, int]]
    """Keys and bytes by database id; bytes include the conflict index."""
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
            yield key[4:], schema.decode_value(key, value)


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
                names.append(key[4:])
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
            names.append(name[4:])
    return names, None
