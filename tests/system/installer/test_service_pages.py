"""The commands that the pages show for a service are typed, where systemd runs and there is no internet."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import blocks, commands
from tests.support.certificates import Authority
from tests.support.nundb_files import REFERENCE_FOLDER
from tests.system.installer.conftest import NEWER
from tests.system.installer.test_install import DATA, READ, SETTINGS, TUTORIAL, administer, version_of
from tests.system.installer.test_services import is_ready, journal, wait_until
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.system.installer.machine import Machine

pytestmark = pytest.mark.timeout(1800)

DOCS = REPOSITORY / "docs"

_TYPED = """\
cd {folder}
sudo() {{ "$@"; }}
journalctl() {{  # with -f it never ends: it is looked at until the server is ready
    for look in $(seq 60); do
        said=$(timeout 2 /usr/bin/journalctl "$@" || [ $? = 124 ])
        case $said in *"ready; to stop it"*) break ;; esac
    done
    printf '%s\n' "$said"
}}
{text}"""


def type_in(machine: Machine, folder: Path, page: str, put: Mapping[str, str] | None = None, *, number: int = 0) -> str:
    """Type a block of a page, with other words in the place of some; returns what is printed."""
    text = commands(DOCS / page, "service")[number].text
    for word, other in (put or {}).items():
        assert word in text
        text = text.replace(word, other)
    return machine.succeed("env", "USER=root", "bash", "-euc", _TYPED.format(folder=folder, text=text))


def test_a_migration(service: Machine, tmp_path: Path) -> None:
    shutil.copytree(REFERENCE_FOLDER, tmp_path / "nun-db-data")
    assert "imported into /var/lib/pynun: 4 databases" in type_in(service, tmp_path, "migration.md")
    wait_until(lambda: is_ready(service), service)
    assert "empty;value 42" in administer(service, "use-db hospital hospital-pwd; get n")


def test_a_restore(service: Machine, tmp_path: Path) -> None:
    administer(service, TUTORIAL)
    service.succeed("mkdir", "/var/backup")
    service.succeed("nun-db", "backup", "/var/backup/monday.backup", "--data-dir", DATA)
    administer(service, "use features-of-db features-of-db-pwd; set client-a changed")
    service.succeed("systemctl", "stop", "pynun")
    type_in(service, tmp_path, "backup.md", {"/srv/backup": "/var/backup"})
    service.succeed("systemctl", "start", "pynun")
    wait_until(lambda: is_ready(service), service)
    assert "empty;value kept" in administer(service, READ)


def test_a_certificate_and_its_renewal(service: Machine, tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    status = ("nun-db", "-h", "https://localhost:3013", "--ca", str(authority.file), "status")
    for name in ("first", "renewed"):
        certificate, key = authority.issue(name)
        shutil.copy(certificate, tmp_path / "cert.pem")
        shutil.copy(key, tmp_path / "key.pem")
        type_in(service, tmp_path, "tls.md")
        if name == "first":
            with (service.root / SETTINGS.lstrip("/")).open("a") as settings:
                settings.write("NUN_TLS_CERT=/etc/pynun/cert.pem\nNUN_TLS_KEY=/etc/pynun/key.pem\n")
            service.succeed("systemctl", "restart", "pynun")
        else:
            service.succeed("systemctl", "reload", "pynun")
            wait_until(lambda: "the certificate /etc/pynun/cert.pem was reloaded" in journal(service), service)
        wait_until(lambda: service.run(*status).returncode == 0, service)


def test_going_back_with_the_backup_from_before(service: Machine, newer_bundle: Path, tmp_path: Path) -> None:
    version = version_of(service)
    administer(service, TUTORIAL)
    service.succeed("sh", f"{newer_bundle}/install.sh", "--upgrade")
    administer(service, "use features-of-db features-of-db-pwd; set client-a changed")
    type_in(service, tmp_path, "upgrade.md", {"OLDER": version, "NEWER": NEWER})
    assert version_of(service) == version
    wait_until(lambda: is_ready(service), service)
    assert "empty;value kept" in administer(service, READ)


def test_a_service_made_by_hand(services: Machine, packages: Path, tmp_path: Path) -> None:
    """docs/running.md, in a checkout; pip finds its packages in a folder, for there is no internet here."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "requirements.lock"):
        shutil.copy2(REPOSITORY / name, checkout)
    shutil.copytree(REPOSITORY / "pynun", checkout / "pynun", ignore=shutil.ignore_patterns("__pycache__"))
    offline = f"export PIP_CONFIG_FILE=/dev/null PIP_NO_INDEX=1 PIP_FIND_LINKS={packages}\nsudo install -d"
    type_in(services, checkout, "running.md", {"sudo install -d": offline})
    page = {block.info: block.text for block in blocks(DOCS / "running.md")}
    services.succeed("install", "-d", "-m", "700", "/etc/nun-db")
    (services.root / "etc" / "nun-db" / "environment").write_text(page["text environment"])
    (services.root / "etc" / "systemd" / "system" / "nun-db.service").write_text(page["ini unit"])
    said = type_in(services, checkout, "running.md", number=1)
    assert "Active: active (running)" in said
    assert "ready; to stop it" in said
    command = ("/opt/pynun/bin/nun-db", "-u", "user-name", "-p", "choose-a-long-one")
    services.succeed(*command, "create-db", "-d", "features-of-db", "-t", "features-of-db-pwd")
    owner = services.succeed("stat", "-c", "%U %a", "/var/lib/nun-db", "/var/lib/nun-db/dbs/data.mdb")
    assert owner == "nun-db 700\nnun-db 600\n"
    services.succeed("systemctl", "stop", "nun-db")
    last = "stopped: all acknowledged changes are on disk"
    wait_until(lambda: last in services.succeed("journalctl", "--unit", "nun-db", "--no-pager"), services)


def test_backups_on_a_schedule_need_a_drop_in(service: Machine) -> None:
    """docs/install.md: the unit lets the server write its data folder only; a drop-in names another."""
    service.succeed("install", "-d", "-o", "pynun", "-m", "700", "/var/backup")
    with (service.root / SETTINGS.lstrip("/")).open("a") as settings:
        settings.write("NUN_BACKUP_DIR=/var/backup\n")
    service.succeed("systemctl", "restart", "pynun")
    wait_until(
        lambda: (
            "can't be used: Read-only file system; as a service of systemd, the unit needs ReadWritePaths= for it"
            in journal(service)
        ),
        service,
    )
    (drop_in,) = [block.text for block in blocks(DOCS / "install.md") if "ReadWritePaths=" in block.text]
    folder = service.root / "etc" / "systemd" / "system" / "pynun.service.d"
    folder.mkdir()
    (folder / "override.conf").write_text(drop_in.replace("/srv/backup", "/var/backup"))
    service.succeed("systemctl", "daemon-reload")
    service.succeed("systemctl", "restart", "pynun")
    wait_until(lambda: "backup made: /var/backup/" in journal(service), service)
