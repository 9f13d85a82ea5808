"""The commands of nun-db and their options: what is typed, turned into one call of the function that does it.

Options are those of docs/protocol.md section 6, so `-h` names a host or an address and never asks for help. Only typer
is imported here; each command imports what it needs when it runs.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from pynun import __version__
from pynun.cli.authority import Authority
from pynun.cli.commands import backup, export_import, import_nundb
from pynun.cli.errors import UsageError
from pynun.cli.failures import failures_shown
from pynun.cli.lazy_commands import CommandLine

DEFAULT_HTTP_URL = "http://127.0.0.1:3013"
DEFAULT_WEBSOCKET_URL = "ws://127.0.0.1:3012"
TIMEOUT_SECONDS_DEFAULT = 30
TIMEOUT_SECONDS_MAX = 24 * 60 * 60

Timeout = Annotated[
    int,
    typer.Option(
        "--timeout", metavar="SECONDS", min=1, max=TIMEOUT_SECONDS_MAX, help="How long to wait for the server."
    ),
]

EPILOG = (
    "Exit codes: 0 success; 1 the server refused a command, or could not start, or a backup is not whole; 2 the "
    "command line makes no sense; 3 wrong user or password; 4 no server, no answer in time, or not a Nun-db server; 5 "
    "standard output can't be written; 6 imported, but not everything could be read; 130 interrupted."
)

app = typer.Typer(
    cls=CommandLine,
    add_completion=False,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    epilog=EPILOG,
)


@dataclass(frozen=True, slots=True)
class Connection:
    """The options before the command."""

    user: str | None
    password: str | None
    password_file: str | None
    host: str | None
    authority: Authority


class Strategy(StrEnum):
    """What a database does with conflicting changes (docs/protocol.md section 5)."""

    none = "none"
    newer = "newer"
    arbiter = "arbiter"


class Output(StrEnum):
    """How `watch` prints."""

    text = "text"
    json = "json"


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
            help="The administrator's password; else --pwd-file, NUN_PWD, NUN_PWD_FILE or a prompt, which do not show"
            " it in the list of processes.",
        ),
    ] = None,
    password_file: Annotated[
        str | None, typer.Option("--pwd-file", metavar="FILE", help="A file that holds the password.")
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
            help="For https:// and wss://: a PEM file with the authority to trust in place of the system's; else"
            " NUN_CA.",
        ),
    ] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Nun-db, a real-time key-value server: start it, administer it, try it out."""
    context.obj = Connection(user, password, password_file, host, Authority(ca, os.environ.get("NUN_CA")))


@app.command()
def start(
    context: typer.Context,
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
            help="The original's cluster; only this server's own address here.",
        ),
    ] = None,
    external_address: Annotated[
        str | None,
        typer.Option("--external-address", metavar="ADDRESS", help="What cluster-state shows; else the TCP address."),
    ] = None,
) -> None:
    """Start the server; stop it with Ctrl-C or SIGTERM.

    The data is in the folder NUN_DBS_DIR (dbs in the current directory when not set). ADDRESS is HOST:PORT,
    [IPv6]:PORT or :PORT. The administrator's user and password must be given. It goes on when its terminal is closed.
    """
    from pynun import settings
    from pynun.secret_file import read_secret_file

    given: Connection = context.obj
    with failures_shown():
        if given.password and given.password_file:
            raise UsageError("-p/--pwd and --pwd-file exclude each other")
        password = given.password
        if given.password_file:
            password = read_secret_file(given.password_file, "--pwd-file")
        loaded = settings.load(
            os.environ,
            {
                "NUN_USER": given.user,
                "NUN_PWD": password,
                "NUN_TCP_ADDR": tcp_address,
                "NUN_WS_ADDR": websocket_address,
                "NUN_HTTP_ADDR": http_address,
                "NUN_REPLICATE_ADDR": replicate_address,
                "NUN_EXTERNAL_ADDR": external_address,
            },
        )
        from pynun.server.app import run  # only now: wrong settings are told without waiting for the imports

        run(loaded)


@app.command("create-db")
def create_db(
    context: typer.Context,
    database: Annotated[str, typer.Option("-d", "--database", metavar="NAME", help="The database's name.")],
    token: Annotated[
        str | None,
        typer.Option(
            "-t",
            "--token",
            metavar="TOKEN",
            help="The database's token; else --token-file, NUN_TOKEN or a prompt.",
        ),
    ] = None,
    token_file: Annotated[
        str | None, typer.Option("--token-file", metavar="FILE", help="A file that holds the token.")
    ] = None,
    strategy: Annotated[
        Strategy | None,
        typer.Option("--strategy", help="What happens to conflicting changes; the server's default is none."),
    ] = None,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Create a database on a running server."""
    from pynun.cli.commands import exec
    from pynun.cli.remote import credentials, sendable

    given: Connection = context.obj
    with failures_shown():
        sendable.check_for_http(database, what="a database's name")
        user, password = credentials.require_administrator(given.user, given.password, given.password_file)
        token = credentials.require_token(token, token_file, f"the database {database}")
        command = f"create-db {database} {token}" + (f" {strategy.value}" if strategy else "") + ";"
        exec.run_commands(given.host or DEFAULT_HTTP_URL, user, password, command, timeout, given.authority)


@app.command("exec")
def execute(
    context: typer.Context,
    commands: Annotated[
        str,
        typer.Argument(metavar="COMMANDS", help="Commands separated by semicolons; - reads them from standard input."),
    ],
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Run commands on a running server, as the administrator.

    All commands run, also those behind one that fails; the exit code is then 1, and the line on standard error names
    the first that failed. Within double quotes the shell puts its process id in place of $$ (as in $$token): use single
    quotes. What stands on the command line can be read in the list of processes: hand over commands with tokens in
    them on standard input.
    """
    from pynun.cli.commands import exec
    from pynun.cli.remote import credentials

    given: Connection = context.obj
    with failures_shown():
        if commands == "-":
            commands = _read_standard_input()
        if not commands.strip(" ;\r\n"):
            raise UsageError('no commands given; write for example: nun-db exec "use-db NAME TOKEN; keys"')
        user, password = credentials.require_administrator(given.user, given.password, given.password_file)
        exec.run_commands(given.host or DEFAULT_HTTP_URL, user, password, commands, timeout, given.authority)


@app.command()
def shell(
    context: typer.Context,
    database: Annotated[
        str | None, typer.Option("-d", "--database", metavar="NAME", help="The database to select at once.")
    ] = None,
    database_user: Annotated[
        str | None,
        typer.Option("--database-user", metavar="USER", help="Select it as this user, whose token is then needed."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option("-t", "--token", metavar="TOKEN", help="Its token; else --token-file, NUN_TOKEN or a prompt."),
    ] = None,
    token_file: Annotated[
        str | None, typer.Option("--token-file", metavar="FILE", help="A file that holds the token.")
    ] = None,
) -> None:
    """Type commands and see their replies and events.

    There is a history and completion with the Tab key.
    With -u, or with NUN_USER and NUN_PWD set, the session logs in as the administrator first. The password of
    NUN_PWD goes to another machine over wss:// only.
    """
    given: Connection = context.obj
    with failures_shown():
        url = _websocket_url(given.host)
        ca = given.authority.file_for(url.startswith("wss://"), "wss://")
        user, password = _optional_administrator(given, url)
        if database is None:
            if token or token_file or database_user:
                raise UsageError("a token or database user is for a database: name it with -d")
        else:
            token = _require_database_token(database, database_user, token, token_file)
        from pynun.cli.commands.shell import run_shell

        code = run_shell(url, ca, user, password, database, database_user, token)
    raise typer.Exit(code)


@app.command()
def watch(
    context: typer.Context,
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="The keys to follow.")],
    database: Annotated[str, typer.Option("-d", "--database", metavar="NAME", help="The keys' database.")],
    database_user: Annotated[
        str | None,
        typer.Option("--database-user", metavar="USER", help="Select it as this user, whose token is then needed."),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option("-t", "--token", metavar="TOKEN", help="Its token; else --token-file, NUN_TOKEN or a prompt."),
    ] = None,
    token_file: Annotated[
        str | None, typer.Option("--token-file", metavar="FILE", help="A file that holds the token.")
    ] = None,
    output: Annotated[Output, typer.Option("--output", help="Lines to read, or one JSON object a line.")] = Output.text,
    current: Annotated[bool, typer.Option("--current", help="First print what the keys hold now.")] = False,
) -> None:
    """Follow keys: print every change as it happens, until Ctrl-C."""
    from pynun.cli.remote import sendable

    given: Connection = context.obj
    with failures_shown():
        url = _websocket_url(given.host)
        ca = given.authority.file_for(url.startswith("wss://"), "wss://")
        sendable.check_for_websocket(*keys, what="a key")
        user, password = _optional_administrator(given, url)
        token = _require_database_token(database, database_user, token, token_file)
        from pynun.cli.commands.watch import run_watch

        code = run_watch(url, ca, user, password, database, database_user, token, keys, output.value, current)
    raise typer.Exit(code)


@app.command()
def demo(
    lan: Annotated[
        bool, typer.Option("--lan", help="Let other devices of the network take part, such as a phone: --host 0.0.0.0.")
    ] = False,
    host: Annotated[
        str | None, typer.Option("--host", metavar="IP", help="The address to listen on; else 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", metavar="PORT", min=0, max=65535, help="The page's port; else 3015 or a free one."),
    ] = None,
    websocket_port: Annotated[
        int | None,
        typer.Option("--ws-port", metavar="PORT", min=0, max=65535, help="The server's port; else 3016 or a free one."),
    ] = None,
    data_dir: Annotated[
        str | None,
        typer.Option(
            "--data-dir", metavar="FOLDER", help="Keep the data in this folder; else in one that is removed at the end."
        ),
    ] = None,
) -> None:
    """Show it: a picture that all who open a page see move together.

    It starts a server of its own and serves the page, without internet, until Ctrl-C.
    """
    with failures_shown():
        from pynun.cli.commands.demo import run

        run(host, lan, port, websocket_port, data_dir)


@app.command()
def status(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object, for scripts.")] = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Show whether a running server is ready, and what it does.

    The exit code is 0 when it is ready, 1 when it is not, 4 when there is no answer. No password is needed; the
    administrator's login, if it is given, adds the names of databases.
    """
    given: Connection = context.obj
    with failures_shown():
        from pynun.cli.commands.status import run_status
        from pynun.cli.remote.credentials import optional_login
        from pynun.cli.remote.http_request import parse_target

        target = parse_target(given.host or DEFAULT_HTTP_URL, given.authority)
        login = optional_login(given.user, given.password, given.password_file, target.url)
        code = run_status(target, login, timeout, as_json)
    raise typer.Exit(code)


@app.command()
def top(context: typer.Context) -> None:
    """Show what a running server does, live, until q or Ctrl-C.

    No password is needed; the administrator's login, if it is given, adds the names of databases.
    """
    given: Connection = context.obj
    with failures_shown():
        from pynun.cli.commands.top import run_top
        from pynun.cli.remote.credentials import optional_login
        from pynun.cli.remote.http_request import parse_target

        target = parse_target(given.host or DEFAULT_HTTP_URL, given.authority)
        run_top(target, optional_login(given.user, given.password, given.password_file, target.url))


@app.command()
def version() -> None:
    """Show the version."""
    typer.echo(f"nun-db {__version__}")


def _read_standard_input() -> str:
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")  # some editors begin a file with a byte order mark
    except UnicodeDecodeError:
        raise UsageError("what came on standard input is not UTF-8 text") from None


def _websocket_url(host: str | None) -> str:
    """The WebSocket URL for what was given with -h. Raises UsageError."""
    if not host:
        return DEFAULT_WEBSOCKET_URL
    if host.startswith(("ws://", "wss://")):
        return host
    if "://" not in host and "/" not in host:
        has_port = host.rpartition("]")[2].rpartition(":")[1]
        return f"ws://{host}" if has_port else f"ws://{host}:3012"
    raise UsageError(f"{host!r} is not the server's WebSocket address; give one such as -h {DEFAULT_WEBSOCKET_URL}")


def _optional_administrator(given: Connection, url: str) -> tuple[str | None, str | None]:
    from pynun.cli.remote import credentials

    return credentials.optional_administrator(given.user, given.password, given.password_file, url)


def _require_database_token(database: str, database_user: str | None, token: str | None, token_file: str | None) -> str:
    """The token that selects the database. Raises UsageError."""
    from pynun.cli.remote import credentials, sendable

    sendable.check_for_websocket(database, *filter(None, [database_user]), what="a database's or user's name")
    of = f"the user {database_user} of {database}" if database_user else f"the database {database}"
    return credentials.require_token(token, token_file, of)


backup.register(app)
export_import.register(app)
import_nundb.register(app)
