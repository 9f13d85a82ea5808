"""What the answers to campaigns and batches mean, at a fake etcd."""

from __future__ import annotations

import pytest

from pynun.cluster import transactions
from pynun.cluster.etcd import gateway
from pynun.cluster.etcd.errors import EtcdError
from pynun.cluster.keys import Keys, Owner, decode_number, decode_owner, encode_number
from pynun.cluster.transactions import Verdict
from tests.cluster.fake_etcd import FakeEtcd

KEYS = Keys("test")


@pytest.fixture
def etcd() -> FakeEtcd:
    """One in which the log ends at batch 7."""
    etcd = FakeEtcd()
    etcd.call(gateway.put(KEYS.head, encode_number(7)))
    return etcd


def campaign(etcd: FakeEtcd, node: str) -> transactions.Campaigned:
    """How a node's campaign ends."""
    owner = Owner(node, f"{node}:3015", etcd.call(gateway.grant(3)).lease)
    return transactions.judge_campaign(owner, etcd.call(transactions.campaign(KEYS, owner)))


def append(etcd: FakeEtcd, term: int, number: int, value: bytes) -> Verdict:
    """What becomes of a batch."""
    return transactions.judge_append(term, value, etcd.call(transactions.append(KEYS, term, number, value)))


def test_the_first_campaign_wins(etcd: FakeEtcd) -> None:
    won = campaign(etcd, "a")
    assert won.has_won
    assert won.head == 7
    assert (won.term, won.owner.node) == (won.revision, "a")
    lost = campaign(etcd, "b")
    assert not lost.has_won
    assert (lost.term, lost.owner, lost.head) == (won.term, won.owner, 7)


def test_a_repeated_campaign_is_recognized(etcd: FakeEtcd) -> None:
    owner = Owner("a", "a:3015", etcd.call(gateway.grant(3)).lease)
    first = transactions.judge_campaign(owner, etcd.call(transactions.campaign(KEYS, owner)))
    again = transactions.judge_campaign(owner, etcd.call(transactions.campaign(KEYS, owner)))
    assert again == first
    etcd.call(gateway.revoke(owner.lease))
    with pytest.raises(EtcdError, match="lease not found"):
        etcd.call(transactions.campaign(KEYS, owner))


def test_a_prefix_without_a_cluster_has_no_head() -> None:
    assert campaign(FakeEtcd(), "a").head is None


def test_batches_follow_each_other(etcd: FakeEtcd) -> None:
    term = campaign(etcd, "a").term
    assert append(etcd, term, 8, b"eight") is Verdict.ACCEPTED
    assert append(etcd, term, 8, b"eight") is Verdict.ACCEPTED, "an earlier try had arrived"
    assert append(etcd, term, 9, b"nine") is Verdict.ACCEPTED
    head = etcd.call(gateway.read(KEYS.head)).first
    assert head is not None
    assert decode_number(head.value) == 9
    pairs = etcd.call(gateway.read(KEYS.log_prefix, KEYS.log_end)).pairs
    assert [(KEYS.number_of(pair.key), pair.value) for pair in pairs] == [(8, b"eight"), (9, b"nine")]


@pytest.mark.parametrize(("number", "value"), [(7, b"x"), (8, b"other"), (10, b"x"), (5000, b"x")])
def test_a_log_that_is_another_is_noticed(etcd: FakeEtcd, number: int, value: bytes) -> None:
    """etcd was set back, or something else writes under the prefix."""
    term = campaign(etcd, "a").term
    append(etcd, term, 8, b"eight")
    assert append(etcd, term, number, value) is Verdict.OUT_OF_STEP
    assert len(etcd.call(gateway.read(KEYS.log_prefix, KEYS.log_end)).pairs) == 1


def test_an_owner_that_is_none_any_more_is_refused(etcd: FakeEtcd) -> None:
    won = campaign(etcd, "a")
    append(etcd, won.term, 8, b"eight")
    etcd.call(gateway.revoke(won.owner.lease))
    assert append(etcd, won.term, 9, b"nine") is Verdict.DEPOSED
    assert append(etcd, won.term, 8, b"eight") is Verdict.DEPOSED, "although it is in the log"
    assert not etcd.call(transactions.put_part(KEYS, won.term, 9, 0, b"part")).succeeded
    following = campaign(etcd, "b")
    assert following.term > won.term
    assert following.head == 8
    assert append(etcd, won.term, 9, b"nine") is Verdict.DEPOSED
    successor = transactions.name_successor(KEYS, won.term, won.owner._replace(successor="c"))
    assert not etcd.call(successor).succeeded
    assert append(etcd, following.term, 9, b"other nine") is Verdict.ACCEPTED


def test_trimming_removes_old_batches_and_their_parts(etcd: FakeEtcd) -> None:
    term = campaign(etcd, "a").term
    for number in range(8, 12):
        etcd.call(transactions.put_part(KEYS, term, number, 0, b"part"))
        append(etcd, term, number, b"batch")
    assert etcd.call(transactions.trim(KEYS, term, 10)).succeeded
    pairs = etcd.call(gateway.read(KEYS.prefix, KEYS.end)).pairs
    assert [pair.key for pair in pairs if KEYS.number_of(pair.key) is not None] == [KEYS.log(10), KEYS.log(11)]
    assert [pair.key for pair in pairs if pair.key.startswith(KEYS.part_prefix)] == [KEYS.part(10, 0), KEYS.part(11, 0)]
    assert append(etcd, term, 12, b"batch") is Verdict.ACCEPTED


def test_the_owner_names_a_successor(etcd: FakeEtcd) -> None:
    won = campaign(etcd, "a")
    assert etcd.call(transactions.name_successor(KEYS, won.term, won.owner._replace(successor="b"))).succeeded
    pair = etcd.call(gateway.read(KEYS.owner)).first
    assert pair is not None
    assert pair.created == won.term
    assert decode_owner(pair.value) == won.owner._replace(successor="b")
    assert append(etcd, won.term, 8, b"eight") is Verdict.ACCEPTED, "the term goes on until the lease is gone"


@pytest.mark.parametrize("value", [b"", b"no json", b"[]", b"{}", b'{"node": "a", "address": "b", "lease": "many"}'])
def test_an_owner_that_cannot_be_read_is_told(value: bytes) -> None:
    with pytest.raises(ValueError, match="can't be read"):
        decode_owner(value)


def test_keys_of_the_log_are_in_the_order_of_batches() -> None:
    numbers = [0, 1, 9, 10, 15, 16, 255, 1 << 40, (1 << 64) - 1]
    names = [KEYS.log(number) for number in numbers]
    assert names == sorted(names)
    assert [KEYS.number_of(name) for name in names] == numbers
    assert all(KEYS.prefix <= name < KEYS.end for name in names)
    assert Keys("test2").prefix >= KEYS.end or Keys("test2").end <= KEYS.prefix
    assert KEYS.number_of(KEYS.owner) is None
