"""After a restart, and after a kill, everything is answered as before (docs/protocol.md; `$connections` from zero)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from tools.clients.exact_clients import http_post
from tools.clients.sessions import OK, admin_session, create_database, websocket_session

if TYPE_CHECKING:
    from tools.clients.server import Server

QUESTIONS = [
    "keys",
    "keys ve*",
    "get-safe plain",
    "get-safe versioned",
    "get-safe counter",
    "get-safe removed",
    "get-safe ключ",
    f"get-safe {'long' * 200}",
    "get $connections",
]


def _fill(server: Server) -> None:
    create_database(server, "plain", then="set plain 1; set plain 2; set-safe versioned 41 x  y; increment counter 5")
    create_database(server, "newest", strategy="newer", then="set-safe k 5 a; set-safe k 1 b")
    create_database(server, "judged", strategy="arbiter", then="set-safe k 5 a")
    users = "create-user ana ana-pwd; set-permissions ana r pub*|rwx ana-*; create-user bob bob-pwd"
    create_database(server, "peopled", then=f"set pub-1 v; {users}; set-permissions all r pub*")
    http_post(
        server.http,
        f"use-db plain pwd; set removed 1; remove removed; set ключ Приве́т; set {'long' * 200} of; increment counter",
    )
    with websocket_session(server, "judged") as arbiter:
        arbiter.ask("arbiter")
        arbiter.send("set-safe k 1 b;set-safe k 2 c;set-safe m 5 x;set-safe m 1 y")
        assert arbiter.pump_until(lambda: sum(message.startswith("error $$") for message in arbiter.messages) == 3)


def _answers(server: Server) -> list[str]:
    """Ask everything that must not change; numbers of conflicts included."""
    answers = []
    for database, credentials, commands in (
        ("plain", "pwd", QUESTIONS),
        ("plain", "wrong", []),
        ("newest", "pwd", ["get-safe k", "keys"]),
        ("judged", "pwd", ["get-safe k", "get-safe m", "keys"]),
        ("peopled", "pwd", ["get pub-1", "set pub-1 x", "get other"]),
        ("peopled", "ana ana-pwd", ["get pub-1", "set pub-1 x", "set ana-1 x", "remove ana-1", "get $$token"]),
        ("peopled", "ana wrong", []),
        ("peopled", "bob bob-pwd", ["get pub-1", "keys"]),
        ("$admin", server.password, ["keys", "get plain"]),
    ):
        answers.append(http_post(server.http, ";".join([f"use-db {database} {credentials}", *commands])))
    with websocket_session(server, "judged") as arbiter:
        answers += arbiter.ask("arbiter")
        for message in answers[-4:-1]:
            number, key = message.split(" ")[1], message.split(" ")[4]
            answers += arbiter.ask(f"get $conflicts_{key}_{number}")
    with admin_session(server, "judged") as admin:
        answers += admin.ask("debug pending-conflicts")
        answers += ["".join(sorted(admin.ask("debug list-dbs")[0].split("\n")))]
        admin.ask("use-db peopled pwd")
        for key in ("$$token", "$$user_ana", "$$permission_$ana", "$$permission_$all"):
            answers += admin.ask(f"get-safe {key}")
        answers += admin.ask("keys")
    return answers


def _operations(server: Server) -> int:
    with admin_session(server) as admin:
        match = re.search(r"op_log_count: ([0-9]+)", admin.ask("metrics-state")[0])
    assert match
    return int(match[1])


def test_everything_is_answered_as_before_and_goes_on_where_it_was(server: Server) -> None:
    _fill(server)
    before = _answers(server)
    assert len([answer for answer in before if answer.startswith("resolve ")]) == 3, before
    for end in (server.stop, server.kill):
        operations = _operations(server)
        assert not end()
        server.start()
        assert _operations(server) == operations
        http_post(server.http, "use-db newest pwd; set other 9")
        assert _operations(server) == operations + 1
        http_post(server.http, "use-db newest pwd; remove other")
        assert _answers(server) == before
    answer = http_post(
        server.http, "use-db plain pwd; set plain 3; get-safe plain; set-safe versioned 42 z; get-safe versioned"
    )
    assert answer == "empty;empty;value-version 2 3\n;empty;value-version 43 z\n"
    answer = http_post(server.http, "use-db plain pwd; set-safe versioned 42 w; increment counter; get-safe counter")
    assert answer == "empty;Invalid version!;empty;value-version 3 7\n"
    answer = http_post(server.http, "use-db newest pwd; set-safe k 1 c; get-safe k")
    assert answer == "empty;empty;value-version 8 c\n"
    answer = http_post(server.http, "use-db judged pwd; set-safe k 9 d; get-safe k")
    assert answer == ("empty;An conflitct happend and there is no arbiter client not connected;value-version -2 a\n")


def test_the_format_of_a_folder_stays_small(server: Server) -> None:
    """A key written ten thousand times takes the room of a key, not of ten thousand."""
    create_database(server, "rewritten")
    with websocket_session(server, "rewritten") as client:
        for _ in range(100):
            client.send(";".join(f"set k {'v' * 100}{number}" for number in range(100)))
            assert client.take(100) == [OK] * 100
    server.stop()
    size = sum(path.stat().st_blocks * 512 for path in server.data_dir.iterdir() if path.suffix != ".wal")
    print(f"10000 writes of one key: the folder takes, without its log, {size // 1024} KiB")
    assert size < 2 << 20
