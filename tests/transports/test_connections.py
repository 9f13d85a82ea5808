"""Whole connections with real sessions: what is answered does not depend on how the bytes come."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pynun.transports.tcp.connection import serve_tcp
from pynun.transports.websocket.connection import serve_websocket
from tests.cluster.edge_bench import serve_tcp_elsewhere, serve_websocket_elsewhere
from tests.engine.answers import DATABASES
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, Client, World
from tests.properties.command_texts import commands, token
from tests.properties.effort import effort
from tests.transports.service_bench import converse, cut, open_service
from tests.transports.websocket.client_frames import FIN, HANDSHAKE, PING, PONG, Received, frame, frames_of, text

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pynun.transports.service import Service

pytestmark = pytest.mark.timeout(300)

LINE_BYTES_MAX = 120
SETTING_UP = (f"auth {ADMIN_USER} {ADMIN_PASSWORD}", "create-db one one-pwd", "use-db one one-pwd", "watch a")


def new_world() -> World:
    """A world with the databases that the drawn commands speak of."""
    world = World()
    world.admin(*(f"create-db {name} {token(name)} arbiter" for name in DATABASES))
    return world


def answers(
    serve: Callable[..., Awaitable[None]], *streams: list[bytes], message_bytes_max: int = 1 << 20
) -> list[bytes]:
    """What each stream of pieces is answered with, each in a world of its own."""

    async def main() -> list[bytes]:
        received = []
        for pieces in streams:
            async with open_service(new_world(), message_bytes_max=message_bytes_max) as service:
                received.append(await converse(service, _serving(serve, service), pieces))
        return received

    return trio.run(main)


def _serving(serve: Callable[..., Awaitable[None]], service: Service) -> Callable[..., Awaitable[None]]:
    return partial(_serve, serve, service)


async def _serve(serve: Callable[..., Awaitable[None]], service: Service, ours: object) -> None:
    await serve(ours, service, trio.Event())


# --- TCP -------------------------------------------------------------------------------------------------------


def expected_lines(stream: bytes, line_bytes_max: int = LINE_BYTES_MAX) -> bytes:
    """What lines are answered with, by a session that gets them one by one."""
    client = Client(new_world())
    told = ["ok \n"]
    *lines, rest = stream.split(b"\n")
    for line in lines:
        if len(line) > line_bytes_max:
            return "".join([*told, "error message too big \n"]).encode()
        try:
            command = line.decode()
        except UnicodeDecodeError:
            told.append("error invalid utf-8 \n")
        else:
            told += client.ask(command.removesuffix("\r"))
    if len(rest) > line_bytes_max:
        told.append("error message too big \n")
    return "".join(told).encode()


_commands = commands.filter(lambda text: not text.startswith(("db-size", "list-sessions"))).map(str.encode)
"""Commands whose answers depend neither on when the last commit was nor on where a connection comes from."""
_lines = st.one_of(
    _commands,
    _commands,
    st.sampled_from(SETTING_UP).map(str.encode),
    st.binary(max_size=20).filter(lambda line: b"\n" not in line),
    st.sampled_from((b"", b";", b"set a b;c", b"x" * (LINE_BYTES_MAX - 1), b"x" * LINE_BYTES_MAX, b"\xff", b"get a;;")),
)
_too_long = st.sampled_from((b"", b"", b"", b"x" * (LINE_BYTES_MAX + 1), b"x" * (3 * LINE_BYTES_MAX)))


@given(
    lines=st.lists(st.tuples(_lines, st.sampled_from((b"\n", b"\n", b"\r\n"))), max_size=10),
    end=_too_long,
    behind=st.lists(_lines, max_size=2),
    places=st.lists(st.integers(0, 1 << 20), max_size=6),
)
@effort(80)
def test_lines_are_answered_alike_however_they_are_cut(
    lines: list[tuple[bytes, bytes]], end: bytes, behind: list[bytes], places: list[int]
) -> None:
    begun = "\n".join((*SETTING_UP, "")).encode()
    stream = begun + b"".join(line + ending for line, ending in lines) + end + b"\n".join((b"", *behind))
    whole, pieces = answers(serve_tcp, [stream], cut(stream, places), message_bytes_max=LINE_BYTES_MAX)
    assert whole == expected_lines(stream)
    assert pieces == whole
    assert answers(serve_tcp_elsewhere, cut(stream, places), message_bytes_max=LINE_BYTES_MAX) == [whole]


LINES = (
    "".join(
        (
            f"auth {ADMIN_USER} {ADMIN_PASSWORD}\n",
            *("use-db one one-pwd\r\n", "watch a\n", "set a 1\n", "\n", "get a;\n", "set a é🙂;x\n", "nonsense\n"),
            *("create-user ana ana-pwd\n", "use-db one ana ana-pwd\n", "get a\n", "keys\n"),
        )
    ).encode()
    + b"set a \xff\nget b\nrest without an end"
)


def test_lines_cut_at_each_place_and_byte_by_byte() -> None:
    whole, bytewise, *pieces = answers(
        serve_tcp,
        [LINES],
        [LINES[place : place + 1] for place in range(len(LINES))],
        *([LINES[:place], LINES[place:]] for place in range(1, len(LINES), 3)),
    )
    assert whole == expected_lines(LINES, 1 << 20)
    assert whole.count(b"error invalid utf-8 \n") == 1
    assert bytewise == whole
    assert set(pieces) == {whole}
    assert answers(serve_tcp_elsewhere, [LINES]) == [whole]


@pytest.mark.parametrize("length", [LINE_BYTES_MAX, LINE_BYTES_MAX + 1])
@pytest.mark.parametrize("ending", [b"\n", b""])
def test_a_line_may_be_as_long_as_allowed_and_no_longer(length: int, ending: bytes) -> None:
    stream = b"x" * length + ending
    is_allowed = length == LINE_BYTES_MAX
    for answer in answers(serve_tcp, [stream], cut(stream, [length - 1]), message_bytes_max=LINE_BYTES_MAX):
        assert (b"message too big" in answer) is not is_allowed
        assert (b"unknown command" in answer) is (is_allowed and bool(ending))


# --- WebSocket -------------------------------------------------------------------------------------------------

MESSAGES = b"".join(
    (
        text(f"auth {ADMIN_USER} {ADMIN_PASSWORD};use-db one one-pwd"),
        text("watch a;set a 1;"),
        frame(FIN | PING, b"1"),
        text("create-user ana ana-pwd"),  # a command that waits for a hash
        frame(FIN | PING, b"2"),
        text("use-db one ana ana-pwd"),
        text("get a"),
        text("use-db two two-pwd;keys;set k é🙂;get-safe k"),
        frame(FIN | PING, b"3"),
    )
)


def _told(*told: str) -> list[Received]:
    return [Received(1, message.encode()) for message in told]


def test_messages_cut_at_each_place_and_byte_by_byte() -> None:
    behind_handshake = [MESSAGES], [MESSAGES[place : place + 1] for place in range(len(MESSAGES))]
    cuts = [[MESSAGES[:place], MESSAGES[place:]] for place in range(1, len(MESSAGES), 3)]
    received = answers(serve_websocket, *([HANDSHAKE, *pieces] for pieces in (*behind_handshake, *cuts)))
    received += answers(serve_websocket_elsewhere, [HANDSHAKE, MESSAGES], [HANDSHAKE, MESSAGES[:50], MESSAGES[50:]])
    head, _, first = received[0].partition(b"\r\n\r\n")
    assert {answer.partition(b"\r\n\r\n")[2] for answer in received} == {first}
    ok, denied = "ok \n", ("permission denied\n", "error permission denied\n \n")
    assert head.startswith(b"HTTP/1.1 101 ")
    assert frames_of(first) == [
        *_told("valid auth\n", ok, ok),
        *_told(ok, "changed a 1\n", "changed-version a 0 1\n", ok, "error empty command \n"),
        Received(PONG, b"1"),
        *_told(ok),
        Received(PONG, b"2"),
        *_told(ok),
        *_told(*denied),
        *_told(ok, "keys ,$$token,$connections\n", ok, ok, "value-version 0 é🙂\n", ok),
        Received(PONG, b"3"),
    ]
