"""The fast reader of a WebSocket connection.

A `FastPath` is the stream that trio-websocket gets in place of the socket's. After the handshake, `receive_some` does
the work itself: every complete, unfragmented, masked text frame in what has arrived goes straight to the session,
with no task, queue or lock between. A control frame is returned alone to trio-websocket, which answers it through
`send_all`: the same outbox, so in order. Anything else (a fragment, binary, too long, not UTF-8, against the protocol)
is returned too, and from there on the connection is trio-websocket's own, which remains the authority on the protocol.

Unmasking is one exclusive-or of two big integers (RFC 6455 section 5.3).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.protocol import messages
from pynun.transports.client_address import ForwardingError
from pynun.transports.connection_reader import Outcome
from pynun.transports.http.page_server import page_answer
from pynun.transports.http.responses import (
    HTTP_HEAD_REFUSAL,
    HTTP_NO_TLS_REFUSAL,
    HTTP_REFUSAL,
    HTTP_UNFINISHED_REFUSAL,
    refusal,
)
from pynun.transports.service import PROGRAM_PATIENCE, check_seconds
from pynun.transports.sockets import has_unread, is_machine_gone, linger, receive
from pynun.transports.websocket.fragments import FragmentCounter
from pynun.transports.websocket.frame_reader import FrameReader
from pynun.transports.websocket.frames import close_frame
from pynun.transports.websocket.handshake import RefusedHandshakeError, check_first_line, read_head

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from trio_websocket import WebSocketConnection

    from pynun.transports.client_address import Client
    from pynun.transports.outbox import Outbox
    from pynun.transports.service import ConnectionHost, Receiver

_HEAD_END: Final = b"\r\n\r\n"
_CLOSE: Final = 0x88  # FIN and the opcode of a close frame
_TOO_BIG: Final = 1009
_TRY_AGAIN_LATER: Final = 1013
_TLS_HANDSHAKE: Final = b"\x16"  # RFC 8446 section 5.1
_PING: Final = b"\x89\x00"  # without payload (RFC 6455 section 5.5.2)
_TELLABLE_CODES: Final = frozenset({1002, 1003, 1007, 1008, 1009, 1011})


class FastPath(trio.abc.Stream):
    """One connection's stream, from which trio-websocket reads the handshake and unusual frames."""

    def __init__(
        self,
        socket: socket.socket,
        outbox: Outbox,
        receiver: Receiver,
        service: ConnectionHost,
        commands_of: Callable[[str], Iterable[str]],
        client: Client,
        scope: trio.CancelScope,
        on_leaving: Callable[[], None],
        is_authenticated: Callable[[], bool],
    ) -> None:
        """`scope` is the cancel scope of the whole connection.

        `on_leaving` is called when the client leaves its session before the connection has ended; `is_authenticated`
        tells whether it has logged in.
        """
        self._socket = socket
        self._client = client
        self._outbox = outbox
        self._service = service
        self._scope = scope
        self._on_leaving = on_leaving
        self._reader = FrameReader(
            socket, outbox, receiver, service, commands_of, client, is_authenticated, self._give_up
        )
        self._fragments = FragmentCounter()
        self._opened = trio.Event()
        self._is_head_passed = False
        self._is_passthrough = False
        self._is_ended = False  # by the peer
        self._is_closed = False
        self._is_close_sent = False
        self._is_given_up = False
        self._silences = 0
        self.head = b""
        """What has arrived of the handshake before this stream began."""
        self.is_page_answered = False
        """Whether the client asked for a page instead of a WebSocket."""
        self.connection: WebSocketConnection | None = None
        """The accepted connection, for the reason of its end."""
        self.handshake = trio.CancelScope()
        """Scope of the handshake, cancelled when the stream closes, because it may never be answered then."""

    def open(self) -> None:
        """Read frames from now on: the handshake has been answered."""
        self._opened.set()

    def _give_up(self) -> None:
        """The server holds too much for the client: end the session at once, and tell the client why if it reads."""
        self._on_leaving()
        self.connection = None  # which holds fragments
        self._is_given_up = self._is_close_sent = True
        is_open = self._opened.is_set()
        self._outbox.give_up(
            close_frame(_TRY_AGAIN_LATER, messages.TOO_MUCH_UNFINISHED) if is_open else HTTP_UNFINISHED_REFUSAL
        )
        self._scope.cancel()

    def _leave(self) -> None:
        """The client is gone: end its session at once."""
        if not self._scope.cancel_called:
            self._service.counters.dropped["gone"] += 1
            self._on_leaving()
            self._scope.cancel()

    def forget(self) -> None:
        """Discard all received input."""
        self._reader.forget()

    def message_done(self) -> None:
        """Release a message that trio-websocket assembled."""
        self._fragments.done()
        self._reader.hold_assembled(self._fragments.bytes)

    @property
    def outbox(self) -> Outbox:
        """The output that waits for the client."""
        return self._outbox

    def check_alive(self, idle_seconds: float) -> None:
        """Ping a silent client; end the connection if its machine is gone or its program stays silent."""
        if is_machine_gone(self._socket, idle_seconds):
            self._leave()
            return
        reader = self._reader
        if reader.has_heard or has_unread(self._socket):  # unread input waits for room here, not for the client
            reader.has_heard = False
            self._silences = 0
            return
        self._silences += 1
        if self._silences * check_seconds(idle_seconds) > PROGRAM_PATIENCE * idle_seconds:
            self._leave()
        elif not self._outbox.is_stalled:
            self._outbox.send_raw(_PING)

    async def wait_at_rest(self) -> None:
        """Return when every command that has arrived has run."""
        if not self._is_passthrough:
            await self._reader.at_rest.wait()

    # --- trio.abc.Stream ---------------------------------------------------------------------------------------

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """The input for trio-websocket: the handshake, control frames and unusual frames. b"" at the end."""
        try:
            if not self._is_head_passed:
                return await self._receive_head()
            if self._is_ended and not self._opened.is_set():
                self.handshake.cancel()  # else trio-websocket would wait for a request to the time limit
                return b""
            if not self._opened.is_set():
                await self._opened.wait()
            if self._is_passthrough:
                return await self._receive_fragments()
            return await self._receive_frames()
        except OSError:
            self._is_ended = True
            return b""  # reset by the peer: treated as its end

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send at its place among the replies. A close frame has left on return, if the client reads at all.

        Waiting until a pong is sent would block commands meanwhile: for ever, if events go to a slow client.
        """
        if data and data[0] == _CLOSE:
            self._outbox.complete(bytes(data))
            self._is_close_sent = True
            with trio.move_on_after(limits.CLOSE_SECONDS):
                await self._outbox.wait_sent()
        else:
            self._outbox.send_raw(bytes(data))
            await self._outbox.wait_for_room()
        if self._outbox.is_broken:
            raise trio.BrokenResourceError

    async def wait_send_all_might_not_block(self) -> None:
        await self._outbox.wait_sent()

    async def aclose(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.handshake.cancel()
            self._service.reactor.forget(self._socket)
            is_reachable = not self._is_ended and not self._outbox.is_broken
            if is_reachable:
                await self._say_why()
            trio.lowlevel.notify_closing(self._socket)  # the outbox gives up what waits: only now
            if is_reachable:
                await linger(self._socket)
            self._socket.close()
        await trio.lowlevel.checkpoint()

    async def _say_why(self) -> None:
        """Send a close frame with the reason, which trio-websocket omits on a protocol error (RFC 6455 7.1.7)."""
        reason = None if self.connection is None else self.connection.closed
        is_to_be_told = reason is not None and not self._is_close_sent and reason.code in _TELLABLE_CODES
        if reason is not None and is_to_be_told:
            self._outbox.complete(close_frame(reason.code, ""))
        if is_to_be_told or self._is_given_up:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + limits.CLOSE_SECONDS):
                await self._outbox.wait_sent()

    # --- reading -----------------------------------------------------------------------------------------------

    async def _receive(self) -> bytes:
        if self.head:
            head, self.head = self.head, b""
            return head
        if self._is_closed:
            raise trio.ClosedResourceError
        received = await receive(self._socket)
        self._reader.has_heard = True
        self._is_ended = not received
        return received

    async def _receive_head(self) -> bytes:
        """The head of the handshake, without bytes that a hasty client sent after it."""
        head = bytearray()
        while True:
            data = await self._receive()
            head += data
            if not self._reader.hold_assembled(len(head)):
                return b""
            if head[:1] == _TLS_HANDSHAKE:
                return await self._refuse_head(HTTP_NO_TLS_REFUSAL)  # else it waits for its answer to the time limit
            end = head.find(_HEAD_END)
            size = len(head) if end < 0 else end
            if size > limits.HANDSHAKE_BYTES_MAX or head.count(b"\n", 0, size) > limits.HANDSHAKE_LINES_MAX:
                return await self._refuse_head(HTTP_HEAD_REFUSAL)
            try:
                if b"\n" in data:  # bytes that are not a request may never end
                    check_first_line(bytes(head[: head.index(b"\n")]))
                if end >= 0:
                    page = await page_answer(self._service.handshake_pages, bytes(head[:end]))
                    if page is not None:
                        self.is_page_answered = True
                        return await self._refuse_head(page)
                    headers, plain = read_head(bytes(head[:end]))
                    if not self._client.identify(headers):
                        self._service.counters.refused["limit"] += 1
                        return await self._refuse_head(HTTP_REFUSAL)
                elif data:
                    continue
                else:
                    self.handshake.cancel()
                    return b""
            except RefusedHandshakeError as refused:
                self._service.note_missing(refused.missing, self._client.address)
                return await self._refuse_head(refused.answer)
            except ForwardingError as error:
                return await self._refuse_head(refusal(b"400 Bad Request", str(error)))
            self._is_head_passed = True
            self._reader.hold_assembled(0)
            self._reader.keep(head[end + len(_HEAD_END) :])
            return plain

    async def _refuse_head(self, answer: bytes) -> bytes:
        """Refuse the handshake with a reason."""
        self._outbox.complete(answer)
        with trio.move_on_after(limits.CLOSE_SECONDS):
            await self._outbox.wait_sent()
        self.handshake.cancel()
        return b""

    async def _receive_fragments(self) -> bytes:
        """What trio-websocket assembles; it bounds the characters of a message, here the bytes are."""
        if self._fragments.message_bytes > self._service.message_bytes_max:
            return await self._refuse_too_big()
        return self._pass(await self._receive())

    def _pass(self, data: bytes) -> bytes:
        self._fragments.feed(data)
        return data if self._reader.hold_assembled(self._fragments.bytes) else b""

    async def _refuse_too_big(self) -> bytes:
        self._service.counters.dropped["message_too_big"] += 1
        await self.send_all(close_frame(_TOO_BIG, messages.MESSAGE_TOO_BIG))
        return b""

    async def _receive_frames(self) -> bytes:
        reader = self._reader
        while True:
            match await reader.read_on():
                case Outcome.MANY:
                    await reader.run_commands()
                case Outcome.CONTROL:
                    return reader.take_control_frame()
                case Outcome.ODD:
                    self._is_passthrough = True
                    return self._pass(reader.take_rest())
                case Outcome.TOO_BIG:
                    return await self._refuse_too_big()
                case Outcome.ENDED:
                    return b""
                case Outcome.END:
                    self._is_ended = True
                    return b""
                case outcome:
                    raise AssertionError(outcome)
