"""Who may import whom: reads the imports of the source, and says which line breaks the order or closes a circle."""

from __future__ import annotations

import ast
import functools
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

REPOSITORY = Path(__file__).parents[2]

LAYERS = (
    ("ohif", "protocol"),
    ("engine",),
    ("storage",),
    ("backup", "commit", "transfer"),
    ("transports",),
    ("cluster",),
    ("server",),
    ("demo",),
    ("cli",),
)
"""Lowest first. Each may import those of the rows before it; `demo` is a server with something to look at."""

LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}

BELOW_ALL = {
    *("administrator_settings", "audit_file", "certificate_authority", "cluster_settings", "errors", "folders"),
    *("histogram", "limits", "original_settings"),
    *("secret_file", "setting", "setting_values", "settings", "stop_signals", "timestamps", "unix_socket"),
}
"""Modules that every layer may import, and that import no layer; `pynun` itself is only its version."""

CLIENT_OF = {"__init__", "demo", "cli"}
"""The client is beside the layers: it knows no layer above the protocol, and only these know it."""

ONLY_IN = {
    "asyncio": ("pynun/client/asyncio_client.py",),
    "argon2": ("pynun/server/login/passwords.py",),
    "lmdb": ("pynun/storage/", "pynun/backup/"),
    "typer": ("pynun/cli/",),
    "trio": (
        *("pynun/commit/", "pynun/transports/", "pynun/cluster/", "pynun/server/"),
        *("pynun/cli/", "pynun/client/", "pynun/demo/"),
    ),
    "trio_websocket": ("pynun/transports/", "pynun/client/"),
    "prometheus_client": ("pynun/server/", "pynun/cli/"),
    "prompt_toolkit": ("pynun/cli/",),
    "httptools": ("pynun/transports/", "pynun/cluster/etcd/"),
}
"""Packages that only some parts know."""

NOWHERE = {"wsproto", "_cffi_backend"}


class Import(NamedTuple):
    """One name that one line imports."""

    path: str
    line: int
    name: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line} imports {self.name}"


def imports_of(source: str, path: str) -> list[Import]:
    """Every import of a module, also those within functions and for types only."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found += [Import(path, node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}:{node.lineno}: import by the full name"
            module = node.module or ""
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "pynun" else [module]
            found += [Import(path, node.lineno, name) for name in names]
    return found


def part_of(name: str) -> str:
    """The layer or module that a name of ours belongs to: `pynun.engine.overlay` is of `engine`."""
    return name.split(".")[1] if "." in name else ""


def is_allowed(importer: str, imported: str) -> bool:
    """Whether the part `importer` may import the part `imported`."""
    if importer == imported or not imported or imported.startswith("__"):
        return True
    if imported in BELOW_ALL:
        return True
    if imported == "client":
        return importer in CLIENT_OF
    if importer == "client":
        return imported == "protocol"
    if importer == "__main__":
        return imported == "cli"
    return importer in LEVEL and imported in LEVEL and LEVEL[imported] < LEVEL[importer]


def complaints(found: list[Import]) -> list[str]:
    """The lines that break the order, with why."""
    broken = []
    for one in found:
        importer = part_of(one.path.removesuffix(".py").replace("/", "."))
        top = one.name.split(".")[0]
        if top == "pynun" and not is_allowed(importer, part_of(one.name)):
            broken.append(f"{one}: {importer} may not know {part_of(one.name)}")
        elif top in ONLY_IN and not one.path.startswith(ONLY_IN[top]):
            broken.append(f"{one}: only {', '.join(ONLY_IN[top])} may")
        elif top in NOWHERE:
            broken.append(f"{one}: nothing here may")
    return broken


def all_imports(folder: str) -> list[Import]:
    """Every import of the Python files in a folder."""
    found = []
    for file in sorted((REPOSITORY / folder).rglob("*.py")):
        path = file.relative_to(REPOSITORY).as_posix()
        found += imports_of(file.read_text(encoding="utf-8"), path)
    return found


def test_no_import_breaks_the_order_of_the_layers() -> None:
    found = all_imports("pynun")
    assert len(found) > 100
    assert complaints(found) == []


def test_no_script_knows_a_test() -> None:
    found = all_imports("scripts")
    assert any(one.name.startswith("tools.") for one in found)
    assert [str(one) for one in found if one.name.split(".")[0] == "tests"] == []


def test_every_part_has_its_place() -> None:
    parts = {file.relative_to(REPOSITORY / "pynun").parts[0] for file in (REPOSITORY / "pynun").rglob("*.py")}
    known = {*LEVEL, "client"} | {f"{name}.py" for name in (*BELOW_ALL, "__init__", "__main__")}
    assert parts - known == set(), "say in this test which layer it belongs to"


@pytest.mark.parametrize(
    ("path", "source", "complaint"),
    [
        ("pynun/engine/x.py", "from pynun.storage.schema import FORMAT", "engine may not know storage"),
        ("pynun/protocol/x.py", "import pynun.engine", "protocol may not know engine"),
        ("pynun/storage/x.py", "def f():\n    from pynun.server import app", "x.py:2 imports pynun.server"),
        ("pynun/transports/x.py", "from pynun import server", "transports may not know server"),
        ("pynun/limits.py", "from pynun.engine import overlay", "limits may not know engine"),
        ("pynun/server/x.py", "from pynun.client import Client", "server may not know client"),
        ("pynun/client/x.py", "from pynun.engine import engine", "client may not know engine"),
        ("pynun/server/x.py", "from pynun.cli import main", "server may not know cli"),
        ("pynun/storage/x.py", "import trio.lowlevel", "only pynun/commit/"),
        ("pynun/backup/x.py", "from pynun.transfer import jsonl", "backup may not know transfer"),
        ("pynun/transfer/x.py", "import lmdb", "only pynun/storage/, pynun/backup/ may"),
        ("pynun/server/app.py", "import argon2", "only pynun/server/login/passwords.py may"),
        ("pynun/transports/x.py", "if TYPE_CHECKING:\n    import lmdb", "only pynun/storage/, pynun/backup/ may"),
        ("pynun/cli/x.py", "import asyncio", "only pynun/client/asyncio_client.py may"),
    ],
)
def test_a_line_that_breaks_it_is_named(path: str, source: str, complaint: str) -> None:
    (told,) = complaints(imports_of(source, path))
    assert complaint in told
    assert told.startswith(path)


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("pynun/engine/x.py", "from pynun.protocol import messages\nfrom pynun import limits"),
        ("pynun/cli/x.py", "from pynun.server import app\nfrom pynun.client import Client\nimport typer, trio"),
        ("pynun/server/login/passwords.py", "import argon2, trio\nfrom pynun.engine.effects import Need"),
        (
            "pynun/storage/x.py",
            "import lmdb\nfrom pynun.engine.overlay import Entry\nfrom pynun.errors import StartError",
        ),
    ],
)
def test_a_line_that_keeps_it_is_not(path: str, source: str) -> None:
    assert complaints(imports_of(source, path)) == []


# --- within the folders: no cycle, and the order of docs/architecture.md -------------------------------------------


def modules_of(sources: dict[str, str]) -> dict[str, set[str]]:
    """For each module the modules that it imports, for types and within functions too."""
    known = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources}
    found = {}
    for module, path in known.items():
        names = set()
        for node in ast.walk(ast.parse(sources[path])):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                longer = {f"{node.module}.{alias.name}" for alias in node.names}
                names |= (longer & known.keys()) or {node.module}
        found[module] = (names & known.keys()) - {module}
    return found


def cycle_of(graph: dict[str, set[str]]) -> list[str]:
    """The modules of one cycle, the first again at the end; [] if there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


@functools.cache
def all_modules() -> dict[str, set[str]]:
    """Every module of the package with those that it imports."""
    files = sorted((REPOSITORY / "pynun").rglob("*.py"))
    return modules_of({file.relative_to(REPOSITORY).as_posix(): file.read_text(encoding="utf-8") for file in files})


def rows_of(page: str) -> dict[str, list[list[str]]]:
    """For each folder that has a table of its own, the names in the rows, the uppermost first."""
    tables = re.findall(r"^\| `pynun/([\w/]+)/` \| what it is \|\n\|[-|]+\|\n((?:\|.*\n)+)", page, re.MULTILINE)
    return {folder: [re.findall(r"`(\w+)", row.split("|")[1]) for row in rows.splitlines()] for folder, rows in tables}


def upward(folder: str, rows: list[list[str]], graph: dict[str, set[str]]) -> list[str]:
    """The imports within a folder that go up or stay in a row, and the modules that no row names."""
    package = f"pynun.{folder.replace('/', '.')}."
    level = {name: -number for number, names in enumerate(rows) for name in names}
    wrong = []
    for module, imported in graph.items():
        if not module.startswith(package):
            continue
        name = module.removeprefix(package).split(".")[0]
        if name not in level:
            wrong.append(f"{module} is in no row")
            continue
        inside = {other: other.removeprefix(package).split(".")[0] for other in imported if other.startswith(package)}
        wrong += [
            f"{module} imports {other}"
            for other, its_name in inside.items()
            if its_name != name and level.get(its_name, 1) >= level[name]
        ]
    return sorted(wrong)


def crowded_folders() -> list[str]:
    """The folders in which a reader needs an order: those with more than eight modules and sub-folders."""
    folders = [folder for folder in (REPOSITORY / "pynun").rglob("*") if folder.is_dir()]
    sizes = {folder: len([*folder.glob("[!_]*.py"), *folder.glob("*/__init__.py")]) for folder in folders}
    return sorted(folder.relative_to(REPOSITORY / "pynun").as_posix() for folder in folders if sizes[folder] > 8)


def test_no_imports_go_in_a_circle() -> None:
    assert cycle_of(all_modules()) == []


@pytest.mark.parametrize("folder", crowded_folders())
def test_a_folder_keeps_the_order_that_the_architecture_shows(folder: str) -> None:
    rows = rows_of((REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8"))
    assert folder in rows, "give this folder a table there"
    there = {path.stem for path in (REPOSITORY / "pynun" / folder).iterdir()}
    assert [name for names in rows[folder] for name in names if name not in there] == [], "it is gone"
    assert upward(folder, rows[folder], all_modules()) == []


def test_a_cycle_is_found_also_of_types() -> None:
    graph = modules_of(
        {
            "pynun/a.py": "if TYPE_CHECKING:\n    from pynun.b import B",
            "pynun/b.py": "def f():\n    from pynun import c",
            "pynun/c.py": "import pynun.a",
            "pynun/__init__.py": "",
        }
    )
    assert sorted(set(cycle_of(graph))) == ["pynun.a", "pynun.b", "pynun.c"]


def test_an_import_that_goes_up_is_found() -> None:
    tables = rows_of("| `pynun/x/y/` | what it is |\n|---|---|\n| `a.py`, `s/` | one |\n| `b.py` | two |\n")
    graph = {
        "pynun.x.y.a": {"pynun.x.y.b"},
        "pynun.x.y.b": {"pynun.x.y.s.t"},
        "pynun.x.y.s.t": set(),
        "pynun.x.y.c": set(),
    }
    assert upward("x/y", tables["x/y"], graph) == ["pynun.x.y.b imports pynun.x.y.s.t", "pynun.x.y.c is in no row"]
