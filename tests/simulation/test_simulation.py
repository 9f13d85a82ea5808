"""Some dozens of simulated runs, that each is the same again from its seed, and that they find what is broken.

`NUN_TEST_EFFORT=N` runs N times as many seeds, others each time; `scripts/simulate` runs any number.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pynun.engine.database import Database
from pynun.engine.engine import Engine
from pynun.engine.overlay import Batch, Entry, View
from pynun.engine.session import Session
from pynun.transports.outbox import Outbox
from pynun.transports.tcp.lines import LineOutbox
from tests.simulation.simulation import Simulation, SimulationError
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.engine.events import Event

EFFORT = int(os.environ.get("NUN_TEST_EFFORT", "0"))
SEEDS = 40 * max(EFFORT, 1)
FIRST_SEED = random.SystemRandom().randrange(1 << 30) if EFFORT else 1
CHUNK = 10
STEPS = 300
SESSIONS = 12
SEEDS_TO_FIND = 60
"""A planted fault is found within so many seeds."""


def _run_seeds(seeds: range) -> None:
    for seed in seeds:
        Simulation(seed, steps=STEPS, sessions_max=SESSIONS).run()


@pytest.mark.parametrize("chunk", range(SEEDS // CHUNK))
def test_seeds(chunk: int) -> None:
    _run_seeds(range(FIRST_SEED + chunk * CHUNK, FIRST_SEED + (chunk + 1) * CHUNK))


def test_all_that_can_happen_happens() -> None:
    counts: Counter[str] = Counter()
    for seed in range(1, 13):
        simulation = Simulation(seed, steps=800, sessions_max=30)
        simulation.run()
        counts.update(simulation.counts)
    assert {name for name, count in counts.items() if not count} == set()
    assert counts["sessions"] > 200
    assert counts["commands"] > 3000


def test_a_seed_is_one_run_whatever_the_order_of_hashes() -> None:
    def printed(seed: int, hash_seed: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "tests.simulation", "--seed", str(seed)],
            cwd=REPOSITORY,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        ).stdout.splitlines()[0]

    first = printed(7, "0")
    assert first.startswith("seed 7: trace ")
    assert printed(7, "1") == first
    assert printed(7, "random") == first
    assert printed(8, "0").split()[-1] != first.split()[-1]


# --- planted faults ------------------------------------------------------------------------------------------------


def _hold_nothing(outbox: Outbox, item: bytes | Event, revision: int, size: int) -> None:
    """Replies and events leave before their batch is on disk."""
    if isinstance(item, bytes):
        outbox._ready.append(item)
        outbox._bytes += size
        if not outbox._is_dirty:
            outbox._is_dirty = True
            outbox._flusher.add(outbox)
    else:
        outbox._ready_event(item)


def _read_without_the_batch_being_written(view: View, key: bytes) -> Entry | None:
    """What is being written is not seen until it is on disk."""
    if key in view.batch.entries:
        view.depends = view.batch.revision
        return view.batch.entries[key]
    return view.volatile[key] if key in view.volatile else view.store.get(key)


def _read_without_noting(view: View, key: bytes) -> Entry | None:
    """A reply does not depend on the unwritten change that it shows."""
    for batch in (view.batch, view.writing):
        if batch is not None and key in batch.entries:
            return batch.entries[key]
    return view.volatile[key] if key in view.volatile else view.store.get(key)


def _leave_and_go_on_watching(session: Session) -> None:
    """Who goes still watches."""
    database = session.database
    if database is not None:
        database.sessions.pop(session, None)
        session.database = None
        session.engine.count_connections(database)


def _leave_uncounted(session: Session) -> None:
    """`$connections` is not told of those who go."""
    database = session.database
    if database is not None:
        database.unwatch_all(session)
        database.sessions.pop(session, None)
        session.database = None


def _take_half(view: View) -> Batch:
    """A batch is written in two halves, so that a conflict's record can be there without its key."""
    batch = Batch(view.batch.revision)
    entries = list(view.batch.entries.items())
    batch.entries = dict(entries[: (len(entries) + 1) // 2])
    batch.waiters, view.batch.waiters = view.batch.waiters, []
    batch.operations = view.batch.operations
    rest = Batch(batch.revision + 1)
    rest.entries = dict(entries[len(batch.entries) :])
    view.writing, view.batch = batch, rest
    return batch


def _keep_the_oldest(outbox: Outbox, event: Event) -> None:
    """A slow reader keeps the event that waits, and the newer one is dropped."""
    if outbox.is_stalled and event.key in outbox._slots:
        return
    _READY_EVENT(outbox, event)


_READY_EVENT = Outbox._ready_event


def _drop_a_reply(outbox: Outbox, data: bytes, depends: int) -> None:
    """A reply to a reader that is not reading is dropped."""
    if not outbox.is_stalled:
        _PUT(outbox, data, depends)


_PUT = Outbox._put


def _forget_no_loss(engine: Engine) -> None:
    """What was lost is still remembered by the sessions."""


def _notify_one(database: Database, key: str, texts: tuple[str, ...], revision: int) -> None:
    """Events are told to the first watcher only."""
    watchers = database.watchers.get(key)
    if watchers:
        first = next(iter(watchers))
        _NOTIFY(database, key, texts, revision) if len(watchers) == 1 else first.outbox.event(
            _event(key, texts, revision)
        )


_NOTIFY = Database.notify


def _event(key: str, texts: tuple[str, ...], revision: int) -> Event:
    from pynun.engine.events import Event

    return Event(key, texts, revision)


PLANTED: dict[str, tuple[type, str, Callable[..., object]]] = {
    "released-before-the-commit": (Outbox, "_hold", _hold_nothing),
    "overlay-without-what-is-being-written": (View, "read", _read_without_the_batch_being_written),
    "shows-an-unwritten-change-without-waiting": (View, "read", _read_without_noting),
    "watches-on-after-it-left": (Session, "leave", _leave_and_go_on_watching),
    "left-and-still-counted": (Session, "leave", _leave_uncounted),
    "half-a-batch-is-written": (View, "take_batch", _take_half),
    "a-slow-reader-ends-with-an-old-value": (Outbox, "_ready_event", _keep_the_oldest),
    "a-slow-reader-misses-a-reply": (Outbox, "_put", _drop_a_reply),
    "remembers-what-was-lost": (Engine, "reload_after_loss", _forget_no_loss),
    "tells-one-watcher-only": (Database, "notify", _notify_one),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, method, fault = PLANTED[name]
    monkeypatch.setattr(owner, method, fault)
    with pytest.raises(SimulationError, match=rf"replay with: scripts/simulate --seed \d+ --steps {STEPS} "):
        _run_seeds(range(1, SEEDS_TO_FIND + 1))


def test_what_the_faults_replace_is_the_servers_own() -> None:
    assert issubclass(LineOutbox, Outbox)
    assert all(callable(getattr(owner, method)) for owner, method, _ in PLANTED.values())
