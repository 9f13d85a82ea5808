"""What each command answers: at least one success, and every error of its own. The gates' errors follow from the rows.

`who` names the session that asks: `nobody` has said nothing yet; `client` has selected the database `d` by its token;
`admin` is the admin without a database; `chief` is the admin with `d` selected; `arbiter` is one of the database `arb`.
In `d` (strategy none) the key `k` is 1 with version 0, `word` is text and `full` the highest number. In `arb` the key
`k` is in conflict over the record `$conflicts_k_1700000000000000001`.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.engine.world import ADDRESS, ADMIN_PASSWORD, ADMIN_USER, PROCESS_ID, START_NS, World

OK = "ok \n"
ID = START_NS + 1
RECORD = f"$conflicts_k_{ID}"
ACK = f"ack 7 {ADDRESS} \n"
RESOLVE_WORDS = "resolve must be followed by an id, a database, a key, a version and a value"
OPERATION_WORDS = "rp must be followed by an id and a command"
REPLICATE_WORDS = "replicate must be followed by a database, a key, a version and a value"
NO_DATABASE = ("error no-db-selected\n", "error error no-db-selected\n \n")
NOT_A_DATABASE = "error Not a valid database name \n"


class Case(NamedTuple):
    """One command, who asks it, and all that is answered."""

    who: str
    text: str
    told: tuple[str, ...]


def _case(who: str, text: str, *told: str) -> Case:
    return Case(who, text, told)


def _error(text: str) -> str:
    return f"error {text} \n"


def _no_effect(name: str) -> tuple[Case, ...]:
    return (_case("admin", name, OK), _case("admin", f"{name} a b c", OK))


def _no_key(name: str, who: str = "client") -> tuple[Case, ...]:
    error = _error(f"{name} must contain a key")
    return tuple(_case(who, text, error) for text in (name, f"{name} ", f"{name}  v"))


CASES: dict[str, tuple[Case, ...]] = {
    "auth": (
        _case("nobody", f"auth {ADMIN_USER} {ADMIN_PASSWORD}", "valid auth\n", OK),
        _case("nobody", f"auth {ADMIN_USER} wrong", "invalid auth\n", OK),
        _case("nobody", f"auth other {ADMIN_PASSWORD}", "invalid auth\n", OK),
        _case("nobody", "auth", "invalid auth\n", OK),
    ),
    "create-db": (
        _case("admin", "create-db new pwd", "create-db success\n", OK),
        _case("admin", "create-db new pwd newer", "create-db success\n", OK),
        _case("admin", "create-db new pwd nonsense", "create-db success\n", OK),
        _case("admin", "create-db d pwd", _error("database already exists")),
        _case("admin", "create-db $admin pwd", _error("database already exists")),
        _case("admin", "create-db", _error("create-db must contain a db name")),
        _case("admin", "create-db  pwd", _error("create-db must contain a db name")),
        _case("admin", "create-db new", _error("create-db must be followed by a token")),
        _case("admin", "create-db new ", _error("create-db must be followed by a token")),
        _case("admin", "create-db new  arbiter", _error("create-db must be followed by a token")),
    ),
    "use-db": (
        _case("nobody", "use-db d pwd", OK),
        _case("nobody", "use-db d ana ana-pwd", OK),
        _case("nobody", "use d pwd", OK),
        _case("nobody", "use-db nowhere pwd", NOT_A_DATABASE),
        _case("nobody", "use-db  pwd", NOT_A_DATABASE),
        _case("nobody", "use-db d wrong", _error("Invalid token")),
        _case("nobody", "use-db d ", _error("Invalid token")),
        _case("nobody", "use-db d eve pwd", _error("Invalid token")),
        _case("nobody", "use-db d ana pwd", _error("Invalid token")),
        _case("nobody", "use-db d", _error("set-safe must be followed by a version and key")),
        _case("nobody", "use-db", _error("set-safe must be followed by a version and key")),
    ),
    "create-user": (
        _case("chief", "create-user bob bob-pwd", OK),
        _case("chief", "create-user ana again", OK),
        _case("chief", "create-user", _error("create-user must be followed by a user and a token")),
        _case("chief", "create-user bob", _error("create-user must be followed by a user and a token")),
        _case("chief", "create-user bob ", _error("create-user must be followed by a user and a token")),
        _case("chief", "create-user  pwd", _error("create-user must be followed by a user and a token")),
    ),
    "set-permissions": (
        _case("chief", "set-permissions ana r *|rwx client-*", OK),
        _case("chief", "set-permissions", _error("user is mandatory")),
        _case("chief", "set-permissions  r *", _error("user is mandatory")),
        _case("chief", "set-permissions ana", _error("permission list is mandatory")),
        _case("chief", "set-permissions ana ", _error("permission list is mandatory")),
    ),
    "get": (
        _case("client", "get k", "value 1\n", OK),
        _case("client", "get absent", "value <Empty>\n", OK),
        _case("client", "get k with more", "value 1\n", OK),
        *_no_key("get"),
    ),
    "get-safe": (
        _case("client", "get-safe k", "value-version 0 1\n", OK),
        _case("client", "get-safe absent", "value-version 1 <Empty>\n", OK),
        *_no_key("get-safe"),
    ),
    "set": (
        _case("client", "set k two  words", OK),
        _case("client", "set k", OK),
        *_no_key("set"),
    ),
    "set-safe": (
        _case("client", "set-safe k 0 two  words", OK),
        _case("client", "set-safe k 0 ", OK),
        _case("client", "set-safe word 0 old", OK),
        _case("client", "set-safe word -2 old", _error("Invalid version!")),
        _case("client", "set-safe k", _error("set-safe must be followed by a version and key")),
        _case("client", "set-safe k 1", _error("set-safe must be followed by a key")),
        _case("client", "set-safe k ", _error("set-safe must be followed by a key")),
        _case(
            "arbiter",
            "set-safe k 9 v",
            f"resolve {ID + 1} arb 10 k {RECORD} v",
            _error(f"$$conflitct unresolved $conflicts_k_{ID + 1}"),
        ),
        _case("alone", "set-safe k 9 v", _error("An conflitct happend and there is no arbiter client not connected")),
        *_no_key("set-safe"),
    ),
    "increment": (
        _case("client", "increment k", OK),
        _case("client", "increment k -5", OK),
        _case("client", "increment absent 5", OK),
        _case("client", "increment word", _error("Key is not numeric")),
        _case("client", "increment full", _error("increment out of range")),
        _case("client", "increment full -1", OK),
        *_no_key("increment"),
    ),
    "remove": (
        _case("client", "remove k", OK),
        _case("client", "remove absent", OK),
        _case("chief", "remove $$token", _error("$$token key cannot be removed")),
        *_no_key("remove"),
    ),
    "keys": (
        _case("client", "keys", "keys ,$connections,full,k,word\n", OK),
        _case("client", "ls", "keys ,$connections,full,k,word\n", OK),
        _case("client", "keys w*", "keys ,word\n", OK),
        _case("client", "keys nothing", "keys \n", OK),
        _case("chief", "keys $$*", "keys ,$$permission_$ana,$$token,$$user_ana\n", OK),
    ),
    "watch": (_case("client", "watch k", OK), _case("client", "watch absent", OK), *_no_key("watch")),
    "unwatch": (_case("client", "unwatch k", OK), *_no_key("unwatch")),
    "unwatch-all": (_case("client", "unwatch-all", OK),),
    "arbiter": (
        _case("client", "arbiter", OK),
        _case("arbiter", "arbiter", f"resolve {ID} arb 5 k now late", OK),
    ),
    "resolve": (
        _case("arbiter", f"resolve {ID} arb k 5 settled for all", OK),
        _case("admin", f"resolve {ID} arb k 5 settled", OK),
        _case("arbiter", "resolve 99 arb k 5 v", OK),
        _case("client", f"resolve {ID} arb k 5 v", _error("Not auth")),
        _case("client", f"resolve {ID} nowhere k 5 v", NOT_A_DATABASE),
        _case("ana", "resolve 1 d k 5 v", "permission denied\n", "error permission denied\n \n"),
        _case("client", "resolve 1 d $$x 5 v", _error("To read security keys you must auth as an admin!")),
        _case("admin", "resolve 1 d $$token 5 v", _error("Invalid version!")),
        _case("nobody", "resolve 1 d k 5 v", *NO_DATABASE),
        _case("client", "resolve 1 d  5 v", _error("resolve must contain a key")),
        *(
            _case("client", text, _error(RESOLVE_WORDS))
            for text in ("resolve", "resolve 1", "resolve 1 d", "resolve 1 d k", "resolve 1 d k 5", "resolve x d k 5 v")
        ),
    ),
    "snapshot": (
        _case("chief", "snapshot", OK),
        _case("chief", "snapshot true", OK),
        _case("admin", "snapshot false d", OK),
        _case("admin", "snapshot false d|arb", OK),
        _case("admin", "snapshot", _error("No database selected")),
        _case("admin", "snapshot true", _error("No database selected")),
        _case("admin", "snapshot false nowhere", _error("nowhere is not a valid database name")),
        _case("admin", "snapshot false d|no|where", _error("no, where, are not a valid database names")),
    ),
    "cluster-state": (_case("admin", "cluster-state", f"cluster-state  {ADDRESS}(self):Primary ,\n", OK),),
    "metrics-state": (
        _case(
            "admin",
            "metrics-state",
            "metrics-state pending_ops: 0, op_log_file_size: 225, op_log_count: 9,"
            "replication_time_moving_avg: 0.0, get_query_time_moving_avg: 0.0\n\n",
            OK,
        ),
    ),
    "debug": (
        _case("admin", "debug list-dbs", "dbs-list \n$admin : newer\narb : arbiter\nd : none\n", OK),
        _case("admin", "debug pending-ops", "pending-ops \n", OK),
        _case("admin", "debug pending-conflicts", f"conflitcts-list ,{RECORD}\n", OK),
        _case("admin", "debug pendding-conflitcts", f"conflitcts-list ,{RECORD}\n", OK),
        _case("chief", "debug pending-conflicts", OK),
        _case("chief", "debug pendding-conflitcts", "conflitcts-list \n", OK),
        _case("admin", "debug process-info", f"process-info \nprocess_id: {PROCESS_ID}\n", OK),
        _case("admin", "debug force-election", OK),
        _case("admin", "debug nonsense", OK),
        _case("admin", "debug", _error("command is mandatory")),
        _case("admin", "debug ", _error("command is mandatory")),
    ),
    "list-commands": (
        _case(
            "admin",
            "list-commands",
            "commands-list ,ack,arbiter,auth,cluster-state,create-db,create-user,debug,election,get,get-safe,increment,"
            "join,keys,leave,list-commands,ls,metrics-state,remove,replicate,replicate-increment,replicate-join,"
            "replicate-leave,replicate-remove,replicate-since,replicate-snapshot,resolve,rp,set,set-permissions,set-primary,set-safe,"
            "set-secoundary,snapshot,unwatch,unwatch-all,use,use-db,watch\n",
            OK,
        ),
    ),
    "rp": (
        _case("chief", "rp 7 get k", ACK, "value 1\n", OK),
        _case("chief", "rp 7 set k v", ACK, OK),
        _case("chief", "rp 7 keys k*", ACK, "keys ,k\n", OK),
        _case("admin", "rp 7 create-db new pwd", ACK, "create-db success\n", OK),
        _case("chief", "rp 7 nonsense", ACK, _error("unknown command: nonsense")),
        _case("chief", "rp 7 ", ACK, _error("empty command")),
        _case("admin", "rp 7 get k", ACK, *NO_DATABASE),
        _case("admin", "rp 7 use-db d wrong", ACK, _error("Invalid token")),
        _case("admin", "rp 7", _error(OPERATION_WORDS)),
        _case("admin", "rp", _error(OPERATION_WORDS)),
    ),
    "replicate": (
        _case("admin", "replicate d k 0 two  words", OK),
        _case("admin", "replicate d k 0 ", OK),
        _case("admin", "replicate d word -2 v", _error("Invalid version!")),
        _case("admin", "replicate nowhere k 0 v", NOT_A_DATABASE),
        _case("admin", "replicate", _error("replicate must contain a db name")),
        _case("admin", "replicate  k 0 v", _error("replicate must contain a db name")),
        _case("admin", "replicate d", _error("replicate must contain a key")),
        _case("admin", "replicate d  0 v", _error("replicate must contain a key")),
        _case("admin", "replicate d k", _error(REPLICATE_WORDS)),
        _case("admin", "replicate d k 0", _error(REPLICATE_WORDS)),
    ),
    "replicate-increment": (
        _case("admin", "replicate-increment d k", OK),
        _case("admin", "replicate-increment d k 5", OK),
        _case("admin", "replicate-increment d word", _error("Key is not numeric")),
        _case("admin", "replicate-increment d full", _error("increment out of range")),
        _case("admin", "replicate-increment nowhere k", NOT_A_DATABASE),
        _case("admin", "replicate-increment", _error("replicate-increment must contain a db name")),
        _case("admin", "replicate-increment d", _error("replicate-increment must contain a key")),
        _case("admin", "replicate-increment d  5", _error("replicate-increment must contain a key")),
    ),
    "replicate-remove": (
        _case("admin", "replicate-remove d k", OK),
        _case("admin", "replicate-remove d absent", OK),
        _case("admin", "replicate-remove d $$token", _error("$$token key cannot be removed")),
        _case("admin", "replicate-remove nowhere k", NOT_A_DATABASE),
        _case("admin", "replicate-remove", _error("replicate-remove must contain a db name")),
        _case("admin", "replicate-remove d", _error("replicate-remove must contain a key")),
        _case("admin", "replicate-remove d ", _error("replicate-remove must contain a key")),
    ),
    "replicate-snapshot": _no_effect("replicate-snapshot"),
    "ack": _no_effect("ack"),
    "election": _no_effect("election"),
    "join": _no_effect("join"),
    "leave": _no_effect("leave"),
    "replicate-join": _no_effect("replicate-join"),
    "replicate-leave": _no_effect("replicate-leave"),
    "replicate-since": _no_effect("replicate-since"),
    "set-primary": _no_effect("set-primary"),
    "set-secoundary": _no_effect("set-secoundary"),
}

WHO: dict[str, tuple[str, ...]] = {
    "nobody": (),
    "client": ("use-db d pwd",),
    "ana": ("use-db d ana ana-pwd",),
    "admin": (f"auth {ADMIN_USER} {ADMIN_PASSWORD}",),
    "chief": (f"auth {ADMIN_USER} {ADMIN_PASSWORD}", "use-db d pwd"),
    "alone": ("use-db arb pwd",),
    "arbiter": ("use-db arb pwd", "arbiter"),
}


def prepared_world() -> World:
    """The world that the cases are asked in."""
    world = World()
    chief = world.admin("create-db d pwd", "create-db arb pwd arbiter", "use-db d pwd", "create-user ana ana-pwd")
    for command in ("set-permissions ana r a*", "set k 1", "set word v", "set full 9223372036854775807"):
        assert chief.ask(command) == [OK]
    chief.close()
    arbiter = world.connect("use-db arb pwd", "arbiter", "set-safe k 4 now")
    world.time_ns += 1
    assert arbiter.ask("set-safe k 0 late") == [
        f"resolve {ID} arb 5 k now late",
        _error(f"$$conflitct unresolved {RECORD}"),
    ]
    arbiter.close()
    return world
