"""`nun-db users`: who may use a database of a running server."""

from __future__ import annotations

from typing import Annotated

import typer

from pynun.cli.options import (
    TIMEOUT_SECONDS_DEFAULT,
    AsJson,
    DatabaseName,
    Generate,
    NewToken,
    Timeout,
    TokenFile,
    UserName,
)
from pynun.cli.output.tables import show_done, show_rows
from pynun.cli.remote import credentials
from pynun.cli.remote.admin_client import AdminClient
from pynun.cli.remote.database_client import EVERYONE
from pynun.cli.remote.sendable import check_for_http

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)


@app.callback()
def users() -> None:
    """List, create and remove users of a database, and change tokens."""


@app.command("list")
def list_all(
    context: typer.Context, database: DatabaseName, as_json: AsJson = False, timeout: Timeout = TIMEOUT_SECONDS_DEFAULT
) -> None:
    """Show the users of a database: name, permissions, sessions.

    The user all stands for sessions that used the database token.
    """
    check_for_http(database)
    rows = list(AdminClient(context.obj, timeout).rows("users", "list-users", database))
    show_rows(rows, ("user", "has_token", "permissions", "connections"), as_json)


@app.command()
def create(
    context: typer.Context,
    database: DatabaseName,
    user: UserName,
    token: NewToken = None,
    token_file: TokenFile = None,
    generate: Generate = False,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Create a user, who may do nothing until you grant permissions (nun-db permissions grant)."""
    check_for_http(database, user)
    server = AdminClient(context.obj, timeout)
    whose = credentials.owner(database, user)
    secret = credentials.new_token(token, token_file, generate, whose)
    server.ask("add-user", database, user, secret)
    _tell(f"created {whose}", database, user, secret if generate else None, as_json)


@app.command()
def remove(
    context: typer.Context,
    database: DatabaseName,
    user: UserName,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Remove a user with its permissions. The user's sessions lose access at once."""
    check_for_http(database, user)
    AdminClient(context.obj, timeout).ask("remove-user", database, user)
    done = {"database": database, "user": user, "removed": True}
    show_done(done, as_json, f"removed {credentials.owner(database, user)}")


@app.command("token")
def change_token(
    context: typer.Context,
    database: DatabaseName,
    user: Annotated[
        str, typer.Argument(metavar="[USER]", help="The user; none: change the database token.")
    ] = EVERYONE,
    token: NewToken = None,
    token_file: TokenFile = None,
    generate: Generate = False,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Change the token of a user or of the database. Sessions with the old one lose access at once."""
    check_for_http(database, user)
    server = AdminClient(context.obj, timeout)
    whose = credentials.owner(database, None if user == EVERYONE else user)
    secret = credentials.new_token(token, token_file, generate, whose)
    server.ask("set-token", database, user, secret)
    _tell(f"changed the token of {whose}", database, user, secret if generate else None, as_json)


def _tell(done: str, database: str, user: str, token: str | None, as_json: bool) -> None:
    secret = [f"the token, shown only once: {token}"] if token else []
    show_done({"database": database, "user": user, "token": token}, as_json, done, *secret)
