"""Several administrators: each has a password of its own, and the audit trail says who did what."""

from __future__ import annotations

import pytest

from pynun import limits
from tests.engine.test_administering import report
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, Client, Visitor, World

OK = ["ok \n"]
VALID, INVALID = ["valid auth\n", *OK], ["invalid auth\n", *OK]
NOT_AUTH = ["error Not auth \n"]


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.admin("add-admin ana ana pwd")
    return world


def ana(world: World, *commands: str) -> Client:
    """The administrator ana."""
    return world.connect("auth ana ana pwd", *commands)


def names(world: World) -> list[str]:
    """The administrators that there are."""
    return [row["name"] for row in report(world.admin(), "list-admins")["admins"]]


def test_who_is_added_may_do_everything(world: World) -> None:
    assert world.connect().ask("auth ana ana pwd") == VALID
    assert ana(world).ask("create-db d pwd") == ["create-db success\n", *OK]
    assert ana(world).ask("add-admin bob bob-pwd") == OK
    assert names(world) == [ADMIN_USER, "ana", "bob"]
    world.commit()
    world.restart()
    assert world.connect().ask("auth bob bob-pwd") == VALID


@pytest.mark.parametrize("text", ["auth ana wrong", "auth ana", "auth nobody ana pwd", f"auth ana {ADMIN_PASSWORD}"])
def test_others_are_kept_out(world: World, text: str) -> None:
    assert world.connect().ask(text) == INVALID


@pytest.mark.parametrize("name", ["a:b", "a;b", "-a", "a\tb", "a" * 65, "\u00a0", "\u200b"])
def test_a_name_that_not_every_client_can_send_is_refused(world: World, name: str) -> None:
    assert world.admin().ask(f"add-admin {name} pwd")[0].startswith("error an administrator's name has 1 to 64")
    assert world.connect().ask(f"auth {name} pwd") == INVALID


@pytest.mark.parametrize("name", ["a" * 64, "Zoë", "医生", "a.b@c"])
def test_other_names_are_taken(world: World, name: str) -> None:
    assert world.admin().ask(f"add-admin {name} pwd") == OK
    assert world.connect().ask(f"auth {name} pwd") == VALID


def test_there_are_no_two_of_one_name_and_not_too_many(world: World) -> None:
    admin = world.admin()
    exists = ["error administrator already exists \n"]
    assert admin.ask("add-admin ana other") == exists
    assert admin.ask(f"add-admin {ADMIN_USER} other") == exists
    for number in range(limits.ADMINISTRATORS_MAX - 1):
        assert admin.ask(f"add-admin n{number} pwd") == OK
    assert admin.ask("add-admin more pwd") == ["error too many administrators: at most 100, remove one first \n"]
    admin.ask("remove-admin n1")
    assert admin.ask("add-admin more pwd") == OK


def test_of_two_who_add_one_name_at_once_the_second_is_refused(world: World) -> None:
    admin, other = world.admin(), world.admin()
    suspensions = admin.start("add-admin bob one"), other.start("add-admin bob two")
    needs = [next(suspension) for suspension in suspensions]
    for suspension, need in zip(suspensions, needs, strict=True):
        with pytest.raises(StopIteration):
            suspension.send(world.credentials.answer(need))
    assert (admin.outbox.take(), other.outbox.take()) == (OK, ["error administrator already exists \n"])
    assert world.connect().ask("auth bob one") == VALID


def test_sessions_of_who_is_removed_end(world: World) -> None:
    world.admin("create-db d pwd")
    there, own = Visitor(), Visitor()
    gone = Client(world, there)
    gone.ask("auth ana ana pwd")
    gone.ask("open-db d")
    gone.ask("watch k")
    boss = Client(world, own)
    boss.ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}")
    assert boss.ask("remove-admin ana") == OK
    assert (there.is_ended, own.is_ended) == (True, False)
    assert gone.ask("list-dbs") == NOT_AUTH
    assert gone.ask("get k")[0] == "error no-db-selected\n"
    assert boss.ask("list-dbs")[-1:] == OK
    assert world.connect().ask("auth ana ana pwd") == INVALID
    assert names(world) == [ADMIN_USER]


def test_who_removes_itself_is_told_so(world: World) -> None:
    own = Visitor()
    client = Client(world, own)
    client.ask("auth ana ana pwd")
    assert client.ask("remove-admin ana") == OK
    assert not own.is_ended
    assert client.ask("list-dbs") == NOT_AUTH


@pytest.mark.parametrize("asking", ["ana", "boss"])
def test_a_new_password_ends_the_other_sessions_of_that_one_only(world: World, asking: str) -> None:
    boss, one, other = world.admin(), ana(world), ana(world)
    if asking == "ana":
        assert one.ask("set-password new") == OK
    else:
        assert boss.ask("set-admin-password ana new") == OK
    assert other.ask("list-dbs") == NOT_AUTH
    assert (one.ask("list-dbs") == NOT_AUTH) == (asking == "boss")
    assert boss.ask("list-dbs")[-1:] == OK
    assert world.connect().ask("auth ana ana pwd") == INVALID
    assert world.connect().ask("auth ana new") == VALID
    assert world.connect().ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}") == VALID


def test_the_first_one_s_password_is_its_own(world: World) -> None:
    client, first = ana(world), world.admin()
    assert client.ask(f"set-admin-password {ADMIN_USER} new") == OK
    assert first.ask("list-dbs") == NOT_AUTH
    assert client.ask("list-dbs")[-1:] == OK
    assert world.connect().ask(f"auth {ADMIN_USER} new") == VALID


def test_a_system_user_changes_the_first_one_s_password(world: World) -> None:
    local = Visitor()
    local.system_user = "root"
    root = Client(world, local)
    assert root.ask("auth root -") == VALID
    assert root.ask("set-password new") == OK
    assert root.ask("list-dbs")[-1:] == OK
    assert world.connect().ask(f"auth {ADMIN_USER} new") == VALID
    assert names_of(root) == [ADMIN_USER, "ana"]


def names_of(client: Client) -> list[str]:
    return [row["name"] for row in report(client, "list-admins")["admins"]]


def test_the_trail_says_who(world: World) -> None:
    client = ana(world)
    world.trail.take()
    client.ask("create-db d pwd")
    client.ask("remove-admin ana")
    facts = [fact for fact, _, _ in world.trail.take()]
    assert [(fact.event, fact.user) for fact in facts] == [("create-db", "ana"), ("remove-admin", "ana")]


def test_what_is_lost_makes_nobody_administrator(world: World) -> None:
    world.commit()
    boss = world.admin("add-admin bob bob-pwd")
    bob, old, new = world.connect("auth bob bob-pwd"), ana(world), world.connect()
    boss.ask("set-admin-password ana new")
    new.ask("auth ana new")
    assert old.ask("list-dbs") == NOT_AUTH
    world.lose()
    assert bob.ask("list-dbs") == NOT_AUTH
    assert new.ask("list-dbs") == NOT_AUTH
    assert world.connect().ask("auth bob bob-pwd") == INVALID
    assert world.connect().ask("auth ana ana pwd") == VALID


def test_no_answer_shows_a_hash(world: World) -> None:
    admin = world.admin(f"use-db $admin {ADMIN_PASSWORD}")
    for command in ("list-admins", "list-users $admin", "keys", "keys $$"):
        assert "argon2" not in admin.ask(command)[0]
    assert "ana" not in admin.ask("keys")[0]
