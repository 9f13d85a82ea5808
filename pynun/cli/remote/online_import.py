"""Imports a database into a running server: row after row, and visible only when all of it is there."""

from __future__ import annotations

import contextlib
import json
from typing import TYPE_CHECKING, BinaryIO, Final, NamedTuple

from pynun.cli.errors import CommandError, RefusedError
from pynun.errors import TransferError
from pynun.transfer.jsonl import Header, Line, LineError, read_lines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from pynun.cli.remote.admin_client import AdminClient

_ROWS_AT_ONCE: Final = 500
_CHARACTERS_AT_ONCE: Final = 128 * 1024
"""What one command carries, or one row: the server reads it in about a millisecond."""


class Imported(NamedTuple):
    """The result of an import."""

    keys: int
    is_replaced: bool


def import_online(
    server: AdminClient,
    name: str,
    file: BinaryIO,
    ask_token: Callable[[], str],
    progress: Callable[[int], None],
    *,
    is_replacing: bool,
) -> Imported:
    """Import the lines of a file as the database `name`, all or nothing.

    `ask_token` gives the token of a new database whose file has none; `progress` gets the number of lines so far.
    Raises TransferError, naming the line if one is wrong, and CommandError; nothing has changed then.
    """
    try:
        lines = read_lines(file)
        header = next(lines)
        assert isinstance(header, Header)
        token = None
        if not header.has_secrets and all(row["name"] != name for row in server.rows("databases", "list-dbs")):
            token = ask_token()  # first: the server gives up an import that waits for somebody to type
        begun = server.report("import-db", name, header.strategy, *(["replace"] if is_replacing else []))
        number = str(begun["id"])
        with _cancelled_if_it_fails(server, number):
            for slice_ in _slices(line for line in lines if isinstance(line, Line)):
                _send(server, number, slice_)
                progress(slice_[-1].number)
            done = server.report("import-end", number, *([] if token is None else [token]))
    except LineError as error:
        raise TransferError(f"{error}; nothing was imported") from None
    return Imported(done["keys"], done["replaced"])


@contextlib.contextmanager
def _cancelled_if_it_fails(server: AdminClient, number: str) -> Iterator[None]:
    """A block that fills an import. Without this, the server would wait a minute for more."""
    try:
        yield
    except BaseException:
        with contextlib.suppress(CommandError):
            server.ask("import-cancel", number)
        raise


def _slices(lines: Iterable[Line]) -> Iterator[list[Line]]:
    found: list[Line] = []
    characters = 0
    for line in lines:
        size = len(line.key) + len(line.value)
        if found and (len(found) >= _ROWS_AT_ONCE or characters + size > _CHARACTERS_AT_ONCE):
            yield found
            found, characters = [], 0
        found.append(line)
        characters += size
    if found:
        yield found


def _send(server: AdminClient, number: str, lines: list[Line]) -> None:
    rows = [(line.key, line.version, line.value) for line in lines]
    text = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).replace(";", "\\u003b")
    try:
        server.ask("import-keys", number, text)
    except RefusedError as error:
        place, found, reason = error.reply.removeprefix("row ").partition(": ")
        if not found or not place.isdigit():
            raise
        raise TransferError(f"line {lines[int(place) - 1].number}: {reason}; nothing was imported") from None
