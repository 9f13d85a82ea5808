"""A disk whose syncs take long under a running server: who reads does not wait for them (docs/storage.md)."""

from __future__ import annotations

import contextlib
import statistics
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.watched import Scrape, request, wait_until
from tools.clients.server import Server
from tools.clients.sessions import OK, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tools.clients.exact_clients import Connection

pytestmark = pytest.mark.system

SYNC_SECONDS = 0.02
STALL_SECONDS = 3.0
LATE_SECONDS = STALL_SECONDS / 3
ROUNDS = 20
"""Another program may keep both processors busy during one."""


class SlowServer(Server):
    """A server whose syncs of the log can be slowed down while it runs."""

    def __init__(self, folder: Path, sync: str) -> None:
        self._seconds = folder / "seconds"
        wrapper = (sys.executable, "-m", "tests.support.slow_log", str(self._seconds))
        super().__init__(folder / "dbs", environment={"NUN_SYNC": sync}, wrapper=wrapper)
        self.syncs_take(0)

    def syncs_take(self, seconds: float) -> None:
        new = self._seconds.with_suffix(".new")
        new.write_text(str(seconds), encoding="ascii")
        new.rename(self._seconds)

    @property
    def loop_commits(self) -> float:
        """How many changes the thread that serves clients waited for."""
        return Scrape(self.http).value("nun_db_loop_commits_total")


@contextlib.contextmanager
def _setting_all_the_time(connection: Connection) -> Iterator[Callable[[], int]]:
    """Set a key whenever the last change is on disk; yields how many are."""
    is_over = threading.Event()
    done = 0

    def set_all_the_time() -> None:
        nonlocal done
        while not is_over.is_set():
            assert connection.ask(f"set busy {done}") == [OK]
            done += 1

    thread = threading.Thread(target=set_all_the_time)
    thread.start()
    try:
        yield lambda: done
    finally:
        is_over.set()
        thread.join()


def _p95_seconds(do: Callable[[], object]) -> float:
    """How long something takes at most, but for one time in twenty."""
    took = []
    for _ in range(40):
        began = time.perf_counter()
        do()
        took.append(time.perf_counter() - began)
    return statistics.quantiles(took, n=20)[-1]


def _is_quick(do: Callable[[], object]) -> bool:
    return any(_p95_seconds(do) < SYNC_SECONDS / 2 for _ in range(ROUNDS))


@pytest.mark.parametrize("sync", ["auto", "thread"])
def test_who_reads_does_not_wait_for_syncs_that_take_long(disk_folder: Path, sync: str) -> None:
    with SlowServer(disk_folder, sync) as server:
        create_database(server, "d", then="set k v")
        with (
            tcp_session(server, "d") as writer,
            websocket_session(server, "d") as reader,
            _setting_all_the_time(writer) as count,
        ):
            if sync == "auto":
                wait_until(lambda: server.loop_commits > 10)
            server.syncs_take(SYNC_SECONDS)
            slow_from = count() + 10
            wait_until(lambda: count() > slow_from)
            waited_for, written = server.loop_commits, count()
            assert _is_quick(lambda: reader.ask("get k"))
            assert _is_quick(lambda: request(server.http, "/healthz"))
            assert count() > written
            assert server.loop_commits == waited_for
            if sync == "auto":  # and the disk is found to be quick again
                server.syncs_take(0)
                wait_until(lambda: server.loop_commits > waited_for)


@pytest.mark.parametrize("sync", ["auto", "thread"])
def test_a_sync_that_hangs_holds_up_reads_once_at_most(disk_folder: Path, sync: str) -> None:
    with SlowServer(disk_folder, sync) as server:
        create_database(server, "d", then="set k v")
        with tcp_session(server, "d") as writer, websocket_session(server, "d") as reader:
            if sync == "auto":
                with _setting_all_the_time(writer):
                    wait_until(lambda: server.loop_commits > 10)
            server.syncs_take(STALL_SECONDS)
            reads = (lambda: reader.ask("get k"), lambda: request(server.http, "/healthz"))
            waited = _seconds_of_reads_beside_a_set(writer, reads)
            if sync == "auto":
                late = [seconds for seconds in waited if seconds > LATE_SECONDS]
                assert len(late) <= 1
                assert sum(late) < STALL_SECONDS + LATE_SECONDS
                waited = _seconds_of_reads_beside_a_set(writer, reads)
            assert len(waited) > 10
            assert max(waited) < LATE_SECONDS
            server.syncs_take(0)


def _seconds_of_reads_beside_a_set(writer: Connection, reads: Sequence[Callable[[], object]]) -> list[float]:
    """How long each read takes until a change is on disk."""
    took = []
    setting = threading.Thread(target=writer.ask, args=("set busy x",))
    setting.start()
    while setting.is_alive():
        for read in reads:
            began = time.perf_counter()
            read()
            took.append(time.perf_counter() - began)
    setting.join()
    return took
