"""Nodes that are killed, stopped and paused under load: what was acknowledged is there, and nobody reads old values."""

from __future__ import annotations

import contextlib
import random
import signal
import socket
import time
from typing import TYPE_CHECKING

import pytest

from pynun.limits import CLOSE_SECONDS
from tests.support.acknowledged import DATABASE, Load
from tests.support.cluster import Nodes, running_nodes, wait_until
from tools.clients.exact_clients import EndOfConnectionError, HttpClient
from tools.clients.server import STOP_SECONDS_MAX
from tools.clients.sessions import create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tools.clients.server import Server
    from tools.etcd.cluster import EtcdCluster

LEASE_SECONDS = 3
PREFIX = b"k-"

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(name="nodes")
def _nodes(etcd: EtcdCluster, disk_folder: Path, request: pytest.FixtureRequest) -> Iterator[Nodes]:
    name = request.node.name.replace("[", "-").replace("]", "")[:60]
    with running_nodes(etcd, disk_folder, name=name) as nodes:
        create_database(nodes.servers["a"], DATABASE)
        yield nodes


def check(nodes: Nodes, load: Load) -> None:
    """All nodes have the same, and each key what was acknowledged last, or what was tried after that."""
    data = nodes.stop_and_compare()
    texts = {key[4:].decode(): entry.text for key, entry in data.items() if key[4:].startswith(PREFIX)}
    for key, writer in load.writers.items():
        assert int(texts.get(key, 0)) >= writer.acknowledged, key
    print(f"{load.answers} acknowledged changes; longest time without an answer {load.longest_seconds:.2f} s")


def wait_for_load(load: Load, more: int = 50) -> None:
    """Wait until so many more changes are acknowledged."""
    target = load.answers + more
    wait_until(lambda: load.answers >= target, "nothing is acknowledged any more")


def test_killed_owners_lose_nothing(nodes: Nodes) -> None:
    chance = random.Random(1)
    addresses = [server.tcp for server in nodes.servers.values()]
    with Load(addresses) as load:
        for _ in range(4):
            wait_for_load(load)
            owner = nodes.wait_for_owner()
            time.sleep(chance.uniform(0, 0.2))  # the moment of the kill is the point
            nodes.servers[owner].kill()
            nodes.wait_for_owner(other_than=owner)
            wait_for_load(load)
            nodes.servers[owner].start()
    check(nodes, load)
    assert load.longest_seconds < 20


def test_stopped_owners_and_followers_lose_nothing(nodes: Nodes) -> None:
    addresses = [server.tcp for server in nodes.servers.values()]
    with Load(addresses) as load:
        for name in nodes.servers:  # an upgrade: one after another
            wait_for_load(load)
            assert nodes.servers[name].stop() == 0, nodes.servers[name].log_text()
            wait_for_load(load)
            nodes.servers[name].start()
    check(nodes, load)
    assert load.longest_seconds < 20


def test_a_client_that_does_not_answer_a_close_does_not_hold_up_a_hand_over(nodes: Nodes) -> None:
    seconds = []
    for _ in range(3):
        name = nodes.wait_for_owner()
        with websocket_session(nodes.servers[name], DATABASE):  # it reads nothing any more
            began = time.monotonic()
            nodes.servers[name].send_signal(signal.SIGTERM)
            nodes.wait_for_owner(other_than=name)
            seconds.append(time.monotonic() - began)
        assert nodes.servers[name].wait(STOP_SECONDS_MAX) == 0
        nodes.servers[name].start()
    assert min(seconds) < CLOSE_SECONDS, seconds


def test_an_owner_that_was_paused_answers_nothing_old(nodes: Nodes) -> None:
    name = nodes.wait_for_owner()
    owner, other = nodes.servers[name], nodes.others(name)[0]
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(tcp_session(owner, DATABASE)) for _ in range(4)]
        clients[0].ask("set quiet old")
        for client in clients:
            assert client.ask("get quiet") == ["value old\n", "ok \n"]
        passed_on = stack.enter_context(tcp_session(other, DATABASE))
        owner.send_signal(signal.SIGSTOP)
        nodes.wait_for_owner(other_than=name)
        with contextlib.suppress(EndOfConnectionError):  # another node took over too late to keep the connection
            assert passed_on.ask("get quiet") == ["value old\n", "ok \n"], "it would wait for the paused owner"
        with tcp_session(other, DATABASE) as newer:
            newer.ask("set quiet new")
        time.sleep(2 * LEASE_SECONDS)  # silent for over twice the lease, they ask on their old connections then
        for client in clients:
            client.send("get quiet")
        owner.send_signal(signal.SIGCONT)
        for client in clients:
            assert client.wait_end()
            assert client.take_all() == [], "something was sent after the lease"
    wait_until(lambda: health(owner) == "ok\n", "it does not follow")
    with tcp_session(owner, DATABASE) as client:
        assert client.ask("get quiet") == ["value new\n", "ok \n"]
    nodes.stop_and_compare()


def test_a_paused_owner_loses_nothing_under_load(nodes: Nodes) -> None:
    addresses = [server.tcp for server in nodes.servers.values()]
    with Load(addresses) as load:
        wait_for_load(load)
        name = nodes.wait_for_owner()
        nodes.servers[name].send_signal(signal.SIGSTOP)
        nodes.wait_for_owner(other_than=name)
        time.sleep(2 * LEASE_SECONDS)
        nodes.servers[name].send_signal(signal.SIGCONT)
        wait_for_load(load)
    check(nodes, load)


def test_a_paused_follower_catches_up(nodes: Nodes) -> None:
    owner = nodes.wait_for_owner()
    follower = nodes.others(owner)[0]
    addresses = [nodes.servers[owner].tcp]
    with Load(addresses) as load:
        follower.send_signal(signal.SIGSTOP)
        wait_for_load(load, 200)
        follower.send_signal(signal.SIGCONT)
        wait_for_load(load)
    check(nodes, load)


def test_without_etcd_nobody_answers_and_all_goes_on_when_it_is_back(nodes: Nodes, etcd: EtcdCluster) -> None:
    name = nodes.wait_for_owner()
    other = nodes.others(name)[0]
    (member,) = etcd.members
    with tcp_session(nodes.servers[name], DATABASE) as client:
        client.ask("set k before")
        member.pause()
        try:
            wait_until(lambda: "no quorum" in health(other), "the node counts as ready")
            wait_until(lambda: "no quorum" in health(nodes.servers[name]), "the owner counts as ready")
            assert client.wait_end()
        finally:
            member.resume()
    wait_until(lambda: "ok" in health(other), "the node does not get ready again")
    with tcp_session(other, DATABASE) as client:
        assert client.ask("get k") == ["value before\n", "ok \n"]


def test_a_killed_leader_of_etcd_makes_clients_wait_and_loses_nothing(
    three_etcds: EtcdCluster, disk_folder: Path
) -> None:
    with running_nodes(three_etcds, disk_folder, name="leader") as nodes:
        create_database(nodes.servers["a"], DATABASE)
        addresses = [server.tcp for server in nodes.servers.values()]
        with Load(addresses) as load:
            for _ in range(2):
                wait_for_load(load)
                leader = three_etcds.leader()
                leader.kill()
                wait_for_load(load)
                three_etcds.start(leader)
                three_etcds.wait()
            wait_for_load(load)
            owner, leader = nodes.wait_for_owner(), three_etcds.leader()
            leader.kill()
            nodes.servers[owner].kill()
            nodes.wait_for_owner(other_than=owner)
            wait_for_load(load)
            three_etcds.start(leader)
            nodes.servers[owner].start()
        check(nodes, load)


def test_clients_are_held_for_some_seconds_while_there_is_no_owner(nodes: Nodes, etcd: EtcdCluster) -> None:
    name = nodes.wait_for_owner()
    other = nodes.others(name)[0]
    (member,) = etcd.members
    member.pause()
    try:
        wait_until(lambda: "no quorum" in health(other), "the node counts as ready")
        wait_until(lambda: "no quorum" in health(nodes.servers[name]), "the owner counts as ready")
        began = time.monotonic()
        with socket.create_connection(other.tcp, 40) as held, HttpClient(other.http) as asking:
            assert asking.request("get k").status == 503
            assert held.recv(100) == b""
        assert 8 < time.monotonic() - began < 30
    finally:
        member.resume()


def health(server: Server) -> str:
    """What a node says of itself on its HTTP port; nothing if its term ends just then."""
    with contextlib.suppress(OSError, EndOfConnectionError), HttpClient(server.http) as client:
        return client.request("", method="GET", path="/readyz").text
    return ""
