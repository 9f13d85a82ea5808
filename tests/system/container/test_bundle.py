"""The bundle with the image in it, made by docker as for a hospital, and the image loaded from there."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pynun import __version__
from tests.system.container.conftest import BASE
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.container.engine import Engine

pytestmark = pytest.mark.timeout(1200)

_MAKE_SECONDS_MAX = 900.0


def test_the_bundle_holds_the_image(engine: Engine, image: str, packages: Path, tmp_path: Path) -> None:
    made = subprocess.run(
        [
            *(sys.executable, "-P", "-m", "tools.bundle.bundle", "--output", tmp_path),
            *("--packages", packages, "--base", BASE),
        ],
        env={**engine.environment(), "PYTHONPATH": f"{REPOSITORY / 'scripts'}:{REPOSITORY}"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=_MAKE_SECONDS_MAX,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    assert "without the image" not in made.stderr
    (archive,) = tmp_path.glob("pynun-*.tar.gz")
    subprocess.run(["tar", "-xzf", archive, "-C", tmp_path], check=True, timeout=60)
    bundle = tmp_path / archive.name.removesuffix(".tar.gz")
    tar = bundle / "docker" / f"pynun-{__version__}-image.tar"
    assert f"  docker/{tar.name}\n" in (bundle / "SHA256SUMS").read_text()
    subprocess.run(["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=bundle, check=True, timeout=60)
    tag = f"pynun:{__version__}"
    try:
        engine.docker("rmi", tag)  # it is known here, for it was built here
        assert tag in engine.docker("load", "--input", str(tar))
        assert engine.docker("run", "--rm", tag, "nun-db", "version") == f"nun-db {__version__}"
        assert engine.inspect(tag)["Config"]["Labels"]["org.opencontainers.image.version"] == __version__
    finally:
        engine.try_docker("rmi", tag)
    print(f"bundle: {archive.stat().st_size / 1e6:.1f} MB, its image {tar.stat().st_size / 1e6:.1f} MB")
