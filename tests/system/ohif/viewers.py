"""The released viewers: what `npm pack @ohif/app` brings, unpacked once for this checkout."""

from __future__ import annotations

import base64
import fcntl
import hashlib
import subprocess
import tarfile
import tempfile
from pathlib import Path
from typing import Final

from tests.support.node import leave_out, require_node
from tools.clients.server import REPOSITORY

PACK_SECONDS_MAX = 600

VERSIONS: Final = {
    "3.12.10": "sha512-0kuF66Mq9c9dMD++bUsTjMrJpXJwaZhz9B4uS244DawAjSkTwIYFU93pxPuRUQixaRi7QAHlF3Fe1qudBlZrmA==",
    "3.13.2": "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA==",
}
"""The newest of each of the two newest minor versions, and what the registry says of its package (`dist.integrity`)."""


def viewer(version: str) -> Path:
    """The folder `dist` of a viewer; the test is skipped, or fails in continuous integration, if it can't be had."""
    require_node()
    folder = REPOSITORY / "build" / "ohif" / version
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _unpack(version, folder)
    return folder / "package" / "dist"


def _unpack(version: str, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent) as there:
        packed = subprocess.run(
            ["npm", "pack", f"@ohif/app@{version}", "--pack-destination", there, "--loglevel=error"],
            cwd=REPOSITORY / "tests", capture_output=True, text=True, timeout=PACK_SECONDS_MAX, check=False,
        )  # fmt: skip
        archive = next(Path(there).glob("*.tgz"), None)
        if packed.returncode != 0 or archive is None:
            leave_out(f"the viewer @ohif/app {version} can't be had from npm: {packed.stderr.strip()[-500:]}")
        digest = base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
        assert f"sha512-{digest}" == VERSIONS[version], "the package is not the one that these tests are for"
        unpacked = Path(there) / "unpacked"
        with tarfile.open(archive) as opened:
            opened.extractall(unpacked, filter="data")
        unpacked.rename(folder)
