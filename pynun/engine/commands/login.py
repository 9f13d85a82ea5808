"""Logging in and choosing a database (docs/protocol.md sections 2 and 3)."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from pynun.engine.effects import HashSecret, VerifySecret
from pynun.engine.key_layout import ADMIN_DATABASE
from pynun.engine.peer import Attempt
from pynun.engine.permissions import ADMINISTRATOR, EVERYONE, Secret, user_key
from pynun.protocol import messages

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from pynun.engine.database import Database
    from pynun.engine.effects import Answer, Need
    from pynun.engine.engine import Engine
    from pynun.engine.session import Session

    _Check = Generator[Need, Answer, str | None]


def verified(session: Session, secret: str, read_hash: Callable[[], str | None]) -> _Check:
    """The hash that `read_hash` gives, before the check and still after it, if `secret` has that hash; else None."""
    hash_text = read_hash()
    if hash_text is not None and _is_remembered(session, hash_text, secret, None):
        return hash_text
    return (yield from _checked(hash_text, secret, read_hash, None))


def _is_remembered(session: Session, hash_text: str, secret: str, attempt: Attempt | None) -> bool:
    """Whether the secret was verified before: HTTP clients log in with each request, so that has to be quick."""
    return session.engine.context.credentials.is_verified(hash_text, secret, attempt)


def _checked(
    hash_text: str | None, secret: str, read_hash: Callable[[], str | None], attempt: Attempt | None
) -> _Check:
    """The hash, as `read_hash` gave it, if it still does after the check and the secret has it; else None."""
    is_right = yield VerifySecret(hash_text, secret, attempt)
    return hash_text if is_right and hash_text is not None and read_hash() == hash_text else None


def _admin_account(user: str) -> str:
    """The account of `auth`; selecting `$admin` uses the same account."""
    return f"auth {user}"


def _attempt(session: Session, account: str) -> Attempt:
    peer = session.peer
    return Attempt("", account) if peer is None else Attempt(peer.address, account, peer.is_gone)


def auth(session: Session, user: str, password: str) -> str | Generator[Need, Answer, str]:
    """Log in as an administrator; on the server's Unix socket, also as the system user there, with any password."""
    engine = session.engine
    if user and user == system_user(session):
        session.become_admin(user, None)
        return messages.VALID_AUTH
    read_hash = partial(engine.administrator_hash, user)
    hash_text, attempt = read_hash(), _attempt(session, _admin_account(user))
    if hash_text is not None and _is_remembered(session, hash_text, password, attempt):
        session.become_admin(user, hash_text)
        return messages.VALID_AUTH
    return _checked_auth(session, user, _checked(hash_text, password, read_hash, attempt))


def _checked_auth(session: Session, user: str, check: _Check) -> Generator[Need, Answer, str]:
    hash_text = yield from check
    if hash_text is None:
        session.engine.counters.failed_logins["admin"] += 1
        session.lose_admin()
        return messages.INVALID_AUTH
    session.become_admin(user, hash_text)
    return messages.VALID_AUTH


def system_user(session: Session) -> str | None:
    """Who is at the other end of the server's Unix socket; None on other connections."""
    return None if session.peer is None else session.peer.system_user


def use(session: Session, name: str, user: str | None, token: str) -> Generator[Need, Answer, None] | None:
    """An unknown database takes as long as a wrong token; only the error differs."""
    engine = session.engine
    database = engine.find_database(name)
    key = "$$token" if user is None else user_key(user)
    account = _admin_account(engine.context.admin_user) if name == ADMIN_DATABASE and user is None else f"{name} {key}"

    def read_hash() -> str | None:
        # `all` is nobody's name: an older server may have stored a token for it, which lets nobody in.
        entry = None if database is None or user == EVERYONE else session.keyspace.read(database, key)
        return None if entry is None else entry.text

    hash_text, attempt = read_hash(), _attempt(session, account)
    if database is not None and hash_text is not None and _is_remembered(session, hash_text, token, attempt):
        session.select(database, EVERYONE if user is None else user, Secret(key, hash_text))
        return None
    return _checked_use(session, name, database, user, key, _checked(hash_text, token, read_hash, attempt))


def _checked_use(
    session: Session, name: str, database: Database | None, user: str | None, key: str, check: _Check
) -> Generator[Need, Answer, None]:
    engine = session.engine
    hash_text = yield from check
    if hash_text is None:
        engine.counters.failed_logins["database"] += 1
    if database is None or (hash_text is not None and engine.find_database(name) is not database):
        raise messages.NOT_A_DATABASE
    if hash_text is None:
        raise messages.INVALID_TOKEN
    session.select(database, EVERYONE if user is None else user, Secret(key, hash_text))


def open_database(session: Session, name: str) -> None:
    """Select a database as administrator, without a token and without its users' permissions."""
    session.select(session.engine.database(name), ADMINISTRATOR, None)


def hashed(engine: Engine, database: Database, secret: str) -> Generator[Need, Answer, str]:
    """The hash of a secret that is to be stored in a database. Raises Refusal if the database is gone meanwhile.

    Its creation may have been lost, and the next database gets its identifier: it must not get the secret too.
    """
    hash_text = yield HashSecret(secret)
    assert isinstance(hash_text, str)
    if engine.find_database(database.name) is not database:
        raise messages.NOT_A_DATABASE
    return hash_text


def stay_admin(session: Session, name: str, hash_text: str) -> None:
    """A session that changes its own password stays admin by the password with this hash, whether stored or lost."""
    if session.admin_hashes and session.admin_name == name:
        session.admin_hashes = (*session.admin_hashes[-1:], hash_text)
