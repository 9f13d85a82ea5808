"""The log in etcd loses what the nodes have on their disks, and nothing else."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, cast

import pytest
import trio

from pynun.cluster import transactions, trimming
from pynun.cluster.etcd import gateway
from pynun.cluster.keys import Keys, Owner, encode_number
from pynun.cluster.trimming import KEEP_SECONDS, PRESSED_BYTES, Trimmer, trim_until
from tests.cluster.fake_etcd import FakeClient, FakeEtcd

if TYPE_CHECKING:
    from pynun.cluster.etcd.client import Client

KEYS = Keys("test")


@pytest.mark.parametrize(
    ("synced", "live", "is_pressed", "until"),
    [
        ({"a": 100, "b": 90, "c": 80}, "abc", False, 80),
        ({"a": 100, "b": 90, "c": 80}, "abc", True, 80),
        ({"a": 100, "b": 90, "c": 80}, "ab", False, 80),
        ({"a": 100, "b": 90, "c": 80}, "ab", True, 90),
        ({"a": 100, "b": 90, "c": 80}, "a", True, 0),
        ({"a": 100, "b": 40, "c": 80}, "ab", True, 40),
        ({"a": 100}, "a", False, 95),
        ({"a": 100}, "a", True, 95),
        ({"a": 100, "b": 99}, "ab", False, 95),
        ({"a": 100, "b": 99}, "abc", True, 0),
        ({}, "", False, 0),
    ],
)
def test_what_may_go(synced: dict[str, int], live: str, is_pressed: bool, until: int) -> None:
    assert trim_until(synced, set(live), 95, is_pressed=is_pressed) == until


class Owned:
    """A term with nodes a, b and c, that has written so many batches; its trimmer."""

    def __init__(self, batches: int) -> None:
        self.etcd = FakeEtcd()
        self.etcd.call(gateway.put(KEYS.head, encode_number(0)))
        owner = Owner("a", "127.0.0.1:3015", self.etcd.call(gateway.grant(3)).lease)
        won = transactions.judge_campaign(owner, self.etcd.call(transactions.campaign(KEYS, owner)))
        self.owner, self.term = owner, won.term
        self.trimmer = Trimmer(cast("Client", FakeClient(self.etcd)), KEYS, won.term)
        self.head = 0
        self.write(batches)

    def write(self, batches: int) -> None:
        for _ in range(batches):
            self.head += 1
            self.etcd.call(transactions.append(KEYS, self.term, self.head, b"x"))

    def show(self, synced: dict[str, int], live: str) -> None:
        """What the nodes say of themselves."""
        for node, number in synced.items():
            self.etcd.call(gateway.put(KEYS.member(node), json.dumps({"synced": number}).encode()))
            if node in live:
                self.etcd.call(gateway.put(KEYS.live(node), b""))
            else:
                self.etcd.call(gateway.transaction((), (gateway.Delete(KEYS.live(node)),)))

    def trim(self, now: float) -> bool:
        return trio.run(self.trimmer.trim, now)

    def log(self) -> list[int | None]:
        found = self.etcd.call(gateway.read(KEYS.log_prefix, KEYS.log_end))
        return [KEYS.number_of(pair.key) for pair in found.pairs]


def test_old_batches_that_all_have_go() -> None:
    owned = Owned(10)
    owned.show({"a": 10, "b": 8, "c": 9}, "abc")
    assert owned.trim(0.0)
    assert len(owned.log()) == 10, "they may be young"
    owned.write(5)
    owned.show({"a": 15, "b": 15, "c": 15}, "abc")
    for now in range(5, int(KEEP_SECONDS), 5):
        owned.trim(now)
    assert len(owned.log()) == 15
    owned.trim(KEEP_SECONDS)
    assert owned.log() == [11, 12, 13, 14, 15]
    owned.trim(KEEP_SECONDS + 1)
    assert owned.log() == [11, 12, 13, 14, 15]
    owned.trim(KEEP_SECONDS + 5)
    assert owned.log() == []
    owned.write(1)
    assert owned.log() == [16]


def test_a_node_that_is_away_is_waited_for_until_etcd_holds_much() -> None:
    owned = Owned(10)
    owned.show({"a": 10, "b": 10, "c": 4}, "ab")
    owned.trim(0.0)
    owned.trim(KEEP_SECONDS)
    assert owned.log() == [5, 6, 7, 8, 9, 10]
    owned.etcd.used_bytes = PRESSED_BYTES + 1
    owned.trim(KEEP_SECONDS + 5)
    assert owned.log() == []


def test_a_node_that_cannot_store_is_as_one_that_is_away() -> None:
    owned = Owned(10)
    owned.show({"a": 10, "b": 10, "c": 4}, "abc")
    about = {"synced": 4, "trouble": "No space left on device"}
    owned.etcd.call(gateway.put(KEYS.member("c"), json.dumps(about).encode()))
    owned.trim(0.0)
    owned.trim(KEEP_SECONDS)
    assert owned.log() == [5, 6, 7, 8, 9, 10]
    owned.etcd.used_bytes = PRESSED_BYTES + 1
    owned.trim(KEEP_SECONDS + 5)
    assert owned.log() == []


def test_much_goes_step_by_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trimming, "BATCHES_AT_ONCE", 3)
    owned = Owned(10)
    owned.show({"a": 10}, "a")
    owned.trim(0.0)
    revision = owned.etcd.revision
    owned.trim(KEEP_SECONDS)
    assert owned.log() == []
    assert owned.etcd.revision == revision + 4


def test_who_is_not_owner_any_more_removes_nothing() -> None:
    owned = Owned(10)
    owned.show({"a": 10}, "a")
    owned.trim(0.0)
    owned.etcd.call(gateway.revoke(owned.owner.lease))
    assert not owned.trim(KEEP_SECONDS)
    assert len(owned.log()) == 10


def test_nothing_goes_if_a_node_cannot_be_read() -> None:
    owned = Owned(10)
    owned.show({"a": 10}, "a")
    owned.etcd.call(gateway.put(KEYS.member("b"), b"{}"))
    for now in (0.0, KEEP_SECONDS):
        with pytest.raises(ValueError, match="can't be read"):
            owned.trim(now)
    assert len(owned.log()) == 10
