"""`nun-db create-db` and `nun-db exec`: post commands to a running server and show its reply as the original does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from pynun.cli.errors import CommandError, UsageError
from pynun.cli.options import TIMEOUT_SECONDS_DEFAULT, Strategy, Timeout, TokenFile
from pynun.cli.output.nundb_format import log_line, quoted
from pynun.cli.output.standard_streams import Unwritten
from pynun.cli.remote import credentials
from pynun.cli.remote.admin_client import check_login, check_text, names_of, one_line
from pynun.cli.remote.http_request import Target, parse_target, post
from pynun.cli.remote.http_results import find_failures
from pynun.cli.remote.sendable import check_for_http

if TYPE_CHECKING:
    from pynun.cli.options import Connection

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("create-db")
def create_db(
    context: typer.Context,
    database: Annotated[str, typer.Option("-d", "--database", metavar="NAME", help="The database's name.")],
    token: Annotated[
        str | None,
        typer.Option(
            "-t",
            "--token",
            metavar="TOKEN",
            help="The database's token; else --token-file, NUN_TOKEN or a prompt.",
        ),
    ] = None,
    token_file: TokenFile = None,
    strategy: Annotated[
        Strategy | None,
        typer.Option("--strategy", help="What happens to conflicting changes; the server's default is none."),
    ] = None,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Create a database on a running server."""
    given: Connection = context.obj
    check_for_http(database, what="a database's name")
    target, user, password = _target_and_login(given)
    token = credentials.require_token(token, token_file, f"the database {database}")
    command = f"create-db {database} {token}" + (f" {strategy.value}" if strategy else "") + ";"
    _run_commands(target, user, password, command, timeout)


@app.command("exec")
def execute(
    context: typer.Context,
    commands: Annotated[
        str,
        typer.Argument(metavar="COMMANDS", help="Commands separated by semicolons; - reads them from standard input."),
    ],
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Run commands on a running server, as the administrator.

    All commands run, also after one that fails. The exit code is then 1, and standard error names the first that
    failed. In double quotes the shell replaces $$ (as in $$token) with its process id: use single quotes. Other users
    can see the command line: pass commands with tokens on standard input.
    """
    given: Connection = context.obj
    if commands == "-":
        commands = _read_standard_input()
    if not commands.strip(" ;\r\n"):
        raise UsageError('no commands given; for example: nun-db exec "use-db NAME TOKEN; keys"')
    target, user, password = _target_and_login(given)
    _run_commands(target, user, password, commands, timeout)


def _read_standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError:
        raise UsageError("standard input is not UTF-8 text") from None


def _target_and_login(given: Connection) -> tuple[Target, str, str]:
    """Where to post, and the administrator. Raises UsageError."""
    url = given.http_url()
    user, password = credentials.require_administrator(given, url, is_sent_anywhere=True)
    return parse_target(url, given.authority), user, password


def _run_commands(target: Target, user: str, password: str, commands: str, timeout_seconds: int) -> None:
    """Log in, run the commands and print the reply on standard output.

    Raises CommandError, of the kind that its exit code needs, when any of it fails; a reply is printed all the same.
    What the server is asked does not depend on whether anything can be printed.
    """
    login = f"auth {user} {password}; "
    body = login + commands
    check_text(body)
    unwritten = Unwritten()
    with unwritten.kept():
        _print(log_line("nundb starting!"))
    response = post(target, body, timeout_seconds)
    with unwritten.kept():
        _print(f"Response {quoted(response.text)}")
    failures = find_failures(body, check_login(target, response))
    if failures:
        from pynun.cli.output.explain import explained  # it takes time

        first = failures[0]
        # The auth before them is not the user's: the first of the user's own commands is number 1.
        place = f"command {first.position - 1} ({first.command})" if first.command else "a command"
        more = f"; {len(failures) - 1} more failed" if len(failures) > 1 else ""
        error = explained(
            first.text, first.error, lambda: names_of(post(target, f"{login}list-dbs", timeout_seconds).text)
        )
        raise CommandError(f"{place} failed: {one_line(error)}{more}")
    unwritten.tell()


def _print(line: str) -> None:
    # As UTF-8 whatever the locale, and at once: the line must stand there while the server is waited for.
    sys.stdout.buffer.write(line.encode(errors="replace") + b"\n")
    sys.stdout.buffer.flush()
