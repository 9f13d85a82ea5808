"""Write and read the lines of an exported database: JSON Lines (docs/export.md).

A file has a header, a line for each key, and a last line with their number and the SHA-256 of all lines before it,
which reveals a truncated or changed file. Everything here is pure: bytes in, bytes out.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NamedTuple, get_args

from pynun.engine.key_layout import Strategy, parse_strategy
from pynun.engine.versions import IMPORTED_VERSION_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

FORMAT: Final = "nun-db export"
VERSION: Final = 1
"""Increases with every change that an older program could not read."""

LINE_BYTES_MAX: Final = 512 * 1024 * 1024
"""A longer line is invalid; it would use too much memory."""


class LineError(ValueError):
    """What is wrong with a file, and in which line. The text follows `FILE: `."""


class Header(NamedTuple):
    """The first line."""

    database: str
    strategy: Strategy
    has_secrets: bool
    """Whether the hashes of tokens are among the keys."""


class Line(NamedTuple):
    """One key."""

    key: str
    version: int
    value: str
    number: int
    """Number of the line in the file, from 1."""


class Writer:
    """Makes the lines of one file."""

    def __init__(self) -> None:
        self._digest = hashlib.sha256()
        self._keys = 0

    def header(self, header: Header, made: str) -> bytes:
        """The first line; `made` is the time, for people."""
        return self._line(
            {
                "format": FORMAT,
                "version": VERSION,
                "database": header.database,
                "strategy": header.strategy,
                "secrets": header.has_secrets,
                "made": made,
            }
        )

    def key(self, key: str, version: int, value: str) -> bytes:
        """The line of a key."""
        self._keys += 1
        return self._line({"key": key, "version": version, "value": value})

    def end(self) -> bytes:
        """The last line."""
        return self._line({"end": True, "keys": self._keys, "sha256": self._digest.hexdigest()})

    def _line(self, content: dict[str, object]) -> bytes:
        line = json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        self._digest.update(line)
        return line


def read_lines(file: BinaryIO) -> Iterator[Header | Line]:
    """Yield the header, then every key. Raises LineError, possibly only at the end, so apply nothing before."""
    digest = hashlib.sha256()
    keys = 0
    number = 0
    while True:
        number += 1
        line = file.readline(LINE_BYTES_MAX + 1)
        if not line:
            if number == 1:
                raise LineError("the file is empty")
            raise LineError(f"line {number}: its last line is missing: the file was cut")
        if len(line) > LINE_BYTES_MAX:
            raise LineError(f"line {number}: it is too long")
        content = _object(line, number)
        if number == 1:
            yield _header(content)
        elif "end" in content:
            _check_end(content, keys, digest.hexdigest(), number)
            if file.read(1):
                raise LineError(f"line {number + 1}: there is more behind the last line")
            return
        else:
            keys += 1
            yield _key(content, number)
        digest.update(line)


def _object(line: bytes, number: int) -> dict[str, Any]:
    try:
        content = json.loads(line.decode())
    except UnicodeDecodeError:
        raise LineError(f"line {number}: it is not UTF-8 text") from None
    except (ValueError, RecursionError):
        raise LineError(f"line {number}: it is not JSON, or was cut") from None
    if not isinstance(content, dict):
        raise LineError(f"line {number}: it is not a JSON object")
    return content


def _header(content: dict[str, Any]) -> Header:
    if content.get("format") != FORMAT:
        raise LineError("line 1: it is not the first line of a file that nun-db export has made")
    version = content.get("version")
    if version != VERSION:
        raise LineError(f"line 1: the version of its format is {version!r}, and this program reads {VERSION}")
    database, strategy, secrets = (content.get(name) for name in ("database", "strategy", "secrets"))
    known = strategy if isinstance(strategy, str) and strategy in get_args(Strategy) else None
    if not isinstance(database, str) or known is None or not isinstance(secrets, bool):
        raise LineError("line 1: database, strategy or secrets is missing or wrong")
    return Header(database, parse_strategy(known), secrets)


def _key(content: dict[str, Any], number: int) -> Line:
    key, version, value = (content.get(name) for name in ("key", "version", "value"))
    if not isinstance(key, str) or not isinstance(value, str) or type(version) is not int:
        raise LineError(f"line {number}: key, version or value is missing, or is not text, number and text")
    if abs(version) > IMPORTED_VERSION_MAX:
        raise LineError(f"line {number}: the version is not a number of up to 2^62")
    if not key or " " in key or "\n" in key:
        raise LineError(f"line {number}: a key can't be empty or contain spaces or line breaks")
    try:
        f"{key}{value}".encode()
    except UnicodeEncodeError:
        raise LineError(f"line {number}: its text holds half a character (a lone surrogate)") from None
    return Line(key, version, value, number)


def _check_end(content: dict[str, Any], keys: int, digest: str, number: int) -> None:
    if content.get("keys") != keys:
        raise LineError(f"line {number}: it says {content.get('keys')!r} keys, and there are {keys} before it")
    if content.get("sha256") not in (digest, None):
        raise LineError(f"line {number}: its checksum is another: a line before it was changed")
