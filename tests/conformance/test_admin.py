"""What only the admin sees: the database of databases, the state of the server, and the cluster's own commands."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tools.clients.exact_clients import http_post
from tools.clients.server import Server, new_folder
from tools.clients.sessions import OK, admin_session, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# Every command a client can send, by docs/protocol.md section 2.
ALL_COMMANDS = {
    "ack", "arbiter", "auth", "cluster-state", "create-db", "create-user", "debug", "election", "get", "get-safe",
    "increment", "join", "keys", "leave", "list-commands", "ls", "metrics-state", "remove", "replicate",
    "replicate-increment", "replicate-join", "replicate-leave", "replicate-remove", "replicate-since",
    "replicate-snapshot", "resolve", "rp", "set", "set-permissions", "set-primary", "set-safe", "set-secoundary",
    "snapshot", "unwatch", "unwatch-all", "use", "use-db", "watch",
}  # fmt: skip


SELF = "cluster-state  db.hospital.example:3014(self):Primary ,\n"
STRATEGIES = {"one": "none", "two": "newer", "three": "arbiter"}


@pytest.fixture(scope="module", name="server")
def _server() -> Iterator[Server]:
    """A server of this file's own, with a database of each strategy, and with an address that was chosen."""
    address = ("--external-address", "db.hospital.example:3014")
    with new_folder() as folder, Server(folder / "dbs", options=address) as server:
        for name, strategy in STRATEGIES.items():
            create_database(server, name, strategy=strategy)
        yield server


def test_the_database_of_databases(server: Server) -> None:
    with websocket_session(server, "$admin", server.password) as client:
        assert client.ask("keys t") == ["keys ,$connections,three,two\n", OK]
        assert {"$admin", "$connections", *STRATEGIES} <= {*client.ask("keys")[0].split(" ,")[1].strip().split(",")}
        assert client.ask("get one") == ["value {}\n", OK]
        assert client.ask("get $admin") == ["value {}\n", OK]
        assert client.ask("get absent") == ["value <Empty>\n", OK]
        assert client.ask("use-db $admin wrong") == ["error Invalid token \n"]


def test_the_database_of_databases_tells_of_new_ones(server: Server) -> None:
    with websocket_session(server, "$admin", server.password) as client:
        assert client.ask("watch gamma") == [OK]
        create_database(server, "gamma")
        assert client.take(2) == ["changed gamma {}\n", "changed-version gamma 0 {}\n"]


def test_the_strategy_of_the_database_of_databases_is_newer(server: Server) -> None:
    with websocket_session(server, "$admin", server.password) as client:
        assert client.ask_all("set-safe note 5 a", "set-safe note 1 b") == [[OK], [OK]]
        assert client.ask("get-safe note") == ["value-version 7 b\n", OK]


def test_list_of_databases_with_their_strategies(server: Server) -> None:
    """On TCP, what ends it is a line of its own."""
    with admin_session(server) as client:
        listing, end = client.ask("debug list-dbs")
    assert end == OK
    first, *lines, rest = listing.split("\n")
    assert (first, rest) == ("dbs-list ", "")
    listed = dict(line.split(" : ") for line in lines)
    assert listed.items() >= {**STRATEGIES, "$admin": "newer"}.items()
    with tcp_session(server, "one") as tcp:
        tcp.ask(f"auth {server.credentials}")
        assert sorted(tcp.ask("debug list-dbs")) == sorted(["dbs-list \n", *(f"{line}\n" for line in lines), OK])


def test_metrics_count_each_change(server: Server) -> None:
    def operations() -> int:
        with admin_session(server) as client:
            metrics, end = client.ask("metrics-state")
        assert end == OK
        pattern = (
            r"metrics-state pending_ops: 0, op_log_file_size: ([0-9]+), op_log_count: ([0-9]+),"
            r"replication_time_moving_avg: [0-9]+\.[0-9]+, get_query_time_moving_avg: [0-9]+\.[0-9]+\n\n"
        )
        match = re.fullmatch(pattern, metrics)
        assert match, metrics
        assert int(match[1]) == 25 * int(match[2])
        return int(match[2])

    before = operations()
    create_database(server, "metrics", then="set-safe a -1 1; set-safe a -1 2; set-safe b -1 1; set-safe c -1 1")
    assert operations() == before + 5


def test_process_info_and_pending_operations(server: Server) -> None:
    with admin_session(server) as client:
        process_info, end = client.ask("debug process-info")
        assert re.fullmatch(r"process-info \nprocess_id: [0-9]+\n", process_info), process_info
        assert end == OK
        pending, end = client.ask("debug pending-ops")
        assert re.fullmatch(r"pending-ops [^\n]*\n", pending), pending
        assert end == OK


def test_list_of_commands_holds_them_all(server: Server) -> None:
    with admin_session(server) as client:
        listing, end = client.ask("list-commands")
    assert end == OK
    match = re.fullmatch(r"commands-list ,([a-z,-]+)\n", listing)
    assert match, listing
    names = match[1].split(",")
    assert len(set(names)) == len(names)
    assert set(names) >= ALL_COMMANDS


def test_every_listed_command_is_known(new_server: Callable[..., Server]) -> None:
    """With whatever arguments: the answer is never that the command is unknown, and there is one."""
    with new_server() as server, admin_session(server) as client:  # of its own: it changes the password, too
        names = client.ask("list-commands")[0].removeprefix("commands-list ,").strip().split(",")
        for name in names:
            for arguments in ("", " a", " a get", " a 1 c", " a b 1 d"):
                if name == "rp" and arguments in (" a 1 c", " a b 1 d"):
                    continue  # what follows the number is a command of its own
                answer = client.ask(f"{name}{arguments}")
                assert "unknown command" not in answer[-1], (name, arguments)
            client.ask(f"auth {server.credentials}")
        assert client.quiet() == []


@pytest.mark.parametrize(
    "command",
    [
        "join 127.0.0.1:1",
        "leave 127.0.0.1:1",
        "replicate-join 127.0.0.1:1",
        "replicate-leave 127.0.0.1:1",
        "replicate-since 127.0.0.1:1 1",
        "replicate-snapshot cluster true",
        "ack 1 127.0.0.1:1",
        "election win",
        "election candidate 1",
        "election alive",
        "set-primary 127.0.0.1:1",
        "set-secoundary 127.0.0.1:1",
        "debug force-election",
    ],
)
def test_a_cluster_command_changes_nothing_on_one_node(server: Server, command: str) -> None:
    database = "cluster-" + "-".join(part for part in command.split(" ") if "." not in part)
    create_database(server, database, then="set k v")
    with admin_session(server, database) as client:
        before = client.ask("cluster-state")
        assert len(client.ask(command)) == 1
        assert client.ask("cluster-state") == before == [SELF, OK]
        assert client.ask("get-safe k") == ["value-version 0 v\n", OK]
        assert client.quiet() == []


def test_replicated_records_keep_their_secrets(server: Server) -> None:
    """`replicate` of a `$$` key goes the way of `set`: hashed, never plain."""
    create_database(server, "replicated")
    with admin_session(server, "replicated") as client:
        assert client.ask("replicate replicated $$user_ana 1 ana-secret") == [OK]
        assert client.ask("get $$user_ana")[0].startswith("value $argon2id$")
    assert http_post(server.http, "use-db replicated ana ana-secret") == "empty"


def test_the_address_shown_can_be_chosen(server: Server) -> None:
    with admin_session(server) as client:
        assert client.ask("cluster-state") == [SELF, OK]
        assert client.ask("rp 5 cluster-state")[0] == "ack 5 db.hospital.example:3014 \n"
