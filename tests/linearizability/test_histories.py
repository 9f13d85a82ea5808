"""What concurrent clients of a real server are told could have happened one command after another.

Clients on all transports get, set, count and remove the same few keys; in some runs the server is killed meanwhile.
`NUN_TEST_SEED` repeats what was sent, `NUN_TEST_EFFORT=N` makes each history N times as long.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.linearizability.checker import MissingCheckerError, Verdict, check, find_checker
from tests.linearizability.histories import Operation, record
from tools.clients.server import Server
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SEED = int(os.environ.get("NUN_TEST_SEED", random.SystemRandom().randrange(1_000_000)))
EFFORT = max(int(os.environ.get("NUN_TEST_EFFORT", "0")), 1)
OPERATIONS_MAX = 6000  # of a history: what the checker does in a moment

pytestmark = pytest.mark.timeout(300 * EFFORT)


@pytest.fixture(scope="module", autouse=True)
def _checker() -> None:
    try:
        find_checker()
    except MissingCheckerError as error:
        pytest.skip(str(error))


def _judge(history: list[Operation], folder: Path, *, strategy: str = "none") -> Verdict:
    verdict = check(history, folder, strategy=strategy)
    counts = {outcome: sum(one.outcome == outcome for one in history) for outcome in {one.outcome for one in history}}
    print(f"seed {SEED}: {verdict.operations} operations on {verdict.keys} keys: {counts}")
    return verdict


def _accept(history: list[Operation], folder: Path, *, strategy: str = "none") -> Verdict:
    """A history must be linearizable; one that is not is kept, with the page that shows where."""
    verdict = _judge(history, folder, strategy=strategy)
    if not verdict.is_linearizable:
        kept = Path(tempfile.mkdtemp(prefix=f"pynun-history-{SEED}-"))
        shutil.copytree(folder, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("dbs*"))
        pytest.fail(f"seed {SEED}: not linearizable: see {kept}/history.html")
    return verdict


@pytest.mark.parametrize(
    ("strategy", "durability"),
    [
        ("newer", "always"),
        pytest.param("none", "always", marks=pytest.mark.system),
        pytest.param("none", "relaxed", marks=pytest.mark.system),
        pytest.param("newer", "relaxed", marks=pytest.mark.system),
    ],
)
def test_histories_are_linearizable(
    new_server: Callable[..., Server], disk_folder: Path, strategy: str, durability: str
) -> None:
    with new_server(NUN_DURABILITY=durability) as server:
        create_database(server, "histories", strategy=strategy)
        history = record(server, "histories", seed=SEED, seconds=1.0 * EFFORT, operations_max=OPERATIONS_MAX * EFFORT)
    verdict = _accept(history, disk_folder, strategy=strategy)
    assert verdict.operations > 200, "too little to mean anything"
    assert len({(one.client, one.kind) for one in history}) > 20, "every client does everything"


@pytest.mark.system
def test_histories_with_kills_are_linearizable(new_server: Callable[..., Server], disk_folder: Path) -> None:
    kills = 3 * EFFORT
    with new_server() as server:
        create_database(server, "histories", then="snapshot")
        history = record(server, "histories", seed=SEED, seconds=0.5 * kills, kills=kills, keys_count=4)
    verdict = _accept(history, disk_folder)
    assert verdict.unknown, "no command was on its way when the server was killed"


def _found_within_some(histories: Iterator[list[Operation]], folder: Path) -> Verdict:
    """The first verdict of histories that says that one is not linearizable."""
    for history in histories:
        verdict = _judge(history, folder)
        if not verdict.is_linearizable:
            return verdict
    raise AssertionError("each of the histories can have been")


@pytest.mark.system
def test_a_server_that_loses_what_it_acknowledged_is_found(
    new_server: Callable[..., Server], disk_folder: Path
) -> None:
    """In relaxed durability a killed server may lose the last moment: the history must say so."""

    def histories() -> Iterator[list[Operation]]:
        for number in range(5):
            database = f"histories-{number}"
            create_database(server, database, then="snapshot")
            yield record(server, database, seed=SEED + number, seconds=0.8, kills=2)

    with new_server(NUN_DURABILITY="relaxed") as server:
        verdict = _found_within_some(histories(), disk_folder)
    assert verdict.page is not None


@pytest.mark.system
def test_a_server_that_acknowledges_before_others_see_the_change_is_found(disk_folder: Path) -> None:
    def histories() -> Iterator[list[Operation]]:
        for number in range(5):
            yield record(server, f"histories-{number}", seed=SEED + number, seconds=0.3)

    # Started whole first: what it reads while it makes its own databases is not on disk yet either.
    with Server(disk_folder / "dbs") as server:
        for number in range(5):
            create_database(server, f"histories-{number}")
        assert server.stop() == 0
        server.wrapper = (sys.executable, "-m", "tests.linearizability.broken_server", "blind-to-changes")
        server.start()
        _found_within_some(histories(), disk_folder)
