"""What the tests of imports and exports look at: the content of data folders, and that old files are as they were."""

from __future__ import annotations

import contextlib
import hashlib
from typing import TYPE_CHECKING

from pynun.engine.scans import scan_all
from pynun.storage.snapshot import snapshot
from pynun.storage.store import LmdbStore
from pynun.transfer.nundb_import import Summary, import_folder

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.transfer.nundb_files import Problem

Content = dict[str, dict[str, tuple[int, str]]]
"""Database to key to version and value."""


def fingerprints(folder: Path) -> dict[str, tuple[str, int, int]]:
    """Every file of a folder but ours: its content, mode and time of change."""
    return {
        path.name: (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode, path.stat().st_mtime_ns)
        for path in sorted(folder.iterdir())
        if "-nun" in path.name or path.name == "is-oplog.valid"
    }


def content(folder: Path) -> Content:
    """All databases of a data folder of ours."""
    with snapshot(folder) as now:
        return {
            name: {key: (entry.version, entry.text) for key, entry in now.entries(found)}
            for name, found in now.databases().items()
        }


def strategies(folder: Path) -> dict[str, str]:
    """The strategy of each database."""
    with snapshot(folder) as now:
        return {name: found.strategy for name, found in now.databases().items()}


def stored_keys(folder: Path) -> list[bytes]:
    """Every key that is stored, of whomever."""
    with contextlib.closing(LmdbStore(folder)) as store:
        # The prefix of four bytes is lost by a scan: keys are told apart by what follows it.
        return list(scan_all(store, b""))


def marked(secret: str) -> str:
    """A stand-in for hashing, which is slow: the text says what it was."""
    return f"hash of {secret}"


def import_into(
    target: Path, source: Path, *, is_replacing: bool = False, is_accepting_damage: bool = False
) -> tuple[Summary, list[Problem]]:
    """Import a folder, with stand-ins for hashes."""
    problems: list[Problem] = []
    with contextlib.closing(LmdbStore(target)) as store:
        summary = import_folder(
            store,
            source,
            marked,
            report=problems.append,
            progress=lambda *_: None,
            is_replacing=is_replacing,
            is_accepting_damage=is_accepting_damage,
        )
    return summary, problems
