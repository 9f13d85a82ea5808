"""Writes files as the original Nun-db does, for the tests of what reads them (docs/migration.md)."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING, Any

from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

REFERENCE = REPOSITORY / "tests" / "reference_data"
"""A folder that the original wrote, and `expected.json`: what must be answered of it."""

REFERENCE_FOLDER = REFERENCE / "dbs"

STRATEGIES = {"none": 0, "newer": 1, "arbiter": 2}

Key = tuple[str, int, str | None]
"""Key, version and value; None: it was removed."""


def expected() -> dict[str, Any]:
    """What must be answered of the reference folder."""
    text: dict[str, Any] = json.loads((REFERENCE / "expected.json").read_text(encoding="utf-8"))
    text["keys"]["hospital"]["long"][1] = "y" * 20000
    return text


def key_record(key: str | bytes, version: int, address: int) -> bytes:
    """One record of a file of keys."""
    text = key.encode() if isinstance(key, str) else key
    return struct.pack("<Q", len(text)) + text + struct.pack("<iQ", version, address)


def value_record(value: str | bytes, status: int = 0) -> bytes:
    """One value of a file of values."""
    text = value.encode() if isinstance(value, str) else value
    return struct.pack("<Q", len(text)) + text + struct.pack("<i", status)


def streams(entries: Sequence[Key]) -> tuple[bytes, bytes]:
    """The bytes of the two files for some keys."""
    keys, values = bytearray(), bytearray()
    for key, version, value in entries:
        if value is None:
            keys += key_record(key, -1, 0)
        else:
            keys += key_record(key, version, len(values))
            values += value_record(value)
    return bytes(keys), bytes(values)


def write_database(folder: Path, name: str, entries: Sequence[Key], strategy: str | None = "none") -> None:
    """Write the files of one database; without a strategy, also without the file that says it."""
    folder.mkdir(parents=True, exist_ok=True)
    keys, values = streams(entries)
    (folder / f"{name}-nun.data.keys").write_bytes(keys)
    (folder / f"{name}-nun.data.values").write_bytes(values)
    if strategy is not None:
        (folder / f"{name}-nun.madadata").write_bytes(struct.pack("<Qi", 1, STRATEGIES[strategy]))


def write_folder(folder: Path, databases: dict[str, Sequence[Key]], strategy: str = "none") -> None:
    """Write a whole folder: the databases, and `$admin`, which names them."""
    for name, entries in databases.items():
        write_database(folder, name, entries, strategy)
    names: list[Key] = [(name, 0, "{}") for name in ("$admin", *databases)]
    write_database(folder, "$admin", [("$$token", 0, "user-pwd"), *names], "newer")
