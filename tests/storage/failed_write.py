"""Has a write to the data file fail, each in turn: `python -m tests.storage.failed_write FOLDER`.

Each time in a new folder below FOLDER, in a child whose system call strace(1) answers with an error, or cuts short.
Prints a line of JSON for each: what was answered with, what was told of each change and its checkpoint, and what
another start finds.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from pynun.engine.overlay import Batch, Entry
from pynun.errors import DamageError, ReopenError, StorageError
from pynun.storage import schema
from pynun.storage.store import LmdbStore
from tests.storage.steps import checkpoint

if TYPE_CHECKING:
    from collections.abc import Callable

CHANGES = 5
KEY = b"\0\0\0\1key"
FAULTS = [
    *(f"pwrite64:{how}:when={at}" for how in ("error=EIO", "error=ENOSPC", "retval=60") for at in range(1, 7)),
    *(f"{call}:error=EIO:when={at}" for call in ("fdatasync", "writev") for at in (1, 2)),
    "pwrite64:error=EIO:when=3+",
]


def _change_and_move(store: LmdbStore, number: int) -> list[str]:
    batch = Batch(number)
    batch.entries[KEY] = Entry(number, "v" * number * 1000)
    told = [_try(store, partial(store.append, batch, number), "stored")]
    if number % 2:
        assert store.entries >= 0  # metrics are read from LMDB too
    entry = store.get(KEY)
    told.append(f"read {0 if entry is None else entry.version}")
    told.append(_try(store, partial(checkpoint, store, 10), "moved"))
    return told


def _try(store: LmdbStore, work: Callable[[], None], done: str) -> str:
    try:
        try:
            work()
        except ReopenError:
            store.reopen()
            work()
    except (StorageError, DamageError) as error:
        return f"{type(error).__name__} {error}"
    return done


def _change(folder: Path) -> None:
    store = LmdbStore(folder)
    os.kill(os.getpid(), signal.SIGSTOP)
    told: list[str] = []
    for number in range(1, CHANGES + 1):
        told += _change_and_move(store, number)
    folder.with_name("told").write_text(json.dumps(told), encoding="utf-8")
    os._exit(0)


def _fail(folder: Path, fault: str) -> None:
    child = os.fork()
    if not child:
        _change(folder)
    os.waitpid(child, os.WUNTRACED)
    with subprocess.Popen(
        ["strace", "-p", str(child), "-o", "/dev/null", "-P", folder / schema.DATA_FILE, "-e", f"inject={fault}"],
        stderr=subprocess.PIPE,
        text=True,
    ) as tracer:
        assert tracer.stderr is not None
        for line in tracer.stderr:
            if "attached" in line:
                break
        os.kill(child, signal.SIGCONT)
        os.waitpid(child, 0)


def _main(parent: Path) -> None:
    for number, fault in enumerate(FAULTS):
        folder = parent / str(number) / "dbs"
        folder.parent.mkdir()
        _fail(folder, fault)
        store = LmdbStore(folder)
        entry = store.get(KEY)
        store.close()
        told = json.loads(folder.with_name("told").read_text(encoding="utf-8"))
        print(json.dumps({"fault": fault, "told": told, "found": 0 if entry is None else entry.version}), flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
