"""The other end of a client's connection, played by the test: real sockets, frames as the test says.

For what a real server does not do on command: cut connections, garbage, events between a message and its `ok`.
A test decides which side closes first: `cut` drops the TCP connection, `close` shakes hands.
"""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, wrap_server_stream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

TEST_TIMEOUT_S = 120.0

Arguments = ParamSpec("Arguments")
Item = TypeVar("Item")


def trio_test(test: Callable[Arguments, Awaitable[None]]) -> Callable[Arguments, None]:
    """Run an async test in trio; a test that hangs fails with the stack of where it waited."""

    @functools.wraps(test)
    def run(*arguments: Arguments.args, **named: Arguments.kwargs) -> None:
        async def main() -> None:
            with trio.fail_after(TEST_TIMEOUT_S):
                await test(*arguments, **named)

        trio.run(main)

    return run


class Peer:
    """One connection, seen from the server."""

    def __init__(self, stream: trio.SocketStream, websocket: WebSocketConnection) -> None:
        self.stream = stream
        self.websocket = websocket
        self._commands: list[str] = []

    async def take(self) -> str:
        """The next command that the client sent."""
        while not self._commands:
            text = await self.websocket.get_message()
            assert isinstance(text, str)
            self._commands += text.split(";")
        return self._commands.pop(0)

    async def expect(self, *commands: str) -> None:
        """Take commands, which must be these."""
        for command in commands:
            assert await self.take() == command

    async def say(self, *frames: str) -> None:
        """Send text frames."""
        for frame in frames:
            await self.websocket.send_message(frame)

    async def answer(self, command: str, *frames: str) -> None:
        """Take one command, which must be this, and send frames."""
        await self.expect(command)
        await self.say(*frames)

    async def cut(self) -> None:
        """Drop the connection without a word."""
        await trio.aclose_forcefully(self.stream)

    async def close(self, code: int, reason: str = "") -> None:
        """Do the closing handshake."""
        await self.websocket.aclose(code, reason)

    async def wait_closed(self) -> int:
        """Wait until the client has left; the code of its closing frame, 1006 if it sent none."""
        try:
            while True:
                await self.websocket.get_message()
        except ConnectionClosed as closed:
            return closed.reason.code if closed.reason else 1006


class ScriptedServer:
    """A listener whose connections the test takes and plays."""

    def __init__(self, port: int, peers: trio.MemoryReceiveChannel[Peer]) -> None:
        self.url = f"ws://127.0.0.1:{port}"
        self.peers = peers

    async def accept(self) -> Peer:
        """The next connection."""
        return await self.peers.receive()


async def collect(items: AsyncIterator[Item], into: list[Item]) -> None:
    """Put what comes into a list, which can be looked at meanwhile."""
    async for item in items:
        into.append(item)  # noqa: PERF401 - a comprehension would show nothing until the end


@asynccontextmanager
async def scripted_server() -> AsyncIterator[ScriptedServer]:
    """A WebSocket server on a free port, for the time of the block."""
    send_peer, peers = trio.open_memory_channel[Peer](10)

    async def serve(stream: trio.SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            websocket = await wrap_server_stream(nursery, stream, max_message_size=2**30)
            connection = await websocket.accept()
            await send_peer.send(Peer(stream, connection))

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(functools.partial(trio.serve_listeners, serve, listeners))
        yield ScriptedServer(listeners[0].socket.getsockname()[1], peers)
        nursery.cancel_scope.cancel()


async def shake_hands_then_sleep(stream: trio.SocketStream) -> None:
    """For `raw_server`: open the WebSocket and then neither read nor write, as a frozen machine."""
    async with trio.open_nursery() as nursery:
        await (await wrap_server_stream(nursery, stream)).accept()
        nursery.cancel_scope.cancel()
    await trio.sleep_forever()


@asynccontextmanager
async def raw_server(answer: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """The URL of something that is no WebSocket server: every connection is given to `answer` and then dropped."""

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            await answer(stream)

    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        nursery.start_soon(functools.partial(trio.serve_listeners, serve, listeners))
        yield f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
        nursery.cancel_scope.cancel()
