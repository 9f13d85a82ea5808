"""`nun-db top` on a terminal: what it shows, and that the terminal is left as it was."""

from __future__ import annotations

import re
import signal
from typing import TYPE_CHECKING

import pytest

from pynun.cli.commands.top import Look, screen
from pynun.cli.remote.metrics import Health, Metrics
from tests.cli.command import run
from tests.cli.terminal import COLUMNS, ROWS, Terminal
from tools.clients.exact_clients import TcpClient, http_post
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER

if TYPE_CHECKING:
    from tools.clients.server import Server


def open_screen(url: str) -> Terminal:
    return Terminal("-u", ADMIN_USER, "-p", ADMIN_PASSWORD, "-h", url, "top")


def test_it_shows_rates_and_q_leaves_the_terminal_as_it_was(shared_server: Server) -> None:
    http_post(shared_server.http, f"auth {shared_server.credentials}; create-db top-db top-pwd")
    with open_screen(f"http://{shared_server.http}") as shown, TcpClient(shared_server.tcp) as client:
        client.ask("use-db top-db top-pwd")
        shown.expect("q quits")
        for number in range(2000):
            client.send(f"set key {number}")
        client.take(2000)
        shown.expect("top-db")
        while not re.search(r"\ncommands/s +(?!0 )[0-9]\S* ", shown.text):
            client.ask("get key")
            shown.expect("\ncommands/s ")
        shown.type("q")
        assert shown.wait() == 0
        shown.assert_terminal_is_as_before()
        one_screen = shown.output.decode().split("\x1b[H")[1].split("\r\n")
        assert len(one_screen) <= ROWS
        assert all(len(line.removesuffix("\x1b[K")) < COLUMNS for line in one_screen)


@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_whatever_ends_it_leaves_the_terminal_as_it_was(shared_server: Server, how: str) -> None:
    with open_screen(f"http://{shared_server.http}") as shown:
        shown.expect("q quits")
        if how == "Ctrl-C":
            shown.type("\x03")
        else:
            shown.process.send_signal(signal.SIGTERM)
        assert shown.wait() == 0
        shown.assert_terminal_is_as_before()


def test_a_server_that_goes_and_comes_back_is_waited_for(server: Server) -> None:
    with open_screen(f"http://{server.http}") as shown:
        shown.expect("ready")
        server.stop()
        shown.expect("nothing listens at")
        server.start()
        shown.expect("ready")
        shown.type("q")
        assert shown.wait() == 0
        shown.assert_terminal_is_as_before()


def test_without_a_terminal_it_says_what_to_use(shared_server: Server) -> None:
    done = run("-h", f"http://{shared_server.http}", "top")
    assert (done.code, done.output) == (2, "")
    assert "nun-db: top needs a terminal; for a single report use: nun-db status" in done.errors


def test_without_a_server_it_is_exit_code_4_and_no_screen() -> None:
    with open_screen("http://127.0.0.1:1") as shown:
        assert shown.wait() == 4
        assert b"nothing listens" in shown.output
        assert b"\x1b[?1049h" not in shown.output


def test_rates_are_differences_and_no_counter_that_began_anew_is_negative() -> None:
    def look(at: float, commands: int) -> Look:
        text = f'# TYPE nun_db_commands_total counter\nnun_db_commands_total{{command="set",outcome="ok"}} {commands}\n'
        return Look(at, Health(True, ""), Metrics(text))

    lines = screen("http://x", look(10.0, 1000), look(12.0, 3000), "", ROWS)
    assert any(line.startswith("commands/s   1,000 ") for line in lines)
    assert any(line.split() == ["set", "1,000", "3,000"] for line in lines)
    restarted = screen("http://x", look(12.0, 3000), look(13.0, 5), "", ROWS)
    assert any(line.startswith("commands/s   0 ") for line in restarted)
