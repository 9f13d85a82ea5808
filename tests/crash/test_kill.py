"""SIGKILL at random moments under load from three transports: what was acknowledged is there, whole (protocol: sections
4 and 5, durability `always`).

Two kills belong to every run, the rest to the long tests. `NUN_TEST_KILLS` is the number of kills (20),
`NUN_TEST_SEED` the seed of everything random; a failure names both.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.watched import wait_until
from tools.clients.exact_clients import http_post
from tools.clients.lives import Life
from tools.clients.load import States, check_writer, read_states, start_writers
from tools.clients.server import Server
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KILLS = int(os.environ.get("NUN_TEST_KILLS", "20"))
KILLS_PER_FOLDER = [min(2, KILLS), *(6 for _ in range(2, KILLS, 6))]
SEED = int(os.environ.get("NUN_TEST_SEED", random.SystemRandom().randrange(1_000_000)))

OLD_SECONDS = 4.0
"""So old is what `relaxed` must not lose: forty times what it may."""

STOPPED_SECONDS = 2.0
YEAR_SECONDS = 365 * 86_400

DATABASE = "crash"
CONFLICTS = "crashconflicts"


def _kill_under_load(server: Server, seed: int) -> Life:
    life = Life(server, DATABASE, CONFLICTS, seed)
    # The moment of the kill is the point of the test; there is no event to wait for.
    threading.Event().wait(random.Random(seed).uniform(0.01, 0.3))
    server.kill()
    life.finish()
    return life


def _wait_for_more(life: Life) -> None:
    before = life.acknowledged
    wait_until(lambda: life.acknowledged > before + 20)


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "folder", [pytest.param(n, marks=[pytest.mark.system] if n else []) for n in range(len(KILLS_PER_FOLDER))]
)
def test_everything_acknowledged_survives_a_kill(server: Server, folder: int) -> None:
    create_database(server, DATABASE)
    create_database(server, CONFLICTS, strategy="arbiter")
    kills = KILLS_PER_FOLDER[folder]
    first = SEED + sum(KILLS_PER_FOLDER[:folder])
    seeds = range(first, first + kills)
    settled: States = {}
    changes = 0
    for seed in seeds:
        replay = f"replay with NUN_TEST_SEED={seed} NUN_TEST_KILLS={kills}"
        try:
            life = _kill_under_load(server, seed)
            server.start()
            states = life.check()
        except BaseException as error:
            error.add_note(replay)
            raise
        settled |= states
        changes += life.acknowledged
    assert read_states(server, DATABASE, list(settled)) == settled, "an earlier life's values changed later"
    print(f"{kills} kills from seed {first}: {changes} acknowledged changes, all there")
    assert changes > 20 * kills, "too little load to mean anything"


@pytest.mark.system
@pytest.mark.timeout(300)
def test_stops_and_a_clock_that_is_set_lose_nothing(disk_folder: Path) -> None:
    """The server is stopped (SIGSTOP) for seconds, and its clock set on and back, all under load."""
    ahead = disk_folder / "ahead"
    server = Server(disk_folder / "dbs", wrapper=(sys.executable, "-m", "tests.support.set_clock", str(ahead)))

    def set_clock(seconds: int) -> None:
        new = ahead.with_suffix(".new")
        new.write_text(str(seconds), encoding="ascii")
        new.rename(ahead)

    set_clock(0)
    with server:
        create_database(server, DATABASE)
        create_database(server, CONFLICTS, strategy="arbiter")
        settled: States = {}
        for seconds in (YEAR_SECONDS, -YEAR_SECONDS, -50 * YEAR_SECONDS):
            life = Life(server, DATABASE, CONFLICTS, SEED + seconds)
            threading.Event().wait(0.3)
            set_clock(seconds)
            _wait_for_more(life)
            server.send_signal(signal.SIGSTOP)
            threading.Event().wait(STOPPED_SECONDS)
            server.send_signal(signal.SIGCONT)
            _wait_for_more(life)
            server.kill()
            life.finish()
            server.start()
            settled |= life.check()
        assert read_states(server, DATABASE, list(settled)) == settled


@pytest.mark.system
@pytest.mark.timeout(300)
def test_relaxed_durability_loses_a_tail_at_most(new_server: Callable[..., Server]) -> None:
    """The last changes may be missing, but what is there is whole and has all that was before it."""
    server = new_server(NUN_DURABILITY="relaxed")
    with server:
        create_database(server, DATABASE)
        create_database(server, CONFLICTS, strategy="arbiter", then="snapshot")
        for seed in range(SEED, SEED + 3):
            writers = start_writers(server, DATABASE, seed)
            threading.Event().wait(random.Random(seed).uniform(0.05, 0.4))
            server.kill()
            for writer in writers:
                writer.finish()
            server.start()
            states = read_states(server, DATABASE, [key for writer in writers for key in writer.keys])
            for writer in writers:
                check_writer(writer, states, acknowledged=0)


@pytest.mark.system
@pytest.mark.timeout(300)
def test_relaxed_durability_loses_nothing_old(new_server: Callable[..., Server]) -> None:
    """A tenth of a second is promised; what is older by far, however busy the machine, is on disk."""
    server = new_server(NUN_DURABILITY="relaxed")
    with server:
        create_database(server, DATABASE)
        writers = start_writers(server, DATABASE, SEED)
        threading.Event().wait(0.5)
        old = [writer.acknowledged for writer in writers]
        threading.Event().wait(OLD_SECONDS)
        server.kill()
        for writer in writers:
            writer.finish()
        server.start()
        states = read_states(server, DATABASE, [key for writer in writers for key in writer.keys])
        assert all(old), "too little load to mean anything"
        for writer, acknowledged in zip(writers, old, strict=True):
            check_writer(writer, states, acknowledged=acknowledged)


@pytest.mark.system
def test_a_snapshot_is_on_disk_when_it_answers_even_in_relaxed(new_server: Callable[..., Server]) -> None:
    server = new_server(NUN_DURABILITY="relaxed")
    with server:
        create_database(server, DATABASE)
        commands = ";".join([f"auth {server.credentials}", f"use-db {DATABASE} pwd", "set k v", "snapshot"])
        assert http_post(server.http, commands) == "valid auth\n;empty;empty;empty"
        server.kill()
        server.start()
        assert http_post(server.http, f"use-db {DATABASE} pwd; get k") == "empty;value v\n"


@pytest.mark.system
def test_a_new_database_survives_a_kill_at_once(server: Server) -> None:
    """With its token, strategy, users, permissions and values: the original lost all of them."""
    for number in range(5):
        name = f"new{number}"
        create_database(
            server,
            name,
            strategy="newer",
            then="set-safe k 5 v; create-user ana ana-pwd; set-permissions ana r k",
        )
        server.kill()
        server.start()
        answer = http_post(
            server.http, f"use-db {name} ana ana-pwd; get-safe k; set k x; use-db {name} pwd; set-safe k 1 b"
        )
        assert answer == "empty;value-version 6 v\n;permission denied\n;empty;empty"
        assert http_post(server.http, f"use-db {name} pwd; get-safe k") == "empty;value-version 7 b\n"
        assert http_post(server.http, f"use-db {name} wrong") == "Invalid token"
