"""Who sees the console and what: only on its own paths, only from its own page, over https or on this machine."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pynun.transports.pages import PROXY_HEADERS
from tests.server.console.browser import Browser, login_header
from tests.support.watched import request, wait_until
from tools.clients.exact_clients import HttpClient
from tools.clients.server import Server
from tools.clients.sessions import TOKEN, create_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.support.certificates import Authority

ADMIN = ("user-name", "user-pwd")
AUTH = b"auth user-name user-pwd"
HTML = "Accept: text/html,application/xhtml+xml"


@pytest.fixture(scope="module")
def backups(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("backups")


@pytest.fixture(scope="module")
def console(tmp_path_factory: pytest.TempPathFactory, backups: Path) -> Iterator[Server]:
    """A server that the tests of this module share; its proxies are 127.0.0.9."""
    environment = {"NUN_BACKUP_DIR": str(backups), "NUN_TRUSTED_PROXIES": "127.0.0.9"}
    with Server(tmp_path_factory.mktemp("data") / "dbs", environment=environment) as running:
        yield running


def test_only_a_get_without_a_body_on_its_paths_is_a_page(console: Server) -> None:
    for path in ("/console", "/console/", "/console/login", "/console/session"):
        assert request(console.http, path, "POST", AUTH).text == "valid auth\n"
        assert request(console.http, path, "GET", AUTH).text == "valid auth\n"
        assert request(console.http, path, "PUT", b"").text == ""
    assert request(console.http, "/consoles") == (200, "", "text/plain; charset=UTF-8")
    assert request(console.http, "/") == (200, "", "text/plain; charset=UTF-8")
    assert request(console.http, "/", "POST", b"").text == ""


def test_a_person_at_the_root_is_told_where_to_go(console: Server) -> None:
    with HttpClient(console.http) as client:
        page = client.request(b"", method="GET", headers=[HTML])
        assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=UTF-8")
        assert 'href="console/"' in page.text
        assert client.request(AUTH, method="GET", headers=[HTML]).text == "valid auth\n"
        found = client.request(b"", method="GET", path="/console")
        assert (found.status, found.headers["location"]) == (303, "console/")


def test_the_page_s_files_have_a_strict_policy(console: Server) -> None:
    browser = Browser(console.http)
    page = browser.get("/console/")
    assert page.status == 200
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert "<script>" not in page.text
    assert "style=" not in page.text
    for name in ("main.js", "style.css", "lit-html.js", "uPlot.js", "texts.js", "icon.svg", "uPlot.LICENSE"):
        file = browser.get(f"/console/{name}")
        assert file.status == 200, name
        assert file.headers["x-content-type-options"] == "nosniff"
        again = browser.get(f"/console/{name}", f"If-None-Match: {file.headers['etag']}")
        assert (again.status, again.body) == (304, b"")
        assert browser.get(f"/console/{name}", method="HEAD").headers["content-length"] == str(len(file.body))
    assert browser.get("/console/../../settings.py").status == 404
    assert browser.get("/console/console.py").status == 404


def test_every_answer_has_the_policies(console: Server) -> None:
    browser = Browser(console.http)
    pages = ("", "/", "/no-such-page", "/session", "/overview", "/login", "/socket", "/main.js")
    for path in (*(f"/console{page}" for page in pages), "/"):
        for header in ("Via: 1.1 proxy", "X-Any: 1"):
            fields = browser.get(path, HTML, header).headers
            assert fields["content-security-policy"].startswith("default-src 'none'"), path
            assert fields["x-content-type-options"] == "nosniff", path
            assert fields["cache-control"] == ("no-cache" if "etag" in fields else "no-store"), path


def test_other_sites_and_other_machines_see_nothing(console: Server) -> None:
    browser = Browser(console.http)
    assert browser.log_in(*ADMIN).status == 200
    own = f"http://{console.http}"
    assert browser.get("/console/session", f"Origin: {own}").status == 200
    for header in ("Origin: http://other.example", "Origin: null", "Sec-Fetch-Site: cross-site"):
        for page in ("session", "overview", "logout", "backup-download?name=x"):
            assert browser.get(f"/console/{page}", header).status == 403, (header, page)
    with HttpClient(console.http) as client:
        cookie = f"Cookie: {browser.cookie}"
        plain = client.request(b"", method="GET", path="/console/session", headers=[cookie])
        assert (plain.status, plain.text) == (403, "this is for the console's own page\n")
        client.send_bytes(b"GET /console/ HTTP/1.1\r\nHost: rebound.example\r\n\r\n")
        assert client.read_response(method="GET").status == 403
        client.send_bytes(f"GET /console/ HTTP/1.0\r\nHost: {console.http}\r\n\r\n".encode())
        assert client.read_response(method="GET").status == 403, "no browser, but an unconfigured nginx"
    for forwarded in (*(f"{name.decode()}: 127.0.0.1" for name in PROXY_HEADERS), "X-Real-IP: ::1"):
        found = browser.get("/console/", forwarded)
        assert found.status == 403, forwarded
        assert "https" in found.text
    assert browser.login() is not None, "no foreign request ended it"


def test_a_trusted_proxy_says_that_its_browser_speaks_https(console: Server) -> None:
    lines = ["X-Forwarded-For: 192.0.2.7", "X-Nun-Console: 1"]
    for source, proto, status in (
        ("127.0.0.9", "https", 200),
        ("127.0.0.9", "http", 403),
        ("127.0.0.1", "https", 403),
    ):
        with HttpClient(console.http, source=source) as client:
            headers = [*lines, f"X-Forwarded-Proto: {proto}"]
            found = client.request(b"", method="GET", path="/console/session", headers=headers)
        assert found.status == status, (source, proto)


def test_over_tls_the_cookie_is_for_https_only(disk_folder: Path, authority: Authority) -> None:
    with Server(disk_folder / "dbs", environment=authority.environment()) as server:
        assert f"console: https://{server.http}/console\n" in server.log_text()
        browser = Browser(server.http, tls=authority.trusting())
        assert browser.log_in(*ADMIN).status == 200
        assert browser.set_cookie.startswith("__Secure-nun-console-")
        assert browser.set_cookie.endswith("; HttpOnly; SameSite=Strict; Secure")
        with browser.socket() as page:
            assert page.ask("list-dbs")[-1] == "ok \n"
        assert browser.get("/console/session", "X-Forwarded-Proto: http").status == 403, "http up to a proxy"
        browser.cookie = browser.cookie.removeprefix("__Secure-")
        assert browser.login() is None, "a cookie that http could have set"


def test_it_can_be_off(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_CONSOLE="off") as server:
        assert "console:" not in server.log_text()
        assert request(server.http, "/console/").status == 404
        assert "NUN_CONSOLE=off" in request(server.http, "/console").text
        with HttpClient(server.http) as client:
            assert "console/" not in client.request(b"", method="GET", headers=[HTML]).text


def test_it_can_have_an_address_of_its_own(new_server: Callable[..., Server]) -> None:
    with new_server(NUN_CONSOLE="127.0.0.1:0") as server:
        assert server.console is not None
        assert f"console: http://{server.console}/console\n" in server.log_text()
        assert request(server.http, "/console/") == (
            404,
            "the console has an address of its own (NUN_CONSOLE)\n",
            "text/plain; charset=UTF-8",
        )
        browser = Browser(server.console)
        assert browser.log_in(*ADMIN).status == 200
        with browser.socket() as page:
            assert page.ask("list-dbs")[-1] == "ok \n"
        with HttpClient(server.console) as client:
            assert client.request(b"", method="GET", headers=[HTML]).headers["location"] == "console/"
            for body in (AUTH, b""):
                assert client.request(body).status == 404, "no commands on this port"
                assert client.request(body, method="GET", path="/metrics").status == 404


def test_administrators_pages_are_for_administrators(console: Server) -> None:
    create_database(console, "shop")
    nobody, customer = Browser(console.http), Browser(console.http)
    assert customer.log_in("", TOKEN, "shop").status == 200
    for page in ("overview", "settings", "audit", "backups", "backup-make", "backup-verify", "backup-download"):
        assert nobody.get(f"/console/{page}").status == 401
        assert customer.get(f"/console/{page}").status == 403


def test_settings_are_shown_without_secrets(console: Server) -> None:
    browser = Browser(console.http)
    browser.log_in(*ADMIN)
    found = browser.get("/console/settings")
    told = json.loads(found.body)
    values = {row["name"]: row["value"] for row in told["settings"]}
    assert values["NUN_PWD"] == values["NUN_USER"] == "********"
    assert ADMIN[1] not in found.text
    assert values["NUN_DURABILITY"] == "always"
    assert values["NUN_TRUSTED_PROXIES"] == "127.0.0.9/32"
    names = {row["name"] for row in told["licences"]}
    assert {"pynun", "trio", "lit-html", "uPlot"} <= names


def test_the_overview_has_the_last_hour(console: Server) -> None:
    browser = Browser(console.http)
    browser.log_in(*ADMIN)
    told = browser.json("overview")
    assert told["reason"] is None
    assert told["backups"]["folder"] is not None
    history = told["history"]
    assert len(history["time"]) >= 1
    assert history["disk_bytes"][0] > history["disk_free_bytes"][0] > 0
    assert {len(column) for column in history.values()} == {len(history["time"])}
    assert browser.json(f"overview?after={history['time'][-1] + 3600}")["history"]["time"] == []


def test_the_audit_trail_is_filtered(console: Server) -> None:
    browser = Browser(console.http)
    assert browser.log_in("user-name", "wrong").status == 401
    browser.log_in(*ADMIN)
    asked = "audit?outcome=failed&address=127.0.0.1&user=user-name"
    wait_until(lambda: bool(browser.json(asked)["lines"]))
    failed = browser.json(asked)["lines"]
    assert [(line["event"], line["command"]) for line in failed] == [("login", "auth user-name ***")]
    assert browser.json("audit?event=STAR")["lines"][0]["event"] == "start"
    assert browser.json("audit?text=NO-SUCH-TEXT")["lines"] == []


def test_backups_are_made_verified_and_downloaded(console: Server, backups: Path) -> None:
    browser = Browser(console.http)
    browser.log_in(*ADMIN)
    name = browser.json("backup-make")["name"]
    assert name in [row["name"] for row in browser.json("backups")["backups"]]
    wait_until(lambda: bool(browser.json(f"audit?event=backup&outcome=ok&user=user-name&text={name}")["lines"]))
    checked = browser.json(f"backup-verify?name={name}")
    assert "$admin" in [row["name"] for row in checked["databases"]]
    found = browser.get(f"/console/backup-download?name={name}")
    assert found.body == (backups / name).read_bytes()
    assert found.headers["content-disposition"] == f'attachment; filename="{name}"'
    with HttpClient(console.http) as client:
        cookie = [f"Cookie: {browser.cookie}"]
        path = f"/console/backup-download?name={name}"
        head = client.request(b"", method="HEAD", path=path, headers=cookie)
        assert head.headers["content-length"] == str(len(found.body))
        assert client.request(AUTH).text == "valid auth\n", "no body came before this answer"
    (backups / "secret").write_text("x")
    (backups / "nun-db-20210101T000000Z.backup").symlink_to(backups / "secret")
    for other in ("secret", "nun-db-20210101T000000Z.backup", "../data/dbs/data.mdb", "nun-db-20000101T000000Z.backup"):
        for page in ("backup-download", "backup-verify"):
            refused = browser.get(f"/console/{page}?name={other}")
            assert (refused.status, b"there is no backup" in refused.body) == (404, True), (page, other)
    damaged = backups / "nun-db-20200101T000000Z.backup"
    damaged.write_bytes(found.body[:-100])
    names = [row["name"] for row in browser.json("backups")["backups"]]
    assert "nun-db-20210101T000000Z.backup" not in names, "a link"
    assert names.index(name) < names.index(damaged.name), "the newest first"
    assert browser.get(f"/console/backup-verify?name={damaged.name}").status == 409
    damaged.unlink()


def test_without_a_schedule_backups_stay_with_the_data(shared_server: Server) -> None:
    browser = Browser(shared_server.http)
    browser.log_in(*ADMIN)
    assert browser.json("backups")["backups"] == []
    name = browser.json("backup-make")["name"]
    found = browser.json("backups")
    folder = shared_server.data_dir / "backups"
    assert (found["folder"], found["is_scheduled"]) == (str(folder), False)
    assert [row["name"] for row in found["backups"]] == [name]
    assert folder.stat().st_mode & 0o777 == 0o700
    assert browser.get(f"/console/backup-download?name={name}").body == (folder / name).read_bytes()
    assert browser.json("overview")["backups"]["newest_at"] == 0, "monitors see backups of the schedule"


@pytest.mark.parametrize("text", ["", "1", "e30", "bm8", login_header("a b", "c")[15:], login_header("", "x")[15:]])
def test_what_is_no_login_is_refused(shared_server: Server, text: str) -> None:
    assert Browser(shared_server.http).get("/console/login", f"X-Nun-Console: {text}").status == 400
