"""A machine to install on: this one, in namespaces, without a network, and with folders whose changes stay in them.

/etc, /opt, /var and /usr/local are overlays, whose changes lie in memory; processes started in it end with it, for it
has a process id namespace. So an installer can be run as it is, as root, with its usual folders, and leaves nothing.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

from tests.support.node import leave_out
from tools.clients.server import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS_MAX: Final = 60.0
COMMAND_SECONDS_MAX: Final = 600.0

_FOLDERS: Final = """\
ip link set lo up
mount -t tmpfs tmpfs /mnt
for folder in etc opt var usr/local; do
    mkdir -p /mnt/changes/$folder /mnt/work/$folder
    lower=/$folder
    [ -z "$1" ] || lower=$1/$folder:$lower
    mount -t overlay overlay -o "lowerdir=$lower,upperdir=/mnt/changes/$folder,workdir=/mnt/work/$folder" /$folder
done
mount -t tmpfs -o mode=0755 tmpfs /run
"""
_TRIAL: Final = """\
mount -t tmpfs tmpfs /mnt
mkdir /mnt/upper /mnt/work
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/upper,workdir=/mnt/work /etc
"""
_IDLE: Final = """\
touch /mnt/ready
exec sleep infinity
"""

PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Machine:
    """Runs commands as root on the machine."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def root(self) -> Path:
        """The machine's files, seen from here."""
        return Path(f"/proc/{self.pid}/root")

    def changes(self) -> set[str]:
        """The paths that were made or changed since the start."""
        top = self.root / "mnt" / "changes"
        return {path.relative_to(top).as_posix() for path in top.rglob("*") if not path.is_dir()} | {
            path.relative_to(top).as_posix() for path in top.rglob("*pynun*")
        }

    def command(self, *command: str) -> list[str]:
        """What to run here for a command there."""
        return ["nsenter", f"--target={self.pid}", "--mount", "--net", "--pid", "--", *command]

    def environment(self) -> dict[str, str]:
        """That of a plain root shell; nothing of this checkout."""
        environment = {name: value for name, value in clean_environment({}).items() if not name.startswith("PYTHON")}
        return {**environment, "PATH": PATH}

    def run(self, *command: str, typed: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            self.command(*command),
            env=self.environment(),
            input=typed or "",
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )

    def succeed(self, *command: str) -> str:
        """Run a command that has to succeed; returns what it printed on standard output."""
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    @contextlib.contextmanager
    def server(self, how: str) -> Iterator[None]:
        """Run a server, started as install.sh says, until the end of the block; it must stop cleanly."""
        process = subprocess.Popen(
            self.command("sh", "-c", how),
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        printed: list[str] = []
        try:
            for line in process.stdout:
                printed.append(line)
                if "ready" in line:
                    break
            else:
                raise AssertionError(f"the server ended: {''.join(printed)}")
            yield
        finally:
            # nsenter passes no signals on: the server is found by the process id that it names.
            pid = printed[-1].rpartition(" ")[2].strip() if printed else ""
            if pid.isdigit():
                self.run("kill", pid)
            else:
                process.kill()
            rest, _ = process.communicate(timeout=START_SECONDS_MAX)
        assert process.returncode == 0, "".join(printed) + rest


def require_programs() -> None:
    """Skips the test where no machine can be made."""
    if os.geteuid() != 0:
        pytest.skip("namespaces and overlays need root")
    for name, package in (("ip", "iproute2"), ("unshare", "util-linux"), ("useradd", "passwd")):
        if shutil.which(name) is None:
            leave_out(f"{name} is not installed (apt-get install {package})")
    if reason := _why_no_overlays():
        pytest.skip(f"NOT TESTED: the installer, for namespaces can't be made here: {reason}")


@functools.cache
def _why_no_overlays() -> str:
    """Why no namespaces with overlays can be made here; empty if they can."""
    unshare = ("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--")
    done = subprocess.run(
        [*unshare, "sh", "-euc", _TRIAL], capture_output=True, text=True, timeout=START_SECONDS_MAX, check=False
    )
    return done.stderr if done.returncode else ""


@contextlib.contextmanager
def running_machine(files: Path | None = None) -> Iterator[Machine]:
    """A machine as new, or with the files that are in this folder, for the time of a `with` block."""
    require_programs()
    with started_machine("--net", "--mount", "--pid", files=files, setup=_IDLE) as machine:
        yield machine


@contextlib.contextmanager
def started_machine(*namespaces: str, files: Path | None, setup: str, before: str = "") -> Iterator[Machine]:
    """A machine with these namespaces, whose first process is what `setup` ends with; `before` is run before them."""
    process = subprocess.Popen(
        [
            *("sh", "-euc", f'{before}exec "$@"', "sh"),
            *("setpriv", "--pdeathsig", "KILL", "--"),
            *("unshare", *namespaces, "--fork", "--mount-proc", "--kill-child", "--"),
            *("sh", "-euc", _FOLDERS + setup, "sh", str(files or "")),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield Machine(_wait_ready(process))
    finally:
        process.kill()
        process.communicate(timeout=START_SECONDS_MAX)


def _wait_ready(process: subprocess.Popen[str]) -> int:
    """Wait until the machine is set up; returns the process id of its first process."""
    deadline = time.monotonic() + START_SECONDS_MAX
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    while True:
        if process.poll() is not None:
            assert process.stderr is not None
            raise AssertionError(f"the machine was not set up: {process.stderr.read()}")
        with contextlib.suppress(OSError):
            for pid in children.read_text(encoding="ascii").split():
                if Path(f"/proc/{pid}/root/mnt/ready").exists():
                    return int(pid)
        assert time.monotonic() < deadline, "the machine was not set up in time"
        time.sleep(0.05)
