"""The targets by name. Each is a function of bytes that raises when its invariant does not hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from tests.fuzz import commands, frames, http_requests, lines, nundb_folder

if TYPE_CHECKING:
    from collections.abc import Callable


class Target(NamedTuple):
    """What is fuzzed."""

    one: Callable[[bytes], None]
    """Runs one input; raises when the invariant does not hold."""
    words: tuple[bytes, ...]
    """What inputs are made of: the fuzzer puts these in more often than chance would."""


TARGETS: Final[dict[str, Target]] = {
    "frames": Target(frames.one, frames.WORDS),
    "lines": Target(lines.one, lines.WORDS),
    "http": Target(http_requests.one, http_requests.WORDS),
    "commands": Target(commands.one, commands.WORDS),
    "nundb-folder": Target(nundb_folder.one, nundb_folder.WORDS),
}


def _canary(data: bytes) -> None:
    if data[:1] == b"n" and data[1:2] == b"u" and data[2:3] == b"n":
        raise AssertionError("the canary was found")


CANARY: Final = Target(_canary, ())
"""Fails for bytes that chance alone would not meet: shows that the fuzzer is guided, and tells what it finds."""
