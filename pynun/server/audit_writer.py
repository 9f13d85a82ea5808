"""Write the server's audit trail: add client addresses, merge repeated events, and keep disk writes off the loop.

`record` and `note` take microseconds. One task hands all gathered lines to a worker thread. A line is written some
milliseconds after its event, or after the batch that made a change durable. A lost change is recorded as failed. Lines
not yet written when the process is killed are missing.

Anyone can cause failures at network speed, so their lines are limited. The first failures of one kind and address get a
line each. Further ones within a minute are counted and become one line (`count`, `since`). Beyond a number of
addresses, all share one line. Repeated logins and reads, as HTTP clients make, are merged from the second on. Changes
are never merged.
"""

from __future__ import annotations

import logging
import math
import os
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import trio

from pynun import limits
from pynun.audit_file import AuditTrail, audit_line
from pynun.engine import audit_events
from pynun.protocol import messages
from pynun.server.accepting.client_networks import client_network
from pynun.server.process import logs
from pynun.timestamps import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pynun.engine.audit_events import Fact
    from pynun.engine.overlay import View
    from pynun.engine.peer import Peer
    from pynun.settings import Settings

_log = logging.getLogger("nun_db")

_MERGED: Final = frozenset({audit_events.LOGIN, audit_events.OPEN_DATABASE, audit_events.READ_SECURITY_KEY})
"""Frequent successes that change nothing."""

_SWEEP_SECONDS: Final = 5.0

_CHARACTERS_KEPT: Final = 2048
"""Longer than the text that a line shows (`pynun.audit_file`)."""


class _Event(NamedTuple):
    """An event that the engine reported."""

    time_ns: int
    address: str
    transport: str
    fact: Fact
    outcome: str
    reason: str | None

    def line(self, **more: object) -> str:
        fact = self.fact
        fields = {
            "event": fact.event,
            "outcome": self.outcome,
            "address": self.address or None,
            "database": fact.database,
            "user": fact.user,
            "command": fact.command,
            "transport": self.transport or None,
        }
        if self.reason is not None:
            fields["reason"] = self.reason
        return audit_line({**fields, **more}, self.time_ns)


class _FailuresOf(NamedTuple):
    """Failures counted together: one kind and one address; None for all addresses beyond the limit."""

    kind: str
    network: str | None


class _Repeats:
    """A repeated event: how many lines were written, how many were only counted, and the last of those."""

    __slots__ = ("count", "ends_at", "last", "lines_left", "since_ns")

    def __init__(self, ends_at: float, lines: int) -> None:
        self.ends_at = ends_at
        self.lines_left = lines
        self.count = 0
        self.since_ns = 0
        self.last: _Event | None = None


def open_trail(settings: Settings) -> AuditTrail:
    """The audit trail that the settings name, opened once as a test. Raises StartError."""
    path = None if settings.audit_file is None else settings.data_dir / settings.audit_file
    trail = AuditTrail(
        path,
        bytes_max=settings.audit_bytes_max,
        keep=settings.audit_keep,
        is_logged=not os.isatty(logs.STANDARD_OUTPUT),
    )
    trail.prepare()
    return trail


class AuditWriter:
    """The trail, as the engine and the server see it."""

    def __init__(self, trail: AuditTrail, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` returns seconds since any fixed time."""
        self._trail = trail
        self._clock = clock
        self._view: View | None = None
        self._lines: list[str] = []
        self._missing = 0
        self._repeats: dict[Hashable, _Repeats] = {}
        self._failures = 0  # how many of them are failures
        self._bell = trio.Event()
        self.writing = trio.CapacityLimiter(1)
        """Held by the writing thread."""

    def follow(self, view: View) -> None:
        """From now on, hold events until the batch of this view that they depend on is on disk."""
        self._view = view

    # --- events come in -------------------------------------------------------------------------------------------

    def record(self, peer: Peer | None, fact: Fact, outcome: str, reason: str | None, depends: int) -> None:
        """Record an event of the engine (`pynun.engine.audit_events.Audit`)."""
        address, transport = ("", "") if peer is None else (peer.address, peer.transport)
        event = _Event(time.time_ns(), address, transport, _bounded(fact), outcome, reason)
        if not depends or self._view is None or not self._view.add_waiter(depends, _HeldEvent(self, event)):
            self.take(event)

    def note(self, event: str, outcome: str, **fields: object) -> None:
        """Record an event of the server itself, or one about a client's address."""
        self._put(audit_line({"event": event, "outcome": outcome, **fields}))

    def note_end(self, event: str, outcome: str, reason: str | None) -> None:
        """Record the last event, after the lines for events that were only counted."""
        self._end_repeats(math.inf)
        self.note(event, outcome, reason=reason)

    def take(self, event: _Event) -> None:
        """Write a line for a success or failure, unless its kind has reached its limit."""
        if event.outcome != audit_events.OK:
            repeats = self._failures_like(event)
        elif event.fact.event in _MERGED:
            repeats = self._repeats_of((event.address, event.transport, event.fact), 1)
        else:
            self._put(event.line())
            return
        if repeats.lines_left:
            repeats.lines_left -= 1
            self._put(event.line())
            return
        if not repeats.count:
            repeats.since_ns = event.time_ns
        repeats.count += 1
        repeats.last = event

    def _failures_like(self, event: _Event) -> _Repeats:
        kind = event.fact.event
        key = _FailuresOf(kind, client_network(event.address))
        if key not in self._repeats:
            if self._failures >= limits.AUDIT_GROUPS_MAX:
                return self._repeats_of(_FailuresOf(kind, None), limits.AUDIT_FAILURES_MAX)
            self._failures += 1
        return self._repeats_of(key, limits.AUDIT_FAILURES_MAX)

    def _repeats_of(self, key: Hashable, lines: int) -> _Repeats:
        repeats = self._repeats.get(key)
        if repeats is None:
            repeats = self._repeats[key] = _Repeats(self._clock() + limits.AUDIT_REPEAT_SECONDS, lines)
        return repeats

    # --- lines go out ---------------------------------------------------------------------------------------------

    def _put(self, line: str) -> None:
        if len(self._lines) >= limits.AUDIT_LINES_WAITING_MAX:
            self._missing += 1
            return
        self._lines.append(line)
        self._bell.set()

    def _end_repeats(self, now: float) -> None:
        """Write the counts whose minute is over."""
        for key in [key for key, repeats in self._repeats.items() if repeats.ends_at <= now]:
            repeats = self._repeats.pop(key)
            is_of_many = isinstance(key, _FailuresOf) and key.network is None
            self._failures -= isinstance(key, _FailuresOf) and not is_of_many
            if repeats.last is not None:
                counted = {"count": repeats.count, "since": timestamp(repeats.since_ns, digits=3)}
                self._put(repeats.last.line(**counted, **({"address": None} if is_of_many else {})))

    def _take_lines(self) -> list[str]:
        if self._missing:
            self._lines.append(
                audit_line({"event": "audit-gap", "outcome": audit_events.FAILED, "count": self._missing})
            )
            self._missing = 0
        lines, self._lines = self._lines, []
        return lines

    async def run(self) -> None:
        """Write lines until cancelled."""
        while True:
            with trio.move_on_after(_SWEEP_SECONDS):
                await self._bell.wait()
            self._bell = trio.Event()
            self._end_repeats(self._clock())
            await trio.lowlevel.checkpoint_if_cancelled()  # else the next lines would be lost with this task
            lines = self._take_lines()
            if lines:
                # Don't wait here for a hanging disk: `__exit__` does, for a limited time.
                await trio.to_thread.run_sync(self._trail.write, lines, limiter=self.writing, abandon_on_cancel=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Write all remaining lines and counts, and close the file."""
        self._end_repeats(math.inf)
        last = threading.Thread(target=self._write_last, args=(self._take_lines(),), daemon=True)
        last.start()
        last.join(limits.AUDIT_END_SECONDS)
        if last.is_alive():
            _log.error("the audit trail %s did not get its last lines: its disk does not respond", self._trail.path)

    def _write_last(self, lines: list[str]) -> None:
        self._trail.write(lines)
        self._trail.close()


def _bounded(fact: Fact) -> Fact:
    """Truncate texts, but keep them too long for a line. Counted events stay in memory, and a text may be a whole
    message."""
    if len(fact.command) <= _CHARACTERS_KEPT:
        return fact  # it contains the others
    most = _CHARACTERS_KEPT
    return audit_events.Fact(
        fact.event, fact.database and fact.database[:most], fact.user and fact.user[:most], fact.command[:most]
    )


class _HeldEvent:
    """An event that takes effect when its batch is on disk."""

    __slots__ = ("_event", "_writer")

    def __init__(self, writer: AuditWriter, event: _Event) -> None:
        self._writer = writer
        self._event = event

    def released(self, _revision: int) -> None:
        """The batch is on disk."""
        self._writer.take(self._event)

    def failed(self, _revision: int, reason: str) -> None:
        """The batch is lost, so the change failed."""
        event = self._event
        if event.outcome == audit_events.OK:
            event = event._replace(outcome=audit_events.FAILED, reason=messages.storage_failed(reason))
        self._writer.take(event)
