"""`nun-db watch`: one line on standard output for every change of some keys, until Ctrl-C.

Text: `KEY VERSION VALUE`, or `KEY removed`. JSON: an object with `time` (when the change arrived here, UTC), `key`,
`version`, `value` and `removed`. Every line is flushed at once. Ctrl-C is the normal end: exit code 0. So is a pipe
whose reader has gone. A lost connection is opened again, with a note on standard error; then the newest value of each
key that changed meanwhile is printed, so the last line of a key always is its last value.
"""

from __future__ import annotations

import select
import sys
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import trio

from pynun.cli.output.escape import fail, json_line, prepare_output, printable_for, say
from pynun.cli.output.standard_streams import OutputError
from pynun.cli.remote.database_names import names_at
from pynun.client import (
    ChangeEvent,
    Client,
    ClientError,
    CommandError,
    ConnectionLost,
    ConnectionRestored,
    PermissionDenied,
)
from pynun.client.session import raise_refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pynun.cli.remote.database_client import DatabaseLogin
    from pynun.client import Events, Watch

READER_CHECK_S = 0.5

_Failure = TypeVar("_Failure", ClientError, OutputError)


def run_watch(
    url: str,
    ca: str | None,
    user: str | None,
    password: str | None,
    login: DatabaseLogin,
    keys: Sequence[str],
    output: str,
    show_current: bool,
) -> int:
    """Follow `keys` and return the exit code; `output` is `text` or `json`, `show_current` prints the values first.

    Exit codes: 0 after Ctrl-C or when nobody reads any more, 1 for a refused command, 2 for arguments that can't be
    sent, 3 for wrong credentials, 4 if there is no server at the beginning. Raises OutputError.
    """
    prepare_output()
    try:
        admin = None if user is None or password is None else (user, password)
        database = None if login.token is None else login.database
        client = Client(url, database=database, token=login.token, user=login.user, admin=admin, ca=ca)
        watch = client.watch(*keys, current=show_current)
    except ValueError as error:
        return fail(error)
    failures: list[ClientError] = []
    unwritten = ""
    is_interrupted = False
    try:
        trio.run(_follow, client, login, watch, _json_line if output == "json" else _text_line)
    except* KeyboardInterrupt:
        is_interrupted = True  # whatever fails while the connection is left behind
    except* BrokenPipeError:
        pass
    except* OutputError as group:
        unwritten = str(next(_leaves(group)))
    except* ClientError as group:
        failures = list(_leaves(group))
    if unwritten:
        raise OutputError(unwritten)
    if not failures or is_interrupted:
        return 0
    failure = failures[0]
    if not isinstance(failure, CommandError):
        return fail(failure)
    names = None if admin is None else partial(names_at, url, ca, admin)
    command = f"watch {keys[0] if len(keys) == 1 else 'KEY'}" if isinstance(failure, PermissionDenied) else ""
    return fail(failure, explanation=login.explained(failure.message, names, command))


async def _follow(client: Client, login: DatabaseLogin, watch: Watch, line: Callable[[ChangeEvent], str]) -> None:
    """Print changes until something is raised."""
    async with client:
        if login.token is None:
            raise_refusal(await client.execute(login.command))
        async with watch, trio.open_nursery() as nursery:
            nursery.start_soon(_tell_connection, client.events())
            nursery.start_soon(_end_when_nobody_reads, sys.stdout.fileno())
            async for change in watch:
                print(line(change), flush=True)


async def _tell_connection(events: Events) -> None:
    async for event in events:
        match event:
            case ConnectionLost():
                say(f"{event.reason}; connecting again")
            case ConnectionRestored():
                say("connected again")
            case _:
                pass  # changes come from the watch, which also knows what was missed


async def _end_when_nobody_reads(descriptor: int) -> None:
    """Raise BrokenPipeError soon after the reader of a pipe has gone, and not only with the next change."""
    poll = select.poll()
    poll.register(descriptor, 0)  # that nobody reads is told always
    while not poll.poll(0):  # noqa: ASYNC110 - trio can not wait for it: such a pipe counts as writable too
        await trio.sleep(READER_CHECK_S)
    raise BrokenPipeError


def _text_line(change: ChangeEvent) -> str:
    text = f"{change.key} removed" if change.removed else f"{change.key} {change.version} {change.value}"
    return printable_for(sys.stdout, text)


def _json_line(change: ChangeEvent) -> str:
    members = {
        "time": datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "key": change.key,
        "version": change.version,
        "value": change.value,
        "removed": change.removed,
    }
    return json_line(members)


def _leaves(group: BaseExceptionGroup[_Failure]) -> Iterator[_Failure]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
