"""Sessions: logging in, selecting, the order of the gates (docs/protocol.md sections 2 and 3)."""

from __future__ import annotations

import pytest

from pynun.engine.commands.table import COMMANDS
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, Client, World, fake_hash

OK = ["ok \n"]
NOT_AUTH = ["error Not auth \n"]


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.admin("create-db d pwd", "use-db d pwd", "create-user ana ana-pwd", "set-permissions ana r a*")
    return world


@pytest.fixture(name="client")
def _client(world: World) -> Client:
    return world.connect()


def test_the_right_password_makes_an_admin(client: Client) -> None:
    assert client.ask("cluster-state") == NOT_AUTH
    assert client.ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}") == ["valid auth\n", *OK]
    assert client.ask("cluster-state")[-1:] == OK


@pytest.mark.parametrize(
    "credentials",
    ["", "user-name", "user-name ", "user-name wrong", "other user-pwd", " user-pwd", "user-name user-pwd more"],
)
def test_wrong_credentials_make_none_and_are_answered_ok(client: Client, credentials: str) -> None:
    assert client.ask(f"auth {credentials}") == ["invalid auth\n", *OK]
    assert client.ask("cluster-state") == NOT_AUTH


def test_a_failed_login_takes_the_rights_of_an_admin_away(world: World) -> None:
    admin = world.admin()
    assert admin.ask("auth user-name wrong") == ["invalid auth\n", *OK]
    assert admin.ask("cluster-state") == NOT_AUTH


def test_logging_in_leaves_database_and_user_as_they_are(client: Client) -> None:
    client.ask("use-db d ana ana-pwd")
    client.ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}")
    assert client.ask("get a") == ["value <Empty>\n", *OK]
    assert client.ask("get b")[0] == "permission denied\n"


def test_a_failed_selection_leaves_the_session_as_it_is(client: Client) -> None:
    client.ask("use-db d ana ana-pwd")
    for command in ("use-db d wrong", "use-db d eve ana-pwd", "use-db nowhere pwd", "use-db d"):
        assert client.ask(command)[-1].startswith("error ")
    assert client.ask("get a") == ["value <Empty>\n", *OK]
    assert client.ask("get b")[0] == "permission denied\n"


def test_selecting_again_resets_the_user(client: Client) -> None:
    client.ask("use-db d ana ana-pwd")
    client.ask("use-db d pwd")
    assert client.ask("get b") == ["value <Empty>\n", *OK]


def test_a_user_of_another_database_is_none_of_this_one(world: World, client: Client) -> None:
    world.admin("create-db e e-pwd")
    assert client.ask("use-db e ana ana-pwd") == ["error Invalid token \n"]
    assert client.ask("use-db e pwd") == ["error Invalid token \n"]


def test_a_token_may_hold_spaces_only_behind_a_user(world: World, client: Client) -> None:
    world.admin("use-db d pwd", "create-user bob two words")
    assert client.ask("use-db d bob two words") == OK


def test_the_admin_database_is_one_and_its_token_is_the_password(client: Client) -> None:
    assert client.ask(f"use-db $admin {ADMIN_PASSWORD}") == OK
    assert client.ask("keys") == ["keys ,$admin,$connections,d\n", *OK]
    assert client.ask("get d") == ["value {}\n", *OK]


def test_with_another_password_for_the_admin_database_one_logs_in_with_that(world: World, client: Client) -> None:
    admin = world.admin(f"use-db $admin {ADMIN_PASSWORD}")
    assert admin.ask("set $$token new-pwd") == OK
    assert client.ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}")[0] == "invalid auth\n"
    assert client.ask(f"auth {ADMIN_USER} new-pwd")[0] == "valid auth\n"


def test_the_password_given_at_the_start_rules(world: World) -> None:
    world.admin(f"use-db $admin {ADMIN_PASSWORD}", "set $$token forgotten")
    world.commit()
    world.restart()
    assert world.admin().ask("cluster-state")[-1:] == OK
    assert world.engine.admin_token_hash() == fake_hash(ADMIN_PASSWORD)


def test_sessions_know_nothing_of_each_other(world: World) -> None:
    world.admin("use-db d pwd")
    other = world.connect()
    assert other.ask("cluster-state") == NOT_AUTH
    assert other.ask("get a")[0] == "error no-db-selected\n"


# --- the order of the gates ------------------------------------------------------------------------------------


def test_arguments_come_before_the_admin(client: Client) -> None:
    assert client.ask("create-db") == ["error create-db must be followed by a token \n"]
    assert client.ask("create-db x y") == NOT_AUTH


def test_the_admin_comes_before_the_database(world: World, client: Client) -> None:
    assert client.ask("create-user u p") == ["error To read security keys you must auth as an admin! \n"]
    assert world.admin().ask("create-user u p")[0] == "error no-db-selected\n"


@pytest.mark.parametrize("command", [row for row in COMMANDS if row.permission], ids=lambda row: str(row.name))
def test_arguments_come_before_the_key_s_gates(client: Client, command: object) -> None:
    name = getattr(command, "name", "")
    rest = "  1 v" if name == "set-safe" else ""
    assert client.ask(f"{name}{rest}") == [f"error {name} must contain a key \n"]


def test_an_empty_command_and_an_unknown_one(client: Client) -> None:
    assert client.ask("") == ["error empty command \n"]
    assert client.ask(" get a") == ["error empty command \n"]
    assert client.ask("Get a") == ["error unknown command: Get \n"]


def test_a_command_within_an_operation_passes_the_same_gates(world: World) -> None:
    admin = world.admin()
    ack = "ack 1 127.0.0.1:3014 \n"
    for command in ("get k", "get", "set $$x 1", "create-user u p", "nonsense", "use-db d wrong", "get-safe a b c"):
        told = world.admin().ask(command)
        assert admin.ask(f"rp 1 {command}") == [ack, *told], command
    ana = world.admin("use-db d ana ana-pwd")
    assert ana.ask("rp 1 get b") == [ack, "permission denied\n", "error permission denied\n \n"]
    assert ana.ask("rp 1 get a") == [ack, "value <Empty>\n", *OK]
    assert ana.ask("rp 1 keys") == [ack, "keys ,$$permission_$ana,$$token,$$user_ana,$connections\n", *OK]
    assert ana.ask("rp 1 arbiter") == [ack, "permission denied\n", "error permission denied\n \n"]
    assert ana.ask("rp 1 rp 2 get a") == [ack, "error rp can't hold another rp \n"]
