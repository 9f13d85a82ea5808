"""The service, run by systemd itself on a machine without internet: installed, limited, restarted, upgraded."""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.nundb_files import write_folder
from tests.system.installer.conftest import NEWER
from tests.system.installer.test_install import DATA, READ, TUTORIAL, administer, version_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.support.nundb_files import Key
    from tests.system.installer.machine import Machine

pytestmark = pytest.mark.timeout(1800)

READY_SECONDS_MAX = 180.0
USERS = 150
"""Each takes some 20 ms: long enough that the installer looks before the import is over."""


def process_id(machine: Machine) -> int:
    return int(shown(machine, "MainPID"))


def shown(machine: Machine, name: str) -> str:
    """What systemd knows of the service."""
    return machine.succeed("systemctl", "show", "--property", name, "--value", "pynun").strip()


def files_max(machine: Machine, pid: int) -> int:
    """How many files a process may have open at most."""
    limits = machine.succeed("cat", f"/proc/{pid}/limits")
    return int(re.search(r"^Max open files +\d+ +(\d+) ", limits, re.MULTILINE)[1])  # type: ignore[index]


def journal(machine: Machine) -> str:
    return machine.succeed("journalctl", "--unit", "pynun", "--output", "cat", "--no-pager")


def wait_until(is_so: Callable[[], bool], machine: Machine) -> None:
    deadline = time.monotonic() + READY_SECONDS_MAX
    while not is_so():
        assert time.monotonic() < deadline, journal(machine)
        time.sleep(0.1)


def is_ready(machine: Machine) -> bool:
    return machine.run("nun-db", "status").returncode == 0


def test_the_service_runs_as_nobody_in_particular_and_goes_on(services_with_program: Machine, bundle: Path) -> None:
    services = services_with_program
    printed = services.succeed("sh", f"{bundle}/install.sh")
    assert "- the server runs: systemctl status pynun\n" in printed
    assert services.succeed("systemctl", "is-active", "pynun") == "active\n"
    assert services.succeed("systemctl", "is-enabled", "pynun") == "enabled\n"
    assert "valid auth\\n;create-db success" in administer(services, TUTORIAL)

    assert "ready; to stop it: systemctl stop pynun\n" in journal(services)
    assert shown(services, "StatusText") == "ready"

    # What the unit promises, as the kernel sees it.
    pid = process_id(services)
    status = services.succeed("cat", f"/proc/{pid}/status")
    user = services.succeed("id", "-u", "pynun").strip()
    assert re.search(rf"^Uid:\t{user}\t{user}\t{user}\t{user}$", status, re.MULTILINE)
    for line in ("NoNewPrivs:\t1", "Seccomp:\t2", "CapBnd:\t0000000000000000", "CapEff:\t0000000000000000"):
        assert line in status
    # As many as the unit says, or as the machine can give.
    limit = min(65536, files_max(services, 1))
    assert files_max(services, pid) == limit
    mounts = services.succeed("cat", f"/proc/{pid}/mounts")
    assert re.search(r"^\S+ / \S+ ro,", mounts, re.MULTILINE)

    # SIGHUP, a crash, a stop, a start.
    services.succeed("systemctl", "reload", "pynun")
    wait_until(lambda: "SIGHUP (a terminal was closed?) has no effect without TLS" in journal(services), services)
    services.succeed("kill", "-KILL", str(pid))
    wait_until(lambda: process_id(services) not in (0, pid) and is_ready(services), services)
    assert "empty;value kept" in administer(services, READ)
    services.succeed("systemctl", "stop", "pynun")
    assert (shown(services, "Result"), shown(services, "ActiveState")) == ("success", "inactive")
    # The journal hears of it a moment after systemd.
    wait_until(lambda: journal(services).count("stopped: all acknowledged changes are on disk") == 1, services)
    services.succeed("systemctl", "start", "pynun")
    wait_until(lambda: is_ready(services), services)
    assert "empty;value kept" in administer(services, READ)

    assert "The program is removed." in services.succeed("sh", "/opt/pynun/uninstall.sh", "--yes")
    assert services.run("systemctl", "is-active", "pynun").stdout == "inactive\n"
    assert services.run("systemctl", "cat", "pynun").returncode != 0


def test_a_restart_fails_with_a_wrong_setting_and_returns_when_clients_are_served(service: Machine) -> None:
    settings = service.root / "etc" / "pynun" / "pynun.env"
    good = settings.read_text()
    settings.write_text(f"{good}NUN_LOG_LEVEL=loud\n")
    failed = service.run("systemctl", "restart", "pynun")
    assert failed.returncode != 0
    assert "NUN_LOG_LEVEL: 'loud' is not accepted" in journal(service)
    settings.write_text(good)
    service.succeed("systemctl", "reset-failed", "pynun")
    for command in ("restart", "reload"):
        service.succeed("systemctl", command, "pynun")
        assert is_ready(service), journal(service)


def test_a_server_that_hangs_is_restarted(service: Machine) -> None:
    folder = service.root / "etc" / "systemd" / "system" / "pynun.service.d"
    folder.mkdir()
    (folder / "soon.conf").write_text("[Service]\nWatchdogSec=10\n")
    service.succeed("systemctl", "daemon-reload")
    service.succeed("systemctl", "restart", "pynun")
    pid = process_id(service)
    service.succeed("kill", "-STOP", str(pid))
    wait_until(lambda: process_id(service) not in (0, pid) and is_ready(service), service)
    assert "Watchdog timeout" in journal(service)


def test_an_upgrade_stops_and_starts_the_service(service: Machine, newer_bundle: Path) -> None:
    version = version_of(service)
    administer(service, TUTORIAL)
    for command, now in (
        (f"{newer_bundle}/install.sh --upgrade", NEWER),
        ("/opt/pynun/install.sh --rollback", version),
    ):
        before = process_id(service)
        assert "the server runs" in service.succeed("sh", *command.split())
        assert version_of(service) == now
        assert process_id(service) not in (0, before)
        assert f"version {now}, serving for" in service.succeed("nun-db", "status")
        assert "empty;value kept" in administer(service, READ)


def test_an_upgrade_that_does_not_get_ready_is_taken_back(service: Machine, newer_bundle: Path) -> None:
    version = version_of(service)
    administer(service, TUTORIAL)
    # A drop-in that lets this version start and no other.
    folder = service.root / "etc" / "systemd" / "system" / "pynun.service.d"
    folder.mkdir()
    check = f"/opt/pynun/current/bin/nun-db version | grep -Fqx 'nun-db {version}'"
    (folder / "only.conf").write_text(f'[Service]\nExecStartPre=/bin/sh -c "{check}"\n')
    service.succeed("systemctl", "daemon-reload")
    service.succeed("rm", "-r", f"/opt/pynun/versions/{NEWER}")  # it is made anew, as at a customer's
    failed = service.run("sh", f"{newer_bundle}/install.sh", "--upgrade")
    assert failed.returncode == 1
    assert "it failed; undoing what was done" in failed.stderr
    assert not (service.root / "opt" / "pynun" / "versions" / NEWER).exists()
    assert version_of(service) == version
    wait_until(lambda: is_ready(service), service)
    assert "empty;value kept" in administer(service, READ)


def test_a_server_that_imports_is_waited_for(services_with_program: Machine, bundle: Path) -> None:
    """The data of the original lies where the server's will be; the installer does not give up while it gets on."""
    services = services_with_program
    users: list[Key] = [(f"$$user_u{number}", 0, f"pwd-{number}") for number in range(USERS)]
    services.succeed("useradd", "--system", "--user-group", "--home-dir", DATA, "--no-create-home", "pynun")
    write_folder(services.root / DATA.lstrip("/"), {"hospital": [("$$token", 0, "hospital-pwd"), *users]})
    services.succeed("chown", "-R", "pynun:", DATA)
    services.succeed("chmod", "700", DATA)
    printed = services.succeed("sh", f"{bundle}/install.sh")
    assert re.search(
        r"^The server is starting: importing the data of the original Nun-db(: \d+ %)?; this waits until it is ready.\n"
        r"- the server runs: systemctl status pynun$",
        printed,
        re.MULTILINE,
    )
    wait_until(lambda: f"imported hospital (none): 0 keys, {USERS} users" in journal(services), services)
    assert '"valid auth\\n;empty"' in administer(services, "use-db hospital u7 pwd-7")
