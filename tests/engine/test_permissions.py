"""Who may do what to which key (docs/protocol.md section 3)."""

from __future__ import annotations

import pytest

from pynun.engine.permissions import (
    Permission,
    Rules,
    is_secret_key,
    parse_grants,
    permission_key,
    permitted_user,
    user_key,
)
from tests.engine.world import Client, World

OK = ["ok \n"]
DENIED = ["permission denied\n", "error permission denied\n \n"]
SECURITY = ["error To read security keys you must auth as an admin! \n"]
NOT_SELECTED = ["error no-db-selected\n", "error error no-db-selected\n \n"]

COMMANDS = {
    Permission.READ: ("get k", "get-safe k", "watch k"),
    Permission.WRITE: ("set k v", "set-safe k -1 v"),
    Permission.INCREMENT: ("increment k",),
    Permission.REMOVE: ("remove k",),
}


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.admin("create-db d pwd", "use-db d pwd", "set k 1", "create-user ana ana-pwd")
    return world


@pytest.fixture(name="admin")
def _admin(world: World) -> Client:
    return world.admin("use-db d pwd")


@pytest.fixture(name="ana")
def _ana(world: World) -> Client:
    return world.connect("use-db d ana ana-pwd")


def may(client: Client) -> set[Permission]:
    """The kinds that a client may do to `k`; tries them in an order in which none is in the way of another."""
    allowed = set()
    for kind, commands in COMMANDS.items():
        answers = {client.ask(command)[-1] != DENIED[-1] for command in commands}
        assert len(answers) == 1, f"the commands of {kind} differ"
        if answers == {True}:
            allowed.add(kind)
    return allowed


@pytest.mark.parametrize(
    ("kinds", "allowed"),
    [
        ("r", {Permission.READ}),
        ("w", {Permission.WRITE}),
        ("i", {Permission.INCREMENT}),
        ("x", {Permission.REMOVE}),
        ("rwix", set(Permission)),
        ("xw", {Permission.REMOVE, Permission.WRITE}),
        ("q", {Permission.READ}),  # an unknown letter counts as r
        ("W", {Permission.READ}),
    ],
)
def test_a_letter_allows_its_commands(admin: Client, ana: Client, kinds: str, allowed: set[Permission]) -> None:
    admin.ask(f"set-permissions ana {kinds} *")
    assert may(ana) == allowed


def test_a_named_user_without_an_entry_may_nothing(ana: Client) -> None:
    assert may(ana) == set()


def test_the_token_of_the_database_may_everything_but_security_keys(world: World) -> None:
    client = world.connect("use-db d pwd")
    assert may(client) == set(Permission)
    assert client.ask("get $$token") == SECURITY


def test_an_entry_for_all_rules_the_token_of_the_database(world: World, admin: Client) -> None:
    client = world.connect("use-db d pwd")
    admin.ask("set-permissions all r k")
    assert may(client) == {Permission.READ}
    assert client.ask("get j") == DENIED
    admin.ask("remove $$permission_$all")
    assert may(client) == set(Permission)


def test_an_admin_is_the_user_it_selected_the_database_as(world: World) -> None:
    assert may(world.admin("use-db d ana ana-pwd")) == set()


def test_setting_again_replaces(admin: Client, ana: Client) -> None:
    admin.ask("set-permissions ana rw *")
    admin.ask("set-permissions ana i *")
    assert may(ana) == {Permission.INCREMENT}


def test_permissions_are_stored_as_they_were_given(admin: Client) -> None:
    admin.ask("set-permissions ana rw a*, b |x *c")
    assert admin.ask("get $$permission_$ana") == ["value rw a*, b |x *c\n", *OK]


@pytest.mark.parametrize("command", ["set $$permission_$ana r *", "replicate d $$permission_$ana -1 r *"])
def test_an_entry_that_is_set_as_a_key_counts_at_once(admin: Client, ana: Client, command: str) -> None:
    assert admin.ask(command) == OK
    assert may(ana) == {Permission.READ}


def test_the_entry_of_one_user_is_none_of_another_s(world: World, admin: Client, ana: Client) -> None:
    admin.ask("create-user an an-pwd")
    admin.ask("set-permissions an r *")
    assert may(ana) == set()
    assert may(world.connect("use-db d an an-pwd")) == {Permission.READ}


def test_the_entry_of_one_database_is_none_of_another_s(world: World, admin: Client) -> None:
    world.admin("create-db e pwd", "use-db e pwd", "set k 1", "create-user ana ana-pwd")
    admin.ask("set-permissions ana r *")
    assert may(world.connect("use-db e ana ana-pwd")) == set()


def test_permissions_outlive_a_restart(world: World, admin: Client) -> None:
    admin.ask("set-permissions ana r *")
    world.commit()
    world.restart()
    assert may(world.connect("use-db d ana ana-pwd")) == {Permission.READ}


def test_many_keys_are_decided_on_and_none_of_them_wrongly(admin: Client, ana: Client) -> None:
    admin.ask("set-permissions ana r *7")
    for number in range(5000):  # more than are remembered
        expected = ["value <Empty>\n", *OK] if number % 10 == 7 else DENIED
        assert ana.ask(f"get key-{number}") == expected
    assert ana.ask("get key-7") == ["value <Empty>\n", *OK]
    assert ana.ask("get key-8") == DENIED


# --- security keys ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", ["$$token", "$$user_ana", "$$permission_$ana", "$$anything", "$$"])
@pytest.mark.parametrize("command", ["get {}", "get-safe {}", "set {} v", "increment {}", "remove {}", "watch {}"])
def test_only_an_admin_touches_security_keys(world: World, command: str, key: str) -> None:
    client = world.connect("use-db d pwd")
    assert client.ask(command.format(key)) == SECURITY


def test_the_gate_of_security_keys_comes_before_that_of_the_database(world: World) -> None:
    assert world.connect().ask("get $$token") == SECURITY
    assert world.admin().ask("get $$token") == NOT_SELECTED
    assert world.connect().ask("get k") == NOT_SELECTED


def test_an_admin_touches_security_keys_whatever_its_user_may(world: World) -> None:
    admin = world.admin("use-db d ana ana-pwd")
    assert admin.ask("get k") == DENIED
    assert admin.ask("get $$anything") == ["value <Empty>\n", *OK]


def test_keys_shows_security_keys_to_the_admin_only(world: World, admin: Client) -> None:
    assert admin.ask("keys $$") == ["keys ,$$token,$$user_ana\n", *OK]
    assert world.connect("use-db d pwd").ask("keys $$") == ["keys \n", *OK]


def test_keys_needs_no_permission(ana: Client) -> None:
    assert ana.ask("keys") == ["keys ,$connections,k\n", *OK]


# --- reading an entry ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "key", "kinds"),
    [
        ("r *|rwx client-*", "client-1", {"r", "w", "x"}),
        ("r *|rwx client-*", "other", {"r"}),
        ("r a,b", "b", {"r"}),
        ("r a, b", "b", {"r"}),
        ("r a,,b", "c", set()),  # an empty pattern grants nothing
        ("r ,", "c", set()),
        ("rw", "k", set()),  # no patterns
        ("", "k", set()),
        ("|", "k", set()),
        (" r k", "k", {"r"}),
        ("r  k", "k", {"r"}),
        ("r k | w k", "k", {"r", "w"}),
        ("r words in it", "words in it", {"r"}),
    ],
)
def test_an_entry_grants(text: str, key: str, kinds: set[str]) -> None:
    rules = Rules(parse_grants(text))
    assert {kind.value for kind in Permission if rules.allow(kind, key)} == kinds


def test_a_decision_is_the_same_when_it_is_remembered() -> None:
    rules = Rules(parse_grants("r a*"))
    assert [rules.allow(Permission.READ, key) for key in ("a1", "b", "a1", "b")] == [True, False, True, False]


@pytest.mark.parametrize("granted", Permission)
def test_a_decision_on_one_kind_is_remembered_for_no_other(granted: Permission) -> None:
    rules = Rules(parse_grants(f"{granted.value} k"))
    for kind in (*Permission, *reversed(Permission)):
        assert rules.allow(kind, "k") is (kind is granted)


def test_the_names_of_entries() -> None:
    assert permission_key("ana") == "$$permission_$ana"
    assert permitted_user("$$permission_$ana") == "ana"
    assert permitted_user("$$permission_ana") is None
    assert user_key("ana") == "$$user_ana"
    assert [key for key in ("$$token", "$$user_", "$$users", "$token", "$$permission_$a") if is_secret_key(key)] == [
        "$$token",
        "$$user_",
    ]
