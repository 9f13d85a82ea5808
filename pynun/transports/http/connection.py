"""HTTP: a request body of commands, results joined by `;`, a fresh session for each (docs/protocol.md section 1).

Any method that llhttp knows and any path, but for the server's own pages (`pages.py`). Keep-alive, chunked bodies and
pipelined requests are understood; requests are answered one after another (RFC 9112 section 9.3.2).

A request that arrives alone and whole is answered by the reactor, at once or when its results are on disk. For anything
else the connection's own task goes on.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.protocol import messages
from pynun.transports.allowed_origins import CORS_HEADERS, NOT_ALLOWED
from pynun.transports.client_address import FORWARDING_HEADERS, ForwardingError, client_of
from pynun.transports.connection_reader import Outcome, SocketReader
from pynun.transports.http.request_reader import RequestReader
from pynun.transports.http.request_run import RequestRun
from pynun.transports.http.responses import CONTINUE, file_head, page_response, refuse
from pynun.transports.pages import (
    CONSOLE_HEADERS,
    CORS_FIELD,
    IF_NONE_MATCH,
    LOGIN_HEADERS,
    UNAUTHORIZED,
    FilePage,
    Page,
    Socket,
    basic_credentials,
    path_of,
)
from pynun.transports.sockets import linger, send, send_file

if TYPE_CHECKING:
    import socket

    from pynun.transports.client_address import Client
    from pynun.transports.http.request_reader import Request
    from pynun.transports.pages import Console
    from pynun.transports.service import Service

_EMPTY: Final = Page(204, b"")
_ONLY_CONSOLE: Final = Page(404, b"this port answers GET /console, and runs no commands\n")


async def serve_http(
    connected: socket.socket,
    service: Service,
    stopping: trio.Event,
    client: Client | None = None,
    *,
    own_console: Console | None = None,
) -> None:
    """One connection: its requests, one after another. With `own_console`, it is only for that and runs no commands."""
    client = client or client_of(connected)
    requests = _Requests(connected, service, client, own_console)
    try:
        if not await requests.serve(stopping) and not requests.is_answering:
            service.counters.http_answers[503] += 1
            await refuse(connected, 503, messages.TOO_MUCH_UNFINISHED)
    except OSError:
        return  # the client is gone
    finally:
        requests.forget()
    if requests.upgraded is not None:
        await requests.upgraded.serve(connected, stopping, client)


class _Requests(SocketReader):
    """The requests of one connection and their answers."""

    has_reply = True
    _service: Service

    def __init__(
        self, connected: socket.socket, service: Service, client: Client, own_console: Console | None = None
    ) -> None:
        self._scope = trio.CancelScope()
        super().__init__(connected, service, client, self._is_authenticated, self._scope.cancel)
        self._client = client
        self._console = own_console or service.console
        self._runs_commands = own_console is None
        self.upgraded: Socket | None = None
        """Goes on with the connection, which is a WebSocket from here on."""
        self._origins = service.allowed_origins
        wanted = LOGIN_HEADERS | {IF_NONE_MATCH}
        if not self._origins.is_open:
            wanted |= CORS_HEADERS
        if self._console is not None:
            wanted |= CONSOLE_HEADERS
        if client.is_named_by_headers:
            wanted |= FORWARDING_HEADERS
        self._reader = RequestReader(service.message_bytes_max, wanted)
        self._is_simple = self._origins.is_open and not client.is_named_by_headers  # no header says more of a request
        self._run: RequestRun | None = None  # whose response is not ready yet
        self._unsent = b""  # of a response
        self._had_logged_in = False  # the session of the previous request
        self._rested_at = 0.0  # when the client's turn began
        self._begun, self._began = 0, 0.0  # the newest request that has begun, and when
        self.is_answering = False
        """Whether some responses are only partly sent."""

    async def serve(self, stopping: trio.Event) -> bool:
        """Answer requests until the connection ends; False if the server held too much for it. Raises OSError."""
        try:
            with self._scope:
                while not stopping.is_set() and await self._receive(stopping) and await self._answer_all():
                    if self.reservation.bytes:
                        self.reservation.hold(self._reader.held_bytes)
        finally:
            self._forget_run()
        return not self.reservation.is_ended

    def forget(self) -> None:
        self._reader.forget()
        super().forget()

    def _is_authenticated(self) -> bool:
        """Whether the running or previous request has logged in; an incomplete one can't have."""
        return self._had_logged_in if self._run is None else self._run.has_logged_in()

    # --- in the reactor --------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> Outcome:
        """Answer a request that arrives alone and whole, if nothing but the disk has to be waited for."""
        reader = self._reader
        reader.feed(data)
        if (
            len(reader.complete) != 1
            or reader.is_partial
            or reader.refusal is not None
            or reader.complete[0].page
            or not self._runs_commands
            or not reader.complete[0].is_kept_alive
            or self._run is not None
            or self._unsent
            or self.reservation.bytes
        ):
            return Outcome.SLOW
        request = reader.complete.popleft()
        page, fields = (None, b"") if self._is_simple else self._page_at_once(request)
        if page is not None:
            answer = self._page_response(page, request, fields)
        else:
            run = self._run = RequestRun(self._service, self.socket, self._client, request, fields)
            if not run.go_on() or self._service.committer.is_full:
                return Outcome.SLOW
            if run.page is None and run.outbox.is_held:
                run.outbox.when_released = self._put_released
                return Outcome.WAIT
            answer = self._end_run(run)
        self._put(answer)
        return Outcome.WAIT

    def _put_released(self) -> None:
        """The results are on disk."""
        if self._run is not None:
            self._put(self._end_run(self._run))

    def _put(self, answer: bytes) -> None:
        self._unsent = answer
        self._service.flusher.add(self)

    def flush(self) -> None:
        """Send a response; what is left of it, the connection's own task sends."""
        if not self._unsent:
            return
        try:
            sent = self.socket.send(self._unsent)
        except OSError:  # no room, or the client is gone: the task will see which
            sent = 0
        self._unsent = self._unsent[sent:]
        self._rested_at = trio.current_time()
        if self._unsent:
            self.outcome = Outcome.SLOW
            self._service.reactor.wake(self)

    # --- in the connection's own task ------------------------------------------------------------------------------

    async def _receive(self, stopping: trio.Event) -> bool:
        """Let the reactor serve requests until this task has to go on; False if the connection must end."""
        self._rested_at = trio.current_time()
        service = self._service
        while True:
            with trio.move_on_at(self._deadline()) as waiting:
                service.waits_to_cancel.add(waiting)
                try:
                    await self.wait()
                finally:
                    service.waits_to_cancel.discard(waiting)
            if self._run is not None or self._unsent:
                return True
            if not waiting.cancelled_caught:
                if self.outcome is not Outcome.WAIT:
                    return self.outcome is not Outcome.END
            elif stopping.is_set():
                return False
            elif trio.current_time() >= self._deadline():
                if self._reader.is_partial:
                    service.counters.http_answers[408] += 1
                    await refuse(self.socket, 408, "the request did not come to its end in time")
                return False

    def _deadline(self) -> float:
        """When to end the connection: nobody holds one by silence, nor a started request by sending single bytes."""
        reader, seconds = self._reader, self._service.handshake_seconds
        if not reader.is_partial:
            return self._rested_at + limits.HTTP_IDLE_SECONDS
        if reader.begun != self._begun:
            self._begun, self._began = reader.begun, self._rested_at
        slowest = self._began + seconds + reader.body_bytes / limits.HTTP_BYTES_PER_SECOND_MIN
        return min(self._rested_at + min(limits.HTTP_IDLE_SECONDS, seconds), slowest)

    async def _answer_all(self) -> bool:
        """Answer the complete requests; False if the connection must end."""
        reader, reservation, client = self._reader, self.reservation, self._client
        if client.is_named_by_headers and not reservation.bytes and (head := reader.head) is not None:
            with contextlib.suppress(ForwardingError):  # set when it is complete
                client.identify(head)  # the client whose body is held
        if (reader.is_partial or reservation.bytes) and not reservation.hold(reader.held_bytes):
            return False
        if self._run is not None:
            self._unsent += await self._finish(self._run)
        if self._unsent:
            answer, self._unsent = self._unsent, b""
            await self._send(answer)
        answers: list[bytes] = []
        is_last = False
        while reader.complete and not is_last:
            request = reader.complete.popleft()
            if self._console is not None and request.page and self._console.owns(request):
                await self._send(b"".join(answers))
                answers.clear()
                if await self._answer_console(self._console, request):
                    return False
            else:
                answers.append(await self._answer(request))
            is_last = not request.is_kept_alive
            if sum(map(len, answers)) > limits.FLUSH_BYTES:
                await self._send(b"".join(answers))
                answers.clear()
        if answers:
            await self._send(b"".join(answers))
        if is_last:
            await linger(self.socket)
            return False
        if reader.refusal is not None:
            self._service.counters.http_answers[reader.refusal[0]] += 1
            self.forget()
            await refuse(self.socket, *reader.refusal, self._origins.fields(reader.headers))
            return False
        if reader.expects_continue:
            reader.expects_continue = False
            await send(self.socket, CONTINUE)
        return True

    async def _answer_console(self, console: Console, request: Request) -> bool:
        """Answer a request for the console; True if the connection is a WebSocket from here on."""
        answer: Page | FilePage | Socket | None = self._unknown_client(request)
        if answer is None:
            answer = await console.answer(request, self.socket, self._client)
        if isinstance(answer, Socket):
            self.upgraded = answer
            return True
        if isinstance(answer, FilePage):
            self._service.counters.http_answers[200] += 1
            self.is_answering = True
            await send_file(
                self.socket,
                answer.path,
                lambda size: file_head(size, request, answer.fields),
                self._hold_unread,
                is_head_only=request.is_bodiless,
            )
            self.is_answering = False
        else:
            await self._send(self._page_response(answer, request, b""))
        return False

    async def _answer(self, request: Request) -> bytes:
        """The response to a request: one of the server's pages, or the results of its commands."""
        service = self._service
        page, fields = self._page_at_once(request)
        if page is None and not self._runs_commands:
            page = _ONLY_CONSOLE
        path = path_of(request.page) if request.page else b""
        make_page = service.pages.get(path)
        if page is not None:
            pass
        elif path in service.admin_pages and LOGIN_HEADERS & dict(request.headers).keys():
            page = await service.admin_pages[path]() if await self._is_admin(request) else UNAUTHORIZED
        elif make_page is not None:
            page = await make_page()
            if CORS_FIELD in page.fields:  # what every page may read
                fields = b""
        else:
            self._run = RequestRun(service, self.socket, self._client, request, fields)
            return await self._finish(self._run)
        return self._page_response(page, request, fields)

    def _page_at_once(self, request: Request) -> tuple[Page | None, bytes]:
        """The response to a request that runs nothing, if it is one, and further header lines."""
        page = self._refusal_of(request)
        if page is not None:
            return page, b""
        if preflight := self._origins.preflight_fields(request.method, request.headers):
            return _EMPTY, preflight
        return None, self._origins.fields(request.headers)

    def _page_response(self, page: Page, request: Request, fields: bytes) -> bytes:
        self._service.counters.http_answers[page.status] += 1
        return page_response(page, request, fields)

    def _refusal_of(self, request: Request) -> Page | None:
        """The response to a request that is refused for its origin or address; runs nothing."""
        if (page := self._unknown_client(request)) is not None:
            return page
        if not self._origins.allow(request.headers):
            self._service.counters.refused["origin"] += 1
            return Page(403, NOT_ALLOWED.encode())
        return None

    def _unknown_client(self, request: Request) -> Page | None:
        """The response to a request that is refused for its address."""
        try:
            if self._client.identify(request.headers):
                return None
        except ForwardingError as error:
            return Page(400, str(error).encode())
        self._service.counters.refused["limit"] += 1
        return Page(503, messages.TOO_MANY_CONNECTIONS.encode())

    async def _is_admin(self, request: Request) -> bool:
        """Whether the administrator asks; a normal login, with delays, cache and audit."""
        credentials = basic_credentials(request.headers)
        if credentials is None:
            return False
        run = self._run = RequestRun(self._service, self.socket, self._client, request)
        run.log_in(*credentials)
        await self._run_commands(run)
        self._forget_run()
        return self._had_logged_in

    async def _finish(self, run: RequestRun) -> bytes:
        """Run a request's commands to their end, wait for the disk, and return the response."""
        await self._run_commands(run)
        if run.page is None:
            if self._service.committer.is_full:
                await self._service.committer.wait_for_room()
            await run.outbox.wait()
        return self._end_run(run)

    async def _run_commands(self, run: RequestRun) -> None:
        service = self._service
        while run.suspension is not None or not run.go_on():
            # Others get a turn while this request runs. If it holds too much, it is cancelled here.
            self.reservation.hold(self._reader.held_bytes + run.held_bytes)
            suspension, run.suspension = run.suspension, None
            if suspension is not None:
                await service.drive(suspension)
            else:
                service.flusher.flush()
                await trio.lowlevel.checkpoint()
        service.flusher.flush()

    def _end_run(self, run: RequestRun) -> bytes:
        """The response to a request whose results are not held."""
        self._run, self._had_logged_in = None, run.has_logged_in()
        return run.response()

    def _forget_run(self) -> None:
        if self._run is not None:
            self._run.close()
            self._had_logged_in = self._run.has_logged_in()
            self._run = None

    async def _send(self, answers: bytes) -> None:
        if not self._service.flusher.may_send():
            raise ConnectionAbortedError
        self.is_answering = True
        await send(self.socket, answers, self._hold_unread)
        self.is_answering = False

    def _hold_unread(self, bytes_unread: int) -> None:
        """Count unread responses too."""
        self.reservation.hold(self._reader.held_bytes + bytes_unread)
