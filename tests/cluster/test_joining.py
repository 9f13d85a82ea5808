"""Which data folders may be part of which cluster, and whose name is free."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pytest

from pynun.cluster.copying import needs_copy
from pynun.cluster.etcd.errors import EtcdError, UnreachableError
from pynun.cluster.etcd.gateway import Delete, grant, put, read, transaction
from pynun.cluster.joining import (
    LIVE_SECONDS,
    ClusterState,
    PatientCaller,
    begin_cluster,
    enter,
    hold_name,
    leave_cluster,
    read_state,
)
from pynun.cluster.keys import Keys
from pynun.cluster.note import cluster_of, refuse_member
from pynun.engine.key_layout import CLUSTER
from pynun.engine.overlay import Batch, Entry
from pynun.errors import StartError, StorageError
from pynun.storage.store import LmdbStore
from tests.cluster.fake_etcd import FakeEtcd
from tests.cluster.owner import KEYS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from pynun.cluster.etcd.gateway import AnswerT, Request

KEY = b"\0\0\0\1k"


class _Etcd(FakeEtcd):
    """An etcd, and a caller whose pauses let its time pass."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.caller = PatientCaller(self, self._pause)

    def _pause(self, seconds: float) -> None:
        self.now += seconds
        self.advance(self.now)


@pytest.fixture(name="etcd")
def _etcd() -> _Etcd:
    return _Etcd()


@pytest.fixture(name="data")
def _data(disk_folder: Path) -> Iterator[LmdbStore]:
    with contextlib.closing(LmdbStore(disk_folder / "dbs")) as data:
        yield data


def write(data: LmdbStore, entries: dict[bytes, Entry | None] | None = None) -> None:
    """Put a batch into the data."""
    batch = Batch(data.revision + 1)
    batch.entries.update(entries or {KEY: Entry(0, "v")})
    data.append(batch, data.operations + 1)


def refused(data: LmdbStore, etcd: _Etcd) -> str:
    """Why the folder may not be part of the cluster."""
    with pytest.raises(StartError) as caught:
        enter(data, etcd.caller, KEYS)
    return str(caught.value)


def test_an_empty_folder_makes_the_cluster_and_the_next_one_joins_it(
    data: LmdbStore, etcd: _Etcd, disk_folder: Path
) -> None:
    made = enter(data, etcd.caller, KEYS)
    assert read_state(etcd.caller, KEYS) == ClusterState(made, 0)
    with contextlib.closing(LmdbStore(disk_folder / "other")) as other:
        assert enter(other, etcd.caller, KEYS) == made
    assert enter(data, etcd.caller, KEYS) == made
    assert data.revision == 0, "nothing is written here: the first batch of the log has the note"


def test_clusters_of_two_names_share_an_etcd(data: LmdbStore, etcd: _Etcd) -> None:
    made = enter(data, etcd.caller, KEYS)
    assert enter(data, etcd.caller, Keys("other")) != made


def test_the_data_of_a_single_node_needs_init(data: LmdbStore, etcd: _Etcd) -> None:
    write(data)
    assert "run nun-db cluster init once" in refused(data, etcd)
    assert read_state(etcd.caller, KEYS).id is None


def test_init_makes_the_cluster_with_the_data(data: LmdbStore, etcd: _Etcd) -> None:
    write(data)
    state = begin_cluster(data, etcd.caller, KEYS)
    assert state == ClusterState(cluster_of(data), data.revision)
    assert data.get(KEY) == Entry(0, "v")
    assert enter(data, etcd.caller, KEYS) == state.id
    assert begin_cluster(data, etcd.caller, KEYS) == state, "it may be run again"


def test_init_that_failed_half_way_is_run_again(data: LmdbStore, etcd: _Etcd) -> None:
    write(data)
    state = begin_cluster(data, etcd.caller, KEYS)
    etcd.call(transaction((), (Delete(KEYS.id), Delete(KEYS.head))))  # as if it had ended after the note
    again = begin_cluster(data, etcd.caller, KEYS)
    assert again == ClusterState(cluster_of(data), data.revision)
    assert again.id != state.id


def test_a_cluster_that_begins_anew_refuses_data_from_before(data: LmdbStore, etcd: _Etcd, disk_folder: Path) -> None:
    """Such a node may have changes that the new log lacks, and the log may be longer than its data by now."""
    write(data)
    begin_cluster(data, etcd.caller, KEYS)
    with contextlib.closing(LmdbStore(disk_folder / "other")) as other:
        note = cluster_of(data)
        assert note is not None
        write(other, {CLUSTER: Entry(0, note)})
        etcd.call(transaction((), (Delete(KEYS.prefix, KEYS.end),)))
        state = begin_cluster(data, etcd.caller, KEYS)
        etcd.call(put(KEYS.head, b"%d" % (state.head + 100)))
        assert "is not that of the cluster in etcd" in refused(other, etcd)
        assert enter(data, etcd.caller, KEYS) == state.id


def test_init_does_not_replace_a_cluster(data: LmdbStore, etcd: _Etcd, disk_folder: Path) -> None:
    with contextlib.closing(LmdbStore(disk_folder / "other")) as other:
        enter(other, etcd.caller, KEYS)
    write(data)
    with pytest.raises(StartError, match="etcd has a cluster of this name already"):
        begin_cluster(data, etcd.caller, KEYS)
    assert cluster_of(data) is None


def test_the_data_of_another_cluster_or_of_a_single_node_is_refused(data: LmdbStore, etcd: _Etcd) -> None:
    enter(data, etcd.caller, KEYS)
    write(data)
    assert "is not that of the cluster in etcd" in refused(data, etcd)
    write(data, {CLUSTER: Entry(0, "another")})
    assert "is not that of the cluster in etcd" in refused(data, etcd)


def test_an_etcd_that_lost_its_data_is_noticed(data: LmdbStore, etcd: _Etcd) -> None:
    write(data)
    state = begin_cluster(data, etcd.caller, KEYS)
    etcd.call(put(KEYS.head, b"1"))
    assert f"has batch {state.head}, and the log in etcd ends at 1" in refused(data, etcd)
    with pytest.raises(StartError, match="etcd lost data"):
        begin_cluster(data, etcd.caller, KEYS)
    assert "etcd has nothing of the cluster" in refused(data, _Etcd())


def test_a_single_node_does_not_start_on_the_data_of_a_cluster_before_it_has_left(data: LmdbStore, etcd: _Etcd) -> None:
    write(data)
    refuse_member(data)
    begin_cluster(data, etcd.caller, KEYS)
    with pytest.raises(StartError, match="belongs to a cluster: set NUN_ETCD, or"):
        refuse_member(data)
    assert leave_cluster(data)
    refuse_member(data)
    assert not leave_cluster(data)
    assert data.get(KEY) == Entry(0, "v")


def test_who_is_behind_the_beginning_of_the_log_needs_a_copy(data: LmdbStore, etcd: _Etcd, disk_folder: Path) -> None:
    write(data)
    write(data)
    begin_cluster(data, etcd.caller, KEYS)
    with contextlib.closing(LmdbStore(disk_folder / "other")) as other:
        enter(other, etcd.caller, KEYS)
        assert needs_copy(other.revision, etcd.caller, KEYS)
        etcd.call(put(KEYS.log(2), b""))
        assert needs_copy(other.revision, etcd.caller, KEYS)
        etcd.call(put(KEYS.log(1), b""))
        assert not needs_copy(other.revision, etcd.caller, KEYS)
    etcd.call(transaction((), (Delete(KEYS.log_prefix, KEYS.log_end),)))
    assert not needs_copy(data.revision, etcd.caller, KEYS)


# --- names -----------------------------------------------------------------------------------------------------


def test_a_name_is_held_under_a_lease(etcd: _Etcd) -> None:
    lease = hold_name(etcd.caller, KEYS, "a")
    held = etcd.call(read(KEYS.live("a"))).first
    assert held is not None
    assert held.lease == lease
    assert hold_name(etcd.caller, KEYS, "b") != lease


def test_the_name_of_an_earlier_life_is_waited_for(etcd: _Etcd) -> None:
    hold_name(etcd.caller, KEYS, "a")
    hold_name(etcd.caller, KEYS, "a")
    assert LIVE_SECONDS <= etcd.now < LIVE_SECONDS + 1


def test_a_name_that_another_process_keeps_is_refused(etcd: _Etcd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pynun.cluster.joining.steady_seconds", lambda: etcd.now)
    kept = etcd.call(grant(1000)).lease
    etcd.call(put(KEYS.live("a"), b"", kept))
    with pytest.raises(StartError, match="another node named a runs in this cluster"):
        hold_name(etcd.caller, KEYS, "a")


def test_a_try_whose_answer_was_lost_is_known_again(etcd: _Etcd) -> None:
    class Twice:
        def call(self, request: Request[AnswerT], until: Callable[[], float], /) -> AnswerT:
            etcd.call(request)
            return etcd.call(request, until)

    lease = hold_name(PatientCaller(Twice(), lambda _: None), KEYS, "a")
    assert etcd.call(read(KEYS.live("a"))).pairs[0].lease == lease


# --- asking ----------------------------------------------------------------------------------------------------


def test_etcd_is_waited_for_until_the_pause_ends_it(etcd: _Etcd) -> None:
    class Late:
        def call(self, request: Request[AnswerT], until: Callable[[], float], /) -> AnswerT:
            if etcd.now < 1:
                raise UnreachableError("etcd did not answer")
            return etcd.call(request, until)

    assert read_state(PatientCaller(Late(), etcd.caller.pause), KEYS).id is None

    def stop(_: float) -> None:
        raise StorageError("stopped")

    etcd.now = 0
    with pytest.raises(StorageError):
        read_state(PatientCaller(Late(), stop), KEYS)


def test_what_etcd_refuses_is_told(etcd: _Etcd) -> None:
    class Refusing:
        def call(self, _request: Request[AnswerT], _until: Callable[[], float], /) -> AnswerT:
            raise EtcdError(7, "permission denied")

    with pytest.raises(StartError, match=r"etcd: permission denied; see NUN_ETCD"):
        read_state(PatientCaller(Refusing(), etcd.caller.pause), KEYS)
