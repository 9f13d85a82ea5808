"""Clients of a node that does not own the engine: held until a node does, then served with sessions at that one.

All connections to the WebSocket and the TCP port share one link to the owner. Those to the HTTP port are passed on byte
by byte. The pages for monitoring are this node's own.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import trio

from pynun import limits
from pynun.cluster.edge_connections import serve_tcp_at_edge, serve_websocket_at_edge
from pynun.cluster.edge_link import EdgeHost, Link, NoRevisions
from pynun.cluster.link import LINK, RELAY, Hello
from pynun.cluster.link_records import LinkRecordError
from pynun.cluster.node import UNREACHED
from pynun.cluster.owner_dialler import DIAL_SECONDS, OwnerDialler
from pynun.cluster.relay import splice
from pynun.server.accepting.accept import HTTP, TCP
from pynun.server.accepting.host_options import host_options
from pynun.server.console.guard import AT_OWNER
from pynun.transports.flusher import Flusher
from pynun.transports.http.page_server import page_answer, page_asked_for
from pynun.transports.http.responses import refuse
from pynun.transports.service import check_peers, check_seconds
from pynun.transports.sockets import is_machine_gone, linger, receive, send

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pynun.cluster.link import LinkTls
    from pynun.server.accepting.accept import Acceptor, Transport
    from pynun.server.accepting.listeners import Connection
    from pynun.setting_values import Address
    from pynun.settings import Settings
    from pynun.transports.client_address import Client
    from pynun.transports.counters import Counters
    from pynun.transports.pages import Pages

_RETRY_SECONDS: Final = 0.1
_NOBODY: Final = "no node owns the data now: try again"

_Serve: TypeAlias = "Callable[[socket.socket, EdgeHost, trio.Event, Client], Awaitable[None]]"

_log = logging.getLogger("nun_db")


class Edge:
    """The connections of clients whose sessions are at the owner."""

    def __init__(
        self,
        settings: Settings,
        acceptor: Acceptor,
        counters: Counters,
        node: str,
        address: Address,
        tls: LinkTls | None,
        pages: Pages,
        handshake_pages: Pages,
    ) -> None:
        """`address` is that of this node's own link; `pages` are this node's own on the HTTP port, and
        `handshake_pages` those on the WebSocket port.
        """
        self._settings = settings
        self._acceptor = acceptor
        self._counters = counters
        self._node = node
        self._own_address = address
        self._dialler = OwnerDialler(tls, node)
        self._is_linked = False
        self._pages = pages
        self._handshake_pages = handshake_pages
        self._stopping = trio.Event()
        self._address: Address | None = None  # of the owner's link
        self._waiting = 0  # connections that need a link
        self._changed = trio.Event()
        self._linking: tuple[trio.CancelScope, Address] | None = None
        self._holding: set[trio.CancelScope] = set()
        self._relays: dict[trio.CancelScope, tuple[socket.socket, Address]] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold a link to the owner, and check the clients, for ever."""
        settings = self._settings
        async with trio.open_nursery() as nursery:
            self.host = EdgeHost(Flusher(NoRevisions(), nursery, self._counters), **host_options(settings))
            self.host.handshake_pages = {**self.host.handshake_pages, **self._handshake_pages}
            nursery.start_soon(check_peers, self.host)
            nursery.start_soon(self._check_relays)
            nursery.start_soon(self._dialler.keep_trying)
            task_status.started()
            while True:
                changed, address = self._changed, self._address
                is_needed = self._waiting or self.host.sessions
                if address is None or (address == self._own_address and not is_needed):
                    await changed.wait()
                else:
                    await self._hold_link(address)

    def leave(self) -> None:
        """The server stops: what clients have asked is answered, then their connections end."""
        self._stopping.set()
        for waits in (self._holding, self._relays, self.host.waits_to_cancel):
            for scope in waits:
                scope.cancel()
        self.host.end_all()
        self._note_change()

    def point_to(self, owner: str, address: Address | None) -> None:
        """From now on that node is owner, and its link there, which may be this node's own; None: there is no owner.

        A link to another one ends, and what is passed on there: it may have been cut off, and answers nothing any more.
        """
        self._address = address
        self._dialler.point_to(owner, None if address == self._own_address else address)
        self._note_change()
        if address is not None:
            if self._linking is not None and self._linking[1] != address:
                self._linking[0].cancel()
            for scope, (_, other) in self._relays.items():
                if other != address:
                    scope.cancel()

    def _note_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def why_not_ready(self) -> str | None:
        """Why clients can't be served by another owner now; None if they can."""
        if self._address in (None, self._own_address):
            return None
        why = self._dialler.why_failing()
        if self._is_linked and not why:
            return None
        return f"{UNREACHED}: {why}" if why else UNREACHED

    async def _hold_link(self, address: Address) -> None:
        """Have a link until it ends, or another node owns the engine."""
        with trio.CancelScope() as scope:
            self._linking = scope, address
            try:
                connected = await self._dialler.dial(address, Hello(LINK, self._node))
            except OSError:
                with trio.move_on_after(_RETRY_SECONDS):
                    await self._changed.wait()
                return
            with connected:
                link = Link(connected, self.host)
                try:
                    async with trio.open_nursery() as nursery:
                        await nursery.start(link.run)
                        self._is_linked = True
                        self._note_change()
                except* LinkRecordError as group:
                    _log.warning("the link to the owner at %s ends: %s", address, group.exceptions[0])
                finally:
                    self._is_linked = False
        self._linking = None

    # --- holding -----------------------------------------------------------------------------------------------

    async def hold(self, transport: Transport[Any], connection: Connection, deadline: float) -> None:
        """Wait until there is an owner, the client asks for a page, or until the deadline. Reads nothing."""
        is_encrypted = self._settings.tls_cert is not None and connection.system_user is None
        if is_encrypted and transport.name == HTTP.name:
            return  # what it asks for is read first
        with trio.move_on_at(deadline) as waiting:
            self._holding.add(waiting)
            try:
                async with trio.open_nursery() as nursery:
                    if transport.name != TCP.name and not is_encrypted:
                        pages = self._pages if transport.name == HTTP.name else self._handshake_pages
                        nursery.start_soon(self._wait_for_page, pages, connection, nursery.cancel_scope)
                    while self._address is None:
                        await self._changed.wait()
                    nursery.cancel_scope.cancel()
            finally:
                self._holding.discard(waiting)

    async def _wait_for_page(self, pages: Pages, connection: Connection, scope: trio.CancelScope) -> None:
        with contextlib.suppress(OSError):
            await trio.lowlevel.wait_readable(connection.socket)
            head = connection.socket.recv(limits.HANDSHAKE_BYTES_MAX, socket.MSG_PEEK)
            if not head or page_asked_for(pages, head) is not None:
                scope.cancel()

    # --- serving -----------------------------------------------------------------------------------------------

    async def serve(self, transport: Transport[Any], connection: Connection, deadline: float) -> None:
        """Serve a connection, after what the acceptor does for every client; it waits for an owner until then."""
        serve = {HTTP.name: self._pass_on, TCP.name: self._serve_tcp}.get(transport.name, self._serve_websocket)
        await self._handle(transport, partial(serve, max(deadline, trio.current_time() + DIAL_SECONDS)), connection)

    async def refuse_console(self, connection: Connection) -> None:
        """Tell a browser that the console is elsewhere."""
        await self._handle(HTTP, self._say_where_console_is, connection)

    async def _handle(self, of: Transport[Any], serve: _Serve, connection: Connection) -> None:
        await self._acceptor.handle(of._replace(serve=serve), self.host, self._stopping, connection)

    async def _say_where_console_is(
        self, connected: socket.socket, host: EdgeHost, _stopping: trio.Event, _client: Client
    ) -> None:
        with trio.move_on_after(host.handshake_seconds):
            if await _read_head(connected):
                await refuse(connected, 503, AT_OWNER.strip())

    async def _serve_tcp(
        self, deadline: float, connected: socket.socket, host: EdgeHost, _stopping: trio.Event, client: Client
    ) -> None:
        if await self._find_link(deadline):
            await serve_tcp_at_edge(connected, host, client)

    async def _serve_websocket(
        self, deadline: float, connected: socket.socket, host: EdgeHost, _stopping: trio.Event, client: Client
    ) -> None:
        head = b""
        if not self._has_link:  # which a page does not need
            head = await self._read_head_in_time(connected)
            if not head or await self._answer_page(self._handshake_pages, connected, head):
                return
            if not await self._find_link(deadline):
                await refuse(connected, 503, _NOBODY)
                return
        await serve_websocket_at_edge(connected, host, client, head)

    async def _find_link(self, deadline: float) -> bool:
        """Wait for a link to the owner; False if there was none until then."""
        self._waiting += 1
        try:
            with trio.move_on_at(deadline):
                if self._waiting == 1:
                    self._note_change()
                while not self._has_link and not self._stopping.is_set():
                    await self._changed.wait()
        finally:
            self._waiting -= 1
        return self._has_link and not self._stopping.is_set()

    @property
    def _has_link(self) -> bool:
        link = self.host.link
        return link is not None and not link.has_ended()

    async def _pass_on(
        self, deadline: float, connected: socket.socket, _host: EdgeHost, _stopping: trio.Event, client: Client
    ) -> None:
        head = await self._read_head_in_time(connected)
        if not head or await self._answer_page(self._pages, connected, head):
            return
        owner = await self._reach_owner(Hello(RELAY, self._node, client.address, client.system_user), deadline)
        if owner is None:
            await refuse(connected, 503, _NOBODY)
            return
        ours, address = owner
        with ours, trio.CancelScope() as scope, contextlib.suppress(OSError):
            self._relays[scope] = connected, address
            try:
                await send(ours, head)
                await splice(connected, ours)
            finally:
                del self._relays[scope]

    async def _read_head_in_time(self, connected: socket.socket) -> bytes:
        with trio.move_on_after(self.host.handshake_seconds):
            return await _read_head(connected)
        return b""

    async def _answer_page(self, pages: Pages, connected: socket.socket, head: bytes) -> bool:
        """Answer a request for one of this node's own pages; False if it is for something else."""
        answer = await page_answer(pages, head)
        if answer is None:
            return False
        await send(connected, answer)
        await linger(connected)
        return True

    async def _reach_owner(self, hello: Hello, deadline: float) -> tuple[socket.socket, Address] | None:
        """A connection to the owner; None if there was none until then."""
        with trio.move_on_at(deadline):
            while not self._stopping.is_set():
                changed, address = self._changed, self._address
                if address is None:
                    await changed.wait()
                    continue
                try:
                    return await self._dialler.dial(address, hello), address
                except OSError:
                    with trio.move_on_after(_RETRY_SECONDS):
                        await changed.wait()
        return None

    async def _check_relays(self) -> None:
        """End connections whose client's machine is gone, for ever. (The owner pings their programs.)"""
        idle_seconds = self._settings.idle_seconds
        while True:
            await trio.sleep(check_seconds(idle_seconds))
            for scope, (connected, _) in list(self._relays.items()):
                if is_machine_gone(connected, idle_seconds):
                    scope.cancel()


async def _read_head(connected: socket.socket) -> bytes:
    """What a client sends first, up to the end of a request's head if that is not too long; b"" if it is gone."""
    head = b""
    try:
        while b"\r\n\r\n" not in head and len(head) < limits.HANDSHAKE_BYTES_MAX:
            data = await receive(connected)
            if not data:
                return head
            head += data
    except OSError:
        return b""
    return head
