"""The packages of the image and the bundle, downloaded as their users download them, and the bundle itself."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Final

from tests.docs.blocks import prose
from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

PYTHONS: Final = ("3.11", "3.12", "3.13")
_MAKE_SECONDS_MAX: Final = 600.0


def make_packages(folder: Path, *options: str) -> Path:
    """Run scripts/wheels; returns the folder."""
    versions = (part for python in PYTHONS for part in ("--python", python))
    _run_tool(REPOSITORY, "wheels", "--output", folder, *versions, *options, environment=clean_environment({}))
    return folder


def copy_checkout(folder: Path, *, version: str | None = None) -> Path:
    """Copy what a bundle is made from, perhaps with another version, into a new folder, which is returned.

    Of each page in docs/ it has the headings only: the bundle's HTML is made in a moment, and links still lead there.
    """
    folder.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "requirements.lock", ".dockerignore"):
        shutil.copy2(REPOSITORY / name, folder)
    for name in ("pynun", "scripts", "docker", "docs"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for page in (folder / "docs").rglob("*.md"):
        if page.name != "README.md":
            page.write_text("\n\n".join(re.findall("^#+ .*", prose(page), re.MULTILINE)), encoding="utf-8")
    if version is not None:
        module = folder / "pynun" / "__init__.py"
        text = module.read_text(encoding="utf-8")
        module.write_text(re.sub("(?m)^__version__ = .*$", f'__version__ = "{version}"', text), encoding="utf-8")
    return folder


def make_bundle(
    source: Path, output: Path, packages: Path, *options: str, environment: Mapping[str, str] | None = None
) -> Path:
    """Run scripts/bundle of a checkout; returns the bundle."""
    environment = {**(environment or clean_environment({})), "SOURCE_DATE_EPOCH": "1700000000"}
    options = options or ("--no-image",)
    _run_tool(source, "bundle", "--output", output, "--packages", packages, *options, environment=environment)
    (archive,) = output.glob("pynun-*.tar.gz")
    return archive


def _run_tool(source: Path, name: str, *arguments: str | Path, environment: Mapping[str, str]) -> None:
    """Run a module of a checkout's tools.bundle."""
    made = subprocess.run(
        [sys.executable, "-P", "-m", f"tools.bundle.{name}", *arguments],
        env={**environment, "PYTHONPATH": f"{source / 'scripts'}:{source}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_MAKE_SECONDS_MAX,
        check=False,
    )
    assert made.returncode == 0, made.stderr


def unpack(archive: Path) -> Path:
    """Unpack a bundle as a person would; returns the folder in it."""
    subprocess.run(["tar", "-xzf", archive, "-C", archive.parent], check=True, timeout=60)
    return archive.parent / archive.name.removesuffix(".tar.gz")
