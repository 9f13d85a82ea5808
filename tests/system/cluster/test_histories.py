"""Twenty faults of three machines: what `scripts/soak --cluster` does for an hour."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.linearizability.checker import MissingCheckerError, find_checker
from tests.support.node import leave_out
from tools.benchmark.processes import environment
from tools.clients.server import REPOSITORY
from tools.etcd.program import MissingEtcdError, find_etcd

if TYPE_CHECKING:
    from pathlib import Path

FAULTS = 20
REST_SECONDS = 0.02
"""The writers keep the processors for other tests; those of the soak don't rest."""


@pytest.fixture(autouse=True)
def _needs() -> None:
    try:
        find_checker()
        find_etcd()
    except (MissingCheckerError, MissingEtcdError) as error:
        leave_out(str(error))
    for program, package in (("ip", "iproute2"), ("nsenter", "util-linux"), ("setpriv", "util-linux")):
        if shutil.which(program) is None:
            leave_out(f"{program} is not installed (apt-get install {package})")
    if os.geteuid() != 0:
        pytest.skip("only root can make network namespaces")


@pytest.mark.timeout(900)
def test_three_machines_fail_in_all_ways(disk_folder: Path) -> None:
    figures = disk_folder / "figures.json"
    done = subprocess.run(
        [
            *("unshare", "-n", sys.executable, "-P", "-m", "tests.linearizability.cluster"),
            *("--faults", str(FAULTS), "--minutes", "0", "--rest-seconds", str(REST_SECONDS)),
            *("--data-dir", str(disk_folder), "--json", str(figures)),
        ],
        env=environment({"PYTHONPATH": f"{REPOSITORY}/scripts:{REPOSITORY}"}),
        capture_output=True,
        text=True,
        timeout=800,
        check=False,
    )
    print(done.stdout, done.stderr)
    if done.returncode and "Operation not permitted" in done.stderr:
        pytest.skip("network namespaces can't be made here")
    assert done.returncode == 0, "see above"
    found = json.loads(figures.read_text(encoding="utf-8"))
    assert len({outcome["kind"] for outcome in found["outcomes"]}) > 10
    assert found["operations"] > 1000, "too little to mean anything"
