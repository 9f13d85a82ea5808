"""Does a data folder belong to the cluster in etcd, and is the node's name free? Asked before a node follows."""

from __future__ import annotations

import logging
import uuid
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.cluster.etcd.errors import EtcdError, UnreachableError
from pynun.cluster.etcd.gateway import (
    CreatedAt,
    Delete,
    Put,
    Range,
    grant,
    prefix_end,
    put,
    read,
    renew,
    revoke,
    transaction,
)
from pynun.cluster.keys import decode_number, encode_number
from pynun.cluster.note import cluster_of, write_note
from pynun.errors import StartError
from pynun.timestamps import steady_seconds

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.cluster.caller import Caller
    from pynun.cluster.etcd.client import Client
    from pynun.cluster.etcd.gateway import AnswerT, RangeAnswer, Request
    from pynun.cluster.keys import Keys
    from pynun.storage.store import LmdbStore

LIVE_SECONDS: Final = 4
"""The lease of the key that says that a node lives."""

_TRY_SECONDS: Final = 1.0
_NAME_SECONDS: Final = LIVE_SECONDS + 2.0
_PAUSE_SECONDS: Final = 0.2

_log = logging.getLogger("nun_db")


class ClusterState(NamedTuple):
    """What etcd has of a cluster."""

    id: str | None
    """None: nobody made it yet."""
    head: int
    """The number of the newest batch."""


class PatientCaller:
    """Asks for as long as etcd does not answer."""

    def __init__(self, caller: Caller, pause: Callable[[float], None]) -> None:
        """`pause` sleeps, and raises what ends the wait."""
        self._caller = caller
        self.pause = pause
        self._is_told = False

    def ask(self, request: Request[AnswerT]) -> AnswerT:
        """The answer, whenever it comes. Raises StartError if etcd refuses."""
        while True:
            until = steady_seconds() + _TRY_SECONDS
            try:
                return self._caller.call(request, lambda until=until: until)  # type: ignore[misc]
            except UnreachableError as error:
                if not self._is_told:
                    self._is_told = True
                    _log.warning("waiting for etcd: %s", error)
            except EtcdError as error:
                raise StartError(f"{error}; see NUN_ETCD and docs/cluster-setup.md") from None
            self.pause(_PAUSE_SECONDS)


def read_state(caller: PatientCaller, keys: Keys) -> ClusterState:
    """Look at etcd. Raises StartError."""
    return _state(caller.ask(transaction((), (Range(keys.id), Range(keys.head)))).answers)


def enter(data: LmdbStore, caller: PatientCaller, keys: Keys) -> str:
    """Check that the data may follow the log; returns the cluster's id.

    With an empty folder, and nothing in etcd, the cluster is made. Raises StartError.
    """
    note, state = cluster_of(data), read_state(caller, keys)
    folder = data.folder
    if state.id is None:
        if note is not None:
            raise StartError(
                f"etcd has nothing of the cluster that the data in {folder} belongs to (it has batch {data.revision})."
                " Is NUN_ETCD right, and NUN_CLUSTER_NAME? If etcd lost its data, see docs/cluster-operation.md"
            )
        if data.revision:
            raise StartError(
                f"{folder} has the data of a single node: to begin a cluster with it, run nun-db cluster init once"
                " (docs/cluster-setup.md)"
            )
        state = make(caller, keys, uuid.uuid4().hex, 0)
    elif note != state.id and (note is not None or data.revision):
        raise StartError(
            f"the data in {folder} is not that of the cluster in etcd: give this node an empty folder, or a backup of"
            " another node (docs/cluster-operation.md)"
        )
    _check_end(data, state)
    assert state.id is not None
    return state.id


def _check_end(data: LmdbStore, state: ClusterState) -> None:
    """Raise StartError if the log ends before the data."""
    if data.revision > state.head:
        raise StartError(
            f"the data in {data.folder} has batch {data.revision}, and the log in etcd ends at {state.head}: etcd lost"
            " data, or was set back; docs/cluster-operation.md says what to do"
        )


def behind_log(newest: int) -> str:
    """What to do if the data ends at a batch, and the log begins later."""
    return (
        f"this node's data ends at batch {newest}, and the log in etcd has not got batch {newest + 1} any more: start "
        "this node again, so that it copies the data of another one"
    )


def make(caller: PatientCaller, keys: Keys, cluster_id: str, head: int) -> ClusterState:
    """Make the cluster in etcd, unless it is there by now; returns what is there."""
    reads = (Range(keys.id), Range(keys.head))
    puts = (Put(keys.id, cluster_id.encode()), Put(keys.head, encode_number(head)))
    answer = caller.ask(transaction((CreatedAt(keys.id, 0), CreatedAt(keys.head, 0)), (*puts, *reads), reads))
    return _state(answer.answers[-2:])


def _state(answers: list[RangeAnswer | None]) -> ClusterState:
    found, head = answers
    assert found is not None
    assert head is not None
    if found.first is None or head.first is None:
        return ClusterState(None, 0)
    return ClusterState(found.first.value.decode(), decode_number(head.first.value))


def hold_name(caller: PatientCaller, keys: Keys, node: str) -> int:
    """Have etcd's key `live/NODE` for this process; returns its lease. An earlier process's key is waited for.

    Raises StartError if another process keeps it.
    """
    lease = caller.ask(grant(LIVE_SECONDS)).lease
    key = keys.live(node)
    take = transaction((CreatedAt(key, 0),), (Put(key, b"", lease),), (Range(key),))
    deadline = steady_seconds() + _NAME_SECONDS
    while True:
        answer = caller.ask(take)
        if answer.succeeded:
            return lease
        (held,) = answer.answers
        if held is not None and held.first is not None and held.first.lease == lease:
            return lease  # an earlier try had arrived
        if steady_seconds() > deadline:
            caller.ask(revoke(lease))
            raise StartError(f"another node named {node} runs in this cluster: choose another name with NUN_NODE_NAME")
        caller.pause(_PAUSE_SECONDS)
        if caller.ask(renew(lease)).seconds <= 0:
            return hold_name(caller, keys, node)


async def keep_name(client: Client, keys: Keys, node: str, lease: int) -> int:
    """Renew the lease of the key `live/NODE`; returns it, or that of a new key. Raises UnreachableError and EtcdError.

    Call it about once a second.
    """
    if (await client.call(renew(lease), LIVE_SECONDS)).seconds > 0:
        return lease
    answer = await client.call(grant(LIVE_SECONDS), LIVE_SECONDS)
    await client.call(put(keys.live(node), b"", answer.lease), LIVE_SECONDS)
    return answer.lease


# --- with a stopped server -------------------------------------------------------------------------------------


def begin_cluster(data: LmdbStore, caller: PatientCaller, keys: Keys) -> ClusterState:
    """Begin a cluster with the data of a stopped server. May be repeated after a failure.

    Raises StartError if etcd has a cluster of that name, and StorageError.
    """
    state = read_state(caller, keys)
    if state.id is None:
        # A new id, even if the data has one: nodes with changes that this data lacks must not follow the new log.
        note = uuid.uuid4().hex
        write_note(data, note)
        state = make(caller, keys, note, data.revision)
    if state.id != cluster_of(data):
        raise StartError(
            "etcd has a cluster of this name already: choose another with NUN_CLUSTER_NAME, or start this node with an"
            " empty folder to join that"
        )
    _check_end(data, state)
    return state


def remove_cluster(caller: PatientCaller, keys: Keys) -> bool:
    """Remove all that etcd has of a cluster; False if it has nothing. Raises StartError if a node still runs."""
    live = caller.ask(read(keys.live_prefix, prefix_end(keys.live_prefix), is_keys_only=True)).pairs
    if live:
        names = ", ".join(pair.key.removeprefix(keys.live_prefix).decode() for pair in live)
        raise StartError(f"these nodes run, or ran until a moment ago: {names}; stop them, then run this again")
    is_there = bool(caller.ask(read(keys.prefix, keys.end, count_max=1, is_keys_only=True)).pairs)
    caller.ask(transaction((), (Delete(keys.prefix, keys.end),)))
    return is_there


def leave_cluster(data: LmdbStore) -> bool:
    """Have the data of a stopped server be a single node's; False if it is already. Raises StorageError."""
    if cluster_of(data) is None:
        return False
    write_note(data, None)
    return True
