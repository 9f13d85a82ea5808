"""Nodes whose disk is full, read-only or silent: the others go on, and such a node passes its clients on meanwhile."""

from __future__ import annotations

import contextlib
import json
import random
import time
from typing import TYPE_CHECKING

import pytest

from pynun.protocol import messages
from tests.support.acknowledged import DATABASE, TOKEN
from tests.support.cluster import WAIT_SECONDS_MAX, Nodes, wait_until
from tests.support.watched import failing_disk, fill, small_disk
from tools.clients.exact_clients import EndOfConnectionError, HttpClient, http_post
from tools.clients.server import nun_db
from tools.clients.sessions import OK, create_database, tcp_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.clients.server import Server
    from tools.etcd.cluster import EtcdCluster

FULL = "No space left on device"

pytestmark = pytest.mark.timeout(300)


@contextlib.contextmanager
def running(etcd: EtcdCluster, folder: Path, name: str, **disks: Path) -> Iterator[Nodes]:
    """Three nodes, some on other disks; the first owns the data."""
    nodes = Nodes(etcd, folder, name=name)
    for node, disk in disks.items():
        nodes.servers[node].data_dir = disk / "dbs"
    try:
        nodes.start("a")
        assert nodes.wait_for_owner() == "a"
        nodes.start("b", "c")
        create_database(nodes.servers["a"], DATABASE)
        yield nodes
    finally:
        nodes.end()


def health(server: Server) -> str:
    """What a node says of itself."""
    with HttpClient(server.http) as client:
        return client.request("", method="GET", path="/healthz").text


def large() -> str:
    """A value that takes room in the data file, and not only in the log's files that are there already."""
    return random.randbytes(750_000).hex()


def put(server: Server, count: int = 1) -> None:
    """Change a key so often, by any node."""
    for number in range(count):
        assert http_post(server.http, f"use-db {DATABASE} {TOKEN}; set k-{number} {large()}") == "empty;empty"


def answers(server: Server) -> bool:
    """Whether a node serves clients, itself or by another one."""
    with contextlib.suppress(OSError, EndOfConnectionError), tcp_session(server, DATABASE) as client:
        return client.ask("get k")[-1] == OK
    return False


def in_trouble(nodes: Nodes) -> set[str]:
    """The nodes whose disk is full, by the table of the cluster."""
    shown = nun_db("cluster", "status", "--json", environment=nodes.environment)
    return {row["node"] for row in json.loads(shown.stdout)["nodes"] if FULL in row["trouble"]}


def test_a_full_disk_hides_nothing_and_is_caught_up(etcd: EtcdCluster, disk_folder: Path) -> None:
    """First that of a follower, while the owner dies; then that of the owner."""
    with small_disk(disk_folder / "small", "40m") as disk, running(etcd, disk_folder, "full", b=disk) as nodes:
        a, b, c = nodes.servers.values()
        nodes.wait_for_all()
        fill(disk / "filler")
        deadline = time.monotonic() + WAIT_SECONDS_MAX
        while FULL not in health(b):
            assert time.monotonic() < deadline, "it does not say that its disk is full"
            put(a)
        wait_until(lambda: in_trouble(nodes) == {"b"}, "etcd does not know that its disk is full")
        assert answers(b)
        a.kill()
        assert nodes.wait_for_owner(other_than="a") == "c", "who has no room can't go on"
        wait_until(lambda: answers(b), "it passes its clients to a node that is gone")
        put(c, 14)  # more than it keeps in memory
        assert FULL in health(b)
        (disk / "filler").unlink()
        wait_until(lambda: health(b) == "ok\n", "it does not catch up")
        nodes.wait_for_all()

        c.kill()
        assert nodes.wait_for_owner(other_than="c") == "b"
        a.start()
        wait_until(lambda: health(a) == "ok\n", "it does not follow")
        fill(disk / "filler")
        with tcp_session(a, DATABASE) as client:
            client.send(f"set lost {large()}")  # it is in the log, and not acknowledged
            with contextlib.suppress(EndOfConnectionError):  # another node took over too late
                assert client.take_answer() == [messages.error(messages.OWNER_LOST)]
        wait_until(lambda: nodes.wait_for_owner() == "a", "no other node goes on")
        put(a)
        wait_until(lambda: FULL in health(b), "it does not say that its disk is full")
        (disk / "filler").unlink()
        c.start()
        assert any(key.endswith(b"lost") for key in nodes.stop_and_compare())


def test_a_disk_that_hangs_stops_only_its_node(etcd: EtcdCluster, disk_folder: Path) -> None:
    """First that of a follower, then that of the owner.

    Only the log hangs, which large values do not go through. With the whole disk the process stands still as soon as
    it reads from LMDB, which writes to its lock file then; so another node goes on when the lease is over.
    """
    with failing_disk(disk_folder / "hanging", 64) as disk, running(etcd, disk_folder, "hang") as nodes:
        a, b, c = nodes.servers.values()
        nodes.wait_for_all()
        b.stop()
        with disk.holding(*b.data_dir.glob("log-*.wal")):
            b.start()
            wait_until(lambda: health(b) == "ok\n", "it does not follow")
            disk.hang()
            deadline = time.monotonic() + WAIT_SECONDS_MAX
            while "batches behind" not in health(b):
                assert time.monotonic() < deadline, "it does not say that it is behind"
                assert http_post(a.http, f"use-db {DATABASE} {TOKEN}; set k {time.monotonic_ns()}") == "empty;empty"
            assert answers(b)
            a.kill()
            assert nodes.wait_for_owner(other_than="a") == "c"
            wait_until(lambda: answers(b), "it passes its clients to a node that is gone")
            disk.answer()
            wait_until(lambda: health(b) == "ok\n", "it does not catch up")

            c.kill()
            assert nodes.wait_for_owner(other_than="c") == "b"
            a.start()
            wait_until(lambda: health(a) == "ok\n", "it does not follow")
            with tcp_session(b, DATABASE) as client:
                disk.hang()
                client.send("set lost 1")  # it is in the log, and not acknowledged
                assert nodes.wait_for_owner(other_than="b") == "a"
                assert client.wait_end()
                assert client.take_all() == []
            wait_until(lambda: answers(a), "the other node does not serve")
            assert health(b) == "not ready: changes can't be stored: its disk does not answer\n"
            disk.answer()
            wait_until(lambda: health(b) == "ok\n", "it does not follow")
            c.start()
            assert any(key.endswith(b"lost") for key in nodes.stop_and_compare())
