"""What the blocking client does where a connection is closed or answers nonsense."""

from __future__ import annotations

import socket
import threading
from typing import TYPE_CHECKING

import pytest

from pynun.cluster.etcd import gateway
from pynun.cluster.etcd.blocking_client import BlockingClient
from pynun.cluster.etcd.errors import EtcdError, UnreachableError
from pynun.cluster.etcd.members import Member, Members
from pynun.timestamps import steady_seconds
from tests.cluster.fake_member import fake_member

if TYPE_CHECKING:
    from collections.abc import Callable


def soon(seconds: float = 60.0) -> Callable[[], float]:
    """A deadline from now on."""
    deadline = steady_seconds() + seconds
    return lambda: deadline


def test_a_connection_that_was_closed_while_idle_is_made_again() -> None:
    with fake_member() as server, BlockingClient(Members((server.member,))) as client:
        server.closes_after = 2
        for number in range(7):
            client.call(gateway.put(b"a", b"%d" % number), soon())
            assert client.trouble is None
        assert server.asked == ["/v3/kv/put"] * 7


def test_it_gives_up_at_the_moment_that_holds_then() -> None:
    """The lease is renewed while a batch waits."""
    began = steady_seconds()
    asked = []

    def until() -> float:
        asked.append(steady_seconds())
        return began + (0.1 if steady_seconds() < began + 0.05 else 0.3)

    nobody = Member("127.0.0.1", 1, is_tls=False)
    with BlockingClient(Members((nobody,))) as client, pytest.raises(UnreachableError):
        client.call(gateway.read(b"a"), until)
    assert steady_seconds() >= began + 0.3
    assert len(asked) > 2


@pytest.mark.parametrize(
    ("said", "refusal"),
    [
        (b"HTTP/1.1 403 Forbidden\r\nContent-Length: 28\r\n\r\nCommonName of client sending", "no common name"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "unexpected answer"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 5\r\n\r\nsorry", "answered 502 .* sorry"),
    ],
)
def test_what_is_not_of_etcd_is_told(said: bytes, refusal: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connected, _ = listener.accept()
            with connected:
                connected.recv(65536)
                connected.sendall(said)
                connected.recv(1)

        thread = threading.Thread(target=serve)
        thread.start()
        member = Member("127.0.0.1", listener.getsockname()[1], is_tls=False)
        with BlockingClient(Members((member,))) as client, pytest.raises(EtcdError, match=refusal):
            client.call(gateway.read(b"a"), soon())
        thread.join()
