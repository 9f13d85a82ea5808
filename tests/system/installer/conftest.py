"""Fixtures: the bundle, one of a newer version, and a machine without internet."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.system.installer.machine import Machine, running_machine
from tests.system.installer.systemd import running_systemd
from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

_MAKE_SECONDS_MAX = 600.0
NEWER = "99.1.0"


def make_bundle(source: Path, output: Path, *options: str) -> Path:
    """Run scripts/bundle of a checkout; returns the bundle."""
    made = subprocess.run(
        [sys.executable, "-P", "-m", "tools.bundle.bundle", "--output", output, "--no-image", *options],
        env={
            **clean_environment({}),
            "PYTHONPATH": f"{source / 'scripts'}:{source}",
            "SOURCE_DATE_EPOCH": "1700000000",
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_MAKE_SECONDS_MAX,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    return Path(made.stderr.splitlines()[-1].split(" ")[1])


def unpack(archive: Path, folder: Path) -> Path:
    """Unpack a bundle as a person would; returns the folder in it."""
    subprocess.run(["tar", "-xzf", archive, "-C", folder], check=True, timeout=60)
    return folder / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="session")
def archive(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of this checkout for this machine's architecture."""
    return make_bundle(REPOSITORY, tmp_path_factory.mktemp("bundle"), "--packages", str(packages))


@pytest.fixture(scope="session")
def bundle(archive: Path) -> Path:
    """The bundle, unpacked. Tests don't change it."""
    return unpack(archive, archive.parent)


@pytest.fixture(scope="session")
def newer_bundle(packages: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same with a greater version, unpacked."""
    source = tmp_path_factory.mktemp("newer")
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "requirements.lock", ".dockerignore"):
        shutil.copy2(REPOSITORY / name, source)
    for name in ("pynun", "scripts", "docker", "docs"):
        shutil.copytree(REPOSITORY / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    module = source / "pynun" / "__init__.py"
    text = module.read_text(encoding="utf-8").splitlines()
    changed = [f'__version__ = "{NEWER}"' if line.startswith("__version__ =") else line for line in text]
    module.write_text("\n".join(changed) + "\n", encoding="utf-8")
    return unpack(make_bundle(source, source / "dist", "--packages", str(packages)), source / "dist")


@pytest.fixture
def machine() -> Iterator[Machine]:
    """A machine as new."""
    with running_machine() as running:
        yield running


@pytest.fixture
def services() -> Iterator[Machine]:
    """A machine as new, whose first process is systemd."""
    with running_systemd() as running:
        yield running


def names_in(archive: Path) -> list[str]:
    """What is packed in a bundle, without its folder's name."""
    with tarfile.open(archive) as tar:
        return [name.partition("/")[2] for name in tar.getnames()]
