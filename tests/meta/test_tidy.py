"""The source itself: documented, finished, and in files of a size that can be read."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from hypothesis import settings

REPOSITORY = Path(__file__).parents[2]
LINES_MAX = 450
"""Longer files hold more than one thing."""

_UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


def files(*folders: str) -> list[Path]:
    """The Python files of some folders, those of others' packages left out."""
    found = [
        file
        for folder in folders
        for file in sorted((REPOSITORY / folder).rglob("*.py"))
        if "node_modules" not in file.parts
    ]
    assert found
    return found


def undocumented(source: str) -> list[str]:
    """What a module ought to say of itself and doesn't: itself, its public classes and their purpose."""
    tree = ast.parse(source)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    return [
        *([] if ast.get_docstring(tree) else ["the module"]),
        *(f"class {node.name} (line {node.lineno})" for node in classes if not ast.get_docstring(node)),
    ]


def first_line_characters(source: str) -> int:
    """The length of the first line of a module's docstring."""
    return len((ast.get_docstring(ast.parse(source)) or "").split("\n")[0])


def test_every_module_says_what_it_is_for() -> None:
    sources = {file.relative_to(REPOSITORY).as_posix(): file.read_text(encoding="utf-8") for file in files("pynun")}
    assert {path: missing for path, source in sources.items() if (missing := undocumented(source))} == {}
    short = [path for path, source in sources.items() if first_line_characters(source) <= 15]
    assert short == [], "say it in a sentence"


def test_no_property_has_a_time_limit_for_an_example() -> None:
    """What is slow once, because the machine was busy, is no failure (tests/properties/effort.py)."""
    assert settings.default is not None
    assert settings.default.deadline is None


def test_the_tests_say_what_they_are_for_too() -> None:
    missing = {
        file.relative_to(REPOSITORY).as_posix(): undocumented(file.read_text(encoding="utf-8"))[:1]
        for file in files("tests", "scripts")
        if file.read_text(encoding="utf-8")
    }
    assert {path: what for path, what in missing.items() if what == ["the module"]} == {}


def test_nothing_is_left_for_later() -> None:
    this_file = Path(__file__).resolve()
    left = [
        f"{file.relative_to(REPOSITORY).as_posix()}:{number}"
        for file in files("pynun", "tests", "scripts")
        if file.resolve() != this_file
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if _UNFINISHED.search(line)
    ]
    assert left == []


def test_no_file_is_too_long_to_be_read() -> None:
    lengths = {
        file.relative_to(REPOSITORY).as_posix(): len(file.read_text(encoding="utf-8").splitlines())
        for file in files("pynun")
    }
    assert {path: length for path, length in lengths.items() if length > LINES_MAX} == {}


@pytest.mark.parametrize(
    ("source", "missing"),
    [
        ('"""What it is."""\n', []),
        ("x = 1\n", ["the module"]),
        ('"""What it is."""\nclass Public:\n    x = 1\n', ["class Public (line 2)"]),
        ('"""What it is."""\nclass _Private:\n    x = 1\n', []),
    ],
)
def test_what_is_missing_is_named(source: str, missing: list[str]) -> None:
    assert undocumented(source) == missing


def test_a_mark_of_the_unfinished_is_seen() -> None:
    assert _UNFINISHED.search("x = 1  # " + "TODO: y")
    assert not _UNFINISHED.search("AUTODOC HACKNEY")
