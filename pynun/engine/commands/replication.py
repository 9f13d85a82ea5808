"""The original's cluster commands, as far as they make sense on one node."""

from __future__ import annotations

from types import GeneratorType
from typing import TYPE_CHECKING

from pynun.engine.commands import keys
from pynun.engine.commands.admin import wait_for_disk
from pynun.protocol import messages
from pynun.protocol.messages import Refusal

if TYPE_CHECKING:
    from pynun.engine.commands.command import Perform
    from pynun.engine.effects import Steps
    from pynun.engine.events import Result
    from pynun.engine.session import Session


def accept(_session: Session) -> None:
    """Cluster membership and elections: accepted from an admin, without effect on one node."""


def operation(session: Session, identifier: int, text: str, perform: Perform) -> Steps:
    """Acknowledge an operation, then run it: its messages follow the acknowledgement's."""
    acknowledgement = messages.acknowledgement(identifier, session.engine.context.address)
    if text.startswith("rp "):
        raise Refusal("rp can't hold another rp", (acknowledgement,))
    try:
        result: Result | Steps = perform(text)
        if isinstance(result, GeneratorType):
            result = yield from result
    except Refusal as refusal:
        raise Refusal(refusal.error, (acknowledgement, *refusal.messages)) from None
    match result:
        case None:
            return [acknowledgement]
        case str():
            return [acknowledgement, result]
        case bytes():
            return [acknowledgement, result.decode()]
        case list():
            return [acknowledgement, *result]
    raise AssertionError(result)


def replicate(session: Session, name: str, key: str, version: int, value: str) -> Steps | None:
    return keys.change(session, session.engine.database(name), key, version, value)


def replicate_remove(session: Session, name: str, key: str) -> None:
    keys.remove_from(session, session.engine.database(name), key)


def replicate_increment(session: Session, name: str, key: str, step: int) -> None:
    keys.increment_in(session, session.engine.database(name), key, step)


def replicate_snapshot(session: Session, names: list[str]) -> None:
    """Like `snapshot`: all changes so far are on disk before the reply."""
    unknown = [name for name in names if session.engine.find_database(name) is None]
    if unknown:
        raise messages.snapshot_failed(unknown[-1])
    wait_for_disk(session)
