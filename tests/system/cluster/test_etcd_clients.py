"""The clients on a real etcd whose members die, hang and come back, with TLS, and with users."""

from __future__ import annotations

import json
import ssl
from contextlib import aclosing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio

from pynun.cluster import transactions
from pynun.cluster.etcd import checks, gateway
from pynun.cluster.etcd.blocking_client import BlockingClient
from pynun.cluster.etcd.client import Client
from pynun.cluster.etcd.errors import NOT_FOUND, PERMISSION_DENIED, EtcdError, UnreachableError
from pynun.cluster.etcd.gateway import Request, prefix_end
from pynun.cluster.etcd.members import Login, Members, parse_urls, tls_context
from pynun.cluster.keys import Keys, Owner, encode_number
from pynun.cluster.transactions import Verdict
from pynun.cluster.trimming import KEEP_SECONDS, Trimmer
from pynun.errors import SettingsError, StartError
from pynun.timestamps import steady_seconds
from tests.support.etcd import members_of, running_etcd
from tools.clients.server import new_folder
from tools.etcd.cluster import Certificates, EtcdCluster

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.certificates import Authority

_SECONDS = 60.0
"""Generous: how quick a fail-over is, other tests show."""


def soon(seconds: float = _SECONDS) -> Callable[[], float]:
    """A deadline from now on."""
    deadline = steady_seconds() + seconds
    return lambda: deadline


def test_the_next_member_is_asked_when_one_dies(three_etcds: EtcdCluster) -> None:
    with BlockingClient(members_of(three_etcds)) as client:
        revision = client.call(gateway.put(b"a", b"1"), soon())
        three_etcds.members[0].kill()
        found = client.call(gateway.read(b"a"), soon())
        assert found.first is not None
        assert (found.first.value, found.first.modified) == (b"1", revision)

    async def ask() -> None:
        async with Client(members_of(three_etcds)) as client:
            assert (await client.call(gateway.read(b"a"), _SECONDS)).first == found.first

    trio.run(ask)


def test_the_next_member_is_asked_when_one_hangs(three_etcds: EtcdCluster) -> None:
    members = three_etcds.members
    with BlockingClient(members_of(three_etcds)) as client:
        client.call(gateway.put(b"a", b"1"), soon())
        members[0].pause()
        client.call(gateway.put(b"a", b"2"), soon())

        async def ask() -> None:
            async with Client(members_of(three_etcds)) as client:
                found = (await client.call(gateway.read(b"a"), _SECONDS)).first
                assert found is not None
                assert found.value == b"2"

        trio.run(ask)
        members[0].resume()


def test_every_batch_is_accepted_once_while_leaders_die(three_etcds: EtcdCluster) -> None:
    keys = Keys("once")
    with BlockingClient(members_of(three_etcds)) as client:
        client.call(gateway.put(keys.head, encode_number(0)), soon())
        owner = Owner("n", "n:3015", client.call(gateway.grant(600), soon()).lease)
        term = transactions.judge_campaign(owner, client.call(transactions.campaign(keys, owner), soon())).term
        for number in range(1, 61):
            if number in (20, 40):
                leader = three_etcds.leader()
                leader.kill()
                three_etcds.start(leader)
            value = b"%d" % number
            answer = client.call(transactions.append(keys, term, number, value), soon())
            assert transactions.judge_append(term, value, answer) is Verdict.ACCEPTED
        pairs = client.call(gateway.read(keys.log_prefix, keys.log_end), soon()).pairs
    assert [(keys.number_of(pair.key), pair.value) for pair in pairs] == [(n, b"%d" % n) for n in range(1, 61)]
    assert [pair.created for pair in pairs] == [pair.modified for pair in pairs]


@pytest.mark.parametrize("fault", ["kill", "pause"])
def test_a_watch_goes_on_at_the_next_member(three_etcds: EtcdCluster, fault: str) -> None:
    count = 40

    async def write(client: Client) -> None:
        for number in range(count):
            await client.call(gateway.put(b"w/%d" % number, b""), _SECONDS)

    async def run() -> None:
        watcher, writer = members_of(three_etcds), members_of(three_etcds)
        writer = writer._replace(members=writer.members[1:])
        found: list[bytes] = []
        with trio.fail_after(_SECONDS):
            async with Client(watcher) as watching, Client(writer) as client, trio.open_nursery() as nursery:
                revision = (await client.call(gateway.read(b"none"), _SECONDS)).revision
                answers = watching.watch(b"w/", prefix_end(b"w/"), revision + 1, 1.0)
                async with aclosing(answers):
                    await anext(answers)  # it stands
                    nursery.start_soon(write, client)
                    async for answer in answers:
                        found += [event.pair.key for event in answer.events]
                        if fault == "kill":
                            three_etcds.members[0].kill()
                        else:
                            three_etcds.members[0].pause()
                        if len(found) >= count:
                            break
        assert found == [b"w/%d" % number for number in range(count)]

    trio.run(run)
    if fault == "pause":
        three_etcds.members[0].resume()


def test_a_watch_ends_where_a_member_has_no_leader(three_etcds: EtcdCluster) -> None:
    """The member lives and keeps the connection, but would tell of no change."""
    members = members_of(three_etcds)
    _, *others = three_etcds.members

    async def run() -> None:
        async with Client(members._replace(members=members.members[:1])) as client:
            revision = (await client.call(gateway.read(b"none"), _SECONDS)).revision
            # So long that silence does not end it.
            async with aclosing(client.watch(b"w", b"", revision + 1, _SECONDS)) as answers:
                await anext(answers)  # it stands
                for member in others:
                    member.pause()
                with trio.move_on_after(5.0):
                    await anext(answers)
                assert client.trouble is not None
                assert "leader" in client.trouble

    trio.run(run)
    for member in others:
        member.resume()


def test_the_log_is_trimmed(etcd: EtcdCluster) -> None:
    keys = Keys("trim")
    with BlockingClient(members_of(etcd)) as client:
        client.call(gateway.put(keys.head, encode_number(0)), soon())
        owner = Owner("n", "n:3015", client.call(gateway.grant(600), soon()).lease)
        term = transactions.judge_campaign(owner, client.call(transactions.campaign(keys, owner), soon())).term
        for number in range(1, 11):
            client.call(transactions.put_part(keys, term, number, 0, b"part"), soon())
            client.call(transactions.append(keys, term, number, b"x"), soon())
        for node, synced in (("n", 10), ("m", 7)):
            client.call(gateway.put(keys.member(node), b'{"synced": %d}' % synced), soon())
            client.call(gateway.put(keys.live(node), b""), soon())

        async def trim() -> None:
            async with Client(members_of(etcd)) as own:
                trimmer = Trimmer(own, keys, term)
                assert await trimmer.trim(0.0)
                assert await trimmer.trim(KEEP_SECONDS)

        trio.run(trim)
        for prefix in (keys.log_prefix, keys.part_prefix):
            assert len(client.call(gateway.read(prefix, prefix_end(prefix)), soon()).pairs) == 3
        client.call(transactions.append(keys, term, 11, b"x"), soon())


def test_nobody_answers(three_etcds: EtcdCluster) -> None:
    for member in three_etcds.members:
        member.kill()
    with BlockingClient(members_of(three_etcds)) as client:
        began = steady_seconds()
        with pytest.raises(UnreachableError, match="Connection refused"):
            client.call(gateway.read(b"a"), soon(0.3))
        assert 0.3 <= steady_seconds() - began < 30

    async def ask() -> None:
        async with Client(members_of(three_etcds)) as client:
            with pytest.raises(UnreachableError, match="did not answer in time"):
                await client.call(gateway.read(b"a"), 0.3)

    trio.run(ask)


def test_without_a_majority_nothing_is_answered(three_etcds: EtcdCluster) -> None:
    with BlockingClient(members_of(three_etcds)) as client:
        for member in three_etcds.members[1:]:
            member.kill()
        with pytest.raises(UnreachableError):
            client.call(gateway.put(b"a", b"1"), soon(1.0))
        assert client.trouble is not None


def test_many_requests_at_a_time(etcd: EtcdCluster) -> None:
    async def run() -> None:
        async with Client(members_of(etcd)) as client, trio.open_nursery() as nursery:
            for number in range(50):
                nursery.start_soon(client.call, gateway.put(b"many/%d" % number, b""), _SECONDS)
        async with Client(members_of(etcd)) as client:
            found = await client.call(gateway.read(b"many/", prefix_end(b"many/"), is_keys_only=True), _SECONDS)
            assert len(found.pairs) == 50

    trio.run(run)


def test_what_etcd_refuses_is_not_repeated(etcd: EtcdCluster) -> None:
    with BlockingClient(members_of(etcd)) as client:
        for size, refusal in ((1_700_000, "request is too large"), (3_000_000, "larger than max")):
            with pytest.raises(EtcdError, match=refusal):
                client.call(gateway.put(b"a", bytes(size)), soon())
        with pytest.raises(EtcdError, match="lease not found") as caught:
            client.call(gateway.revoke(5), soon())
        assert caught.value.code == NOT_FOUND
        with pytest.raises(EtcdError, match="Not Found"):
            client.call(Request("/v3/nothing", b"{}", lambda found: found), soon())
        assert client.call(gateway.put(b"a", b"1"), soon()), "the connection is still good"


# --- TLS and users ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("election_ms", "seconds_min"), [(500, 2), (1000, 3)])
def test_the_check_knows_the_election_timeout(election_ms: int, seconds_min: int) -> None:
    async def run(etcd: EtcdCluster) -> None:
        async with Client(members_of(etcd)) as client:
            await checks.check(client, seconds_min, _SECONDS)
            with pytest.raises(StartError, match=f"NUN_LEASE_SECONDS to {seconds_min} or more"):
                await checks.check(client, seconds_min - 1, _SECONDS)
            (told,) = await checks.ask_all(client)
            assert told.status is not None
            assert checks.is_supported(told.status.version)

    with running_etcd(election_ms=election_ms) as etcd:
        trio.run(run, etcd)


def test_tls_with_client_certificates(authority: Authority) -> None:
    certificate, key = authority.issue("etcd")
    own_certificate, own_key = authority.issue("node", ["node.example"])
    files = Certificates(authority.file, certificate, key)
    with new_folder() as folder, EtcdCluster(folder, certificates=files) as etcd:
        tls = tls_context(authority.file, own_certificate, own_key)
        members = Members(parse_urls(etcd.urls.split(",")), tls)
        with BlockingClient(members) as client:
            client.call(gateway.put(b"a", b"1"), soon())
            assert client.call(gateway.read(b"a"), soon()).pairs

        async def ask() -> None:
            async with Client(members) as client:
                assert (await client.call(gateway.read(b"a"), _SECONDS)).pairs
                async with aclosing(client.watch(b"a", b"", 1)) as answers:
                    while not (await anext(answers)).events:
                        pass

        trio.run(ask)
        for refused in (tls_context(authority.file, None, None), ssl.create_default_context()):
            with (
                BlockingClient(members._replace(tls=refused)) as client,
                pytest.raises(UnreachableError, match=r"certificate"),
            ):
                client.call(gateway.read(b"a"), soon(1.0))


def test_certificates_that_are_missing(authority: Authority) -> None:
    with pytest.raises(SettingsError, match="/no/such/file"):
        tls_context(Path("/no/such/file"), None, None)
    certificate, _ = authority.issue("one")
    with pytest.raises(SettingsError, match="certificates can't be used"):
        tls_context(authority.file, certificate, None)


@pytest.fixture(scope="module")
def etcd_with_users() -> Iterator[EtcdCluster]:
    """An etcd with the users root and node; node has the prefix of cluster `mine`. Tokens live for a second."""
    with new_folder() as folder, EtcdCluster(folder, options=["--auth-token-ttl", "1"]) as etcd:
        with BlockingClient(members_of(etcd)) as client:

            def ask(path: str, content: dict[str, Any]) -> None:
                client.call(Request(f"/v3/auth/{path}", json.dumps(content).encode(), lambda found: found), soon())

            keys = Keys("mine")
            whole = json.loads(gateway.read(keys.prefix, keys.end).body)
            ask("user/add", {"name": "root", "password": "root-secret"})
            ask("user/grant", {"user": "root", "role": "root"})
            ask("user/add", {"name": "node", "password": "secret"})
            ask("role/add", {"name": "node"})
            ask("role/grant", {"name": "node", "perm": {"permType": "READWRITE", **whole}})
            ask("user/grant", {"user": "node", "role": "node"})
            ask("enable", {})
        yield etcd


def test_a_user_has_its_prefix_and_no_more(etcd_with_users: EtcdCluster) -> None:
    keys = Keys("mine")
    members = members_of(etcd_with_users)._replace(login=Login("node", "secret"))
    with BlockingClient(members) as client:
        client.call(gateway.put(keys.head, b"1"), soon())
        assert client.call(gateway.status(), soon()).version
        with pytest.raises(EtcdError) as caught:
            client.call(gateway.put(Keys("other").head, b"1"), soon())
        assert caught.value.code == PERMISSION_DENIED
    for wrong in (Login("node", "no"), Login("nobody", "secret")):
        with BlockingClient(members._replace(login=wrong)) as client, pytest.raises(EtcdError, match="authentication"):
            client.call(gateway.read(keys.head), soon())
    with BlockingClient(members._replace(login=None)) as client, pytest.raises(EtcdError, match=r"user name is empty"):
        client.call(gateway.read(keys.head), soon())


def test_an_expired_token_is_renewed(etcd_with_users: EtcdCluster) -> None:
    keys = Keys("mine")
    members = members_of(etcd_with_users)._replace(login=Login("node", "secret"))
    with BlockingClient(members) as client:
        client.call(gateway.put(keys.head, b"1"), soon())
        token = client._token
        deadline = steady_seconds() + _SECONDS
        while client._token == token:
            # etcd prolongs a token with each use: let it rest for longer than its life.
            trio.run(trio.sleep, 2.5)
            client.call(gateway.read(keys.head), soon())
            assert steady_seconds() < deadline

    async def ask() -> None:
        async with Client(members) as client:
            found = await client.call(gateway.read(keys.head), _SECONDS)
            token = client._token
            with trio.fail_after(_SECONDS):
                while client._token == token:
                    await trio.sleep(2.5)
                    found = await client.call(gateway.read(keys.head), _SECONDS)
            assert found.first is not None
            client._token = "no token of etcd's"
            with trio.fail_after(_SECONDS):
                async with aclosing(client.watch(keys.prefix, keys.end, found.first.modified)) as answers:
                    while not (await anext(answers)).events:
                        pass
            with pytest.raises(EtcdError, match="permission denied"):
                await anext(client.watch(b"other", b"", 1))

    trio.run(ask)
