"""Scans of keys in slices, with pauses for others, and in pieces for very long keys."""

from __future__ import annotations

from bisect import insort
from typing import TYPE_CHECKING, Final

from pynun.engine.effects import Pause
from pynun.engine.key_layout import ID_BYTES
from pynun.engine.patterns import EVERY_KEY

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    from pynun.engine.effects import Answer, Need
    from pynun.engine.listing_budget import Listing
    from pynun.engine.overlay import LongName, Store, View
    from pynun.engine.patterns import Pattern

_SLICE_KEYS: Final = 2048
"""Keys that a scan reads before others get their turn: about a millisecond."""

_FREE_BYTES: Final = 4096
"""Keys that a scan may read without any pause; a message can contain thousands of scans."""

_PIECE_BYTES: Final = 1024 * 1024
"""Of a long name, read at once: a millisecond or two, most of it for what the store touches of the name each time."""


_NAMES_AT_ONCE: Final = 1000

_PAGE_SLICES: Final = 16
_PAGE_KEYS: Final = 2000
_PAGE_BYTES: Final = 256 * 1024
"""A page of keys ends with the slice that reaches one of these: what is read, what is found."""

_SORTED_BYTES: Final = 400
"""Keys that share so many bytes may be stored in another order, so no page ends between them."""


def scan_all(store: Store, start: bytes) -> Iterator[bytes]:
    """The stored keys that begin with `start`, without their first four bytes: for where nobody has to wait."""
    position: bytes | None = b""
    while position is not None:
        names, position, _ = store.scan(start, position, _NAMES_AT_ONCE)
        yield from names


def scan_slices(
    view: View,
    prefix: bytes,
    key_prefix: bytes = b"",
    pattern: Pattern = EVERY_KEY,
    count_max: int | None = None,
    after: bytes = b"",
    listing: Listing | None = None,
    *,
    with_security: bool = True,
) -> Generator[Need, Answer, list[bytes]]:
    """The keys under a stored prefix that begin with `key_prefix`, in order; others may work between its steps.

    With `after`, those up to `key_prefix` and `after` are passed over, as far as that saves reading them. Given are
    those that match `pattern`, and `$$` keys only `with_security`. A scan that finds more than `count_max` keys
    ends early; `listing` is told what is gathered, and may raise Refusal. Without it, for what the server itself
    has to read whole, nothing is too long. Keys that are there during the whole scan are given exactly once.
    """
    start = prefix + key_prefix
    store = view.store
    keep = _filter(pattern, with_security=with_security)
    unwritten = view.unwritten(start)
    added = keep(sorted(key[ID_BYTES:] for key, entry in unwritten.items() if entry is not None))
    added_at = 0
    found: list[bytes] = []
    matched: list[LongName] = []
    is_sorted = True
    position: bytes | None = start + after if after else b""
    while position is not None:
        long_names: list[LongName] | None = None if listing is None else []
        names, position, is_slice_sorted = store.scan(start, position, _SLICE_KEYS, long_names)
        is_long = position is not None or sum(map(len, names)) > _FREE_BYTES
        if unwritten:
            names = [name for name in names if prefix + name not in unwritten]
        names = keep(names)
        added_end = added_at
        while added_end < len(added) and (position is None or prefix + added[added_end] < position):
            added_end += 1
        if added_at < added_end or not is_slice_sorted:
            # Here, for the whole may be long; only of keys that are longer than the store's limit parts overlap.
            names = sorted([*names, *added[added_at:added_end]])
            added_at = added_end
        is_sorted = is_sorted and not (found and names and names[0] < found[-1])
        found += names
        if count_max is not None and len(found) > count_max:
            return found
        if listing is not None:
            yield from listing.gather(len(names), sum(map(len, names)))
        if listing is not None and long_names:
            for long_name in long_names:
                is_visible = with_security or store.read_long(long_name, 0, 2) != b"$$"
                if is_visible and (yield from is_matched(store, long_name, pattern)):
                    yield from listing.gather(1, long_name.length)
                    matched.append(long_name)
        if is_long:
            yield Pause()
    if not is_sorted:
        found.sort()
    for long_name in matched:
        name = yield from read_whole(store, long_name)
        if name is not None and prefix + name not in unwritten:
            insort(found, name)
    return found


def scan_page(
    view: View, prefix: bytes, pattern: Pattern, after: bytes, listing: Listing, *, with_security: bool
) -> Generator[Need, Answer, tuple[list[bytes], bytes | None]]:
    """Some keys under a stored prefix that match `pattern`, in order, those behind `after`, and the last one looked at.

    That is where the next page begins; None: there are no more keys. A page ends when it has enough keys, or has looked
    at many, so it may have none. `listing` may raise Refusal.
    """
    start = prefix + (pattern.text.encode() if pattern.kind == "prefix" else b"")
    keep = _filter(pattern, with_security=with_security)
    unwritten = {key[ID_BYTES:]: entry for key, entry in view.unwritten(start).items() if key[ID_BYTES:] > after}
    waiting = {name for name, entry in unwritten.items() if entry is not None}
    found: list[bytes] = []
    last = b""
    found_bytes = slices = 0
    position = max(start, prefix + after)
    while True:
        names, following, _ = view.store.scan(start, position, _SLICE_KEYS)
        reached = [name for name in names if name > after and name not in unwritten]
        added = {name for name in waiting if following is None or prefix + name < following}
        waiting -= added
        reached += added
        kept = keep(reached)
        kept_bytes = sum(map(len, kept))
        found += kept
        found_bytes += kept_bytes
        yield from listing.gather(len(kept), kept_bytes)
        if following is None:
            return sorted(found), None
        position = following
        last = max(last, *reached, b"")
        slices += 1
        is_full = slices >= _PAGE_SLICES or len(found) >= _PAGE_KEYS or found_bytes >= _PAGE_BYTES
        if is_full and last and not _begin_alike(position[len(prefix) :], last):
            return sorted(found), last
        yield Pause()


def _begin_alike(one: bytes, other: bytes) -> bool:
    return len(one) >= _SORTED_BYTES and one[:_SORTED_BYTES] == other[:_SORTED_BYTES]


def _filter(pattern: Pattern, *, with_security: bool) -> Callable[[list[bytes]], list[bytes]]:
    """What keeps, of a slice of names that begin as a prefix asks for, those that match."""
    text = pattern.text.encode()

    def keep(names: list[bytes]) -> list[bytes]:
        if pattern.kind == "suffix":
            names = [name for name in names if name.endswith(text)]
        elif pattern.kind == "substring":
            names = [name for name in names if text in name]
        if not with_security:
            names = [name for name in names if not name.startswith(b"$$")]
        return names

    return keep


def is_matched(store: Store, name: LongName, pattern: Pattern) -> Generator[Need, Answer, bool]:
    """Whether a long name matches, in short steps."""
    text = pattern.text.encode()
    match pattern.kind:
        case "all":
            return True
        case "prefix":
            return store.read_long(name, 0, len(text)) == text
        case "suffix":
            return store.read_long(name, max(0, name.length - len(text)), len(text)) == text
        case "substring":
            step = max(_PIECE_BYTES, 4 * len(text))
            for first in range(0, name.length, step):
                if text in (store.read_long(name, first, step + len(text) - 1) or b""):
                    return True
                yield Pause()
            return False


def read_whole(store: Store, name: LongName) -> Generator[Need, Answer, bytes | None]:
    """The whole of a long name, in short steps; None if it was removed meanwhile."""
    pieces: list[bytes] = []
    for first in range(0, name.length, _PIECE_BYTES):
        piece = store.read_long(name, first, _PIECE_BYTES)
        if piece is None:
            return None
        pieces.append(piece)
        yield Pause()
    return b"".join(pieces)
