"""An input of the fuzzer as a stream that arrives in pieces.

Its first byte says how many of the following bytes are lengths of pieces; the rest is the stream. So the fuzzer
changes both, and an input can be written by hand.
"""

from __future__ import annotations

CUTS_MAX = 7
BYTEWISE_BYTES_MAX = 256


def pieces_of(data: bytes) -> tuple[bytes, list[bytes]]:
    """The stream of an input, and its pieces, none of which is empty."""
    count = data[0] & CUTS_MAX if data else 0
    lengths, stream = data[1 : 1 + count], data[1 + count :]
    pieces = []
    start = 0
    for length in lengths:
        pieces.append(stream[start : start + length])
        start += length
    pieces.append(stream[start:])
    return stream, [piece for piece in pieces if piece]


def as_input(stream: bytes, lengths: bytes = b"") -> bytes:
    """The input that gives such a stream in pieces of these lengths and a last one."""
    assert len(lengths) <= CUTS_MAX
    return bytes((len(lengths),)) + lengths + stream


def bytewise(stream: bytes) -> list[list[bytes]]:
    """The stream in pieces of one byte, as one more way to cut it, unless that would take too long."""
    if len(stream) > BYTEWISE_BYTES_MAX:
        return []
    return [[stream[place : place + 1] for place in range(len(stream))]]
