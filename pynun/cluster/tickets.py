"""Tickets: what a session may do, sealed for the next owner of the engine. A client's node keeps one, and can't read a
secret in it or make one.

The key of the seal is made of the stored hashes of the secrets that the session was shown. So a ticket ends with them:
when a token or a password changes, and when its user, administrator or database is gone.
"""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun.engine.key_layout import CLUSTER
from pynun.engine.permissions import ADMINISTRATOR, Secret, user_of_secret

if TYPE_CHECKING:
    from pynun.engine.engine import Engine
    from pynun.engine.session import Session

VALID_SECONDS: Final = 60.0
"""A ticket is valid for so long, by the clock of the owner that checks it; and as long before, if that is slow."""

RENEW_SECONDS: Final = 20.0
"""A ticket that is so old is replaced."""

_PURPOSE: Final = b"pynun session ticket 1"
_SEAL_BYTES: Final = 32


class TicketError(Exception):
    """A ticket gives no rights: why."""


class _Claim(NamedTuple):
    """What a ticket says."""

    node: str
    """The node that it is for."""
    at: float
    """When it was sealed, in seconds since 1970."""
    admin: str | None
    """The administrator's name; None: it is none."""
    is_system_user: bool
    """Whether no password made it administrator, but the client's Unix socket."""
    database: str | None
    secret: str | None
    """The key of the token that selected the database; None: an administrator opened it."""


class _Proof(NamedTuple):
    """What the data says of a claim now."""

    admin: str | None
    """The hash of the administrator's password."""
    secret: str | None
    """The hash of the database's or user's token."""


def seal(session: Session, node: str, now: float) -> bytes:
    """The ticket of a session; empty if it has no rights. `now` is in seconds since 1970."""
    database = session.database
    if not session.has_logged_in():
        return b""
    claim = _Claim(
        node,
        now,
        session.admin_name if session.is_admin else None,
        session.is_admin and not session.admin_hashes,
        None if database is None else database.name,
        None if database is None or session.secret is None else session.secret.key,
    )
    try:
        proof = _prove(session.engine, claim)
    except TicketError:
        return b""
    said = json.dumps(claim, separators=(",", ":")).encode()
    return _seal_of(session.engine, proof, said) + said


def use(session: Session, ticket: bytes, node: str, now: float) -> None:
    """Give a new session the rights of a ticket that this node sent, as they are now. Raises TicketError."""
    engine, said = session.engine, ticket[_SEAL_BYTES:]
    claim = _read(said)
    proof = _prove(engine, claim)
    if not hmac.compare_digest(_seal_of(engine, proof, said), ticket[:_SEAL_BYTES]):
        raise TicketError("its seal is not valid: a token or password has changed, or another cluster made it")
    if claim.node != node:
        raise TicketError(f"it is for the node {claim.node}")
    if abs(now - claim.at) > VALID_SECONDS:
        raise TicketError(f"it was made {now - claim.at:.0f} s ago by this machine's clock")
    if claim.is_system_user and (session.peer is None or session.peer.system_user != claim.admin):
        raise TicketError(f"its client is not the system user {claim.admin}")
    if claim.admin is not None:
        session.become_admin(claim.admin, proof.admin)
    if claim.database is not None:
        database = engine.database(claim.database)
        if claim.secret is None or proof.secret is None:
            session.select(database, ADMINISTRATOR, None)
        else:
            session.select(database, user_of_secret(claim.secret) or "", Secret(claim.secret, proof.secret))


def _read(said: bytes) -> _Claim:
    try:
        node, at, admin, is_system_user, database, secret = json.loads(said)
    except (TypeError, ValueError):
        raise TicketError("it can't be read") from None
    if not isinstance(at, float) or not all(isinstance(name, str | None) for name in (admin, database, secret)):
        raise TicketError("it can't be read")
    return _Claim(node, at, admin, is_system_user, database, secret)


def _prove(engine: Engine, claim: _Claim) -> _Proof:
    """Look up what a claim's seal depends on. Raises TicketError."""
    admin_hash = secret_hash = None
    if claim.admin is not None and not claim.is_system_user:
        admin_hash = engine.administrator_hash(claim.admin)
        if admin_hash is None:
            raise TicketError(f"there is no administrator {claim.admin}")
    if claim.database is not None:
        database = engine.find_database(claim.database)
        if database is None:
            raise TicketError(f"there is no database {claim.database}")
        if claim.secret is not None:
            # The value of another key may be known to somebody who makes a ticket.
            is_secret = user_of_secret(claim.secret) is not None
            entry = engine.keyspace.read(database, claim.secret) if is_secret else None
            if entry is None:
                raise TicketError(f"the database {claim.database} has no such user any more")
            secret_hash = entry.text
        elif claim.admin is None:
            raise TicketError("only an administrator opens a database without its token")
    return _Proof(admin_hash, secret_hash)


def _seal_of(engine: Engine, proof: _Proof, said: bytes) -> bytes:
    cluster = engine.view.read(CLUSTER)
    secrets = json.dumps((*proof, "" if cluster is None else cluster.text)).encode()
    return hmac.digest(hmac.digest(secrets, _PURPOSE, "sha256"), said, "sha256")
