"""Export a database to lines, and import a database from lines (docs/export.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from pynun.engine.conflicts import parse_waiting, renamed
from pynun.engine.key_layout import ADMIN_DATABASE, CONNECTIONS_KEY
from pynun.engine.overlay import Entry
from pynun.engine.permissions import is_secret_key
from pynun.engine.secret_hashes import USUAL_LIMIT, HashLimit, is_secret_hash
from pynun.errors import TransferError
from pynun.timestamps import timestamp
from pynun.transfer.bulk_load import BulkLoad, SwapIn
from pynun.transfer.jsonl import Header, LineError, Writer, read_lines
from pynun.transfer.nundb_import import existing_databases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pynun.storage.snapshot import Snapshot
    from pynun.storage.store import LmdbStore
    from pynun.transfer.bulk_load import LoadedDatabase
    from pynun.transfer.jsonl import Line


class ImportedDatabase(NamedTuple):
    """The result of an import."""

    name: str
    keys: int
    """With those of users, permissions and tokens, also tokens that were kept; when merged, those of the file."""
    is_replaced: bool
    is_merged: bool


def export_lines(snapshot: Snapshot, name: str, *, has_secrets: bool) -> Iterator[bytes]:
    """The lines of a database, one after the other. Raises TransferError if there is no such database."""
    databases = snapshot.databases()
    found = databases.get(name)
    if found is None:
        there = ", ".join(sorted(databases)) or "none"
        raise TransferError(f"there is no database {name!r}; the databases are: {there}")
    writer = Writer()
    yield writer.header(Header(name, found.strategy, has_secrets), timestamp())
    for key, entry in snapshot.entries(found):
        if has_secrets or not is_secret_key(key):
            yield writer.key(key, entry.version, entry.text)
    yield writer.end()


def import_database(
    store: LmdbStore,
    name: str,
    file: BinaryIO,
    hash_secret: Callable[[str], str],
    ask_token: Callable[[], str],
    progress: Callable[[int], None],
    *,
    hash_limit: HashLimit = USUAL_LIMIT,
    is_replacing: bool = False,
    is_merging: bool = False,
) -> ImportedDatabase:
    """Import the lines of a file as the database `name`, all or nothing.

    An existing database is replaced (it keeps its tokens if the file has none), or the file is merged into it.
    `ask_token` gives the token of a new database whose file has none. `progress` gets the number of keys so far. Raises
    TransferError, naming the line if one is wrong; nothing has changed then.
    """
    is_there = name in existing_databases(store)
    if is_there and not (is_replacing or is_merging):
        raise TransferError(
            f"the database {name} already exists: --replace replaces its contents, --merge keeps keys that are not in "
            "the file"
        )
    if name == ADMIN_DATABASE and not is_merging:
        raise TransferError(f"{ADMIN_DATABASE} names all databases and can't be replaced: use --merge")
    load = BulkLoad(store)
    try:
        loaded = _load(load, name, file, hash_secret, progress, is_merging, hash_limit)
        if not (is_there and is_merging) and loaded.get("$$token") is None:
            if is_there:
                _keep_secrets(loaded)
            else:
                loaded.put("$$token", Entry(0, hash_secret(ask_token())))
                loaded.keys_count += 1
        load.swap_in({})
    except LineError as error:
        load.discard()
        raise TransferError(f"{error}; nothing was imported") from None
    except BaseException:
        load.discard()
        raise
    return ImportedDatabase(name, loaded.keys_count, is_there and not is_merging, is_there and is_merging)


def _load(
    load: BulkLoad,
    name: str,
    file: BinaryIO,
    hash_secret: Callable[[str], str],
    progress: Callable[[int], None],
    is_merging: bool,
    hash_limit: HashLimit,
) -> LoadedDatabase:
    lines = read_lines(file)
    header = next(lines)
    assert isinstance(header, Header)
    loaded = load.begin(name, header.strategy, SwapIn.OVER if is_merging else SwapIn.NEW)
    for line in lines:
        assert not isinstance(line, Header)
        _take(loaded, line, hash_secret, hash_limit)
        progress(line.number)
    return loaded


def _take(loaded: LoadedDatabase, line: Line, hash_secret: Callable[[str], str], hash_limit: HashLimit) -> None:
    key, value = line.key, line.value
    if loaded.get(key) is not None:
        raise LineError(f"line {line.number}: the key {key!r} is there twice")
    if key == CONNECTIONS_KEY:
        raise LineError(f"line {line.number}: {CONNECTIONS_KEY} is counted by the server and can't be imported")
    if is_secret_key(key) and not is_secret_hash(value):
        if not value:
            raise LineError(f"line {line.number}: the token of {key} is empty")
        value = hash_secret(value)
    if is_secret_key(key) and not hash_limit.allows(value):
        raise LineError(f"line {line.number}: the hash of {key} costs too much to check: {hash_limit}")
    waiting = parse_waiting(key, value)
    if waiting is not None:
        loaded.put_pending(waiting.key, waiting.identifier, True)
        if waiting.database != loaded.name:
            value = renamed(waiting, loaded.name)
    loaded.put(key, Entry(line.version, value))
    loaded.keys_count += 1


def _keep_secrets(loaded: LoadedDatabase) -> None:
    """Keep the tokens of a database that a file without tokens replaces."""
    for key, entry in loaded.secrets_of_namesake().items():
        if is_secret_key(key) and loaded.get(key) is None:
            loaded.put(key, entry)
            loaded.keys_count += 1
