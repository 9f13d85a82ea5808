"""Lists what the server runs on, and asks whether vulnerabilities of it are known: see scripts/sbom --help."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pynun import __version__

if TYPE_CHECKING:
    from collections.abc import Sequence

REPOSITORY: Final = Path(__file__).resolve().parents[2]
LOCK: Final = REPOSITORY / "requirements.lock"
EXIT_NOT_CHECKED: Final = 4
"""As in nun-db: nobody answered."""
NOT_CHECKED: Final = "no database reachable, nothing checked"
ANSWER_SECONDS_MAX: Final = 15


def bill(lock: Path) -> dict[str, Any]:
    """The CycloneDX bill of materials: what a lock file lists with its hashes, with licences and dependencies as
    installed beside this interpreter. The same lock file gives the same bill.

    Raises ValueError with one line if a package is not installed in the locked version.
    """
    locked = {name_of(one): one for one in _cyclonedx("requirements", str(lock))["components"]}
    made = _cyclonedx("environment", sys.executable)
    installed = {name_of(one): one for one in made["components"]}
    for name, package in locked.items():
        if installed.get(name, {}).get("version") != package["version"]:
            raise ValueError(f"{name} {package['version']} of {lock.name} is not installed: run scripts/sbom")
        installed[name].setdefault("externalReferences", []).extend(package["externalReferences"])
    root = made["metadata"]["component"]
    root["version"] = __version__
    made["components"] = [installed[name] for name in sorted(locked)]
    references = {root["bom-ref"], *(one["bom-ref"] for one in made["components"])}
    made["dependencies"] = [
        one | {"dependsOn": [needed for needed in one.get("dependsOn", []) if needed in references]}
        for one in made["dependencies"]
        if one["ref"] in references
    ]
    return made


def name_of(component: dict[str, Any]) -> str:
    """A package's name as lock files write it."""
    return str(component["name"]).lower().replace("_", "-")


def _cyclonedx(kind: str, source: str) -> dict[str, Any]:
    options = ["--pyproject", str(REPOSITORY / "pyproject.toml"), "--output-reproducible", "--no-validate"]
    command = [sys.executable, "-W", "ignore", "-m", "cyclonedx_py", kind, *options, source]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ValueError((done.stderr.strip().splitlines() or ["cyclonedx-py gave no reason"])[-1])
    made: dict[str, Any] = json.loads(done.stdout)
    return made


def check(database: str | None) -> int:
    """Ask for known vulnerabilities of what is locked; print them; return the exit code."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        where = ["--vulnerability-service", "osv", "--osv-url", database] if database else []
        command = [
            sys.executable, "-m", "pip_audit", "--requirement", str(LOCK), "--disable-pip", "--progress-spinner", "off",
            "--timeout", str(ANSWER_SECONDS_MAX), "--cache-dir", folder, "--format", "json", "--output", str(answer),
        ]  # fmt: skip
        done = subprocess.run([*command, *where], capture_output=True, text=True, check=False)
        if not answer.exists():
            print(f"{NOT_CHECKED}: {(done.stderr.strip().splitlines() or ['pip-audit gave no reason'])[-1]}")
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
    lines = [
        f"{package['name']} {package['version']}: {', '.join([one['id'], *one['aliases']])}; fixed in:"
        f" {', '.join(one['fix_versions']) or 'no version yet'}"
        for package in vulnerable
        for one in package["vulns"]
    ]
    lines.append(f"{len(checked)} of {len(packages)} packages checked, {len(vulnerable)} with known vulnerabilities")
    if skipped:
        lines.append(f"not checked, because the database does not know them: {', '.join(skipped)}")
    return lines, 1 if vulnerable else EXIT_NOT_CHECKED if skipped else 0


def main() -> int:
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
    parser.add_argument("--database", metavar="URL", help="with --check: your own, which answers as OSV's does")
    asked = parser.parse_args()
    if asked.check and asked.output:
        parser.error("--check writes no SBOM: give --output by itself")
    if asked.database and not asked.check:
        parser.error("--database is for --check")
    if asked.check:
        return check(asked.database)
    try:
        made = json.dumps(bill(LOCK), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        if asked.output is None:
            sys.stdout.write(made)
        else:
            asked.output.write_text(made, encoding="utf-8")
    except (ValueError, OSError) as error:
        print(f"scripts/sbom: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
