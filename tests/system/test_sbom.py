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

from tests.support.bill_of_materials import check_bill
from tools.clients.server import REPOSITORY, clean_environment
from tools.sbom import EXIT_NOT_CHECKED, bill, name_of, verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

LOCK = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
LOCKED = dict(line.split(" ")[0].split("==") for line in LOCK.splitlines() if line[:1].isalpha())
"""Versions by name."""
NOBODY = "http://127.0.0.1:1"


def sbom(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run scripts/sbom with the interpreter of these tests."""
    return subprocess.run(
        [sys.executable, "-P", "-m", "tools.sbom", *arguments],
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


@pytest.fixture(scope="module")
def made() -> dict[str, Any]:
    return bill(REPOSITORY / "requirements.lock")


def test_the_list_is_a_valid_bill_of_materials(made: dict[str, Any]) -> None:
    check_bill(json.dumps(made))


def test_it_lists_what_is_locked_with_its_hashes_and_who_needs_it(made: dict[str, Any]) -> None:
    components = {name_of(component): component for component in made["components"]}
    assert {name: component["version"] for name, component in components.items()} == LOCKED
    hashes = [
        one["content"]
        for component in components.values()
        for reference in component["externalReferences"]
        for one in reference.get("hashes", ())
    ]
    assert sorted(hashes) == sorted(
        line.strip(" \\").partition("sha256:")[2] for line in LOCK.splitlines() if "sha256:" in line
    )
    needs = {entry["ref"]: entry["dependsOn"] for entry in made["dependencies"]}
    reached, todo = set(), [made["metadata"]["component"]["bom-ref"]]
    while todo:
        reference = todo.pop()
        reached.add(reference)
        todo += [one for one in needs[reference] if one not in reached]
    assert reached == set(needs)
    assert len(reached) == 1 + len(components)
    assert all(component["licenses"] for component in components.values())


def test_the_same_lock_gives_the_same_bytes_and_another_one_others(made: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "sbom.json"
    assert sbom("--output", str(path)).returncode == 0
    assert path.read_text(encoding="utf-8") == json.dumps(made, indent=2, sort_keys=True, ensure_ascii=False) + "\n"
    other = tmp_path / "requirements.lock"
    other.write_text(LOCK.replace("--hash=sha256:0", "--hash=sha256:1"), encoding="utf-8")
    assert bill(other) != made


def test_what_is_not_installed_as_locked_is_no_guess(tmp_path: Path) -> None:
    other = tmp_path / "requirements.lock"
    other.write_text("trio==0.0.1\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"trio 0\.0\.1 of requirements\.lock is not installed: run scripts/sbom"):
        bill(other)


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
        f"{len(LOCKED)} of {len(LOCKED)} packages checked, 0 with known vulnerabilities\n",
    )


def test_a_known_vulnerability_is_told() -> None:
    version = LOCKED["trio"]
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
    assert f"trio {version}: PYSEC-2026-1, CVE-2026-1; fixed in: 99\n" in done.stdout


@pytest.mark.parametrize("is_there", [False, True])
def test_where_nobody_answers_it_is_said_that_nothing_was_checked(is_there: bool) -> None:
    with database(None) as url:
        done = sbom("--check", "--database", url if is_there else NOBODY)
    assert done.returncode == EXIT_NOT_CHECKED == 4
    assert done.stdout.startswith("no database reachable, nothing checked: ")


def test_a_package_that_the_database_does_not_know_is_not_checked() -> None:
    known = {"name": "a", "version": "1", "vulns": []}
    unknown = {"name": "b", "skip_reason": "not found"}
    assert verdict([known])[1] == 0
    assert verdict([known, unknown]) == (
        [
            "1 of 2 packages checked, 0 with known vulnerabilities",
            "not checked, because the database does not know them: b",
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
