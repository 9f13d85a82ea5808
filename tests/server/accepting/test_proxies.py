"""Whom a proxy names as its client: believed of trusted proxies only, for limits, throttling, audit and lists."""

from __future__ import annotations

import ipaddress
import json
import re
import select
import socket
import struct
from typing import TYPE_CHECKING

import pytest

from pynun.errors import SettingsError
from pynun.server.accepting.forwarded import client_address, plain_address
from pynun.server.accepting.proxies import TrustedProxies, too_wide
from pynun.server.accepting.proxy_protocol import ProxyHeader, ProxyHeaderError, parse_proxy_header
from pynun.setting_values import networks
from pynun.settings import load
from pynun.transports.client_address import ForwardingError
from tests.support.certificates import Authority
from tools.clients.exact_clients import HttpClient, TcpClient, WebSocketClient
from tools.clients.sessions import OK

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tools.clients.server import Address, Server

PEER = "10.0.0.1"
TRUSTED = TrustedProxies(networks("10.0.0.0/8, 2001:db8:1::/48"))


def named(*lines: tuple[str, str], peer: str = PEER) -> str:
    headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in lines]
    return client_address(peer, headers, TRUSTED.has)


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7:4711"], "192.0.2.7"),
        (["2001:db8::7"], "2001:db8::7"),
        (["[2001:DB8::7]"], "2001:db8::7"),
        (["[2001:db8::7]:4711"], "2001:db8::7"),
        (["::ffff:192.0.2.7"], "192.0.2.7"),
        (["6.6.6.6, 192.0.2.7"], "192.0.2.7"),  # what stands before is the client's own invention
        (["6.6.6.6", "192.0.2.7"], "192.0.2.7"),
        (["192.0.2.7, 10.1.2.3,2001:db8:1::9"], "192.0.2.7"),
        (["6.6.6.6, 192.0.2.7", "10.1.2.3"], "192.0.2.7"),
        (["6.6.6.6, unknown"], PEER),
        (["6.6.6.6, _hidden, 10.1.2.3"], "10.1.2.3"),
        (["6.6.6.6, 192.0.2.7%eth0"], PEER),
        (["6.6.6.6, 192.0.2.07"], PEER),
        (["", " , "], PEER),
        (["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ([", ".join(["6.6.6.6", *["10.0.0.2"] * 40])], "10.0.0.2"),
        (["6.6.6.6, \xff"], PEER),
    ],
)
def test_the_rightmost_that_is_no_proxy(lines: list[str], address: str) -> None:
    assert named(*(("X-Forwarded-For", line) for line in lines)) == address


@pytest.mark.parametrize(
    ("lines", "address"),
    [
        (["for=192.0.2.7"], "192.0.2.7"),
        (["For=192.0.2.7;proto=https;by=10.0.0.1"], "192.0.2.7"),
        (['proto=https;for="192.0.2.7:4711"'], "192.0.2.7"),
        (['for="[2001:db8::7]:4711"'], "2001:db8::7"),
        (["for=6.6.6.6, for=192.0.2.7"], "192.0.2.7"),
        (["for=6.6.6.6", "for=192.0.2.7 , for=10.0.0.2"], "192.0.2.7"),
        (['for="6.6.6.6, for=1.1.1.1", for=192.0.2.7'], "192.0.2.7"),
        (['for="6.6.6.6', "for=192.0.2.7"], "192.0.2.7"),  # a line that is not needed is not read
        (["for=6.6.6.6, for=unknown"], PEER),
        (["for=6.6.6.6, for=_hidden"], PEER),
        (["for=6.6.6.6, proto=https"], PEER),
        ([""], PEER),
    ],
)
def test_the_standard_header(lines: list[str], address: str) -> None:
    assert named(*(("Forwarded", line) for line in lines)) == address


@pytest.mark.parametrize(
    "line",
    ['for="6.6.6.6, for=192.0.2.7', 'for=6.6.6.6;x=", for="[2001:db8::7]"', "for", "for=a b", "for=;", 'for="a"b'],
)
def test_a_standard_header_that_can_not_be_relied_on(line: str) -> None:
    with pytest.raises(ForwardingError):
        named(("Forwarded", line))


def test_two_headers_that_differ_are_refused() -> None:
    """A proxy sets one of them, and hands on the other as the client made it."""
    assert named(("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=192.0.2.7")) == "192.0.2.7"
    with pytest.raises(ForwardingError, match="differ"):
        named(("X-Forwarded-For", "192.0.2.7"), ("Forwarded", "for=6.6.6.6"))


def test_no_header_no_client() -> None:
    assert named() == PEER
    assert plain_address("fe80::1%eth0") is None


V2 = b"\r\n\r\n\0\r\nQUIT\n"
V2_IPV4 = (
    V2 + struct.pack("!BBH", 0x21, 0x11, 15) + socket.inet_aton("192.0.2.7") + b"\x7f\0\0\1" + b"\0\1\0\2" + b"\4\0\0"
)
V2_IPV6 = V2 + struct.pack("!BBH", 0x21, 0x21, 36) + ipaddress.ip_address("2001:db8::7").packed + bytes(20)


@pytest.mark.parametrize(
    ("data", "address"),
    [
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 3014\r\n", "192.0.2.7"),
        (b"PROXY TCP6 2001:db8::7 ::1 4711 3014\r\n", "2001:db8::7"),
        (b"PROXY TCP4 192.0.2.7 10.0.0.1 0 65535\r\n", "192.0.2.7"),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ff:: ff:: 1 2\r\n", None),
        (V2_IPV4, "192.0.2.7"),
        (V2_IPV6, "2001:db8::7"),
        (V2 + struct.pack("!BBH", 0x20, 0, 0), None),
        (V2 + struct.pack("!BBH", 0x20, 0xFF, 4) + bytes(4), None),  # of a LOCAL connection nothing else counts
        (V2 + struct.pack("!BBH", 0x21, 0, 0), None),
        (V2 + struct.pack("!BBH", 0x21, 0x12, 12) + bytes(12), None),
        (V2 + struct.pack("!BBH", 0x21, 0x31, 216) + bytes(216), None),
    ],
)
def test_a_proxy_header_is_read_to_its_end_and_no_further(data: bytes, address: str | None) -> None:
    assert parse_proxy_header(data + b"rest") == ProxyHeader(len(data), address)
    for size in range(1, len(data)):
        assert parse_proxy_header(data[:size]) is None
    assert parse_proxy_header(b"GET /") == parse_proxy_header(b"POST /") == ProxyHeader(0, None)


@pytest.mark.parametrize(
    "data",
    [
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711\r\n",
        b"PROXY TCP4 2001:db8::7 ::1 4711 3014\r\n",
        b"PROXY TCP4 192.0.2.700 10.0.0.1 4711 3014\r\n",
        b"PROXY UDP4 192.0.2.7 10.0.0.1 4711 3014\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 70000 3014\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 65536\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 04711 3014\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.1 -1 3014\r\n",
        b"PROXY TCP4 192.0.2.7 10.0.0.256 4711 3014\r\n",
        b"PROXY TCP4 192.0.2.7 ::1 4711 3014\r\n",
        b"PROXY " + b"x" * 200,
        V2 + b"\x11\x11\0\x0c" + bytes(12),
        V2 + b"\x22\x11\0\x0c" + bytes(12),
        V2 + b"\x21\x11\0\x04" + bytes(4),
        V2 + b"\x21\x11\xff\xff" + bytes(4),
        V2 + b"\x21\x11\0\x0b" + bytes(11),
        V2 + b"\x21\x21\0\x23" + bytes(35),
        V2 + b"\x21\x31\0\xd7" + bytes(215),
        V2 + b"\x21\x41\0\x0c" + bytes(12),
        V2 + b"\x21\x13\0\x0c" + bytes(12),
    ],
)
def test_a_broken_proxy_header(data: bytes) -> None:
    with pytest.raises(ProxyHeaderError):
        parse_proxy_header(data)


@pytest.mark.parametrize("text", ["10.0.0.1/8", "localhost", "10.0.0.1:80", "10.0.0.0/33", "2001:db8::/129"])
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="is not accepted; accepted: addresses and networks"):
        load({"NUN_USER": "u", "NUN_PWD": "p", "NUN_TRUSTED_PROXIES": text}, {})


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("0.0.0.0/0", ["0.0.0.0/0"]),
        ("::/0, 10.0.0.1", ["::/0"]),
        ("::ffff:0:0/96", ["0.0.0.0/0"]),
        ("0.0.0.0/1,128.0.0.0/1", ["0.0.0.0/0"]),
        ("10.0.0.0/8,172.16.0.0/12,fc00::/7,2001:db8::/32", []),
    ],
)
def test_networks_that_hold_more_than_proxies(text: str, shown: list[str]) -> None:
    assert [str(network) for network in too_wide(networks(text))] == shown


def test_trusting_everybody_is_warned_of(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_TRUSTED_PROXIES="127.0.0.1,0.0.0.0/0") as server:
        server.stop()
        warning = "NUN_TRUSTED_PROXIES holds 0.0.0.0/0: everybody there can choose the address"
        assert server.log_text().count(warning) == 1


def test_a_proxy_header_of_no_proxy_can_not_be_required() -> None:
    given = {"NUN_USER": "u", "NUN_PWD": "p", "NUN_PROXY_PROTOCOL": "on"}
    with pytest.raises(SettingsError, match="NUN_PROXY_PROTOCOL=on has no effect without NUN_TRUSTED_PROXIES"):
        load(given, {})
    assert load({**given, "NUN_TRUSTED_PROXIES": "127.0.0.1"}, {}).proxy_protocol == "on"


def addresses(server: Server, transport: str) -> list[str]:
    """Those of the sessions of a transport."""
    with HttpClient(server.http, source="127.0.0.9") as client:
        answer = client.request(f"auth {server.credentials}; list-sessions").text
    report = json.loads(answer.partition(";")[2].partition(" ")[2])
    return [row["address"] for row in report["sessions"] if row["transport"] == transport]


V1 = b"PROXY TCP4 %b 127.0.0.1 4711 3014\r\n"


class BehindProxy(TcpClient):
    """A TCP client behind a proxy that sends the PROXY header."""

    header = b""

    def begin(self, address: Address) -> None:
        self.send_bytes(self.header)
        super().begin(address)


def test_from_a_trusted_proxy_only(new_server: Callable[..., Server]) -> None:
    """Listed, audited and made to wait is the client; who is no named proxy can't choose an address."""
    headers = ["X-Forwarded-For: 6.6.6.6, 192.0.2.7"]
    with new_server(NUN_TRUSTED_PROXIES="127.0.0.1", NUN_LOGIN_BURST="3") as server:
        with (
            WebSocketClient(server.websocket, headers=headers),
            WebSocketClient(server.websocket, headers=headers, source="127.0.0.2"),
        ):
            assert sorted(addresses(server, "websocket")) == ["127.0.0.2", "192.0.2.7"]
        with HttpClient(server.http) as client:
            for number in range(4):
                line = f"Forwarded: for=192.0.2.{number}"
                client.request(f"use-db nowhere {number}", headers=[line])
            answer = client.request(f"auth {server.credentials}; list-sessions", headers=headers).text
            assert '"address":"192.0.2.7"' in answer.replace(" ", "")
            both = ["X-Forwarded-For: 192.0.2.7", "Forwarded: for=6.6.6.6"]
            refused = client.request(f"auth {server.credentials}; create-db planted x", headers=both)
            assert refused.status == 400
            assert "planted" not in client.request(f"auth {server.credentials}; debug list-dbs").text
        with HttpClient(server.http, source="127.0.0.2") as client:
            client.request("auth nobody wrong", headers=["X-Forwarded-For: 192.0.2.8"])
        server.stop()
        audited = re.findall(r'"address": ?"([^"]+)"', (server.data_dir / "audit.jsonl").read_text(encoding="utf-8"))
        assert {"192.0.2.0", "192.0.2.3", "192.0.2.7", "127.0.0.2"} <= set(audited)
        assert not {"6.6.6.6", "192.0.2.8"} & set(audited)


def test_one_behind_a_proxy_does_not_make_the_others_wait(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_TRUSTED_PROXIES="127.0.0.0/8", NUN_LOGIN_BURST="1") as server:
        http_admin = f"auth {server.credentials}; create-db ward pwd; use-db ward pwd; create-user ana secret"
        with HttpClient(server.http) as client:
            client.request(http_admin, headers=["X-Forwarded-For: 192.0.2.1"])
            for number in range(2):  # an old page with an old token
                old = f"use-db ward user{number} old"
                client.request(old, headers=["X-Forwarded-For: 192.0.2.66"])
            server.wait_output("wrong passwords or tokens from 192.0.2.66")
            for number in range(3):
                fresh = client.request(f"use-db other{number} old", headers=[f"X-Forwarded-For: 192.0.2.{number}"])
                assert fresh.text == "Not a valid database name"

        class Ana(BehindProxy):
            header = V1 % b"192.0.2.8"

        with HttpClient(server.http) as page, HttpClient(server.http) as other, Ana(server.tcp) as ana:
            body = b";".join([b"use-db ward ana old"] * 5)  # waits for 1, 2, 4, ... s
            page.send_bytes(
                b"POST / HTTP/1.1\r\nX-Forwarded-For: 192.0.2.66\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            right = "use-db ward ana secret; keys none"
            assert other.request(right, headers=["X-Forwarded-For: 192.0.2.7"]).text == "empty;keys \n"
            assert ana.ask("use-db ward ana secret") == [OK]
            assert not select.select([page.socket], [], [], 0)[0], "the page was answered first: it does not wait"
        server.stop()
        slowed = set(re.findall(r"wrong passwords or tokens from ([0-9.]+):", server.log_text()))
        assert slowed == {"192.0.2.66", "192.0.2.0", "192.0.2.1", "192.0.2.2"}, "not each for itself"


def test_limits_count_the_clients_of_a_proxy(new_server: Callable[..., Server]) -> None:
    settings = {"NUN_TRUSTED_PROXIES": "127.0.0.1", "NUN_MAX_CONNECTIONS_PER_ADDRESS": "2"}
    with new_server(**settings) as server:

        def connect(address: str) -> WebSocketClient:
            return WebSocketClient(server.websocket, headers=[f"X-Forwarded-For: {address}"])

        with connect("192.0.2.1"), connect("192.0.2.1"), connect("192.0.2.2"), connect("192.0.2.3"):
            with HttpClient(server.websocket) as refused:
                lines = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x"
                refused.send_bytes(
                    f"GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\nX-Forwarded-For: 192.0.2.1\r\n\r\n".encode()
                )
                assert refused.read_response().status == 503
            with HttpClient(server.http) as pooled:  # counts for whom it serves
                assert pooled.request("nonsense", headers=["X-Forwarded-For: 192.0.2.1"]).status == 503
                assert pooled.request("nonsense", headers=["X-Forwarded-For: 192.0.2.2"]).status == 200
                assert pooled.request("nonsense", headers=["X-Forwarded-For: 192.0.2.3"]).status == 200
                assert pooled.request("nonsense", headers=["X-Forwarded-For: 192.0.2.1"]).status == 503
                connect("192.0.2.2").abandon()


@pytest.mark.parametrize("mode", ["auto", "on"])
def test_the_proxy_protocol_on_every_port(new_server: Callable[..., Server], mode: str) -> None:
    with new_server(NUN_TRUSTED_PROXIES="127.0.0.1", NUN_PROXY_PROTOCOL=mode) as server:

        class One(BehindProxy):
            header = V1 % b"192.0.2.1" + V1 % b"6.6.6.6"  # the second is the client's

        class Two(BehindProxy):
            header = V2_IPV4

        with Two(server.tcp), socket.create_connection(server.tcp, 20) as forger:
            forger.sendall(One.header)
            assert b"PROXY header" in b"".join(iter(lambda: forger.recv(4096), b""))
            found = addresses(server, "tcp")
            assert "192.0.2.7" in found
            assert "6.6.6.6" not in found
        for address, first in ((server.websocket, b"GET /healthz"), (server.http, b"POST /")):
            with HttpClient(address) as client:
                client.send_bytes(V2_IPV6[:20])
                client.send_bytes(V2_IPV6[20:] + first + b" HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 6.6.6.6\r\n\r\n")
                assert client.read_response().status == 200
        with HttpClient(server.http) as client:
            body = f"auth {server.credentials}; list-sessions".encode()
            client.send_bytes(V1 % b"192.0.2.5")
            client.send_bytes(
                b"POST / HTTP/1.1\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: %d\r\n\r\n" % len(body) + body
            )
            assert '"address":"192.0.2.5"' in client.read_response().text.replace(" ", "")
        with TcpClient(server.tcp, source="127.0.0.3") as other:  # no named proxy: no header of its own
            other.send("PROXY TCP4 6.6.6.6 127.0.0.1 1 2\r")
            assert "PROXY header" in other.take(1)[0]
            assert other.wait_end()


def test_a_missing_proxy_header(new_server: Callable[..., Server]) -> None:
    settings = {"NUN_TRUSTED_PROXIES": "127.0.0.1"}
    with new_server(**settings) as server:
        with TcpClient(server.tcp) as client:  # greeted after two seconds
            assert client.ask("nonsense")[-1].startswith("error unknown")
        with HttpClient(server.http) as client:
            assert client.request("").status == 200
    with new_server(**settings, NUN_PROXY_PROTOCOL="on", NUN_HANDSHAKE_TIMEOUT="1") as server:
        for sent in (b"", b"PROXY TCP4", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", V1 % b"192.0.2.700"):
            with HttpClient(server.http if b"GET" in sent else server.tcp) as client:
                client.send_bytes(sent)
                assert client.is_ended()
    with new_server(**settings, NUN_PROXY_PROTOCOL="off") as server, TcpClient(server.tcp) as client:
        client.send("PROXY TCP4 6.6.6.6 127.0.0.1 1 2\r")
        assert "PROXY header" in client.take(1)[0]


def test_the_proxy_header_comes_before_tls(new_server: Callable[..., Server], tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with new_server(NUN_TRUSTED_PROXIES="127.0.0.1", **authority.environment()) as server:
        plain = socket.create_connection(server.http, 20)
        plain.sendall(V1 % b"192.0.2.5")
        with authority.trusting().wrap_socket(plain, server_hostname="127.0.0.1") as wrapped:
            body = f"auth {server.credentials}; list-sessions".encode()
            wrapped.sendall(b"POST / HTTP/1.0\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            answer = b"".join(iter(lambda: wrapped.recv(4096), b""))
        assert b'"address":"192.0.2.5"' in answer.replace(b" ", b"")


def test_without_the_setting_nothing_is_read(shared_server: Server) -> None:
    with WebSocketClient(shared_server.websocket, headers=["X-Forwarded-For: 6.6.6.6", "Forwarded: for=6.6.6.7"]):
        assert not {"6.6.6.6", "6.6.6.7"} & set(addresses(shared_server, "websocket"))
