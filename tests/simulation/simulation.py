"""One run from one seed: sessions, commands, passwords, the disk and crashes, in an order that the seed decides.

What is simulated is the world: the order of things, the sockets, the disk's delays and failures, the end of the
process. What runs in it is the server's own code: sessions, engine, view, the committer's steps, outboxes. The model
(`tests/engine/model.py`) gets the same commands.

The following holds, or the run fails (what clients get is looked at after every step, the rest after every
`CHECK_STEPS` and every crash):

- a client gets exactly what the model says, in order, and nothing that shows a change before that is on disk;
- what a slow client gets has every reply, and of each watched key the newest event last;
- after a crash the state is that of a batch, and everything that anybody was told is in it;
- `$connections`, who has which database and watches which key are as in the model; so is all data, and the conflicts.
"""

from __future__ import annotations

import hashlib
import random
from copy import deepcopy
from typing import TYPE_CHECKING, Final, cast

from pynun.commit.committer import Committer
from pynun.engine.effects import Drain, HashSecret
from pynun.transports.flusher import Flusher
from tests.engine.kept import CONNECTIONS, State, kept_by_engine, kept_by_model, restore
from tests.engine.model_sessions import Client as ModelClient
from tests.engine.model_sessions import Model
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, World
from tests.simulation import drawing
from tests.simulation.clients import SimulatedClient

if TYPE_CHECKING:
    from collections.abc import Callable

    import trio

    from pynun.engine.database import Member
    from pynun.engine.effects import Need
    from tests.engine.model import Base

NO_ROOM: Final = "No space left on device"
CHECK_STEPS: Final = 25
"""How often everything is compared; what clients get is compared at each step."""

_WRONG_TOKEN: Final = "neither-the-old-nor-the-new-one"
_NO_BASE: Final = "no-such-base"


class _IdleNursery:
    """Where outboxes start the task that waits for room: here the simulation itself tells them."""

    def start_soon(self, *_: object) -> None:
        """Start nothing."""


class SimulationError(AssertionError):
    """Something that must not be; the text ends with the command that repeats it."""


class Simulation:
    """One run. `trace` is a digest of everything that happened in it."""

    def __init__(self, seed: int, *, steps: int, sessions_max: int) -> None:
        self.seed = seed
        self.steps = steps
        self.sessions_max = sessions_max
        self.counts = dict.fromkeys(
            (
                "sessions",
                "commands",
                "suspensions",
                "batches",
                "disconnects",
                "conflated events",
                "losses",
                "crashes",
                "crashes before a write",
                "crashes between write and release",
                "crashes with replies on their way",
            ),
            0,
        )
        self._chance = random.Random(seed)
        self._digest = hashlib.sha256()
        self._step = 0
        self._world = World()
        self._model = Model(ADMIN_PASSWORD)
        self._clients: list[SimulatedClient] = []
        self._dirty: dict[tuple[str, str], int] = {}  # the batch that changed a key last
        self._states: dict[int, State] = {}  # what is durable once a batch is on disk
        self._durable: State = {}
        self._is_written = False  # the batch that was taken is on disk, and nobody knows yet
        self._start_process()
        self._set_up()

    @property
    def trace(self) -> str:
        """What distinguishes this run from every other."""
        return self._digest.hexdigest()[:16]

    @property
    def replay(self) -> str:
        """How to repeat this run."""
        return f"replay with: scripts/simulate --seed {self.seed} --steps {self.steps} --sessions {self.sessions_max}"

    def run(self) -> None:
        """Run all steps. Raises SimulationError at what must not be."""
        try:
            while self._step < self.steps:
                self._step += 1
                self._act()
                self._check_received()
                if self._step % CHECK_STEPS == 0:
                    self._check_state()
            self._come_to_rest()
        except AssertionError as error:
            raise SimulationError(f"step {self._step}: {error}\n{self.replay}") from error

    # --- the world ---------------------------------------------------------------------------------------------

    def _start_process(self) -> None:
        """An engine on what is on disk."""
        self._world.restart()
        engine = self._world.engine
        self._flusher = Flusher(engine.view, cast("trio.Nursery", _IdleNursery()))
        self._committer = Committer(engine, self._world.store, self._world.bell)
        self._is_written = False

    def _set_up(self) -> None:
        """Two databases with their users, on disk."""
        client = self._connect(is_slow=False)
        strategies = self._chance.choice(drawing.STRATEGIES), "arbiter"
        self._execute(client, f"auth {ADMIN_USER} {ADMIN_PASSWORD}")
        for name, strategy in zip(drawing.DATABASES, strategies, strict=True):
            self._execute(client, f"create-db {name} {drawing.token(name)} {strategy}")
            self._execute(client, f"use-db {name} {drawing.token(name)}")
            for user in drawing.USERS:
                self._execute(client, f"create-user {user} {drawing.token(user)}")
                self._execute(client, f"set-permissions {user} rwix *")
        self._commit_all()

    def _act(self) -> None:
        """One step."""
        roll = self._chance.random() * 100
        for limit, action in _ACTIONS:
            if roll < limit:
                action(self)
                return

    def _note(self, *what: object) -> None:
        self._digest.update(repr((self._step, *what)).encode())

    # --- sessions ----------------------------------------------------------------------------------------------

    def _connect(self, *, is_slow: bool) -> SimulatedClient:
        self.counts["sessions"] += 1
        client = SimulatedClient(self.counts["sessions"], self._world.engine, self._flusher, is_slow=is_slow)
        self._clients.append(client)
        self._note("connect", client.number, is_slow)
        return client

    def _someone_comes(self) -> None:
        if len(self._clients) < self.sessions_max:
            client = self._connect(is_slow=self._chance.random() < 0.25)
            self._execute(client, drawing.use_database(self._chance))
            for key in "an":
                if client.suspension is None and (client.is_slow or self._chance.random() < 0.3):
                    self._execute(client, f"watch {key}")

    def _someone_goes(self) -> None:
        if self._clients:
            self._disconnect(self._chance.choice(self._clients))

    def _disconnect(self, client: SimulatedClient) -> None:
        """A client goes, in the middle of whatever it is: what was on the way to it is lost on the way."""
        self.counts["disconnects"] += 1
        self.counts["conflated events"] += client.outbox.conflated_events
        self._note("disconnect", client.number)
        self._clients.remove(client)
        client.outbox.discard()
        if client.suspension is not None:
            client.suspension.close()
        client.session.close()
        self._model.leave(client.model)
        self._collect(None, {})

    def _someone_asks(self) -> None:
        client = self._choose(lambda one: one.suspension is None and not one.outbox.is_full)
        if client is None:
            return
        for _ in range(self._chance.randrange(1, 7)):
            if client in self._clients and client.suspension is None and not client.outbox.is_full:
                self._execute(client, drawing.draw_command(self._chance, self._pending(), is_slow=client.is_slow))

    def _choose(self, fits: Callable[[SimulatedClient], bool]) -> SimulatedClient | None:
        fitting = [client for client in self._clients if fits(client)]
        return self._chance.choice(fitting) if fitting else None

    # --- commands ----------------------------------------------------------------------------------------------

    def _execute(self, client: SimulatedClient, text: str) -> None:
        """Run a command, as far as it goes."""
        self.counts["commands"] += 1
        self._note("execute", client.number, text)
        self._tick()
        client.text = text
        client.hash_before = self._hash_of_login(text)
        client.bases_before = frozenset(self._model.bases)
        suspension = client.session.execute(text)
        if suspension is not None:
            client.suspension = suspension
            self._advance(client, lambda: next(suspension))
            while isinstance(client.need, Drain):  # what an arriving arbiter is sent comes at once here
                self._advance(client, lambda: suspension.send(None))
        if client.suspension is None:
            self._finish(client, text)
        while self._step == 0 and client.suspension is not None:
            self._answer(client)  # while all is set up nobody waits

    def _advance(self, client: SimulatedClient, go_on: Callable[[], Need]) -> None:
        try:
            client.need = go_on()
        except StopIteration:
            client.suspension = client.need = None

    def _someone_is_answered(self) -> None:
        """Passwords are computed side by side: the answers come in any order."""
        client = self._choose(lambda one: one.suspension is not None)
        if client is not None:
            self._answer(client)

    def _answer_all(self) -> None:
        while (client := self._choose(lambda one: one.suspension is not None)) is not None:
            self._answer(client)

    def _answer(self, client: SimulatedClient) -> None:
        self.counts["suspensions"] += 1
        self._tick()
        suspension, need = client.suspension, client.need
        assert suspension is not None
        assert need is not None
        self._note("answer", client.number, type(need).__name__)
        self._advance(client, lambda: suspension.send(self._world.credentials.answer(need)))
        if client.suspension is None:
            self._finish(client, self._as_it_was_decided(client, need))

    def _as_it_was_decided(self, client: SimulatedClient, last_need: object) -> str:
        """The command that the model runs at the end of one that had to wait, for the model does not wait.

        A token that was changed meanwhile is refused, be it right by now, and so is a database that was made meanwhile;
        a user's token that was other than the given one is set, be it the same by now.
        """
        text = client.text
        words = text.split(" ")
        if words[0] == "use-db" and words[1] not in client.bases_before:
            return " ".join([words[0], _NO_BASE, *words[2:]])
        if words[0] == "use-db" and self._hash_of_login(text) != client.hash_before:
            return " ".join([*words[:-1], _WRONG_TOKEN])
        if words[0] == "create-user" and isinstance(last_need, HashSecret):
            return f"set $$user_{words[1]} {words[2]}"
        return text

    def _hash_of_login(self, text: str) -> str | None:
        words = text.split(" ")
        base = self._model.bases.get(words[1]) if words[0] == "use-db" else None
        if base is None:
            return None
        entry = base.keys.get("$$token" if len(words) == 3 else f"$$user_{words[2]}")
        return None if entry is None else entry[1]

    def _finish(self, client: SimulatedClient, text: str) -> None:
        """The engine has run a command: the model runs it, and what clients must get is noted."""
        self._model.now = self._world.time_ns
        before = {name: dict(base.keys) for name, base in self._model.bases.items()}
        self._model.execute(client.model, text)
        batch = self._world.view.batch.revision
        changed: dict[str, int] = {}
        for name, base in self._model.bases.items():
            old = before.get(name, {})
            for key in old.keys() | base.keys.keys() if old != base.keys else ():
                if key != CONNECTIONS and old.get(key) != base.keys.get(key):
                    self._dirty[name, key] = changed[key] = batch
                    if key.startswith("$conflicts_"):
                        changed["$conflicts"] = batch
        self._collect((client, self._shown_by_reply(client, text, batch if changed else 0)), changed)

    def _shown_by_reply(self, client: SimulatedClient, text: str, changed: int) -> int:
        """The batch that a reply must wait for: that of its change, or of the change that it shows."""
        durable = self._world.store.revision
        words = text.split(" ")
        shown = changed
        if client.model.base is not None and words[0] in ("get", "get-safe") and client.model.told[-1] == "ok \n":
            shown = self._dirty.get((client.model.base.name, words[1]), 0)
        elif words[0] == "snapshot" and client.model.told[-1] == "ok \n":
            shown = max(self._dirty.values(), default=0)
        return shown if shown > durable or changed else 0

    def _collect(self, asked: tuple[SimulatedClient, int] | None, changed: dict[str, int]) -> None:
        for client in self._clients:
            if client.model.told or client.outbox.noted:
                client.collect(changed, asked[1] if asked is not None and asked[0] is client else 0)
        self._part_from_overflowing()

    def _tick(self) -> None:
        self._world.time_ns += 1

    def _pending(self) -> list[tuple[str, str, int]]:
        return [
            (base.name, key, identifier)
            for base in self._model.bases.values()
            for key, pending in base.pending.items()
            for identifier in pending
        ]

    def _forget_credentials(self) -> None:
        self._world.credentials.verified.clear()

    # --- the disk ----------------------------------------------------------------------------------------------

    def _disk_works(self) -> None:
        """The next of the steps of a commit: take the batch, write it, tell those who wait."""
        view = self._world.view
        if view.writing is None:
            if view.batch.entries:
                batch = self._committer.begin()
                self._states[batch.revision] = kept_by_model(self._model)
                self._note("begin", batch.revision)
        elif not self._is_written:
            self._world.store.write(view.writing, view.operations - view.batch.operations)
            self._durable = self._states.pop(view.writing.revision)
            self._is_written = True
            self._note("write", view.writing.revision)
        else:
            self.counts["batches"] += 1
            self._note("finish", view.writing.revision)
            self._is_written = False
            self._committer.finish(view.writing)
            self._part_from_overflowing()

    def _disk_is_full(self) -> None:
        """The batch can't be written, and the one filled meanwhile goes with it."""
        view = self._world.view
        if view.writing is None or self._is_written:
            return
        # What waits for a password has looked at what is lost now: tests/engine/test_losing_changes.py has its rules.
        self._answer_all()
        self.counts["losses"] += 1
        lost = (view.writing.revision, view.batch.revision)
        self._note("lose", lost)
        for client in self._clients:
            client.fail(lost, NO_ROOM)
        self._states.clear()
        self._dirty = {key: revision for key, revision in self._dirty.items() if revision not in lost}
        self._committer.lose(NO_ROOM)
        restore(self._model, self._durable)
        self._collect(None, {})
        self._part_from_overflowing()

    def _part_from_overflowing(self) -> None:
        for client in [one for one in self._clients if one.is_overflowing]:
            self._disconnect(client)

    def _send(self) -> None:
        """What may leave leaves."""
        self._note("flush")
        self._flusher.flush()

    def _slow_one_reads(self) -> None:
        client = self._choose(lambda one: one.is_slow)
        if client is not None:
            self._read(client, self._chance.choice((1, 50, 200, 2000)))

    def _read(self, client: SimulatedClient, count: int) -> None:
        self._note("read", client.number, count)
        client.socket.room_bytes = (client.socket.room_bytes or 0) + count
        if client.outbox.is_stalled:
            client.outbox.send_rest()

    # --- the end of the process --------------------------------------------------------------------------------

    def _crash(self) -> None:
        """The process ends, wherever it is; another one comes up on what is on disk."""
        self.counts["crashes"] += 1
        self._note("crash", self._world.store.revision)
        self._check_received()
        if self._world.view.writing is not None:
            self.counts["crashes between write and release" if self._is_written else "crashes before a write"] += 1
        if any(client.due and not client.is_slow for client in self._clients):
            self.counts["crashes with replies on their way"] += 1
        self._clients.clear()
        self._dirty.clear()
        self._states.clear()
        restore(self._model, self._durable)
        for base in self._model.bases.values():
            base.keys.pop(CONNECTIONS, None)
            base.watchers.clear()
        self._start_process()
        found = kept_by_engine(self._world.engine)
        assert found == self._durable, f"after a crash there is {found}, on disk was {self._durable}"
        self._check_state()

    # --- the comparison ----------------------------------------------------------------------------------------

    def _check_received(self) -> None:
        durable = self._world.store.revision
        for client in self._clients:
            if new := client.check_received(durable):
                self._note("received", client.number, new)

    def _check_state(self) -> None:
        engine = self._world.engine
        found, kept = kept_by_engine(engine), kept_by_model(self._model)
        assert found == kept, f"the engine has {found}, the model {kept}"
        stored = kept_by_engine(World(deepcopy(self._world.store), is_prepared=False).engine)
        assert stored == self._durable, f"on disk is {stored}, should be {self._durable}"
        numbers: dict[Member, int] = {client.session: client.number for client in self._clients}
        model_numbers: dict[ModelClient, int] = {client.model: client.number for client in self._clients}
        for name, base in self._model.bases.items():
            self._check_presence(base, numbers, model_numbers)
            database = engine.database(name)
            count = engine.keyspace.read(database, CONNECTIONS)
            assert (count and tuple(count)) == base.keys.get(CONNECTIONS), f"$connections of {name}: {count}"
            for key, entry in base.keys.items():
                assert entry[0] != -2 or base.pending.get(key), f"{key} of {name}: a conflict that nobody can resolve"
            for key, pending in base.pending.items():
                for identifier in pending:
                    record = base.keys.get(f"$conflicts_{key}_{identifier}", (0, ""))
                    assert record[1].startswith(f"resolve {identifier} {name} "), f"{key} of {name}: {record}"
        self._note("state", sorted((name, sorted(one.keys.items())) for name, one in found.items()))

    def _check_presence(self, base: Base, numbers: dict[Member, int], model_numbers: dict[ModelClient, int]) -> None:
        database = self._world.engine.database(base.name)
        here = {numbers.get(session, 0) for session in database.sessions}
        expected = {model_numbers[watcher] for watcher in base.watchers}
        assert here == expected, f"in {base.name} are {here}, should be {expected}"
        watching = {
            (key, numbers.get(session, 0))
            for key, watchers in database.watchers.items()
            for session in database.sessions
            if session in watchers
        }
        model_watching = {
            (key, model_numbers[watcher])
            for watcher in base.watchers
            for key in watcher.watches
            if key not in watcher.asleep
        }
        assert watching == model_watching, f"{base.name} is watched by {watching}, should be by {model_watching}"

    def _commit_all(self) -> None:
        while self._world.view.newest_unwritten or self._is_written:
            self._disk_works()

    def _come_to_rest(self) -> None:
        """Everything is answered, written and read: then all must have arrived."""
        self._answer_all()
        self._commit_all()
        self._send()
        for client in self._clients:
            if client.is_slow:
                while client.outbox.is_stalled:
                    self._read(client, 1 << 20)
        self._check_received()
        for client in self._clients:
            if client.is_slow:
                self.counts["conflated events"] += client.outbox.conflated_events
                client.check_slow()
            else:
                assert not client.due, f"client {client.number} never got {client.due[0].data!r}"
        self._check_state()


_SHARES: Final[tuple[tuple[float, Callable[[Simulation], None]], ...]] = (
    (44, Simulation._someone_asks),
    (8.5, Simulation._someone_comes),
    (3, Simulation._someone_goes),
    (9.5, Simulation._someone_is_answered),
    (16, Simulation._disk_works),
    (12, Simulation._send),
    (3, Simulation._slow_one_reads),
    (1, Simulation._forget_credentials),
    (2.5, Simulation._disk_is_full),
    (0.5, Simulation._crash),
)
_ACTIONS: Final = tuple(
    (sum(share for share, _ in _SHARES[: place + 1]), action) for place, (_, action) in enumerate(_SHARES)
)
"""What a step does, and below which of a hundred sides of the die."""
