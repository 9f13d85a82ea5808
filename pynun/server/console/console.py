"""The web console's answers: its files, logins, and what no command says. All else its page asks over a WebSocket.

`GET` and `HEAD` without a body on its own paths are for it, and everything else stays a body of commands
(docs/protocol.md section 1). So what does something (a login, a backup) is a GET too, and needs the header
`X-Nun-Console`, which no other site's page can send (`guard.py`).
"""

from __future__ import annotations

import base64
import binascii
import importlib.resources
import json
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qsl

import trio

from pynun import __version__, limits
from pynun.server.console.admin_pages import AdminPages
from pynun.server.console.asked import NO_LOGIN, Asked, error_page, json_page, protected
from pynun.server.console.changes import ConsoleReceiver
from pynun.server.console.guard import Refused, check_same_page, scheme_of
from pynun.server.console.history import History
from pynun.server.console.logins import Login, Logins
from pynun.timestamps import steady_seconds
from pynun.transports.client_address import FORWARDING_HEADERS
from pynun.transports.http.results import ResultsOutbox
from pynun.transports.pages import FilePage, Page, Socket, entity_tag, path_of, query_of
from pynun.transports.peer import ConnectionPeer
from pynun.transports.websocket.connection import serve_receiver
from pynun.transports.websocket.frames import FrameOutbox

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from pynun.cluster.overview import NodeState
    from pynun.server.audit_writer import AuditWriter
    from pynun.server.monitoring.endpoint import Monitoring
    from pynun.settings import Settings
    from pynun.transports.client_address import Client
    from pynun.transports.pages import PageRequest
    from pynun.transports.service import Service

_ROOT: Final = b"/console"
_BELOW: Final = b"/console/"
_CONTENT_TYPES: Final = {
    ".html": b"text/html; charset=UTF-8",
    ".css": b"text/css; charset=UTF-8",
    ".js": b"text/javascript; charset=UTF-8",
    ".svg": b"image/svg+xml",
    ".LICENSE": b"text/plain; charset=UTF-8",
}
_CREDENTIAL_BYTES_MAX: Final = 4096

_OFF: Final = Page(404, b"the console is off (NUN_CONSOLE=off)\n")
_ELSEWHERE: Final = Page(404, b"the console has an address of its own (NUN_CONSOLE)\n")
_NO_PAGE: Final = Page(404, b"the console has no such page\n")


class _ConsolePeer(ConnectionPeer):
    """The client of a page's WebSocket: to disconnect it ends the login too, or the page would come back."""

    __slots__ = ("on_end",)

    on_end: Callable[[], None]

    def disconnect(self) -> bool:
        is_open = self.on_disconnect is not None
        self.on_end()
        return is_open

    def close(self) -> None:
        """End this connection."""
        super().disconnect()


class Console:
    """The console of one server: one object for all its listeners."""

    def __init__(
        self,
        settings: Settings,
        service: Service,
        monitoring: Monitoring,
        audit_writer: AuditWriter,
        nodes: Callable[[], Sequence[NodeState]] | None,
    ) -> None:
        """`nodes` are those of the cluster, None without one."""
        self._settings = settings
        self._is_in_cluster = nodes is not None
        self._service = service
        self._logins = Logins(service.engine, steady_seconds)
        self._history = History(settings.data_dir, monitoring)
        self._pages: Mapping[str, Callable[[Asked], Awaitable[Page]]] = {
            "login": self._log_in,
            "logout": self._log_out,
            "session": self._say_session,
        }
        self._admin_pages = AdminPages(settings, service, monitoring, audit_writer, self._history, self._logins, nodes)

    async def run(self) -> None:
        """Note figures, and end logins whose time is over, until cancelled."""
        if self._settings.console is False:
            return
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._history.run, self._service)
            while True:
                await trio.sleep(limits.CONSOLE_SAMPLE_SECONDS)
                self._logins.sweep()

    # --- pynun.transports.pages.Console ---------------------------------------------------------------------------

    def owns(self, request: PageRequest) -> bool:
        path = path_of(request.page)
        if path == b"/":
            return b"text/html" in dict(request.headers).get(b"accept", b"")
        return path == _ROOT or path.startswith(_BELOW)

    async def answer(self, request: PageRequest, connected: socket.socket, client: Client) -> Page | FilePage | Socket:
        if path_of(request.page) == b"/":
            return protected(self._welcome(), request)
        if self._settings.console is not True:
            return protected(_ELSEWHERE if self._settings.console else _OFF, request)
        return await self.answer_here(request, connected, client)

    async def answer_here(
        self, request: PageRequest, connected: socket.socket, client: Client
    ) -> Page | FilePage | Socket:
        """The answer on a listener that has the console."""
        answer = await self._answer_here(request, connected, client)
        return answer if isinstance(answer, Socket) else protected(answer, request)

    async def _answer_here(
        self, request: PageRequest, connected: socket.socket, client: Client
    ) -> Page | FilePage | Socket:
        name = path_of(request.page)[len(_BELOW) :].decode("latin-1")
        try:
            scheme = scheme_of(request, connected, client)
            if path_of(request.page) == _ROOT:
                return Page(303, b"", fields=b"Location: console/\r\n")
            headers = dict(request.headers)
            query = dict(parse_qsl(query_of(request.page).decode("latin-1")))
            asked = Asked(headers, query, connected, client, scheme, self._login_of(headers, connected, scheme))
            if name == "socket":
                check_same_page(request.headers, scheme, needs_origin=True)
                return self._open_socket(asked, request.method)
            if name in self._pages or name in self._admin_pages:
                check_same_page(request.headers, scheme)
                if b"x-nun-console" not in headers and name != "backup-download":
                    raise Refused("this is for the console's own page\n")
                if name in self._pages:
                    return await self._pages[name](asked)
                return await self._admin_pages.answer(name, asked)
        except Refused as refused:
            return Page(403, str(refused).encode())
        return self._answer_file(name or "index.html")

    # --- files ----------------------------------------------------------------------------------------------------

    def _answer_file(self, name: str) -> Page:
        file = _FILES.get(name)
        if file is None:
            return _NO_PAGE
        content_type, content, tag = file
        return Page(200, content, content_type, b"Cache-Control: no-cache\r\n", tag)

    def _welcome(self) -> Page:
        """What this port is, for a person with a browser."""
        content_type, content, _ = _FILES["welcome.html" if self._settings.console is True else "welcome-off.html"]
        return Page(200, content, content_type, b"Vary: Accept\r\n")

    # --- logins ---------------------------------------------------------------------------------------------------

    def _login_of(self, headers: Mapping[bytes, bytes], connected: socket.socket, scheme: str) -> Login | None:
        wanted = _cookie_name(scheme, connected)
        for pair in headers.get(b"cookie", b"").decode("latin-1").split(";"):
            name, _, token = pair.strip().partition("=")
            if name == wanted:
                return self._logins.find(token)
        return None

    async def _log_in(self, asked: Asked) -> Page:
        """Run `auth` or `use-db`, with delays and audit as everywhere."""
        command = _login_command(asked.headers[b"x-nun-console"])
        if command is None:
            return error_page(400, "no valid login")
        service = self._service
        outbox = ResultsOutbox(service.engine.view)
        session = service.open_session(outbox, ConnectionPeer("http", asked.connected, outbox, asked.client))
        try:
            suspension = session.execute(command)
            if suspension is not None:
                await service.drive(suspension)
            if not session.has_logged_in():
                return error_page(401, outbox.body().strip())
            if asked.login is not None:
                self._logins.end(asked.login)
            token = self._logins.begin(session)
        finally:
            session.close()
            service.flusher.flush()
        return self._session_page(self._logins.find(token), _cookie(asked, token))

    async def _log_out(self, asked: Asked) -> Page:
        if asked.login is not None:
            self._logins.end(asked.login)
        return self._session_page(None, _cookie(asked, ""))

    async def _say_session(self, asked: Asked) -> Page:
        if asked.login is not None and asked.query.get("used"):
            self._logins.touch(asked.login)
        return self._session_page(asked.login)

    def _session_page(self, login: Login | None, fields: bytes = b"") -> Page:
        told: dict[str, Any] = {"version": __version__, "login": None}
        if login is not None:
            told["login"] = {
                "admin": login.admin,
                "database": None if login.database is None else login.database.name,
                "user": login.user,
                "is_in_cluster": self._is_in_cluster,
                "seconds_left": round(self._logins.seconds_left(login)),
            }
        return json_page(told, fields)

    # --- the WebSocket --------------------------------------------------------------------------------------------

    def _open_socket(self, asked: Asked, method: bytes) -> Page | Socket:
        key = asked.headers.get(b"sec-websocket-key")
        # A proxy that passes on no upgrade removes `Connection`: it would take what follows for answers to others.
        is_upgrade = b"upgrade" in asked.headers.get(b"connection", b"").lower()
        if key is None or not is_upgrade or method != b"GET":
            return error_page(400, "this is for the console's WebSocket")
        if asked.login is None:
            return error_page(401, NO_LOGIN)
        lines = [
            b"GET /console/socket HTTP/1.1",
            b"Host: console",
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Key: " + key,
            b"Sec-WebSocket-Version: " + asked.headers.get(b"sec-websocket-version", b""),
            *(b"%b: %b" % (name, value) for name, value in asked.headers.items() if name in FORWARDING_HEADERS),
            b"\r\n",
        ]
        return Socket(partial(self._serve_socket, asked.login, b"\r\n".join(lines)))

    async def _serve_socket(
        self, login: Login, head: bytes, connected: socket.socket, stopping: trio.Event, client: Client
    ) -> None:
        service = self._service
        outbox = FrameOutbox(connected, service.flusher, service.outbox_bytes_max)
        peer = _ConsolePeer("websocket", connected, outbox, client)
        peer.on_end = partial(self._logins.end, login)
        session = service.open_session(outbox, peer)
        receiver = ConsoleReceiver(session, outbox)

        def leave() -> None:
            receiver.close()
            session.close()

        def end() -> None:
            leave()
            peer.close()

        login.connections.add(end)
        try:
            if login.is_ended:
                return
            login.enter(session)
            async with trio.open_nursery() as telling:
                telling.start_soon(receiver.run, service.flusher.flush)
                await serve_receiver(
                    connected,
                    service,
                    stopping,
                    outbox,
                    receiver,
                    _one_command,
                    leave,
                    peer=peer,
                    is_authenticated=session.has_logged_in,
                    client=client,
                    head=head,
                )
                telling.cancel_scope.cancel()
        finally:
            login.connections.discard(end)
            leave()
            service.flusher.flush()


class OwnConsole:
    """The console on a listener of its own (NUN_CONSOLE=HOST:PORT)."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def owns(self, request: PageRequest) -> bool:
        return self._console.owns(request)

    async def answer(self, request: PageRequest, connected: socket.socket, client: Client) -> Page | FilePage | Socket:
        if path_of(request.page) == b"/":
            return protected(Page(303, b"", fields=b"Location: console/\r\n"), request)
        return await self._console.answer_here(request, connected, client)


def _one_command(text: str) -> tuple[str]:
    """A message of the console's page is one command, so values may contain `;`."""
    return (text,)


def _cookie_name(scheme: str, connected: socket.socket) -> str:
    """Cookies don't know ports: two servers on one machine need two names."""
    return f"{'__Secure-' if scheme == 'https' else ''}nun-console-{connected.getsockname()[1]}"


def _cookie(asked: Asked, token: str) -> bytes:
    """The header line that sets the cookie. Without a path, it is for the folder of the request: behind a proxy too."""
    parts = [f"{_cookie_name(asked.scheme, asked.connected)}={token}", "HttpOnly", "SameSite=Strict"]
    if asked.scheme == "https":
        parts.append("Secure")
    if not token:
        parts.append("Max-Age=0")
    return f"Set-Cookie: {'; '.join(parts)}\r\n".encode()


def _login_command(encoded: bytes) -> str | None:
    """The command for a login: base64url of JSON with `user`, `secret` and, for its users, `database`; None if none."""
    try:
        given = json.loads(base64.urlsafe_b64decode(encoded + b"=" * (-len(encoded) % 4)))
        user, secret, database = (given.get(name, "") for name in ("user", "secret", "database"))
        if any(len(one.encode()) > _CREDENTIAL_BYTES_MAX for one in (user, secret, database)):
            return None
    except (binascii.Error, ValueError, AttributeError, RecursionError):  # half a surrogate pair, a very deep list
        return None
    words = [word for word in (database, user) if word]
    if not words or not secret or any(word.split() != [word] for word in words):
        return None
    return f"use-db {' '.join(words)} {secret}" if database else f"auth {user} {secret}"


def _read_files() -> dict[str, tuple[bytes, bytes, bytes]]:
    """The packaged files by their name: content type, content, tag."""
    files = {}
    for item in importlib.resources.files("pynun.server.console").joinpath("static").iterdir():
        content_type = _CONTENT_TYPES.get(item.name[item.name.rfind(".") :])
        if content_type is not None:
            content = item.read_bytes()
            files[item.name] = (content_type, content, entity_tag(content))
    return files


_FILES: Final = _read_files()
"""Read with this module: a server that is no longer root may not be able to."""
