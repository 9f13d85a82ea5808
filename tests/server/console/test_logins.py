"""Logins to the console: throttled as others are, and ended by time, by hand, and with their password or token."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

import pytest

from pynun import limits
from pynun.server.console.logins import Logins
from tests.engine.world import World
from tests.server.console.browser import Browser
from tests.support.watched import wait_until
from tools.clients.exact_clients import TcpClient
from tools.clients.sessions import TOKEN, create_database

if TYPE_CHECKING:
    from tools.clients.server import Server

ADMIN = ("user-name", "user-pwd")


def test_the_cookie_is_out_of_reach_for_scripts_and_other_sites(shared_server: Server) -> None:
    browser = Browser(shared_server.http)
    found = browser.log_in(*ADMIN)
    assert found.headers["cache-control"] == "no-store"
    name, *attributes = browser.set_cookie.split("; ")
    assert name.startswith(f"nun-console-{shared_server.http.port}=")
    assert len(name) > 60
    assert attributes == ["HttpOnly", "SameSite=Strict"], "and so is gone with the browser"
    told = {"admin": "user-name", "database": None, "user": "all", "is_in_cluster": False, "seconds_left": 1800}
    assert browser.login() == told


def test_a_wrong_password_is_no_login(shared_server: Server) -> None:
    browser = Browser(shared_server.http)
    assert browser.log_in("user-name", "wrong").status == 401
    assert browser.cookie == ""
    assert browser.log_in("", "wrong", "no-such-database").status == 401
    browser.cookie = f"nun-console-{shared_server.http.port}=invented"
    assert browser.login() is None


def test_guessers_wait_as_everywhere(server: Server) -> None:
    server.stop()
    server.environment |= {"NUN_LOGIN_BURST": "1"}
    server.start()
    browser = Browser(server.http)
    for number in range(2):
        assert browser.log_in("user-name", f"wrong-{number}").status == 401
    assert browser.log_in(*ADMIN).status == 200
    wait_until(lambda: bool(browser.json("audit?event=login-delay")["lines"]))


def test_only_use_prolongs_it(shared_server: Server) -> None:
    browser = Browser(shared_server.http)
    browser.log_in(*ADMIN)
    wait_until(lambda: browser.json("session")["login"]["seconds_left"] < limits.CONSOLE_IDLE_SECONDS)
    assert browser.json("session?used=1")["login"]["seconds_left"] == limits.CONSOLE_IDLE_SECONDS


def test_logging_out_ends_it_for_every_copy_of_the_cookie(shared_server: Server) -> None:
    browser, copy = Browser(shared_server.http), Browser(shared_server.http)
    browser.log_in(*ADMIN)
    copy.cookie = browser.cookie
    with copy.socket() as page:
        assert page.ask("list-dbs")[-1] == "ok \n"
        browser.get("/console/logout")
        assert page.wait_close() == 1008
    assert "Max-Age=0" in browser.set_cookie
    assert copy.login() is None


def test_another_login_replaces_the_one_before(shared_server: Server) -> None:
    browser, copy = Browser(shared_server.http), Browser(shared_server.http)
    browser.log_in(*ADMIN)
    copy.cookie = browser.cookie
    browser.log_in(*ADMIN)
    assert browser.login() is not None
    assert copy.login() is None


def test_a_new_password_ends_it(server: Server) -> None:
    with TcpClient(server.tcp) as client:
        client.ask(f"auth {server.credentials}")
        client.ask("add-admin ana ana-pwd")
        browser = Browser(server.http)
        assert browser.log_in("ana", "ana-pwd").status == 200
        with browser.socket() as page:
            assert page.ask("list-dbs")[-1] == "ok \n"
            client.ask("set-admin-password ana other-pwd")
            assert page.ask("list-dbs") == ["error Not auth \n"]
            assert browser.login() is None


def test_a_new_token_ends_it(shared_server: Server) -> None:
    create_database(shared_server, "tokens", then="create-user bo bo-pwd")
    browser = Browser(shared_server.http)
    assert browser.log_in("bo", "bo-pwd", "tokens").status == 200
    with TcpClient(shared_server.tcp) as client:
        client.ask(f"auth {shared_server.credentials}")
        assert browser.login() is not None
        client.ask("set-token tokens bo other")
        assert browser.login() is None
        browser.log_in("", TOKEN, "tokens")
        assert browser.login() is not None
        client.ask("drop-db tokens")
        assert browser.login() is None


def test_a_restart_ends_all(server: Server) -> None:
    browser = Browser(server.http)
    browser.log_in(*ADMIN)
    server.restart()
    browser.address = server.http
    assert browser.login() is None


def test_time_ends_it_and_use_prolongs_it() -> None:
    now = 0.0
    world = World()
    session = world.admin().session
    logins = Logins(world.engine, lambda: now)
    token = logins.begin(session)
    login = logins.find(token)
    assert login is not None
    used_every = limits.CONSOLE_IDLE_SECONDS - 1
    while now < limits.CONSOLE_LOGIN_SECONDS_MAX - used_every:
        now += used_every
        assert logins.find(token) is login
        logins.touch(login)
    now = limits.CONSOLE_LOGIN_SECONDS_MAX
    assert logins.find(token) is None
    assert login.is_ended
    token = logins.begin(session)
    login = logins.find(token)
    assert login is not None
    ended: list[str] = []
    login.connections.add(lambda: ended.append("its page"))
    now += limits.CONSOLE_IDLE_SECONDS - 1
    logins.sweep()
    assert ended == []
    now += 1
    logins.sweep()
    assert ended == ["its page"], "an open page too, when nobody asks"
    assert logins.find(token) is None


def test_their_number_is_limited() -> None:
    now = 0.0
    world = World()
    session = world.admin().session
    logins = Logins(world.engine, lambda: now)
    tokens = []
    for _ in range(limits.CONSOLE_LOGINS_MAX + 1):
        now += 1
        tokens.append(logins.begin(session))
    assert len(logins) == limits.CONSOLE_LOGINS_MAX
    assert logins.find(tokens[0]) is None
    assert logins.find(tokens[1]) is not None


def test_a_user_with_many_logins_ends_none_of_others() -> None:
    world = World()
    admin, user = world.admin(), world.admin("create-db shop token")
    user.session.lose_admin()
    user.ask("use-db shop token")
    logins = Logins(world.engine, lambda: 0.0)
    token = logins.begin(admin.session)
    users = [logins.begin(user.session) for _ in range(limits.CONSOLE_LOGINS_MAX + 1)]
    assert logins.find(token) is not None
    assert logins.find(users[-1]) is not None
    assert len(logins) == limits.CONSOLE_LOGINS_MAX


@pytest.mark.parametrize(
    "given",
    [
        b"[" * 9000,
        b'{"user":"\\ud800","secret":"x"}',
        b'{"user":"a","secret":"\\ud800"}',
        b'{"user":1,"secret":"x"}',
        b"[]",
    ],
    ids=["deep", "user of half a character", "secret of half a character", "number", "list"],
)
def test_what_is_no_login_is_said_to_be_none(shared_server: Server, given: bytes) -> None:
    encoded = base64.urlsafe_b64encode(given).decode().rstrip("=")
    found = Browser(shared_server.http).get("/console/login", f"X-Nun-Console: {encoded}")
    assert (found.status, found.text) == (400, '{"error": "no valid login"}')
