"""Listening sockets and accepted sockets, of the standard library: the transports read them directly."""

from __future__ import annotations

import errno
import logging
import math
import socket
from typing import TYPE_CHECKING, Final

import trio

from pynun.errors import StartError
from pynun.setting_values import Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.settings import Settings

_log = logging.getLogger("nun_db")

_BACKLOG: Final = 4096
"""Length of the kernel's accept queue: all clients of a site may reconnect at once."""

_OURS: Final = frozenset({errno.EBADF, errno.EINVAL, errno.EFAULT, errno.ENOTSOCK})
"""Errors of accept(2) that are our bugs. All others concern one client or are temporary."""

_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""No file descriptor or memory is left until other clients disconnect."""

_RETRY_SECONDS: Final = 0.1
_COMPLAINT_SECONDS: Final = 60.0


class Connection(trio.abc.AsyncResource):
    """An accepted socket: non-blocking, without Nagle's delay."""

    def __init__(self, accepted: socket.socket, address: str, system_user: str | None = None) -> None:
        self.socket = accepted
        self.address = address
        """The peer's address without the port."""
        self.system_user = system_user
        """Who is at the other end of the server's Unix socket; None on other connections."""
        self.node = ""
        """The node of the cluster that accepted it, and passes it on; "" if it is this one."""

    async def aclose(self) -> None:
        if self.socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self.socket)
            self.socket.close()
        await trio.lowlevel.checkpoint()


class SocketListener(trio.abc.Listener[Connection]):
    """Accepts connections for `trio.serve_listeners`."""

    def __init__(self, listening: socket.socket, idle_seconds: int) -> None:
        self._socket = listening
        self._idle_seconds = idle_seconds
        self._complains_at = -math.inf
        self.address = self._own_address()

    def _own_address(self) -> str:
        host, port = self._socket.getsockname()[:2]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    async def accept(self) -> Connection:
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                accepted, peer = self._socket.accept()
            except BlockingIOError:
                continue
            except OSError as error:
                if error.errno in _OURS:
                    raise
                if error.errno in _EXHAUSTED:
                    await self._wait_for_descriptors(error)
                continue
            try:
                accepted.setblocking(False)
                return self._welcome(accepted, peer)
            except OSError:
                accepted.close()  # reset meanwhile

    def _welcome(self, accepted: socket.socket, peer: tuple[str, int]) -> Connection:
        """Prepare an accepted socket. Raises OSError."""
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._keep_alive(accepted)
        return Connection(accepted, peer[0])

    async def _wait_for_descriptors(self, error: OSError) -> None:
        """Leave the next client in the kernel's queue until a descriptor may be free."""
        if trio.current_time() >= self._complains_at:
            self._complains_at = trio.current_time() + _COMPLAINT_SECONDS
            _log.error("no more connections can be accepted (%s): trying again", error.strerror)
        await trio.sleep(_RETRY_SECONDS)

    def _keep_alive(self, accepted: socket.socket) -> None:
        """Turn on TCP keepalive (tcp(7)) to find machines that are gone; `check_peers` does the rest."""
        probe_seconds = max(1, self._idle_seconds // 3)
        accepted.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, probe_seconds)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, probe_seconds)
        accepted.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 2)

    def duplicate(self) -> SocketListener:
        """Duplicate the listener. Listening ends when both are closed."""
        return SocketListener(self._socket.dup(), self._idle_seconds)

    def close(self) -> None:
        """Stop listening. Only when no task waits in `accept`."""
        self._socket.close()

    async def aclose(self) -> None:
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
        await trio.lowlevel.checkpoint()


async def accept_all(listener: SocketListener, receive: Callable[[Connection], None]) -> None:
    """Hand on each connection, until cancelled; `receive` starts a task that serves and closes it."""
    while True:
        receive(await listener.accept())


def listen(name: str, variable: str, address: Address, idle_seconds: int) -> SocketListener:
    """Open a listening socket. The StartError it raises names transport, address, cause and remedy."""
    try:
        listening = _bind(address)
        try:
            listening.listen(_BACKLOG)
        except OSError:
            listening.close()
            raise
    except OSError as error:
        raise StartError(_cannot_listen(name, variable, address, error)) from None
    return SocketListener(listening, idle_seconds)


def why_not_listen(name: str, variable: str, address: Address) -> str | None:
    """Why nobody could listen there; None if somebody can, or does already: it may be the server that runs."""
    try:
        _bind(address).close()
    except OSError as error:
        return None if error.errno == errno.EADDRINUSE else _cannot_listen(name, variable, address, error)
    return None


def _bind(address: Address) -> socket.socket:
    family, kind, protocol, _, resolved = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    bound = socket.socket(family, kind, protocol)
    try:
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(resolved)
    except OSError:
        bound.close()
        raise
    return bound


def _cannot_listen(name: str, variable: str, address: Address, error: OSError) -> str:
    cause = f"can't listen for {name} on {address}: {error.strerror}"
    if error.errno == errno.EADDRINUSE:
        return f"{cause}; stop the program that uses the port, or choose another with {variable}"
    if error.errno == errno.EACCES:
        return f"{cause}; ports below 1024 need privileges: choose another with {variable}"
    return f"{cause}; choose an address of this machine with {variable}"


class Listeners:
    """All listeners of a server. They open first, because a port in use is the most common failure."""

    def __init__(self, settings: Settings) -> None:
        """Raises StartError."""
        self._opened: list[SocketListener] = []
        self.metrics: SocketListener | None = None
        self.console: SocketListener | None = None
        self.link: SocketListener | None = None
        """Where other nodes of the cluster connect."""
        self.local: SocketListener | None = None
        """The Unix socket, which needs the data folder's lock first (`pynun/server/accepting/local_listener.py`)."""
        try:
            self.websocket = self._open("websocket", "NUN_WS_ADDR", settings)
            self.http = self._open("http", "NUN_HTTP_ADDR", settings)
            self.tcp = self._open("tcp", "NUN_TCP_ADDR", settings)
            if isinstance(settings.metrics, Address):
                self.metrics = listen("metrics", "NUN_METRICS", settings.metrics, settings.idle_seconds)
            if isinstance(settings.console, Address):
                self.console = listen("console", "NUN_CONSOLE", settings.console, settings.idle_seconds)
                self._opened.append(self.console)
            if settings.etcd_urls:
                self.link = listen("nodes", "NUN_CLUSTER_ADDR", settings.cluster_address, settings.idle_seconds)
        except BaseException:
            self.close()
            raise

    def _open(self, name: str, variable: str, settings: Settings) -> SocketListener:
        listener = listen(name, variable, getattr(settings, f"{name}_address"), settings.idle_seconds)
        self._opened.append(listener)
        return listener

    def add_local(self, listener: SocketListener | None) -> None:
        if listener is not None:
            self.local = listener
            self._opened.append(listener)

    def close_to_clients(self) -> None:
        for listener in self._opened:
            listener.close()

    def close(self) -> None:
        self.close_to_clients()
        for listener in (self.metrics, self.link):
            if listener is not None:
                listener.close()
