"""Nothing leaves after the deadline of the lease, whichever way it goes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pynun.cluster.guarded_flusher import GuardedFlusher
from pynun.engine.events import Event
from pynun.transports.http.connection import serve_http
from pynun.transports.tcp.lines import LineOutbox
from tests.engine.world import World
from tests.transports.outbox_bench import BYTES_MAX, OutboxBench, run
from tests.transports.service_bench import open_service, socket_pair

if TYPE_CHECKING:
    import socket


class _Lease:
    """Whether it lasts, as the clock says."""

    def __init__(self) -> None:
        self.lasts = True

    def is_owner(self) -> bool:
        """Read the clock."""
        return self.lasts


def guard(bench: OutboxBench) -> _Lease:
    """Have the bench's outbox send by a guarded flusher."""
    lease = _Lease()
    bench.flusher = GuardedFlusher(bench.view, bench.flusher.nursery, lease.is_owner)
    bench.outbox = LineOutbox(bench.ours, bench.flusher, BYTES_MAX)
    return lease


def test_replies_and_events_leave_while_the_lease_lasts_and_none_afterwards() -> None:
    async def test(bench: OutboxBench) -> None:
        lease = guard(bench)
        bench.outbox.reply("in time\n", 0)
        bench.flusher.flush()
        assert bench.read() == b"in time\nok \n"
        bench.outbox.reply("computed in time, but maybe not\n", 0)
        bench.outbox.event(Event("k", ("told\n",), 0))
        lease.lasts = False
        bench.flusher.flush()
        assert await bench.read_all() == b""

    run(test)


def test_what_a_batch_releases_too_late_does_not_leave() -> None:
    async def test(bench: OutboxBench) -> None:
        lease = guard(bench)
        bench.outbox.reply(None, bench.change())
        bench.begin_commit()
        lease.lasts = False
        bench.finish_commit()
        assert await bench.read_all() == b""

    run(test)


def test_what_gathered_behind_a_client_that_did_not_read_does_not_leave_later() -> None:
    async def test(bench: OutboxBench) -> None:
        lease = guard(bench)
        filling = bench.stall()
        bench.outbox.reply("behind\n", 0)
        bench.flusher.flush()
        lease.lasts = False
        received = await bench.read_all()
        assert received == filling, "what was sent in part before is sent whole, and no more"

    run(test)


def post(body: bytes) -> bytes:
    """A request."""
    return b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


@pytest.mark.parametrize("pieces", [1, 2])
def test_an_http_response_does_not_leave_either(pieces: int) -> None:
    """A request that arrives whole is answered by the reactor, one in pieces by its connection's own task."""
    lease = _Lease()

    async def ask(client: socket.socket, request: bytes) -> bytes:
        half = len(request) // pieces
        for piece in (request[:half], request[half:]):
            if piece:
                client.sendall(piece)
                await wait_all_tasks_blocked()
        try:
            return client.recv(1 << 20)
        except BlockingIOError:
            return b""

    async def main() -> None:
        world = World()
        world.admin("create-db d pwd")
        ours, theirs = socket_pair()
        make = partial(GuardedFlusher, is_owner=lease.is_owner)
        with ours, theirs:
            async with open_service(world, make_flusher=make) as service, trio.open_nursery() as nursery:
                nursery.start_soon(serve_http, ours, service, trio.Event())
                assert b"empty;" in await ask(theirs, post(b"use-db d pwd;get a"))
                lease.lasts = False
                assert await ask(theirs, post(b"use-db d pwd;get a")) == b""
                nursery.cancel_scope.cancel()

    trio.run(main)
