"""Clients that say nothing: those that are gone leave the count of connections in time, those that are there stay."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pynun.transports.service import PROGRAM_PATIENCE, check_seconds
from pynun.transports.sockets import CHECKS
from tests.support.watched import wait_until
from tools.clients.exact_clients import TcpClient
from tools.clients.server import REPOSITORY, Address, Server, clean_environment
from tools.clients.sessions import OK, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

IDLE_SECONDS = 3
BUSY_SECONDS = 20
"""What a machine that is busy may add: who is not looked for stays for minutes."""
DATABASE = "silent"
SILENT_PROGRAM_SECONDS_MAX = (PROGRAM_PATIENCE * CHECKS + 2) * IDLE_SECONDS / CHECKS


def test_who_answers_pings_stays_and_who_does_not_goes(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_IDLE_TIMEOUT=str(IDLE_SECONDS)) as server:
        create_database(server, DATABASE)
        with (
            tcp_session(server, DATABASE) as observer,
            websocket_session(server, DATABASE) as answering,
            websocket_session(server, DATABASE) as talking,
            websocket_session(server, DATABASE) as silent,
        ):
            talking.answers_pings = silent.answers_pings = False
            assert observer.ask("watch $connections") == [OK]
            observer.quiet()
            began = time.monotonic()
            while "changed $connections 3\n" not in observer.messages:
                assert time.monotonic() < began + SILENT_PROGRAM_SECONDS_MAX + BUSY_SECONDS, "the silent one stayed"
                talking.ask("set k v")
                answering.quiet(0.1)  # takes pings, and answers them
                silent.quiet(0.1)
                observer.pump_until(lambda: bool(observer.messages), timeout_seconds=0.1)
            elapsed = time.monotonic() - began
            assert elapsed > 3 * IDLE_SECONDS, "a program that stands still is given longer"
            assert silent.pings >= 2
            assert answering.pings >= 3  # so it has sent nothing but pongs for three times the idle time
            assert talking.ask("get k") == ["value v\n", OK]
            assert answering.ask("get k") == ["value v\n", OK]
            assert silent.wait_end()
            assert observer.ask("get $connections")[-2:] == ["value 3\n", OK]


@pytest.mark.parametrize("idle_seconds", [45, 86_400])
def test_the_pings_hold_behind_proxies_with_30_s(idle_seconds: float) -> None:
    """Who falls silent just after a check is pinged at the second one from there; scripts/soak waits for it."""
    assert 2 * check_seconds(idle_seconds) <= 20


def test_the_kernel_asks_silent_machines(new_server: Callable[..., Server]) -> None:
    """TCP keep-alive is set on what every port accepts: the kernel tells when the next probe is due."""
    with new_server(NUN_IDLE_TIMEOUT="30") as server, contextlib.ExitStack() as stack:
        for address in (server.websocket, server.http):
            stack.enter_context(TcpClient(address, greeting=False))
        stack.enter_context(TcpClient(server.tcp))
        addresses = server.websocket, server.http, server.tcp
        wait_until(lambda: all(0 < keepalive_seconds(address) <= 10 for address in addresses))


def keepalive_seconds(address: Address) -> float:
    """When the kernel next probes the client of the server's only connection at an address (proc_net_tcp.txt).

    0 while the kernel still waits for something else, as for the client's acknowledgment of the greeting.
    """
    for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:]:
        _, local, _, state, _, timer, *_ = line.split()
        if state == "01" and int(local.partition(":")[2], 16) == address.port:
            kind, _, ticks = timer.partition(":")
            return int(ticks, 16) / os.sysconf("SC_CLK_TCK") if kind == "02" else 0.0
    raise AssertionError(f"no connection to {address}")


_FAR_CLIENT = """\
import sys
from tools.clients.exact_clients import TcpClient, WebSocketClient
from tools.clients.server import Address
host, *ports = sys.argv[1:4]
tcp = TcpClient(Address(host, int(ports[0])))
websocket = WebSocketClient(Address(host, int(ports[1])))
assert tcp.ask("use-db silent pwd") == websocket.ask("use-db silent pwd") == ["ok \\n"]
assert sys.argv[4] == "idle" or tcp.ask("watch k") == websocket.ask("watch k") == ["ok \\n"]
print("connected", flush=True)
while True:
    websocket.quiet(60)
"""


class FarMachine:
    """A network namespace that stands for another machine, with a cable that can be pulled out."""

    def __init__(self, name: str, host: str, far_host: str) -> None:
        self._near, self._far = f"{name}a", f"{name}b"
        self.host, self._far_host = host, far_host
        self._ip("link", "add", self._near, "type", "veth", "peer", "name", self._far)

    def _ip(self, *arguments: str) -> None:
        subprocess.run(["ip", *arguments], check=True, capture_output=True)

    def connect(self) -> None:
        self._ip("address", "add", f"{self.host}/30", "dev", self._near)
        self._ip("link", "set", self._near, "up")

    def start(self, *command: str) -> subprocess.Popen[str]:
        """Run a command there."""
        script = f'read go; ip address add {self._far_host}/30 dev {self._far}; ip link set {self._far} up; exec "$@"'
        process = subprocess.Popen(
            ["unshare", "-n", "sh", "-c", script, "sh", *command],
            env=clean_environment({"PYTHONPATH": str(REPOSITORY / "scripts")}),
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdin is not None
        while os.readlink(f"/proc/{process.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            time.sleep(0.01)  # there is nothing to wait for but that the process has gone there
        self._ip("link", "set", self._far, "netns", str(process.pid))
        process.stdin.write("go\n")
        process.stdin.flush()
        return process

    def pull_the_cable(self) -> None:
        self._ip("link", "set", self._near, "down")

    def close(self) -> None:
        subprocess.run(["ip", "link", "delete", self._near], check=False, capture_output=True)


@pytest.fixture(name="far_machine")
def _far_machine() -> Iterator[FarMachine]:
    number = os.getpid() % 200
    try:
        machine = FarMachine(f"nun{os.getpid() % 100_000}", f"10.213.{number}.1", f"10.213.{number}.2")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("needs the right to make network namespaces and interfaces, and the command ip (iproute2)")
    try:
        machine.connect()
        yield machine
    finally:
        machine.close()


@pytest.mark.parametrize("is_busy", [False, True], ids=["with nothing on the way", "with data on the way"])
def test_a_machine_that_is_gone_leaves_in_the_idle_time(
    disk_folder: Path, far_machine: FarMachine, is_busy: bool
) -> None:
    server = Server(disk_folder / "dbs", environment={"NUN_IDLE_TIMEOUT": str(IDLE_SECONDS)})
    server.websocket = server.tcp = Address("0.0.0.0", 0)
    with server:
        server.tcp, server.websocket = (
            Address("127.0.0.1", address.port) for address in (server.tcp, server.websocket)
        )
        create_database(server, DATABASE)
        with tcp_session(server, DATABASE) as observer, tcp_session(server, DATABASE) as writer:
            assert observer.ask("watch $connections") == [OK]
            ports = (str(server.tcp.port), str(server.websocket.port))
            what = "busy" if is_busy else "idle"
            far = far_machine.start(sys.executable, "-c", _FAR_CLIENT, far_machine.host, *ports, what)
            with far:
                try:
                    assert far.stdout is not None
                    assert far.stdout.readline() == "connected\n"
                    assert observer.pump_until(lambda: "changed $connections 4\n" in observer.messages)
                    observer.quiet()
                    far_machine.pull_the_cable()
                    began = time.monotonic()
                    if is_busy:
                        assert writer.ask("set k v") == [OK]
                    assert observer.pump_until(lambda: "changed $connections 2\n" in observer.messages)
                    # Sooner than a program that stands still on a machine that is there.
                    assert time.monotonic() - began < PROGRAM_PATIENCE * IDLE_SECONDS
                finally:
                    far.kill()
