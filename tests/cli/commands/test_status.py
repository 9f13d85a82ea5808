"""`nun-db status`: ready or not, for a person and for scripts."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pynun.cli.commands.status import as_lines
from pynun.cli.remote.metrics import Health, Metrics
from tests.cli.command import ask, ask_json, run
from tests.support.certificates import Authority
from tests.support.watched import growth_forbidden
from tools.clients.exact_clients import TcpClient, WebSocketClient, http_post
from tools.clients.server import Server
from tools.clients.sessions import OK, create_database, websocket_session

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def test_a_person_sees_what_it_does(new_server: Callable[..., Server]) -> None:
    with new_server() as server:
        http_post(server.http, f"auth {server.credentials}; create-db images images-pwd")
        with WebSocketClient(server.websocket) as client, TcpClient(server.tcp) as other:
            client.ask("use-db images images-pwd")
            client.ask("watch a")
            client.ask("set a 1")
            client.ask("no such command")
            other.ask("use-db images wrong")
            done = run("-u", server.user, "-p", server.password, "-h", f"http://{server.http}", "status")
            nameless = run("-h", f"http://{server.http}", "status")
            wrong = run("-u", server.user, "-p", "wrong", "-h", f"http://{server.http}", "status")
            environment = {"NUN_USER": server.user, "NUN_PWD": server.password}
            by_environment = run("-h", f"http://{server.http}", "status", environment=environment)
    assert (nameless.code, nameless.errors) == (wrong.code, by_environment.errors) == (0, "")
    told = "refused this user and password, so databases are not named: give the right ones, or none\n"
    assert wrong.errors == f"nun-db: http://{server.http} {told}"
    assert "\nimages " in by_environment.output
    for one in (nameless, wrong):
        assert "images" not in one.output
        assert "\nall others " in one.output
    assert (done.code, done.errors) == (0, "")
    lines = done.output.splitlines()
    assert re.fullmatch(rf"http://{server.http}: ready, version \S+, serving for [0-9.]+ m?s", lines[0])
    assert "connections  websocket 1  http 1  tcp 1; 0 refused so far" in lines
    assert "sessions     1, 1 keys watched" in lines
    assert any(
        line.startswith("commands     ") and line.endswith("of which 2 refused; 1 failed logins") for line in lines
    )
    (times,) = [line for line in lines if line.startswith("mean times ")]
    assert re.fullmatch(r"mean times   turn [0-9.]+ ms, HTTP \S+ m?s, to disk \S+ m?s, password \S+ m?s", times)
    assert not any(line.startswith("backups ") for line in lines)
    table = [line.split() for line in lines[lines.index("") + 10 :]]
    assert ["database", "sessions", "keys", "bytes"] in table
    assert ["images", "1", "2"] in [row[:3] for row in table]
    assert all(len(line) < 80 for line in lines[1:])


def test_backups_on_a_schedule_are_shown() -> None:
    def shown(newest: float, failures: int) -> list[str]:
        text = f"nun_db_last_backup_timestamp_seconds {newest}\nnun_db_backup_failures_total {failures}\n"
        return [line for line in as_lines("URL", Health(True, ""), Metrics(text)) if line.startswith("backups ")]

    assert shown(time.time() - 3 * 3600 - 90, 2) == ["backups      the newest was begun 3 h 1 min ago; 2 failed"]
    assert shown(0, 1) == ["backups      none; 1 failed"]
    assert shown(0, 0) == []


def test_a_node_shows_its_place_in_the_cluster() -> None:
    node = {"node": "b", "role": "following", "since": time.time() - 125, "behind": 1200, "owner": "a",
            "owner_since": time.time() - 7300, "following": 1, "away": 1, "etcd_answered_seconds_ago": 1.5}  # fmt: skip
    lines = as_lines("URL", Health(True, "", node), Metrics(""))
    assert lines[2:5] == [
        "node         b, following for 2 min, 1,200 batches behind",
        "cluster      owned by a for 2 h 1 min; 1 following, 1 away",
        "etcd         answered 1.5 s ago",
    ]
    unknown = dict.fromkeys(("role", "since", "behind", "owner", "owner_since"))
    lines = as_lines("URL", Health(False, "no node owns the data now", node | unknown), "not ready: starting")
    assert lines[1:3] == ["node         b, starting", "cluster      no node owns the data; 1 following, 1 away"]


def first_line(age_seconds: float, start_seconds: float) -> str:
    """What is said of a server that has served for so long, after a start that took so long."""
    since = time.time() - age_seconds
    metrics = Metrics(
        f"nun_db_serving_since_timestamp_seconds {since}\nprocess_start_time_seconds {since - start_seconds}\n"
        'nun_db_build_info{version="1.0"} 1\n'
    )
    return as_lines("URL", Health(True, ""), metrics)[0]


def test_the_time_of_an_import_is_not_taken_for_time_of_serving() -> None:
    assert first_line(120.5, 1900) == "URL: ready, version 1.0, serving for 2 min, after a start of 31 min"
    assert first_line(90_000, 1.5) == "URL: ready, version 1.0, serving for 1 d 1 h"
    assert as_lines("URL", Health(True, ""), Metrics(""))[0] == "URL: ready, version "


def test_scripts_get_one_object(shared_server: Server) -> None:
    done = run("-h", f"http://{shared_server.http}", "status", "--json")
    assert (done.code, done.errors) == (0, "")
    said = json.loads(done.output)
    assert (said["ready"], said["reason"], said["url"]) == (True, None, f"http://{shared_server.http}")
    assert said["metrics"]["nun_db_ready"] == [{"labels": {}, "value": 1}]
    transports = {sample["labels"]["transport"] for sample in said["metrics"]["nun_db_connections"]}
    assert transports == {"websocket", "http", "tcp"}


def test_a_server_that_is_not_ready_is_exit_code_1(new_server: Callable[..., Server]) -> None:
    with new_server() as server:
        http_post(server.http, f"auth {server.credentials}; create-db images images-pwd")
        with growth_forbidden(server), TcpClient(server.tcp) as client:
            client.ask("use-db images images-pwd")
            client.ask("set big " + "x" * 4_000_000)
            done = run("-h", f"http://{server.http}", "status")
            as_json = run("-h", f"http://{server.http}", "status", "--json")
    assert done.code == as_json.code == 1
    assert "NOT READY: changes can't be stored: File too large" in done.output.splitlines()[0]
    assert json.loads(as_json.output)["reason"] == "changes can't be stored: File too large"


def test_without_metrics_it_still_says_whether_it_is_ready(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_METRICS="off") as server:
        done = run("-h", f"http://{server.http}", "status")
        as_json = run("-h", f"http://{server.http}", "status", "--json")
    assert done.code == as_json.code == 0
    assert done.output.splitlines() == [f"http://{server.http}: ready", "no figures: metrics are off (NUN_METRICS=off)"]
    assert json.loads(as_json.output)["metrics"] is None


def test_an_address_of_its_own_and_tls(disk_folder: Path) -> None:
    authority = Authority(disk_folder)
    environment = {**authority.environment(), "NUN_METRICS": "127.0.0.1:0"}
    with Server(disk_folder / "dbs", environment=environment) as server:
        assert server.metrics is not None
        url = f"https://localhost:{server.metrics.port}"
        done = run("-h", url, "--ca", str(authority.file), "status")
        distrusting = run("-h", url, "status")
        plain = run("-h", f"http://{server.http}", "status")
    assert (done.code, done.errors) == (0, "")
    assert done.output.startswith(f"{url}: ready, version")
    assert distrusting.code == 4
    told = f"nun-db: http://{server.http} refused the request: this port speaks TLS: use https:// or wss://\n"
    assert (plain.code, plain.errors) == (4, told)


def test_no_server_is_exit_code_4() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        done = run("-h", f"127.0.0.1:{free.getsockname()[1]}", "status")
    assert done.code == 4
    assert "nothing listens at http://127.0.0.1:" in done.errors
    assert done.output == ""


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",  # as the original's server does
        b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 4\r\n\r\nnope",
    ],
)
def test_another_program_is_exit_code_4(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def reply() -> None:
            connected, _ = listening.accept()
            with connected:
                connected.recv(4096)
                connected.sendall(answer)

        replying = threading.Thread(target=reply)
        replying.start()
        done = run("-h", f"127.0.0.1:{listening.getsockname()[1]}", "status")
        replying.join(10)
    assert done.code == 4
    assert "does not report its health" in done.errors


def test_every_place_counts_the_same(server: Server, tmp_path: Path) -> None:
    """`status`, `databases list`, backup and import, with conflicts and keys longer than the store's own."""
    create_database(server, "counted", then=f"create-user ana pwd; set-permissions ana r *; set k v; set {'ü' * 400} v")
    create_database(server, "arb", strategy="arbiter")
    with websocket_session(server, "arb") as arbiter:
        for command in ("arbiter", "set k 1", "set k 2"):
            assert arbiter.ask(command) == [OK]
        assert arbiter.ask("set-safe k 0 late")[-1].startswith("error $$conflitct unresolved ")
    listed = {row["name"]: (row["keys"], row["bytes"]) for row in ask_json(server, "databases", "list")}
    metrics = json.loads(ask(server, "status", "--json").output)["metrics"]
    measured = {
        name: tuple(
            sample["value"]
            for kind in ("nun_db_database_keys", "nun_db_database_bytes")
            for sample in metrics[kind]
            if sample["labels"]["database"] == name
        )
        for name in listed
    }
    assert measured == listed
    assert listed["counted"][0] == 5
    lines = ask(server, "status").output
    assert f"3 databases, {sum(keys for keys, _ in listed.values())} keys, file" in lines
    assert "Keys: with those of users, permissions and tokens; counted " in lines
    at = ("--data-dir", str(server.data_dir))
    made = json.loads(run("backup", str(tmp_path / "backup"), "--json", *at).output)
    assert made["keys"] == sum(keys for keys, _ in listed.values())
    by_name = json.loads(run("verify", str(tmp_path / "backup"), "--json").output)["keys_by_database"]
    assert by_name == {name: keys for name, (keys, _) in listed.items()}
    exported = run("export", "counted", str(tmp_path / "file"), *at)
    assert exported.output.endswith(": counted, 3 keys, without tokens\n")
    imported = run("import", "counted", str(tmp_path / "file"), "-t", "t", "--data-dir", str(tmp_path / "other"))
    assert imported.output == "counted: 4 keys imported (with users and tokens); start the server\n"
