"""Databases imported, copied and renamed beside clients: all or nothing, as of one moment, with nobody put out."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pynun import limits
from pynun.engine import tombstones
from pynun.engine.audit_events import Fact
from pynun.engine.commands.loading import ROWS_MAX
from pynun.engine.loads import IDLE_SECONDS
from tests.engine.kept import kept_by_engine
from tests.engine.test_administering import report
from tests.engine.world import ADMIN_USER, Client, Visitor, World, fake_hash

if TYPE_CHECKING:
    from pynun.engine.effects import Suspension

OK = "ok \n"
NOT_A_DATABASE = ["error Not a valid database name \n"]
OVER = ["error no import or copy has this id: it was ended, idle for too long, or could not be stored \n"]


@pytest.fixture(name="world")
def _world() -> World:
    return World()


@pytest.fixture(name="admin")
def _admin(world: World) -> Client:
    return world.admin("create-db d pwd", "use-db d pwd")


def begin(admin: Client, name: str, how: str = "none") -> int:
    """Begin an import."""
    found = report(admin, f"import-db {name} {how}")["id"]
    assert isinstance(found, int)
    return found


def put(admin: Client, number: int, *rows: tuple[str, int, str]) -> list[str]:
    """Put rows into it."""
    return admin.ask(f"import-keys {number} {json.dumps(rows)}")


def purge(world: World) -> None:
    """Remove all that belongs to no database."""
    world.commit()
    while tombstones.remove_slice(world.view, 100, world.engine.loads.identifiers):
        world.commit()


def stored_keys(world: World) -> int:
    """All that the store has of databases, named or not."""
    return sum(world.store.measure_database(number.to_bytes(4, "big"), b"", 10**6)[0] for number in range(20))


def test_nobody_sees_an_import_before_its_end(world: World, admin: Client) -> None:
    number = begin(admin, "new", "newer")
    assert put(admin, number, ("k", 7, "a;b"), ("$$user_ana", 0, "plain"), ("$$user_bob", 3, fake_hash("b"))) == [OK]
    purge(world)
    assert admin.ask("use-db new pwd") == NOT_A_DATABASE
    assert [row["name"] for row in report(admin, "list-dbs")["databases"]] == ["$admin", "d"]
    assert report(admin, "list-dbs")["being_removed"] == 0
    watcher = world.connect("use-db $admin user-pwd", "watch new")
    assert report(admin, f"import-end {number} pwd") == {"name": "new", "keys": 4, "replaced": False}
    assert watcher.outbox.take() == ["changed new {}\n", "changed-version new 0 {}\n"]
    purge(world)
    world.restart()
    client = world.connect("use-db new pwd")
    assert client.ask("get-safe k") == ["value-version 7 a;b\n", OK]
    assert client.ask("use-db new ana plain") == [OK]
    assert client.ask("use-db new bob b") == [OK]
    assert report(world.admin(), "list-dbs")["databases"][2]["strategy"] == "newer"


@pytest.mark.parametrize("how", ["restart", "cancel", "idle", "loss", "a wrong row"])
def test_an_import_without_an_end_leaves_nothing(world: World, admin: Client, how: str) -> None:
    world.commit()
    before, keys = kept_by_engine(world.engine), stored_keys(world)
    number = begin(admin, "new")
    put(admin, number, *((f"k{place}", 0, "v") for place in range(600)))
    match how:
        case "restart":
            world.commit()
            world.restart()
            admin = world.admin()
        case "cancel":
            assert admin.ask(f"import-cancel {number}") == [OK]
        case "idle":
            world.seconds += IDLE_SECONDS + 1
            world.engine.loads.expire()
        case "loss":
            world.lose()
        case _:
            assert put(admin, number, ("k", 0, "v"), ("bad key", 0, "v")) == [
                "error row 2: a key can't be empty or contain spaces or line breaks \n"
            ]
    assert put(admin, number, ("k", 0, "v")) == OVER
    assert admin.ask(f"import-end {number} pwd") == OVER
    purge(world)
    assert kept_by_engine(world.engine) == before
    assert stored_keys(world) - keys in (0, 1)  # the highest identifier may be noted anew


def test_what_is_asked_for_within_a_minute_goes_on(world: World, admin: Client) -> None:
    number = begin(admin, "new")
    for place in range(3):
        world.seconds += IDLE_SECONDS - 1
        world.engine.loads.expire()
        assert put(admin, number, (f"k{place}", 0, "v")) == [OK]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ("x", "import-keys must be followed by the id of an import and a JSON array of rows"),
        ('{"k": 1}', "import-keys must be followed by the id of an import and a JSON array of rows"),
        ('[["k", 0, "v"], ["k", 1, "w"]]', "row 2: the key 'k' is there twice"),
        ('[["k", true, "v"]]', "row 1: it is not [KEY, VERSION, VALUE]"),
        ('[["k", 9223372036854775807, "v"]]', "row 1: it is not [KEY, VERSION, VALUE]"),
        ('[["k", 0]]', "row 1: it is not [KEY, VERSION, VALUE]"),
        ('[["k", 0, "\\ud800"]]', "row 1: its text holds half a character (a lone surrogate)"),
        ('[["$connections", 0, "1"]]', "row 1: $connections is counted by the server and can't be imported"),
        ('[["$$token", 0, ""]]', "row 1: the token is empty"),
        (json.dumps([["k", 0, "v"]] * (ROWS_MAX + 1)), f"row {ROWS_MAX + 1}: at most {ROWS_MAX} rows in one command"),
    ],
)
def test_what_can_t_be_imported_is_named(admin: Client, rows: str, told: str) -> None:
    assert admin.ask(f"import-keys {begin(admin, 'new')} {rows}") == [f"error {told} \n"]


def test_what_an_import_may_not_replace(admin: Client) -> None:
    assert admin.ask("import-db d none") == ["error database already exists \n"]
    assert admin.ask("import-db $admin newer replace") == ["error $admin can't be renamed, copied or imported \n"]
    number = begin(admin, "new")
    admin.ask("create-db new pwd")
    assert admin.ask(f"import-end {number} other") == ["error database already exists \n"]
    assert admin.ask(f"import-end {begin(admin, 'other')}") == [
        "error the import has no token of the database: import-end must be given one \n"
    ]


def test_sessions_of_a_replaced_database_go_on(world: World, admin: Client) -> None:
    for command in ("create-user ana ana-pwd", "create-user bob bob-pwd", "set-permissions ana r a*", "set same 1"):
        admin.ask(command)
    for command in ("set a 1", "set gone 1", "set-permissions all r $c*|rw *"):
        admin.ask(command)
    ana, anyone = world.connect("use-db d ana ana-pwd"), world.connect("use-db d pwd")
    for client, keys in ((ana, ("a1",)), (anyone, ("a", "gone", "same", "fresh", "$connections"))):
        for key in keys:
            assert client.ask(f"watch {key}") == [OK]
    number = begin(admin, "d", "newer replace")
    put(admin, number, ("a", 5, "new"), ("same", 0, "1"), ("fresh", 0, "f"), ("$$permission_$ana", 0, "rw b*"))
    world.commit()
    admin.ask("set gone 2")
    admin.ask("create-user bob other-pwd")
    anyone.outbox.take()
    assert report(admin, f"import-end {number}") == {"name": "d", "keys": 7, "replaced": True}
    assert sorted(anyone.outbox.take()) == sorted(
        [
            "changed a new\n",
            "changed-version a 5 new\n",
            "removed gone\n",
            "changed fresh f\n",
            "changed-version fresh 0 f\n",
        ]
    )
    assert anyone.ask("get $connections") == ["value 3\n", OK]
    assert anyone.ask("set a newer") == ["changed a newer\n", "changed-version a 6 newer\n", OK]
    assert ana.ask("get a") == ["permission denied\n", "error permission denied\n \n"]
    assert ana.ask("set b 1") == [OK]
    purge(world)
    world.restart()
    assert world.connect("use-db d bob other-pwd").ask("keys")[-1] == OK
    assert world.connect("use-db d pwd").ask("keys") == ["keys ,$connections,a,b,fresh,same\n", OK]


def test_a_replacement_that_is_lost_never_was(world: World, admin: Client) -> None:
    admin.ask("set k old")
    world.commit()
    client = world.connect("use-db d pwd", "watch k")
    number = begin(admin, "d", "none replace")
    put(admin, number, ("k", 0, "new"), ("$$token", 0, "other"))
    world.commit()
    before = kept_by_engine(world.engine)
    report(admin, f"import-end {number}")
    assert client.ask("get k")[0] == "error no-db-selected\n"
    second = world.connect("use-db d other")
    world.lose()
    assert kept_by_engine(world.engine) == before
    assert second.ask("get k")[0] == "error no-db-selected\n"
    assert world.connect("use-db d pwd").ask("get k") == ["value old\n", OK]
    purge(world)
    assert kept_by_engine(world.engine) == before


def test_arbiters_of_a_replaced_database_come_again(world: World, admin: Client) -> None:
    visitor = Visitor()
    arbiter = Client(world, visitor)
    arbiter.ask("use-db d pwd")
    arbiter.ask("arbiter")
    number = begin(admin, "d", "arbiter replace")
    put(admin, number, ("k", -2, "v"), ("$conflicts_k_9", 0, "resolve 9 elsewhere 3 k old new"), ("$$token", 0, "pwd"))
    report(admin, f"import-end {number}")
    assert visitor.is_ended
    again = world.connect("use-db d pwd")
    assert again.ask("arbiter") == ["resolve 9 d 3 k old new", OK]
    assert again.ask("resolve 9 d k 3 new")[-1] == OK


def test_an_import_that_is_too_large_is_refused(world: World) -> None:
    object.__setattr__(world.context, "database_bytes_max", 200)
    admin = world.admin()
    number = begin(admin, "new")
    assert put(admin, number, ("a", 0, "x" * 90), ("b", 0, "x" * 90)) == [OK]
    assert put(admin, number, ("c", 0, "x" * 90)) == [
        "error database full: at most 200 bytes, remove something first \n"
    ]
    number = begin(admin, "new")
    put(admin, number, ("a", 0, "x" * 90))
    report(admin, f"import-end {number} t")
    client = world.connect("use-db new t")
    assert client.ask(f"set b {'x' * 90}")[0].startswith("error database full")


def test_so_many_imports_at_a_time_and_no_more(admin: Client) -> None:
    numbers = [begin(admin, f"new{number}") for number in range(limits.LOADS_MAX)]
    for command in ("import-db more none", "copy-db d more"):
        assert admin.ask(command) == ["error too many imports and copies: at most 16 at a time, try again later \n"]
    assert admin.ask(f"import-cancel {numbers[0]}") == [OK]
    begin(admin, "more")


def test_imports_and_copies_leave_room_on_the_disk(world: World) -> None:
    scarce = [False]
    object.__setattr__(world.context, "is_disk_scarce", lambda: scarce[0])
    world.restart()
    admin = world.admin("create-db d pwd")
    number = begin(admin, "new")
    scarce[0] = True
    refused = ["error the disk is nearly full: clients need what is left for their changes; free up space \n"]
    assert put(admin, number, ("a", 0, "x")) == refused
    assert admin.ask(f"import-end {number} t") == OVER
    assert admin.ask("import-db other none") == refused
    assert admin.ask("copy-db d other") == refused
    assert admin.ask("use-db d pwd")[-1:] == [OK]
    assert admin.ask("set k v") == [OK]


def drive(suspension: Suspension, number: int) -> bool:
    """Drive a command that waits for nothing but its turn some steps on; whether it is done."""
    for _ in range(number):
        try:
            next(suspension)
        except StopIteration:
            return True
    return False


def test_a_copy_is_that_of_one_moment(world: World, admin: Client) -> None:
    client = world.connect("use-db d pwd")
    admin.ask("create-user ana ana-pwd")
    admin.ask("set-permissions ana rw a*")
    for place in range(2400):
        client.ask(f"set k{place:04} {place}")
    world.commit()
    copying = admin.start("copy-db d copy")
    steps = 0
    while not drive(copying, 1):
        steps += 1
        for place in (steps, 1200 - steps, 2399 - steps):
            client.ask(f"set k{place % 2400:04} changed-{steps}")
        client.ask(f"remove k{(steps * 7) % 2400:04}")
        client.ask(f"set new{steps} v")
        if steps % 3 == 0:
            world.commit()
        state = kept_by_engine(world.engine)
        assert "copy" not in state
    assert steps > 10
    (told,) = [text for text in admin.outbox.take() if text.startswith("copied ")]
    found = kept_by_engine(world.engine)
    assert found["copy"].keys == found["d"].keys
    assert json.loads(told.partition(" ")[2]) == {"name": "copy", "keys": len(found["copy"].keys)}
    purge(world)
    world.restart()
    assert kept_by_engine(world.engine) == found
    assert world.connect("use-db copy ana ana-pwd").ask("set a1 v") == [OK]


def test_a_copy_may_have_a_token_and_conflicts_of_its_own(world: World, admin: Client) -> None:
    admin.ask("create-db arb pwd arbiter")
    arbiter = world.connect("use-db arb pwd", "arbiter", "set k 1", "set k 2")
    world.connect("use-db arb pwd").ask("set-safe k 0 late")
    conflict = next(text for text in arbiter.outbox.take() if text.startswith("resolve "))
    identifier = conflict.split(" ")[1]
    world.connect("use-db arb pwd").ask("set $conflicts_x_5 resolve 5 arb 1 x not real")
    report(admin, "copy-db arb copy other")
    assert admin.ask("use-db copy pwd") == ["error Invalid token \n"]
    second = world.connect("use-db copy other")
    assert second.ask("arbiter") == [conflict.replace(" arb ", " copy "), OK]
    assert second.ask("get $conflicts_x_5") == ["value resolve 5 arb 1 x not real\n", OK]
    assert second.ask(f"resolve {identifier} copy k 1 decided")[-1] == OK
    assert arbiter.ask("get-safe k") == ["value-version -2 2\n", OK]


@pytest.mark.parametrize("how", ["drop-db d", "import", "loss", "leave"])
def test_a_copy_that_can_t_be_finished_leaves_nothing(world: World, admin: Client, how: str) -> None:
    for place in range(1000):
        admin.ask(f"set k{place} v")
    world.commit()
    copying = admin.start("copy-db d copy")
    drive(copying, 3)
    other = world.admin()
    match how:
        case "import":
            report(other, f"import-end {begin(other, 'd', 'none replace')}")
        case "loss":
            other.ask("create-db e pwd")
            world.lose()
        case "leave":
            copying.close()
        case _:
            other.ask(how)
    if how != "leave":
        world.settle(copying)
        assert admin.outbox.take() in (NOT_A_DATABASE, OVER)
    purge(world)
    assert "copy" not in kept_by_engine(world.engine)
    assert not world.engine.loads
    assert not world.view.on_taken
    assert report(other, "list-dbs")["being_removed"] == 0


def test_a_renamed_database_keeps_its_sessions(world: World, admin: Client) -> None:
    client = world.connect("use-db d pwd", "watch k")
    watcher = world.connect("use-db $admin user-pwd", "watch d", "watch e")
    world.commit()
    assert admin.ask("rename-db d e") == ["rename-db success\n", OK]
    assert watcher.outbox.take() == ["removed d\n", "changed e {}\n", "changed-version e 0 {}\n"]
    assert admin.ask("set k 1") == [OK]
    assert client.outbox.take() == ["changed k 1\n", "changed-version k 0 1\n"]
    assert world.connect().ask("use-db d pwd") == NOT_A_DATABASE
    assert admin.ask("create-db d other") == ["create-db success\n", OK]
    assert admin.ask("rename-db e d") == ["error database already exists \n"]
    assert admin.ask("rename-db $admin x") == ["error $admin can't be renamed, copied or imported \n"]
    world.lose()
    assert client.ask("get k") == ["value <Empty>\n", OK]
    assert world.connect("use-db d pwd").ask("get $connections") == ["value 3\n", OK]
    admin.ask("rename-db d e")
    world.commit()
    world.restart()
    assert world.connect("use-db e pwd").ask("keys") == ["keys ,$connections\n", OK]


def test_they_are_in_the_audit_trail(world: World, admin: Client) -> None:
    world.trail.take()
    report(admin, "copy-db d copy secret")
    admin.ask("rename-db copy new")
    number = begin(admin, "d", "none replace")
    report(admin, f"import-end {number}")
    admin.ask("rename-db nowhere x")
    assert world.trail.take() == [
        (Fact("copy-db", "d", ADMIN_USER, "copy-db d copy ***"), "ok", None),
        (Fact("rename-db", "copy", ADMIN_USER, "rename-db copy new"), "ok", None),
        (Fact("import", "d", ADMIN_USER, "import-end d"), "ok", None),
        (Fact("rename-db", None, ADMIN_USER, "rename-db *** ***"), "failed", "Not a valid database name"),
    ]
