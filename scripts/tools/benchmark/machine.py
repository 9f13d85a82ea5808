"""Where and with what was measured: figures without this can't be compared."""

from __future__ import annotations

import contextlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path

from tools.clients.server import REPOSITORY, file_system_type

_PACKAGES = ("trio", "trio-websocket", "wsproto", "h11", "httptools", "lmdb")
IN_MEMORY = ("tmpfs", "ramfs")


def describe_machine(folder: Path) -> dict[str, str | int | float]:
    """The machine, its load when the run began, and the disk of the data."""
    processor = platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        processor = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), processor)
    return {
        "processor": processor,
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "kernel": f"{platform.system()} {platform.release()}",
        "file_system": file_system_type(folder),
        "load_average": round(os.getloadavg()[0], 2),
    }


def versions(redis: str | None) -> dict[str, str]:
    """Versions of what is measured."""
    found = {"python": f"{platform.python_implementation()} {platform.python_version()}"}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found | ({"redis": redis} if redis else {})


def commit_id() -> str:
    """The commit of this checkout; with `+changes` when files that are under version control differ from it."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(REPOSITORY), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
