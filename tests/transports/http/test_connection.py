"""HTTP requests in any pieces, and the results of their commands (docs/protocol.md section 1)."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import wait_all_tasks_blocked

from pynun import limits
from pynun.engine.overlay import Entry, View
from pynun.transports.http.connection import serve_http
from pynun.transports.http.request_reader import RequestReader
from pynun.transports.http.results import ResultsOutbox
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, World
from tests.properties.effort import effort
from tests.storage.memory_store import MemoryStore
from tests.transports.service_bench import converse, cut, open_service

if TYPE_CHECKING:
    import socket

    from pynun.engine.events import Result
    from pynun.transports.service import Service

pytestmark = pytest.mark.timeout(300)

BODY_BYTES_MAX = 5000
ADMIN = f"auth {ADMIN_USER} {ADMIN_PASSWORD}"


def post(body: str | bytes, *headers: str, version: str = "1.1") -> bytes:
    """A request."""
    data = body.encode() if isinstance(body, str) else body
    head = [f"POST / HTTP/{version}", "Host: x", f"Content-Length: {len(data)}", *headers, "", ""]
    return "\r\n".join(head).encode() + data


def chunked(*parts: bytes) -> bytes:
    """A request whose body comes in chunks."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts if part)
    return b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"


def answers(*streams: list[bytes]) -> list[list[tuple[int, str]]]:
    """Status and body of what each stream of pieces is answered with, each in a world of its own."""

    async def main() -> list[list[tuple[int, str]]]:
        received = []
        for pieces in streams:
            async with open_service(World(), message_bytes_max=BODY_BYTES_MAX) as service:
                data = await converse(service, partial(_serve, service), pieces)
            received.append(_parsed(data))
        return received

    return trio.run(main)


async def _serve(service: Service, ours: socket.socket) -> None:
    await serve_http(ours, service, trio.Event())


def _parsed(data: bytes) -> list[tuple[int, str]]:
    found = []
    while data:
        if data.startswith(b"HTTP/1.1 100 Continue\r\n\r\n"):
            data = data.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n")
            continue
        head, _, rest = data.partition(b"\r\n\r\n")
        length = re.search(rb"\r\nContent-Length: ([0-9]+)", head)
        assert length is not None
        assert b"\r\nContent-Type: text/plain; charset=UTF-8" in head
        size = int(length[1])
        assert len(rest) >= size
        found.append((int(head.split(b" ")[1]), rest[:size].decode()))
        data = rest[size:]
    return found


REQUESTS = b"".join(
    (
        post(f"{ADMIN};create-db d pwd"),
        chunked(b"use-db d pwd; set a \xc3", b"\xa9\xf0\x9f\x99\x82;get a", b"; watch a ;set a 2;nonsense"),
        post(""),
        b"GET /anything?at=all HTTP/1.1\r\nHost: x\r\n\r\n",
        post("use-db d pwd;get-safe a;get b;;keys"),
    )
)
ANSWERS = [
    (200, "valid auth\n;create-db success\n"),
    (200, "empty;empty;value é🙂\n;empty;empty;unknown command: nonsense"),
    (200, ""),
    (200, ""),
    (200, "empty;value-version 1 2\n;value <Empty>\n;keys ,$connections,a\n"),
]


def test_requests_at_once_byte_by_byte_and_cut_at_each_place() -> None:
    whole, bytewise, *pieces = answers(
        [REQUESTS],
        [REQUESTS[place : place + 1] for place in range(len(REQUESTS))],
        *([REQUESTS[:place], REQUESTS[place:]] for place in range(1, len(REQUESTS), 4)),
    )
    assert whole == ANSWERS
    assert bytewise == ANSWERS
    assert pieces == [ANSWERS] * len(pieces)


_bodies = st.one_of(
    st.sampled_from(("", ADMIN, f"{ADMIN};create-db d pwd", "use-db d pwd;set a 1;get a", "a;b", ";;", "get a")),
    st.text(max_size=30),
).map(str.encode) | st.binary(max_size=30)
_requests = st.one_of(
    _bodies.map(post),
    st.lists(_bodies, min_size=1, max_size=3).map(lambda parts: chunked(*parts)),
    st.sampled_from(
        (
            post("get a", "Connection: close"),
            post("get a", version="1.0"),
            post("get a", "Connection: keep-alive", version="1.0"),
            post("get a", "Expect: 100-continue"),
            b"nonsense\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n" + b"Header: x\r\n" * 3,
        )
    ),
)


@given(requests=st.lists(_requests, max_size=5), places=st.lists(st.integers(0, 1 << 20), max_size=5))
@effort(80)
def test_requests_are_answered_alike_however_they_are_cut(requests: list[bytes], places: list[int]) -> None:
    stream = b"".join(requests)
    whole, pieces = answers([stream], cut(stream, places))
    # A head that is wrong is noticed at once or at its end: what is wrong with it may be said in other words.
    assert [(status, "" if status == 400 else body) for status, body in pieces] == [
        (status, "" if status == 400 else body) for status, body in whole
    ]
    assert len(whole) <= len(requests)


@given(noise=st.binary(max_size=200), places=st.lists(st.integers(0, 300), max_size=4))
@effort(60)
def test_noise_behind_a_request_harms_nobody(noise: bytes, places: list[int]) -> None:
    stream = post("get a") + noise
    for told in answers([stream], cut(stream, places)):
        assert told[0] == (200, "error no-db-selected\n")
        assert all(status in (200, 400, 413, 431) for status, _ in told)


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (post("x" * BODY_BYTES_MAX), 200),
        (chunked(b"x" * BODY_BYTES_MAX), 200),
        (post(b"\xff"), 400),
        (b"no request at all\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHeader: " + b"x" * 70_000 + b"\r\n\r\n", 431),
    ],
)
def test_a_status_says_what_became_of_a_request(request_bytes: bytes, status: int) -> None:
    for told in answers([request_bytes], cut(request_bytes, [10, 100])):
        assert [one[0] for one in told] == [status]


@pytest.mark.parametrize("blanks", ["", " ", "  "])
def test_blanks_around_a_header_are_no_part_of_it(blanks: str) -> None:
    """RFC 9110 section 5.5."""
    reader = RequestReader(BODY_BYTES_MAX, {b"origin"})
    fields = "".join(
        f"{name}:{blanks}{value}{blanks}\r\n" for name, value in (("Origin", "x"), ("Transfer-Encoding", "chunked"))
    )
    reader.feed(f"POST / HTTP/1.1\r\n{fields}\r\n3\r\nget\r\n0\r\n\r\n".encode())
    assert reader.refusal is None
    assert [(request.body, dict(request.headers)[b"origin"]) for request in reader.complete] == [(b"get", b"x")]


@pytest.mark.parametrize(
    "too_much",
    [
        post(f"{ADMIN};create-db d pwd;{'x' * BODY_BYTES_MAX}"),
        chunked(f"{ADMIN};create-db d pwd;".encode(), b"x" * BODY_BYTES_MAX),
    ],
)
def test_nothing_is_run_of_a_body_that_is_too_big(too_much: bytes) -> None:
    for told in answers([too_much], cut(too_much, [100, 200])):
        assert told == [(413, "message too big")]


@pytest.mark.parametrize("unending", [b"0\r\nTrailer: ", b"1;extension="])
def test_what_surrounds_a_chunked_body_is_bounded_as_a_head_is(unending: bytes) -> None:
    """httptools keeps a header until its end: without a bound a client could fill the memory with one."""
    reader = RequestReader(BODY_BYTES_MAX)
    reader.feed(b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nget a\r\n" + unending)
    fed_bytes = 0
    while reader.refusal is None:
        reader.feed(b"x" * 1000)
        fed_bytes += 1000
        assert fed_bytes <= limits.HANDSHAKE_BYTES_MAX + 1000
    assert reader.refusal[0] == 431
    assert not reader.complete


UPGRADE = b"Connection: Upgrade\r\nUpgrade: h2c\r\n"


@pytest.mark.parametrize("first", [post("get a"), chunked(b"get a")], ids=["length", "chunked"])
@pytest.mark.parametrize(
    "second",
    [b"GET / HTTP/1.1\r\n" + UPGRADE + b"\r\n", b"POST / HTTP/1.1\r\nContent-Length: 2\r\n" + UPGRADE + b"\r\n;;"],
    ids=["none", "length"],
)
def test_the_body_of_one_request_says_nothing_of_the_next_ones(first: bytes, second: bytes) -> None:
    stream = first + second
    for told in answers([stream], [first, second], cut(stream, [*range(1, len(stream), 7)])):
        assert told == [(200, "error no-db-selected\n"), (200, "")]


def test_a_reader_says_whether_a_request_has_begun() -> None:
    reader = RequestReader(BODY_BYTES_MAX)
    states = [reader.is_partial]
    for piece in cut(post("get a"), [1, 30, 70]):
        reader.feed(piece)
        states.append(reader.is_partial)
    assert states == [False, *[True] * (len(states) - 2), False]
    assert [request.body for request in reader.complete] == [b"get a"]


# --- results ---------------------------------------------------------------------------------------------------


def new_view() -> View:
    """A view in which something has changed."""
    view = View(MemoryStore(), revision=0, operations=0, is_relaxed=False)
    view.write(b"\0\0\0\1k", Entry(0, "v"))
    return view


def body_of(outbox: ResultsOutbox) -> str:
    """The body; it must be there at once."""

    async def main() -> str:
        with trio.fail_after(20):
            await outbox.wait()
            return outbox.body()

    return trio.run(main)


@pytest.mark.parametrize(
    ("result", "text"),
    [(None, "empty"), ([], "empty"), ("own\n", "own\n"), ("é\n".encode(), "é\n"), (["one\n", "two\n"], "one\n")],
)
def test_a_result_is_the_first_message_of_its_own(result: Result, text: str) -> None:
    outbox = ResultsOutbox(new_view())
    outbox.reply(result, 0)
    assert body_of(outbox) == text
    assert outbox.size == len(text)


def test_a_failure_is_its_own_message_else_its_error() -> None:
    outbox = ResultsOutbox(new_view())
    outbox.refuse(("permission denied\n",), "permission denied\n", 0)
    outbox.refuse((), "Invalid token", 0)
    assert body_of(outbox) == "permission denied\n;Invalid token"


def test_results_wait_for_the_disk_and_those_of_a_lost_batch_are_errors() -> None:
    async def main() -> str:
        view = new_view()
        outbox = ResultsOutbox(view)
        outbox.reply("first\n", view.batch.revision)
        outbox.reply("at once\n", 0)
        first = view.take_batch()
        view.write(b"\0\0\0\1k", Entry(1, "w"))
        for text in ("second\n", "and again\n"):
            outbox.reply(text, view.batch.revision)
        outbox.reply("about the first\n", first.revision)
        bodies: list[str] = []

        async def wait() -> None:
            await outbox.wait()
            bodies.append(outbox.body())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            await wait_all_tasks_blocked()
            view.written()
            for waiter in first.waiters:
                waiter.released(first.revision)
            await wait_all_tasks_blocked()
            assert not bodies
            for batch in view.drop():
                for waiter in batch.waiters:
                    waiter.failed(batch.revision, "why")
        return bodies[0]

    assert trio.run(main) == "first\n;at once\n;not stored: why;not stored: why;about the first\n"
