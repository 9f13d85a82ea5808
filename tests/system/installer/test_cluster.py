"""docs/cluster-setup.md and cluster-operation.md, followed on three machines with systemd and a network."""

from __future__ import annotations

import contextlib
import re
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import commands
from tests.system.installer.systemd import running_systemd
from tests.system.installer.test_install import READ, TUTORIAL, administer, password_of
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.installer.machine import Machine

pytestmark = pytest.mark.timeout(1800)

SETUP = REPOSITORY / "docs" / "cluster-setup.md"
OPERATION = REPOSITORY / "docs" / "cluster-operation.md"
ADDRESSES = {"a": "10.0.0.1", "b": "10.0.0.2", "c": "10.0.0.3"}
WAIT_SECONDS_MAX = 240.0


@pytest.fixture(name="machines")
def _machines(program_files: Path) -> Iterator[dict[str, Machine]]:
    """Three machines on one network: each has a cable to a switch, which is in the first one. The last is as new."""
    with contextlib.ExitStack() as stack:
        files = {"a": program_files, "b": program_files, "c": None}
        machines = {name: stack.enter_context(running_systemd(files[name])) for name in ADDRESSES}
        switch = machines["a"]
        switch.succeed("ip", "link", "add", "switch", "type", "bridge")
        switch.succeed("ip", "addr", "add", f"{ADDRESSES['a']}/24", "dev", "switch")
        switch.succeed("ip", "link", "set", "switch", "up")
        for name in ("b", "c"):
            there = str(machines[name].pid)
            switch.succeed("ip", "link", "add", f"to-{name}", "type", "veth", "peer", "name", "cable")
            # The process id is that of this test's namespace.
            subprocess.run(
                ["nsenter", f"--target={switch.pid}", "--net", "ip", "link", "set", "cable", "netns", there],
                check=True,
                timeout=60,
            )
            switch.succeed("ip", "link", "set", f"to-{name}", "master", "switch", "up")
            machines[name].succeed("ip", "addr", "add", f"{ADDRESSES[name]}/24", "dev", "cable")
            machines[name].succeed("ip", "link", "set", "cable", "up")
        yield machines


def type_in(machine: Machine, folder: Path, page: Path, word: str, **put: str) -> str:
    """Type the block of a page, with other values of options, or another /root, which the machines share; what it
    printed."""
    (block,) = commands(page, word)
    text = block.text
    if home := put.pop("root", ""):
        assert "/root/" in text
        text = text.replace("/root/", f"{home}/")
    for old, new in put.items():
        assert f"--{old} " in text
        text = re.sub(rf"--{old} \S+", f"--{old} {new}" if new else "", text)
    return machine.succeed("bash", "-euc", f'cd {folder}\nsudo() {{ "$@"; }}\n{text}')


def wait_until(machine: Machine, *command: str) -> None:
    """Wait until a command succeeds."""
    deadline = time.monotonic() + WAIT_SECONDS_MAX
    while (done := machine.run(*command)).returncode:
        assert time.monotonic() < deadline, done.stdout + done.stderr + machine.run("journalctl", "-n", "50").stdout
        time.sleep(0.5)


def test_one_server_becomes_three(machines: dict[str, Machine], bundle: Path, tmp_path: Path) -> None:
    a, b, c = machines.values()
    (tmp_path / "cluster_certificates.sh").symlink_to(bundle / "cluster_certificates.sh")
    type_in(a, tmp_path, SETUP, "cluster-certificates")
    a.succeed("sh", f"{bundle}/install.sh")
    administer(a, TUTORIAL)
    password = tmp_path / "password"
    password.write_text(password_of(a))
    for name, machine in machines.items():
        certificates = str(tmp_path / "certificates" / name)
        put = {"node": name, "certificates": certificates}
        put["password-file"] = str(password) if machine is not a else ""  # whose settings stay
        printed = type_in(machine, bundle, SETUP, "cluster-install", **put)
        assert "sudo nun-db cluster check" in printed
        assert password_of(a) not in printed
    for machine in machines.values():
        wait_until(machine, "systemctl", "is-active", "pynun-etcd")
    type_in(a, bundle, SETUP, "cluster-grow")
    for machine in (b, c):  # they copy its data
        type_in(machine, bundle, SETUP, "cluster-start")
        wait_until(machine, "nun-db", "status")
    wait_until(a, "sh", "-c", "nun-db cluster status | grep -c following | grep 2")

    assert "empty;value kept" in administer(c, READ)
    assert "owns the data now" in type_in(b, bundle, OPERATION, "cluster-hand-over")
    assert '"peerURLs":["https://10.0.0.3:2380"]' in type_in(c, bundle, OPERATION, "cluster-ask")

    homes = {name: tmp_path / name for name in machines}
    for name, machine in machines.items():
        homes[name].mkdir()
        (homes[name] / "node").symlink_to(tmp_path / "certificates" / name)
        type_in(machine, bundle, OPERATION, "cluster-renew", root=str(homes[name]))
    for machine in machines.values():
        machine.succeed("systemctl", "restart", "pynun-etcd", "pynun")
        wait_until(machine, "nun-db", "status")

    b.succeed("nun-db", "backup", f"{homes['b']}/nun-db.backup")
    administer(b, "use features-of-db features-of-db-pwd; set client-a changed")
    assert "empty;value changed" in administer(c, READ)
    for machine in machines.values():
        machine.succeed("systemctl", "stop", "pynun")
    type_in(b, bundle, OPERATION, "cluster-restore", root=str(homes["b"]))
    a.run("systemctl", "start", "pynun")
    wait_until(a, "sh", "-c", "journalctl -u pynun | grep 'is not that of the cluster in etcd'")
    a.succeed("systemctl", "stop", "pynun")
    for name, machine in (("a", a), ("c", c)):
        type_in(machine, bundle, OPERATION, "cluster-copy-again", root=str(homes[name]))
        wait_until(machine, "nun-db", "status")
        assert "empty;value kept" in administer(machine, READ)

    (owner,) = {line.split()[0] for line in a.succeed("nun-db", "cluster", "status").splitlines() if " owner " in line}
    machines[owner].succeed("systemctl", "kill", "--signal=KILL", "pynun", "pynun-etcd")
    for name in machines.keys() - {owner}:
        assert "empty;value kept" in administer(machines[name], READ)
    wait_until(machines[owner], "nun-db", "status")
    assert "empty;value kept" in administer(machines[owner], READ)

    # Again: nothing changes, and what runs goes on. Then it is removed with all that was made.
    assert "has the settings of a cluster already" in c.succeed("sh", f"{bundle}/install.sh", "--cluster")
    c.succeed("sh", "/opt/pynun/uninstall.sh", "--purge", "--yes")
    left = {path for path in c.changes() if "pynun" in path and "log/" not in path}
    assert left == set(), left
