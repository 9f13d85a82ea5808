"""A simulated node: the real election, records and transactions, around a store in memory.

It follows the log, and as owner it runs commands on the real view, commits one batch at a time, and lets a reply leave
when its batch is stored and the deadline has not passed.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.cluster import records, transactions
from pynun.cluster.election import (
    Action,
    Begin,
    Campaign,
    Election,
    End,
    Grant,
    Renew,
    Resign,
    Revoke,
    Role,
)
from pynun.cluster.etcd import gateway
from pynun.cluster.etcd.gateway import Range, prefix_end
from pynun.cluster.keys import Owner, decode_number, decode_owner
from pynun.cluster.transactions import Verdict
from pynun.engine.overlay import Batch, Entry, View
from tests.simulation.cluster.world import Asking, Place, Process, Watching, World
from tests.storage.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.cluster.etcd.errors import EtcdError
    from pynun.cluster.etcd.gateway import (
        AnswerT,
        LeaseAnswer,
        RangeAnswer,
        Request,
        TransactionAnswer,
        WatchAnswer,
    )

LEASE_SECONDS: Final = 3
PART_BYTES: Final = 150
"""So small that some batches need parts."""

_PAGE: Final = 5


class Command(NamedTuple):
    """A command of a client."""

    key: bytes
    value: str | None
    """None: read it."""
    answered: Callable[[str | None, Place], None]
    """Called with what was read, or written, and where that stands."""
    closed: Callable[[], None]
    """Called if the connection ends before."""


class Waiting(NamedTuple):
    """A reply that depends on a batch."""

    command: Command
    value: str | None
    place: Place
    depends: int


class Node(Process):
    """One node."""

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self.store = MemoryStore()
        self.applied: list[bytes] = []
        """The values of the log that the store has, from number 1 on: on disk."""

    # --- the process -------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin a life of the process."""
        self.life += 1
        self.election = Election(self.name, LEASE_SECONDS, self.world.random.random)
        self._watching: Watching | None = None
        self._reading = 0
        self._told_values: dict[int, bytes] = {}
        self._is_reading_parts = False
        self._view: View | None = None
        self._waiting: list[Waiting] = []
        self._is_writing = False
        self._writing = 0
        self._is_ending = False
        self._head = 0
        self._owner: Owner | None = None
        self._alarm = 0
        self.sessions: list[Command] = []
        self.election.allow(self.clock(), may_campaign=True)
        self._read()

    def kill(self) -> None:
        """End the process; the store stays."""
        self.life += 1
        self.is_paused = False
        self.before_renewal = None
        if self._watching is not None:
            self._watching.close()
        self._close_all()

    def _do(self, actions: list[Action]) -> None:
        for action in actions:
            self._do_one(action)
        if self.election.wake_at < float("inf"):
            self._alarm += 1
            self.later(self.election.wake_at - self.clock(), partial(self._wake, self._alarm))

    def _wake(self, alarm: int) -> None:
        if alarm == self._alarm:
            self._do(self.election.tick(self.clock()))

    def _do_one(self, action: Action) -> None:
        now = self.clock()
        if isinstance(action, Grant):
            self._ask(gateway.grant(action.seconds), now + 2.0, partial(self._granted, now), self._grant_failed)
        elif isinstance(action, Campaign):
            owner = Owner(self.name, "127.0.0.1:3015", action.lease)
            request = transactions.campaign(self.world.keys, owner)
            self._ask(request, action.until, partial(self._campaigned, owner), self._campaign_failed)
        elif isinstance(action, Renew):
            failed = partial(self._renewal_failed, action.lease)
            self._ask(gateway.renew(action.lease), action.until, partial(self._renewed, now), failed)
        elif isinstance(action, Begin):
            self._begin()
        elif isinstance(action, End):
            self._end(is_clean=action.is_clean)
        elif isinstance(action, Resign):
            self._resign(action)
        else:
            self._revoke(action)

    def _ask(
        self,
        request: Request[AnswerT],
        until: float,
        answered: Callable[[AnswerT], None],
        failed: Callable[[EtcdError | None], None],
    ) -> None:
        Asking(self, request, lambda: until, answered, failed)

    # --- the lease ---------------------------------------------------------------------------------------------

    def _granted(self, sent_at: float, answer: LeaseAnswer) -> None:
        self._do(self.election.granted(self.clock(), sent_at, answer.lease, answer.seconds))

    def _grant_failed(self, _error: EtcdError | None) -> None:
        self._do(self.election.grant_failed(self.clock()))

    def _campaigned(self, owner: Owner, answer: TransactionAnswer) -> None:
        ended = transactions.judge_campaign(owner, answer)
        self._do(self.election.campaigned(self.clock(), ended))
        if self.election.role is Role.CATCHING_UP:
            self._owner = owner
            self._read()  # what the watch has not told yet

    def _campaign_failed(self, _error: EtcdError | None) -> None:
        self._do(self.election.campaign_failed(self.clock()))

    def _renewed(self, sent_at: float, answer: LeaseAnswer) -> None:
        self._do(self.election.renewed(self.clock(), sent_at, answer.lease, answer.seconds))

    def _renewal_failed(self, lease: int, _error: EtcdError | None) -> None:
        self._do(self.election.renewal_failed(self.clock(), lease))

    def _revoke(self, action: Revoke) -> None:
        def done(_: object) -> None:
            """The watch tells what follows."""

        self._ask(gateway.revoke(action.lease), self.clock() + action.seconds, done, done)

    def _resign(self, action: Resign) -> None:
        def revoke(_: object) -> None:
            self._revoke(Revoke(action.lease, LEASE_SECONDS))

        if action.successor and self._owner is not None:
            owner = self._owner._replace(successor=action.successor)
            request = transactions.name_successor(self.world.keys, action.term, owner)
            self._ask(request, self.clock() + 0.5, revoke, revoke)
        else:
            revoke(None)

    def hand_over(self, successor: str) -> None:
        """Let another node be owner."""
        self._do(self.election.hand_over(self.clock(), successor))

    def stop(self) -> None:
        """End in order; then `is_stopped`."""
        self._do(self.election.stop(self.clock()))

    def owner_gone(self, lease: int) -> None:
        """The owner's process is gone for certain."""
        self._do(self.election.owner_gone(self.clock(), lease))

    @property
    def is_stopped(self) -> bool:
        """Whether it has ended its term after `stop`."""
        return self.election.role is Role.FOLLOWING

    @property
    def may_send(self) -> bool:
        """Whether a reply may leave now."""
        return self.is_running and self.election.may_send(self.clock())

    # --- following ---------------------------------------------------------------------------------------------

    def _read(self) -> None:
        """Read the owner, then what is missing of the log, then watch from the first answer's revision on."""
        if self._watching is not None:
            self._watching.close()
            self._watching = None
        self._begin_reading()
        keys = self.world.keys
        request = gateway.transaction((), (Range(keys.owner), Range(keys.head)))
        self._ask(request, float("inf"), partial(self._owner_read, self._reading), self._must_not_fail)

    def _begin_reading(self) -> None:
        """Forget what was being read."""
        self._reading += 1
        self._told_values = {}
        self._is_reading_parts = False

    def _must_not_fail(self, error: EtcdError | None) -> None:
        raise AssertionError(error)

    def _owner_read(self, reading: int, answer: TransactionAnswer) -> None:
        if reading != self._reading:
            return
        owner, head = answer.answers
        assert owner is not None
        assert head is not None
        assert head.first is not None
        self._see_owner(owner, answer.revision)
        self._head = decode_number(head.first.value)
        self._read_log(reading, answer.revision)

    def _see_owner(self, answer: RangeAnswer, revision: int) -> None:
        pair = answer.first
        owner = None if pair is None else decode_owner(pair.value)
        self._do(self.election.owner_seen(self.clock(), owner, 0 if pair is None else pair.created, revision))

    def _read_log(self, reading: int, revision: int) -> None:
        if reading != self._reading:
            return
        if len(self.applied) < self._head:
            keys = self.world.keys
            request = gateway.read(keys.log(len(self.applied) + 1), keys.log_end, count_max=_PAGE)
            self._ask(request, float("inf"), partial(self._log_read, reading, revision), self._must_not_fail)
        else:
            keys = self.world.keys
            self._watching = Watching(self, keys.prefix, keys.end, revision + 1, self._told, self._compacted)
            self._report()

    def _log_read(self, reading: int, revision: int, answer: RangeAnswer) -> None:
        if reading != self._reading:
            return
        values = {}
        for pair in answer.pairs:
            number = self.world.keys.number_of(pair.key)
            assert number is not None
            values[number] = pair.value
        self._apply_all(values, partial(self._read_log, reading, revision))

    def _compacted(self, _error: object) -> None:
        self.world.counts["watches compacted"] += 1
        self._read()

    def _told(self, answer: WatchAnswer) -> None:
        keys = self.world.keys
        values: dict[int, bytes] = {}
        for event in answer.events:
            pair = event.pair
            if pair.key == keys.owner:
                owner = None if event.is_removed else decode_owner(pair.value)
                self._do(self.election.owner_seen(self.clock(), owner, pair.created, pair.modified))
            elif pair.key == keys.head:
                self._head = max(self._head, decode_number(pair.value))
            elif (number := keys.number_of(pair.key)) is not None:
                values[number] = pair.value
        self._apply_all(values, self._report)

    def _apply_all(self, values: dict[int, bytes], done: Callable[[], None]) -> None:
        """Apply what follows the newest batch here, then call `done`; parts are read first, and what is told meanwhile
        comes after them.
        """
        self._told_values.update(values)
        if not self._is_reading_parts:
            self._apply_next(done)

    def _apply_next(self, done: Callable[[], None]) -> None:
        while self._told_values and self._view is None:  # as owner, its own batches come back
            number = min(self._told_values)
            value = self._told_values.pop(number)
            if number <= len(self.applied):
                continue
            assert number == len(self.applied) + 1, f"{self.name}: batch {number} after {len(self.applied)}"
            if records.decode_head(value).parts:
                self._read_parts(number, value, done)
                return
            self._apply(value, [])
        done()

    def _read_parts(self, number: int, value: bytes, done: Callable[[], None]) -> None:
        reading = self._reading
        self._is_reading_parts = True

        def read(answer: RangeAnswer) -> None:
            if reading == self._reading:
                self._is_reading_parts = False
                self._apply(value, [pair.value for pair in answer.pairs])
                self._apply_next(done)

        prefix = self.world.keys.parts(number)
        self._ask(gateway.read(prefix, prefix_end(prefix)), float("inf"), read, self._must_not_fail)

    def _apply(self, value: bytes, parts: list[bytes]) -> None:
        record = records.decode(value, parts)
        batch = Batch(len(self.applied) + 1)
        batch.entries = record.entries
        self._store(batch, record.operations, value)

    def _store(self, batch: Batch, operations: int, value: bytes) -> None:
        """On disk."""
        assert batch.revision == len(self.applied) + 1
        self.store.write(batch, operations)
        self.applied.append(value)
        self.world.check_prefix(self.name, self.applied)

    def _report(self) -> None:
        if self._view is None:
            self._do(self.election.log_seen(self.clock(), len(self.applied), self._head))

    # --- owning ------------------------------------------------------------------------------------------------

    def _begin(self) -> None:
        self.world.counts["terms"] += 1
        self._begin_reading()
        self._view = View(self.store, revision=len(self.applied), operations=self.store.operations, is_relaxed=False)

    def _end(self, *, is_clean: bool) -> None:
        if is_clean and self._view is not None:
            self._is_ending = True
            self._end_if_drained()
            return
        self._close_all()
        self._ended()

    def _end_if_drained(self) -> None:
        if self._is_ending and not self._is_writing and not self._waiting:
            self._close_all()
            self._ended()

    def _ended(self) -> None:
        self._view = None
        self._is_ending = self._is_writing = False
        self._writing += 1
        self._do(self.election.ended(self.clock()))
        self._read()

    def _close_all(self) -> None:
        """End all connections without answering."""
        open_commands = [*self.sessions, *(one.command for one in self._waiting)]
        self.sessions.clear()
        self._waiting.clear()
        for command in open_commands:
            self.world.after(self.world.delay(), command.closed)

    def execute(self, command: Command) -> None:
        """A command arrives on an open connection."""
        if self._view is None or self._is_ending or self.election.role is not Role.OWNING:
            self.world.after(self.world.delay(), command.closed)
            return
        view = self._view
        view.depends = 0
        if command.value is not None:
            revision = view.batch.revision
            place = Place(revision, view.batch.operations)
            view.write(command.key, Entry(0, command.value))
            view.count_operation()
            self.world.places[command.value] = place
            value: str | None = command.value
        else:
            entry = view.read(command.key)
            value = None if entry is None else entry.text
            place = Place(0, 0) if value is None else self.world.places[value]
        self._reply(Waiting(command, value, place, view.depends))
        self._commit()

    def _reply(self, waiting: Waiting) -> None:
        """Let a reply leave, or wait for its batch."""
        if waiting.depends:
            self._waiting.append(waiting)
        else:
            self._send(waiting)

    def _send(self, waiting: Waiting) -> None:
        """Let a reply leave, at once or a moment after it was computed."""
        self.sessions.append(waiting.command)
        if self.world.random.random() < 0.5:
            self._flush(waiting)
        else:
            self.later(self.world.random.choice((0.0001, 0.01)), partial(self._flush, waiting))

    def _flush(self, waiting: Waiting) -> None:
        if waiting.command not in self.sessions:
            return
        self.sessions.remove(waiting.command)
        if not self.election.may_send(self.clock()):
            self.world.counts["replies held back"] += 1
            self.world.after(self.world.delay(), waiting.command.closed)
            return
        self.world.check_reply(self, waiting.depends)
        self.world.after(self.world.delay(), partial(waiting.command.answered, waiting.value, waiting.place))

    def _commit(self) -> None:
        """Write the batch being filled, if none is being written."""
        view = self._view
        if view is None or self._is_writing or not view.batch.entries:
            return
        self._is_writing = True
        self._writing += 1
        batch = view.take_batch()
        operations = view.operations - view.batch.operations
        encoded = records.encode(self.election.term, operations, batch.entries, PART_BYTES)
        self._put_parts(self._writing, batch, operations, encoded, 0)

    def _put_parts(self, writing: int, batch: Batch, operations: int, encoded: records.Encoded, place: int) -> None:
        """Put the parts, one after another, and then the batch."""
        keys, term = self.world.keys, self.election.term
        if place == len(encoded.parts):
            request = transactions.append(keys, term, batch.revision, encoded.value)
            answered: Callable[[TransactionAnswer], None] = partial(
                self._appended, writing, term, batch, operations, encoded.value
            )
        else:
            self.world.counts["parts"] += 1
            request = transactions.put_part(keys, term, batch.revision, place, encoded.parts[place])

            def part_answered(answer: TransactionAnswer) -> None:
                if writing != self._writing:
                    return
                if answer.succeeded:
                    self._put_parts(writing, batch, operations, encoded, place + 1)
                else:
                    self._do(self.election.refused(self.clock(), "a part was refused"))

            answered = part_answered
        Asking(self, request, lambda: self.election.deadline, answered, partial(self._append_failed, writing))

    def _append_failed(self, writing: int, error: EtcdError | None) -> None:
        assert error is None
        if writing == self._writing and self._view is not None:
            self._do(self.election.refused(self.clock(), "etcd did not answer"))

    def _appended(
        self, writing: int, term: int, batch: Batch, operations: int, value: bytes, answer: TransactionAnswer
    ) -> None:
        if writing != self._writing or self._view is None:
            return
        verdict = transactions.judge_append(term, value, answer)
        if verdict is not Verdict.ACCEPTED:
            assert verdict is Verdict.DEPOSED, f"{self.name} and etcd disagree about batch {batch.revision}"
            self._do(self.election.refused(self.clock(), "another node is the owner"))
            return
        self.world.counts["batches accepted by an earlier try"] += not answer.succeeded
        self._store(batch, operations, value)
        self._view.written()
        self._is_writing = False
        ready = [one for one in self._waiting if one.depends <= batch.revision]
        self._waiting = [one for one in self._waiting if one.depends > batch.revision]
        for waiting in ready:
            self._send(waiting)
        self._commit()
        self._end_if_drained()
