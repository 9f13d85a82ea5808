"""Whether a node would do well in its cluster, looked at before it starts (`nun-db cluster check`)."""

from __future__ import annotations

import email.utils
import json
import socket
import ssl
import statistics
import time
import urllib.request
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from pynun.cluster.etcd import checks, gateway
from pynun.cluster.etcd.client import Client
from pynun.cluster.etcd.errors import EtcdError, UnreachableError
from pynun.cluster.etcd.members import SETTINGS_FIELDS, etcd_members
from pynun.cluster.keys import Keys
from pynun.cluster.link import link_tls
from pynun.errors import SettingsError

if TYPE_CHECKING:
    from pathlib import Path

    from pynun.cluster.etcd.checks import MemberStatus
    from pynun.cluster.etcd.members import Member
    from pynun.settings import Settings

OK: Final = "ok"
WARNING: Final = "warning"
FAILED: Final = "failed"

_SECONDS: Final = 5.0
"""How long etcd may take for one answer."""

_PUTS: Final = 20
_PUT_SECONDS_SLOW: Final = 0.01
_PUT_SECONDS_MAX: Final = 0.1
"""etcd's own advice is 10 ms for the sync of its log; an owner whose changes take ten times that is no use."""

_CLOCK_SECONDS_SLOW: Final = 2.0
"""The clocks are compared by seconds."""
_CLOCK_SECONDS_MAX: Final = 60.0

_DAYS_LEFT_MIN: Final = 30
_LEASE_SECONDS: Final = 10


class Finding(NamedTuple):
    """What one check found."""

    check: str
    result: str
    """`OK`, `WARNING` or `FAILED`."""
    text: str
    """What was seen, and what to do."""


async def preflight(settings: Settings) -> list[Finding]:
    """Look at what a node with these settings relies on; they have `etcd_urls`. Changes nothing that stays."""
    findings = _certificates(settings)
    try:
        members = etcd_members(*(getattr(settings, field) for field in SETTINGS_FIELDS))
    except SettingsError as error:
        return [*findings, Finding("etcd", FAILED, str(error))]
    async with Client(members) as client:
        told = await checks.ask_all(client)
        findings += _members(told)
        for one in told:
            if one.status is not None:
                findings.append(await trio.to_thread.run_sync(_clock, one.member, members.tls))
        if 2 * sum(one.status is not None for one in told) > len(told):
            try:
                findings += await _asked(client, settings)
            except (EtcdError, UnreachableError) as error:
                findings.append(Finding("etcd", FAILED, f"{error}; see NUN_ETCD"))
    return findings


# --- etcd ------------------------------------------------------------------------------------------------------------


def _members(told: list[MemberStatus]) -> list[Finding]:
    """Who answers, with which version."""
    away = sum(one.status is None for one in told)
    findings = []
    for member, status, trouble in told:
        name = f"etcd {member}"
        if status is None:
            has_majority = 2 * (len(told) - away) > len(told)
            advice = "start it, or correct NUN_ETCD"
            findings.append(Finding(name, WARNING if has_majority else FAILED, f"does not answer: {trouble}; {advice}"))
        elif not checks.is_supported(status.version):
            advice = f"a cluster needs {checks.VERSION}: take the one of the bundle, or build it with scripts/etcd"
            findings.append(Finding(name, FAILED, f"has version {status.version}; {advice}"))
        elif status.errors:
            findings.append(Finding(name, FAILED, f"{', '.join(status.errors)}; docs/cluster-operation.md says more"))
        else:
            findings.append(Finding(name, OK, f"version {status.version}"))
    if len({one.status.cluster for one in told if one.status is not None}) > 1:
        text = "these are not members of one etcd: NUN_ETCD must name the members of one, as etcdctl member list does"
        findings.append(Finding("etcd", FAILED, text))
    if len(told) < 3:
        text = f"NUN_ETCD names {len(told)} of its members: with fewer than three, the loss of one stops all"
        findings.append(Finding("etcd", WARNING, text))
    return findings


async def _asked(client: Client, settings: Settings) -> list[Finding]:
    """What etcd as a whole is asked. Raises EtcdError and UnreachableError."""
    keys = Keys(settings.cluster_name)
    findings = []
    shortest = (await client.call(gateway.grant(1), _SECONDS)).seconds
    trouble = checks.why_lease_is_short(settings.lease_seconds, shortest)
    fits = f"NUN_LEASE_SECONDS={settings.lease_seconds} fits it"
    findings.append(
        Finding("election timeout", OK, fits) if trouble is None else Finding("election timeout", FAILED, trouble)
    )
    lease = (await client.call(gateway.grant(_LEASE_SECONDS), _SECONDS)).lease
    try:
        findings.append(await _disk(client, keys, lease))
    finally:
        with trio.CancelScope(shield=True):
            await client.call(gateway.revoke(lease), _SECONDS)
    return [*findings, await _name(client, keys, settings.node_name or socket.gethostname())]


async def _disk(client: Client, keys: Keys, lease: int) -> Finding:
    """How long a change takes: a majority of the members writes it to disk before it is answered."""
    took = []
    for _ in range(_PUTS):
        began = time.perf_counter()
        await client.call(gateway.put(keys.check, b"", lease), _SECONDS)
        took.append(time.perf_counter() - began)
    median = statistics.median(took)
    text = f"a change takes {median * 1000:.1f} ms (the slowest of {_PUTS}: {max(took) * 1000:.1f} ms)"
    if median <= _PUT_SECONDS_SLOW:
        return Finding("etcd's disks", OK, text)
    advice = "every change waits for that: give etcd fast disks of its own, and a quick network between its members"
    return Finding("etcd's disks", WARNING if median <= _PUT_SECONDS_MAX else FAILED, f"{text}; {advice}")


async def _name(client: Client, keys: Keys, node: str) -> Finding:
    """Whether the node's name is free."""
    found = await client.call(gateway.read(keys.live(node), is_keys_only=True), _SECONDS)
    if found.first is None:
        return Finding("name", OK, f"no node named {node} runs")
    return Finding("name", WARNING, f"a node named {node} runs: if it is not this one, set another NUN_NODE_NAME")


# --- clocks ----------------------------------------------------------------------------------------------------------


def _clock(member: Member, tls: ssl.SSLContext | None) -> Finding:
    """This machine's clock beside that of a member, which says its time in the head of each HTTP answer."""
    name = f"clock of {member.host}"
    began = time.time()
    try:
        with urllib.request.urlopen(f"{member}/version", timeout=_SECONDS, context=tls) as answer:
            said = answer.headers["Date"]
            json.load(answer)
        there = email.utils.parsedate_to_datetime(said).timestamp()
    except (OSError, ValueError, TypeError) as error:
        return Finding(name, WARNING, f"not known: {error}")
    # It says whole seconds, some moment between `began` and now.
    ahead = max(0.0, there - time.time(), began - there - 1.0)
    if ahead < _CLOCK_SECONDS_SLOW:
        return Finding(name, OK, "the same as here")
    return Finding(
        name,
        WARNING if ahead < _CLOCK_SECONDS_MAX else FAILED,
        f"differs by {ahead:.0f} s from this machine's: set both by NTP (timedatectl shows whether one is); "
        "certificates and the times in the audit trail depend on it",
    )


# --- certificates ----------------------------------------------------------------------------------------------------


def _certificates(settings: Settings) -> list[Finding]:
    """The node's certificate, used against itself as another node would."""
    name = "certificate"
    if settings.is_cluster_plain:
        text = "NUN_CLUSTER_PLAIN=1: anyone who can connect to NUN_CLUSTER_ADDR can copy all data"
        return [Finding(name, WARNING, text)]
    external = settings.cluster_external_address
    host = socket.gethostname() if external is None else external.host
    assert settings.cluster_ca is not None
    assert settings.cluster_cert is not None
    assert settings.cluster_key is not None
    try:
        days = _days_left(settings.cluster_ca, settings.cluster_cert, settings.cluster_key, host)
    except (SettingsError, ssl.SSLError) as error:
        reason = error.verify_message if isinstance(error, ssl.SSLCertVerificationError) else str(error)
        text = f"{settings.cluster_cert}: {reason}; docs/cluster-setup.md says how to make one for {host}"
        return [Finding(name, FAILED, text)]
    text = f"{settings.cluster_cert} is for {host}, and valid for {days:.0f} more days"
    if days >= _DAYS_LEFT_MIN:
        return [Finding(name, OK, text)]
    return [Finding(name, WARNING, f"{text}: make a new one, and restart this node")]


def _days_left(ca: Path, certificate: Path, key: Path, host: str) -> float:
    """Until the certificate ends, or its authority's: shake hands with oneself. Raises SettingsError and SSLError."""
    tls = link_tls(ca, certificate, key)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = tls.accepting.wrap_bio(to_server, to_client, server_side=True)
    client = tls.dialling.wrap_bio(to_client, to_server, server_hostname=host)
    for _ in range(3):
        for end in (client, server):
            try:
                end.do_handshake()
            except ssl.SSLWantReadError:
                continue
    shown = client.getpeercert()
    assert shown is not None
    ends = ssl.cert_time_to_seconds(str(shown["notAfter"]))
    signers = [one for one in tls.dialling.get_ca_certs() if one["subject"] == shown["issuer"]]
    ends = min(ends, max((ssl.cert_time_to_seconds(str(one["notAfter"])) for one in signers), default=ends))
    return (ends - time.time()) / 86400
