"""Keys that live as long as the session that set them (docs/protocol.md section 2).

Who is in a room, and where somebody points, is true only while the client is connected. Other commands (`set`,
`increment`, `remove`) treat an ephemeral key as any other; only where it is kept differs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun import limits
from pynun.engine.overlay import Entry
from pynun.engine.versions import VERSION_MAX
from pynun.protocol import messages

if TYPE_CHECKING:
    from pynun.engine.session import Session


def set_ephemeral(session: Session, key: str, text: str) -> None:
    """Set a key that ends with the session."""
    if session.change_bucket is not None:
        session.count_change(session.change_bucket)
    if key[:1] == "$":
        raise messages.NEVER_EPHEMERAL
    database, keyspace = session.selected, session.keyspace
    old = keyspace.read(database, key)
    owner = database.ephemeral.get(key)
    if owner is None:
        if old is not None:
            raise messages.NOT_EPHEMERAL
        keyspace.check_new_key(key)
    if owner is not session and len(session.ephemeral) >= limits.EPHEMERAL_KEYS_MAX:
        raise messages.too_many_ephemeral(limits.EPHEMERAL_KEYS_MAX)
    version = 0 if old is None or old.version >= VERSION_MAX else old.version + 1
    keyspace.put_ephemeral(database, key, Entry(version, text))
    if owner is not session:
        if owner is not None:
            del owner.ephemeral[key]
        database.ephemeral[key] = session
        session.ephemeral[key] = None
