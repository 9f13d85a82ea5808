"""docs/dependencies.md names exactly what is installed, in the versions that are locked, with the stated licences."""

from __future__ import annotations

import hashlib
import importlib.metadata
import re
import tomllib

import pytest
from packaging.requirements import Requirement

from tools.clients.server import REPOSITORY
from tools.docs import dependency_sizes

PAGE = (REPOSITORY / "docs" / "dependencies.md").read_text(encoding="utf-8")


def normalised(name: str) -> str:
    """Return the name as package indexes and lock files compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked() -> dict[str, str]:
    lines = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8").splitlines()
    return dict(line.removesuffix(" \\").split("==") for line in lines if "==" in line and line[0] not in " #")


def rows(heading: str) -> dict[str, list[str]]:
    """Return the cells behind the name of each row below a heading."""
    section = re.search(rf"^## {heading}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    assert section is not None, heading
    cells = [line.strip("| ").split(" | ") for line in section[1].splitlines() if line.startswith("| ")][1:]
    return {normalised(first): rest for first, *rest in cells}


def project() -> dict[str, list[str]]:
    """Return the names of the packages that pyproject.toml asks for: to run, for development, to fuzz."""
    table = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return {
        "run": [normalised(Requirement(text).name) for text in table["dependencies"]],
        "dev": [normalised(Requirement(text).name) for text in table["optional-dependencies"]["dev"]],
        "fuzz": [normalised(Requirement(text).name) for text in table["optional-dependencies"]["fuzz"]],
    }


def test_the_page_names_what_is_locked_in_its_version() -> None:
    asked, brought = rows("Direct dependencies"), rows("Indirect dependencies")
    assert not asked.keys() & brought.keys()
    assert {name: cells[0] for name, cells in (asked | brought).items()} == {
        normalised(name): version for name, version in locked().items()
    }
    assert sorted(asked) == sorted(project()["run"])


def test_the_page_names_the_tools_for_development() -> None:
    assert sorted(rows("For development only")) == sorted(project()["dev"] + project()["fuzz"])


def test_the_licences_are_those_that_the_packages_state() -> None:
    for name, cells in (rows("Direct dependencies") | rows("Indirect dependencies")).items():
        assert cells[1] == dependency_sizes.licence(importlib.metadata.distribution(name)), name


def test_the_sum_is_that_of_the_rows() -> None:
    every = rows("Direct dependencies") | rows("Indirect dependencies")
    match = re.search(r"All together: (\d+) packages, (\d+) MB", PAGE)
    assert match is not None
    assert int(match[1]) == len(every)
    assert int(match[2]) == round(sum(float(cells[2]) for cells in every.values()))


def test_who_brings_a_package_is_what_the_lock_says() -> None:
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    for name, cells in rows("Indirect dependencies").items():
        entry = re.search(rf"^{re.escape(name)}==.*?(?=^\S|\Z)", lock, re.DOTALL | re.MULTILINE)
        assert entry is not None, name
        comments = re.findall(r"^ +# +(?:via )?([\w-]+)$", entry[0], re.MULTILINE)
        via = {found for found in comments if found not in ("via",)}
        assert {normalised(part) for part in cells[3].split(", ")} == via, name


def test_sizes_and_licences_can_be_measured() -> None:
    found = importlib.metadata.distribution("trio")
    assert dependency_sizes.licence(found) == "MIT OR Apache-2.0"
    assert 1e6 < dependency_sizes.size_bytes(found) < 1e8


def test_the_copied_library_is_the_published_one() -> None:
    digest = hashlib.sha256((REPOSITORY / "pynun/demo/static/uqr.mjs").read_bytes()).hexdigest()
    assert f"`{digest}`" in PAGE
    assert "MIT License" in (REPOSITORY / "pynun/demo/static/uqr.LICENSE").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "licence"), [("lit-html.js", "BSD 3-Clause"), ("uPlot.js", "MIT License"), ("uPlot.css", "")]
)
def test_the_consoles_libraries_are_the_published_ones(name: str, licence: str) -> None:
    folder = REPOSITORY / "pynun/server/console/static"
    assert f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" in PAGE
    if licence:
        assert licence in (folder / f"{name.removesuffix('.js')}.LICENSE").read_text(encoding="utf-8")
