"""What two nodes say about the clients of one at the other: records, one after another. Pure.

A record is a head (`HEAD`: length of the payload, kind, number of the client) and its payload. Several texts are each a
length of four bytes and UTF-8.
"""

from __future__ import annotations

import hashlib
import json
import struct
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pynun.engine.events import Event, Result

HEAD: Final = struct.Struct(">IBI")

# From the edge, about a client:
OPEN: Final = 1
"""Who it is (`Opened`); said again when it is known better."""
TEXT: Final = 2
"""A command of it."""
CLOSE: Final = 3
"""It has left."""
TAKEN: Final = 4
"""It has read so many bytes (`NUMBER`) of its answers."""

# From either, without a client:
PING: Final = 5
"""It is there; the first one comes first. The payload is the version of the records that it knows (`VERSION`)."""

# From the edge, about a client that another owner, or an earlier link, has served:
TAKE_UP: Final = 6
"""Its session is to go on (`TakingUp`); what it watches and keeps follows, then `ALL_TOLD`."""
ALL_TOLD: Final = 7

# From the owner, what the edge keeps of a session in case that another owner has to take it up; from the edge, when one
# does:
WATCHED: Final = 8
"""It watches a key (`Watched`)."""
KEPT: Final = 9
"""An ephemeral key is its own (`Kept`)."""

# From the owner, for a client; the first four answer a command:
DONE: Final = 16
"""The command succeeded, and has no messages of its own."""
MESSAGE: Final = 17
"""It succeeded, with one message: the payload."""
MESSAGES: Final = 18
"""It succeeded, with several: texts."""
REFUSAL: Final = 19
"""It failed: texts, the error last."""
EVENT: Final = 20
"""An event, for several clients; the number in the head is 1 if its key is in no batch, else 0."""
DISCONNECT: Final = 21
"""The administrator ends its connection."""
RIGHTS: Final = 22
"""Whether it has logged in: a byte, 1 or 0."""
TICKET: Final = 23
"""What it may do (`tickets`); empty: nothing."""
UNWATCHED: Final = 24
"""It does not watch this key any more: a text."""
RELEASED: Final = 25
"""This ephemeral key is not its own any more: a text."""
TAKEN_UP: Final = 26
"""Whether it goes on: a byte, 1 or 0."""
BROKEN: Final = 27
"""Its connection ends after an internal error."""

ANSWERS: Final = range(DONE, REFUSAL + 1)

NUMBER: Final = struct.Struct(">I")

PAYLOAD_BYTES_MAX: Final = 1 << 30
"""Longer than the longest listing. The nodes trust each other: this only notices what is no record."""

VERSION: Final = 1
"""Of these records. A node whose pings have another version takes up no sessions: their connections end instead."""

KNOWN_BYTES: Final = 9

_KINDS: Final = frozenset(range(OPEN, KEPT + 1)) | frozenset(range(DONE, BROKEN + 1))


class LinkRecordError(ValueError):
    """What came is not a record of this version."""


class Record(NamedTuple):
    """One record."""

    kind: int
    number: int
    payload: bytes


class Opened(NamedTuple):
    """The client of a connection, as its node sees it."""

    transport: str
    """`websocket`, `tcp` or `unix`."""
    address: str
    system_user: str | None

    def encode(self) -> bytes:
        return json.dumps(self, separators=(",", ":")).encode()


class Told(NamedTuple):
    """An event, and the clients it is for."""

    numbers: tuple[int, ...]
    key: str | None
    """As in `pynun.engine.events.Event`."""
    texts: tuple[str, ...]
    known: bytes
    """What a client knows of the key after it (`known`)."""


class TakingUp(NamedTuple):
    """A client whose session is to go on."""

    ticket: bytes
    opened: Opened

    def encode(self) -> bytes:
        return NUMBER.pack(len(self.ticket)) + self.ticket + self.opened.encode()


class Watched(NamedTuple):
    """A key that a session watches."""

    known: bytes
    """What its client knows of the key (`known`)."""
    key: str

    def encode(self) -> bytes:
        return self.known + self.key.encode()


class Kept(NamedTuple):
    """An ephemeral key of a session."""

    key: str
    version: int
    text: str

    def encode(self) -> bytes:
        return _pack((self.key, str(self.version), self.text))


def known(texts: Iterable[str], *, is_volatile: bool) -> bytes:
    """What a client knows of a key that was told these texts of it: enough to notice that it is another one."""
    return _known(_pack(texts), is_volatile)


def _known(packed: bytes, is_volatile: bool) -> bytes:
    return bytes((is_volatile,)) + hashlib.blake2b(packed, digest_size=KNOWN_BYTES - 1).digest()


def known_conflict(identifier: int) -> bytes:
    """What an arbiter knows of `$conflicts`: the newest conflict."""
    return identifier.to_bytes(KNOWN_BYTES, "big")


def record(kind: int, number: int = 0, payload: bytes = b"") -> bytes:
    """A record's bytes."""
    return HEAD.pack(len(payload), kind, number) + payload


def split(received: bytes | bytearray) -> tuple[list[Record], int, int]:
    """The whole records at the beginning; how many bytes they take, and how many the next one needs, as far as known.

    Raises LinkRecordError.
    """
    records = []
    position, size, wanted = 0, len(received), HEAD.size
    while size - position >= HEAD.size:
        length, kind, number = HEAD.unpack_from(received, position)
        if kind not in _KINDS or length > PAYLOAD_BYTES_MAX:
            raise LinkRecordError(f"no record begins with kind {kind} and length {length}")
        start = position + HEAD.size
        end = start + length
        if end > size:
            wanted = end - position
            break
        records.append(Record(kind, number, bytes(received[start:end])))
        position = end
    return records, position, wanted


def answer(number: int, result: Result) -> bytes:
    """The record of a command's success."""
    if result is None:
        return HEAD.pack(0, DONE, number)
    if isinstance(result, list):
        return record(MESSAGES, number, _pack(result))
    return record(MESSAGE, number, result if isinstance(result, bytes) else result.encode())


def refusal(number: int, own: Sequence[str], error: str) -> bytes:
    """The record of a command's failure."""
    return record(REFUSAL, number, _pack((*own, error)))


def told(event: Event, numbers: Sequence[int]) -> bytes:
    """The record of an event for these clients."""
    key = b"\0" if event.key is None else b"\1" + _pack((event.key,))
    is_volatile = not event.revision
    return record(
        EVENT, is_volatile, struct.pack(f">I{len(numbers)}I", len(numbers), *numbers) + key + _pack(event.texts)
    )


def read_texts(payload: bytes) -> list[str]:
    """The texts of a record. Raises LinkRecordError."""
    return _unpack(payload, 0)


def read_text(payload: bytes) -> str:
    """A payload that is one text. Raises LinkRecordError."""
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise LinkRecordError("a text is not UTF-8") from error


def read_number(payload: bytes) -> int:
    """A payload that is one number. Raises LinkRecordError."""
    if len(payload) != NUMBER.size:
        raise LinkRecordError("a number has another length")
    (found,) = NUMBER.unpack(payload)
    return int(found)


def read_version(payload: bytes) -> int:
    """The version that a ping tells. Raises LinkRecordError."""
    return read_number(payload) if payload else 0


def read_opened(payload: bytes) -> Opened:
    """Who a client is. Raises LinkRecordError."""
    try:
        transport, address, system_user = json.loads(payload)
    except (TypeError, ValueError) as error:
        raise LinkRecordError("what is said of a client can't be read") from error
    if not (isinstance(transport, str) and isinstance(address, str) and isinstance(system_user, str | None)):
        raise LinkRecordError("what is said of a client is of another kind")
    return Opened(transport, address, system_user)


def read_taking_up(payload: bytes) -> TakingUp:
    """A client whose session is to go on. Raises LinkRecordError."""
    size = read_number(payload[: NUMBER.size]) + NUMBER.size
    return TakingUp(payload[NUMBER.size : size], read_opened(payload[size:]))


def read_watched(payload: bytes) -> Watched:
    """A key that is watched. Raises LinkRecordError."""
    if len(payload) < KNOWN_BYTES:
        raise LinkRecordError("what is known of a key ends early")
    return Watched(payload[:KNOWN_BYTES], read_text(payload[KNOWN_BYTES:]))


def read_kept(payload: bytes) -> Kept:
    """An ephemeral key. Raises LinkRecordError."""
    try:
        key, version, text = _unpack(payload, 0)
        return Kept(key, int(version), text)
    except ValueError as error:
        raise LinkRecordError("an ephemeral key can't be read") from error


def read_told(payload: bytes, is_volatile: int = 0) -> Told:
    """An event, and the number in its head. Raises LinkRecordError."""
    try:
        (count,) = NUMBER.unpack_from(payload)
        numbers = struct.unpack_from(f">{count}I", payload, NUMBER.size)
        place = NUMBER.size * (count + 1)
        has_key = payload[place]
    except (struct.error, IndexError) as error:
        raise LinkRecordError("an event ends early") from error
    texts = _unpack(payload, place + 1)
    if has_key > 1 or (has_key and not texts):
        raise LinkRecordError("an event's key is missing")
    if not has_key:
        return Told(numbers, None, tuple(texts), b"")
    (length,) = NUMBER.unpack_from(payload, place + 1)
    of_texts = payload[place + 1 + NUMBER.size + length :]
    return Told(numbers, texts[0], tuple(texts[1:]), _known(of_texts, bool(is_volatile)))


def _pack(texts: Iterable[str]) -> bytes:
    pieces: list[bytes] = []
    for text in texts:
        encoded = text.encode()
        pieces += (NUMBER.pack(len(encoded)), encoded)
    return b"".join(pieces)


def _unpack(payload: bytes, place: int) -> list[str]:
    found = []
    while place < len(payload):
        start = place + NUMBER.size
        if start > len(payload):
            raise LinkRecordError("the length of a text ends early")
        (length,) = NUMBER.unpack_from(payload, place)
        place = start + length
        if place > len(payload):
            raise LinkRecordError("a text ends early")
        found.append(read_text(payload[start:place]))
    return found
