"""HTTP as tools and proxies really speak it: any method and path, chunks, kept and reused connections, and nonsense."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.clients import HttpClient, http_post
from tests.support.sessions import create_database

if TYPE_CHECKING:
    from tests.support.server import Server

DATABASE = "http-requests"
SELECT = f"use-db {DATABASE} pwd"


@pytest.fixture(scope="module", autouse=True)
def _database(shared_server: Server) -> None:
    create_database(shared_server, DATABASE, then="set k v")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "PROPFIND", "GET"])
@pytest.mark.parametrize("path", ["/", "/any/path?with=query", "*"])
def test_any_method_and_path_carries_commands(shared_server: Server, method: str, path: str) -> None:
    with HttpClient(shared_server.http) as client:
        response = client.request(f"{SELECT}; get k", method=method, path=path)
    assert (response.status, response.text) == (200, "empty;value v\n")


def test_the_answer_is_plain_text(shared_server: Server) -> None:
    with HttpClient(shared_server.http) as client:
        response = client.request(f"{SELECT}; set u ж; get u")
    assert response.text == "empty;empty;value ж\n"
    assert response.headers["content-type"] == "text/plain; charset=UTF-8"
    assert response.headers.get("content-length", str(len(response.body))) == str(len(response.body))


def test_a_head_request_has_no_body(shared_server: Server) -> None:
    with HttpClient(shared_server.http) as client:
        assert client.request("", method="HEAD").status == 200
        assert client.request(f"{SELECT}; get k").text == "empty;value v\n"


def test_a_request_without_a_body(shared_server: Server) -> None:
    with HttpClient(shared_server.http) as client:
        client.send_bytes(b"POST / HTTP/1.1\r\nHost: x\r\n\r\n")
        response = client.read_response()
        assert (response.status, response.text) == (200, "")


def test_every_failure_of_a_command_is_still_200(shared_server: Server) -> None:
    for body in ("nonsense", "use-db nowhere x", "get k", "auth a b", f"{SELECT}; set-safe k -5 x"):
        assert http_post(shared_server.http, body)


def test_a_kept_connection_carries_many_requests(shared_server: Server) -> None:
    with HttpClient(shared_server.http) as client:
        for number in range(20):
            response = client.request(f"{SELECT}; set kept {number}; get kept")
            assert response.text == f"empty;empty;value {number}\n"


def test_each_request_is_a_session_of_its_own(shared_server: Server) -> None:
    """Neither the login nor the database of one request is left for the next one on the connection."""
    with HttpClient(shared_server.http) as client:
        assert (
            client.request(f"auth {shared_server.credentials}; {SELECT}; get k").text == "valid auth\n;empty;value v\n"
        )
        assert client.request("cluster-state; get k").text == "Not auth;error no-db-selected\n"


def test_pipelined_requests_are_answered_in_order(shared_server: Server) -> None:
    with HttpClient(shared_server.http) as client:
        for number in range(10):
            body = f"{SELECT}; set pipelined {number}; get pipelined".encode()
            client.send_bytes(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        for number in range(10):
            assert client.read_response().text == f"empty;empty;value {number}\n"


def test_a_body_in_chunks(shared_server: Server) -> None:
    body = f"{SELECT}; set chunked ж; get chunked".encode()
    with HttpClient(shared_server.http) as client:
        client.send_bytes(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        for index in range(len(body)):
            client.send_bytes(b"1\r\n" + body[index : index + 1] + b"\r\n")
        client.send_bytes(b"0\r\n\r\n")
        assert client.read_response().text == "empty;empty;value ж\n"
        assert client.request(f"{SELECT}; get k").text == "empty;value v\n"


def test_a_request_sent_byte_by_byte(shared_server: Server) -> None:
    body = f"{SELECT}; get k".encode()
    with HttpClient(shared_server.http) as client:
        for value in b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body:
            client.send_bytes(bytes([value]))
        assert client.read_response().text == "empty;value v\n"


def test_a_client_that_waits_for_100_continue(shared_server: Server) -> None:
    """curl does so with every body over 1 MB."""
    body = f"{SELECT}; get k".encode()
    with HttpClient(shared_server.http) as client:
        client.send_bytes(
            b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert client.read_response().status == 100
        client.send_bytes(body)
        assert client.read_response().text == "empty;value v\n"


def test_http_1_0(shared_server: Server) -> None:
    body = f"{SELECT}; get k".encode()
    with HttpClient(shared_server.http) as client:
        client.send_bytes(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        assert client.read_response().text == "empty;value v\n"
        assert client.is_ended()


def test_connection_close_is_honoured(shared_server: Server) -> None:
    with HttpClient(shared_server.http) as client:
        assert client.request(f"{SELECT}; get k", headers=["Connection: close"]).text == "empty;value v\n"
        assert client.is_ended()


def test_a_client_that_closes_its_sending_side(shared_server: Server) -> None:
    body = f"{SELECT}; get k".encode()
    with HttpClient(shared_server.http) as client:
        client.send_bytes(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read_response().text == "empty;value v\n"


def test_a_thousand_commands_in_one_body(shared_server: Server) -> None:
    answer = http_post(shared_server.http, ";".join([SELECT, *["increment thousand"] * 1000, "get thousand"]))
    assert answer == ";".join(["empty"] * 1001) + ";value 1000\n"


def test_own_events_do_not_mix_with_results(shared_server: Server) -> None:
    body = f"{SELECT}; watch own; set own 1; increment own; get own; keys own; remove own; get own"
    assert http_post(shared_server.http, body) == "empty;empty;empty;empty;value 2\n;keys ,own\n;empty;value <Empty>\n"


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"this is not http\r\n\r\n", id="no-http"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", id="a-length-in-letters"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", id="a-broken-chunk"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nbad header\r\n\r\n", id="a-broken-header"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: x\r\nX: " + b"y" * 200_000, id="an-endless-header"),
    ],
)
def test_what_is_no_request_is_a_4xx_and_the_server_goes_on(shared_server: Server, data: bytes) -> None:
    with HttpClient(shared_server.http) as client:
        client.send_bytes(data)
        assert 400 <= client.read_response().status < 500
    assert http_post(shared_server.http, f"{SELECT}; get k") == "empty;value v\n"


@pytest.mark.parametrize("body", [b"get \xff\xfe", b"set k \xd0", b"set k \xed\xa0\x80"])
def test_invalid_utf_8_is_a_400_and_nothing_is_run(shared_server: Server, body: bytes) -> None:
    with HttpClient(shared_server.http) as client:
        assert client.request(f"{SELECT}; set k changed; ".encode() + body).status == 400
    assert http_post(shared_server.http, f"{SELECT}; get k") == "empty;value v\n"


def test_a_client_that_leaves_in_the_middle_of_its_body(shared_server: Server) -> None:
    with HttpClient(shared_server.http) as client:
        client.send_bytes(
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n" + f"{SELECT}; set k half".encode()
        )
    assert http_post(shared_server.http, f"{SELECT}; get k; get $connections") == "empty;value v\n;value 1\n"


@pytest.mark.parametrize("cut", [1, 40, 150, 400])
def test_a_request_that_asks_for_another_protocol_is_answered_in_this_one(shared_server: Server, cut: int) -> None:
    """curl --http2 and some Java clients ask for h2c with every request: its commands must run all the same."""
    body = f"{SELECT}; set upgraded {cut}; get upgraded".encode()
    head = (
        b"POST / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nContent-Length: %d\r\n\r\n" % len(body)
    )
    with HttpClient(shared_server.http) as client:
        client.send_bytes((head + body)[:cut])
        client.send_bytes((head + body)[cut:])
        response = client.read_response()
    assert (response.status, response.text) == (200, f"empty;empty;value {cut}\n")


def test_pipelined_answers_leave_as_they_gather(shared_server: Server) -> None:
    http_post(shared_server.http, f"{SELECT}; set wide {'w' * 200_000}")
    body = f"{SELECT}; get wide".encode()
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with HttpClient(shared_server.http) as client:
        client.send_bytes(request * 20)
        assert {client.read_response().text for _ in range(20)} == {"empty;value " + "w" * 200_000 + "\n"}
