"""Which data folder a command works on: never one that nobody named, without a word."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pynun.storage.snapshot import snapshot
from tests.backup.data import NAMES, back_up, contents, make_folder
from tests.cli.command import run
from tests.cli.terminal import run_at_terminal
from tests.support.nundb_files import REFERENCE_FOLDER
from tools.clients.server import CHEAP_PASSWORDS, Server, new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

QUESTION = "Is that the server's data folder? [y/N] "


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """What the commands put into data folders."""
    with new_folder() as folder:
        made = folder / "made"
        made.mkdir()
        back_up(make_folder(folder / "elsewhere"), made / "the.backup")
        shutil.copytree(REFERENCE_FOLDER, made / "original")
        exported = run("export", NAMES[0], str(made / "the.jsonl"), "--data-dir", str(folder / "elsewhere"))
        assert (exported.code, exported.errors) == (0, "")
        yield made


@pytest.fixture(name="here")
def _here(disk_folder: Path, made: Path) -> Path:
    """A directory with that, and without a data folder."""
    return Path(shutil.copytree(made, disk_folder / "here"))


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
        assert (done.code, done.errors) == (0, told), done.errors.split(chr(10), 1)[1]


def test_an_empty_option_names_nothing(tmp_path: Path) -> None:
    """As from a variable of the shell that is not set."""
    for command in (("backup", "x"), ("restore", "x"), ("demo",)):
        result = run(*command, "--data-dir", "", cwd=str(tmp_path))
        assert result.code == 2
        assert result.errors.startswith("nun-db: --data-dir is empty")
        assert list(tmp_path.iterdir()) == []


def test_the_settings_of_an_installation_name_it(here: Path, disk_folder: Path) -> None:
    """Each command says which folder it is, and changes it without a question."""
    folder, audit_file = disk_folder / "installed", disk_folder / "audit.jsonl"
    settings = disk_folder / "pynun.env"
    quoted = f"# settings\nNUN_PWD=x\nNUN_DBS_DIR='{folder}'\nexport NUN_AUDIT_FILE=\"{audit_file}\"\n"
    settings.write_text(quoted + "NUN_ARGON2_MEMORY_KIB=16\n", encoding="utf-8")
    environment = {"NUN_ENV_FILE": str(settings)}
    told = f"nun-db: the data folder is {folder} (NUN_DBS_DIR in {settings})\n"
    for command in (
        ("import-nundb", "original"),
        ("export", "hospital", "hospital.jsonl"),
        ("import", "new", "hospital.jsonl", "-t", "token"),
        ("backup", "new.backup"),
        ("restore", "--replace", "new.backup"),
    ):
        done = run(*command, cwd=str(here), environment=environment)
        assert (done.code, done.errors) == (0, told)
    assert not (here / "dbs").exists()
    lines = [json.loads(line) for line in audit_file.read_text(encoding="ascii").splitlines()]
    assert [line["event"] for line in lines] == ["import-nundb", "export", "import", "backup", "restore"]
    with snapshot(folder) as now:
        assert "$m=16," in dict(now.entries(now.databases()["new"]))["$$token"].text


def test_options_and_the_environment_take_precedence_over_it(here: Path, disk_folder: Path) -> None:
    settings, elsewhere = disk_folder / "pynun.env", make_folder(disk_folder / "elsewhere")
    settings.write_text(f"NUN_DBS_DIR={disk_folder / 'none'}\nNUN_AUDIT_FILE=/nowhere/audit.jsonl\n", encoding="utf-8")
    environment = {"NUN_ENV_FILE": str(settings)}
    by_option = run("backup", "1.backup", "--data-dir", str(elsewhere), cwd=str(here), environment=environment)
    assert (by_option.code, by_option.errors) == (0, "")
    environment["NUN_DBS_DIR"] = str(elsewhere)
    by_variable = run("backup", "2.backup", cwd=str(here), environment=environment)
    assert (by_variable.code, by_variable.errors) == (0, "")
    assert (elsewhere / "audit.jsonl").read_text(encoding="ascii").count('"backup"') == 2


def test_a_server_does_not_read_it(disk_folder: Path) -> None:
    settings = disk_folder / "pynun.env"
    settings.write_text("NUN_AUDIT_FILE=off\nNUN_LOG_FORMAT=json\nNUN_USER=another\n", encoding="utf-8")
    with Server(disk_folder / "dbs", environment={"NUN_ENV_FILE": str(settings)}) as server:
        assert "NUN_ENV_FILE" not in server.log_text()
        assert (server.data_dir / "audit.jsonl").exists()
