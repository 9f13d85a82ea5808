"""The results of one HTTP request's commands (docs/protocol.md section 1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import trio

from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pynun.engine.events import Event, Result
    from pynun.engine.overlay import View

_EMPTY_RESULT: Final = "empty"

_RESULT_BYTES: Final = 64
"""Memory of a result besides its characters."""


class ResultsOutbox:
    """The results of one request's commands: each the command's first own message, `empty`, or its error."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._results: list[str] = []
        self.size = 0
        """Characters of all results."""
        self._dependent: dict[int, list[int]] = {}  # revision -> places of the results that show its changes
        self.when_released: Callable[[], None] | None = None
        """Called when `is_held` ends."""

    @property
    def waiting_bytes(self) -> int:
        """Output that waits: about one byte per character."""
        return self.size

    @property
    def is_held(self) -> bool:
        """Whether something that the results show is not on disk yet."""
        return bool(self._dependent)

    @property
    def held_bytes(self) -> int:
        """Approximate memory of the results."""
        return self.size + _RESULT_BYTES * len(self._results)

    def reply(self, result: Result, depends: int) -> None:
        if result is None or result == []:
            text = _EMPTY_RESULT
        elif isinstance(result, list):
            text = result[0]
        else:
            text = result.decode() if isinstance(result, bytes) else result
        if depends:
            self._note(depends)
        self._results.append(text)
        self.size += len(text)

    def refuse(self, own: Sequence[str], error: str, depends: int) -> None:
        self.reply(own[0] if own else error, depends)

    def event(self, event: Event) -> None:
        """A request is over before anything it watches matters: each result belongs to its own command."""

    def _note(self, depends: int) -> None:
        """The next result shows changes of this revision."""
        places = self._dependent.get(depends)
        if places is not None:
            places.append(len(self._results))
        elif self._view.add_waiter(depends, self):
            self._dependent[depends] = [len(self._results)]

    def released(self, revision: int) -> None:
        """Called by the committer: `revision` is on disk."""
        self._dependent.pop(revision, None)
        if not self._dependent and self.when_released is not None:
            self.when_released()

    def failed(self, revision: int, reason: str) -> None:
        """Called by the committer: `revision` is lost, and what showed it becomes an error."""
        for place in self._dependent.get(revision, ()):
            self._results[place] = messages.storage_failed(reason)
        self.released(revision)

    async def wait(self) -> None:
        """Return when everything that the results show is on disk."""
        if self._dependent:
            event = trio.Event()
            self.when_released = event.set
            await event.wait()

    def body(self) -> str:
        """All results; only once they are not held."""
        return ";".join(self._results)
