"""Every method of the client against a real server."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING, get_type_hints

import pytest
import trio

import pynun
from pynun.client import (
    AuthenticationError,
    ChangeEvent,
    Client,
    ClientOptions,
    CommandError,
    Conflict,
    DatabaseInfo,
    NoDatabaseSelected,
    PermissionDenied,
    Reply,
    UserInfo,
    UserPermissions,
    VersionConflict,
    Versioned,
)
from tests.client.peer import trio_test
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.client.conftest import Database


def open_database(database: Database) -> Client:
    return Client(database.url, database=database.name, token=database.token)


def open_user(database: Database) -> Client:
    return Client(database.url, database=database.name, user=database.user, token=database.user_token)


def test_package_exports_the_clients() -> None:
    assert pynun.Client is Client
    assert pynun.SyncClient is pynun.client.SyncClient
    assert pynun.AsyncioClient is pynun.client.AsyncioClient


def test_options_are_those_of_the_client() -> None:
    hints = get_type_hints(
        Client.__init__, localns={"Callable": __import__("collections.abc").abc.Callable, "ssl": ssl}
    )
    assert hints.keys() - {"url", "return"} == ClientOptions.__annotations__.keys()


@trio_test
async def test_value_is_what_was_set(database: Database) -> None:
    async with open_database(database) as client:
        for value in ("v", "", " two words  kept ", "ö≠😀", '{"a": [1, "^"]}', "x" * 1_000_000, "ok ", "error x "):
            await client.set("k", value)
            assert await client.get("k") == value
        await client.set("k", "<Empty>")
        assert await client.get("k") is None
        assert await client.get_safe("k") is None


@trio_test
async def test_versions_grow_and_a_late_set_safe_is_a_conflict(database: Database) -> None:
    async with open_database(database) as client:
        assert await client.get_safe("k") is None
        await client.set("k", "a")
        assert await client.get_safe("k") == Versioned("a", 0)
        await client.set_safe("k", 0, "b")
        await client.set_safe("k", 5, "c")
        with pytest.raises(VersionConflict, match="Invalid version!"):
            await client.set_safe("k", 5, "late")
        await client.set_safe("k", -1, "forced")
        assert await client.get_safe("k") == Versioned("forced", 7)


@trio_test
async def test_increment_remove_and_keys(database: Database) -> None:
    async with open_database(database) as client:
        await client.increment("n")
        await client.increment("n", 41)
        await client.increment("n", -2)
        assert await client.get("n") == "40"
        await client.set("text", "t")
        with pytest.raises(CommandError, match="Key is not numeric"):
            await client.increment("text")
        assert await client.keys() == ["$connections", "n", "text"]
        assert await client.keys("te*") == ["text"]
        assert await client.keys("nothing") == []
        await client.remove("text")
        await client.remove("text")
        assert await client.get("text") is None


@trio_test
async def test_user_may_what_the_permissions_say(database: Database) -> None:
    async with open_user(database) as client:
        await client.set("ana-1", "v")
        assert await client.get("other") is None
        with pytest.raises(PermissionDenied, match="permission denied"):
            await client.set("other", "v")
        with pytest.raises(PermissionDenied, match="To read security keys"):
            await client.get("$$token")
        with pytest.raises(PermissionDenied, match="Not auth"):
            await client.create_db("d", "t")
        assert await client.get("ana-1") == "v"


@trio_test
async def test_wrong_credentials_are_told_apart(database: Database) -> None:
    cases: tuple[tuple[ClientOptions, type[CommandError], str], ...] = (
        ({"database": database.name, "token": "wrong"}, AuthenticationError, "Invalid token"),
        ({"database": database.name, "token": "wrong", "user": "ana"}, AuthenticationError, "Invalid token"),
        ({"database": "nowhere", "token": "wrong"}, CommandError, "Not a valid database name"),
        ({"admin": (ADMIN_USER, "wrong")}, AuthenticationError, "invalid auth"),
    )
    for options, kind, text in cases:
        with pytest.raises(kind, match=text):
            async with Client(database.url, **options):
                pytest.fail("the client must not open")


@trio_test
async def test_session_without_a_database_says_so(database: Database) -> None:
    async with Client(database.url) as client:
        with pytest.raises(NoDatabaseSelected):
            await client.get("k")
        with pytest.raises(NoDatabaseSelected):
            async with client.watch("k"):
                pytest.fail("the watch must not begin")
        await client.use_database(database.name, database.token)
        assert client.database == database.name
        await client.set("k", "v")
        with pytest.raises(AuthenticationError):
            await client.use_database(database.name, "wrong")
        with pytest.raises(AuthenticationError):
            await client.authenticate(ADMIN_USER, "wrong")


@trio_test
async def test_watch_gives_changes_with_versions_and_removals(database: Database) -> None:
    async with open_database(database) as client, open_user(database) as other:
        await client.set("ana-k", "before")
        async with client.watch("ana-k", current=True) as changes, client.watch("ana-k") as later:
            await other.set("ana-k", "two words")
            await client.set_safe("ana-k", 7, "own")
            await other.remove("ana-k")
            wanted = [
                ChangeEvent("ana-k", "two words", 1, removed=False),
                ChangeEvent("ana-k", "own", 8, removed=False),
                ChangeEvent("ana-k", None, None, removed=True),
            ]
            assert await anext(changes) == ChangeEvent("ana-k", "before", 0, removed=False)
            assert [await anext(changes) for _ in wanted] == wanted
            assert [await anext(later) for _ in wanted] == wanted


@trio_test
async def test_watch_of_several_keys_keeps_their_order(database: Database) -> None:
    async with open_database(database) as client, client.watch("a", "b") as changes:
        for number in range(5):
            await client.set("a", str(number))
            await client.set("b", str(number))
        got = [await anext(changes) for _ in range(10)]
        assert [(change.key, change.value) for change in got] == [(key, str(n)) for n in range(5) for key in "ab"]


@trio_test
async def test_left_watch_gets_nothing_more_and_another_of_the_key_goes_on(database: Database) -> None:
    async with open_database(database) as client, client.watch("k") as staying:
        async with client.watch("k") as leaving:
            await client.set("k", "1")
        await client.set("k", "2")
        assert [change.value async for change in leaving] == ["1"]
        assert [(await anext(staying)).value, (await anext(staying)).value] == ["1", "2"]
        await client.unwatch("k")
        await client.set("k", "3")
        assert [change async for change in staying] == []
        async with client.watch("k") as again:
            await client.set("k", "4")
            assert (await anext(again)).value == "4"


@trio_test
async def test_denied_watch_raises(database: Database) -> None:
    database.admin("set-permissions ana rw ana-*")
    async with open_user(database) as client:
        with pytest.raises(PermissionDenied):
            async with client.watch("other"):
                pytest.fail("the watch must not begin")
        with pytest.raises(PermissionDenied):
            await anext(client.watch("other"))


@trio_test
async def test_many_tasks_share_a_client(database: Database) -> None:
    async with open_database(database) as client:

        async def add(number: int) -> None:
            await client.set(f"k{number}", str(number))
            await client.increment("sum", number)
            assert await client.get(f"k{number}") == str(number)

        async with trio.open_nursery() as nursery:
            for number in range(300):
                nursery.start_soon(add, number)
        assert await client.get("sum") == str(sum(range(300)))


@trio_test
async def test_cancelled_calls_leave_the_others_right(database: Database) -> None:
    async with open_database(database) as client:
        for number in range(200):
            with trio.move_on_after(0.0005 * (number % 4)):
                await client.get(f"cancelled-{number}")
            await client.set("k", str(number))
            assert await client.get("k") == str(number)


@trio_test
async def test_administration(database: Database) -> None:
    async with Client(database.url, admin=(ADMIN_USER, ADMIN_PASSWORD)) as client:
        name = f"{database.name}-made"
        await client.create_db(name, "t", "newer")
        with pytest.raises(CommandError, match="database already exists"):
            await client.create_db(name, "t")
        with pytest.raises(CommandError, match="No database selected"):
            await client.snapshot()
        await client.snapshot([name])
        with pytest.raises(CommandError, match="nope is not a valid database name"):
            await client.snapshot(["nope"])
        await client.use_database(name, "t")
        await client.snapshot()
        reply = await client.execute("debug list-dbs")
        assert f"{name} : newer" in reply.messages[0].splitlines()
        assert await client.execute("nonsense") == Reply((), "unknown command: nonsense")
        assert await client.execute("") == Reply((), "empty command")


@trio_test
async def test_databases_are_listed_measured_and_dropped(database: Database) -> None:
    async with Client(database.url, admin=(ADMIN_USER, ADMIN_PASSWORD)) as client:
        name = f"{database.name}-dropped"
        await client.create_db(name, "t", "arbiter")
        assert DatabaseInfo(name, "arbiter", 0) in await client.list_dbs()
        await client.use_database(name, "t")
        await client.set("k", "value")
        await client.snapshot()
        size = await client.db_size(name)
        assert size.name == name
        assert size.keys >= 1
        assert size.bytes >= len("kvalue")
        await client.drop_db(name)
        assert name not in [one.name for one in await client.list_dbs()]
        with pytest.raises(CommandError, match="Not a valid database name"):
            await client.db_size(name)


@trio_test
async def test_users_and_their_permissions(database: Database) -> None:
    async with Client(database.url, admin=(ADMIN_USER, ADMIN_PASSWORD)) as client:
        name = database.name
        await client.add_user(name, "leo", "t")
        with pytest.raises(CommandError, match="user already exists"):
            await client.add_user(name, "leo", "t")
        assert UserInfo("leo", True, None, 0) in await client.list_users(name)
        assert await client.grant(name, "leo", "rw", "leo-*", "*-all") == UserPermissions(
            name, "leo", "rw leo-*,*-all", True, ()
        )
        assert (await client.grant(name, "leo", "r", "*")).permissions == "rw leo-*,*-all|r *"
        async with Client(database.url, database=name, user="leo", token="t") as leo:
            await leo.set("leo-1", 1)
            left = await client.revoke(name, "leo", "r", "leo-*")
            assert (left.permissions, left.still_allowed) == ("w leo-*|rw *-all|r *", ("r leo-*",))
            assert await leo.get("leo-1") == "1"
        allowed = await client.explain_permission(name, "leo", "w", "leo-1")
        assert (allowed.allowed, allowed.reason, allowed.rule) == (True, "rule", "w leo-*")
        denied = await client.explain_permission(name, "leo", "x", "leo-1")
        assert (denied.allowed, denied.reason, denied.rule) == (False, "no-rule", None)
        await client.set_token(name, "leo", "new")
        with pytest.raises(AuthenticationError):
            async with Client(database.url, database=name, user="leo", token="t"):
                pytest.fail("the old token must not open")
        await client.remove_user(name, "leo")
        assert "leo" not in [one.user for one in await client.list_users(name)]
        await client.use_database(name, database.token)
        await client.create_user("mia", "t")
        await client.set_permissions("mia", "r *|rwx mia-*")
        assert UserInfo("mia", True, "r *|rwx mia-*", 0) in await client.list_users(name)
        with pytest.raises(ValueError, match="name a pattern"):
            await client.grant(name, "mia", "r")


@trio_test
async def test_listing_of_several_pages_is_whole(database: Database) -> None:
    users = [f"user-{number:03}" for number in range(501)]
    database.admin(";".join(f"set-permissions {user} r *" for user in users))
    async with Client(database.url, admin=(ADMIN_USER, ADMIN_PASSWORD)) as client:
        listed = await client.list_users(database.name)
        assert [one.user for one in listed] == [database.user, *users]


@trio_test
async def test_conflict_is_settled_by_an_arbiter(new_database: Callable[[str], Database]) -> None:
    database = new_database("arbiter")
    async with open_database(database) as client, open_database(database) as arbiter:
        await client.set_safe("k", 1, "one")
        await client.set_safe("k", 2, "two")
        with pytest.raises(VersionConflict) as refused:
            await client.set_safe("k", 1, "late")
        assert refused.value.record is None
        events = arbiter.events()
        await arbiter.execute("arbiter")
        with pytest.raises(VersionConflict) as pending:
            await client.set_safe("k", 1, "late")
        record = pending.value.record
        assert record is not None
        conflict = await anext(events)
        assert isinstance(conflict, Conflict)
        _, number, name, version, key, old, new = conflict.text.split(" ")
        assert (name, key, old, new) == (database.name, "k", "two", "late")
        assert record == f"$conflicts_k_{number}"
        during = await client.get_safe("k")
        assert during == Versioned("two", -2)
        async with client.watch(record) as outcome:
            await arbiter.execute(f"resolve {number} {name} {key} {version} settled")
            assert (await anext(outcome)).value == "resolved settled"
        assert await client.get("k") == "settled"
