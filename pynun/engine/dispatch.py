"""Runs a command: checks, handler, reply, audit trail.

All checks are here, in the original's order, which clients see: known, arguments, admin, security key, database,
permission. Handlers contain only what their command means.
"""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING, Any

from pynun.engine import audit_events
from pynun.engine.commands import audit_facts
from pynun.engine.commands.table import BY_NAME
from pynun.engine.session import Session
from pynun.protocol import messages
from pynun.protocol.framing import words
from pynun.protocol.messages import Refusal

if TYPE_CHECKING:
    from pynun.engine.audit_events import Fact
    from pynun.engine.commands.command import Command
    from pynun.engine.effects import Answer, Need, Steps, Suspension
    from pynun.engine.events import Result


_FORBIDDEN = frozenset(
    refusal.error for refusal in (messages.NOT_AUTH, messages.SECURITY_KEY, messages.PERMISSION_DENIED)
)


class CommandSession(Session):
    """A session that runs commands.

    Call `execute` with one text after another; while a command is suspended, wait with the next.
    """

    __slots__ = ()

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
        """Check and run a command that the audit trail records (`audit_events`). Raises Refusal."""
        fact = self._fact(command, arguments)
        try:
            result = self._run(command, arguments)
        except Refusal as refusal:
            if fact is None and command.needs_admin and not self.is_admin:
                # Without its arguments: which of them would be secrets is known of the others only.
                fact = audit_events.Fact(audit_events.ADMIN_COMMAND, None, audit_facts.actor(self), command.name)
            self._record_refusal(fact, refusal)
            raise
        if isinstance(result, GeneratorType):
            return result if fact is None else self._recorded(command, arguments, fact, result)
        if fact is not None:
            if fact.event != audit_events.LOGIN:  # which makes no name known
                fact = audit_events.clearer(fact, self._fact(command, arguments))
            self._record(fact, audit_events.OK)
        return result

    def _fact(self, command: Command, arguments: tuple[Any, ...]) -> Fact | None:
        """A command's fact for the audit trail. No reply waits for names that are looked up for it."""
        depends = self.view.depends
        try:
            return self._fact_inside(command, *arguments) if command.is_envelope else command.fact(self, arguments)
        finally:
            self.view.depends = depends

    def _fact_inside(self, envelope: Command, _identifier: int, text: str) -> Fact | None:
        """Whatever the command in the envelope is, if that can be read at all."""
        parts = words(text)
        command = BY_NAME.get(parts[0])
        if command is None or command.is_envelope:
            return None
        try:
            fact = command.fact(self, command.parse(parts))
        except Refusal:
            return None
        return None if fact is None else fact._replace(command=f"{envelope.name} {audit_events.HIDDEN} {fact.command}")

    def _recorded(self, command: Command, arguments: tuple[Any, ...], fact: Fact, steps: Steps) -> Steps:
        """The steps of a command whose outcome the audit trail records."""
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
        """Check and run a command. Raises Refusal."""
        self._pass_gates(command, arguments)
        more = (self._perform,) if command.is_envelope else ()
        result = command.handler(self, *arguments, *more)
        return self._gated(command, arguments, result) if type(result) is GeneratorType else result

    def _pass_gates(self, command: Command, arguments: tuple[Any, ...]) -> None:
        """Refuse what the session may not do. `execute` makes the same checks for ordinary keys."""
        if command.permission is not None:
            self.check_permission(command.permission, arguments[0])
            return
        if command.needs_admin and not self.is_admin:
            raise command.denial
        if command.needs_database and self.database is None:
            raise messages.NO_DATABASE

    def _gated(self, command: Command, arguments: tuple[Any, ...], steps: Steps) -> Steps:
        """The steps of a command. It repeats its checks after each wait, because rights may be lost meanwhile."""
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

    def _perform(self, text: str) -> Result | Steps:
        """Run the command in an envelope (`rp`), without replying. Raises Refusal."""
        parts = words(text)
        command = BY_NAME.get(parts[0])
        if command is None:
            raise messages.unknown_command(parts[0]) if parts[0] else messages.EMPTY_COMMAND
        result: Result | Steps = self._run(command, command.parse(parts))
        return result

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


def _with_first(first: Need, suspension: Suspension) -> Suspension:
    """A suspension that yields `first`, which was already taken from it, and then goes on as before."""
    answer = yield first
    while True:
        try:
            need = suspension.send(answer)
        except StopIteration:
            return
        answer = yield need
