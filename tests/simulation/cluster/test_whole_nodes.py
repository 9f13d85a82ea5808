"""The node as it is, simulated, and that faults planted in it are found."""

from __future__ import annotations

import logging
import os
import random
from collections import Counter
from typing import TYPE_CHECKING

import pytest
import trio

from pynun.cluster import trimming
from pynun.cluster.etcd.gateway import Range, transaction
from pynun.cluster.follower import Follower
from pynun.cluster.replicated_store import ReplicatedStore
from tests.simulation.cluster.whole_nodes import simulate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Set

    from pynun.engine.overlay import Batch

pytestmark = pytest.mark.system

EFFORT = int(os.environ.get("NUN_TEST_EFFORT", "0"))
SEEDS = 8 * max(EFFORT, 1)
FIRST_SEED = random.SystemRandom().randrange(1 << 30) if EFFORT else 1
SEEDS_TO_FIND = 12


@pytest.fixture(autouse=True)
def _no_log() -> Iterator[None]:
    """What nodes say of each fault."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_seeds() -> None:
    counts: Counter[str] = Counter()
    for seed in range(FIRST_SEED, FIRST_SEED + SEEDS):
        counts.update(simulate(seed).counts)
    assert counts["batches acknowledged"] > 50 * SEEDS
    assert counts["terms"] > 3 * SEEDS
    assert counts["batches trimmed"] > 0
    assert counts["batches in parts"] > 0


# --- planted faults ------------------------------------------------------------------------------------------------


def _own_data_first(store: ReplicatedStore, batch: Batch, operations: int, *, is_rescue: bool = False) -> None:
    """The data is ahead of etcd."""
    store._data.log(batch, operations, is_rescue=is_rescue)
    store.logged(batch)
    store._have_accepted(batch, operations)


async def _watch_from_later(follower: Follower, _revision: int) -> None:
    """What happened after the owner was read is missed."""
    await trio.sleep(1.0)
    answer = await follower._client.call(transaction((), (Range(follower._keys.head),)), 60.0)
    await _WATCH(follower, answer.revision + 1)


_WATCH = Follower._watch


def _wait_for_nobody(_synced: Mapping[str, int], _live: Set[str], newest_old: int, *, is_pressed: bool) -> int:
    """Batches go that a node still needs."""
    return newest_old


PLANTED: dict[str, tuple[object, str, Callable[..., object]]] = {
    "writes-its-own-data-first": (ReplicatedStore, "log", _own_data_first),
    "watches-from-a-later-revision": (Follower, "_watch", _watch_from_later),
    "trims-what-nodes-need": (trimming, "trim_until", _wait_for_nobody),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, attribute, planted = PLANTED[name]
    monkeypatch.setattr(place, attribute, planted)
    for seed in range(1, 1 + SEEDS_TO_FIND):
        try:
            simulate(seed)
        except BaseExceptionGroup:
            return
    pytest.fail(f"{name} was not found in {SEEDS_TO_FIND} seeds")
