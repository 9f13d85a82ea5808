"""The clients of other nodes, at the owner: their sessions are here, their connections there."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.cluster import link_records as records
from pynun.cluster import tickets
from pynun.cluster.link_records import LinkRecordError, record
from pynun.cluster.linked_client import LinkedClient
from pynun.cluster.owner_queue import OwnerQueue
from pynun.cluster.record_reader import PING_SECONDS, RecordReader
from pynun.cluster.taking_up import Absences, TooMuchMissedError
from pynun.engine.key_layout import ID_BYTES
from pynun.errors import is_damage
from pynun.transports.sockets import has_unread

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pynun.cluster.link_records import Record
    from pynun.engine.database import Database, Member
    from pynun.engine.overlay import Entry
    from pynun.transports.service import Service

_READING_SECONDS: Final = 0.01
"""What has arrived before a stop is read in that time."""

_log = logging.getLogger("nun_db")


class _OwnerReader(RecordReader):
    """Reads no more while much waits: for the other node, or for etcd."""

    _service: Service

    def _must_wait(self) -> bool:
        queue, service = self._queue, self._service
        return (queue.needs_flush and service.is_behind(queue)) or service.committer.is_full

    async def _wait_for_room(self) -> None:
        await self._queue.wait_for_room()
        if self._service.committer.is_full:
            await self._service.committer.wait_for_room()


class OwnerLink:
    """A link at the owner."""

    start: Callable[..., None]

    def __init__(self, connected: socket.socket, sharing: Sharing, node: str) -> None:
        service = sharing.service
        self.service = service
        self.sharing = sharing
        self.node = node
        self.version = 0
        self.absences = sharing.absences
        self.remembered = sharing.remembered
        self.queue = OwnerQueue(connected, service)
        self.reader = _OwnerReader(connected, service, self.queue, self)
        self.clients: dict[int, LinkedClient] = {}
        self.busy: set[LinkedClient] = set()
        self._rested = trio.Event()  # when there are none any more
        self._reading = trio.CancelScope()

    def take(self, received: Record) -> None:
        """Use a record. Raises LinkRecordError."""
        kind, number, payload = received
        client = self.clients.get(number)
        if kind == records.PING:
            self.version = records.read_version(payload)
            return
        if kind == records.OPEN:
            opened = records.read_opened(payload)
            if client is None:
                self.clients[number] = LinkedClient(self, number, opened)
            else:
                client.opened = opened
        elif kind == records.TAKE_UP:
            self._take_up(number, records.read_taking_up(payload))
        elif client is None:
            if kind not in (records.CLOSE, records.WATCHED, records.KEPT, records.ALL_TOLD):
                raise LinkRecordError(f"there is no client {number}")  # else it was just refused
        elif client.taking_up is not None and kind in (records.WATCHED, records.KEPT, records.ALL_TOLD):
            try:
                client.take_record(kind, payload)
            except TooMuchMissedError:
                self._refuse(client, "its client missed too much")
        elif kind == records.TEXT:
            client.execute(records.read_text(payload))
        elif kind == records.TAKEN:
            client.taken(records.read_number(payload))
        elif kind == records.CLOSE:
            del self.clients[number]
            client.leave()
        else:
            raise LinkRecordError(f"only an owner sends records of kind {kind}")

    def _take_up(self, number: int, asked: records.TakingUp) -> None:
        client = self.clients[number] = LinkedClient(self, number, asked.opened)
        try:
            client.take_up(asked.ticket)
        except tickets.TicketError as error:
            self._refuse(client, f"its ticket is refused: {error}")

    def _refuse(self, client: LinkedClient, why: str) -> None:
        _log.info("a session of a client at node %s does not go on here: %s", self.node, why)
        self.queue.put(record(records.TAKEN_UP, client.number, b"\0"), 0, client)
        del self.clients[client.number]
        client.close()

    async def serve(self, stopping: trio.Event) -> None:
        """Return when the link has ended, or when the server stops and what has arrived is answered."""
        async with trio.open_nursery() as nursery:
            self.start = nursery.start_soon
            nursery.start_soon(self._renew_tickets)
            nursery.start_soon(self._stop_reading, stopping)
            nursery.start_soon(self._watch, nursery.cancel_scope)
            with self._reading:
                await self.reader.run()
            if self._reading.cancelled_caught:
                with trio.move_on_after(limits.CLOSE_SECONDS):
                    while self.busy:
                        await self._rested.wait()
                    await self.queue.wait_sent()
            nursery.cancel_scope.cancel()

    async def _stop_reading(self, stopping: trio.Event) -> None:
        await stopping.wait()
        if has_unread(self.reader.socket):
            await trio.sleep(_READING_SECONDS)
        self._reading.cancel()

    async def _watch(self, scope: trio.CancelScope) -> None:
        await self.reader.keep_alive()
        scope.cancel()

    async def _renew_tickets(self) -> None:
        while True:
            await trio.sleep(PING_SECONDS)
            now = time.time()
            for client in self.clients.values():
                client.renew(now)

    def rest(self, client: LinkedClient) -> None:
        """None of its commands is under way any more."""
        self.busy.discard(client)
        if not self.busy:
            self._rested.set()
            self._rested = trio.Event()

    def close(self) -> None:
        """The link has ended: so have the sessions, unless another owner goes on with them."""
        self.queue.discard()
        for client in self.clients.values():
            if self.sharing.stopping.is_set():
                client.vanish()
            else:
                client.close()


class Sharing:
    """What the links of one term share."""

    def __init__(self, service: Service, stopping: trio.Event) -> None:
        """`stopping` is set when the term ends."""
        self.service = service
        self.stopping = stopping
        self.absences = Absences(service.engine)
        self.remembered: dict[Member, LinkedClient] = {}
        self.links: set[OwnerLink] = set()
        """That there are now."""
        self._databases: dict[bytes, Database] = {}  # by the prefixes of their stored keys
        service.engine.view.on_ephemeral.append(self._note_ephemeral)
        service.flusher.nursery.start_soon(self._end_absences)

    async def _end_absences(self) -> None:
        await self.absences.run(self.stopping)
        self.service.flusher.flush()

    def _note_ephemeral(self, stored: bytes, entry: Entry | None) -> None:
        prefix = stored[:ID_BYTES]
        database = self._databases.get(prefix)
        if database is None or database.prefix != prefix or database.is_dropped:
            for database in self.service.engine.databases_in_use():
                self._databases[database.prefix] = database
            database = self._databases.get(prefix)
        if entry is not None and database is not None:
            key = stored[ID_BYTES:].decode()
            session = database.ephemeral.get(key)
            client = None if session is None else self.remembered.get(session)
            if client is not None:
                client.keep(key, entry)

    async def serve(self, connected: socket.socket, node: str) -> None:
        """Serve the clients of another node, until the link to it ends. The caller closes it."""
        service = self.service
        _log.debug("serving the clients of node %s", node)
        link = OwnerLink(connected, self, node)
        self.links.add(link)
        try:
            await link.serve(self.stopping)
        except* LinkRecordError as group:
            _log.warning("the link to node %s ends: %s", node, group.exceptions[0])
        except* Exception as group:
            if not is_damage(group):
                _log.exception("the link to node %s was closed after an internal error; please report this", node)
        finally:
            service.reactor.forget(connected)
            self.links.discard(link)
            link.close()
            service.flusher.flush()
            _log.debug("the link to node %s has ended", node)
