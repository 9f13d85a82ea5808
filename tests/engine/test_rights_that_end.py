"""Rights that end while somebody has them: admins who are demoted, and commands that wait meanwhile."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pynun.engine.commands.table import COMMANDS
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, Client, World, fake_hash

if TYPE_CHECKING:
    from collections.abc import Callable

OK = ["ok \n"]
NOT_AUTH = ["error Not auth \n"]
SECURITY = ["error To read security keys you must auth as an admin! \n"]
NO_DATABASE = ["error no-db-selected\n", "error error no-db-selected\n \n"]
ACK = "ack 1 127.0.0.1:3014 \n"


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.admin("create-db d pwd", "use-db d pwd", "create-user ana ana-pwd", "set-permissions ana rwix *").close()
    world.commit()
    world.trail.take()
    return world


@pytest.fixture(name="crowd", scope="module")
def _crowd() -> World:
    """One whose database has so many users that reading through it takes several slices."""
    world = World()
    admin = world.admin("create-db d pwd", "use-db d pwd", "create-user ana ana-pwd", "set-permissions ana rwix *")
    for number in range(2100):
        admin.ask(f"set $$user_u{number} {fake_hash('x')}")
    admin.close()
    world.commit()
    world.trail.take()
    return world


def login(world: World, selected_by: str = "pwd") -> Client:
    return world.admin(f"use-db d {selected_by}", "watch k", "watch $$secret")


DEMOTIONS: dict[str, Callable[[Client], object]] = {
    "set-password": lambda boss: boss.ask("set-password new"),
    "set-token": lambda boss: boss.ask("set-token $admin all new"),
    "set": lambda boss: (boss.ask(f"use-db $admin {ADMIN_PASSWORD}"), boss.ask("set $$token new")),
    "replicate": lambda boss: boss.ask("replicate $admin $$token -1 new"),
    "a hash": lambda boss: boss.ask(f"replicate $admin $$token -1 {fake_hash('new')}"),
    "rp": lambda boss: boss.ask("rp 1 set-password new"),
}
"""How an admin makes all others that are none."""

REVOCATIONS = {
    "pwd": ("set-token d all new", "replicate d $$token -1 new", f"replicate d $$token -1 {fake_hash('new')}"),
    "ana ana-pwd": (
        "set-token d ana new",
        "remove-user d ana",
        "replicate-remove d $$user_ana",
        "replicate d $$user_ana -1 new",
    ),
}
"""How what a session selected the database with becomes invalid."""


@pytest.mark.parametrize("demotion", [*DEMOTIONS, "a wrong password"])
@pytest.mark.parametrize(
    ("selected_by", "revocation"), [(by, command) for by, commands in REVOCATIONS.items() for command in commands]
)
def test_who_is_admin_no_more_has_lost_what_was_revoked_meanwhile(
    world: World, selected_by: str, revocation: str, demotion: str
) -> None:
    boss, other, user = world.admin(), login(world, selected_by), world.connect("use-db d pwd")
    assert boss.ask(revocation)[-1:] == OK
    boss.ask("replicate d k -1 heard")
    assert ("changed k heard\n" in other.outbox.take()) is (revocation != "remove-user d ana")  # with its permissions
    if demotion == "a wrong password":
        assert other.ask("auth x y") == ["invalid auth\n", *OK]
    else:
        DEMOTIONS[demotion](boss)
    boss.ask("replicate d k -1 secret")
    boss.ask("replicate d $$secret -1 secret")
    assert other.outbox.take() == []
    for command in ("get k", "set k v", "keys", "arbiter", "watch k"):
        assert other.ask(command) == NO_DATABASE, command
    assert other.ask("cluster-state") == NOT_AUTH
    assert user.ask("get k")[-1:] == (OK if selected_by != "pwd" else NO_DATABASE[-1:])


@pytest.mark.parametrize("demotion", DEMOTIONS)
def test_who_is_admin_no_more_keeps_what_is_valid(world: World, demotion: str) -> None:
    boss, other = world.admin(), login(world)
    assert boss.ask("set-token d ana new")[-1:] == OK
    DEMOTIONS[demotion](boss)
    assert boss.ask("cluster-state")[-1:] == OK
    boss.ask("replicate d $$secret -1 s")
    boss.ask("replicate d k -1 v")
    assert other.outbox.take() == ["changed k v\n", "changed-version k 0 v\n"]
    assert other.ask("get k") == ["value v\n", *OK]


def test_a_user_that_is_made_anew_is_another_one(world: World) -> None:
    boss, other = world.admin(), login(world, "ana ana-pwd")
    for command in ("remove-user d ana", "add-user d ana other-pwd", "grant d ana r *", "set-password new"):
        assert boss.ask(command)[-1:] == OK
    assert other.ask("get k") == NO_DATABASE


def test_the_admin_database_is_lost_with_the_password_it_was_selected_with(world: World) -> None:
    boss, other = world.admin(), world.admin(f"use-db $admin {ADMIN_PASSWORD}", "watch d")
    boss.ask("set-password new")
    assert other.ask("keys") == NO_DATABASE
    boss.ask("drop-db d")
    assert other.outbox.take() == []


def test_the_password_as_it_was_is_the_password_as_it_was(world: World) -> None:
    """A value that is a hash is stored as it is: who came in with it stays admin, as the password stays right."""
    boss, other = world.admin(), world.admin()
    assert boss.ask(f"replicate $admin $$token -1 {fake_hash(ADMIN_PASSWORD)}") == OK
    assert other.ask("cluster-state")[-1:] == OK


# --- commands that wait ------------------------------------------------------------------------------------------

HASHING = {
    "create-db": "create-db e e-pwd",
    "create-user": "create-user bob bob-pwd",
    "set": "set $$token new",
    "set-safe": "set-safe $$user_ana -1 new",
    "add-user": "add-user d bob bob-pwd",
    "set-token": "set-token d all new",
    "set-password": "set-password new",
    "add-admin": "add-admin bob bob-pwd",
    "set-admin-password": f"set-admin-password {ADMIN_USER} new",
    "replicate": "replicate d $$token -1 new",
    "rp": "rp 1 add-user d bob bob-pwd",
}
"""Every command of an admin that waits for a hash."""

READING = {"list-users": "list-users d", "db-size": "db-size d"}
"""Those that read through a large database in slices. `list-dbs` does too, where there are thousands."""


def waits(world: World, text: str) -> bool:
    """Whether a command waits for anything."""
    suspension = world.admin("use-db d pwd").session.execute(text)
    if suspension is None:
        return False
    suspension.close()
    return True


def test_no_command_that_waits_is_forgotten_here(crowd: World) -> None:
    """Each with arguments that make it wait, if it ever does. Logging in passes no gates."""
    texts = {
        "get": "get $$token", "increment": "increment $$n", "remove": "remove $$user_ana", "watch": "watch $$token",
        "get-safe": "get-safe $$token", "unwatch": "unwatch k", "keys": "keys", "use-db": "use-db d wrong",
        "auth": "auth a b", "set-permissions": "set-permissions ana r *", "resolve": "resolve 1 d k 1 v",
        "drop-db": "drop-db e", "remove-user": "remove-user d ana", "grant": "grant d ana r *",
        "revoke": "revoke d ana r *", "explain-permission": "explain-permission d ana r k",
        "disconnect": "disconnect 0",
        "replicate-increment": "replicate-increment d n", "replicate-remove": "replicate-remove d n",
    }  # fmt: skip
    texts |= {**HASHING, **READING}
    waiting = {row.name for row in COMMANDS if waits(crowd, texts.get(row.name, row.name))}
    assert waiting == {*HASHING, *READING, "keys", "list-keys", "use-db", "auth"}


def demote_meanwhile(world: World, client: Client, text: str) -> list[str]:
    """Start a command, change the admin password while it waits, and let it go on."""
    suspension = client.start(text)
    need = next(suspension)
    world.admin().ask("set-password changed-meanwhile")
    world.trail.take()
    while True:
        try:
            need = suspension.send(world.credentials.answer(need))
        except StopIteration:
            return client.outbox.take()


@pytest.mark.parametrize("name", HASHING)
def test_a_command_that_waits_passes_its_gates_again(world: World, name: str) -> None:
    client = world.admin("use-db d pwd")
    before = {key: world.engine.keyspace.read(world.engine.database("d"), key) for key in ("$$token", "$$user_ana")}
    told = demote_meanwhile(world, client, HASHING[name])
    assert told[:-1] == ([ACK] if name == "rp" else [])
    assert told[-1:] in ((SECURITY,) if name in ("set", "set-safe") else (NOT_AUTH, SECURITY))
    ((_, outcome, reason),) = world.trail.take()
    assert (outcome, f"error {reason} \n") == ("refused", told[-1])
    boss = world.connect(f"auth {ADMIN_USER} changed-meanwhile")
    assert '"name":"e"' not in boss.ask("list-dbs")[0]
    for user in ("bob", "ana"):
        assert world.connect().ask(f"use-db d {user} bob-pwd") == ["error Invalid token \n"]
    assert before == {key: world.engine.keyspace.read(world.engine.database("d"), key) for key in before}


@pytest.mark.parametrize("name", READING)
def test_a_listing_that_waits_passes_its_gates_again(crowd: World, name: str) -> None:
    client = crowd.admin()
    assert end_meanwhile(client, READING[name], lambda: client.session.lose_admin()) == NOT_AUTH


def test_keys_lists_no_security_keys_to_who_is_admin_no_more(crowd: World) -> None:
    client = crowd.admin("use-db d pwd", "set k v")
    assert end_meanwhile(client, "keys", lambda: client.session.lose_admin()) == ["keys ,$connections,k\n", *OK]


def test_keys_lists_nothing_of_a_database_that_is_lost(crowd: World) -> None:
    admin = crowd.admin("add-user d eve eve-pwd")
    client = crowd.connect("use-db d eve eve-pwd")
    assert end_meanwhile(client, "keys", lambda: admin.ask("remove-user d eve")) == NO_DATABASE


def end_meanwhile(client: Client, text: str, end: Callable[[], object]) -> list[str]:
    """Start a command that reads in slices, end something after the first, and let it go on."""
    suspension = client.start(text)
    next(suspension)
    end()
    list(suspension)
    return client.outbox.take()


def test_an_arbiter_that_waits_needs_its_permission_still(world: World) -> None:
    boss = world.admin("create-db e pwd arbiter", "use-db e pwd", "arbiter", "create-user ana ana-pwd")
    boss.ask("set-permissions ana r *")
    for number in range(300):
        boss.ask(f"set-safe k{number} 5 v")
        boss.ask(f"set-safe k{number} 1 w")
    ana = world.connect("use-db e ana ana-pwd")
    suspension = ana.start("arbiter")
    next(suspension)
    boss.ask("set-permissions ana r k")
    assert not list(suspension)
    assert ana.outbox.take() == ["permission denied\n", "error permission denied\n \n"]


def test_the_commands_of_one_request_end_with_the_rights(world: World) -> None:
    """As a request over HTTP has them: one after another in one session, the first of which waits."""
    client = world.admin("use-db d pwd")
    suspension = client.start("create-db e e-pwd")
    need = next(suspension)
    boss = world.admin()
    boss.ask("set-token d all new")
    boss.ask("set-password new")
    with pytest.raises(StopIteration):
        suspension.send(world.credentials.answer(need))
    assert client.outbox.take() == NOT_AUTH
    assert client.ask("list-dbs") == NOT_AUTH
    assert client.ask("get k") == NO_DATABASE
