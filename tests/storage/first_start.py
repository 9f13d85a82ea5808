"""Opens a data folder for the first time, and is killed there: `python -m tests.storage.first_start FOLDER`.

Each time in a new folder below FOLDER, in a child that strace(1) ends with SIGKILL before one of its system calls that
changes something there, in turn before each. After each, the folder is opened again. Prints a line for each kill:
before which call, the files that it left, whether `data.mdb` is whole then, and what came of the next start.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import lmdb

from pynun.errors import StartError
from pynun.storage import schema
from pynun.storage.files.atomic_file import partial_name
from pynun.storage.integrity.entry_check import count
from pynun.storage.store import LmdbStore
from pynun.storage.wal.segment import NEW_SUFFIX, name_of

CALLS = re.compile(
    r"^\d+ +(mkdir|openat|ftruncate|pwrite64|pwritev|write|writev|fsync|fdatasync|link|linkat|unlink|rename)\("
)
NAMES = (
    *(schema.DATA_FILE, partial_name(schema.DATA_FILE), schema.READERS_FILE, schema.LOCK_FILE),
    *(
        name_of(2) + suffix for suffix in ("", NEW_SUFFIX)
    ),  # one of the log's files; the others are made in the same way
)


def _open(folder: Path, *options: str) -> str:
    """Open a folder in a child, traced with these options; return the trace."""
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGSTOP)
        LmdbStore(folder).close()
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    trace = folder.parent / "trace"
    paths = [folder.parent, folder, *(folder / name for name in NAMES)]
    with subprocess.Popen(
        [
            "strace",
            "-f",
            "-y",
            "-p",
            str(child),
            "-o",
            trace,
            *(part for path in paths for part in ("-P", path)),
            *options,
        ],
        stderr=subprocess.PIPE,
        text=True,
    ) as tracer:
        assert tracer.stderr is not None
        for line in tracer.stderr:
            if "attached" in line:
                break
        os.kill(child, signal.SIGCONT)
        os.waitpid(child, 0)
    return trace.read_text(encoding="utf-8", errors="replace")


def _look(data_file: Path) -> str:
    try:
        return "whole" if count(str(data_file)).databases == {} else "other data"
    except lmdb.Error as error:
        return str(error) if data_file.exists() else "absent"


def _main(parent: Path) -> None:
    whole = parent / "whole" / "dbs"
    whole.parent.mkdir()
    calls = [match[1] for line in _open(whole).splitlines() if (match := CALLS.match(line))]
    for at, name in enumerate(calls):
        folder = parent / str(at) / "dbs"
        folder.parent.mkdir()
        _open(folder, "-e", f"inject={name}:signal=KILL:when={calls[: at + 1].count(name)}")
        left = sorted(path.name for path in folder.iterdir()) if folder.exists() else []
        whole_or_not = _look(folder / schema.DATA_FILE)
        try:
            LmdbStore(folder).close()
            outcome = "started"
        except StartError as error:
            outcome = str(error)
        print(f"{name}|{' '.join(left)}|{whole_or_not}|{outcome}", flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
