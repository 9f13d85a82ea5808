"""The commands of an administrator: pages, users, explanations that hold, sessions, the password."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pynun.engine.commands.listing import PAGE_ROWS
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, Client, Visitor, World

OK = ["ok \n"]
NOT_AUTH = ["error Not auth \n"]
NO_DATABASE = ["error no-db-selected\n", "error error no-db-selected\n \n"]


@pytest.fixture(name="world")
def _world() -> World:
    return World()


@pytest.fixture(name="admin")
def _admin(world: World) -> Client:
    return world.admin("create-db d pwd")


def report(client: Client, command: str) -> dict[str, Any]:
    """The JSON that a command answers."""
    message, end = client.ask(command)
    assert [end] == OK
    word, _, text = message.partition(" ")
    assert message.endswith("\n")
    assert word.isascii()
    found = json.loads(text)
    assert isinstance(found, dict)
    return found


def listed(client: Client, member: str, command: str) -> list[dict[str, Any]]:
    """All rows of a listing, page by page."""
    rows: list[dict[str, Any]] = []
    after = ""
    while True:
        found = report(client, f"{command}{after}")
        assert len(found[member]) <= PAGE_ROWS
        rows += found[member]
        if found["next"] is None:
            return rows
        after = f" {found['next']}"


@pytest.mark.parametrize("count", [0, 1, PAGE_ROWS - 1, PAGE_ROWS, PAGE_ROWS + 1, 2 * PAGE_ROWS + 7])
def test_databases_users_and_sessions_are_listed_in_pages(world: World, admin: Client, count: int) -> None:
    names = sorted(f"n{number:04}" for number in range(count))
    for number, name in enumerate(names):
        admin.ask(f"create-db {name} pwd")
        admin.ask(f"add-user d {name} pwd")
        world.connect()
        if number == count // 2:
            world.commit()
    assert [row["name"] for row in listed(admin, "databases", "list-dbs")] == sorted(["$admin", "d", *names])
    assert [row["user"] for row in listed(admin, "users", "list-users d")] == names
    assert [row["id"] for row in listed(admin, "sessions", "list-sessions")] == list(range(1, count + 2))


@pytest.mark.parametrize("ending", [";", "%", "%3b", "\t", "\r", "\x7f", "\u3000"])
def test_pages_follow_each_other_whatever_the_names(world: World, admin: Client, ending: str) -> None:
    names = sorted(f"n{number:04}{ending}" for number in range(2 * PAGE_ROWS + 7))
    for name in names:
        admin.ask(f"create-db {name} pwd")
        admin.ask(f"add-user d {name} pwd")
    world.commit()
    assert [row["name"] for row in listed(admin, "databases", "list-dbs")] == ["$admin", "d", *names]
    assert [row["user"] for row in listed(admin, "users", "list-users d")] == names
    following = report(admin, "list-dbs")["next"]
    assert not set(following) & set(";\t\r\n \x7f\u3000")


def test_a_name_of_plain_characters_is_its_own_place(world: World, admin: Client) -> None:
    for name in ("Zürich-1", "a,b|c", "x=(y)"):
        admin.ask(f"create-db {name} pwd")
        after = [row["name"] for row in report(admin, f"list-dbs {name}")["databases"]]
        assert name not in after
        assert all(other > name for other in after)


def test_too_many_for_any_listing_are_refused(world: World, admin: Client) -> None:
    object.__setattr__(world.context, "keys_max", 3)
    for name in ("ana", "bob", "cem", "dee"):
        admin.ask(f"add-user d {name} pwd")
    assert admin.ask("list-users d") == ["error too many keys: at most 3, ask for fewer by a pattern \n"]


def test_a_listing_of_what_is_lost_meanwhile_is_made_again(world: World, admin: Client) -> None:
    for number in range(3000):
        admin.ask(f"create-db kept-{number} pwd")
    world.commit()
    admin.ask("create-db a-lost pwd")
    suspension = admin.start("list-dbs")
    next(suspension)
    admin.outbox.take()
    world.lose()
    for _ in suspension:
        pass
    answer = admin.outbox.take()[0]
    assert "kept-0" in answer
    assert "lost" not in answer


def test_a_page_does_not_read_those_before_it_again(world: World, admin: Client) -> None:
    for number in range(3000):
        admin.ask(f"create-db n{number:04} pwd")
    world.commit()
    all_steps = len(list(admin.start("list-dbs 0")))
    assert len(list(admin.start("list-dbs n2000"))) < all_steps, "it read more than follows that name"


def test_the_size_of_a_database_is_that_of_its_keys_and_values(world: World, admin: Client) -> None:
    client = world.connect("use-db d pwd", "set k value", "set ü ö")
    client.ask(f"set {'long' * 200} v")
    world.commit()
    entry = world.engine.keyspace.read(world.engine.database("d"), "$$token")
    assert entry is not None
    token = len("$$token") + len(entry.text)
    size = report(admin, "db-size d")
    assert size == {"name": "d", "keys": 4, "bytes": token + 6 + 4 + 801}


def test_users_are_told_with_their_permissions_and_sessions(world: World, admin: Client) -> None:
    admin.ask("add-user d ana ana-pwd")
    admin.ask("add-user d bob bob-pwd")
    admin.ask("grant d ana r *")
    admin.ask("use-db d pwd")
    admin.ask("set-permissions ghost r x")
    world.connect("use-db d ana ana-pwd")
    world.connect("use-db d ana ana-pwd")
    assert report(admin, "list-users d")["users"] == [
        {"user": "ana", "has_token": True, "permissions": "r *", "connections": 2},
        {"user": "bob", "has_token": True, "permissions": None, "connections": 0},
        {"user": "ghost", "has_token": False, "permissions": "r x", "connections": 0},
    ]
    assert admin.ask("remove-user d ghost") == OK
    assert admin.ask("remove-user d ghost") == ["error Not a valid user name \n"]


def test_a_user_whose_token_is_changed_or_who_is_removed_is_out(world: World, admin: Client) -> None:
    admin.ask("add-user d ana ana-pwd")
    admin.ask("grant d ana rw *")
    ana, everyone = world.connect("use-db d ana ana-pwd"), world.connect("use-db d pwd")
    assert admin.ask("set-token d ana new-pwd") == OK
    assert ana.ask("get k") == NO_DATABASE
    assert ana.ask("use-db d ana ana-pwd") == ["error Invalid token \n"]
    assert ana.ask("use-db d ana new-pwd") == OK
    assert admin.ask("remove-user d ana") == OK
    assert ana.ask("get k") == NO_DATABASE
    assert everyone.ask("get k")[-1:] == OK
    assert admin.ask("set-token d all new-pwd") == OK
    assert everyone.ask("get k") == NO_DATABASE
    admin.ask("add-user d ana ana-pwd")
    assert ana.ask("use-db d ana ana-pwd") == OK
    assert ana.ask("get k")[0] == "permission denied\n"  # the permissions of before went with the user


def test_two_who_create_the_same_user_at_once_do_not_overwrite_each_other(world: World, admin: Client) -> None:
    other = world.admin()
    first, second = admin.start("add-user d ana one"), other.start("add-user d ana two")
    needs = [next(first), next(second)]
    for suspension, need in zip((first, second), needs, strict=True):
        with pytest.raises(StopIteration):
            suspension.send(world.credentials.answer(need))
    assert admin.outbox.take() == OK
    assert other.outbox.take() == ["error user already exists \n"]
    assert world.connect().ask("use-db d ana one") == OK


def test_all_is_never_left_without_rules_by_a_revoke(world: World, admin: Client) -> None:
    client = world.connect("use-db d pwd", "set k v")
    assert report(admin, "grant d all r k")["is_first"]
    assert client.ask("set k w")[0] == "permission denied\n"
    assert report(admin, "revoke d all r k")["permissions"] == ""
    assert client.ask("get k")[0] == "permission denied\n"
    assert not report(admin, "grant d all r k")["is_first"]


@pytest.mark.parametrize("user", ["all", "ana", "bob", "nobody"])
@pytest.mark.parametrize("entry", ["", "set-permissions {} r a*|wx *b", "set-permissions {} i ab"])
def test_the_explanation_is_what_the_server_does(world: World, admin: Client, user: str, entry: str) -> None:
    """Each answer is held against a session of that user that tries it."""
    admin.ask("use-db d pwd")
    for name in ("ana", "bob"):
        admin.ask(f"create-user {name} pwd")
    if entry and user != "nobody":
        assert admin.ask(entry.format(user)) == OK
    for kind, command in {"r": "get", "w": "set", "i": "increment", "x": "remove"}.items():
        for key in ("a", "ab", "b", "c", "$$token"):
            told = report(admin, f"explain-permission d {user} {kind} {key}")
            client = world.connect()
            client.ask("use-db d pwd" if user == "all" else f"use-db d {user} pwd")
            answer = client.ask(f"{command} {key} 1")[0]
            is_denied = answer in ("permission denied\n", "error no-db-selected\n") or "security keys" in answer
            assert told["allowed"] == (not is_denied), (told, answer)
            assert (told["rule"] is not None) == (told["reason"] == "rule")
            client.close()


def test_sessions_are_told_with_what_they_do(world: World, admin: Client) -> None:
    admin.ask("add-user d ana ana-pwd")
    visitor = Client(world, Visitor())
    visitor.ask("use-db d ana ana-pwd")
    admin.ask("grant d ana r *")
    visitor.ask("watch k")
    visitor.ask("watch j")
    rows = listed(admin, "sessions", "list-sessions")
    assert [(row["id"], row["is_admin"], row["is_this"]) for row in rows] == [(1, True, True), (2, False, False)]
    assert rows[1] == {
        "id": 2,
        "transport": "tcp",
        "address": "192.0.2.7",
        "database": "d",
        "user": "ana",
        "is_admin": False,
        "admin": None,
        "since": "2023-11-14T22:13:20.000000000Z",
        "watches": 2,
        "outbox_bytes": 12,
        "is_this": False,
    }
    visitor.close()
    assert [row["id"] for row in listed(admin, "sessions", "list-sessions")] == [1]
    assert admin.ask("disconnect 2") == ["error no session has this id \n"]


def test_a_session_is_disconnected_by_its_owner(world: World, admin: Client) -> None:
    one, other = Visitor(), Visitor()
    Client(world, one)
    Client(world, other)
    assert admin.ask("disconnect 2") == OK
    assert (one.is_ended, other.is_ended) == (True, False)


@pytest.mark.parametrize(
    ("command", "password"),
    [("set-password", "new one"), ("set-token $admin all", "new-one"), ("replicate $admin $$token -1", "new one")],
)
def test_with_a_new_password_nobody_else_is_admin(world: World, admin: Client, command: str, password: str) -> None:
    other = world.admin("use-db $admin user-pwd", "watch $$token")
    member = world.connect("use-db d pwd")
    assert admin.ask(f"{command} {password}") == OK
    assert other.outbox.take() == []
    assert other.ask("list-commands") == NOT_AUTH
    assert other.ask("get d") == NO_DATABASE
    assert member.ask("get k")[-1:] == OK
    assert admin.ask("debug pending-ops")[-1:] == OK
    assert world.connect().ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}") == ["invalid auth\n", *OK]
    assert world.connect().ask(f"auth {ADMIN_USER} {password}") == ["valid auth\n", *OK]


def test_with_the_token_of_the_admin_database_too(world: World) -> None:
    admin, other = world.admin("use-db $admin user-pwd"), world.admin("use-db $admin user-pwd", "watch $$token")
    assert admin.ask("set $$token new") == OK
    assert other.outbox.take() == []
    assert other.ask("list-commands") == NOT_AUTH
    first, second = admin.start("set $$token one"), world.connect(f"auth {ADMIN_USER} new")
    needs = next(first)
    assert second.ask("set-password two") == OK
    with pytest.raises(StopIteration):
        first.send(world.credentials.answer(needs))
    assert admin.outbox.take()[-1].startswith("error To read security keys")
    assert world.connect().ask(f"auth {ADMIN_USER} two")[0] == "valid auth\n"


def test_of_two_who_change_the_password_at_once_the_second_is_refused(world: World, admin: Client) -> None:
    other = world.admin()
    first, second = admin.start("set-password one"), other.start("set-password two")
    needs = [next(first), next(second)]
    for suspension, need in zip((first, second), needs, strict=True):
        with pytest.raises(StopIteration):
            suspension.send(world.credentials.answer(need))
    assert admin.outbox.take() == OK
    assert other.outbox.take() == NOT_AUTH
    assert world.connect().ask(f"auth {ADMIN_USER} one")[0] == "valid auth\n"


def test_no_answer_shows_a_hash(world: World, admin: Client) -> None:
    admin.ask("add-user d ana ana-pwd")
    for command in ("list-dbs", "list-users d", "list-sessions", "explain-permission d ana r k", "grant d ana r *"):
        assert "argon2" not in admin.ask(command)[0]


def test_removing_a_user_tells_watchers_of_what_goes_and_then_of_who_left() -> None:
    world = World()
    admin = world.admin("create-db d pwd", "use-db d pwd", "create-user ana ana-pwd", "set-permissions ana r *")
    world.connect("use-db d ana ana-pwd")
    for key in ("$$user_ana", "$$permission_$ana", "$connections"):
        admin.ask(f"watch {key}")
    told = admin.ask("remove-user d ana")
    assert [line.split(" ")[:2] for line in told] == [
        ["removed", "$$permission_$ana\n"],
        ["removed", "$$user_ana\n"],
        ["changed", "$connections"],
        ["changed-version", "$connections"],
        ["ok", "\n"],
    ]
