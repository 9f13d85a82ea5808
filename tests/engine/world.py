"""A world for the engine to live in: a recording outbox, credentials without hashing, a clock that stands still.

`World` owns an engine on a store and commits when it is told to, so that a test decides what is on disk when. All of
it is deterministic. Nothing here replaces a class of the engine: sessions, views and databases are the real ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.commit.bell import Bell
from pynun.engine.commands.table import COMMANDS
from pynun.engine.counters import Counters
from pynun.engine.dispatch import CommandSession
from pynun.engine.effects import HashSecret, VerifySecret
from pynun.engine.engine import Context, Engine
from pynun.engine.secret_hashes import USUAL_LIMIT
from pynun.protocol import messages
from tests.storage.memory_store import MemoryStore

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pynun.engine.audit_events import Fact
    from pynun.engine.database import Database
    from pynun.engine.effects import Answer, Need, Suspension
    from pynun.engine.events import Event, Result
    from pynun.engine.overlay import Batch, View
    from pynun.engine.peer import Attempt, Peer
    from tests.storage.faulty_store import WritableStore

ADMIN_USER = "user-name"
ADMIN_PASSWORD = "user-pwd"
ADDRESS = "127.0.0.1:3014"
PROCESS_ID = 4711
START_NS = 1_700_000_000_000_000_000
"""What the clock says first; nanoseconds since 1970."""


def fake_hash(secret: str) -> str:
    """A text that has the form of an Argon2id hash, and one for each secret."""
    return f"$argon2id$v=19$m=8,t=1,p=1$c2FsdA${secret.encode().hex()}00"


class FakeCredentials:
    """Credentials whose hashes are no secret and cost nothing. `verified` is the memory that a test may empty."""

    def __init__(self) -> None:
        self.verified: set[tuple[str, str]] = set()
        self.needs: list[Need] = []
        """Everything that was asked for."""

    hash_limit = USUAL_LIMIT

    def is_verified(self, hash_text: str, secret: str, attempt: Attempt | None = None) -> bool:
        """Whether this pair was answered for before."""
        return (hash_text, secret) in self.verified

    def answer(self, need: Need) -> Answer:
        """The answer to a need, at once."""
        self.needs.append(need)
        match need:
            case HashSecret():
                self.verified.add((fake_hash(need.secret), need.secret))
                return fake_hash(need.secret)
            case VerifySecret():
                if need.hash != fake_hash(need.secret):
                    return False
                self.verified.add((need.hash, need.secret))
                return True
            case _:
                return None


class RecordingAudit:
    """Keeps what the audit trail would get."""

    def __init__(self) -> None:
        self.facts: list[tuple[Fact, str, str | None]] = []
        """What was tried, its outcome, and why it was not `ok`."""
        self.peers: list[Peer | None] = []
        self.depends: list[int] = []

    def record(self, peer: Peer | None, fact: Fact, outcome: str, reason: str | None, depends: int) -> None:
        """Something happened."""
        self.facts.append((fact, outcome, reason))
        self.peers.append(peer)
        self.depends.append(depends)

    def take(self) -> list[tuple[Fact, str, str | None]]:
        """What came since the last time."""
        facts, self.facts = self.facts, []
        return facts


class RecordingOutbox:
    """Keeps what a client would get, in order, and which batch each reply waits for."""

    def __init__(self, view: View) -> None:
        self._view = view
        self.told: list[str] = []
        """Everything so far, each message once it was decided, whether or not it may leave yet."""
        self.depends: list[int] = []
        """The revision that each reply depends on."""
        self.events: list[Event] = []

    def reply(self, result: Result, depends: int) -> None:
        """A command succeeded."""
        self.depends.append(depends)
        if isinstance(result, bytes):
            result = result.decode()
        if isinstance(result, str):
            result = [result]
        self.told += [*(result or ()), messages.OK]

    def refuse(self, own: Sequence[str], error: str, depends: int) -> None:
        """A command failed."""
        self.depends.append(depends)
        self.told += [*own, messages.error(error)]

    def event(self, event: Event) -> None:
        """Something watched changed."""
        self.events.append(event)
        self.told += event.texts

    def take(self) -> list[str]:
        """What came since the last time."""
        told, self.told = self.told, []
        return told


class Visitor:
    """A client whose connection can be ended; `is_ended` says whether it was."""

    transport = "tcp"
    address = "192.0.2.7"
    system_user: str | None = None
    node = ""
    waiting_bytes = 12

    def __init__(self) -> None:
        self.is_ended = False

    def is_gone(self) -> bool:
        """It stays until it is put out."""
        return self.is_ended

    def disconnect(self) -> bool:
        """End it."""
        self.is_ended = True
        return True


class Client:
    """A session and what its client sees."""

    def __init__(self, world: World, peer: Peer | None = None) -> None:
        self.world = world
        self.outbox = RecordingOutbox(world.engine.view)
        self.session = CommandSession(world.engine, self.outbox, peer)

    def ask(self, text: str) -> list[str]:
        """Run one command to its end; everything that this client was told since it asked last."""
        self.world.settle(self.session.execute(text))
        return self.outbox.take()

    def start(self, text: str) -> Suspension:
        """Run a command that has to wait for something, as far as that."""
        suspension = self.session.execute(text)
        assert suspension is not None, self.outbox.told
        return suspension

    @property
    def depends(self) -> int:
        """The revision that the last reply depends on, 0 if none."""
        return self.outbox.depends[-1]

    def close(self) -> None:
        """Go away."""
        self.session.close()


class World:
    """An engine on a store, its credentials and its clock."""

    admin_hash = fake_hash(ADMIN_PASSWORD)

    def __init__(
        self,
        store: WritableStore | None = None,
        *,
        is_relaxed: bool = False,
        is_prepared: bool = True,
        bell: Bell | None = None,
    ) -> None:
        self.store: WritableStore = MemoryStore() if store is None else store
        self.credentials = FakeCredentials()
        self.time_ns = START_NS
        self.seconds = 0.0
        self.trail = RecordingAudit()
        self.on_drop: Callable[[], None] = lambda: None
        self.on_unmeasured: Callable[[Database], None] = lambda _: None
        self.context = Context(
            ADMIN_USER,
            ADDRESS,
            PROCESS_ID,
            lambda: self.time_ns,
            self.credentials,
            clock=lambda: self.seconds,
            audit=self.trail,
            on_first_change=lambda: self.bell.ring(),
            on_drop=lambda: self.on_drop(),
            on_unmeasured=lambda database: self.on_unmeasured(database),
        )
        self.is_relaxed = is_relaxed
        self.is_prepared = is_prepared
        self.bell = bell or Bell()
        self.engine = self._new_engine()

    def _new_engine(self) -> Engine:
        engine = Engine(
            self.store,
            self.context,
            Counters(len(COMMANDS)),
            revision=self.store.revision,
            operations=self.store.operations,
            is_relaxed=self.is_relaxed,
        )
        if self.is_prepared:
            engine.prepare(self.admin_hash)
        return engine

    @property
    def view(self) -> View:
        """The engine's view."""
        return self.engine.view

    def connect(self, *commands: str) -> Client:
        """A new client, after these commands, all of which must succeed; it has been told nothing yet."""
        client = Client(self)
        for command in commands:
            told = client.ask(command)
            assert told[-1] == messages.OK, (command, told)
            assert told[0] != messages.INVALID_AUTH, command
        return client

    def admin(self, *commands: str) -> Client:
        """A new client that is logged in as the admin."""
        return self.connect(f"auth {ADMIN_USER} {ADMIN_PASSWORD}", *commands)

    def settle(self, suspension: Suspension | None) -> None:
        """Drive a command to its end, if it is not there yet."""
        if suspension is None:
            return
        try:
            need = next(suspension)
            while True:
                need = suspension.send(self.credentials.answer(need))
        except StopIteration:
            return

    def begin_commit(self) -> Batch:
        """Take the batch being filled away, to be written."""
        return self.view.take_batch()

    def finish_commit(self) -> None:
        """The batch that was taken is on disk."""
        batch, view = self.view.writing, self.view
        assert batch is not None
        self.store.write(batch, view.operations - view.batch.operations)
        view.written()
        for waiter in batch.waiters:
            waiter.released(batch.revision)

    def commit(self) -> None:
        """Everything so far is on disk."""
        self.begin_commit()
        self.finish_commit()

    def lose(self) -> None:
        """Neither the batch that was taken, if any, nor the one being filled is ever written."""
        self.view.drop()
        self.engine.reload_after_loss()

    def restart(self) -> None:
        """Everything that is on disk, in a new engine; all sessions are gone."""
        self.engine = self._new_engine()
