"""HTTP: a request body of commands, results joined by `;`, a fresh session for each (docs/protocol.md section 1).

Any method that llhttp knows and any path, but for the server's own pages (`pages.py`). Keep-alive, chunked bodies and
pipelined requests are understood; requests are answered one after another (RFC 9112 section 9.3.2).
"""

from __future__ import annotations

import contextlib
import time
from sys import getsizeof
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.protocol import framing, messages
from pynun.transports.allowed_origins import CORS_HEADERS, NOT_ALLOWED
from pynun.transports.client_address import FORWARDING_HEADERS, ForwardingError, client_of
from pynun.transports.http.request_reader import RequestReader
from pynun.transports.http.responses import CONTINUE, page_response, refuse
from pynun.transports.http.results import ResultsOutbox
from pynun.transports.input_budget import Reservation
from pynun.transports.pages import LOGIN_HEADERS, UNAUTHORIZED, Page, basic_credentials, path_of
from pynun.transports.peer import ConnectionPeer
from pynun.transports.sockets import linger, receive, send

if TYPE_CHECKING:
    import socket

    from pynun.engine.dispatch import CommandSession
    from pynun.transports.client_address import Client
    from pynun.transports.http.request_reader import Request
    from pynun.transports.service import Service

_RESULTS_TOO_BIG: Final = "the results are too big: ask for them in several requests"

_EMPTY: Final = Page(204, b"")


class _ResultsTooBigError(Exception):
    """The results exceed the limit of an outbox; the commands so far have run."""


async def serve_http(
    connected: socket.socket, service: Service, stopping: trio.Event, client: Client | None = None
) -> None:
    """One connection: its requests, one after another."""
    requests = _Requests(connected, service, client or client_of(connected))
    try:
        if not await requests.serve(stopping) and not requests.is_answering:
            service.counters.http_answers[503] += 1
            await refuse(connected, 503, messages.TOO_MUCH_UNFINISHED)
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
        self._scope = trio.CancelScope()
        self._reservation = Reservation(service.input_budget, client, self._is_authenticated, self._give_up)
        self._session: CommandSession | None = None  # of the running request
        self._had_logged_in = False  # the session of the previous request
        self.is_answering = False
        """Whether some responses are only partly sent."""

    async def serve(self, stopping: trio.Event) -> bool:
        """Answer requests until the connection ends; False if the server held too much for it. Raises OSError."""
        with self._scope:
            await self._serve(stopping)
        return not self._reservation.is_ended

    def forget(self) -> None:
        """Discard all received input."""
        self._reader.forget()
        self._reservation.hold(0)

    def _give_up(self) -> None:
        self._reader.forget()
        self._scope.cancel()

    def _is_authenticated(self) -> bool:
        """Whether the running or previous request has logged in; an incomplete one can't have."""
        return self._had_logged_in if self._session is None else self._session.has_logged_in()

    async def _serve(self, stopping: trio.Event) -> None:
        reader, reservation, service, client = self._reader, self._reservation, self._service, self._client
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
                    await refuse(self._connected, 408, "the request did not come to its end in time")
                return
            if not data:
                return
            reader.feed(data)
            if client.is_named_by_headers and not reservation.bytes and (head := reader.head) is not None:
                with contextlib.suppress(ForwardingError):  # set when it is complete
                    client.identify(head)  # the client whose body is held
            if (reader.is_partial or reservation.bytes) and not reservation.hold(reader.held_bytes):
                return
            if not await self._answer_all():
                return
            if reservation.bytes:
                reservation.hold(reader.held_bytes)

    async def _answer_all(self) -> bool:
        """Answer the complete requests; False if the connection must end."""
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
            await refuse(connected, *reader.refusal, self._origins.fields(reader.headers))
            return False
        if reader.expects_continue:
            reader.expects_continue = False
            await send(connected, CONTINUE)
        return True

    async def _answer(self, request: Request) -> bytes:
        """The response to a request: one of the server's pages, or the results of its commands."""
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
        """The response to a request that is refused for its origin or address; runs nothing."""
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
        """Whether the administrator asks; a normal login, with delays, cache and audit."""
        credentials = basic_credentials(request.headers)
        if credentials is None:
            return False
        service = self._service
        outbox = ResultsOutbox(service.engine.view)
        session = service.open_session(outbox, ConnectionPeer("http", self._connected, outbox, self._client))
        self._session = session
        try:
            suspension = session.execute(" ".join(("auth", *credentials)))
            if suspension is not None:
                await service.drive(suspension)
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
        """Run a body's commands in their own session; returns their results."""
        service = self._service
        outbox = ResultsOutbox(service.engine.view)
        session = service.open_session(outbox, ConnectionPeer("http", self._connected, outbox, self._client))
        self._session = session
        try:
            for number, command in enumerate(framing.http_commands(body), 1):
                if outbox.size > service.outbox_bytes_max:  # including the last result, which alone may be longer
                    raise _ResultsTooBigError
                suspension = session.execute(command)
                if suspension is not None:
                    self._hold_running(body, outbox)
                    await service.drive(suspension)
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
        """Count unread responses too."""
        self._reservation.hold(self._reader.held_bytes + bytes_unread)

    def _hold_running(self, body: str, outbox: ResultsOutbox) -> None:
        """Give others a turn while this request runs. If it holds too much, it is cancelled here."""
        self._reservation.hold(self._reader.held_bytes + getsizeof(body) + outbox.held_bytes)


def _deadline(began: float, body_bytes: int, handshake_seconds: float) -> float:
    """The deadline of a started request, so that nobody holds a connection by sending single bytes."""
    return min(
        trio.current_time() + handshake_seconds,
        began + handshake_seconds + body_bytes / limits.HTTP_BYTES_PER_SECOND_MIN,
    )
