"""`nun-db copy-db` and `nun-db rename-db`: whole databases of a running server."""

from __future__ import annotations

from typing import Annotated

import typer

from pynun.cli.options import TIMEOUT_SECONDS_DEFAULT, AsJson, DatabaseName, Generate, Timeout, TokenFile
from pynun.cli.output.numbers import counted
from pynun.cli.output.progress import Progress
from pynun.cli.output.tables import show_done
from pynun.cli.remote import credentials
from pynun.cli.remote.admin_client import AdminClient
from pynun.cli.remote.sendable import check_for_http

COPY_SECONDS_DEFAULT = 3600

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("copy-db")
def copy_database(
    context: typer.Context,
    database: DatabaseName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the copy.")],
    token: Annotated[
        str | None,
        typer.Option("-t", "--token", metavar="TOKEN", help="A token for the copy; else it has that of DATABASE."),
    ] = None,
    token_file: TokenFile = None,
    generate: Generate = False,
    as_json: AsJson = False,
    timeout: Timeout = COPY_SECONDS_DEFAULT,
) -> None:
    """Copy a database of a running server, with its users, permissions and tokens.

    The copy is consistent: it is the database at the moment when the copy appears. Other clients are served meanwhile.
    With -t, --token-file or --generate, the copy has its own database token; the tokens of its users stay.
    """
    check_for_http(database, name)
    server = AdminClient(context.obj, timeout)
    secret = None
    if token or token_file or generate:
        secret = credentials.new_token(token, token_file, generate, f"the database {name}")
    with Progress() as progress:
        progress.show(f"copying {database}", 0, 0)
        done = server.report("copy-db", database, name, *([] if secret is None else [secret]))
    shown = secret if generate else None
    lines = [f"copied the database {database} to {name}: {counted(done['keys'], 'key')} (with users and tokens)"]
    lines += [f"its token, shown only once: {shown}"] if shown else []
    show_done({"database": database, "name": name, "keys": done["keys"], "token": shown}, as_json, *lines)


@app.command("rename-db")
def rename_database(
    context: typer.Context,
    database: DatabaseName,
    name: Annotated[str, typer.Argument(metavar="NAME", help="Its new name.")],
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Rename a database of a running server.

    Connected clients go on. When they connect again, they need the new name: change it in their settings too.
    """
    check_for_http(database, name)
    AdminClient(context.obj, timeout).ask("rename-db", database, name)
    show_done({"database": database, "name": name}, as_json, f"renamed the database {database} to {name}")
