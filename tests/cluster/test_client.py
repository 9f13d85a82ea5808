"""What the client of the loop does with its connections; the rest is shown with a real etcd."""

from __future__ import annotations

import socket

import trio

from pynun.cluster.etcd.client import Client, _Connection
from pynun.cluster.etcd.members import Members, parse_urls


async def _fail_twice_at_once() -> None:
    members = Members(parse_urls(["http://127.0.0.1:1"]))
    (member,) = members.members
    async with Client(members) as client:
        far = []
        for _ in range(3):
            near, other = socket.socketpair()
            far.append(other)
            client._idle.append(_Connection(member, trio.SocketStream(trio.socket.from_stdlib_socket(near))))
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(client._failed, member, OSError("away"))
        assert client._idle == []
        for other in far:
            assert other.recv(1) == b""
            other.close()


def test_two_requests_that_fail_at_once_close_the_idle_connections() -> None:
    trio.run(_fail_twice_at_once)
