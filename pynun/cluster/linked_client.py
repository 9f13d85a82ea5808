"""A client of another node, at the owner: its session is here, its connection there."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import trio

from pynun.cluster import link_records as records
from pynun.cluster import tickets
from pynun.cluster.link_records import record
from pynun.cluster.taking_up import TakingUp
from pynun.engine.key_layout import ARBITER_KEY
from pynun.errors import DamageError
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pynun.cluster.link_records import Opened
    from pynun.cluster.owner_queue import OwnerQueue
    from pynun.cluster.taking_up import Absences
    from pynun.engine.database import Database, Member
    from pynun.engine.dispatch import CommandSession
    from pynun.engine.effects import Suspension
    from pynun.engine.events import Event, Result
    from pynun.engine.overlay import Entry
    from pynun.engine.permissions import Secret
    from pynun.transports.service import Service

UNREAD_BYTES_MAX: Final = 1024 * 1024
"""A client's commands wait here while it has so much of its answers still to read."""

_log = logging.getLogger("nun_db")


class LinkOfClient(Protocol):
    """The link to its node."""

    service: Service
    queue: OwnerQueue
    node: str
    version: int
    """Of the records that the node knows."""
    absences: Absences
    remembered: dict[Member, LinkedClient]
    """Those of all nodes that remember what their clients have, by their sessions."""
    busy: set[LinkedClient]
    """Those of whose commands one is under way."""
    start: Callable[..., None]
    """Starts a task, which ends with the link."""

    def rest(self, client: LinkedClient) -> None:
        """None of its commands is under way any more."""


class _TellingKeys(dict[str, None]):
    """Keys of a session; who comes and goes is told on."""

    __slots__ = ("_on_come", "_on_go")

    def __init__(self, on_come: Callable[[str], None], on_go: Callable[[str], None]) -> None:
        self._on_come = on_come
        self._on_go = on_go

    def __setitem__(self, key: str, value: None) -> None:
        super().__setitem__(key, value)
        self._on_come(key)

    def __delitem__(self, key: str) -> None:
        super().__delitem__(key)
        self._on_go(key)

    def clear(self) -> None:
        for key in self:
            self._on_go(key)
        super().clear()


class _Rights(NamedTuple):
    """What a session's ticket depends on; the parts are compared by identity."""

    is_admin: bool
    hashes: tuple[str, ...]
    database: Database | None
    secret: Secret | None


_NO_RIGHTS: Final = _Rights(is_admin=False, hashes=(), database=None, secret=None)


class LinkedClient:
    """A client of another node, as the engine sees it: its outbox, and its peer."""

    __slots__ = ("_is_told", "_link", "_queue", "_rights", "_room", "_ticket_at", "_unread", "_waiting", "depends",
                 "has_left", "number", "opened", "session", "taking_up")  # fmt: skip

    def __init__(self, link: LinkOfClient, number: int, opened: Opened) -> None:
        self._link = link
        self._queue = link.queue
        self.number = number
        self.opened = opened
        self.depends = 0
        """Of all that it is to be sent, until the newest revision."""
        self.has_left = False
        self._rights = _NO_RIGHTS  # as its node was told
        self._ticket_at = math.inf  # when it was sealed
        self._is_told = True  # whether its node needs to be told what it watches
        self.taking_up: TakingUp | None = None
        """While what its node remembers of it arrives."""
        self._unread = 0  # bytes of its answers and of events that can't be conflated
        self._room: trio.Event | None = None
        self._waiting: deque[str] | None = None  # commands, while an earlier one is under way
        self.session: CommandSession = link.service.open_session(self, self)
        if link.version == records.VERSION:
            self.session.watches = _TellingKeys(self._watched, self._unwatched)
            self.session.ephemeral = _TellingKeys(self._kept, self._released)
            link.remembered[self.session] = self

    def close(self) -> None:
        """It has left."""
        self.has_left = True
        self._link.remembered.pop(self.session, None)
        self.session.close()

    def vanish(self) -> None:
        """The term ends, and another owner goes on with the session: nobody is told that it has left."""
        self.has_left = self.session.is_closed = True

    # --- its outbox --------------------------------------------------------------------------------------------

    def reply(self, result: Result, depends: int) -> None:
        self._answer(records.answer(self.number, result), depends)

    def refuse(self, own: Sequence[str], error: str, depends: int) -> None:
        self._answer(records.refusal(self.number, own, error), depends)

    def _answer(self, encoded: bytes, depends: int) -> None:
        session, told = self.session, self._rights
        if (
            session.database is not told.database
            or session.secret is not told.secret
            or session.admin_hashes is not told.hashes
            or session.is_admin is not told.is_admin
        ):
            self._tell_rights(depends)
        self._unread += len(encoded)
        self._queue.put(encoded, depends, self)

    def event(self, event: Event) -> None:
        if event.key is None:
            self._unread += sum(map(len, event.texts))
        self._queue.share(event, self)

    # --- what its node remembers, in case that another owner goes on --------------------------------------------

    def _tell(self, kind: int, payload: bytes, depends: int = 0) -> None:
        if self._is_told and not self.has_left:
            self._queue.put(record(kind, self.number, payload), depends, self)

    def _tell_rights(self, depends: int) -> None:
        session = self.session
        is_logged_in = session.has_logged_in()
        if is_logged_in is not (self._rights.is_admin or self._rights.database is not None):
            self._tell(records.RIGHTS, bytes((is_logged_in,)))
        self._rights = _Rights(session.is_admin, session.admin_hashes, session.database, session.secret)
        if self._link.version == records.VERSION:
            now, view = time.time(), session.view
            before, view.depends = view.depends, depends
            ticket = tickets.seal(session, self._link.node, now)
            depends, view.depends = view.depends, before
            self._ticket_at = now if ticket else math.inf
            self._tell(records.TICKET, ticket, depends)

    def renew(self, now: float) -> None:
        """Replace its ticket if that is old; `now` is in seconds since 1970."""
        if abs(now - self._ticket_at) > tickets.RENEW_SECONDS and self._ticket_at != math.inf:
            self._tell_rights(0)

    def _watched(self, key: str) -> None:
        if not self._is_told:
            return
        session = self.session
        if key == ARBITER_KEY:
            known = records.known_conflict(session.keyspace.conflict_ids.upcoming - 1)
        else:
            depends = session.view.depends  # nothing waits for what is looked up for this
            database = session.selected
            entry = session.keyspace.read(database, key)
            session.view.depends = depends
            texts = messages.removed(key) if entry is None else messages.changed(key, entry.version, entry.text)
            known = records.known(texts, is_volatile=key in database.ephemeral)
        self._tell(records.WATCHED, records.Watched(known, key).encode())

    def _unwatched(self, key: str) -> None:
        self._tell(records.UNWATCHED, key.encode())

    def _kept(self, key: str) -> None:
        session = self.session
        self.keep(key, session.view.volatile[session.selected.stored_key(key)])

    def keep(self, key: str, entry: Entry) -> None:
        """An ephemeral key of it was set."""
        self._tell(records.KEPT, records.Kept(key, entry.version, entry.text).encode())

    def _released(self, key: str) -> None:
        self._tell(records.RELEASED, key.encode())

    def take_up(self, ticket: bytes) -> None:
        """Go on with a session that another owner had. Raises TicketError."""
        if ticket:
            tickets.use(self.session, ticket, self._link.node, time.time())
        self._is_told = False
        self.taking_up = TakingUp(self.session, self._link.absences)

    def take_record(self, kind: int, payload: bytes) -> None:
        """Use what its node remembers of it. Raises LinkRecordError and TooMuchMissedError."""
        assert self.taking_up is not None
        if kind == records.WATCHED:
            watched = records.read_watched(payload)
            self.taking_up.watch(watched.key, watched.known)
        elif kind == records.KEPT:
            kept = records.read_kept(payload)
            if not self.taking_up.keep(kept):
                self._queue.put(record(records.RELEASED, self.number, kept.key.encode()), 0, self)
        else:
            self.taking_up, self._is_told = None, True
            self._tell_rights(0)
            self._tell(records.TAKEN_UP, b"\1")

    # --- room --------------------------------------------------------------------------------------------------

    async def wait_for_room(self) -> None:
        """Return when it has read enough, and its node has."""
        while self._unread > UNREAD_BYTES_MAX and not self.has_left:
            self._room = self._room or trio.Event()
            await self._room.wait()
        await self._queue.wait_for_room()

    def taken(self, count: int) -> None:
        """It has read more."""
        self._unread -= count
        if self._unread <= UNREAD_BYTES_MAX:
            self._wake()

    def _wake(self) -> None:
        if self._room is not None:
            self._room.set()
            self._room = None

    # --- its peer ----------------------------------------------------------------------------------------------

    @property
    def transport(self) -> str:
        return self.opened.transport

    @property
    def address(self) -> str:
        return self.opened.address

    @property
    def system_user(self) -> str | None:
        return self.opened.system_user

    @property
    def node(self) -> str:
        return self._link.node

    @property
    def waiting_bytes(self) -> int:
        return max(self._unread, 0)

    def is_gone(self) -> bool:
        return self.has_left

    def disconnect(self) -> bool:
        self.session.close()
        self._queue.put(record(records.DISCONNECT, self.number), 0, self)
        return True

    # --- its commands ------------------------------------------------------------------------------------------

    def execute(self, text: str) -> None:
        """Run a command, when those before it are done."""
        if self._waiting is not None:
            self._waiting.append(text)
            return
        try:
            suspension = self.session.execute(text)
        except Exception as error:
            self._fail(error)
            return
        if suspension is not None or self._unread > UNREAD_BYTES_MAX:
            self._waiting = deque()
            self._link.busy.add(self)
            self._link.start(self._go_on, suspension)

    async def _go_on(self, suspension: Suspension | None) -> None:
        """Run what waits, after the command that is under way."""
        service, waiting = self._link.service, self._waiting
        assert waiting is not None
        try:
            while True:
                if suspension is not None:
                    await service.drive(suspension)
                if not waiting:
                    break
                await self.wait_for_room()
                if service.committer.is_full:
                    await service.committer.wait_for_room()
                service.flusher.flush()
                await trio.lowlevel.checkpoint()
                if not waiting:
                    break
                suspension = self.session.execute(waiting.popleft())
        except Exception as error:
            self._fail(error)
        finally:
            self._waiting = None
            self._link.rest(self)
            if self.has_left:
                self.close()
            service.flusher.flush()

    def leave(self) -> None:
        """It has left: what it has sent before is still run, unless that waits for it to read."""
        self.has_left = True
        if self._waiting is None or self._unread > UNREAD_BYTES_MAX:
            self.close()
        self._wake()

    def _fail(self, error: Exception) -> None:
        """A bug ends the connection of that client only."""
        if isinstance(error, DamageError):
            raise error  # the server stops, and says why
        self._link.service.counters.dropped["internal_error"] += 1
        _log.exception("a connection was closed after an internal error; please report this")
        self.session.close()
        self._queue.put(record(records.BROKEN, self.number), 0, self)
