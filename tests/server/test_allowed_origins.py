"""NUN_ALLOWED_ORIGINS: which web pages may have their scripts talk to the server, on WebSocket and on HTTP (CORS)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.clients.exact_clients import HttpClient
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tools.clients.server import Server

ALLOWED = "https://viewer.example.org"


@pytest.fixture(scope="module", name="guarded")
def _guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from tools.clients.server import Server, new_folder

    settings = {"NUN_ALLOWED_ORIGINS": f"{ALLOWED}, http://127.0.0.1:8080"}
    with new_folder() as folder, Server(folder / "dbs", environment=settings) as server:
        create_database(server, "pages")
        yield server


@pytest.mark.parametrize(
    "lines",
    [
        ["Origin: https://evil.example.org"],
        ["Origin: null"],
        ["Origin: file://"],
        ["Origin: http://viewer.example.org"],
        ["Origin: https://viewer.example.org:8443"],
        ["Origin: https://viewer.example.org.evil.org"],
        ["Origin: "],
        [f"Origin: {ALLOWED}", "Origin: https://evil.example.org"],
        ["ORIGIN: https://evil.example.org"],
    ],
)
def test_another_page_gets_403_and_nothing_runs(guarded: Server, lines: list[str]) -> None:
    with HttpClient(guarded.http) as client:
        for _ in range(2):
            response = client.request("use-db pages pwd; set planted 1", headers=lines)
            assert (response.status, response.text) == (403, "this page may not connect (NUN_ALLOWED_ORIGINS)\n")
            assert "access-control-allow-origin" not in response.headers
        preflight = client.request("", method="OPTIONS", headers=[*lines, "Access-Control-Request-Method: POST"])
        assert preflight.status == 403
        assert client.request("", method="GET", path="/metrics", headers=lines).status == 403
        assert client.request("use-db pages pwd; get planted").text == "empty;value <Empty>\n"


@pytest.mark.parametrize("origin", [ALLOWED, "HTTPS://Viewer.example.org", f"{ALLOWED}:443", "http://127.0.0.1:8080"])
def test_an_allowed_page_may_read_every_answer(guarded: Server, origin: str) -> None:
    with HttpClient(guarded.http) as client:
        for body, path, status in (
            ("use-db pages pwd; get k", "/", 200),
            ("", "/healthz", 200),
            (b"get \xff", "/", 400),
        ):
            method = "POST" if body else "GET"
            response = client.request(body, method=method, path=path, headers=[f"Origin: {origin}"])
            assert response.status == status
            assert response.headers["access-control-allow-origin"] == origin
            assert response.headers["vary"] == "Origin"
        client.send_bytes(f"POST / HTTP/1.1\r\nOrigin: {origin}\r\nContent-Length: 99999999\r\n\r\n".encode())
        response = client.read_response()
        assert (response.status, response.headers["access-control-allow-origin"]) == (413, origin)


def test_a_browser_that_asks_before_it_sends(guarded: Server) -> None:
    asked = [
        f"Origin: {ALLOWED}",
        "Access-Control-Request-Method: PUT",
        "Access-Control-Request-Headers: content-type,x-mine",
        "Access-Control-Request-Private-Network: true",
    ]
    with HttpClient(guarded.http) as client:
        response = client.request("", method="OPTIONS", headers=asked)
        assert (response.status, response.body) == (204, b"")
        assert response.headers["access-control-allow-origin"] == ALLOWED
        assert response.headers["access-control-allow-methods"] == "PUT"
        assert response.headers["access-control-allow-headers"] == "content-type,x-mine"
        assert response.headers["access-control-allow-private-network"] == "true"
        assert "content-length" not in response.headers
        assert client.request("use-db pages pwd; get k").text == "empty;value <Empty>\n"  # the connection goes on


def test_who_is_no_browser_is_not_restricted(guarded: Server) -> None:
    with HttpClient(guarded.http) as client:
        response = client.request("use-db pages pwd; get k")
        assert (response.status, response.headers["vary"]) == (200, "Origin")
        assert client.request("use-db pages pwd; get k", method="OPTIONS").text == "empty;value <Empty>\n"


def test_a_trailer_is_no_origin(guarded: Server) -> None:
    with HttpClient(guarded.http) as client:
        client.send_bytes(
            b"POST / HTTP/1.1\r\nHost: x\r\nOrigin: https://evil.example.org\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\nOrigin: " + ALLOWED.encode() + b"\r\n\r\n"
        )
        assert client.read_response().status == 403


def test_an_offer_of_http_2_hides_no_origin(guarded: Server) -> None:
    lines = ["Origin: https://evil.example.org", "Connection: Upgrade", "Upgrade: h2c"]
    with HttpClient(guarded.http) as client:
        assert client.request("nonsense", headers=lines).status == 403


@pytest.mark.parametrize("lines", [[], ["Origin: https://evil.example.org", "Access-Control-Request-Method: POST"]])
def test_without_the_setting_the_answer_is_as_ever(shared_server: Server, lines: list[str]) -> None:
    with HttpClient(shared_server.http) as client:
        response = client.request("nonsense", method="OPTIONS", headers=lines)
    assert (response.status, response.text) == (200, "unknown command: nonsense")
    assert response.headers.keys() == {"date", "content-type", "content-length"}
