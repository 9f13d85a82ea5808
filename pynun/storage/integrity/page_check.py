"""Check the pages of a data file before LMDB, which trusts them, uses them. A damaged page can kill the process (by an
assertion of LMDB or SIGSEGV), or hide keys.

A finding is only a suspicion, which `page_walk` verifies with LMDB. The layout is that of LMDB 0.9 on 64 bits, little
endian (mdb.c: MDB_meta, MDB_db, MDB_page, MDB_node). Any other layout is not checked.
"""

from __future__ import annotations

import os
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from pathlib import Path

PAGES_MAX: Final = 2048
"""Pages checked in each database, upper tree levels first, so that a start does not take longer with more data. With
the bound below it takes 50 to 60 ms for a million keys. Files of up to 8 MiB are checked completely."""

LEAVES_IN_DETAIL_MAX: Final = 512
"""Leaves of which every entry is checked."""

_MAGIC: Final = 0xBEEFC0DE
_VERSION: Final = 1
_META: Final = struct.Struct("<16xIIQQ")
"""After the page header: magic, version, address and size of the map."""
_TREE: Final = struct.Struct("<IHHQQQQQ")
"""MDB_db: pad (the page size, in the first one), flags, depth, branch, leaf and overflow pages, entries, root."""
_TREES_AT: Final = _META.size
_LAST: Final = struct.Struct("<QQ")
"""After the trees of free pages and of names: last page, transaction number."""
TRANSACTION_AT: Final = _TREES_AT + 2 * _TREE.size + 8
"""Where in each of the first two pages the number of its transaction is: a multiple of eight."""
_HEAD_BYTES: Final = _TREES_AT + 2 * _TREE.size + _LAST.size

_HEAD: Final = struct.Struct("<QHHHH")
"""Page header: number, pad, flags, start and end of the free space."""
_NODE: Final = struct.Struct("<HHHH")
"""Low and high half of the size of the data (or of the page below, with the flags as its highest part), flags, size
of the key."""
_NUMBER: Final = struct.Struct("<Q")
_COUNT: Final = struct.Struct("<I")
_BRANCH, _LEAF, _OVERFLOW, _KINDS = 1, 2, 4, 0x0F
_BIG_DATA, _SUB_DATA = 1, 2
_KEY_BYTES_MAX: Final = 511
_NO_PAGE: Final = (1 << 64) - 1
_PAGE_SIZES: Final = {1 << bits for bits in range(9, 17)}


class _Tree(NamedTuple):
    pad: int
    flags: int
    depth: int
    branches: int
    leaves: int
    overflows: int
    entries: int
    root: int


class _DamagedError(Exception):
    """What is wrong, in words."""


def find_damage(path: Path) -> str | None:
    """What seems wrong with a data file that nobody writes; None if nothing does."""
    try:
        with path.open("rb", buffering=0) as file:
            names = _newest_names(file.fileno())
            if names is None:
                return None
            page_bytes, last, tree = names
            pages = _Pages(file.fileno(), page_bytes, last)
            for named in pages.check(tree):
                pages.check(named)
    except OSError as error:
        return error.strerror
    except (_DamagedError, struct.error) as error:
        return str(error)
    return None


def _newest_names(descriptor: int) -> tuple[int, int, _Tree] | None:
    """Page size, last page and the tree of names that the newest commit left; None where that is for LMDB to say."""
    found: list[tuple[int, int, int, _Tree]] = []
    start = 0
    for _ in range(2):
        head = os.pread(descriptor, 4096, start)
        if len(head) < _HEAD_BYTES:
            return None
        magic, version, _, _ = _META.unpack_from(head)
        free = _Tree(*_TREE.unpack_from(head, _TREES_AT))
        if magic != _MAGIC or version != _VERSION or free.pad not in _PAGE_SIZES:
            return None
        names = _Tree(*_TREE.unpack_from(head, _TREES_AT + _TREE.size))
        last, transaction = _LAST.unpack_from(head, _TREES_AT + 2 * _TREE.size)
        found.append((transaction, free.pad, last, names))
        start = free.pad
    _, page_bytes, last, names = max(found, key=lambda one: one[0])
    return page_bytes, last, names


def newest_transaction(heads: bytes) -> int:
    """The number of the newest commit of a data file, from its first two pages. Raises struct.error if they are cut."""
    first: int = _NUMBER.unpack_from(heads, TRANSACTION_AT)[0]
    second: int = _NUMBER.unpack_from(heads, len(heads) // 2 + TRANSACTION_AT)[0]
    return max(first, second)


class _Pages:
    """The pages of one file."""

    def __init__(self, descriptor: int, page_bytes: int, last: int) -> None:
        self._descriptor = descriptor
        self._page_bytes = page_bytes
        self._last = last

    def check(self, tree: _Tree) -> list[_Tree]:
        """Check a tree level by level; returns the trees that it names. Raises _DamagedError."""
        named: list[_Tree] = []
        if tree.root == _NO_PAGE:
            return named
        level = [tree.root]
        seen = entries = overflows = leaves = 0
        for depth in range(1, tree.depth + 1):
            below: list[int] = []
            kind = _LEAF if depth == tree.depth else _BRANCH
            if seen + len(level) > PAGES_MAX:
                level = level[: PAGES_MAX - seen]
            seen += len(level)
            for number in level:
                page, places = self._page(number, kind)
                if kind == _BRANCH:
                    below += self._branch(number, page, places)
                else:
                    entries += len(places)
                    leaves += 1
                    if leaves <= LEAVES_IN_DETAIL_MAX:
                        overflows += self._leaf(number, page, places, named)
            level = below
        if seen == tree.branches + tree.leaves and entries != tree.entries:
            raise _DamagedError(f"it has {entries} entries instead of {tree.entries}")
        if leaves == tree.leaves <= LEAVES_IN_DETAIL_MAX and overflows != tree.overflows:
            raise _DamagedError(f"large values have {overflows} pages instead of {tree.overflows}")
        if seen < min(tree.branches + tree.leaves, PAGES_MAX):
            raise _DamagedError("pages are missing")
        return named

    def _read(self, number: int) -> bytes:
        if number > self._last:
            raise _DamagedError(f"there is no page {number}")
        page = os.pread(self._descriptor, self._page_bytes, number * self._page_bytes)
        if len(page) < self._page_bytes:
            raise _DamagedError("its end is missing")
        return page

    def _page(self, number: int, kind: int) -> tuple[bytes, list[int]]:
        """A page of a tree and the positions of its nodes."""
        page = self._read(number)
        itself, _, flags, lower, upper = _HEAD.unpack_from(page)
        if (
            itself != number
            or flags & _KINDS != kind
            or not _HEAD.size < lower <= upper <= self._page_bytes
            or lower % 2
        ):
            raise _DamagedError(f"page {number} makes no sense")
        places = memoryview(page)[_HEAD.size : lower].cast("H").tolist()
        if min(places) < upper or max(places) > self._page_bytes - _NODE.size:
            raise _DamagedError(f"page {number} makes no sense")
        return page, places

    def _branch(self, number: int, page: bytes, places: list[int]) -> list[int]:
        """The pages below a branch."""
        below: list[int] = []
        before = b""
        for place in places:
            low, high, top, key_bytes = _NODE.unpack_from(page, place)
            key = page[place + _NODE.size : place + _NODE.size + key_bytes]
            if key_bytes > _KEY_BYTES_MAX or len(key) < key_bytes or (len(below) > 1 and key <= before):
                raise _DamagedError(f"page {number} makes no sense")
            before = key  # the first key counts as the lowest, whatever it is
            below.append(low | high << 16 | top << 32)
        return below

    def _leaf(self, number: int, page: bytes, places: list[int], named: list[_Tree]) -> int:
        """Number of overflow pages of a leaf's values; adds the trees that it names."""
        overflows = 0
        before: bytes | None = None
        for place in places:
            low, high, flags, key_bytes = _NODE.unpack_from(page, place)
            data = place + _NODE.size + key_bytes
            size = low | high << 16
            key = page[place + _NODE.size : data]
            if (
                key_bytes > _KEY_BYTES_MAX
                or data + (_NUMBER.size if flags & _BIG_DATA else size) > self._page_bytes
                or (before is not None and key <= before)
            ):
                raise _DamagedError(f"page {number} makes no sense")
            before = key
            if flags & _BIG_DATA:
                overflows += self._overflow(_NUMBER.unpack_from(page, data)[0], size)
            elif flags & _SUB_DATA:
                named.append(_Tree(*_TREE.unpack_from(page, data)))
        return overflows

    def _overflow(self, number: int, size: int) -> int:
        """How many pages a value has."""
        page = self._read(number)
        itself, _, flags, _, _ = _HEAD.unpack_from(page)
        (count,) = _COUNT.unpack_from(page, _HEAD.size - _COUNT.size)
        needed = -(-(_HEAD.size + size) // self._page_bytes)
        if itself != number or flags & _KINDS != _OVERFLOW or count < needed:
            raise _DamagedError(f"page {number} makes no sense")
        self._read(number + count - 1)
        return int(count)
