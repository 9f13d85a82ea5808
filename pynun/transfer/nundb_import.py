"""Import the data folder of the original: all its databases at once, or none.

Records go from `pynun.transfer.nundb_files` through `pynun.transfer.bulk_load`, so a kill at any moment changes
nothing. Secrets are hashed on the way. The original's administrator password is not imported: the one given at startup
takes precedence.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from pynun.engine.conflicts import parse_waiting
from pynun.engine.key_layout import ADMIN_DATABASE, CATALOGUE, CONNECTIONS_KEY, HOUSEKEEPING, is_record
from pynun.engine.overlay import Entry
from pynun.engine.permissions import EVERYONE, is_secret_key, user_key
from pynun.engine.scans import scan_all
from pynun.engine.secret_hashes import USUAL_LIMIT, HashLimit, is_secret_hash
from pynun.engine.versions import IN_CONFLICT
from pynun.errors import TransferError
from pynun.timestamps import timestamp
from pynun.transfer.bulk_load import BulkLoad, SwapIn, write_notes
from pynun.transfer.nundb_files import (
    DatabaseFiles,
    Problem,
    Record,
    find_databases,
    read_database,
    read_strategy,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from pathlib import Path

    from pynun.engine.key_layout import Strategy
    from pynun.storage.store import LmdbStore
    from pynun.transfer.bulk_load import LoadedDatabase

    Progress = Callable[[str, int, int], None]
    """Called with the current step, the bytes done and the total."""

IMPORTED_KEY: Final = HOUSEKEEPING + b"imported nundb"
"""The note that a folder's own files of the original were imported; its text is `Imported` as JSON."""

_PROGRESS_RECORDS: Final = 500
_HASH_BYTES: Final = 1024 * 1024


@dataclass(slots=True)
class DatabaseCounts:
    """The result for one database."""

    name: str
    strategy: Strategy
    keys: int = 0
    users: int = 0
    skipped: int = 0
    """Keys skipped on purpose: `$connections`, readable or not, which the server counts itself."""
    is_replaced: bool = False


@dataclass(slots=True)
class Summary:
    """The result of an import or dry run."""

    databases: list[DatabaseCounts] = field(default_factory=list)
    losses: int = 0
    """Problems that mean unread data."""
    notes: int = 0
    is_done: bool = False
    """Whether the databases were imported."""

    @property
    def keys(self) -> int:
        """The keys of all databases: no `$$` keys, and none of the names of databases in `$admin`."""
        return sum(counts.keys for counts in self.databases)

    @property
    def databases_made(self) -> int:
        """Number of databases without `$admin`, which every server has."""
        return sum(counts.name != ADMIN_DATABASE for counts in self.databases)

    @property
    def users(self) -> int:
        return sum(counts.users for counts in self.databases)

    @property
    def skipped(self) -> int:
        return sum(counts.skipped for counts in self.databases)


@dataclass(frozen=True, slots=True)
class Imported:
    """When a folder's own files were imported, and what they were."""

    time: str
    files: dict[str, tuple[int, int, str]]
    """Name to size, time of change in nanoseconds, and SHA-256."""

    @classmethod
    def parse(cls, text: str) -> Imported:
        told: dict[str, Any] = json.loads(text)
        return cls(told["time"], {name: tuple(about) for name, about in told["files"].items()})

    def __str__(self) -> str:
        return json.dumps({"time": self.time, "files": self.files})


def import_folder(
    store: LmdbStore,
    folder: Path,
    hash_secret: Callable[[str], str],
    *,
    report: Callable[[Problem], None],
    progress: Progress,
    is_replacing: bool = False,
    is_accepting_damage: bool = False,
    hash_limit: HashLimit = USUAL_LIMIT,
) -> Summary:
    """Import all databases of the original's `folder`.

    Every problem is given to `report` as soon as it is found. If there are losses, nothing is imported unless
    `is_accepting_damage`; the summary says so. Raises TransferError (with nothing changed): there is no data of the
    original, a database of that name exists and is not to be replaced, or the data can't be written.
    """
    return _Import(store, folder, hash_secret, report, progress, hash_limit, is_dry=False).run(
        existing_databases(store), is_replacing, is_accepting_damage
    )


def check_folder(
    scratch: LmdbStore,
    folder: Path,
    existing: Collection[str],
    *,
    report: Callable[[Problem], None],
    progress: Progress,
    is_replacing: bool = False,
    hash_limit: HashLimit = USUAL_LIMIT,
) -> Summary:
    """Run an import into a temporary store, which is deleted afterwards and stores no values."""
    run = _Import(scratch, folder, lambda _: "", report, progress, hash_limit, is_dry=True)
    return run.run(existing, is_replacing, is_accepting_damage=False)


def require_data(folder: Path) -> None:
    """Raises TransferError if a folder has no data of the original, or can't be read."""
    try:
        found, problems = find_databases(folder)
    except OSError as error:
        raise TransferError(f"the folder {folder} can't be read: {error.strerror}") from None
    if not found and not problems:
        raise TransferError(
            f"there is no data of the original Nun-db in {folder} (files such as NAME-nun.data.keys): name the folder"
            " that was its NUN_DBS_DIR"
        )


def existing_databases(store: LmdbStore) -> set[str]:
    """The names of the databases in a store."""
    return {name.decode() for name in scan_all(store, CATALOGUE) if name}


def imported_before(store: LmdbStore) -> Imported | None:
    """The record of an import of the store's own folder."""
    entry = store.get(IMPORTED_KEY)
    return None if entry is None else Imported.parse(entry.text)


def compare_files(folder: Path, imported: Imported, count: Callable[[int], None]) -> tuple[list[str], Imported]:
    """The original's files that changed since their import, and the new record for the others.

    Only files with a new modification time are read; `count` gets the number of bytes. Unreadable files count as
    unchanged: no server can run on them.
    """
    changed = [name for name in _names(folder) if name not in imported.files]
    files = dict(imported.files)
    for name, (size, changed_ns, digest) in imported.files.items():
        try:
            about = (folder / name).stat()
            if (about.st_size, about.st_mtime_ns) == (size, changed_ns):
                continue
            if about.st_size != size or _digest(folder / name, count) != digest:
                changed.append(name)
            else:
                files[name] = (size, about.st_mtime_ns, digest)
        except OSError:
            continue
    return sorted(changed), Imported(imported.time, files)


def note_imported(store: LmdbStore, imported: Imported) -> None:
    """Renew the record of what was imported, if the disk has space."""
    with contextlib.suppress(TransferError):
        write_notes(store, {IMPORTED_KEY: Entry(1, str(imported))})


class _Import:
    """One import under way."""

    def __init__(
        self,
        store: LmdbStore,
        folder: Path,
        hash_secret: Callable[[str], str],
        report: Callable[[Problem], None],
        progress: Progress,
        hash_limit: HashLimit,
        *,
        is_dry: bool,
    ) -> None:
        self._store = store
        self._folder = folder
        self._hash_secret = hash_secret
        self._report = report
        self._progress = progress
        self._hash_limit = hash_limit
        self._is_dry = is_dry
        self._summary = Summary()
        self._done_bytes = 0
        self._total_bytes = 0
        self._is_any_in_conflict = False

    def run(self, existing: Collection[str], is_replacing: bool, is_accepting_damage: bool) -> Summary:
        require_data(self._folder)
        found, problems = find_databases(self._folder)
        self._refuse_existing(found, existing, is_replacing)
        for problem in problems:
            self._tell(problem)
        before = _stamps(self._folder, found)
        self._total_bytes = sum(before.get(files.keys.name, (0, 0))[0] for files in found)
        load = BulkLoad(self._store)
        for files in found:
            self._import_database(load, files, files.name in existing)
        self._check_unchanged(before, _stamps(self._folder, found))
        if self._is_dry or (self._summary.losses and not is_accepting_damage):
            load.discard()
            return self._summary
        notes: dict[bytes, Entry] = {}
        if _is_same(self._folder, self._store.folder):
            notes[IMPORTED_KEY] = Entry(1, str(self._remember(found)))
        self._progress("completing the import", 0, 0)
        load.swap_in(notes)
        self._summary.is_done = True
        return self._summary

    def _refuse_existing(self, found: list[DatabaseFiles], existing: Collection[str], is_replacing: bool) -> None:
        names = [files.name for files in found if files.name in existing and files.name != ADMIN_DATABASE]
        if names and not is_replacing:
            raise TransferError(
                f"nothing was imported: {', '.join(names)} {'exist' if len(names) > 1 else 'exists'} already; "
                "--replace replaces a database of that name with the original's"
            )

    def _import_database(self, load: BulkLoad, files: DatabaseFiles, is_there: bool) -> None:
        strategy, problem = read_strategy(files)
        if problem is not None:
            self._tell(problem)
        is_admin = files.name == ADMIN_DATABASE
        how = SwapIn.UNDER if is_admin else SwapIn.NEW
        loaded = load.begin(files.name, "newer" if is_admin else strategy, how)
        counts = DatabaseCounts(files.name, loaded.strategy, is_replaced=is_there and not is_admin)
        self._summary.databases.append(counts)
        name = f"importing {files.name}"
        for number, item in enumerate(read_database(files)):
            if isinstance(item, Problem) and item.key == CONNECTIONS_KEY:
                counts.skipped += item.is_loss  # its loss is harmless, or counted with its record
            elif isinstance(item, Problem):
                self._tell(item)
            else:
                self._take(loaded, counts, files, item)
                if number % _PROGRESS_RECORDS == 0 or is_secret_key(item.key):  # hashing takes the time
                    self._progress(name, self._done_bytes + item.offset, self._total_bytes)
        with contextlib.suppress(OSError):  # the reader has reported it
            self._done_bytes += files.keys.stat().st_size
        self._end_conflicts(loaded, files)
        if not is_admin and loaded.get("$$token") is None:
            what = "no token of the database is there: nobody can select it by its own token"
            self._tell(Problem(files.keys.name, None, "$$token", what))
        elif is_admin:
            self._check_names(loaded, files)
        load.flush()

    def _take(self, loaded: LoadedDatabase, counts: DatabaseCounts, files: DatabaseFiles, record: Record) -> None:
        key, version, value, offset = record
        if key == CONNECTIONS_KEY or (key == "$$token" and loaded.name == ADMIN_DATABASE):
            counts.skipped += key == CONNECTIONS_KEY
            return
        old = loaded.get(key)
        if old is not None:
            self._say_twice(files, record, old)
        if value is None:
            if old is not None:
                loaded.remove(key)
                self._count(loaded, counts, key, old.text, -1)
            if is_record(key) and (waiting := parse_waiting(key, "" if old is None else old.text)):
                loaded.put_pending(waiting.key, waiting.identifier, False)
            return
        if is_secret_key(key):
            if (what := self._unusable_secret(key, value)) is not None:
                self._tell(Problem(files.keys.name, offset, key, what, is_loss=key == "$$token"))
                return
            if not is_secret_hash(value):
                value = self._hash_secret(value)
        if old is None:
            self._count(loaded, counts, key, value, 1)
        waiting = parse_waiting(key, value)
        if waiting is not None:
            loaded.put_pending(waiting.key, waiting.identifier, True)
        elif is_record(key) and old is not None and (waiting := parse_waiting(key, old.text)) is not None:
            loaded.put_pending(waiting.key, waiting.identifier, False)
        self._is_any_in_conflict = self._is_any_in_conflict or version == IN_CONFLICT
        loaded.put(key, Entry(version if version >= IN_CONFLICT else 0, self._kept(key, value)))

    def _unusable_secret(self, key: str, value: str) -> str | None:
        what = None
        if key == user_key(EVERYONE):
            what = "all is reserved here: clients that used this token need a user with another name"
        elif not value:
            what = "its token is empty: it was not taken over; give it a token with create-user"
        elif is_secret_hash(value) and not self._hash_limit.allows(value):
            what = "its hash costs too much to check: it was not taken over; give it a token with create-user"
        return what

    def _kept(self, key: str, value: str) -> str:
        """The value to store. A dry run stores only a digest, because values may be confidential."""
        if not self._is_dry or is_record(key):
            return value
        return hashlib.sha256(value.encode()).hexdigest()

    def _say_twice(self, files: DatabaseFiles, record: Record, old: Entry) -> None:
        if record.value is not None:
            is_same = old == (record.version, self._kept(record.key, record.value))
            if is_same and not is_secret_key(record.key):
                return
        what = "the key is there twice, with different values: the one that comes later was taken"
        self._tell(Problem(files.keys.name, record.offset, record.key, what))

    def _count(self, loaded: LoadedDatabase, counts: DatabaseCounts, key: str, text: str, change: int) -> None:
        if key.startswith("$$user_"):
            counts.users += change
        elif not key.startswith("$$") and not (loaded.name == ADMIN_DATABASE and text in _NAME_TEXTS):
            counts.keys += change

    def _end_conflicts(self, loaded: LoadedDatabase, files: DatabaseFiles) -> None:
        """Clear a conflict that no arbiter could ever resolve, because the key would refuse every change."""
        if not self._is_any_in_conflict:
            return
        self._is_any_in_conflict = False
        for key in loaded.keys_with_version(IN_CONFLICT):
            if loaded.strategy == "arbiter" and loaded.has_pending(key):
                continue
            entry = loaded.get(key)
            assert entry is not None
            loaded.put(key, Entry(0, entry.text))
            what = "it is in conflict, and no record of an unresolved conflict names it: it gets version 0"
            self._tell(Problem(files.keys.name, None, key, what, is_loss=False))

    def _check_names(self, loaded: LoadedDatabase, files: DatabaseFiles) -> None:
        """Report databases that `$admin` names and that have no files."""
        names, _ = find_databases(self._folder)
        present = {found.name for found in names}
        for name in loaded.all_keys():
            entry = loaded.get(name)
            if name in present or name.startswith("$") or entry is None or entry.text not in _NAME_TEXTS:
                continue
            loaded.remove(name)
            what = "a database of that name was made, and its files are missing"
            self._tell(Problem(files.keys.name, None, name, what))

    def _check_unchanged(self, before: dict[str, tuple[int, int]], after: dict[str, tuple[int, int]]) -> None:
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                what = "it changed while it was read: stop the original first, and import again"
                self._tell(Problem(name, None, None, what))

    def _remember(self, found: list[DatabaseFiles]) -> Imported:
        files: dict[str, tuple[int, int, str]] = {}
        stamps = _stamps(self._folder, found)
        total = sum(size for size, _ in stamps.values())
        done = 0

        def count(size: int) -> None:
            nonlocal done
            done += size
            self._progress("noting what was imported", done, total)

        for name, (size, changed_ns) in stamps.items():
            try:
                files[name] = (size, changed_ns, _digest(self._folder / name, count))
            except OSError:
                files[name] = (size, changed_ns, "")
        return Imported(timestamp(), files)

    def _tell(self, problem: Problem) -> None:
        if problem.is_loss:
            self._summary.losses += 1
        else:
            self._summary.notes += 1
        self._report(problem)


_NAME_TEXTS: Final = frozenset({"{}", hashlib.sha256(b"{}").hexdigest()})
"""The value of a key in `$admin` that names a database; in a dry run, its digest."""


def _stamps(folder: Path, found: list[DatabaseFiles]) -> dict[str, tuple[int, int]]:
    """Name to size and time of change of the files of databases."""
    stamps: dict[str, tuple[int, int]] = {}
    for files in found:
        for path in (files.keys, files.values, files.metadata):
            try:
                about = path.stat()
            except OSError:
                continue
            stamps[path.name] = (about.st_size, about.st_mtime_ns)
    return stamps


def _names(folder: Path) -> list[str]:
    try:
        found, _ = find_databases(folder)
    except OSError:
        return []
    return list(_stamps(folder, found))


def _digest(path: Path, count: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while data := file.read(_HASH_BYTES):
            digest.update(data)
            count(len(data))
    return digest.hexdigest()


def _is_same(one: Path, other: Path) -> bool:
    try:
        return os.path.samefile(one, other)
    except OSError:
        return False
