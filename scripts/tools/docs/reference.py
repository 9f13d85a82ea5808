"""Writes the reference pages that follow from the code: docs/commands.md, docs/configuration.md, docs/differences.md.

    .venv/bin/python scripts/tools/docs/reference.py            writes the pages
    .venv/bin/python scripts/tools/docs/reference.py --check    says which of them are stale; exit code 1 if any is

Commands, their help and their differences come from `pynun.engine.commands.table`, settings from `pynun.settings`,
bounds from `pynun.limits`. What is said here by hand is what no row of a table holds. A test does what --check does.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import itertools
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from pynun import limits
from pynun.engine.commands.table import COMMANDS, NOT_IN_THE_ORIGINAL
from pynun.protocol.messages import Refusal
from pynun.setting_values import format_size
from pynun.settings import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from pynun.engine.commands.command import Command
    from pynun.setting import Setting

REPOSITORY: Final = Path(__file__).resolve().parents[3]

_NOTE = "<!-- Written by scripts/tools/docs/reference.py: change {source}, then run it again. -->"

# --- commands

_COMMANDS_HEAD = """\
# Commands

{note}

Every command of the server. [The protocol](protocol.md#1-transports) shows how to send commands over WebSocket, HTTP
and TCP, what replies look like, and which [errors](protocol.md#2-commands) all commands share. Words in CAPITALS are
placeholders, `[…]` is optional, `|` separates choices (in `set-permissions` and `snapshot` you type it).

**Needs**: *admin* is a session that has sent `auth`; *database* is one that has sent `use-db`. *read*, *write*,
*increment* and *remove* are [permissions](protocol.md#3-permissions-patterns-secrets) on the key; they need a database
too.
"""

_PERMISSION_WORDS = {"r": "read", "w": "write", "i": "increment", "x": "remove"}

_NEEDS_OF_ITS_OWN = {"resolve": "admin, or database and write"}
"""Commands whose handlers decide, because it depends on the session."""

_TRIED_WORDS: Final[tuple[list[str], ...]] = (
    [],
    ["A"],
    ["A", "B"],
    ["A", "B C"],
    ["A", "B C D"],
    ["", "B C"],
)
"""Arguments that are tried to learn how a command refuses incomplete ones: first argument, rest."""


def render_commands() -> str:
    """docs/commands.md: an overview, then a section for each command."""
    overview = _table(
        ("command", "needs", "what it does"),
        ((_link(command), _needs(command) or "nothing", _first_sentence(_cell(command.help))) for command in COMMANDS),
    )
    sections = "\n".join(_command_section(command) for command in COMMANDS)
    head = _COMMANDS_HEAD.format(note=_NOTE.format(source="pynun/engine/commands/table.py"))
    return f"{head}\n{overview}\n{sections}"


def _command_section(command: Command) -> str:
    lines = [f"## {command.name}\n", f"```text\n{command.usage}\n```\n", f"{command.help}\n"]
    facts = [f"- Needs: {_needs(command) or 'nothing'}."]
    if command.aliases:
        facts.append("- Also called " + ", ".join(f"`{alias}`" for alias in command.aliases) + ".")
    refusals = refusals_of_arguments(command)
    if refusals:
        facts.append("- When arguments are missing: " + ", ".join(f"`{text}`" for text in refusals) + ".")
    if command.differs:
        facts.append(f"- Unlike the original: {command.differs}")
    return "\n".join([*lines, *facts]) + "\n"


def refusals_of_arguments(command: Command) -> list[str]:
    """How a command refuses too few arguments, found out by trying."""
    found: dict[str, None] = {}
    for words in _TRIED_WORDS:
        try:
            command.parse([command.name, *words])
        except Refusal as refusal:
            found[refusal.error] = None
    return list(found)


def _needs(command: Command) -> str:
    if command.name in _NEEDS_OF_ITS_OWN:
        return _NEEDS_OF_ITS_OWN[command.name]
    needs = ["admin"] if command.needs_admin else []
    if command.permission is not None:
        needs.append(_PERMISSION_WORDS[command.permission.value])
    elif command.needs_database:
        needs.append("database")
    return " and ".join(needs)


def _link(command: Command) -> str:
    return f"[`{command.name}`](#{command.name})"


def _first_sentence(text: str) -> str:
    return text.partition(". ")[0].rstrip(".:") + "."


# --- configuration

_CONFIGURATION_HEAD = """\
# Configuration

{note}

Configure the server with environment variables or options of `nun-db start`. Options take precedence over variables,
variables over defaults. An empty variable counts as unset. An invalid value stops the start with one line that names
the variable and the accepted values, and exit code 1.

Sizes are bytes, or a number with `KiB`, `MiB`, `GiB` (1024) or `kB`, `MB`, `GB` (1000), in any case. Durations are
seconds, or a number with `s`, `m`, `h`, `d` or `w`. An address is `HOST:PORT`, `[IPv6]:PORT`, or `:PORT` for every
IPv4 address of the machine; the port is 0 to 65535.

"""

_TOPICS: Final = {
    "Administrator": ("NUN_USER", "NUN_PWD"),
    "Addresses": ("NUN_WS_ADDR", "NUN_HTTP_ADDR", "NUN_TCP_ADDR", "NUN_EXTERNAL_ADDR"),
    "Data and backups": (
        "NUN_DBS_DIR", "NUN_DURABILITY", "NUN_BACKUP_DIR", "NUN_BACKUP_INTERVAL", "NUN_BACKUP_KEEP", "NUN_RUN_AS",
    ),
    "TLS, web pages and proxies": (
        "NUN_TLS_CERT", "NUN_TLS_KEY", "NUN_ALLOWED_ORIGINS", "NUN_TRUSTED_PROXIES", "NUN_PROXY_PROTOCOL",
    ),
    "Log, metrics and audit trail": (
        "NUN_LOG_LEVEL", "NUN_LOG_FORMAT", "NUN_METRICS", "NUN_AUDIT_FILE", "NUN_AUDIT_MAX_SIZE", "NUN_AUDIT_KEEP",
    ),
    "Limits": (
        "NUN_MAX_CONNECTIONS", "NUN_MAX_CONNECTIONS_PER_ADDRESS", "NUN_HANDSHAKE_TIMEOUT", "NUN_IDLE_TIMEOUT",
        "NUN_MAX_MESSAGE_SIZE", "NUN_MAX_OUTBOX_SIZE", "NUN_MAX_UNFINISHED_SIZE", "NUN_MAX_KEY_SIZE", "NUN_MAX_KEYS",
        "NUN_MAX_WATCHES", "NUN_MAX_DATABASE_SIZE", "NUN_MAX_CHANGES_PER_SECOND",
    ),
    "Password checks": (
        "NUN_LOGIN_BURST", "NUN_LOGIN_DELAY_MAX", "NUN_ARGON2_MEMORY_KIB", "NUN_ARGON2_PASSES", "NUN_ARGON2_LANES",
    ),
}  # fmt: skip
"""The settings of each section, in order."""

_TOPIC_NOTES: Final = {
    "Administrator": (
        "`NUN_USER_FILE` and `NUN_PWD_FILE` name a file that holds the value; a line end after it is ignored. Setting "
        "both a\nvariable and its file is an error. No message or log shows these values."
    ),
    "Limits": (
        "[The protocol](protocol.md#9-limits-and-safety) says what happens at each limit, and"
        " [below](#limits-that-are-not-settings) are\nthose you can't set."
    ),
    "Password checks": (
        "The `NUN_ARGON2_…` defaults follow OWASP's advice. Changes apply to new hashes; stored ones keep their cost."
    ),
}

_CONFIGURATION_EXAMPLE = """\
## Example

Every setting, as a file for a service manager or a container. Only the first two are required.

"""

_CONFIGURATION_UNUSED = """
## Settings without effect

The server accepts these variables of the original, so that existing setups start. It has one node and keeps its data in
`NUN_DBS_DIR`. A value other than the default is logged at the start as having no effect.

Two values stop the start with exit code 1: a `NUN_STORAGE_STRATEGY` (or `…_READ_…`, `…_WRITE_…`) other than `disk`, and
a `NUN_REPLICATE_ADDR` that names another server. This server's own address (its TCP port on `localhost`, on a name or
address of the machine, or `NUN_EXTERNAL_ADDR`) is only logged.

"""

_OTHER_VARIABLES: Final = (
    (
        "`NUN_USER`, `NUN_PWD`, and their `_FILE`",
        "`create-db`, `exec`, `shell`, `watch`, `databases`, `users`, `permissions`, `sessions`, `password`",
        "the administrator's login; `-u`, `-p` and `--pwd-file` take precedence",
    ),
    (
        "`NUN_TOKEN`",
        "`create-db`, `shell`, `watch`, `databases create`, `users create`, `users token`, `import`",
        "the token of the database or user; `-t` and `--token-file` take precedence",
    ),
    (
        "`NUN_CA`",
        "all that connect to a server",
        "the file with the CA to trust for `https` and `wss` addresses; `--ca` takes precedence",
    ),
    (
        "`NUN_DBS_DIR`",
        "`backup`, `restore`, `export`, `import`, `import-nundb`",
        "the data folder; `--data-dir` takes precedence. `sudo` does not pass it on. With neither, `backup` and"
        " `export` read `dbs` and say so; the others ask at a terminal, and fail without one",
    ),
    (
        "`NUN_AUDIT_FILE`, `NUN_AUDIT_MAX_SIZE`, `NUN_AUDIT_KEEP`",
        "the same",
        "the audit trail to write to, if it is not the default",
    ),
    (
        "`XDG_STATE_HOME`",
        "`shell`",
        "the history is in `nun-db` there; default `~/.local/state`",
    ),
    ("`PYTHON`", "`scripts/run`, `scripts/test`", "the Python for `.venv`"),
)

_CONFIGURATION_REST = """
## Variables of the other commands

{variables}
## Limits that are not settings

They are fixed in `pynun/limits.py`.

"""

_EXAMPLES: Final = {
    "NUN_USER": "user-name",
    "NUN_PWD": "user-pwd",
    "NUN_DBS_DIR": "/var/lib/nun-db",
    "NUN_BACKUP_DIR": "/var/backups/nun-db",
    "NUN_BACKUP_INTERVAL": "6h",
    "NUN_BACKUP_KEEP": "28",
    "NUN_RUN_AS": "65532:65532",
    "NUN_WS_ADDR": "127.0.0.1:3012",
    "NUN_HTTP_ADDR": "[::1]:3013",
    "NUN_TCP_ADDR": ":3014",
    "NUN_EXTERNAL_ADDR": "nun-db.example.org:3014",
    "NUN_LOG_LEVEL": "warn",
    "NUN_LOG_FORMAT": "json",
    "NUN_METRICS": "127.0.0.1:3019",
    "NUN_DURABILITY": "relaxed",
    "NUN_MAX_MESSAGE_SIZE": "4MiB",
    "NUN_MAX_OUTBOX_SIZE": "32MiB",
    "NUN_MAX_DATABASE_SIZE": "10GiB",
    "NUN_MAX_CHANGES_PER_SECOND": "500",
    "NUN_ARGON2_MEMORY_KIB": "65536",
    "NUN_ARGON2_PASSES": "3",
    "NUN_ARGON2_LANES": "2",
    "NUN_TLS_CERT": "/etc/nun-db/server.pem",
    "NUN_TLS_KEY": "/etc/nun-db/server-key.pem",
    "NUN_ALLOWED_ORIGINS": "https://viewer.example.org",
    "NUN_TRUSTED_PROXIES": "127.0.0.1, 10.0.0.0/8",
}
"""Values that tell more than the default does; a setting without a default needs one."""


def examples() -> dict[str, str]:
    """A value for each setting that has an effect: its example, else its default."""
    return {setting.name: _EXAMPLES.get(setting.name, setting.default) for setting in SETTINGS if setting.effect}


def render_configuration() -> str:
    """docs/configuration.md: the settings by topic, those without effect, and the limits that are none."""
    by_name = {setting.name: setting for setting in SETTINGS if setting.effect}
    placed = [name for names in _TOPICS.values() for name in names]
    assert sorted(placed) == sorted(by_name), "each setting that has an effect belongs to one topic"
    topics = "".join(
        f"## {topic}\n\n{_settings_table([by_name[name] for name in names])}\n"
        + (f"{_TOPIC_NOTES[topic]}\n\n" if topic in _TOPIC_NOTES else "")
        for topic, names in _TOPICS.items()
    )
    example = "".join(f"{name}={value}\n" for name, value in examples().items())
    unused = _table(
        ("variable", "option of `start`", "the original's default", "in the original"),
        (
            (
                f"`{setting.name}`",
                f"`{setting.option}`".replace("/", "`, `") if setting.option else "",
                f"`{setting.default}` {setting.unit}".rstrip() if setting.default else "none",
                _cell(setting.help),
            )
            for setting in SETTINGS
            if not setting.effect
        ),
    )
    variables = _table(("variable", "command", "meaning"), _OTHER_VARIABLES)
    bounds = _table(("name", "value", "reason"), ((f"`{name}`", value, text) for name, value, text in _limits()))
    head = _CONFIGURATION_HEAD.format(note=_NOTE.format(source="pynun/settings.py or pynun/limits.py"))
    return (
        f"{head}{topics}{_CONFIGURATION_EXAMPLE}```text\n{example}```\n{_CONFIGURATION_UNUSED}{unused}"
        f"{_CONFIGURATION_REST.format(variables=variables)}{bounds}"
    )


def _settings_table(settings: Iterable[Setting]) -> str:
    table = _table(
        ("variable", "option of `start`", "default", "accepted", "meaning"),
        (
            (
                f"`{setting.name}`",
                f"`{setting.option}`".replace("/", "`, `") if setting.option else "",
                f"`{setting.default}`" if setting.default else "none",
                accepted(setting),
                _cell(setting.help),
            )
            for setting in settings
        ),
    )
    # These options come before the command.
    table = table.replace("`-u`, `--user`", "`-u`, `--user` before `start`")
    return table.replace("`-p`, `--pwd`", "`-p`, `--pwd` before `start`")


_COMMON_REFUSALS: Final = (
    (r"a number of bytes, or one with the unit KiB, MiB or GiB, from (\S+) to (\S+)", r"a size, \1 to \2"),
    (r"a number of seconds, or one with the unit .*, from (\S+) to (\S+)", r"a duration, \1 to \2"),
    (r"a whole number from (\d+) to (\d+)", r"\1 to \2"),
    (r"(.*)HOST:PORT, \[IPv6\]:PORT or :PORT, with a port from 0 to 65535", r"\1an address"),
)
"""Refusals whose rules the top of docs/configuration.md explains once, and what its tables say instead."""


def accepted(setting: Setting) -> str:
    """What a setting accepts, by its own refusal; `any text` if nothing is refused."""
    for wrong in ("\0", "\n", "!"):
        try:
            setting.parse(wrong)
        except ValueError as error:
            text = _cell(str(error))
            for long, short in _COMMON_REFUSALS:
                text = re.sub(long, short, text)
            unit = f" {setting.unit}" if setting.unit and text[0].isdigit() else ""
            return text + unit
    return "any text"


def _limits() -> Iterator[tuple[str, str, str]]:
    """Name, value and reason of each constant of pynun/limits.py: the reason is the string that stands below it."""
    body = ast.parse(inspect.getsource(limits)).body
    for statement, following in itertools.pairwise(body):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(reason))):
                value = getattr(limits, name)
                if "BYTES" in name:
                    shown = format_size(value)
                elif name.endswith("_SECONDS"):
                    shown = f"{value:g} s"
                else:
                    shown = f"{value:,}"
                yield name, shown, _cell(reason)
            case _:
                pass


# --- differences


class Difference(NamedTuple):
    """A deliberate difference that belongs to no single command."""

    what: str
    original: str
    here: str


_DIFFERENCES: Final[dict[str, tuple[Difference, ...]]] = {
    "Transports": (
        Difference(
            "TCP: a command that arrives in several packets",
            "loses its first part",
            "works; `\\r\\n` line ends do too",
        ),
        Difference(
            "many commands sent without waiting for replies",
            "the queue of replies holds 100 messages and silently drops the rest",
            "every reply comes; a watched key's last value always comes",
        ),
        Difference(
            "HTTP: the result of a command that was denied, or watched a key",
            "its message is given as the result of the next command",
            "each result belongs to its own command",
        ),
        Difference(
            "HTTP: a request that is invalid, too big or not UTF-8",
            "",
            "gets status 400, 408, 413, 431, 501 or 505 and a line of text",
        ),
        Difference(
            "WebSocket: a request that a proxy stripped of `Upgrade`; an offered subprotocol",
            "",
            "gets 426 and a text that names what is missing; the first subprotocol offered is selected"
            " ([Put a reverse proxy in front of the server](proxies.md))",
        ),
        Difference(
            "TCP: a connection that begins with an HTTP request or TLS",
            "its lines run as commands",
            "is closed after the first line, with an error",
        ),
        Difference(
            "the client's address behind a proxy",
            "that of the proxy",
            "what the proxies in `NUN_TRUSTED_PROXIES` say, if set",
        ),
        Difference(
            "HTTP: `GET` or `HEAD` of `/livez`, `/readyz`, `/healthz` and `/metrics`, without a body; the first three"
            " on the WebSocket port too",
            "is an empty request with an empty answer",
            "answers [health checks and metrics](monitoring.md)",
        ),
        Difference(
            "encryption",
            "none: passwords cross the network in plain text",
            "with `NUN_TLS_CERT` and `NUN_TLS_KEY`, all three ports accept only TLS",
        ),
        Difference(
            "web pages of other origins",
            "may connect",
            "the same, unless `NUN_ALLOWED_ORIGINS` names the pages that may; others get 403",
        ),
    ),
    "Data": (
        Difference(
            "durability",
            "data is written every `NUN_DECLUTTER_INTERVAL` (300 s); killed 3 s after answering `snapshot` it had lost "
            "every database",
            "a change is on disk before it is acknowledged; with `NUN_DURABILITY=relaxed`, a crash loses at most the"
            " last 100 ms",
        ),
        Difference("`$connections` after a restart", "starts from an old count", "starts from zero"),
        Difference(
            "conflicts of the strategy `arbiter`",
            "records of the keys `a` and `ab` can be mixed up; a restart can lose them",
            "are never mixed up; a restart loses nothing of a conflict",
        ),
        Difference(
            "a version of 2^31 or more, or a change that would pass 2^31 - 1",
            "counts as -1, so it overwrites the key; the version overflows into negative numbers",
            "is refused above 2^31 - 2^24: `version out of range`; after `remove KEY`, versions start at 0 again",
        ),
        Difference(
            "`set-safe KEY -2 VALUE`",
            "makes the key look in conflict, so that nobody can change it",
            "counts as too old, like every version below -1",
        ),
        Difference(
            "`$connections`, and the record of a conflict that is pending",
            "can be overwritten and removed by every user who may write them",
            "only the server and `resolve` change them",
        ),
        Difference(
            "ids of conflicts after the clock was set back",
            "start below older ones",
            "always grow, also after a restart",
        ),
        Difference(
            "`set-permissions USER KINDS` without patterns", "allows these kinds on every key", "allows nothing"
        ),
        Difference("`resolve` with an id that names no conflict", "creates a record", "changes the key only"),
        Difference(
            "`election candidate` with an id that is no number",
            "ends the connection",
            "is refused like one without an id",
        ),
        Difference('the key ""', "exists", "a command with an empty key is refused: `NAME must contain a key`"),
    ),
    "Passwords and tokens": (
        Difference(
            "the administrator's password, tokens of databases and users",
            "are stored as plain text, which `get $$token` shows",
            "are stored only as Argon2id hashes; `get $$token` shows the hash, `set $$token NEW` stores a hash",
        ),
        Difference(
            "a wrong password",
            "costs nothing to try",
            "costs about 20 ms of Argon2id, at most two at a time, off the main thread; a right one is remembered in "
            "memory and then costs microseconds",
        ),
        Difference(
            "the administrator's password at startup",
            "the one given at startup is valid",
            "the same, except that the password of the previous start does not undo a change made since then",
        ),
        Difference(
            "the administrator's user and password",
            "come from the environment or the command line",
            "also from files (`NUN_USER_FILE`, `NUN_PWD_FILE`), as container secrets are",
        ),
        Difference("logs and messages", "", "never show a password or token, at any level"),
    ),
    "Limits": (
        Difference(
            "messages, incomplete input, keys, listings, conflicts, connections, watches, idle clients",
            "have no limit",
            "have a limit each, most with a setting: [The protocol](protocol.md#9-limits-and-safety) says what happens",
        ),
        Difference(
            "the size of a database, and changes a second",
            "have no limit",
            "have none either, unless you set `NUN_MAX_DATABASE_SIZE` or `NUN_MAX_CHANGES_PER_SECOND`",
        ),
        Difference(
            "a text that is not UTF-8",
            "",
            "WebSocket closes with 1007, TCP says `error invalid utf-8 \\n`, HTTP answers 400; the server runs on",
        ),
        Difference(
            "a client that does not read",
            "",
            "gets the newest value of each watched key; past `NUN_MAX_OUTBOX_SIZE` of replies it is disconnected."
            " Other clients do not notice",
        ),
        Difference(
            "a full disk",
            "",
            "changes get `error not stored: …`, reads keep working, and no acknowledged change is lost",
        ),
    ),
    "Starting and stopping": (
        Difference("a missing data folder", "the server panics", "is created"),
        Difference("the first second", "`create-db` is refused", "every command works immediately"),
        Difference(
            "a port that is taken, a folder that cannot be written, a wrong value",
            "",
            "one line says what is wrong and what to do; exit code 1",
        ),
        Difference("two servers on one data folder", "", "the second is refused, with the process id of the first"),
        Difference(
            "SIGTERM, Ctrl-C",
            "",
            "the server answers and stores what has arrived, closes WebSockets with 1001, and exits with 0 within 5 s",
        ),
    ),
    "The nun-db command": (
        Difference("no server is running", "`create-db` and `exec` panic", "one line on standard error, exit code 4"),
        Difference(
            "a wrong password, a command that failed",
            "exit code 0",
            "one line on standard error, exit code 3 or 1; the reply is still printed",
        ),
        Difference(
            "passwords and tokens",
            "on the command line, where every user of the machine can read them",
            "also from the environment, a file or a prompt; `exec -` reads commands from standard input",
        ),
        Difference(
            "more commands",
            "",
            "`shell`, `watch`, `demo`, `status`, `top`, `backup`, `verify`, `restore`, `export`, `import`, "
            "`import-nundb`, `databases`, `users`, `permissions`, `sessions`, `password`, `version`, "
            "`create-db --strategy`",
        ),
    ),
}

_NOT_HERE = """\
## What is missing here

| what | instead |
|---|---|
| several nodes: replication and elections | one node; the commands are accepted and have no effect |
| `NUN_REPLICATE_ADDR` or `-r` that names another server | is refused, exit code 1: nothing would be replicated |
| storage in S3 | the folder `NUN_DBS_DIR`; `NUN_STORAGE_STRATEGY=s3` is refused, exit code 1 |
| writing the original's data folder | the folder is imported ([migration.md](migration.md)) and never changed |
"""

_DIFFERENCES_HEAD = """\
# Differences from the original

{note}

This server gives the same answers as the public Nun-db server (the original), so every client of the original works.
It differs on purpose where the original loses data, leaks secrets or gives wrong answers. This page lists every
difference. If you find another one, please report it as a bug.

"""


def render_differences() -> str:
    """docs/differences.md: by theme, then command by command."""
    themes = "".join(
        f"## {theme}\n\n" + _table(("what", "the original", "here"), (_without_gaps(row) for row in rows)) + "\n"
        for theme, rows in _DIFFERENCES.items()
    )
    rows = [(f"[`{command.name}`](commands.md#{command.name})", command.differs) for command in COMMANDS]
    new = ", ".join(link for link, differs in rows if differs == NOT_IN_THE_ORIGINAL)
    commands = _table(
        ("command", "difference"),
        [
            *((link, _cell(differs)) for link, differs in rows if differs and differs != NOT_IN_THE_ORIGINAL),
            (new, NOT_IN_THE_ORIGINAL),
        ],
    )
    head = _DIFFERENCES_HEAD.format(note=_NOTE.format(source="it, or pynun/engine/commands/table.py"))
    return f"{head}{themes}## Commands\n\n{commands}\n{_NOT_HERE}"


def _without_gaps(row: Difference) -> Difference:
    """A row whose empty cell says that the original has no such rule."""
    return row if row.original else row._replace(original="—")


# --- all of them


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in lines)


def _cell(text: str) -> str:
    """A text for a cell of a table: on one line, its bars escaped."""
    return " ".join(text.split()).replace("|", "\\|")


PAGES: Final[dict[str, Callable[[], str]]] = {
    "commands.md": render_commands,
    "configuration.md": render_configuration,
    "differences.md": render_differences,
}


def stale_pages(folder: Path) -> list[str]:
    """The names of the pages that are not what they would be written as."""
    return [
        name
        for name, render in PAGES.items()
        if not (folder / name).is_file() or (folder / name).read_text(encoding="utf-8") != render()
    ]


def main() -> int:
    """Write the pages, or check them; returns the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="write nothing; say which pages are stale")
    folder = REPOSITORY / "docs"
    stale = stale_pages(folder)
    if parser.parse_args().check:
        for name in stale:
            print(f"docs/{name} is stale: run scripts/tools/docs/reference.py", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (folder / name).write_text(PAGES[name](), encoding="utf-8")
        print(f"docs/{name} written")
    return 0


if __name__ == "__main__":
    sys.exit(main())
