"""What serves clients while this process decides about the data: an engine, its committer, the clients' connections.

A single node has one term, which lasts from its start to its stop.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import trio

from pynun import limits
from pynun.commit.committer import DRAIN_SECONDS, Committer
from pynun.commit.purger import Purger
from pynun.engine.audit_events import FAILED
from pynun.engine.commands.table import COMMANDS
from pynun.engine.counters import Counters
from pynun.engine.effects import HashSecret
from pynun.engine.engine import Context, Engine
from pynun.engine.key_layout import CLUSTER
from pynun.engine.overlay import Entry
from pynun.errors import StartError, StorageError, TakenAwayError
from pynun.server.accepting.accept import HTTP, WEBSOCKET
from pynun.server.accepting.client_networks import client_network
from pynun.server.accepting.host_options import host_options
from pynun.server.accepting.local_listener import asks_for_websocket
from pynun.server.console.console import Console, OwnConsole
from pynun.server.database_measurer import DatabaseMeasurer
from pynun.server.login.throttle import LoginThrottle
from pynun.server.monitoring.data_watch import look, taken_away, watch_data
from pynun.server.monitoring.health import is_scarce
from pynun.server.newest_conflict import find_newest_conflict
from pynun.settings import Durability
from pynun.transports.flusher import Flusher
from pynun.transports.http.connection import serve_http
from pynun.transports.service import Service, check_peers

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from pynun.cluster.overview import NodeState
    from pynun.cluster.owner_link import Sharing
    from pynun.commit.bell import Bell
    from pynun.commit.store import CommittedStore
    from pynun.engine.cluster import Cluster
    from pynun.engine.overlay import View
    from pynun.server.accepting.accept import Acceptor, Transport
    from pynun.server.accepting.listeners import Connection
    from pynun.server.audit_writer import AuditWriter
    from pynun.server.login.passwords import Passwords
    from pynun.server.monitoring.endpoint import Monitoring
    from pynun.settings import Settings
    from pynun.storage.store import LmdbStore

_log = logging.getLogger("nun_db")


@dataclass(frozen=True, slots=True)
class Lasting:
    """What lives as long as the process, and a term uses."""

    settings: Settings
    address: str
    """This node's address for clients: `Context.address`."""
    data: LmdbStore
    """The data folder."""
    bell: Bell
    """What the data folder rings when it is damaged."""
    passwords: Passwords
    audit_writer: AuditWriter
    monitoring: Monitoring
    acceptor: Acceptor
    system_users: frozenset[str]
    """Who may log in without a password on this machine: looked up once, because it may take time."""


class Term:
    """One term: `prepare`, then `run`."""

    def __init__(
        self,
        lasting: Lasting,
        store: CommittedStore,
        make_flusher: Callable[[View, trio.Nursery], Flusher] = Flusher,
        cluster: Cluster | None = None,
        nodes: Callable[[], Sequence[NodeState]] | None = None,
    ) -> None:
        """`store` takes the changes; it reads from the data folder. `cluster` is that of `Context`, with `nodes`."""
        settings, audit_writer = lasting.settings, lasting.audit_writer
        self._lasting = lasting
        self._store = store
        self._make_flusher = make_flusher
        self._nodes = nodes
        self._is_handed_over = cluster is not None  # another node goes on at the end
        self._login_throttle = LoginThrottle(
            lasting.passwords,
            burst=settings.login_burst,
            delay_seconds_max=settings.login_delay_seconds_max,
            on_slowed=lambda address: audit_writer.note("login-delay", FAILED, address=address),
        )
        self._purger = Purger()
        self._database_measurer = DatabaseMeasurer()
        context = Context(
            admin_user=settings.user,
            address=lasting.address,
            process_id=os.getpid(),
            time_ns=time.time_ns,
            credentials=self._login_throttle,
            watches_max=settings.watches_max,
            keys_max=settings.keys_max,
            listing_bytes_max=limits.LISTING_MESSAGES * settings.message_bytes_max,
            key_bytes_max=settings.key_bytes_max,
            database_bytes_max=settings.database_bytes_max,
            changes_per_second_max=settings.changes_per_second_max,
            group_of=client_network,
            is_disk_scarce=partial(is_scarce, settings.data_dir),
            system_users=lasting.system_users,
            audit=audit_writer,
            cluster=cluster,
            on_first_change=lasting.bell.ring,
            on_drop=self._purger.ring,
            on_unmeasured=self._database_measurer.ring,
        )
        self._engine = Engine(
            store,
            context,
            Counters(len(COMMANDS)),
            revision=store.revision,
            operations=store.operations,
            is_relaxed=settings.durability is Durability.RELAXED,
        )
        audit_writer.follow(self._engine.view)
        self._stopping = trio.Event()
        self._open: set[Connection] = set()
        self._sharing: Sharing | None = None  # what the links of other nodes share
        self.is_accepting = False
        """Whether connections are served."""

    async def prepare(self) -> None:
        """Put the administrator's password into effect, before clients are served. Raises StartError."""
        engine = self._engine
        in_force, given = await self._lasting.passwords.admin_token_hash(
            engine.admin_token_hash(), engine.start_password_hash(), self._lasting.settings.password
        )
        engine.prepare(in_force, given)
        if given != in_force:
            _log.warning(
                "NUN_PWD is an old password: a command has changed it since, and the new one is valid; update this "
                "setting"
            )
        await self._store_admin_password()

    async def prepare_in_cluster(self, cluster_id: str) -> None:
        """In data that is empty, make the administrator and the note of the cluster, as the first batch of the log."""
        engine = self._engine
        if engine.admin_token_hash() is None:
            hash_text = await self._lasting.passwords.answer(HashSecret(self._lasting.settings.password))
            assert isinstance(hash_text, str)
            engine.prepare(hash_text)
        if engine.view.read(CLUSTER) is None:
            engine.view.write(CLUSTER, Entry(0, cluster_id))
        await self._store_admin_password()

    async def _store_admin_password(self) -> None:
        """Store the hash before serving clients, so that a leaked password is never valid again. Raises StartError."""
        view = self._engine.view
        if view.batch.entries:
            batch = view.take_batch()
            try:
                await trio.to_thread.run_sync(self._store.append, batch, view.operations)
            except TakenAwayError as error:
                raise taken_away(self._lasting.data, str(error)) from None
            except StorageError as error:
                raise StartError(
                    f"the administrator's password can't be stored in {self._lasting.settings.data_dir}: {error}; free"
                    " up space there and start again"
                ) from None
            view.written()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve connections until `stop`, then store what is left.

        Raises what the committer raises. The nesting of the nurseries is the order of stopping.
        """
        lasting = self._lasting
        async with trio.open_nursery() as committing:
            async with trio.open_nursery() as hurrying:
                hurrying.start_soon(self._hurry)
                await self._run_connections(committing, task_status)
                hurrying.cancel_scope.cancel()
            await look(lasting.data, self.committer, lasting.monitoring.health.disk)
            self.committer.stop()

    async def _run_connections(self, committing: trio.Nursery, task_status: trio.TaskStatus[None]) -> None:
        lasting = self._lasting
        async with trio.open_nursery() as self._connections:
            flusher = self._make_flusher(self._engine.view, self._connections)
            self.committer = Committer(
                self._engine,
                self._store,
                lasting.bell,
                flusher.flush,
                may_use_loop=lasting.settings.sync == "auto",
                drain_seconds=0.0 if self._is_handed_over else DRAIN_SECONDS,
            )
            lasting.monitoring.health.committer = self.committer
            committing.start_soon(self.committer.run)
            self.service = self._make_service(flusher)
            try:
                async with trio.open_nursery() as self._sweeping:
                    self._start_sweepers()
                    self.is_accepting = True
                    task_status.started()
                    await self._stopping.wait()
            finally:
                self.is_accepting = False

    async def _hurry(self) -> None:
        """End connections whose clients do not answer a close: everybody else waits for another node meanwhile."""
        if not self._is_handed_over:
            return
        await self._stopping.wait()
        await trio.sleep(limits.HAND_OVER_SECONDS)
        for connection in self._open:
            with contextlib.suppress(OSError):
                connection.socket.shutdown(socket.SHUT_RDWR)

    def _make_service(self, flusher: Flusher) -> Service:
        settings = self._lasting.settings
        service = Service(
            self._engine,
            self.committer,
            flusher,
            self._login_throttle,
            **host_options(settings),
        )
        self._lasting.monitoring.watch(service)
        service.console = self._console = Console(
            settings, service, self._lasting.monitoring, self._lasting.audit_writer, self._nodes
        )
        return service

    def _start_sweepers(self) -> None:
        sweeping, engine = self._sweeping, self._engine
        sweeping.start_soon(check_peers, self.service)
        sweeping.start_soon(self._purger.run, engine)
        sweeping.start_soon(find_newest_conflict, engine)
        sweeping.start_soon(self._console.run)
        if self._lasting.settings.database_bytes_max is not None:
            sweeping.start_soon(self._database_measurer.run, engine)

    async def watch_data(self) -> None:
        """Return after the data was taken away and the committer was told."""
        await watch_data(self._lasting.data, self.committer, self._lasting.monitoring.health.disk)

    def receive(self, transport: Transport[Any], connection: Connection, acceptor: Acceptor | None = None) -> None:
        """Serve an accepted connection; one that another node accepted, by the acceptor for those."""
        handle = (acceptor or self._lasting.acceptor).handle
        self._start(connection, lambda: handle(transport, self.service, self._stopping, connection))

    def receive_link(self, connection: Connection, node: str) -> None:
        """Serve a connection of another node, for the clients there."""
        self._start(connection, partial(self._serve_link, connection, node))

    async def _serve_link(self, connection: Connection, node: str) -> None:
        from pynun.cluster.owner_link import Sharing  # a single node needs none of it

        if self._sharing is None:
            self._sharing = Sharing(self.service, self._stopping)
        await self._sharing.serve(connection.socket, node)

    def linked_clients(self) -> Counter[str]:
        """How many sessions there are of clients of other nodes, by node."""
        links = () if self._sharing is None else self._sharing.links
        found: Counter[str] = Counter()
        for link in links:
            found[link.node] += len(link.clients)
        return found

    def receive_console(self, connection: Connection) -> None:
        """Serve an accepted connection to the console's own address."""
        self.receive(HTTP._replace(serve=partial(serve_http, own_console=OwnConsole(self._console))), connection)

    def receive_local(self, connection: Connection) -> None:
        """Serve an accepted connection to the Unix socket."""
        self._start(connection, partial(self._serve_local, connection))

    def _start(self, connection: Connection, serve: Callable[[], Awaitable[None]]) -> None:
        if self.is_accepting:
            self._connections.start_soon(self._hold, connection, serve)
        else:
            connection.socket.close()

    async def _hold(self, connection: Connection, serve: Callable[[], Awaitable[None]]) -> None:
        self._open.add(connection)
        try:
            await serve()
        finally:
            self._open.discard(connection)
            await trio.aclose_forcefully(connection)

    async def _serve_local(self, connection: Connection) -> None:
        is_websocket = await asks_for_websocket(connection, self.service)
        if is_websocket is not None:
            transport: Transport[Any] = WEBSOCKET if is_websocket else HTTP
            await self._lasting.acceptor.handle(transport, self.service, self._stopping, connection)

    def stop(self) -> None:
        """Have `run` return: the connections answer what has arrived, and end by a deadline."""
        self._sweeping.cancel_scope.cancel()
        self._stopping.set()
        self._login_throttle.stop()
        for waiting in self.service.waits_to_cancel:
            waiting.cancel()
        seconds = limits.HAND_OVER_SECONDS if self._is_handed_over else limits.STOP_SECONDS
        self._connections.cancel_scope.deadline = trio.current_time() + seconds
