"""Several administrators, each with a password of its own (docs/protocol.md section 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun import limits
from pynun.engine import administrators
from pynun.engine.commands.login import hashed, stay_admin
from pynun.engine.effects import HashSecret
from pynun.engine.key_layout import ADMIN_DATABASE
from pynun.protocol import messages

if TYPE_CHECKING:
    from pynun.engine.effects import Steps
    from pynun.engine.engine import Engine
    from pynun.engine.session import Session


def list_admins(session: Session) -> str:
    """Their names, the first one first, and how many sessions are logged in as each."""
    engine = session.engine
    first = engine.context.admin_user
    names = [first, *(name for name in administrators.list_names(engine.keyspace) if name != first)]
    logged_in = [one.admin_name for one in engine.sessions.values() if one.admin_hashes]
    rows = [{"name": name, "is_first": name == first, "sessions": logged_in.count(name)} for name in names]
    return messages.report("admins", {"admins": rows, "next": None})


def add_admin(session: Session, name: str, password: str) -> Steps:
    """Add a named administrator."""
    engine = session.engine
    _check_new(engine, name)
    hash_text = yield HashSecret(password)
    assert isinstance(hash_text, str)
    _check_new(engine, name)
    engine.keyspace.check_changeable()
    administrators.write_hash(engine.view, name, hash_text)
    return None


def _check_new(engine: Engine, name: str) -> None:
    if not administrators.is_name(name):
        raise messages.NOT_AN_ADMIN_NAME
    if name in engine.context.system_users:
        raise messages.SYSTEM_USERS_NAME
    if engine.administrator_hash(name) is not None:
        raise messages.ADMIN_EXISTS
    if len(administrators.list_names(engine.keyspace)) >= limits.ADMINISTRATORS_MAX:
        raise messages.too_many_admins(limits.ADMINISTRATORS_MAX)


def remove_admin(session: Session, name: str) -> None:
    """Remove a named administrator: its sessions lose their rights, and the connections of others end."""
    engine = session.engine
    if name == engine.context.admin_user:
        raise messages.FIRST_ADMIN
    if engine.administrator_hash(name) is None:
        raise messages.NO_ADMIN
    engine.keyspace.check_changeable()
    ended = engine.end_admins(name, None)
    administrators.write_hash(engine.view, name, None)
    for one in ended:
        if one is not session and one.peer is not None:
            one.peer.disconnect()


def set_password(session: Session, password: str) -> Steps:
    """Change the own password; a system user, who has none, changes that of the first administrator."""
    own = session.admin_name if session.admin_hashes else None
    return set_admin_password(session, own or session.engine.context.admin_user, password)


def set_admin_password(session: Session, name: str, password: str) -> Steps:
    """Change an administrator's password. Other sessions that logged in with the old one lose admin rights."""
    engine = session.engine
    if name == engine.context.admin_user:
        admin = engine.database(ADMIN_DATABASE)
        hash_text = yield from hashed(engine, admin, password)
        stay_admin(session, name, hash_text)
        session.keyspace.change(admin, "$$token", hash_text)
        return None
    if engine.administrator_hash(name) is None:
        raise messages.NO_ADMIN
    answer = yield HashSecret(password)
    assert isinstance(answer, str)
    if engine.administrator_hash(name) is None:
        raise messages.NO_ADMIN
    engine.keyspace.check_changeable()
    stay_admin(session, name, answer)
    engine.end_admins(name, answer)
    administrators.write_hash(engine.view, name, answer)
    return None
