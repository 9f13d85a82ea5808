"""The pools of what is held for clients: who is ended when one is over its limit, and what is counted."""

from __future__ import annotations

import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun import limits
from pynun.transports.client_address import Client, client_of
from pynun.transports.counters import Counters
from pynun.transports.input_budget import _SLACK_BYTES, InputBudget, Reservation
from pynun.transports.websocket.fragments import PIECE_BYTES, FragmentCounter
from tests.fuzz.cutting import bytewise
from tests.properties.effort import effort
from tests.transports.websocket import client_frames as frames
from tests.transports.websocket.client_frames import BINARY, CONTINUATION, FIN, PING, TEXT, frame

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT = 8_000_000


class Clients:
    """Connections over real sockets, each with what it holds; `ended` has the names of those that were ended."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.counters = Counters()
        self.pools = InputBudget(self.counters, LIMIT - _SLACK_BYTES, self._group_of)
        self.ended: list[str] = []
        self._listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))

    @staticmethod
    def _group_of(address: str) -> str:
        return "ward" if address.startswith("127.0.1.") else address

    def open(self, name: str, source: str = "127.0.0.1", *, is_authenticated: bool = False) -> Reservation:
        """A connection from an address."""
        client = self._stack.enter_context(
            socket.create_connection(self._listening.getsockname(), source_address=(source, 0))
        )
        ours = self._stack.enter_context(self._listening.accept()[0])
        assert ours.getpeername() == client.getsockname()
        return Reservation(self.pools, client_of(ours), lambda: is_authenticated, lambda: self.ended.append(name))


@pytest.fixture(name="clients")
def _clients() -> Iterator[Clients]:
    with ExitStack() as stack:
        yield Clients(stack)


def test_nobody_is_ended_below_the_limit(clients: Clients) -> None:
    one, two = clients.open("one"), clients.open("two")
    assert one.hold(LIMIT // 2)
    assert two.hold(LIMIT // 2)
    assert clients.pools.bytes == LIMIT
    assert one.hold(0)
    assert one.hold(LIMIT // 2)
    assert clients.ended == []


def test_the_largest_is_ended_and_nobody_else(clients: Clients) -> None:
    small, large, last = clients.open("small"), clients.open("large"), clients.open("last")
    assert small.hold(1_000_000)
    assert large.hold(5_000_000)
    assert last.hold(3_000_000)
    assert clients.ended == ["large"]
    assert clients.pools.bytes == 4_000_000
    assert not large.hold(1), "it is ended, and nothing is counted for it any more"
    assert clients.pools.bytes == 4_000_000
    assert clients.counters.dropped["unfinished_input"] == 1


def test_the_client_that_asks_for_more_may_be_ended_itself(clients: Clients) -> None:
    small, large = clients.open("small"), clients.open("large")
    assert small.hold(3_000_000)
    assert not large.hold(LIMIT - 1_000_000)
    assert clients.ended == ["large"]


def test_of_many_small_ones_so_many_are_ended_that_an_eighth_is_free(clients: Clients) -> None:
    many = [clients.open(f"{number}") for number in range(100)]
    for reservation in many[:80]:
        assert reservation.hold(100_000)
    assert not many[80].hold(110_000), "the largest"
    assert len(clients.ended) == 11
    assert clients.pools.bytes == 7_000_000
    for reservation in many[81:91]:
        assert reservation.hold(100_000)
    assert len(clients.ended) == 11


def test_the_address_that_holds_most_loses_first(clients: Clients) -> None:
    """A client with many connections takes no memory from others, although each of them holds less."""
    honest = clients.open("honest", "127.0.0.2")
    assert honest.hold(2_000_000)
    for number in range(5):
        clients.open(f"greedy {number}", "127.0.0.3").hold(1_500_000)
    assert clients.ended == ["greedy 4", "greedy 3"]
    assert honest.hold(2_400_000), "more than any other holds"


def test_addresses_of_one_network_are_one(clients: Clients) -> None:
    honest = clients.open("honest", "127.0.0.2")
    assert honest.hold(2_000_000)
    for number in range(5):
        clients.open("greedy", f"127.0.1.{number + 1}").hold(1_500_000)
    assert clients.ended == ["greedy", "greedy"]


def test_who_has_logged_in_is_not_ended_for_strangers(clients: Clients) -> None:
    member = clients.open("member", is_authenticated=True)
    assert member.hold(2 * LIMIT)
    stranger, other = clients.open("stranger"), clients.open("other")
    assert stranger.hold(LIMIT - 2)
    assert other.hold(3), "nobody but the largest stranger is ended"
    assert clients.ended == ["stranger"]
    members_max = limits.UNFINISHED_AUTHENTICATED_SHARE * (LIMIT - _SLACK_BYTES) + _SLACK_BYTES
    assert not member.hold(members_max + 1)
    assert clients.ended == ["stranger", "member"]
    assert other.hold(4)


def test_who_logs_in_meanwhile_counts_among_the_others(clients: Clients) -> None:
    reservation, stranger = clients.open("logs in"), clients.open("stranger")
    assert reservation.hold(LIMIT - 1)
    reservation.is_authenticated = lambda: True
    assert stranger.hold(LIMIT - 1)
    assert clients.ended == []


def test_a_client_that_is_gone_has_no_address_and_is_ended_like_others(clients: Clients) -> None:
    reservation = clients.open("gone")
    reservation.client = Client("")
    assert not reservation.hold(LIMIT + 1)
    assert clients.ended == ["gone"]


_amounts = st.lists(st.tuples(st.integers(0, 9), st.integers(0, LIMIT // 3)), max_size=60)


@given(_amounts)
@effort(100)
def test_no_more_is_ever_held_than_may_be(amounts: list[tuple[int, int]]) -> None:
    with ExitStack() as stack:
        clients = Clients(stack)
        many = [
            clients.open(f"{number}", f"127.0.0.{number % 3 + 1}", is_authenticated=number > 7) for number in range(10)
        ]
        for number, amount in amounts:
            many[number].hold(amount)
            assert clients.pools.bytes == sum(reservation.bytes for reservation in many)
            assert sum(reservation.bytes for reservation in many[:8]) <= LIMIT
        for reservation in many:
            reservation.hold(0)
        assert clients.pools.bytes == 0
        assert len(clients.ended) == sum(reservation.is_ended for reservation in many)


# --- fragments -------------------------------------------------------------------------------------------------


def test_what_is_held_of_messages_in_fragments() -> None:
    counter = FragmentCounter()
    counter.feed(frame(BINARY, b"x" * 1000) + frame(FIN | PING, b"between"))
    assert 1000 <= counter.bytes <= 1000 + 2 * PIECE_BYTES
    assert counter.message_bytes == 1000
    counter.feed(frame(FIN | CONTINUATION, b"x" * 500))
    assert counter.message_bytes == 0
    finished = counter.bytes
    assert finished >= 1500, "it is complete, and not done with"
    counter.feed(frame(FIN | TEXT, b"y" * 70_000))
    assert counter.bytes - finished >= 4 * 70_000, "each character may take four bytes"
    counter.done()
    assert counter.bytes >= 4 * 70_000
    counter.done()
    assert counter.bytes == 0


def test_empty_fragments_are_not_free() -> None:
    counter = FragmentCounter()
    counter.feed(frame(TEXT, b"") + frame(CONTINUATION, b"") * 10_000)
    assert counter.message_bytes == 0
    assert counter.bytes >= 10_000 * PIECE_BYTES


_stream = st.lists(st.one_of(frames.plain, frames.control, frames.binary, frames.fragmented()), max_size=6)


@given(_stream.map(b"".join), frames.messages)
@effort(60)
def test_messages_are_told_apart_however_they_are_cut(stream: bytes, last: str) -> None:
    messages = len(frames.expected(stream).texts)
    for pieces in ([stream], *bytewise(stream)):
        counter = FragmentCounter()
        for piece in pieces:
            counter.feed(piece)
        assert counter.message_bytes == 0
        for _ in range(messages):
            assert counter.bytes
            counter.done()
        assert counter.bytes == 0
        counter.feed(frame(BINARY, last.encode()))
        assert counter.message_bytes == len(last.encode())
