"""scripts/sbom lists exactly what is locked, and never calls unchecked what it could not check."""

from __future__ import annotations

import http.server
import json
import subprocess
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import bill_of_materials
from bill_of_materials import BillError, Package, bill, locked, verdict
from tests.support.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

LOCK = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
NOBODY = "http://127.0.0.1:1"


def sbom(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/sbom with the interpreter of these tests."""
    return subprocess.run(
        [sys.executable, "-P", REPOSITORY / "scripts" / "bill_of_materials.py", *arguments],
        env=clean_environment({}) | {"PYTHONPATH": f"{REPOSITORY}/scripts:{REPOSITORY}", "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )


@contextmanager
def database(known: dict[str, list[dict[str, Any]]] | None) -> Iterator[str]:
    """A database that answers as OSV's does; with None, one that knows nothing of such questions."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            found = known.get(asked["package"]["name"], []) if known is not None else []
            body = json.dumps({"vulns": found} if found else {}).encode()
            self.send_response(404 if known is None else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


# --- the list --------------------------------------------------------------------------------------------------


def test_the_list_is_a_valid_bill_of_materials() -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill(LOCK)) is None


def test_it_lists_what_is_locked_with_its_hashes_and_who_needs_it() -> None:
    made = json.loads(bill(LOCK))
    components = {component["name"]: component for component in made["components"]}
    lines = [line.split(" ")[0].split("==") for line in LOCK.splitlines() if line[:1].isalpha()]
    assert {name: component["version"] for name, component in components.items()} == dict(lines)
    hashes = [
        one["content"]
        for component in components.values()
        for reference in component["externalReferences"]
        for one in reference["hashes"]
    ]
    assert sorted(hashes) == sorted(
        line.strip(" \\").partition("sha256:")[2] for line in LOCK.splitlines() if "sha256:" in line
    )
    needs = {entry["ref"]: entry.get("dependsOn", []) for entry in made["dependencies"]}
    reached, todo = set(), ["pynun"]
    while todo:
        reference = todo.pop()
        reached.add(reference)
        todo += [one for one in needs[reference] if one not in reached]
    assert reached == {"pynun", *(component["bom-ref"] for component in components.values())}
    assert all(component["licenses"] for component in components.values())


def test_the_same_lock_gives_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    first, second = tmp_path / "first.json", tmp_path / "second.json"
    for path in (first, second):
        assert sbom("--output", str(path)).returncode == 0
    assert first.read_bytes() == second.read_bytes() == bill(LOCK).encode()
    assert bill(LOCK) != bill(LOCK.replace("--hash=sha256:0", "--hash=sha256:1"))


def test_a_lock_file_is_read_entry_by_entry() -> None:
    digest = "ab" * 32
    assert locked(
        f"# by hand\nA_b==1 \\\n    --hash=sha256:{digest}\n    # via\n    #   pynun (pyproject.toml)\n    #   c\n"
    ) == [Package("a-b", "1", (digest,), ("c", "pynun"))]


def test_what_is_not_installed_as_locked_is_no_guess() -> None:
    with pytest.raises(
        BillError, match=r"trio 0\.0\.1 of requirements\.lock is needed for its licence, and is [\d.]+: run"
    ):
        bill("trio==0.0.1 \\\n    # via pynun (pyproject.toml)\n")


def test_a_list_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    done = sbom("--output", str(tmp_path / "missing" / "sbom.json"))
    assert done.returncode == 1
    assert done.stderr.startswith("scripts/sbom: ")
    assert done.stderr.count("\n") == 1


# --- the check -------------------------------------------------------------------------------------------------


def test_nothing_is_known() -> None:
    with database({}) as url:
        done = sbom("--check", "--database", url)
    assert (done.returncode, done.stdout) == (
        0,
        f"{len(locked(LOCK))} of {len(locked(LOCK))} packages checked, 0 with known vulnerabilities\n",
    )


def test_a_known_vulnerability_is_told() -> None:
    version = next(package.version for package in locked(LOCK) if package.name == "trio")
    known = {
        "id": "PYSEC-2026-1",
        "aliases": ["CVE-2026-1"],
        "summary": "what it is",
        "affected": [
            {
                "package": {"name": "trio", "ecosystem": "PyPI"},
                "versions": [version],
                "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99"}]}],
            }
        ],
    }
    with database({"trio": [known]}) as url:
        done = sbom("--check", "--database", url)
    assert done.returncode == 1
    assert f"trio {version}: PYSEC-2026-1, CVE-2026-1; mended in: 99\n" in done.stdout


@pytest.mark.parametrize("is_there", [False, True])
def test_where_nobody_answers_it_is_said_that_nothing_was_checked(is_there: bool) -> None:
    with database(None) as url:
        done = sbom("--check", "--database", url if is_there else NOBODY)
    assert done.returncode == bill_of_materials.EXIT_NOT_CHECKED == 4
    assert done.stdout.startswith("no database reachable, nothing checked: ")


def test_a_package_that_the_database_does_not_know_is_not_checked() -> None:
    known = {"name": "a", "version": "1", "vulns": []}
    unknown = {"name": "b", "skip_reason": "not found"}
    assert verdict([known])[1] == 0
    assert verdict([known, unknown]) == (
        [
            "1 of 2 packages checked, 0 with known vulnerabilities",
            "not checked, for the database does not know them: b",
        ],
        4,
    )
    assert verdict([unknown]) == (
        ["no database reachable, nothing checked: what answers there knows none of the 1 packages"],
        4,
    )


@pytest.mark.parametrize("arguments", [("--database", NOBODY), ("--check", "--output", "x")])
def test_what_makes_no_sense_is_an_error_of_usage(arguments: tuple[str, ...]) -> None:
    assert sbom(*arguments).returncode == 2
