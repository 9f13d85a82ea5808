"""One client's session: who it is, what it selected and watches, and the way of a command through the gates.

The gates stand here and nowhere else, in the order the original has them (clients see it): known, arguments, admin,
security key, database, permission, handler. Handlers hold nothing but the meaning of their command.
"""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING, Any

from pynun.engine import audit_events, sleeping
from pynun.engine.commands.table import BY_NAME
from pynun.engine.permissions import EVERYONE, Permission, Rules, is_security_key
from pynun.protocol import messages
from pynun.protocol.framing import words
from pynun.protocol.messages import Refusal

if TYPE_CHECKING:
    from pynun.engine.audit_events import Fact
    from pynun.engine.commands.table import Command
    from pynun.engine.database import Database
    from pynun.engine.effects import Answer, Need, Result, Steps, Suspension
    from pynun.engine.engine import Engine
    from pynun.engine.events import Outbox
    from pynun.engine.paces import Bucket
    from pynun.engine.peer import Peer
    from pynun.engine.permissions import Secret
    from pynun.engine.sleeping import Newest, Sleeper


_FORBIDDEN = frozenset(
    refusal.error for refusal in (messages.NOT_AUTH, messages.SECURITY_KEY, messages.PERMISSION_DENIED)
)


class Session:
    """One client's session. `execute` texts one after another; while one is suspended, wait with the next."""

    __slots__ = (
        "__weakref__",
        "admin_hashes",
        "counters",
        "database",
        "done",
        "engine",
        "identifier",
        "is_admin",
        "is_closed",
        "keyspace",
        "outbox",
        "pace",
        "peer",
        "rules",
        "secret",
        "since_ns",
        "sleeper",
        "user",
        "view",
        "watches",
        "watches_bytes",
        "watches_weight",
    )

    def __init__(self, engine: Engine, outbox: Outbox, peer: Peer | None = None) -> None:
        self.engine = engine
        self.peer = peer
        self.since_ns = engine.context.time_ns()
        self.identifier = engine.enter(self)
        self.view = engine.view
        self.keyspace = engine.keyspace
        self.counters = engine.counters
        self.done = engine.counters.done
        self.outbox = outbox
        self.pace = None if engine.paces is None else engine.paces.open()
        """Its changes a second; None: it may make any number."""
        self.is_admin = False
        self.admin_hashes: tuple[str, ...] = ()
        """Hashes of the passwords that make it admin: the one it logged in with, and the one it has changed it to."""
        self.is_closed = False
        self.database: Database | None = None
        self.user = EVERYONE
        self.secret: Secret | None = None
        """What it selected the database with."""
        self.rules: Rules | None = None
        """What the user may do in the selected database; None: everything."""
        self.watches: dict[str, None] = {}
        self.watches_bytes = 0
        """About the memory that its watches take."""
        self.watches_weight = 0
        """Sum of the watches' weights (`watch_weight`), which is what the limit is on."""
        self.sleeper: Sleeper | None = None
        """Knows which of the watches sleep; None before the first one does."""

    # --- commands ----------------------------------------------------------------------------------------------

    def execute(self, text: str) -> Suspension | None:
        """Run one command; its reply and events are then in the outboxes.

        Returns None when it is done. Otherwise the command waits for something (`Need`): drive the returned
        suspension with `next` and `send` until it ends, and execute nothing else on this session before that. No text
        raises an exception.
        """
        if self.is_closed:
            return None  # its client is being disconnected, and hears nothing any more
        view = self.view
        view.depends = 0
        parts = words(text)
        command = BY_NAME.get(parts[0])
        try:
            if command is None:
                raise messages.unknown_command(parts[0]) if parts[0] else messages.EMPTY_COMMAND
            arguments = command.parse(parts)
            permission = command.permission
            if permission is not None:
                # The gates of the commands on keys, written out: they are nearly all commands there are.
                key = arguments[0]
                if key[:2] == "$$":
                    result = self._run_recorded(command, arguments)
                elif self.database is None:
                    raise messages.NO_DATABASE
                elif self.rules is not None and not self.rules.allow(permission, key):
                    raise messages.PERMISSION_DENIED
                else:
                    result = command.handler(self, *arguments)
            elif command.is_recorded:
                result = self._run_recorded(command, arguments)
            else:
                result = self._run(command, arguments)
        except Refusal as refusal:
            refusal.__traceback__ = None  # refusals are shared: a kept traceback would grow and keep frames alive
            self._count_refusal(command)
            self.outbox.refuse(refusal.messages, refusal.error, view.depends)
            return None
        if type(result) is GeneratorType:
            return self._suspend(result, command)
        self.done[command.place] += 1
        self.outbox.reply(result, view.depends)
        return None

    def _count_refusal(self, command: Command | None) -> None:
        if command is None:
            self.counters.unknown += 1
        else:
            self.counters.refused[command.place] += 1

    def _run_recorded(self, command: Command, arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401 - as handlers
        """Gates and handler of a command that the audit trail is told of (`audit_events`). Raises Refusal."""
        fact = self._fact(command, arguments)
        try:
            result = self._run(command, arguments)
        except Refusal as refusal:
            if fact is None and command.needs_admin and not self.is_admin:
                # Without its arguments: which of them would be secrets is known of the others only.
                fact = audit_events.Fact(audit_events.ADMIN_COMMAND, None, audit_events.actor(self), command.name)
            self._record_refusal(fact, refusal)
            raise
        if isinstance(result, GeneratorType):
            return result if fact is None else self._recorded(command, arguments, fact, result)
        if fact is not None:
            self._record(audit_events.clearer(fact, self._fact(command, arguments)), audit_events.OK)
        return result

    def _fact(self, command: Command, arguments: tuple[Any, ...]) -> Fact | None:
        """What the trail is told of a command. No reply waits for the batch of a name that is looked up for it."""
        depends = self.view.depends
        try:
            return command.fact(self, arguments)
        finally:
            self.view.depends = depends

    def _recorded(self, command: Command, arguments: tuple[Any, ...], fact: Fact, steps: Steps) -> Steps:
        """The steps of a command whose end the audit trail is told of."""
        try:
            result = yield from steps
        except Refusal as refusal:
            self._record_refusal(fact, refusal)
            raise
        except GeneratorExit:
            self._record(fact, audit_events.FAILED, "the client left before the answer")
            raise
        if fact.event == audit_events.LOGIN and fact.database is None and not self.is_admin:
            self._record(fact, audit_events.FAILED, "invalid auth")  # `auth`, also in `rp`, which answers otherwise
        else:
            self._record(audit_events.clearer(fact, self._fact(command, arguments)), audit_events.OK)
        return result

    def _record_refusal(self, fact: Fact | None, refusal: Refusal) -> None:
        is_forbidden = refusal.error in _FORBIDDEN
        self._record(fact, audit_events.REFUSED if is_forbidden else audit_events.FAILED, refusal.error.strip())

    def _record(self, fact: Fact | None, outcome: str, reason: str | None = None) -> None:
        if fact is not None:
            self.engine.context.audit.record(self.peer, fact, outcome, reason, self.view.depends)

    def _run(self, command: Command, arguments: tuple[Any, ...]) -> Any:  # noqa: ANN401 - as handlers
        """Gates and handler of a command. Raises Refusal."""
        self._pass_gates(command, arguments)
        result = command.handler(self, *arguments)
        return self._gated(command, arguments, result) if type(result) is GeneratorType else result

    def _pass_gates(self, command: Command, arguments: tuple[Any, ...]) -> None:
        if command.permission is not None:
            self.check_permission(command.permission, arguments[0])
            return
        if command.needs_admin and not self.is_admin:
            raise command.denial
        if command.needs_database and self.database is None:
            raise messages.NO_DATABASE

    def _gated(self, command: Command, arguments: tuple[Any, ...], steps: Steps) -> Steps:
        """The steps of a command, which passes its gates again after each wait: rights may have been lost meanwhile."""
        database = self.database
        answer: Answer = None
        try:
            while True:
                try:
                    need = steps.send(answer)
                except StopIteration as stop:
                    result: Result = stop.value
                    return result
                answer = yield need
                try:
                    self._pass_gates(command, arguments)
                    if command.needs_database and self.database is not database:
                        raise messages.NO_DATABASE
                except Refusal as refusal:
                    steps.throw(refusal)  # there: whatever this command is a part of may have more to say
                    raise
        finally:
            steps.close()

    def perform(self, text: str) -> Result | Steps:
        """Run a command that is part of another one (`rp`), without replying. Raises Refusal."""
        parts = words(text)
        command = BY_NAME.get(parts[0])
        if command is None:
            raise messages.unknown_command(parts[0]) if parts[0] else messages.EMPTY_COMMAND
        result: Result | Steps = self._run(command, command.parse(parts))
        return result

    def check_permission(self, permission: Permission, key: str) -> None:
        """Raises Refusal unless this session may do that to that key of its database."""
        if is_security_key(key) and not self.is_admin:
            raise messages.SECURITY_KEY
        if self.database is None:
            raise messages.NO_DATABASE
        if not self._may(permission, key):
            raise messages.PERMISSION_DENIED

    def count_change(self, pace: Bucket) -> None:
        """The session makes a change. Raises Refusal if it makes too many; the admin may make any number."""
        if not self.is_admin and self.engine.paces is not None:
            self.engine.paces.take(self, pace)

    def _may(self, permission: Permission, key: str) -> bool:
        """Admin rules security keys; on other keys the admin is the user it selected the database as."""
        if is_security_key(key):
            return self.is_admin
        return self.rules is None or self.rules.allow(permission, key)

    def _suspend(self, steps: Steps, command: Command) -> Suspension | None:
        """Run a command's steps up to its first need; if there is none, the command is done at once."""
        suspension = self._drive(steps, command)
        try:
            first = next(suspension)
        except StopIteration:
            return None
        return _with_first(first, suspension)

    def _drive(self, steps: Steps, command: Command) -> Suspension:
        view = self.view
        depends = view.depends
        answer: Answer = None
        while True:
            view.depends = 0
            try:
                need = steps.send(answer)
            except StopIteration as stop:
                self.done[command.place] += 1
                self.outbox.reply(stop.value, max(depends, view.depends))
                return
            except Refusal as refusal:
                refusal.__traceback__ = None
                self._count_refusal(command)
                self.outbox.refuse(refusal.messages, refusal.error, max(depends, view.depends))
                return
            depends = max(depends, view.depends)
            answer = yield need
            if self.is_closed:
                steps.close()
                return

    # --- state -------------------------------------------------------------------------------------------------

    def has_logged_in(self) -> bool:
        """Whether whoever it is has shown a secret that is valid still."""
        return self.is_admin or self.database is not None

    @property
    def selected(self) -> Database:
        """The selected database; only for handlers of commands that need one."""
        assert self.database is not None
        return self.database

    def select(self, database: Database, user: str, secret: Secret) -> None:
        """Select a database as a user, by its secret. The count moves; watches that the user may not have sleep."""
        if self.database is not database:
            self.leave()
            self.database = database
            database.sessions[self] = None
            self.user, self.secret = user, secret
            self.set_rules(self.engine.rules_for(database, user))
            self.engine.count_connections(database)
        else:
            self.user, self.secret = user, secret
            self.set_rules(self.engine.rules_for(database, user))

    def leave(self) -> None:
        """Give up the selected database, its watches and its place in the count."""
        database = self.database
        if database is not None:
            database.unwatch_all(self)
            database.sessions.pop(self, None)
            self.database = self.secret = None
            self.user = EVERYONE
            self.rules = None
            self.engine.count_connections(database)

    def lose_database(self) -> None:
        """The selected database was dropped, with all who watched: nothing is counted or told any more."""
        self.database = self.secret = self.sleeper = None
        self.user = EVERYONE
        self.rules = None
        self.watches.clear()
        self.watches_weight = 0
        self.hold_watches(-self.watches_bytes)

    def hold_watches(self, more: int) -> None:
        """The watches take so many more bytes, or fewer."""
        self.watches_bytes += more
        self.engine.watches_bytes += more

    def set_rules(self, rules: Rules | None, newest: Newest | None = None) -> None:
        """Other rules from now on: watches that they don't allow sleep, others wake (docs/protocol.md section 4)."""
        self.rules = rules
        self._review_watches(newest)

    def become_admin(self, hash_text: str) -> None:
        """Admin by the password that has this hash."""
        self.is_admin, self.admin_hashes = True, (hash_text,)
        self._review_watches()

    def lose_admin(self, newest: Newest | None = None) -> None:
        """Admin no more: what it selected and watches is judged by what is in force now."""
        self.is_admin, self.admin_hashes = False, ()
        self.leave_if_revoked()
        self._review_watches(newest)

    def leave_if_revoked(self) -> None:
        """Give up the database if what it was selected with is in force no more. An admin keeps it."""
        database, secret = self.database, self.secret
        if database is not None and secret is not None and not self.is_admin:
            entry = self.keyspace.read(database, secret.key)
            if entry is None or entry.text != secret.hash:
                self.leave()

    def _review_watches(self, newest: Newest | None = None) -> None:
        if self.watches and self.database is not None:
            sleeping.review(self, newest or sleeping.Newest(self.keyspace, self.database))

    def may_read(self, key: str) -> bool:
        """Whether this session may read that key of its database."""
        return self._may(Permission.READ, key)

    def close(self) -> None:
        """The client is gone: its watches and its place in the count go with it. Safe to call twice."""
        if not self.is_closed:
            self.is_closed = True
            del self.engine.sessions[self.identifier]
            self.leave()


def _with_first(first: Need, suspension: Suspension) -> Suspension:
    """A suspension that yields `first`, which was already taken from it, and then goes on as before."""
    answer = yield first
    while True:
        try:
            need = suspension.send(answer)
        except StopIteration:
            return
        answer = yield need
