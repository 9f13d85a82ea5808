"""Fixtures: the bundle, one of a newer version, and machines without internet."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.support.packages import copy_checkout, make_bundle, unpack
from tests.support.shared import made_once
from tests.system.installer.machine import running_machine
from tests.system.installer.systemd import running_systemd

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.system.installer.machine import Machine

NEWER = "99.1.0"


@pytest.fixture(scope="session")
def archive(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of this checkout for this machine's architecture; it is unpacked beside it."""

    def make(folder: Path) -> None:
        unpack(make_bundle(copy_checkout(folder / "source"), folder / "dist", packages))

    (found,) = (made_once(tmp_path_factory, "bundle", make) / "dist").glob("*.tar.gz")
    return found


@pytest.fixture(scope="session")
def bundle(archive: Path) -> Path:
    """The bundle, unpacked. Tests don't change it."""
    return archive.parent / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="session")
def newer_bundle(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a greater version, unpacked."""

    def make(folder: Path) -> None:
        unpack(make_bundle(copy_checkout(folder / "source", version=NEWER), folder / "dist", packages))

    (found,) = (made_once(tmp_path_factory, "newer", make) / "dist").glob("pynun-*[!.gz]")
    return found


@pytest.fixture(scope="session")
def installed_files(bundle: Path, newer_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a machine has that pynun was installed on, upgraded and rolled back again; no server has run."""

    def make(folder: Path) -> None:
        with running_machine() as machine:
            machine.succeed("sh", f"{bundle}/install.sh")
            machine.succeed("sh", f"{newer_bundle}/install.sh", "--upgrade")
            machine.succeed("sh", "/opt/pynun/install.sh", "--rollback")
            subprocess.run(["cp", "-a", f"{machine.root}/mnt/changes/.", folder], check=True, timeout=120)

    return made_once(tmp_path_factory, "installed", make)


@pytest.fixture(scope="session")
def program_files(installed_files: Path, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a machine has where nothing but the program's own folder is there: to make it takes most of the time."""
    versions = "opt/pynun/versions"

    def make(folder: Path) -> None:
        for name in ("etc", "usr/local", "var", versions):
            (folder / name).mkdir(parents=True)
        version = (bundle / "VERSION").read_text(encoding="ascii").strip()
        subprocess.run(["cp", "-a", installed_files / versions / version, folder / versions], check=True, timeout=120)

    return made_once(tmp_path_factory, "program", make)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine as new."""
    with running_machine() as running:
        yield running


@pytest.fixture(scope="module")
def untouched() -> Iterator[Machine]:
    """A machine as new for all tests of a module that leave it so."""
    with running_machine() as running:
        yield running


@pytest.fixture
def installed(installed_files: Path) -> Iterator[Machine]:
    """A machine with pynun; the server does not run."""
    with running_machine(installed_files) as running:
        yield running


@pytest.fixture
def with_program(program_files: Path) -> Iterator[Machine]:
    """A machine that install.sh makes all on but the program's own folder."""
    with running_machine(program_files) as running:
        yield running


@pytest.fixture
def services() -> Iterator[Machine]:
    """A machine as new, whose first process is systemd."""
    with running_systemd() as running:
        yield running


@pytest.fixture
def services_with_program(program_files: Path) -> Iterator[Machine]:
    """The same with the program's own folder, and nothing else of pynun."""
    with running_systemd(program_files) as running:
        yield running


@pytest.fixture
def installed_services(installed_files: Path) -> Iterator[Machine]:
    """The same with pynun; the server has not run yet, and systemd does not know it: install.sh does the rest."""
    with running_systemd(installed_files) as running:
        yield running


@pytest.fixture
def service(installed_services: Machine, bundle: Path) -> Machine:
    """The same with the server running."""
    installed_services.succeed("sh", f"{bundle}/install.sh")
    return installed_services
