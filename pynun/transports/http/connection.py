"""HTTP: a request body of commands, results joined by `;`, a fresh session for each (docs/protocol.md section 1).

Any method that llhttp knows and any path, but for the server's own pages (`pages.py`). Keep-alive, chunked bodies and
pipelined requests are understood; requests are answered one after another (RFC 9112 section 9.3.2).
"""

from __future__ import annotations

import contextlib
import email.utils
import re
import time
from dataclasses import replace
from functools import partial
from sys import getsizeof
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.language import framing, messages
from pynun.transports.allowed_origins import CORS_HEADERS, NOT_ALLOWED
from pynun.transports.clients import FORWARDING_HEADERS, ForwardingError, client_of
from pynun.transports.http.request_reader import HEAD_TOO_BIG, Request, RequestReader
from pynun.transports.http.results import ResultsOutbox
from pynun.transports.input_budget import Held
from pynun.transports.pages import LOGIN_HEADERS, PLAIN_TEXT, UNAUTHORIZED, Page, basic_credentials, path_of
from pynun.transports.peer import ConnectionOrigin
from pynun.transports.sockets import linger, receive, send

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractContextManager

    from pynun.engine.session import Session
    from pynun.transports.clients import Client
    from pynun.transports.pages import Pages
    from pynun.transports.service import Service

_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_REASONS: Final = {
    200: b"OK",
    204: b"No Content",
    400: b"Bad Request",
    401: b"Unauthorized",
    403: b"Forbidden",
    404: b"Not Found",
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
    501: b"Not Implemented",
    503: b"Service Unavailable",
    505: b"HTTP Version Not Supported",
}


def refusal(status: bytes, text: str, fields: bytes = b"", *, is_bodiless: bool = False) -> bytes:
    """An answer that ends the connection and can be made before anything of the request is read, or all of it."""
    body = text.encode()
    head = (
        b"HTTP/1.1 %b\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: %d\r\n%bConnection: close\r\n\r\n"
    )
    return head % (status, len(body), fields) + (b"" if is_bodiless else body)


HTTP_REFUSAL: Final = refusal(b"503 Service Unavailable", messages.TOO_MANY_CONNECTIONS)
"""What a connection beyond the limits gets before it is closed: on the WebSocket port too, it begins as HTTP."""

HTTP_HEAD_REFUSAL: Final = refusal(b"431 Request Header Fields Too Large", HEAD_TOO_BIG)
"""What a client gets that begins a WebSocket handshake with too much."""

HTTP_UNFINISHED_REFUSAL: Final = refusal(b"503 Service Unavailable", messages.TOO_MUCH_UNFINISHED)
"""What a connection gets that makes the server hold too much before it is a WebSocket."""

HTTP_PLAIN_TEXT_REFUSAL: Final = refusal(b"400 Bad Request", messages.NEEDS_TLS)
"""What a client gets that speaks no TLS where the server does."""

HTTP_NO_TLS_REFUSAL: Final = refusal(b"400 Bad Request", messages.SPEAKS_NO_TLS)
"""What a client gets that speaks TLS where the server does not: it can't read that, and gives up at once."""

_RESULTS_TOO_BIG: Final = "the results are too big: ask for them in several requests"


_ASKS_FOR_WEBSOCKET: Final = re.compile(rb"\nupgrade[ \t]*:[^\n]*websocket", re.IGNORECASE)

_EMPTY: Final = Page(204, b"")
_NO_PAGE: Final = Page(404, b"this port answers GET /livez, /readyz, /healthz and /metrics, and runs no commands\n")


class _ResultsTooBigError(Exception):
    """More results than an outbox may hold; the commands so far were run."""


async def serve_http(
    connected: socket.socket, service: Service, stopping: trio.Event, client: Client | None = None
) -> None:
    """One connection: its requests, one after another."""
    requests = _Requests(connected, service, client or client_of(connected))
    try:
        if not await requests.serve(stopping) and not requests.is_answering:
            service.counters.http_answers[503] += 1
            await _refuse(connected, 503, messages.TOO_MUCH_UNFINISHED)
    except OSError:
        return  # the client is gone
    finally:
        requests.forget()


class _Requests:
    """The requests of one connection and their answers."""

    def __init__(self, connected: socket.socket, service: Service, client: Client) -> None:
        self._connected = connected
        self._service = service
        self._client = client
        self._origins = service.allowed_origins
        wanted = LOGIN_HEADERS if self._origins.is_open else LOGIN_HEADERS | CORS_HEADERS
        if client.is_named_by_headers:
            wanted |= FORWARDING_HEADERS
        self._reader = RequestReader(service.message_bytes_max, wanted)
        self._held = Held(service.unfinished, connected, client)
        self._session: Session | None = None  # of the request that runs
        self._had_logged_in = False  # the session of the request before
        self.is_answering = False
        """Whether the answers to some requests are on their way, and not complete."""

    async def serve(self, stopping: trio.Event) -> bool:
        """Answer until the connection is to end; False if it makes the server hold too much. Raises OSError."""
        scope = trio.CancelScope()
        self._held.on_end = partial(self._give_up, scope)
        self._held.is_member = self._is_member
        with scope:
            await self._serve(stopping)
        return not self._held.is_ended

    def forget(self) -> None:
        """Nothing of what has arrived is used any more."""
        self._reader.forget()
        self._held.hold(0)

    def _give_up(self, scope: trio.CancelScope) -> None:
        self._reader.forget()
        scope.cancel()

    def _is_member(self) -> bool:
        """Whether the request that runs, or the one before, has logged in: one that is not complete can't have."""
        return self._had_logged_in if self._session is None else self._session.has_logged_in()

    async def _serve(self, stopping: trio.Event) -> None:
        reader, held, service, client = self._reader, self._held, self._service, self._client
        begun, began = 0, 0.0
        while not stopping.is_set():
            deadline = trio.current_time() + limits.HTTP_IDLE_SECONDS
            if reader.is_partial:
                if reader.begun != begun:
                    begun, began = reader.begun, trio.current_time()
                deadline = min(deadline, _deadline(began, reader.body_bytes, service.handshake_seconds))
            with trio.move_on_at(deadline) as waiting:
                service.waits_to_cancel.add(waiting)
                try:
                    data = await receive(self._connected)
                finally:
                    service.waits_to_cancel.discard(waiting)
            if waiting.cancelled_caught:
                if reader.is_partial and not stopping.is_set():
                    service.counters.http_answers[408] += 1
                    await _refuse(self._connected, 408, "the request did not come to its end in time")
                return
            if not data:
                return
            reader.feed(data)
            if client.is_named_by_headers and not held.bytes and (head := reader.head) is not None:
                with contextlib.suppress(ForwardingError):  # told once it is complete
                    client.identify(head)  # whose body it is that is held
            if (reader.is_partial or held.bytes) and not held.hold(reader.held_bytes):
                return
            if not await self._answer_all():
                return
            if held.bytes:
                held.hold(reader.held_bytes)

    async def _answer_all(self) -> bool:
        """Answer the requests that are complete; False when the connection is to end."""
        connected, reader = self._connected, self._reader
        answers: list[bytes] = []
        for request in reader.complete:
            answers.append(await self._answer(request))
            if not request.is_kept_alive:
                reader.refusal = None
                break
            if sum(map(len, answers)) > limits.FLUSH_BYTES:
                await self._send(b"".join(answers))
                answers.clear()
        else:
            request = None
        reader.complete.clear()
        if answers:
            await self._send(b"".join(answers))
        if request is not None:
            await linger(connected)
            return False
        if reader.refusal is not None:
            self._service.counters.http_answers[reader.refusal[0]] += 1
            self.forget()
            await _refuse(connected, *reader.refusal, self._origins.fields(reader.headers))
            return False
        if reader.expects_continue:
            reader.expects_continue = False
            await send(connected, _CONTINUE)
        return True

    async def _answer(self, request: Request) -> bytes:
        """The answer to one request: one of the server's pages, else the results of its commands."""
        service, origins = self._service, self._origins
        page = self._refusal_of(request)
        fields = b"" if page is not None else origins.fields(request.headers)
        if page is None and (preflight := origins.preflight_fields(request.method, request.headers)):
            page, fields = _EMPTY, preflight
        path = path_of(request.page) if request.page else b""
        make_page = service.pages.get(path)
        if page is not None:
            pass
        elif path in service.admin_pages and LOGIN_HEADERS & dict(request.headers).keys():
            page = await service.admin_pages[path]() if await self._is_admin(request) else UNAUTHORIZED
        elif make_page is not None:
            page = await make_page()
        else:
            began = time.perf_counter()
            page = await self._results(request)
            service.counters.http_request_seconds.observe(time.perf_counter() - began)
        service.counters.http_answers[page.status] += 1
        return page_response(page, request, fields)

    def _refusal_of(self, request: Request) -> Page | None:
        """The answer to a request of which nothing is run, for the page or the address that it comes from."""
        counters = self._service.counters
        try:
            if not self._client.identify(request.headers):
                counters.refused["limit"] += 1
                return Page(503, messages.TOO_MANY_CONNECTIONS.encode())
        except ForwardingError as error:
            return Page(400, str(error).encode())
        if not self._origins.allow(request.headers):
            counters.refused["origin"] += 1
            return Page(403, NOT_ALLOWED.encode())
        return None

    async def _is_admin(self, request: Request) -> bool:
        """Whether the administrator asks: a login as any other, with its delays, its memory and its audit."""
        credentials = basic_credentials(request.headers)
        if credentials is None:
            return False
        service = self._service
        outbox = ResultsOutbox(service.engine.view)
        session = service.open_session(outbox, ConnectionOrigin("http", self._connected, outbox, self._client))
        self._session = session
        try:
            suspension = session.execute(" ".join(("auth", *credentials)))
            if suspension is not None:
                await service.settle(suspension)
            return session.is_admin
        finally:
            self._had_logged_in = session.is_admin
            self._session = None
            session.close()

    async def _results(self, request: Request) -> Page:
        try:
            return Page(200, (await self._run(request.body.decode())).encode())
        except _ResultsTooBigError:
            return Page(413, _RESULTS_TOO_BIG.encode())
        except UnicodeDecodeError:
            return Page(400, messages.INVALID_UTF8.encode())

    async def _run(self, body: str) -> str:
        """The results of a body's commands, in a session of their own."""
        service = self._service
        outbox = ResultsOutbox(service.engine.view)
        session = service.open_session(outbox, ConnectionOrigin("http", self._connected, outbox, self._client))
        self._session = session
        try:
            for number, command in enumerate(framing.http_commands(body), 1):
                if outbox.size > service.outbox_bytes_max:  # with the last result: one alone may be longer than that
                    raise _ResultsTooBigError
                suspension = session.execute(command)
                if suspension is not None:
                    self._hold_running(body, outbox)
                    await service.settle(suspension)
                if number % limits.SLICE_COMMANDS == 0:
                    self._hold_running(body, outbox)
                    service.flusher.flush()
                    await trio.lowlevel.checkpoint()
        finally:
            self._had_logged_in = session.has_logged_in()
            self._session = None
            session.close()
            service.flusher.flush()
        if service.committer.is_full:
            await service.committer.wait_for_room()
        return await outbox.body()

    async def _send(self, answers: bytes) -> None:
        self.is_answering = True
        await send(self._connected, answers, self._hold_unread)
        self.is_answering = False

    def _hold_unread(self, bytes_unread: int) -> None:
        """Answers that are not read are counted as well."""
        self._held.hold(self._reader.held_bytes + bytes_unread)

    def _hold_running(self, body: str, outbox: ResultsOutbox) -> None:
        """Others have their turn while this request runs. If it holds too much, what comes next is its cancellation."""
        self._held.hold(self._reader.held_bytes + getsizeof(body) + outbox.held_bytes)


async def serve_pages(
    connected: socket.socket,
    pages: Pages,
    request_seconds: float,
    otherwise: Callable[[], Awaitable[Page]] | None = None,
    wait_until: Callable[[float], AbstractContextManager[trio.CancelScope]] = trio.move_on_at,
) -> None:
    """One connection of a port that answers with pages only, and runs no command.

    A request has so many seconds from its first byte, and the first one from the beginning; an answer has as many, and
    more if it is long. A request for none of the pages, whatever its body, gets the page that `otherwise` makes, and
    the connection ends. The client is waited for in `wait_until`, which may end the wait, and with it the connection.
    """
    reader = RequestReader(0)
    deadline = trio.current_time() + request_seconds
    try:
        while True:
            with wait_until(deadline) as waiting:
                begun = 0
                while not reader.complete and reader.refusal is None:
                    if reader.is_partial and reader.begun != begun:
                        begun = reader.begun
                        waiting.deadline = min(waiting.deadline, trio.current_time() + request_seconds)
                    data = await receive(connected)
                    if not data:
                        return
                    reader.feed(data)
            if waiting.cancelled_caught:
                return
            while reader.complete:
                request = reader.complete.popleft()
                make_page = pages.get(path_of(request.page))
                if make_page is None and otherwise is not None:
                    make_page, request = otherwise, replace(request, is_kept_alive=False)
                page = _NO_PAGE if make_page is None else await make_page()
                answer = page_response(page, request)
                seconds = request_seconds + len(answer) / limits.HTTP_BYTES_PER_SECOND_MIN
                with wait_until(trio.current_time() + seconds) as sending:
                    await send(connected, answer)
                if sending.cancelled_caught:
                    return
                if not request.is_kept_alive:
                    await linger(connected)
                    return
            if reader.refusal is not None:
                status, text = reader.refusal
                if status == 413 and otherwise is not None:
                    status, body, *_ = await otherwise()
                    text = body.decode()
                await _refuse(connected, status, text)
                return
            deadline = trio.current_time() + limits.HTTP_IDLE_SECONDS
    except OSError:
        return  # the client is gone


async def page_answer(pages: Pages, head: bytes) -> bytes | None:
    """The answer to a request of that head for one of the pages, the last on its connection; None if it is for none.

    A WebSocket handshake is none, whatever its path.
    """
    method, _, rest = head.partition(b" ")
    make_page = pages.get(path_of(rest.partition(b" ")[0])) if method in (b"GET", b"HEAD") else None
    if make_page is None or _ASKS_FOR_WEBSOCKET.search(head):
        return None
    return page_response(await make_page(), Request(b"", False, False, is_bodiless=method == b"HEAD"))


def _deadline(began: float, body_bytes: int, handshake_seconds: float) -> float:
    """When a request that has begun is given up, without more of it: nobody holds a connection by dripping bytes."""
    return min(
        trio.current_time() + handshake_seconds,
        began + handshake_seconds + body_bytes / limits.HTTP_BYTES_PER_SECOND_MIN,
    )


async def _refuse(connected: socket.socket, status: int, text: str, fields: bytes = b"") -> None:
    """An answer to what is no request that can be answered; the connection ends behind it."""
    await send(connected, _response(status, text.encode(), fields=fields))
    await linger(connected)


def page_response(page: Page, request: Request, fields: bytes = b"") -> bytes:
    """The answer that is a page, with more header lines."""
    return _response(page.status, page.body, request, page.content_type, page.fields + fields)


def _response(
    status: int,
    body: bytes,
    request: Request | None = None,
    content_type: bytes = PLAIN_TEXT,
    fields: bytes = b"",
) -> bytes:
    """Head and body; without a request, the connection ends behind it."""
    connection = b""
    if request is None or not request.is_kept_alive:
        connection = b"Connection: close\r\n"
    elif request.is_old:
        connection = b"Connection: keep-alive\r\n"
    if status == 204:  # which has no body, and so no length of one (RFC 9110 section 8.6)
        return b"HTTP/1.1 204 No Content\r\nDate: %b\r\n%b%b\r\n" % (_date(), connection, fields)
    head = b"HTTP/1.1 %d %b\r\nDate: %b\r\nContent-Type: %b\r\nContent-Length: %d\r\n%b%b\r\n" % (
        status,
        _REASONS[status],
        _date(),
        content_type,
        len(body),
        connection,
        fields,
    )
    return head if request is not None and request.is_bodiless else head + body


_dated: tuple[int, bytes] = (0, b"")


def _date() -> bytes:
    """The Date header's value (RFC 9110 section 6.6.1), made once a second."""
    global _dated
    now = int(time.time())
    if _dated[0] != now:
        _dated = (now, email.utils.formatdate(now, usegmt=True).encode())
    return _dated[1]
