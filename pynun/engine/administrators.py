"""Named administrators beside the first one (NUN_USER): each has a password of its own, of which the hash is stored.

The hashes are among the server's own notes, so no command on keys reads or changes them, and no listing shows them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from pynun.engine.key_layout import HOUSEKEEPING
from pynun.engine.overlay import Entry

if TYPE_CHECKING:
    from pynun.engine.keyspace import Keyspace
    from pynun.engine.overlay import View

NAME_CHARACTERS_MAX: Final = 64

_NOTE: Final = "administrator "
"""The keys of the notes begin with it, the name follows: text = hash."""


def is_name(text: str) -> bool:
    """Whether an administrator may have this name: one that every client can send, and HTTP's login too."""
    return 0 < len(text) <= NAME_CHARACTERS_MAX and text.isprintable() and text[0] != "-" and not set(text) & set(" ;:")


def read_hash(view: View, name: str) -> str | None:
    """The hash of the password of a named administrator; None if there is none of that name."""
    entry = view.read(_stored_key(name)) if is_name(name) else None
    return None if entry is None else entry.text


def write_hash(view: View, name: str, hash_text: str | None) -> None:
    """Store a named administrator; None removes it."""
    view.write(_stored_key(name), None if hash_text is None else Entry(0, hash_text))
    view.count_operation()


def list_names(keyspace: Keyspace) -> list[str]:
    """The names of the named administrators, in order."""
    return [key.removeprefix(_NOTE) for key in keyspace.scan(HOUSEKEEPING, _NOTE)]


def _stored_key(name: str) -> bytes:
    return HOUSEKEEPING + (_NOTE + name).encode()
