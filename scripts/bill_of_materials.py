"""Lists what the server runs on, and asks whether weaknesses of it are known: see scripts/sbom --help.

The list is a CycloneDX bill of materials: the packages of requirements.lock with version, the hashes of the files that
may be installed, licence, and who needs whom. Nothing outside of this checkout and its environment is asked, and the
same lock file gives the same list, byte for byte.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

import dependency_sizes
from pynun import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY: Final = Path(__file__).resolve().parent.parent
LOCK: Final = REPOSITORY / "requirements.lock"
PROJECT: Final = "pynun"

EXIT_FAILED: Final = 1
EXIT_NOT_CHECKED: Final = 4
"""As in nun-db: no answer from whoever was asked."""

NOT_CHECKED: Final = "no database reachable, nothing checked"
AUDIT_SECONDS_MAX: Final = 300
ANSWER_SECONDS_MAX: Final = 15

_ENTRY: Final = re.compile(r"^(?P<name>[\w.-]+)==(?P<version>\S+)(?P<rest>.*?)(?=^\S|\Z)", re.DOTALL | re.MULTILINE)


class BillError(Exception):
    """The list can't be made; the text is one line that says what to do."""


@dataclass(frozen=True, slots=True)
class Package:
    """One entry of the lock file."""

    name: str
    version: str
    sha256: tuple[str, ...]
    """Of the files that may be installed, one for each platform."""
    needed_by: tuple[str, ...]


def normalised(name: str) -> str:
    """A package's name as package indexes and lock files compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(lock: str) -> list[Package]:
    """The entries of a lock file's text."""
    found = []
    for entry in _ENTRY.finditer(lock):
        comments = re.findall(r"^ +# +(?:via +)?([\w-]+)(?: \(pyproject\.toml\))?$", entry["rest"], re.MULTILINE)
        found.append(
            Package(
                normalised(entry["name"]),
                entry["version"],
                tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", entry["rest"])),
                tuple(sorted(normalised(name) for name in comments if name != "via")),
            )
        )
    return found


def licence(package: Package) -> str:
    """The licence that the installed package states.

    Raises BillError if it is not installed in the locked version.
    """
    try:
        installed = importlib.metadata.distribution(package.name)
    except importlib.metadata.PackageNotFoundError:
        version = "not there"
    else:
        version = installed.version
        if version == package.version:
            return dependency_sizes.licence(installed)
    raise BillError(
        f"{package.name} {package.version} of requirements.lock is needed for its licence, and is {version}:"
        " run scripts/sbom, which installs it"
    )


def bill(lock: str) -> str:
    """The bill of materials for a lock file's text, as JSON."""
    factory = LicenseFactory()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    root = Component(
        name=PROJECT,
        version=__version__,
        type=ComponentType.APPLICATION,
        bom_ref=PROJECT,
        description=project["description"],
        licenses=[factory.make_from_string(project["license"])],
    )
    bom = Bom(serial_number=uuid.uuid5(uuid.NAMESPACE_OID, f"{PROJECT} {__version__}\n{lock}"))
    bom.metadata.component = root
    packages = locked(lock)
    components = {PROJECT: root}
    for package in packages:
        url = PackageURL("pypi", None, package.name, package.version)
        components[package.name] = Component(
            name=package.name,
            version=package.version,
            type=ComponentType.LIBRARY,
            bom_ref=url.to_string(),
            purl=url,
            licenses=[factory.make_from_string(licence(package))],
            external_references=[
                ExternalReference(
                    type=ExternalReferenceType.DISTRIBUTION,
                    url=XsUri(url.to_string()),
                    hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in package.sha256],
                    comment="one of the files with these hashes is installed",
                )
            ],
        )
        bom.components.add(components[package.name])
    for name, component in components.items():
        bom.register_dependency(component, [components[one.name] for one in packages if name in one.needed_by])
    made: dict[str, Any] = json.loads(JsonV1Dot6(bom).output_as_string())
    made["metadata"].pop("timestamp", None)  # the same lock gives the same list
    return json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def check(lock: Path, database: str | None) -> int:
    """Ask for known vulnerabilities of what is locked; print them; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        where = ["--vulnerability-service", "osv", "--osv-url", database] if database else []
        try:
            done = subprocess.run(
                [
                    sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--disable-pip",
                    "--progress-spinner", "off", "--timeout", str(ANSWER_SECONDS_MAX),
                    "--cache-dir", str(Path(folder) / "cache"), "--format", "json", "--output", str(answer), *where,
                ],
                capture_output=True,
                text=True,
                check=False,
                timeout=AUDIT_SECONDS_MAX,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            print(f"{NOT_CHECKED}: no answer within {AUDIT_SECONDS_MAX} s")
            return EXIT_NOT_CHECKED
        if not answer.exists():
            reason = (done.stderr.strip().splitlines() or ["pip-audit gave no reason"])[-1]
            print(f"{NOT_CHECKED}: {reason}")
            return EXIT_NOT_CHECKED
        lines, code = verdict(json.loads(answer.read_text(encoding="utf-8"))["dependencies"])
    print("\n".join(lines))
    return code


def verdict(packages: Sequence[dict[str, Any]]) -> tuple[list[str], int]:
    """What pip-audit's answer means, in lines, and the exit code.

    A package that the database does not know is not one without vulnerabilities: it counts as not checked.
    """
    skipped = [package["name"] for package in packages if "skip_reason" in package]
    checked = [package for package in packages if "skip_reason" not in package]
    if not checked:
        return [f"{NOT_CHECKED}: what answers there knows none of the {len(packages)} packages"], EXIT_NOT_CHECKED
    vulnerable = [package for package in checked if package["vulns"]]
    lines = []
    for package in vulnerable:
        for vulnerability in package["vulns"]:
            names = ", ".join([vulnerability["id"], *vulnerability["aliases"]])
            versions = ", ".join(vulnerability["fix_versions"]) or "no version yet"
            lines.append(f"{package['name']} {package['version']}: {names}; mended in: {versions}")
    lines.append(f"{len(checked)} of {len(packages)} packages checked, {len(vulnerable)} with known vulnerabilities")
    if skipped:
        lines.append(f"not checked, for the database does not know them: {', '.join(skipped)}")
    return lines, EXIT_FAILED if vulnerable else EXIT_NOT_CHECKED if skipped else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/sbom",
        description="Writes a CycloneDX SBOM (JSON) of what the server runs on, from requirements.lock, without any"
        " network; or asks whether vulnerabilities of it are known.",
        epilog="Exit codes of --check: 0 all packages are known and none is vulnerable; 1 there are vulnerabilities;"
        " 4 no database reachable, or it does not know all packages.",
    )
    parser.add_argument("--output", type=Path, metavar="FILE", help="write there; default: standard output")
    parser.add_argument("--check", action="store_true", help="ask for known vulnerabilities instead")
    parser.add_argument(
        "--database", metavar="URL", help="with --check: one of the house's own, which answers as OSV's does"
    )
    asked = parser.parse_args(arguments)
    if asked.database and not asked.check:
        parser.error("--database is for --check")
    if asked.check:
        if asked.output:
            parser.error("--check writes no SBOM: give --output by itself")
        return check(LOCK, asked.database)
    try:
        made = bill(LOCK.read_text(encoding="utf-8"))
        if asked.output is None:
            sys.stdout.write(made)
        else:
            asked.output.write_text(made, encoding="utf-8")
    except (BillError, OSError) as error:
        print(f"scripts/sbom: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
