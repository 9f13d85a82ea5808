"""Whether etcd is one that a cluster can rely on: its version, and its election timeout beside the lease."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from pynun.cluster.etcd import gateway
from pynun.cluster.etcd.client import FAILURES
from pynun.cluster.etcd.errors import EtcdError, UnreachableError, reason
from pynun.errors import StartError

if TYPE_CHECKING:
    from pynun.cluster.etcd.client import Client
    from pynun.cluster.etcd.gateway import StatusAnswer
    from pynun.cluster.etcd.members import Member

VERSION: Final = "3.6"
"""Earlier versions may renew a lease at a leader that is none any more."""

ASK_SECONDS: Final = 2.0


class MemberStatus(NamedTuple):
    """A member of `NUN_ETCD`, and what it said."""

    member: Member
    status: StatusAnswer | None
    trouble: str
    """Why it said nothing."""


async def ask_all(client: Client, seconds: float = ASK_SECONDS) -> list[MemberStatus]:
    """Ask all members at the same time how they are; in the order of the setting."""
    found: dict[Member, MemberStatus] = {}

    async def ask(member: Member) -> None:
        try:
            found[member] = MemberStatus(member, await client.ask(member, gateway.status(), seconds), "")
        except (*FAILURES, EtcdError) as error:
            found[member] = MemberStatus(member, None, reason(error))

    async with trio.open_nursery() as nursery:
        for member in client.members:
            nursery.start_soon(partial(ask, member))
    return [found[member] for member in client.members]


async def check(client: Client, lease_seconds: int, seconds: float) -> None:
    """Return if etcd can be relied on.

    Raises StartError with what to do if it can't, UnreachableError if no member answered within that many seconds, and
    EtcdError if one refused.
    """
    told = await ask_all(client, min(seconds, ASK_SECONDS))
    if all(one.status is None for one in told):
        raise UnreachableError(f"etcd does not answer ({'; '.join(f'{one.member}: {one.trouble}' for one in told)})")
    for one in told:
        if one.status is not None and not is_supported(one.status.version):
            raise StartError(f"etcd at {one.member} has version {one.status.version}, and a cluster needs {VERSION}")
    shortest = await client.call(gateway.grant(1), seconds)
    await client.call(gateway.revoke(shortest.lease), seconds)
    trouble = why_lease_is_short(lease_seconds, shortest.seconds)
    if trouble is not None:
        raise StartError(trouble)


def is_supported(version: str) -> bool:
    """Whether a cluster can use an etcd of this version."""
    return version.split(".")[:2] == VERSION.split(".")


def why_lease_is_short(lease_seconds: int, shortest: int) -> str | None:
    """What to do about an owner's lease that etcd's elections outlast; None if it fits. For `shortest`, see below."""
    seconds_min = lease_seconds_min(shortest)
    if lease_seconds >= seconds_min:
        return None
    return (
        f"NUN_LEASE_SECONDS={lease_seconds} is too short for etcd's election timeout, which must be less than half"
        f" of it: start etcd with --election-timeout 500 --heartbeat-interval 100, or set NUN_LEASE_SECONDS to"
        f" {seconds_min} or more"
    )


def lease_seconds_min(shortest: int) -> int:
    """The shortest lease that an owner may have, if `shortest` is what etcd makes of a lease of one second.

    That is one and a half election timeouts, rounded up to seconds. No other answer tells of the timeout. The lease
    must last over twice the timeout: while etcd elects a leader, it can't be renewed.
    """
    return shortest * 4 // 3 + 1
