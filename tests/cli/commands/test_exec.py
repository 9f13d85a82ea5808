"""create-db and exec against a peer: what is sent, what is printed, and how each failure is told."""

from __future__ import annotations

import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from pynun.cli.output.nundb_format import quoted
from tests.cli.command import ADMIN, Result, command_line, run, run_anew
from tests.cli.peer import Peer, free_port, http_answer
from tests.cli.terminal import run_at_terminal
from tools.clients.server import REPOSITORY, clean_environment

if TYPE_CHECKING:
    from pathlib import Path


def one_line(result: Result) -> str:
    """Return the only line on standard error, which says who speaks, without that."""
    line, end, rest = result.errors.partition("\n")
    assert (line[:8], end, rest) == ("nun-db: ", "\n", ""), result.errors
    return line[8:]


def test_create_db_sends_and_prints_what_the_original_does() -> None:
    with Peer(http_answer("valid auth\n;create-db success\n")) as peer:
        result = run(*ADMIN, "-h", peer.url, "create-db", "-d", "features-of-db", "-t", "features-of-db-pwd")
    assert peer.body == b"auth user-name user-pwd; create-db features-of-db features-of-db-pwd;"
    assert peer.head.startswith("POST / HTTP/1.1\r\n")
    assert result.response_line == r'Response "valid auth\n;create-db success\n"' + "\n"
    assert (result.code, result.errors) == (0, "")


def test_exec_sends_and_prints_what_the_original_does() -> None:
    commands = (
        "use features-of-db features-of-db-pwd; create-user client client-pwd;set-permissions client r *|rwx client-*;"
    )
    with Peer(http_answer("valid auth\n;empty;empty;empty")) as peer:
        result = run("--user", "user-name", "-p", "user-pwd", "--host", peer.url, "exec", commands)
    assert peer.body == f"auth user-name user-pwd; {commands}".encode()
    assert result.response_line == r'Response "valid auth\n;empty;empty;empty"' + "\n"
    assert (result.code, result.errors) == (0, "")


def test_any_text_of_a_reply_is_printed_whatever_the_locale() -> None:
    with Peer(http_answer('valid auth\n;value say "ação";\x1b[2J 🩻\n')) as peer:
        result = run_anew(*ADMIN, "-h", peer.url, "exec", "get k", environment={"LC_ALL": "C", "PYTHONUTF8": "0"})
    assert result.response_line == r'Response "valid auth\n;value say \"ação\";\u{1b}[2J 🩻\n"' + "\n"
    assert result.code == 0


def test_a_host_without_scheme_is_http_and_a_strategy_is_sent() -> None:
    with Peer(http_answer("valid auth\n;create-db success\n")) as peer:
        host = f"127.0.0.1:{peer.port}"
        assert run(*ADMIN, "-h", host, "create-db", "-d", "a", "-t", "b", "--strategy", "arbiter").code == 0
    assert peer.body == b"auth user-name user-pwd; create-db a b arbiter;"
    assert f"\r\nHost: {host}\r\n" in peer.head


def test_credentials_come_from_the_environment_files_and_standard_input(tmp_path: Path) -> None:
    (tmp_path / "pwd").write_text("file-pwd\n")
    (tmp_path / "token").write_text("file-token\n")
    answer = http_answer("valid auth\n;create-db success\n")
    environment = {"NUN_USER": "env-user", "NUN_PWD": "env-pwd", "NUN_TOKEN": "env-token"}
    with Peer(answer) as peer:
        assert run("-h", peer.url, "create-db", "-d", "x", environment=environment).code == 0
    assert peer.body == b"auth env-user env-pwd; create-db x env-token;"
    with Peer(answer) as peer:
        options = ("--pwd-file", str(tmp_path / "pwd"), "-h", peer.url)
        files = ("--token-file", str(tmp_path / "token"))
        assert run(*options, "create-db", "-d", "x", *files, environment=environment).code == 0
    assert peer.body == b"auth env-user file-pwd; create-db x file-token;"
    with Peer(http_answer("valid auth\n;empty;keys ,\n")) as peer:
        environment = {"NUN_USER": "env-user", "NUN_PWD_FILE": str(tmp_path / "pwd")}
        assert (
            run(
                "-h", peer.url, "exec", "-", environment=environment, standard_input=b"\xef\xbb\xbfuse x y; keys\n"
            ).code
            == 0
        )
    assert peer.body == b"auth env-user file-pwd; use x y; keys\n"


def test_a_missing_password_and_token_are_asked_for_at_a_terminal_and_not_shown() -> None:
    with Peer(http_answer("valid auth\n;create-db success\n")) as peer:
        code, screen = run_at_terminal(
            ["-u", "root", "-h", peer.url, "create-db", "-d", "x"],
            [("Password of root: ", "typed-pwd"), ("Token of the database x: ", "typed-token")],
        )
    assert code == 0, screen
    assert peer.body == b"auth root typed-pwd; create-db x typed-token;"
    assert "typed" not in screen


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("exec", "keys"), "the administrator's user is missing: give it with -u USER"),
        (("-u", "a", "exec", "keys"), "the administrator's password is missing: give it in NUN_PWD"),
        ((*ADMIN, "create-db", "-d", "x"), "the token of the database x is missing: give it in NUN_TOKEN"),
        ((*ADMIN, "create-db", "-d", "x y", "-t", "t"), "a database's name can't be empty or contain spaces"),
        ((*ADMIN, "create-db", "-d", "x", "-t", "t;u"), "a token can't be empty, contain spaces"),
        (("-u", "a", "-p", "b;c", "exec", "keys"), "can't send a password with a semicolon"),
        (("-u", "a b", "-p", "c", "exec", "keys"), "-u/--user: its value is not accepted"),
        ((*ADMIN, "--pwd-file", "x", "exec", "keys"), "-p/--pwd and --pwd-file can't be combined"),
        (
            ("-u", "a", "--pwd-file", "/nowhere", "exec", "keys"),
            "--pwd-file: the file '/nowhere' can't be read: No such",
        ),
        ((*ADMIN, "exec", " ; "), "no commands given"),
        ((*ADMIN, "exec", "-"), "no commands given"),
        ((*ADMIN, "exec", "get \udcff"), "the commands are not valid UTF-8 text"),
        ((*ADMIN, "-h", "ws://127.0.0.1:3012", "exec", "keys"), "'ws://127.0.0.1:3012' is a WebSocket address"),
        ((*ADMIN, "-h", "http://", "exec", "keys"), "'http://' is not a URL"),
        ((*ADMIN, "-h", "http://x:99999", "exec", "keys"), "'http://x:99999' is not a URL"),
        ((*ADMIN, "-h", "ftp://x", "exec", "keys"), "'ftp://x' is not a URL"),
        ((*ADMIN, "-h", "http://u:user-pwd@127.0.0.1:1", "exec", "keys"), "the URL must not hold a user or password"),
    ],
)
def test_a_command_line_that_makes_no_sense_sends_nothing(arguments: tuple[str, ...], told: str) -> None:
    result = run(*arguments)
    assert told in one_line(result)
    assert (result.code, result.output) == (2, "")
    assert "user-pwd" not in result.errors


def test_a_server_that_is_not_there_is_told() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    result = run(*ADMIN, "-h", url, "exec", "keys")
    assert one_line(result).startswith(f"nothing listens at {url} (connection refused): start the server, or")
    assert (result.code, result.response_line) == (4, "")
    result = run(*ADMIN, "-h", "http://nun-db.invalid:3013", "exec", "keys")
    assert "the host 'nun-db.invalid' of http://nun-db.invalid:3013 is not known" in one_line(result)
    assert result.code == 4


LATE = "no answer from {url} within 1 s; the commands may or may not have run"
CUT_OFF = "{url} closed the connection before its answer was complete; the commands may or may not have run"
NOT_HTTP = "what listens at {url} does not speak HTTP; -h needs the server's HTTP address (usually port 3013)"


@pytest.mark.parametrize(
    ("greeting", "answer", "stays_open", "told"),
    [
        (b"", b"", True, LATE),
        (b"", b"HTTP/1.1 200 OK\r\nContent-Le", True, LATE),
        (b"", http_answer("valid auth\n")[:-4], True, LATE),
        (b"", b"", False, CUT_OFF),
        (b"", b"HTTP/1.1 200 OK\r\nContent-Length: 40\r\n\r\nvalid auth\n;emp", False, CUT_OFF),
        (b"ok \n", b"", False, NOT_HTTP),  # the server's own TCP port
        (b"", b"\x00\xff garbage\r\n\r\n", False, NOT_HTTP),
        (b"", b"HTTP/1.1 abc OK\r\n\r\n", False, NOT_HTTP),
        (b"", b"HTTP/1.1 200 OK\r\nA: " + b"x" * 70000, False, NOT_HTTP),
    ],
)
def test_what_is_no_answer_is_told(greeting: bytes, answer: bytes, stays_open: bool, told: str) -> None:
    timeout = ("--timeout", "1") if stays_open else ()
    with Peer(answer, greeting=greeting, stays_open=stays_open) as peer:
        result = run(*ADMIN, "-h", peer.url, "exec", "keys", *timeout)
    assert one_line(result) == told.format(url=peer.url)
    assert (result.code, result.response_line) == (4, "")


def test_https_to_a_server_without_it_is_told() -> None:
    with Peer(b"", greeting=b"HTTP/1.1 400 Bad Request\r\n\r\n") as peer:
        result = run(*ADMIN, "-h", f"https://127.0.0.1:{peer.port}", "exec", "keys")
    assert f"no encrypted connection to https://127.0.0.1:{peer.port}" in one_line(result)
    assert result.code == 4


OK, IS_IT = "200 OK", ": is it the HTTP address"


@pytest.mark.parametrize(
    ("status", "body", "code", "told"),
    [
        ("404 Not Found", "no such page", 4, f"answered with HTTP status 404 Not Found{IS_IT}"),
        ("502 Bad Gateway", "", 4, f"answered with HTTP status 502 Bad Gateway{IS_IT}"),
        ("413 Content Too Large", "message too big", 1, "refused the request: message too big"),
        ("400 ", "", 4, f"answered with HTTP status 400{IS_IT}"),  # a WebSocket port
        (OK, "<html>hello</html>", 4, "does not answer like a Nun-db server: its reply begins with"),
        (OK, "invalid auth\n;Not auth", 3, "the server does not accept this user and password"),
        # A failed command is told by its place and name, without its arguments.
        (
            *(OK, "valid auth\n;empty;Key is not numeric;error no-db-selected\n", 1),
            "command 2 (increment) failed: Key is not numeric; 1 more failed",
        ),
        (OK, "valid auth\n;bad \x1b[31m;empty;empty", 1, "command 1 (use) failed: bad  [31m"),  # steers no terminal
    ],
)
def test_an_answer_that_tells_of_failure_is_shown_all_the_same(status: str, body: str, code: int, told: str) -> None:
    with Peer(http_answer(body, status)) as peer:
        result = run(*ADMIN, "-h", peer.url, "exec", "use a secret; increment text 1; get x")
    assert told in one_line(result)
    assert "secret" not in result.errors
    assert (result.code, result.response_line) == (code, f"Response {quoted(body)}\n")


def test_ctrl_c_ends_it_at_once_without_a_traceback() -> None:
    with Peer(b"", stays_open=True) as peer:
        process = subprocess.Popen(
            command_line(*ADMIN, "-h", peer.url, "exec", "keys"),
            env=clean_environment({}),
            cwd=REPOSITORY,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert peer.request_arrived.wait(30)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, b"")


def test_the_password_is_asked_for_at_the_terminal_while_commands_come_from_elsewhere(tmp_path: Path) -> None:
    commands = tmp_path / "commands"
    commands.write_text("use-db x t; keys\n")
    with Peer(http_answer("valid auth\n;empty;keys ,\n")) as peer, commands.open() as redirected:
        code, screen = run_at_terminal(
            ["-u", "root", "-h", peer.url, "exec", "-"],
            [("Password of root: ", "typed-pwd")],
            standard_input=redirected.fileno(),
        )
    assert code == 0, screen
    assert peer.body == b"auth root typed-pwd; use-db x t; keys\n"
    assert "typed" not in screen


def test_nothing_is_asked_without_a_terminal() -> None:
    result = run("-u", "root", "exec", "-", standard_input=b"keys\n")
    assert result.code == 2
    assert one_line(result).startswith("the administrator's password is missing: ")
