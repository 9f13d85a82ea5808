"""The node as it is, with follower, election, term and trimming, under trio's mock clock on the fake etcd.

Coarser than `simulation`: time passes between the steps of a node, but not within what its writing thread does, and a
node is killed or cut off, not paused. It shows how the parts of a node play together when anything fails at any time.
"""

from __future__ import annotations

import contextlib
import random
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast
from unittest.mock import patch

import trio
import trio.testing
from trio._core import _run as trio_run

from pynun.cluster import follower, joining, node, owner_watch, records, trimming
from pynun.cluster.etcd import gateway
from pynun.cluster.etcd.blocking_client import TRY_SECONDS
from pynun.cluster.etcd.client import SILENCE_SECONDS
from pynun.cluster.etcd.errors import BusyError, CompactedError, UnreachableError
from pynun.cluster.keys import Keys, encode_number
from pynun.cluster.node import Node, Place
from pynun.engine.overlay import Batch, Entry
from pynun.errors import StorageError
from pynun.setting_values import Address
from tests.cluster.fake_etcd import FakeEtcd
from tests.storage.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from pynun.cluster.etcd.gateway import AnswerT, Request, WatchAnswer
    from pynun.cluster.replicated_store import ReplicatedStore
    from pynun.storage.store import LmdbStore

LEASE_SECONDS: Final = 3
FAULT_SECONDS: Final = 1.5
CALM_SECONDS: Final = 20.0
KEY: Final = b"0000k"
KEEP_SECONDS: Final = 2.0
ROUND_SECONDS: Final = 0.5
"""Instead of the trimmer's minute and five seconds: terms are short here."""

PART_BYTES: Final = 200
PARTS_MAX: Final = 40
"""So many parts of a batch, which the follower does not read by one request."""

_Fault = Callable[["Machine"], Coroutine[Any, Any, None]]


class Data(MemoryStore):
    """A node's data, which outlives its process. Reads find a batch after `logged`, as with the real one."""

    folder = "memory"

    def __init__(self) -> None:
        super().__init__()
        self.is_full = False
        self._logged: tuple[Batch, int] | None = None

    def log(self, batch: Batch, operations: int, *, is_rescue: bool = False) -> None:
        """Raises StorageError while the disk is full."""
        assert batch.revision > self.revision, (batch.revision, self.revision)
        if self.is_full:
            raise StorageError("No space left on device")
        self._logged = batch, operations

    def logged(self, batch: Batch) -> None:
        if self._logged is not None:
            assert self._logged[0] is batch
            self.write(*self._logged)
            self._logged = None

    def grow(self) -> None: ...

    def reopen(self) -> None: ...

    def how_to_rescue(self, _why: str) -> str:
        return ""


class Machine:
    """What a node runs on."""

    def __init__(self, world: World, place: int) -> None:
        self.world = world
        self.name = f"n{place}"
        self.address = Address(self.name, 3015)
        self.data = Data()
        self.scope: trio.CancelScope | None = None
        """Of the process, while it runs."""
        self.node: Node | None = None
        self.ended = trio.Event()
        self.is_cut = False
        self.is_deaf = False  # requests arrive, answers do not

    def is_away(self) -> bool:
        """Whether it gets no answers."""
        return self.is_cut or self.is_deaf

    async def run(self) -> None:
        """One life of its process after another. Fails as the node does."""
        while True:
            await self._live()
            await trio.sleep(self.world.random.uniform(0.0, 4.0))

    async def _live(self) -> None:
        world = self.world
        lease = world.etcd.call(gateway.grant(joining.LIVE_SECONDS)).lease
        world.etcd.call(gateway.put(world.keys.live(self.name), b"", lease))
        members = cast("Any", self)  # all that the clients of `world` need
        place = Place(world.keys, members, self.name, self.address, None, LEASE_SECONDS, True, lease, "h:1")
        self.ended = trio.Event()
        with trio.CancelScope() as self.scope:
            self.node = Node(place, cast("LmdbStore", self.data), partial(self._make_term), lambda: None)
            await self.node.run()
        self.node = self.scope = None
        self.ended.set()

    async def _make_term(self, store: ReplicatedStore, is_owner: Callable[[], bool]) -> Term:
        await trio.sleep(self.world.random.uniform(0.0, 0.05))
        return Term(self, store, is_owner)


class Term:
    """Writes one value after another, and reads."""

    def __init__(self, machine: Machine, store: ReplicatedStore, is_owner: Callable[[], bool]) -> None:
        self._machine = machine
        self._world = machine.world
        self._store = store
        self._is_owner = is_owner
        self._stopping = False

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        world = self._world
        writer = Writer()
        world.counts["terms"] += 1
        task_status.started()
        assert self._store.revision == len(world.log), "it began without the whole log"
        while not self._stopping:
            await trio.sleep(world.random.uniform(0.001, 0.1))
            self._read()
            if world.is_calm:
                continue
            batch = Batch(self._store.revision + 1)
            value = f"{batch.revision}-{world.random.randrange(1 << 30)}"
            if world.random.random() < 0.05:
                value += "-" + world.random.randbytes(world.random.randrange(1, PARTS_MAX) * PART_BYTES).hex()
            batch.entries[KEY] = Entry(batch.revision, value)
            await writer.run(partial(self._store.log, batch, self._store.operations + 1))
            self._store.logged(batch)
            if self._is_owner():
                assert len(world.log) >= batch.revision, "acknowledged, and not in the log"
                world.newest_told = max(world.newest_told, batch.revision)
                world.counts["batches acknowledged"] += 1

    def _read(self) -> None:
        if self._is_owner():
            entry = self._store.get(KEY)
            shown = 0 if entry is None else entry.version
            assert shown >= self._world.newest_told, (
                f"{self._machine.name} shows {shown} after {self._world.newest_told} was told"
            )

    def stop(self) -> None:
        self._stopping = True


class Writer:
    """The writing thread, without a thread: a moment passes, then it writes. Can't be cancelled."""

    world: World

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None: ...

    async def run(self, write: Callable[[], None]) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(self.world.random.choice((0.001, 0.002, 0.01, 0.5)))
        write()


class ThreadClient:
    """The blocking client: it answers at once, or gives up."""

    def __init__(self, members: object) -> None:
        self._machine = cast("Machine", members)

    def __enter__(self) -> ThreadClient:
        return self

    def __exit__(self, *_: object) -> None: ...

    def call(self, request: Request[AnswerT], until: Callable[[], float]) -> AnswerT:
        machine, world = self._machine, self._machine.world
        for _ in range(3):
            if until() <= world.time() or machine.is_cut:
                break
            if world.random.random() < 0.03:
                world.send_late(request)
                continue
            answer = world.arrive(request)
            if answer is not None and not machine.is_deaf and world.random.random() >= 0.02:
                return gateway.answer(request, *answer)
        raise UnreachableError("etcd did not answer in time")


class LoopClient:
    """The client of the loop."""

    def __init__(self, members: object) -> None:
        self._machine = cast("Machine", members)
        self._world = self._machine.world

    async def __aenter__(self) -> LoopClient:
        return self

    async def __aexit__(self, *_: object) -> None: ...

    async def call(self, request: Request[AnswerT], seconds: float) -> AnswerT:
        """Repeat until one try is answered. Raises UnreachableError and EtcdError."""
        with trio.move_on_after(max(0.0, seconds)):
            while True:
                with trio.move_on_after(TRY_SECONDS), contextlib.suppress(BusyError):
                    return await self._try(request)
        raise UnreachableError("etcd did not answer in time")

    async def _try(self, request: Request[AnswerT]) -> AnswerT:
        world, machine = self._world, self._machine
        await trio.sleep(world.delay())
        if machine.is_cut or world.random.random() < 0.03:
            if world.random.random() < 0.3:
                world.send_late(request)
            await trio.sleep_forever()
        answer = world.arrive(request)
        await trio.sleep(world.delay())
        if answer is None or machine.is_deaf or machine.is_cut:
            await trio.sleep_forever()
        assert answer is not None
        return gateway.answer(request, *answer)

    async def watch(
        self, key: bytes, end: bytes, revision: int, silence_seconds: float = SILENCE_SECONDS
    ) -> AsyncGenerator[WatchAnswer, None]:
        """As the real client's: it goes on where it was, or raises CompactedError."""
        world, machine = self._world, self._machine
        while True:
            await trio.sleep(world.delay())
            if machine.is_away() or not world.is_up:
                await trio.sleep(TRY_SECONDS)
                continue
            request = gateway.watch(key, end, revision)
            watch = world.etcd.watch(request)
            while True:
                if machine.is_away() or world.random.random() < 0.002:
                    break
                changed = world.changed
                for line in watch.take():
                    await trio.sleep(world.delay())
                    answer = gateway.answer_line(request, line)
                    if answer.compacted:
                        world.counts["watches compacted"] += 1
                        raise CompactedError
                    yield answer
                    if answer.events:
                        revision = answer.events[-1].pair.modified + 1
                await changed.wait()
            await trio.sleep(silence_seconds)


class World:
    """etcd, the machines, and what must hold."""

    def __init__(self, seed: int, machines: int = 3) -> None:
        self.random = random.Random(seed)
        self.keys = Keys("sim")
        self.etcd = FakeEtcd()
        self.etcd.call(gateway.put(self.keys.head, encode_number(0)))
        self.is_up = True
        self.is_calm = False
        """Whether nobody writes any more."""
        self.changed = trio.Event()
        self.log: list[bytes] = []
        self.newest_told = 0
        self.counts: Counter[str] = Counter()
        self.machines = [Machine(self, place) for place in range(machines)]
        self._checked = 0
        self._late: list[Request[Any]] = []

    def time(self) -> float:
        """The clock of all machines."""
        return trio.current_time()

    def delay(self) -> float:
        """How long a message takes."""
        return self.random.uniform(0.0005, 0.005) if self.random.random() < 0.95 else self.random.uniform(0.005, 0.3)

    def send_late(self, request: Request[Any]) -> None:
        """Have a request arrive when nobody waits for it any more."""
        self._late.append(request)

    def arrive(self, request: Request[Any]) -> tuple[int, bytes] | None:
        """What etcd answers; None if it is away."""
        if not self.is_up:
            return None
        answer = self.etcd.answer(request.path, request.body)
        self._look()
        return answer

    def _look(self) -> None:
        for event in self.etcd.since(self._checked + 1):
            number = self.keys.number_of(event.pair.key)
            if number is not None and not event.is_removed:
                assert number == len(self.log) + 1, f"batch {number} came after batch {len(self.log)}"
                self.log.append(event.pair.value)
                self.counts["batches in parts"] += records.decode_head(event.pair.value).parts > 0
            elif number is not None:
                self.counts["batches trimmed"] += 1
        if self._checked != self.etcd.revision:
            self._checked = self.etcd.revision
            self.changed.set()
            self.changed = trio.Event()

    async def keep_etcd(self) -> None:
        """Leases end, late requests arrive, what was is compacted."""
        while True:
            await trio.sleep(0.1)
            if self.is_up:
                self.etcd.advance(self.time(), self.random.uniform(0.0, 0.5))
                if self._late and self.random.random() < 0.1:
                    self.counts["requests that arrived late"] += 1
                    self.arrive(self._late.pop(self.random.randrange(len(self._late))))
                if self.random.random() < 0.05:
                    # As etcd does by itself: what is older than a few seconds.
                    self.etcd.compact(max(self.etcd.compacted, self.etcd.revision - 30, 1))
                self._look()

    # --- faults ------------------------------------------------------------------------------------------------

    async def fail(self, nursery: trio.Nursery, seconds: float) -> None:
        """Have one fault after another."""
        deadline = self.time() + seconds
        while self.time() < deadline:
            await trio.sleep(self.random.expovariate(1 / FAULT_SECONDS))
            machine = self.random.choice(
                [*self.machines, *(one for one in self.machines if one.node is not None and one.node.term is not None)]
            )
            kind: _Fault = self.random.choice((self._kill, self._kill, self._stop, self._cut, self._deafen, self._fill))
            if self.random.random() < 0.15:
                kind = self._elect
            self.counts[kind.__name__.strip("_")] += 1
            nursery.start_soon(kind, machine)

    async def _kill(self, machine: Machine) -> None:
        if machine.scope is not None:
            machine.scope.cancel()

    async def _stop(self, machine: Machine) -> None:
        if machine.node is not None and not machine.node._is_stopping:
            ended = machine.ended
            machine.node.stop()
            with trio.move_on_after(6.0):
                await ended.wait()
                return
            assert machine.is_cut or machine.is_deaf or not self.is_up, "a stop took too long"

    async def _cut(self, machine: Machine) -> None:
        machine.is_cut = True
        await trio.sleep(self.random.uniform(0.0, 2.5 * LEASE_SECONDS))
        machine.is_cut = False

    async def _deafen(self, machine: Machine) -> None:
        machine.is_deaf = True
        await trio.sleep(self.random.uniform(0.0, 2.5 * LEASE_SECONDS))
        machine.is_deaf = False

    async def _fill(self, machine: Machine) -> None:
        """Its disk has no room for a while."""
        machine.data.is_full = True
        await trio.sleep(self.random.uniform(0.0, 2.5 * LEASE_SECONDS))
        machine.data.is_full = False

    async def _elect(self, _machine: Machine) -> None:
        if self.is_up:
            self.is_up = False
            await trio.sleep(self.random.choice((0.5, 1.0, 4.0)))
            self.etcd.advance(self.time(), 1e9)
            self.etcd.elect()
            self.is_up = True

    # --- a run -------------------------------------------------------------------------------------------------

    async def run(self, seconds: float) -> None:
        """Run for so long with faults, and then without, until all is well."""
        Writer.world = self
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.keep_etcd)
            for machine in self.machines:
                nursery.start_soon(machine.run)
            await self.fail(nursery, seconds)
            await trio.sleep(CALM_SECONDS / 2)
            self.is_calm = True
            await trio.sleep(CALM_SECONDS / 2)
            serving = [one for one in self.machines if one.node is not None and one.node.term is not None]
            assert len(serving) == 1, f"{len(serving)} nodes own the engine although all is well"
            for machine in self.machines:
                assert machine.node is not None
                assert machine.node.why_not_ready() is None
                assert machine.data.revision == len(self.log) >= self.newest_told
                assert machine.data.entries == self.machines[0].data.entries
                assert machine.data.operations == records.decode_head(self.log[-1]).operations
            nursery.cancel_scope.cancel()

    # --- in the place of sockets and threads -------------------------------------------------------------------

    async def run_in_thread(self, function: Callable[..., Any], *arguments: object) -> object:
        """The clock does not wait for real threads."""
        await trio.sleep(self.delay())
        return function(*arguments)

    async def dial(self, address: Address, _tls: object, _hello: object) -> SimpleNamespace:
        """Connect to a node's link: only to a process that lives."""
        await trio.sleep(self.delay())
        (machine,) = (one for one in self.machines if one.address == address)
        if machine.scope is None:
            raise ConnectionRefusedError(f"nobody listens at {address}")
        return SimpleNamespace(close=lambda: None, ended=machine.ended)

    async def receive(self, connected: SimpleNamespace) -> bytes:
        """Nothing comes; the end is that of the process."""
        await connected.ended.wait()
        return b""


@contextlib.contextmanager
def _in_the_world(world: World) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        for module, name, value in (
            (node, "Client", LoopClient),
            (node, "BlockingClient", ThreadClient),
            (node, "steady_seconds", world.time),
            (owner_watch, "dial", world.dial),
            (owner_watch, "receive", world.receive),
            (random, "random", world.random.random),
            (follower, "WriterThread", Writer),
            (trimming, "KEEP_SECONDS", KEEP_SECONDS),
            (trimming, "ROUND_SECONDS", ROUND_SECONDS),
            (records, "encode", partial(records.encode, part_bytes=PART_BYTES)),
            (trio.to_thread, "run_sync", world.run_in_thread),
            (trio_run, "_ALLOW_DETERMINISTIC_SCHEDULING", True),
        ):
            stack.enter_context(patch.object(module, name, value))
        yield


def simulate(seed: int, seconds: float = 40.0) -> World:
    """One run from a seed; returns what it was. Raises what must not be."""
    trio_run._r.seed(seed)
    worlds: list[World] = []

    async def main() -> None:
        world = World(seed)
        worlds.append(world)
        with _in_the_world(world):
            await world.run(seconds)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return worlds[0]
