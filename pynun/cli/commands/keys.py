"""`nun-db get`, `set`, `del`, `keys` and `incr`: the keys of a database of a running server.

The administrator needs no token for it. Many keys are one request; a listing comes in pages.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from pynun.cli.errors import ExitCode, UsageError
from pynun.cli.options import TIMEOUT_SECONDS_DEFAULT, DatabaseUser, Timeout, Token, TokenFile
from pynun.cli.output.escape import json_line, prepare_output, printable_for, say, shown_name
from pynun.cli.remote.database_client import open_database
from pynun.cli.remote.http_results import is_failure
from pynun.cli.remote.sendable import check_for_http, check_value

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from pynun.cli.errors import CommandError
    from pynun.cli.remote.database_client import DatabaseClient

STANDARD_INPUT: Final = "-"
_ABSENT: Final = "value-version 1 <Empty>\n"
"""docs/protocol.md section 2. A key with that version and text looks the same, to every client."""

Keys = Annotated[list[str], typer.Argument(metavar="KEY...", help="The keys.")]
Database = Annotated[str, typer.Option("-d", "--database", metavar="NAME", help="The keys' database.")]
JsonLines = Annotated[bool, typer.Option("--json", help="Print one JSON object per line, for programs.")]

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def get(
    context: typer.Context,
    keys: Keys,
    database: Database,
    database_user: DatabaseUser = None,
    token: Token = None,
    token_file: TokenFile = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Print values only, exactly as stored, without a line end after the last.")
    ] = False,
    as_json: JsonLines = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Print the value of a key; of several keys, lines of KEY and value.

    The exit code is 7 if a key does not exist. The administrator needs no token.
    """
    check_for_http(*keys, what="a key")
    server = open_database(context.obj, timeout, database, database_user, token, token_file)
    commands = [f"get-safe {key}" for key in keys]
    results = server.run(*commands)
    prepare_output()
    lines: list[str] = []
    errors: list[CommandError] = []
    missing: list[str] = []
    for key, command, result in zip(keys, commands, results, strict=True):
        if is_failure(result):
            errors.append(server.refusal(command, result, f"{shown_name(key)}: "))
            continue
        _, version, value = result.rstrip("\n").split(" ", 2)
        if result == _ABSENT:
            missing.append(key)
            if as_json:
                lines.append(json_line({"key": key, "version": None, "value": None}))
        elif as_json:
            lines.append(json_line({"key": key, "version": int(version), "value": value}))
        else:
            lines.append(value if raw or len(keys) == 1 else f"{key} {value}")
    text = "\n".join(lines)
    if raw:
        sys.stdout.write(text)
    elif lines:
        _write(f"{text}\n")
    for key in missing:
        say(f"no key named {shown_name(key)} in {database}")
    _raise_first(errors)
    if missing:
        raise typer.Exit(ExitCode.MISSING)


@app.command("set")
def set_(
    context: typer.Context,
    pairs: Annotated[
        list[str],
        typer.Argument(metavar="KEY VALUE...", help="Keys and their values; - reads a value from standard input."),
    ],
    database: Database,
    database_user: DatabaseUser = None,
    token: Token = None,
    token_file: TokenFile = None,
    as_json: JsonLines = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Set keys, whatever their versions.

    A value that begins with a dash needs -- before it: nun-db set -d DB -- KEY -5. A line end at the end of standard
    input is not part of the value.
    """
    if len(pairs) % 2:
        raise UsageError("a value is missing: give a KEY and its VALUE, or - to read the value from standard input")
    keys, values = pairs[::2], pairs[1::2]
    if values.count(STANDARD_INPUT) > 1:
        raise UsageError("only one value can be read from standard input")
    check_for_http(*keys, what="a key")
    values = [_standard_input() if value == STANDARD_INPUT else value for value in values]
    for key, value in zip(keys, values, strict=True):
        check_value(key, value)
    commands = [f"set {key} {value}" for key, value in zip(keys, values, strict=True)]
    server = open_database(context.obj, timeout, database, database_user, token, token_file)
    _change(server, keys, commands, "set", as_json, told="set {}")


@app.command("del")
def delete(
    context: typer.Context,
    keys: Keys,
    database: Database,
    database_user: DatabaseUser = None,
    token: Token = None,
    token_file: TokenFile = None,
    as_json: JsonLines = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Remove keys, not patterns. A key that does not exist is no error: the server does not tell."""
    check_for_http(*keys, what="a key")
    server = open_database(context.obj, timeout, database, database_user, token, token_file)
    commands = [f"remove {key}" for key in keys]
    _change(server, keys, commands, "removed", as_json, told="{} does not exist now")


@app.command()
def incr(
    context: typer.Context,
    keys: Keys,
    database: Database,
    by: Annotated[int, typer.Option("--by", metavar="N", help="What to add; may be negative.")] = 1,
    database_user: DatabaseUser = None,
    token: Token = None,
    token_file: TokenFile = None,
    as_json: JsonLines = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Add to numbers, and print what they are then; of several keys, lines of KEY and number.

    A key that does not exist counts from 0. Nothing is printed for a key that the user may not read.
    """
    check_for_http(*keys, what="a key")
    server = open_database(context.obj, timeout, database, database_user, token, token_file)
    # The server runs both before any other client's command: the number is what this increment made.
    results = server.run(*(command for key in keys for command in (f"increment {key} {by}", f"get {key}")))
    prepare_output()
    errors: list[CommandError] = []
    for key, incremented, got in zip(keys, results[::2], results[1::2], strict=True):
        if is_failure(incremented):
            errors.append(server.refusal(f"increment {key}", incremented, f"{shown_name(key)}: "))
            continue
        number = None if is_failure(got) else got.partition(" ")[2].rstrip("\n")
        if as_json:
            print(json_line({"key": key, "value": None if number is None else int(number)}))
        elif number is not None:
            print(printable_for(sys.stdout, number if len(keys) == 1 else f"{key} {number}"))
    _raise_first(errors)


@app.command("keys")
def list_keys(
    context: typer.Context,
    database: Database,
    pattern: Annotated[
        str,
        typer.Argument(metavar="[PATTERN]", help="'prefix*', '*suffix', or text anywhere in the key; else all keys."),
    ] = "*",
    prefix: Annotated[
        str | None, typer.Option("--prefix", metavar="TEXT", help="Only keys that begin with TEXT.")
    ] = None,
    database_user: DatabaseUser = None,
    token: Token = None,
    token_file: TokenFile = None,
    as_json: JsonLines = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """List keys, sorted, one per line; those that begin with $$ only for the administrator.

    It takes page after page, so a listing of any size needs little memory here and on the server.
    """
    if prefix is not None:
        if pattern != "*":
            raise UsageError("--prefix and a pattern can't be combined")
        if "*" in prefix:
            raise UsageError("--prefix takes no *: in a pattern, * is not a character of the key")
        pattern = f"{prefix}*"
    check_for_http(pattern, what="a pattern")
    server = open_database(context.obj, timeout, database, database_user, token, token_file)
    prepare_output()
    for page in _pages(server, pattern):
        lines = map(json_line, ({"key": key} for key in page)) if as_json else page
        _write("".join(f"{line}\n" for line in lines))


def _pages(server: DatabaseClient, pattern: str) -> Iterator[list[str]]:
    import json

    after: str | None = ""
    while after is not None:
        command = f"list-keys {pattern} {after}".rstrip()
        (result,) = server.run(command)
        if is_failure(result):
            raise server.refusal(command, result)
        page = json.loads(result.partition(" ")[2])
        yield page["keys"]
        after = page["next"]


def _change(
    server: DatabaseClient, keys: Sequence[str], commands: Sequence[str], done: str, as_json: bool, *, told: str
) -> None:
    """Run a command for each key, and print what was done. Raises the first failure, after all of them ran.

    `done` is the member of the JSON, `told` the line with {} for the key.
    """
    results = server.run(*commands)
    prepare_output()
    errors = []
    for key, command, result in zip(keys, commands, results, strict=True):
        if is_failure(result):
            errors.append(server.refusal(command, result, f"{shown_name(key)}: "))
        else:
            print(json_line({"key": key, done: True}) if as_json else told.format(printable_for(sys.stdout, key)))
    _raise_first(errors)


def _raise_first(errors: Sequence[CommandError]) -> None:
    """Print all failures but the first, and raise that."""
    for error in errors[1:]:
        say(str(error))
    if errors:
        raise errors[0]


def _standard_input() -> str:
    try:
        text = sys.stdin.buffer.read().decode()
    except UnicodeDecodeError:
        raise UsageError("standard input is not UTF-8 text") from None
    return text.removesuffix("\n").removesuffix("\r")


def _write(text: str) -> None:
    sys.stdout.write(printable_for(sys.stdout, text))
