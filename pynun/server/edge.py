"""Clients of a node that does not own the engine: held until a node does, then passed on to it.

The pages of health are this node's own. All else is answered by the owner, byte by byte.
"""

from __future__ import annotations

import contextlib
import logging
import socket
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import trio

from pynun import limits
from pynun.cluster.link import RELAY, Hello, dial
from pynun.cluster.relay import splice
from pynun.server.accepting.accept import HTTP, TCP
from pynun.server.console.guard import AT_OWNER
from pynun.transports.counters import Counters
from pynun.transports.http.page_server import page_answer
from pynun.transports.http.responses import refuse
from pynun.transports.service import check_seconds
from pynun.transports.sockets import is_machine_gone, linger, receive, send

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pynun.cluster.link import LinkTls
    from pynun.server.accepting.accept import Acceptor, Transport
    from pynun.server.accepting.listeners import Connection
    from pynun.setting_values import Address
    from pynun.settings import Settings
    from pynun.transports.client_address import Client
    from pynun.transports.pages import Pages

HOLD_SECONDS: Final = 10.0
"""How long clients wait for a node that owns the engine."""

_DIAL_SECONDS: Final = 2.0
_RETRY_SECONDS: Final = 0.1
_NOBODY: Final = "no node owns the data now: try again"

_Serve: TypeAlias = "Callable[[socket.socket, Edge, trio.Event, Client], Awaitable[None]]"

_log = logging.getLogger("nun_db")


class Edge:
    """The connections that this node passes on; the `Host` of the acceptor for them."""

    def __init__(self, settings: Settings, acceptor: Acceptor, node: str, tls: LinkTls | None, pages: Pages) -> None:
        self._acceptor = acceptor
        self._node = node
        self._tls = tls
        self._pages = pages
        self._idle_seconds = settings.idle_seconds
        self._is_encrypted = settings.tls_cert is not None
        self.handshake_seconds: float = settings.handshake_seconds
        self.counters = Counters()
        """Not in the metrics, which are those of the owner."""
        self.waits_to_cancel: set[trio.CancelScope] = set()
        self._stopping = trio.Event()
        self._address: Address | None = None  # of the owner's link
        self._changed = trio.Event()
        self._relays: dict[trio.CancelScope, tuple[socket.socket, Address]] = {}

    def point_to(self, address: Address | None) -> None:
        """From now on the owner's link is there, which may be this node's own; None: there is no owner.

        Connections that were passed on to another one end: it may have been cut off, and answers nothing any more.
        """
        self._address = address
        self._changed.set()
        self._changed = trio.Event()
        if address is not None:
            for scope, (_, other) in self._relays.items():
                if other != address:
                    scope.cancel()

    # --- holding -----------------------------------------------------------------------------------------------

    async def hold(self, transport: Transport[Any], connection: Connection, deadline: float) -> None:
        """Wait until there is an owner, the client asks for a page, or until the deadline. Reads nothing."""
        with trio.move_on_at(deadline):
            async with trio.open_nursery() as nursery:
                if transport.name != TCP.name and not (self._is_encrypted and connection.system_user is None):
                    nursery.start_soon(self._wait_for_page, connection, nursery.cancel_scope)
                while self._address is None:
                    await self._changed.wait()
                nursery.cancel_scope.cancel()

    async def _wait_for_page(self, connection: Connection, scope: trio.CancelScope) -> None:
        with contextlib.suppress(OSError):
            await trio.lowlevel.wait_readable(connection.socket)
            head = connection.socket.recv(limits.HANDSHAKE_BYTES_MAX, socket.MSG_PEEK)
            if not head or await page_answer(self._pages, head) is not None:
                scope.cancel()

    # --- passing on --------------------------------------------------------------------------------------------

    async def serve(self, transport: Transport[Any], connection: Connection, deadline: float) -> None:
        """Pass a connection on, after what the acceptor does for every client; it waits for an owner until then."""
        await self._handle(transport, partial(self._pass_on, transport.name, deadline), connection)

    async def refuse_console(self, connection: Connection) -> None:
        """Tell a browser that the console is elsewhere."""
        await self._handle(HTTP, self._say_where_console_is, connection)

    async def _handle(self, of: Transport[Any], serve: _Serve, connection: Connection) -> None:
        await self._acceptor.handle(of._replace(serve=serve), self, self._stopping, connection)

    async def _say_where_console_is(
        self, connected: socket.socket, _host: Edge, _stopping: trio.Event, _client: Client
    ) -> None:
        with trio.move_on_after(self.handshake_seconds):
            if await _read_head(connected):
                await refuse(connected, 503, AT_OWNER.strip())

    async def _pass_on(
        self,
        transport: str,
        deadline: float,
        connected: socket.socket,
        _host: Edge,
        _stopping: trio.Event,
        client: Client,
    ) -> None:
        head = b""
        if transport != TCP.name:
            with trio.move_on_after(self.handshake_seconds) as reading:
                head = await _read_head(connected)
            if reading.cancelled_caught or not head:
                return
            answer = await page_answer(self._pages, head)
            if answer is not None:
                await send(connected, answer)
                await linger(connected)
                return
        hello = Hello(RELAY, self._node, transport, client.address, client.system_user)
        owner = await self._reach_owner(hello, max(deadline, trio.current_time() + _DIAL_SECONDS))
        if owner is None:
            if transport != TCP.name:
                await refuse(connected, 503, _NOBODY)
            return
        ours, address = owner
        with ours, trio.CancelScope() as scope, contextlib.suppress(OSError):
            self._relays[scope] = connected, address
            try:
                if head:
                    await send(ours, head)
                await splice(connected, ours)
            finally:
                del self._relays[scope]

    async def _reach_owner(self, hello: Hello, deadline: float) -> tuple[socket.socket, Address] | None:
        """A connection to the owner; None if there was none until then."""
        with trio.move_on_at(deadline):
            while True:
                changed, address = self._changed, self._address
                if address is None:
                    await changed.wait()
                    continue
                try:
                    with trio.fail_after(_DIAL_SECONDS):
                        return await dial(address, self._tls, hello), address
                except (OSError, trio.TooSlowError) as error:
                    _log.debug("the owner at %s can't be reached: %s", address, error)
                    with trio.move_on_after(_RETRY_SECONDS):
                        await changed.wait()
        return None

    async def check_clients(self) -> None:
        """End connections whose client's machine is gone, for ever. (The owner pings their programs.)"""
        while True:
            await trio.sleep(check_seconds(self._idle_seconds))
            for scope, (connected, _) in list(self._relays.items()):
                if is_machine_gone(connected, self._idle_seconds):
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
