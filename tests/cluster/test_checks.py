"""etcd of another version, or too slow in its elections for the lease, is refused with what to do."""

from __future__ import annotations

import socket

import pytest
import trio

from pynun.cluster.etcd import checks
from pynun.cluster.etcd.client import Client
from pynun.cluster.etcd.errors import UnreachableError
from pynun.cluster.etcd.members import Member, Members
from pynun.errors import StartError
from tests.cluster.fake_etcd import FakeEtcd
from tests.cluster.fake_member import fake_member

_SECONDS = 60.0
_NOBODY = Member("127.0.0.1", 1, is_tls=False)


def check(*members: Member, lease_seconds: int = 3) -> None:
    """What a start asks."""

    async def run() -> None:
        async with Client(Members(members)) as client:
            await checks.check(client, lease_seconds, _SECONDS)

    trio.run(run)


def test_an_etcd_that_fits_is_accepted() -> None:
    with fake_member() as one:
        check(one.member)
        check(_NOBODY, one.member)
        assert not one.etcd.pairs


@pytest.mark.parametrize("version", ["3.5.21", "3.7.3", "4.0.0", "3.60.1"])
def test_another_version_is_refused(version: str) -> None:
    old = FakeEtcd()
    old.version = version
    with (
        fake_member() as good,
        fake_member(old) as other,
        pytest.raises(StartError, match=f"at {other.member} has version {version}, and a cluster needs 3.6"),
    ):
        check(good.member, other.member)


@pytest.mark.parametrize(
    ("election_ms", "seconds_min"), [(100, 2), (500, 2), (666, 2), (1000, 3), (1333, 3), (2000, 5), (10_000, 21)]
)
def test_the_lease_must_last_over_twice_the_election_timeout(election_ms: int, seconds_min: int) -> None:
    # As etcd counts (etcdserver/server.go): one and a half timeouts, rounded up.
    shortest = -(-election_ms * 3 // 2000)
    with fake_member(FakeEtcd(lease_seconds_min=shortest)) as one:
        check(one.member, lease_seconds=seconds_min)
        with pytest.raises(StartError, match=f"set NUN_LEASE_SECONDS to {seconds_min} or more"):
            check(one.member, lease_seconds=seconds_min - 1)
    assert seconds_min * 1000 > 2 * election_ms


def test_an_etcd_that_does_not_answer_is_named() -> None:
    with pytest.raises(UnreachableError, match=r"etcd does not answer \(http://127.0.0.1:1: .*refused"):
        check(_NOBODY)


def test_a_member_that_hangs_has_timed_out() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        member = Member("127.0.0.1", silent.getsockname()[1], is_tls=False)

        async def ask() -> list[checks.MemberStatus]:
            async with Client(Members((member,))) as client:
                return await checks.ask_all(client, 0.2)

        assert [one.trouble for one in trio.run(ask)] == ["timed out"]
