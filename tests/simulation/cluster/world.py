"""Time, and a network between nodes and etcd that delivers late, twice or never.

All that happens is an event at a moment of the world's time. Nodes have clocks of their own, which run a little faster
or slower. A node asks etcd as the real client does: it repeats a request until one try is answered, and takes no answer
to an earlier try; but etcd may get an earlier try long afterwards.
"""

from __future__ import annotations

import heapq
import itertools
from collections import Counter, deque
from typing import TYPE_CHECKING, Any, Final, Generic, NamedTuple

from pynun.cluster import records
from pynun.cluster.etcd import gateway
from pynun.cluster.etcd.blocking_client import TRY_SECONDS
from pynun.cluster.etcd.client import SILENCE_SECONDS
from pynun.cluster.etcd.errors import BusyError, CompactedError, EtcdError
from pynun.cluster.etcd.gateway import AnswerT
from pynun.cluster.keys import Keys, decode_number
from tests.cluster.fake_etcd import FakeEtcd

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from pynun.cluster.etcd.gateway import Pair, Request, WatchAnswer

LATE_SECONDS: Final = 6.0
"""How much later than sent a request may still arrive: longer than a lease."""

TWICE: Final = 0.1
"""Share of requests that arrive a second time, late."""

RENEWAL_PATH: Final = gateway.renew(1).path

_EXPIRY_SECONDS: Final = 0.5
"""How much later than due etcd may end a lease."""


class Place(NamedTuple):
    """Where a value stands in the order of all changes: its batch, and its number in it."""

    revision: int
    number: int


class World:
    """What exists once: time, etcd, and the log as etcd accepted it."""

    def __init__(self, random: random.Random) -> None:
        self.random = random
        self.now = 0.0
        self.keys = Keys("sim")
        self.etcd = FakeEtcd()
        self.etcd_is_up = True
        self.log: list[bytes] = []
        """Every batch that etcd accepted, from number 1 on."""
        self.places: dict[str, Place] = {}
        """For each value that was ever written, all of which are different, where it stands."""
        self.counts: Counter[str] = Counter()
        """How often what happened."""
        self.loss = 0.02
        """Share of messages that are lost."""
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self._checked = 0  # changes of etcd's
        self._watches: list[Watching] = []
        self._term = 0
        self._parts: dict[bytes, bytes] = {}
        self.etcd.call(gateway.put(self.keys.head, b"0"))
        self._tick()

    def at(self, moment: float, run: Callable[[], None]) -> None:
        """Have something happen."""
        heapq.heappush(self._queue, (max(moment, self.now), next(self._order), run))

    def after(self, seconds: float, run: Callable[[], None]) -> None:
        """Have something happen."""
        self.at(self.now + seconds, run)

    def run(self, until: float) -> None:
        """Let everything happen that is due."""
        while self._queue and self._queue[0][0] <= until:
            self.now, _, run = heapq.heappop(self._queue)
            run()
        self.now = until

    def delay(self) -> float:
        """How long a message takes: mostly little."""
        if self.random.random() < 0.9:
            return self.random.uniform(0.0005, 0.005)
        return self.random.uniform(0.005, 0.3)

    # --- etcd --------------------------------------------------------------------------------------------------

    def ask_etcd(self, request: Request[Any]) -> tuple[int, bytes] | None:
        """What etcd answers to a request that arrives now."""
        if not self.etcd_is_up:
            return None
        self.etcd.advance(self.now, self.random.uniform(0.0, _EXPIRY_SECONDS))
        answer = self.etcd.answer(request.path, request.body)
        self.look()
        return answer

    def _tick(self) -> None:
        if self.etcd_is_up:
            self.etcd.advance(self.now, self.random.uniform(0.0, _EXPIRY_SECONDS))
            self.look()
        self.after(0.1, self._tick)

    def look(self) -> None:
        """Check what changed in etcd, and tell those who watch."""
        changed = self.etcd.since(self._checked + 1)
        self._checked = self.etcd.revision
        for event in changed:
            number = self.keys.number_of(event.pair.key)
            if number is not None:
                assert not event.is_removed
                assert number == len(self.log) + 1, f"batch {number} came after batch {len(self.log)}"
                term = records.decode_head(event.pair.value).term
                assert term >= self._term, f"batch {number} is of term {term}, the one before of {self._term}"
                self._term = term
                self.log.append(event.pair.value)
            elif event.pair.key.startswith(self.keys.part_prefix):
                self._look_at_part(event.pair)
            elif event.pair.key == self.keys.head:
                assert decode_number(event.pair.value) in (len(self.log), len(self.log) + 1)
        if changed:
            for watching in list(self._watches):
                watching.wake()

    def _look_at_part(self, pair: Pair) -> None:
        number = int(pair.key.removeprefix(self.keys.part_prefix).split(b"/")[0], 16)
        before = self._parts.get(pair.key)
        assert number > len(self.log) or pair.value == before, f"a part of batch {number} was replaced"
        self._parts[pair.key] = pair.value

    def check_prefix(self, node: str, applied: list[bytes]) -> None:
        """A node has applied a batch: what it has is the beginning of the log."""
        number = len(applied)
        assert number <= len(self.log), f"{node} has batch {number}, which etcd never accepted"
        assert applied[-1] == self.log[number - 1], f"{node} has another batch {number} than etcd"

    def check_reply(self, node: Process, depends: int) -> None:
        """A reply leaves: its batch is in the log."""
        assert depends <= len(self.log), f"{node.name} tells of batch {depends}, and the log ends at {len(self.log)}"

    def lose_watches(self) -> None:
        """Nothing of what changes in etcd arrives any more on the connections that there are."""
        for watching in list(self._watches):
            watching.lose()

    def begin_watch(self, watching: Watching) -> None:
        """Have it woken by changes."""
        self._watches.append(watching)

    def end_watch(self, watching: Watching) -> None:
        """Have it woken no more."""
        if watching in self._watches:
            self._watches.remove(watching)


class Process:
    """What runs on a machine: it may be paused, killed, and cut off from etcd."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.rate = world.random.uniform(0.96, 1.04)
        self._offset = world.random.uniform(0.0, 1000.0)
        self.life = 0
        """Counts its starts; odd while it runs."""
        self.is_paused = False
        self.cannot_send = False
        self.cannot_receive = False
        self.before_renewal: Callable[[], None] | None = None
        """Called once, before the next answer to the renewal of a lease."""
        self._held: list[Callable[[], None]] = []

    @property
    def is_running(self) -> bool:
        """Whether its process exists."""
        return self.life % 2 == 1

    def clock(self) -> float:
        """Its time."""
        return self._offset + self.rate * self.world.now

    def later(self, seconds: float, run: Callable[[], None]) -> None:
        """Have something happen here in so many seconds of its own, unless it is killed before."""
        life = self.life
        self.world.after(seconds / self.rate, lambda: self.here(life, run))

    def here(self, life: int, run: Callable[[], None]) -> None:
        """Have something happen here now: when it goes on, if it is paused; never, if that life is over."""
        if self.life != life:
            return
        if self.is_paused:
            self._held.append(lambda: self.here(life, run))
        else:
            run()

    def pause(self) -> None:
        """Do nothing for a while."""
        self.is_paused = True

    def resume(self) -> None:
        """Go on; what has come meanwhile happens in any order."""
        self.is_paused = False
        held, self._held = self._held, []
        self.world.random.shuffle(held)
        for run in held:
            run()


class Asking(Generic[AnswerT]):
    """A request, repeated until one try is answered: `Client.call`."""

    def __init__(
        self,
        process: Process,
        request: Request[AnswerT],
        until: Callable[[], float],
        answered: Callable[[AnswerT], None],
        failed: Callable[[EtcdError | None], None],
    ) -> None:
        """`failed` gets None if no try was answered until `until()`, a moment of the process's clock."""
        self._process = process
        self._world = process.world
        self._request = request
        self._until = until
        self._answered = answered
        self._failed = failed
        self._life = process.life
        self._number = 0
        self._is_over = False
        self._try()

    def _try(self) -> None:
        if self._is_over:
            return
        rest = self._until() - self._process.clock()
        if rest <= 0:
            self._is_over = True
            self._failed(None)
            return
        self._number += 1
        number = self._number
        random = self._world.random
        if not self._process.cannot_send and random.random() >= self._world.loss:
            self._world.after(self._world.delay(), lambda: self._arrive(number))
        elif random.random() < 0.3:  # it lies in a buffer somewhere
            self._world.after(random.uniform(0.0, LATE_SECONDS), lambda: self._arrive(number))
        if random.random() < TWICE:
            self._world.after(random.uniform(0.0, LATE_SECONDS), lambda: self._arrive(-1))
        self._process.later(min(TRY_SECONDS, rest), lambda: self._time_out(number))

    def _time_out(self, number: int) -> None:
        if number == self._number:
            self._try()

    def _arrive(self, number: int) -> None:
        answer = self._world.ask_etcd(self._request)
        if answer is None or self._process.cannot_receive or self._world.random.random() < self._world.loss:
            return
        self._world.after(self._world.delay(), lambda: self._deliver(number, answer))

    def _deliver(self, number: int, answer: tuple[int, bytes]) -> None:
        before = self._process.before_renewal
        if before is not None and self._request.path == RENEWAL_PATH and number == self._number:
            self._process.before_renewal = None
            before()
        self._process.here(self._life, lambda: self._come(number, answer))

    def _come(self, number: int, answer: tuple[int, bytes]) -> None:
        if self._is_over or number != self._number:
            return
        try:
            found = gateway.answer(self._request, *answer)
        except BusyError:
            self._try()
        except EtcdError as error:
            self._is_over = True
            self._failed(error)
        else:
            self._is_over = True
            self._answered(found)


class Watching:
    """A watch that goes on until it is closed: `Client.watch`."""

    def __init__(
        self,
        process: Process,
        key: bytes,
        end: bytes,
        revision: int,
        told: Callable[[WatchAnswer], None],
        failed: Callable[[CompactedError], None],
    ) -> None:
        self._process = process
        self._world = process.world
        self._range = key, end
        self._revision = revision
        self._told = told
        self._failed = failed
        self._life = process.life
        self._connection = 0
        self._arrives_at = 0.0
        self._sent: deque[bytes] = deque()
        self._is_closed = False
        self._is_broken = False
        self._connect()

    def close(self) -> None:
        """Tell no more."""
        self._is_closed = True
        self._world.end_watch(self)

    def wake(self) -> None:
        """Something changed in etcd."""
        if self._process.life != self._life:
            self.close()
            return
        for line in self._watch.take():
            self._send(line)

    def _send(self, line: bytes) -> None:
        if self._is_broken:
            return
        if self._process.cannot_receive or self._world.random.random() < self._world.loss / 4:
            self.lose()
            return
        connection = self._connection
        self._sent.append(line)  # in order, as a stream is
        self._arrives_at = max(self._arrives_at, self._world.now + self._world.delay())
        self._world.at(self._arrives_at, lambda: self._process.here(self._life, lambda: self._come(connection)))

    def _connect(self) -> None:
        if self._is_closed:
            return
        self._connection += 1
        self._sent.clear()
        if self._process.cannot_send or self._process.cannot_receive or not self._world.etcd_is_up:
            self._process.later(TRY_SECONDS, self._connect)
            return
        self._is_broken = False
        self._watch = self._world.etcd.watch(self._request)
        self._world.begin_watch(self)
        self.wake()

    @property
    def _request(self) -> Request[WatchAnswer]:
        return gateway.watch(*self._range, self._revision)

    def lose(self) -> None:
        """Nothing comes any more, which is noticed after a while."""
        self._is_broken = True
        self._world.end_watch(self)
        connection = self._connection

        def notice() -> None:
            if connection == self._connection:
                self._connect()

        self._process.later(SILENCE_SECONDS, notice)

    def _come(self, connection: int) -> None:
        if self._is_closed or connection != self._connection:
            return
        answer = gateway.answer_line(self._request, self._sent.popleft())
        if answer.compacted:
            self.close()
            self._failed(CompactedError())
            return
        if answer.events:
            self._revision = answer.events[-1].pair.modified + 1
            self._told(answer)
