"""`nun-db password`: another password for an administrator of a running server."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynun import unix_socket
from pynun.cli.errors import UsageError
from pynun.cli.options import TIMEOUT_SECONDS_DEFAULT, AsJson, GeneratePassword, NewPasswordFile, Timeout
from pynun.cli.output.tables import note, show_done
from pynun.cli.remote import credentials
from pynun.cli.remote.admin_client import AdminClient
from pynun.cli.remote.sendable import check_for_http

if TYPE_CHECKING:
    from pynun.cli.options import Connection

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def password(
    context: typer.Context,
    name: Annotated[
        str | None, typer.Argument(metavar="[NAME]", help="Another administrator, whose password is changed.")
    ] = None,
    new_password_file: NewPasswordFile = None,
    generate: GeneratePassword = False,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Change the password of the administrator who asks, or of NAME. Without options it asks for the new one.

    Root and the server's user, who need none on the server's machine, change that of the first administrator. The new
    password is valid immediately and after restarts, even if NUN_PWD still has the old one. Sessions that logged in
    with the old one lose administrator rights. If it is that of the first administrator, put it into the server's
    NUN_PWD, or its file.
    """
    if name is not None:
        check_for_http(name)
    server = AdminClient(context.obj, timeout)
    named = {row["name"] for row in server.rows("admins", "list-admins") if not row["is_first"]}
    secret = credentials.new_password(new_password_file, generate)
    server.ask(*(["set-password"] if name is None else ["set-admin-password", name]), secret)
    shown = [f"the password, shown only once: {secret}"] if generate else []
    done = {"password": secret if generate else None}
    whose = name or (None if server.is_system_user else server.user)
    of = f"password of {whose}" if whose in named else "administrator's password"
    show_done(done, as_json, f"changed the {of}", *shown)
    if whose not in named:
        place = _place_at_start(context.obj)
        note(f"update {place} too; the server warns at each start with the old one")


def _place_at_start(given: Connection) -> str:
    """Where the server finds the first administrator's password when it starts."""
    from pynun.cli.installation import DATA_DIR, settings_of_server

    path = unix_socket.path_of(given.http_url())
    with contextlib.suppress(UsageError):
        settings, file = settings_of_server(os.environ, None)
        if path and file and Path(settings.get(DATA_DIR) or "dbs").resolve() == path.parent.resolve():
            named = settings.get("NUN_PWD_FILE")
            return f"the file {named}" if named else f"NUN_PWD in {file}"
    return "NUN_PWD (or NUN_PWD_FILE) of the server"
