"""`nun-db password`: another password for the administrator of a running server."""

from __future__ import annotations

from typing import Annotated

import typer

from pynun.cli.errors import failures_shown
from pynun.cli.options import TIMEOUT_SECONDS_DEFAULT, AsJson, Timeout
from pynun.cli.output.tables import note, show_done
from pynun.cli.remote import credentials
from pynun.cli.remote.admin_client import AdminClient

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def password(
    context: typer.Context,
    new_password_file: Annotated[
        str | None, typer.Option("--new-pwd-file", metavar="FILE", help="A file that holds the new password.")
    ] = None,
    generate: Annotated[bool, typer.Option("--generate", help="Generate a password, and show it once.")] = False,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Change the administrator's password. Without options it asks for the new one.

    It is valid immediately and after restarts, even if NUN_PWD still has the old one. Sessions that logged in with
    the old password lose administrator rights. Put the new one into NUN_PWD, or its file, for the commands and the
    server.
    """
    with failures_shown():
        server = AdminClient(context.obj, timeout)
        secret = credentials.new_password(new_password_file, generate)
        server.ask("set-password", secret)
        shown = [f"the password, shown only once: {secret}"] if generate else []
        done = {"password": secret if generate else None}
        show_done(done, as_json, "changed the administrator's password", *shown)
        note("update NUN_PWD (or NUN_PWD_FILE) of the server too; it warns at each start with the old one")
