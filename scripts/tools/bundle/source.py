"""The checkout that is bundled: its folder, its version, its time; and running a program that must succeed."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

REPOSITORY: Final = Path(__file__).resolve().parents[3]

PYTHONS: Final = ("3.11", "3.12", "3.13")
"""The versions of CPython that are supported."""

ARCHITECTURES: Final = ("x86_64", "aarch64")
"""As `uname -m` says them."""

_EARLIEST: Final = 315_532_800
"""1980-01-01, the earliest time that a zip file can hold."""


class BundleError(Exception):
    """It can't be made; one line that says why."""


def version() -> str:
    """The version, read from the source text."""
    tree = ast.parse((REPOSITORY / "pynun" / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id="__version__")], value=ast.Constant(value=str(text))):
                return text
    raise BundleError("pynun/__init__.py says no __version__")


def source_seconds() -> int:
    """The time of the newest commit (seconds since 1970): what is made twice of one source is the same twice."""
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return int(given)
    try:
        told = subprocess.run(
            ["git", "-C", REPOSITORY, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=True
        )
        return int(told.stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return _EARLIEST


def run(command: Sequence[str | Path], what: str, *, environment: Mapping[str, str] | None = None) -> None:
    """Run a program to its end. Raises BundleError with the last lines that it printed if it fails."""
    done = subprocess.run(
        command,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode != 0:
        raise BundleError(f"{what} failed:\n" + "\n".join(done.stdout.splitlines()[-15:]))


def say(text: str) -> None:
    """Print what is being done."""
    print(text, file=sys.stderr, flush=True)
