"""`nun-db databases`: list, create, drop and measure the databases of a running server."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from pynun.cli.errors import CommandError, RefusedError, UsageError
from pynun.cli.options import (
    TIMEOUT_SECONDS_DEFAULT,
    AsJson,
    DatabaseName,
    Generate,
    NewToken,
    Strategy,
    Timeout,
    TokenFile,
)
from pynun.cli.output.escape import shown_name
from pynun.cli.output.tables import note, show_done, show_json, show_rows, show_table
from pynun.cli.remote import credentials
from pynun.cli.remote.admin_client import AdminClient
from pynun.cli.remote.sendable import check_for_http, is_http_word

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def databases() -> None:
    """List, create, drop and measure databases."""


@app.command("list")
def list_all(
    context: typer.Context,
    sizes: Annotated[
        bool, typer.Option("--sizes/--no-sizes", help="Count keys and bytes: about a second per million keys.")
    ] = True,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Show all databases: name, strategy, sessions, keys, bytes of keys and values.

    The keys include those of users, permissions and tokens, as everywhere.
    """
    server = AdminClient(context.obj, timeout)
    rows = list(server.rows("databases", "list-dbs"))
    if sizes:
        rows = [row | size for row in rows if (size := _size_if_there(server, row["name"])) is not None]
        if left_out := [repr(row["name"]) for row in rows if row["keys"] is None]:
            note(f"not measured, for such a name can't be sent over HTTP: {', '.join(left_out)}")
    show_rows(rows, ["name", "strategy", "connections", *(["keys", "bytes"] if sizes else [])], as_json)


def _size_if_there(server: AdminClient, name: str) -> dict[str, object] | None:
    """The size of a database, of None where the name can't be sent; None if somebody has dropped it meanwhile."""
    if not is_http_word(name):
        return {"keys": None, "bytes": None}
    try:
        return server.report("db-size", name)
    except RefusedError as error:
        if error.reply == "Not a valid database name":
            return None
        raise


@app.command()
def size(
    context: typer.Context, name: DatabaseName, as_json: AsJson = False, timeout: Timeout = TIMEOUT_SECONDS_DEFAULT
) -> None:
    """Count a database's keys (with those of users, permissions and tokens) and bytes of keys and values."""
    check_for_http(name)
    report = AdminClient(context.obj, timeout).report("db-size", name)
    if as_json:
        show_json(report)
    else:
        show_table(list(report), [list(report.values())])


@app.command()
def create(
    context: typer.Context,
    name: DatabaseName,
    strategy: Annotated[
        Strategy, typer.Option("--strategy", help="What happens to conflicting changes.")
    ] = Strategy.none,
    token: NewToken = None,
    token_file: TokenFile = None,
    generate: Generate = False,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Create a database."""
    check_for_http(name)
    server = AdminClient(context.obj, timeout)
    secret = credentials.new_token(token, token_file, generate, f"the database {name}")
    server.ask("create-db", name, secret, strategy.value)
    shown = secret if generate else None
    lines = [f"created the database {name}", *([f"its token, shown only once: {shown}"] if shown else [])]
    show_done({"name": name, "strategy": strategy.value, "token": shown}, as_json, *lines)


@app.command()
def drop(
    context: typer.Context,
    name: DatabaseName,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Delete a database with its keys, users and permissions. This can't be undone.

    On a terminal it asks for the name again. Sessions that selected it continue without a database.
    """
    check_for_http(name)
    server = AdminClient(context.obj, timeout)
    if not yes:
        _confirm(server, name)
    server.ask("drop-db", name)
    show_done({"name": name, "dropped": True}, as_json, f"dropped the database {name}")


def _confirm(server: AdminClient, name: str) -> None:
    """Ask on the terminal for the name. Raises UsageError if there is none, CommandError if another one is typed."""
    if not sys.stdin.isatty():
        raise UsageError("there is no terminal to ask on: confirm with --yes")
    report = server.report("db-size", name)
    print(
        f"The database {shown_name(name)} has {report['keys']:,} keys, {report['bytes']:,} bytes. They can't be brought"
        " back but from a backup.",
        file=sys.stderr,
    )
    print("Its name, to drop it: ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().rstrip("\r\n") != name:
        raise CommandError("the name does not match: nothing was dropped")
