"""Damage of pages is noticed before LMDB meets it, and nothing that the store writes is ever taken for damage."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from pynun.engine.overlay import Batch, Entry
from pynun.storage import schema
from pynun.storage.integrity import page_check
from pynun.storage.integrity.page_check import find_damage
from pynun.storage.integrity.page_walk import is_whole
from pynun.storage.store import LmdbStore
from tests.storage.steps import checkpoint
from tests.support.data_pages import PAGE_BYTES, pages_in_use

if TYPE_CHECKING:
    from pathlib import Path

DATABASE = b"\0\0\0\1"
BATCHES = 80
HEADER_FLIPS = 300


def work(store: LmdbStore, chance: random.Random) -> None:
    """One batch of what clients do: new keys and old ones, long ones too, values of some pages, removals."""
    batch = Batch(store.revision + 1)
    for _ in range(chance.randrange(1, 60)):
        key = DATABASE + b"key%04d" % chance.randrange(1500) + b"L" * chance.choice((0, 0, 0, 300, 600))
        text = "v" * chance.choice((0, 10, 100, 1500, 3000, 20_000))
        batch.entries[key] = None if chance.random() < 0.3 else Entry(store.revision, text)
        batch.bytes_estimated += len(key) + len(text)
    (store.write if chance.random() < 0.3 else store.append)(batch, 0)
    if chance.random() < 0.2:
        checkpoint(store, chance.randrange(1, 300))


@pytest.fixture(name="file")
def _file(disk_folder: Path) -> Path:
    """A data file of three levels, with something in the log, and with values that have pages of their own."""
    chance = random.Random(5)
    store = LmdbStore(disk_folder / "dbs")
    for _ in range(30):
        work(store, chance)
    store.close()
    return disk_folder / "dbs" / schema.DATA_FILE


LONG = pytest.mark.system


@pytest.mark.parametrize(
    ("pages_max", "leaves_max"),
    [(4096, 1024), pytest.param(4096, 20, marks=LONG), pytest.param(40, 20, marks=LONG)],
)
def test_what_the_store_writes_is_never_taken_for_damage(
    disk_folder: Path, monkeypatch: pytest.MonkeyPatch, pages_max: int, leaves_max: int
) -> None:
    """Whatever was freed and used again meanwhile; and also where there is more than is looked at."""
    monkeypatch.setattr(page_check, "PAGES_MAX", pages_max)
    monkeypatch.setattr(page_check, "LEAVES_IN_DETAIL_MAX", leaves_max)
    chance = random.Random(pages_max + leaves_max)
    store = LmdbStore(disk_folder / "dbs")
    for _ in range(BATCHES):
        work(store, chance)
        assert find_damage(store.folder / schema.DATA_FILE) is None
    for first in range(0, 1500, 100):
        batch = Batch(store.revision + 1)
        batch.entries.update(
            {
                DATABASE + b"key%04d" % number + b"L" * length: None
                for number in range(first, first + 100)
                for length in (0, 300, 600)
            }
        )
        store.write(batch, 0)
        assert find_damage(store.folder / schema.DATA_FILE) is None
    store.close()
    LmdbStore(disk_folder / "dbs").close()


@pytest.mark.parametrize(
    "damage", [pytest.param("nothing", marks=LONG), "noise", pytest.param("ones", marks=LONG), "another page"]
)
def test_every_page_in_use_that_is_overwritten_is_noticed(file: Path, damage: str) -> None:
    whole = file.read_bytes()
    pages = pages_in_use(file)
    assert len(pages) > 50
    for number in pages:
        with file.open("r+b") as writing:
            writing.seek(number * PAGE_BYTES)
            another = next(other for other in pages if other != number) * PAGE_BYTES
            writing.write(
                {
                    "nothing": bytes(PAGE_BYTES),
                    "noise": random.Random(number).randbytes(PAGE_BYTES),
                    "ones": b"\xff" * PAGE_BYTES,
                    "another page": whole[another : another + PAGE_BYTES],
                }[damage]
            )
        assert find_damage(file) is not None, f"page {number}"
        file.write_bytes(whole)
    assert find_damage(file) is None


def test_a_flipped_bit_of_a_pages_number_kind_or_length_is_noticed(file: Path) -> None:
    whole = file.read_bytes()
    chance = random.Random(11)
    pages = pages_in_use(file, with_values=False)
    for _ in range(HEADER_FLIPS):
        number, bit = chance.choice(pages), chance.choice((*range(64), *range(80, 84), *range(96, 112)))
        damaged = bytearray(whole)
        damaged[number * PAGE_BYTES + bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        assert find_damage(file) is not None, f"bit {bit} of page {number}"


def test_missing_pages_are_noticed(file: Path) -> None:
    whole = file.read_bytes()
    last = max(pages_in_use(file))
    file.write_bytes(whole[: last * PAGE_BYTES + 100])
    assert find_damage(file) == "its end is missing"


@pytest.mark.parametrize("data", [b"", b"text", bytes(100_000), b"\xa5" * 100_000])
def test_what_is_no_data_file_is_left_to_lmdb(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "file").write_bytes(data)
    assert find_damage(tmp_path / "file") is None


def test_the_walk_counts_entries_and_looks_at_their_order(file: Path) -> None:
    """A node less, or two that changed places, is nothing that LMDB notices: it only does not find what is there."""
    assert is_whole(file.parent)
    whole = file.read_bytes()
    leaf = next(number for number in pages_in_use(file, with_values=False) if _nodes_of_leaf(whole, number) > 3)
    lower, places = leaf * PAGE_BYTES + 12, leaf * PAGE_BYTES + 16
    for damage in ("length", "order"):
        damaged = bytearray(whole)
        if damage == "length":
            damaged[lower : lower + 2] = (int.from_bytes(damaged[lower : lower + 2], "little") - 2).to_bytes(
                2, "little"
            )
        else:
            damaged[places : places + 4] = damaged[places + 2 : places + 4] + damaged[places : places + 2]
        file.write_bytes(damaged)
        assert find_damage(file) is not None, damage
        assert not is_whole(file.parent), damage


def _nodes_of_leaf(data: bytes, number: int) -> int:
    """How many nodes a page has; 0 if it is no leaf."""
    page = data[number * PAGE_BYTES :]
    return (int.from_bytes(page[12:14], "little") - 16) // 2 if page[10] & 2 else 0
