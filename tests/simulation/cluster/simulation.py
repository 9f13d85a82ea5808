"""One run from a seed: nodes, clients, faults, and what must hold at any moment.

- Replicas are beginnings of one log, in which no batch is ever replaced, and terms only rise.
- No reply leaves without its batch.
- Every answer shows at least what had been answered to anybody before its command was sent: so clients can't tell the
  cluster from one server (linearizability, key by key, because a value's place in the log says how new it is).
- Two nodes never may answer at the same time.
- When faults end, there is an owner within a short time, and all nodes get the whole log.
"""

from __future__ import annotations

import hashlib
import random
from functools import partial
from typing import TYPE_CHECKING, Final

from tests.simulation.cluster.node import LEASE_SECONDS, Command, Node
from tests.simulation.cluster.world import Place, World

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable

KEYS: Final = tuple(f"0000{name}".encode() for name in ("a", "b", "c"))
CLIENTS: Final = 5
FAULT_SECONDS: Final = 2.0
"""From one fault to the next, on average."""

CALM_SECONDS: Final = 30.0
"""After the last fault, until all must be well again."""


class SimulationError(AssertionError):
    """Something does not hold; the text has the seed."""


class Client:
    """Sends commands to one node after another, mostly one at a time, and now and then is silent for long."""

    def __init__(self, simulation: Simulation, number: int) -> None:
        self._simulation = simulation
        self._world = simulation.world
        self._number = number
        self._node: Node | None = None
        self._connection = 0
        self._sent = 0

    def go_on(self) -> None:
        """Send the next command after a while."""
        random = self._world.random
        # Silent clients on their old connection are the ones who could see an owner that is none any more.
        silence = random.uniform(0.0, 2 * LEASE_SECONDS) if random.random() < 0.05 else random.uniform(0.0, 0.2)
        self._world.after(silence, self._send)

    def _send(self) -> None:
        if self._simulation.is_over:
            return
        world = self._world
        if self._node is None:
            self._node = world.random.choice(self._simulation.nodes)
            self._connection += 1
        key = world.random.choice(KEYS)
        self._sent += 1
        value = None
        if world.random.random() < 0.5:
            value = f"{self._number}-{self._sent}-" + world.random.randbytes(world.random.choice((0, 0, 100))).hex()
        floor = self._simulation.floors.get(key, Place(0, -1))
        connection = self._connection
        command = Command(
            key,
            value,
            partial(self._answered, connection, key, floor, value is not None),
            partial(self._closed, connection),
        )
        self._arrive(self._node, command)

    def _arrive(self, node: Node, command: Command) -> None:
        life = node.life
        if not node.is_running:
            self._world.after(self._world.delay(), command.closed)
            return

        def there() -> None:
            if node.life == life:
                node.execute(command)

        def gone() -> None:
            if node.life != life:
                command.closed()

        self._world.after(self._world.delay(), partial(node.here, life, there))
        # What was on its way to a process that ended is never answered.
        self._world.after(12.0, gone)

    def _answered(
        self, connection: int, key: bytes, floor: Place, is_write: bool, value: str | None, place: Place
    ) -> None:
        if connection != self._connection:
            return
        self._world.counts["commands answered"] += 1
        assert place > floor if is_write else place >= floor, (
            f"{key!r}: answered {value!r} of {place}, and {floor} had been answered before"
        )
        self._simulation.floors[key] = max(self._simulation.floors.get(key, place), place)
        self.go_on()

    def _closed(self, connection: int) -> None:
        if connection != self._connection:
            return
        self._connection += 1
        self._world.counts["connections closed"] += 1
        self._node = None
        self._world.after(self._world.random.uniform(0.05, 0.5), self._send)


class Simulation:
    """A run."""

    def __init__(self, seed: int, *, seconds: float = 60.0, nodes: int = 3) -> None:
        self.seed = seed
        self._seconds = seconds
        self.world = World(random.Random(seed))
        self.nodes = [Node(self.world, f"n{number}") for number in range(nodes)]
        self.is_over = False
        self.floors: dict[bytes, Place] = {}
        """For each key the newest place that somebody was told of."""

    @property
    def counts(self) -> Counter[str]:
        """How often what happened."""
        return self.world.counts

    @property
    def trace(self) -> str:
        """A digest of the log, and of how often what happened."""
        return hashlib.sha256(repr((self.world.log, sorted(self.counts.items()))).encode()).hexdigest()[:16]

    @property
    def replay(self) -> str:
        """The command that repeats this run."""
        return f"scripts/simulate --cluster --seed {self.seed} --seconds {self._seconds:g}"

    def run(self) -> None:
        """Run it. Raises SimulationError."""
        try:
            self._run()
        except AssertionError as error:
            raise SimulationError(f"at {self.world.now:.3f} s: {error}; again: {self.replay}") from error

    def _run(self) -> None:
        world = self.world
        for node in self.nodes:
            node.start()
        for number in range(CLIENTS):
            Client(self, number).go_on()
        world.after(0.05, self._check_owners)
        world.after(1.0, self._fault)
        world.run(self._seconds)
        self.is_over = True
        world.loss = 0.0
        world.run(world.now + CALM_SECONDS)
        for node in self.nodes:
            assert node.applied == world.log, f"{node.name} has {len(node.applied)} of {len(world.log)} batches"
        assert sum(node.may_send for node in self.nodes) == 1, "nobody is owner although all is well"

    def _check_owners(self) -> None:
        owners = [node.name for node in self.nodes if node.may_send]
        assert len(owners) < 2, f"{owners} may answer at the same time"
        self.world.after(0.02, self._check_owners)

    # --- faults ------------------------------------------------------------------------------------------------

    def _fault(self) -> None:
        if self.is_over:
            return
        world = self.world
        name = world.random.choice(_NAMES)
        world.counts[name] += 1
        node = world.random.choice([*self.nodes, *(one for one in self.nodes if one.may_send)])
        FAULTS[name](self, node)
        world.after(world.random.expovariate(1 / FAULT_SECONDS), self._fault)

    def _kill(self, node: Node) -> None:
        if node.is_running:
            owner = node.election.owner if node.may_send else None
            node.kill()
            self._later(self._start, node, 5.0)
            if owner is not None:
                for other in self.nodes:
                    life = other.life
                    self.world.after(
                        self.world.random.uniform(0.05, 0.3), partial(self._tell_gone, other, life, node, owner.lease)
                    )

    def _tell_gone(self, other: Node, life: int, node: Node, lease: int) -> None:
        """The machine refuses connections to the link of the process that was killed."""
        if not node.is_running:
            other.here(life, partial(other.owner_gone, lease))

    def _start(self, node: Node) -> None:
        if not node.is_running:
            node.start()

    def _stop(self, node: Node) -> None:
        if node.is_running and not node.is_paused:
            node.stop()
            self.world.after(2.5, partial(self._kill_life, node, node.life))

    def _kill_life(self, node: Node, life: int) -> None:
        if node.life == life:
            node.kill()
            self._later(self._start, node, 2.0)

    def _pause(self, node: Node) -> None:
        if node.is_running and not node.is_paused:
            node.pause()
            self._later(Node.resume, node, 2.5 * LEASE_SECONDS)

    def _pause_at_renewal(self, node: Node) -> None:
        """The renewal that arrives with the pause is the last that it hears of etcd."""

        def pause() -> None:
            node.pause()
            self.world.after(self.world.random.uniform(0.2, LEASE_SECONDS), go_on)

        def go_on() -> None:
            node.cannot_send = node.cannot_receive = True
            node.resume()
            self._later(self._join, node, 2.5 * LEASE_SECONDS)

        if node.is_running and not node.is_paused:
            node.before_renewal = pause

    def _cut(self, node: Node) -> None:
        """In one direction, or in both."""
        node.cannot_send, node.cannot_receive = self.world.random.choice(((True, True), (True, False), (False, True)))
        self._later(self._join, node, 2.5 * LEASE_SECONDS)

    def _join(self, node: Node) -> None:
        node.cannot_send = node.cannot_receive = False

    def _etcd_elects(self, _node: Node) -> None:
        world = self.world
        if not world.etcd_is_up:
            return
        world.etcd_is_up = False
        world.lose_watches()

        def elected() -> None:
            world.etcd_is_up = True
            world.etcd.advance(world.now, 1e9)
            world.etcd.elect()

        world.after(world.random.choice((0.5, 1.0, 1.0, 5.0)), elected)

    def _compact(self, _node: Node) -> None:
        """While watches hear nothing, so that some can't go on where they were."""
        world = self.world
        world.lose_watches()

        def compact() -> None:
            if world.etcd_is_up:
                oldest = max(1, world.etcd.compacted, world.etcd.revision - 5)
                world.etcd.compact(world.random.randint(oldest, world.etcd.revision))

        world.after(world.random.uniform(0.0, 4.0), compact)

    def _hand_over(self, node: Node) -> None:
        if node.is_running and not node.is_paused:
            node.hand_over(self.world.random.choice(("", *(one.name for one in self.nodes))))

    def _lose_more(self, _node: Node) -> None:
        """For a while the network is bad for all."""
        self.world.loss = 0.3

        def good() -> None:
            self.world.loss = 0.02

        self.world.after(self.world.random.uniform(0.5, 4.0), good)

    def _later(self, run: Callable[[Node], None], node: Node, seconds_max: float) -> None:
        self.world.after(self.world.random.uniform(0.0, seconds_max), partial(run, node))


FAULTS: Final[dict[str, Callable[[Simulation, Node], None]]] = {
    "kills": Simulation._kill,
    "stops": Simulation._stop,
    "pauses": Simulation._pause,
    "cuts": Simulation._cut,
    "pauses at a renewal, then cuts": Simulation._pause_at_renewal,
    "elections of etcd": Simulation._etcd_elects,
    "compactions": Simulation._compact,
    "hand-overs": Simulation._hand_over,
    "bad networks": Simulation._lose_more,
}
_NAMES: Final = tuple(FAULTS)
