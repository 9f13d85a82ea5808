"""What the server's short errors mean, in words that name what is missing. The wire keeps the original's texts.

Imported when something failed: the command table takes time to load.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Final

from pynun.cli.output.escape import shown_name
from pynun.engine.commands.table import BY_NAME
from pynun.engine.key_layout import ADMIN_DATABASE
from pynun.protocol import messages
from pynun.protocol.framing import words
from pynun.protocol.messages import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pynun.engine.commands.command import Command

_NAMES_SHOWN: Final = 20


def explained(
    command: str,
    error: str,
    names: Callable[[], Sequence[str]] | None = None,
    who: tuple[str, str] | None = None,
) -> str:
    """The text for an error that a command got.

    `names` asks for the names of the databases, as only administrators may; None for others. `who` is the database and
    its user, if known. Without it, never shows an argument that is neither the name of a database nor of a user.
    """
    parts = words(command)
    row = BY_NAME.get(parts[0])
    error = error.strip()
    if row is None:
        return error
    if row.is_envelope and len(parts) == 3:  # `rp ID COMMAND`
        return explained(parts[2], error, names, who)
    arguments = dict(zip(row.shape.usage.split(), command.split(" ")[1:], strict=False))
    if error == messages.NOT_A_DATABASE.error:
        return f"no database named {shown_name(arguments.get('DATABASE', ''))}{_which_there_are(names)}"
    if error == messages.NO_USER.error:
        user, database = (shown_name(arguments.get(name, "")) for name in ("USER", "DATABASE"))
        return f"no user named {user} in the database {database}"
    if error == messages.NO_DATABASE.error.strip():
        as_admin = "" if names is None else ", or open-db DATABASE"
        return f"no database is selected: first send use-db DATABASE TOKEN{as_admin}"
    if error == messages.INVALID_TOKEN.error:
        return f"{error}, or no user of that name" if command.count(" ") > 2 else error
    if error == messages.PERMISSION_DENIED.error.strip() and row.permission is not None:
        database, user, key = ("DATABASE", "USER", "KEY") if who is None else map(shlex.quote, (*who, parts[1]))
        question = f"nun-db permissions can {database} {user} {row.permission.value} {key}"
        return f"{error}; an administrator sees why: {question}"
    if error == messages.NOT_AUTH.error:
        return "only an administrator may: first send auth USER PASSWORD"
    return _about_arguments(row, parts, error)


def _about_arguments(row: Command, parts: list[str], error: str) -> str:
    """The usage too, if the arguments are what is wrong; without the text if it names another command."""
    try:
        row.parse(parts)
    except Refusal as refusal:
        if refusal.error.strip() == error:
            named = error.split(" ", 1)[0]
            is_of_another = named in BY_NAME and BY_NAME[named] is not row
            return f"{'arguments are missing' if is_of_another else error}; usage: {row.usage}"
    return error


def _which_there_are(names: Callable[[], Sequence[str]] | None) -> str:
    if names is None:
        return ""
    found = [shown_name(name) for name in names() if name != ADMIN_DATABASE]
    if not found:
        return "; there are no databases yet"
    more = f" and {len(found) - _NAMES_SHOWN} more" if len(found) > _NAMES_SHOWN else ""
    return f"; the databases are: {', '.join(found[:_NAMES_SHOWN])}{more}"
