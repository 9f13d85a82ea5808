"""The owner's store: what etcd accepted goes into the own data, and nothing else does."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from pynun.cluster import records
from pynun.cluster.etcd.errors import EtcdError, UnreachableError
from pynun.cluster.etcd.gateway import put, read
from pynun.cluster.keys import encode_number
from pynun.cluster.replicated_store import OwnershipLostError
from pynun.engine.overlay import Batch, Entry
from pynun.errors import MapFullError, StorageError
from pynun.storage import environment
from pynun.storage.store import LmdbStore
from tests.cluster.fake_etcd import FakeEtcd
from tests.cluster.owner import KEYS, OwnedStore, depose, make_cluster, own

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pynun.cluster.etcd.gateway import AnswerT, Request

KEY = b"\0\0\0\1k"


@pytest.fixture(name="data")
def _data(disk_folder: Path) -> Iterator[LmdbStore]:
    with contextlib.closing(LmdbStore(disk_folder / "dbs")) as data:
        yield data


@pytest.fixture(name="etcd")
def _etcd() -> FakeEtcd:
    etcd = FakeEtcd()
    make_cluster(etcd)
    return etcd


def batch_of(number: int, text: str) -> Batch:
    """A batch that sets the key."""
    batch = Batch(number)
    batch.entries[KEY] = Entry(number, text)
    batch.bytes_estimated = len(text)
    return batch


def logged(etcd: FakeEtcd, number: int) -> bytes | None:
    """The value of a batch in the log."""
    found = etcd.call(read(KEYS.log(number))).first
    return None if found is None else found.value


def test_a_batch_is_in_the_log_and_then_in_the_data(data: LmdbStore, etcd: FakeEtcd) -> None:
    store = own(data, etcd)
    store.append(batch_of(1, "one"), 7)
    assert store.get(KEY) == data.get(KEY) == Entry(1, "one")
    assert (store.revision, store.operations) == (1, 7)
    value = logged(etcd, 1)
    assert value is not None
    assert records.decode(value) == (records.decode_head(value).term, 7, {KEY: Entry(1, "one")})


def test_who_is_deposed_stores_nothing_more(data: LmdbStore, etcd: FakeEtcd) -> None:
    store = own(data, etcd)
    store.append(batch_of(1, "one"), 1)
    depose(etcd)
    with pytest.raises(OwnershipLostError, match="another node is the owner, or the lease is gone"):
        store.append(batch_of(2, "two"), 2)
    assert logged(etcd, 2) is None
    own(data, etcd, node="b").append(batch_of(2, "of another"), 2)
    with pytest.raises(OwnershipLostError):
        store.append(batch_of(3, "three"), 3)
    assert data.get(KEY) == Entry(2, "of another")


def test_an_etcd_that_was_set_back_gets_nothing_more(data: LmdbStore, etcd: FakeEtcd) -> None:
    store = own(data, etcd)
    store.append(batch_of(1, "one"), 1)
    etcd.call(put(KEYS.head, encode_number(0)))
    with pytest.raises(OwnershipLostError, match="does not end at batch 1: etcd lost data"):
        store.append(batch_of(2, "two"), 2)
    assert data.get(KEY) == Entry(1, "one")


class _Trouble:
    """An etcd whose answers get lost, or that does not answer at all."""

    def __init__(self, etcd: FakeEtcd) -> None:
        self._etcd = etcd
        self.failure: Exception | None = None
        self.asked = 0
        self.repeats = 1

    def call(self, request: Request[AnswerT], _until: Callable[[], float], /) -> AnswerT:
        """Ask as often as it takes."""
        self.asked += 1
        if self.failure is not None:
            raise self.failure
        for _ in range(self.repeats - 1):
            self._etcd.call(request)
        return self._etcd.call(request)


def test_a_try_whose_answer_was_lost_is_known_again(data: LmdbStore, etcd: FakeEtcd) -> None:
    caller = _Trouble(etcd)
    caller.repeats = 3
    store = own(data, etcd, caller=caller)
    for number in (1, 2):
        store.append(batch_of(number, "v"), number)
    assert data.get(KEY) == Entry(2, "v")


@pytest.mark.parametrize("failure", [UnreachableError("etcd did not answer"), EtcdError(7, "permission denied")])
def test_no_answer_ends_the_term(data: LmdbStore, etcd: FakeEtcd, failure: Exception) -> None:
    caller = _Trouble(etcd)
    store = own(data, etcd, caller=caller)
    caller.failure = failure
    with pytest.raises(OwnershipLostError, match=str(failure)):
        store.append(batch_of(1, "one"), 1)
    assert data.get(KEY) is None


def test_a_large_batch_goes_into_the_log_in_parts(data: LmdbStore, etcd: FakeEtcd) -> None:
    # Text that does not get shorter.
    text = "".join(chr(0x4E00 + (number * 7919 % 20_000)) for number in range(900_000))
    own(data, etcd).append(batch_of(1, text), 1)
    value = logged(etcd, 1)
    assert value is not None
    count = records.decode_head(value).parts
    assert count > 1
    parts = [etcd.call(read(KEYS.part(1, place))).pairs[0].value for place in range(count)]
    assert records.decode(value, parts).entries == {KEY: Entry(1, text)}
    assert data.get(KEY) == Entry(1, text)


def test_who_is_deposed_puts_no_parts(data: LmdbStore, etcd: FakeEtcd) -> None:
    store = own(data, etcd)
    depose(etcd)
    text = "".join(chr(0x4E00 + (number * 7919 % 20_000)) for number in range(900_000))
    with pytest.raises(OwnershipLostError):
        store.append(batch_of(1, text), 1)
    assert etcd.call(read(KEYS.part_prefix, KEYS.part_prefix + b"\xff")).pairs == []


def test_what_was_accepted_is_not_sent_again_when_the_data_has_to_grow(
    disk_folder: Path, etcd: FakeEtcd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "MAP_BYTES", (1 << 20,))
    with contextlib.closing(LmdbStore(disk_folder / "small")) as data:
        caller = _Trouble(etcd)
        store = own(data, etcd, caller=caller)
        batch = batch_of(1, "x" * (2 << 20))
        with pytest.raises(MapFullError):
            store.log(batch, 1)
        asked = caller.asked
        while True:
            store.grow()
            with contextlib.suppress(MapFullError):
                store.log(batch, 1)
                break
        store.logged(batch)
        assert caller.asked == asked
        assert data.get(KEY) == batch.entries[KEY]


class _FullStore(LmdbStore):
    def log(self, batch: Batch, operations: int, *, is_rescue: bool = False) -> None:
        """There is no room."""
        raise StorageError("No space left on device")


def test_a_full_disk_ends_the_term_for_the_batch_is_accepted(disk_folder: Path, etcd: FakeEtcd) -> None:
    with contextlib.closing(_FullStore(disk_folder / "full")) as data:
        store = own(data, etcd)
        with pytest.raises(OwnershipLostError, match="its own data can't take a batch that is in the log: No space"):
            store.append(batch_of(1, "one"), 1)
    assert logged(etcd, 1) is not None


def test_nothing_is_ever_written_on_the_loop(data: LmdbStore, etcd: FakeEtcd) -> None:
    store: OwnedStore = own(data, etcd)
    assert not store.can_log_at_once(batch_of(1, "one"))
