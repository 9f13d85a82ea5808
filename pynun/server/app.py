"""The server as a whole: opens folder and listeners, runs the tasks, stops cleanly.

The nesting of the nurseries is the order of stopping: listeners, connections (with a deadline), committer, store.
"""

from __future__ import annotations

import logging
import os
import signal
import time
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING

import trio

from pynun import limits
from pynun.engine.engine import Context, Engine
from pynun.errors import DamageError, StartError, StorageError
from pynun.server import logs
from pynun.server.listening import listen
from pynun.server.passwords import Passwords
from pynun.settings import Durability
from pynun.storage import schema
from pynun.storage.committer import Committer
from pynun.storage.lmdb_store import LmdbStore
from pynun.transports.http import serve_http
from pynun.transports.outbox import Flusher
from pynun.transports.service import Service
from pynun.transports.tcp import serve_tcp
from pynun.transports.websocket import serve_websocket

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Awaitable, Callable

    from pynun.server.listening import Connection, SocketListener
    from pynun.settings import Settings

    Serve = Callable[[socket.socket, Service, trio.Event], Awaitable[None]]

_log = logging.getLogger("nun_db")

_DURABILITY_MEANING = {
    Durability.ALWAYS: "what is answered is on disk",
    Durability.RELAXED: "a crash may lose the last 100 ms of changes",
}


def run(settings: Settings) -> None:
    """Run the server until SIGTERM or SIGINT; returns after a clean stop. Raises StartError."""
    logs.configure(settings.log_level)
    logs.announce("nundb starting!")
    for name in settings.unused:
        _log.warning("%s has no effect: this server is a single node that keeps its data in NUN_DBS_DIR", name)
    with ExitStack() as stack:
        listeners = _Listeners(settings)
        stack.callback(listeners.close)
        store = LmdbStore(settings.data_dir)
        stack.callback(store.close)
        try:
            trio.run(_serve, settings, store, listeners)
        except* DamageError as group:
            raise StartError(f"the server stopped: {_first(group)}") from group
        except* StorageError as group:
            raise StartError(f"the last changes could not be stored: {_first(group)}") from group
    logs.announce("stopped: everything answered is on disk")


class _Listeners:
    """The three listeners, opened before anything else: a port that is taken is the commonest failure."""

    def __init__(self, settings: Settings) -> None:
        self._opened: list[SocketListener] = []
        try:
            self.websocket = self._open("websocket", "NUN_WS_ADDR", settings)
            self.http = self._open("http", "NUN_HTTP_ADDR", settings)
            self.tcp = self._open("tcp", "NUN_TCP_ADDR", settings)
        except BaseException:
            self.close()
            raise

    def _open(self, name: str, variable: str, settings: Settings) -> SocketListener:
        listener = listen(name, variable, getattr(settings, f"{name}_address"))
        self._opened.append(listener)
        return listener

    def close(self) -> None:
        for listener in self._opened:
            listener.close()


async def _serve(settings: Settings, store: LmdbStore, listeners: _Listeners) -> None:
    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        passwords = Passwords(
            memory_kib=settings.argon2_memory_kib, passes=settings.argon2_passes, lanes=settings.argon2_lanes
        )
        context = Context(
            admin_user=settings.user,
            address=settings.external_address or listeners.tcp.address,
            process_id=os.getpid(),
            time_ns=time.time_ns,
            credentials=passwords,
        )
        engine = Engine(
            store,
            context,
            revision=store.revision,
            operations=store.operations,
            is_relaxed=settings.durability is Durability.RELAXED,
        )
        committer = Committer(engine, store)
        engine.prepare(await passwords.admin_token_hash(engine.admin_token_hash(), settings.password))
        async with trio.open_nursery() as ignoring:
            async with trio.open_nursery() as committing:
                committing.start_soon(committer.run)
                await _serve_connections(settings, engine, committer, passwords, listeners, signals, ignoring)
                committer.stop()
            ignoring.cancel_scope.cancel()


async def _serve_connections(
    settings: Settings,
    engine: Engine,
    committer: Committer,
    passwords: Passwords,
    listeners: _Listeners,
    signals: AsyncIterator[int],
    ignoring: trio.Nursery,
) -> None:
    """Accept and serve until a signal; returns when the last connection is gone, or its time is up."""
    stopping = trio.Event()
    async with trio.open_nursery() as connections:
        flusher = Flusher(engine.view, connections)
        committer.on_released = flusher.flush
        service = Service(
            engine,
            committer,
            flusher,
            passwords,
            message_bytes_max=settings.message_bytes_max,
            outbox_bytes_max=settings.outbox_bytes_max,
        )
        async with trio.open_nursery() as accepting:
            for listener, serve in (
                (listeners.websocket, serve_websocket),
                (listeners.http, serve_http),
                (listeners.tcp, serve_tcp),
            ):
                handler = partial(_handle, serve, service, stopping)
                accepting.start_soon(partial(trio.serve_listeners, handler, [listener], handler_nursery=connections))
            _announce(settings, listeners)
            received = await anext(signals)
            ignoring.start_soon(_ignore, signals)
            _log.info("stopping on %s", signal.Signals(received).name)
            accepting.cancel_scope.cancel()
        listeners.close()
        stopping.set()
        for waiting in service.waits_to_cancel:
            waiting.cancel()
        connections.cancel_scope.deadline = trio.current_time() + limits.STOP_SECONDS


async def _ignore(signals: AsyncIterator[int]) -> None:
    """Further signals: left unread, trio would deliver them again at the end, and they would kill a clean stop."""
    async for _ in signals:
        pass


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first of the single exceptions in a group."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _announce(settings: Settings, listeners: _Listeners) -> None:
    durability = settings.durability
    logs.announce(
        f"data: {settings.data_dir.resolve()} (format {schema.FORMAT}; durability {durability.value}: "
        f"{_DURABILITY_MEANING[durability]})"
    )
    logs.announce(f"listening: websocket {listeners.websocket.address}")
    logs.announce(f"listening: http {listeners.http.address}")
    logs.announce(f"listening: tcp {listeners.tcp.address}")
    logs.announce(f"ready; to stop it: Ctrl-C, or kill {os.getpid()}")


async def _handle(serve: Serve, service: Service, stopping: trio.Event, connection: Connection) -> None:
    """One connection. A fault of ours ends that connection, with its trace in the log, and nobody else's."""
    try:
        await serve(connection.socket, service, stopping)
    except Exception:
        _log.exception("a connection was closed after an internal error; please report this")
