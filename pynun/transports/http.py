"""HTTP: a request body of commands, results joined by `;`, a fresh session for each (docs/protocol.md section 1).

Any method and any path, as in the original. httptools (the parser of Node, llhttp) reads the protocol, keep-alive,
chunked bodies and pipelined requests included; requests are answered one after another (RFC 9112 section 9.3.2).
"""

from __future__ import annotations

import email.utils
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import httptools
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
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"
_REASONS: Final = {
    200: b"OK",
    400: b"Bad Request",
    408: b"Request Timeout",
    413: b"Content Too Large",
    431: b"Request Header Fields Too Large",
}


_RESULTS_TOO_BIG: Final = "the results are too big: ask for them in several requests"


class _ResultsTooBigError(Exception):
    """More results than an outbox may hold; the commands so far were run."""


class ResultsOutbox:
    """The results of one request's commands: each the command's first own message, `empty`, or its error."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._results: list[str] = []
        self.size = 0
        """Characters of all results."""
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
        self.size += len(text)

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


@dataclass(frozen=True, slots=True)
class _Request:
    body: bytes
    is_kept_alive: bool
    is_old: bool
    """HTTP/1.0: the client has to be told that the connection is kept."""
    is_bodiless: bool
    """A HEAD request: the answer has a head only."""


class _Reader:
    """The requests out of a connection's bytes: httptools calls it back (the `on_…` methods) as it parses."""

    def __init__(self, body_bytes_max: int) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self._body_bytes_max = body_bytes_max
        self._parts: list[bytes] = []
        self._body_bytes = 0
        self._head_bytes = 0
        self._is_in_head = True
        self.complete: deque[_Request] = deque()
        self.is_partial = False
        """Whether a request has begun and is not complete."""
        self.expects_continue = False
        """Whether the client waits for leave to send the body (RFC 9110 section 10.1.1)."""
        self.refusal: tuple[int, str] | None = None
        """Status and text if what came is no request that can be answered; nothing is read after it."""

    def feed(self, data: bytes) -> None:
        if self._is_in_head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # whoever asks for another protocol gets an answer in this one
        except httptools.HttpParserError as error:
            if self.refusal is None:
                self.refusal = (400, f"not a valid HTTP request: {error}")
        if self._is_in_head and self._head_bytes > limits.HANDSHAKE_BYTES_MAX:
            self.refusal = (431, "the head of the request is too big")

    def on_message_begin(self) -> None:
        self.is_partial = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if name[:1] in b"Cc" and name.lower() == b"content-length":
            if value.isdigit() and int(value) > self._body_bytes_max:
                self.refusal = (413, messages.MESSAGE_TOO_BIG)
        elif name[:1] in b"Ee" and name.lower() == b"expect":
            self.expects_continue = value.lower() == b"100-continue"

    def on_headers_complete(self) -> None:
        self._is_in_head = False
        self._head_bytes = 0

    def on_body(self, data: bytes) -> None:
        self._body_bytes += len(data)
        if self._body_bytes > self._body_bytes_max:
            self.refusal = (413, messages.MESSAGE_TOO_BIG)
        else:
            self._parts.append(data)

    def on_message_complete(self) -> None:
        parser = self._parser
        self.complete.append(
            _Request(
                body=b"".join(self._parts),
                is_kept_alive=parser.should_keep_alive() and not parser.should_upgrade(),
                is_old=parser.get_http_version() == "1.0",
                is_bodiless=parser.get_method() == b"HEAD",
            )
        )
        self._parts = []
        self._body_bytes = 0
        self._is_in_head = True
        self.is_partial = self.expects_continue = False


async def serve_http(connected: socket.socket, service: Service, stopping: trio.Event) -> None:
    """One connection: its requests, one after another."""
    reader = _Reader(service.message_bytes_max)
    try:
        while not stopping.is_set():
            seconds = limits.HANDSHAKE_SECONDS if reader.is_partial else limits.HTTP_IDLE_SECONDS
            with trio.move_on_after(seconds) as waiting:
                service.waits_for_request.add(waiting)
                try:
                    data = await receive(connected)
                finally:
                    service.waits_for_request.discard(waiting)
            if waiting.cancelled_caught:
                if reader.is_partial and not stopping.is_set():
                    await _refuse(connected, 408, "the request did not come to its end in time")
                return
            if not data:
                return
            reader.feed(data)
            if not await _answer_all(connected, reader, service):
                return
    except OSError:
        return  # the client is gone


async def _answer_all(connected: socket.socket, reader: _Reader, service: Service) -> bool:
    """Answer the requests that are complete; False when the connection is to end."""
    answers: list[bytes] = []
    for request in reader.complete:
        try:
            answer = await _run(request.body.decode(), service)
        except _ResultsTooBigError:
            answers.append(_response(413, _RESULTS_TOO_BIG, request))
        except UnicodeDecodeError:
            answers.append(_response(400, messages.INVALID_UTF8, request))
        else:
            answers.append(_response(200, answer, request))
        if not request.is_kept_alive:
            reader.refusal = None
            break
    else:
        request = None
    reader.complete.clear()
    if answers:
        await send(connected, b"".join(answers))
    if request is not None:
        await linger(connected)
        return False
    if reader.refusal is not None:
        await _refuse(connected, *reader.refusal)
        return False
    if reader.expects_continue:
        reader.expects_continue = False
        await send(connected, _CONTINUE)
    return True


async def _run(body: str, service: Service) -> str:
    """The results of a body's commands, in a session of their own."""
    outbox = ResultsOutbox(service.engine.view)
    session = service.open_session(outbox)
    try:
        for number, command in enumerate(framing.http_commands(body), 1):
            if outbox.size > service.outbox_bytes_max:  # with the last result: one alone may be longer than that
                raise _ResultsTooBigError
            suspension = session.execute(command)
            if suspension is not None:
                await service.settle(suspension)
            if number % limits.SLICE_COMMANDS == 0:
                service.flusher.flush()
                await trio.lowlevel.checkpoint()
    finally:
        session.close()
        service.flusher.flush()
    if service.committer.is_full:
        await service.committer.wait_for_room()
    return await outbox.body()


async def _refuse(connected: socket.socket, status: int, text: str) -> None:
    """An answer to what is no request that can be answered; the connection ends behind it."""
    await send(connected, _response(status, text))
    await linger(connected)


def _response(status: int, text: str, request: _Request | None = None) -> bytes:
    """Head and body; without a request, the connection ends behind it."""
    body = text.encode()
    connection = b""
    if request is None or not request.is_kept_alive:
        connection = b"Connection: close\r\n"
    elif request.is_old:
        connection = b"Connection: keep-alive\r\n"
    head = b"HTTP/1.1 %d %b\r\nDate: %b\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Length: %d\r\n%b\r\n" % (
        status,
        _REASONS[status],
        _date(),
        len(body),
        connection,
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
