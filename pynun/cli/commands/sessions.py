"""`nun-db sessions`: who is connected to a running server."""

from __future__ import annotations

from typing import Annotated

import typer

from pynun.cli.options import TIMEOUT_SECONDS_DEFAULT, AsJson, Timeout
from pynun.cli.output.tables import show_done, show_json, show_table
from pynun.cli.remote.admin_client import AdminClient

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)

COLUMNS = ("id", "transport", "address", "database", "user", "is_admin", "admin", "since", "watches", "outbox_bytes")
"""The members of a row that are shown, and their names in JSON."""


@app.callback()
def sessions() -> None:
    """List and end open sessions."""


@app.command("list")
def list_all(
    context: typer.Context,
    database: Annotated[
        str | None, typer.Option("-d", "--database", metavar="NAME", help="Only sessions that selected it.")
    ] = None,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Show the open sessions, oldest first, without this command's own.

    Outbox bytes wait to be sent: many of them mean a slow client.
    """
    rows = [
        {column: row[column] for column in COLUMNS}
        for row in AdminClient(context.obj, timeout).rows("sessions", "list-sessions")
        if not row["is_this"] and database in (None, row["database"])
    ]
    if as_json:
        show_json(rows)
    else:
        show_table(COLUMNS, (_cells(row) for row in rows))


def _cells(row: dict[str, object]) -> list[object]:
    # The id as text: it is a name, so no commas. Fractions of seconds are of no use to a person.
    return [
        *(str(row["id"]) if column == "id" else row[column] for column in COLUMNS[:7]),
        f"{str(row['since'])[:19]}Z",
        row["watches"],
        row["outbox_bytes"],
    ]


@app.command()
def disconnect(
    context: typer.Context,
    identifiers: Annotated[list[int], typer.Argument(metavar="ID...", help="The IDs that sessions list shows.")],
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """End connections. Clients can reconnect: to keep somebody out, change the token (nun-db users token)."""
    server = AdminClient(context.obj, timeout)
    for identifier in identifiers:
        server.ask("disconnect", str(identifier))
    done = [{"id": identifier, "disconnected": True} for identifier in identifiers]
    show_done(done, as_json, *(f"disconnected session {identifier}" for identifier in identifiers))
