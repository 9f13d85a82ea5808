"""What each command answers: at least one success, and every error of its own. The gates' errors follow from the rows.

`who` names the session that asks: `nobody` has said nothing yet; `client` has selected the database `d` by its token;
`admin` is the admin without a database; `chief` is the admin with `d` selected; `arbiter` is one of the database `arb`.
In `d` (strategy none) the key `k` is 1 with version 0, `word` is text and `full` the highest number. In `arb` the key
`k` is in conflict over the record `$conflicts_k_1700000000000000001`. Session 3 is that
of a visitor; the one that asks is the fourth. The import 1, of the database `e`, has begun.
"""

from __future__ import annotations

from typing import NamedTuple

from tests.engine.world import ADDRESS, ADMIN_PASSWORD, ADMIN_USER, PROCESS_ID, START_NS, Client, Visitor, World

OK = "ok \n"
ID = START_NS + 1
RECORD = f"$conflicts_k_{ID}"
ACK = f"ack 7 {ADDRESS} \n"
OUT_OF_RANGE = (
    "version out of range: at most 2130706432 can be given; remove k lets it start anew if it has come so far"
)
ADMIN_NAME = (
    "an administrator's name has 1 to 64 visible characters, none of them a space, a semicolon or a colon, and does not"
    " begin with -"
)
NAME_AND_PASSWORD = "must be followed by the name of an administrator and a password"
COUNTED = "$connections is counted by the server: nobody can change it"
PENDING = f"{RECORD} waits for its arbiter: only resolve changes it"
SECURITY = "To read security keys you must auth as an admin!"
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


def _node(name: str, called: str | None = None) -> tuple[Case, ...]:
    error = _error(f"{called or name} must contain a name")
    return (
        _case("admin", f"{name} a b c", OK),
        _case("admin", f"{name} ", OK),
        _case("admin", name, error),
        _case("nobody", name, error),
    )


def _no_key(name: str, who: str = "client") -> tuple[Case, ...]:
    error = _error(f"{name} must contain a key")
    texts = (f"{name}  5 v",) if name == "set-safe" else (name, f"{name} ", f"{name}  v")
    return tuple(_case(who, text, error) for text in texts)


def _no_snapshot(name: str) -> str:
    return f"Error trying to snapshot database: Database {name} not found"


def _permissions(user: str, text: str, is_first: str = "false") -> str:
    return (
        f'permissions {{"database":"d","user":"{user}","permissions":"{text}","is_first":{is_first},'
        '"still_allowed":[]}\n'
    )


def _permission(user: str, kind: str, key: str, allowed: str, reason: str, rule: str = "null") -> str:
    return (
        f'permission {{"database":"d","user":"{user}","kind":"{kind}","key":"{key}","allowed":{allowed},'
        f'"reason":"{reason}","rule":{rule}}}\n'
    )


_DBS = tuple(
    f'{{"name":"{name}","strategy":"{strategy}","connections":0}}'
    for name, strategy in (("$admin", "newer"), ("arb", "arbiter"), ("d", "none"))
)
_END = '"next":null,"being_removed":0'
_ANA = '{"user":"ana","has_token":true,"permissions":"r a*","connections":0}'
_VISITOR = (
    '{"id":3,"transport":"tcp","address":"192.0.2.7","database":null,"user":null,"is_admin":false,"admin":null,'
    '"since":"2023-11-14T22:13:20.000000001Z","watches":0,"outbox_bytes":12,"is_this":false}'
)
_SESSION = (
    '{"id":4,"transport":null,"address":null,"database":null,"user":null,"is_admin":true,"admin":"user-name",'
    '"since":"2023-11-14T22:13:20.000000001Z","watches":0,"outbox_bytes":0,"is_this":true}'
)
_STAYS = "$admin can't be renamed, copied or imported"
_NO_IMPORT = "no import or copy has this id: it was ended, idle for too long, or could not be stored"
_ALL = "all is reserved: it names the sessions that use the database token"
_KINDS = "kinds are letters of r (read), w (write), i (increment) and x (remove)"
_NOTHING_REVOKED = "the user's permissions hold none of these kinds on just these patterns"

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
        _case("admin", "create-db", _error("create-db must be followed by a token")),
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
        _case("chief", "create-user all pwd", _error(_ALL)),
        *(_case("client", text, _error(SECURITY)) for text in ("create-user a b", "create-user", "create-user all b")),
        _case("admin", "create-user", *NO_DATABASE),
    ),
    "set-permissions": (
        _case("chief", "set-permissions ana r *|rwx client-*", OK),
        _case("chief", "set-permissions", _error("user is mandatory")),
        _case("chief", "set-permissions  r *", _error("user is mandatory")),
        _case("chief", "set-permissions ana", _error("permission list is mandatory")),
        _case("chief", "set-permissions ana ", OK),
        _case("nobody", "set-permissions a r *", _error(SECURITY)),
        _case("nobody", "set-permissions a", _error("permission list is mandatory")),
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
        _case("client", "set $connections 5", _error(COUNTED)),
        _case("arbiter", f"set {RECORD} x", _error(PENDING)),
        _case("chief", "set $$user_all x", _error(_ALL)),
        *_no_key("set"),
    ),
    "set-safe": (
        _case("client", "set-safe k 0 two  words", OK),
        _case("client", "set-safe k 0 ", OK),
        _case("client", "set-safe word 0 old", OK),
        _case("client", "set-safe word -2 old", _error("Invalid version!")),
        _case("client", "set-safe word -99999999999999999999999 old", _error("Invalid version!")),
        _case("client", "set-safe k 2130706432 v", OK),
        _case("client", "set-safe k 2130706433 v", _error(OUT_OF_RANGE)),
        _case("client", f"set-safe k 1{'0' * 30} v", _error(OUT_OF_RANGE)),
        _case("client", "set-safe $connections 5 9", _error(COUNTED)),
        _case("arbiter", f"set-safe {RECORD} 5 x", _error(PENDING)),
        _case("client", "set-safe", _error("set-safe must be followed by a version and key")),
        _case("client", "set-safe ", _error("set-safe must be followed by a version and key")),
        _case("client", "set-safe  5", _error("set-safe must be followed by a key")),
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
    "set-ephemeral": (
        _case("client", "set-ephemeral new two  words", OK),
        _case("client", "set-ephemeral k v", _error("the key is stored, and can't be ephemeral: remove it first")),
        _case("client", "set-ephemeral $connections 9", _error("a key that begins with $ can't be ephemeral")),
        *_no_key("set-ephemeral"),
    ),
    "increment": (
        _case("client", "increment k", OK),
        _case("client", "increment k -5", OK),
        _case("client", "increment absent 5", OK),
        _case("client", "increment word", _error("Key is not numeric")),
        _case("client", "increment $connections", _error(COUNTED)),
        _case("arbiter", f"increment {RECORD}", _error(PENDING)),
        _case("client", "increment full", _error("increment out of range")),
        _case("client", "increment full -1", OK),
        *_no_key("increment"),
    ),
    "remove": (
        _case("client", "remove k", OK),
        _case("client", "remove absent", OK),
        _case("chief", "remove $$token", _error("$$token key cannot be removed")),
        _case("client", "remove $connections", _error(COUNTED)),
        _case("arbiter", f"remove {RECORD}", _error(PENDING)),
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
        _case("client", "resolve", _error("opp id mandatory")),
        *(
            _case("client", f"resolve {text}", _error("Invalid opp_id"))
            for text in ("", "x", "-1 d k 5 v", "x d k 5 v")
        ),
        _case("client", "resolve 1", _error("resoved must be followed by db_name, key version and value")),
        _case("client", "resolve 1 ", _error("key must be provided")),
        _case("client", "resolve 1 d", _error("key must be provided")),
        _case("client", "resolve 1 d k", _error("set-safe must be followed by a key")),
        _case("client", "resolve 1 d k 5", _error("set-safe must be followed by a key")),
        _case("client", "resolve 18446744073709551615 d k 5 v", OK),
        _case("client", "resolve 18446744073709551616 d k 5 v", _error("Invalid opp_id")),
        _case("client", "resolve 1 d k 2147483647 v", _error(OUT_OF_RANGE)),
        _case("client", "resolve 1 d $connections 5 v", _error(COUNTED)),
        _case("arbiter", f"resolve 1 arb {RECORD} 5 v", _error(PENDING)),
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
            "metrics-state pending_ops: 0, op_log_file_size: 250, op_log_count: 10,"
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
        _case("admin", "debug ", OK),
    ),
    "list-commands": (
        _case(
            "admin",
            "list-commands",
            "commands-list ,ack,add-admin,add-user,arbiter,auth,cluster-state,copy-db,create-db,create-user"
            ",db-size,debug,disconnect,drop-db,election,explain-permission,get,get-safe,grant,import-cancel"
            ",import-db,import-end,import-keys,increment,join,keys,leave,list-admins,list-commands,list-dbs"
            ",list-keys,list-sessions,list-users,ls,metrics-state,open-db,remove,remove-admin,remove-user"
            ",rename-db,replicate,replicate-increment,replicate-join,replicate-leave,replicate-remove"
            ",replicate-since,replicate-snapshot,resolve,revoke,rp,set,set-admin-password,set-ephemeral,set-password"
            ",set-permissions,set-primary,set-safe,set-secoundary,set-token,snapshot,unwatch,unwatch-all,use"
            ",use-db,watch\n",
            OK,
        ),
    ),
    "list-dbs": (
        _case("admin", "list-dbs", f'databases {{"databases":[{_DBS[0]},{_DBS[1]},{_DBS[2]}],{_END}}}\n', OK),
        _case("admin", "list-dbs arb", f'databases {{"databases":[{_DBS[2]}],{_END}}}\n', OK),
        _case("admin", "list-dbs zzz", f'databases {{"databases":[],{_END}}}\n', OK),
    ),
    "open-db": (
        _case("admin", "open-db d", OK),
        _case("chief", "open-db $admin", OK),
        _case("admin", "open-db nowhere", NOT_A_DATABASE),
        _case("admin", "open-db", _error("open-db must contain a db name")),
    ),
    "list-keys": (
        _case("client", "list-keys", 'keys-page {"keys":["$connections","full","k","word"],"next":null}\n', OK),
        _case("client", "list-keys * k", 'keys-page {"keys":["word"],"next":null}\n', OK),
        _case("chief", "list-keys $$* $$token", 'keys-page {"keys":["$$user_ana"],"next":null}\n', OK),
        _case("nobody", "list-keys", *NO_DATABASE),
    ),
    "rename-db": (
        _case("admin", "rename-db d e", "rename-db success\n", OK),
        _case("admin", "rename-db d arb", _error("database already exists")),
        _case("admin", "rename-db $admin e", _error(_STAYS)),
        _case("admin", "rename-db nowhere e", NOT_A_DATABASE),
        _case("admin", "rename-db", _error("rename-db must contain a db name")),
        _case("admin", "rename-db d", _error("rename-db must be followed by two names")),
        _case("admin", "rename-db d e f", _error("rename-db must be followed by two names")),
    ),
    "copy-db": (
        _case("admin", "copy-db d e", 'copied {"name":"e","keys":6}\n', OK),
        _case("admin", "copy-db arb e token", 'copied {"name":"e","keys":3}\n', OK),
        _case("admin", "copy-db d arb", _error("database already exists")),
        _case("admin", "copy-db d $admin", _error(_STAYS)),
        _case("admin", "copy-db $admin e", _error(_STAYS)),
        _case("admin", "copy-db nowhere e", NOT_A_DATABASE),
        _case("admin", "copy-db", _error("copy-db must contain a db name")),
        _case("admin", "copy-db d e token more", _error("copy-db must be followed by two names, and perhaps a token")),
    ),
    "import-db": (
        _case("admin", "import-db e none", 'import {"id":2,"replaces":false}\n', OK),
        _case("admin", "import-db d newer replace", 'import {"id":2,"replaces":true}\n', OK),
        _case("admin", "import-db d none", _error("database already exists")),
        _case("admin", "import-db $admin none replace", _error(_STAYS)),
        _case("admin", "import-db", _error("import-db must contain a db name")),
        _case(
            "admin",
            "import-db e best",
            _error("import-db must be followed by a database, a strategy, and perhaps replace"),
        ),
    ),
    "import-keys": (
        _case("admin", "import-keys 1 []", OK),
        _case("admin", "import-keys 2 []", _error(_NO_IMPORT)),
        _case(
            "admin",
            "import-keys 1 [",
            _error("import-keys must be followed by the id of an import and a JSON array of rows"),
        ),
        _case("admin", "import-keys x", _error("import-keys must be followed by the id of an import")),
    ),
    "import-end": (
        _case("admin", "import-end 1 token", 'imported {"name":"e","keys":1,"replaced":false}\n', OK),
        _case("admin", "import-end 1", _error("the import has no token of the database: import-end must be given one")),
        _case("admin", "import-end 2", _error(_NO_IMPORT)),
        _case("admin", "import-end", _error("import-end must be followed by the id of an import")),
        _case(
            "admin",
            "import-end 1 a b",
            _error("import-end must be followed by the id of an import, and perhaps a token"),
        ),
    ),
    "import-cancel": (
        _case("admin", "import-cancel 1", OK),
        _case("admin", "import-cancel 2", _error(_NO_IMPORT)),
        _case("admin", "import-cancel", _error("import-cancel must be followed by the id of an import")),
    ),
    "db-size": (
        _case("admin", "db-size d", 'database-size {"name":"d","keys":0,"bytes":0}\n', OK),  # nothing is on disk yet
        _case("admin", "db-size nowhere", NOT_A_DATABASE),
        _case("admin", "db-size", _error("db-size must contain a db name")),
    ),
    "drop-db": (
        _case("admin", "drop-db d", "drop-db success\n", OK),
        _case("admin", "drop-db arb", "drop-db success\n", OK),
        _case("admin", "drop-db $admin", _error("$admin can't be dropped")),
        _case("admin", "drop-db nowhere", NOT_A_DATABASE),
        _case("admin", "drop-db", _error("drop-db must contain a db name")),
    ),
    "list-users": (
        _case("admin", "list-users d", f'users {{"database":"d","users":[{_ANA}],"next":null}}\n', OK),
        _case("admin", "list-users d ana", 'users {"database":"d","users":[],"next":null}\n', OK),
        _case("admin", "list-users nowhere", NOT_A_DATABASE),
        _case("admin", "list-users", _error("list-users must contain a db name")),
    ),
    "add-user": (
        _case("admin", "add-user d bob bob-pwd", OK),
        _case("admin", "add-user d ana again", _error("user already exists")),
        _case("admin", "add-user d all pwd", _error(_ALL)),
        _case("admin", "add-user nowhere bob bob-pwd", NOT_A_DATABASE),
        _case("admin", "add-user", _error("add-user must contain a db name")),
        _case("admin", "add-user d bob", _error("add-user must be followed by a database, a user and a token")),
    ),
    "set-token": (
        _case("admin", "set-token d ana new-pwd", OK),
        _case("admin", "set-token d all new-pwd", OK),
        _case("admin", "set-token d bob pwd", _error("Not a valid user name")),
        _case("admin", "set-token nowhere ana pwd", NOT_A_DATABASE),
        _case("admin", "set-token", _error("set-token must contain a db name")),
        _case("admin", "set-token d ana", _error("set-token must be followed by a database, a user and a token")),
    ),
    "remove-user": (
        _case("admin", "remove-user d ana", OK),
        _case("admin", "remove-user d all", _error(_ALL)),
        _case("admin", "remove-user d bob", _error("Not a valid user name")),
        _case("admin", "remove-user nowhere ana", NOT_A_DATABASE),
        _case("admin", "remove-user", _error("remove-user must contain a db name")),
        _case("admin", "remove-user d", _error("remove-user must be followed by a database and a user")),
    ),
    "grant": (
        _case("admin", "grant d ana wr b*", _permissions("ana", "r a*|rw b*"), OK),
        _case("admin", "grant d ana r a*", _permissions("ana", "r a*"), OK),
        _case("admin", "grant d all r a*", _permissions("all", "r a*", is_first="true"), OK),
        _case("admin", "grant d bob r a*", _error("Not a valid user name")),
        _case("admin", "grant nowhere ana r a*", NOT_A_DATABASE),
        _case("admin", "grant", _error("grant must contain a db name")),
        _case("admin", "grant d ana r", _error("grant must be followed by a database, a user, kinds and patterns")),
        _case("admin", "grant d ana q a", _error(_KINDS)),
        _case("admin", "grant d ana r a|b", _error("a pattern can't hold a bar")),
    ),
    "revoke": (
        _case("admin", "revoke d ana rw a*", _permissions("ana", ""), OK),
        _case("admin", "revoke d ana r b*", _error(_NOTHING_REVOKED)),
        _case("admin", "revoke d ana w a*", _error(_NOTHING_REVOKED)),
        _case("admin", "revoke d all r *", _error(_NOTHING_REVOKED)),
        _case("admin", "revoke d bob r a*", _error("Not a valid user name")),
        _case("admin", "revoke nowhere ana r a*", NOT_A_DATABASE),
        _case("admin", "revoke", _error("revoke must contain a db name")),
        _case("admin", "revoke d ana q a", _error(_KINDS)),
    ),
    "explain-permission": (
        _case("admin", "explain-permission d ana r abc", _permission("ana", "r", "abc", "true", "rule", '"r a*"'), OK),
        _case("admin", "explain-permission d ana r b", _permission("ana", "r", "b", "false", "no-rule"), OK),
        _case("admin", "explain-permission d ana w a", _permission("ana", "w", "a", "false", "no-rule"), OK),
        _case("admin", "explain-permission d all x b", _permission("all", "x", "b", "true", "database-token"), OK),
        _case("admin", "explain-permission d bob r a", _permission("bob", "r", "a", "false", "no-such-user"), OK),
        _case(
            "admin",
            "explain-permission d all r $$token",
            _permission("all", "r", "$$token", "false", "administrator-only"),
            OK,
        ),
        _case("admin", "explain-permission nowhere ana r a", NOT_A_DATABASE),
        _case("admin", "explain-permission", _error("explain-permission must contain a db name")),
        _case(
            "admin",
            "explain-permission d ana rw a",
            _error("a kind is one of r (read), w (write), i (increment) and x (remove)"),
        ),
    ),
    "list-sessions": (
        _case("admin", "list-sessions", f'sessions {{"sessions":[{_VISITOR},{_SESSION}],"next":null}}\n', OK),
        _case("admin", "list-sessions 3", f'sessions {{"sessions":[{_SESSION}],"next":null}}\n', OK),
        _case("admin", "list-sessions 4", 'sessions {"sessions":[],"next":null}\n', OK),
    ),
    "disconnect": (
        _case("admin", "disconnect 3", OK),
        _case("admin", "disconnect 4", _error("this session is one request, and ends by itself")),
        _case("admin", "disconnect 99", _error("no session has this id")),
        _case("admin", "disconnect", _error("disconnect must be followed by the id of a session")),
    ),
    "list-admins": (
        _case(
            "admin",
            "list-admins",
            f'admins {{"admins":[{{"name":"{ADMIN_USER}","is_first":true,"sessions":1}},'
            '{"name":"bea","is_first":false,"sessions":0}],"next":null}\n',
            OK,
        ),
    ),
    "add-admin": (
        _case(
            "admin",
            "add-admin root pwd",
            _error("this name is that of root or of the server's system user, who need no password: choose another"),
        ),
        _case("admin", "add-admin ana two words", OK),
        _case("admin", f"add-admin {ADMIN_USER} pwd", _error("administrator already exists")),
        _case("admin", "add-admin a:b pwd", _error(ADMIN_NAME)),
        _case("admin", "add-admin ana", _error(f"add-admin {NAME_AND_PASSWORD}")),
    ),
    "remove-admin": (
        _case("admin", "remove-admin bea", OK),
        _case("admin", "remove-admin nobody", _error("Not a valid administrator name")),
        _case("admin", f"remove-admin {ADMIN_USER}", _error("the first administrator, of NUN_USER, can't be removed")),
        _case("admin", "remove-admin", _error("remove-admin must be followed by the name of an administrator")),
    ),
    "set-admin-password": (
        _case("admin", f"set-admin-password {ADMIN_USER} two words", OK),
        _case("admin", "set-admin-password nobody pwd", _error("Not a valid administrator name")),
        _case("admin", "set-admin-password ana", _error(f"set-admin-password {NAME_AND_PASSWORD}")),
    ),
    "set-password": (
        _case("admin", "set-password two words", OK),
        _case("admin", "set-password", _error("set-password must be followed by a password")),
    ),
    "rp": (
        _case("chief", "rp 7 get k", ACK, "value 1\n", OK),
        _case("chief", "rp 7 set k v", ACK, OK),
        _case("chief", "rp 7 keys k*", ACK, "keys ,k\n", OK),
        _case("admin", "rp 7 create-db new pwd", ACK, "create-db success\n", OK),
        _case("chief", "rp 7 nonsense", ACK, _error("unknown command: nonsense")),
        _case("chief", "rp 7 ", _error("Invalid replication request str")),
        _case("chief", "rp 007  ", ACK, _error("empty command")),
        _case("admin", "rp 7 get k", ACK, *NO_DATABASE),
        _case("admin", "rp 7 use-db d wrong", ACK, _error("Invalid token")),
        _case("admin", "rp 7", _error("Invalid replication request str")),
        *(_case("admin", f"rp{text}", _error("Invalid request Id")) for text in ("", " ", " x get k", " -7 get k")),
    ),
    "replicate": (
        _case("admin", "replicate d k 0 two  words", OK),
        _case("admin", "replicate d k 0 ", OK),
        _case("admin", "replicate d word -2 v", _error("Invalid version!")),
        _case("admin", "replicate nowhere k 0 v", NOT_A_DATABASE),
        _case("admin", "replicate", _error("no command sent")),
        _case("admin", "replicate  k 0 v", NOT_A_DATABASE),
        _case("admin", "replicate d", _error("no command sent")),
        _case("admin", "replicate d k 2130706433 v", _error(OUT_OF_RANGE)),
        _case("admin", "replicate d $connections 5 9", _error(COUNTED)),
        _case("admin", f"replicate arb {RECORD} -1 9", _error(PENDING)),
        _case("admin", "replicate d $$user_all -1 x", _error(_ALL)),
        _case("admin", "replicate d  0 v", _error("replicate must contain a key")),
        _case("admin", "replicate d k", OK),
        _case("admin", "replicate d k 0", OK),
    ),
    "replicate-increment": (
        _case("admin", "replicate-increment d k", OK),
        _case("admin", "replicate-increment d k 5", OK),
        _case("admin", "replicate-increment d word", _error("Key is not numeric")),
        _case("admin", "replicate-increment d full", _error("increment out of range")),
        _case("admin", "replicate-increment nowhere k", NOT_A_DATABASE),
        _case("admin", "replicate-increment d $connections", _error(COUNTED)),
        _case("admin", "replicate-increment", _error("replicate-snapshot must contain a db name")),
        _case("admin", "replicate-increment d", _error("replicate-increment must be followed by a key")),
        _case("admin", "replicate-increment d ", _error("replicate-increment must contain a key")),
        _case("admin", "replicate-increment d  5", _error("replicate-increment must contain a key")),
    ),
    "replicate-remove": (
        _case("admin", "replicate-remove d k", OK),
        _case("admin", "replicate-remove d absent", OK),
        _case("admin", "replicate-remove d $$token", _error("$$token key cannot be removed")),
        _case("admin", "replicate-remove nowhere k", NOT_A_DATABASE),
        _case("admin", "replicate-remove d $connections", _error(COUNTED)),
        _case("admin", f"replicate-remove arb {RECORD}", _error(PENDING)),
        _case("admin", "replicate-remove", NOT_A_DATABASE),
        _case("admin", "replicate-remove d", _error("replicate-remove must contain a key")),
        _case("admin", "replicate-remove d ", _error("replicate-remove must contain a key")),
    ),
    "replicate-snapshot": (
        _case("admin", "replicate-snapshot d", OK),
        _case("admin", "replicate-snapshot d|arb true", OK),
        _case("admin", "replicate-snapshot", _error("replicate-snapshot must contain a db name")),
        _case("admin", "replicate-snapshot nowhere", _error(_no_snapshot("nowhere"))),
        _case("admin", "replicate-snapshot d|no|where", _error(_no_snapshot("where"))),
        _case("admin", "replicate-snapshot ", _error(_no_snapshot(""))),
    ),
    "ack": (
        _case("admin", "ack 5 a b", OK),
        *(_case("admin", f"ack{text}", _error("Invalid request Id")) for text in ("", " ", " x", " -5 a")),
        *(_case("admin", f"ack 5{text}", _error("Invalid server name")) for text in ("", " ")),
    ),
    "election": (
        *(_case("admin", f"election{text}", OK) for text in ("", " win", " alive a", " candidate 7 a", " candidate 7")),
        *(
            _case("admin", f"election candidate{text}", _error("candidate must contain process id and server name"))
            for text in ("", " ", " x a", " -7 a")
        ),
    ),
    "join": _node("join"),
    "leave": _node("leave"),
    "replicate-join": _node("replicate-join", "join"),
    "replicate-leave": _node("replicate-leave", "leave"),
    "replicate-since": (
        _case("admin", "replicate-since n 1", OK),
        _case("admin", "replicate-since", _error("replicate-since must contain a node name")),
        _case("admin", "replicate-since n", _error("replicate-since must contain a start at")),
        *(
            _case("admin", f"replicate-since n {text}", _error("replicate-since start_at must be a u64"))
            for text in ("", "x", "-1", "1 2")
        ),
    ),
    "set-primary": _node("set-primary"),
    "set-secoundary": _node("set-secoundary"),
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
    chief.ask("add-admin bea bea-pwd")
    chief.ask("import-db e none")
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
    Client(world, Visitor())
    return world
