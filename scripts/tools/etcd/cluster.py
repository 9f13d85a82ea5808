"""A real etcd of one or more members on free ports of 127.0.0.1: started, killed, paused, started again."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import ssl
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from tools.clients.server import free_ports
from tools.etcd.program import find_etcd

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path
    from types import TracebackType

START_SECONDS_MAX: Final = 60.0
_PORT_ATTEMPTS: Final = 5
_LEVEL_ENTRIES: Final = 20
_PORT_IS_TAKEN: Final = "address already in use"


class Certificates(NamedTuple):
    """Files with which the members serve clients by TLS, and ask for certificates of the same authority."""

    authority: Path
    certificate: Path
    key: Path


class Host(NamedTuple):
    """Where a process runs."""

    address: str
    before: tuple[str, ...] = ()
    """Put before its command."""


LOCAL: Final = Host("127.0.0.1")


class EtcdDiedError(AssertionError):
    """A member ended although it should have run; the text holds what it printed."""


class EtcdMember:
    """One member, which keeps its folder and its ports over a restart."""

    def __init__(self, name: str, folder: Path, client_port: int, peer_port: int, scheme: str, host: Host) -> None:
        self.name = name
        self.folder = folder
        self.url = f"{scheme}://{host.address}:{client_port}"
        self.peer_url = f"http://{host.address}:{peer_port}"
        self._before = host.before
        self._log = folder.with_suffix(".log")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, options: Sequence[str]) -> None:
        """Start it, without waiting."""
        assert self._process is None
        # If the tests are killed, so is etcd.
        setpriv = shutil.which("setpriv")
        before = [setpriv, "--pdeathsig", "KILL"] if setpriv else []
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self._before, *before, find_etcd(), *self._own_options(), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def _own_options(self) -> list[str]:
        return [
            *("--name", self.name, "--data-dir", str(self.folder)),
            *("--listen-client-urls", self.url, "--advertise-client-urls", self.url),
            *("--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url),
        ]

    def check(self) -> None:
        """Raises EtcdDiedError if it has ended."""
        if self._process is None or self._process.poll() is not None:
            raise EtcdDiedError(f"{self.name} has ended:\n{self.printed()[-3000:]}")

    def printed(self) -> str:
        """What it has printed so far, over all its lives."""
        return self._log.read_text(encoding="utf-8", errors="replace")

    def kill(self) -> None:
        """End it at once, as a loss of power would."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """End it in order."""
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        """Have it do nothing until `resume`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def _end(self, number: int) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
                self._process.send_signal(signal.SIGCONT)
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            self._process = None


class EtcdCluster:
    """A context manager: etcd runs within it, in a folder that must be empty."""

    def __init__(
        self,
        folder: Path,
        count: int = 1,
        *,
        election_ms: int = 500,
        certificates: Certificates | None = None,
        options: Sequence[str] = (),
        hosts: Sequence[Host] = (),
    ) -> None:
        """`options` are more options of etcd. It does not sync: entries survive a kill, but no loss of power. Without
        `hosts`, one for each member, all run here.
        """
        self._hosts = hosts or [LOCAL] * count
        self._folder = folder
        self._count = count
        self._certificates = certificates
        self._options = [
            *("--election-timeout", str(election_ms), "--heartbeat-interval", str(election_ms // 5)),
            *("--log-level", "warn", "--unsafe-no-fsync", *options),
        ]
        if certificates is not None:
            self._options += ["--client-cert-auth", "--trusted-ca-file", str(certificates.authority)]
            self._options += ["--cert-file", str(certificates.certificate), "--key-file", str(certificates.key)]
        self.members: list[EtcdMember] = []

    def __enter__(self) -> Self:
        for attempt in range(_PORT_ATTEMPTS):
            try:
                self._start(attempt)
            except EtcdDiedError as error:
                self._end()
                if _PORT_IS_TAKEN not in str(error) or attempt == _PORT_ATTEMPTS - 1:
                    raise
            except BaseException:
                self._end()
                raise
            else:
                break
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    @property
    def urls(self) -> str:
        """All members, as `NUN_ETCD` names them."""
        return ",".join(member.url for member in self.members)

    def start(self, member: EtcdMember) -> None:
        """Start a member that was killed or stopped, without waiting."""
        peers = ",".join(f"{one.name}={one.peer_url}" for one in self.members)
        member.start(["--initial-cluster", peers, *self._options])

    def wait(self) -> None:
        """Return when every member that runs knows a leader."""
        deadline = time.monotonic() + START_SECONDS_MAX
        for member in self.members:
            while not self._knows_leader(member):
                member.check()
                if time.monotonic() > deadline:
                    raise EtcdDiedError(f"{member.name} knows no leader:\n{member.printed()[-3000:]}")
                time.sleep(0.02)

    def is_level(self) -> bool:
        """Whether all members answer, know a leader, and have nearly all that any has."""
        said = [self._status(member) for member in self.members]
        found = [int(one["raftIndex"]) for one in said if one is not None and one.get("leader", "0") != "0"]
        return len(found) == len(said) and min(found) > max(found) - _LEVEL_ENTRIES

    def leader(self) -> EtcdMember:
        """The member that leads now."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            for member in self.members:
                said = self._status(member)
                if said is not None and said.get("leader") == said["header"]["member_id"]:
                    return member
            time.sleep(0.02)
        raise EtcdDiedError("no member leads")

    def _start(self, attempt: int) -> None:
        scheme = "http" if self._certificates is None else "https"
        ports = free_ports(2 * self._count)
        self.members = [
            EtcdMember(f"etcd-{place}", self._folder / f"{attempt}-{place}", client_port, peer_port, scheme, host)
            for place, (client_port, peer_port, host) in enumerate(
                zip(ports[::2], ports[1::2], self._hosts, strict=True)
            )
        ]
        for member in self.members:
            self.start(member)
        self.wait()

    def _end(self) -> None:
        for member in self.members:
            member.kill()

    def _knows_leader(self, member: EtcdMember) -> bool:
        said = self._status(member)
        return said is not None and said.get("leader", "0") != "0"

    def _status(self, member: EtcdMember) -> dict[str, Any] | None:
        request = urllib.request.Request(f"{member.url}/v3/maintenance/status", data=b"{}")
        try:
            with urllib.request.urlopen(request, timeout=2, context=self._context()) as answer:
                found: dict[str, Any] = json.load(answer)
        except OSError:
            return None
        return found

    def _context(self) -> ssl.SSLContext | None:
        if self._certificates is None:
            return None
        context = ssl.create_default_context(cafile=str(self._certificates.authority))
        context.load_cert_chain(self._certificates.certificate, self._certificates.key)
        return context
