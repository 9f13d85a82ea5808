"""`nun-db start`: reads the settings and runs the server."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Annotated

import typer

from pynun.cli.errors import UsageError

if TYPE_CHECKING:
    from pynun.cli.options import Connection

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def start(
    context: typer.Context,
    data_dir: Annotated[
        str | None, typer.Option("--data-dir", metavar="FOLDER", help="The data folder; else NUN_DBS_DIR, dbs.")
    ] = None,
    tcp_address: Annotated[
        str | None, typer.Option("-t", "--tcp-address", metavar="ADDRESS", help="TCP; else NUN_TCP_ADDR, 0.0.0.0:3014.")
    ] = None,
    websocket_address: Annotated[
        str | None,
        typer.Option("-w", "--ws-address", metavar="ADDRESS", help="WebSocket; else NUN_WS_ADDR, 0.0.0.0:3012."),
    ] = None,
    http_address: Annotated[
        str | None,
        typer.Option("-h", "--http-address", metavar="ADDRESS", help="HTTP; else NUN_HTTP_ADDR, 0.0.0.0:3013."),
    ] = None,
    replicate_address: Annotated[
        str | None,
        typer.Option(
            "-r",
            "--replicate-address",
            metavar="ADDRESS,...",
            help="The original's cluster members; only this server's address is accepted.",
        ),
    ] = None,
    external_address: Annotated[
        str | None,
        typer.Option("--external-address", metavar="ADDRESS", help="What cluster-state shows; else the TCP address."),
    ] = None,
) -> None:
    """Start the server; stop it with Ctrl-C or SIGTERM.

    The data folder is created if missing. ADDRESS is HOST:PORT, [IPv6]:PORT or :PORT. The administrator's user and
    password are required. The server keeps running when its terminal is closed.
    """
    from pynun import settings

    loaded = settings.load(
        os.environ,
        {
            **administrator(context.obj),
            "NUN_DBS_DIR": data_dir,
            "NUN_TCP_ADDR": tcp_address,
            "NUN_WS_ADDR": websocket_address,
            "NUN_HTTP_ADDR": http_address,
            "NUN_REPLICATE_ADDR": replicate_address,
            "NUN_EXTERNAL_ADDR": external_address,
        },
    )
    from pynun.server.app import run  # only now: wrong settings are told without waiting for the imports

    run(loaded)


def administrator(given: Connection) -> dict[str, str | None]:
    """The settings that the options before the command give. Raises UsageError and SettingsError."""
    from pynun.secret_file import read_secret_file

    if given.password and given.password_file:
        raise UsageError("-p/--pwd and --pwd-file can't be combined")
    password = read_secret_file(given.password_file, "--pwd-file") if given.password_file else given.password
    return {"NUN_USER": given.user, "NUN_PWD": password}
