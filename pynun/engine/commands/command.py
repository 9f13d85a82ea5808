"""What a row of the command table is."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pynun.engine.commands import audit_facts
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.engine.audit_events import Fact
    from pynun.engine.effects import Steps
    from pynun.engine.events import Result
    from pynun.engine.permissions import Permission
    from pynun.engine.session import Session
    from pynun.protocol.arguments import Shape

    Describe = Callable[[Session, tuple[Any, ...]], Fact | None]
    Perform = Callable[[str], Result | Steps]
    """Runs the command in an envelope, without replying. Raises Refusal."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command. After the checks, its handler gets the session and the shape's arguments."""

    name: str
    shape: Shape
    handler: Callable[..., Any]
    help: str
    aliases: tuple[str, ...] = ()
    needs_admin: bool = False
    denial: messages.Refusal = messages.NOT_AUTH  # what others than the admin are told
    needs_database: bool = False
    permission: Permission | None = None
    """The kind checked on the key, which is then the first argument; implies that a database is needed."""
    differs: str | None = None
    """How it deliberately differs from the original, for docs/differences.md."""
    parse: Callable[[list[str]], tuple[Any, ...]] = lambda _words: ()
    place: int = 0
    """Which row of the table it is: where the command is counted (`pynun/engine/counters.py`)."""
    describe: Describe | None = None
    """Makes its audit fact; for commands with a permission, the key decides (`$$`)."""
    is_recorded: bool = False
    """Whether the audit trail may record it."""
    is_envelope: bool = False
    """Whether the last argument is another command. The handler is also given what runs that (`Perform`)."""

    def fact(self, session: Session, arguments: tuple[Any, ...]) -> Fact | None:
        """What the audit trail is told of the command with these arguments, if anything."""
        if self.describe is not None:
            return self.describe(session, arguments)
        if self.permission is not None and arguments[0].startswith("$$"):
            return audit_facts.security_key(session, self.name, arguments)
        return None

    @property
    def usage(self) -> str:
        """Name and arguments, as in the reference."""
        return f"{self.name} {self.shape.usage}".rstrip()


def row(
    name: str,
    shape: Shape,
    handler: Callable[..., Any],
    help: str,
    *aliases: str,
    admin: bool = False,
    denial: messages.Refusal = messages.NOT_AUTH,
    database: bool = False,
    permission: Permission | None = None,
    differs: str | None = None,
    audit: Describe | None = None,
    envelope: bool = False,
) -> Command:
    """The next row of the table. A row with a `permission` needs a database; one that is for `admin` is recorded."""
    return Command(
        name,
        shape,
        handler,
        help,
        aliases,
        needs_admin=admin,
        denial=denial,
        needs_database=database or permission is not None,
        permission=permission,
        differs=differs,
        parse=shape.parse,
        place=next(_places),
        describe=audit,
        is_recorded=admin or audit is not None,
        is_envelope=envelope,
    )


_places = itertools.count()
