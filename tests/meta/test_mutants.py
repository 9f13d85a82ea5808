"""The faults of scripts/mutants fit the source, and it tells those that are found from those that are not."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tools.mutants import REPOSITORY, Mutant, files_of, places, read_mutants, read_sources, try_out

if TYPE_CHECKING:
    from pathlib import Path

MUTANTS = read_mutants()


def test_every_row_fits_the_source() -> None:
    sources, wrong = read_sources(REPOSITORY), {}
    for mutant in MUTANTS:
        found = places(sources, mutant)
        if len(found) == 1:
            ast.parse(sources[found[0]].replace(mutant.old, mutant.new))
        else:
            wrong[mutant.name] = [str(path) for path in found]
    assert wrong == {}, "text that stands there exactly once is wanted"


def test_every_row_names_tests() -> None:
    assert all(files_of(REPOSITORY, mutant) for mutant in MUTANTS)


def test_names_are_used_once() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)


@pytest.mark.parametrize(
    ("old", "new", "outcome"),
    [
        ("a < b", "a > b", "found"),
        ("a < b", "b > a", "SURVIVED"),
        ("a < b", "a <", "NO TEST RAN (exit code 2 of pytest)"),
        ("a == b", "a > b", "text not found"),
        ("f", "g", "text found 2 times"),
    ],
)
def test_what_becomes_of_a_fault_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: str, new: str, outcome: str
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")  # they take longer to load than all else
    source = "def f(a, b):\n    return a < b\n"
    (tmp_path / "pynun").mkdir()
    (tmp_path / "pynun" / "__init__.py").touch()
    (tmp_path / "tests").mkdir()
    module = tmp_path / "pynun" / "one.py"
    module.write_text(source)
    (tmp_path / "tests" / "test_one.py").write_text(
        "from pynun.one import f\n\n\ndef test_it():\n    assert f(1, 2)\n    assert not f(2, 2)\n"
    )
    assert try_out(tmp_path, Mutant("one", old, new, ["test_one.py"])) == outcome
    assert module.read_text() == source
