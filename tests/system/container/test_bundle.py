"""The bundle with the image in it, made by docker as for a hospital, and the image loaded from there."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from pynun import __version__
from tests.support.packages import copy_checkout, make_bundle, unpack
from tests.system.container.conftest import BASE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.container.engine import Engine

pytestmark = pytest.mark.timeout(1800)


def test_the_bundle_holds_the_image(engine: Engine, image: str, packages: Path, tmp_path: Path) -> None:
    source, output = copy_checkout(tmp_path / "source"), tmp_path / "dist"
    archive = make_bundle(source, output, packages, "--base", BASE, environment=engine.environment())
    bundle = unpack(archive)
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
