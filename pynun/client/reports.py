"""What the administrator's commands report, as values with types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pynun.client.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class DatabaseInfo:
    """A database: its conflict strategy (`none`, `newer` or `arbiter`), and how many sessions have it selected."""

    name: str
    strategy: str
    connections: int


@dataclass(frozen=True, slots=True)
class DatabaseSize:
    """How many keys a database has on disk, users and permissions included, and the bytes of keys and values."""

    name: str
    keys: int
    bytes: int


@dataclass(frozen=True, slots=True)
class UserInfo:
    """A user of a database; `all` stands for sessions with the database token. `permissions` None: none were set."""

    user: str
    has_token: bool
    permissions: str | None
    connections: int


@dataclass(frozen=True, slots=True)
class UserPermissions:
    """What a user may do now, such as `r *|rwx ana-*`.

    `is_first`: the user had no permissions before. `still_allowed`: what other patterns still allow after a `revoke`.
    """

    database: str
    user: str
    permissions: str
    is_first: bool
    still_allowed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PermissionCheck:
    """Whether a user may do something to a key, and why.

    `reason` is `rule` (then `rule` is the one that allows it), `no-rule`, `no-permissions`, `no-such-user`,
    `database-token` (sessions with the database token may do everything) or `administrator-only`.
    """

    database: str
    user: str
    kind: str
    key: str
    allowed: bool
    reason: str
    rule: str | None


Report = TypeVar("Report")


def read_report(kind: type[Report], members: Mapping[str, Any]) -> Report:
    """A report out of the server's JSON; what a newer server adds is left out. Raises ProtocolError if some is missing.

    `kind` is one of the classes above.
    """
    names = kind.__match_args__  # type: ignore[attr-defined]  # every dataclass has it
    try:
        values = [members[name] for name in names]
    except KeyError as missing:
        raise ProtocolError(f"the server's report lacks {missing}") from None
    return kind(*(tuple(value) if isinstance(value, list) else value for value in values))
