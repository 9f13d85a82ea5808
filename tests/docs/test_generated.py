"""The reference pages are what the code says, and complete."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from pynun import limits
from pynun.engine.commands.table import COMMANDS
from pynun.settings import SETTINGS, load
from tests.docs.blocks import blocks
from tools.clients.server import REPOSITORY
from tools.docs import reference

if TYPE_CHECKING:
    from pathlib import Path

DOCS = REPOSITORY / "docs"


def read(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_no_page_is_stale() -> None:
    assert reference.stale_pages(DOCS) == [], "run scripts/tools/docs/reference.py"


def test_a_stale_page_is_noticed(tmp_path: Path) -> None:
    for name in reference.PAGES:
        (tmp_path / name).write_text(read(name).replace("\n<!-- end -->", "| one | more |\n\n<!-- end -->", 1))
    assert reference.stale_pages(tmp_path) == list(reference.PAGES)


def test_no_generated_block_is_left_out() -> None:
    found = [block for name in reference.PAGES for block in re.findall(r"<!-- generated: (\S+)", read(name))]
    assert set(found) == set(reference.BLOCKS)
    assert sum(read(name).count("<!-- end -->") for name in reference.PAGES) == len(found)


def test_every_command_has_a_section_that_names_its_aliases() -> None:
    sections = dict(re.findall(r"^## (\S+)\n(.*?)(?=^## |\Z)", read("commands.md"), re.DOTALL | re.MULTILINE))
    assert list(sections) == [command.name for command in COMMANDS]
    for command in COMMANDS:
        text = sections[command.name]
        assert f"```text\n{command.usage}\n```" in text
        assert command.help in text
        for alias in command.aliases:
            assert f"`{alias}`" in text


def test_every_command_is_in_the_statement_of_the_protocol() -> None:
    protocol = read("protocol.md")
    for command in COMMANDS:
        for name in (command.name, *command.aliases):
            assert re.search(rf"`{re.escape(name)}[ `]", protocol), name


def test_every_deliberate_difference_of_a_command_is_on_the_page_of_differences() -> None:
    page = read("differences.md")
    for command in COMMANDS:
        assert (f"[`{command.name}`](commands.md#{command.name})" in page) == bool(command.differs), command.name


def test_every_setting_is_in_the_reference_with_its_option() -> None:
    with_effect, without_effect = read("configuration.md").split("## Settings without effect")
    for setting in SETTINGS:
        page = with_effect if setting.effect else without_effect
        rows = re.findall(rf"^\| `{setting.name}` \|.*$", page, re.MULTILINE)
        assert len(rows) == 1, setting.name
        assert f"`{setting.default}`" in rows[0] if setting.default else "| none |" in rows[0]
        for option in setting.option.split("/"):
            assert option in rows[0]


@pytest.mark.parametrize("variable", ["NUN_TOKEN", "NUN_DBS_DIR"])
def test_every_command_that_reads_a_variable_is_in_its_row(variable: str) -> None:
    rest = read("configuration.md").partition("## Variables of the other commands")[2]
    (row,) = re.findall(rf"^\| `{variable}`.*", rest, re.MULTILINE)
    sections = re.findall(r"^## nun-db ([^\n]+)\n(.*?)(?=^## |\Z)", read("cli.md"), re.DOTALL | re.MULTILINE)
    readers = [command for command, text in sections if variable in text and command != "start"]
    assert len(readers) >= 5
    assert [command for command in readers if f"`{command}`" not in row] == []


def test_every_command_that_the_original_has_not_is_on_the_page_of_differences() -> None:
    commands = set(re.findall(r"^## nun-db (\S+)", read("cli.md"), re.MULTILINE))
    assert len(commands) > 15
    page = read("differences.md").partition("## The nun-db command")[2]
    assert [command for command in sorted(commands) if f"`{command}`" not in page and command != "start"] == []


def test_every_bound_is_in_the_reference() -> None:
    page = read("configuration.md")
    for name in vars(limits):
        if name.isupper():
            assert re.search(rf"^\| `{name}` \| \S[^|]* \| \S[^|]* \|$", page, re.MULTILINE), name


def test_the_example_configuration_sets_every_setting_and_is_accepted() -> None:
    example = next(block for block in blocks(DOCS / "configuration.md") if block.text.startswith("NUN_USER="))
    environment = dict(line.split("=", 1) for line in example.text.splitlines())
    assert environment.keys() == {setting.name for setting in SETTINGS if setting.effect}
    assert all(environment.values())
    settings = load(environment, {})
    for setting in SETTINGS:
        if setting.effect:
            expected = setting.parse(environment[setting.name])
            assert getattr(settings, setting.field) == expected, setting.name


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("set-safe", ["must be followed by a version", "must be followed by a key", "must contain a key"]),
        ("get", ["get must contain a key"]),
        ("unwatch-all", []),
    ],
)
def test_refusals_of_missing_arguments_are_found_by_trying(name: str, expected: list[str]) -> None:
    command = next(command for command in COMMANDS if command.name == name)
    found = reference.refusals_of_arguments(command)
    assert len(found) == len(expected)
    assert all(part in text for part, text in zip(expected, found, strict=True))
