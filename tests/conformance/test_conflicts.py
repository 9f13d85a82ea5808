"""Conflicts over time: restarts, arbiters that vanish, numbers that grow, and who is told what (section 5)."""

from __future__ import annotations

import contextlib
import re
import time
from typing import TYPE_CHECKING

import pytest

from pynun.engine.key_layout import LAST_CONFLICT
from pynun.engine.overlay import Entry
from pynun.storage.store import LmdbStore
from pynun.transfer.bulk_load import write_notes
from tools.clients.exact_clients import http_post
from tools.clients.server import new_folder, running_server
from tools.clients.sessions import OK, admin_session, create_database, websocket_session

if TYPE_CHECKING:
    from tools.clients.exact_clients import WebSocketClient
    from tools.clients.server import Server

NO_ARBITER = ["error An conflitct happend and there is no arbiter client not connected \n"]


def _conflict(client: WebSocketClient, key: str, version: int, value: str) -> int:
    """Make a conflicting change and return the number of its record."""
    answer = client.ask(f"set-safe {key} {version} {value}")
    match = re.fullmatch(rf"error \$\$conflitct unresolved \$conflicts_{key}_([0-9]+) \n", answer[-1])
    assert match, answer
    return int(match[1])


@pytest.mark.parametrize("is_noted", [True, False])
def test_numbers_grow_over_a_restart_on_another_clock(is_noted: bool) -> None:
    """The data of a machine whose clock was a year ahead; with an older server's data, the records say so."""
    ahead = time.time_ns() + 365 * 86400 * 10**9
    with new_folder() as folder:
        with running_server(folder / "dbs") as server:
            create_database(server, "clock", strategy="arbiter")
            with websocket_session(server, "clock") as client:
                client.ask_all("set-safe k 5 a", f"set $conflicts_k_{ahead} resolved")
        if is_noted:
            with contextlib.closing(LmdbStore(folder / "dbs")) as store:
                write_notes(store, {LAST_CONFLICT: Entry(ahead + 7, "")})
        first = ahead + (8 if is_noted else 1)
        for expected in (first, first + 1) if is_noted else (first,):
            with running_server(folder / "dbs") as server, websocket_session(server, "clock") as client:
                client.ask("arbiter")
                assert _conflict(client, "k", 1, "b") == expected


def test_conflicts_survive_a_restart(server: Server) -> None:
    create_database(server, "restart", strategy="arbiter")
    with websocket_session(server, "restart") as arbiter, websocket_session(server, "restart") as client:
        arbiter.ask("arbiter")
        client.ask_all("set-safe k 5 a", "set-safe m 5 a", "set-safe done 5 a")
        first = _conflict(client, "k", 1, "b")
        queued = _conflict(client, "k", 1, "c")
        other = _conflict(client, "m", 1, "d")
        done = _conflict(client, "done", 1, "e")
        assert arbiter.take(4)
        assert arbiter.ask(f"resolve {done} restart done 6 f") == [OK]
        server.restart()
    texts = [
        f"resolve {first} restart 6 k a b",
        f"resolve {queued} restart 2 k $conflicts_k_{first} c",
        f"resolve {other} restart 6 m a d",
    ]
    with websocket_session(server, "restart") as arbiter, websocket_session(server, "restart") as client:
        assert client.ask("get-safe k") == ["value-version -2 a\n", OK]
        assert client.ask("get-safe done") == ["value-version 7 f\n", OK]
        assert client.ask(f"get $conflicts_done_{done}") == ["value resolved f\n", OK]
        assert client.ask(f"get $conflicts_k_{queued}") == [f"value {texts[1]}\n", OK]
        assert client.ask("set-safe k 9 refused") == NO_ARBITER
        assert arbiter.ask("arbiter") == [*texts, OK]
        later = _conflict(client, "k", 1, "g")
        assert later > other, "the numbers grow, also over a restart"
        assert arbiter.take() == [f"resolve {later} restart 3 k $conflicts_k_{queued} g"]
        for number, version in ((first, 6), (queued, 7)):
            assert arbiter.ask(f"resolve {number} restart k {version} x")[-1] == OK
            assert client.ask("get-safe k")[0].startswith("value-version -2 ")
        assert arbiter.ask(f"resolve {later} restart k 8 settled") == [OK]
        assert client.ask("get-safe k") == ["value-version 9 settled\n", OK]
        assert client.ask("get-safe m") == ["value-version -2 a\n", OK]


def test_numbers_grow_and_have_17_digits_or_more(shared_server: Server) -> None:
    create_database(shared_server, "growing", strategy="arbiter")
    with websocket_session(shared_server, "growing") as client:
        client.ask_all("arbiter", "set-safe k 5 a", *(f"set-safe m{number} 5 a" for number in range(20)))
        numbers = []
        for number in range(20):
            client.send(f"set-safe m{number} 1 b;set-safe k 1 {number}")
            client.pump_until(lambda: sum(message.startswith("error") for message in client.messages) == 2)
            numbers += re.findall(r"unresolved \S+_([0-9]+) ", "".join(client.take_all()))
    assert len(numbers) == 40
    assert sorted(numbers, key=int) == numbers
    assert len(set(numbers)) == len(numbers)
    assert all(17 <= len(number) <= 20 and int(number) < 2**64 for number in numbers)


def test_a_client_waiting_on_a_queued_conflict_learns_its_outcome(shared_server: Server) -> None:
    create_database(shared_server, "outcome", strategy="arbiter")
    with websocket_session(shared_server, "outcome") as client, websocket_session(shared_server, "outcome") as arbiter:
        arbiter.ask("arbiter")
        client.ask("set-safe k 5 a")
        first, queued = _conflict(client, "k", 1, "b"), _conflict(client, "k", 1, "c")
        client.ask_all(f"watch $conflicts_k_{first}", f"watch $conflicts_k_{queued}")
        for number, version in ((queued, 2), (first, 6)):
            record = f"$conflicts_k_{number}"
            assert arbiter.ask(f"resolve {number} outcome k {version} chosen by hand")[-1] == OK
            changed, with_version = client.take(2)
            assert changed == f"changed {record} resolved chosen by hand\n"
            expected = rf"changed-version {re.escape(record)} [0-9]+ resolved chosen by hand\n"
            assert re.fullmatch(expected, with_version), with_version
        assert client.quiet() == []


def test_an_arbiter_that_vanished_does_not_count(shared_server: Server) -> None:
    create_database(shared_server, "vanished", strategy="arbiter")
    with websocket_session(shared_server, "vanished") as client:
        client.ask_all("set-safe k 5 a", "watch $connections")
        with websocket_session(shared_server, "vanished") as arbiter:
            assert client.take(2) == ["changed $connections 2\n", "changed-version $connections 1 2\n"]
            arbiter.ask("arbiter")
        assert client.take(2) == ["changed $connections 1\n", "changed-version $connections 2 1\n"]
        assert client.ask("set-safe k 1 b") == NO_ARBITER
        assert client.ask("get-safe k") == ["value-version 6 a\n", OK]
        assert client.ask("keys") == ["keys ,$connections,k\n", OK]


def test_an_arbiter_that_went_to_another_database_does_not_count(shared_server: Server) -> None:
    create_database(shared_server, "moved-from", strategy="arbiter")
    create_database(shared_server, "moved-to", strategy="arbiter")
    with websocket_session(shared_server, "moved-from") as arbiter:
        arbiter.ask_all("arbiter", "use-db moved-to pwd")
        with websocket_session(shared_server, "moved-from") as client:
            client.ask("set-safe k 5 a")
            assert client.ask("set-safe k 1 b") == NO_ARBITER
        assert arbiter.quiet() == []


def test_a_resolution_of_nothing_gets_one_answer_and_changes_nothing(shared_server: Server) -> None:
    create_database(shared_server, "nothing", strategy="arbiter")
    with websocket_session(shared_server, "nothing") as client:
        client.ask_all("arbiter", "set-safe k 5 a")
        number = _conflict(client, "k", 1, "b")
        for command in (
            f"resolve {number} nowhere k 6 x",
            f"resolve {number} nothing other 6 x",
            "resolve x nothing k 6 x",
            "resolve",
            f"resolve {number}",
            f"resolve {number} nothing",
            f"resolve {number} nothing k",
        ):
            client.send(command)
            client.take_answer()
            assert client.ask("get-safe k") == ["value-version -2 a\n", OK], command
        assert client.ask(f"resolve {number + 1} nothing k 6 x") == [OK]  # of no conflict: as in the original
        assert client.ask("get-safe k") == ["value-version -2 x\n", OK]
        assert client.ask(f"resolve {number} nothing k 6 settled") == [OK]
        assert client.ask("get-safe k") == ["value-version 7 settled\n", OK]


def test_a_second_resolution_never_steps_back(shared_server: Server) -> None:
    """Two arbiters are told of each conflict, and both may resolve it; what the second one does is nowhere said."""
    create_database(shared_server, "once", strategy="arbiter")
    with websocket_session(shared_server, "once") as client:
        client.ask_all("arbiter", "set-safe k 5 a")
        number = _conflict(client, "k", 1, "b")
        assert client.ask(f"resolve {number} once k 6 first")[-1] == OK
        client.ask("set k later")
        client.ask(f"resolve {number} once k 6 second")
        answer, end = client.ask("get-safe k")
        assert end == OK
        assert int(answer.split(" ")[1]) >= 8, answer
        assert client.ask("set k last") == [OK]


def test_a_database_user_cannot_resolve_in_another_database(shared_server: Server) -> None:
    create_database(shared_server, "resolved-in", strategy="arbiter")
    create_database(shared_server, "resolved-from", strategy="arbiter")
    with (
        websocket_session(shared_server, "resolved-in") as client,
        websocket_session(shared_server, "resolved-from") as stranger,
    ):
        client.ask_all("arbiter", "set-safe k 5 a")
        number = _conflict(client, "k", 1, "b")
        stranger.ask(f"resolve {number} resolved-in k 6 stolen")
        assert client.ask("get-safe k") == ["value-version -2 a\n", OK]


def test_conflicts_of_two_databases_are_listed_for_the_admin(shared_server: Server) -> None:
    for name in ("listed-a", "listed-b"):
        create_database(shared_server, name, strategy="arbiter")
        with websocket_session(shared_server, name) as client:
            client.ask_all("arbiter", "set-safe k 5 a")
            number = _conflict(client, "k", 1, "b")
            with admin_session(shared_server, name) as admin:
                for command in ("pending-conflicts", "pendding-conflitcts"):
                    listing, end = admin.ask(f"debug {command}")
                    assert listing.startswith("conflitcts-list ,")
                    assert f"$conflicts_k_{number}" in listing
                    assert end == OK
            client.ask(f"resolve {number} {name} k 6 done")
            with admin_session(shared_server, name) as admin:
                assert f"$conflicts_k_{number}" not in "".join(admin.ask("debug pending-conflicts"))


def test_a_conflict_needs_permission_first(shared_server: Server) -> None:
    create_database(shared_server, "denied", strategy="arbiter", then="create-user ana ana; set-permissions ana r k")
    with websocket_session(shared_server, "denied") as client:
        client.ask_all("arbiter", "set-safe k 5 a")
        answer = http_post(shared_server.http, "use-db denied ana ana; set-safe k 1 b; get-safe k")
        assert answer == "empty;permission denied\n;value-version 6 a\n"
        assert client.quiet() == []
