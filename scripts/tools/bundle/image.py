"""Building the container image with docker, and saving it as a tar that `docker load` takes."""

from __future__ import annotations

import platform
import shutil
import subprocess
from typing import TYPE_CHECKING, Final

from tools.bundle.source import run, version

if TYPE_CHECKING:
    from pathlib import Path

BASE: Final = "python:3.13-slim-trixie"
"""What the Dockerfile says, too."""


def docker() -> str:
    """The program; Debian's own where there are several."""
    return shutil.which("docker", path="/usr/bin") or "docker"


def why_not(architecture: str) -> str | None:
    """Why this machine can't build the image; None if it can."""
    if architecture != platform.machine():
        return f"an image for {architecture} is built on a machine of that kind, with docker/Dockerfile"
    if shutil.which(docker()) is None:
        return "docker is not installed here"
    asked = subprocess.run([docker(), "version"], capture_output=True, text=True, timeout=60, check=False)
    return None if asked.returncode == 0 else "docker does not answer here"


def build(context: Path, base: str, tag: str) -> None:
    """Build the image of a folder with wheels/ and docker/Dockerfile, without a network. Raises BundleError."""
    run(
        [
            *(docker(), "build", "--network", "none", "--tag", tag, "--file", context / "docker" / "Dockerfile"),
            *("--build-arg", f"BASE={base}", "--build-arg", f"VERSION={version()}", context),
        ],
        "building the image",
        environment={"DOCKER_BUILDKIT": "1"},
    )


def save(tag: str, tar: Path) -> None:
    """Write the image to a tar. Raises BundleError."""
    run([docker(), "save", "--output", tar, tag], "saving the image")
