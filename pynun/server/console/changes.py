"""Tells the console's pages what changes in a database: of each write to disk, the last change of each key.

`watch` tells of one key; a page shows all that match a pattern. So it looks through the batches that are written
anyway, and only while such a page is open: clients' commands and events cost the same with and without it. Ephemeral
keys are in no batch: of these it tells a few times a second.
"""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Final

import trio

from pynun import limits
from pynun.engine.events import Event
from pynun.engine.key_layout import ID_BYTES
from pynun.engine.patterns import Pattern, parse_pattern
from pynun.engine.permissions import is_secret_key
from pynun.protocol import messages
from pynun.protocol.numbers import parse_unsigned
from pynun.server.console.asked import MASK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pynun.engine.dispatch import CommandSession
    from pynun.engine.effects import Suspension
    from pynun.engine.overlay import Batch, Entry, View
    from pynun.transports.outbox import Outbox

_WATCH: Final = "console-watch "
_UNWATCH: Final = "console-unwatch"
_WATCHED: Final = "console-watched "


class ConsoleReceiver:
    """Runs the commands of a console's page, and three of its own.

    `console-watch PATTERN` sends what changes in the selected database, in place of a former pattern;
    `console-unwatch` ends that; `console-watched ID` tells an administrator what a session watches.
    """

    def __init__(self, session: CommandSession, outbox: Outbox) -> None:
        self._session = session
        self._outbox = outbox
        self._pattern: Pattern | None = None
        self._ephemeral: dict[bytes, Entry | None] = {}
        self._has_ephemeral = trio.Event()

    async def run(self, flush: Callable[[], None]) -> None:
        """Tell of ephemeral keys, until cancelled. `flush` sends what was told."""
        while True:
            await self._has_ephemeral.wait()
            self._has_ephemeral = trio.Event()
            changed, self._ephemeral = self._ephemeral, {}
            self._tell(changed.items(), 0)
            flush()
            await trio.sleep(limits.CONSOLE_EPHEMERAL_SECONDS)

    def execute(self, text: str) -> Suspension | None:
        """Run one command."""
        if text.startswith(_WATCH):
            self._follow(parse_pattern(text.removeprefix(_WATCH)))
        elif text == _UNWATCH:
            self.close()
        elif text.startswith(_WATCHED) and self._session.is_admin:
            self._outbox.reply(self._watched(text.removeprefix(_WATCHED)), 0)
            return None
        else:
            return self._session.execute(text)
        if not self._session.is_closed:
            self._outbox.reply(None, 0)
        return None

    def _watched(self, identifier: str) -> str:
        """What a session watches, the first of it."""
        number = parse_unsigned(identifier)
        session = None if number is None else self._session.engine.sessions.get(number)
        keys = [] if session is None else list(islice(session.watches, limits.CONSOLE_CHANGES_MAX))
        return messages.report("watched", {"keys": keys, "next": None})

    def close(self) -> None:
        """Look at no more batches. Safe to call twice."""
        if self._pattern is not None:
            self._pattern = None
            self._view.on_taken.remove(self._take)
            self._view.on_ephemeral.remove(self._note)

    @property
    def _view(self) -> View:
        return self._session.view

    def _follow(self, pattern: Pattern) -> None:
        if self._pattern is None:
            self._view.on_taken.append(self._take)
            self._view.on_ephemeral.append(self._note)
        self._pattern = pattern

    def _take(self, batch: Batch) -> None:
        """Tell of a batch that is about to be written; the message leaves once it is on disk."""
        self._tell(batch.entries.items(), 0 if self._view.is_relaxed else batch.revision)

    def _note(self, stored: bytes, entry: Entry | None) -> None:
        """Keep a change of an ephemeral key, until it is told."""
        self._ephemeral[stored] = entry
        self._has_ephemeral.set()

    def _tell(self, entries: Iterable[tuple[bytes, Entry | None]], revision: int) -> None:
        """Tell of the changes that match."""
        session, pattern = self._session, self._pattern
        database = session.database
        if database is None or pattern is None:
            return
        prefix = database.prefix
        changes: list[list[object]] = []
        size = left_out = 0
        has_room = self._outbox.waiting_bytes < limits.CONFLATE_BYTES
        for stored, entry in entries:
            if not stored.startswith(prefix):
                continue
            key = stored[ID_BYTES:].decode()
            if not pattern.matches(key) or not session.may_read(key):
                continue
            if not has_room or len(changes) >= limits.CONSOLE_CHANGES_MAX or size > limits.FLUSH_BYTES:
                left_out += 1
                continue
            change = _shown(key, entry)
            changes.append(change)
            size += len(key) + len(str(change[2]))
        if changes or left_out:
            told = {"database": database.name, "changes": changes, "left_out": left_out}
            self._outbox.event(Event(None, (f"console-changes {json.dumps(told, ensure_ascii=False)}\n",), revision))


def _shown(key: str, entry: Entry | None) -> list[object]:
    """Key, version (null: removed), the beginning of the value, and how many characters it has."""
    if entry is None:
        return [key, None, "", 0]
    text = MASK if is_secret_key(key) else entry.text
    return [key, entry.version, text[: limits.CONSOLE_VALUE_CHARACTERS_MAX], len(text)]
