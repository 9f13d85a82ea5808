"""Data folders and backups of them, made without a server, and data that takes a moment to copy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.backup.make import make_backup
from pynun.engine.overlay import Batch, Entry
from pynun.storage.store import LmdbStore
from tools.clients.exact_clients import HttpClient
from tools.clients.sessions import TOKEN, create_database

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.backup.make import Made
    from tools.clients.server import Server

NAMES = ("one", "zwei", "trois")
KEYS_EACH = 40
LONG_KEY = "k" * 600

BIG_DATABASE = "big"
BIG_VALUE_BYTES = 1 << 20
BIG_KEYS = 24


def silent(step: str, done: int, total: int) -> None:
    """Show no progress."""


def make_folder(folder: Path) -> Path:
    """Make a data folder with three databases, an unresolved conflict and keys of all kinds; return it."""
    store = LmdbStore(folder)
    for revision, name in enumerate(NAMES, 1):
        prefix = revision.to_bytes(4, "big")
        batch = Batch(revision)
        batch.entries[bytes(4)] = Entry(revision, "")
        batch.entries[bytes(4) + name.encode()] = Entry(revision, "none")
        for number in range(KEYS_EACH - 1):
            batch.entries[prefix + f"key {number} ü".encode()] = Entry(number - 2, f"value of {name} € " * number)
        batch.entries[prefix + LONG_KEY.encode()] = Entry(7, name)
        batch.entries[(revision | 0x8000_0000).to_bytes(4, "big") + b"key 7"] = Entry(0, "")
        store.write(batch, operations=revision)
    store.close()
    return folder


def changed_batch(revision: int, text: str) -> Batch:
    """A batch that sets one key of the first database."""
    batch = Batch(revision)
    batch.entries[b"\0\0\0\1changed"] = Entry(0, text)
    return batch


def contents(folder: Path) -> dict[str, Entry]:
    """The values of the long keys of a data folder: a sample that only LmdbStore's own reading finds."""
    store = LmdbStore(folder)
    try:
        return {
            name: entry
            for number, name in enumerate(NAMES, 1)
            if (entry := store.get(number.to_bytes(4, "big") + LONG_KEY.encode())) is not None
        }
    finally:
        store.close()


def back_up(folder: Path, file: Path) -> Made:
    """Make a backup."""
    return make_backup(folder, file, silent)


def fill(server: Server) -> None:
    """Give a server a database of some 25 MB, so that a copy of it takes a moment."""
    create_database(server, BIG_DATABASE)
    with HttpClient(server.http) as client:
        for number in range(0, BIG_KEYS, 8):
            sets = [f"set key{number + more} {'x' * BIG_VALUE_BYTES}" for more in range(8)]
            answer = client.request(";".join([f"use-db {BIG_DATABASE} {TOKEN}", *sets])).text
            assert answer == ";".join(["empty"] * 9)
