"""The link at the edge: connections are here, their sessions at the owner of the engine."""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final, Unpack

import trio

from pynun import limits
from pynun.cluster import link_records as records
from pynun.cluster.link_records import HEAD, LinkRecordError, Opened, Record, record
from pynun.cluster.record_reader import RecordQueue, RecordReader
from pynun.engine.effects import Turn
from pynun.engine.events import Event
from pynun.engine.key_layout import ARBITER_KEY
from pynun.protocol.framing import words
from pynun.transports.service import ConnectionHost, HostOptions
from pynun.transports.sockets import has_hung_up

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from pynun.cluster.link_records import Kept
    from pynun.cluster.remote_outbox import RemoteOutbox
    from pynun.engine.effects import Answer, Need, Suspension
    from pynun.engine.overlay import Waiter
    from pynun.transports.flusher import Flusher
    from pynun.transports.peer import ConnectionPeer

_COMMANDS_MAX: Final = limits.SLICE_COMMANDS
_COMMAND_BYTES_MAX: Final = 64 * 1024
"""A client's next command waits here while so much of it is without answer; it bounds what the owner must keep."""

_TAKEN_BYTES: Final = 256 * 1024
"""The owner is told when a client has read so much more."""


_REPEATABLE: Final = frozenset({
    *("auth", "use-db", "use", "open-db"), *("get", "get-safe", "keys", "ls", "list-keys"),
    *("watch", "unwatch", "unwatch-all"),
})  # fmt: skip
"""Commands that change no data: one without an answer is given again to the next owner."""


class NoRevisions:
    """Nothing waits for a batch here: what the owner sends may leave."""

    def add_waiter(self, _revision: int, _waiter: Waiter) -> bool:
        """See `pynun.transports.flusher.Revisions`."""
        return False


class _Upstream:
    """What commands go into here: the link, in the place of the committer."""

    def __init__(self) -> None:
        self.queue: RecordQueue | None = None
        """Of the link; None while there is none."""

    @property
    def is_full(self) -> bool:
        return self.queue is not None and self.queue.is_full

    async def wait_for_room(self) -> None:
        if self.queue is not None:
            await self.queue.wait_for_room()

    def begin_round(self) -> None:
        """Nothing to do: the flusher sends the commands."""

    commit_now = end_round = begin_round

    def commit_waiting(self, now: float) -> None:
        """Nothing to do."""


class EdgeHost(ConnectionHost):
    """What the transports need where the sessions are at another node."""

    __slots__ = ("_entered", "link", "sessions", "upstream")

    def __init__(self, flusher: Flusher, **options: Unpack[HostOptions]) -> None:
        self.upstream = _Upstream()
        self.link: Link | None = None
        self.sessions: dict[int, RemoteSession] = {}
        """By their numbers."""
        self._entered = 0
        super().__init__(self.upstream, flusher, lambda: False, **options)

    def open_session(self, outbox: RemoteOutbox, peer: ConnectionPeer | None = None) -> RemoteSession:
        assert peer is not None
        self._entered += 1
        session = self.sessions[self._entered] = RemoteSession(self, self._entered, outbox, peer)
        if self.link is None:
            self.note_held()
        return session

    async def answer(self, need: Need) -> Answer:
        assert isinstance(need, Turn), need
        has_come = trio.Event()
        need.ask(has_come.set)
        await has_come.wait()
        return None

    def note_held(self) -> None:
        """Sessions are without an owner from now on: their connections end if that lasts for too long."""
        self.flusher.nursery.start_soon(self._end_held)

    async def _end_held(self) -> None:
        began = trio.current_time()
        await trio.sleep(limits.HOLD_SECONDS)
        for session in list(self.sessions.values()):
            if session.held_since <= began:
                session.end()

    def end_all(self) -> None:
        """Have all connections end, when what their clients have asked is answered."""
        for session in list(self.sessions.values()):
            session.end()


class RemoteSession:
    """A session at the owner, for its connection here. It goes on with the next owner."""

    __slots__ = ("_asked", "_bytes", "_ephemeral", "_host", "_is_closed", "_is_known", "_link", "_number", "_outbox",
                 "_peer", "_ticket", "_untold", "_waiting", "_watches", "held_since", "is_logged_in")  # fmt: skip

    def __init__(self, host: EdgeHost, number: int, outbox: RemoteOutbox, peer: ConnectionPeer) -> None:
        self._host = host
        self._number = number
        self._outbox = outbox
        self._peer = peer
        self._link: Link | None = host.link  # where it is known
        self._asked: deque[str | None] = deque()  # commands without an answer; None: it gets an error in its place
        self._bytes = 0  # of commands since all were answered
        self._untold = 0  # bytes read, of which the owner was not told
        self._is_known = False
        self._is_closed = False
        self._waiting: list[Callable[[], None]] = []  # for the next owner
        self.is_logged_in = False
        self.held_since = math.inf if host.link is not None else trio.current_time()
        """When there was no owner any more that has it; infinite: there is one."""
        self._ticket = b""
        self._watches: dict[str, bytes] = {}  # what the client knows of each key
        self._ephemeral: dict[str, Kept] = {}
        self._introduce()

    def _introduce(self) -> None:
        if self._link is not None:
            self._link.send(records.OPEN, self._number, self._opened.encode())

    @property
    def _opened(self) -> Opened:
        return Opened(self._peer.transport, self._peer.address, self._peer.system_user)

    def has_logged_in(self) -> bool:
        """Whether the client has shown a secret that is still valid, as far as the owner has said."""
        return self.is_logged_in

    def execute(self, text: str) -> Suspension | None:
        """Send a command to the owner, as soon as there is one."""
        link = self._link
        if link is None or self.held_since != math.inf:
            return None if self._is_closed else self._execute_later(text)
        if not self._is_known:
            self._is_known = True
            self._introduce()  # again: its handshake may have named another address
        payload = text.encode()
        link.queue.append(HEAD.pack(len(payload), records.TEXT, self._number) + payload)
        self._asked.append(text)
        waiting = self._outbox.expect()
        self._bytes = len(payload) if waiting == 1 else self._bytes + len(payload)
        if waiting >= _COMMANDS_MAX or self._bytes > _COMMAND_BYTES_MAX:
            return self._wait()
        return None

    def _execute_later(self, text: str) -> Suspension:
        while self.held_since != math.inf:
            yield Turn(self._waiting.append)
        suspension = None if self._link is None else self.execute(text)
        if suspension is not None:
            yield from suspension

    def _wait(self) -> Suspension:
        yield Turn(self._outbox.when_answered)

    def close(self) -> None:
        """The client has left. Safe to call twice."""
        if self._is_closed:
            return
        self._is_closed = True
        del self._host.sessions[self._number]
        self._forsake()
        self._go_on()
        self._outbox.abandon()

    def end(self) -> None:
        """Have its connection end, as when the server stops."""
        self._outbox.ending.event.set()
        if self.held_since != math.inf:
            self._forsake()
            self._go_on()
            self._outbox.abandon()

    def _forsake(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.send(records.CLOSE, self._number)

    def _go_on(self) -> None:
        self.held_since = math.inf
        waiting, self._waiting = self._waiting, []
        for call in waiting:
            call()

    # --- from one owner to the next ----------------------------------------------------------------------------

    def hold(self) -> None:
        """The owner is gone. Changes that it has not answered may have happened or not; all else waits for the next."""
        self._link = None
        self._untold = 0
        if not self._outbox.ending.event.is_set():
            self.held_since = min(self.held_since, trio.current_time())
        self._asked = deque(None if text is None or words(text)[0] not in _REPEATABLE else text for text in self._asked)
        self._answer_lost()

    def _answer_lost(self) -> None:
        asked = self._asked
        while asked and asked[0] is None:
            asked.popleft()
            self._outbox.take_loss()

    def take_up(self, link: Link) -> None:
        """Have the owner at the other end of this link go on with it."""
        self._link = link
        link.send(records.TAKE_UP, self._number, records.TakingUp(self._ticket, self._opened).encode())
        for kept in self._ephemeral.values():
            link.send(records.KEPT, self._number, kept.encode())
        for key, known in self._watches.items():
            link.send(records.WATCHED, self._number, records.Watched(known, key).encode())
        link.send(records.ALL_TOLD, self._number)

    def take_record(self, kind: int, payload: bytes) -> None:
        """What the owner says of it, besides answers. Raises LinkRecordError."""
        if kind == records.RIGHTS:
            self.is_logged_in = payload == b"\1"
        elif kind == records.TICKET:
            self._ticket = payload
        elif kind == records.WATCHED:
            known, key = records.read_watched(payload)
            self._watches[key] = known
        elif kind == records.UNWATCHED:
            self._watches.pop(records.read_text(payload), None)
        elif kind == records.KEPT:
            kept = records.read_kept(payload)
            self._ephemeral[kept.key] = kept
        elif kind == records.RELEASED:
            self._ephemeral.pop(records.read_text(payload), None)
        elif kind == records.TAKEN_UP:
            if payload != b"\1":
                self.end()
            elif self._link is not None:
                for text in self._asked:
                    if text is not None:
                        self._link.send(records.TEXT, self._number, text.encode())
            self._go_on()
        elif kind == records.DISCONNECT:
            self._outbox.abandon()
            if not self._peer.disconnect():
                self._outbox.overflowed.set()  # it ends after its handshake
        elif kind == records.BROKEN:
            self._outbox.ending.scope.cancel()
        else:
            raise LinkRecordError(f"only an edge sends records of kind {kind}")

    # --- what the owner says -----------------------------------------------------------------------------------

    def answer(self, kind: int, payload: bytes) -> None:
        """An answer to a command. Raises LinkRecordError."""
        outbox = self._outbox
        if not self._asked:
            raise LinkRecordError("there was nothing to answer")
        self._asked.popleft()
        if kind == records.DONE:
            outbox.take_reply(None)
        elif kind == records.MESSAGE:
            outbox.take_reply(payload)
        elif kind == records.MESSAGES:
            outbox.take_reply(records.read_texts(payload))
        else:
            *own, error = records.read_texts(payload)
            outbox.take_refusal(own, error)
        self._answer_lost()
        self._count(len(payload) + HEAD.size)

    def event(self, event: Event, known: bytes) -> None:
        """It watches something that has changed; the client knows so much of it then."""
        self._outbox.event(event)
        key = event.key
        if key is None:
            self._note_conflict(event.texts[0])
            self._count(sum(map(len, event.texts)))
        elif key in self._watches:
            self._watches[key] = known

    def _note_conflict(self, text: str) -> None:
        before = self._watches.get(ARBITER_KEY)
        identifier = text.split(" ", 2)[1:2]
        if before is not None and identifier and identifier[0].isdecimal():
            self._watches[ARBITER_KEY] = max(before, records.known_conflict(int(identifier[0])))

    def _count(self, more: int) -> None:
        """Tell the owner when much was read, but not before it was."""
        self._untold += more
        if self._untold > _TAKEN_BYTES and self._link is not None:
            count, self._untold = self._untold, 0
            if self._outbox.is_full:
                self._link.start(self._tell_when_read, self._link, count)
            else:
                self._link.send(records.TAKEN, self._number, records.NUMBER.pack(count))

    async def _tell_when_read(self, link: Link, count: int) -> None:
        await self._outbox.wait_for_room()
        if self._link is link:
            link.send(records.TAKEN, self._number, records.NUMBER.pack(count))


class Link:
    """One link at the edge."""

    def __init__(self, connected: socket.socket, host: EdgeHost) -> None:
        self.host = host
        self.queue = RecordQueue(connected, host.flusher)
        self._reader = RecordReader(connected, host, self.queue, self)
        self._is_greeted = False
        self.start: Callable[..., None] = host.flusher.nursery.start_soon
        """Starts a task, which ends with the link."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve it until it ends. Raises LinkRecordError."""
        host = self.host
        try:
            async with trio.open_nursery() as nursery:
                self.start = nursery.start_soon
                host.link, host.upstream.queue = self, self.queue
                nursery.start_soon(self._watch, nursery.cancel_scope)
                task_status.started()
                await self._reader.run()
                nursery.cancel_scope.cancel()
        finally:
            host.link = host.upstream.queue = None
            host.reactor.forget(self._reader.socket)
            self.queue.discard()
            for session in list(host.sessions.values()):
                session.hold()
            if host.sessions:
                host.note_held()
            host.flusher.flush()

    def has_ended(self) -> bool:
        """Whether it has, seen or not yet: a client that comes just then is better served by the next one."""
        return has_hung_up(self._reader.socket)

    async def _watch(self, scope: trio.CancelScope) -> None:
        await self._reader.keep_alive()
        scope.cancel()

    def send(self, kind: int, number: int, payload: bytes = b"") -> None:
        """Tell the owner."""
        self.queue.append(record(kind, number, payload))

    def take(self, received: Record) -> None:
        """Use a record. Raises LinkRecordError."""
        kind, number, payload = received
        if kind == records.EVENT:
            told = records.read_told(payload, number)
            event = Event(told.key, told.texts, 0)
            for one in told.numbers:
                session = self.host.sessions.get(one)
                if session is not None:
                    session.event(event, told.known)
            return
        if kind == records.PING:
            if not self._is_greeted:
                self._is_greeted = True
                self.start(self._take_up, records.read_version(payload))
            return
        session = self.host.sessions.get(number)
        if session is None:
            return  # its client has left
        if kind in records.ANSWERS:
            session.answer(kind, payload)
        else:
            session.take_record(kind, payload)

    async def _take_up(self, version: int) -> None:
        """Have the owner go on with the sessions of the one before."""
        for session in list(self.host.sessions.values()):
            if session.held_since == math.inf:
                continue
            if version != records.VERSION:
                session.end()
                continue
            session.take_up(self)
            self.host.flusher.flush()
            await self.queue.wait_for_room()
            await trio.lowlevel.checkpoint()
