"""Records between nodes: whole ones are read however they were cut, and anything else is noticed."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun.cluster import link_records as records
from pynun.cluster.link_records import LinkRecordError, Opened, Record, Told
from pynun.engine.events import Event

NUMBERS = st.integers(0, 2**32 - 1)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
KINDS = st.sampled_from([records.OPEN, records.TEXT, records.CLOSE, records.TAKEN, records.PING, *records.ANSWERS,
                         records.EVENT, records.DISCONNECT, records.RIGHTS])  # fmt: skip
RECORDS = st.lists(st.builds(Record, KINDS, NUMBERS, st.binary(max_size=40)), max_size=8)


@given(RECORDS, st.lists(st.integers(0, 60), max_size=10))
def test_records_are_read_wherever_they_were_cut(sent: list[Record], sizes: list[int]) -> None:
    stream = b"".join(records.record(*one) for one in sent)
    found: list[Record] = []
    rest = bytearray()
    for size in [*sizes, len(stream)]:
        rest += stream[:size]
        stream = stream[size:]
        whole, used, wanted = records.split(rest)
        found += whole
        del rest[:used]
        assert wanted > len(rest), "a whole record was left"
    assert found == sent
    assert not rest


@given(NUMBERS, st.one_of(st.none(), TEXTS, st.binary(max_size=30), st.lists(TEXTS, max_size=4)))
def test_answers_are_read_as_they_were_written(number: int, result: str | bytes | list[str] | None) -> None:
    ((kind, found, payload),), _, _ = records.split(records.answer(number, result))
    assert found == number
    if result is None:
        assert (kind, payload) == (records.DONE, b"")
    elif isinstance(result, list):
        assert (kind, records.read_texts(payload)) == (records.MESSAGES, result)
    else:
        assert (kind, payload) == (records.MESSAGE, result if isinstance(result, bytes) else result.encode())


@given(NUMBERS, st.lists(TEXTS, max_size=3), TEXTS)
def test_refusals_are_read_as_they_were_written(number: int, own: list[str], error: str) -> None:
    ((kind, found, payload),), _, _ = records.split(records.refusal(number, own, error))
    assert (kind, found, records.read_texts(payload)) == (records.REFUSAL, number, [*own, error])


@given(st.lists(NUMBERS, max_size=5), st.none() | TEXTS, st.lists(TEXTS, max_size=3))
def test_events_are_read_as_they_were_written(numbers: list[int], key: str | None, texts: list[str]) -> None:
    for revision in (0, 7):
        ((_, number, payload),), _, _ = records.split(records.told(Event(key, tuple(texts), revision), numbers))
        known = b"" if key is None else records.known(texts, is_volatile=not revision)
        assert records.read_told(payload, number) == Told(tuple(numbers), key, tuple(texts), known)


@given(st.builds(Opened, TEXTS, TEXTS, st.none() | TEXTS))
def test_clients_are_read_as_they_were_written(opened: Opened) -> None:
    assert records.read_opened(opened.encode()) == opened


@given(st.binary(max_size=60))
def test_garbage_raises_nothing_else(garbage: bytes) -> None:
    for read in (records.split, records.read_texts, records.read_told, records.read_opened, records.read_number):
        with contextlib.suppress(LinkRecordError):
            read(garbage)


def test_what_is_no_record_is_noticed_at_its_head() -> None:
    for head in (records.HEAD.pack(1, 99, 0), records.HEAD.pack(records.PAYLOAD_BYTES_MAX + 1, records.TEXT, 0)):
        with pytest.raises(LinkRecordError):
            records.split(head)


@pytest.mark.parametrize("cut", range(1, 20))
def test_an_event_that_was_cut_is_noticed(cut: int) -> None:
    payload = records.told(Event("key", ("text",), 0), (1,))[records.HEAD.size :]
    assert len(payload) == 24
    if cut != 8:  # where the first text ends there might be no more
        with pytest.raises(LinkRecordError):
            records.read_told(payload[:-cut])
