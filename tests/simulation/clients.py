"""A simulated client: a socket that takes what it is told to take, and what should have come out of it.

The outbox is the server's own (`LineOutbox`), and so is the session; only the kernel's socket is replaced.
"""

from __future__ import annotations

import re
from collections import deque
from typing import TYPE_CHECKING, cast

from pynun.engine.dispatch import CommandSession
from pynun.transports.tcp.lines import LineOutbox
from tests.engine.model_sessions import Client as ModelClient

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from pynun.engine.effects import Need, Suspension
    from pynun.engine.engine import Engine
    from pynun.engine.events import Event, Result
    from pynun.transports.flusher import Flusher

SLOW_OUTBOX_BYTES = 2 * 1024
FAST_OUTBOX_BYTES = 1 << 30
_EVENT = re.compile(r"(changed|changed-version|removed) (\S+)")


class SimulatedSocket:
    """Takes as many bytes as it has room for, as a socket that is not waited for does."""

    def __init__(self, room_bytes: int | None) -> None:
        self.room_bytes = room_bytes  # None: always enough
        self.received = bytearray()

    def send(self, data: bytes | memoryview) -> int:
        """Take the beginning of `data`. Raises BlockingIOError if there is no room."""
        if self.room_bytes is None:
            taken = len(data)
        else:
            taken = min(len(data), self.room_bytes)
            if not taken:
                raise BlockingIOError
            self.room_bytes -= taken
        self.received += data[:taken]
        return taken


class NotedOutbox(LineOutbox):
    """The outbox, which also notes in which order what came, and on which batch each depends."""

    __slots__ = ("noted",)

    def __init__(self, connected: SimulatedSocket, flusher: Flusher, bytes_max: int) -> None:
        super().__init__(cast("socket.socket", connected), flusher, bytes_max)
        self.noted: list[tuple[bool, int]] = []  # is it an event, and of which batch

    def reply(self, result: Result, depends: int) -> None:
        """A command succeeded."""
        self.noted.append((False, depends))
        super().reply(result, depends)

    def refuse(self, own: Sequence[str], error: str, depends: int) -> None:
        """A command failed."""
        self.noted.append((False, depends))
        super().refuse(own, error, depends)

    def event(self, event: Event) -> None:
        """Something watched changed."""
        self.noted.append((True, event.revision))
        super().event(event)


class Item:
    """One reply or event that a client must get."""

    __slots__ = ("data", "is_event", "noted_revision", "shown_revision")

    def __init__(self, data: bytes, noted_revision: int, shown_revision: int, *, is_event: bool) -> None:
        self.data = data
        self.is_event = is_event
        self.noted_revision = noted_revision
        """The batch that the engine says it depends on."""
        self.shown_revision = shown_revision
        """The batch whose changes it shows, as the model has it, 0 if none: never seen before that is on disk."""


class SimulatedClient:
    """A client in both worlds, with what it must still get."""

    def __init__(self, number: int, engine: Engine, flusher: Flusher, *, is_slow: bool) -> None:
        self.number = number
        self.is_slow = is_slow
        self.socket = SimulatedSocket(64 if is_slow else None)
        self.outbox = NotedOutbox(self.socket, flusher, SLOW_OUTBOX_BYTES if is_slow else FAST_OUTBOX_BYTES)
        self.session = CommandSession(engine, self.outbox)
        self.model = ModelClient()
        self.due: deque[Item] = deque()  # of a slow client: all that ever was
        self.suspension: Suspension | None = None
        self.need: Need | None = None
        self.text = ""
        self.hash_before: str | None = None
        self.bases_before: frozenset[str] = frozenset()
        self._checked = 0

    @property
    def is_overflowing(self) -> bool:
        """Whether too much waits for it."""
        return self.outbox.overflowed.is_set()

    def collect(self, shown: dict[str, int], reply_shown: int) -> None:
        """Take what the model told it after one command as due; `shown` has the batch of each key that changed."""
        told, noted = self.model.told, self.outbox.noted
        place = 0
        for is_event, revision in noted:
            if is_event:
                match = _EVENT.match(told[place]) if place < len(told) else None
                count = 2 if match and match[1] == "changed" else 1
                texts = told[place : place + count]
                key = match[2] if match else "$conflicts"
                self.due.append(Item("".join(texts).encode(), revision, shown.get(key, 0), is_event=True))
                place += count
            else:
                # A command's reply is the last that it is told of it.
                self.due.append(Item("".join(told[place:]).encode(), revision, reply_shown, is_event=False))
                place = len(told)
        assert place == len(told), f"client {self.number}: told {noted}, the model {told}"
        told.clear()
        noted.clear()

    def check_received(self, durable_revision: int) -> bytes:
        """What arrived since the last time; it must be just what is due, and its batch on disk."""
        new = bytes(self.socket.received[self._checked :])
        if not new or self.is_slow:
            self._checked = len(self.socket.received)
            return new
        rest = new
        while rest:
            assert self.due, f"client {self.number} was told {rest!r}, and nothing was due"
            item = self.due[0]
            assert rest.startswith(item.data), f"client {self.number} was told {rest[:300]!r}, due was {item.data!r}"
            assert item.shown_revision <= durable_revision, (
                f"client {self.number} was told {item.data!r} of batch {item.shown_revision}, "
                f"and only batch {durable_revision} is on disk"
            )
            rest = rest[len(item.data) :]
            self.due.popleft()
        self._checked = len(self.socket.received)
        return new

    def fail(self, lost: Sequence[int], reason: str) -> None:
        """Batches are lost: what depends on them becomes an error, what tells of them is never told."""
        kept: deque[Item] = deque()
        for item in self.due:
            if item.noted_revision in lost:
                if item.is_event:
                    continue
                item = Item(f"error not stored: {reason} \n".encode(), 0, 0, is_event=False)
            kept.append(item)
        self.due = kept

    def check_slow(self) -> None:
        """A slow client that has read everything: all replies in their order, and the newest of each key last."""
        got, due = _parts(bytes(self.socket.received)), _parts(b"".join(item.data for item in self.due))
        assert got[0] == due[0], f"slow client {self.number}: replies {got[0]}, due {due[0]}"
        assert got[1] == due[1], f"slow client {self.number}: newest {got[1]}, due {due[1]}"


def _parts(data: bytes) -> tuple[list[str], dict[str, list[str]]]:
    """The replies of a stream of lines, and of each key the last event."""
    replies: list[str] = []
    newest: dict[str, list[str]] = {}
    for line in data.decode().split("\n"):
        if match := _EVENT.match(line):
            if match[1] == "changed-version":
                newest[match[2]] = [*newest[match[2]][-1:], line]
            else:
                newest[match[2]] = [line]
        else:
            replies.append(line)
    return replies, newest
