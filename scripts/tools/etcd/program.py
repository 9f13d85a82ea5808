"""Builds etcd once, from its Go modules; go.mod and go.sum beside this file pin them by version and hash.

The program is kept in the user's cache folder, under its version and a digest of both files. Distributions' packages
are of other versions than the one that is supported.
"""

from __future__ import annotations

import argparse
import fcntl
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Final

PINS: Final = Path(__file__).parent
MODULE: Final = "go.etcd.io/etcd/server/v3"
_GO_NAMES: Final = {"x86_64": "amd64", "aarch64": "arm64"}
_BUILD_SECONDS_MAX: Final = 900.0
"""A minute of processor time, on a machine that may do other things too."""


class MissingEtcdError(Exception):
    """etcd can't be built here; the text says why."""


def version() -> str:
    """The pinned version, as `3.6.16`."""
    found = re.search(rf"{re.escape(MODULE)} v(\S+)", (PINS / "go.mod").read_text(encoding="utf-8"))
    assert found is not None
    return found[1]


@functools.cache
def find_etcd(architecture: str = platform.machine()) -> Path:
    """The program for machines of that kind (x86_64, aarch64), built if need be. Raises MissingEtcdError."""
    pins = [PINS / name for name in ("go.mod", "go.sum")]
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in pins)).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "pynun-tests"
    other = "" if architecture == platform.machine() else f"-{architecture}"
    program = cache / f"etcd-{version()}-{digest}{other}"
    if not program.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with (cache / f"{program.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not program.exists():
                _build(program, pins, architecture)
    return program


def _build(program: Path, pins: list[Path], architecture: str) -> None:
    go = shutil.which("go")
    if go is None:
        raise MissingEtcdError("Go is not installed, so etcd can't be built (apt-get install golang-go)")
    with tempfile.TemporaryDirectory(dir=program.parent) as folder:
        for file in pins:
            shutil.copy(file, folder)
        made = Path(folder) / "etcd"
        built = subprocess.run(
            [go, "build", "-mod=readonly", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o", made, MODULE],
            cwd=folder,
            env={**os.environ, "CGO_ENABLED": "0", "GOARCH": _GO_NAMES[architecture], "GOFLAGS": "", "GOWORK": "off"},
            capture_output=True,
            text=True,
            timeout=_BUILD_SECONDS_MAX,
            check=False,
        )
        if built.returncode != 0:
            said = built.stderr.strip()
            if "dial tcp" in said or "module lookup disabled" in said or "go.mod requires go" in said:
                raise MissingEtcdError(f"etcd can't be built here: {said}")
            raise AssertionError(f"etcd does not build:\n{said}")
        made.replace(program)


def main() -> int:
    """Build it and print its path; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/etcd",
        description=f"Builds etcd {version()} with Go, once, for clusters and their tests, and prints where it is.",
    )
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="copy it there, with its licences")
    options = parser.parse_args()
    try:
        program = find_etcd()
        if options.output is not None:
            from tools.etcd.parts import copy_with_licences

            program = copy_with_licences(program, options.output)
        print(program)
    except MissingEtcdError as error:
        print(f"scripts/etcd: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
