"""The yardstick: an ordinary small server on trio-websocket, as one would write it without thinking about speed.

One reader and one writer task per connection with a memory channel between them, and a dict. Nothing reaches the disk.
"""

from __future__ import annotations

import math

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket

entries: dict[str, tuple[int, str]] = {}
watchers: dict[str, set[trio.MemorySendChannel[str]]] = {}


def execute(text: str, outbox: trio.MemorySendChannel[str]) -> None:
    command, key, rest = [*text.split(" ", 2), "", ""][:3]
    version, value = entries.get(key, (-1, "<Empty>"))
    if command in ("set", "set-safe"):
        given, value = (str(version), rest) if command == "set" else rest.split(" ", 1)
        version = max(int(given), version) + 1
        entries[key] = (version, value)
        for watcher in watchers.get(key, ()):
            watcher.send_nowait(f"changed {key} {value}\n")
            watcher.send_nowait(f"changed-version {key} {version} {value}\n")
    elif command in ("get", "get-safe"):
        outbox.send_nowait(f"value {value}\n" if command == "get" else f"value-version {max(version, 0)} {value}\n")
    elif command == "watch":
        watchers.setdefault(key, set()).add(outbox)
    outbox.send_nowait("ok \n")


async def write(websocket: WebSocketConnection, messages: trio.MemoryReceiveChannel[str]) -> None:
    async for message in messages:
        await websocket.send_message(message)


async def serve(request: WebSocketRequest) -> None:
    websocket = await request.accept()
    outbox, messages = trio.open_memory_channel[str](math.inf)
    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(write, websocket, messages)
            while True:
                execute(str(await websocket.get_message()), outbox)
    except* ConnectionClosed:
        for watching in watchers.values():
            watching.discard(outbox)


async def main() -> None:
    async with trio.open_nursery() as nursery:
        server = await nursery.start(serve_websocket, serve, "127.0.0.1", 0, None)
        print(f"listening: websocket 127.0.0.1:{server.port}\nready", flush=True)


if __name__ == "__main__":
    trio.run(main)
