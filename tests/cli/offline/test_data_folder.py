"""Which data folder a command works on: never one that nobody named, without a word."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.backup.data import NAMES, back_up, contents, make_folder
from tests.cli.command import run
from tests.cli.terminal import run_at_terminal
from tests.support.nundb_files import REFERENCE_FOLDER
from tools.clients.server import CHEAP_PASSWORDS

if TYPE_CHECKING:
    from pathlib import Path

QUESTION = "Is that the server's data folder? [y/N] "


@pytest.fixture(name="here")
def _here(disk_folder: Path) -> Path:
    """A directory with what the commands put into data folders, and without one."""
    here = disk_folder / "here"
    here.mkdir()
    back_up(make_folder(disk_folder / "elsewhere"), here / "the.backup")
    shutil.copytree(REFERENCE_FOLDER, here / "original")
    exported = run("export", NAMES[0], str(here / "the.jsonl"), "--data-dir", str(disk_folder / "elsewhere"))
    assert (exported.code, exported.errors) == (0, "")
    return here


CHANGING = (
    ("restore", "the.backup"),
    ("import", "new", "the.jsonl", "-t", "token"),
    ("import-nundb", "original"),
)


def test_no_folder_is_made_that_nobody_named(here: Path) -> None:
    """The installed service would keep its old data, and its administrator believe that it is restored."""
    for command in CHANGING:
        refused = run(*command, cwd=str(here), environment={**CHEAP_PASSWORDS, "NUN_DBS_DIR": ""})
        assert (refused.code, refused.output) == (1, "")
        assert refused.errors.startswith(
            "nun-db: no data folder was given, and there is no terminal to ask on; nothing"
        )
        assert refused.errors.endswith(f" The default is {here}/dbs, which has no data yet\n")
        assert not (here / "dbs").exists()


def test_no_folder_is_changed_that_nobody_named(here: Path) -> None:
    """It may be left from a trial."""
    make_folder(here / "dbs")
    before = (here / "dbs" / "data.mdb").read_bytes()
    for name, *arguments in CHANGING:
        refused = run(name, "--replace", *arguments, cwd=str(here))
        assert refused.code == 1
        assert refused.errors.endswith("/dbs, which has data\n")
        assert (here / "dbs" / "data.mdb").read_bytes() == before


def test_a_yes_at_a_terminal_names_it(here: Path) -> None:
    for answer in ("", "maybe"):
        code, screen = run_at_terminal(("restore", "the.backup"), [(QUESTION, answer)], cwd=str(here))
        assert code == 1
        assert f"This would change {here}/dbs, which has no data yet" in screen
        assert "nothing was changed" in screen.partition(QUESTION)[2]
        assert not (here / "dbs").exists()
    code, screen = run_at_terminal(("restore", "the.backup"), [(QUESTION, "y")], cwd=str(here))
    assert code == 0, screen
    assert contents(here / "dbs").keys() == set(NAMES)


def test_what_only_reads_says_which_folder(here: Path) -> None:
    missing = run("backup", "new.backup", cwd=str(here))
    assert missing.code == 1
    assert "there is no data in dbs" in missing.errors
    assert not (here / "dbs").exists()
    make_folder(here / "dbs")
    for command in (("backup", "new.backup"), ("export", NAMES[0], "new.jsonl")):
        done = run(*command, cwd=str(here))
        told = f"nun-db: neither --data-dir nor NUN_DBS_DIR is given: this reads the data in {here}/dbs\n"
        assert (done.code, done.errors) == (0, told)


def test_an_empty_option_names_nothing(tmp_path: Path) -> None:
    """As from a variable of the shell that is not set."""
    for command in (("backup", "x"), ("restore", "x"), ("demo",)):
        result = run(*command, "--data-dir", "", cwd=str(tmp_path))
        assert result.code == 2
        assert result.errors.startswith("nun-db: --data-dir is empty")
        assert list(tmp_path.iterdir()) == []
