"""Batches as values of the log: what is encoded comes back, and damage is found."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun.cluster import records
from pynun.cluster.records import RecordError
from pynun.engine.overlay import Entry
from tests.properties.effort import effort

entries = st.none() | st.builds(Entry, st.integers(-(1 << 63), (1 << 63) - 1), st.text(max_size=30))
changes = st.dictionaries(st.binary(min_size=4, max_size=20), entries, max_size=8)


@effort(80)
@given(changes, st.integers(0, 1 << 62), st.integers(0, 1 << 62), st.sampled_from((3, 20, 1 << 20)))
def test_what_is_encoded_comes_back(
    batch: dict[bytes, Entry | None], term: int, operations: int, part_bytes: int
) -> None:
    encoded = records.encode(term, operations, batch, part_bytes)
    assert records.decode_head(encoded.value) == (term, operations, len(encoded.parts))
    assert all(len(part) <= part_bytes for part in encoded.parts)
    record = records.decode(encoded.value, encoded.parts)
    assert record == (term, operations, batch)
    assert list(record.entries) == list(batch)


def test_a_value_fits_into_a_request_of_etcd() -> None:
    noise = random.Random(1).randbytes(3 << 20).hex()
    encoded = records.encode(1, 1, {b"0000k": Entry(1, noise)})
    assert len(encoded.parts) > 1
    assert max(len(encoded.value), *map(len, encoded.parts)) <= records.PART_BYTES
    assert records.decode(encoded.value, encoded.parts).entries == {b"0000k": Entry(1, noise)}


def test_damage_is_found() -> None:
    whole = records.encode(1, 1, {b"0000k": Entry(1, "v" * 50)})
    parted = records.encode(1, 1, {b"0000k": Entry(1, random.Random(1).randbytes(100).hex())}, 50)
    cut = whole.value[:-3]
    other = [parted.parts[0][:-1] + b"\0", *parted.parts[1:]]
    for value, parts, said in (
        (b"", [], "head"),
        (b"\0" + whole.value[1:], [], "head"),
        (whole.value[:10], [], "head"),
        (cut, [], "damaged"),
        (whole.value, [b"x"], "0 parts, and 1 were found"),
        (parted.value, parted.parts[:-1], f"{len(parted.parts)} parts"),
        (parted.value, parted.parts[::-1], "parts of a batch are damaged"),
        (parted.value, other, "parts of a batch are damaged"),
    ):
        with pytest.raises(RecordError, match=said):
            records.decode(value, parts)


def test_a_newer_format_is_refused_as_such() -> None:
    value = bytes((records.FORMAT + 1,)) + b"of another kind"
    with pytest.raises(RecordError, match="upgrade"):
        records.decode_head(value)
