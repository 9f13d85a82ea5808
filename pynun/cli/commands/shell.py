"""`nun-db shell`: its options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pynun.cli.errors import UsageError
from pynun.cli.options import DatabaseUser, Token, TokenFile
from pynun.cli.remote import credentials
from pynun.cli.remote.database_client import find_logins

if TYPE_CHECKING:
    from pynun.cli.options import Connection

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def shell(
    context: typer.Context,
    database: Annotated[
        str | None, typer.Option("-d", "--database", metavar="NAME", help="The database to select.")
    ] = None,
    database_user: DatabaseUser = None,
    token: Token = None,
    token_file: TokenFile = None,
) -> None:
    """Type commands, and see replies and events.

    It has a history, and completion with the Tab key.
    With -u, or with NUN_USER and NUN_PWD set, the session logs in as the administrator first, and needs no token for
    a database. The password of NUN_PWD goes to another machine over wss:// only.
    """
    given: Connection = context.obj
    url = given.websocket_url()
    ca = given.authority.file_for(url.startswith("wss://"), "wss://")
    login = None
    if database is not None:
        user, password, login = find_logins(given, url, database, database_user, token, token_file)
    elif token or token_file or database_user:
        raise UsageError("a token or database user is for a database: name it with -d")
    else:
        user, password = credentials.optional_administrator(given, url)
    from pynun.cli.commands.shell_session import run_shell  # with the client

    code = run_shell(url, ca, user, password, login)
    raise typer.Exit(code)
