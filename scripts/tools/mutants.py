"""Faults that the tests must find: each is put into a copy of the checkout, and the tests that it names must fail.

`mutants.toml` has the faults, a row each. A row's `old` stands exactly once in all of pynun/; `new` takes its place.
`tests` are the ends of paths below tests/, so that a row survives most moves. The exit code is 1 unless all are found.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping

REPOSITORY: Final = Path(__file__).resolve().parents[2]

_LEFT_OUT: Final = shutil.ignore_patterns(".git", ".venv", "build", "node_modules", ".*_cache", ".hypothesis")
_PYTEST: Final = ("-P", "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider")
_TESTS_FAILED: Final = 1
"""Exit code of pytest. Others mean that no test ran: a fault that keeps pynun from being imported shows nothing."""


class Mutant(NamedTuple):
    """A fault, and the tests that find it."""

    name: str
    old: str
    new: str
    tests: list[str]


def read_mutants() -> list[Mutant]:
    """All rows."""
    text = Path(__file__).with_suffix(".toml").read_text(encoding="utf-8")
    return [Mutant(**row) for row in tomllib.loads(text)["mutants"]]


def read_sources(root: Path) -> dict[Path, str]:
    """The files of pynun/ and their text."""
    return {path: path.read_text(encoding="utf-8") for path in sorted((root / "pynun").rglob("*.py"))}


def places(sources: Mapping[Path, str], mutant: Mutant) -> list[Path]:
    """The files that hold the fault's text, each as often as it does."""
    return [path for path, text in sources.items() for _ in range(text.count(mutant.old))]


def files_of(root: Path, mutant: Mutant) -> list[Path]:
    """The files of tests that a row names. Raises ValueError if there is none of a name."""
    found: set[Path] = set()
    for end in mutant.tests:
        if not (files := {file for file in _test_files(root) if file.as_posix().endswith(f"/{end}")}):
            raise ValueError(f"{mutant.name}: no file of tests is named {end}")
        found |= files
    return sorted(found)


@functools.cache
def _test_files(root: Path) -> list[Path]:
    return list((root / "tests").rglob("test_*.py"))


def try_out(root: Path, mutant: Mutant) -> str:
    """What becomes of a fault in the copy at `root`, which is afterwards as it was."""
    sources = read_sources(root)
    found = places(sources, mutant)
    if len(found) != 1:
        return f"text found {len(found)} times" if found else "text not found"
    path, text = found[0], sources[found[0]]
    command = [sys.executable, *_PYTEST, *map(str, files_of(root, mutant))]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    nothing = subprocess.DEVNULL
    path.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
    try:
        code = subprocess.run(command, cwd=root, env=environment, stdin=nothing, stdout=nothing, check=False).returncode
    finally:
        path.write_text(text, encoding="utf-8")
    return {0: "SURVIVED", _TESTS_FAILED: "found"}.get(code, f"NO TEST RAN (exit code {code} of pytest)")


def main(names: list[str]) -> int:
    """Try the faults of these names, or all; the exit code."""
    mutants = read_mutants()
    if unknown := set(names) - {mutant.name for mutant in mutants}:
        print(f"scripts/mutants: there is no mutant {', '.join(sorted(unknown))}", file=sys.stderr)
        return 2
    missed = 0
    with tempfile.TemporaryDirectory(prefix="pynun-mutants-") as folder:
        root = Path(folder) / "checkout"
        shutil.copytree(REPOSITORY, root, ignore=_LEFT_OUT, symlinks=True)
        for mutant in mutants:
            if not names or mutant.name in names:
                began = time.monotonic()
                outcome = try_out(root, mutant)
                missed += outcome != "found"
                print(f"{outcome:10} {mutant.name} ({time.monotonic() - began:.0f} s)", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
