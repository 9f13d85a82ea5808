"""Events for watchers and arbiters, and the interface to a client's queue."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


Result = str | bytes | list[str] | None
"""A command's own messages: none, one (bytes if already encoded, for very long ones), or several."""


class Event:
    """An event's messages about one key; all receivers share the object.

    `key` is what a slow reader's queue may conflate by (docs/protocol.md section 9); None: must not be conflated.
    `revision` is the batch that must be on disk before it is sent, 0 if none. `frames` and `lines` hold the
    transports' encodings, each made once for all watchers.
    """

    __slots__ = ("frames", "key", "lines", "revision", "texts")

    def __init__(self, key: str | None, texts: tuple[str, ...], revision: int) -> None:
        self.key = key
        self.texts = texts
        self.revision = revision
        self.frames: bytes | None = None
        self.lines: bytes | None = None


class Listener(Protocol):
    """Who is told of events."""

    def event(self, event: Event) -> None:
        """Send an event."""


class Watcher(Protocol):
    """Who watches a key: a session, or what stands in its place while it may not (`sleeping_watches`)."""

    @property
    def outbox(self) -> Listener:
        """Where its events go."""


class Outbox(Protocol):
    """The ordered queue to one client. `depends` is the batch a reply must not leave before, 0 if none."""

    def reply(self, result: Result, depends: int) -> None:
        """Send a successful command's own messages, then the transport's success."""

    def refuse(self, messages: Sequence[str], error: str, depends: int) -> None:
        """Send a failed command's own messages, then the transport's failure."""

    def event(self, event: Event) -> None:
        """Send an event."""
