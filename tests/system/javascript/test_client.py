"""npm's `nun-db`, unmodified, against a real server: what each of its methods does, and how refusals reach promises.

The scripts beside this file use the client and report what came of it, in Node.js and in a page of a browser; here is
said what should. Some of it looks odd:
where the client itself falls short, the test says so and holds on to it, since applications live with it. The server
bends to none of that. docs/protocol.md section 1 has the order of replies that the client relies on.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.node import run_script
from tests.support.watched import Scrape, wait_until
from tests.system.javascript.conftest import SCRIPTS
from tools.clients.exact_clients import http_post
from tools.clients.server import Server
from tools.clients.sessions import TOKEN, create_database

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.system.javascript.conftest import Runtime

TRIES = 5
WATCHES = 3
"""Of the script `reconnecting.js`, as the arbiter too."""

SILENT_CLIENT_SECONDS = 1.9
USERS = "create-user client client-pwd; set-permissions client r *|rwx client-*; create-user stranger stranger-pwd"


def test_it_passes_its_own_test_suite(server: Server) -> None:
    http_post(
        server.http,
        f"auth {server.credentials}; create-db sample sample-pwd; use sample sample-pwd; create-user test-uset "
        "test-user-pwd; create-user client client-pwd; set-permissions client r *|rwx client-*",
    )
    results = run_script(SCRIPTS / "client_specs.js", {"url": f"ws://{server.websocket}"})["result"]
    assert [result for result in results if result[1] != "passed"] == []
    assert len(results) == 15


# What comes back as it was written, and its text on the server: JSON with every white space as `^`.
VALUES: dict[str, Any] = {
    "text-plain": "plain",
    "text-blanks": "  several  blanks ",
    "text-quotes": "\"double\" 'single' `back` \\ back slash",
    "text-lines": "two\nlines\tand a tab\r",
    "text-unicode": "Zażółć gęślą jaźń, 日本語, 🩺, ﷽",
    "text-command": "ok \n error permission denied \n set text-plain 1",
    "number": -2.5,
    "large": 9007199254740991,
    "true": True,
    "array": [1, "two words", None, [False]],
    "object": {"name": "O'Brien", "values": [{"value": 1}], "with blank": None},
    "object-value": {"value": "inner"},
    "long": "forty thousand words " * 10_000,
}


def test_values_come_back_as_they_were_written(runtime: Runtime, shared_server: Server) -> None:
    database = f"js-values-{runtime.name}"
    create_database(shared_server, database)
    result = runtime.run("values.js", shared_server, database, values=VALUES)["result"]
    for name, value in VALUES.items():
        assert result["read"][name] == {
            "written": value,
            "get": {"value": value, "version": 0},
            "getValue": value,
        }, name
    texts = http_post(shared_server.http, f"use {database} {TOKEN}; get text-blanks; get object").split(";")
    assert texts[1].startswith('value {"_id":')
    assert texts[1].endswith(',"value":"^^several^^blanks^"}\n')
    assert texts[2].endswith(',"value":{"name":"O\'Brien","values":[{"value":1}],"with^blank":null}}\n')


def test_keys_versions_counters_and_removal(runtime: Runtime, shared_server: Server) -> None:
    database = f"js-methods-{runtime.name}"
    create_database(shared_server, database)
    values = {"text-b": 1, "text-a": 2, "other": 3}
    result = runtime.run("values.js", shared_server, database, values=values)["result"]
    assert result["keys"] == {
        "all": ["$connections", "other", "text-a", "text-b"],
        "prefix": ["text-a", "text-b"],
        "none": [],
    }
    assert result["absent"] == {"get": {"value": None, "version": 1}, "getValue": None}
    assert result["versions"] == [0, 1, 2, 11]
    assert result["counter"] == 4
    assert result["removed"] == {"value": None, "keys": []}
    # A basic value is sent as it is, not as JSON; it comes back as text.
    assert result["plain"]["get"] == {"value": "plain text", "version": 0}
    assert result["plain"]["getValue"] == "plain text"


def test_values_that_the_client_itself_alters(runtime: Runtime, shared_server: Server) -> None:
    """`^` becomes a blank; what JavaScript holds for false comes in its wrapping; a `;` ends the command."""
    database = f"js-altered-{runtime.name}"
    create_database(shared_server, database)
    values = {"caret": "a^b", "no-break": "a\u00a0b\u3000c", "zero": 0, "false": False, "empty": "", "null": None}
    sent = values | {"cut": "a;remove caret;"}
    read = runtime.run("values.js", shared_server, database, values=sent)["result"]["read"]
    assert read["caret"]["getValue"] == "a b"
    assert read["no-break"]["getValue"] == "a b c"
    for name in ("zero", "false", "empty", "null"):
        assert read[name]["getValue"].keys() == {"_id", "value"}
        assert read[name]["getValue"]["value"] == values[name]
        assert type(read[name]["getValue"]["value"]) is type(values[name])
    assert read["cut"]["getValue"].endswith(',"value":"a')
    assert http_post(shared_server.http, f"use {database} {TOKEN}; get caret") != "empty;value <Empty>\n"


def test_watches(runtime: Runtime, shared_server: Server) -> None:
    database = f"js-watches-{runtime.name}"
    create_database(shared_server, database)
    report = runtime.run("watches.js", shared_server, database)
    result = report["result"]
    # With the current value asked for, the callback gets it once; else nothing before the first change.
    before = [{"note": "before the watch"}, 0]
    assert result["atFirst"] == {"plain": [], "current": [before], "absent": [[None, 1]]}
    # Each callback of a key gets each change once, however many watches were sent. (The version of an event is text.)
    changes = [["first", "1"], ["with two blanks", "2"]]
    assert result["plain"] == changes
    assert result["current"] == [before, *changes]
    assert result["second"] == changes
    assert result["absent"] == [[None, 1], ["now it is there", "0"]]
    # The setter's own events come too; the client drops them by their number.
    assert result["own"] == [["by the reader", "3"]]
    # A removal tells the callbacks nothing (the client has no use for `removed`); the key then starts anew.
    assert result["gone"] == [[1, "0"], [2, "1"], [3, "0"]]
    assert result["counter"] == [[1, "1"], [42, "2"]]
    assert result["connections"] == [2, 3, 2]
    assert report["unhandled"] == []


def test_logins(runtime: Runtime, server: Server) -> None:
    database = f"js-logins-{runtime.name}"
    create_database(server, database, then=USERS)
    result = runtime.run(
        "login.js",
        server,
        database,
        user="client",
        userToken="client-pwd",
        admin=server.user,
        adminPassword=server.password,
        newDatabase="js-new",
    )["result"]
    ways = ("token", "tokenByName", "user", "userByName", "admin")
    assert result["accepted"] == {way: {"value": "hello"} for way in ways}
    assert result["created"] == {"value": ["$connections"]}
    invalid = {"error": "Invalid token "}
    assert result["refused"] == dict.fromkeys(("token", "user", "userToken", "watch"), invalid)
    assert result["afterwards"] == {"first": invalid, "again": {}, "value": "hello"}


def test_permissions(runtime: Runtime, shared_server: Server) -> None:
    database = f"js-permissions-{runtime.name}"
    create_database(shared_server, database, then=USERS)

    def change(command: str) -> None:
        body = f"auth {shared_server.credentials}; use {database} {TOKEN}; {command}"
        assert http_post(shared_server.http, body) == "valid auth\n;empty;empty"

    with runtime.start("permissions.js", shared_server, database) as script:
        script.expect("give")
        change("set-permissions stranger r *")
        script.tell()
        script.expect("take")
        change("set-permissions stranger r elsewhere")
        script.tell()
        report = script.done()
    result = report["result"]
    denied = {"error": "permission denied"}
    assert result["may"] == {
        "keys": {"value": ["name"]},
        "read": {"value": "Maria"},
        "writeOwn": {"value": "set by the client"},
    }
    assert result["mayNot"] == {"write": denied, "writeVersion": denied}
    assert result["afterwards"] == {"name": "Maria", "greeting": "set by the client"}
    assert result["denied"] == {"getValue": denied, "set": denied}
    # The client's `watch` does not wait for its answer: a refusal is a rejection that an application can't see.
    assert result["watch"] == {}
    assert report["unhandled"] == ["permission denied"]
    assert result["given"] == {"getValue": {"value": "not for strangers"}}
    assert result["taken"] == {"getValue": denied}
    assert result["events"] == ["for strangers too", "for strangers too"]


def test_conflicts_are_resolved_by_the_arbiters_callback(runtime: Runtime, shared_server: Server) -> None:
    database = f"js-arbiter-{runtime.name}"
    create_database(shared_server, database, strategy="arbiter")
    count = 40
    report = runtime.run("arbiter.js", shared_server, database, count=count)
    result = report["result"]
    no_arbiter = "error An conflitct happend and there is no arbiter client not connected \n"
    assert result["withoutArbiter"] == ["ok \n", no_arbiter, {"name": "first"}]

    assert result["answers"][0] == "ok \n"
    (conflict,) = result["asked"]
    assert result["answers"][1] == f"error $$conflitct unresolved $conflicts_key_{conflict['opp_id']} \n"
    assert conflict["opp_id"].isdigit()
    assert (conflict["db"], conflict["key"], conflict["version"]) == (database, "key", 101)
    assert [value["value"] for value in conflict["values"]] == [{"name": "one"}, {"name": "two"}]

    # The watchers see the first value, then at once what the callback made of both; the key is free again after that.
    assert result["seen"] == [
        [{"name": "one"}, "101"],
        [{"name": "one and two"}, "102"],
        [{"name": "three"}, "103"],
    ]
    assert result["resolved"] == {"value": {"name": "one and two"}, "version": 102}
    assert result["after"] == ["ok \n", {"name": "three"}]

    # Forty writers at once: none is lost, none counted twice. The first made the key, each other one was a conflict.
    assert result["crowd"] == [f"name-{number}" for number in range(count)]
    assert result["askedCount"] == 1 + (count - 1)
    assert report["unhandled"] == []


def seconds(run: Callable[[], object]) -> float:
    """How long something takes."""
    began = time.monotonic()
    run()
    return time.monotonic() - began


@pytest.mark.parametrize("end", [Server.stop, Server.kill], ids=["stopped", "killed"])
def test_a_server_that_comes_back_and_a_client_that_goes_offline(
    runtime: Runtime, new_server: Callable[..., Server], end: Callable[[Server], object]
) -> None:
    server = new_server()
    server.start()
    database = f"js-away-{runtime.name}"
    create_database(server, database, strategy="arbiter")

    def change(*commands: str) -> None:
        http_post(server.http, ";".join((f"use {database} {TOKEN}", *commands)))

    with runtime.start("reconnecting.js", server, database) as script:
        assert script.expect("watching")["value"] == "before"
        change("set watched 1")
        script.tell()
        script.expect("leave")
        # A client that answers the close does not hold the server up: it waits two seconds for one that does not.
        # A busy machine may take as long, but not each time.
        took = [seconds(lambda: end(server))]
        while min(took) > SILENT_CLIENT_SECONDS and len(took) < TRIES:
            server.start()
            wait_until(lambda: Scrape(server.http).value("nun_db_watches") == WATCHES)
            took.append(seconds(lambda: end(server)))
        assert min(took) < SILENT_CLIENT_SECONDS, took
        script.tell()
        script.expect("return")
        server.start()
        script.tell()
        back = script.expect("back")
        # It tries once a second; the rest is for a slow machine.
        assert back["milliseconds"] < 10_000
        assert [list(pending) for pending in back["pending"]] == [["error"], ["error"]]
        assert back["pushed"] == ["set while it was away", "after"]
        # Its watches were sent again, and it is the arbiter again.
        change("set watched 2", "set other 3", 'set-safe disputed 5 {"value":"x"}', 'set-safe disputed 5 {"value":"y"}')
        script.tell()
        script.expect("offline")
        change('set watched "unseen"')
        script.tell()
        online = script.expect("online")
        assert online["offline"] == {"error": "Connection is not ready"}
        assert online["stayed"]
        assert online["pushed"] == "set while offline"
        change("set watched 4")
        script.tell()
        result = script.done()["result"]
    assert result == {"seen": [1, 2, 3, 4], "conflicts": ["disputed"], "connections": 1}
    disputed = http_post(server.http, f"use {database} {TOKEN}; get disputed")
    assert json.loads(disputed.removeprefix("empty;value ")) == {"value": "x^and^y"}


def test_two_hundred_values_set_without_waiting(runtime: Runtime, shared_server: Server) -> None:
    database = f"js-burst-{runtime.name}"
    create_database(shared_server, database)
    count = 200
    result = runtime.run("burst.js", shared_server, database, count=count)["result"]
    numbers = list(range(count))
    assert result["written"] == numbers
    # The watcher gets every change of the key that it is quick enough to read, always in order, and the last one.
    assert result["one"][-1] == count - 1
    assert result["one"] == result["versions"] == sorted(set(result["one"]))
    assert result["many"] == [[f"many-{number}", f"value {number}"] for number in numbers]
    assert result["reads"] == [[f"value {number}", 0] for number in numbers]
    assert result["final"] == {"value": {"number": count - 1}, "version": count - 1}
    # The client numbers its changes from the time it was made: of two made in the same millisecond, one takes the
    # other's first change for its own.
    assert result["twins"] == ["number 2"]
