"""What `nun-db cluster check` finds before a node starts."""

from __future__ import annotations

import datetime
import re
import shutil
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import trio

from pynun.cluster import preflight
from pynun.cluster.etcd import gateway
from pynun.cluster.preflight import FAILED, OK, WARNING, Finding
from pynun.settings import load
from tests.cluster.fake_etcd import FakeEtcd
from tests.cluster.fake_member import fake_member
from tests.support.certificates import Authority
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cluster.fake_member import FakeMember


def found(*members: object, **settings: str) -> dict[str, Finding]:
    """What is found, by the name of the check, with these members of etcd."""
    environment = {
        "NUN_USER": "u", "NUN_PWD": "p", "NUN_NODE_NAME": "a", "NUN_CLUSTER_PLAIN": "1",
        "NUN_ETCD": ",".join(map(str, members)), **settings,
    }  # fmt: skip
    return {one.check: one for one in trio.run(preflight.preflight, load(environment, {}))}


def address(one: FakeMember) -> str:
    return str(one.member)


def test_what_fits_is_good_and_leaves_nothing() -> None:
    etcd = FakeEtcd()
    with fake_member(etcd) as one, fake_member(etcd) as two, fake_member(etcd) as three:
        checked = found(*map(address, (one, two, three)))
    assert checked.pop("certificate").result == WARNING
    assert checked.pop("etcd's disks").text.startswith("a change takes ")  # which depends on the machine
    assert {one.result for one in checked.values()} == {OK}, checked
    assert not etcd.pairs


def test_slow_disks_are_told() -> None:
    with fake_member() as one:
        one.delay_seconds = 0.02
        checked = found(address(one))["etcd's disks"]
    assert checked.result != OK
    assert "give etcd fast disks of its own" in checked.text


def test_a_member_that_is_away_fails_if_no_majority_is_left() -> None:
    etcd = FakeEtcd()
    nobody = "http://127.0.0.1:1"
    with fake_member(etcd) as one, fake_member(etcd) as two:
        checked = found(address(one), address(two), nobody)[f"etcd {nobody}"]
        assert checked.result == WARNING
        checked = found(address(one), nobody)[f"etcd {nobody}"]
    assert checked.result == FAILED
    assert "start it, or correct NUN_ETCD" in checked.text


def test_versions_alarms_and_elections_that_do_not_fit_fail() -> None:
    old, slow, full = FakeEtcd(), FakeEtcd(lease_seconds_min=3), FakeEtcd()
    old.version = "3.5.21"
    full.errors = ["memberID:1 alarm:NOSPACE"]
    for etcd, name, text in (
        (old, "etcd", "a cluster needs 3.6"),
        (slow, "election timeout", "set NUN_LEASE_SECONDS to 5"),
        (full, "etcd", "alarm:NOSPACE"),
    ):
        with fake_member(etcd) as one:
            checked = found(address(one))
            finding = checked.get(f"{name} {one.member}", checked.get(name))
        assert finding is not None
        assert finding.result == FAILED
        assert text in finding.text


@pytest.mark.parametrize(("seconds", "result"), [(0.0, OK), (-30.0, WARNING), (30.0, WARNING), (90.0, FAILED)])
def test_clocks_are_compared(seconds: float, result: str) -> None:
    with fake_member() as one:
        one.clock_ahead_seconds = seconds
        assert found(address(one))["clock of 127.0.0.1"].result == result


def test_a_running_node_of_the_same_name_is_told() -> None:
    etcd = FakeEtcd()
    etcd.call(gateway.put(b"/pynun/default/live/a", b""))
    with fake_member(etcd) as one:
        assert found(address(one))["name"].result == WARNING
        assert found(address(one), NUN_NODE_NAME="b")["name"].result == OK


def test_a_certificate_is_used_as_other_nodes_would(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("node", hosts=("node-a",))
    tls = {
        "NUN_CLUSTER_PLAIN": "0", "NUN_CLUSTER_CERT": str(certificate), "NUN_CLUSTER_KEY": str(key),
        "NUN_CLUSTER_CA": str(authority.file), "NUN_CLUSTER_EXTERNAL_ADDR": "node-a:3015",
    }  # fmt: skip
    nobody = "http://127.0.0.1:1"
    good = found(nobody, **tls)["certificate"]
    assert good.result == OK, good
    other_name = found(nobody, **{**tls, "NUN_CLUSTER_EXTERNAL_ADDR": "node-b:3015"})["certificate"]
    assert other_name.result == FAILED
    assert "node-b" in other_name.text
    (tmp_path / "other").mkdir()
    other_authority = found(nobody, **{**tls, "NUN_CLUSTER_CA": str(Authority(tmp_path / "other").file)})
    assert other_authority["certificate"].result == FAILED
    near = datetime.datetime.fromtimestamp(time.time() + 86400 * 5, datetime.UTC)
    authority.issue("node", hosts=("node-a",), not_after=near)
    assert found(nobody, **tls)["certificate"].result == WARNING


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the script needs openssl")
@pytest.mark.parametrize(("authority_days", "days"), [(None, 400), (20, 20)])
def test_certificates_last_no_longer_than_their_authority(
    tmp_path: Path, authority_days: int | None, days: int
) -> None:
    """The authority that `cluster_certificates.sh` makes outlasts them, also if `--days` is short."""
    if authority_days is not None:
        new = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /O=own -keyout ca-key.pem"
        command = [*new.split(), "-out", "ca.pem", "-days", str(authority_days)]
        subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, timeout=60)
    script = ["sh", str(REPOSITORY / "scripts/installer/cluster_certificates.sh"), "--output", str(tmp_path)]
    for shorter in (300, 400):  # made, and renewed
        node = ["--nodes", "a=node-a", "--days", str(shorter)]
        subprocess.run([*script, *node], check=True, capture_output=True, timeout=60)
    made = tmp_path / "a"
    checked = found(
        "http://127.0.0.1:1",
        NUN_CLUSTER_PLAIN="0",
        NUN_CLUSTER_CERT=str(made / "node.pem"),
        NUN_CLUSTER_KEY=str(made / "node-key.pem"),
        NUN_CLUSTER_CA=str(made / "ca.pem"),
        NUN_CLUSTER_EXTERNAL_ADDR="node-a:3015",
    )["certificate"]
    told = re.search(r"valid for (\d+) more days", checked.text)
    assert told is not None, checked
    assert int(told[1]) in (days - 1, days)
    assert checked.result == (OK if authority_days is None else WARNING)
