"""What stands in the place of a session among the watchers of keys that it may not read now (`sleeping_watches`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from pynun.engine.key_layout import ARBITER_KEY

if TYPE_CHECKING:
    from pynun.engine.events import Event


class Sleeper:
    """The sleeping watches of one session."""

    __slots__ = ("conflict_id", "known", "missed")

    def __init__(self) -> None:
        self.known: dict[str, int | None] = {}
        """The keys, each with a hash of its entry when its watch fell asleep; None: not known, any change is news."""
        self.missed: set[str | None] = set()
        """Keys that changed since then; None: there was a conflict."""
        self.conflict_id = 0
        """A sleeping arbiter does not know conflicts with higher ids."""

    @property
    def outbox(self) -> Sleeper:
        """Where events for its session go: here."""
        return self

    def event(self, event: Event) -> None:
        """A key changed, or there is a conflict."""
        self.missed.add(event.key)

    def forget(self, key: str) -> None:
        """The watch no longer sleeps."""
        del self.known[key]
        self.missed.discard(key)
        if key == ARBITER_KEY:
            self.missed.discard(None)


class News(Protocol):
    """The entries that watched keys of a database have now, for all sessions reviewed together
    (`sleeping_watches.Newest`).
    """

    is_after_loss: bool

    def hash(self, key: str) -> int | None:
        """A hash of the key's entry; None if so much was read already that it is not looked at."""

    def events(self, sleeper: Sleeper, key: str) -> list[Event]:
        """What tells a watch that wakes what it missed. Raises TooMuchError."""

    def note_conflicts(self, sleeper: Sleeper) -> None:
        """An arbiter falls asleep, and was sent the conflicts that there are."""
