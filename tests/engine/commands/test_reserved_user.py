"""`all` is nobody's name: no command makes a token for it, and one that is stored lets nobody in (section 3)."""

from __future__ import annotations

import pytest

from pynun.engine.overlay import Entry
from tests.engine.world import World, fake_hash

OK = ["ok \n"]
RESERVED = "error all is reserved: it names the sessions that use the database token \n"
INVALID = ["error Invalid token \n"]


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.admin("create-db d pwd", "create-db a pwd arbiter")
    return world


@pytest.mark.parametrize(
    "command",
    [
        "create-user all secret",
        "add-user d all secret",
        "set $$user_all secret",
        "set-safe $$user_all 5 secret",
        f"set $$user_all {fake_hash('secret')}",
        "replicate d $$user_all -1 secret",
        "rp 7 create-user all secret",
        "rp 7 set $$user_all secret",
    ],
)
def test_no_command_makes_a_user_called_all(world: World, command: str) -> None:
    admin = world.admin("use-db d pwd")
    assert admin.ask(command)[-1] == RESERVED
    assert world.connect().ask("use-db d all secret") == INVALID
    assert admin.ask("keys $$user")[0] == "keys \n"
    assert admin.ask("increment $$user_all")[-1:] == ["error Key is not numeric \n"]
    assert admin.ask("resolve 1 d $$user_all 5 secret")[-1:] == ["error Invalid version! \n"]


def test_one_that_is_stored_lets_nobody_in_and_can_be_removed(world: World) -> None:
    """By an import, a restored backup, or an older server."""
    found = world.engine.database("d")
    world.engine.view.write(found.stored_key("$$user_all"), Entry(0, fake_hash("secret")))
    client, admin = world.connect("use-db d pwd", "watch k"), world.admin("use-db d pwd")
    assert world.connect().ask("use-db d all secret") == INVALID
    assert world.connect().ask("use-db d all pwd") == INVALID
    assert '"user":"all","has_token":false' in admin.ask("list-users d")[0]
    assert admin.ask("set-token d all new") == OK  # the database's own
    assert world.connect().ask("use-db d all secret") == INVALID
    client = world.connect("use-db d new", "watch k")
    assert admin.ask("remove $$user_all") == OK
    assert admin.ask("keys $$user")[0] == "keys \n"
    admin.ask("set k v")
    assert client.outbox.take() == ["changed k v\n", "changed-version k 0 v\n"], "who came with the token stays"
