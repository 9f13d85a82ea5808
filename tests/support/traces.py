"""The system calls of a process, as strace(1) notes them, and what of files and folders they leave unsynced."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

FILE_CALLS = (
    *("openat", "write", "writev", "pwrite64", "pwritev", "fsync", "fdatasync"),
    *("mkdir", "rename", "renameat", "renameat2", "link", "linkat"),
)
"""What `unsynced` has to see."""

_WRITES = frozenset({"write", "writev", "pwrite64", "pwritev"})
_SYNCS = frozenset({"fsync", "fdatasync"})


class Call(NamedTuple):
    """A finished system call: its name, its arguments as text, and where in the trace it began and ended."""

    name: str
    text: str
    began: int
    ended: int


def why_no_trace(folder: Path) -> str | None:
    """Say why system calls can't be traced here, or None if they can."""
    if shutil.which("strace") is None:
        return "strace is not installed (apt-get install strace)"
    probe = subprocess.run(
        ["strace", "-f", "-o", str(folder / "probe"), "true"], capture_output=True, text=True, check=False
    )
    return None if probe.returncode == 0 else f"strace may not trace here: {probe.stderr.strip()}"


def read_calls(trace: str) -> list[Call]:
    """Read a trace of `strace -f`, joining calls that another thread's interrupted."""
    calls: list[Call] = []
    unfinished: dict[tuple[str, str], tuple[str, int]] = {}
    for number, line in enumerate(trace.splitlines()):
        if match := re.match(r"(\d+)\s+(\w+)\((.*) <unfinished \.\.\.>$", line):
            unfinished[match[1], match[2]] = (match[3], number)
        elif match := re.match(r"(\d+)\s+<\.\.\. (\w+) resumed>(.*)$", line):
            text, began = unfinished.pop((match[1], match[2]))
            calls.append(Call(match[2], text + match[3], began, number))
        elif match := re.match(r"\d+\s+(\w+)\((.*)$", line):
            calls.append(Call(match[1], match[2], number, number))
    return calls


def traced(output: Path) -> list[str]:
    """The words before a command that have its files' calls, and its children's, written into a file."""
    calls = ",".join(f"?{name}" for name in FILE_CALLS)
    return ["strace", "--seccomp-bpf", "-f", "-y", "-s", "0", "-o", str(output), "-e", f"trace={calls}"]


def unsynced(calls: Iterable[Call], below: Path, there: Collection[Path], leave_out: Collection[str]) -> list[str]:
    """What a power cut could lose, of files and folders below a folder, in words.

    `there` are the paths that were there before; `leave_out` are names of files that need not be on disk. Found are:
    a file that got its name before its content was on disk, one whose content never was, and a folder whose names were
    not, after a file or a folder was made or renamed in it.
    """
    known = {str(path) for path in there}
    dirty: set[str] = set()
    folders: set[str] = set()
    synchronous: set[str] = set()
    found: list[str] = []

    def name(path: str) -> None:
        if path.startswith(str(below)) and os.path.basename(path) not in leave_out:
            folders.add(os.path.dirname(path))

    for call in calls:
        if re.search(r"= -1 [A-Z]", call.text):
            continue
        paths = re.findall(r'"([^"]*)"', call.text)
        described = re.match(r"\d+<([^>]*)>", call.text)
        if call.name in _WRITES and described:
            if described[0] not in synchronous:
                dirty.add(described[1])
        elif call.name in _SYNCS and described:
            dirty.discard(described[1])
            folders.discard(described[1])
        elif call.name == "openat" and "O_CREAT" in call.text and (opened := re.search(r"= \d+<([^>]*)>", call.text)):
            if opened[1] not in known:
                known.add(opened[1])
                name(opened[1])
        elif call.name == "openat" and "O_DSYNC" in call.text and (opened := re.search(r"= (\d+<[^>]*>)", call.text)):
            synchronous.add(opened[1])
        elif call.name == "mkdir":
            known.add(paths[0])
            name(paths[0])
        elif call.name.startswith(("rename", "link")):
            source, target = paths
            if source in dirty:
                found.append(f"{target} got its name before it was on disk")
            known.add(target)
            name(target)
    found += [f"the content of {path} is not on disk" for path in dirty if path.startswith(str(below))]
    found += [f"the names in {path} are not on disk" for path in folders]
    return [text for text in found if not any(f"/{left} " in text for left in leave_out)]
