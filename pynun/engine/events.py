"""What watchers and arbiters are told, and what a session needs of the queue to its client."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence


Result = str | bytes | list[str] | None
"""A command's own messages: none, one (bytes: encoded already, for very long ones), or several."""


class Event:
    """Messages about one key that nobody asked for, the same object for all who hear it.

    `key` is what a slow reader's queue may conflate by (docs/protocol.md section 9); None: must not be conflated.
    `revision` is the batch that has to be on disk before anybody hears of it, 0 if none. `frames` and `lines` are room
    for the transports' encodings, so that each is made once however many watchers there are.
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
        """Something watched changed."""


class Watcher(Protocol):
    """Who watches a key: a session, or what stands in its place while it may not (`sleeping_watches`)."""

    @property
    def outbox(self) -> Listener:
        """Where its events go."""


class Outbox(Protocol):
    """The ordered queue to one client. `depends` is the batch a reply must not leave before, 0 if none."""

    def reply(self, result: Result, depends: int) -> None:
        """A command succeeded: its own messages, then whatever the transport says for success."""

    def refuse(self, messages: Sequence[str], error: str, depends: int) -> None:
        """A command failed: its own messages, then whatever the transport says for failure."""

    def event(self, event: Event) -> None:
        """Something watched changed."""
