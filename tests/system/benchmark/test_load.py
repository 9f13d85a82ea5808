"""The load generator's parts: frames, the buffer of requests, percentiles, and the baseline's size."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wsproto.frame_protocol import FrameProtocol, Opcode

import tools.benchmark
from tools.benchmark.load import Clients
from tools.benchmark.measure import percentile
from tools.benchmark.servers import parse_external
from tools.benchmark.wire import VALUE_BYTES, encode_frame, key_name, value_of
from tools.clients.exact_clients import apply_mask
from tools.clients.server import Address

MARKS = b"@k+$"
"""What replies and events are counted by."""


def clients(**fields: int) -> Clients:
    found = Clients(address=Address("127.0.0.1", 1), protocol="tcp", **fields)
    found.build_requests()
    return found


@given(st.text(max_size=70_000), st.binary(min_size=4, max_size=4))
def test_frames_are_what_a_websocket_library_reads(text: str, mask: bytes) -> None:
    reader = FrameProtocol(client=False, extensions=[])
    reader.receive_bytes(encode_frame(text, mask))
    [frame] = reader.received_frames()
    assert (frame.opcode, frame.payload) == (Opcode.TEXT, text)


@given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
def test_masking_twice_is_nothing(payload: bytes, mask: bytes) -> None:
    assert apply_mask(apply_mask(payload, mask), mask) == payload


def test_requests_are_sets_and_gets_of_all_keys_in_the_wanted_share() -> None:
    requests = clients(gets_percent=90, in_flight=3)
    lines = bytes(requests.buffer).decode().splitlines()
    assert lines[:3] == lines[1000:]
    sets = [line.split(" ", 2) for line in lines[:1000] if line.startswith("set ")]
    assert 60 < len(sets) < 140
    assert all(value == value_of(int(key[4:])) and len(value) == VALUE_BYTES for _, key, value in sets)
    assert {line.split(" ")[1] for line in lines} == {key_name(number) for number in range(1000)}


@given(st.integers(0, 9), st.integers(0, 50))
def test_sets_are_counted_over_the_end_of_the_buffer(start: int, count: int) -> None:
    requests = clients(gets_percent=50, key_count=10, key_sample=10)
    lines = bytes(requests.buffer).decode().splitlines()[:10]
    sent = [lines[index % 10] for index in range(start, start + count)]
    assert requests.sets_among(start, start + count) == sum(line.startswith("set ") for line in sent)


def test_a_sample_of_many_keys_is_spread_over_all() -> None:
    requests = clients(key_count=1_000_000, key_sample=100)
    numbers = sorted(int(line.split(" ")[1][4:]) for line in bytes(requests.buffer).decode().splitlines()[:100])
    assert numbers == [10_000 * index for index in range(100)]


def test_nothing_that_is_counted_occurs_in_keys_and_values() -> None:
    assert not set(MARKS) & set(value_of(7).encode())
    assert not (set(MARKS) - set(b"k")) & set(key_name(7).encode())


@pytest.mark.parametrize(("part", "expected"), [(0.5, 10), (0.51, 20), (0.99, 20), (1.0, 30)])
def test_percentiles(part: float, expected: float) -> None:
    assert percentile([10.0] * 50 + [20.0] * 49 + [30.0], part) == expected
    assert percentile([], part) == 0


def test_an_external_server_is_given_by_its_address() -> None:
    external = parse_external("other=ws://user:p%40ss@127.0.0.1:3012?tcp=3014&pid=7")
    assert external.addresses == {"websocket": Address("127.0.0.1", 3012), "tcp": Address("127.0.0.1", 3014)}
    assert (external.name, external.user, external.password, external.pid) == ("other", "user", "p@ss", 7)
    assert "p@ss" not in repr(external)
    for text in ("ws://127.0.0.1:3012", "other=http://127.0.0.1:3012", "other=ws://127.0.0.1:3012?tpc=1"):
        with pytest.raises(ValueError, match="NAME=ws://"):
            parse_external(text)


def test_the_baseline_is_a_small_program() -> None:
    source = Path(tools.benchmark.__path__[0]) / "baseline.py"
    assert len(source.read_text(encoding="utf-8").splitlines()) < 60
