"""The fake etcd of the quick tests answers as a real one does."""

from __future__ import annotations

import contextlib
import json
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from pynun.cluster.etcd import gateway
from pynun.cluster.etcd.blocking_client import BlockingClient
from pynun.cluster.etcd.client import Client
from pynun.cluster.etcd.errors import CompactedError, EtcdError
from pynun.cluster.etcd.gateway import Compare, CreatedAt, Delete, Event, Holds, Operation, Put, Range, Request
from pynun.timestamps import steady_seconds
from tests.cluster.fake_etcd import FakeEtcd
from tests.properties.effort import effort
from tests.support.etcd import members_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pynun.cluster.etcd.gateway import AnswerT
    from pynun.cluster.etcd.members import Members
    from tools.etcd.cluster import EtcdCluster

_SECONDS = 30.0

KEYS = (b"a", b"a/b", b"a\xff", b"b", b"b\x00")
VALUES = (b"", b"1", b"two")
ENDS = (b"", b"a0", b"b", b"c")


class Transaction(NamedTuple):
    """What a transaction asks for."""

    compares: list[Compare]
    then: list[Operation]
    otherwise: list[Operation]


Step = Operation | Transaction | str

keys = st.sampled_from(KEYS)
reads = st.builds(Range, keys, st.sampled_from(ENDS), st.sampled_from((0, 0, 1, 2)), st.booleans())
deletes = st.builds(Delete, keys, st.sampled_from(ENDS))
leases = st.sampled_from((0, 0, 1, 2, 77))
"""0: none; 1 and 2: those that exist; 77: none that exists."""
puts = st.builds(Put, keys, st.sampled_from(VALUES), leases)
created_ages = st.integers(0, 12)
compares = st.one_of(st.builds(CreatedAt, keys, created_ages), st.builds(Holds, keys, st.sampled_from(VALUES)))
operations = st.lists(st.one_of(puts, reads, deletes), max_size=3)
steps = st.one_of(
    puts,
    reads,
    deletes,
    st.builds(Transaction, st.lists(compares, max_size=2), operations, operations),
    st.sampled_from(("revoke 1", "revoke 2", "renew 1", "renew 2")),
)


@pytest.fixture(scope="module")
def client(etcd: EtcdCluster) -> Iterator[BlockingClient]:
    """A client of the real one."""
    with BlockingClient(members_of(etcd)) as client:
        yield client


class _Both:
    """The same requests to both; `P` stands before every key."""

    def __init__(self, client: BlockingClient) -> None:
        self.prefix = b"fake/"
        self._client = client
        self._real(gateway.transaction((), (Delete(self.prefix, gateway.prefix_end(self.prefix)),)))
        self.base = self._real(gateway.read(b"none")).revision
        self.fake = FakeEtcd(revision=self.base)
        self.leases = {0: 0, 77: 77}
        for number in (1, 2):
            self.leases[number] = self.fake.next_lease = self._real(gateway.grant(600)).lease
            self.fake.call(gateway.grant(600))

    def _real(self, request: Request[AnswerT]) -> AnswerT:
        deadline = steady_seconds() + _SECONDS
        return self._client.call(request, lambda: deadline)

    def ask(self, request: Request[Any]) -> None:
        """Both must answer the same."""
        answers = []
        for call in (self._real, self.fake.call):
            try:
                answers.append(call(request))
            except EtcdError as error:
                answers.append((error.code, error.message))
        assert answers[0] == answers[1]

    def operation(self, one: Operation) -> Operation:
        """An operation as drawn, with real keys and leases."""
        key = self.prefix + one.key
        if isinstance(one, Put):
            return one._replace(key=key, lease=self.leases[one.lease])
        return one._replace(key=key, end=self.prefix + one.end) if one.end else one._replace(key=key)

    def compare(self, one: Compare) -> Compare:
        """A comparison as drawn, with real keys and revisions."""
        key = self.prefix + one.key
        if isinstance(one, CreatedAt) and one.revision:
            return one._replace(key=key, revision=self.base + one.revision)
        return one._replace(key=key)

    def step(self, step: Step) -> None:
        """Ask what was drawn."""
        if isinstance(step, str):
            word, number = step.split()
            lease = self.leases[int(number)]
            self.ask(gateway.revoke(lease) if word == "revoke" else gateway.renew(lease))
        elif isinstance(step, Transaction):
            self.ask(
                gateway.transaction(
                    [self.compare(one) for one in step.compares],
                    [self.operation(one) for one in step.then],
                    [self.operation(one) for one in step.otherwise],
                )
            )
        else:
            asked = self.operation(step)
            if isinstance(asked, Put):
                self.ask(gateway.put(*asked))
            elif isinstance(asked, Delete):
                self.ask(gateway.transaction((), (asked,)))
            else:
                key, end, count_max, is_keys_only = asked
                self.ask(gateway.read(key, end, count_max=count_max, is_keys_only=is_keys_only))

    def end(self) -> None:
        """Leave no leases."""
        for number in (1, 2):
            with contextlib.suppress(EtcdError):
                self._real(gateway.revoke(self.leases[number]))


def _watched(members: Members, prefix: bytes, revision: int, count: int) -> list[Event]:
    """So many events of the real one."""

    async def run() -> list[Event]:
        found: list[Event] = []
        with trio.fail_after(_SECONDS):
            async with (
                Client(members) as client,
                aclosing(client.watch(prefix, gateway.prefix_end(prefix), revision, _SECONDS)) as answers,
            ):
                async for answer in answers:
                    found += answer.events
                    if len(found) >= count:
                        break
        return found

    return trio.run(run)


@effort(150)
@given(st.lists(steps, max_size=8))
def test_answers_and_events_are_the_same(etcd: EtcdCluster, client: BlockingClient, drawn: list[Step]) -> None:
    both = _Both(client)
    for step in drawn:
        both.step(step)
    watch = gateway.watch(both.prefix, gateway.prefix_end(both.prefix), both.base + 1)
    lines = both.fake.watch(watch).take()
    told = [event for line in lines for event in watch.parse(json.loads(line)).events]
    if told:
        assert _watched(members_of(etcd), both.prefix, both.base + 1, len(told)) == told
    both.end()


def test_watching_what_was_compacted_is_the_same(etcd: EtcdCluster, client: BlockingClient) -> None:
    both = _Both(client)
    for number in range(4):
        both.step(Put(b"a", b"%d" % number))
    compacted = both.base + 3
    asked = Request("/v3/kv/compaction", json.dumps({"revision": str(compacted)}).encode(), lambda found: found)
    deadline = steady_seconds() + _SECONDS
    client.call(asked, lambda: deadline)
    both.fake.compact(compacted)
    watch = gateway.watch(both.prefix, gateway.prefix_end(both.prefix), compacted - 1)
    (_, last) = (watch.parse(json.loads(line)) for line in both.fake.watch(watch).take())
    assert last.compacted == compacted
    with pytest.raises(CompactedError, match=f"before revision {compacted}"):
        _watched(members_of(etcd), both.prefix, compacted - 1, 1)
    watch = gateway.watch(both.prefix, gateway.prefix_end(both.prefix), compacted)
    lines = both.fake.watch(watch).take()
    told = [event for line in lines for event in watch.parse(json.loads(line)).events]
    assert _watched(members_of(etcd), both.prefix, compacted, len(told)) == told
    both.end()


def test_a_lease_ends_with_its_keys(client: BlockingClient) -> None:
    both = _Both(client)
    deadline = steady_seconds() + _SECONDS
    granted = client.call(gateway.grant(1), lambda: deadline)
    assert granted.seconds == 1, "the shortest lease of an election timeout of 500 ms"
    client.call(gateway.put(both.prefix + b"x", b"", granted.lease), lambda: deadline)
    while client.call(gateway.read(both.prefix + b"x"), lambda: deadline).pairs:
        assert steady_seconds() < deadline
    assert client.call(gateway.renew(granted.lease), lambda: deadline).seconds == 0
    fake = FakeEtcd()
    lease = fake.call(gateway.grant(1)).lease
    fake.call(gateway.put(b"x", b"", lease))
    fake.advance(0.9)
    assert fake.call(gateway.read(b"x")).pairs
    fake.advance(1.0)
    assert not fake.call(gateway.read(b"x")).pairs
    assert fake.call(gateway.renew(lease)).seconds == 0
    both.end()
