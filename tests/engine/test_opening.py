"""`open-db`, by which an administrator selects a database without its token, and the pages of its keys."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from pynun.engine.scans import _PAGE_KEYS as PAGE_KEYS
from pynun.storage.store import LmdbStore
from tests.engine.test_administering import report
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, Client, World

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

OK = "ok \n"
NO_DATABASE = ["error no-db-selected\n", "error error no-db-selected\n \n"]
DENIED = ["permission denied\n", "error permission denied\n \n"]


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.admin("create-db d pwd", "use-db d pwd", "set b 1", "set-permissions all rw a*", "set $$permission_$ r a*")
    world.commit()
    world.restart()
    return world


def test_an_administrator_may_do_everything_there(world: World) -> None:
    assert world.admin("use-db d pwd").ask("get b") == DENIED
    admin = world.admin("open-db d", "watch b", "set b 2", "increment b", "remove b")
    admin.ask("set b 3")
    for change in ("set-permissions all r c*", "set $$permission_$ r c*", "remove $$permission_$all"):
        world.admin("use-db d pwd", change)
        assert admin.ask("get b") == ["value 3\n", OK], change
    world.admin("use-db d pwd", "set $$token other")
    world.lose()
    assert admin.ask("get b") == ["value 1\n", OK]  # the changes were lost, but the database is still open


@pytest.mark.parametrize("how", [f"auth {ADMIN_USER} wrong", "another sets the password"])
def test_without_admin_rights_it_is_open_no_more(world: World, how: str) -> None:
    admin = world.admin("open-db d", "watch a")
    if how.startswith("auth"):
        admin.ask(how)
    else:
        world.admin("set-password other")
    assert admin.ask("get a") == NO_DATABASE
    world.connect("use-db d pwd", "set a 1")
    assert admin.outbox.take() == []


def test_it_takes_the_place_of_what_was_selected(world: World) -> None:
    client = world.connect("use-db d pwd", f"auth {ADMIN_USER} {ADMIN_PASSWORD}", "open-db d")
    assert client.ask("get b") == ["value 1\n", OK]
    assert report(client, "list-sessions")["sessions"][-1]["user"] is None
    assert client.ask("get $connections") == ["value 1\n", OK]
    client.ask("use-db d pwd")
    assert client.ask("get b") == DENIED
    assert client.ask("open-db nowhere") == ["error Not a valid database name \n"]
    assert client.ask("get b") == DENIED


def pages(client: Client, pattern: str) -> list[list[str]]:
    """The pages of the keys that match."""
    found: list[list[str]] = []
    after = ""
    while True:
        page = report(client, f"list-keys {pattern}{after}")
        assert len(page["keys"]) <= 2 * PAGE_KEYS + 100
        found.append(page["keys"])
        if page["next"] is None:
            return found
        after = f" {page['next']}"


@pytest.fixture(name="on_disk")
def _on_disk(disk_folder: Path) -> Iterator[World]:
    with contextlib.closing(LmdbStore(disk_folder / "data")) as store:
        yield World(store)


STEM = "é" * 240
"""480 bytes: the store keeps longer keys that begin so in no order."""


def test_every_key_is_on_one_page(on_disk: World) -> None:
    admin = on_disk.admin("create-db d pwd", "open-db d")
    names = [f"k{number:05}" for number in range(2 * PAGE_KEYS + 50)]
    names += [f"k02100{STEM}{number}" for number in range(120)] + ["k03000;", "k03000%", "k03000\t"]
    for number, name in enumerate(names):
        admin.ask(f"set {name} v")
        if number == len(names) - 70:
            on_disk.commit()
    admin.ask("remove k01000")
    admin.ask("set z v")
    names.remove("k01000")
    found = pages(admin, "k*")
    assert len(found) > 1
    assert [key for page in found for key in page] == sorted(names)
    assert sorted(key for page in pages(admin, f"{STEM}1") for key in page) == sorted(
        n for n in names if f"{STEM}1" in n
    )
    assert [key for page in pages(admin, "*00") for key in page] == [
        name for name in sorted(names) if name.endswith("00")
    ]


def test_a_page_among_keys_that_the_store_cannot_sort(on_disk: World) -> None:
    """More than a page of them: they are on one page, each once."""
    admin = on_disk.admin("create-db d pwd", "open-db d")
    names = [f"{STEM}{number:05}" for number in range(PAGE_KEYS + 300)]
    for name in ["a", *names, "ü"]:
        admin.ask(f"set {name} v")
    on_disk.commit()
    page = report(admin, "list-keys *")
    assert [key for key in page["keys"] if key.startswith(STEM)] == names
    assert [key for page in pages(admin, "*") for key in page] == ["$$token", "$connections", "a", *names, "ü"]
