"""The events of the audit trail (docs/audit.md), without secrets.

The engine passes each event (`Fact`) to `Context.audit`, which decides where to write it. A fact is made before the
command runs, because the command may change who the session is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from pynun.engine.peer import Peer

OK: Final = "ok"
FAILED: Final = "failed"
"""It failed: a wrong secret, an error."""
REFUSED: Final = "refused"
"""The session lacks the right."""

LOGIN: Final = "login"
OPEN_DATABASE: Final = "open-db"
READ_SECURITY_KEY: Final = "read-security-key"
ADMIN_COMMAND: Final = "admin-command"
"""An administrator's command; recorded if somebody else sent it."""

HIDDEN: Final = "***"
"""Replaces a secret, or what may be one."""


class Fact(NamedTuple):
    """What was attempted, and by whom."""

    event: str
    database: str | None
    user: str | None
    command: str


class Audit(Protocol):
    """Keeps the audit trail."""

    def record(self, peer: Peer | None, fact: Fact, outcome: str, reason: str | None, depends: int) -> None:
        """Something happened; if `depends` is not 0, only once that batch is on disk. `reason` says why not."""


class NoAudit:
    """Nobody keeps one."""

    def record(self, peer: Peer | None, fact: Fact, outcome: str, reason: str | None, depends: int) -> None:
        """Do nothing."""


def clearer(before: Fact, after: Fact | None) -> Fact:
    """Of a command's facts before it ran and after it succeeded, the one that shows more names; if each shows as many,
    as for one name that is gone and one that is new, the names of both.
    """
    if after is None or after.command.count(HIDDEN) > before.command.count(HIDDEN):
        return before
    command = after.command
    if command.count(HIDDEN) == before.command.count(HIDDEN):
        words = zip(before.command.split(" "), command.split(" "), strict=False)
        command = " ".join(new if old == HIDDEN else old for old, new in words)
    return before._replace(database=before.database or after.database, command=command)
