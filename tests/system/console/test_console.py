"""The console in a real browser: every screen and every write, whatever names and values hold, to its end."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pynun.transfer.jsonl import FORMAT
from tests.support.node import NodeScript, require_node
from tools.clients.exact_clients import TcpClient
from tools.clients.server import REPOSITORY, Server
from tools.clients.sessions import OK, TOKEN, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

SCRIPT = Path(__file__).parent / "console.js"
MARKUP = "<img/src=x/onerror=globalThis.pwned=1>"
VALUE = "<img src=x onerror='globalThis.pwned=1'><script>globalThis.pwned=1</script>"
STALL_MS_MAX = 200
"""Processor time of one task of a page that works on 100,000 keys; other programs' does not count."""

NO_ORDERS: Mapping[str, Callable[[dict[str, Any]], None]] = {}

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server of all scenarios, each with databases of its own."""
    require_node()
    folder = tmp_path_factory.mktemp("console")
    (folder / "backups").mkdir()
    with Server(folder / "dbs", environment={"NUN_BACKUP_DIR": str(folder / "backups")}) as running:
        yield running


class Run:
    """Runs the scenarios of the script."""

    def __init__(self, server: Server, endpoint: str) -> None:
        self.server = server
        self._endpoint = endpoint

    def __call__(
        self, scenario: str, orders: Mapping[str, Callable[[dict[str, Any]], None]] = NO_ORDERS, **more: object
    ) -> dict[str, Any]:
        """Run one; does what it asks for meanwhile, in the order of its reports."""
        options = {
            "scenario": scenario,
            "url": f"http://{self.server.http}/console/",
            "chromium": self._endpoint,
            "user": self.server.user,
            "password": self.server.password,
            **more,
        }
        with NodeScript(SCRIPT, options, seconds_max=250.0) as script:
            while (report := script.expect("done", *orders))["event"] != "done":
                orders[report["event"]](report)
                script.tell()
        result: dict[str, Any] = report["result"]
        assert result["complaints"] == []
        assert "\n".join(result["violations"]) == ""
        return result


@pytest.fixture
def run(console: Server, chromium: str) -> Run:
    """Runs scenarios on the server that the tests of this module share."""
    return Run(console, chromium)


def changing(server: Server, database: str) -> Callable[[dict[str, Any]], None]:
    """Sets the key that a scenario names."""

    def change(report: dict[str, Any]) -> None:
        with tcp_session(server, database) as client:
            assert client.ask(f"set {report['key']} changed") == [OK]

    return change


def make_conflict(server: Server, database: str, token: str = TOKEN) -> None:
    """A change that waits for an arbiter, who is gone."""
    with tcp_session(server, database, token) as arbiter, tcp_session(server, database, token) as client:
        assert arbiter.ask("arbiter") == [OK]
        assert client.ask("set-safe slot 5 free") == [OK]
        assert client.ask("set-safe slot 1 taken by ana")[-1].startswith("error $$conflitct unresolved")


def test_every_screen_and_every_write(run: Run, console: Server) -> None:
    with contextlib.ExitStack() as stack:

        def guess(_report: dict[str, Any]) -> None:
            with TcpClient(console.tcp) as client:
                for number in range(20):
                    client.ask(f"auth {console.user} wrong-{number}")

        def connect(_report: dict[str, Any]) -> None:
            client = stack.enter_context(websocket_session(console, "plan", "plan-token"))
            client.ask("watch camera")

        def change(report: dict[str, Any]) -> None:
            with tcp_session(console, "plan", "plan-token") as client:
                assert client.ask(f"set {report['key']} other") == [OK]

        def conflict(_report: dict[str, Any]) -> None:
            make_conflict(console, "plan", "plan-token")

        orders = {"guess": guess, "connect": connect, "change": change, "conflict": conflict}
        found = run("everything", orders)
    assert "Wrong passwords and tokens since the start: 2" in found["warnings"]
    assert found["isHeld"], "a database is dropped only with its name typed"
    assert found["pretty"] == '{\n  "zoom": 1,\n  "big": 12345678901234567890\n}', "as it was written"
    assert found["history"] >= 3
    header, *exported, end = map(json.loads, found["exported"].splitlines())
    assert (header["format"], header["database"], header["strategy"], end["keys"]) == (FORMAT, "plan", "arbiter", 250)
    assert {line["key"]: line["value"] for line in exported}["many-7"] == "a;b 7"
    assert len(found["token"]) == 32
    assert [json.loads(line)["key"] for line in found["lines"].splitlines()] == ["client-1", "client-2"]
    assert "Yes." in found["may"]
    assert "wx client-*" in found["may"]
    assert found["backup"] > 10_000
    with TcpClient(console.tcp) as client:
        client.ask(f"auth {console.credentials}")
        client.ask("open-db plan")
        assert client.ask("get room-1-state") == ["value mine\n", OK]
        assert client.ask("get slot") == ["value taken by ana\n", OK]


def test_who_follows_whom_in_a_viewer_s_room(run: Run, console: Server) -> None:
    create_database(console, "lessons", then="create-user ana ana-pwd; set-permissions ana rwx *")
    login = {"db": "lessons", "user": "ana", "token": "ana-pwd"}
    room = {"url": f"ws://{console.websocket}", "login": login, "key": "client-lesson"}
    run("rooms", database="lessons", room=room)


def test_every_screen_at_every_size(run: Run, console: Server) -> None:
    create_database(
        console, "features-of-db", then="create-user client client-pwd; set-permissions client r *|rwx client-*"
    )
    with tcp_session(console, "features-of-db") as client:
        state = {"from": "a1", "seq": 3, "at": 1_700_000_000_000, "value": {"zoom": 1.5, "pan": [0, 12]}}
        client.ask(f"set client-lesson-1-camera {json.dumps(state)}")
        client.ask(f"set client-lesson-1-person-a1 {json.dumps({**state, 'value': {'name': 'Ana'}})}")
        for number in range(40):
            client.ask(f"set featureToggle-{number} true")
    create_database(console, "undecided", strategy="arbiter")
    make_conflict(console, "undecided")
    pictures = REPOSITORY / "build" / "artifacts"
    pictures.mkdir(parents=True, exist_ok=True)
    orders = {"change": changing(console, "features-of-db")}
    found = run("pictures", orders, pictures=str(pictures), database="features-of-db")
    assert found["overflowing"] == []


def test_a_hundred_thousand_keys_don_t_stall_the_page(run: Run, console: Server) -> None:
    create_database(console, "large")
    with TcpClient(console.tcp) as client:
        client.ask(f"auth {console.credentials}")
        (told, _) = client.ask("import-db large none replace")
        number = json.loads(told.partition(" ")[2])["id"]
        for start in range(0, 100_000, 1000):
            rows = [[f"patient-{key:06}-state", 0, "x" * 50] for key in range(start, start + 1000)]
            client.send(f"import-keys {number} {json.dumps(rows)}")
        assert client.take(100) == [OK] * 100
        assert client.ask(f"import-end {number} {TOKEN}")[-1] == OK

    def changes(_report: dict[str, Any]) -> None:
        with tcp_session(console, "large") as client:
            for key in range(77_000, 79_000):
                client.send(f"set patient-{key:06}-state changed-{key}")
            client.take(2000)
            client.ask("set patient-077000-state last")

    found = run("many", {"changes": changes}, database="large")
    assert found["rows"] < 200, "only what is visible is drawn"
    print(f"longest task: {found['stall']:.0f} ms of processor time")
    assert 0 < found["stall"] < STALL_MS_MAX


def test_markup_stays_text(run: Run, console: Server) -> None:
    create_database(console, MARKUP)
    with TcpClient(console.tcp) as client:
        client.ask(f"auth {console.credentials}")
        client.ask(f"add-user {MARKUP} {MARKUP} token")
        client.ask(f"grant {MARKUP} {MARKUP} r {MARKUP}*")
        client.ask(f"open-db {MARKUP}")
        client.ask(f"set {MARKUP} {VALUE}")
        client.ask(f"set {MARKUP}-person-{MARKUP} {json.dumps({'value': {'name': MARKUP}})}")
    found = run("markup", database=MARKUP, key=MARKUP, name=MARKUP)
    assert found["value"] == VALUE
    assert found["found"] == [None, 0]


def test_a_reader_reads(run: Run, console: Server) -> None:
    rules = "create-user reader reader-token; set-permissions reader r open"
    create_database(console, "read-only", then=f"set open value; set closed secret; {rules}")
    found = run("reader", {"change": changing(console, "read-only")}, database="read-only")
    assert found["links"] == ["Keys", "Watch", "Rooms"]


def test_two_administrators_and_preferences(run: Run, console: Server) -> None:
    create_database(console, "shared")
    found = run("together", database="shared")
    assert found["back"] == "rgb(15, 23, 28)"


def test_logins_and_connections_end_and_begin_again(run: Run, console: Server) -> None:
    """The last one: it restarts the server."""
    create_database(console, "endings", then="set open value")

    def revoke(_report: dict[str, Any]) -> None:
        with TcpClient(console.tcp) as client:
            client.ask(f"auth {console.credentials}")
            rows = json.loads(client.ask("list-sessions")[0].partition(" ")[2])["sessions"]
            (number,) = [row["id"] for row in rows if row["transport"] == "websocket" and row["is_admin"]]
            assert client.ask(f"disconnect {number}") == [OK]

    orders = {"change": changing(console, "endings"), "revoke": revoke, "restart": lambda _: console.restart()}
    run("endings", orders, database="endings")
