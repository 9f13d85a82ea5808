"""Secrets: only their Argon2id hashes are ever stored (docs/protocol.md section 3)."""

from __future__ import annotations

import pytest

from pynun.engine.effects import HashSecret, VerifySecret
from tests.engine.world import Client, World, fake_hash

OK = ["ok \n"]
INVALID_TOKEN = ["error Invalid token \n"]
SECRET_KEYS = ("$$token", "$$user_ana")
REAL_HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$BUTLmDWVUhJiwyM2pjE3ctIqIm9dU9nLiCJrKPqmfo0"


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.admin("create-db d pwd", "use-db d pwd", "create-user ana ana-pwd")
    return world


@pytest.fixture(name="admin")
def _admin(world: World) -> Client:
    return world.admin("use-db d pwd")


@pytest.mark.parametrize(("key", "secret"), [("$$token", "pwd"), ("$$user_ana", "ana-pwd")])
def test_an_admin_reads_the_hash_and_nothing_else(admin: Client, key: str, secret: str) -> None:
    assert admin.ask(f"get {key}") == [f"value {fake_hash(secret)}\n", *OK]


@pytest.mark.parametrize("command", ["set {} new-secret", "set-safe {} 5 new-secret", "replicate d {} 5 new-secret"])
@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_secret_that_is_set_is_stored_as_its_hash(admin: Client, key: str, command: str) -> None:
    assert admin.ask(command.format(key)) == OK
    assert admin.ask(f"get {key}") == [f"value {fake_hash('new-secret')}\n", *OK]


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_hash_that_is_set_is_stored_as_it_is(admin: Client, key: str) -> None:
    assert admin.ask(f"set {key} {REAL_HASH}") == OK
    assert admin.ask(f"get {key}") == [f"value {REAL_HASH}\n", *OK]


@pytest.mark.parametrize(
    "near",
    [
        "$argon2id$",
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ",
        REAL_HASH.replace("argon2id", "argon2i"),
        REAL_HASH.replace("v=19", "v=16"),
        REAL_HASH.replace("p=1", "p=one"),
        REAL_HASH + " ",
        " " + REAL_HASH,
        REAL_HASH + "=",
    ],
)
def test_what_only_looks_like_a_hash_is_a_secret(admin: Client, near: str) -> None:
    assert admin.ask(f"set $$user_ana {near}") == OK
    assert admin.ask("get $$user_ana") == [f"value {fake_hash(near)}\n", *OK]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("m=19456", "m=262145"),
        ("m=19456", f"m={'9' * 5000}"),
        ("t=2", "t=17"),
        ("p=1", "p=17"),
        ("m=19456,t=2", "m=262144,t=5"),
    ],
)
@pytest.mark.parametrize("command", ["set {}", "set-safe {} 5", "replicate d {} 5"])
@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_hash_that_would_take_too_long_to_check_is_refused(
    admin: Client, key: str, command: str, name: str, value: str
) -> None:
    """Each login attempt would cost the server hundreds of megabytes, or seconds."""
    before = admin.ask(f"get {key}")
    costly = REAL_HASH.replace(name, value)
    assert admin.ask(f"{command.format(key)} {costly}") == [
        "error this Argon2id hash costs too much to check: at most m=262144, t=16, p=16 and m times t 1048576 \n"
    ]
    assert admin.ask(f"get {key}") == before


@pytest.mark.parametrize("cost", ["m=262144,t=4,p=1", "m=65536,t=16,p=16", "m=0065536,t=3,p=4"])
def test_a_hash_that_costs_what_is_usual_elsewhere_is_taken(admin: Client, cost: str) -> None:
    moved = REAL_HASH.replace("m=19456,t=2,p=1", cost)
    assert admin.ask(f"set $$user_ana {moved}") == OK
    assert admin.ask("get $$user_ana") == [f"value {moved}\n", *OK]


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_secret_is_no_number_that_could_be_counted(admin: Client, key: str) -> None:
    assert admin.ask(f"increment {key} 5") == ["error Key is not numeric \n"]


def test_a_user_that_is_not_there_is_not_counted_into_being(admin: Client) -> None:
    assert admin.ask("increment $$user_eve 5") == ["error Key is not numeric \n"]
    assert admin.ask("replicate-increment d $$user_eve 5") == ["error Key is not numeric \n"]
    assert admin.ask("get $$user_eve") == ["value <Empty>\n", *OK]


@pytest.mark.parametrize("key", SECRET_KEYS)
def test_a_secret_is_not_set_by_resolving_a_conflict(admin: Client, key: str) -> None:
    before = admin.ask(f"get-safe {key}")
    assert admin.ask(f"resolve 1 d {key} 5 plain-text") == ["error Invalid version! \n"]
    assert admin.ask(f"get-safe {key}") == before


def test_the_token_is_not_removed(admin: Client) -> None:
    refused = ["error $$token key cannot be removed \n"]
    assert admin.ask("remove $$token") == refused
    assert admin.ask("replicate-remove d $$token") == refused


def test_a_removed_user_logs_in_no_more(world: World, admin: Client) -> None:
    assert admin.ask("remove $$user_ana") == OK
    assert world.connect().ask("use-db d ana ana-pwd") == INVALID_TOKEN


def test_with_another_token_the_old_one_is_refused(world: World, admin: Client) -> None:
    assert admin.ask("set $$token other") == OK
    assert world.connect().ask("use-db d pwd") == INVALID_TOKEN
    assert world.connect().ask("use-db d other") == OK


def test_an_event_of_a_secret_shows_the_hash(world: World, admin: Client) -> None:
    watcher = world.admin("use-db d pwd", "watch $$user_ana")
    admin.ask("create-user ana other")
    assert watcher.outbox.take() == [
        f"changed $$user_ana {fake_hash('other')}\n",
        f"changed-version $$user_ana 1 {fake_hash('other')}\n",
    ]


# --- who came in by an old one ---------------------------------------------------------------------------------

OUT = ["error no-db-selected\n", "error error no-db-selected\n \n"]


@pytest.mark.parametrize("command", ["set $$user_ana other", "create-user ana other", "remove $$user_ana"])
def test_who_came_in_as_a_user_whose_token_changes_is_out(world: World, admin: Client, command: str) -> None:
    admin.ask("set-permissions ana rw *")
    ana = world.connect("use-db d ana ana-pwd", "watch k")
    other = world.connect("use-db d pwd")
    assert admin.ask(command) == OK
    admin.ask("set k v")
    assert ana.outbox.take() == []
    assert ana.ask("get k") == OUT
    assert other.ask("get k") == ["value v\n", *OK]


def test_who_came_in_by_the_database_s_token_is_out_when_it_changes(world: World, admin: Client) -> None:
    admin.ask("set-permissions ana rw *")
    ana = world.connect("use-db d ana ana-pwd")
    other = world.connect("use-db d pwd", "watch k")
    assert admin.ask("set $$token other") == OK
    admin.ask("set k v")
    assert other.outbox.take() == []
    assert other.ask("get k") == OUT
    assert other.ask("use-db d other") == OK
    assert ana.ask("get k") == ["value v\n", *OK]


def test_who_is_out_is_counted_no_more(world: World, admin: Client) -> None:
    world.connect("use-db d ana ana-pwd")
    assert admin.ask("get $connections") == ["value 3\n", *OK]
    admin.ask("remove $$user_ana")
    assert admin.ask("get $connections") == ["value 2\n", *OK]


def test_an_admin_stays_whatever_token_changes(world: World, admin: Client) -> None:
    other = world.admin("use-db d ana ana-pwd")
    admin.ask("set $$token other")
    admin.ask("remove $$user_ana")
    assert admin.ask("get k") == ["value <Empty>\n", *OK]
    assert other.ask("get $$token")[-1:] == OK


# --- checking --------------------------------------------------------------------------------------------------


def test_what_was_just_hashed_needs_no_check(world: World) -> None:
    world.credentials.needs.clear()
    world.admin("create-db e e-pwd", "use-db e e-pwd")
    assert world.credentials.needs == [HashSecret("e-pwd")]


def test_a_right_token_is_checked_once(world: World) -> None:
    world.credentials.verified.clear()
    world.credentials.needs.clear()
    world.connect("use-db d pwd")
    world.connect("use-db d pwd")
    assert world.credentials.needs == [VerifySecret(fake_hash("pwd"), "pwd")]


def test_a_wrong_token_is_checked_every_time(world: World) -> None:
    world.credentials.needs.clear()
    for _ in range(2):
        assert world.connect().ask("use-db d wrong") == INVALID_TOKEN
    assert world.credentials.needs == [VerifySecret(fake_hash("pwd"), "wrong")] * 2


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("use-db d eve pwd", INVALID_TOKEN),
        ("auth eve user-pwd", ["invalid auth\n", *OK]),
        ("use-db unknown pwd", ["error Not a valid database name \n"]),
        ("use-db unknown eve pwd", ["error Not a valid database name \n"]),
    ],
)
def test_a_name_that_is_unknown_costs_a_check_too(world: World, command: str, told: list[str]) -> None:
    world.credentials.needs.clear()
    assert world.connect().ask(command) == told
    assert world.credentials.needs == [VerifySecret(None, command.rpartition(" ")[2])]


@pytest.mark.parametrize("meanwhile", ["set $$user_ana new", "create-user ana new", "remove $$user_ana"])
def test_a_token_that_is_changed_while_it_is_checked_is_refused(world: World, admin: Client, meanwhile: str) -> None:
    world.credentials.verified.clear()
    client = world.connect()
    suspension = client.start("use-db d ana ana-pwd")
    need = next(suspension)
    assert admin.ask(meanwhile) == OK
    with pytest.raises(StopIteration):
        suspension.send(world.credentials.answer(need))
    assert client.outbox.take() == INVALID_TOKEN
    assert client.ask("get k")[-1] == "error error no-db-selected\n \n"


def test_a_session_that_ends_while_it_waits_does_nothing_more(world: World, admin: Client) -> None:
    client = world.admin("use-db d pwd")
    suspension = client.start("create-user late late-pwd")
    need = next(suspension)
    client.close()
    with pytest.raises(StopIteration):
        suspension.send(world.credentials.answer(need))
    assert client.outbox.take() == []
    assert admin.ask("get $$user_late") == ["value <Empty>\n", *OK]


def test_two_that_create_one_database_at_once_get_one(world: World) -> None:
    first, second = world.admin(), world.admin()
    suspensions = [(client, client.start("create-db new new-pwd")) for client in (first, second)]
    told = []
    for client, suspension in suspensions:
        need = next(suspension)
        with pytest.raises(StopIteration):
            suspension.send(world.credentials.answer(need))
        told.append(client.outbox.take())
    assert told == [["create-db success\n", *OK], ["error database already exists \n"]]


def test_needs_do_not_show_their_secrets(world: World) -> None:
    assert "hush" not in repr(HashSecret("hush")) + repr(VerifySecret(None, "hush"))
    assert fake_hash("x") in repr(VerifySecret(fake_hash("x"), "hush"))
    assert world.credentials.needs
