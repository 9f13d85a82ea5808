"""What waits to be sent to another node, at the owner.

What depends on a batch waits until that is accepted, as in the outbox of a client. An event leaves once, with the
numbers of all clients of that node that are to be told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pynun.cluster import link_records as records
from pynun.cluster.record_reader import RecordQueue

if TYPE_CHECKING:
    import socket
    from collections import deque

    from pynun.engine.events import Event
    from pynun.transports.service import Service


class Addressee(Protocol):
    """A client of the other node."""

    number: int
    depends: int
    """Of all that it is to be sent, until the newest revision."""


class _SharedEvent:
    """An event, and the numbers of the clients it is for."""

    __slots__ = ("event", "numbers")

    def __init__(self, event: Event, number: int) -> None:
        self.event = event
        self.numbers = [number]

    def encode(self) -> bytes:
        return records.told(self.event, self.numbers)


class _Held:
    """What waits for one revision."""

    __slots__ = ("items", "revision")

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.items: list[bytes | _SharedEvent] = []


class OwnerQueue(RecordQueue):
    """What waits to be sent to another node. The order is kept for each client."""

    __slots__ = ("_newest", "_newest_in", "_on_disk")

    _held: deque[_Held]

    def __init__(self, connected: socket.socket, service: Service) -> None:
        super().__init__(connected, service.flusher)
        self._on_disk = 0  # what depends on this revision may leave
        self._newest: _SharedEvent | None = None  # the newest event
        self._newest_in: _Held | None = None  # and where it is; None: it is the next to leave

    def put(self, encoded: bytes, depends: int, client: Addressee) -> None:
        """A record for one client, which must not leave before that batch is stored; 0: before none."""
        if self._is_sealed:
            return
        held = self._where(depends, client)
        if held is None:
            self._add_newest()
            self.append(encoded)
            self.has_reply = True
        else:
            held.items.append(encoded)
            self._bytes += len(encoded)

    def share(self, event: Event, client: Addressee) -> None:
        """An event for one client, which others of that node may be told too."""
        newest, held = self._newest, self._newest_in
        here = self._on_disk if held is None else held.revision
        if newest is not None and newest.event is event and client.depends <= here:
            newest.numbers.append(client.number)  # nearly always: the watchers of a key are told one after another
            if held is not None:
                client.depends = held.revision
            return
        if self._is_sealed:
            return
        held = self._where(event.revision, client)
        self._add_newest()
        self._newest, self._newest_in = _SharedEvent(event, client.number), held
        if held is not None:
            held.items.append(self._newest)
        elif not self._is_dirty:
            self._is_dirty = True
            self._flusher.add(self)

    def _add_newest(self) -> None:
        """The newest event is for nobody else: have it sent, if it waits for that only."""
        newest, self._newest = self._newest, None
        if newest is not None and self._newest_in is None:
            self.append(newest.encode())

    def _where(self, depends: int, client: Addressee) -> _Held | None:
        """Where what depends on this revision waits, behind all that the client is to be sent before."""
        revision = max(depends, client.depends)
        if revision <= self._on_disk:
            return None
        held = self._held
        place = len(held)
        while place and held[place - 1].revision > revision:
            place -= 1
        if not place or held[place - 1].revision != revision:
            if not self._flusher.view.add_waiter(revision, self):
                self._on_disk = revision
                return None
            held.insert(place, _Held(revision))
            place += 1
        client.depends = revision
        return held[place - 1]

    def released(self, revision: int) -> None:
        """Called by the committer: everything up to `revision` is stored."""
        self._on_disk = max(self._on_disk, revision)
        self._add_newest()
        held = self._held
        while held and revision >= held[0].revision:
            for item in held.popleft().items:
                if isinstance(item, bytes):
                    self._bytes -= len(item)  # it was counted while it was held
                    self.append(item)
                    self.has_reply = True
                else:
                    self.append(item.encode())

    def failed(self, _revision: int, _reason: str) -> None:
        """Called by the committer. A node of a cluster loses no batch: its term ends. So does the link."""
        self.discard()
        self.overflowed.set()

    def flush(self) -> None:
        self._add_newest()
        super().flush()
