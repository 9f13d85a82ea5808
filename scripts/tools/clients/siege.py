"""A real server while strangers throw garbage at its ports, and what an honest client notices of it.

Calm windows and windows of garbage alternate, so that whatever else the machine does falls on both alike. In each
window the honest client's requests are timed one by one; compared are the medians of the windows' 99th percentiles.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from tools.clients.server import REPOSITORY, clean_environment
from tools.clients.sessions import OK, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tools.clients.exact_clients import Connection
    from tools.clients.server import Address, Server

KIB = 1024
WINDOW_SECONDS = 0.5
SETTLE_SECONDS = 0.1  # behind a change between calm and garbage, not measured
QUIET_SECONDS_MAX = 20.0
VISITS_PER_SECOND = 40.0  # at each port


@dataclass(frozen=True, slots=True)
class Figures:
    """What a siege measured."""

    ports: tuple[str, ...]
    seconds: float
    """Of garbage."""
    visits: int
    visits_at_once: int
    ended_by_server: int
    sent_bytes: int
    requests: int
    calm_p99_ms: float
    garbage_p99_ms: float
    private_kib_before: int
    private_kib_most: int
    private_kib_after: int
    descriptors_before: int
    descriptors_after: int
    trouble: tuple[str, ...]
    """Lines of the server's log that speak of an error of its own."""

    @property
    def p99_ratio(self) -> float:
        """How many times slower the honest client's 99th percentile is during garbage."""
        return self.garbage_p99_ms / self.calm_p99_ms

    @property
    def growth_kib(self) -> int:
        """What the server's private memory has grown by, once all is over."""
        return self.private_kib_after - self.private_kib_before

    @property
    def growth_most_kib(self) -> int:
        """What it had grown by while garbage came, at most."""
        return self.private_kib_most - self.private_kib_before

    def __str__(self) -> str:
        return (
            f"{'+'.join(self.ports)}: {self.visits} visits in {self.seconds:.0f} s (at most {self.visits_at_once} at"
            f" once, {self.ended_by_server} ended by the server), {self.sent_bytes / KIB**2:.1f} MiB;"
            f" honest p99 {self.calm_p99_ms:.2f} ms calm, {self.garbage_p99_ms:.2f} ms during garbage"
            f" (x {self.p99_ratio:.2f}, {self.requests} requests); private memory {self.private_kib_before} KiB before,"
            f" {self.private_kib_most} at most, {self.private_kib_after} after; descriptors {self.descriptors_before}"
            f" before, {self.descriptors_after} after"
        )


class _Crowd:
    """The process that throws garbage at one port."""

    def __init__(self, kind: str, address: Address, seed: int, visits_per_second: float) -> None:
        command = [sys.executable, "-P", "-m", "tools.clients.garbage", kind, address.host, str(address.port)]
        self._process = subprocess.Popen(
            [*command, str(seed), str(visits_per_second)],
            env=clean_environment({"PYTHONPATH": f"{REPOSITORY / 'scripts'}:{REPOSITORY}"}),
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
        self._process.communicate()

    def say(self, word: str) -> None:
        """Let it `go`, or `rest`."""
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()

    def end(self) -> dict[str, int]:
        """Let it end; what it has counted."""
        output, _ = self._process.communicate("end\n", timeout=QUIET_SECONDS_MAX)
        assert self._process.returncode == 0, "the process that throws garbage has failed"
        counts: dict[str, int] = json.loads(output)
        return counts


class _Honest:
    """A client that changes and reads, one request after the other, and times each."""

    def __init__(self, clients: Sequence[Connection]) -> None:
        self._clients = clients
        self.requests = 0

    def p99_ms(self, seconds: float) -> float:
        """The 99th percentile of the requests of so many seconds."""
        times: list[float] = []
        end = time.perf_counter() + seconds
        while (began := time.perf_counter()) < end:
            client = self._clients[self.requests % len(self._clients)]
            self.requests += 1
            assert client.ask(f"set key {self.requests}") == [OK]
            assert client.ask("get key") == [f"value {self.requests}\n", OK]
            times.append(time.perf_counter() - began)
        return sorted(times)[len(times) * 99 // 100] * 1000


def besiege(
    server: Server,
    database: str,
    ports: Sequence[str],
    seconds: float,
    *,
    seed: int,
    visits_per_second: float = VISITS_PER_SECOND,
) -> Figures:
    """Throw garbage at these ports of a running server for so many seconds, all at once; return the figures.

    The database is there, and the honest client's.
    """
    log_mark = len(server.errors), len(server.output)
    addresses = {"websocket": server.websocket, "http": server.http, "tcp": server.tcp}
    calm: list[float] = []
    garbage: list[float] = []
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(make(server, database)) for make in (websocket_session, tcp_session)]
        honest = _Honest(clients)
        honest.p99_ms(WINDOW_SECONDS)  # what is done once is done before
        descriptors_before, private_before = count_descriptors(server), server.resident_private_kib()
        private_most = private_before
        crowds = [
            stack.enter_context(_Crowd(port, addresses[port], seed + place, visits_per_second))
            for place, port in enumerate(ports)
        ]
        for _ in range(max(2, round(seconds / WINDOW_SECONDS))):
            calm.append(_window(honest, crowds, "rest"))
            garbage.append(_window(honest, crowds, "go"))
            private_most = max(private_most, server.resident_private_kib())
        counts = [crowd.end() for crowd in crowds]
        descriptors_after = wait_for_descriptors(server, descriptors_before)
        honest.p99_ms(WINDOW_SECONDS)  # it goes on
    return Figures(
        ports=tuple(ports),
        seconds=len(garbage) * WINDOW_SECONDS,
        visits=sum(count["visits"] for count in counts),
        visits_at_once=max(count["most_at_once"] for count in counts),
        ended_by_server=sum(count.get("ended_by_server", 0) for count in counts),
        sent_bytes=sum(count.get("sent_bytes", 0) for count in counts),
        requests=honest.requests,
        calm_p99_ms=statistics.median(calm),
        garbage_p99_ms=statistics.median(garbage),
        private_kib_before=private_before,
        private_kib_most=private_most,
        private_kib_after=server.resident_private_kib(),
        descriptors_before=descriptors_before,
        descriptors_after=descriptors_after,
        trouble=tuple(
            line
            for line in (*server.errors[log_mark[0] :], *server.output[log_mark[1] :])
            if "Traceback" in line or " ERROR " in line or "Error:" in line
        ),
    )


def _window(honest: _Honest, crowds: Sequence[_Crowd], word: str) -> float:
    for crowd in crowds:
        crowd.say(word)
    honest.p99_ms(SETTLE_SECONDS)
    return honest.p99_ms(WINDOW_SECONDS)


def count_descriptors(server: Server) -> int:
    """The files and sockets that the server has open."""
    return len(os.listdir(f"/proc/{server.pid}/fd"))


def wait_for_descriptors(server: Server, most: int) -> int:
    """Wait until no more than so many are open, and return how many there are then."""
    deadline = time.monotonic() + QUIET_SECONDS_MAX
    while (count := count_descriptors(server)) > most and time.monotonic() < deadline:
        time.sleep(0.05)
    return count
