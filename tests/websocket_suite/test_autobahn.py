"""The public WebSocket suite, Autobahn, against the server's transport: one result for each of its sections.

Sections 9 (speed), 12 and 13 (compression, which this server does not offer) are left out. The suite runs on Python 2.7
only; `scripts/autobahn` installs it. Where it can't run, the tests beside this one hold the server to the same rules.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tools.clients.server import Address

pytestmark = pytest.mark.system

# How many cases each section must have run: 247 in all, so that none goes missing.
CASES = {
    "1 framing": 16,
    "2 pings and pongs": 11,
    "3 reserved bits": 7,
    "4 opcodes": 10,
    "5 fragmentation": 20,
    "6 UTF-8": 145,
    "7 closing": 37,
    "10 fragmentation by the sender": 1,
}

# Cases without a right answer: data behind a close frame, and close codes that RFC 6455 leaves open.
INFORMATIONAL = {"7.1.6", "7.13.1", "7.13.2"}

AGENT = "pynun"
UNAVAILABLE = 69  # the exit code with which scripts/autobahn says that the suite can't run here
INSTALL_SECONDS_MAX = 240.0
RUN_SECONDS_MAX = 300.0  # it takes some ten


class Verdict(NamedTuple):
    """What the suite says of one case: how the server behaved, and how it ended the connection."""

    behavior: str
    closing: str
    reason: str


@pytest.fixture(scope="module")
def verdicts(echo_address: Address, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Verdict]:
    """Run the suite once, and give its verdict on every case."""
    _wstest("--autobahnversion", timeout_seconds=INSTALL_SECONDS_MAX)
    folder = tmp_path_factory.mktemp("autobahn")
    specification = {
        "outdir": str(folder),
        "servers": [{"agent": AGENT, "url": f"ws://{echo_address}"}],
        "cases": [f"{section.split()[0]}.*" for section in CASES],
        "exclude-cases": [],
        "exclude-agent-cases": {},
    }
    (folder / "specification.json").write_text(json.dumps(specification), encoding="utf-8")
    _wstest("-m", "fuzzingclient", "-s", str(folder / "specification.json"), timeout_seconds=RUN_SECONDS_MAX)
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    return {
        case: Verdict(row["behavior"], row["behaviorClose"], _reason(folder / row["reportfile"]))
        for case, row in index[AGENT].items()
    }


def _wstest(*arguments: str, timeout_seconds: float) -> None:
    """Run the suite's command; skip all that depends on it if it can't run on this machine."""
    ended = subprocess.run(
        [str(REPOSITORY / "scripts" / "autobahn"), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout_seconds,
        check=False,
    )
    if ended.returncode == UNAVAILABLE:
        pytest.skip(ended.stderr.strip())
    assert ended.returncode == 0, f"scripts/autobahn failed:\n{ended.stdout[-2000:]}\n{ended.stderr[-2000:]}"


def _reason(report_file: Path) -> str:
    """Return the suite's own words on a case."""
    report = json.loads(report_file.read_text(encoding="utf-8"))
    return f"{report['result']} {report['resultClose']} {report['wasNotCleanReason'] or ''}".strip()


@pytest.mark.timeout(INSTALL_SECONDS_MAX + RUN_SECONDS_MAX + 30)
@pytest.mark.parametrize("section", CASES)
def test_section(verdicts: dict[str, Verdict], section: str) -> None:
    number = section.split()[0]
    results = {case: verdict for case, verdict in verdicts.items() if case.split(".")[0] == number}
    assert len(results) == CASES[section]
    failed = [
        f"{case}: {verdict.behavior}, closing {verdict.closing}: {verdict.reason}"
        for case, verdict in results.items()
        if {verdict.behavior, verdict.closing} != {"INFORMATIONAL" if case in INFORMATIONAL else "OK"}
    ]
    assert not failed, "\n".join(failed)
