"""`nun-db export` and `nun-db import`: what goes out comes in, to the byte; what is cut or wrong changes nothing."""

from __future__ import annotations

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pynun.engine.key_layout import CATALOGUE, LAST_CONFLICT
from pynun.engine.overlay import Entry
from pynun.engine.tombstones import NOTES
from pynun.errors import StorageError, TransferError
from pynun.storage.snapshot import snapshot
from pynun.storage.store import LmdbStore
from pynun.transfer.bulk_load import BulkLoad, write_notes
from pynun.transfer.database_file import export_lines, import_database
from tests.engine.world import World
from tests.transfer.folders import Content, content, marked, stored_keys, strategies

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pynun.engine.key_layout import Strategy
    from pynun.engine.overlay import Batch
    from pynun.storage.data_write import Copy
    from pynun.transfer.database_file import ImportedDatabase
    from tests.storage.faulty_store import WritableStore

HASH = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aGFzaA"
SAMPLE = {"$$token": (0, HASH), "$$user_ana": (2, HASH), "$$permission_$ana": (0, "r *"), "k": (7, "v"), "m": (0, "")}


def make(folder: Path, name: str, entries: Mapping[str, tuple[int, str]], strategy: Strategy = "none") -> None:
    """Put a database into a folder."""
    with contextlib.closing(LmdbStore(folder)) as store:
        load = BulkLoad(store)
        loaded = load.begin(name, strategy)
        for key, entry in entries.items():
            loaded.put(key, Entry(*entry))
        load.swap_in({})


def exported(folder: Path, name: str = "db", *, has_secrets: bool = True) -> bytes:
    with snapshot(folder) as now:
        return b"".join(export_lines(now, name, has_secrets=has_secrets))


def import_lines(
    folder: Path, lines: bytes, name: str = "db", *, is_replacing: bool = False, is_merging: bool = False
) -> ImportedDatabase:
    with contextlib.closing(LmdbStore(folder)) as store:
        return import_database(
            store,
            name,
            io.BytesIO(lines),
            marked,
            lambda: "asked-for",
            lambda _: None,
            is_replacing=is_replacing,
            is_merging=is_merging,
        )


def end_of(lines: list[bytes]) -> bytes:
    """An end without a checksum, as somebody may write it by hand."""
    return json.dumps({"end": True, "keys": len(lines) - 1}).encode() + b"\n"


@pytest.mark.parametrize("text", ["resolve {} d 4 k a b", "resolved b"])
def test_the_next_conflict_has_an_id_above_those_that_came_with_an_import(disk_folder: Path, text: str) -> None:
    """Whether the server has noted one before or not; a key that only looks like a record uses no ids up."""
    newest = 1_900_000_000_000_000_000
    record = f"$conflicts_k_{newest}"
    make(
        disk_folder / "one",
        "db",
        {"k": (5, "a"), record: (0, text.format(newest)), f"$conflicts_k_{2**63 - 1}": (0, "x")},
    )
    lines = exported(disk_folder / "one")
    for noted in (None, 1_800_000_000_000_000_000, 1_950_000_000_000_000_000):
        folder = disk_folder / f"two-{noted}"
        make(folder, "$admin", {})
        if noted is not None:
            with contextlib.closing(LmdbStore(folder)) as store:
                write_notes(store, {LAST_CONFLICT: Entry(noted, "")})
        import_lines(folder, lines)
        with contextlib.closing(LmdbStore(folder)) as store:
            assert (
                World(cast("WritableStore", store)).engine.keyspace.conflict_ids.following()
                == max(newest, noted or 0) + 1
            )


# --- there and back ---------------------------------------------------------------------------------------------


def test_a_database_comes_back_as_it_was(disk_folder: Path) -> None:
    make(disk_folder / "from", "db", SAMPLE, "arbiter")
    lines = exported(disk_folder / "from")
    done = import_lines(disk_folder / "to", lines)
    assert (done.keys, done.is_replaced, done.is_merged) == (5, False, False)
    assert content(disk_folder / "to")["db"] == SAMPLE
    assert strategies(disk_folder / "to")["db"] == "arbiter"
    assert content(disk_folder / "to")["$admin"].keys() == {"$admin", "db"}
    assert exported(disk_folder / "to").split(b"\n")[1:-2] == lines.split(b"\n")[1:-2]


KEYS = st.text(st.characters(exclude_characters=" \n", exclude_categories=["Cs"]), min_size=1, max_size=30).flatmap(
    lambda text: st.sampled_from([text, text + "-" * 505, text * 40])
)
VALUES = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(deadline=None, max_examples=40)
@given(st.dictionaries(KEYS, st.tuples(st.integers(-2, 2**62), VALUES), max_size=12))
def test_any_texts_come_back(entries: dict[str, tuple[int, str]]) -> None:
    entries.pop("$connections", None)
    entries = {key: entry for key, entry in entries.items() if not key.startswith(("$$", "$conflicts_"))}
    # In memory, where there is such a disk: each example makes two data folders with their logs.
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.access("/dev/shm", os.W_OK) else None) as name:
        folder = Path(name)
        make(folder / "from", "db", {**entries, "$$token": (0, HASH)})
        import_lines(folder / "to", exported(folder / "from"))
        assert content(folder / "to")["db"] == {**entries, "$$token": (0, HASH)}


def test_tokens_stay_at_home_unless_asked_for(disk_folder: Path) -> None:
    make(disk_folder / "from", "db", SAMPLE)
    lines = exported(disk_folder / "from", has_secrets=False)
    assert b"argon2" not in lines
    assert b"$$permission_$ana" in lines
    import_lines(disk_folder / "to", lines)
    found = content(disk_folder / "to")["db"]
    assert found["$$token"] == (0, marked("asked-for"))
    assert "$$user_ana" not in found


def test_tokens_written_by_hand_are_hashed(disk_folder: Path) -> None:
    lines = [
        b'{"format":"nun-db export","version":1,"database":"x","strategy":"newer","secrets":true}\n',
        b'{"key":"$$token","version":0,"value":"plain"}\n',
        b'{"key":"k","version":1,"value":"v"}\n',
    ]
    import_lines(disk_folder, b"".join([*lines, end_of(lines)]))
    assert content(disk_folder)["db"] == {"$$token": (0, marked("plain")), "k": (1, "v")}


def test_conflicts_that_wait_go_on_waiting_also_under_another_name(disk_folder: Path) -> None:
    record = "resolve 17 db 3 k old new value"
    make(disk_folder / "from", "db", {**SAMPLE, "k": (-2, "old"), "$conflicts_k_17": (0, record)}, "arbiter")
    import_lines(disk_folder / "to", exported(disk_folder / "from"), "other")
    found = content(disk_folder / "to")["other"]
    assert found["k"] == (-2, "old")
    assert found["$conflicts_k_17"] == (0, "resolve 17 other 3 k old new value")
    assert b"k 17" in stored_keys(disk_folder / "to")


# --- over what is there -----------------------------------------------------------------------------------------


def test_a_database_that_exists_is_never_touched_unless_told(disk_folder: Path) -> None:
    make(disk_folder, "db", SAMPLE)
    lines = exported(disk_folder)
    with pytest.raises(TransferError, match="the database db already exists"):
        import_lines(disk_folder, lines)
    assert content(disk_folder)["db"] == SAMPLE


def test_replacing_keeps_the_tokens_when_the_file_has_none(disk_folder: Path) -> None:
    make(disk_folder / "from", "db", {"$$token": (0, HASH), "new": (1, "n")}, "newer")
    make(disk_folder / "to", "db", SAMPLE)
    done = import_lines(disk_folder / "to", exported(disk_folder / "from", has_secrets=False), is_replacing=True)
    assert done.is_replaced
    assert content(disk_folder / "to")["db"] == {
        "$$token": (0, HASH), "$$user_ana": (2, HASH), "new": (1, "n"),
    }  # fmt: skip
    assert strategies(disk_folder / "to")["db"] == "newer"
    assert b"k" not in stored_keys(disk_folder / "to")


class FullAfterwards(LmdbStore):
    """Its disk becomes full as soon as the new database has its name."""

    def write(self, batch: Batch, operations: int, copies: Sequence[Copy] = ()) -> None:
        entry = self.get(CATALOGUE + b"db")
        if entry is not None and entry.version != self.first:
            raise StorageError("No space left on device")
        super().write(batch, operations, copies)

    first = 0


def test_a_disk_that_is_full_once_it_is_done_takes_nothing_back(disk_folder: Path) -> None:
    """What was replaced stays on disk for the server to remove; to say that nothing was imported would be a lie."""
    make(disk_folder / "from", "db", {"$$token": (0, HASH), "new": (1, "n")})
    make(disk_folder / "to", "db", SAMPLE)
    with contextlib.closing(FullAfterwards(disk_folder / "to")) as store:
        entry = store.get(CATALOGUE + b"db")
        assert entry is not None
        store.first = entry.version
        lines = io.BytesIO(exported(disk_folder / "from"))
        done = import_database(store, "db", lines, marked, str, lambda _: None, is_replacing=True)
    assert done.is_replaced
    assert content(disk_folder / "to")["db"] == {"$$token": (0, HASH), "new": (1, "n")}
    with contextlib.closing(LmdbStore(disk_folder / "to")) as store:
        assert list(store.read_all(NOTES[:4])), "a server finds what it has to remove"


def test_merging_lets_the_file_win_and_keeps_the_rest(disk_folder: Path) -> None:
    long = "x" * 700
    make(disk_folder / "from", "db", {"k": (1, "from"), long: (4, "long"), "new": (1, "n")}, "newer")
    make(disk_folder / "to", "db", {**SAMPLE, long: (9, "was")})
    before = len(stored_keys(disk_folder / "to"))
    done = import_lines(disk_folder / "to", exported(disk_folder / "from"), is_merging=True)
    assert done.is_merged
    assert content(disk_folder / "to")["db"] == {**SAMPLE, "k": (1, "from"), long: (4, "long"), "new": (1, "n")}
    assert strategies(disk_folder / "to")["db"] == "none"
    assert len(stored_keys(disk_folder / "to")) == before + 1, "what was loaded must be gone"


def test_admin_is_not_replaced(disk_folder: Path) -> None:
    make(disk_folder, "db", SAMPLE)
    with pytest.raises(TransferError, match="can't be replaced"):
        import_lines(disk_folder, exported(disk_folder, "$admin"), "$admin", is_replacing=True)


# --- what is wrong ----------------------------------------------------------------------------------------------


@pytest.fixture(name="lines", scope="module")
def _lines(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    folder = tmp_path_factory.mktemp("from")
    make(folder, "db", SAMPLE)
    return exported(folder)


def refused(folder: Path, lines: bytes, before: Content) -> str:
    """Why it is refused; nothing must have changed."""
    with pytest.raises(TransferError) as caught:
        import_lines(folder, lines, is_replacing=True)
    assert content(folder) == before
    assert "nothing was imported" in str(caught.value)
    return str(caught.value)


def test_a_file_cut_at_any_byte_changes_nothing(disk_folder: Path, lines: bytes) -> None:
    make(disk_folder, "db", {"$$token": (0, HASH), "old": (1, "o")})
    before = content(disk_folder), sorted(stored_keys(disk_folder))
    with contextlib.closing(LmdbStore(disk_folder)) as store:
        for size in range(len(lines) - 1):
            with pytest.raises(TransferError, match=r"line [0-9]+: |the file is empty"):
                import_database(store, "db", io.BytesIO(lines[:size]), marked, str, lambda _: None, is_replacing=True)
    assert (content(disk_folder), sorted(stored_keys(disk_folder))) == before


def test_a_changed_byte_is_noticed(disk_folder: Path, lines: bytes) -> None:
    make(disk_folder, "db", {"$$token": (0, HASH)})
    before = content(disk_folder)
    changed = lines.replace(b'"value":"v"', b'"value":"w"')
    assert changed != lines
    assert "its checksum is another" in refused(disk_folder, changed, before)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"{", "line 2: it is not JSON, or was cut"),
        (b"[1]", "line 2: it is not a JSON object"),
        (b"\xff", "line 2: it is not UTF-8 text"),
        (b'{"key":"a","version":1}', "line 2: key, version or value is missing"),
        (b'{"key":"a","version":true,"value":"v"}', "line 2: key, version or value is missing"),
        (b'{"key":"a","version":1.5,"value":"v"}', "line 2: key, version or value is missing"),
        (b'{"key":1,"version":1,"value":"v"}', "line 2: key, version or value is missing"),
        (b'{"key":"a","version":9223372036854775808,"value":"v"}', "line 2: the version is not"),
        (b'{"key":"a","version":4611686018427387905,"value":"v"}', "line 2: the version is not"),
        (b'{"key":"","version":1,"value":"v"}', "line 2: a key can't be empty"),
        (b'{"key":"a b","version":1,"value":"v"}', "line 2: a key can't be empty"),
        (b'{"key":"a\\nb","version":1,"value":"v"}', "line 2: a key can't be empty"),
        (b'{"key":"a","version":1,"value":"\\ud800"}', "line 2: its text holds half a character"),
        (b'{"key":"$connections","version":1,"value":"3"}', "line 2: $connections is counted by the server"),
        (b'{"key":"$$user_a","version":1,"value":""}', "line 2: the token of $$user_a is empty"),
        (
            b'{"key":"$$user_a","version":1,"value":"$argon2id$v=19$m=999999,t=9,p=9$c2FsdA$aGFzaA"}',
            "line 2: the hash of $$user_a costs too much to check: at most m=262144, t=16, p=16 and m times t 1048576",
        ),
        (b'{"key":"a","version":' + b"9" * 5000 + b',"value":"v"}', "line 2: it is not JSON"),
        (b"[" * 100_000, "line 2: it is not JSON"),
        (b'{"key":"k","version":1,"value":"v"}\n{"key":"k","version":1,"value":""}', "line 3: the key 'k' is there"),
        (b'{"end":true,"keys":1}', "line 2: it says 1 keys, and there are 0 before it"),
        (b'{"end":true,"keys":0}\n{}', "line 3: there is more behind the last line"),
    ],
)  # fmt: skip
def test_a_bad_line_is_named(disk_folder: Path, line: bytes, why: str) -> None:
    make(disk_folder, "db", {"$$token": (0, HASH)})
    header = b'{"format":"nun-db export","version":1,"database":"x","strategy":"none","secrets":false}\n'
    assert why in refused(disk_folder, header + line + b"\n", content(disk_folder))


@pytest.mark.parametrize(
    ("header", "why"),
    [
        (b"", "the file is empty"),
        (b"{}\n", "line 1: it is not the first line of a file that nun-db export has made"),
        (b'{"format":"nun-db export","version":2}\n', "line 1: the version of its format is 2"),
        (b'{"format":"nun-db export","version":1,"database":"x","strategy":"o","secrets":true}\n', "line 1: database"),
        (b'{"format":"nun-db export","version":1,"database":"x","strategy":[],"secrets":false}\n', "line 1: database"),
    ],
)  # fmt: skip
def test_a_bad_header_is_named(disk_folder: Path, header: bytes, why: str) -> None:
    make(disk_folder, "db", {"$$token": (0, HASH)})
    assert why in refused(disk_folder, header, content(disk_folder))


def test_an_unknown_database_is_named_with_those_there_are(disk_folder: Path) -> None:
    make(disk_folder, "db", SAMPLE)
    with pytest.raises(TransferError, match=r"there is no database 'x'; the databases are: \$admin, db"):
        exported(disk_folder, "x")
