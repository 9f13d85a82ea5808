"""The opening handshake of WebSocket as proxies and libraries really send it, and the answers to what is none."""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

import pytest

from tools.clients.exact_clients import HttpClient, WebSocketClient
from tools.clients.sessions import OK, create_database, tcp_session

if TYPE_CHECKING:
    from tools.clients.exact_clients import HttpResponse
    from tools.clients.server import Server

KEY = ["Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
UPGRADE = ["Connection: Upgrade", "Upgrade: websocket"]


def shake_hands(server: Server, *lines: str, first: str = "GET /room?x=1 HTTP/1.1") -> HttpResponse:
    """Send a head as it is, and return the answer."""
    with HttpClient(server.websocket) as client:
        client.send_bytes("\r\n".join([first, *lines, "", ""]).encode("latin-1"))
        return client.read_response(method=first.split(" ")[0])


@pytest.mark.parametrize(
    "lines",
    [
        ["Host: x", "Connection: keep-alive", "Upgrade: websocket", "Connection: Upgrade"],
        ["Host: x", "Connection: Upgrade", "Upgrade: websocket", "Connection: keep-alive"],
        ["HOST: x", "CONNECTION: keep-alive , UPGRADE", "UPGRADE: WebSocket"],
        ["Host: x", "Connection: ,, x, upgrade ,", "Upgrade: h2c,", "Upgrade:  websocket/13, websocket  "],
        ["Host: x", "Connection: Upgrade", "Upgrade: websocket", "Connection: Zugrößen"],
        ["Host: ä..b", *UPGRADE],
        ["Host: " + "a" * 300, *UPGRADE],
        ["Host: x", *UPGRADE, "Sec-WebSocket-Extensions: permessage-deflate; x=\xff, y"],
        ["Host: x", *UPGRADE, "Sec-WebSocket-Protocol: \xff,"],
        ["Host: x", *UPGRADE, "X-Anything: \xff\xfe"],
    ],
)
def test_lists_in_any_shape_are_read(shared_server: Server, lines: list[str]) -> None:
    response = shake_hands(shared_server, *lines, *KEY)
    assert response.status == 101
    assert response.headers["sec-websocket-accept"] == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
    assert "sec-websocket-protocol" not in response.headers
    assert "sec-websocket-extensions" not in response.headers
    assert not any("internal error" in line for line in shared_server.errors + shared_server.output)


@pytest.mark.parametrize(
    ("lines", "chosen"),
    [
        (["Sec-WebSocket-Protocol: nun"], "nun"),
        (["Sec-WebSocket-Protocol: v1.nun, mqtt"], "v1.nun"),
        (["sec-websocket-protocol: ,", "Sec-WebSocket-Protocol: b", "Sec-WebSocket-Protocol: a"], "b"),
    ],
)
def test_the_first_subprotocol_offered_is_chosen(shared_server: Server, lines: list[str], chosen: str) -> None:
    """Browsers and the library `ws` end the connection when the server chooses none."""
    response = shake_hands(shared_server, "Host: x", *UPGRADE, *KEY, *lines)
    assert (response.status, response.headers["sec-websocket-protocol"]) == (101, chosen)
    with WebSocketClient(shared_server.websocket, headers=lines) as client:
        assert client.ask("nonsense") == ["error unknown command: nonsense \n"]


@pytest.mark.parametrize(
    ("first", "lines", "missing"),
    [
        ("GET / HTTP/1.0", ["Host: x", "Connection: close"], "HTTP/1.1 and Upgrade: websocket and Connection: Upgrade"),
        ("GET / HTTP/1.1", ["Host: x", "Connection: close"], "Upgrade: websocket and Connection: Upgrade"),
        ("GET / HTTP/1.1", ["Host: x", "Upgrade: websocket"], "Connection: Upgrade"),
        ("GET / HTTP/1.1", ["Host: x", "Upgrade: websocket", "Connection: close"], "Connection: Upgrade"),
        ("GET / HTTP/1.1", ["Host: x", "Connection: Upgrade"], "Upgrade: websocket"),
        ("GET / HTTP/1.1", ["Host: x", "Connection: Upgrade", "Upgrade: h2c"], "Upgrade: websocket"),
        ("GET / HTTP/1.0", ["Host: x", *UPGRADE], "HTTP/1.1"),
    ],
)
def test_what_a_proxy_drops_is_named(shared_server: Server, first: str, lines: list[str], missing: str) -> None:
    response = shake_hands(shared_server, *lines, *KEY, first=first)
    assert response.status == 426
    assert response.headers["upgrade"] == "websocket"
    assert f"lacks {missing}: a proxy" in response.text
    assert "with HTTP/1.1 and the headers Upgrade: websocket and Connection: Upgrade" in response.text
    assert "docs/" not in response.text


def test_what_a_proxy_drops_is_logged_once(server: Server) -> None:
    shake_hands(server, "Host: x")  # a browser's visit is no handshake
    for _ in range(3):
        shake_hands(server, "Host: x", "Upgrade: websocket", *KEY)
    server.stop()
    logged = [line for line in server.output if "lacks" in line]
    assert len(logged) == 1
    assert (
        "a WebSocket handshake from 127.0.0.1 lacks Connection: Upgrade: a proxy has to forward the request"
        in logged[0]
    )


@pytest.mark.parametrize(
    ("first", "lines", "status", "text"),
    [
        ("GET / HTTP/1.1", ["Host: x", *UPGRADE, KEY[0], "Sec-WebSocket-Version: 8"], 426, "version 13"),
        ("GET / HTTP/1.1", ["Host: x", *UPGRADE, KEY[0]], 426, "version 13"),
        ("GET / HTTP/1.1", ["Host: x", *UPGRADE, *KEY, "Sec-WebSocket-Version: 12"], 426, "version 13"),
        ("GET / HTTP/1.1", ["Host: x", *UPGRADE, KEY[1]], 400, "Sec-WebSocket-Key"),
        ("GET / HTTP/1.1", ["Host: x", *UPGRADE, *KEY, KEY[0]], 400, "Sec-WebSocket-Key"),
        ("GET / HTTP/1.1", ["Host: x", *UPGRADE, *KEY, "no header"], 400, "no header"),
        ("GET / HTTP/1.1", ["Host: x", *UPGRADE, *KEY, "X: a\0b"], 400, "no header"),
        ("GET / HTTP/1.1", ["Host: x", *UPGRADE, *KEY, "X: a\nb"], 400, "no header"),
        ("GET / HTTP/1.1", [*UPGRADE, *KEY], 400, "one Host"),
        ("GET / HTTP/1.1", ["Host: x", "Host: y", *UPGRADE, *KEY], 400, "one Host"),
        ("GET / HTTP/1.1", ["Host: x", *UPGRADE, *KEY, "X: folded", " line"], 400, "no header"),
        ("GET / HTTP/1.1", ["Host: x"], 426, "Upgrade: websocket and Connection: Upgrade"),
        ("HEAD / HTTP/1.1", ["Host: x", *UPGRADE, *KEY], 426, ""),
        ("POST / HTTP/1.1", ["Host: x", "Content-Length: 3"], 405, "HTTP port"),
        ("PRI * HTTP/2.0", [], 505, "HTTP/1.1"),
        ("auth user-name user-pwd", [], 400, "speaks WebSocket"),
        ("GET /", ["Host: x"], 400, "speaks WebSocket"),
    ],
)
def test_a_refusal_says_why(shared_server: Server, first: str, lines: list[str], status: int, text: str) -> None:
    response = shake_hands(shared_server, *lines, first=first)
    assert response.status == status
    assert text in response.text
    if "version" in text:
        assert response.headers["sec-websocket-version"] == "13"


@pytest.mark.parametrize("sent", [b"auth user-name user-pwd\n", b"\r\n\r\n\0\r\nQUIT\n!", b"PROXY TCP4 1.2.3.4\r\n"])
def test_what_is_no_request_is_refused_at_its_first_line(shared_server: Server, sent: bytes) -> None:
    """Before, a client that speaks another protocol waited for the end of the time for a handshake."""
    with HttpClient(shared_server.websocket) as client:
        client.socket.settimeout(10)
        client.send_bytes(sent)
        assert client.read_response().status == 400


BODY = b"auth user-name user-pwd\r\ncreate-db planted token\r\n"


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n",
        "OPTIONS /x?y HTTP/1.1\r\n\r\n",
        "POST http://x/ HTTP/1.0\n\n",
        "patch / HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "CONNECT x:80 HTTP/1.1\r\n\r\n",
        "get /x HTTP/1.1\r\n\r\n",
        "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n",
        "\r\n\r\n\0\r\nQUIT\n",
        "\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03",
    ],
)
@pytest.mark.parametrize("is_cut", [False, True])
def test_another_protocol_on_the_tcp_port_ends_at_once(shared_server: Server, head: str, is_cut: bool) -> None:
    """A page in a browser can have such a request sent to the port, with commands as its body."""
    with socket.create_connection(shared_server.tcp, 20) as plain:
        data = head.encode("latin-1") + BODY
        for piece in [data[:1], data[1:9], data[9:]] if is_cut else [data]:
            plain.sendall(piece)
        answer = b""
        while part := plain.recv(4096):
            answer += part
    greeting, refused, end = answer.decode().split("\n")
    assert (greeting, end) == ("ok ", "")
    assert re.match("error (this port|a PROXY header)", refused)
    with HttpClient(shared_server.http) as client:
        assert "planted" not in client.request(f"auth {shared_server.credentials}; debug list-dbs").text


def test_the_tcp_port_says_at_the_first_byte_that_it_speaks_no_tls(shared_server: Server) -> None:
    with socket.create_connection(shared_server.tcp, 20) as plain:
        plain.sendall(b"\x16")
        assert b"TLS" in b"".join(iter(lambda: plain.recv(4096), b""))


def test_commands_that_look_a_little_like_requests_run(shared_server: Server) -> None:
    create_database(shared_server, "likeness")
    with tcp_session(shared_server, "likeness") as client:
        assert client.ask("set GET / HTTP/1.1") == [OK]
        assert client.ask("get GET") == ["value / HTTP/1.1\n", OK]
