"""What outlives a process: of the engine, of the model, and how the model goes back to what it was."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pynun.engine.engine import Engine
    from tests.engine.model import Base
    from tests.engine.model_sessions import Model

CONNECTIONS = "$connections"
"""The one key that does not: it counts the sessions of the process."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What of a database is to outlive the process."""

    strategy: str
    keys: dict[str, tuple[int, str]]
    pending: set[tuple[str, int]]
    base: Base | None = field(default=None, compare=False, repr=False)
    """The model's database itself: another one of the same name is not the same."""


State = dict[str, Kept]


def kept_by_model(model: Model) -> State:
    """What the model has, without the counts of connections."""
    return {
        name: Kept(
            base.strategy,
            {key: entry for key, entry in base.keys.items() if key != CONNECTIONS},
            {(key, identifier) for key, pending in base.pending.items() for identifier in pending},
            base,
        )
        for name, base in model.bases.items()
    }


def kept_by_engine(engine: Engine) -> State:
    """The same of an engine: what its commands would read."""
    state = {}
    for name in engine.database_names():
        database = engine.database(name)
        entries = {
            key: engine.keyspace.read(database, key)
            for key in engine.keyspace.scan(database.prefix)
            if key != CONNECTIONS
        }
        pending = {key.rpartition(" ")[::2] for key in engine.keyspace.scan(database.pending_prefix)}
        state[name] = Kept(
            database.strategy,
            {key: (entry.version, entry.text) for key, entry in entries.items() if entry is not None},
            {(key, int(identifier)) for key, identifier in pending},
        )
        assert len(state[name].keys) == len(entries), "a key was listed that is not there"
    return state


def restore(model: Model, durable: State) -> None:
    """All that is not in `durable` is lost. Sessions leave a lost database, or one that they selected with a lost
    secret; watches sleep that only lost permissions allowed, and what was dropped is back.
    """
    there = list(model.bases.values())
    renamed = {
        name: kept.base
        for name, kept in durable.items()
        if kept.base in there and kept.base is not model.bases.get(name)
    }
    for base in renamed.values():
        assert base is not None
        del model.bases[base.name]
    for name, base in list(model.bases.items()):
        if name not in durable or durable[name].base is not base:  # never made, or made in the place of another one
            for watcher in list(base.watchers):
                model.leave(watcher)
            del model.bases[name]
    for name, kept in durable.items():
        assert kept.base is not None
        base = model.bases.setdefault(name, kept.base)
        base.name = name
        counted = base.keys.get(CONNECTIONS)
        base.keys = dict(kept.keys) | ({} if counted is None else {CONNECTIONS: counted})
        base.pending.clear()
        for key, identifier in sorted(kept.pending, key=lambda pair: pair[1]):
            base.pending[key].append(identifier)
    admin_hash = model.bases["$admin"].keys["$$token"][1]
    for base in model.bases.values():
        for watcher in list(base.watchers):
            if watcher.is_admin and admin_hash not in watcher.admin_hashes:
                model.lose_admin(watcher, is_after_loss=True)
            model.leave_if_revoked(watcher)
            watcher.review(is_after_loss=True)
    for client in model.admins:
        if client.is_admin and admin_hash not in client.admin_hashes:
            model.lose_admin(client)
