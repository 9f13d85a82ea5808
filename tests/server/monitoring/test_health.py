"""GET /livez, /readyz and /healthz: whether the server is alive, and can do its work (docs/monitoring.md)."""

from __future__ import annotations

import contextlib
import shutil
import socket
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio

from pynun import limits
from pynun.server.monitoring.health import DISK_SILENT, Health, Phase
from tests.commit.committer_bench import Bench, run
from tests.support.certificates import Authority
from tests.support.watched import Scrape, fill, growth_forbidden, request, small_disk, wait_until
from tools.clients.exact_clients import EndOfConnectionError, HttpClient, TcpClient, WebSocketClient
from tools.clients.server import Address, Server, free_ports, new_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

LATE_SECONDS = 10.0
"""A request that is given a second is ended long before; with the setting's default it has 15."""
AUTH = b"auth user-name user-pwd"


def test_a_server_that_is_ready_says_ok(shared_server: Server) -> None:
    assert request(shared_server.http, "/healthz") == (200, "ok\n", "text/plain; charset=UTF-8")
    assert request(shared_server.http, "/healthz?from=monitor").text == "ok\n"
    assert request(shared_server.http, f"http://{shared_server.http}/healthz").text == "ok\n"
    head = request(shared_server.http, "/healthz", "HEAD")
    assert (head.status, head.text) == (200, "")


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz"])
def test_clients_ports_answer_all_three(shared_server: Server, path: str) -> None:
    """Load balancers check the port that they serve."""
    for address in (shared_server.http, shared_server.websocket):
        assert request(address, path) == (200, "ok\n", "text/plain; charset=UTF-8")
        assert request(address, f"{path}?x=1").text == "ok\n"
        assert request(address, f"http://{address}{path}").text == "ok\n"
        head = request(address, path, "HEAD")
        assert (head.status, head.text) == (200, "")


def test_pages_on_the_websocket_port_refuse_nobody(new_server: Callable[..., Server]) -> None:
    """They count as no failed handshake, other paths stay handshakes, and a handshake may have any path."""
    with new_server() as server:
        for _ in range(3):
            assert request(server.websocket, "/readyz").status == 200
        with socket.create_connection(server.websocket) as plain:
            plain.settimeout(30.0)
            plain.sendall(b"GET /readyz HTTP/1.0\r\n\r\n")
            answer = b"".join(iter(partial(plain.recv, 1000), b""))
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"\r\nConnection: close\r\n" in answer
        assert Scrape(server.http).value("nun_db_connections_refused_total", reason="handshake") == 0
        assert request(server.websocket, "/readyz/more").status >= 400
        assert request(server.websocket, "/metrics").status >= 400
        assert request(server.websocket, "/readyz", "POST").status >= 400
        with WebSocketClient(server.websocket, path="/livez") as client:
            assert client.ask("use-db none none") != []


def test_any_other_request_is_a_body_of_commands(shared_server: Server) -> None:
    assert request(shared_server.http, "/healthz", "POST", AUTH).text == "valid auth\n"
    assert request(shared_server.http, "/healthz", "GET", AUTH).text == "valid auth\n"
    assert request(shared_server.http, "/healthz", "PUT", AUTH).text == "valid auth\n"
    assert request(shared_server.http, "/healthz", "POST", b"").text == ""
    assert request(shared_server.http, "/healthz/more", "GET") == (200, "", "text/plain; charset=UTF-8")
    assert request(shared_server.http, "/", "GET", AUTH).text == "valid auth\n"


@pytest.mark.parametrize("durability", ["always", "relaxed"])
def test_changes_that_can_not_be_stored_are_told_until_they_can(
    new_server: Callable[..., Server], durability: str
) -> None:
    with new_server(NUN_DURABILITY=durability) as server, TcpClient(server.tcp) as client:
        client.ask(f"auth {server.credentials}")
        client.ask("create-db health health-pwd")
        client.ask("use-db health health-pwd")
        with growth_forbidden(server):
            client.ask("set big " + "x" * 4_000_000)
            wait_until(lambda: request(server.http, "/healthz").status == 503)
            assert request(server.http, "/healthz").text == "not ready: changes can't be stored: File too large\n"
        # Nobody writes anything, and still it is seen that writing works again.
        wait_until(lambda: request(server.http, "/healthz").text == "ok\n")
        assert client.ask("set small 1")[-1] == "ok \n"


def test_a_disk_that_is_full_is_told_until_there_is_room(disk_folder: Path) -> None:
    with small_disk(disk_folder / "disk", "32m") as disk, Server(disk / "dbs") as server:
        assert request(server.http, "/healthz").text == "ok\n"
        filler = disk / "filler"
        fill(filler)
        for address in (server.http, server.websocket):
            for path in ("/readyz", "/healthz"):
                answer = request(address, path)
                assert (answer.status, answer.text) == (503, "not ready: the disk of the data is full\n")
            assert request(address, "/livez").status == 200, "a restart makes no room"
        filler.unlink()
        assert request(server.http, "/healthz").text == "ok\n"


def test_a_write_that_hangs_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing fails, and nothing is stored: without a look at the clock the server would seem ready."""
    monkeypatch.setattr(limits, "COMMIT_HANGS_SECONDS", 0.2)

    async def test(bench: Bench) -> None:
        health = Health(tmp_path)
        health.phase, health.committer = Phase.READY, bench.committer
        bench.store.hold()
        bench.change("k")
        await bench.write_begins()
        with trio.fail_after(20):
            while await health.reason() != DISK_SILENT:  # noqa: ASYNC110 - it is a time that passes
                await trio.sleep(0.02)
            bench.store.let_go()
            while await health.reason() is not None:  # noqa: ASYNC110
                await trio.sleep(0.02)

    run(test)


def test_a_disk_that_says_nothing_costs_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DISK_ANSWER_SECONDS", 0.05)
    goes_on = threading.Event()
    asked = []

    def hang(path: Path) -> None:
        asked.append(path)
        goes_on.wait(20)

    async def main() -> None:
        health = Health(tmp_path)
        health.phase = Phase.READY
        assert await health.reason() is None
        with monkeypatch.context() as patch:
            patch.setattr(shutil, "disk_usage", hang)
            try:
                for _ in range(50):  # more than trio has threads
                    assert await health.reason() == DISK_SILENT
            finally:
                goes_on.set()
        assert len(asked) == 1
        with trio.fail_after(20):
            while await health.reason() is not None:  # noqa: ASYNC110 - the thread ends by itself
                await trio.sleep(0.02)

    trio.run(main)


def test_an_address_of_its_own_answers_from_the_start_to_the_end_of_the_stop(new_server: Callable[..., Server]) -> None:
    address = Address("127.0.0.1", *free_ports(1))
    server = new_server(NUN_METRICS=str(address), NUN_ARGON2_MEMORY_KIB="65536", NUN_ARGON2_PASSES="15")
    starting = threading.Thread(target=server.start)
    starting.start()
    try:
        wait_until(lambda: _told(address) == "not ready: starting\n")
    finally:
        starting.join()
    assert _told(address) == "ok\n"
    with socket.create_connection(server.tcp) as silent:  # who does not hang up keeps the stop waiting
        silent.settimeout(30.0)
        assert silent.recv(10) == b"ok \n"
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        try:
            wait_until(lambda: _told(address) == "not ready: stopping\n")
            assert request(address, "/readyz").status == 503
            assert request(address, "/livez").status == 200
        finally:
            silent.close()
            stopping.join()
    assert server.exit_code == 0


def _told(address: Address) -> str:
    """What /healthz says there; nothing while nobody listens."""
    try:
        return request(address, "/healthz").text
    except OSError:
        return ""


def test_with_tls_it_is_told_by_tls(disk_folder: Path) -> None:
    certificates = Authority(disk_folder)
    environment = {**certificates.environment(), "NUN_METRICS": "127.0.0.1:0"}
    with Server(disk_folder / "dbs", environment=environment) as server:
        assert server.metrics is not None
        for address in (server.http, server.metrics, server.websocket):
            assert request(address, "/livez", tls=certificates.trusting()).text == "ok\n"
            assert request(address, "/healthz", tls=certificates.trusting()).text == "ok\n"
        plain = request(server.http, "/healthz")
        assert plain.status == 400


def _is_ended(client: HttpClient, seconds_max: float) -> bool:
    """Whether the server ends the connection in so many seconds."""
    client.socket.settimeout(seconds_max)
    return client.is_ended()


@pytest.fixture(scope="module", name="hasty")
def _hasty() -> Iterator[Server]:
    """A server that waits a second for a request to its address of its own."""
    environment = {"NUN_METRICS": "127.0.0.1:0", "NUN_HANDSHAKE_TIMEOUT": "1"}
    with new_folder() as folder, Server(folder / "dbs", environment=environment) as server:
        yield server


def test_an_address_of_its_own_runs_no_commands(hasty: Server) -> None:
    assert hasty.metrics is not None
    for path in ("/livez", "/readyz", "/healthz"):
        assert request(hasty.metrics, path).text == "ok\n"
    assert request(hasty.metrics, "/").status == 404
    assert request(hasty.metrics, "/healthz", "POST").status == 404
    refused = request(hasty.metrics, "/healthz", "POST", AUTH)
    assert (refused.status, refused.text) == (413, "message too big")


@pytest.mark.parametrize(
    ("sent", "is_second"),
    [(b"", False), (b"", True), (b"GET /health", False), (b"GET /healthz HTTP/1.1\r\nHost: h\r\nX: ", True)],
    ids=["nothing", "nothing more", "line", "second head"],
)
def test_a_request_to_an_address_of_its_own_has_its_time(hasty: Server, sent: bytes, is_second: bool) -> None:
    """By single bytes too."""
    assert hasty.metrics is not None
    began = time.monotonic()
    with HttpClient(hasty.metrics) as client:
        if is_second:
            assert client.request("", method="GET", path="/healthz").status == 200
            if not sent:
                assert not _is_ended(client, 2.0), "between requests it has longer"
                return
            began = time.monotonic()
        client.send_bytes(sent)
        while sent and not _is_ended(client, 0.2):
            assert time.monotonic() < began + LATE_SECONDS, "it is still waited for"
            client.send_bytes(b"x")
        assert _is_ended(client, LATE_SECONDS)
        assert 0.8 < time.monotonic() - began < LATE_SECONDS


@pytest.mark.parametrize("is_tls", [False, True])
def test_nobody_keeps_a_monitor_out(new_server: Callable[..., Server], disk_folder: Path, is_tls: bool) -> None:
    """A client with all connections of the port, silent or busy, loses one to each new client."""
    authority = Authority(disk_folder)
    tls = authority.trusting() if is_tls else None
    environment = authority.environment() if is_tls else {}
    with new_server(NUN_METRICS="127.0.0.1:0", **environment) as server, contextlib.ExitStack() as stack:
        assert server.metrics is not None
        for _ in range(2 * limits.MONITORS_MAX):
            silent = stack.enter_context(socket.create_connection(server.metrics))
            silent.sendall(b"" if is_tls else b"GET /metr")
        assert request(server.metrics, "/healthz", tls=tls).text == "ok\n"
        kept = [stack.enter_context(HttpClient(server.metrics, tls=tls)) for _ in range(2 * limits.MONITORS_MAX)]
        asked = 0
        for client in kept:
            with contextlib.suppress(OSError, EndOfConnectionError):
                asked += client.request("", method="GET", path="/healthz").status == 200
        assert asked >= limits.MONITORS_MAX // 2
        assert request(server.metrics, "/healthz", tls=tls).text == "ok\n"
        assert request(server.metrics, "/metrics", tls=tls).status == 200
    assert server.errors == []
