"""Builds the checker (Go, with Porcupine from the Go module proxy) once, and asks it whether a history could have been.

Without Go, or without the way to the module, `find_checker` says why; what was built is kept in the cache folder of the
user, under a name that follows from its sources.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.linearizability.histories import Operation

SOURCES = Path(__file__).parent / "checker"
BUILD_SECONDS_MAX = 120.0
CHECK_SECONDS_MAX = 40.0

_EXIT_CODES = {0: True, 1: False}


class MissingCheckerError(Exception):
    """The checker can't be had here; the text says why."""


class Verdict(NamedTuple):
    """What the checker says of a history."""

    is_linearizable: bool
    operations: int
    unknown: int
    """Operations without an answer."""
    keys: int
    page: Path | None
    """Shows the history and where it fails, if it is not linearizable."""


@functools.cache
def find_checker() -> Path:
    """The checker's program, built if need be. Raises MissingCheckerError."""
    go = shutil.which("go")
    if go is None:
        raise MissingCheckerError("Go is not installed (apt-get install golang-go)")
    sources = sorted(file for file in SOURCES.iterdir() if file.suffix in (".go", ".mod", ".sum"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sources)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pynun-tests"
    program = cache / f"linearizability-checker-{digest}"
    if program.exists():
        return program
    cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache) as folder:
        made = Path(folder) / "checker"
        built = subprocess.run(
            [go, "build", "-buildvcs=false", "-o", made, "."],
            cwd=SOURCES,
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS_MAX,
            check=False,
        )
        if built.returncode != 0:
            if "dial tcp" in built.stderr or "module lookup disabled" in built.stderr:
                raise MissingCheckerError(f"the Go module can't be loaded from here: {built.stderr.strip()}")
            raise AssertionError(f"the checker does not build:\n{built.stderr}")
        made.replace(program)
    return program


def check(history: Iterable[Operation], folder: Path, *, strategy: str = "none") -> Verdict:
    """Ask whether a history of a database with that strategy is linearizable; its file and page go into `folder`."""
    path = folder / "history.jsonl"
    path.write_text("".join(f"{json.dumps(one.as_json())}\n" for one in history), encoding="utf-8")
    page = folder / "history.html"
    page.unlink(missing_ok=True)
    done = subprocess.run(
        [find_checker(), "-strategy", strategy, "-timeout", str(CHECK_SECONDS_MAX), "-show", page, path],
        capture_output=True,
        text=True,
        timeout=2 * CHECK_SECONDS_MAX,
        check=False,
    )
    assert done.returncode in _EXIT_CODES, f"exit code {done.returncode}: {done.stdout}{done.stderr}"
    told = json.loads(done.stdout)
    return Verdict(
        is_linearizable=_EXIT_CODES[done.returncode],
        operations=told["operations"],
        unknown=told["unknown"],
        keys=told["keys"],
        page=page if page.exists() else None,
    )
