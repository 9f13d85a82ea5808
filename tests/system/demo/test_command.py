"""The command starts, serves the page and nothing else, and stops cleanly."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pynun.demo.addresses import list_addresses
from tests.cli.command import run
from tests.system.demo.running import Demo
from tools.clients.exact_clients import WebSocketClient
from tools.clients.server import REPOSITORY, Address, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

STATIC = REPOSITORY / "pynun" / "demo" / "static"


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    """A running demo that the tests share."""
    with Demo() as running:
        yield running


def guest(demo: Demo) -> WebSocketClient:
    """Return a connection that is logged in as the page is."""
    client = WebSocketClient(Address("127.0.0.1", demo.websocket_port))
    told = demo.configuration()
    assert client.ask(f"use-db {told['database']} {told['user']} {told['token']}") == ["ok \n"]
    return client


def test_it_says_where_to_open_the_page_and_how_to_stop(demo: Demo) -> None:
    assert f"    {demo.url}\n" in demo.greeting
    assert f"ws://127.0.0.1:{demo.websocket_port}" in demo.greeting
    assert "Only this machine can reach it" in demo.greeting
    assert demo.greeting.endswith("Stop it with Ctrl-C.\n")


@pytest.mark.parametrize("path", sorted(STATIC.iterdir()), ids=lambda path: path.name)
def test_every_file_is_served_as_what_it_is(demo: Demo, path: Path) -> None:
    types = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8",
             ".js": "text/javascript; charset=utf-8", ".mjs": "text/javascript; charset=utf-8",
             ".svg": "image/svg+xml", ".LICENSE": "text/plain; charset=utf-8"}  # fmt: skip
    url = "/" if path.name == "index.html" else f"/{path.name}"
    answer = demo.get(url)
    assert (answer.status, answer.body) == (200, path.read_bytes())
    assert answer.headers["content-type"] == types[path.suffix]
    assert answer.headers["x-content-type-options"] == "nosniff"
    head = demo.get(url, method="HEAD")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(path.stat().st_size))
    same = demo.get(url, headers={"If-None-Match": answer.headers["etag"]})
    assert (same.status, same.body) == (304, b"")


def test_the_configuration_is_what_the_page_needs_and_is_not_kept(demo: Demo) -> None:
    assert demo.configuration().keys() == {"database", "user", "token", "websocketPort", "others"}
    assert demo.get("/config.json").headers["cache-control"] == "no-store"


def test_the_page_may_only_load_itself_and_reach_its_server(demo: Demo) -> None:
    for host in ("127.0.0.1", "localhost", "192.0.2.7"):
        policy = demo.get("/", headers={"Host": f"{host}:{demo.port}"}).headers["content-security-policy"]
        assert f"connect-src 'self' ws://{host}:{demo.websocket_port};" in policy
        assert policy.startswith("default-src 'none';")
        assert "unsafe" not in policy


def test_the_page_asks_for_nothing_from_elsewhere() -> None:
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        text = text.replace("https://github.com/antfu", "")  # in a licence
        assert not re.search(r"https?://|innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", text), (
            path.name
        )


@pytest.mark.parametrize(
    "path",
    [
        "/../demo.py",
        "/..%2fdemo.py",
        "/%2e%2e/demo.py",
        "/static/../../demo.py",
        "//etc/passwd",
        "/etc/passwd",
        "/....//demo.py",
        "/index.html/../../demo.py",
        "/main.js%00.css",
        "\\..\\demo.py",
        "/demo.py",
        "/static/",
    ],
)
def test_nothing_but_the_packaged_files_is_there(demo: Demo, path: str) -> None:
    with socket.create_connection(("127.0.0.1", demo.port), 10) as connection:
        connection.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        with connection.makefile("rb") as answer:
            text = answer.read()
    assert text.startswith(b"HTTP/1.1 404 "), text
    assert text.endswith(b"\r\n\r\nNot Found\n")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_only_reading_is_allowed(demo: Demo, method: str) -> None:
    answer = demo.get("/", method=method)
    assert (answer.status, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("host", ["rebound.example", "127.0.0.1.example:80", "", "[::1%25eth0]"])
def test_a_foreign_name_for_this_machine_gets_no_token(demo: Demo, host: str) -> None:
    answer = demo.get("/config.json", headers={"Host": host})
    assert (answer.status, answer.body) == (421, b"Misdirected Request\n")


def test_a_request_that_is_none_is_refused_without_an_echo(demo: Demo) -> None:
    with socket.create_connection(("127.0.0.1", demo.port), 10) as connection:
        connection.sendall(b"<script>alert(1)</script>\r\n\r\n")
        with connection.makefile("rb") as answer:
            assert b"script" not in answer.read()


def test_the_page_goes_on_while_others_hold_connections(demo: Demo) -> None:
    silent = [socket.create_connection(("127.0.0.1", demo.port), 10) for _ in range(40)]
    try:
        assert demo.get("/").status == 200
    finally:
        for connection in silent:
            connection.close()


def test_a_guest_has_the_keys_of_the_demo_only(demo: Demo) -> None:
    with guest(demo) as client:
        assert client.ask("set-safe demo-view -1 {}") == ["ok \n"]
        assert client.ask("get-safe $connections")[-1] == "ok \n"
        for refused in ("set other 1", "get other", "watch other", "remove demo-view", "set $connections 7"):
            assert client.ask(refused)[-1] == "error permission denied\n \n", refused
        for refused in ("create-db x y", "set-permissions guest rwix *", "debug list-dbs", "snapshot true x"):
            assert client.ask(refused)[-1].startswith("error "), refused
        assert client.ask("get $$token")[-1].startswith("error ")


def test_a_guest_can_send_no_large_values(demo: Demo) -> None:
    with guest(demo) as client:
        client.send("set-safe demo-view -1 " + "x" * 70_000)
        assert client.wait_close() == 1009


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_it_cleanly_and_its_data_is_gone(disk_folder: Path, number: signal.Signals) -> None:
    with Demo(environment={"TMPDIR": str(disk_folder)}) as running:
        assert len(list(disk_folder.iterdir())) == 1
        with guest(running) as client:
            running.send_signal(number)
            assert client.wait_close() == 1001
        assert running.wait() == (0, "Stopped; its data is removed.\n", "")
    assert list(disk_folder.iterdir()) == []


def test_a_given_folder_is_kept_and_each_run_has_a_token_of_its_own(disk_folder: Path) -> None:
    running = Demo("--data-dir", str(disk_folder / "data"))
    tokens = []
    for expected in ("<Empty>", "kept"):
        with running:
            tokens.append(running.configuration()["token"])
            with guest(running) as client:
                if len(tokens) == 2:
                    assert client.ask(f"use-db pynun-demo guest {tokens[0]}") == ["error Invalid token \n"]
                assert client.ask("get demo-view")[0] == f"value {expected}\n"
                client.ask("set demo-view kept")
                client.close()
            assert running.stop() == (0, "Stopped.\n", "")
    assert tokens[0] != tokens[1]


def test_settings_of_a_real_server_do_not_reach_the_demo(disk_folder: Path) -> None:
    environment = {"NUN_DBS_DIR": str(disk_folder), "NUN_WS_ADDR": "0.0.0.0:1", "NUN_USER": "ana", "NUN_PWD": "secret"}
    with Demo(environment=environment) as running:
        assert running.get("/").status == 200
    assert list(disk_folder.iterdir()) == []


def test_the_default_ports_give_way_to_free_ones() -> None:
    with Demo() as first:
        command = [sys.executable, "-P", "-m", "pynun", "demo", "--port", str(first.port)]
        taken = subprocess.run(
            command, env=clean_environment({}), cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False
        )
        assert taken.returncode == 1
        assert f"can't serve the page on 127.0.0.1:{first.port}: Address already in use" in taken.stderr
        taken = subprocess.run(
            [*command[:-1], "0", "--ws-port", str(first.websocket_port)],
            env=clean_environment({}), cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip
        assert taken.returncode == 1
        assert f"can't listen for websocket on 127.0.0.1:{first.websocket_port}" in taken.stderr
        assert "--ws-port" in taken.stderr
    with socket.socket() as page, socket.socket() as websocket:
        for holder, port in ((page, 3015), (websocket, 3016)):
            holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                holder.bind(("127.0.0.1", port))
                holder.listen()
            except OSError:
                pass  # another program of this machine has it, which is as good
        with Demo(has_default_ports=True) as second:
            assert second.port != 3015
            assert second.websocket_port != 3016


def test_with_lan_it_names_the_addresses_of_this_machine_and_warns() -> None:
    addresses = list_addresses()
    if not addresses:
        pytest.skip("this machine has no network address besides its own loopback")
    with Demo("--lan") as running:
        urls = [f"http://{item.address}:{running.port}/" for item in addresses]
        for url in urls:
            assert f"    {url}" in running.greeting
        assert "Anyone on that network can take part" in running.greeting
        assert running.configuration()["others"] == urls
        for reachable in (running.port, running.websocket_port):
            socket.create_connection((addresses[0].address, reachable), 10).close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--lan", "--host", "127.0.0.1"], "--lan and --host can't be combined"),
        (["--host", "example.org"], "is not an IP address"),
    ],
)
def test_options_that_make_no_sense_are_told(options: list[str], message: str) -> None:
    result = run("demo", *options)
    assert (result.code, result.output) == (2, "")
    assert message in result.errors


def test_an_address_of_another_machine_is_told() -> None:
    result = run("demo", "--host", "192.0.2.1")
    assert result.code == 1
    assert "can't serve the page on 192.0.2.1:0: Cannot assign requested address" in result.errors
