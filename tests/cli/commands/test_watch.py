"""`nun-db watch` as a process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from queue import Queue
from typing import TYPE_CHECKING

import pytest

from pynun.cli.remote.database_client import DatabaseLogin
from tests.cli.command import Result, command_line, run
from tests.cli.terminal import Terminal
from tests.client.conftest import make_database
from tests.support.fork_server import Forked
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER, clean_environment

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.client.conftest import Database
    from tools.clients.server import Server

TIMEOUT_S = 60.0


class Watching:
    """A running `nun-db watch` whose lines can be waited for."""

    def __init__(self, database: Database, *arguments: str) -> None:
        self._output: Queue[str] = Queue()
        self._errors: Queue[str] = Queue()
        with (
            open(os.devnull) as nothing,
            self._collected(self._output) as output,
            self._collected(self._errors) as errors,
        ):
            self.process = Forked(
                *arguments, descriptors=(nothing.fileno(), output, errors), environment={"NUN_TOKEN": database.token}
            )

    @staticmethod
    @contextmanager
    def _collected(lines: Queue[str]) -> Iterator[int]:
        """What to write to, while it is handed on."""
        reading, writing = os.pipe()

        def collect() -> None:
            with open(reading, encoding="utf-8") as stream:
                for line in stream:
                    lines.put(line.rstrip("\n"))

        threading.Thread(target=collect, daemon=True).start()
        yield writing
        os.close(writing)

    @property
    def has_printed(self) -> bool:
        return not self._output.empty()

    def line(self) -> str:
        """The next line of standard output."""
        return self._output.get(timeout=TIMEOUT_S)

    def note(self) -> str:
        """The next line of standard error."""
        return self._errors.get(timeout=TIMEOUT_S)

    def interrupt(self) -> int:
        """Press Ctrl-C and return the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(TIMEOUT_S)


def command(database: Database, *arguments: str) -> tuple[str, ...]:
    return ("-h", database.url, "watch", "-d", database.name, *arguments)


@contextmanager
def watching(database: Database, *arguments: str, login: tuple[str, ...] = ()) -> Iterator[Watching]:
    """Watch, with an extra key `started` whose line says that the watch has begun."""
    database.admin("set started yes")
    watch = Watching(database, *login, *command(database, "started", *arguments))
    try:
        yield watch
    finally:
        watch.process.kill()


def test_every_change_is_a_line_and_ctrl_c_the_normal_end(database: Database) -> None:
    database.admin("set k now")
    with watching(database, "k", "n", "--current") as watch:
        assert [watch.line(), watch.line()] == ["started 0 yes", "k 0 now"]
        database.admin("set k two  words;increment n;remove k;set k ö")
        assert [watch.line() for _ in range(4)] == ["k 1 two  words", "n 1 1", "k removed", "k 0 ö"]
        assert watch.interrupt() == 0


def test_without_current_only_changes_are_printed(database: Database) -> None:
    with watching(database, "k") as watch:
        # Nothing tells when it has begun, so change the key until a line comes.
        number = 0
        while not watch.has_printed:
            assert watch.process.poll() is None
            database.admin(f"set k {number}")
            number += 1
        assert watch.line().startswith("k ")


def test_json_has_a_line_for_each_change(database: Database) -> None:
    before = datetime.now(UTC)
    with watching(database, "k", "--current", "--output", "json") as watch:
        assert json.loads(watch.line())["key"] == "started"
        database.admin('set k {"a": "ö"}; remove k')
        changed, removed = json.loads(watch.line()), json.loads(watch.line())
        time = datetime.fromisoformat(changed.pop("time"))
        assert before - timedelta(seconds=1) < time < datetime.now(UTC) + timedelta(seconds=1)
        assert changed == {"key": "k", "version": 0, "value": '{"a": "ö"}', "removed": False}
        del removed["time"]
        assert removed == {"key": "k", "version": None, "value": None, "removed": True}
        assert watch.interrupt() == 0


def test_reader_that_goes_away_ends_it_quietly(database: Database) -> None:
    database.admin("set a 1;set b 2")
    result = subprocess.run(
        [
            *("bash", "-c", 'set -o pipefail; "$@" | head -n 1', "bash"),
            *command_line(*command(database, "a", "b", "--current")),
        ],
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        env=clean_environment({"NUN_TOKEN": database.token}),
        timeout=TIMEOUT_S,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "a 0 1\n", "")


@pytest.mark.parametrize(
    ("arguments", "environment", "code", "complaint"),
    [
        (("k", "-t", "hunter2"), {}, 3, "nun-db: Invalid token: check the token of the database {name}\n"),
        (
            ("k",),
            {"NUN_TOKEN": "hunter2"},
            3,
            "nun-db: Invalid token: check the token of the database {name}, which is in NUN_TOKEN\n",
        ),
        (("k", "-d", "nowhere"), {}, 1, "nun-db: no database named nowhere\n"),
        (
            ("other", "--database-user", "ana", "-t", "ana-pwd"),
            {},
            1,
            "nun-db: permission denied; an administrator sees why: nun-db permissions can {name} ana r other\n",
        ),
        (("$$token",), {}, 1, "nun-db: To read security keys you must auth as an admin!\n"),
    ],
)
def test_failures_are_one_line_and_an_exit_code(
    database: Database, arguments: tuple[str, ...], environment: dict[str, str], code: int, complaint: str
) -> None:
    database.admin("set-permissions ana rw ana-*")
    result = run(*command(database, *arguments), environment={"NUN_TOKEN": database.token, **environment})
    assert result == (code, "", complaint.format(name=database.name))


def test_a_pattern_is_said_to_be_a_key(database: Database) -> None:
    told = run(*command(database, "room-*", "-t", "hunter2")).errors
    assert told.startswith("nun-db: watch takes keys, not patterns: room-* is the key of exactly this name\n")


def test_no_server_at_the_beginning() -> None:
    assert run("-h", "ws://127.0.0.1:1", "watch", "-d", "d", "-t", "t", "k") == Result(
        4,
        "",
        "nun-db: nothing listens at ws://127.0.0.1:1 (connection refused): start the server, or give another URL with"
        " -h (its WebSocket port is usually 3012)\n",
    )


def test_key_that_cannot_be_sent_is_refused_before_connecting() -> None:
    from pynun.cli.commands.watch_session import run_watch

    login = DatabaseLogin("d", None, "t")
    assert run_watch("ws://127.0.0.1:1", None, None, None, login, ["a\nb"], "text", False) == 2


def test_administrator_may_watch_security_keys(database: Database) -> None:
    with watching(database, "$$permission_$ana", "--current") as watch:
        assert watch.note() == "nun-db: To read security keys you must auth as an admin!"
        assert watch.process.wait(TIMEOUT_S) == 1
    with watching(database, "$$permission_$ana", "--current", login=("-u", ADMIN_USER, "-p", ADMIN_PASSWORD)) as watch:
        assert [watch.line(), watch.line()] == ["started 1 yes", "$$permission_$ana 0 r *|rwix ana-*"]
        assert watch.interrupt() == 0


def test_lost_connection_is_noted_and_the_newest_value_printed(server: Server) -> None:
    database = make_database(server)
    database.admin("set k before")
    with watching(database, "k", "--current") as watch:
        assert [watch.line(), watch.line()] == ["started 0 yes", "k 0 before"]
        server.kill()
        assert watch.note() == "nun-db: the connection was cut; connecting again"
        # Changed while the watch is away: a server on other ports, so that the watch can't come back yet.
        ports = server.websocket, server.http, server.tcp
        server.websocket = server.http = server.tcp = server.tcp._replace(port=0)
        server.start()
        database.admin("set k missed")
        server.kill()
        server.websocket, server.http, server.tcp = ports
        server.start()
        assert watch.note() == "nun-db: connected again"
        assert watch.line() == "k 1 missed"
        database.admin("set $$token other")
        server.restart()
        assert "1001" in watch.note()
        assert watch.note().startswith("nun-db: Invalid token: check the token of the database ")
        assert watch.process.wait(TIMEOUT_S) == 3


def test_escape_sequences_do_not_reach_a_terminal(database: Database) -> None:
    database.admin("set k \x1b]0;owned")
    with Terminal(*command(database, "--current", "k"), environment={"NUN_TOKEN": database.token}) as terminal:
        terminal.expect("k 0 \\x1b]0")
        terminal.type("\x03")
        assert terminal.wait() == 0
