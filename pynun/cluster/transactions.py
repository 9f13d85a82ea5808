"""The transactions that keep a cluster's log whole, and what their answers mean. Pure.

All may be repeated until they are answered: an earlier try that arrived is recognized.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from pynun.cluster.etcd.gateway import CreatedAt, Delete, Holds, Put, Range, transaction
from pynun.cluster.keys import Owner, decode_number, decode_owner, encode_number

if TYPE_CHECKING:
    from pynun.cluster.etcd.gateway import Request, TransactionAnswer
    from pynun.cluster.keys import Keys


class Verdict(enum.Enum):
    """What became of a batch."""

    ACCEPTED = "accepted"
    """It is in the log, now or since an earlier try, and this owner may go on."""
    DEPOSED = "deposed"
    """The term is over. Whether the batch is in the log, the next owner knows."""
    OUT_OF_STEP = "out of step"
    """The log in etcd is not the one that this owner wrote: etcd lost data, or was set back. The term is over."""


class Campaigned(NamedTuple):
    """How a campaign ended."""

    term: int
    """The create revision of the owner's key, the candidate's or another's."""
    has_won: bool
    owner: Owner
    head: int | None
    """The number of the newest batch when the campaign ended; after a win nobody else adds one. None: no cluster was
    made under this name."""
    revision: int


def campaign(keys: Keys, owner: Owner) -> Request[TransactionAnswer]:
    """Become owner if there is none."""
    reads = (Range(keys.owner), Range(keys.head))
    return transaction((CreatedAt(keys.owner, 0),), (Put(keys.owner, owner.encode(), owner.lease), *reads), reads)


def judge_campaign(owner: Owner, answer: TransactionAnswer) -> Campaigned:
    """What the answer means for the candidate. Raises ValueError if the keys can't be read."""
    found, head = answer.answers[-2:]
    assert found is not None
    assert head is not None
    assert found.first is not None
    winner = decode_owner(found.first.value)
    number = None if head.first is None else decode_number(head.first.value)
    # A lease is of one candidate: with this one's, an earlier try had arrived.
    return Campaigned(found.first.created, winner.lease == owner.lease, winner, number, answer.revision)


def name_successor(keys: Keys, term: int, owner: Owner) -> Request[TransactionAnswer]:
    """Have the owner's key say who follows, if it is still this owner's."""
    return transaction((CreatedAt(keys.owner, term),), (Put(keys.owner, owner.encode(), owner.lease),))


def append(keys: Keys, term: int, number: int, value: bytes) -> Request[TransactionAnswer]:
    """Add a batch to the log, if the term goes on and the log ends with the batch before."""
    return transaction(
        (CreatedAt(keys.owner, term), CreatedAt(keys.log(number), 0), Holds(keys.head, encode_number(number - 1))),
        (Put(keys.log(number), value), Put(keys.head, encode_number(number))),
        (Range(keys.owner, is_keys_only=True), Range(keys.log(number))),
    )


def judge_append(term: int, value: bytes, answer: TransactionAnswer) -> Verdict:
    """What the answer means for the owner of that term."""
    if answer.succeeded:
        return Verdict.ACCEPTED
    owner, log = answer.answers
    if owner is None or owner.first is None or owner.first.created != term:
        return Verdict.DEPOSED
    if log is not None and log.first is not None and log.first.value == value:
        return Verdict.ACCEPTED
    return Verdict.OUT_OF_STEP


def put_part(keys: Keys, term: int, number: int, place: int, part: bytes) -> Request[TransactionAnswer]:
    """Put a part of a batch that is not in the log yet, if the term goes on; otherwise the answer has not succeeded."""
    return transaction((CreatedAt(keys.owner, term),), (Put(keys.part(number, place), part),))


def trim(keys: Keys, term: int, until: int) -> Request[TransactionAnswer]:
    """Remove the batches before `until`, and their parts, if the term goes on."""
    return transaction(
        (CreatedAt(keys.owner, term),),
        (Delete(keys.log_prefix, keys.log(until)), Delete(keys.part_prefix, keys.parts(until))),
    )
