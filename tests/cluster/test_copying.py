"""A copy on its way from one node to another: what arrives, and what is said if it does not."""

from __future__ import annotations

import contextlib
import socket
from typing import TYPE_CHECKING

import pytest
import trio

from pynun.cluster.copy_source import SENT_NAME, CopySource
from pynun.cluster.copying import RECEIVED_NAME, CopyError, receive_copy
from pynun.cluster.link import COPY, welcome
from pynun.setting_values import Address
from pynun.transports.sockets import send

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

CONTENT = bytes(range(256)) * 20_000
"""More than one piece."""


def copy_from(serve: Callable[[socket.socket], Awaitable[None]], folder: Path) -> bytes:
    """What a node receives from one that serves so."""

    async def run() -> bytes:
        listener = trio.socket.socket()
        await listener.bind(("127.0.0.1", 0))
        listener.listen()

        async def accept() -> None:
            accepted, _ = await listener.accept()
            with socket.socket(fileno=accepted.detach()) as connected:
                connected.setblocking(False)
                _, hello = await welcome(connected, None)
                assert hello.purpose == COPY
                await serve(connected)

        address = Address("127.0.0.1", listener.getsockname()[1])
        with trio.fail_after(60), listener:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(accept)
                try:
                    file = await receive_copy(address, None, "b", folder, lambda _done, _size: None)
                except CopyError as error:
                    nursery.cancel_scope.cancel()
                    told = error
                else:
                    return file.read_bytes()
        raise told

    return trio.run(run)


def test_what_is_made_arrives(tmp_path: Path) -> None:
    sending = tmp_path / "sending"
    sending.mkdir()
    (sending / SENT_NAME).write_bytes(b"left behind by a killed process")

    async def make(_folder: Path, file: Path) -> str | None:
        assert not await trio.Path(file).exists()
        await trio.sleep(1.2)  # long enough for a sign of life
        await trio.Path(file).write_bytes(CONTENT)
        return None

    assert copy_from(CopySource(sending, make).send, tmp_path) == CONTENT
    assert list(sending.iterdir()) == []


def test_a_copy_that_did_not_arrive_is_sent_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Path] = []

    async def make(_folder: Path, file: Path) -> str | None:
        made.append(file)
        await trio.Path(file).write_bytes(CONTENT)
        return None

    async def run() -> None:
        source = CopySource(tmp_path, make)
        await break_off(source)
        assert await received(source) == CONTENT
        assert len(made) == 1
        assert await received(source) == CONTENT
        assert len(made) == 2, "one that arrived is not kept"
        await break_off(source)
        monkeypatch.setattr(source, "_until", 0.0)
        assert await received(source) == CONTENT
        assert len(made) == 4, "the log may not go on from one that is old"

    trio.run(run)
    assert list(tmp_path.iterdir()) == []


async def break_off(source: CopySource) -> None:
    """Ask for a copy, as a node that is killed when it has a part."""
    ours, theirs = socket.socketpair()
    with ours:
        ours.setblocking(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(receive_and_hang_up, theirs)
            with contextlib.suppress(OSError):
                await source.send(ours)


async def receive_and_hang_up(connected: socket.socket) -> None:
    """As a node that is killed."""
    with trio.socket.from_stdlib_socket(connected) as receiving:
        await receiving.recv(1000)


async def received(source: CopySource) -> bytes:
    """What a node receives, without the line before it."""
    ours, theirs = socket.socketpair()
    found = b""

    async def send_all() -> None:
        with ours:
            ours.setblocking(False)
            await source.send(ours)

    with trio.fail_after(60), trio.socket.from_stdlib_socket(theirs) as receiving:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_all)
            while len(found) < len(CONTENT) or not found.endswith(CONTENT[-1000:]):
                found += await receiving.recv(65536)
            await receiving.send(b"\n")
    return found.partition(b"\n")[2]


def test_nothing_is_made_for_a_node_that_is_gone(tmp_path: Path) -> None:
    async def make(_folder: Path, _file: Path) -> str | None:
        await trio.sleep_forever()
        raise AssertionError

    async def run() -> None:
        ours, theirs = socket.socketpair()
        theirs.close()
        with ours, trio.fail_after(60):
            await CopySource(tmp_path, make).send(ours)

    trio.run(run)


def test_why_none_was_made_is_told(tmp_path: Path) -> None:
    async def make(_folder: Path, _file: Path) -> str | None:
        return "no space left"

    with pytest.raises(CopyError, match="no space left"):
        copy_from(CopySource(tmp_path, make).send, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("said", [b"", b'{"bytes": 100}\nnot so many', b"\n\n", b"[]\n", b"no json\n", b"{}\n"])
def test_a_copy_that_is_cut_leaves_nothing(tmp_path: Path, said: bytes) -> None:
    async def serve(connected: socket.socket) -> None:
        await send(connected, said)

    with pytest.raises(CopyError):
        copy_from(serve, tmp_path)
    assert not (tmp_path / RECEIVED_NAME).exists()


def test_a_node_that_is_gone_is_told(tmp_path: Path) -> None:
    async def run() -> None:
        await receive_copy(Address("127.0.0.1", 1), None, "b", tmp_path, lambda _done, _size: None)

    with pytest.raises(CopyError):
        trio.run(run)
