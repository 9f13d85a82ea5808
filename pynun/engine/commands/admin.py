"""The admin's own commands (docs/protocol.md section 2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pynun.engine.key_layout import record_key
from pynun.engine.scans import scan_slices
from pynun.protocol import messages

if TYPE_CHECKING:
    from pynun.engine.cluster import ClusterNode
    from pynun.engine.effects import Steps
    from pynun.engine.session import Session


def snapshot(session: Session, names: list[str]) -> None:
    """The reply waits for the newest batch, so that all changes so far are on disk."""
    engine = session.engine
    if not names and session.database is None:
        raise messages.NO_DATABASE_TO_SNAPSHOT
    unknown = [name for name in names if engine.find_database(name) is None]
    if unknown:
        raise messages.not_databases(unknown)
    wait_for_disk(session)


def wait_for_disk(session: Session) -> None:
    """The reply waits for the newest batch. Raises Refusal if there is none, and the store can't take changes."""
    session.view.depends = session.view.newest_unwritten
    if not session.view.depends:
        session.keyspace.check_changeable()


def cluster_state(session: Session) -> str:
    context = session.engine.context
    if context.cluster is None:
        return messages.cluster_state([(context.address, "self", True)])
    asked = "" if session.peer is None else session.peer.node

    def state(one: ClusterNode) -> str:
        if one.name == asked if asked else one.is_owner:
            return "self"
        return "Connected" if one.is_live else "Disconnected"

    return messages.cluster_state((one.address, state(one), one.is_owner) for one in context.cluster.nodes())


def metrics_state(session: Session) -> str:
    engine = session.engine
    return messages.metrics_state(engine.view.operations, engine.measure_get_ms())


def _pending_conflicts(session: Session, command: str) -> Steps:
    engine = session.engine
    databases = [session.database] if session.database else list(map(engine.database, engine.database_names()))
    records: list[str] = []
    with engine.listing_budget.open() as listing:
        for database in databases:
            found = yield from scan_slices(engine.view, database.pending_prefix, listing=listing)
            parts = [name.decode().rpartition(" ") for name in found]
            parts.sort(key=lambda part: int(part[2]))
            records += [record_key(key, identifier) for key, _, identifier in parts]
    # The original does not know the right spelling and answers just `ok` to it: kept while there are none.
    return messages.conflicts_list(records) if records or command == "pendding-conflitcts" else None


def debug(session: Session, command: str) -> str | Steps | None:
    """An unknown debug command answers just `ok`, as in the original."""
    engine = session.engine
    match command:
        case "list-dbs":
            return messages.databases_list((name, engine.database(name).strategy) for name in engine.database_names())
        case "pending-ops":
            return messages.PENDING_OPERATIONS
        case "pending-conflicts" | "pendding-conflitcts":
            return _pending_conflicts(session, command)
        case "process-info":
            return messages.process_info(engine.context.process_id)
        case "force-election":
            if engine.context.cluster is not None:
                engine.context.cluster.hand_over("")
            return None
        case _:
            return None
