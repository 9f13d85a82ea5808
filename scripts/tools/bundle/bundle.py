"""One file with all that a machine without internet needs: `pynun-VERSION-linux-ARCHITECTURE.tar.gz`.

Within it, in one folder: the packages, install.sh and uninstall.sh with what they need, the image as a tar and what it
is built from, the documentation, the list of parts (SBOM), and SHA256SUMS over all of these. What can't be made on this
machine (the image without docker, say) is left out, and that is said. The same source gives the same bundle but for
the image, whose tar holds times.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import platform
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tools.bundle import image
from tools.bundle.source import ARCHITECTURES, PYTHONS, REPOSITORY, BundleError, run, say, source_seconds, version
from tools.bundle.wheels import make_wheels
from tools.etcd.parts import components, copy_with_licences
from tools.etcd.program import MissingEtcdError, find_etcd

if TYPE_CHECKING:
    from collections.abc import Sequence

_INSTALLER: Final = (
    *("README.txt", "install.sh", "uninstall.sh", "pynun.service", "data_folder.py"),
    *("pynun-etcd.service", "cluster_certificates.sh"),
)
_IMAGE_SOURCES: Final = (
    *("Dockerfile", "compose.yaml", "compose.tls.yaml", "compose.cluster.yaml", "compose.cluster-demo.yaml"),
    *("etcd/Dockerfile",),
)


def make_bundle(output: Path, architecture: str, *, packages: Path | None, base: str | None, wants_image: bool) -> Path:
    """Make the bundle in the folder; returns its path. Raises BundleError."""
    name = f"pynun-{version()}-linux-{architecture}"
    with tempfile.TemporaryDirectory(prefix="pynun-bundle-") as temporary:
        folder = Path(temporary) / name
        folder.mkdir()
        make_wheels(folder / "wheels", [architecture], PYTHONS, packages)
        for needless in (folder / "wheels").glob("setuptools-*.whl"):
            needless.unlink()
        for file in _INSTALLER:
            shutil.copy2(REPOSITORY / "scripts" / "installer" / file, folder)
        for file in ("LICENSE", "CHANGELOG.md"):
            shutil.copy2(REPOSITORY / file, folder)
        (folder / "VERSION").write_text(f"{version()}\n", encoding="ascii")
        (folder / "ARCHITECTURE").write_text(f"{architecture}\n", encoding="ascii")
        _add_documentation(folder)
        _add_parts_list(folder)
        _add_etcd(folder, architecture)
        _add_image(folder, architecture, base if wants_image else None)
        _write_sums(folder)
        output.mkdir(parents=True, exist_ok=True)
        return _pack(folder, output / f"{name}.tar.gz")


def _add_documentation(folder: Path) -> None:
    say("making the documentation")
    _run_tool("tools.docs.as_html", folder / "docs", "making the documentation")


def _add_parts_list(folder: Path) -> None:
    say("listing the parts (SBOM)")
    _run_tool("tools.sbom", folder / "sbom.json", "listing the parts")


def _add_etcd(folder: Path, architecture: str) -> None:
    """etcd for clusters, with its licences, and in the list of parts; beside what its image is built from."""
    try:
        program = find_etcd(architecture)
    except MissingEtcdError as error:
        say(f"without etcd, so install.sh --cluster can't work: {error}")
        return
    copy_with_licences(program, folder / "docker" / "etcd")
    listed = folder / "sbom.json"
    found = json.loads(listed.read_text(encoding="utf-8"))
    found["components"] += components()
    listed.write_text(json.dumps(found, indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")


def _run_tool(module: str, output: Path, what: str) -> None:
    """Run another tool of the checkout, in the environment that this one runs in. Raises BundleError."""
    scripts = REPOSITORY / "scripts"
    run(
        [sys.executable, "-P", "-m", module, "--output", output],
        what,
        environment={"PYTHONPATH": f"{scripts}:{REPOSITORY}"},
    )


def _add_image(folder: Path, architecture: str, base: str | None) -> None:
    """The image, and what it is built from: the unpacked bundle is the folder to build it in, without any network."""
    for file in _IMAGE_SOURCES:
        place = folder / "docker" / file
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(REPOSITORY / "docker" / file, place)
    shutil.copy2(REPOSITORY / ".dockerignore", folder)
    reason = image.why_not(architecture) if base is not None else "it was not asked for"
    if reason is not None or base is None:
        say(f"without the image as a tar: {reason}")
        return
    say(f"building the image on {base}")
    image.build(folder, base, f"pynun:{version()}")
    image.save(f"pynun:{version()}", folder / "docker" / f"pynun-{version()}-image.tar")


def _write_sums(folder: Path) -> None:
    lines = []
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        lines.append(f"{digest}  {path.relative_to(folder).as_posix()}\n")
    (folder / "SHA256SUMS").write_text("".join(lines), encoding="utf-8")


def _pack(folder: Path, archive: Path) -> Path:
    """Pack the folder: entries in order, of nobody, at the source's time; whole under its name, or not there."""
    seconds = source_seconds()
    unfinished = archive.with_name(f".{archive.name}.unfinished")

    def plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = "root"
        entry.mtime = seconds
        entry.mode = 0o755 if entry.isdir() or entry.name.endswith((".sh", "/docker/etcd/etcd")) else 0o644
        return entry

    try:
        with (
            unfinished.open("wb") as raw,
            gzip.GzipFile(filename="", fileobj=raw, mode="wb", compresslevel=6, mtime=seconds) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as tar,
        ):
            for path in [folder, *sorted(folder.rglob("*"))]:
                tar.add(path, path.relative_to(folder.parent).as_posix(), recursive=False, filter=plain)
        os.replace(unfinished, archive)
    finally:
        unfinished.unlink(missing_ok=True)
    return archive


def main(arguments: Sequence[str]) -> int:
    """The command scripts/bundle."""
    parser = argparse.ArgumentParser(
        prog="scripts/bundle",
        description="Make one file with all that a machine without internet needs to install pynun.",
    )
    parser.add_argument("--output", metavar="FOLDER", type=Path, default=REPOSITORY / "dist", help="default: dist")
    parser.add_argument(
        "--architecture", choices=ARCHITECTURES, default=platform.machine(), help="default: this machine's"
    )
    parser.add_argument("--packages", metavar="FOLDER", type=Path, help="take the packages from here; no network")
    parser.add_argument(
        "--base", metavar="IMAGE", default=image.BASE, help=f"what the image is built on; default: {image.BASE}"
    )
    parser.add_argument("--no-image", action="store_true", help="leave the image out")
    given = parser.parse_args(arguments)
    try:
        archive = make_bundle(
            given.output,
            given.architecture,
            packages=given.packages,
            base=given.base,
            wants_image=not given.no_image,
        )
    except BundleError as error:
        say(f"scripts/bundle: {error}")
        return 1
    say(f"made {archive} ({archive.stat().st_size / 1e6:.1f} MB)")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
