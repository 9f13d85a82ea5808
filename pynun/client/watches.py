"""What a client's user iterates over: the changes of some keys, or everything that the server sends unasked."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, Self, TypeAlias

from pynun.client.frames import ChangeEvent, Conflict, Versioned, read_versioned
from pynun.client.queues import ConflatingQueue
from pynun.protocol.messages import NO_DATABASE, PERMISSION_DENIED

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_REFUSALS = {message.strip() for refusal in (PERMISSION_DENIED, NO_DATABASE) for message in refusal.messages}

CONFLICTS_MAX = 256
"""Conflicts that an `Events` keeps for a slow consumer; older ones can be read from the keys `$conflicts_…`."""


@dataclass(frozen=True, slots=True)
class ConnectionLost:
    """The connection ended for the `reason` given; the client is connecting again."""

    reason: str


@dataclass(frozen=True, slots=True)
class ConnectionRestored:
    """There is a connection again, and login, database and watches are as before."""


Event: TypeAlias = ChangeEvent | Conflict | ConnectionLost | ConnectionRestored


class WatchSource(Protocol):
    """What a watch needs of its client."""

    async def start_watch(self, watch: Watch) -> None:
        """Return once the server has accepted the watch of every key; raises what it refuses."""

    def stop_watch(self, watch: Watch) -> None:
        """Send the watch no more events. Never waits."""


class Watch:
    """The changes of some keys as an async iterator; made by `Client.watch`, which describes it."""

    def __init__(self, source: WatchSource, keys: tuple[str, ...], *, current: bool, catch_up: bool) -> None:
        self.keys = dict.fromkeys(keys)  # an ordered set
        self._source = source
        self._current = current
        self._catch_up = catch_up
        self._queue: ConflatingQueue[ChangeEvent] = ConflatingQueue()
        self._known: dict[str, Versioned | None] = {}  # per key what was put into the queue or read last
        self._is_started = False

    @property
    def is_reading(self) -> bool:
        """Whether the values of the keys have to be read at the beginning."""
        return self._current or self._catch_up

    @property
    def is_catching_up(self) -> bool:
        """Whether the values of the keys have to be read after each reconnect."""
        return self._catch_up

    async def start(self) -> None:
        """Begin, if it has not begun: when this returns, no later change is missed.

        Raises PermissionDenied, NoDatabaseSelected, ConnectionClosed.
        """
        if not self._is_started:
            self._is_started = True
            await self._source.start_watch(self)

    def close(self) -> None:
        """End the watch; iterations get the remaining events, then the end. Never waits."""
        self._source.stop_watch(self)
        self._queue.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> ChangeEvent:
        await self.start()
        return await self._queue.get()

    def put(self, event: ChangeEvent) -> None:
        """Take an event from the reader."""
        if self.is_reading:
            self._known[event.key] = _state(event)
        self._queue.put(event.key, event, len(event.value or ""))

    def put_reading(self, key: str, message: str) -> None:
        """Take an own message of a `get-safe` that was sent behind a `watch`, at its place among the events."""
        if message in _REFUSALS:  # raised where the reply is awaited
            return
        value = read_versioned(message)
        is_known = key in self._known
        is_news = self._known[key] != value if is_known else self._current and value is not None
        self._known[key] = value
        if is_news:
            event = ChangeEvent(key, None, None, removed=True)
            if value is not None:
                event = ChangeEvent(key, value.value, value.version, removed=False)
            self._queue.put(key, event, len(event.value or ""))

    def end_key(self, key: str) -> None:
        """The key is not watched any more; the end of the last one ends the iteration."""
        self.keys.pop(key, None)
        if not self.keys:
            self._queue.close()

    def end(self, error: Exception | None) -> None:
        """End the iteration with an error, or without."""
        self._queue.close(error)


def _state(event: ChangeEvent) -> Versioned | None:
    if event.value is None or event.version is None:
        return None
    return Versioned(event.value, event.version)


class Events:
    """Everything that the server sends unasked, and what becomes of the connection; made by `Client.events`."""

    def __init__(self, forget: Callable[[Events], object]) -> None:
        self._forget = forget
        self._queue: ConflatingQueue[Event] = ConflatingQueue()
        self._conflicts = itertools.count()

    def put(self, event: Event) -> None:
        """Take an event from the client."""
        match event:
            case ChangeEvent():
                self._queue.put(f"key {event.key}", event, len(event.value or ""))
            case Conflict():
                self._queue.put(f"conflict {next(self._conflicts) % CONFLICTS_MAX}", event, len(event.text))
            case ConnectionLost() | ConnectionRestored():
                self._queue.put("connection", event)

    def end(self, error: Exception | None) -> None:
        """End the iteration with an error, or without."""
        self._queue.close(error)

    def close(self) -> None:
        """Accept no more; iterations get the remaining events, then the end. Never waits."""
        self._forget(self)
        self._queue.close()

    def take_waiting(self) -> list[Event]:
        """What has come and not been taken, without waiting."""
        return [self._queue.get_nowait() for _ in range(len(self._queue))]

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Event:
        return await self._queue.get()
