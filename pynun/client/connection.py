"""One WebSocket connection: requests out, replies matched by order, events handed on. Never reconnects.

How it works: a request waits in `_unsent` until the writer task takes it, in order, and joins what has gathered into
one frame (`;` splits it on the other side); in the same step it moves to `_unanswered`, the queue that the reader
matches replies with. No other task touches the socket, so a cancelled caller can neither cut a frame in two nor shift
the replies of others: its request stays in the queue until its reply has come, and nobody looks at that.

Invariants: `run` ends with every request answered or failed; a request that fails says whether it had been sent.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from typing import TYPE_CHECKING, cast

import trio
from trio_websocket import ConnectionClosed as WebSocketClosed
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream

from pynun.client.connecting import ClientStream, Target, open_stream
from pynun.client.errors import ClientError, ConnectionClosed, ProtocolError
from pynun.client.frames import SEPARATOR, ChangeEvent, Conflict, End, Message, Repeated, Reply, read_frame

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

FRAME_CHARACTERS_MAX = 16 * 1024
"""Requests are joined into one frame up to this; a longer request has a frame of its own."""
RECEIVE_BYTES = 64 * 1024
_REASON_BYTES_MAX = 200
QUEUED_FRAMES_MAX = 64
"""Frames that trio-websocket may have read before the reader takes them."""
GOODBYE_TIMEOUT_S = 2.0
"""How long a close waits for the server's answer to the closing frame."""


class Request:
    """One command on its way.

    `on_message` gets an own message, and `on_reply` the whole reply, in the reader, before any later frame is looked
    at: events may come between a message and its `ok`, so their order can be told only there. `on_unsent` takes over if
    the connection ended before the command was sent; without it, the request fails.
    """

    __slots__ = (
        "_answered",
        "_failure",
        "_messages",
        "_on_message",
        "_on_reply",
        "_on_unsent",
        "_queue",
        "_reply",
        "text",
    )

    def __init__(
        self,
        text: str,
        on_reply: Callable[[Reply], None] | None = None,
        on_message: Callable[[str], None] | None = None,
        on_unsent: Callable[[Request, ConnectionClosed], None] | None = None,
    ) -> None:
        self.text = text
        self._on_reply = on_reply
        self._on_message = on_message
        self._on_unsent = on_unsent or Request.fail
        self._messages: list[str] = []
        self._reply: Reply | None = None
        self._failure: ClientError | None = None
        self._answered = trio.Event()
        self._queue: dict[Request, None] = {}

    def join(self, queue: dict[Request, None]) -> None:
        """Wait in a queue to be sent, behind all that wait there."""
        self._queue = queue
        queue[self] = None

    def add_message(self, text: str) -> None:
        self._messages.append(text)
        if self._on_message is not None:
            self._on_message(text)

    def end(self, error: str | None) -> None:
        self._reply = Reply(tuple(self._messages), error)
        self._answered.set()
        if self._on_reply is not None:
            self._on_reply(self._reply)

    def fail(self, failure: ClientError) -> None:
        self._failure = failure
        self._answered.set()

    def fail_unsent(self, failure: ConnectionClosed) -> None:
        """The connection ended before it was sent."""
        self._on_unsent(self, failure)

    async def wait(self) -> Reply:
        """Wait for the reply. Raises what `fail` was given.

        Cancelled before the command was sent, it is not sent; cancelled later, its reply is read and dropped.
        """
        try:
            return await self.wait_reply()
        finally:
            self._queue.pop(self, None)

    async def wait_reply(self) -> Reply:
        """The same; but cancelled, the command is sent nevertheless."""
        await self._answered.wait()
        if self._failure is not None:
            raise self._failure
        assert self._reply is not None
        return self._reply


class Connection:
    """A connection to `target`; `deliver` gets every event, in the reader, in the order of the wire.

    Start it with `nursery.start(connection.run)`, which returns when the handshake is done.
    """

    def __init__(self, target: Target, deliver: Callable[[ChangeEvent | Conflict], None]) -> None:
        self._target = target
        self._deliver = deliver
        self._unsent: OrderedDict[Request, None] = OrderedDict()
        self._unanswered: deque[Request] = deque()
        self._something_to_send = trio.Event()
        self._open_scope = trio.CancelScope()
        self._is_closing = False
        self._why_ended = "the connection ended"
        self.ended = trio.Event()
        self.watched: set[str] = set()
        """The keys that the server has accepted a watch for on this connection."""

    @property
    def why_ended(self) -> str:
        """A phrase for people; final once `ended` is set."""
        return self._why_ended

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Connect, then serve until the connection ends. Raises ConnectionFailed if it can't be opened."""
        try:
            stream = await open_stream(self._target)
            try:
                await self._serve(stream, task_status)
            finally:
                await trio.aclose_forcefully(stream)
        finally:
            self._fail_requests()
            self.ended.set()

    async def _serve(self, stream: ClientStream, task_status: trio.TaskStatus[None]) -> None:
        self._why_ended = "it did not answer as a WebSocket server does"
        async with trio.open_nursery() as nursery:
            library_tasks = await nursery.start(self._host_library, stream)
            websocket = await self._shake_hands(library_tasks, stream)
            if websocket is not None:
                self._why_ended = "the connection ended"
                nursery.start_soon(self._write, websocket)
                if self._target.keepalive_s is not None:
                    nursery.start_soon(self._keep_alive, websocket, self._target.keepalive_s)
                task_status.started()
                with self._open_scope:
                    await self._read(websocket)
                if self._is_closing:
                    self._why_ended = "the client was closed"
                    self._fail_requests()
                    with trio.move_on_after(GOODBYE_TIMEOUT_S):
                        await websocket.aclose()
            nursery.cancel_scope.cancel()
        if websocket is None:
            raise self._target.failed(self._why_ended)

    async def _host_library(self, stream: ClientStream, *, task_status: trio.TaskStatus[trio.Nursery]) -> None:
        """A nursery for trio-websocket's own task, whose failures are the server's fault, not ours."""
        try:
            async with trio.open_nursery() as library_tasks:
                task_status.started(library_tasks)
                await trio.sleep_forever()
        except* ConnectionRejected as group:
            self._why_ended = f"it refused the WebSocket handshake ({_rejection_status(group)})"
        except* Exception:
            # The protocol library's complaints about what came, which trio-websocket neither handles nor exports.
            # The reason given by then fits; and get_message tells the reader that it is over.
            pass
        finally:
            stream.ended.set()

    async def _shake_hands(self, library_tasks: trio.Nursery, stream: ClientStream) -> WebSocketConnection | None:
        """The open WebSocket, or None if the other side hung up or took too long."""
        target = self._target
        websocket: WebSocketConnection | None = None
        with trio.move_on_after(target.connect_timeout_s) as deadline:
            async with trio.open_nursery() as race:

                async def cancel_when_ended() -> None:
                    await stream.ended.wait()
                    race.cancel_scope.cancel()

                race.start_soon(cancel_when_ended)
                websocket = await wrap_client_stream(
                    library_tasks,
                    # The annotation names trio's two streams, yet any stream serves: only `remote` looks at the type.
                    cast("trio.SocketStream", stream),
                    target.host_header,
                    target.resource,
                    message_queue_size=QUEUED_FRAMES_MAX,
                    max_message_size=target.message_bytes_max,
                    receive_buffer_size=RECEIVE_BYTES,
                )
                race.cancel_scope.cancel()
        if deadline.cancelled_caught:
            self._why_ended = "it did not answer the WebSocket handshake in time"
        return websocket

    def send(self, request: Request) -> Request:
        """Queue one command, behind all that were queued before. Never waits."""
        if self.ended.is_set() or self._is_closing:
            request.fail_unsent(ConnectionClosed(self._why_ended))
        else:
            request.join(self._unsent)
            self._something_to_send.set()
        return request

    async def request(self, text: str, on_reply: Callable[[Reply], None] | None = None) -> Reply:
        """Send one command and wait for its reply. Raises ConnectionClosed."""
        return await self.send(Request(text, on_reply)).wait()

    def close(self) -> None:
        """Ask `run` to say goodbye and end; what is not answered yet fails."""
        self._is_closing = True
        self._open_scope.cancel()

    def abort(self, why: str) -> None:
        """Ask `run` to end at once, without a goodbye."""
        self._why_ended = why
        self._open_scope.cancel()

    async def _write(self, websocket: WebSocketConnection) -> None:
        while True:
            await self._something_to_send.wait()
            self._something_to_send = trio.Event()
            while self._unsent:
                if not await _succeeds(websocket.send_message(self._take_frame())):
                    return

    def _take_frame(self) -> str:
        """The text of the next frame: the oldest request, and those behind it that still fit."""
        texts: list[str] = []
        characters = 0
        while self._unsent:
            request = next(iter(self._unsent))
            characters += len(request.text) + 1
            if texts and characters > FRAME_CHARACTERS_MAX:
                break
            texts.append(request.text)
            request.text = ""  # nothing needs it any more, and it may be long
            del self._unsent[request]
            self._unanswered.append(request)
        return SEPARATOR.join(texts)

    async def _read(self, websocket: WebSocketConnection) -> None:
        """Hand out all that comes, until the connection ends or the server breaks the protocol."""
        try:
            while True:
                text = await websocket.get_message()
                if not isinstance(text, str):
                    raise ProtocolError("the server sent a binary frame")
                self._take(text)
        except WebSocketClosed:
            self._why_ended = _explain_close(websocket)
        except ProtocolError as error:
            self._why_ended = str(error)

    def _take(self, text: str) -> None:
        frame = read_frame(text)
        match frame:
            case End():
                if not self._unanswered:
                    raise ProtocolError("the server sent the end of a reply that nobody asked for")
                self._unanswered.popleft().end(frame.error)
            case Message():
                if self._unanswered:  # else it is something newer than this client
                    self._unanswered[0].add_message(frame.text)
            case ChangeEvent() | Conflict():
                self._deliver(frame)
            case Repeated():
                pass

    async def _keep_alive(self, websocket: WebSocketConnection, interval_s: float) -> None:
        """Notice a peer that is gone without a word: a ping each interval, which must be answered within one."""
        while True:
            await trio.sleep(interval_s)
            with trio.move_on_after(interval_s) as deadline:
                if not await _succeeds(websocket.ping()):
                    return
            if deadline.cancelled_caught:
                self.abort(f"the server did not answer a ping within {interval_s:g} s")
                return

    def _fail_requests(self) -> None:
        while self._unanswered:
            failure = ConnectionClosed(
                f"{self._why_ended}; the outcome of the command is unknown", is_outcome_unknown=True
            )
            self._unanswered.popleft().fail(failure)
        unsent, self._unsent = self._unsent, OrderedDict()
        for request in unsent:
            request.fail_unsent(ConnectionClosed(self._why_ended))


async def _succeeds(call: Awaitable[None]) -> bool:
    """Whether a call of trio-websocket went well; if not, the reader will take what came before, and the reason.

    Besides its ConnectionClosed it lets through what its protocol library raises when a frame is sent while it refuses
    a broken one. It does not export that exception.
    """
    try:
        await call
    except Exception:
        return False
    return True


def _explain_close(websocket: WebSocketConnection) -> str:
    reason = websocket.closed
    if reason is None or reason.code == 1006:  # 1006: RFC 6455 section 7.1.5, no closing frame came
        return "the connection was cut"
    return f"the server closed the connection ({reason.code}{' ' + reason.reason if reason.reason else ''})"


def _rejection_status(group: BaseExceptionGroup[ConnectionRejected]) -> str:
    leaf: BaseException = group
    while isinstance(leaf, BaseExceptionGroup):
        leaf = leaf.exceptions[0]
    if not isinstance(leaf, ConnectionRejected):
        return "no reason given"
    body = bytes(leaf.body or b"")[:_REASON_BYTES_MAX].decode(errors="replace").strip()
    # What Nun-db servers say is one line; a page that some other server sends is no reason.
    return f"HTTP {leaf.status_code}: {body}" if body and body.isprintable() else f"HTTP {leaf.status_code}"
