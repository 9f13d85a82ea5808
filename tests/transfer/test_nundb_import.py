"""The original's folder becomes ours: everything in it, or a word about what is not, and never half of it."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

import pytest

from pynun.errors import TransferError
from pynun.storage import schema
from pynun.storage.store import LmdbStore
from pynun.transfer import nundb_import
from pynun.transfer.nundb_import import check_folder
from tests.support.nundb_files import (
    REFERENCE_FOLDER,
    Key,
    expected,
    key_record,
    value_record,
    write_database,
    write_folder,
)
from tests.transfer.folders import content, fingerprints, import_into, marked, stored_keys, strategies

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.transfer.nundb_files import Problem

TOKEN: Key = ("$$token", 0, "pwd")


@pytest.fixture(name="old")
def _old(disk_folder: Path) -> Path:
    return disk_folder / "old"


@pytest.fixture(name="dbs")
def _dbs(disk_folder: Path) -> Path:
    return disk_folder / "dbs"


def told(problems: list[Problem]) -> list[tuple[str | None, bool]]:
    return [(problem.key, problem.is_loss) for problem in problems]


def test_a_token_of_all_is_not_taken_over(dbs: Path, old: Path) -> None:
    """In the original `create-user all` makes a second token of the database; here nobody could see or change it."""
    write_folder(old, {"d": [TOKEN, ("$$user_all", 0, "hidden"), ("$$permission_$all", 0, "r *")]})
    summary, problems = import_into(dbs, old)
    assert (summary.is_done, summary.losses, summary.users) == (True, 0, 0)
    assert told(problems) == [("$$user_all", False)]
    assert content(dbs)["d"].keys() == {"$$token", "$$permission_$all"}


# --- what is taken over -----------------------------------------------------------------------------------------


def test_the_reference_folder_arrives(dbs: Path) -> None:
    summary, problems = import_into(dbs, REFERENCE_FOLDER)
    assert problems == []
    assert (summary.is_done, summary.losses, summary.notes, summary.users, summary.skipped) == (True, 0, 0, 1, 2)
    wanted = expected()
    found = content(dbs)
    assert found.keys() == {"$admin", *wanted["tokens"]}
    for name, token in wanted["tokens"].items():
        secrets = {key: text for key, (_, text) in found[name].items() if key.startswith("$$")}
        ordinary = {key: [*entry] for key, entry in found[name].items() if not key.startswith("$$")}
        assert ordinary == wanted["keys"][name]
        assert secrets.pop("$$token") == marked(token)
        for user, text in wanted["permissions"].get(name, {}).items():
            assert secrets.pop(f"$$permission_${user}") == text
        for user, token_of_user in wanted["users"].get(name, {}).items():
            assert secrets.pop(f"$$user_{user}") == marked(token_of_user)
        assert secrets == {}
    assert {name: strategies(dbs)[name] for name in wanted["strategies"]} == wanted["strategies"]
    assert found["$admin"] == {name: (0, "{}") for name in ("$admin", *wanted["tokens"])}
    assert strategies(dbs)["$admin"] == "newer"


def test_the_administrators_old_password_is_not_taken_over(dbs: Path) -> None:
    import_into(dbs, REFERENCE_FOLDER)
    assert "$$token" not in content(dbs)["$admin"]


@pytest.mark.parametrize(
    "value",
    [
        value_record("3"),
        value_record("3", 99),
        value_record("3")[:-9],
        value_record("a\0b"),
        value_record(b"\xff"),
        b"\xff" * 20,
    ],
)
@pytest.mark.parametrize("version", [1, -7])
def test_a_count_of_connections_that_can_not_be_read_is_no_problem(
    old: Path, dbs: Path, value: bytes, version: int
) -> None:
    """It is counted anew, so nobody has to decide anything because of it."""
    write_folder(old, {"db": [TOKEN, ("k", 1, "v")]})
    keys, values = old / "db-nun.data.keys", old / "db-nun.data.values"
    keys.write_bytes(keys.read_bytes() + key_record("$connections", version, values.stat().st_size))
    values.write_bytes(values.read_bytes() + value)
    summary, problems = import_into(dbs, old)
    assert problems == []
    assert (summary.is_done, summary.losses, summary.notes, summary.skipped) == (True, 0, 0, 1)
    assert (summary.databases_made, summary.keys) == (1, 1)
    assert content(dbs)["db"] == {"$$token": (0, marked("pwd")), "k": (1, "v")}


COSTLY = "$argon2id$v=19$m=999999,t=9,p=9$c29tZXNhbHQ$aGFzaA"


def test_a_users_hash_that_would_take_too_long_to_check_is_not_taken_over(old: Path, dbs: Path) -> None:
    write_folder(old, {"db": [TOKEN, ("$$user_ana", 3, COSTLY)]})
    summary, problems = import_into(dbs, old)
    assert told(problems) == [("$$user_ana", False)]
    assert problems[0].what.startswith("its hash costs too much to check: it was not taken over")
    assert summary.is_done
    assert "$$user_ana" not in content(dbs)["db"]


def test_a_databases_hash_that_would_take_too_long_to_check_is_a_loss(old: Path, dbs: Path) -> None:
    write_folder(old, {"db": [("$$token", 3, COSTLY)]})
    summary, problems = import_into(dbs, old)
    assert told(problems)[0] == ("$$token", True)
    assert not summary.is_done


def test_a_hash_stays_as_it_is(old: Path, dbs: Path) -> None:
    hashed = "$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$aGFzaA"
    write_folder(old, {"db": [("$$token", 3, hashed)]})
    import_into(dbs, old)
    assert content(dbs)["db"]["$$token"] == (3, hashed)


@pytest.mark.parametrize("name", ["a;b", "tab\t", "é", "\x1b"])
def test_whatever_name_a_database_could_have(old: Path, dbs: Path, name: str) -> None:
    """Over TCP the original made databases of any name without a blank and a line break."""
    write_folder(old, {name: [TOKEN, ("k", 1, "v")]})
    assert import_into(dbs, old)[1] == []
    assert content(dbs)[name]["k"] == (1, "v")
    assert content(dbs)["$admin"][name] == (0, "{}")


def test_long_keys_and_odd_texts(old: Path, dbs: Path) -> None:
    entries: list[Key] = [
        TOKEN,
        ("k" * 600, 4, "long"),
        ("k" * 600 + "x", 5, ""),
        ("é" * 300, 0, "\n;\r\t\u2028"),
        ("$conflicts", 0, "just a key"),
    ]
    write_folder(old, {"db": entries})
    assert import_into(dbs, old)[1] == []
    found = content(dbs)["db"]
    assert {key: found[key] for key, _, _ in entries[1:]} == {
        key: (version, text) for key, version, text in entries[1:]
    }


def test_many_keys_take_many_batches(old: Path, dbs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynun.transfer.bulk_load.BATCH_ENTRIES_MAX", 7)
    entries: list[Key] = [TOKEN, *((f"key-{number}", number, "v") for number in range(200))]
    write_folder(old, {"one": entries, "two": entries})
    summary, problems = import_into(dbs, old)
    assert (summary.keys, problems) == (400, [])
    assert content(dbs)["two"] == content(dbs)["one"]


# --- conflicts --------------------------------------------------------------------------------------------------


def test_conflicts_that_wait_go_on_waiting(old: Path, dbs: Path) -> None:
    record = "resolve 17 db 3 k_1 old a new value"
    entries: list[Key] = [
        TOKEN,
        ("k_1", -2, "old"),
        ("$conflicts_k_1_17", 0, record),
        ("$conflicts_k_1_16", 1, "resolved x"),
        ("$conflicts_other_5", 0, "resolve 6 db 3 other old new"),
    ]
    write_folder(old, {"db": entries}, "arbiter")
    assert import_into(dbs, old)[1] == []
    found = content(dbs)["db"]
    assert found["k_1"] == (-2, "old")
    assert found["$conflicts_k_1_17"] == (0, record)
    keys = stored_keys(dbs)
    assert b"k_1 17" in keys
    assert not {b"k_1 16", b"other 5", b"other 6"} & set(keys)


def test_a_conflict_that_nobody_could_resolve_is_ended_and_told(old: Path, dbs: Path) -> None:
    write_folder(old, {"db": [TOKEN, ("k", -2, "old")]}, "arbiter")
    write_database(old, "none", [TOKEN, ("k", -2, "o"), ("$conflicts_k_1", 0, "resolve 1 none 3 k o n")], "none")
    summary, problems = import_into(dbs, old)
    assert summary.is_done
    assert told(problems) == [("k", False), ("k", False)]
    assert content(dbs)["db"]["k"] == (0, "old")
    assert content(dbs)["none"]["k"] == (0, "o")


# --- what can't be read -----------------------------------------------------------------------------------------


def damaged(old: Path) -> None:
    """Two good databases and a bad one, of which a key can be read."""
    good: list[Key] = [TOKEN, ("k", 1, "v")]
    write_folder(old, {"good": good, "bad": [*good, ("lost", 2, "w")]})
    values = old / "bad-nun.data.values"
    values.write_bytes(values.read_bytes()[:-1])


def test_damage_imports_nothing_unless_it_is_accepted(old: Path, dbs: Path) -> None:
    damaged(old)
    before = fingerprints(old)
    summary, problems = import_into(dbs, old)
    assert (summary.is_done, summary.losses) == (False, 1)
    (problem,) = problems
    assert (problem.file, problem.key, problem.is_loss) == ("bad-nun.data.values", "lost", True)
    assert content(dbs) == {}
    summary, again = import_into(dbs, old, is_accepting_damage=True)
    assert (summary.is_done, summary.losses, again) == (True, 1, problems)
    assert content(dbs)["bad"] == {"$$token": (0, marked("pwd")), "k": (1, "v")}
    assert fingerprints(old) == before


def test_a_refused_import_leaves_nothing_behind(old: Path, dbs: Path) -> None:
    damaged(old)
    import_into(dbs, old)
    assert stored_keys(dbs) == [b""]  # the highest identifier given so far, and nothing else


def test_a_database_whose_files_are_missing_is_a_loss(old: Path, dbs: Path) -> None:
    write_folder(old, {"a": [TOKEN], "b": [TOKEN]})
    for file in old.glob("b-nun*"):
        file.unlink()
    summary, problems = import_into(dbs, old, is_accepting_damage=True)
    assert told(problems) == [("b", True)]
    assert summary.is_done
    assert "b" not in content(dbs)["$admin"]


def test_a_missing_token_is_a_loss(old: Path, dbs: Path) -> None:
    write_folder(old, {"a": [("k", 0, "v")]})
    assert told(import_into(dbs, old)[1]) == [("$$token", True)]


def test_a_user_without_a_token_is_told_and_not_taken_over(old: Path, dbs: Path) -> None:
    write_folder(old, {"a": [TOKEN, ("$$user_ana", 0, "")]})
    summary, problems = import_into(dbs, old)
    assert summary.is_done
    assert told(problems) == [("$$user_ana", False)]
    assert "$$user_ana" not in content(dbs)["a"]


@pytest.mark.parametrize(
    ("first", "second", "kept", "is_loss"),
    [
        ((1, "a"), (1, "a"), (1, "a"), False),
        ((1, "a"), (2, "b"), (2, "b"), True),
        ((2, "b"), (1, "a"), (1, "a"), True),
        ((1, "a"), (-1, None), None, True),
        ((-1, None), (3, "c"), (3, "c"), False),
    ],
)
def test_a_key_that_is_there_twice(
    old: Path,
    dbs: Path,
    first: tuple[int, str | None],
    second: tuple[int, str | None],
    kept: tuple[int, str] | None,
    is_loss: bool,
) -> None:
    write_folder(old, {"a": [TOKEN, ("k", *first), ("k", *second)]})
    summary, problems = import_into(dbs, old, is_accepting_damage=True)
    assert told(problems) == ([("k", True)] if is_loss else [])
    assert content(dbs)["a"].get("k") == kept
    assert summary.keys == (kept is not None)


def test_a_file_that_changes_meanwhile_is_a_loss(old: Path, dbs: Path) -> None:
    """The original is still running."""
    write_folder(old, {"a": [TOKEN]})
    problems: list[Problem] = []

    def hash_secret(secret: str) -> str:
        with (old / "a-nun.data.values").open("ab") as file:
            file.write(b"more")
        return marked(secret)

    with contextlib.closing(LmdbStore(dbs)) as store:
        summary = nundb_import.import_folder(store, old, hash_secret, report=problems.append, progress=lambda *_: None)
    assert not summary.is_done
    assert "stop the original" in problems[-1].what


def test_what_is_not_a_folder_of_the_original_is_refused(old: Path, dbs: Path) -> None:
    with pytest.raises(TransferError, match="can't be read: No such file"):
        import_into(dbs, old)
    old.mkdir()
    with pytest.raises(TransferError, match="there is no data of the original"):
        import_into(dbs, old)


# --- beside what is there ---------------------------------------------------------------------------------------


def test_databases_that_exist_are_never_touched_unless_told(old: Path, dbs: Path) -> None:
    write_folder(old, {"a": [TOKEN, ("k", 0, "first"), ("only", 0, "1")], "b": [TOKEN]})
    import_into(dbs, old)
    before = content(dbs)
    write_folder(old, {"a": [TOKEN, ("k", 5, "second")], "c": [TOKEN]})
    with pytest.raises(TransferError, match="a, b exist already; --replace"):
        import_into(dbs, old)
    assert content(dbs) == before
    summary, problems = import_into(dbs, old, is_replacing=True)
    assert problems == []
    assert {counts.name: counts.is_replaced for counts in summary.databases} == {
        "$admin": False, "a": True, "b": True, "c": False,
    }  # fmt: skip
    assert content(dbs)["a"] == {"$$token": (0, marked("pwd")), "k": (5, "second")}
    assert content(dbs)["$admin"].keys() == {"$admin", "a", "b", "c"}
    assert b"only" not in stored_keys(dbs), "what was replaced must be gone from the disk"


def test_what_admin_holds_here_wins(old: Path, dbs: Path) -> None:
    write_folder(old, {"a": [TOKEN]})
    import_into(dbs, old)
    with contextlib.closing(LmdbStore(dbs)) as store:
        entries = nundb_import.existing_databases(store)
    assert entries == {"$admin", "a"}
    write_database(old, "$admin", [("a", 9, "{}"), ("note", 1, "hello")], "newer")
    import_into(dbs, old, is_replacing=True)
    assert content(dbs)["$admin"]["a"] == (0, "{}")
    assert content(dbs)["$admin"]["note"] == (1, "hello")


# --- a dry run --------------------------------------------------------------------------------------------------


def try_out(scratch: Path, old: Path, existing: set[str]) -> tuple[nundb_import.Summary, list[Problem]]:
    problems: list[Problem] = []
    with contextlib.closing(LmdbStore(scratch)) as store:
        summary = check_folder(store, old, existing, report=problems.append, progress=lambda *_: None)
    return summary, problems


def test_a_dry_run_says_what_an_import_would(disk_folder: Path, old: Path, dbs: Path) -> None:
    damaged(old)
    write_database(old, "twice", [TOKEN, ("k", 0, "a"), ("k", 0, "b")], "none")
    summary, problems = try_out(disk_folder / "scratch", old, set())
    done, of_import = import_into(dbs, old, is_accepting_damage=True)
    assert problems == of_import
    assert len(problems) == 2
    assert not summary.is_done
    assert summary.databases == done.databases


def test_a_dry_run_stores_no_value(disk_folder: Path, old: Path) -> None:
    write_folder(old, {"a": [("$$token", 0, "very-secret"), ("k", 0, "a-patients-name")]})
    try_out(disk_folder / "scratch", old, set())
    stored = (disk_folder / "scratch" / schema.DATA_FILE).read_bytes()
    assert b"very-secret" not in stored
    assert b"a-patients-name" not in stored


def test_a_dry_run_refuses_what_an_import_would(disk_folder: Path, old: Path) -> None:
    write_folder(old, {"a": [TOKEN]})
    with pytest.raises(TransferError, match="a exists already"):
        try_out(disk_folder / "scratch", old, {"a", "$admin"})


# --- the folder's own files -------------------------------------------------------------------------------------


def test_an_import_in_place_is_remembered_and_changes_are_seen(dbs: Path) -> None:
    write_folder(dbs, {"a": [TOKEN]})
    before = fingerprints(dbs)
    import_into(dbs, dbs)
    assert fingerprints(dbs) == before
    with contextlib.closing(LmdbStore(dbs)) as store:
        imported = nundb_import.imported_before(store)
    assert imported is not None
    read: list[int] = []
    assert nundb_import.compare_files(dbs, imported, read.append) == ([], imported)
    file = dbs / "a-nun.data.values"
    os.utime(file)
    changed, imported = nundb_import.compare_files(dbs, imported, read.append)
    assert changed == [], "the same content, copied"
    assert read == [file.stat().st_size]
    with contextlib.closing(LmdbStore(dbs)) as store:
        nundb_import.note_imported(store, imported)
    with contextlib.closing(LmdbStore(dbs)) as store:
        assert nundb_import.imported_before(store) == imported
    assert nundb_import.compare_files(dbs, imported, read.append) == ([], imported)
    assert len(read) == 1, "what was compared once is not read again"
    content_before = file.read_bytes()
    file.write_bytes(content_before[:-1] + b"\1")
    write_database(dbs, "b", [TOKEN])
    assert nundb_import.compare_files(dbs, imported, read.append)[0] == [
        "a-nun.data.values", "b-nun.data.keys", "b-nun.data.values", "b-nun.madadata",
    ]  # fmt: skip
