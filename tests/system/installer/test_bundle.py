"""The bundle itself: complete for every supported Python and architecture, and the same each time."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

import pytest

from tests.support.bill_of_materials import check_bill
from tests.support.node import leave_out
from tests.support.packages import PYTHONS, copy_checkout, make_bundle, make_packages, unpack
from tools.clients.server import REPOSITORY, clean_environment
from tools.docs import man_pages

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(1800)

INSTALLER = REPOSITORY / "scripts" / "installer"


def test_a_folder_of_packages_that_lacks_one_is_told_in_a_line(tmp_path: Path) -> None:
    made = subprocess.run(
        [sys.executable, "-P", "-m", "tools.bundle.bundle", "--output", tmp_path / "dist", "--packages", tmp_path],
        env={**clean_environment({}), "PYTHONPATH": f"{REPOSITORY / 'scripts'}:{REPOSITORY}"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.returncode == 1
    last = made.stderr.splitlines()[-1]
    assert "one setuptools-*.whl is needed among the packages: scripts/wheels downloads" in last
    assert "Traceback" not in made.stderr


def test_what_is_in_it(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        names = [name.partition("/")[2] for name in tar.getnames()]
    assert {
        "README.txt",
        "install.sh",
        "uninstall.sh",
        "pynun.service",
        "pynun-etcd.service",
        "cluster_certificates.sh",
        "data_folder.py",
        "SHA256SUMS",
        "sbom.json",
        "VERSION",
        "LICENSE",
        "CHANGELOG.md",
        "wheels/requirements.txt",
        "docker/Dockerfile",
        "docker/compose.yaml",
        "docker/compose.tls.yaml",
        "docker/compose.cluster.yaml",
        "docker/etcd/Dockerfile",
        "docker/etcd/etcd",
        "docker/etcd/LICENSE",
        "docker/etcd/licences/go.etcd.io/raft/v3/LICENSE",
        ".dockerignore",
    } <= set(names)
    assert any(name.startswith("docs/") for name in names)
    for python in PYTHONS:
        assert any(re.match(rf"wheels/lmdb-.*-cp{python.replace('.', '')}-.*\.whl", name) for name in names)
    for package in ("pip", "pynun"):
        assert len([name for name in names if name.startswith(f"wheels/{package}-")]) == 1
    assert not [name for name in names if "setuptools" in name]
    print(f"bundle: {archive.stat().st_size / 1e6:.1f} MB")


def test_the_sums_cover_all_of_it(bundle: Path) -> None:
    listed = {}
    for line in (bundle / "SHA256SUMS").read_text().splitlines():
        digest, _, name = line.partition("  ")
        listed[name] = digest
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()} - {"SHA256SUMS"}
    assert listed.keys() == files
    for name, digest in listed.items():
        assert hashlib.sha256((bundle / name).read_bytes()).hexdigest() == digest


def test_etcd_and_its_modules_are_in_the_list_of_parts(bundle: Path) -> None:
    text = (bundle / "sbom.json").read_text(encoding="utf-8")
    check_bill(text)
    (etcd,) = [part for part in json.loads(text)["components"] if part["name"] == "etcd"]
    assert {module["name"] for module in etcd["components"]} == {
        path.parent.relative_to(bundle / "docker" / "etcd" / "licences").as_posix()
        for path in (bundle / "docker" / "etcd" / "licences").rglob("LICENSE*")
        if path.is_file()
    }


def test_the_same_source_gives_the_same_bundle(bundle: Path, packages: Path, tmp_path: Path) -> None:
    again = unpack(make_bundle(copy_checkout(tmp_path / "source"), tmp_path / "dist", packages))
    first, second = ((folder / "SHA256SUMS").read_text().splitlines() for folder in (bundle, again))
    assert first == second


def test_there_are_packages_for_the_other_architecture(tmp_path: Path) -> None:
    folder = make_packages(tmp_path, "--architecture", "aarch64")
    compiled = [file.name for file in folder.glob("*.whl") if not file.name.endswith("-none-any.whl")]
    assert compiled
    assert all("aarch64" in name for name in compiled)
    for python in PYTHONS:
        assert [name for name in compiled if re.match(rf"lmdb-.*-cp{python.replace('.', '')}-", name)]


def test_what_the_own_wheel_holds(packages: Path, tmp_path: Path) -> None:
    (wheel,) = packages.glob("pynun-*.whl")
    shutil.unpack_archive(wheel, tmp_path, "zip")
    assert (tmp_path / "pynun" / "demo" / "static" / "index.html").is_file()
    assert (tmp_path / "pynun" / "py.typed").is_file()
    own = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "pynun").rglob("*.py")}
    assert own == {path.relative_to(tmp_path).as_posix() for path in (tmp_path / "pynun").rglob("*.py")}
    data = {path.relative_to(path.parents[3]).as_posix() for path in tmp_path.glob("pynun-*.data/data/share/*/*/*")}
    assert data >= {"share/man/man1/nun-db.1", "share/man/man1/nun-db-start.1", *man_pages.COMPLETIONS.values()}


def test_the_commands_in_the_readme_are_those_of_the_pages(archive: Path) -> None:
    with tarfile.open(archive) as tar:
        (name,) = [name for name in tar.getnames() if name.endswith("/README.txt") and name.count("/") == 1]
        file = tar.extractfile(name)
        assert file is not None
        lines = file.read().decode("ascii").splitlines()
    assert max(map(len, lines)) <= 80
    pages = "".join(page.read_text(encoding="utf-8") for page in (REPOSITORY / "docs").glob("*.md"))
    typed = [line.strip() for line in lines if line.startswith("    ")]
    assert len(typed) > 10
    assert [command for command in typed if command not in pages] == []


@pytest.mark.parametrize("script", ["install.sh", "uninstall.sh", "cluster_certificates.sh"])
def test_the_scripts_are_for_every_shell(script: str) -> None:
    if shutil.which("shellcheck") is None:
        leave_out("shellcheck is not installed (apt-get install shellcheck)")
    checked = subprocess.run(
        ["shellcheck", "--shell", "sh", INSTALLER / script], capture_output=True, text=True, timeout=60, check=False
    )
    assert checked.returncode == 0, checked.stdout


def test_systemd_takes_the_unit_and_finds_it_safe(tmp_path: Path) -> None:
    analyse = shutil.which("systemd-analyze")
    if analyse is None:
        leave_out("systemd-analyze is not installed (apt-get install systemd)")
    text = (INSTALLER / "pynun.service").read_text()
    for name, value in (("USER", "root"), ("GROUP", "root"), ("DATA_DIR", "/var"), ("CONFIG_DIR", "/etc")):
        text = text.replace(f"@{name}@", value)
    text = text.replace("@PREFIX@/current/bin/nun-db", sys.executable).replace("@PREFIX@", "/opt/pynun")
    unit = tmp_path / "pynun.service"
    unit.write_text(text)
    verified = subprocess.run([analyse, "verify", unit], capture_output=True, text=True, timeout=60, check=False)
    told = [line for line in (verified.stdout + verified.stderr).splitlines() if "pynun" in line]
    assert (verified.returncode, told) == (0, [])
    judged = subprocess.run(
        [analyse, "security", "--offline=yes", unit], capture_output=True, text=True, timeout=60, check=False
    )
    exposure = re.search(r"Overall exposure level for \S+: ([0-9.]+)", judged.stdout)
    assert exposure is not None, judged.stdout + judged.stderr
    assert float(exposure[1]) <= 2.0
    print(f"exposure: {exposure[1]}")
