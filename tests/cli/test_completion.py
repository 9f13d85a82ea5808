"""Completions of the shells and manual pages: all from the commands themselves."""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pynun.cli.app import CommandLine
from pynun.cli.lazy_commands import COMPLETION_VARIABLE
from tests.cli.command import run
from tools.clients.server import REPOSITORY, clean_environment
from tools.docs import man_pages

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


def _asks(shell: str, words: str) -> dict[str, str]:
    """The environment in which a shell's script asks what the last of these words can become."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)} if shell == "bash" else {}
    return {COMPLETION_VARIABLE: f"complete_{shell}", "_TYPER_COMPLETE_ARGS": words, **asked}


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("nun-db imp", "import import-nundb"),
        ("nun-db databases s", "size"),
        ("nun-db start --data", "--data-dir"),
        ("nun-db --pwd", "--pwd --pwd-file"),
        ("nun-db exec x", ""),
    ],
)
def test_words_are_completed(words: str, found: str) -> None:
    assert run(environment=_asks("bash", words)) == (0, "\n".join(found.split()) + "\n", "")


def test_other_shells_show_what_a_command_does() -> None:
    fish = {**_asks("fish", "nun-db verif"), "_TYPER_COMPLETE_FISH_ACTION": "get-args"}
    help_text = "Check a backup: its checksum, its pages and every entry; show what is in it."
    assert run(environment=fish).output == f"verify\t{help_text}\n"
    assert help_text.replace(":", "\\\\:") in run(environment=_asks("zsh", "nun-db verif")).output


@pytest.mark.parametrize(
    ("environment", "loaded"),
    [
        (_asks("bash", "nun-db "), []),
        (_asks("bash", "nun-db databases "), ["pynun.cli.commands.databases"]),
        (_asks("zsh", "nun-db verif"), ["pynun.cli.commands.backup"]),
    ],
)
def test_completion_loads_only_what_it_needs(environment: Mapping[str, str], loaded: list[str]) -> None:
    code = "import sys; from pynun.cli.main import main\ntry: main()\nfinally: print(*sys.modules, file=sys.stderr)"
    process = subprocess.run(
        [sys.executable, "-c", code],
        env=clean_environment(environment),
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    modules = process.stderr.split()
    assert "rich" not in modules
    assert [name for name in modules if name.startswith("pynun.cli.commands.")] == loaded


def test_a_person_installs_the_completion_of_the_shell_in_use(tmp_path: Path) -> None:
    subprocess.run(
        ["bash", "-c", f"{sys.executable} -P -m pynun --install-completion; exit $?"],
        env=clean_environment({"HOME": str(tmp_path)}),
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        timeout=60,
        check=True,
    )
    assert f"{tmp_path}/.bash_completions/nun-db.sh" in (tmp_path / ".bashrc").read_text()
    assert "-F _nun_db_completion nun-db" in (tmp_path / ".bash_completions" / "nun-db.sh").read_text()


def test_each_command_has_a_manual_page() -> None:
    pages = man_pages.pages()
    assert pages.keys() == {"nun-db.1", *(f"nun-db-{name}.1" for name in CommandLine.modules)}
    assert "\\fB" not in "".join(pages.values())
    assert ".B \\-\\-data\\-dir FOLDER\nThe data folder;" in pages["nun-db-start.1"]
    assert ".B nun\\-db databases size\n[OPTIONS] [DATABASE]\n" in pages["nun-db-databases.1"]
    assert "\n.SH EXIT CODES\n" in pages["nun-db.1"]
    assert "\n.SH AUDIT TRAIL\n.PP\nthe file audit.jsonl " in pages["nun-db.1"]
    if shutil.which("groff") is not None:
        printed = subprocess.run(
            ["groff", "-man", "-ww", "-Tutf8"],
            input="".join(pages.values()),
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert printed.stderr == ""


def test_the_scripts_for_shells_go_where_these_look(tmp_path: Path) -> None:
    man_pages.write(tmp_path)
    completions = {path: (tmp_path / path).read_text() for path in man_pages.COMPLETIONS.values()}
    assert "complete -o default -F _nun_db_completion nun-db" in completions["share/bash-completion/completions/nun-db"]
    assert completions["share/zsh/site-functions/_nun-db"].startswith("#compdef nun-db\n")
    assert "complete --command nun-db" in completions["share/fish/vendor_completions.d/nun-db.fish"]
    for script in completions.values():
        assert COMPLETION_VARIABLE in script
