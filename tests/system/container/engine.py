"""A docker daemon of the tests' own, in namespaces of its own: nothing of it can stay behind or be met by others.

It has a network without any way out (what works in it works offline), a mount table in which /tmp is a new and empty
folder, and a process id namespace: when its first process ends, however the tests end, the kernel ends every container
and takes away every mount, interface and address. What remains are its folder below /var/tmp, removed here or by the
next run, and empty control groups.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import pytest

from tests.support.control_groups import remove_group
from tests.support.node import leave_out
from tools.clients.server import clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

START_SECONDS_MAX: Final = 120.0
STOP_SECONDS_MAX: Final = 60.0
COMMAND_SECONDS_MAX: Final = 600.0

_FOLDERS: Final = Path("/var/tmp")
_PREFIX: Final = "pynun-docker-"
_START: Final = """\
ip link set lo up
mount -t tmpfs -o mode=1777 tmpfs /tmp
mount -t tmpfs -o mode=0755 tmpfs /srv
exec dockerd --data-root "$1/data" --exec-root "$1/exec" --host "unix://$1/docker.sock" --pidfile "$1/docker.pid" \
    --iptables=false --ip6tables=false --ip-masq=false --userland-proxy=true --cgroup-parent "$2"
"""


def docker_program() -> str:
    """Debian's docker; skips the test where it, or what the daemon needs, is missing."""
    if os.geteuid() != 0:
        pytest.skip("a docker daemon needs root")
    for name, package in (
        ("dockerd", "docker.io"),
        ("ip", "iproute2"),
        ("unshare", "util-linux"),
        ("mmdebstrap", "mmdebstrap"),
    ):
        if shutil.which(name) is None:
            leave_out(f"{name} is not installed (apt-get install {package})")
    return shutil.which("docker", path="/usr/bin") or "docker"


class Engine:
    """One running daemon."""

    def __init__(self, folder: Path, process: subprocess.Popen[str]) -> None:
        self.docker_program = docker_program()
        self.folder = folder
        self._process = process
        self._pid = 0

    @property
    def root(self) -> Path:
        """The daemon's view of the machine's files: its /tmp and /srv are not the machine's."""
        return Path(f"/proc/{self.pid}/root")

    @property
    def pid(self) -> int:
        """The process id of the daemon: the one child of `unshare`."""
        if not self._pid:
            parent = self._process.pid
            self._pid = int(Path(f"/proc/{parent}/task/{parent}/children").read_text(encoding="ascii").split()[0])
        return self._pid

    def environment(self, additions: Mapping[str, str] | None = None) -> dict[str, str]:
        """What docker's command needs to find this daemon."""
        own = {
            "DOCKER_HOST": f"unix://{self.folder}/docker.sock",
            "DOCKER_CONFIG": f"{self.folder}/config",
            "DOCKER_BUILDKIT": "1",
        }
        return clean_environment({**own, **(additions or {})})

    def try_docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run a docker command to its end."""
        return subprocess.run(
            [self.docker_program, *arguments],
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )

    def docker(self, *arguments: str) -> str:
        """Run a docker command that has to succeed; returns what it printed."""
        done = self.try_docker(*arguments)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: exit {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def inspect(self, name: str) -> Any:  # noqa: ANN401 - docker's own structure
        """What docker knows of a container or an image."""
        return json.loads(self.docker("inspect", name))[0]

    def terminal(self, command: str) -> list[str]:
        """A command line of docker, on a terminal: what to run for it. Its exit code is the command's."""
        typed = command.replace("docker ", f"{self.docker_program} ", 1)
        return ["script", "-qec", typed, "/dev/null"]

    def outside(self, *command: str, typed: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program on the network that the containers' ports are published on."""
        return subprocess.run(
            ["nsenter", f"--net=/proc/{self.pid}/ns/net", "--", *command],
            env=self.environment(),
            input=typed,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS_MAX,
            check=False,
        )

    def logs(self, name: str) -> str:
        """All that a container printed, on both streams."""
        done = self.try_docker("logs", name)
        return done.stdout + done.stderr

    def wait_log(self, name: str, text: str, seconds: float = START_SECONDS_MAX) -> str:
        """Wait until a container has printed a text; returns all that it printed."""
        deadline = time.monotonic() + seconds
        while text not in (printed := self.logs(name)):
            assert time.monotonic() < deadline, f"no {text!r} in {seconds} s:\n{printed}"
            assert self.inspect(name)["State"]["Running"], f"{name} has ended:\n{self.logs(name)}"
            time.sleep(0.1)
        return printed

    def wait_health(self, name: str, wanted: str, seconds: float = START_SECONDS_MAX) -> None:
        """Wait until docker calls a container `healthy` or `unhealthy`."""
        deadline = time.monotonic() + seconds
        while (health := self.inspect(name)["State"]["Health"])["Status"] != wanted:
            assert time.monotonic() < deadline, f"not {wanted} in {seconds} s: {health}"
            time.sleep(0.2)

    @contextlib.contextmanager
    def running(self, *arguments: str, name: str = "nun-test", image: str = "pynun:test") -> Iterator[str]:
        """Run a container with the administrator's usual user and password until it is ready; remove it at the end."""
        credentials = ("--env", "NUN_USER=user-name", "--env", "NUN_PWD=user-pwd")
        self.docker("run", "--detach", "--name", name, *credentials, *arguments, image)
        try:
            self.wait_log(name, "ready")
            yield name
        finally:
            self.try_docker("rm", "--force", "--volumes", name)


def _remove_leftovers() -> None:
    """Remove the folders of runs that were killed: nobody holds their locks."""
    for folder in _FOLDERS.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError), (folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(folder, ignore_errors=True)


def _remove_control_groups(parent: str) -> None:
    for folder in [*Path("/sys/fs/cgroup").glob(f"*/{parent}"), *Path("/sys/fs/cgroup").glob(parent)]:
        remove_group(folder)


@contextlib.contextmanager
def running_engine() -> Iterator[Engine]:
    """Run the daemon for the time of a `with` block; skips the test, with the reason, where it can't start."""
    docker_program()
    _remove_leftovers()
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=_FOLDERS))
    parent = folder.name
    with (folder / "lock").open("w") as lock, (folder / "log").open("w+") as log:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process = subprocess.Popen(
            [
                *("setpriv", "--pdeathsig", "KILL", "--"),
                *("unshare", "--net", "--mount", "--pid", "--fork", "--mount-proc", "--kill-child", "--"),
                *("sh", "-euc", _START, "sh", str(folder), f"/{parent}"),
            ],
            env={**clean_environment({}), "TMPDIR": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
        )
        engine = Engine(folder, process)
        try:
            _wait_started(engine, process, log)
            yield engine
        finally:
            _stop(process)
            _remove_control_groups(parent)
            shutil.rmtree(folder, ignore_errors=True)


def _wait_started(engine: Engine, process: subprocess.Popen[str], log: IO[str]) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while engine.try_docker("version").returncode != 0:
        if process.poll() is not None or time.monotonic() > deadline:
            log.seek(0)
            reason = "\n".join(log.read().splitlines()[-5:])
            pytest.skip(f"NOT TESTED: the container image, for dockerd does not start on this machine: {reason}")
        time.sleep(0.1)


def _stop(process: subprocess.Popen[str]) -> None:
    """End the daemon at once: with its process id namespace ends everything that it started, and nothing is kept."""
    process.kill()
    process.wait(STOP_SECONDS_MAX)
