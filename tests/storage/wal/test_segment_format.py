"""The bytes of a segment: what is written is read again, and nothing else is taken for a header or a record."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pynun.storage.wal.segment_format import (
    RECORDS_AT,
    SLOTS,
    Header,
    Record,
    decode_header,
    decode_record,
    encode_header,
    encode_record,
    has_record_after,
    records,
    seed_of,
)

HEADER = Header(7, b"the id of a log.", 41, 6, 9000, 4, b"the salt")
RECORD = Record(42, 41, 400, 1_700_000_000_000_000_000, b"changes")

numbers = st.integers(0, 2**64 - 1)


def segment_of(*found: Record, header: Header = HEADER) -> bytes:
    """A segment with these records."""
    start = bytearray(RECORDS_AT)
    for slot in SLOTS:
        encoded = encode_header(header)
        start[slot : slot + len(encoded)] = encoded
    return bytes(start) + b"".join(encode_record(header.salt, seed_of(header), record) for record in found)


def test_the_bytes_are_those_of_the_format() -> None:
    """Files of this format are read for ever: a change of these bytes is a new format."""
    assert encode_header(HEADER).hex() == (
        "4e554e57414c0d0a00000001000000000000000774686520696420"
        "6f662061206c6f672e000000000000002900000000000000060000232800000004"
        "7468652073616c74" + encode_header(HEADER)[-4:].hex()
    )
    assert encode_record(HEADER.salt, seed_of(HEADER), RECORD)[:12].hex() == b"the salt".hex() + "00000007"
    assert encode_record(HEADER.salt, seed_of(HEADER), RECORD)[16:].hex() == (
        "000000000000002a" + "0000000000000029" + "0000000000000190" + "17979cfe362a0000" + b"changes".hex()
    )


@given(numbers, st.binary(min_size=16, max_size=16), numbers, numbers, st.binary(min_size=8, max_size=8))
def test_a_header_is_read_from_each_slot(number: int, log_id: bytes, revision: int, previous: int, salt: bytes) -> None:
    header = Header(number, log_id, revision, previous, 8192, 8, salt)
    segment = segment_of(header=header)
    assert [decode_header(segment, slot) for slot in SLOTS] == [header, header]


@given(st.integers(0, len(encode_header(HEADER)) * 8 - 1))
def test_a_damaged_header_is_none(bit: int) -> None:
    segment = bytearray(segment_of())
    segment[bit // 8] ^= 1 << bit % 8
    assert [decode_header(bytes(segment), slot) for slot in SLOTS] == [None, HEADER]


@given(st.lists(st.builds(Record, numbers, numbers, numbers, numbers, st.binary()), max_size=5))
def test_records_are_read_in_order(written: list[Record]) -> None:
    found = list(records(segment_of(*written), HEADER))
    assert [record for record, _ in found] == written
    assert not found or found[-1][1] == len(segment_of(*written))


@given(st.data())
def test_a_damaged_or_cut_record_is_none(data: st.DataObject) -> None:
    segment = segment_of(RECORD)
    bit = data.draw(st.integers(RECORDS_AT * 8, len(segment) * 8 - 1))
    damaged = bytearray(segment)
    damaged[bit // 8] ^= 1 << bit % 8
    seed = seed_of(HEADER)
    assert decode_record(bytes(damaged), RECORDS_AT, HEADER.salt, seed) is None
    assert decode_record(segment[: bit // 8], RECORDS_AT, HEADER.salt, seed) is None


def test_a_record_of_another_use_of_the_file_is_none() -> None:
    """Also when the salt is the same by chance."""
    segment = segment_of(RECORD)
    later = HEADER._replace(number=8)
    assert decode_record(segment, RECORDS_AT, later.salt, seed_of(later)) is None
    assert decode_record(segment, RECORDS_AT, b"tlas eht", seed_of(HEADER)) is None


def test_a_client_cannot_store_what_looks_like_a_record() -> None:
    inner = encode_record(HEADER.salt, seed_of(HEADER._replace(number=6)), RECORD)
    segment = segment_of(RECORD._replace(changes=inner))
    assert not has_record_after(segment, HEADER, RECORDS_AT)


def test_a_later_record_is_found_anywhere() -> None:
    segment = segment_of(RECORD, RECORD)
    assert has_record_after(segment, HEADER, RECORDS_AT)
    assert not has_record_after(segment, HEADER, len(segment) - 1)
