"""The outbox of a connection whose session is at another node: the answers arrive later than the commands left."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, ClassVar

import trio

from pynun.protocol import messages
from pynun.transports.outbox import Outbox
from pynun.transports.tcp.lines import LineOutbox
from pynun.transports.websocket.frames import FrameOutbox

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Sequence

    from pynun.engine.events import Result
    from pynun.transports.flusher import Flusher


class Ending:
    """How a connection is ended from outside."""

    __slots__ = ("event", "scope")

    def __init__(self) -> None:
        self.event = trio.Event()
        """Set when it is to end as when the server stops."""
        self.scope = trio.CancelScope()
        """Cancelled when it is to end at once, and the client is told nothing."""


class RemoteOutbox(Outbox):
    """What is said here (a pong, the refusal of a line, a close frame) comes after the answers to all earlier commands,
    as it does where the session is.
    """

    __slots__ = ("_answered", "_later", "_sent", "_when_answered", "ending")

    _loss: ClassVar[str]

    def __init__(self, socket: socket.socket, flusher: Flusher, bytes_max: int, *, ending: Ending) -> None:
        super().__init__(socket, flusher, bytes_max)
        self.ending = ending
        self._sent = self._answered = 0  # commands
        self._later: deque[tuple[int, Callable[[], None]]] = deque()  # what is to be said after so many answers
        self._when_answered: list[Callable[[], None]] = []

    # --- what was said at the other node -----------------------------------------------------------------------

    def expect(self) -> int:
        """A command was sent there; returns how many have no answer."""
        self._sent += 1
        return self._sent - self._answered

    def take_reply(self, result: Result) -> None:
        """The answer to the next command: its success."""
        self._put(self._encode_reply(result), 0)
        self._count_answer()

    def take_refusal(self, own: Sequence[str], error: str) -> None:
        """The answer to the next command: its failure."""
        self._put(self._encode_refusal(own, error), 0)
        self._count_answer()

    def _count_answer(self) -> None:
        self._answered += 1
        if self._later or self._when_answered:
            self._go_on()

    def take_loss(self) -> None:
        """There is no answer to the next command: the owner is gone."""
        self.take_refusal((), self._loss)

    def abandon(self) -> None:
        """No more answers come."""
        self._answered = self._sent
        self._go_on()

    def _go_on(self) -> None:
        later = self._later
        while later and later[0][0] <= self._answered:
            later.popleft()[1]()
        if self._sent == self._answered:
            waiting, self._when_answered = self._when_answered, []
            for call in waiting:
                call()

    def when_answered(self, call: Callable[[], None]) -> None:
        """Have it called when all commands are answered, which may be at once."""
        if self._sent == self._answered:
            call()
        else:
            self._when_answered.append(call)

    # --- what is said here -------------------------------------------------------------------------------------

    def refuse(self, own: Sequence[str], error: str, depends: int) -> None:
        self._say(lambda: Outbox.refuse(self, own, error, depends))

    def send_raw(self, data: bytes) -> None:
        self._say(lambda: Outbox.send_raw(self, data))

    def complete(self, data: bytes) -> None:
        self._say(lambda: Outbox.complete(self, data))

    def _say(self, call: Callable[[], None]) -> None:
        if self._sent == self._answered:
            call()
        else:
            self._later.append((self._sent, call))

    async def wait_sent(self) -> None:
        if self._sent != self._answered and not self._is_sealed:
            self._flusher.flush()
            answered = trio.Event()
            self.when_answered(answered.set)
            await answered.wait()
        await super().wait_sent()

    def discard(self) -> None:
        super().discard()
        self.abandon()


class RemoteFrameOutbox(RemoteOutbox, FrameOutbox):
    """Over WebSocket."""

    __slots__ = ()
    _loss = messages.OWNER_LOST_FRAME


class RemoteLineOutbox(RemoteOutbox, LineOutbox):
    """Over TCP."""

    __slots__ = ()
    _loss = messages.OWNER_LOST
