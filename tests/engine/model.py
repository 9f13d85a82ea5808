"""What commands do to keys: a dict and the contract's rules, in under 100 lines (docs/protocol.md sections 4 and 5)."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from pynun.protocol import messages as m
from pynun.protocol.numbers import parse_integer
from tests.engine.world import fake_hash


class Base:
    """One database. A key's version is -2 while it is in conflict."""

    def __init__(self, name: str, strategy: str, token: str) -> None:
        self.name, self.strategy = name, strategy if strategy in ("newer", "arbiter") else "none"
        self.keys: dict[str, tuple[int, str]] = {"$$token": (0, fake_hash(token))}  # version and text of each
        self.pending: defaultdict[str, list[int]] = defaultdict(list)  # the ids of each key's unresolved conflicts
        self.watchers: list[Any] = []  # the sessions that selected it: what each `watches` and was `told`
        self.changed: set[str] = set()

    def tell(self, key: str, *texts: str) -> None:
        for watcher in self.watchers:
            watcher.told += texts if key in watcher.watches and key not in watcher.asleep else ()

    def put(self, key: str, version: int, text: str) -> None:
        if version >= 2**31:
            raise m.version_out_of_range(key)
        self.keys[key], self.changed = (version, text), self.changed | {key}
        self.tell(key, f"changed {key} {text}\n", f"changed-version {key} {version} {text}\n")

    def change(self, key: str, given: int, text: str, now: int) -> None:
        self.guard(key)
        if (key == "$$token" or key.startswith("$$user_")) and not text.startswith("$argon2id$"):
            text = fake_hash(text)
        old, was = self.keys.get(key, (-1, ""))
        if key not in self.keys or (old != -2 and (given == -1 or given >= old)):
            self.put(key, max(old if given == -1 else given, -1) + 1, text)
        elif self.strategy == "newer":
            self.put(key, max(old, -1) + 1, text)
        elif self.strategy == "none" or key.startswith("$$"):
            raise m.INVALID_VERSION
        else:
            self.hand_on(key, old, was, given, text, now)

    def hand_on(self, key: str, old: int, was: str, given: int, text: str, now: int) -> None:
        if not any("$conflicts" in watcher.watches.keys() - watcher.asleep for watcher in self.watchers):
            raise m.NO_ARBITER
        before, record = self.pending[key], f"$conflicts_{key}_{now}"
        version, shown = (given + len(before), f"$conflicts_{key}_{before[-1]}") if before else (old, was)
        if version > 2**31 - 2**24:
            raise m.version_out_of_range(key)
        self.put(record, 0, f"resolve {now} {self.name} {version} {key} {shown} {text}")
        self.tell("$conflicts", self.keys[record][1])
        before.append(now)
        self.keys[key] = (-2, was)
        for watcher in self.watchers:  # nobody is told of that
            if watcher.asleep.get(key) == (old, was):
                watcher.asleep[key] = (-2, was)
        raise m.conflict_unresolved(record)

    def resolve(self, identifier: int, key: str, version: int, text: str) -> None:
        self.guard(key)
        old = self.keys.get(key, (-2, ""))[0]
        if (new := max(version if old == -2 else old, -1) + 1) >= 2**31:
            raise m.version_out_of_range(key)
        if (record := f"$conflicts_{key}_{identifier}") in self.keys:
            self.put(record, max(self.keys[record][0], -1) + 1, f"resolved {text}")
        self.pending[key] = [other for other in self.pending[key] if other != identifier]
        self.put(key, -2 if self.pending[key] else new, text)

    def guard(self, key: str) -> None:
        if key == "$connections":
            raise m.CONNECTIONS_COUNTED
        if any(key == f"$conflicts_{of}_{one}" for of, pending in self.pending.items() for one in pending):
            raise m.conflict_pending(key)
        if key == "$$user_all":
            raise m.RESERVED_USER

    def increment(self, key: str, step: int, now: int) -> None:
        old, text = self.keys.get(key, (0, "0"))
        if key != "$$user_all":
            self.guard(key)
        number = None if key == "$$token" or key.startswith("$$user_") else parse_integer(text)
        if number is None:
            raise m.NOT_NUMERIC
        if not -(2**63) <= number + step < 2**63:
            raise m.OUT_OF_RANGE
        if old == -2:
            self.hand_on(key, old, text, -1, str(number + step), now)
        self.put(key, max(old, -1) + 1, str(number + step))

    def remove(self, key: str) -> None:
        if key != "$$user_all":
            self.guard(key)
        if self.keys.pop(key, None) is not None:
            self.changed.add(key)
            self.tell(key, f"removed {key}\n")
