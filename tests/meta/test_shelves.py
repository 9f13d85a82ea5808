"""In folders that docs/architecture.md lists, each module or sub-folder imports only those of the rows below it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.meta.test_layers import REPOSITORY, imports_of


def rows_of(folder: str) -> list[list[str]]:
    """The names in the rows of a folder's table, without `.py` and `/`, the highest row first."""
    text = (REPOSITORY / "docs/architecture.md").read_text(encoding="utf-8")
    table = re.search(rf"^\| `{folder}/` \|.*\n\|[-|]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table is not None
    return [re.findall(r"`(\w+)(?:\.py|/)`", row.split("|")[1]) for row in table[1].splitlines()]


def upward(folder: str, rows: list[list[str]]) -> list[str]:
    """The imports that do not go down."""
    level = {name: place for place, names in enumerate(rows) for name in names}
    prefix = folder.replace("/", ".") + "."
    found = []
    for file in sorted((REPOSITORY / folder).rglob("*.py")):
        path = file.relative_to(REPOSITORY).as_posix()
        importer = Path(path.removeprefix(f"{folder}/")).parts[0].removesuffix(".py")
        for one in imports_of(file.read_text(encoding="utf-8"), path):
            if one.name.startswith(prefix):
                imported = one.name.removeprefix(prefix).split(".")[0]
                if imported != importer and level[imported] <= level[importer]:
                    found.append(str(one))
    return found


@pytest.mark.parametrize("folder", ["pynun/transports", "pynun/server"])
def test_imports_go_down_the_rows(folder: str) -> None:
    rows = rows_of(folder)
    there = {path.stem for path in (REPOSITORY / folder).iterdir() if path.suffix == ".py" or any(path.glob("*.py"))}
    assert sorted(name for names in rows for name in names) == sorted(there - {"__init__"})
    assert upward(folder, rows) == []


def test_an_import_that_goes_up_is_found() -> None:
    rows = rows_of("pynun/transports")
    assert upward("pynun/transports", rows[::-1])
