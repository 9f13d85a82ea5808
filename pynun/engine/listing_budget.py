"""Limits for listings of keys: bytes of one answer, memory of all of them together, time of one step.

A listing that stays small goes on at once. One that gathers more, or begins while the small ones together take much,
waits for a turn, of which there are few: so memory is bounded however many clients list however much, and nobody is
refused for what others do.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, Self

from pynun import limits
from pynun.engine.effects import Turn
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pynun.engine.effects import Answer, Need

_NAME_BYTES: Final = 64
"""What a gathered name takes besides its bytes."""

_SMALL_BYTES: Final = 64 * 1024
"""What a listing may gather without a turn."""


class ListingBudget:
    """All listings of one engine that are not answered yet."""

    def __init__(self, bytes_max: int) -> None:
        """`bytes_max` is how long one answer may be."""
        self.bytes_max = bytes_max
        self.small_bytes = 0
        """What those take that have no turn."""
        self._turns_free = limits.LISTINGS_LARGE_MAX
        self._waiting: dict[Listing, Callable[[], None]] = {}

    def open(self) -> Listing:
        """A listing, for a `with` block."""
        return Listing(self)

    def wait(self, listing: Listing, on_turn: Callable[[], None]) -> None:
        """Have a listing told when it has its turn; it may be now."""
        if self._turns_free:
            self._turns_free -= 1
            listing.has_turn = True
            on_turn()
        else:
            self._waiting[listing] = on_turn

    def end(self, listing: Listing) -> None:
        """A listing is over, or given up."""
        self._waiting.pop(listing, None)
        if not listing.has_turn:
            return
        self._turns_free += 1
        if self._waiting:
            following = next(iter(self._waiting))
            self.wait(following, self._waiting.pop(following))


class Listing:
    """What one listing has gathered."""

    def __init__(self, budget: ListingBudget) -> None:
        self._budget = budget
        self._bytes = 0
        self._small_bytes = 0
        self.has_turn = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._budget.small_bytes -= self._small_bytes
        self._budget.end(self)

    def gather(self, count: int, name_bytes: int) -> Generator[Need, Answer, None]:
        """Gather so many more names, which have so many bytes. Raises Refusal if the answer would be too long."""
        budget = self._budget
        self._bytes += name_bytes + count  # each behind a comma
        if self._bytes > budget.bytes_max:
            raise messages.too_much_listed(budget.bytes_max)
        if self.has_turn:
            return
        taken = name_bytes + _NAME_BYTES * count
        if self._small_bytes + taken <= _SMALL_BYTES and budget.small_bytes + taken <= limits.LISTINGS_SMALL_BYTES:
            self._small_bytes += taken
            budget.small_bytes += taken
            return
        yield Turn(partial(budget.wait, self))
        budget.small_bytes -= self._small_bytes
        self._small_bytes = 0
