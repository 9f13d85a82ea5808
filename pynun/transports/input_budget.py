"""The memory that all clients together can make the server hold: what they have sent and it can't be done with yet.

A largest message bounds one connection only; ten thousand of them, each with most of a message, are more than a machine
has. So what a connection makes the server hold is charged to one of two pools: that of the clients that have not
logged in, or that of those who have. When a pool is over its limit, connections are ended until an eighth of it is
free: of the address that holds most the one that holds most, again and again. So nobody takes the room of others by
having many connections, and whoever sends little is ended last.

Redis ends its largest clients likewise (maxmemory-clients); it has no accounts for addresses.

Nothing is charged for a message that comes whole and is run at once, which is nearly every one. Charged are: the
beginning of a message, line or request; commands that wait (for the check of a password, for their turn); of HTTP, the
results before them.
"""

from __future__ import annotations

import heapq
import logging
from typing import TYPE_CHECKING, Final

from pynun import limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.transports.clients import Client
    from pynun.transports.counters import Counters

_log = logging.getLogger("nun_db")

_SLACK_BYTES: Final = 1024 * 1024
"""What keeping one message of the largest size takes besides: heads, pieces, the beginning of the next."""

_FREE_SHARE: Final = 8
"""One part in so many is made free at once, else every further piece would have all connections looked at again."""

_ENDS_LOGGED: Final = 100
"""One line in the log for so many connections that were ended."""


class Reservation:
    """What one connection makes the server hold."""

    __slots__ = ("_budget", "bytes", "client", "is_authenticated", "is_counted_as_authenticated", "is_ended", "network",
                 "on_end")  # fmt: skip

    def __init__(
        self,
        budget: InputBudget,
        client: Client,
        is_authenticated: Callable[[], bool] = lambda: False,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`is_authenticated` says whether the client has logged in, by now.

        `on_end` is called when the connection has to be ended, on whatever task: it forgets what is held, and waits for
        nothing.
        """
        self._budget = budget
        self.client = client
        self.bytes = 0
        self.network = ""
        """The client's address, or its network, since something is held."""
        self.is_counted_as_authenticated = False
        self.is_ended = False
        self.is_authenticated = is_authenticated
        self.on_end = on_end

    def hold(self, bytes_held: int) -> bool:
        """So much is held now. False if the connection is ended for it, or was before: nothing more is kept of it."""
        if bytes_held != self.bytes and not self.is_ended:
            if not self.bytes:
                self.network = self._budget.network_of(self.client.address)
            self._budget.change(self, bytes_held - self.bytes)
        return not self.is_ended


class InputBudget:
    """The two pools of one server."""

    def __init__(self, counters: Counters, bytes_max: int, network_of: Callable[[str], str] = str) -> None:
        """`bytes_max` is the limit for clients that have not logged in; `network_of` says which addresses are one."""
        self.network_of = network_of
        self._counters = counters
        self._bytes_max = {
            False: bytes_max + _SLACK_BYTES,
            True: limits.UNFINISHED_AUTHENTICATED_SHARE * bytes_max + _SLACK_BYTES,
        }
        self._bytes = {False: 0, True: 0}
        self._reservations: dict[Reservation, None] = {}

    @property
    def bytes(self) -> int:
        """What is held for all clients now."""
        return sum(self._bytes.values())

    def change(self, reservation: Reservation, change: int) -> None:
        """A connection holds so much more, or less; whoever holds too much is ended."""
        if not reservation.bytes:
            self._reservations[reservation] = None
            reservation.is_counted_as_authenticated = reservation.is_authenticated()
        is_authenticated = reservation.is_counted_as_authenticated
        reservation.bytes += change
        self._bytes[is_authenticated] += change
        if not reservation.bytes:
            del self._reservations[reservation]
        if change > 0 and self._bytes[is_authenticated] > self._bytes_max[is_authenticated]:
            self._make_room()

    def _make_room(self) -> None:
        self._bytes = {False: 0, True: 0}
        for reservation in self._reservations:  # who has logged in meanwhile counts as such from now on
            reservation.is_counted_as_authenticated = reservation.is_authenticated()
            self._bytes[reservation.is_counted_as_authenticated] += reservation.bytes
        for is_authenticated, bytes_max in self._bytes_max.items():
            if self._bytes[is_authenticated] > bytes_max:
                self._end_largest(is_authenticated, bytes_max - bytes_max // _FREE_SHARE)

    def _end_largest(self, is_authenticated: bool, bytes_max: int) -> None:
        networks: dict[str, list[Reservation]] = {}
        for reservation in sorted(self._reservations, key=lambda one: one.bytes):
            if reservation.is_counted_as_authenticated is is_authenticated:
                networks.setdefault(reservation.network, []).append(reservation)
        largest = [(-sum(reservation.bytes for reservation in network), name) for name, network in networks.items()]
        heapq.heapify(largest)
        while self._bytes[is_authenticated] > bytes_max:
            negative, name = heapq.heappop(largest)
            reservation = networks[name].pop()
            if networks[name]:
                heapq.heappush(largest, (negative + reservation.bytes, name))
            self._end(reservation)

    def _end(self, reservation: Reservation) -> None:
        self._bytes[reservation.is_counted_as_authenticated] -= reservation.bytes
        del self._reservations[reservation]
        reservation.bytes = 0
        reservation.is_ended = True
        dropped = self._counters.dropped
        dropped["unfinished_input"] += 1
        if dropped["unfinished_input"] % _ENDS_LOGGED == 1:
            _log.warning(
                "a connection from %s was ended (%d so far): too much unfinished input is held; see"
                " NUN_MAX_UNFINISHED_SIZE",
                reservation.network or "?",
                dropped["unfinished_input"],
            )
        reservation.on_end()
