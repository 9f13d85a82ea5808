"""Hand accepted connections to their transport: check the limits, read PROXY headers, do the TLS handshake."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, Protocol, TypeVar

import trio

from pynun import limits
from pynun.errors import is_damage
from pynun.protocol import messages
from pynun.server.accepting.connection_limits import ConnectionLimits
from pynun.server.accepting.proxies import ProxiedClient
from pynun.server.accepting.proxy_protocol import ProxyHeaderError, read_proxy_header
from pynun.server.accepting.tls import PlainTextError, shake_hands
from pynun.transports.client_address import Client, LocalClient
from pynun.transports.http.connection import serve_http
from pynun.transports.http.responses import HTTP_PLAIN_TEXT_REFUSAL, HTTP_REFUSAL
from pynun.transports.sockets import linger, send
from pynun.transports.tcp.connection import TCP_PLAIN_TEXT_REFUSAL, TCP_REFUSAL, serve_tcp
from pynun.transports.websocket.connection import serve_websocket

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable

    from pynun.server.accepting.listeners import Connection
    from pynun.server.accepting.proxies import TrustedProxies
    from pynun.server.accepting.tls import Certificate
    from pynun.transports.counters import Counters

_log = logging.getLogger("nun_db")

_REFUSALS_LOGGED: Final = 100
"""Log one line for this many refused connections."""


class Host(Protocol):
    """What a transport must offer to serve connections."""

    @property
    def counters(self) -> Counters: ...

    @property
    def handshake_seconds(self) -> float: ...

    @property
    def waits_to_cancel(self) -> set[trio.CancelScope]: ...


_Host = TypeVar("_Host", bound=Host)


class Transport(NamedTuple, Generic[_Host]):
    """How the connections of one listener are served."""

    name: str
    serve: Callable[[socket.socket, _Host, trio.Event, Client], Awaitable[None]]
    refusal: bytes
    plain_text_refusal: bytes
    is_greeted: bool = False
    """Whether the client may wait for the server to speak first."""


WEBSOCKET: Final = Transport("websocket", serve_websocket, HTTP_REFUSAL, HTTP_PLAIN_TEXT_REFUSAL)
HTTP: Final = Transport("http", serve_http, HTTP_REFUSAL, HTTP_PLAIN_TEXT_REFUSAL)
TCP: Final = Transport("tcp", serve_tcp, TCP_REFUSAL, TCP_PLAIN_TEXT_REFUSAL, is_greeted=True)


class Acceptor:
    """Receives the connections of all listeners."""

    def __init__(
        self,
        connection_limits: ConnectionLimits,
        certificate: Certificate | None,
        proxies: TrustedProxies,
        proxy_protocol: str = "off",
    ) -> None:
        self._connection_limits = connection_limits
        self._local_limits = ConnectionLimits(
            connections_max=limits.LOCAL_CONNECTIONS_MAX, per_address_max=limits.LOCAL_CONNECTIONS_MAX
        )
        self._certificate = certificate
        self._proxies = proxies
        self._proxy_protocol = proxy_protocol
        self._refusing = 0

    def behind(self) -> Acceptor:
        """One for connections that another node of the cluster accepted: it met the proxy and did the handshake."""
        return Acceptor(self._connection_limits, None, self._proxies, "off")

    async def handle(
        self, transport: Transport[_Host], service: _Host, stopping: trio.Event, connection: Connection
    ) -> None:
        """Serve one connection. A bug ends only that connection and logs its traceback."""
        is_local = connection.system_user is not None
        connection_limits = self._local_limits if is_local else self._connection_limits
        certificate = None if is_local else self._certificate
        proxied: ProxiedClient | None = None
        if self._proxies and self._proxies.has(connection.address):
            proxied = ProxiedClient(connection.address, self._proxies, self._connection_limits)
        entered = None if proxied is not None else connection.address
        if not connection_limits.enter(entered):
            service.counters.refused["limit"] += 1
            if is_local:
                await self._refuse_local(connection, transport.refusal)
            else:
                await self._refuse(connection, transport.refusal)
            return
        try:
            if proxied is not None and not await self._meet_proxy(connection, transport, service, proxied):
                return
            if certificate is not None and not await self._encrypt(connection, transport, service, certificate):
                return
            service.counters.opened[transport.name] += 1
            service.counters.open[transport.name] += 1
            try:
                client = LocalClient("", connection.system_user) if is_local else Client(connection.address)
                client = proxied or client
                client.node = connection.node
                await transport.serve(connection.socket, service, stopping, client)
            finally:
                service.counters.open[transport.name] -= 1
        except Exception as error:
            if is_damage(error):
                return  # the server stops, and says why
            service.counters.dropped["internal_error"] += 1
            _log.exception("a connection was closed after an internal error; please report this")
        finally:
            connection_limits.leave(entered)
            if proxied is not None:
                proxied.leave()

    async def _meet_proxy(
        self, connection: Connection, transport: Transport[_Host], service: _Host, client: ProxiedClient
    ) -> bool:
        """Read the PROXY header, if a trusted proxy sends one; False if the connection must be closed."""
        if self._proxy_protocol == "off":
            return True
        must = self._proxy_protocol == "on"
        seconds = service.handshake_seconds
        if not must and transport.is_greeted:
            seconds = min(seconds, limits.PROXY_HEADER_SECONDS)  # one without a header waits for us to speak
        with trio.CancelScope(deadline=trio.current_time() + seconds) as waiting:
            service.waits_to_cancel.add(waiting)
            try:
                header = await read_proxy_header(connection.socket)
                if header.size or not must:
                    if header.address is None or client.arrive(header.address):
                        return True
                    service.counters.refused["limit"] += 1
                    await self._refuse(connection, transport.refusal, header.address)
                    return False
                raise ProxyHeaderError("there is none")
            except ProxyHeaderError as error:
                service.counters.refused["proxy"] += 1
                if service.counters.refused["proxy"] % _REFUSALS_LOGGED == 1:
                    _log.warning(
                        "a connection from the proxy %s was ended (%d so far): its PROXY header is not valid (%s); see"
                        " NUN_PROXY_PROTOCOL",
                        connection.address,
                        service.counters.refused["proxy"],
                        error,
                    )
                return False
            except OSError:
                return False
            finally:
                service.waits_to_cancel.discard(waiting)
        if not must and transport.is_greeted:
            return True
        service.counters.refused["proxy"] += 1
        return False

    async def _encrypt(
        self, connection: Connection, transport: Transport[_Host], service: _Host, certificate: Certificate
    ) -> bool:
        """Do the TLS handshake; False if it failed."""
        with trio.CancelScope(deadline=trio.current_time() + service.handshake_seconds) as waiting:
            service.waits_to_cancel.add(waiting)
            try:
                connection.socket = await shake_hands(connection.socket, certificate.context)
                return True
            except PlainTextError:
                await self._say_last(connection.socket, transport.plain_text_refusal)
            except OSError as error:
                _log.debug("no TLS with %s: %s", connection.address, error)
            finally:
                service.waits_to_cancel.discard(waiting)
        service.counters.refused["tls"] += 1
        return False

    async def _refuse(self, connection: Connection, refusal: bytes, address: str = "") -> None:
        """Send the reason where that needs no handshake. The caller closes."""
        if self._connection_limits.refused % _REFUSALS_LOGGED == 1:
            _log.warning(
                "a connection from %s was refused (%d so far): %s; see NUN_MAX_CONNECTIONS",
                address or connection.address,
                self._connection_limits.refused,
                messages.TOO_MANY_CONNECTIONS,
            )
        await self._say_last(connection.socket, b"" if self._certificate is not None else refusal)

    async def _refuse_local(self, connection: Connection, refusal: bytes) -> None:
        """The same on the Unix socket, which has a limit of its own and no TLS."""
        refused = self._local_limits.refused
        if refused % _REFUSALS_LOGGED == 1:
            _log.warning(
                "a connection of %s to the Unix socket was refused (%d so far): at most %d",
                connection.system_user,
                refused,
                limits.LOCAL_CONNECTIONS_MAX,
            )
        await self._say_last(connection.socket, refusal)

    async def _say_last(self, connected: socket.socket, text: bytes) -> None:
        """Send a text before the caller closes, unless many connections are being told already."""
        if self._refusing >= limits.REFUSALS_MAX:
            return
        self._refusing += 1
        try:
            with contextlib.suppress(OSError), trio.move_on_after(limits.CLOSE_SECONDS):
                await send(connected, text)
                await linger(connected)
        finally:
            self._refusing -= 1
