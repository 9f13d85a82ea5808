"""The audit trail of a server: what is in it, how often, and that it is in nobody's way."""

from __future__ import annotations

import json
import signal
import stat
import time
import tracemalloc
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pynun import limits
from pynun.audit_file import AuditTrail
from pynun.engine.audit_events import FAILED, LOGIN, OK, REFUSED, Fact
from pynun.engine.overlay import View
from pynun.server.audit_writer import AuditWriter
from tests.storage.memory_store import MemoryStore
from tests.support.certificates import Authority
from tests.support.watched import request
from tools.clients.exact_clients import HttpClient, TcpClient, WebSocketClient, http_post
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER, nun_db
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tools.clients.server import Server


class Somewhere(NamedTuple):
    """Where a session comes from."""

    address: str
    transport: str = "tcp"
    system_user: str | None = None
    node: str = ""
    waiting_bytes: int = 0

    def is_gone(self) -> bool:
        """It stays."""
        return False

    def disconnect(self) -> bool:
        """It can't be."""
        return False


SOMEBODY = Somewhere("192.0.2.1")


def lines_of(path: Path) -> list[dict[str, Any]]:
    """The trail's lines, oldest first."""
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def trail_of(server: Server) -> list[dict[str, Any]]:
    """The trail of a server, without what stands in every line of these tests."""
    return lines_of(server.data_dir / "audit.jsonl")


def short(line: dict[str, Any]) -> tuple[Any, ...]:
    """What a test compares of a line."""
    return tuple(line.get(name) for name in ("event", "outcome", "address", "transport", "database", "user", "command"))


# --- over sockets ----------------------------------------------------------------------------------------------


def test_a_day_in_the_life_of_a_server(server: Server) -> None:
    http_post(server.http, f"auth {server.credentials}; create-db d pwd; use-db d pwd; create-user ana ana-pwd")
    with WebSocketClient(server.websocket, source="127.0.0.2") as client:
        client.ask("use-db d ana ana-pwd")
        client.ask("get $$token")
        client.ask("auth user-name guess")
    with TcpClient(server.tcp, source="127.0.0.3") as client:
        client.ask("use-db unknown x")
        client.ask("create-db mine x")
    server.send_signal(signal.SIGHUP)  # no certificate: nothing for the trail
    assert server.stop() == 0
    start, *lines, stop = trail_of(server)
    here, there, elsewhere = ("127.0.0.1", "http"), ("127.0.0.2", "websocket"), ("127.0.0.3", "tcp")
    assert [short(line) for line in lines] == [
        ("login", "ok", *here, None, ADMIN_USER, f"auth {ADMIN_USER} ***"),
        ("create-db", "ok", *here, "d", ADMIN_USER, "create-db d ***"),
        ("login", "ok", *here, "d", "all", "use-db d ***"),
        ("create-user", "ok", *here, "d", ADMIN_USER, "create-user ana ***"),
        ("login", "ok", *there, "d", "ana", "use-db d ana ***"),
        ("read-security-key", "refused", *there, "d", "ana", "get $$token"),
        ("login", "failed", *there, None, ADMIN_USER, f"auth {ADMIN_USER} ***"),
        ("login", "failed", *elsewhere, None, None, "use-db *** ***"),
        ("create-db", "refused", *elsewhere, None, None, "create-db *** ***"),
    ]
    assert (start["event"], start["outcome"], start["process_id"]) == ("start", "ok", server.pid)
    assert (stop["event"], stop["outcome"], stop["reason"]) == ("stop", "ok", "SIGTERM")
    times = [line["time"] for line in (start, *lines, stop)]
    assert times == sorted(times)
    logged = [json.loads(line.partition("nun_db.audit] ")[2]) for line in server.output if "nun_db.audit] " in line]
    assert logged == [start, *lines, stop]


def test_the_file_is_where_the_settings_say(new_server: Callable[..., Server], tmp_path: Path) -> None:
    path = tmp_path / "trail"
    with new_server(NUN_AUDIT_FILE=str(path), NUN_LOG_LEVEL="error") as server:
        assert server.stop() == 0
    assert [line["event"] for line in lines_of(path)] == ["start", "stop"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert "nun_db.audit" not in server.log_text()
    with new_server(NUN_AUDIT_FILE="off") as server:
        assert server.stop() == 0
    assert not (server.data_dir / "audit.jsonl").exists()
    assert "nun_db.audit" in server.log_text()


def test_a_file_that_cannot_be_written_stops_the_start(tmp_path: Path) -> None:
    addresses = [part for option in ("-w", "-h", "-t") for part in (option, "127.0.0.1:0")]
    result = nun_db(
        "-u", "x", "-p", "x", "start", *addresses,
        environment={"NUN_DBS_DIR": str(tmp_path), "NUN_AUDIT_FILE": "missing/audit.jsonl"},
    )  # fmt: skip
    assert result.returncode == 1
    assert "missing/audit.jsonl can't be written: No such file or directory" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_same_login_again_and_again_is_counted(server: Server) -> None:
    """The public Python client and `nun-db exec` log in with each request."""
    with HttpClient(server.http) as client:
        for _ in range(50):
            client.request(f"auth {server.credentials}")
    assert server.stop() == 0
    logins = [line for line in trail_of(server) if line["event"] == "login"]
    assert [line.get("count") for line in logins] == [None, 49]
    assert logins[0]["time"] <= logins[1]["since"] <= logins[1]["time"]
    assert short(logins[0]) == short(logins[1])


def test_a_flood_of_refusals_is_counted(server: Server) -> None:
    with TcpClient(server.tcp) as client:
        client.send_bytes(b"".join(b"create-db x%d y\n" % number for number in range(5000)))
        assert client.pump_until(lambda: len(client.messages) >= 5000)
    assert server.stop() == 0
    refused = [line for line in trail_of(server) if line["event"] == "create-db"]
    assert len(refused) == limits.AUDIT_FAILURES_MAX + 1
    assert refused[-1]["count"] == 5000 - limits.AUDIT_FAILURES_MAX


def test_names_cannot_forge_a_line(server: Server) -> None:
    name = 'x"}\t{"event":"login","outcome":"ok"\x1b[2J'
    with WebSocketClient(server.websocket) as client:
        client.ask(f"auth {server.credentials}")
        client.ask(f"create-db {name} guess")
        client.ask("create-db " + "long" * 1000 + " guess")
    assert server.stop() == 0
    made = [line for line in trail_of(server) if line["event"] == "create-db"]
    assert [line["outcome"] for line in made] == ["ok", "ok"]
    assert made[0]["database"] == name
    assert len(made[1]["database"]) < 300


def test_secrets_in_the_place_of_names_are_in_no_file_and_no_log(new_server: Callable[..., Server]) -> None:
    """Whatever slip of the finger puts them there, by an administrator too."""
    server = new_server(NUN_LOG_LEVEL="trace")
    server.start()
    create_database(server, "ward", then="create-user ana ana-pwd")
    secret = "a-secret-in-its-wrong-place"
    slips = [
        f"auth {secret}",
        f"auth {secret} {server.user}",
        f"auth {server.user} {secret} more",
        f"use-db {secret} ward",
        f"use-db ward {secret} ana",
        f"use-db ward ana {secret} more",
        f"use-db {secret}",
        f"{secret}",
        f"create-user {secret}",
        f"get $$user_{secret}",
        f"get-safe $${secret}",
        f"remove $$permission_${secret}",
        f"rp {secret} auth {secret} x",
        f"rp {secret} get $$user_{secret}",
        f"drop-db {secret}",
        f"set-token ward {secret} x",
        f"grant {secret} ana r *",
        f"revoke ward ana r {secret}",
        f"snapshot true {secret}",
        f"replicate {secret} $$token -1 x",
        f"disconnect {secret}",
    ]
    with WebSocketClient(server.websocket) as websocket, TcpClient(server.tcp) as tcp:
        for slip in slips:
            for client in (websocket, tcp):
                client.ask(slip)
            http_post(server.http, slip)
            http_post(server.http, f"auth {server.credentials}; use-db ward pwd; {slip}")
    for path in (f"/{secret}", f"/metrics?{secret}"):
        assert request(server.http, path).status == 200
    assert request(server.http, "/metrics", login=f"{secret}:{secret}").status == 401
    assert server.stop() == 0
    assert len([line for line in trail_of(server) if line["outcome"] == "failed"]) >= 15
    assert secret not in server.log_text()
    assert [file.name for file in server.data_dir.iterdir() if secret.encode() in file.read_bytes()] == []


def test_a_certificate_that_is_renewed_or_not(new_server: Callable[..., Server], tmp_path: Path) -> None:
    environment = Authority(tmp_path).environment("audited")
    with new_server(**environment) as server:
        server.send_signal(signal.SIGHUP)
        server.wait_output("was reloaded")
        with open(environment["NUN_TLS_CERT"], "wb"):
            pass
        server.send_signal(signal.SIGHUP)
        server.wait_output("the old certificate stays in use")
        assert server.stop() == 0
    renewed = [line for line in trail_of(server) if line["event"] == "renew-certificate"]
    assert [line["outcome"] for line in renewed] == ["ok", "failed"]
    assert "audited" in renewed[1]["reason"]


def test_a_trail_that_cannot_be_written_any_more_stops_nothing(server: Server) -> None:
    """Another file stands in the way of the rename, and fails as a full disk does: again and again."""
    path = server.data_dir / "audit.jsonl"
    path.unlink()
    path.mkdir()
    http_post(server.http, f"auth {ADMIN_USER} {ADMIN_PASSWORD}; create-db d pwd; use-db d pwd; set k v")
    server.wait_output("can't be written: Is a directory")
    assert http_post(server.http, "use-db d pwd; get k") == "empty;value v\n"
    path.rmdir()
    http_post(server.http, f"auth {ADMIN_USER} {ADMIN_PASSWORD}; create-db e pwd")
    server.wait_output("the audit trail is written again")
    assert server.stop() == 0
    assert server.log_text().count("can't be written") == 1
    gap, *_, stop = trail_of(server)
    assert (gap["event"], stop["event"]) == ("audit-gap", "stop")
    assert gap["count"] >= 1  # how many were due before the folder was gone again is a matter of time


# --- merging ---------------------------------------------------------------------------------------------------


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Kept:
    """AuditWriter on a file of its own."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "audit.jsonl"
        self.clock = Clock()
        self.view = View(MemoryStore(), revision=0, operations=0, is_relaxed=False)
        self.auditing = AuditWriter(AuditTrail(self.path), clock=self.clock)
        self.auditing.follow(self.view)

    def login(self, outcome: str, *, address: str = "192.0.2.1", user: str = "ana", depends: int = 0) -> None:
        """Somebody logs in, or fails to."""
        fact = Fact(LOGIN, "d", user, f"use-db d {user} ***")
        self.auditing.record(Somewhere(address), fact, outcome, None if outcome == OK else "why not", depends)

    def change(self, depends: int) -> None:
        """The administrator changes something."""
        self.auditing.record(SOMEBODY, Fact("create-db", "d", "root", "create-db d ***"), OK, None, depends)

    def write(self) -> list[dict[str, Any]]:
        """All that is to be written by now."""

        async def write() -> None:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self.auditing.run)
                await wait_all_tasks_blocked()  # a thread writes, or there is nothing to write
                while self.auditing.writing.borrowed_tokens:  # noqa: ASYNC110 - a thread does it
                    await trio.sleep(0.005)
                nursery.cancel_scope.cancel()

        self.auditing.note("tick", OK)
        trio.run(write)
        return [line for line in lines_of(self.path) if line["event"] != "tick"] if self.path.exists() else []


@pytest.fixture(name="kept")
def _kept(tmp_path: Path) -> Kept:
    return Kept(tmp_path)


def test_successes_of_one_kind_are_a_line_and_then_a_number(kept: Kept) -> None:
    for _ in range(5):
        kept.login(OK)
    kept.login(OK, user="bob")
    kept.login(OK, address="192.0.2.2")
    assert [(line["user"], line["address"], line.get("count")) for line in kept.write()] == [
        ("ana", "192.0.2.1", None),
        ("bob", "192.0.2.1", None),
        ("ana", "192.0.2.2", None),
    ]
    kept.clock.now += limits.AUDIT_REPEAT_SECONDS
    assert [line.get("count") for line in kept.write()][3:] == [4]
    kept.login(OK)
    assert [line.get("count") for line in kept.write()][4:] == [None], "and begins anew"


def test_failures_of_one_address_are_counted_whatever_is_tried(kept: Kept) -> None:
    for number in range(200):
        kept.login(FAILED, user=f"user {number}")
    lines = kept.write()
    assert [line["user"] for line in lines] == [f"user {number}" for number in range(limits.AUDIT_FAILURES_MAX)]
    kept.clock.now += limits.AUDIT_REPEAT_SECONDS
    last = kept.write()[-1]
    assert (last["user"], last["count"]) == ("user 199", 200 - limits.AUDIT_FAILURES_MAX)


def test_failures_of_too_many_addresses_are_counted_together(kept: Kept) -> None:
    for number in range(5000):
        kept.login(FAILED, address=f"2001:db8:{number:x}::1")
    kept.clock.now += limits.AUDIT_REPEAT_SECONDS
    lines = kept.write()
    assert len(lines) == limits.AUDIT_GROUPS_MAX + limits.AUDIT_FAILURES_MAX + 1
    assert lines[-1]["address"] is None
    assert len(lines) - 1 + lines[-1]["count"] == 5000
    kept.login(FAILED, address="192.0.2.9")
    assert kept.write()[-1]["address"] == "192.0.2.9", "afterwards each is one of its own again"


def test_a_kind_of_failure_does_not_hide_another(kept: Kept) -> None:
    for _ in range(100):
        kept.login(REFUSED)
    kept.auditing.record(SOMEBODY, Fact("create-db", "d", None, "create-db d ***"), REFUSED, "Not auth", 0)
    assert kept.write()[-1]["event"] == "create-db"


def test_changes_are_never_merged(kept: Kept) -> None:
    for _ in range(300):
        kept.change(0)
    assert len(kept.write()) == 300


def test_a_change_is_written_when_it_is_on_the_disk(kept: Kept) -> None:
    kept.view.write(b"key", None)
    kept.change(kept.view.depends)
    assert kept.write() == []
    batch = kept.view.take_batch()
    kept.view.written()
    for waiter in batch.waiters:
        waiter.released(batch.revision)
    assert [line["outcome"] for line in kept.write()] == ["ok"]


def test_a_change_that_is_lost_is_one_that_failed(kept: Kept) -> None:
    kept.view.write(b"key", None)
    kept.change(kept.view.depends)
    batch = kept.view.take_batch()
    kept.view.drop()
    for waiter in batch.waiters:
        waiter.failed(batch.revision, "No space left on device")
    assert [(line["outcome"], line["reason"]) for line in kept.write()] == [
        ("failed", "not stored: No space left on device")
    ]


def test_lines_that_wait_for_a_disk_are_bounded(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "AUDIT_LINES_WAITING_MAX", 100)
    for _ in range(300):
        kept.change(0)
    lines = kept.write()
    assert [line["event"] for line in lines] == ["create-db"] * 100 + ["audit-gap"]
    assert lines[-1]["count"] == 201, "with the tick that came too late"


def test_what_is_told_at_the_very_end_is_written(kept: Kept) -> None:
    """The writer was woken, and is cancelled before its turn."""

    async def end() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kept.auditing.run)
            await wait_all_tasks_blocked()
            kept.change(0)
            nursery.cancel_scope.cancel()

    with kept.auditing:
        trio.run(end)
    assert [line["event"] for line in lines_of(kept.path)] == ["create-db"]


def test_what_is_counted_takes_little_memory_however_long_it_is() -> None:
    """Names may be as long as a message, and anybody can fail with them, from many networks."""
    auditing = AuditWriter(AuditTrail(None))
    name, fact = "", Fact(LOGIN, "", "", "")
    tracemalloc.start()
    try:
        for network in range(20):
            for number in range(limits.AUDIT_FAILURES_MAX + 1):
                name = f"{number}-" + "x" * 1_000_000
                fact = Fact(LOGIN, name, name, f"use-db {name} {name} ***")
                auditing.record(Somewhere(f"2001:db8:{network}::1"), fact, FAILED, "invalid token", 0)
        name, fact = "", Fact(LOGIN, "", "", "")
        kept_bytes, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept_bytes < 5_000_000


def test_a_line_costs_the_loop_next_to_nothing(kept: Kept) -> None:
    for outcome in (OK, FAILED):
        count = 5000
        began = time.perf_counter()
        for _ in range(count):
            kept.login(outcome)
        assert (time.perf_counter() - began) / count < 0.000_5, "microseconds, but the machine may be busy"
