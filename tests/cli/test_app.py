"""The command as a whole: help, version, speed, and the reference made from it."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from pynun import __version__
from tests.cli.command import run, run_anew
from tests.cli.peer import Peer, http_answer
from tools.clients.server import REPOSITORY, clean_environment
from tools.docs import cli_reference

if TYPE_CHECKING:
    from collections.abc import Callable

EXEC_SECONDS_MAX = 0.2
EXEC_RATIO_MAX = 4.0  # measured on a busy machine: 2.0 to 2.7
EXEC_RUNS = 5

NOT_FOR_EXEC = (
    *("trio", "lmdb", "argon2", "rich", "prompt_toolkit", "h11", "asyncio"),
    *("pynun.engine", "pynun.storage", "pynun.settings", "pynun.protocol.messages"),
)


@pytest.mark.parametrize("command", [command for command in cli_reference.COMMANDS if command and " " not in command])
def test_every_command_has_help_that_fits_a_terminal(command: str) -> None:
    result = run(command, "--help")
    assert (result.code, result.errors) == (0, "")
    assert result.output.startswith(f"Usage: nun-db {command} ")
    assert max(map(len, result.output.splitlines())) <= 80
    assert result.output.isascii()  # it must be printable in any locale


@pytest.mark.parametrize("columns", ["80", "100"])
def test_no_help_has_a_line_that_is_cut(columns: str) -> None:
    for group in ("", "databases", "users", "permissions", "sessions"):
        lines = run(*group.split(), "--help", environment={"COLUMNS": columns}).output.splitlines()
        assert len(lines) > 10
        assert [line for line in lines if line.endswith("...") and not line.startswith("Usage: ")] == []


def test_arguments_are_shown_in_brackets() -> None:
    assert run("databases", "size", "--help").output.startswith("Usage: nun-db databases size [OPTIONS] [DATABASE]\n")
    assert run("watch", "--help").output.startswith("Usage: nun-db watch [OPTIONS] [KEY...]\n")


def test_help_is_a_command_too() -> None:
    for words in ([], ["start"], ["databases", "list"]):
        assert run("help", *words) == run(*words, "--help")
    result = run("help", "databases", "nonsense")
    assert (result.code, result.output) == (2, "")
    assert result.errors == "nun-db: there is no command 'databases nonsense': nun-db help lists them\n"


def test_stop_says_how_a_server_is_stopped() -> None:
    result = run("stop")
    assert (result.code, result.output) == (2, "")
    for way in ("nothing was stopped", "systemctl stop", "docker stop", "Ctrl-C", "kill PID"):
        assert way in result.errors


def test_the_help_lists_every_command_and_exit_code() -> None:
    result = run("--help")
    assert result.code == 0
    for command in cli_reference.COMMANDS:
        assert command.partition(" ")[0] in result.output
    assert "Exit codes: 0 success;" in result.output


def test_the_reference_is_what_help_prints_today() -> None:
    written = cli_reference.REFERENCE.read_text(encoding="utf-8")
    assert written == cli_reference.render(), "run: .venv/bin/python scripts/tools/docs/cli_reference.py"


@pytest.mark.parametrize("arguments", [["version"], ["--version"], ["-V"], ["databases", "list", "-V"]])
def test_the_version_is_printed(arguments: list[str]) -> None:
    assert run(*arguments) == (0, f"nun-db {__version__}\n", "")


@pytest.mark.parametrize("arguments", [["nonsense"], ["exec"], ["create-db"], ["start", "--nonsense"], ["-u"]])
def test_unknown_or_incomplete_arguments_are_a_usage_error(arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.code, result.output) == (2, "")
    assert "Error: " in result.errors


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["-h"], "Option '-h' requires an argument. (-h names a host or address: help is --help)"),
        (["start", "-h"], "Option '-h' requires an argument. (-h names a host or address: help is --help)"),
        (["exec", "-h"], "Option '-h' requires an argument. (-h names a host or address: help is --help)"),
        (["databases", "nonsense"], "No such command 'nonsense'."),
        (["database"], "No such command 'database'. Did you mean 'databases'?"),
        (["users", "add"], "No such command 'add'. Did you mean 'nun-db users create'?"),
        (["sessions", "end", "1"], "No such command 'end'. Did you mean 'nun-db sessions disconnect'?"),
        (["databases", "rename"], "No such command 'rename'. Did you mean 'nun-db rename-db'?"),
        (["wacth"], "No such command 'wacth'. Did you mean 'watch'?"),
        (["-u"], "Option '-u' requires an argument."),
        (["exec", "--nonsense"], "No such option: --nonsense"),
    ],
)
def test_a_usage_error_says_what_help_is(arguments: list[str], told: str) -> None:
    result = run(*arguments)
    assert (result.code, result.output) == (2, "")
    assert result.errors.splitlines()[-1] == f"Error: {told}"


@pytest.mark.parametrize("words", [["exec", "keys"], ["databases", "list"]])
def test_options_before_the_command_also_work_after_it(words: list[str]) -> None:
    for number in range(len(words) + 1):
        with Peer(http_answer("valid auth\n;keys ,\n")) as peer:
            run(*words[:number], "-u", "ana", "-p", "secret", "-h", peer.url, *words[number:])
            assert peer.body.startswith(b"auth ana secret;")


def test_an_option_of_the_command_keeps_its_meaning() -> None:
    """`start -h` is the HTTP address, and `-t` of create-db the token."""
    taken = ("-h", "x:y", "--host", "http://127.0.0.1:1")
    refused = run("start", "-u", "a", "-p", "b", *taken)
    assert (refused.code, refused.errors.partition(";")[0]) == (1, "nun-db: -h/--http-address: 'x:y' is not accepted")
    with Peer(http_answer("valid auth\n;create-db success\n")) as peer:
        run("create-db", "-d", "x", "-t", "token", "-u", "a", "-p", "b", "-h", peer.url)
        assert peer.body == b"auth a b; create-db x token;"


def test_exec_imports_only_what_it_needs() -> None:
    script = (
        "import sys\n"
        "from pynun.cli.main import main\n"
        "try:\n    main()\n"
        f"finally:\n    print([name for name in {NOT_FOR_EXEC} if name in sys.modules], file=sys.stderr)\n"
    )
    with Peer(http_answer("valid auth\n;keys ,\n")) as peer:
        process = subprocess.run(
            [sys.executable, "-c", script, "-u", "a", "-p", "b", "-h", peer.url, "exec", "keys"],
            env=clean_environment({}),
            cwd=REPOSITORY,
            capture_output=True,
            timeout=30,
            check=True,
        )
    assert process.stderr == b"[]\n"


def test_exec_costs_little_more_than_its_option_parser() -> None:
    """On a quiet machine `exec` takes 0.13 to 0.16 s, of which `import typer` is more than half.

    Processor time, since all it does is compute (the answer is there at once); a ratio to the parser's import, measured
    side by side, since one machine is not as fast as another, nor as itself an hour ago.
    """
    own, parser = [], []
    for _ in range(EXEC_RUNS):
        with Peer(http_answer("valid auth\n;keys ,\n")) as peer:
            own.append(_processor_seconds(_exec, peer.url))
        parser.append(_processor_seconds(_import_typer, sys.executable))
    assert min(own) < max(EXEC_SECONDS_MAX, EXEC_RATIO_MAX * min(parser)), (
        f"{min(own):.3f} s, typer {min(parser):.3f} s"
    )


def _exec(url: str) -> None:
    run_anew("-u", "a", "-p", "b", "-h", url, "exec", "keys")


def _import_typer(python: str) -> None:
    subprocess.run([python, "-c", "import typer"], check=True, env=clean_environment({}))


def _processor_seconds(start: Callable[[str], object], argument: str) -> float:
    """What a child process that `start` runs to its end costs."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    start(argument)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
