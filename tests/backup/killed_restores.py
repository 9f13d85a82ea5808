"""Restores where only a log is left, and is killed there: `python -m tests.backup.killed_restores FOLDER`.

FOLDER has `lost`, such a folder, `data.mdb`, what it lost, and `backup`. Each time in a copy of `lost`, in a child that
strace(1) ends with SIGKILL before one of its system calls that change names, in turn before each. Then, each in a copy
of what that left, a start, a start after `data.mdb` was put back, and another restore. Prints a line of JSON for each.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from pynun.backup.restore import restore_backup
from pynun.errors import BackupError, StartError
from pynun.storage import schema
from pynun.storage.store import LmdbStore
from tests.backup.data import silent
from tests.transfer.folders import content

CALLS = ("link", "linkat", "rename", "unlink")


def _restore(parent: Path, folder: Path, *options: str) -> str:
    """Restore in a child, traced with these options; return the trace."""
    child = os.fork()
    if not child:
        os.kill(os.getpid(), signal.SIGSTOP)
        restore_backup(parent / "backup", folder, silent)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    trace = parent / "trace"
    command = ["strace", "-f", "-p", str(child), "-o", str(trace), "-e", f"trace={','.join(CALLS)}", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        assert tracer.stderr is not None
        for line in tracer.stderr:
            if "attached" in line:
                break
        os.kill(child, signal.SIGCONT)
        os.waitpid(child, 0)
    return trace.read_text(encoding="utf-8")


def _copy(folder: Path, to: Path) -> Path:
    """Names of one file stay names of one file."""
    subprocess.run(["cp", "-a", str(folder), str(to)], check=True)
    return to


def _started(folder: Path) -> str:
    try:
        LmdbStore(folder).close()
    except StartError as error:
        return str(error).replace(str(folder), "FOLDER")
    return content(folder)["one"]["newest"][1]


def _main(parent: Path) -> None:
    lost = parent / "lost"
    trace = _restore(parent, _copy(lost, parent / "whole"))
    calls = re.findall(r"^\d+ +(\w+)\(", trace, re.MULTILINE)
    for at, name in enumerate(calls):
        killed = _copy(lost, parent / f"{at}")
        _restore(parent, killed, "-e", f"inject={name}:signal=KILL:when={calls[: at + 1].count(name)}")
        started = _started(start := _copy(killed, parent / f"{at}-started"))
        kept = sorted(path.name.partition(".")[2] for path in start.glob("data-before-*"))
        again = _copy(killed, parent / f"{at}-again")
        try:
            restore_backup(parent / "backup", again, silent)
        except BackupError as error:
            restored = str(error)
        else:
            restored = _started(again)
        back = ""
        if not (killed / schema.DATA_FILE).exists():
            shutil.copy(parent / schema.DATA_FILE, killed)
            back = _started(killed)
        told = {"call": name, "started": started, "kept": kept, "restored": restored, "back": back}
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
