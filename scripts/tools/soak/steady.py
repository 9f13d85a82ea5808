"""The first phase: one server lives long, under load from connections that come and go.

It goes in rounds. In each, writers on every transport follow one another (their changes are checked when they are
done), watchers follow what they write, slow ones too, visitors come, look and go in several ways, conflicts are made
and resolved, and connections are cut in the middle of a command. At its end every watcher must have the newest of each
key, everybody leaves, what was stored is removed, and the server is looked at: at rest it must hold what it held after
the rounds before.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from typing import TYPE_CHECKING, Final

from tools.clients.exact_clients import HttpClient, TcpClient, WebSocketClient
from tools.clients.load import TRANSPORTS, ConflictMaker, States, Writer, check_writer, new_writer, read_states
from tools.clients.rough_clients import Cutter, KeyWatcher, leave_without_a_word
from tools.clients.sessions import OK, TOKEN, select
from tools.soak.run import CONFLICTS, DATABASE, LossError

if TYPE_CHECKING:
    from tools.soak.run import Run

PHASE: Final = "one long life"
ROUND_SECONDS: Final = 15.0
WRITER_SECONDS: Final = (1.0, 4.0)
WRITER_PACE_SECONDS: Final = 0.01
CONFLICT_PACE_SECONDS: Final = 0.05
BEGIN_SECONDS_MAX: Final = 20.0
LOOK_SECONDS: Final = 1.0
"""How often the server is looked at under load."""


class _Visitors(threading.Thread):
    """One after another: comes, selects the database, watches, reads, writes, and goes, politely or not."""

    def __init__(self, run: Run, seed: int) -> None:
        super().__init__(name=f"visitors-{seed}", daemon=True)
        self._server = run.server
        self._random = random.Random(seed)
        self.key = f"visited-{seed}"
        self.is_told_to_stop = threading.Event()
        self.visits = 0
        self.trouble: BaseException | None = None

    def run(self) -> None:
        """Visit until told to stop."""
        try:
            while not self.is_told_to_stop.wait(0.02):
                self._visit()
                self.visits += 1
        except BaseException as error:
            self.trouble = error

    def _visit(self) -> None:
        value = "y" * self._random.choice((10, 1000, 100_000))
        match self._random.choice(TRANSPORTS):
            case "http":
                with HttpClient(self._server.http) as http:
                    for _ in range(self._random.randrange(1, 4)):
                        body = f"use-db {DATABASE} {TOKEN};set {self.key} {value};get {self.key}"
                        assert http.request(body).text == f"empty;empty;value {value}\n"
            case transport:
                with (
                    WebSocketClient(self._server.websocket) if transport == "websocket" else TcpClient(self._server.tcp)
                ) as client:
                    select(client, DATABASE)
                    client.ask(f"watch {self.key}")
                    client.ask("watch $connections")
                    # Its own event, and any of $connections, come before or behind.
                    answer = client.ask(f"set {self.key} {value}")
                    assert f"changed {self.key} {value}\n" in answer, answer[:5]
                    assert answer[-1] == OK, answer[-1]
                    if self._random.random() < 0.5:
                        client.close()
                    else:
                        leave_without_a_word(client.socket, self._random)


class _Slot:
    """A place on one transport where writers of the same keys follow one another."""

    def __init__(self, run: Run, name: str, transport: str) -> None:
        self._run = run
        self._name = name
        self._transport = transport
        self._ends_at = 0.0
        self._writer = self._new()
        self.keys = self._writer.keys

    def _new(self) -> Writer:
        seed = self._run.chance.randrange(1 << 40)
        return new_writer(self._run.server, DATABASE, self._name, seed, transport=self._transport)

    def start(self) -> None:
        """Start the writer."""
        self._writer.pace_seconds = WRITER_PACE_SECONDS
        self._ends_at = time.monotonic() + self._run.chance.uniform(*WRITER_SECONDS)
        self._writer.start()
        self._run.figures.connections += 1

    def go_on(self) -> None:
        """If the writer's time is over: check what it did, remove it, and have the next one start."""
        if time.monotonic() > self._ends_at or not self._writer.is_alive():
            self.finish()
            self._run.remove_all(f"{self._name}-")
            self._writer = self._new()
            self.start()

    def finish(self) -> States:
        """Stop the writer, check what it did, and return its keys as they are."""
        writer = self._writer
        writer.is_told_to_stop.set()
        writer.finish()
        self._run.figures.acknowledged += writer.acknowledged
        if writer.acknowledged != len(writer.sent):
            raise LossError(f"{writer.name}: {len(writer.sent)} changes sent, {writer.acknowledged} answered")
        states = read_states(self._run.server, DATABASE, writer.keys)
        check_writer(writer, states)
        return states


def run_rounds(run: Run, seconds: float, *, slow_seconds: float, round_seconds: float = ROUND_SECONDS) -> None:
    """Run rounds for so long, at least one. Raises LossError or AssertionError at what must not be."""
    deadline = time.monotonic() + seconds
    number = 0
    descriptors_max: int | None = None
    while not number or time.monotonic() + round_seconds / 2 < deadline:
        number += 1
        until = min(time.monotonic() + round_seconds, deadline if number > 1 else float("inf"))
        _run_round(run, f"r{number % 10}", until, slow_seconds)
        run.wait_until_quiet(descriptors_max)
        seen = run.sample(PHASE, "rest")
        descriptors_max = seen.descriptors if descriptors_max is None else descriptors_max
        figures = run.figures
        run.say(
            f"round {number}: {figures.acknowledged:,} changes acknowledged, {figures.connections:,} connections, "
            f"{figures.events:,} events; at rest {seen.rss_anon_bytes / 1e6:.1f} MB private, "
            f"{seen.descriptors} descriptors, {seen.data_bytes / 1e6:.1f} MB of data"
        )


def _run_round(run: Run, name: str, until: float, slow_seconds: float) -> None:
    seed = run.chance.randrange(1 << 30)
    slots = [_Slot(run, f"{name}-{transport}", transport) for transport in TRANSPORTS]
    visitors = [_Visitors(run, number) for number in range(2)]
    # The visitors' values are large: what waits for a slow reader is soon so much that only the newest is kept.
    keys = [*(key for slot in slots for key in slot.keys), *(one.key for one in visitors)]
    watchers = [
        KeyWatcher(run.server, DATABASE, keys, seed + place, transport=transport, pause_seconds=pause)
        for place, (transport, pause) in enumerate(
            [("websocket", 0.05), ("tcp", 0.05), ("websocket", slow_seconds), ("tcp", slow_seconds)]
        )
    ]
    cutter = Cutter(run.server, DATABASE, f"{name}-cut", seed, pace_seconds=0.1)
    conflicts = ConflictMaker(run.server, CONFLICTS, f"{name}-conflicts", pace_seconds=CONFLICT_PACE_SECONDS)
    for watcher in watchers:
        watcher.start()
        watcher.has_begun.wait(BEGIN_SECONDS_MAX)
    others: list[_Visitors | Cutter | ConflictMaker] = [*visitors, cutter, conflicts]
    for starting in (*slots, *others):
        starting.start()
    with contextlib.ExitStack() as stack:
        for other in others:
            stack.callback(other.is_told_to_stop.set)
        next_look = time.monotonic()
        while (now := time.monotonic()) < until:
            for slot in slots:
                slot.go_on()
            if now >= next_look:
                run.sample(PHASE, "load")
                next_look = now + LOOK_SECONDS
            threading.Event().wait(0.05)
    final: States = {}
    for slot in slots:
        final |= slot.finish()
    for other in others:
        other.join()
        if other.trouble is not None:
            raise other.trouble
    final |= read_states(run.server, DATABASE, [one.key for one in visitors])
    for watcher in watchers:
        watcher.finish(final)
    cutter.check(run.server)
    conflicts.check(run.server)
    if not (cutter.cuts and conflicts.records and all(one.visits for one in visitors)):
        raise LossError("a client could not work: the server ended its connection, or did not answer")
    figures = run.figures
    figures.acknowledged += sum(conflicts.acknowledged.values())
    figures.cuts += cutter.cuts
    figures.events += sum(watcher.events for watcher in watchers)
    figures.events_left_out += sum(
        max(fast.events - slow.events, 0) for fast, slow in zip(watchers[:2], watchers[2:], strict=True)
    )
    figures.connections += sum(one.visits for one in visitors) + cutter.cuts + len(watchers) + 2
    for prefix in (f"{name}-", "visited-"):
        run.remove_all(prefix)
