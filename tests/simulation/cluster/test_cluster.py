"""Some dozens of simulated clusters, and that they find what is broken.

`NUN_TEST_EFFORT=N` runs N times as many seeds, others each time; `scripts/simulate --cluster` runs any number.
"""

from __future__ import annotations

import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from pynun.cluster import transactions
from pynun.cluster.election import Action, Election, Role
from pynun.cluster.etcd.gateway import CreatedAt, Holds, Put, Range, transaction
from pynun.cluster.keys import encode_number
from pynun.cluster.records import RecordError
from tests.simulation.cluster.node import Node, Waiting
from tests.simulation.cluster.simulation import FAULTS, Simulation, SimulationError

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.cluster.etcd.gateway import Request, TransactionAnswer
    from pynun.cluster.keys import Keys

EFFORT = int(os.environ.get("NUN_TEST_EFFORT", "0"))
SEEDS = 8 * max(EFFORT, 1)
FIRST_SEED = random.SystemRandom().randrange(1 << 30) if EFFORT else 1
SEEDS_TO_FIND = 60
"""A planted fault is found within so many seeds."""


def test_seeds() -> None:
    counts: Counter[str] = Counter()
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        simulation = Simulation(seed)
        simulation.run()
        counts.update(simulation.counts)
        counts["batches"] += len(simulation.world.log)
    assert counts["commands answered"] > 300 * SEEDS
    if not EFFORT:
        happened = {*FAULTS, "parts", "watches compacted", "replies held back", "batches accepted by an earlier try"}
        assert {name for name in happened if not counts[name]} == set()


def test_a_seed_is_one_run() -> None:
    first, again = Simulation(5, seconds=20.0), Simulation(5, seconds=20.0)
    first.run()
    again.run()
    assert first.trace == again.trace


# --- planted faults ------------------------------------------------------------------------------------------------


def _may_send_while_owner(election: Election, _now: float) -> bool:
    """The deadline is not looked at."""
    return election.role is Role.OWNING


def _append_without_owner(keys: Keys, _term: int, number: int, value: bytes) -> Request[TransactionAnswer]:
    """A batch is appended by any node, the owner or not."""
    return transaction(
        (CreatedAt(keys.log(number), 0), Holds(keys.head, encode_number(number - 1))),
        (Put(keys.log(number), value), Put(keys.head, encode_number(number))),
        (Range(keys.owner, is_keys_only=True), Range(keys.log(number))),
    )


def _put_part_without_owner(keys: Keys, _term: int, number: int, place: int, part: bytes) -> Request[TransactionAnswer]:
    """A late part of an owner that is none any more replaces one of its successor's."""
    return transaction((), (Put(keys.part(number, place), part),))


def _watch_from_later(node: Node, reading: int, _revision: int) -> None:
    """The watch begins after the log was read, so what happened meanwhile is missed."""
    _READ_LOG(node, reading, node.world.etcd.revision)


_READ_LOG = Node._read_log


def _reply_at_once(node: Node, waiting: Waiting) -> None:
    """Replies do not wait for their batch."""
    node._send(waiting)


def _renew_from_the_answer(election: Election, now: float, _sent_at: float, lease: int, seconds: int) -> list[Action]:
    """The lease is thought to last from its answer on, which may have been long on its way."""
    return _RENEWED(election, now, now, lease, seconds)


_RENEWED = Election.renewed


def _begin_behind(election: Election, now: float) -> list[Action]:
    """The term begins before the log is applied."""
    election._applied = election._head
    return _BEGIN(election, now)


_BEGIN = Election._begin

PLANTED: dict[str, tuple[object, str, Callable[..., object]]] = {
    "answers-after-the-deadline": (Election, "may_send", _may_send_while_owner),
    "appends-without-being-owner": (transactions, "append", _append_without_owner),
    "puts-parts-without-being-owner": (transactions, "put_part", _put_part_without_owner),
    "watches-from-a-later-revision": (Node, "_read_log", _watch_from_later),
    "answers-before-the-batch-is-accepted": (Node, "_reply", _reply_at_once),
    "counts-the-lease-from-the-answer": (Election, "renewed", _renew_from_the_answer),
    "begins-before-it-has-the-log": (Election, "_begin", _begin_behind),
}

SEED_THAT_FINDS = {
    "appends-without-being-owner": 6,
    "puts-parts-without-being-owner": 18,
    "counts-the-lease-from-the-answer": 25,
}
"""Where to begin, for those that few seeds find."""


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, attribute, planted = PLANTED[name]
    monkeypatch.setattr(place, attribute, planted)
    first = SEED_THAT_FINDS.get(name, 1)
    for seed in range(first, first + SEEDS_TO_FIND):
        try:
            Simulation(seed).run()
        except (SimulationError, RecordError):
            return
    pytest.fail(f"{name} was not found in {SEEDS_TO_FIND} seeds")
