"""A batch that could not be written: the engine is as if its changes had never been (docs/protocol.md section 9)."""

from __future__ import annotations

import pytest

from tests.engine.world import Client, World, fake_hash

OK = ["ok \n"]
NOT_A_DATABASE = ["error Not a valid database name \n"]
NO_DATABASE = ["error no-db-selected\n", "error error no-db-selected\n \n"]


@pytest.fixture(name="world")
def _world() -> World:
    """A world with a database `d`, on disk."""
    world = World()
    world.admin("create-db d pwd")
    world.commit()
    return world


@pytest.fixture(name="admin")
def _admin(world: World) -> Client:
    return world.admin("use-db d pwd")


def finish(world: World, client: Client, text: str, *, after_losing: bool) -> list[str]:
    """Run a command that has to wait for a hash; everything not on disk is lost meanwhile, if asked for."""
    suspension = client.start(text)
    need = next(suspension)
    if after_losing:
        world.lose()
    with pytest.raises(StopIteration):
        suspension.send(world.credentials.answer(need))
    return client.outbox.take()


def test_keys_are_as_they_were(world: World, admin: Client) -> None:
    admin.ask("set k one")
    world.commit()
    admin.ask("set k two")
    admin.ask("set j new")
    admin.ask("remove k")
    world.lose()
    assert admin.ask("get-safe k") == ["value-version 0 one\n", *OK]
    assert admin.ask("get j") == ["value <Empty>\n", *OK]


def test_the_batch_filled_meanwhile_goes_too_for_it_may_have_read_what_is_lost(world: World, admin: Client) -> None:
    admin.ask("increment n")
    world.begin_commit()
    admin.ask("increment n")
    world.lose()
    assert admin.ask("get n") == ["value <Empty>\n", *OK]


def test_later_changes_work(world: World, admin: Client) -> None:
    admin.ask("set k lost")
    world.lose()
    assert admin.ask("set k kept") == OK
    world.commit()
    world.restart()
    assert world.connect("use-db d pwd").ask("get-safe k") == ["value-version 0 kept\n", *OK]


def test_the_count_of_connections_is_what_it_is(world: World, admin: Client) -> None:
    world.connect("use-db d pwd")
    admin.ask("set k lost")
    world.lose()
    assert admin.ask("get $connections") == ["value 2\n", *OK]


def test_the_operations_are_not_counted(world: World, admin: Client) -> None:
    before = admin.ask("metrics-state")
    admin.ask("set k lost")
    world.begin_commit()
    admin.ask("set k lost")
    world.lose()
    assert admin.ask("metrics-state") == before


def test_permissions_that_were_remembered_are_read_again(world: World, admin: Client) -> None:
    admin.ask("create-user ana ana-pwd")
    admin.ask("set-permissions ana r a*")
    world.commit()
    ana = world.connect("use-db d ana ana-pwd")
    admin.ask("set-permissions ana rw a*")
    assert ana.ask("set a1 x") == OK
    world.lose()
    assert ana.ask("set a1 x") == ["permission denied\n", "error permission denied\n \n"]
    assert ana.ask("get a1") == ["value <Empty>\n", *OK]


def test_a_watch_that_only_lost_permissions_allowed_sleeps(world: World, admin: Client) -> None:
    admin.ask("create-user ana ana-pwd")
    world.commit()
    ana = world.connect("use-db d ana ana-pwd")
    admin.ask("set-permissions ana r a*")
    assert ana.ask("watch a1") == OK
    world.lose()
    admin.ask("set a1 secret")
    assert ana.outbox.take() == []
    admin.ask("set-permissions ana r a*")
    assert ana.outbox.take() == ["changed a1 secret\n", "changed-version a1 0 secret\n"]


def test_a_permission_whose_loss_is_lost_wakes_the_watch_and_tells_nothing(world: World, admin: Client) -> None:
    admin.ask("create-user ana ana-pwd")
    admin.ask("set-permissions ana r a*")
    world.commit()
    ana = world.connect("use-db d ana ana-pwd", "watch a1")
    admin.ask("set-permissions ana r b*")
    admin.ask("set a1 lost")
    world.lose()
    assert ana.outbox.take() == []
    admin.ask("set a1 kept")
    assert ana.outbox.take() == ["changed a1 kept\n", "changed-version a1 0 kept\n"]


def test_what_was_told_with_a_permission_that_is_lost_is_told_again(world: World, admin: Client) -> None:
    """The events of the wake waited for the lost batch, so nobody has heard them."""
    for command in ("create-user ana ana-pwd", "set-permissions ana r a*"):
        admin.ask(command)
    ana = world.connect("use-db d ana ana-pwd", "watch a1")
    for command in ("set-permissions ana r b*", "set a1 missed"):
        admin.ask(command)
    world.commit()
    told = ["changed a1 missed\n", "changed-version a1 0 missed\n"]
    admin.ask("set-permissions ana r a*")
    assert ana.outbox.take() == told
    assert ana.outbox.events[-1].revision == world.view.newest_unwritten
    world.lose()
    admin.ask("set-permissions ana r a*")
    assert ana.outbox.take() == told


def test_who_came_in_with_a_secret_that_is_lost_is_out(world: World, admin: Client) -> None:
    """Or admin no more, if the admin password is lost; who has changed it stays admin."""
    for command in ("set-token d all new-pwd", "add-user d ana ana-pwd", "set-password new-admin-pwd"):
        assert admin.ask(command) == OK
    ana, everybody = world.connect("use-db d ana ana-pwd"), world.connect("use-db d new-pwd")
    other = world.connect("auth user-name new-admin-pwd", "use-db d ana ana-pwd")
    world.lose()
    for client in (ana, everybody, other):
        assert client.ask("get k") == NO_DATABASE
    assert other.ask("cluster-state") == ["error Not auth \n"]
    assert admin.ask("cluster-state")[-1:] == OK
    assert admin.ask("get k")[-1:] == OK


def test_sessions_leave_a_database_that_was_never_made(world: World, admin: Client) -> None:
    admin.ask("create-db lost lost-pwd")
    client = world.connect("use-db lost lost-pwd", "set k v")
    world.lose()
    assert client.ask("get k") == NO_DATABASE
    assert client.ask("use-db lost lost-pwd") == NOT_A_DATABASE
    assert admin.ask("create-db lost other-pwd") == ["create-db success\n", *OK]


def test_keys_of_a_database_that_is_lost_meanwhile_is_refused(world: World) -> None:
    client = world.admin("create-db lost lost-pwd", "use-db lost lost-pwd")
    for number in range(20_000):
        client.ask(f"set many-{number} v")
    suspension = client.start("keys")
    next(suspension)
    world.lose()
    assert not list(suspension)
    assert client.outbox.take() == NO_DATABASE


def test_a_database_made_after_a_lost_one_has_nothing_of_it(world: World, admin: Client) -> None:
    admin.ask("create-db lost lost-pwd arbiter")
    world.connect("use-db lost lost-pwd", "set k v")
    world.connect("use-db lost lost-pwd")
    world.lose()
    admin.ask("create-db next next-pwd")
    client = world.connect("use-db next next-pwd")
    assert client.ask("keys") == ["keys ,$connections\n", *OK]
    assert client.ask("get-safe $connections") == ["value-version 0 1\n", *OK]


def test_a_user_of_a_lost_database_is_no_user_of_the_next(world: World) -> None:
    admin = world.admin("create-db lost lost-pwd", "use-db lost lost-pwd")
    assert finish(world, admin, "create-user eve eve-pwd", after_losing=True) == NO_DATABASE
    admin.ask("create-db next next-pwd")
    assert world.connect().ask("use-db next eve eve-pwd") == ["error Invalid token \n"]


@pytest.mark.parametrize("command", ["set $$user_eve eve-pwd", "replicate lost $$user_eve -1 eve-pwd"])
def test_a_secret_of_a_lost_database_is_none_of_the_next(world: World, command: str) -> None:
    admin = world.admin("create-db lost lost-pwd", "use-db lost lost-pwd")
    refused = NOT_A_DATABASE if command.startswith("replicate") else NO_DATABASE
    assert finish(world, admin, command, after_losing=True) == refused
    admin.ask("create-db next next-pwd")
    assert world.connect().ask("use-db next eve eve-pwd") == ["error Invalid token \n"]


def test_a_secret_of_a_database_that_is_on_disk_is_set_whatever_was_lost(world: World, admin: Client) -> None:
    admin.ask("set k lost")
    assert finish(world, admin, "create-user ana ana-pwd", after_losing=True) == OK
    assert world.connect().ask("use-db d ana ana-pwd") == OK


def test_a_database_in_the_making_is_made_whatever_was_lost(world: World, admin: Client) -> None:
    admin.ask("set k lost")
    assert finish(world, admin, "create-db late late-pwd", after_losing=True) == ["create-db success\n", *OK]
    world.commit()
    assert world.connect().ask("use-db late late-pwd") == OK


def test_while_nothing_can_be_stored_changes_are_refused_and_reads_are_not(world: World, admin: Client) -> None:
    admin.ask("set k v")
    world.engine.keyspace.refused_changes = "No space left on device"
    refused = ["error not stored: No space left on device \n"]
    for command in (
        "set k w",
        "set-safe k 9 w",
        "increment n",
        "remove k",
        "create-user u p",
        "set-permissions u r *",
        "create-db e p",
        "replicate d k 9 w",
        "resolve 1 d k 1 v",
    ):
        assert admin.ask(command) == refused, command
    assert admin.ask("get k") == ["value v\n", *OK]
    assert admin.ask("remove absent") == OK
    assert world.connect().ask("use-db d pwd") == OK
    world.engine.keyspace.refused_changes = None
    assert admin.ask("set k w") == OK
    assert world.engine.keyspace.read(world.engine.database("d"), "$$token") == (0, fake_hash("pwd"))
