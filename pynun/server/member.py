"""This server as a node of a cluster: serves clients itself while it owns the engine, and passes them on otherwise."""

from __future__ import annotations

import contextlib
import logging
import socket
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import trio

from pynun import limits, stop_signals
from pynun.cluster.etcd.blocking_client import BlockingClient
from pynun.cluster.etcd.checks import check
from pynun.cluster.etcd.client import Client
from pynun.cluster.etcd.errors import EtcdError, UnreachableError
from pynun.cluster.etcd.members import SETTINGS_FIELDS, etcd_members
from pynun.cluster.guarded_flusher import GuardedFlusher
from pynun.cluster.joining import PatientCaller, enter, hold_name
from pynun.cluster.keys import Keys
from pynun.cluster.link import LIFE, READY, link_tls, welcome
from pynun.cluster.node import Node, Place
from pynun.engine.effects import VerifySecret
from pynun.engine.key_layout import ADMIN_DATABASE, CATALOGUE, prefixes
from pynun.errors import StartError, TakenAwayError
from pynun.server.accepting.accept import HTTP, TCP, WEBSOCKET
from pynun.server.accepting.listeners import accept_all
from pynun.server.accepting.local_listener import asks_for_websocket
from pynun.server.edge import HOLD_SECONDS, Edge
from pynun.server.term import Term
from pynun.setting_values import Address
from pynun.transports.sockets import receive, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.cluster.etcd.members import Members
    from pynun.cluster.replicated_store import ReplicatedStore
    from pynun.server.accepting.accept import Transport
    from pynun.server.accepting.listeners import Connection, SocketListener
    from pynun.server.term import Lasting
    from pynun.settings import Settings
    from pynun.storage.store import LmdbStore

_TRANSPORTS: Final[dict[str, Transport[Any]]] = {one.name: one for one in (WEBSOCKET, HTTP, TCP)}

_CHECK_SECONDS: Final = 5.0
_PAUSE_SECONDS: Final = 0.5

_log = logging.getLogger("nun_db")


class Membership(NamedTuple):
    """A node's place in its cluster, found before it serves."""

    cluster_id: str
    place: Place


def join(settings: Settings, data: LmdbStore, link: SocketListener, tell: Callable[[str], None]) -> Membership:
    """Find this node's place. Waits for etcd; raises StartError, SettingsError, and Stopped for a signal.

    `tell` is told what takes time. Runs in a thread.
    """

    def pause(seconds: float) -> None:
        stop_signals.check()
        time.sleep(seconds)

    tls = None
    if not settings.is_cluster_plain:
        assert settings.cluster_ca is not None
        assert settings.cluster_cert is not None
        assert settings.cluster_key is not None
        tls = link_tls(settings.cluster_ca, settings.cluster_cert, settings.cluster_key)
    keys = Keys(settings.cluster_name)
    name = settings.node_name or socket.gethostname()
    members = etcd_members(*(getattr(settings, field) for field in SETTINGS_FIELDS))
    tell("asking etcd")
    with BlockingClient(members) as client:
        caller = PatientCaller(client, pause)
        _check_etcd(members, settings.lease_seconds, pause)
        cluster_id = enter(data, caller, keys)
        live_lease = hold_name(caller, keys, name)
    return Membership(
        cluster_id,
        Place(
            keys,
            members,
            name,
            _own_address(settings, link),
            tls,
            settings.lease_seconds,
            settings.has_fast_takeover,
            live_lease,
        ),
    )


def _check_etcd(members: Members, lease_seconds: int, pause: Callable[[float], None]) -> None:
    """Wait for etcd, and refuse one that does not fit. Raises StartError."""

    async def ask() -> None:
        async with Client(members) as client:
            await check(client, lease_seconds, _CHECK_SECONDS)

    is_told = False
    while True:
        try:
            trio.run(ask)
        except UnreachableError as error:
            if not is_told:
                is_told = True
                _log.warning("waiting for etcd: %s", error)
        except EtcdError as error:
            raise StartError(f"{error}; see NUN_ETCD and docs/cluster.md") from None
        else:
            return
        pause(_PAUSE_SECONDS)


def _own_address(settings: Settings, link: SocketListener) -> Address:
    """How other nodes reach this one."""
    if settings.cluster_external_address is not None:
        return settings.cluster_external_address
    return Address(socket.gethostname(), int(link.address.rpartition(":")[2]))


def _admin_token_hash(data: LmdbStore) -> str | None:
    """As `Engine.admin_token_hash`, without an engine."""
    catalogued = data.get(CATALOGUE + ADMIN_DATABASE.encode())
    token = None if catalogued is None else data.get(prefixes(catalogued.version)[0] + b"$$token")
    return None if token is None else token.text


class Member:
    """A node, and its connections."""

    def __init__(self, lasting: Lasting, membership: Membership, link: SocketListener) -> None:
        self._lasting = lasting
        self._cluster_id, self._place = membership
        self._link = link
        self._link_acceptor = lasting.acceptor.behind()
        self._node = Node(self._place, lasting.data, self._make_term, self._on_change)
        monitoring = lasting.monitoring
        self._edge = Edge(
            lasting.settings, lasting.acceptor, self._place.node, self._place.tls, monitoring.health_pages
        )
        monitoring.health.why_not_node = self._node.why_not_ready
        self._stopping = trio.Event()
        self._ended = trio.Event()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve connections until `stop`, then let another node go on. Raises as `Node.run` does."""
        async with trio.open_nursery() as noding:
            await noding.start(self._run_node)
            async with trio.open_nursery() as self._linking:
                self._linking.start_soon(accept_all, self._link, self._receive_link)
                async with trio.open_nursery() as self._edges:
                    self._edges.start_soon(self._edge.check_clients)
                    self._edges.start_soon(self._check_password)
                    task_status.started()
                    await self._stopping.wait()
                    self._edges.cancel_scope.cancel()
                self._node.stop()
                await self._ended.wait()
                self._linking.cancel_scope.cancel()

    async def _run_node(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self._node.run(task_status=task_status)
        self._ended.set()

    def stop(self) -> None:
        """Have `run` return."""
        self._stopping.set()

    async def watch_data(self) -> None:
        """Raise TakenAwayError if the data is not in its folder any more, or DamageError: another node goes on."""
        data, disk = self._lasting.data, self._lasting.monitoring.health.disk
        while True:
            await trio.sleep(limits.DATA_LOOK_SECONDS)
            if (why := await disk.ask(data.why_elsewhere)) is not None:
                raise TakenAwayError(why)

    # --- terms -------------------------------------------------------------------------------------------------

    async def _check_password(self) -> None:
        """Tell if NUN_PWD is not the administrator's password, which only a command changes in a cluster."""
        lasting = self._lasting
        await self._node.has_caught_up.wait()
        hash_text = _admin_token_hash(lasting.data)
        if hash_text is not None and not await lasting.passwords.answer(
            VerifySecret(hash_text, lasting.settings.password)
        ):
            _log.warning(
                "NUN_PWD is not the administrator's password of this cluster: that one is valid; update this setting"
            )

    async def _make_term(self, store: ReplicatedStore, is_owner: Callable[[], bool]) -> Term:
        term = Term(self._lasting, store, partial(GuardedFlusher, is_owner=is_owner))
        await term.prepare_in_cluster(self._cluster_id)
        return term

    @property
    def _term(self) -> Term | None:
        term = self._node.term
        return term if isinstance(term, Term) and term.is_accepting else None

    def _on_change(self) -> None:
        owner = self._node.owner
        if self._term is not None:
            self._edge.point_to(self._place.address)
            return
        self._lasting.monitoring.rest()
        self._edge.point_to(None if owner is None else owner.link)

    # --- connections -------------------------------------------------------------------------------------------

    def receive(self, transport: Transport[Any], connection: Connection) -> None:
        """Serve an accepted connection, here or at the owner."""
        if self._term is not None:
            self._term.receive(transport, connection)
        else:
            self._edges.start_soon(self._serve_elsewhere, transport, connection)

    def receive_console(self, connection: Connection) -> None:
        """Serve an accepted connection to the console's own address, which only the owner has."""
        if self._term is not None:
            self._term.receive_console(connection)
        else:
            self._edges.start_soon(self._refuse_console, connection)

    async def _refuse_console(self, connection: Connection) -> None:
        try:
            await self._edge.refuse_console(connection)
        finally:
            await trio.aclose_forcefully(connection)

    def receive_local(self, connection: Connection) -> None:
        """Serve an accepted connection to the Unix socket."""
        if self._term is not None:
            self._term.receive_local(connection)
        else:
            self._edges.start_soon(self._serve_local, connection)

    async def _serve_local(self, connection: Connection) -> None:
        is_websocket = await asks_for_websocket(connection, self._edge)
        if is_websocket is None:
            await trio.aclose_forcefully(connection)
        else:
            await self._serve_elsewhere(WEBSOCKET if is_websocket else HTTP, connection)

    async def _serve_elsewhere(self, transport: Transport[Any], connection: Connection) -> None:
        is_handed_on = False
        try:
            deadline = trio.current_time() + HOLD_SECONDS
            await self._edge.hold(transport, connection, deadline)
            if (term := self._term) is not None:
                is_handed_on = True
                term.receive(transport, connection)
            else:
                await self._edge.serve(transport, connection, deadline)
        finally:
            if not is_handed_on:
                await trio.aclose_forcefully(connection)

    def _receive_link(self, connection: Connection) -> None:
        self._linking.start_soon(self._serve_link, connection)

    async def _serve_link(self, connection: Connection) -> None:
        """Serve a connection of another node."""
        is_handed_on = False
        try:
            with trio.move_on_after(self._lasting.settings.handshake_seconds) as greeting:
                connection.socket, hello = await welcome(connection.socket, self._place.tls)
            if greeting.cancelled_caught:
                return
            if hello.purpose == LIFE:
                while await receive(connection.socket):
                    pass
                return
            term, transport = self._term, _TRANSPORTS.get(hello.transport)
            if term is None or transport is None:
                return
            connection.address, connection.system_user = hello.address, hello.system_user
            await send(connection.socket, READY)
            if term is self._term:
                is_handed_on = True
                term.receive(transport, connection, self._link_acceptor)
        except OSError:
            return  # it is gone, or no node
        finally:
            if not is_handed_on:
                with contextlib.suppress(OSError):
                    await trio.aclose_forcefully(connection)
