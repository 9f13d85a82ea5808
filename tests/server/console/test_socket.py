"""The WebSocket of the console's page: commands as who is logged in, and what changes as it happens."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from pynun import limits
from tests.server.console.browser import Browser, changes_in
from tests.support.watched import wait_until
from tools.clients.exact_clients import EndOfConnectionError, TcpClient
from tools.clients.sessions import OK, create_database, websocket_session

if TYPE_CHECKING:
    from tools.clients.server import Server

ADMIN = ("user-name", "user-pwd")


@pytest.fixture
def browser(shared_server: Server) -> Browser:
    """Logged in as administrator."""
    made = Browser(shared_server.http)
    assert made.log_in(*ADMIN).status == 200
    return made


def test_only_the_console_s_own_page_opens_it(shared_server: Server, browser: Browser) -> None:
    with browser.socket() as page:
        assert page.ask("list-dbs")[-1] == OK
    for header in ("X-Any: 1", "Origin: http://other.example", f"Origin: https://{shared_server.http}"):
        with pytest.raises(AssertionError, match="403 Forbidden"):
            browser.socket(header)
    browser.get("/console/logout")
    with pytest.raises(AssertionError, match="401 Unauthorized"):
        browser.socket()


def test_only_an_upgrade_opens_it(shared_server: Server, browser: Browser) -> None:
    headers = (f"Origin: http://{shared_server.http}", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==")
    upgrade = ("Upgrade: websocket", "Connection: Upgrade")
    assert browser.get("/console/socket", *headers, "Sec-WebSocket-Version: 13").status == 400
    assert browser.get("/console/socket", *headers, *upgrade, method="HEAD").status == 400


def test_allowed_origins_don_t_shut_it_out(server: Server) -> None:
    server.stop()
    server.environment["NUN_ALLOWED_ORIGINS"] = "https://viewer.example.org"
    server.start()
    browser = Browser(server.http)
    browser.log_in(*ADMIN)
    with browser.socket() as page:
        assert page.ask("list-dbs")[-1] == OK
    assert browser.get("/console/session", "Origin: https://viewer.example.org").status == 403


def test_a_message_is_one_command(shared_server: Server, browser: Browser) -> None:
    create_database(shared_server, "semicolons")
    with browser.socket() as page:
        assert page.ask("open-db semicolons") == [OK]
        assert page.ask("set list a;b;get list") == [OK]
        assert page.ask("get list") == ["value a;b;get list\n", OK]


def test_a_user_of_a_database_may_what_its_rules_say(shared_server: Server) -> None:
    rules = "create-user eva eva-pwd; set-permissions eva r open-*"
    create_database(shared_server, "rules", then=f"set open-1 x; set closed-1 y; {rules}")
    browser = Browser(shared_server.http)
    assert browser.log_in("eva", "eva-pwd", "rules").status == 200
    with browser.socket() as page, websocket_session(shared_server, "rules") as other:
        assert page.ask("get open-1") == ["value x\n", OK]
        assert page.ask("get closed-1")[-1] == "error permission denied\n \n"
        assert page.ask("set open-1 z")[-1] == "error permission denied\n \n"
        assert page.ask("list-dbs") == ["error Not auth \n"]
        assert page.ask("console-watched 1")[-1].startswith("error unknown command")
        assert page.ask("console-watch *") == [OK]
        other.ask("set closed-2 secret")
        other.ask("set open-2 seen")
        assert changes_in(*page.take())["changes"] == [["open-2", 0, "seen", 4]]


def test_changes_come_as_they_are_stored(shared_server: Server, browser: Browser) -> None:
    create_database(shared_server, "live", then="set old 1")
    create_database(shared_server, "elsewhere")
    with (
        browser.socket() as page,
        websocket_session(shared_server, "live") as client,
        websocket_session(shared_server, "elsewhere") as stranger,
    ):
        assert page.ask("open-db live") == [OK]
        assert page.ask("console-watch room-*") == [OK]
        stranger.ask("set room-9 other-database")
        client.ask("set other-key 1")
        client.ask("set room-1 " + "x" * 5000)
        told = changes_in(*page.take())
        assert told["database"] == "live"
        assert told["left_out"] == 0
        assert told["changes"] == [["room-1", 0, "x" * limits.CONSOLE_VALUE_CHARACTERS_MAX, 5000]]
        client.ask("remove room-1")
        assert changes_in(*page.take())["changes"] == [["room-1", None, "", 0]]
        assert page.ask("console-watch *") == [OK]
        client.ask("set a <b>x</b>")
        assert changes_in(*page.take())["changes"] == [["a", 0, "<b>x</b>", 8]]
        assert page.ask("console-unwatch") == [OK]
        client.ask("set b 2")
        assert page.quiet() == []


def test_ephemeral_keys_are_told(shared_server: Server, browser: Browser) -> None:
    create_database(shared_server, "passing")
    with browser.socket() as page:
        page.ask("open-db passing")
        page.ask("console-watch *")
        with websocket_session(shared_server, "passing") as client:
            client.ask("set-ephemeral here ana")
            assert changes_in(*page.take())["changes"] == [["here", 0, "ana", 3]]
            for number in range(300):
                client.ask(f"set-ephemeral pointer {number}")
            seen: list[Any] = []
            while not seen or seen[-1] != ["pointer", 299, "299", 3]:
                seen += changes_in(*page.take())["changes"]
            assert {key for key, *_ in seen} == {"pointer"}, "only what has changed"
            assert len(seen) < 150, "a few messages a second, however often it changes"
        assert sorted(changes_in(*page.take())["changes"]) == [["here", None, "", 0], ["pointer", None, "", 0]]


def test_no_secret_is_told(shared_server: Server, browser: Browser) -> None:
    create_database(shared_server, "secrets")
    with browser.socket() as page, TcpClient(shared_server.tcp) as admin:
        page.ask("open-db secrets")
        page.ask("console-watch *")
        admin.ask(f"auth {shared_server.credentials}")
        admin.ask("add-user secrets bo bo-pwd")
        assert changes_in(*page.take())["changes"] == [["$$user_bo", 0, "********", 8]]


def test_a_flood_is_counted_and_not_sent(shared_server: Server, browser: Browser) -> None:
    create_database(shared_server, "flood")
    count = 5000
    with browser.socket() as page, websocket_session(shared_server, "flood") as client:
        page.ask("open-db flood")
        page.ask("console-watch *")
        client.send(";".join(f"set key-{number} v" for number in range(count)))
        seen = 0
        while seen < count:
            told = changes_in(*page.take())
            assert len(told["changes"]) <= limits.CONSOLE_CHANGES_MAX
            seen += len(told["changes"]) + told["left_out"]
        assert seen == count


def test_nothing_piles_up_for_a_page_that_does_not_read(shared_server: Server, browser: Browser) -> None:
    create_database(shared_server, "slow")
    count, value = 20_000, "x" * limits.CONSOLE_VALUE_CHARACTERS_MAX
    with browser.socket() as page, websocket_session(shared_server, "slow") as client:
        page.ask("open-db slow")
        page.ask("console-watch *")
        for first in range(0, count, 100):  # 40 MB, more than the sockets hold
            client.ask(";".join(f"set key-{number} {value}" for number in range(first, first + 100)))
        with TcpClient(shared_server.tcp) as admin:
            admin.ask(f"auth {shared_server.credentials}")
            sessions = json.loads(admin.ask("list-sessions")[0].partition(" ")[2])["sessions"]
            (waiting,) = [row["outbox_bytes"] for row in sessions if row["admin"] and row["database"] == "slow"]
        assert waiting < 2 * (limits.CONFLATE_BYTES + limits.FLUSH_BYTES)
        seen = left_out = 0
        while seen + left_out < count:
            told = changes_in(*page.take())
            seen, left_out = seen + len(told["changes"]), left_out + told["left_out"]
        assert left_out > 0


def test_what_a_session_watches_is_told(shared_server: Server, browser: Browser) -> None:
    create_database(shared_server, "watched")
    with browser.socket() as page, websocket_session(shared_server, "watched") as client:
        client.ask("watch camera")
        client.ask("watch layout")
        sessions = json.loads(page.ask("list-sessions")[0].partition(" ")[2])["sessions"]
        (number,) = [row["id"] for row in sessions if row["database"] == "watched"]
        assert json.loads(page.ask(f"console-watched {number}")[0].partition(" ")[2])["keys"] == ["camera", "layout"]
        assert json.loads(page.ask("console-watched 999999")[0].partition(" ")[2])["keys"] == []


def test_a_session_that_is_none_watches_nothing(browser: Browser) -> None:
    with browser.socket() as page:
        for number in ("9" * 5000, "-1", "\N{SUPERSCRIPT TWO}", ""):
            assert page.ask(f"console-watched {number}") == ['watched {"keys":[],"next":null}\n', OK]


def test_to_end_the_session_ends_the_login(shared_server: Server, browser: Browser) -> None:
    """Or the page would connect again."""
    with browser.socket() as page, browser.socket() as second, TcpClient(shared_server.tcp) as admin:
        admin.ask(f"auth {shared_server.credentials}")
        sessions = json.loads(admin.ask("list-sessions")[0].partition(" ")[2])["sessions"]
        mine = [row["id"] for row in sessions if row["transport"] == "websocket" and row["admin"] == "user-name"]
        assert admin.ask(f"disconnect {mine[-1]}") == [OK]
        assert page.wait_close() == 1008
        assert second.wait_close() == 1008
    assert browser.login() is None


def test_closed_pages_leave_nothing(shared_server: Server, browser: Browser) -> None:
    create_database(shared_server, "gone")
    for _ in range(20):
        with browser.socket() as page:
            page.ask("open-db gone")
            page.ask("console-watch *")
    with websocket_session(shared_server, "gone") as client:
        assert client.ask("set after 1") == [OK]
        wait_until(lambda: client.ask("get $connections") == ["value 1\n", OK])


def test_the_server_s_stop_is_told(server: Server) -> None:
    browser = Browser(server.http)
    browser.log_in(*ADMIN)
    with browser.socket() as page:
        page.ask("list-dbs")
        server.stop()
        assert page.wait_close() == 1001
    with pytest.raises((EndOfConnectionError, OSError)):
        browser.socket()
