"""This server as a node of a cluster: serves clients itself while it owns the engine, and passes them on otherwise."""

from __future__ import annotations

import contextlib
import json
import logging
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from pynun import limits
from pynun.cluster.copy_source import CopySource
from pynun.cluster.guarded_flusher import GuardedFlusher
from pynun.cluster.link import COPY, LIFE, LINK, READY, RELAY, tls_trouble, welcome
from pynun.cluster.node import Node
from pynun.cluster.overview import AWAY, FOLLOWING, OWNER
from pynun.engine.cluster import ClusterNode
from pynun.engine.effects import VerifySecret
from pynun.engine.key_layout import ADMIN_DATABASE, CATALOGUE, prefixes
from pynun.errors import TakenAwayError
from pynun.server.accepting.accept import HTTP, WEBSOCKET
from pynun.server.accepting.listeners import accept_all
from pynun.server.accepting.local_listener import asks_for_websocket
from pynun.server.backup_schedule import make_in_child
from pynun.server.edge import Edge
from pynun.server.monitoring.cluster_figures import ClusterFigures
from pynun.server.term import Term
from pynun.timestamps import time_of_day
from pynun.transports.counters import Counters
from pynun.transports.sockets import receive, send

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.cluster.overview import NodeState
    from pynun.cluster.replicated_store import ReplicatedStore
    from pynun.server.accepting.accept import Transport
    from pynun.server.accepting.listeners import Connection, SocketListener
    from pynun.server.joining import Membership
    from pynun.server.term import Lasting
    from pynun.storage.store import LmdbStore


_REFUSED_MAX: Final = 100
"""Addresses of which it is remembered why they were refused."""

_log = logging.getLogger("nun_db")


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
        monitoring = lasting.monitoring
        place = self._place
        self._counters = Counters()
        self._edge = Edge(
            lasting.settings,
            lasting.acceptor,
            self._counters,
            place.node,
            place.address,
            place.tls,
            monitoring.pages,
            monitoring.health_pages,
        )
        self._node = Node(place, lasting.data, self._make_term, self._on_change, self._edge.why_not_ready)
        monitoring.health.why_not_node = self._why_not_ready
        monitoring.health.node_fields = self._node_fields
        self._stopping = trio.Event()
        self._ended = trio.Event()
        self._refused: dict[str, str] = {}  # addresses whose connections to the link were refused last, and why
        self._copies = CopySource(lasting.data.folder, make_in_child)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve connections until `stop`, then let another node go on. Raises as `Node.run` does."""
        async with trio.open_nursery() as noding:
            await noding.start(self._run_node)
            async with trio.open_nursery() as self._linking:
                self._linking.start_soon(accept_all, self._link, self._receive_link)
                self._linking.start_soon(self._copies.run)
                async with trio.open_nursery() as edging:
                    await edging.start(self._edge.run)
                    self._lasting.monitoring.watch_edge(self._edge.host, self._figures)
                    edging.start_soon(self._check_password)
                    async with trio.open_nursery() as self._edges:
                        task_status.started()
                        await self._stopping.wait()
                        self._edge.leave()
                        self._edges.cancel_scope.deadline = trio.current_time() + limits.STOP_SECONDS
                    edging.cancel_scope.cancel()
                self._node.stop()
                await self._ended.wait()
                self._linking.cancel_scope.cancel()

    async def _run_node(self, *, task_status: trio.TaskStatus[None]) -> None:
        await self._node.run(task_status=task_status)
        self._ended.set()

    def stop(self) -> None:
        """Have `run` return."""
        self._stopping.set()

    def _why_not_ready(self) -> str | None:
        if self._node.presence.is_full:
            return "etcd takes no changes: its space is used up (docs/cluster-operation.md)"
        return self._node.why_not_ready()

    def _node_fields(self) -> bytes:
        return b"Nun-Db-Node: %s\r\n" % json.dumps(self._node.presence.summary()).encode()

    def _figures(self) -> ClusterFigures:
        node, term = self._node, self._term
        roles = Counter(one.role for one in node.presence.nodes)
        batches, seconds = node.behind()
        return ClusterFigures(
            is_owner=term is not None,
            nodes={role: roles[role] for role in (OWNER, FOLLOWING, AWAY)},
            batch=self._lasting.data.revision,
            batches_behind=batches,
            behind_seconds=seconds,
            etcd_answered_at=time_of_day(node.answered_at),
            edge_clients=len(self._edge.host.sessions),
            linked_clients={} if term is None else term.linked_clients(),
            terms=node.terms,
            lost_terms=node.lost_terms,
            accept_seconds=node.accept_seconds,
            copies=self._copies.sent,
        )

    async def watch_data(self) -> None:
        """Raise TakenAwayError if the data is not in its folder any more, or DamageError: another node goes on."""
        data, disk = self._lasting.data, self._lasting.monitoring.health.disk
        while True:
            await trio.sleep(limits.DATA_LOOK_SECONDS)
            if (why := await disk.ask(data.why_elsewhere)) is not None:
                raise TakenAwayError(why)

    # --- what commands ask -------------------------------------------------------------------------------------

    def nodes(self) -> list[ClusterNode]:
        """See `Cluster`."""
        return [
            ClusterNode(one.node, one.client_address, one.node == self._place.node, one.role != AWAY)
            for one in self._node.presence.nodes
        ]

    @property
    def states(self) -> list[NodeState]:
        """All nodes, a second ago."""
        return self._node.presence.nodes

    def hand_over(self, node: str) -> None:
        """See `Cluster`."""
        self._node.hand_over(node)

    def forget(self, node: str, then: Callable[[], None]) -> None:
        """See `Cluster`."""
        self._node.forget(node, then)

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
        make_flusher = partial(GuardedFlusher, is_owner=is_owner, counters=self._counters)
        term = Term(self._lasting, store, make_flusher, cluster=self, nodes=lambda: self.states)
        await term.prepare_in_cluster(self._cluster_id)
        return term

    @property
    def _term(self) -> Term | None:
        term = self._node.term
        return term if isinstance(term, Term) and term.is_accepting else None

    def _on_change(self) -> None:
        owner = self._node.owner
        if self._term is not None:
            self._edge.point_to(self._place.node, self._place.address)
            return
        self._lasting.monitoring.rest()
        if owner is None:
            self._edge.point_to("", None)
        else:
            self._edge.point_to(owner.node, owner.link)

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
        is_websocket = await asks_for_websocket(connection, self._edge.host)
        if is_websocket is None:
            await trio.aclose_forcefully(connection)
        else:
            await self._serve_elsewhere(WEBSOCKET if is_websocket else HTTP, connection)

    async def _serve_elsewhere(self, transport: Transport[Any], connection: Connection) -> None:
        is_handed_on = False
        try:
            deadline = trio.current_time() + limits.HOLD_SECONDS
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
        address = connection.address
        try:
            with trio.move_on_after(self._lasting.settings.handshake_seconds) as greeting:
                connection.socket, hello = await welcome(connection.socket, self._place.tls)
            if greeting.cancelled_caught:
                return
            self._refused.pop(address, None)
            if hello.purpose == LIFE:
                while await receive(connection.socket):
                    pass
                return
            if hello.purpose == COPY:
                await self._copies.send(connection.socket)
                return
            term = self._term
            if term is None:
                return
            await send(connection.socket, READY)
            is_trial = hello.purpose == RELAY and not hello.address and hello.system_user is None
            if is_trial or term is not self._term:
                return
            is_handed_on = True
            if hello.purpose == LINK:
                term.receive_link(connection, hello.node)
            else:
                connection.address, connection.system_user = hello.address, hello.system_user
                connection.node = hello.node
                term.receive(HTTP, connection, self._link_acceptor)
        except OSError as error:  # it is gone, or no node
            if (why := tls_trouble(error)) is not None:
                self._note_refused(address, why)
        finally:
            if not is_handed_on:
                with contextlib.suppress(OSError):
                    await trio.aclose_forcefully(connection)

    def _note_refused(self, address: str, why: str) -> None:
        """Tell once why a connection to the link did not come about, and again if it came about meanwhile."""
        if self._refused.get(address) == why:
            return
        if len(self._refused) >= _REFUSED_MAX:
            self._refused.clear()
        self._refused[address] = why
        others = [one for one in self.states if one.node != self._place.node]
        known = [one.node for one in others if one.address.rpartition(":")[0].strip("[]") == address]
        _log.warning(
            "a connection from %s%s to NUN_CLUSTER_ADDR was refused: %s; if that is a node, nun-db cluster check on"
            " both machines says more",
            address,
            f" (node {' or '.join(known)})" if known else "",
            why,
        )
