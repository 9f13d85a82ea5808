"""Collects from the source the lines that a person reads, and may have to act on: what is raised, logged, or said.

A message is found where it is made: the literal texts in a `raise` of an error that a person reads, in functions of
the same module that such a `raise` calls, in what is logged at any level, and behind `fail` and `warn` in a script.
Of an f-string, the parts between the braces are found.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING, NamedTuple

from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MODULES = (
    *("pynun/audit_file.py", "pynun/cluster_settings.py", "pynun/secret_file.py", "pynun/setting.py"),
    *("pynun/settings.py", "pynun/transports/input_budget.py"),
    *("pynun/cli", "pynun/cluster", "pynun/demo", "pynun/server", "pynun/storage"),
    *("pynun/commit", "pynun/backup", "pynun/transfer"),
)
SCRIPTS = ("scripts/environment.sh", "scripts/installer/install.sh", "scripts/installer/uninstall.sh")

FRAGMENT_CHARACTERS_MIN = 12
"""Shorter parts of a message (`; `, ` can't`) say nothing by themselves."""

_READ_BY_PEOPLE = frozenset(
    {
        "BackupError",
        "CommandError",
        "CredentialsMissingError",
        "DamageError",
        "NoConnectionError",
        "NoBackupError",
        "NotAuthenticatedError",
        "OwnershipLostError",
        "OutputError",
        "SettingsError",
        "StartError",
        "ViewError",
        "DamagedLogError",
        "ForeignLogError",
        "MissingLogError",
        "HeaderError",
        "TransferError",
        "UsageError",
    }
)
_LOGGED = frozenset({"error", "warning", "exception", "info", "debug"})


class Fragment(NamedTuple):
    """A literal part of a message."""

    place: str
    text: str


def fragments() -> list[Fragment]:
    """Return the parts of all messages."""
    found: list[Fragment] = []
    for name in MODULES:
        path = REPOSITORY / name
        for module in [path] if path.is_file() else sorted(path.rglob("*.py")):
            found += python_fragments(module.read_text(encoding="utf-8"), _place(module))
    for name in SCRIPTS:
        found += shell_fragments((REPOSITORY / name).read_text(encoding="utf-8"), name)
    return found


def python_fragments(source: str, place: str) -> list[Fragment]:
    """Return the parts of the messages of one module, in order and once each."""
    tree = ast.parse(source)
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    found: dict[tuple[int, str], None] = {}
    for node in ast.walk(tree):
        if _is_message(node):
            called = {
                part.func.id
                for part in ast.walk(node)
                if isinstance(part, ast.Call) and isinstance(part.func, ast.Name)
            }
            for part in [node, *(functions[name] for name in sorted(called & functions.keys()))]:
                found |= dict.fromkeys(_texts(part))
    return [Fragment(f"{place}:{line}", text) for line, text in found if len(text) >= FRAGMENT_CHARACTERS_MIN]


def shell_fragments(source: str, place: str) -> list[Fragment]:
    """Return the parts of what a script says with `fail` and `warn`."""
    return [
        Fragment(place, part.strip())
        for match in re.finditer(r'\b(?:fail|warn) "((?:\$\([^)]*\)|[^"])+)"', source)
        for part in re.split(r"\$\w+|\$\{[^}]*\}|\$\([^)]*\)", match[1])
        if len(part.strip()) >= FRAGMENT_CHARACTERS_MIN
    ]


def _is_message(node: ast.AST) -> bool:
    match node:
        case ast.Raise(exc=ast.Call(func=ast.Name(id=name))):
            return name in _READ_BY_PEOPLE
        case ast.Call(func=ast.Attribute(value=ast.Name(id="_log"), attr=name)):
            return name in _LOGGED
        case ast.Call(func=ast.Attribute(value=ast.Name(id="logs"), attr="announce")):
            return True
        case _:
            return False


def _texts(node: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of the literals below a node, without docstrings and what is no text for people."""
    docstrings = {
        id(part.body[0].value)
        for part in ast.walk(node)
        if isinstance(part, ast.FunctionDef) and isinstance(part.body[0], ast.Expr)
    }
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str) and id(part) not in docstrings:
            for piece in re.split(r"%[sdr]", part.value):
                if " " in piece.strip():
                    yield part.lineno, piece.strip()


def _place(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()
