"""The keys of the log in order, so that a part of them is found without looking at all of them.

Made when somebody first asks, and dropped by the log now and then: so it costs changes next to nothing while nobody
asks. It may hold keys that the log has no more, and holds all that the log had when the index was made and all that
were added since.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

_FEW: Final = 50
"""So many new keys cost less when each is put into its place than when all are sorted."""


class KeyIndex:
    """`add` is called by the one thread that writes, the rest by one other at a time."""

    def __init__(self) -> None:
        self._ordered: list[bytes] = []
        self._added: list[bytes] = []  # not in order yet; the thread that writes only ever appends
        self.add: Final = self._added.append
        """Take a key, which may be there already."""

    def fill(self, keys: Iterable[bytes]) -> None:
        """Take the keys that were there before anybody called `add`; each once."""
        self._ordered = sorted(keys)

    def between(self, start: bytes, first: bytes, count_max: int) -> tuple[list[bytes], bytes | None]:
        """The keys that begin with `start`, from `first` on, in order, and the one behind them if there are more."""
        self._put_in_order()
        ordered = self._ordered
        low = bisect_left(ordered, max(start, first))
        found = ordered[low : low + count_max + 1]
        # Those that begin with `start` come first.
        end = bisect_left(found, True, key=lambda key: not key.startswith(start))
        if end > count_max:
            return found[:count_max], found[count_max]
        return found[:end], None

    def _put_in_order(self) -> None:
        # A copy, and then as many are removed: the thread that writes may append at any moment.
        added = self._added[:]
        if not added:
            return
        del self._added[: len(added)]
        ordered = self._ordered
        if len(added) <= _FEW:
            for key in added:
                at = bisect_left(ordered, key)
                if at == len(ordered) or ordered[at] != key:
                    ordered.insert(at, key)
        else:
            end = len(ordered)
            for key in set(added):
                at = bisect_left(ordered, key, 0, end)
                if at == end or ordered[at] != key:
                    ordered.append(key)
            ordered.sort()
