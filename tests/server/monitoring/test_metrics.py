"""GET /metrics: what the server counts, in the format of Prometheus (docs/monitoring.md)."""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from pynun import limits
from tests.support.certificates import Authority
from tests.support.watched import Scrape, growth_forbidden, request, wait_until
from tools.clients.exact_clients import HttpClient, TcpClient, WebSocketClient, http_post
from tools.clients.server import ADMIN_PASSWORD, Server, new_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tools.clients.exact_clients import Connection

SECRET = "a-token-nobody-may-see"
CPU_SHARE_MAX = 0.5


@pytest.fixture(scope="module")
def watched() -> Iterator[Server]:
    """A running server with two databases. What it counts is never set back: tests look at what was added."""
    with new_folder() as folder, Server(folder / "dbs") as server:
        http_post(server.http, f"auth {server.credentials}; create-db images {SECRET}; create-db other other-pwd")
        yield server


@pytest.fixture
def fresh(new_server: Callable[..., Server]) -> Iterator[Server]:
    """The same, of the test's own: what databases hold is not measured anew at each look."""
    with new_server() as server:
        http_post(server.http, f"auth {server.credentials}; create-db images {SECRET}; create-db other other-pwd")
        yield server


def enter(client: Connection, database: str = "images", token: str = SECRET) -> None:
    assert client.ask(f"use-db {database} {token}")[-1] == "ok \n"


def named(server: Server) -> Scrape:
    """A look of the administrator."""
    return Scrape(server.http, login=f"{server.user}:{server.password}")


def wait_until_all_are_gone(server: Server) -> None:
    """Also those of the test before."""
    wait_until(lambda: connections(server, "websocket") == connections(server, "tcp") == 0)


def added(before: Scrape, after: Scrape, name: str, **labels: str) -> float:
    """What was counted between two looks."""
    return after.value(name, **labels) - before.value(name, **labels)


def connections(server: Server, transport: str) -> float:
    """How many there are by now: of the end of one the server hears a moment later."""
    return Scrape(server.http).value("nun_db_connections", transport=transport)


def test_commands_are_counted_by_name_and_outcome(watched: Server) -> None:
    with TcpClient(watched.tcp) as client:
        enter(client)
        before = Scrape(watched.http)
        for number in range(7):
            client.ask(f"set key-{number} value")
        client.ask("get key-1")
        client.ask("ls")
        client.ask("keys")
        client.ask("increment key-1")
        client.ask("nothing-we-know key-1")
        client.ask("another")
        client.ask("create-db not allowed")
        after = Scrape(watched.http)

    def more(command: str, outcome: str) -> float:
        return added(before, after, "nun_db_commands_total", command=command, outcome=outcome)

    assert more("set", "ok") == 7
    assert more("get", "ok") == 1
    assert more("keys", "ok") == 2, "an alias counts as its command"
    assert (more("increment", "ok"), more("increment", "refused")) == (0, 1)
    assert (more("create-db", "ok"), more("create-db", "refused")) == (0, 1)
    assert more("unknown", "refused") == 2
    assert "nothing-we-know" not in after.text
    assert 'command="ls"' not in after.text


def test_sessions_and_connections_are_counted_where_they_are(watched: Server) -> None:
    wait_until_all_are_gone(watched)
    before = named(watched)
    with (
        TcpClient(watched.tcp) as tcp,
        WebSocketClient(watched.websocket) as one,
        WebSocketClient(watched.websocket) as two,
        WebSocketClient(watched.websocket),
    ):
        enter(tcp)
        enter(one)
        enter(two, "other", "other-pwd")
        one.ask("watch a")
        two.ask("watch a")
        two.ask("watch b")
        wait_until(lambda: connections(watched, "http") == 1)  # the one that asks
        scrape = named(watched)
        assert scrape.value("nun_db_connections", transport="websocket") == 3
        assert scrape.value("nun_db_connections", transport="tcp") == 1
        assert scrape.value("nun_db_sessions", database="images", transport="websocket") == 1
        assert scrape.value("nun_db_sessions", database="images", transport="tcp") == 1
        assert scrape.value("nun_db_sessions", database="other", transport="websocket") == 1
        assert scrape.value("nun_db_watches") == 3
    wait_until_all_are_gone(watched)
    after = named(watched)
    assert added(before, after, "nun_db_connections_opened_total", transport="websocket") == 3
    assert after.value("nun_db_watches") == 0
    assert ("nun_db_sessions", (("database", "images"), ("transport", "tcp"))) not in after.values


def test_wrong_passwords_are_counted(watched: Server) -> None:
    before = Scrape(watched.http)
    with WebSocketClient(watched.websocket) as client:
        client.ask("auth user-name wrong")
        client.ask("auth nobody wrong")
        client.ask("use-db images wrong")
        client.ask("use-db images nobody wrong")
        client.ask(f"use-db images {SECRET}")
    after = Scrape(watched.http)
    assert added(before, after, "nun_db_failed_logins_total", kind="admin") == 2
    assert added(before, after, "nun_db_failed_logins_total", kind="database") == 2


def test_times_and_commits_are_measured(watched: Server) -> None:
    before = Scrape(watched.http)
    with TcpClient(watched.tcp) as client:
        enter(client)
        for number in range(20):
            client.ask(f"set key {number}")
    http_post(watched.http, "use-db other other-pwd")
    after = Scrape(watched.http)

    def more(name: str) -> float:
        return added(before, after, name)

    assert more("nun_db_commit_seconds_count") >= 20, "each was answered before the next was sent"
    assert more("nun_db_commit_entries_sum") >= 20
    assert more("nun_db_commit_seconds_sum") > 0
    assert more("nun_db_durable_seconds_count") == more("nun_db_commit_seconds_count")
    assert more("nun_db_durable_seconds_sum") >= more("nun_db_commit_seconds_sum")
    assert more("nun_db_turn_seconds_count") >= 20
    assert after.value("nun_db_password_seconds_count") >= 2
    assert more("nun_db_http_request_seconds_count") == 1, "pages are not counted as requests of commands"
    assert after.value("nun_db_commit_seconds_bucket", le="+Inf") == after.value("nun_db_commit_seconds_count")
    wait_until(lambda: Scrape(watched.http).value("nun_db_loop_delay_seconds_count") >= 1)


def test_sizes_of_databases_are_measured(fresh: Server) -> None:
    long = "long" * 200  # which is no key of LMDB
    http_post(fresh.http, f"auth {fresh.credentials}; create-db {long} pwd; use-db {long} pwd; set k v")
    with TcpClient(fresh.tcp) as client:
        enter(client)
        for number in range(30):
            client.ask(f"set key-{number:03} {'x' * 100}")
        client.ask(f"set {'long' * 500} {'x' * 100}")
    scrape = named(fresh)  # the first measures
    assert scrape.value("nun_db_databases") == 4
    assert scrape.value("nun_db_database_keys", database="images") == 32, "with $$token"
    assert 31 * 100 < scrape.value("nun_db_database_bytes", database="images") < 31 * 200 + 3000
    assert scrape.value("nun_db_database_keys", database="other") == 1
    assert scrape.value("nun_db_database_keys", database=long) == 2
    assert scrape.value("nun_db_database_keys", database="all others") == 0
    assert abs(scrape.value("nun_db_databases_measured_timestamp_seconds") - time.time()) < 60
    wait_until(lambda: Scrape(fresh.http).value("nun_db_log_entries") == 0)  # a second after the last change
    scrape = Scrape(fresh.http)
    assert scrape.value("nun_db_stored_entries") > 36
    assert scrape.value("nun_db_checkpoint_seconds_count") >= 1
    size_bytes = (fresh.data_dir / "data.mdb").stat().st_size
    assert scrape.value("nun_db_data_file_bytes") == size_bytes
    assert 0 < scrape.value("nun_db_data_used_bytes") <= size_bytes
    assert 0 < scrape.value("nun_db_disk_free_bytes") < scrape.value("nun_db_disk_bytes")


def test_thousands_of_databases_make_no_thousands_of_series(fresh: Server) -> None:
    names = [f"many-{number:03}" for number in range(limits.METRICS_DATABASES_MAX + 30)]
    commands = ";".join(f"create-db {name} pwd" for name in names)
    http_post(fresh.http, f"auth {fresh.credentials};{commands}")
    clients = [TcpClient(fresh.tcp) for _ in names]
    try:
        for client, name in zip(clients, names, strict=True):
            enter(client, name, "pwd")
        scrape, nameless = named(fresh), Scrape(fresh.http)
    finally:
        for client in clients:
            client.abandon()
    for name in ("nun_db_sessions", "nun_db_database_keys", "nun_db_database_bytes"):
        databases = {sample.labels["database"] for sample in scrape.families[name].samples}
        assert len(databases) == limits.METRICS_DATABASES_MAX + 1
        assert "all others" in databases
    assert scrape.value("nun_db_sessions", database="all others", transport="tcp") == 30
    assert scrape.value("nun_db_databases") == len(names) + 3
    samples = scrape.families["nun_db_sessions"].samples
    assert sum(sample.value for sample in samples) == len(names)
    assert nameless.value("nun_db_sessions", database="all others", transport="tcp") == len(names)


def test_no_secret_no_key_and_no_user_is_shown(watched: Server) -> None:
    with TcpClient(watched.tcp) as client:
        enter(client)
        client.ask(f"auth {watched.credentials}")
        client.ask("create-user a-user-of-it another-secret")
        client.ask("set patient-4711 seen")
        client.ask("watch patient-4711")
        client.ask("patient-4711 as a command")
        text = Scrape(watched.http).text
    for hidden in (SECRET, ADMIN_PASSWORD, watched.user, "a-user-of-it", "another-secret", "patient-4711", "argon2"):
        assert hidden not in text


def test_names_of_databases_are_for_the_administrator(watched: Server) -> None:
    wait_until_all_are_gone(watched)
    with TcpClient(watched.tcp) as client:
        enter(client)
        client.ask("set key value")
        for path in ("/metrics", "/metrics?a=b", "/healthz", "/readyz", "/livez"):
            assert "images" not in request(watched.http, path).text
        nameless, all_named = Scrape(watched.http), named(watched)
    assert "images" in all_named.text
    assert nameless.families.keys() == all_named.families.keys()
    for name in ("nun_db_database_keys", "nun_db_database_bytes", "nun_db_sessions"):
        assert {sample.labels["database"] for sample in nameless.families[name].samples} == {"all others"}
        sums = [sum(sample.value for sample in one.families[name].samples) for one in (nameless, all_named)]
        assert sums[0] == sums[1] > 0


@pytest.mark.parametrize(
    "login", ["user-name:wrong", "images:" + SECRET, "user-name:", ":user-pwd", "user-name", "", "user-name user-pwd:"]
)
def test_a_wrong_login_gets_no_page(watched: Server, login: str) -> None:
    answer = request(watched.http, "/metrics", login=login)
    assert answer.status == 401
    assert answer.text.startswith(
        "wrong user or password: the administrator's are needed (HTTP Basic), or none; a proxy"
    )
    assert request(watched.http, "/metrics", "HEAD", login=login).status == 401
    assert request(watched.http, "/healthz", login=login).text == "ok\n"


@pytest.mark.parametrize("header", ["Basic", "Basic !", "Bearer x", "x", "Basic /w=="])
def test_what_is_no_login_gets_no_page(watched: Server, header: str) -> None:
    with HttpClient(watched.http) as client:
        client.send_bytes(f"GET /metrics HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\n\r\n".encode())
        answer = client.read_response(method="GET")
        assert answer.status == 401
        assert answer.headers["www-authenticate"] == 'Basic realm="nun-db", charset="UTF-8"'
        client.send_bytes(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert client.read_response(method="GET").status == 200, "the header is of one request"


def test_a_look_with_a_login_is_a_login(new_server: Callable[..., Server]) -> None:
    """Checked once and remembered, audited, delayed when guessed; and refused after the password was changed."""
    with new_server(NUN_LOGIN_BURST="3") as server:
        before = Scrape(server.http).value("nun_db_password_seconds_count")
        for _ in range(5):
            named(server)
        after = named(server)
        assert after.value("nun_db_password_seconds_count") <= before + 1
        http_post(server.http, f"auth {server.credentials}; set-password other-pwd")
        login = f"{server.user}:other-pwd"
        assert request(server.http, "/metrics", login=f"{server.user}:{server.password}").status == 401
        assert Scrape(server.http, login=login).value("nun_db_failed_logins_total", kind="admin") == 1
        for number in range(2):
            assert request(server.http, "/metrics", login=f"{server.user}:guess-{number}").status == 401
        began = time.monotonic()
        assert request(server.http, "/metrics", login=f"{server.user}:guess").status == 401
        assert time.monotonic() - began > 0.5
    lines = [json.loads(line) for line in (server.data_dir / "audit.jsonl").read_text().splitlines()]
    logins = [(line["outcome"], line["command"], line["transport"]) for line in lines if line["event"] == "login"]
    assert ("failed", f"auth {server.user} ***", "http") in logins
    assert any(line["event"] == "login-delay" for line in lines)


def test_slow_readers_are_seen_before_and_after_they_are_dropped(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_MAX_OUTBOX_SIZE="4MiB") as server:
        http_post(server.http, f"auth {server.credentials}; create-db images {SECRET}")
        with TcpClient(server.tcp) as writer, TcpClient(server.tcp, receive_buffer_bytes=4096) as slow:
            enter(writer)
            enter(slow)
            slow.ask("watch picture")
            for number in range(200):
                writer.ask(f"set picture {number}-{'x' * 50_000}")
            scrape = Scrape(server.http)
            assert scrape.value("nun_db_stalled_clients") == 1
            assert scrape.value("nun_db_outbox_bytes") > 100_000
            assert scrape.value("nun_db_outbox_largest_bytes") <= scrape.value("nun_db_outbox_bytes")
            assert scrape.value("nun_db_conflated_events_total") > 10
            assert scrape.value("nun_db_dropped_sessions_total", reason="slow_reader") == 0
            for number in range(150):
                slow.send(f"watch many-{number}")
            for number in range(150):
                writer.ask(f"set many-{number} {'x' * 50_000}")
            wait_until(lambda: Scrape(server.http).value("nun_db_dropped_sessions_total", reason="slow_reader") == 1)
    assert server.exit_code == 0


def test_dropped_and_refused_clients_are_counted_by_reason(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_MAX_MESSAGE_SIZE="2KiB") as server:
        with TcpClient(server.tcp) as tcp, WebSocketClient(server.websocket) as websocket:
            tcp.send("x" * 5000)
            websocket.send("x" * 5000)
            tcp.wait_end()
            websocket.wait_end()
        wait_until(lambda: connections(server, "tcp") == 0)
        assert Scrape(server.http).value("nun_db_dropped_sessions_total", reason="message_too_big") == 2
        assert request(server.websocket, "/").status == 426
        wait_until(lambda: Scrape(server.http).value("nun_db_connections_refused_total", reason="handshake") == 1)
        assert request(server.http, "/", "POST", b"x" * 5000).status == 413
        assert Scrape(server.http).value("nun_db_http_answers_total", status="413") == 1


def test_more_connections_than_allowed_are_counted_and_leave_the_own_address_open(
    new_server: Callable[..., Server],
) -> None:
    with new_server(NUN_MAX_CONNECTIONS="1", NUN_METRICS="127.0.0.1:0") as server:
        assert server.metrics is not None
        with TcpClient(server.tcp):
            with socket.create_connection(server.tcp) as refused:
                assert refused.recv(100) == b"error too many connections \n"
            scrape = Scrape(server.metrics)
            assert scrape.value("nun_db_connections_refused_total", reason="limit") == 1
            assert scrape.value("nun_db_connections", transport="tcp") == 1
            assert scrape.value("nun_db_connections", transport="http") == 0


def test_commits_that_fail_are_counted_and_the_server_is_not_ready(watched: Server) -> None:
    with TcpClient(watched.tcp) as client:
        enter(client)
        with growth_forbidden(watched):
            client.ask("set big " + "x" * 4_000_000)
            scrape = Scrape(watched.http)
            assert scrape.value("nun_db_ready") == 0
            assert scrape.value("nun_db_commit_failures_total") >= 1  # it tries again now and then
        wait_until(lambda: Scrape(watched.http).value("nun_db_ready") == 1)


def test_off_means_that_there_are_none(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_METRICS="off") as server:
        assert request(server.http, "/metrics")[:2] == (404, "metrics are off (NUN_METRICS=off)\n")
        assert request(server.http, "/healthz").text == "ok\n"


def test_an_address_of_its_own_is_the_only_one(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_METRICS="127.0.0.1:0") as server:
        assert server.metrics is not None
        assert request(server.http, "/metrics")[:2] == (404, "metrics have an address of their own (NUN_METRICS)\n")
        scrape = Scrape(server.metrics)
        assert scrape.value("nun_db_ready") == 1
        assert scrape.value("nun_db_database_keys", database="$admin") > 0, "with names, for who reaches it"
        assert request(server.http, "/metrics", login=f"{server.user}:{server.password}").status == 404


def test_with_tls_they_are_told_by_tls(disk_folder: Path) -> None:
    authority = Authority(disk_folder)
    with Server(disk_folder / "dbs", environment=authority.environment()) as server:
        request(server.http, "/healthz")  # plain text
        trusting = authority.trusting()
        wait_until(lambda: Scrape(server.http, trusting).value("nun_db_connections_refused_total", reason="tls") == 1)


def test_any_other_request_for_it_is_a_body_of_commands(watched: Server) -> None:
    assert request(watched.http, "/metrics", "POST", b"auth a b").text == "invalid auth\n"
    assert request(watched.http, "/metrics", "GET", b"auth a b").text == "invalid auth\n"


def test_what_the_system_says_of_the_process_is_there(watched: Server) -> None:
    scrape = Scrape(watched.http)
    assert scrape.value("process_resident_memory_bytes") > 10e6
    assert scrape.value("process_open_fds") > 5
    assert scrape.value("process_cpu_seconds_total") > 0
    assert time.time() - 300 < scrape.value("process_start_time_seconds") <= time.time() + 1
    assert re.fullmatch(r"3\.[0-9.]+", scrape.families["nun_db_build_info"].samples[0].labels["python"])


def test_backups_of_the_schedule_are_seen(new_server: Callable[..., Server], disk_folder: Path) -> None:
    folder = disk_folder / "backups"
    with new_server(NUN_BACKUP_DIR=str(folder), NUN_BACKUP_INTERVAL="1h") as server:
        wait_until(lambda: Scrape(server.http).value("nun_db_backup_failures_total") == 1)
        assert Scrape(server.http).value("nun_db_last_backup_timestamp_seconds") == 0
        folder.mkdir()
        server.restart()
        wait_until(lambda: Scrape(server.http).value("nun_db_last_backup_timestamp_seconds") > time.time() - 120)
        assert Scrape(server.http).value("nun_db_backup_failures_total") == 0


def test_many_who_ask_at_once_share_a_page_and_leave_the_loop_to_others(watched: Server) -> None:
    """Anybody may ask, and a request of some bytes costs milliseconds of all others' time."""
    Scrape(watched.http)
    is_over = threading.Event()

    def ask() -> None:
        with HttpClient(watched.http) as client:
            while not is_over.is_set():
                client.send_bytes(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
                for _ in range(20):
                    assert client.read_response(method="GET").status == 200

    askers = [threading.Thread(target=ask) for _ in range(4)]
    before, began = Scrape(watched.http), time.perf_counter()
    for asker in askers:
        asker.start()
    time.sleep(2)
    is_over.set()
    for asker in askers:
        asker.join(20)
    after, seconds = Scrape(watched.http), time.perf_counter() - began
    name = "process_cpu_seconds_total"
    assert (after.value(name) - before.value(name)) / seconds < CPU_SHARE_MAX


def test_a_server_under_load_answers_at_once(watched: Server) -> None:
    """Four clients that always have commands under way, and a look each 50 ms."""
    is_over = threading.Event()

    def write(number: int) -> None:
        with WebSocketClient(watched.websocket) as client:
            enter(client)
            while not is_over.is_set():
                client.ask_all(*(f"set key-{number} {place}" for place in range(50)))

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    try:
        Scrape(watched.http)
        took = []
        for _ in range(30):
            began = time.perf_counter()
            Scrape(watched.http)
            took.append(time.perf_counter() - began)
            time.sleep(0.05)
    finally:
        is_over.set()
        for writer in writers:
            writer.join()
    assert sorted(took)[len(took) // 2] < 1.0
