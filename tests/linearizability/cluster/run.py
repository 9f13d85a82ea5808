"""One run: a cluster, clients on all its nodes, one fault after another, and what came of it."""

from __future__ import annotations

import contextlib
import random
import shutil
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tests.linearizability.checker import check
from tests.linearizability.cluster.faults import FAULTS, LEASE_SECONDS, Cluster, Fault
from tests.linearizability.histories import HistoryClient, Operation
from tests.support.acknowledged import DATABASE, Load
from tests.support.cluster import Nodes, wait_until
from tools.clients.exact_clients import HttpClient
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from concurrent.futures import Future
    from pathlib import Path

    from tests.linearizability.cluster.machines import Machines
    from tools.clients.server import Server
    from tools.etcd.cluster import EtcdCluster

FAULTS_IN_A_HISTORY: Final = 2
KEYS: Final = 4
BUSY_CLIENTS: Final = 6
SILENT_CLIENTS: Final = 9
"""They read on a connection on which they were silent for up to twice the lease. A client that reads all the time has a
command on its way when the owner changes, and never sees what an owner answers that is none any more."""

ALLOWANCE: Final = 3.0
"""So many times its bound a kind of fault may take, in the middle: all runs on one machine, beside other work."""

REPEATS: Final = 3
"""So often a fault happens that took too long the only time."""

ANSWER_SECONDS: Final = 4.0
"""After so long without an answer a writer tries the next node: one that is paused never closes its connection."""

STOP_SECONDS: Final = 2.0
BACK_SECONDS_MAX: Final = 60.0
"""Until somebody is answered again, and until all nodes serve. Longer than any bound: the figures tell."""

SETTLE_SECONDS: Final = 0.5
ROUSE_SECONDS: Final = 0.1


@dataclass(slots=True)
class Outcome:
    """What one fault did."""

    kind: str
    bound_seconds: float
    silence_seconds: float
    """The longest time in which nobody was answered."""
    worst_seconds: float
    """The longest time that one client was without an answer."""
    acknowledged: int


@dataclass(slots=True)
class Result:
    """What a run found."""

    outcomes: list[Outcome] = field(default_factory=list)
    operations: int = 0
    unknown: int = 0
    """Operations without an answer."""
    acknowledged: int = 0
    lost: list[str] = field(default_factory=list)
    """Keys whose acknowledged value is not there at the end, at any node."""
    not_linearizable: list[str] = field(default_factory=list)
    """Pages that show where."""
    are_equal: bool = False
    """Whether the data of all nodes is the same at the end."""

    def silences(self) -> dict[str, list[float]]:
        """For each kind of fault how long nobody was answered, the shortest time first."""
        found: dict[str, list[float]] = {}
        for one in self.outcomes:
            found.setdefault(one.kind, []).append(one.silence_seconds)
        return {kind: sorted(some) for kind, some in found.items()}

    @property
    def is_good(self) -> bool:
        """Whether all is as it must be."""
        silences = self.silences()
        is_quick = all(
            silences[fault.kind][len(silences[fault.kind]) // 2] <= ALLOWANCE * fault.bound_seconds
            for fault in FAULTS
            if fault.kind in silences
        )
        return is_quick and self.are_equal and not self.lost and not self.not_linearizable


class Silence:
    """Measures for how long nobody is answered."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered_at = time.monotonic()
        self._longest = 0.0

    def note(self, _operation: object = None) -> None:
        """Somebody was answered."""
        with self._lock:
            now = time.monotonic()
            self._longest = max(self._longest, now - self._answered_at)
            self._answered_at = now

    @property
    def answered_at(self) -> float:
        """When somebody was answered last."""
        return self._answered_at

    def take(self) -> float:
        """The longest time since the last call."""
        self.note()
        with self._lock:
            longest, self._longest = self._longest, 0.0
            return longest


class Run:
    """A run on machines that are there."""

    def __init__(
        self,
        machines: Machines,
        etcd: EtcdCluster,
        folder: Path,
        seed: int,
        wrapper: Sequence[str],
        *,
        rest_seconds: float,
    ) -> None:
        """`wrapper` is put before the command of each node; a writer rests so long before each change."""
        hosts = [machine.host for machine in machines.machines]
        self._nodes = Nodes(etcd, folder / "nodes", hosts=hosts, settings={"NUN_LEASE_SECONDS": str(LEASE_SECONDS)})
        for server in self._nodes.servers.values():
            server.wrapper += tuple(wrapper)
        self._cluster = Cluster(machines, etcd, self._nodes)
        self._folder = folder
        self._rest_seconds = rest_seconds
        self._seed = seed
        self._chance = random.Random(seed)
        self._silence = Silence()
        self._began = time.monotonic()
        self._checks: list[Future[None]] = []
        self.result = Result()

    def say(self, text: str) -> None:
        """Tell how far it is."""
        print(f"[{time.monotonic() - self._began:7.1f} s] {text}", file=sys.stderr, flush=True)

    def run(self, kinds: Sequence[Fault], faults: int, seconds: float) -> None:
        """Have so many faults of these kinds, in about this time if that is longer than they take; then judge.

        Raises AssertionError if the cluster does not come back.
        """
        nodes = self._nodes
        try:
            nodes.start()
            nodes.wait_for_owner()
            create_database(self._cluster.servers[0], DATABASE)
            addresses = [server.tcp for server in self._cluster.servers]
            with (
                ThreadPoolExecutor(1) as checking,
                Load(
                    addresses,
                    each=1,
                    answer_seconds=ANSWER_SECONDS,
                    rest_seconds=self._rest_seconds,
                    on_answer=self._silence.note,
                ) as load,
            ):
                for number, some in enumerate(self._rounds(kinds, faults)):
                    rest = self._began + seconds * (len(self.result.outcomes) + len(some)) / max(faults, 1)
                    history = self._round(number, some, load, rest - time.monotonic())
                    self._checks.append(checking.submit(self._check, number, history))
            for checked in self._checks:
                checked.result()
            self._compare(load)
        finally:
            self.result.acknowledged = sum(outcome.acknowledged for outcome in self.result.outcomes)
            for server in nodes.servers.values():
                if server.is_running:
                    server.kill()

    def _slow(self) -> list[Fault]:
        """Kinds that are to happen more often, because they took too long the only time."""
        silences = self.result.silences()
        return [
            fault
            for fault in FAULTS
            if len(silences.get(fault.kind, ())) == 1 and silences[fault.kind][0] > ALLOWANCE * fault.bound_seconds
        ]

    def _rounds(self, kinds: Sequence[Fault], faults: int) -> Iterator[list[Fault]]:
        """All kinds in turn, in another order each time."""
        left: list[Fault] = []
        while faults > 0:
            some = []
            for _ in range(min(FAULTS_IN_A_HISTORY, faults)):
                if not left:
                    left = list(kinds)
                    self._chance.shuffle(left)
                some.append(left.pop())
            faults -= len(some)
            yield some
        for fault in self._slow() * (REPEATS - 1):
            yield [fault]

    def _round(self, number: int, faults: Sequence[Fault], load: Load, seconds: float) -> list[Operation]:
        """Some faults under one history, which it returns; at least so long."""
        until = time.monotonic() + seconds
        keys = [f"h{number}-{key}" for key in range(KEYS)]
        clients = [self._client(keys, place, number) for place in range(BUSY_CLIENTS + SILENT_CLIENTS)]
        for client in clients:
            client.start()
        try:
            for fault in faults:
                time.sleep(self._chance.uniform(0.3, 1.0))  # the moment is the point
                self._have(fault, load, clients[BUSY_CLIENTS:])
            while time.monotonic() < until:
                time.sleep(0.2)
        finally:
            history = _finish(clients)
        return history

    def _client(self, keys: Sequence[str], place: int, number: int) -> HistoryClient:
        is_silent = place >= BUSY_CLIENTS
        return HistoryClient(
            self._cluster.servers,
            DATABASE,
            keys,
            number=place,
            transport=("tcp", "websocket")[place % 2] if is_silent else ("websocket", "tcp", "http")[place % 3],
            seed=self._seed + number,
            kinds=("get", "get-safe") if is_silent else ("get", "get-safe", "set", "set-safe", "increment", "remove"),
            rest_seconds=(LEASE_SECONDS, 2 * LEASE_SECONDS) if is_silent else (0.01, 0.06),
            on_answer=self._silence.note,
        )

    def _have(self, fault: Fault, load: Load, silent: Sequence[HistoryClient]) -> None:
        """One fault, from good to good; some clients say nothing until just before its end."""
        before = load.answers
        load.take_longest()
        self._silence.take()
        began = time.monotonic()
        end = fault.begin(self._cluster)
        happened = time.monotonic()
        target = load.answers + 10
        try:
            wait_until(lambda: load.answers >= target, f"{fault.kind}: nobody is answered", BACK_SECONDS_MAX)
            time.sleep(max(0.0, happened + fault.lasts_seconds - time.monotonic()))
        finally:
            for client in silent:
                client.rouse()
            time.sleep(ROUSE_SECONDS)
            end()
        self._wait_until_ready(fault)
        outcome = Outcome(
            fault.kind, fault.bound_seconds, self._silence.take(), load.take_longest(), load.answers - before
        )
        self.result.outcomes.append(outcome)
        if outcome.silence_seconds > ALLOWANCE * fault.bound_seconds:
            self._keep_logs(f"slow-{len(self.result.outcomes)}", began)
        self.say(
            f"{len(self.result.outcomes)}: {fault.kind}: nobody was answered for {outcome.silence_seconds:.2f} s, one"
            f" client for {outcome.worst_seconds:.2f} s; {outcome.acknowledged} changes in"
            f" {time.monotonic() - began:.1f} s"
        )

    def _keep_logs(self, name: str, began: float) -> None:
        """Keep what the nodes have printed, and when the fault began."""
        moment = time.time() - (time.monotonic() - began)
        lines = [time.strftime("began at %H:%M:%S", time.gmtime(moment))]
        for node, server in self._nodes.servers.items():
            lines += [f"--- {node}", *server.output[-200:], *server.errors[-200:]]
        (self._folder / f"{name}.log").write_text("\n".join(lines), encoding="utf-8")

    def _wait_until_ready(self, fault: Fault) -> None:
        servers = self._cluster.servers
        shown: dict[int, str] = {}

        def are_ready() -> bool:
            for place, server in enumerate(servers):
                shown[place] = _health(server)
            return set(shown.values()) == {"ok\n"}

        try:
            # Or the next fault would be a second one at the same time: a cable's traffic goes on seconds later.
            wait_until(self._cluster.etcd.is_level, f"{fault.kind}: the members of etcd are not level again")
            wait_until(are_ready, "", BACK_SECONDS_MAX)
        except AssertionError as error:
            raise AssertionError(f"{fault.kind}: not all is well again: {error} {shown}") from None
        time.sleep(SETTLE_SECONDS)

    # --- judging -----------------------------------------------------------------------------------------------

    def _check(self, number: int, history: list[Operation]) -> None:
        folder = self._folder / f"history-{number}"
        folder.mkdir()
        verdict = check(history, folder)
        self.result.operations += verdict.operations
        self.result.unknown += verdict.unknown
        if verdict.is_linearizable:
            shutil.rmtree(folder)
        else:
            self.result.not_linearizable.append(str(folder / "history.html"))
            self.say(f"history {number} is not linearizable: {folder}/history.html")

    def _compare(self, load: Load) -> None:
        """Compare the nodes, and look for what was acknowledged."""
        try:
            data = self._nodes.stop_and_compare()
        except AssertionError as error:
            self.say(f"the nodes differ: {error}")
            return
        self.result.are_equal = True
        texts = {key[4:].decode(): entry.text for key, entry in data.items()}
        self.result.lost = [key for key, writer in load.writers.items() if int(texts.get(key, 0)) < writer.acknowledged]


def _finish(clients: Sequence[HistoryClient]) -> list[Operation]:
    """Have them stop; what they did."""
    for client in clients:
        client.is_told_to_stop.set()
        client.rouse()
    deadline = time.monotonic() + STOP_SECONDS
    for client in clients:
        client.join(max(0.0, deadline - time.monotonic()))
    for client in clients:
        while client.is_alive():
            client.hurry()
            client.join(0.1)
        if client.trouble is not None:
            raise client.trouble
    return sorted((one for client in clients for one in client.operations), key=lambda one: one.called_ns)


def _health(server: Server) -> str:
    """What a node says of itself; "" if it does not answer."""
    with contextlib.suppress(OSError, AssertionError), HttpClient(server.http) as client:
        return client.request("", method="GET", path="/readyz").text
    return ""
