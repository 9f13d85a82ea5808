"""`nun-db shell`: commands typed, replies and events of watched keys shown as they come.

A person at a terminal gets a line editor with history and completion; events appear above the prompt; a command that
fails is told and the shell goes on; a lost connection is opened again, with a note. `exit` or Ctrl-D leaves, Ctrl-C
clears the line or stops waiting for a reply.

Anything else on standard input is a script: its lines are run one after the other, a `#` begins a line of comment,
replies and the events that had come by then are printed on standard output. The first error ends the script, with its
line on standard error and an exit code that is not 0; so does a lost connection, for nothing can be said about the
command that was running. What the server is asked does not depend on whether anybody reads the output.
"""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Self

from pynun.cli.commands.shell_lines import EXIT_WORDS, HELP_WORD, commands_of, first_word, help_text
from pynun.cli.output.escape import fail, prepare_output, printable, printable_for
from pynun.cli.output.explain import explained
from pynun.cli.output.standard_streams import Unwritten
from pynun.cli.remote.database_names import names_at, names_from
from pynun.client import (
    ChangeEvent,
    ClientError,
    CommandError,
    Conflict,
    ConnectionClosed,
    ConnectionLost,
    ConnectionRestored,
    SyncClient,
)
from pynun.client.session import raise_refusal
from pynun.engine.commands.table import COMMANDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from types import FrameType, TracebackType

    from prompt_toolkit import PromptSession

    from pynun.cli.remote.database_client import DatabaseLogin
    from pynun.client import Event, Reply, SyncEvents

    Names = Callable[[], Sequence[str]] | None
    """Asks for the names of the databases; None: nobody logged in as administrator."""


def run_shell(
    url: str,
    ca: str | None,
    user: str | None,
    password: str | None,
    login: DatabaseLogin | None,
) -> int:
    """Run the shell to its end and return the exit code.

    Exit codes: 0 after `exit` or the end of the input; 1 for a command that the server refused (in a script), 2 for
    input that can't be sent, 3 for wrong credentials, 4 if there is no server, or (in a script) no more. Raises
    OutputError, in a script when it has run.
    """
    prepare_output()
    is_interactive = sys.stdin.isatty() and sys.stdout.isatty()
    admin = None if user is None or password is None else (user, password)
    try:
        client = SyncClient(
            url,
            timeout_s=None,
            admin=admin,
            database=None if login is None or login.token is None else login.database,
            token=None if login is None else login.token,
            user=None if login is None else login.user,
            ca=ca,
            reconnect=is_interactive,
        )
    except ValueError as error:
        return fail(error)
    names = None if admin is None else partial(names_from, client)
    try:
        with client:
            if login is not None and login.token is None:
                raise_refusal(client.execute(login.command))
            if is_interactive:
                return _run_interactively(client, url, names)
            return _run_script(client, sys.stdin.buffer, names)
    except CommandError as error:
        names = None if admin is None else partial(names_at, url, ca, admin)
        return fail(error, explanation="" if login is None else login.explained(error.message, names))
    except ClientError as error:
        return fail(error)


# For a program


def _run_script(client: SyncClient, lines: Iterable[bytes], names: Names) -> int:
    events = client.events()
    unwritten = Unwritten()
    code = _run_lines(client, events, lines, unwritten, names)
    if code == 0:
        unwritten.tell()
    return code


def _run_lines(
    client: SyncClient, events: SyncEvents, lines: Iterable[bytes], unwritten: Unwritten, names: Names
) -> int:
    for number, encoded in enumerate(lines, start=1):
        try:
            # As the protocol has it, whatever the locale says; some editors begin a file with a byte order mark.
            line = encoded.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError:
            return fail(ValueError("this is not UTF-8 text"), f"line {number}")
        for command in [] if line.lstrip().startswith("#") else commands_of(line):
            name = first_word(command)
            if name in EXIT_WORDS:
                return 0
            try:
                _run_script_command(client, events, command, unwritten)
            except CommandError as error:
                return fail(error, f"line {number}: {name}", explained(command, error.message, names))
            except (ClientError, ValueError) as error:
                return fail(error, f"line {number}: {name}")
    return 0


def _run_script_command(client: SyncClient, events: SyncEvents, command: str, unwritten: Unwritten) -> None:
    """Run one command and print what came before its reply, then the reply. Raises what the server refuses."""
    if first_word(command) == HELP_WORD:
        with unwritten.kept():
            print(_help(command), flush=True)
        return
    reply = client.execute(command)
    with unwritten.kept():
        for event in events.take_waiting():  # the server sends a session its own events before its reply
            print(printable_for(sys.stdout, _event_text(event)))
    raise_refusal(reply)
    with unwritten.kept():
        print(printable_for(sys.stdout, _reply_text(reply)), flush=True)


# For a person


class _CtrlC:
    """For the time of a `with`, Ctrl-C interrupts nothing but what `interruptible` holds.

    Anywhere else it would end the shell half way through printing, for want of a prompt that takes the key.
    """

    def __init__(self) -> None:
        self._is_interruptible = False

    def __enter__(self) -> Self:
        self._previous = signal.signal(signal.SIGINT, self._take)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._previous)

    def _take(self, number: int, frame: FrameType | None) -> None:
        if self._is_interruptible:
            raise KeyboardInterrupt

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A block in which Ctrl-C raises KeyboardInterrupt."""
        self._is_interruptible = True
        try:
            yield
        finally:
            self._is_interruptible = False


class _Screen:
    """The terminal, on which the typed line, replies, and events from another thread take turns."""

    def __init__(self, prompt: PromptSession[str]) -> None:
        self._prompt = prompt
        self._lock = threading.Lock()  # held while somebody prints, and while it changes how printing is done

    def show(self, text: str) -> None:
        """Print a line; above the line that is being typed, if there is one."""
        with self._lock:
            print(printable(text), flush=True)

    def read_line(self, database: str | None) -> str | None:
        """What was typed at the prompt, nothing after Ctrl-C, and None after Ctrl-D."""
        from prompt_toolkit.patch_stdout import patch_stdout

        patch = patch_stdout()
        with self._lock:
            patch.__enter__()
        try:
            return self._prompt.prompt(f"nun-db {database}> " if database else "nun-db> ")
        except KeyboardInterrupt:
            return ""
        except EOFError:
            return None
        finally:
            with self._lock:
                patch.__exit__(None, None, None)


def _run_interactively(client: SyncClient, url: str, names: Names) -> int:
    from pynun.cli.commands.shell_prompt import open_prompt

    screen = _Screen(open_prompt(COMMANDS))
    events = client.events()
    printer = threading.Thread(target=_show_events, args=(events, screen), name="nun-db-shell-events")
    with _CtrlC() as ctrl_c:
        printer.start()
        try:
            screen.show(f"connected to {url}; help lists the commands, exit leaves")
            while (text := screen.read_line(client.database)) is not None:
                for command in (command for line in text.splitlines() for command in commands_of(line)):
                    if first_word(command) in EXIT_WORDS:
                        return 0
                    if not _run_typed_command(client, screen, ctrl_c, command, names):
                        break
        finally:
            events.close()
            printer.join()
    return 0


def _run_typed_command(client: SyncClient, screen: _Screen, ctrl_c: _CtrlC, command: str, names: Names) -> bool:
    """Run one command, show what comes of it, and say whether the rest of the line may run.

    Raises ClientError if the session can't go on.
    """
    if first_word(command) == HELP_WORD:
        screen.show(_help(command))
        return True
    try:
        with ctrl_c.interruptible():
            reply = client.execute(command)
    except KeyboardInterrupt:
        screen.show("no longer waiting; the outcome of the command is unknown")
        return False
    except (ConnectionClosed, ValueError) as error:
        screen.show(f"error: {error}")
        return False
    try:
        raise_refusal(reply)
    except CommandError as error:
        screen.show(f"error: {explained(command, error.message, names)}")
        return False
    screen.show(_reply_text(reply))
    return True


def _show_events(events: SyncEvents, screen: _Screen) -> None:
    """Runs in a thread of its own, until the events end."""
    try:
        for event in events:
            screen.show(_event_text(event))
    except ClientError as error:  # the next command ends the shell with it
        screen.show(f"the session has ended: {error}")


# For both


def _help(command: str) -> str:
    return help_text(command.partition(" ")[2].strip(), COMMANDS)


def _reply_text(reply: Reply) -> str:
    return "\n".join(message.rstrip("\n") for message in reply.messages) or "ok"


def _event_text(event: Event) -> str:
    match event:
        case ChangeEvent():
            return f"removed {event.key}" if event.removed else f"changed {event.key} {event.version} {event.value}"
        case Conflict():
            return event.text
        case ConnectionLost():
            return f"{event.reason}; connecting again"
        case ConnectionRestored():
            return "connected again"
