"""HTTP as tools and proxies really speak it: any method and path, chunks, kept and reused connections, and nonsense."""

from __future__ import annotations

import shutil
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from tools.clients.exact_clients import HttpClient, http_post
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from pathlib import Path

    from tools.clients.server import Server

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


JAVA = (
    b"POST / HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nHost: 127.0.0.1:3013\r\n"
    b"HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAAAAYABgAA\r\nTransfer-encoding: chunked\r\n"
    b"Upgrade: h2c\r\nUser-Agent: Java-http-client/17.0.15\r\n"
)
"""What Java's own client sends with a streamed body."""


@pytest.mark.parametrize("piece_bytes", [1, 7, 1 << 20])
def test_a_streamed_body_with_an_offer_of_http_2(shared_server: Server, piece_bytes: int) -> None:
    body = f"{SELECT}; set streamed {piece_bytes}; get streamed".encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:5], body[5:])) + b"0\r\nX: y\r\n\r\n"
    stream = (JAVA + b"\r\n" + chunks) * 2
    with HttpClient(shared_server.http) as client:
        for start in range(0, len(stream), piece_bytes):
            client.send_bytes(stream[start : start + piece_bytes])
        for _ in range(2):
            assert client.read_response().text == f"empty;empty;value {piece_bytes}\n"
        assert client.request(f"{SELECT}; get k").text == "empty;value v\n"  # the connection is kept


@pytest.mark.parametrize(
    ("lines", "is_kept"),
    [
        (["Connection: Upgrade", "Upgrade: websocket"], True),
        (["Connection: Upgrade, close", "Upgrade: h2c"], False),
        (["Connection: close", "Connection: Upgrade", "Upgrade: h2c"], False),
        (["Connection: keep-alive", "CONNECTION: upgrade", "UPGRADE: h2c"], True),
        (["Upgrade: h2c"], True),
    ],
)
def test_any_offer_of_another_protocol_is_ignored(shared_server: Server, lines: list[str], is_kept: bool) -> None:
    with HttpClient(shared_server.http) as client:
        assert client.request(f"{SELECT}; get k", headers=lines).text == "empty;value v\n"
        if is_kept:
            assert client.request("", method="GET", path="/healthz", headers=lines).text == "ok\n"
        else:
            assert client.is_ended()


def test_an_offer_of_http_2_with_expect_continue(shared_server: Server) -> None:
    body = f"{SELECT}; get k".encode()
    with HttpClient(shared_server.http) as client:
        client.send_bytes(JAVA + b"Expect: 100-continue\r\n\r\n")
        assert client.read_response().status == 100
        client.send_bytes(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body))
        assert client.read_response().text == "empty;value v\n"


@pytest.mark.parametrize("offer", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"])
@pytest.mark.parametrize(
    ("framing", "status"),
    [
        (b"Content-Length: 3\r\nTransfer-Encoding: chunked", 400),
        (b"Transfer-Encoding: chunked\r\nContent-Length: 3", 400),
        (b"Content-Length: 3\r\nContent-Length: 4", 400),
        (b"Content-Length: 3, 3", 400),
        (b"Content-Length: +3", 400),
        (b"Content-Length : 3", 400),
        (b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity", 400),
        (b"Transfer-Encoding: gzip, chunked", 501),
        (b"Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked", 501),
        (b"Content-Length: 99999999999", 413),
    ],
)
def test_a_doubtful_length_is_refused(shared_server: Server, offer: bytes, framing: bytes, status: int) -> None:
    """Else a proxy and the server could differ on where a request ends (RFC 9112 section 6.3)."""
    with HttpClient(shared_server.http) as client:
        client.send_bytes(b"POST / HTTP/1.1\r\nHost: x\r\n" + offer + framing + b"\r\n\r\nget")
        assert client.read_response().status == status
        assert client.is_ended()


def test_http_2_without_an_offer_is_refused_in_words(shared_server: Server) -> None:
    with HttpClient(shared_server.http) as client:
        client.send_bytes(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\x12\x04\0\0\0\0\0")
        response = client.read_response()
    assert response.status == 505
    assert "HTTP/1.1" in response.text


def test_curl_with_http_2_and_a_streamed_body(shared_server: Server) -> None:
    command = ["curl", "-sS", "--http2", "-T", "-", f"http://{shared_server.http}/"]
    sent = subprocess.run(command, input=f"{SELECT}; get k", capture_output=True, text=True, timeout=60, check=True)
    assert sent.stdout == "empty;value v\n"


@pytest.mark.system
@pytest.mark.skipif(shutil.which("java") is None, reason="Java is not installed (apt-get install default-jdk-headless)")
def test_java_with_a_streamed_body(shared_server: Server, tmp_path: Path) -> None:
    source = tmp_path / "Streamed.java"
    source.write_text(
        """
        import java.io.ByteArrayInputStream; import java.net.URI; import java.net.http.*;
        public class Streamed {
            public static void main(String[] a) throws Exception {
                var client = HttpClient.newHttpClient();
                var bytes = a[1].getBytes();
                for (int i = 0; i < 2; i++) {
                    var body = HttpRequest.BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(bytes));
                    var request = HttpRequest.newBuilder(URI.create(a[0])).POST(body).build();
                    System.out.print(client.send(request, HttpResponse.BodyHandlers.ofString()).body());
                }
            }
        }
        """,
        encoding="utf-8",
    )
    command = ["java", str(source), f"http://{shared_server.http}/", f"{SELECT}; get k"]
    sent = subprocess.run(command, capture_output=True, text=True, timeout=100, check=True)
    assert sent.stdout == "empty;value v\n" * 2


def test_pipelined_answers_leave_as_they_gather(shared_server: Server) -> None:
    http_post(shared_server.http, f"{SELECT}; set wide {'w' * 200_000}")
    body = f"{SELECT}; get wide".encode()
    request = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    with HttpClient(shared_server.http) as client:
        client.send_bytes(request * 20)
        assert {client.read_response().text for _ in range(20)} == {"empty;value " + "w" * 200_000 + "\n"}
