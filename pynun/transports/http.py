"""HTTP: a request body of commands, results joined by `;`, a fresh session for each (docs/protocol.md section 1).

Any method and any path, as in the original. h11 reads and writes the protocol (RFC 9112): keep-alive, chunked bodies,
`Expect: 100-continue`, and pipelined requests, which are answered one after another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import h11
import trio

from pynun import limits
from pynun.language import framing, messages
from pynun.transports.sockets import linger, receive, send

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from pynun.engine.changes import View
    from pynun.engine.events import Event
    from pynun.engine.steps import Result
    from pynun.transports.service import Service

_EMPTY_RESULT: Final = "empty"
_CONTINUE: Final = h11.InformationalResponse(status_code=100, headers=[])
_HEADERS: Final = [("Content-Type", "text/plain; charset=UTF-8")]


class ResultsOutbox:
    """The results of one request's commands: each the command's first own message, `empty`, or its error."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._results: list[str] = []
        self._dependent: dict[int, list[int]] = {}  # revision -> places of the results that show its changes
        self._when_released: trio.Event | None = None

    def reply(self, result: Result, depends: int) -> None:
        if result is None or result == []:
            text = _EMPTY_RESULT
        elif isinstance(result, list):
            text = result[0]
        else:
            text = result.decode() if isinstance(result, bytes) else result
        self._put(text, depends)

    def refuse(self, own: Sequence[str], error: str, depends: int) -> None:
        self._put(own[0] if own else error, depends)

    def event(self, event: Event) -> None:
        """A request is over before anything it watches matters: each result belongs to its own command."""

    def _put(self, text: str, depends: int) -> None:
        if depends:
            places = self._dependent.get(depends)
            if places is not None:
                places.append(len(self._results))
            elif self._view.add_waiter(depends, self):
                self._dependent[depends] = [len(self._results)]
        self._results.append(text)

    def released(self, revision: int) -> None:
        """Called by the committer: `revision` is on disk."""
        self._dependent.pop(revision, None)
        if not self._dependent and self._when_released is not None:
            self._when_released.set()

    def failed(self, revision: int, reason: str) -> None:
        """Called by the committer: `revision` is lost, and what showed it becomes an error."""
        for place in self._dependent.get(revision, ()):
            self._results[place] = messages.storage_failed(reason)
        self.released(revision)

    async def body(self) -> str:
        """All results, once everything they show is on disk."""
        if self._dependent:
            self._when_released = trio.Event()
            await self._when_released.wait()
        return ";".join(self._results)


class _Close(Exception):
    """The connection is over."""


async def serve_http(socket: socket.socket, service: Service, stopping: trio.Event) -> None:
    """One connection: its requests, one after another."""
    connection = _Connection(socket, service)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_when_idle, connection, stopping, nursery.cancel_scope)
            await connection.run(stopping)
            nursery.cancel_scope.cancel()
    except* (_Close, trio.BrokenResourceError, ConnectionError):
        pass


async def _cancel_when_idle(connection: _Connection, stopping: trio.Event, scope: trio.CancelScope) -> None:
    await stopping.wait()
    if connection.is_idle:
        scope.cancel()


class _Connection:
    """One client's HTTP connection."""

    def __init__(self, socket: socket.socket, service: Service) -> None:
        self._socket = socket
        self._service = service
        self._h11 = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.HANDSHAKE_BYTES_MAX)
        self.is_idle = True

    async def run(self, stopping: trio.Event) -> None:
        """Answer requests until the connection ends. Raises _Close, or an OSError of the socket."""
        while not stopping.is_set():
            try:
                body = await self._receive_request()
            except h11.RemoteProtocolError as error:
                self.is_idle = False
                await self._refuse(error.error_status_hint, f"not a valid HTTP request: {error}")
                return
            if body is None:
                return
            await self._answer(body)
            self.is_idle = True
            if self._h11.our_state is h11.MUST_CLOSE or self._h11.their_state is h11.MUST_CLOSE:
                return
            try:
                self._h11.start_next_cycle()
            except h11.LocalProtocolError:
                return  # the client is closing, or left a part of its body unsent

    async def _receive_request(self) -> str | None:
        """The body of the next request; None if there is none, or it was answered by a refusal."""
        parts: list[bytes] = []
        length = 0
        with trio.move_on_after(limits.HTTP_IDLE_SECONDS) as idle:
            while True:
                event = self._h11.next_event()
                if event is h11.NEED_DATA:
                    if self._h11.they_are_waiting_for_100_continue:
                        await send(self._socket, self._h11.send(_CONTINUE) or b"")
                    self._h11.receive_data(await receive(self._socket))
                elif isinstance(event, h11.Request):
                    self.is_idle = False
                    idle.deadline = trio.current_time() + limits.HANDSHAKE_SECONDS
                    if self._announced_bytes(event) > self._service.message_bytes_max:
                        await self._refuse(413, messages.MESSAGE_TOO_BIG)
                        return None
                elif isinstance(event, h11.Data):
                    length += len(event.data)
                    if length > self._service.message_bytes_max:
                        await self._refuse(413, messages.MESSAGE_TOO_BIG)
                        return None
                    parts.append(bytes(event.data))
                    idle.deadline = trio.current_time() + limits.HANDSHAKE_SECONDS
                elif isinstance(event, h11.EndOfMessage):
                    break
                else:
                    return None  # the client closed
        if idle.cancelled_caught:
            return None
        try:
            return b"".join(parts).decode()
        except UnicodeDecodeError:
            await self._refuse(400, messages.INVALID_UTF8)
            return None

    @staticmethod
    def _announced_bytes(request: h11.Request) -> int:
        """The length of the body as far as the request's head says it; h11 has checked that it is a number."""
        return next((int(value) for name, value in request.headers if name == b"content-length"), 0)

    async def _answer(self, body: str) -> None:
        outbox = ResultsOutbox(self._service.engine.view)
        session = self._service.open_session(outbox)
        try:
            for command in framing.http_commands(body):
                suspension = session.execute(command)
                if suspension is not None:
                    await self._service.settle(suspension)
        finally:
            session.close()
            self._service.flusher.flush()
        if self._service.committer.is_full:
            await self._service.committer.wait_for_room()
        await self._respond(200, await outbox.body())

    async def _refuse(self, status: int, text: str) -> None:
        """An answer to what is no valid request; the connection ends behind it."""
        if self._h11.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._respond(status, text, ("Connection", "close"))
            await linger(self._socket)

    async def _respond(self, status: int, text: str, *more_headers: tuple[str, str]) -> None:
        body = text.encode()
        headers = [*_HEADERS, ("Content-Length", str(len(body))), *more_headers]
        data = self._h11.send(h11.Response(status_code=status, headers=headers)) or b""
        data += self._h11.send(h11.Data(data=body)) or b""
        data += self._h11.send(h11.EndOfMessage()) or b""
        await send(self._socket, data)
