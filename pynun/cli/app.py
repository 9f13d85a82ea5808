"""The nun-db command line: the options before the command, and where each command is.

The options are those of docs/protocol.md section 6, so `-h` is a host or address, never help. Only typer is imported
here; a command's module is loaded when needed.
"""

from __future__ import annotations

import os
from typing import Annotated, ClassVar

import typer

from pynun import __version__
from pynun.cli.certificate_authority import Authority
from pynun.cli.lazy_commands import LazyGroup
from pynun.cli.options import DEFAULT_HTTP_URL, DEFAULT_WEBSOCKET_URL, Connection

EPILOG = (
    "Exit codes: 0 success; 1 the server refused a command, or could not start, or a backup is damaged; 2 the "
    "command line is invalid; 3 wrong user or password; 4 no server, no answer in time, or not a Nun-db server; 5 "
    "standard output can't be written; 6 imported, but not everything could be read; 7 a key does not exist; 130 "
    "interrupted.\n\nAudit trail: the file audit.jsonl in the data folder, unless NUN_AUDIT_FILE names another."
)


class CommandLine(LazyGroup):
    """The commands in the order of the help, and their modules."""

    modules: ClassVar = {
        "start": "pynun.cli.commands.start",
        "create-db": "pynun.cli.commands.exec",
        "exec": "pynun.cli.commands.exec",
        "get": "pynun.cli.commands.keys",
        "set": "pynun.cli.commands.keys",
        "del": "pynun.cli.commands.keys",
        "keys": "pynun.cli.commands.keys",
        "incr": "pynun.cli.commands.keys",
        "shell": "pynun.cli.commands.shell",
        "watch": "pynun.cli.commands.watch",
        "demo": "pynun.cli.commands.demo",
        "ohif-extension": "pynun.cli.commands.ohif_extension",
        "status": "pynun.cli.commands.status",
        "top": "pynun.cli.commands.top",
        "backup": "pynun.cli.commands.backup",
        "verify": "pynun.cli.commands.backup",
        "restore": "pynun.cli.commands.backup",
        "export": "pynun.cli.commands.export_import",
        "import": "pynun.cli.commands.export_import",
        "import-nundb": "pynun.cli.commands.import_nundb",
        "databases": "pynun.cli.commands.databases",
        "copy-db": "pynun.cli.commands.copy_rename",
        "rename-db": "pynun.cli.commands.copy_rename",
        "users": "pynun.cli.commands.users",
        "permissions": "pynun.cli.commands.permissions",
        "sessions": "pynun.cli.commands.sessions",
        "admins": "pynun.cli.commands.admins",
        "password": "pynun.cli.commands.password",
        "cluster": "pynun.cli.commands.cluster",
        "check-config": "pynun.cli.commands.check_config",
        "stop": "pynun.cli.commands.stop",
        "help": "pynun.cli.commands.help",
        "version": "pynun.cli.commands.version",
    }


app = typer.Typer(
    cls=CommandLine,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nun-db {__version__}")
        raise typer.Exit


@app.callback()
def connection(
    context: typer.Context,
    user: Annotated[
        str | None, typer.Option("-u", "--user", metavar="USER", help="The administrator's user; else NUN_USER.")
    ] = None,
    password: Annotated[
        str | None,
        typer.Option(
            "-p",
            "--pwd",
            metavar="PASSWORD",
            help="The administrator's password. Safer, as other users can see the command line: --pwd-file, NUN_PWD, "
            "NUN_PWD_FILE or a prompt.",
        ),
    ] = None,
    password_file: Annotated[
        str | None, typer.Option("--pwd-file", metavar="FILE", help="A file that contains the password.")
    ] = None,
    host: Annotated[
        str | None,
        typer.Option(
            "-h",
            "--host",
            metavar="URL",
            help=f"The server: its HTTP address, default {DEFAULT_HTTP_URL}; for shell and watch"
            f" its WebSocket address, default {DEFAULT_WEBSOCKET_URL}.",
        ),
    ] = None,
    ca: Annotated[
        str | None,
        typer.Option(
            "--ca",
            metavar="FILE",
            help="For https:// and wss://: a PEM file with the CA to trust instead of the system's; else NUN_CA.",
        ),
    ] = None,
    profile: Annotated[
        str | None,
        typer.Option(
            "--profile",
            metavar="NAME",
            help="Address and login from ~/.config/pynun/profiles.toml; else NUN_PROFILE.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("-V", "--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Nun-db, a real-time key-value server: start it, manage it, try it out.

    The options also work after the command, unless it has one of that name, as start has -h.
    """
    context.obj = Connection(user, password, password_file, host, Authority(ca, os.environ.get("NUN_CA")), profile)
