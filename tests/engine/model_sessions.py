"""Who may do what, and which command does what to the keys of `model.py` (docs/protocol.md sections 2 and 3).

The words of a command are read by pynun/protocol, which has tests of its own. Left out is what only looks or has no
meaning here (`NOT_HERE`): what it says is not a matter of these rules.
"""

from __future__ import annotations

import re

from pynun.engine.commands.table import BY_NAME
from pynun.engine.permissions import ADMINISTRATOR, added, parse_grants, still_granted, taken
from pynun.protocol import messages as m
from tests.engine.model import Base
from tests.engine.world import ADDRESS, ADMIN_USER, PROCESS_ID, fake_hash

KINDS = {"get": "r", "get-safe": "r", "watch": "r", "set": "w", "set-safe": "w", "increment": "i", "remove": "x"}
WITH_BASE = {"create-user", "set-permissions", "keys", "list-keys", "unwatch", "unwatch-all", "arbiter"}
FOR_ALL = {*KINDS, *WITH_BASE, "auth", "use-db", "resolve"} - {"create-user", "set-permissions"}


NOT_HERE = (
    "metrics-state",
    "list-dbs",
    "db-size",
    "list-users",
    "explain-permission",
    "list-sessions",
    "disconnect",
    "list-admins",
    "add-admin",
    "remove-admin",
    "set-admin-password",
    "import-db",
)
"""Commands that change nothing that the model knows, and whose answers have tests of their own."""

NOT_RUN = "set-ephemeral"
"""The command that the model does not know: what it sets is kept nowhere. It has tests of its own."""


def normalised(text: str) -> str:
    """A permission entry as it is stored (docs/protocol.md section 3)."""
    parts = [part.split(" ", 1) for part in text.split("|")]
    return "|".join(" ".join((re.sub("[^rwix]", "r", kinds), *(rest or [""]))) for kinds, *rest in parts)


def renamed_record(text: str, name: str) -> str:
    """The text of an unresolved conflict's record, of a database that has another name now."""
    word, identifier, _, rest = text.split(" ", 3)
    return f"{word} {identifier} {name} {rest}"


def matches(pattern: str, key: str) -> bool:
    """Whether a pattern means a key (docs/protocol.md section 3)."""
    text = pattern.replace("*", "")
    if pattern.endswith("*"):
        return key.startswith(text)
    return key.endswith(text) if pattern.startswith("*") else pattern in key


class Client:
    """A session. `told` is everything its client was told so far."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.watches: dict[str, None] = {}
        self.asleep: dict[str, object] = {}  # watches that it may not have now, with what was known when they fell so
        self.conflict_id = 0  # the newest that it knew of when its watch as an arbiter fell asleep
        self.base: Base | None = None
        self.user, self.is_admin = "all", False
        self.secret = ("", "")  # what it selected its database with: the key, and its value then
        self.admin_hashes: list[str] = []

    def may(self, kind: str, key: str) -> bool:
        """Whether this session may read (r), write (w), increment (i) or remove (x) a key of its database."""
        if key.startswith("$$"):
            return self.is_admin
        entry = self.base.keys.get(f"$$permission_${self.user}") if self.base else None
        if entry is None:
            return self.user in ("all", ADMINISTRATOR)
        grants = [grant.strip().partition(" ") for grant in entry[1].split("|")]
        return any(
            kind in [letter if letter in "wix" else "r" for letter in kinds] and matches(pattern.strip(), key)
            for kinds, _, patterns in grants
            for pattern in patterns.split(",")
            if pattern.strip()
        )

    def check(self, kind: str, key: str) -> None:
        """Raises Refusal unless it may."""
        if key.startswith("$$") and not self.is_admin:
            raise m.SECURITY_KEY
        if self.base is None:
            raise m.NO_DATABASE
        if not self.may(kind, key):
            raise m.PERMISSION_DENIED

    def unwatch(self, *keys: str) -> None:
        """Hear no more of these keys."""
        for key in keys:
            self.watches.pop(key, None)
            self.asleep.pop(key, None)

    def review(self, *, is_after_loss: bool = False) -> None:
        """Watches sleep while they are not allowed, and are told then what they missed, if it was not lost."""
        for key in self.watches if self.base is not None else ():
            assert self.base is not None
            entry = self.base.keys.get(key)
            ids = [identifier for pending in self.base.pending.values() for identifier in pending]
            if key in self.asleep and self.may("r", key):
                known = self.asleep.pop(key)
                if is_after_loss:
                    continue
                if known != entry:
                    self.told += m.changed(key, *entry) if entry else m.removed(key)
                if key == "$conflicts":
                    self.told += [
                        self.base.keys[record][1]
                        for record in Model.unresolved(self.base, self.conflict_id)
                        if record in self.base.keys
                    ]
            elif key not in self.asleep and not self.may("r", key):
                self.asleep[key] = "not known" if is_after_loss else entry
                self.conflict_id = 0 if is_after_loss else max(ids, default=0)


class Model:
    """All databases and sessions. `now` is the id that the next conflict gets."""

    def __init__(self, password: str) -> None:
        admin = Base("$admin", "newer", password)
        admin.keys["$admin"] = (0, "{}")
        self.bases = {"$admin": admin}
        self.now = 0
        self.admins: list[Client] = []

    def execute(self, client: Client, text: str) -> None:
        """Run one command."""
        try:
            told = [*self._run(client, text), m.OK]
        except m.Refusal as refusal:
            told = [*refusal.messages, m.error(refusal.error)]
        for base in self.bases.values():
            changed, base.changed = base.changed, set()
            self._mind(base, changed)
            base.changed = set()  # of what the sessions that went changed
        client.told += told

    def _mind(self, base: Base, changed: set[str]) -> None:
        """Permissions that changed may end watches; a secret that changed ends the sessions that came in by it."""
        for watcher in list(base.watchers):
            if f"$$permission_${watcher.user}" in changed:
                watcher.review()
            secret = "$$token" if watcher.user == "all" else f"$$user_{watcher.user}"
            if {secret, f"$$user_{watcher.user}"} & changed and not watcher.is_admin:
                self.leave(watcher)

    def leave(self, client: Client) -> None:
        """A session goes away, or to another database."""
        base, client.base, client.user = client.base, None, "all"
        client.unwatch(*client.watches)
        if base is not None:
            base.watchers.remove(client)
            self._count(base)

    def _count(self, base: Base) -> None:
        base.put("$connections", base.keys.get("$connections", (-1, ""))[0] + 1, str(len(base.watchers)))

    def _base(self, name: str) -> Base:
        if name not in self.bases:
            raise m.NOT_A_DATABASE
        return self.bases[name]

    def _run(self, client: Client, text: str) -> list[str]:
        words = text.split(" ", 2)
        if words[0] not in BY_NAME:
            raise m.unknown_command(words[0]) if words[0] else m.EMPTY_COMMAND
        name, arguments = BY_NAME[words[0]].name, BY_NAME[words[0]].parse(words)
        if name not in FOR_ALL and not client.is_admin:
            raise m.SECURITY_KEY if name in ("create-user", "set-permissions") else m.NOT_AUTH
        if name in KINDS:
            client.check(KINDS[name], arguments[0])
        if client.base is None and name in WITH_BASE:
            raise m.NO_DATABASE
        if name in KINDS or name in WITH_BASE:
            assert client.base is not None
            return self._run_on_keys(client, client.base, name, *arguments)
        return self._run_on_server(client, name, *arguments)

    def _run_on_keys(self, client: Client, base: Base, name: str, *arguments: str | int) -> list[str]:
        match name, *arguments:
            case "get", str(key):
                return [m.value(base.keys[key][1] if key in base.keys else None)]
            case "get-safe", str(key):
                return [m.value_version(*base.keys.get(key, (1, "<Empty>")))]
            case "set", str(key), str(text):
                if base.name == "$admin" and key == "$$token":
                    self._end_other_admins(client, text)
                base.change(key, -1, text, self.now)
            case "set-safe", str(key), int(version), str(text):
                if base.name == "$admin" and key == "$$token":
                    self._end_other_admins(client, text)
                base.change(key, version, text, self.now)
            case "create-user", str(user), str(token):
                if not user or not token:
                    raise m.INCOMPLETE_USER
                if user == "all":
                    raise m.RESERVED_USER
                if base.keys.get(f"$$user_{user}", (0, ""))[1] != fake_hash(token):  # the same token again is no change
                    base.change(f"$$user_{user}", -1, fake_hash(token), self.now)
            case "set-permissions", str(user), str(text):
                base.change(f"$$permission_${user}", -1, normalised(text), self.now)
            case "increment", str(key), int(step):
                base.increment(key, step, self.now)
            case "remove", str(key):
                if key == "$$token":
                    raise m.TOKEN_NOT_REMOVABLE
                base.remove(key)
            case "keys", str(pattern):
                found = [key for key in sorted(base.keys) if matches(pattern, key)]
                shown = [key for key in found if client.is_admin or not key.startswith("$$")]
                return ["keys " + "".join(f",{key}" for key in shown) + "\n"]
            case "list-keys", str(pattern), str(after):
                found = [key for key in sorted(base.keys) if matches(pattern, key) and key > after]
                shown = [key for key in found if client.is_admin or not key.startswith("$$")]
                return [m.report("keys-page", {"keys": shown, "next": None})]
            case "watch", str(key):
                client.watches[key] = None
            case "unwatch", str(key):
                client.unwatch(key)
            case "unwatch-all", *_:
                client.unwatch(*client.watches)
            case "arbiter", *_:
                client.check("r", "$conflicts")
                client.check(KINDS["watch"], "$conflicts")
                client.watches["$conflicts"] = None
                return [base.keys[record][1] for record in self.unresolved(base) if record in base.keys]
        return []

    def _run_on_server(self, client: Client, *command: object) -> list[str]:
        match command:
            case "auth", str(user), str(password):
                hash_text = self.bases["$admin"].keys["$$token"][1]
                if user == ADMIN_USER and hash_text == fake_hash(password):
                    client.is_admin, client.admin_hashes = True, [hash_text]
                    self.admins.append(client)
                    client.review()
                else:
                    self.lose_admin(client)
                return [m.VALID_AUTH if client.is_admin else m.INVALID_AUTH]
            case "create-db", str(name), str(token), str(strategy):
                if name in self.bases:
                    raise m.DATABASE_EXISTS
                self.bases[name] = Base(name, strategy, token)
                self.bases["$admin"].put(name, 0, "{}")
                return [m.CREATE_DB_SUCCESS]
            case "drop-db", str(name):
                self._drop(self._base(name))
                return ["drop-db success\n"]
            case "rename-db", str(old), str(new):
                self._rename(self._base(old), new)
                return ["rename-db success\n"]
            case "copy-db", str(source), str(name), token:
                keys = self._copy(self._base(source), name, token if isinstance(token, str) else None)
                return [m.report("copied", {"name": name, "keys": keys})]
            case (("import-keys" | "import-end" | "import-cancel"), *_):
                raise m.NO_IMPORT  # none is drawn that has begun
            case ("set-password", str(password)) | ("set-token", "$admin", "all", str(password)):
                self._end_other_admins(client, password)
                self.bases["$admin"].change("$$token", -1, fake_hash(password), self.now)
            case (("add-user" | "set-token" | "remove-user" | "grant" | "revoke"), str(name), str(user), *more):
                return self._administer(self._base(name), str(command[0]), user, *map(str, more))
            case "open-db", str(name):
                self._select(client, self._base(name), ADMINISTRATOR, ("", "no token"))
            case "use-db", str(name), user, str(token):
                self._use(client, self._base(name), user if isinstance(user, str) else None, token)
            case "resolve", int(identifier), str(name), str(key), int(version), str(text):
                self._resolve(client, name, key)
                self._base(name).resolve(identifier, key, version, text)
            case "replicate", str(name), str(key), int(version), str(text):
                if name == "$admin" and key == "$$token":
                    self._end_other_admins(client, text)
                self._base(name).change(key, version, text, self.now)
            case "replicate-increment", str(name), str(key), int(step):
                self._base(name).increment(key, step, self.now)
            case "replicate-remove", str(name), str(key):
                base = self._base(name)
                if key == "$$token":
                    raise m.TOKEN_NOT_REMOVABLE
                base.remove(key)
            case "snapshot", list(names):
                if not names and client.base is None:
                    raise m.NO_DATABASE_TO_SNAPSHOT
                if unknown := [str(name) for name in names if name not in self.bases]:
                    raise m.not_databases(unknown)
            case "replicate-snapshot", list(names):
                if unknown := [str(name) for name in names if name not in self.bases]:
                    raise m.snapshot_failed(unknown[-1])
            case "rp", int(identifier), str(text):
                return self._run_operation(client, f"ack {identifier} {ADDRESS} \n", text)
            case "cluster-state", *_:
                return [f"cluster-state  {ADDRESS}(self):Primary ,\n"]
            case "list-commands", *_:
                return ["commands-list " + "".join(f",{name}" for name in sorted(BY_NAME)) + "\n"]
            case "debug", str(what):
                return self._debug(client, what)
        return []

    def _end_other_admins(self, client: Client, password: str) -> None:
        """The sessions that logged in with another password than this one."""
        hash_text = password if password.startswith("$argon2id$") else fake_hash(password)
        client.admin_hashes = [*client.admin_hashes[-1:], hash_text]
        for other in self.admins:
            if other.is_admin and hash_text not in other.admin_hashes:
                self.lose_admin(other)

    def lose_admin(self, client: Client, *, is_after_loss: bool = False) -> None:
        """A session is admin no more: its database and watches are what they are for everybody."""
        client.is_admin, client.admin_hashes = False, []
        self.leave_if_revoked(client)
        client.review(is_after_loss=is_after_loss)

    def leave_if_revoked(self, client: Client) -> None:
        """What it selected its database with is another secret by now."""
        key, value = client.secret
        if client.base is not None and not client.is_admin and client.base.keys.get(key, (0, ""))[1] != value:
            self.leave(client)

    def _drop(self, base: Base) -> None:
        if base.name == "$admin":
            raise m.ADMIN_NOT_DROPPABLE
        del self.bases[base.name]
        for watcher in base.watchers:
            watcher.base, watcher.user = None, "all"
            watcher.unwatch(*watcher.watches)
        base.watchers.clear()
        base.keys.pop("$connections", None)
        self.bases["$admin"].remove(base.name)

    def _rename(self, base: Base, new: str) -> None:
        if base.name == "$admin":
            raise m.ADMIN_STAYS
        if new in self.bases:
            raise m.DATABASE_EXISTS
        old = base.name
        del self.bases[old]
        base.name = new
        self.bases[new] = base
        self.bases["$admin"].remove(old)
        self.bases["$admin"].put(new, 0, "{}")
        for record in self.unresolved(base):
            version, text = base.keys[record]
            base.put(record, version + 1, renamed_record(text, new))

    def _copy(self, base: Base, name: str, token: str | None) -> int:
        if "$admin" in (base.name, name):
            raise m.ADMIN_STAYS
        if name in self.bases:
            raise m.DATABASE_EXISTS
        copy = Base(name, base.strategy, "")
        copy.keys = {key: entry for key, entry in base.keys.items() if key != "$connections"}
        for record in self.unresolved(base):
            copy.keys[record] = (base.keys[record][0], renamed_record(base.keys[record][1], name))
        copy.pending.update({key: list(identifiers) for key, identifiers in base.pending.items() if identifiers})
        if token is not None:
            copy.keys["$$token"] = (0, fake_hash(token))
        self.bases[name] = copy
        self.bases["$admin"].put(name, 0, "{}")
        return len(copy.keys)

    def _administer(self, base: Base, name: str, user: str, *words: str) -> list[str]:
        secret = "$$token" if user == "all" and name == "set-token" else f"$$user_{user}"
        permissions = f"$$permission_${user}"
        if user == "all" and name in ("add-user", "remove-user"):
            raise m.RESERVED_USER
        if name == "add-user" and secret in base.keys:
            raise m.USER_EXISTS
        is_there = secret in base.keys or user == "all" or (name == "remove-user" and permissions in base.keys)
        if name != "add-user" and not is_there:
            raise m.NO_USER
        match name:
            case "add-user" | "set-token":
                base.change(secret, -1, words[0], self.now)
            case "remove-user":
                base.remove(permissions)
                base.remove(secret)
            case _:
                return [self._grant(base, name == "grant", user, permissions, " ".join(words))]
        return []

    def _grant(self, base: Base, is_granted: bool, user: str, key: str, text: str) -> str:
        old = base.keys[key][1] if key in base.keys else None
        grants = parse_grants(text)
        new = added(old or "", grants) if is_granted else taken(old or "", grants)
        if new is None:
            raise m.NOTHING_TO_REVOKE
        if new != old:
            base.change(key, -1, new, self.now)
        still = [] if is_granted else [str(one) for one in still_granted(new, grants)]
        report = {"database": base.name, "user": user, "permissions": new, "is_first": old is None}
        return m.report("permissions", report | {"still_allowed": still})

    def _use(self, client: Client, base: Base, user: str | None, token: str) -> None:
        secret = "$$token" if user is None else f"$$user_{user}"
        if base.keys.get(secret, (0, ""))[1] != fake_hash(token):
            raise m.INVALID_TOKEN
        self._select(client, base, "all" if user is None else user, (secret, fake_hash(token)))

    def _select(self, client: Client, base: Base, user: str, secret: tuple[str, str]) -> None:
        if client.base is not base:
            self.leave(client)
            client.base = base
            base.watchers.append(client)
            self._count(base)
        client.user, client.secret = user, secret
        client.review()

    def _resolve(self, client: Client, name: str, key: str) -> None:
        if client.base is None and not client.is_admin:
            raise m.NO_DATABASE
        base = self._base(name)
        if key == "$$token" or key.startswith("$$user_"):
            raise m.INVALID_VERSION
        if not client.is_admin:
            if client.base is not base:
                raise m.NOT_AUTH
            client.check("w", key)

    def _run_operation(self, client: Client, acknowledgement: str, text: str) -> list[str]:
        if text.startswith("rp "):
            raise m.Refusal("rp can't hold another rp", (acknowledgement,))
        try:
            return [acknowledgement, *self._run(client, text)]
        except m.Refusal as refusal:
            raise m.Refusal(refusal.error, (acknowledgement, *refusal.messages)) from None

    def _debug(self, client: Client, what: str) -> list[str]:
        match what:
            case "list-dbs":
                return [
                    "dbs-list \n" + "".join(f"{name} : {self.bases[name].strategy}\n" for name in sorted(self.bases))
                ]
            case "pending-ops":
                return ["pending-ops \n"]
            case "process-info":
                return [f"process-info \nprocess_id: {PROCESS_ID}\n"]
            case "pending-conflicts" | "pendding-conflitcts":
                bases = [client.base] if client.base else [self.bases[name] for name in sorted(self.bases)]
                records = [record for base in bases for record in self.unresolved(base)]
                if records or what == "pendding-conflitcts":
                    return ["conflitcts-list " + "".join(f",{record}" for record in records) + "\n"]
        return []

    @staticmethod
    def unresolved(base: Base, after: int = 0) -> list[str]:
        """The records of conflicts, with ids above `after`, that wait for an arbiter."""
        pairs = sorted((identifier, key) for key, pending in base.pending.items() for identifier in pending)
        return [f"$conflicts_{key}_{identifier}" for identifier, key in pairs if identifier > after]
