"""The reader of the original's folder: what it wrote is read, and no damage is passed over in silence."""

from __future__ import annotations

import errno
import io
import os
import struct
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun.transfer.nundb_files import (
    DatabaseFiles,
    Problem,
    Record,
    find_databases,
    holds_databases,
    read_database,
    read_records,
    read_strategy,
)
from tests.support.nundb_files import (
    REFERENCE_FOLDER,
    Key,
    expected,
    key_record,
    streams,
    value_record,
    write_database,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

SMALL: Sequence[Key] = [
    ("$$token", 0, "pwd"),
    ("camera", 7, '{"a":1}'),
    ("gone", -1, None),
    ("ключ", 0, "Приве́т"),
    ("empty", 3, ""),
    ("last", 2, "x"),
]
WANTED = {key: (version, value) for key, version, value in SMALL}


def read(keys: bytes, values: bytes | None) -> tuple[list[Record], list[Problem]]:
    """Read two files that exist in memory only."""
    found = list(read_records(io.BytesIO(keys), None if values is None else io.BytesIO(values)))
    records = [item for item in found if isinstance(item, Record)]
    return records, [item for item in found if isinstance(item, Problem)]


def of_folder(folder: Path, name: str) -> tuple[dict[str, tuple[int, str | None]], list[Problem]]:
    """Read one database of a folder."""
    databases, problems = find_databases(folder)
    (files,) = [files for files in databases if files.name == name]
    found: dict[str, tuple[int, str | None]] = {}
    for item in read_database(files):
        if isinstance(item, Problem):
            problems.append(item)
        else:
            found[item.key] = (item.version, item.value)
    return found, problems


def losses(problems: list[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.is_loss]


# --- what the original wrote ------------------------------------------------------------------------------------


def test_the_reference_folder_is_read() -> None:
    databases, problems = find_databases(REFERENCE_FOLDER)
    assert problems == []
    assert [files.name for files in databases] == ["$admin", "arb", "empty", "hospital", "newest"]
    wanted = expected()
    for files in databases[1:]:
        assert read_strategy(files) == (wanted["strategies"][files.name], None)
        found, problems = of_folder(REFERENCE_FOLDER, files.name)
        assert problems == []
        ordinary = {
            key: [version, value]
            for key, (version, value) in found.items()
            if value is not None and not key.startswith("$")
        }
        assert ordinary == wanted["keys"][files.name]
        assert found["$$token"][1] == wanted["tokens"][files.name]
    assert of_folder(REFERENCE_FOLDER, "hospital")[0]["words"] == (-1, None)


def test_a_folder_is_recognised(tmp_path: Path) -> None:
    assert holds_databases(REFERENCE_FOLDER)
    assert not holds_databases(tmp_path)
    assert not holds_databases(tmp_path / "missing")


@given(st.dictionaries(
    st.text(st.characters(exclude_characters="\0 \r\n", exclude_categories=["Cs"]), min_size=1, max_size=40),
    st.tuples(
        st.integers(-2, 2**31 - 1),
        st.one_of(st.none(), st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))),
    ),
    max_size=8,
))  # fmt: skip
def test_what_is_written_is_read(entries: dict[str, tuple[int, str | None]]) -> None:
    made: list[Key] = [(key, version if version != -1 else 0, value) for key, (version, value) in entries.items()]
    records, problems = read(*streams(made))
    assert problems == []
    assert [(key, version, value) for key, version, value, _ in records] == [
        (key, -1 if value is None else version, value) for key, version, value in made
    ]


# --- damage: every byte -----------------------------------------------------------------------------------------


def check(keys: bytes, values: bytes) -> tuple[list[Record], list[Problem]]:
    """What holds for every damage: nothing is given that was not there."""
    records, problems = read(keys, values)
    for record in records:
        assert WANTED[record.key] == (record.version, record.value)
    return records, problems


def test_keys_cut_at_every_byte() -> None:
    keys, values = streams(SMALL)
    ends = [0]
    for key, version, _ in SMALL:
        ends.append(ends[-1] + len(key_record(key, version, 0)))
    for size in range(len(keys)):
        records, problems = check(keys[:size], values)
        whole = sum(end <= size for end in ends) - 1
        assert len(records) == whole
        if size not in ends:
            (problem,) = losses(problems)
            assert problem.offset == ends[whole]
        elif not any(record.value is None for record in records):
            # Cut between two records: the values that nobody names any more show it.
            assert "may have been cut" in problems[-1].what


def test_values_cut_at_every_byte() -> None:
    keys, values = streams(SMALL)
    for size in range(len(values)):
        records, problems = check(keys, values[:size])
        told = {problem.key for problem in losses(problems)}
        assert {record.key for record in records} | told == WANTED.keys()
        assert told
        assert told.isdisjoint(record.key for record in records)


def test_every_byte_of_the_values_lengths_and_ends_is_guarded() -> None:
    """A flipped bit in a value's text can't be seen; one in its length or behind it must not give another text."""
    keys, values = streams(SMALL)
    inside = set()
    address = 0
    for _, _, value in SMALL:
        if value is not None:
            size = len(value.encode())
            inside |= set(range(address + 8, address + 8 + size))
            address += 8 + size + 4
    for position in set(range(len(values))) - inside:
        for bit in range(8):
            damaged = bytearray(values)
            damaged[position] ^= 1 << bit
            records, problems = check(keys, bytes(damaged))
            told = {problem.key for problem in losses(problems)}
            assert {record.key for record in records} | told == WANTED.keys()


def test_a_zeroed_tail_is_one_problem() -> None:
    keys, values = streams(SMALL)
    records, problems = check(keys + bytes(3_000_005), values)
    assert len(records) == len(SMALL)
    (problem,) = losses(problems)
    assert (problem.offset, problem.what) == (len(keys), "3000005 bytes of zeros where keys should be")


def test_zeros_between_keys_hide_none_of_those_behind_them() -> None:
    keys, values = streams(SMALL)
    first = len(key_record(*SMALL[0][:2], 0))
    records, problems = check(keys[:first] + bytes(40) + keys[first:], values)
    assert len(records) == len(SMALL)
    assert len(losses(problems)) == 1


@pytest.mark.parametrize("length", [2**63 - 1, 2**64 - 1, 2**40, 10_000])
def test_a_garbage_length_of_a_key_allocates_nothing(length: int) -> None:
    keys, values = streams(SMALL)
    tracemalloc.start()
    records, problems = check(keys + struct.pack("<Q", length) + b"abc", values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert len(records) == len(SMALL)
    assert [(problem.offset, problem.is_loss) for problem in problems] == [(len(keys), True)]


@pytest.mark.parametrize("size", [2**20, 2**41])
def test_a_garbage_length_in_a_huge_file_allocates_nothing(disk_folder: Path, size: int) -> None:
    """A sparse file, in which the garbage length fits."""
    write_database(disk_folder, "db", [("k", 0, "v")])
    for suffix in ("keys", "values"):
        file = disk_folder / f"db-nun.data.{suffix}"
        length = 2**39 if suffix == "values" else 2**38
        content = struct.pack("<Q", length) + b"x"
        file.write_bytes(content if suffix == "values" else file.read_bytes() + content)
        os.truncate(file, size)
    tracemalloc.start()
    found, problems = of_folder(disk_folder, "db")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3_000_000
    assert found == {}
    assert [problem.key for problem in losses(problems)] == ["k", None]


@pytest.mark.parametrize("address", [1, 5, 2**31, 2**63, 2**64 - 1, 2**64 - 8])
def test_a_wrong_address_is_named_with_its_key(address: int) -> None:
    keys, values = streams(SMALL)
    records, problems = check(keys + key_record("lost", 4, address), values)
    assert len(records) == len(SMALL)
    (problem,) = losses(problems)
    assert (problem.key, problem.offset, problem.file) == ("lost", address, "values")


def test_an_address_of_a_removed_key_means_nothing() -> None:
    records, problems = read(key_record("gone", -1, 2**64 - 1), b"")
    assert [record.value for record in records] == [None]
    assert problems == []


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (b"a\xff", "not UTF-8"),
        (b"\xed\xa0\x80", "not UTF-8"),
        (b"a b", "blank"),
        (b"a\nb", "blank"),
        (b"a\0b", "zero byte"),
        (b"", "empty key"),
    ],
)
def test_a_key_that_can_not_be_is_named(key: bytes, why: str) -> None:
    keys, values = streams(SMALL)
    records, problems = check(key_record(key, 5, 0) + keys, values)
    assert len(records) == len(SMALL)
    (problem,) = losses(problems)
    assert why in problem.what
    assert problem.offset == 0


def test_a_value_that_is_not_text_is_named() -> None:
    records, problems = read(key_record("k", 0, 0), value_record(b"\xc3("))
    assert records == []
    assert [(problem.key, problem.what) for problem in losses(problems)] == [("k", "its value is not UTF-8 text")]


def test_a_version_that_can_not_be_is_worth_a_note() -> None:
    records, problems = read(key_record("k", -9, 0), value_record("v"))
    assert [record.version for record in records] == [-9]
    assert [(problem.key, problem.is_loss) for problem in problems] == [("k", False)]


@given(st.binary(max_size=400), st.binary(max_size=400))
def test_any_bytes(keys: bytes, values: bytes) -> None:
    records, problems = read(keys, values)
    assert records or problems or not (keys or values)
    for problem in problems:
        assert str(problem).isprintable()
    assert all(record.value is None or record.value.encode() in values for record in records)


@given(st.data())
def test_any_damage_of_a_good_file(data: st.DataObject) -> None:
    keys, values = streams(SMALL)
    where = data.draw(st.integers(0, len(keys) - 1))
    damaged = keys[:where] + data.draw(st.binary(max_size=20)) + keys[data.draw(st.integers(where, len(keys))) :]
    read(damaged, values)


# --- files ------------------------------------------------------------------------------------------------------


def test_a_missing_file_of_values_is_named_and_each_of_its_keys(disk_folder: Path) -> None:
    write_database(disk_folder, "db", [("a", 0, "1"), ("b", 0, "2"), ("c", 0, None)])
    (disk_folder / "db-nun.data.values").unlink()
    found, problems = of_folder(disk_folder, "db")
    assert found == {"c": (-1, None)}
    assert [problem.key for problem in losses(problems)] == [None, "a", "b"]


@pytest.mark.parametrize(
    ("left", "why"),
    [
        ("db-nun.data.values", "there is no db-nun.data.keys"),
        ("db-nun.madadata", "there is no db-nun.data.keys"),
        ("db-nun.data.keys.old", "put it aside"),
    ],
)
def test_a_file_left_alone_is_named(tmp_path: Path, left: str, why: str) -> None:
    (tmp_path / left).write_bytes(b"")
    databases, problems = find_databases(tmp_path)
    assert databases == []
    (problem,) = losses(problems)
    assert problem.file == left
    assert why in problem.what


def test_files_that_are_not_needed_are_passed_over(tmp_path: Path) -> None:
    write_database(tmp_path, "db", [("a", 0, "1")])
    for name in ("keys-nun.keys", "oplog-nun.op", "is-oplog.valid", "db-nun.data.keys.old", "data.mdb", "else"):
        (tmp_path / name).write_bytes(b"\xff")
    (tmp_path / "oplog").mkdir()
    databases, problems = find_databases(tmp_path)
    assert ([files.name for files in databases], problems) == (["db"], [])


@pytest.mark.parametrize("name", [b"a\xff", b"a b", b""])
def test_a_name_that_can_not_be_is_named(tmp_path: Path, name: bytes) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name + b"-nun.data.keys"))).write_bytes(b"")
    databases, problems = find_databases(tmp_path)
    assert databases == []
    (problem,) = losses(problems)
    assert str(problem).isprintable()
    str(problem).encode()


@pytest.mark.parametrize(
    ("content", "strategy", "is_told"),
    [
        (struct.pack("<Qi", 9, 0), "none", False),
        (struct.pack("<Qi", 9, 2), "arbiter", False),
        (struct.pack("<Qi", 9, 3), "newer", True),
        (struct.pack("<Qi", 9, -1), "newer", True),
        (struct.pack("<Qi", 9, 0)[:-1], "newer", True),
        (struct.pack("<Qi", 9, 0) + b"\0", "newer", True),
        (b"", "newer", True),
        (None, "newer", False),
    ],
)
def test_the_strategy(tmp_path: Path, content: bytes | None, strategy: str, is_told: bool) -> None:
    write_database(tmp_path, "db", [], strategy=None)
    if content is not None:
        (tmp_path / "db-nun.madadata").write_bytes(content)
    found = read_strategy(find_databases(tmp_path)[0][0])
    assert (found.strategy, found.problem is not None) == (strategy, is_told)


@pytest.mark.parametrize("suffix", ["data.keys", "data.values", "madadata"])
def test_what_is_no_ordinary_file_is_named_and_not_waited_for(tmp_path: Path, suffix: str) -> None:
    write_database(tmp_path, "db", [("a", 0, "1")])
    (tmp_path / f"db-nun.{suffix}").unlink()
    os.mkfifo(tmp_path / f"db-nun.{suffix}")
    files = find_databases(tmp_path)[0][0]
    problems = [item for item in (*read_database(files), read_strategy(files).problem) if isinstance(item, Problem)]
    assert "not an ordinary file" in problems[0].what


class _BadDisk(io.BytesIO):
    """Bytes behind a position that fail to be read, as those of a worn disk do."""

    def __init__(self, content: bytes, good: int) -> None:
        super().__init__(content)
        self._good = good

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() + (size or 0) > self._good:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(size)


def test_a_disk_that_fails_is_named() -> None:
    keys, values = streams(SMALL)
    found = list(read_records(io.BytesIO(keys), _BadDisk(values, 0)))
    told = [item for item in found if isinstance(item, Problem)]
    assert {problem.key for problem in told if problem.is_loss} == WANTED.keys() - {"gone"}
    assert "Input/output error" in told[0].what
    (only,) = read_records(_BadDisk(keys, 0), io.BytesIO(values))
    assert isinstance(only, Problem)
    assert "Input/output error" in only.what


def test_reading_changes_nothing(disk_folder: Path) -> None:
    write_database(disk_folder, "db", SMALL)
    for file in disk_folder.iterdir():
        file.chmod(0o400)
    before = {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in disk_folder.iterdir()}
    of_folder(disk_folder, "db")
    assert before == {file.name: (file.read_bytes(), file.stat().st_mtime_ns) for file in disk_folder.iterdir()}
    assert isinstance(find_databases(disk_folder)[0][0], DatabaseFiles)
