"""Tables are whole: an empty line within one ends it, and what follows is shown as text with bars."""

from __future__ import annotations

import re

from tests.docs.blocks import documents, name, prose

_HEAD_ENDS = re.compile(r"\|(?: *:?-+:? *\|)+")


def headless_rows(text: str) -> list[str]:
    """Return the first rows of what looks like a table, where no line of dashes comes second."""
    lines = ["", *text.split("\n"), ""]
    return [
        line
        for before, line, after in zip(lines, lines[1:], lines[2:], strict=False)
        if line.startswith("|") and not before.startswith("|") and not _HEAD_ENDS.fullmatch(after.strip())
    ]


def test_tables_are_whole() -> None:
    assert {name(document): rows for document in documents() if (rows := headless_rows(prose(document)))} == {}


def test_a_table_that_is_cut_is_found() -> None:
    table = "| a | b |\n|---|---|\n| 1 | 2 |\n"
    assert headless_rows(table) == []
    assert headless_rows(table + "\n| 3 | 4 |\n") == ["| 3 | 4 |"]
