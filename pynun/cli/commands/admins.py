"""`nun-db admins`: add, list and remove the administrators of a running server."""

from __future__ import annotations

from typing import Annotated

import typer

from pynun.cli.options import TIMEOUT_SECONDS_DEFAULT, AsJson, GeneratePassword, NewPasswordFile, Timeout
from pynun.cli.output.tables import show_done, show_rows
from pynun.cli.remote import credentials
from pynun.cli.remote.admin_client import AdminClient
from pynun.cli.remote.sendable import check_for_http

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)

AdminName = Annotated[str, typer.Argument(metavar="NAME", help="The administrator's name.")]


@app.callback()
def admins() -> None:
    """List, add and remove administrators."""


@app.command("list")
def list_all(context: typer.Context, as_json: AsJson = False, timeout: Timeout = TIMEOUT_SECONDS_DEFAULT) -> None:
    """Show all administrators and their sessions. The first one is that of NUN_USER."""
    rows = list(AdminClient(context.obj, timeout).rows("admins", "list-admins"))
    show_rows(rows, ["name", "is_first", "sessions"], as_json)


@app.command()
def add(
    context: typer.Context,
    name: AdminName,
    new_password_file: NewPasswordFile = None,
    generate: GeneratePassword = False,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Add an administrator with a password of its own. Without options it asks for the password.

    It may do everything, and the audit trail shows what it did under its name.
    """
    check_for_http(name)
    server = AdminClient(context.obj, timeout)
    secret = credentials.new_password(new_password_file, generate)
    server.ask("add-admin", name, secret)
    shown = [f"the password, shown only once: {secret}"] if generate else []
    done = {"name": name, "password": secret if generate else None}
    show_done(done, as_json, f"added the administrator {name}", *shown)


@app.command()
def remove(
    context: typer.Context, name: AdminName, as_json: AsJson = False, timeout: Timeout = TIMEOUT_SECONDS_DEFAULT
) -> None:
    """Remove an administrator, except the first one. Its sessions end at once."""
    check_for_http(name)
    AdminClient(context.obj, timeout).ask("remove-admin", name)
    show_done({"name": name, "removed": True}, as_json, f"removed the administrator {name}")
