"""What keeps a client's session alive over as many connections as it takes, and hands events to who watches.

How it works: a supervisor task opens a connection, tells it what the session is (login, database, watches), and only
then lets commands through; when the connection ends it begins again. Commands that had been handed to the network by
then fail, because their outcome is unknown; commands that had not, wait for the next connection.

Invariants: no command is ever sent twice by itself, except `watch`, `unwatch` and the reads of a watch. After the
session has ended, every request and iteration has ended too.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import TYPE_CHECKING

import trio

from pynun.client.backoff import LAST_DELAY_S, Backoff
from pynun.client.connection import Connection, Request
from pynun.client.errors import ClientError, CommandError, ConnectionClosed, ConnectionFailed, command_error
from pynun.client.frames import ChangeEvent, Conflict, Reply
from pynun.client.session import Session, raise_refusal
from pynun.client.watches import ConnectionLost, ConnectionRestored, Event, Events, Watch
from pynun.protocol.messages import EMPTY_VALUE

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from contextlib import AbstractAsyncContextManager

    from pynun.client.connecting import Target

_NOT_OPENED = "open the client first: async with Client(…) as client"


class Supervisor:
    """A session with the server at `target` that begins with `first_commands`; `Client` describes its behaviour."""

    def __init__(
        self,
        target: Target,
        first_commands: Sequence[str],
        *,
        is_reconnecting: bool,
        jitter: Callable[[], float],
    ) -> None:
        self.target = target
        self.session = Session()
        self._first_commands = first_commands
        self._is_reconnecting = is_reconnecting
        self._jitter = jitter
        self._connection: Connection | None = None
        self._waiting: dict[Request, None] = {}  # in the order in which they were given
        self._ended: ClientError | None = None  # tasks that raise it raise copies, for each adds its traceback
        self._state_changed = trio.Event()
        self._watches: dict[str, dict[Watch, None]] = {}  # per key; the inner dict is an ordered set
        self._events: dict[Events, None] = {}
        self._nursery_manager: AbstractAsyncContextManager[trio.Nursery] | None = None
        self._nursery: trio.Nursery | None = None

    @property
    def is_connected(self) -> bool:
        """Whether requests can be sent now."""
        return self._connection is not None and not self._connection.ended.is_set()

    # Opening and closing

    async def open(self) -> None:
        """Open the first connection, without trying again, and start to keep it. `close` must be called later.

        Raises ConnectionFailed, and the CommandError with which the server refuses a first command.
        """
        if self._nursery is not None:
            raise RuntimeError("a client can be opened once")
        self._nursery_manager = trio.open_nursery()
        self._nursery = await self._nursery_manager.__aenter__()
        try:
            connection = await self._open_first(self._nursery)
        except BaseException as error:
            self._end(None)
            await self._leave(error)
            raise
        self._use(connection)
        self._nursery.start_soon(self._supervise, self._nursery, connection)

    async def close(self, error: BaseException | None) -> None:
        """Say goodbye and stop, because of what the body of the client's context raised, if anything."""
        connection = self._connection
        self._end(None)
        try:
            if connection is not None:
                connection.close()
                await connection.ended.wait()
        finally:
            await self._leave(error)

    async def _leave(self, error: BaseException | None) -> None:
        """Stop the tasks. What the body raised leaves as it is, not in the group that a nursery would make of it."""
        assert self._nursery_manager is not None
        assert self._nursery is not None
        self._nursery.cancel_scope.cancel()
        try:
            await self._nursery_manager.__aexit__(type(error) if error else None, error, None)
        except BaseExceptionGroup as group:
            if group.exceptions != (error,):
                raise

    async def _open_first(self, nursery: trio.Nursery) -> Connection:
        connection = await self._connect(nursery)
        try:
            for command in self._first_commands:
                reply = await connection.request(command, partial(self.session.note, command))
                raise_refusal(reply)
        except ConnectionClosed as error:
            raise self.target.failed(connection.why_ended) from error
        return connection

    async def _connect(self, nursery: trio.Nursery) -> Connection:
        connection = Connection(self.target, self._deliver)
        await nursery.start(connection.run)
        return connection

    def _end(self, error: ClientError | None) -> None:
        """Let every request fail from now on, and every iteration end: with `error`, or quietly if there is none."""
        if self._ended is not None:
            return
        self._ended = error or ConnectionClosed("the client is closed")
        self._connection = None
        for watch in {watch: None for watches in self._watches.values() for watch in watches}:
            watch.end(error)
        for events in self._events:
            events.end(error)
        for request in self._waiting:
            request.fail(copy.copy(self._ended))
        self._watches.clear()
        self._events.clear()
        self._waiting.clear()
        self._notify()

    def _use(self, connection: Connection) -> None:
        """Send on this connection from now on, first what waits."""
        self._connection = connection
        waiting, self._waiting = self._waiting, {}
        for request in waiting:
            connection.send(request)
        self._notify()

    def _notify(self) -> None:
        changed, self._state_changed = self._state_changed, trio.Event()
        changed.set()

    # Keeping a connection

    async def _supervise(self, nursery: trio.Nursery, connection: Connection) -> None:
        backoff = Backoff(self._jitter)
        while True:
            opened_at_s = trio.current_time()
            await connection.ended.wait()
            if self._ended is not None:
                return
            if not self._is_reconnecting:
                self._end(ConnectionClosed(connection.why_ended))
                return
            self._connection = None
            self._tell(ConnectionLost(connection.why_ended))
            if trio.current_time() - opened_at_s >= LAST_DELAY_S:  # else a server that accepts and drops is hammered
                backoff.reset()
            try:
                connection = await self._open_again(nursery, backoff)
            except CommandError as refusal:
                self._end(refusal)
                return
            self._use(connection)
            self._tell(ConnectionRestored())

    async def _open_again(self, nursery: trio.Nursery, backoff: Backoff) -> Connection:
        """The next connection that is open and has the session restored. Raises CommandError if that is refused."""
        while True:
            await trio.sleep(backoff.next_delay_s())
            try:
                connection = await self._connect(nursery)
            except ConnectionFailed:
                continue
            try:
                await self._restore(connection)
            except ConnectionClosed:
                continue
            except CommandError:
                connection.close()
                raise
            return connection

    async def _restore(self, connection: Connection) -> None:
        for command in self.session.commands():
            raise_refusal(await connection.request(command))
        readings = {key: connection.send(Request(f"get-safe {key}")) for key in self.session.ephemeral}
        for key, reading in readings.items():
            if self._is_others(key, await reading.wait_reply()):
                del self.session.ephemeral[key]
        ephemeral = [connection.send(Request(command)) for command in self.session.ephemeral.values()]
        watches = []
        for key in dict.fromkeys((*self._watches, *self.session.watched)):
            watches.append((key, connection.send(Request(f"watch {key}"))))
            if any(watch.is_catching_up for watch in self._watches.get(key, ())):
                connection.send(Request(f"get-safe {key}", on_message=partial(self._take_missed, key)))
        for request in ephemeral:  # one is refused if its key is stored meanwhile, or a permission was taken away
            await request.wait_reply()
        for key, request in watches:
            reply = await request.wait_reply()
            if reply.error is None:
                connection.watched.add(key)
            else:  # such as a permission that was taken away meanwhile
                self._end_watches(key, command_error(reply.error))
        for key in connection.watched - self._watches.keys() - self.session.watched:  # closed while this went on
            connection.watched.discard(key)
            connection.send(Request(f"unwatch {key}"))

    def _is_others(self, key: str, reply: Reply) -> bool:
        """Whether an ephemeral key has another value by now; that of the old connection may still be there."""
        ours = self.session.ephemeral[key].split(" ", 2)[2:]
        return reply.error is None and "".join(reply.messages).split(" ", 2)[2:] not in (ours, [EMPTY_VALUE])

    def _take_missed(self, key: str, message: str) -> None:
        for watch in self._watches.get(key, ()):
            if watch.is_catching_up:
                watch.put_reading(key, message)

    # Requests

    def start_request(self, command: str) -> Coroutine[object, object, Reply]:
        """Queue one command now, before what is asked for later; the coroutine waits for its reply.

        It is sent as soon as there is a connection. Raises RuntimeError if the client was not opened. The coroutine
        raises ConnectionClosed if the connection ended with the command on its way, or what the session ended with.
        """
        if self._nursery is None:
            raise RuntimeError(_NOT_OPENED)
        request = Request(command, partial(self._note, command), on_unsent=self._keep)
        if self._connection is not None:
            self._connection.send(request)
        else:
            self._keep(request)
        return request.wait()

    def _keep(self, request: Request, failure: ConnectionClosed | None = None) -> None:
        """Keep a request for the next connection, unless there will be none."""
        if self._ended is not None:
            request.fail(copy.copy(self._ended))
        elif failure is not None and not self._is_reconnecting:
            request.fail(failure)
        else:
            request.join(self._waiting)

    async def _wait_connected(self) -> Connection:
        """The connection to send on; waits while there is none. Raises what the session ended with."""
        while True:
            if self._ended is not None:
                raise copy.copy(self._ended)
            if self._nursery is None:
                raise RuntimeError(_NOT_OPENED)
            if self._connection is not None and not self._connection.ended.is_set():
                return self._connection
            await self._state_changed.wait()

    def _note(self, command: str, reply: Reply) -> None:
        self.session.note(command, reply)
        name, _, key = command.partition(" ")
        if reply.error is None and name == "unwatch":
            self._end_watches(key, None)
        elif reply.error is None and name == "unwatch-all":
            for watched in list(self._watches):
                self._end_watches(watched, None)

    # Watches and events

    def _deliver(self, event: ChangeEvent | Conflict) -> None:
        if isinstance(event, ChangeEvent):
            for watch in self._watches.get(event.key, ()):
                watch.put(event)
        self._tell(event)

    def _tell(self, event: Event) -> None:
        for events in self._events:
            events.put(event)

    def events(self) -> Events:
        """Everything that is not a reply, from now on."""
        events = Events(lambda closed: self._events.pop(closed, None))
        if self._ended is None:
            self._events[events] = None
        else:
            events.end(None)
        return events

    async def start_watch(self, watch: Watch) -> None:
        """Register a watch, and return when the server has accepted it; raises what the server refuses."""
        for key in watch.keys:
            self._watches.setdefault(key, {})[watch] = None
        try:
            await self._subscribe(watch)
        except BaseException:
            self.stop_watch(watch)
            raise

    async def _subscribe(self, watch: Watch) -> None:
        while True:
            connection = await self._wait_connected()
            requests = [
                # Also for what is watched already: the server may have ended that, and does not say so.
                (key, connection.send(Request(f"watch {key}")))
                for key in watch.keys
            ]
            readings = [
                connection.send(Request(f"get-safe {key}", on_message=partial(watch.put_reading, key)))
                for key in (watch.keys if watch.is_reading else ())
            ]
            try:
                for key, request in requests:
                    raise_refusal(await request.wait_reply())
                    connection.watched.add(key)
                for request in readings:
                    raise_refusal(await request.wait_reply())
            except ConnectionClosed:
                if not self._is_reconnecting:
                    raise
            else:
                return

    def stop_watch(self, watch: Watch) -> None:
        """Forget a watch, and its keys that nobody else watches. Never waits."""
        for key in watch.keys:
            watches = self._watches.get(key, {})
            if watches.pop(watch, self) is not self and not watches:
                del self._watches[key]
                if self._connection is not None and key not in self.session.watched:
                    self._connection.watched.discard(key)
                    self._connection.send(Request(f"unwatch {key}"))

    def _end_watches(self, key: str, error: CommandError | None) -> None:
        """The server does not watch `key` any more."""
        self.session.watched.discard(key)
        if self._connection is not None:
            self._connection.watched.discard(key)
        for watch in self._watches.pop(key, {}):
            if error is None:
                watch.end_key(key)
            else:
                self.stop_watch(watch)
                watch.end(error)
