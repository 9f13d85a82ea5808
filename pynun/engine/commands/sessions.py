"""Listing and ending sessions (docs/protocol.md section 2)."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

from pynun.engine.commands.listing import PAGE_ROWS
from pynun.protocol import messages
from pynun.timestamps import timestamp

if TYPE_CHECKING:
    from pynun.engine.database import Member
    from pynun.engine.session import Session


def list_sessions(session: Session, after: int) -> str:
    """A page of the open sessions, in the order in which they were opened."""
    opened = session.engine.sessions.items()
    page = list(islice((one for identifier, one in opened if identifier > after), PAGE_ROWS + 1))
    return messages.report(
        "sessions",
        {
            "sessions": [_row(one, session) for one in page[:PAGE_ROWS]],
            "next": page[PAGE_ROWS - 1].identifier if len(page) > PAGE_ROWS else None,
        },
    )


def _row(one: Member, asking: Member) -> dict[str, Any]:
    peer, database = one.peer, one.database
    return {
        "id": one.identifier,
        "transport": None if peer is None else peer.transport,
        "address": None if peer is None else peer.address,
        "database": None if database is None else database.name,
        "user": None if database is None else one.user or None,
        "is_admin": one.is_admin,
        "admin": one.admin_name,
        "since": timestamp(one.since_ns),
        "watches": len(one.watches),
        "outbox_bytes": 0 if peer is None else peer.waiting_bytes,
        "is_this": one is asking,
    }


def disconnect(session: Session, identifier: int) -> None:
    """End the connection of a session."""
    one = session.engine.sessions.get(identifier)
    if one is None:
        raise messages.NO_SESSION
    if one.peer is None or not one.peer.disconnect():
        raise messages.NOT_DISCONNECTABLE
