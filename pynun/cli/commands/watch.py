"""`nun-db watch`: its options."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from pynun.cli.options import DatabaseUser, Token, TokenFile
from pynun.cli.output.escape import shown_name
from pynun.cli.output.tables import note
from pynun.cli.remote.database_client import find_logins
from pynun.cli.remote.sendable import check_for_websocket

if TYPE_CHECKING:
    from pynun.cli.options import Connection

app = typer.Typer(rich_markup_mode=None, add_completion=False)


class Output(StrEnum):
    """How `watch` prints."""

    text = "text"
    json = "json"


@app.command()
def watch(
    context: typer.Context,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="The keys to watch.")],
    database: Annotated[str, typer.Option("-d", "--database", metavar="NAME", help="The keys' database.")],
    database_user: DatabaseUser = None,
    token: Token = None,
    token_file: TokenFile = None,
    output: Annotated[
        Output, typer.Option("--output", help="Lines to read, or one JSON object per line.")
    ] = Output.text,
    current: Annotated[bool, typer.Option("--current", help="First print the current values.")] = False,
) -> None:
    """Watch keys: print every change as it happens, until Ctrl-C. It takes no patterns."""
    given: Connection = context.obj
    url = given.websocket_url()
    ca = given.authority.file_for(url.startswith("wss://"), "wss://")
    check_for_websocket(*keys, what="a key")
    for key in keys:
        if key.startswith("*") or key.endswith("*"):
            note(f"watch takes keys, not patterns: {shown_name(key)} is the key of exactly this name")
    user, password, login = find_logins(given, url, database, database_user, token, token_file)
    from pynun.cli.commands.watch_session import run_watch  # with the client

    code = run_watch(url, ca, user, password, login, keys, output.value, current)
    raise typer.Exit(code)
