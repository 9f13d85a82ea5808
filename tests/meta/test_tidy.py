"""The source itself, beyond what ruff asks for: modules say what they are for, in files of a size that can be read."""

from __future__ import annotations

import ast

from hypothesis import settings

from tools.clients.server import REPOSITORY

LINES_MAX = 450
"""Longer files hold more than one thing."""

SOURCES = {
    file.relative_to(REPOSITORY).as_posix(): file.read_text(encoding="utf-8")
    for file in sorted((REPOSITORY / "pynun").rglob("*.py"))
}


def test_every_module_says_what_it_is_for() -> None:
    assert len(SOURCES) > 100
    said = {path: (ast.get_docstring(ast.parse(source)) or "").split("\n")[0] for path, source in SOURCES.items()}
    assert [path for path, line in said.items() if len(line) <= 15] == [], "say it in a sentence"


def test_no_file_is_too_long_to_be_read() -> None:
    lengths = {path: source.count("\n") for path, source in SOURCES.items()}
    assert {path: length for path, length in lengths.items() if length > LINES_MAX} == {}


def test_no_property_has_a_time_limit_for_an_example() -> None:
    """What is slow once, because the machine was busy, is no failure (tests/properties/effort.py)."""
    assert settings.default is not None
    assert settings.default.deadline is None
