"""Watches sleep while their permission is away, and wake when it is back (docs/protocol.md section 4)."""

from __future__ import annotations

import pytest

from pynun import limits
from pynun.engine import conflicts
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, Client, Visitor, World

OK = ["ok \n"]
AWAY, BACK = "set-permissions ana r other", "set-permissions ana rwx *"


def changed(version: int, text: str, key: str = "k") -> list[str]:
    """The two messages of a change."""
    return [f"changed {key} {text}\n", f"changed-version {key} {version} {text}\n"]


@pytest.fixture(name="world")
def _world() -> World:
    world = World()
    world.admin("create-db d pwd arbiter", "use-db d pwd", "create-user ana ana-pwd", BACK)
    return world


@pytest.fixture(name="admin")
def _admin(world: World) -> Client:
    return world.admin("use-db d pwd")


@pytest.fixture(name="ana")
def _ana(world: World) -> Client:
    return world.connect("use-db d ana ana-pwd", "set k a", "watch k")


def asks(client: Client, *commands: str) -> None:
    for command in commands:
        assert client.ask(command)[-1:] == OK, command


def test_a_permission_replaced_and_restored_loses_no_watch(admin: Client, ana: Client) -> None:
    asks(admin, AWAY, BACK)
    assert ana.outbox.take() == []
    asks(admin, "set k b")
    assert ana.outbox.take() == changed(1, "b")


@pytest.mark.parametrize(
    ("away", "back"),
    [
        (AWAY, BACK),
        ("remove $$permission_$ana", BACK),
        ("set $$permission_$ana w *", "set $$permission_$ana r k"),
        ("replicate d $$permission_$ana -1 w k", "replicate d $$permission_$ana -1 r k"),
        ("revoke d ana r *", "grant d ana r k*"),
        ("rp 1 set-permissions ana r j", "rp 1 set-permissions ana r k"),
    ],
)
def test_what_differs_by_then_is_sent_and_nothing_else(admin: Client, ana: Client, away: str, back: str) -> None:
    asks(ana, "watch j", "watch gone", "set gone x", "watch new", "watch same", "set same s")
    ana.outbox.take()
    asks(admin, away, "set k b", "set k c", "remove gone", "set new n", "remove same", "set same s", "set z z")
    assert ana.outbox.take() == []
    asks(admin, back.replace(" k*", " *").replace(" k", " *"))
    assert sorted(ana.outbox.take()) == sorted([*changed(2, "c"), "removed gone\n", *changed(0, "n", "new")])
    asks(admin, "set k d", "set j 1")
    assert ana.outbox.take() == [*changed(3, "d"), *changed(0, "1", "j")]


def test_the_same_version_with_another_value_is_sent(admin: Client, ana: Client) -> None:
    asks(admin, AWAY, "remove k", "set k other", BACK)
    assert ana.outbox.take() == changed(0, "other")


def test_the_newest_is_sent_once_however_often_it_is_replaced(admin: Client, ana: Client) -> None:
    asks(admin, AWAY, "set k b", BACK, AWAY, BACK, AWAY, "set k c", "remove $$permission_$ana", BACK, BACK)
    assert ana.outbox.take() == [*changed(1, "b"), *changed(2, "c")]


def test_the_user_all_too(world: World, admin: Client) -> None:
    everybody = world.connect("use-db d pwd", "watch k")
    asks(admin, "set-permissions all w *", "set k b")
    assert everybody.outbox.take() == []
    asks(admin, "remove $$permission_$all")
    assert everybody.outbox.take() == changed(0, "b")


def test_a_sleeping_watch_counts_and_can_be_given_up(admin: Client, ana: Client) -> None:
    asks(admin, AWAY)
    assert len(ana.session.watches) == 1
    assert ana.ask("watch k")[0] == "permission denied\n"
    asks(ana, "unwatch k")
    assert not ana.session.watches
    asks(admin, "set k b", BACK, "set k c")
    assert ana.outbox.take() == []
    asks(ana, "watch k", "watch j")
    asks(admin, AWAY)
    asks(ana, "unwatch-all")
    asks(admin, "set k d", BACK, "set k e", "set j e")
    assert ana.outbox.take() == []
    assert not ana.session.selected.watchers


@pytest.mark.parametrize("command", ["set $$user_ana new", "remove $$user_ana"])
def test_a_session_that_lost_its_database_never_wakes(world: World, admin: Client, ana: Client, command: str) -> None:
    asks(admin, AWAY, command, "set k b", BACK, "create-user ana ana-pwd", "set k c")
    assert ana.outbox.take() == []
    asks(ana, "use-db d ana ana-pwd", "watch k")
    asks(admin, "set k d")
    assert ana.outbox.take() == changed(3, "d")
    ana.close()
    assert not world.engine.database("d").watchers


def test_a_dropped_database_takes_sleeping_watches_with_it(admin: Client, ana: Client) -> None:
    asks(admin, AWAY, "drop-db d", "create-db d pwd", "use-db d pwd", "create-user ana ana-pwd", BACK, "set k b")
    assert ana.outbox.take() == []
    asks(ana, "use-db d ana ana-pwd", "watch k")
    asks(admin, "set k c")
    assert ana.outbox.take() == changed(1, "c")


def test_security_keys_sleep_while_their_watcher_is_no_admin(world: World, admin: Client) -> None:
    other = world.admin("use-db d pwd", "watch $$secret", "watch k")
    other.ask("auth x y")
    asks(admin, "set $$secret s", "set k b")
    assert other.outbox.take() == changed(0, "b")
    told = other.ask(f"auth {ADMIN_USER} {ADMIN_PASSWORD}")
    assert told == [*changed(0, "s", "$$secret"), "valid auth\n", *OK]


def test_who_selects_as_another_user_hears_what_that_one_may(world: World, admin: Client, ana: Client) -> None:
    asks(admin, "create-user bob bob-pwd", "set-permissions bob r j")
    asks(ana, "use-db d bob bob-pwd")
    asks(admin, "set k b")
    assert ana.outbox.take() == []
    assert ana.ask("use-db d ana ana-pwd") == [*changed(1, "b"), *OK]


def test_a_sleeping_arbiter_is_none_and_is_sent_what_it_missed(world: World, admin: Client) -> None:
    ana = world.connect("use-db d ana ana-pwd", "arbiter", "set k a", "set-safe k 5 b")
    assert ana.ask("set-safe k 1 first")[0].endswith(" first")
    asks(admin, AWAY)
    assert admin.ask("set-safe k 1 c")[0].startswith("error An conflitct happend and there is no arbiter")
    other = world.connect("use-db d pwd", "arbiter")
    assert admin.ask("set-safe k 1 second")[0].startswith("error $$conflitct unresolved")
    assert ana.outbox.take() == []
    asks(admin, BACK)
    (missed,) = ana.outbox.take()
    assert missed.endswith(" second")
    assert other.outbox.take()[-1] == missed


def test_an_arbiter_who_missed_very_many_is_disconnected(
    world: World, admin: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To look them all up would keep everybody waiting; as it comes again, `arbiter` sends them one by one."""
    monkeypatch.setattr(conflicts, "_RECORDS_AT_ONCE", 5)
    visitor = Visitor()
    asks(Client(world, visitor), "use-db d ana ana-pwd", "arbiter", "set k a", "set-safe k 5 b")
    world.connect("use-db d pwd", "arbiter")
    for count, is_ended in ((5, False), (6, True)):
        asks(admin, AWAY)
        for _ in range(count):
            assert admin.ask("set-safe k 1 c")[0].startswith("error $$conflitct unresolved")
        asks(admin, BACK)
        assert visitor.is_ended is is_ended


def test_what_wakes_a_watch_waits_for_the_disk_with_the_permission(world: World, admin: Client, ana: Client) -> None:
    asks(admin, AWAY, "set k b")
    world.commit()
    asks(admin, BACK)
    assert ana.outbox.events[-1].revision == world.view.newest_unwritten > 0


def test_no_more_is_read_for_sleeping_watches_than_so_much(admin: Client, ana: Client) -> None:
    """Those beyond it are sent the newest after any change."""
    big = "x" * limits.SLEEPING_CHARACTERS_READ_MAX
    asks(ana, "unwatch k", "set k1 " + big, "set k2 a", "watch k1", "watch k2")
    ana.outbox.take()
    asks(admin, AWAY, "remove k2", "set k2 a", BACK)
    assert ana.outbox.take() == changed(0, "a", "k2")
    asks(admin, AWAY, BACK)
    assert ana.outbox.take() == []


def test_who_missed_more_than_can_be_told_at_once_is_disconnected(
    world: World, admin: Client, ana: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "WAKING_CHARACTERS_MAX", 5000)
    visitor = Visitor()
    other = Client(world, visitor)
    asks(other, "use-db d ana ana-pwd", *[f"watch k{number}" for number in range(100)])
    asks(admin, AWAY, *[f"set k{number} " + 1000 * "x" for number in range(100)], "set k b", BACK)
    assert visitor.is_ended
    assert len(other.outbox.take()) == 6
    assert ana.outbox.take() == changed(1, "b"), "it was told first"


def test_sleeping_watches_cost_a_change_of_another_key_nothing(world: World, admin: Client, ana: Client) -> None:
    asks(admin, AWAY)
    watchers = world.engine.database("d").watchers
    assert list(watchers) == ["k"]
    assert list(watchers["k"]) == [ana.session.sleeper]
