"""Messages and commands as lines: the outbox and the reader of a TCP connection (docs/protocol.md section 1)."""

from __future__ import annotations

import re
from sys import getsizeof
from typing import TYPE_CHECKING, Final

from pynun import limits
from pynun.protocol import messages
from pynun.transports.connection_reader import ChunkReader, Outcome
from pynun.transports.outbox import Outbox

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from pynun.engine.events import Event, Result
    from pynun.transports.client_address import Client
    from pynun.transports.service import ConnectionHost, Receiver


class LineOutbox(Outbox):
    """Messages as lines, one after another (docs/protocol.md section 1, TCP)."""

    __slots__ = ()

    def _encode_reply(self, result: Result) -> bytes:
        if result is None:
            return _OK_LINE
        if isinstance(result, list):
            return "".join(result).encode() + _OK_LINE
        return (result if isinstance(result, bytes) else result.encode()) + _OK_LINE

    def _encode_refusal(self, own: Sequence[str], error: str) -> bytes:
        return ("".join(own) + messages.error(error)).encode()

    def _encode_event(self, event: Event) -> bytes:
        lines = event.lines
        if lines is None:
            lines = event.lines = "".join(event.texts).encode()
        return lines


_OK_LINE: Final = messages.OK.encode()


_REQUEST_LINE: Final = re.compile(rb"([A-Z]+ \S+|[A-Za-z]\S* (/|\*|https?:)\S*) HTTP/[0-9](\.[0-9])?\r?", re.ASCII)
_TLS_HANDSHAKE: Final = b"\x16"  # RFC 8446 section 5.1
_PROXY_HEADERS: Final = (b"PROXY ", b"\r\n\r\n\0")


def foreign_protocol(begun: bytes | bytearray) -> str:
    """Why to end a connection with this first line; empty if it may be a command.

    A web page can send a request to any port, with lines of its choice after the first.
    """
    if begun[:1] == _TLS_HANDSHAKE:
        return messages.NOT_FOR_TLS
    if begun.startswith(_PROXY_HEADERS):
        return messages.UNEXPECTED_PROXY_HEADER
    end = begun.find(b"\n")
    if end >= 0 and _REQUEST_LINE.fullmatch(begun, 0, end):
        return messages.NOT_FOR_HTTP
    return ""


class LineReader(ChunkReader):
    """Splits input into lines and runs them."""

    def __init__(
        self,
        connected: socket.socket,
        outbox: LineOutbox,
        receiver: Receiver,
        service: ConnectionHost,
        client: Client | None = None,
        is_authenticated: Callable[[], bool] = lambda: False,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(connected, outbox, service, client, is_authenticated, on_end)
        self._execute = receiver.execute
        self._line_bytes_max = service.message_bytes_max
        self._is_fresh = True
        self.foreign = ""
        """Why the first line ends the connection."""

    def feed(self, data: bytes) -> Outcome:
        rest = self._rest
        if self._is_fresh and data and (b"\n" in data or not rest):
            begun = rest + data
            self._is_fresh = b"\n" not in data
            self.foreign = foreign_protocol(begun)
            if self.foreign:
                return Outcome.FOREIGN
        if rest:
            rest += data
            if data and b"\n" not in data:  # a long line: searched again only when its end arrives
                if len(rest) > self._line_bytes_max:
                    return Outcome.TOO_BIG
                return Outcome.WAIT if self._keeps() else Outcome.ENDED
            data = bytes(rest)
            rest.clear()
        outbox, execute = self._outbox, self._execute
        lines = data.split(b"\n")
        last = len(lines) - 1
        for place, line in enumerate(lines):
            if place == last:
                break
            if len(line) > self._line_bytes_max:
                return Outcome.TOO_BIG
            try:
                text = line.decode()
            except UnicodeDecodeError:
                outbox.refuse((), messages.INVALID_UTF8, 0)
                continue
            suspension = execute(text[:-1] if text[-1:] == "\r" else text)
            if suspension is not None:
                self.suspension = suspension
                self._waiting_bytes = getsizeof(text)
                return self._keep(lines[place + 1 :], Outcome.SUSPENDED)
            if place + 1 == limits.SLICE_COMMANDS:
                return self._keep(lines[place + 1 :], Outcome.MORE)
            if outbox.needs_flush:  # long answers take the loop's time as many commands do
                outcome = Outcome.FULL if self._service.is_behind(outbox) else Outcome.MORE
                return self._keep(lines[place + 1 :], outcome)
        outcome = Outcome.FULL if self._service.committer.is_full else Outcome.WAIT
        if not lines[last] and not self.reservation.bytes:
            return outcome
        if len(lines[last]) > self._line_bytes_max:
            return Outcome.TOO_BIG
        return self._keep(lines[last:], outcome)

    def _keep(self, lines: list[bytes], outcome: Outcome) -> Outcome:
        """Keep unused input; returns the outcome, if the budget allows it."""
        self._rest += b"\n".join(lines)
        return outcome if self._keeps() else Outcome.ENDED
