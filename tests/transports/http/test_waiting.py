"""What an HTTP connection waits for: the disk, its client, its time limit."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from pynun import limits
from pynun.transports.http.connection import serve_http
from tests.engine.world import World
from tests.transports.service_bench import open_service, socket_pair

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator

    from pynun.transports.service import Service


def post(body: bytes, more_headers: bytes = b"") -> bytes:
    """A request."""
    return b"POST / HTTP/1.1\r\nHost: x\r\n%bContent-Length: %d\r\n\r\n%b" % (more_headers, len(body), body)


SET = post(b"use-db d pwd;set a 1")
GET = post(b"use-db d pwd;get a")


class Connection:
    """A connection, from its client's side."""

    def __init__(self, service: Service, world: World, client: socket.socket, stopping: trio.Event) -> None:
        self.service = service
        self.stopping = stopping
        self.ended = trio.Event()
        self._world = world
        self._client = client

    async def send(self, data: bytes) -> None:
        """Send, and let the server do all that it can do."""
        self._client.sendall(data)
        await wait_all_tasks_blocked()

    async def commit(self) -> None:
        """Everything that was changed is on disk."""
        self._world.commit()
        self.service.flusher.flush()
        await wait_all_tasks_blocked()

    def hang_up(self) -> None:
        self._client.close()

    def receive(self) -> bytes:
        """What has come; nothing also at the end."""
        try:
            return self._client.recv(1 << 20)
        except BlockingIOError:
            return b""

    def received(self) -> list[bytes]:
        """The bodies of the responses that have come."""
        return [answer.partition(b"\r\n\r\n")[2] for answer in self.receive().split(b"HTTP/1.1 200 OK\r\n")[1:]]


@asynccontextmanager
async def connect() -> AsyncIterator[Connection]:
    """A connection to a server that commits only when it is told to, and has a database."""
    world = World()
    world.admin("create-db d pwd")
    async with open_service(world, seconds_max=10_000, is_committing=False) as service:
        ours, theirs = socket_pair()
        connection = Connection(service, world, theirs, trio.Event())

        async def serve() -> None:
            with ours:
                await serve_http(ours, service, connection.stopping)
            connection.ended.set()

        service.flusher.nursery.start_soon(serve)
        await wait_all_tasks_blocked()
        try:
            yield connection
        finally:
            theirs.close()


def test_results_wait_for_the_disk_and_requests_behind_them_for_their_turn() -> None:
    async def main() -> None:
        async with connect() as connection:
            await connection.send(SET)
            assert connection.received() == []
            await connection.send(SET)
            await connection.send(GET + SET)
            assert connection.received() == []
            await connection.commit()
            assert connection.received() == [b"empty;empty"]
            await connection.commit()
            assert connection.received() == [b"empty;empty"]
            await connection.commit()
            assert connection.received() == [b"empty;value 1\n", b"empty;empty"]
            await connection.send(GET)
            assert connection.received() == [b"empty;value 1\n"]

    trio.run(main)


def test_a_client_that_hangs_up_meanwhile_ends_only_its_connection() -> None:
    async def main() -> None:
        async with connect() as connection:
            await connection.send(SET)
            connection.hang_up()
            await wait_all_tasks_blocked()
            assert not connection.ended.is_set()
            await connection.commit()
            assert connection.ended.is_set()
            assert len(connection.service.engine.sessions) == 1, "the administrator's"

    trio.run(main)


def test_a_server_that_stops_answers_what_waits_for_the_disk() -> None:
    async def main() -> None:
        async with connect() as connection:
            await connection.send(SET)
            connection.stopping.set()
            for waiting in connection.service.waits_to_cancel:
                waiting.cancel()
            await wait_all_tasks_blocked()
            assert not connection.ended.is_set()
            await connection.commit()
            assert connection.received() == [b"empty;empty"]
            assert connection.ended.is_set()

    trio.run(main)


@pytest.mark.parametrize("more_headers", [b"", b"Connection: close\r\n"])
def test_a_response_that_the_kernel_does_not_take_at_once_arrives_whole(more_headers: bytes) -> None:
    value = b"v" * 150_000  # a socket pair holds about as much

    async def main() -> None:
        async with connect() as connection:
            await connection.send(post(b"use-db d pwd;set a " + value))
            await connection.commit()
            assert connection.received() == [b"empty;empty"]
            await connection.send(post(b"use-db d pwd;get a;get a;get a", more_headers))
            data = b""
            while chunk := connection.receive():
                data += chunk
                await wait_all_tasks_blocked()
            assert data.endswith(b"\r\n\r\nempty" + (b";value " + value + b"\n") * 3)
            if not more_headers:
                await connection.send(GET)
                assert connection.receive().count(b"v") > len(value)

    trio.run(main)


def test_the_time_limit_counts_from_the_last_answer() -> None:
    clock = MockClock()

    async def main() -> None:
        async with connect() as connection:
            for _ in range(3):
                clock.jump(limits.HTTP_IDLE_SECONDS - 1)
                await connection.send(GET)
                assert connection.received() == [b"empty;value <Empty>\n"]
            clock.jump(limits.HTTP_IDLE_SECONDS - 1)
            await connection.send(SET)
            clock.jump(limits.HTTP_IDLE_SECONDS + 1)  # the disk's time, not the client's
            await connection.commit()
            assert connection.received() == [b"empty;empty"]
            clock.jump(limits.HTTP_IDLE_SECONDS - 1)
            await wait_all_tasks_blocked()
            assert not connection.ended.is_set()
            clock.jump(2)
            await connection.ended.wait()

    trio.run(main, clock=clock)


def test_a_request_that_has_begun_has_less_time() -> None:
    clock = MockClock()

    async def main() -> None:
        async with connect() as connection:
            await connection.send(GET)
            assert connection.received() == [b"empty;value <Empty>\n"]
            clock.jump(limits.HTTP_IDLE_SECONDS / 2)
            await connection.send(GET[:10])
            clock.jump(connection.service.handshake_seconds + 1)
            await wait_all_tasks_blocked()
            assert connection.receive().startswith(b"HTTP/1.1 408 ")
            connection.hang_up()
            await connection.ended.wait()

    trio.run(main, clock=clock)
