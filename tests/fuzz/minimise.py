"""The few inputs that together make the code do all that many inputs do.

What an input does is measured without the fuzzer: which line of pynun/ follows which, and about how often.
"""

from __future__ import annotations

import hashlib
import sys
from typing import TYPE_CHECKING

from tests.fuzz.places import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path
    from types import FrameType

    Trace = Callable[[FrameType, str, object], "Trace | None"]

KEPT_PREFIXES = ("by-hand-", "client-")
"""What somebody thought of, and what real clients sent, is kept whatever it does."""

_CODE = str(REPOSITORY / "pynun")

Doings = frozenset[tuple[str, int, int, int]]
"""File, a line, the line behind it, and the number of bits of how often that was."""


def doings(one: Callable[[bytes], None], data: bytes) -> Doings:
    """What the code does with an input."""
    counts: dict[tuple[str, int, int], int] = {}

    def enter(frame: FrameType, event: str, argument: object) -> Trace | None:
        name = frame.f_code.co_filename
        if not name.startswith(_CODE):
            return None
        before = 0

        def step(frame: FrameType, event: str, argument: object) -> Trace:
            nonlocal before
            arc = name, before, frame.f_lineno
            counts[arc] = counts.get(arc, 0) + 1
            before = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        one(data)
    finally:
        sys.settrace(None)
    return frozenset((*arc, min(count.bit_length(), 5)) for arc, count in counts.items())


def minimise(one: Callable[[bytes], None], inputs: Iterable[bytes], known: Doings, count_max: int) -> list[bytes]:
    """Inputs that do all that `inputs` do and that is not known, the one that adds most first."""
    open_ones = {data: doings(one, data) - known for data in inputs}
    chosen: list[bytes] = []
    done: set[tuple[str, int, int, int]] = set()
    while open_ones and len(chosen) < count_max:
        best = max(open_ones, key=lambda data: (len(open_ones[data] - done), -len(data), data))
        new = open_ones.pop(best) - done
        if not new:
            break
        done |= new
        chosen.append(best)
    return chosen


def renew(one: Callable[[bytes], None], corpus: Path, found: Path, count_max: int, file_bytes_max: int) -> int:
    """Make the corpus the fewest inputs of itself and of what was found; return how many it has."""
    kept = sorted(file for file in corpus.iterdir() if file.name.startswith(KEPT_PREFIXES))
    known: Doings = frozenset().union(*(doings(one, file.read_bytes()) for file in kept))
    others = [file for folder in (corpus, found) if folder.is_dir() for file in folder.iterdir() if file not in kept]
    inputs = {data for file in others if len(data := file.read_bytes()) <= file_bytes_max}
    chosen = minimise(one, sorted(inputs), known, count_max - len(kept))
    for file in corpus.iterdir():
        if file not in kept:
            file.unlink()
    for data in chosen:
        (corpus / hashlib.sha256(data).hexdigest()[:12]).write_bytes(data)
    return len(kept) + len(chosen)
