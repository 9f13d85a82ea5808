"""Conflicts, one edge each (docs/protocol.md section 5)."""

from __future__ import annotations

import pytest

from pynun.engine.conflicts import PENDING_MAX
from pynun.engine.key_layout import LAST_CONFLICT
from pynun.engine.overlay import Entry
from tests.engine.world import START_NS, Client, World

OK = ["ok \n"]
NO_ARBITER = ["error An conflitct happend and there is no arbiter client not connected \n"]
INVALID_VERSION = ["error Invalid version! \n"]


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.admin("create-db arb pwd arbiter", "create-db new pwd newer", "create-db non pwd none")
    return world


@pytest.fixture(name="client")
def _client(world: World) -> Client:
    """A client of the database with arbiters, in which `k` has version 5 and the value `now`."""
    return world.connect("use-db arb pwd", "set-safe k 4 now")


@pytest.fixture(name="arbiter")
def _arbiter(world: World, client: Client) -> Client:
    return world.connect("use-db arb pwd", "arbiter")


def conflict(client: Client, text: str, key: str = "k") -> int:
    """Have a conflict; its id."""
    client.world.time_ns += 1
    (told,) = [message for message in client.ask(f"set-safe {key} 0 {text}") if "unresolved" in message]
    return int(told.rpartition("_")[2].removesuffix(" \n"))


# --- by strategy -----------------------------------------------------------------------------------------------


def test_none_refuses_and_keeps_what_is_there(world: World) -> None:
    client = world.connect("use-db non pwd", "set-safe k 4 now")
    assert client.ask("set-safe k 4 late") == INVALID_VERSION
    assert client.ask("get-safe k") == ["value-version 5 now\n", *OK]


def test_newer_applies_the_later_change_with_the_next_version(world: World) -> None:
    client = world.connect("use-db new pwd", "set-safe k 4 now")
    assert client.ask("set-safe k 1 late") == OK
    assert client.ask("get-safe k") == ["value-version 6 late\n", *OK]


def test_newer_tells_watchers_the_version_that_was_given(world: World) -> None:
    client = world.connect("use-db new pwd", "set-safe k 4 now", "watch k")
    assert client.ask("set-safe k 1 late") == ["changed k late\n", "changed-version k 6 late\n", *OK]


def test_without_an_arbiter_the_change_is_refused_and_nothing_is_kept_of_it(client: Client) -> None:
    assert client.ask("set-safe k 0 late") == NO_ARBITER
    assert client.ask("keys") == ["keys ,$connections,k\n", *OK]
    assert client.ask("get-safe k") == ["value-version 5 now\n", *OK]


def test_the_arbiter_gets_the_record_s_text_without_a_newline(client: Client, arbiter: Client) -> None:
    identifier = conflict(client, "late words")
    assert arbiter.ask("get-safe k")[0] == f"resolve {identifier} arb 5 k now late words"


def test_every_arbiter_is_asked(world: World, client: Client, arbiter: Client) -> None:
    other = world.connect("use-db arb pwd", "arbiter")
    identifier = conflict(client, "late")
    expected = [f"resolve {identifier} arb 5 k now late"]
    assert arbiter.outbox.take() == expected
    assert other.outbox.take() == expected


def test_the_key_reads_as_in_conflict_with_its_old_value(client: Client, arbiter: Client) -> None:
    conflict(client, "late")
    assert client.ask("get-safe k") == ["value-version -2 now\n", *OK]
    assert arbiter.outbox.take()


def test_the_record_is_an_ordinary_key(client: Client, arbiter: Client) -> None:
    identifier = conflict(client, "late")
    assert client.ask(f"get-safe $conflicts_k_{identifier}") == [
        f"value-version 0 resolve {identifier} arb 5 k now late\n",
        *OK,
    ]
    assert arbiter.outbox.take()


# --- while a key is in conflict --------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["set k more", "set-safe k 99 more", "set-safe k -1 more"])
def test_every_further_change_is_a_conflict_too(client: Client, arbiter: Client, command: str) -> None:
    conflict(client, "late")
    client.world.time_ns += 1
    assert client.ask(command)[0].startswith("error $$conflitct unresolved $conflicts_k_")
    assert len(arbiter.outbox.take()) == 2


def test_a_further_conflict_names_the_record_before_it_and_counts_the_pending_ones(
    client: Client, arbiter: Client
) -> None:
    first = conflict(client, "late")
    second = conflict(client, "later")
    third = conflict(client, "last")
    assert arbiter.outbox.take() == [
        f"resolve {first} arb 5 k now late",
        f"resolve {second} arb 1 k $conflicts_k_{first} later",
        f"resolve {third} arb 2 k $conflicts_k_{second} last",
    ]


def test_an_increment_is_a_conflict_with_the_sum(client: Client, arbiter: Client) -> None:
    client.ask("set-safe n 4 10")
    identifier = conflict(client, "7", "n")
    client.world.time_ns += 1
    assert client.ask("increment n 5")[0].startswith("error $$conflitct unresolved")
    assert arbiter.outbox.take()[-1] == f"resolve {identifier + 1} arb 0 n $conflicts_n_{identifier} 15"


def test_a_key_that_is_removed_is_new_again(client: Client, arbiter: Client) -> None:
    conflict(client, "late")
    assert client.ask("remove k") == OK
    assert client.ask("set k fresh") == OK
    assert client.ask("get-safe k") == ["value-version 0 fresh\n", *OK]
    assert arbiter.outbox.take()


def test_permissions_are_handed_to_no_arbiter_and_can_always_be_revoked(world: World, arbiter: Client) -> None:
    admin = world.admin("use-db arb pwd", "set-permissions ana r *", "set-permissions ana r *")
    assert admin.ask("set-safe $$permission_$ana 0 rw *") == INVALID_VERSION
    assert admin.ask("set-permissions ana x *") == OK
    assert arbiter.outbox.take() == []


def test_more_than_a_thousand_conflicts_of_a_key_are_refused(client: Client, arbiter: Client) -> None:
    client.ask("set-safe k 5 now")
    for _ in range(PENDING_MAX):
        assert client.ask("set-safe k 0 late")[0].startswith("error $$conflitct unresolved")
    assert client.ask("set-safe k 0 late") == ["error too many unresolved conflicts of this key: at most 1000 \n"]
    assert len(arbiter.outbox.take()) == PENDING_MAX


@pytest.mark.parametrize("key", ["$$token", "$$user_ana"])
def test_a_secret_is_shown_to_no_arbiter(world: World, arbiter: Client, key: str) -> None:
    admin = world.admin("use-db arb pwd", "create-user ana ana-pwd", f"set-safe {key} 5 word")
    assert admin.ask(f"set-safe {key} 1 other") == INVALID_VERSION
    assert arbiter.outbox.take() == []


# --- resolving -------------------------------------------------------------------------------------------------


def test_a_resolution_gives_the_key_its_value_and_the_version_after_the_named_one(
    client: Client, arbiter: Client
) -> None:
    identifier = conflict(client, "late")
    arbiter.outbox.take()
    assert arbiter.ask(f"resolve {identifier} arb k 5 settled for all") == OK
    assert client.ask("get-safe k") == ["value-version 6 settled for all\n", *OK]


def test_a_resolution_is_written_into_the_record_whose_watchers_are_told(client: Client, arbiter: Client) -> None:
    identifier = conflict(client, "late")
    record = f"$conflicts_k_{identifier}"
    assert client.ask(f"watch {record}") == OK
    arbiter.ask(f"resolve {identifier} arb k 5 settled")
    assert client.outbox.take() == [
        f"changed {record} resolved settled\n",
        f"changed-version {record} 1 resolved settled\n",
    ]


def test_the_key_stays_in_conflict_while_another_record_is_pending(client: Client, arbiter: Client) -> None:
    first, second = conflict(client, "late"), conflict(client, "later")
    client.ask("watch k")
    arbiter.ask(f"resolve {first} arb k 5 one")
    assert client.outbox.take() == ["changed k one\n", "changed-version k -2 one\n"]
    assert client.ask("get-safe k") == ["value-version -2 one\n", *OK]
    arbiter.ask(f"resolve {second} arb k 6 two")
    assert client.outbox.take() == ["changed k two\n", "changed-version k 7 two\n"]
    assert client.ask("get-safe k") == ["value-version 7 two\n", *OK]


def test_records_may_be_resolved_in_any_order(client: Client, arbiter: Client) -> None:
    first, second = conflict(client, "late"), conflict(client, "later")
    arbiter.ask(f"resolve {second} arb k 6 two")
    assert client.ask("get-safe k") == ["value-version -2 two\n", *OK]
    arbiter.ask(f"resolve {first} arb k 5 one")
    assert client.ask("get-safe k") == ["value-version 6 one\n", *OK]


@pytest.mark.parametrize("version", [0, 5, 99, -2, -3])
def test_without_a_conflict_a_resolution_is_a_change_as_in_the_original(
    client: Client, arbiter: Client, version: int
) -> None:
    assert arbiter.ask(f"resolve 7 arb k {version} old") == OK
    assert client.ask("get-safe k") == ["value-version 6 old\n", *OK]


@pytest.mark.parametrize(("version", "expected"), [(0, 1), (5, 6), (-1, 0), (-2, 0), (-99, 0)])
def test_a_resolution_of_an_absent_key_makes_it(client: Client, arbiter: Client, version: int, expected: int) -> None:
    assert arbiter.ask(f"resolve 7 arb new {version} v") == OK
    assert client.ask("get-safe new") == [f"value-version {expected} v\n", *OK]


# --- what only the server changes ------------------------------------------------------------------------------

COUNTED = ["error $connections is counted by the server: nobody can change it \n"]
WRITES = (
    "set {key} x",
    "set-safe {key} -1 x",
    "set-safe {key} 99 x",
    "set-safe {key} word x",
    "increment {key}",
    "remove {key}",
    "resolve 7 arb {key} 99 x",
    "replicate arb {key} -1 x",
    "replicate arb {key}",
    "replicate-increment arb {key} 5",
    "replicate-remove arb {key}",
    "rp 7 set {key} x",
    "rp 7 remove {key}",
)


@pytest.mark.parametrize("write", WRITES)
@pytest.mark.parametrize("database", ["arb", "new", "non"])
def test_nobody_changes_the_count_of_connections(world: World, write: str, database: str) -> None:
    text = write.format(key="$connections").replace("arb", database)
    for who in (world.connect(f"use-db {database} pwd"), world.admin(f"use-db {database} pwd")):
        before = who.ask("get-safe $connections")
        told = who.ask(text)
        assert told[-1:] in (COUNTED, ["error Not auth \n"]), told
        assert who.ask("get-safe $connections") == before
        who.close()


@pytest.mark.parametrize("write", WRITES)
def test_a_pending_record_is_changed_by_its_resolution_only(
    world: World, client: Client, arbiter: Client, write: str
) -> None:
    record = f"$conflicts_k_{conflict(client, 'late')}"
    before = client.ask(f"get-safe {record}")
    for who in (client, world.admin("use-db arb pwd")):
        told = who.ask(write.format(key=record))
        assert told[-1:] in (
            [f"error {record} waits for its arbiter: only resolve changes it \n"],
            ["error Not auth \n"],
        )
        assert client.ask(f"get-safe {record}") == before
    assert world_conflicts(client) == [record]


@pytest.mark.parametrize(
    "write", ["remove {key}", "set {key} x", "replicate-remove arb {key}", "replicate arb {key} -1 x"]
)
def test_a_resolved_record_is_an_ordinary_key_again(client: Client, arbiter: Client, write: str) -> None:
    identifier = conflict(client, "late")
    assert arbiter.ask(f"resolve {identifier} arb k 5 settled")[-1:] == OK
    assert client.world.admin("use-db arb pwd").ask(write.format(key=f"$conflicts_k_{identifier}")) == OK


def test_keys_that_only_look_like_records_are_ordinary(client: Client, arbiter: Client) -> None:
    identifier = conflict(client, "late")
    for key in (
        f"$conflicts_k_0{identifier}",
        f"$conflicts_kk_{identifier}",
        f"$conflicts_k_{identifier}1",
        "$conflicts_",
    ):
        assert client.ask(f"set {key} x") == OK
        assert client.ask(f"remove {key}") == OK


@pytest.mark.parametrize("database", ["arb", "new", "non"])
@pytest.mark.parametrize("cure", ["remove k", "resolve 7 {} k 5 free"])
def test_a_key_that_is_stuck_in_conflict_is_freed(world: World, database: str, cure: str) -> None:
    """An import, or an older server that let a record be removed, may have left it without a conflict."""
    found = world.engine.database(database)
    world.engine.view.write(found.stored_key("k"), Entry(-2, "old"))
    client = world.connect(f"use-db {database} pwd")
    assert client.ask("get-safe k") == ["value-version -2 old\n", *OK]
    assert client.ask(cure.format(database)) == OK
    assert client.ask("set k new") == OK
    assert client.ask("get-safe k") == [f"value-version {0 if cure == 'remove k' else 7} new\n", *OK]


def test_a_conflict_whose_record_is_gone_holds_no_key(world: World, client: Client, arbiter: Client) -> None:
    """As older servers let it be removed: the index names it, and no arbiter would ever hear of it."""
    gone, there = conflict(client, "late"), conflict(client, "later")
    also_gone = conflict(client, "last")
    found = world.engine.database("arb")
    for identifier in (gone, also_gone):
        world.engine.view.write(found.stored_key(f"$conflicts_k_{identifier}"), None)
    arbiter.outbox.take()
    newest = conflict(client, "newest")
    assert arbiter.outbox.take()[0].split(" ")[5] == f"$conflicts_k_{there}"
    for identifier, expected in ((there, -2), (newest, 9)):
        assert arbiter.ask(f"resolve {identifier} arb k 8 done") == OK
        assert client.ask("get-safe k") == [f"value-version {expected} done\n", *OK]
    assert world_conflicts(client) == []


def test_a_key_removed_in_conflict_comes_back_with_the_resolution(client: Client, arbiter: Client) -> None:
    first, second = conflict(client, "late"), conflict(client, "later")
    assert client.ask("remove k") == OK
    assert arbiter.ask(f"resolve {first} arb k 5 one")[-1:] == OK
    assert client.ask("get-safe k") == ["value-version -2 one\n", *OK]
    assert arbiter.ask(f"resolve {second} arb k 6 two") == OK
    assert client.ask("get-safe k") == ["value-version 7 two\n", *OK]


@pytest.mark.parametrize(("one", "other"), [("a", "ab"), ("a", "a_1"), ("a_1", "a_1_1")])
def test_the_conflicts_of_two_keys_are_never_confused(client: Client, arbiter: Client, one: str, other: str) -> None:
    for key in (one, other):
        client.ask(f"set-safe {key} 4 now")
    first, second = conflict(client, "late", one), conflict(client, "late", other)
    arbiter.ask(f"resolve {first} arb {one} 5 settled")
    assert client.ask(f"get-safe {one}") == ["value-version 6 settled\n", *OK]
    assert client.ask(f"get-safe {other}") == ["value-version -2 now\n", *OK]
    assert world_conflicts(client) == [f"$conflicts_{other}_{second}"]


def world_conflicts(client: Client) -> list[str]:
    """The conflicts of the database with arbiters that are unresolved."""
    told = client.world.admin("use-db arb pwd").ask("debug pending-conflicts")
    return told[0].strip().split(",")[1:] if len(told) > 1 else []


def test_only_who_selected_the_database_or_is_the_admin_resolves(world: World) -> None:
    assert world.connect("use-db non pwd").ask("resolve 1 arb k 5 mine") == ["error Not auth \n"]
    assert world.connect("use-db arb pwd").ask("resolve 1 arb k 5 mine") == OK
    assert world.admin().ask("resolve 1 arb k 5 mine") == OK


def test_a_user_that_may_not_write_the_key_does_not_resolve(world: World, client: Client) -> None:
    world.admin("use-db arb pwd", "create-user ana ana-pwd", "set-permissions ana r *")
    ana = world.connect("use-db arb ana ana-pwd", "arbiter")
    identifier = conflict(client, "late")
    ana.outbox.take()
    assert ana.ask(f"resolve {identifier} arb k 5 mine") == ["permission denied\n", "error permission denied\n \n"]
    assert client.ask("get-safe k") == ["value-version -2 now\n", *OK]


def test_a_record_that_is_in_conflict_itself_is_resolved_all_the_same(client: Client, arbiter: Client) -> None:
    identifier = conflict(client, "late")
    record = f"$conflicts_k_{identifier}"
    assert arbiter.ask(f"resolve {identifier} arb k 5 settled")[-1:] == OK
    client.ask(f"set-safe {record} 2 mine")
    conflict(client, "mine too", record)
    assert arbiter.ask(f"resolve {identifier} arb k 5 settled")[-1:] == OK
    assert client.ask(f"get-safe {record}") == ["value-version 0 resolved settled\n", *OK]


# --- arbiters --------------------------------------------------------------------------------------------------


def test_an_arbiter_that_comes_is_sent_what_is_unresolved_in_its_order(client: Client, arbiter: Client) -> None:
    client.ask("set-safe a 4 now")
    texts = []
    for key, text in (("k", "1"), ("a", "2"), ("k", "3")):
        identifier = conflict(client, text, key)
        texts.append(client.ask(f"get $conflicts_{key}_{identifier}")[0].removeprefix("value ").removesuffix("\n"))
    assert client.world.connect("use-db arb pwd").ask("arbiter") == [*texts, *OK]
    assert arbiter.outbox.take() == texts


@pytest.mark.parametrize("command", ["unwatch-all", "unwatch $conflicts", "use-db non pwd"])
def test_an_arbiter_that_left_does_not_count(client: Client, arbiter: Client, command: str) -> None:
    assert arbiter.ask(command) == OK
    assert client.ask("set-safe k 0 late") == NO_ARBITER


def test_an_arbiter_whose_connection_ended_does_not_count(client: Client, arbiter: Client) -> None:
    arbiter.close()
    assert client.ask("set-safe k 0 late") == NO_ARBITER


def test_watching_the_conflicts_is_being_an_arbiter(world: World, client: Client) -> None:
    watcher = world.connect("use-db arb pwd", "watch $conflicts")
    conflict(client, "late")
    assert len(watcher.outbox.take()) == 1


def test_an_arbiter_of_another_database_does_not_count(world: World, client: Client) -> None:
    world.connect("use-db non pwd", "arbiter")
    assert client.ask("set-safe k 0 late") == NO_ARBITER


def test_an_arbiter_decides_its_own_conflicts_too(arbiter: Client) -> None:
    told = arbiter.ask("set-safe k 0 late")
    assert told == [f"resolve {START_NS} arb 5 k now late", f"error $$conflitct unresolved $conflicts_k_{START_NS} \n"]


# --- ids and restarts ------------------------------------------------------------------------------------------


def test_ids_grow_also_when_the_clock_stands(client: Client, arbiter: Client) -> None:
    client.ask("set-safe k 0 late")
    client.ask("set-safe k 0 later")
    ids = [int(text.split(" ")[1]) for text in arbiter.outbox.take()]
    assert ids == [START_NS, START_NS + 1]


def test_ids_grow_also_when_the_clock_goes_back(client: Client, arbiter: Client) -> None:
    client.ask("set-safe k 0 late")
    client.world.time_ns -= 10**9
    client.ask("set-safe k 0 later")
    ids = [int(text.split(" ")[1]) for text in arbiter.outbox.take()]
    assert ids == [START_NS, START_NS + 1]


def ids(told: list[str]) -> list[int]:
    return [int(text.split(" ")[1]) for text in told if text.startswith("resolve ")]


def test_the_records_of_an_older_server_are_read_in_slices(world: World, client: Client) -> None:
    for number in range(1, 2001):
        client.ask(f"set $conflicts_k_{START_NS + number} resolved")
    world.commit()
    world.restart()
    assert sum(1 for _ in world.engine.keyspace.conflict_ids.find_newest()) >= 4
    assert world.engine.keyspace.conflict_ids.upcoming == START_NS + 2001
    assert list(world.engine.keyspace.conflict_ids.find_newest()) == []


@pytest.mark.parametrize("is_resolved", [False, True])
@pytest.mark.parametrize("noted", [True, False])
def test_ids_grow_over_a_restart_with_the_clock_set_back(
    world: World, client: Client, arbiter: Client, is_resolved: bool, noted: bool
) -> None:
    """Also in another database, on another key, and where an older server has noted no id."""
    first = conflict(client, "late")
    if is_resolved:
        arbiter.ask(f"resolve {first} arb k 5 settled")
    world.admin("create-db arb2 pwd arbiter")
    if not noted:
        world.engine.view.write(LAST_CONFLICT, None)
    world.commit()
    world.time_ns -= 10**18
    world.restart()
    other = world.connect("use-db arb2 pwd", "arbiter", "set-safe a 4 now")
    assert ids(other.ask("set-safe a 0 late")) == [first + 1]
    again = world.connect("use-db arb pwd", "set-safe k2 4 now")
    told = again.ask("arbiter")
    assert ids(told) == ([] if is_resolved else [first])
    assert ids(again.ask("set-safe k2 0 late")) == [first + 2]
    world.commit()
    world.restart()
    assert ids(world.connect("use-db arb pwd").ask("arbiter")) == ([] if is_resolved else [first]) + [first + 2]


def test_a_conflict_that_was_lost_leaves_its_id_unused(world: World, client: Client, arbiter: Client) -> None:
    world.commit()
    first = conflict(client, "late")
    world.lose()
    world.time_ns -= 10**18
    client = world.connect("use-db arb pwd", "arbiter")
    assert ids(client.ask("set-safe k 0 late")) == [first + 1]


def test_a_key_that_somebody_made_to_look_like_a_record_does_not_use_the_ids_up(world: World, client: Client) -> None:
    for number in (2**62 + 1, 2**63 - 1, 2**64 - 1, 10**30):
        client.ask(f"set $conflicts_x_{number} resolve")
    client.ask(f"set $conflicts_x_{2**62 - 1} resolve")
    world.commit()
    world.restart()
    arbiter = world.connect("use-db arb pwd", "arbiter")
    (identifier,) = ids(arbiter.ask("set-safe k 0 late"))
    assert identifier == 2**62
    assert arbiter.ask(f"resolve {identifier} arb k 5 done") == OK


def test_a_clock_far_ahead_gives_ids_that_can_be_resolved(world: World, client: Client, arbiter: Client) -> None:
    world.time_ns = 2**64
    (identifier,) = ids(arbiter.ask("set-safe k 0 late"))
    assert arbiter.ask(f"resolve {identifier} arb k 5 done") == OK
    assert client.ask("get-safe k") == ["value-version 6 done\n", *OK]


def test_a_restart_loses_nothing_of_a_conflict(world: World, client: Client, arbiter: Client) -> None:
    first, second = conflict(client, "late"), conflict(client, "later")
    sent = arbiter.outbox.take()
    world.commit()
    world.restart()
    arbiter = world.connect("use-db arb pwd")
    assert arbiter.ask("arbiter") == [*sent, *OK]
    assert arbiter.ask(f"resolve {first} arb k 5 one") == OK
    assert arbiter.ask(f"resolve {second} arb k 6 two") == OK
    assert arbiter.ask("get-safe k") == ["value-version 7 two\n", *OK]
    assert world_conflicts(arbiter) == []


def test_a_conflict_while_an_arbiter_arrives_is_told_once(world: World, client: Client, arbiter: Client) -> None:
    """Told twice it would be resolved twice, and the second time take back what was set in between."""
    first = conflict(client, "late")
    world.commit()
    world.restart()
    arriving, client = world.connect("use-db arb pwd"), world.connect("use-db arb pwd")
    suspension = arriving.start("arbiter")
    next(suspension)
    second = conflict(client, "later")
    world.settle(suspension)
    assert sorted(ids(arriving.outbox.take())) == [first, second]


def test_key_record_and_index_become_durable_together(world: World, client: Client, arbiter: Client) -> None:
    world.commit()
    conflict(client, "late")
    world.lose()
    assert client.ask("get-safe k") == ["value-version 5 now\n", *OK]
    assert client.ask("keys") == ["keys ,$connections,k\n", *OK]
    assert world_conflicts(client) == []
    assert arbiter.outbox.take()
