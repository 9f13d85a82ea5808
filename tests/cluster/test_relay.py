"""A client's bytes, passed on to the owner and back."""

from __future__ import annotations

import socket
import struct

import trio

from pynun.cluster.relay import splice


def test_an_owner_that_breaks_off_ends_it() -> None:
    """With what has come from it before."""

    async def run() -> bytes:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            owner = socket.create_connection(listener.getsockname())
            owners_end, _ = listener.accept()
        client, clients_end = socket.socketpair()
        with client, owner, clients_end:
            for one in (client, owner):
                one.setblocking(False)
            clients_end.shutdown(socket.SHUT_WR)
            owners_end.sendall(b"answer")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(splice, client, owner)
                found = await trio.to_thread.run_sync(clients_end.recv, 100)
                owners_end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                owners_end.close()  # a reset
            return found

    async def in_time() -> bytes:
        with trio.fail_after(60):
            return await run()

    assert trio.run(in_time) == b"answer"
