"""TLS on all three ports: what works without it works with it, and what is no TLS is refused without harm to others."""

from __future__ import annotations

import contextlib
import signal
import socket
import ssl
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pynun.errors import StartError
from pynun.limits import STALLED_SECONDS, STOP_SECONDS
from pynun.server.accepting.tls import Certificate
from tests.support.certificates import Authority
from tools.clients.exact_clients import (
    SERVER_NAME,
    TIMEOUT_SECONDS,
    HttpClient,
    TcpClient,
    WebSocketClient,
    text_frames,
)
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER, CHEAP_PASSWORDS, Address, Server, new_folder, nun_db
from tools.clients.sessions import OK, reading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PLAIN_TEXT_REFUSAL = "this port speaks TLS: use https:// or wss://"
BIG = "x" * (2 << 20)
TRIES = 5


@pytest.fixture(scope="module", name="server")
def _server(authority: Authority) -> Iterator[Server]:
    with new_folder() as folder, Server(folder / "dbs", environment=authority.environment("shared")) as server:
        with TcpClient(server.tcp, tls=authority.trusting()) as client:
            client.ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}")
            assert client.ask("create-db tls pwd") == ["create-db success\n", OK]
        yield server


def tcp_client(server: Server, authority: Authority) -> TcpClient:
    client = TcpClient(server.tcp, tls=authority.trusting())
    assert client.ask("use-db tls pwd") == [OK]
    return client


def websocket_client(server: Server, authority: Authority) -> WebSocketClient:
    client = WebSocketClient(server.websocket, tls=authority.trusting())
    assert client.ask("use-db tls pwd") == [OK]
    return client


def serial_number(client: TcpClient | WebSocketClient) -> str:
    """Which certificate the server showed."""
    assert isinstance(client.socket, ssl.SSLSocket)
    certificate = client.socket.getpeercert()
    assert certificate is not None
    return str(certificate["serialNumber"])


def assert_goes_on(server: Server, authority: Authority) -> None:
    for make in (tcp_client, websocket_client):
        with make(server, authority) as client:
            assert client.ask("set alive yes") == [OK]
            assert client.ask("get alive") == ["value yes\n", OK]


def test_it_says_so(server: Server) -> None:
    assert "shared.pem" in server.wait_output("TLS: all ports")


@pytest.mark.parametrize("make", [tcp_client, websocket_client])
def test_pipelined_commands_are_answered_in_order(
    server: Server, authority: Authority, make: Callable[..., TcpClient | WebSocketClient]
) -> None:
    texts = [text for number in range(500) for text in (f"set p {number}", "get p")]
    with make(server, authority) as client:
        if isinstance(client, TcpClient):
            client.send_bytes("".join(f"{text}\n" for text in texts).encode())
        else:
            client.send_bytes(text_frames(texts))
        expected = [line for number in range(500) for line in (OK, f"value {number}\n", OK)]
        assert client.take(len(expected)) == expected
        client.close()


@pytest.mark.parametrize("make", [tcp_client, websocket_client])
def test_large_values_come_whole(
    server: Server, authority: Authority, make: Callable[..., TcpClient | WebSocketClient]
) -> None:
    with make(server, authority) as client:
        assert client.ask(f"set big {BIG}") == [OK]
        for _ in range(3):  # more than the buffers of the kernel hold
            client.send("get big")
        assert client.take(6) == [f"value {BIG}\n", OK] * 3


def test_a_slow_reader_is_not_taken_for_one_that_reads_nothing(
    new_server: Callable[..., Server], authority: Authority
) -> None:
    """Its replies are far more than the outbox may hold, and take longer than a reader that stands still is given."""
    environment = {**authority.environment("drip"), "NUN_MAX_OUTBOX_SIZE": "64KiB"}
    with new_server(**environment) as server:
        with TcpClient(server.tcp, tls=authority.trusting()) as admin:
            admin.ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}")
            assert admin.ask("create-db tls pwd") == ["create-db success\n", OK]
        with TcpClient(server.tcp, tls=authority.trusting(), receive_buffer_bytes=4096) as client:
            assert client.ask("use-db tls pwd") == [OK]
            assert client.ask(f"set big {BIG * 4}") == [OK]
            client.send_bytes(b"get big\nget big\n")
            received = 0
            began = time.monotonic()
            while time.monotonic() < began + STALLED_SECONDS + 1.5:
                received += len(client.socket.recv(16384))
                time.sleep(0.05)  # what is tested is time itself
            expected = 2 * len(f"value {BIG * 4}\nok \n")
            assert received < expected / 2, "it was no slow reader"
            while received < expected:
                data = client.socket.recv(1 << 20)
                assert data, f"it was disconnected after {received} of {expected} bytes"
                received += len(data)


def test_https(server: Server, authority: Authority) -> None:
    with HttpClient(server.http, tls=authority.trusting()) as client:
        assert client.request("use-db tls pwd; set h 1; get h").text == "empty;empty;value 1\n"
        assert client.request(f"use-db tls pwd; set h {BIG}; get h").text == f"empty;empty;value {BIG}\n"
        client.send_bytes(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 14\r\n\r\nuse-db tls pwd" * 50)
        assert [client.read_response().text for _ in range(50)] == ["empty"] * 50
        assert client.request("use-db tls pwd", headers=["Connection: close"]).text == "empty"
        assert client.is_ended()


@pytest.mark.parametrize("make", [tcp_client, websocket_client])
def test_watchers_get_every_event_in_order(
    server: Server, authority: Authority, make: Callable[..., TcpClient | WebSocketClient]
) -> None:
    with make(server, authority) as watcher, tcp_client(server, authority) as writer:
        assert watcher.ask("watch camera") == [OK]
        writer.send_bytes("".join(f"set camera {number}\n" for number in range(2000)).encode())
        events = watcher.take(4000)  # each change is told without and with its version
        assert events[::2] == [f"changed camera {number}\n" for number in range(2000)]


class RecordClient:
    """TLS whose records a test puts on the wire as it likes."""

    def __init__(self, address: Address, context: ssl.SSLContext, piece_bytes: int) -> None:
        self.socket = socket.create_connection(address, TIMEOUT_SECONDS)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._piece_bytes = piece_bytes
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=SERVER_NAME)
        while True:
            with contextlib.suppress(ssl.SSLWantReadError):
                self._tls.do_handshake()
                break
            self.flush()
            self._incoming.write(self.socket.recv(65536))
        self.flush()

    def write(self, data: bytes) -> None:
        """One record, kept back until `flush`."""
        self._tls.write(data)

    def flush(self) -> None:
        """Send all records in pieces, each a packet of its own."""
        data = self._outgoing.read()
        for first in range(0, len(data), self._piece_bytes):
            self.socket.sendall(data[first : first + self._piece_bytes])

    def read(self, length: int) -> bytes:
        """Exactly so many bytes of what the server says."""
        received = b""
        while len(received) < length:
            try:
                received += self._tls.read(length - len(received))
            except ssl.SSLWantReadError:
                self._incoming.write(self.socket.recv(65536))
        return received


@pytest.mark.parametrize("piece_bytes", [1, 7, 100_000])
def test_records_may_come_in_pieces_and_many_at_once(server: Server, authority: Authority, piece_bytes: int) -> None:
    client = RecordClient(server.tcp, authority.trusting(), piece_bytes)
    with client.socket:
        assert client.read(4) == b"ok \n"
        text = b"use-db tls pwd\nset split abc\nget split\n"
        for first in range(0, len(text), 2):  # records that cut the lines anywhere, all under way together
            client.write(text[first : first + 2])
        client.flush()
        assert client.read(22) == b"ok \nok \nvalue abc\nok \n"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_that_are_spoken(server: Server, authority: Authority, version: ssl.TLSVersion) -> None:
    context = authority.trusting()
    context.minimum_version = context.maximum_version = version
    with TcpClient(server.tcp, tls=context) as client:
        assert isinstance(client.socket, ssl.SSLSocket)
        assert client.socket.version() == version.name.replace("_", ".")
        assert client.ask("use-db tls pwd") == [OK]


def test_an_old_version_is_refused(server: Server, authority: Authority) -> None:
    context = authority.trusting()
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    for address in (server.websocket, server.http, server.tcp):
        with pytest.raises(ssl.SSLError, match=r"PROTOCOL_VERSION|UNSUPPORTED_PROTOCOL"):
            HttpClient(address, tls=context).socket.close()
    assert_goes_on(server, authority)


def test_plain_text_is_told_what_to_do(server: Server, authority: Authority) -> None:
    for address in (server.websocket, server.http):
        with HttpClient(address) as client:
            response = client.request("use-db tls pwd")
            assert (response.status, response.text) == (400, PLAIN_TEXT_REFUSAL)
            assert client.is_ended()
    with TcpClient(server.tcp, greeting=False) as tcp:
        tcp.send("use-db tls pwd")
        assert tcp.take() == [f"error {PLAIN_TEXT_REFUSAL} \n"]
        assert tcp.wait_end()
    assert_goes_on(server, authority)


@pytest.mark.parametrize(
    "garbage",
    [b"\x16", b"\x16\x03\x01\x00\x05hello", b"\x16" * 5000, bytes(3000), b"\x16\x03\x01\xff\xff" + bytes(70000)],
)
def test_garbage_ends_its_own_connection_only(server: Server, authority: Authority, garbage: bytes) -> None:
    with websocket_client(server, authority) as other:
        for address in (server.websocket, server.http, server.tcp):
            with socket.create_connection(address, TIMEOUT_SECONDS) as client, contextlib.suppress(ConnectionError):
                client.sendall(garbage)
                with contextlib.suppress(OSError):  # it may have ended before
                    client.shutdown(socket.SHUT_WR)
                while client.recv(65536):
                    pass
        assert other.ask("set after garbage") == [OK]
    assert_goes_on(server, authority)
    assert "internal error" not in server.log_text()


def test_garbage_behind_the_handshake_ends_its_own_connection_only(server: Server, authority: Authority) -> None:
    client = RecordClient(server.tcp, authority.trusting(), 1000)
    with client.socket:
        assert client.read(4) == b"ok \n"
        client.socket.sendall(b"use-db tls pwd\n" * 100)
        with contextlib.suppress(ConnectionError):
            while client.socket.recv(65536):
                pass
    assert_goes_on(server, authority)


def test_a_client_that_ends_the_stream_within_tls_is_let_go(server: Server, authority: Authority) -> None:
    with tcp_client(server, authority) as watcher, tcp_client(server, authority) as client:
        assert watcher.ask("watch $connections") == [OK]
        watcher.quiet()
        assert isinstance(client.socket, ssl.SSLSocket)
        client.socket.unwrap().close()  # waits for the server's end of TLS
        while watcher.take() != ["changed $connections 1\n"]:
            pass  # it hears late of clients of the tests before


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01\x02\x00\x01\x00"])
def test_a_handshake_has_its_time(new_server: Callable[..., Server], authority: Authority, sent: bytes) -> None:
    with new_server(**authority.environment("slow"), NUN_HANDSHAKE_TIMEOUT="1") as server:
        began = time.monotonic()
        clients = [socket.create_connection(address, 10) for address in (server.websocket, server.http, server.tcp)]
        for client in clients:
            client.sendall(sent)
        for client in clients:
            assert client.recv(1) == b""
            client.close()
        assert 0.9 < time.monotonic() - began < 10


def test_a_new_certificate_is_taken_while_sessions_go_on(
    new_server: Callable[..., Server], authority: Authority
) -> None:
    environment = authority.environment("renewed")
    with new_server(**environment) as server, TcpClient(server.tcp, tls=authority.trusting()) as old:
        first = serial_number(old)
        assert old.ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}") == ["valid auth\n", OK]
        authority.issue("renewed")
        server.send_signal(signal.SIGHUP)
        server.wait_output("was reloaded")
        with WebSocketClient(server.websocket, tls=authority.trusting()) as new:
            second = serial_number(new)
            assert second != first
        assert old.ask("create-db goes-on pwd") == ["create-db success\n", OK]

        certificate = Path(environment["NUN_TLS_CERT"])
        good = certificate.read_bytes()
        for broken in (b"", good[:200]):
            certificate.write_bytes(broken)
            mark = len(server.output)
            server.send_signal(signal.SIGHUP)
            assert "renewed.pem" in server.wait_output("the old certificate stays in use", after=mark)
            with TcpClient(server.tcp, tls=authority.trusting()) as new:
                assert serial_number(new) == second
        assert old.ask("use-db goes-on pwd") == [OK]
        assert server.stop() == 0


def test_sighup_without_tls_does_nothing(new_server: Callable[..., Server]) -> None:
    with new_server() as server, TcpClient(server.tcp) as client:
        server.send_signal(signal.SIGHUP)
        assert client.ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}") == ["valid auth\n", OK]
        assert server.stop() == 0


def test_a_stop_tells_everybody(new_server: Callable[..., Server], authority: Authority) -> None:
    """One that waited for a handshake would take STOP_SECONDS each time; one on a busy machine does not each time."""
    took: list[float] = []
    while not took or (min(took) > STOP_SECONDS and len(took) < TRIES):
        took.append(seconds_of_a_stop(new_server, authority))
    assert min(took) < STOP_SECONDS, f"it waited for a handshake: {took}"


def seconds_of_a_stop(new_server: Callable[..., Server], authority: Authority) -> float:
    """Stop a server with clients and a handshake that has not begun."""
    with (
        new_server(**authority.environment("stopped")) as server,
        WebSocketClient(server.websocket, tls=authority.trusting()) as websocket,
        TcpClient(server.tcp, tls=authority.trusting()) as tcp,
        HttpClient(server.http, tls=authority.trusting()) as http,
        socket.create_connection(server.tcp),  # its handshake has not begun
    ):
        assert tcp.ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}") == ["valid auth\n", OK]
        began = time.monotonic()
        with reading(websocket, tcp):
            assert server.stop() == 0
        took = time.monotonic() - began
        assert websocket.wait_close() == 1001
        assert tcp.wait_end()
        assert http.is_ended()
    return took


def start_with(data_dir: Path, **environment: str) -> list[str]:
    """Try to start; it must refuse with exit code 1. Returns the lines of standard error."""
    addresses = [part for option in ("-w", "-h", "-t") for part in (option, "127.0.0.1:0")]
    result = nun_db(
        *("-u", "u", "-p", "p", "start", *addresses),
        environment={**CHEAP_PASSWORDS, "NUN_DBS_DIR": str(data_dir), **environment},
    )
    assert result.returncode == 1, result
    return result.stderr.splitlines()


def test_files_that_do_not_fit_stop_the_start_with_one_line(disk_folder: Path) -> None:
    authority = Authority(disk_folder)
    certificate, key = authority.issue("one")
    _, other_key = authority.issue("other")
    encrypted = disk_folder / "encrypted.pem"
    encrypted.write_bytes(
        b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIBpjBABgkqhkiG9w0BBQ0wMzAbBgkqhkiG9w0BBQwwDgQIAAAAAAAAAAACAggA\n"
        b"-----END ENCRYPTED PRIVATE KEY-----\n"
    )
    nothing = disk_folder / "nothing.pem"
    text = disk_folder / "text.pem"
    text.write_text("not a certificate")
    cases = [
        (nothing, key, f"the TLS file {nothing} can't be read: No such file or directory"),
        (certificate, nothing, f"the TLS file {nothing} can't be read: No such file or directory"),
        (disk_folder, key, f"the TLS file {disk_folder} can't be read: Is a directory"),
        (text, key, f"{text} and {key} are not a PEM certificate and its unencrypted private key"),
        (certificate, text, f"{certificate} and {text} are not a PEM certificate and its unencrypted private key"),
        (certificate, other_key, "KEY_VALUES_MISMATCH"),
        (certificate, encrypted, f"{certificate} and {encrypted} are not a PEM certificate"),
    ]
    for given_certificate, given_key, expected in cases:
        with pytest.raises(StartError) as refused:
            Certificate(given_certificate, given_key)
        assert expected in str(refused.value)
    starts = [
        (certificate, None, "NUN_TLS_CERT is set, but NUN_TLS_KEY is not"),
        (None, key, "NUN_TLS_KEY is set, but NUN_TLS_CERT is not"),
        (certificate, other_key, "KEY_VALUES_MISMATCH"),
    ]
    for start_certificate, start_key, expected in starts:
        environment = {"NUN_TLS_CERT": start_certificate, "NUN_TLS_KEY": start_key}
        lines = start_with(disk_folder / "dbs", **{name: str(path) for name, path in environment.items() if path})
        assert len(lines) == 1, lines
        assert expected in lines[0]
        assert not (disk_folder / "dbs").exists()


@pytest.mark.parametrize("transport", ["websocket", "http", "tcp"])
def test_tls_to_a_port_without_it_is_refused_at_once(
    shared_server: Server, authority: Authority, transport: str
) -> None:
    """And not when the client's patience, or the time for a handshake, is over."""
    began = time.monotonic()
    with (
        pytest.raises(ssl.SSLError),
        TcpClient(getattr(shared_server, transport), tls=authority.trusting()),
    ):
        pass
    assert time.monotonic() - began < 5
