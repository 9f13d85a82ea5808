"""Each configuration of docs/proxies.md with the real program: WebSocket and HTTP, through TLS, with a path prefix."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from tests.proxies.running import PACKAGES, asking, running_proxy
from tests.server.console.browser import Browser
from tests.support.certificates import Authority
from tools.clients.exact_clients import HttpClient, HttpResponse, TcpClient, WebSocketClient
from tools.clients.server import Server, nun_db
from tools.clients.sessions import OK, create_database

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.proxies.running import Proxy
    from tools.clients.server import Address

CLIENT = "127.0.0.5"
"""Not that of the proxy, which is the only one trusted."""
FORGED = ["X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.6"]


@pytest.fixture(scope="module", name="behind")
def _behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    settings = {"NUN_TRUSTED_PROXIES": "127.0.0.1", "NUN_MAX_MESSAGE_SIZE": "16MiB"}
    with Server(tmp_path_factory.mktemp("proxied") / "dbs", environment=settings) as server:
        create_database(server, "proxied")
        yield server


def addresses(server: Server, transport: str) -> set[str]:
    with HttpClient(server.http, source="127.0.0.9") as client:
        answer = client.request(f"auth {server.credentials}; list-sessions").text
    report = json.loads(answer.partition(";")[2].partition(" ")[2])
    return {row["address"] for row in report["sessions"] if row["transport"] == transport}


@pytest.mark.parametrize("name", PACKAGES)
def test_as_the_page_says(behind: Server, tmp_path: Path, name: str) -> None:
    authority = Authority(tmp_path)
    tls = authority.trusting()
    with running_proxy(name, behind, authority, tmp_path) as proxy:

        def connect(*headers: str) -> WebSocketClient:
            return WebSocketClient(proxy.https, path="/nun/ws", headers=headers, tls=tls, source=CLIENT)

        with connect(*FORGED) as watching, connect("Sec-WebSocket-Protocol: nun") as writing:
            for client in (watching, writing):
                assert client.ask("use-db proxied pwd") == [OK]
            assert watching.ask(f"watch {name}") == [OK]
            assert writing.ask(f"set {name} {'x' * 100_000}") == [OK]
            assert watching.take(1) == [f"changed {name} {'x' * 100_000}\n"]
            assert addresses(behind, "websocket") == {CLIENT}
        with HttpClient(proxy.https, tls=tls, source=CLIENT) as http:
            commands = f"use-db proxied pwd; get-safe {name}"
            assert http.request(commands, path="/nun/http/", headers=FORGED).text.startswith(
                "empty;value-version 0 xxx"
            )
            listed = http.request(f"auth {behind.credentials}; list-sessions", path="/nun/http/").text
            assert f'"address":"{CLIENT}"' in listed.replace(" ", "")
            http.send_bytes(
                b"POST /nun/http/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
                b"12\r\nuse-db proxied pwd\r\n0\r\n\r\n"
            )
            assert http.read_response().text == "empty"
            assert http.request("", method="GET", path="/nun/http/healthz").text == "ok\n"
        _check_console(behind, proxy, authority)
        _check_commands(behind, proxy, authority, is_all=name == "nginx")
        if name == "haproxy":
            _check_tcp(behind, proxy.tcp, authority)


def _check_console(server: Server, proxy: Proxy, authority: Authority) -> None:
    """Its cookie, its WebSocket and where it sends browsers are right below the prefix too."""
    browser = Browser(proxy.https, tls=authority.trusting(), root="/nun/http")
    assert browser.get("/console").headers["location"].endswith("console/")
    assert browser.get("/console/main.js").status == 200
    assert browser.log_in(server.user, server.password).status == 200
    assert browser.set_cookie.startswith("__Secure-")
    with browser.socket() as page:
        assert page.ask("list-dbs")[-1] == OK


def _check_commands(server: Server, proxy: Proxy, authority: Authority, *, is_all: bool) -> None:
    """The commands as the page shows them; one of them is enough to see that a proxy lets them through."""
    at = ("--ca", str(authority.file), "-u", server.user, "-p", server.password, "-h")
    url = f"https://localhost:{proxy.https.port}/nun/http/"
    for arguments in (("status",), ("databases", "list", "--no-sizes"))[: 2 if is_all else 1]:
        done = nun_db(*at, url, *arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert "proxied" in done.stdout or f"{url}: ready" in done.stdout
    if is_all:
        assert nun_db(*at, f"wss://localhost:{proxy.https.port}/nun/ws", "shell").returncode == 0


def _check_tcp(server: Server, address: Address, authority: Authority) -> None:
    with TcpClient(address, tls=authority.trusting(), source=CLIENT) as client:
        assert client.ask("use-db proxied pwd") == [OK]
        assert addresses(server, "tcp") == {CLIENT}


@pytest.mark.parametrize("name", PACKAGES)
def test_a_password_of_the_proxy_is_not_passed_on(behind: Server, disk_folder: Path, name: str) -> None:
    authority = Authority(disk_folder)
    block = asking(name, "alice", "alice-pwd", disk_folder)
    login = [f"Authorization: Basic {base64.b64encode(b'alice:alice-pwd').decode()}"]
    with running_proxy(name, behind, authority, disk_folder, block=block) as proxy:

        def get(page: str, *headers: str) -> HttpResponse:
            with HttpClient(proxy.https, tls=authority.trusting(), source=CLIENT) as client:
                return client.request("", method="GET", path=f"/nun/http/{page}", headers=headers)

        assert get("metrics").status == 401, "the proxy does not ask"
        assert "nun_db_ready 1" in get("metrics", *login).text
        assert get("livez", *login).text == "ok\n"


@pytest.mark.parametrize(
    ("without", "missing"),
    [
        (
            ("    proxy_http_version 1.1;\n", "    proxy_set_header Upgrade $http_upgrade;\n"),
            "HTTP/1.1 and Upgrade: websocket",
        ),
        (("    proxy_set_header Connection $connection_upgrade;\n",), "Connection: Upgrade"),
    ],
)
def test_a_forgotten_line_is_told_to_the_client(
    behind: Server, tmp_path: Path, without: tuple[str, ...], missing: str
) -> None:
    authority = Authority(tmp_path)
    with (
        running_proxy("nginx", behind, authority, tmp_path, *without) as proxy,
        HttpClient(proxy.https, tls=authority.trusting(), source=CLIENT) as client,
    ):
        client.send_bytes(
            b"GET /nun/ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        response = client.read_response()
    assert response.status == 426
    assert f"the request lacks {missing}" in response.text
