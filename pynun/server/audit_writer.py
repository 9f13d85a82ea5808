"""The server's side of the audit trail: adds where a client is, merges what repeats, and keeps the disk off the loop.

`record` and `note` cost microseconds; one task hands the lines, as many as have gathered, to a worker thread. So a line
is in the file some milliseconds after what it tells of, or after the batch that made a change durable: a change that
was lost is in the trail as failed. What is not written when the process is killed is missing.

Anybody can cause failures, at the speed of the network, so they are bounded: the first of one kind and address get a
line each, further ones within a minute are counted and become one line (`count`, `since`); of too many addresses,
one line for all. Logging in and reading again and again, as HTTP clients do, is merged from the second time on. Changes
are never merged.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING, Final, NamedTuple, Self

import trio

from pynun import limits
from pynun.audit_file import AuditTrail, audit_line
from pynun.engine import audit_events
from pynun.protocol import messages
from pynun.server.accepting.client_networks import client_network
from pynun.timestamps import timestamp

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from pynun.engine.audit_events import Fact
    from pynun.engine.overlay import View
    from pynun.engine.peer import Peer
    from pynun.settings import Settings

_log = logging.getLogger("nun_db")

_MERGED: Final = frozenset({audit_events.LOGIN, audit_events.READ_SECURITY_KEY})
"""Successes that change nothing and may be many."""

_SWEEP_SECONDS: Final = 5.0

_CHARACTERS_KEPT: Final = 2048
"""Of a text: more than a line shows (`pynun.audit_file`)."""


class _Event(NamedTuple):
    """Something that the engine told."""

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
    """Failures that are counted together: one kind, one address; None: of all addresses beyond so many."""

    kind: str
    network: str | None


class _Repeats:
    """What repeats: how many lines it got, how many it did not get, and the last of these."""

    __slots__ = ("count", "ends_at", "last", "lines_left", "since_ns")

    def __init__(self, ends_at: float, lines: int) -> None:
        self.ends_at = ends_at
        self.lines_left = lines
        self.count = 0
        self.since_ns = 0
        self.last: _Event | None = None


def open_trail(settings: Settings) -> AuditTrail:
    """The trail of a server's settings, opened once to see that it can be. Raises StartError."""
    path = None if settings.audit_file is None else settings.data_dir / settings.audit_file
    trail = AuditTrail(path, bytes_max=settings.audit_bytes_max, keep=settings.audit_keep)
    trail.prepare()
    return trail


class AuditWriter:
    """The trail, as the engine and the server see it."""

    def __init__(self, trail: AuditTrail, *, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` gives seconds, from any point in time on."""
        self._trail = trail
        self._clock = clock
        self._view: View | None = None
        self._lines: list[str] = []
        self._missing = 0
        self._repeats: dict[Hashable, _Repeats] = {}
        self._failures = 0  # how many of them are of failures
        self._bell = trio.Event()
        self.writing = trio.CapacityLimiter(1)
        """Held by the thread that writes."""

    def follow(self, view: View) -> None:
        """From now on, what depends on a batch of that view waits for it."""
        self._view = view

    # --- what is told --------------------------------------------------------------------------------------------

    def record(self, peer: Peer | None, fact: Fact, outcome: str, reason: str | None, depends: int) -> None:
        """Told by the engine (`pynun.engine.audit_events.Audit`)."""
        address, transport = ("", "") if peer is None else (peer.address, peer.transport)
        event = _Event(time.time_ns(), address, transport, _bounded(fact), outcome, reason)
        if not depends or self._view is None or not self._view.add_waiter(depends, _HeldEvent(self, event)):
            self.take(event)

    def note(self, event: str, outcome: str, **fields: object) -> None:
        """Told by the server itself: what it does, or does to a client's address."""
        self._put(audit_line({"event": event, "outcome": outcome, **fields}))

    def note_end(self, event: str, outcome: str, reason: str | None) -> None:
        """The last that is told; what was only counted stands before it."""
        self._end_repeats(math.inf)
        self.note(event, outcome, reason=reason)

    def take(self, event: _Event) -> None:
        """It happened, or failed: one line, unless it is one too many of its kind."""
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

    # --- what is written -----------------------------------------------------------------------------------------

    def _put(self, line: str) -> None:
        if len(self._lines) >= limits.AUDIT_LINES_WAITING_MAX:
            self._missing += 1
            return
        self._lines.append(line)
        self._bell.set()

    def _end_repeats(self, now: float) -> None:
        """Write what was only counted, of those whose time is up."""
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
        """Write what is told, until cancelled."""
        while True:
            with trio.move_on_after(_SWEEP_SECONDS):
                await self._bell.wait()
            self._bell = trio.Event()
            self._end_repeats(self._clock())
            await trio.lowlevel.checkpoint_if_cancelled()  # else what is taken next would be lost with this task
            lines = self._take_lines()
            if lines:
                # A stop does not wait for a disk that hangs: `__exit__` does, for a time.
                await trio.to_thread.run_sync(self._trail.write, lines, limiter=self.writing, abandon_on_cancel=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Write all that is left, counts included, and close the file: nothing more can happen."""
        self._end_repeats(math.inf)
        last = threading.Thread(target=self._write_last, args=(self._take_lines(),), daemon=True)
        last.start()
        last.join(limits.AUDIT_END_SECONDS)
        if last.is_alive():
            _log.error("the audit trail %s does not take its last lines: its disk does not answer", self._trail.path)

    def _write_last(self, lines: list[str]) -> None:
        self._trail.write(lines)
        self._trail.close()


def _bounded(fact: Fact) -> Fact:
    """With texts that are still too long for a line, and no longer: what is counted is kept, and may be a message."""
    if len(fact.command) <= _CHARACTERS_KEPT:
        return fact  # it holds the others
    most = _CHARACTERS_KEPT
    return audit_events.Fact(
        fact.event, fact.database and fact.database[:most], fact.user and fact.user[:most], fact.command[:most]
    )


class _HeldEvent:
    """Something that happened once its batch is on disk."""

    __slots__ = ("_event", "_writer")

    def __init__(self, writer: AuditWriter, event: _Event) -> None:
        self._writer = writer
        self._event = event

    def released(self, _revision: int) -> None:
        """It is on disk."""
        self._writer.take(self._event)

    def failed(self, _revision: int, reason: str) -> None:
        """It is lost: nothing happened."""
        event = self._event
        if event.outcome == audit_events.OK:
            event = event._replace(outcome=audit_events.FAILED, reason=messages.storage_failed(reason))
        self._writer.take(event)
