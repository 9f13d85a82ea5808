"""The budget for unfinished input of all clients together.

A maximum message size bounds only one connection. Ten thousand connections, each with most of a message, exceed a
machine's memory. So the memory held for a connection is charged to one of two pools: clients that have logged in, and
clients that have not. When a pool exceeds its limit, connections are ended until an eighth of it is free: each time the
largest one of the address that holds most. So many connections don't take memory from others, and clients that send
little are ended last.

Redis ends its largest clients in the same way (maxmemory-clients), but does not count by address.

A message that arrives complete and runs at once, as nearly all do, is not charged. Charged are incomplete messages,
lines and requests, commands that wait (for a password check or their turn), and HTTP results before them.
"""

from __future__ import annotations

import heapq
import logging
from typing import TYPE_CHECKING, Final

from pynun import limits

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.transports.client_address import Client
    from pynun.transports.counters import Counters

_log = logging.getLogger("nun_db")

_SLACK_BYTES: Final = 1024 * 1024
"""Overhead of one message of the largest size: heads, pieces, the start of the next."""

_FREE_SHARE: Final = 8
"""Free this fraction at once, else every further piece would scan all connections again."""

_ENDS_LOGGED: Final = 100
"""Log one line for this many ended connections."""


class Reservation:
    """The memory that the server holds for one connection."""

    __slots__ = ("_budget", "bytes", "client", "is_authenticated", "is_counted_as_authenticated", "is_ended", "network",
                 "on_end")  # fmt: skip

    def __init__(
        self,
        budget: InputBudget,
        client: Client,
        is_authenticated: Callable[[], bool] = lambda: False,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        """`is_authenticated` tells whether the client has logged in.

        `on_end` is called, on any task, when the connection must be ended. It discards the held input without waiting.
        """
        self._budget = budget
        self.client = client
        self.bytes = 0
        self.network = ""
        """The client's address or network, set once something is held."""
        self.is_counted_as_authenticated = False
        self.is_ended = False
        self.is_authenticated = is_authenticated
        self.on_end = on_end

    def hold(self, bytes_held: int) -> bool:
        """Set the held amount. False if the connection is or was ended for it; then keep nothing more."""
        if bytes_held != self.bytes and not self.is_ended:
            if not self.bytes:
                self.network = self._budget.network_of(self.client.address)
            self._budget.change(self, bytes_held - self.bytes)
        return not self.is_ended


class InputBudget:
    """The two pools of one server."""

    def __init__(self, counters: Counters, bytes_max: int, network_of: Callable[[str], str] = str) -> None:
        """`bytes_max` is the limit for clients that have not logged in; `network_of` groups addresses."""
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
        """Bytes held for all clients."""
        return sum(self._bytes.values())

    def change(self, reservation: Reservation, change: int) -> None:
        """Change a connection's amount; end connections that hold too much."""
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
        for reservation in self._reservations:  # after a login, count it in the other pool
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
