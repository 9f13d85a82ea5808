"""Split input into WebSocket frames and run the commands in them.

Handles only complete, unfragmented, masked text frames. Unmasking is one exclusive-or of two big integers (RFC 6455
section 5.3).
"""

from __future__ import annotations

from sys import getsizeof
from typing import TYPE_CHECKING, Final

from pynun import limits
from pynun.transports.connection_reader import ChunkReader, Outcome

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable

    from pynun.transports.client_address import Client
    from pynun.transports.outbox import Outbox
    from pynun.transports.service import ConnectionHost, Receiver

_TEXT: Final = 0x81  # FIN and the opcode of a text frame
_CLOSE: Final = 0x88  # FIN and the lowest opcode of control frames
_PONG: Final = 0x8A  # FIN and the highest opcode of control frames


class FrameReader(ChunkReader):
    """Splits and unmasks frames and runs their commands."""

    def __init__(
        self,
        connected: socket.socket,
        outbox: Outbox,
        receiver: Receiver,
        service: ConnectionHost,
        commands_of: Callable[[str], Iterable[str]],
        client: Client | None = None,
        is_authenticated: Callable[[], bool] = lambda: False,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        super().__init__(connected, outbox, service, client, is_authenticated, on_end)
        self._receiver = receiver
        self._execute = receiver.execute
        self._commands_of = commands_of
        self.commands: Iterable[str] = ()
        """The commands of a message with several."""

    def keep(self, data: bytes | bytearray) -> None:
        """Bytes that arrived before the reader's time."""
        self._rest += data
        self._keeps()

    def hold_assembled(self, bytes_assembled: int) -> bool:
        """Reserve memory for messages assembled elsewhere; False if the connection is ended for it."""
        self._waiting_bytes = bytes_assembled
        return self._keeps()

    def take_control_frame(self) -> bytes:
        """The control frame at the start of what is left."""
        length = (self._rest[1] & 0x7F) + 6
        frame = bytes(self._rest[:length])
        del self._rest[:length]
        return frame

    def take_rest(self) -> bytes:
        """All that is left."""
        rest = bytes(self._rest)
        self._rest.clear()
        return rest

    def forget(self) -> None:
        super().forget()
        self.commands = ()

    async def run_commands(self) -> None:
        """Run the commands of the message that holds several."""
        if self._keeps():
            await self._service.execute_all(self._receiver, self.commands, self._outbox)
        self.commands = ()
        self._waiting_bytes = 0
        self._keeps()

    def feed(self, data: bytes) -> Outcome:
        rest = self._rest
        chunk: bytes | bytearray = data
        if rest:
            rest += data
            if len(rest) < self._wanted:
                return Outcome.WAIT if self._keeps() else Outcome.ENDED
            chunk = rest
        size = len(chunk)
        position = 0
        wanted = 2  # bytes that the frame at `position` needs, as far as known
        outcome = Outcome.WAIT
        execute = self._execute
        from_bytes = int.from_bytes
        left = limits.SLICE_COMMANDS
        while size - position >= 2:
            first = chunk[position]
            length = chunk[position + 1] - 0x80
            if first != _TEXT or length < 0:
                if first < _CLOSE or first > _PONG or not 0 <= length < 126:
                    outcome = Outcome.ODD
                elif size - position >= length + 6:
                    if first == _PONG:  # reception alone matters
                        position += length + 6
                        continue
                    outcome = Outcome.CONTROL
                else:
                    wanted = length + 6
                break
            if length < 126:
                start = position + 6
            else:
                start, shortest = (position + 8, 126) if length == 126 else (position + 14, 1 << 16)
                if size < start:
                    wanted = start - position
                    break
                length = from_bytes(chunk[position + 2 : start - 4], "big")
                if length < shortest or length >> 63:
                    outcome = Outcome.ODD
                    break
                if length > self._service.message_bytes_max:
                    outcome = Outcome.TOO_BIG
                    break
            end = start + length
            if end > size:
                wanted = end - position
                break
            mask = chunk[start - 4 : start]
            payload = from_bytes(chunk[start:end], "little") ^ from_bytes((mask * (length // 4 + 1))[:length], "little")
            try:
                text = payload.to_bytes(length, "little").decode()
            except UnicodeDecodeError:
                outcome = Outcome.ODD
                break
            position = end
            if ";" in text:
                self.commands = self._commands_of(text)
                self._waiting_bytes = getsizeof(text)
                outcome = Outcome.MANY
                break
            suspension = execute(text)
            if suspension is not None:
                self.suspension = suspension
                self._waiting_bytes = getsizeof(text)
                outcome = Outcome.SUSPENDED
                break
            left -= 1
            if not left:
                outcome = Outcome.MORE
                break
            if self._outbox.needs_flush:  # long answers take the loop's time as many commands do
                outcome = Outcome.FULL if self._service.is_behind(self._outbox) else Outcome.MORE
                break
        self._wanted = wanted
        if chunk is rest:
            del rest[:position]
            if not self._keeps():
                return Outcome.ENDED
        elif position < size:
            rest += chunk[position:]
            if not self._keeps():
                return Outcome.ENDED
        if outcome is Outcome.WAIT and self._service.committer.is_full:
            return Outcome.FULL
        return outcome
