"""What is compared: the server as users start it, the baseline, the raw limit, Redis, and servers that already run.

Each of the functions is a context manager that gives a `Server` ready to be driven, with the database `bench` made.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import urllib.parse
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tools.benchmark.crowd import Loader
from tools.benchmark.processes import Child
from tools.benchmark.wire import DATABASE, LOGIN, TOKEN, Control, WireError, key_name, value_of, watched_key_name
from tools.clients.server import Address

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from tools.benchmark.load import Result

ADMIN_USER = "bench"
ADMIN_PASSWORD = "bench-password"
BASELINE = "baseline"
RAW = "raw limit"
REDIS = "Redis"


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A server that runs."""

    name: str
    durability: str
    """In words, for the table."""
    addresses: dict[str, Address]
    """By protocol: websocket, http, tcp, redis."""
    pid: int
    """0: not known, then neither its processor time nor its memory is."""
    start_seconds: float = 0.0
    keeps_values: bool = True
    """Whether what was set can be read back (the raw limit keeps nothing)."""


@contextlib.contextmanager
def run_pynun(
    folder: Path, durability: str, prefix: Sequence[str] = (), settings: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """The server of this checkout on its data in `folder`/dbs; `prefix` may be a profiler's command."""
    additions = {
        "NUN_USER": ADMIN_USER, "NUN_PWD": ADMIN_PASSWORD, "NUN_DBS_DIR": str(folder / "dbs"),
        "NUN_WS_ADDR": "127.0.0.1:0", "NUN_HTTP_ADDR": "127.0.0.1:0", "NUN_TCP_ADDR": "127.0.0.1:0",
        "NUN_DURABILITY": durability, **(settings or {}),
    }  # fmt: skip
    command = [*prefix, sys.executable, "-P", "-m", "pynun", "start"]
    with _run_own("pynun", command, folder, additions, durability) as server:
        make_database(server.addresses["websocket"], ADMIN_USER, ADMIN_PASSWORD)
        yield server


@contextlib.contextmanager
def run_baseline(folder: Path) -> Iterator[Server]:
    """The plain trio-websocket server that everything is held against."""
    with _run_own(BASELINE, [sys.executable, "-P", "-m", "tools.benchmark.baseline"], folder, {}) as server:
        yield server


@contextlib.contextmanager
def run_raw(folder: Path) -> Iterator[Server]:
    """The server that does nothing: the limit of the load generator."""
    with _run_own(RAW, [sys.executable, "-P", "-m", "tools.benchmark.raw_limit"], folder, {}) as server:
        yield server


@contextlib.contextmanager
def _run_own(
    name: str, command: Sequence[str], folder: Path, additions: dict[str, str], durability: str = "no disk"
) -> Iterator[Server]:
    with Child(command, folder / "output.txt", additions) as child:
        output = child.wait_for("ready")
        listening = re.finditer(r"listening: (websocket|http|tcp) (\S+):([0-9]+)", output)
        yield Server(
            name=name, durability=durability, pid=child.pid, start_seconds=child.start_seconds,
            addresses={match[1]: Address(match[2], int(match[3])) for match in listening}, keeps_values=name != RAW,
        )  # fmt: skip


def find_redis() -> str | None:
    """Where Redis' server is; None if it is not installed."""
    return shutil.which("redis-server", path="/usr/bin:/usr/local/bin:/opt/bin:/usr/sbin:/bin")


def redis_version(program: str) -> str:
    """The version that Redis' server tells of itself."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    return said.partition("v=")[2].partition(" ")[0]


@contextlib.contextmanager
def run_redis(folder: Path, program: str, appendfsync: str) -> Iterator[Server]:
    """Redis with every change in its append-only file, which is synced after each or every second."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [
        program, "--bind", "127.0.0.1", "--port", str(port), "--dir", str(folder), "--save", "",
        "--appendonly", "yes", "--appendfsync", appendfsync, "--daemonize", "no",
    ]  # fmt: skip
    with Child(command, folder / "output.txt", {}) as child:
        child.wait_for("Ready to accept connections")
        yield Server(
            name=REDIS, durability=appendfsync, addresses={"redis": Address("127.0.0.1", port)}, pid=child.pid,
            start_seconds=child.start_seconds,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class External:
    """A server that already runs: NAME=ws://USER:PASSWORD@HOST:PORT[?tcp=PORT&http=PORT&pid=ID]."""

    name: str
    addresses: dict[str, Address]
    user: str
    password: str = field(repr=False)
    pid: int = 0


def parse_external(text: str) -> External:
    """Read the option's text. Raises ValueError with what is accepted."""
    name, _, address = text.partition("=")
    parts = urllib.parse.urlsplit(address)
    query = dict(urllib.parse.parse_qsl(parts.query))
    if not name or parts.scheme != "ws" or not parts.hostname or query.keys() - {"tcp", "http", "pid"}:
        raise ValueError("NAME=ws://USER:PASSWORD@HOST:PORT, to which ?tcp=PORT&http=PORT&pid=ID may be added")
    ports = {"websocket": parts.port or 3012}
    ports |= {protocol: int(query[protocol]) for protocol in ("tcp", "http") if protocol in query}
    return External(
        name,
        {protocol: Address(parts.hostname, port) for protocol, port in ports.items()},
        urllib.parse.unquote(parts.username or ADMIN_USER),
        urllib.parse.unquote(parts.password or ADMIN_PASSWORD),
        int(query.get("pid", 0)),
    )


@contextlib.contextmanager
def use_external(_folder: Path, external: External) -> Iterator[Server]:
    """A server that somebody else started and will end."""
    make_database(external.addresses["websocket"], external.user, external.password)
    yield Server(name=external.name, durability="its own", addresses=external.addresses, pid=external.pid)


def make_database(address: Address, user: str, password: str) -> None:
    """Make the benchmark's database if it does not exist."""
    with Control(address) as control:
        if control.ask(f"auth {user} {password}") != ["valid auth\n"]:
            raise WireError("the server does not take the administrator's password")
        try:
            control.ask(f"create-db {DATABASE} {TOKEN}")
        except WireError as error:
            if "already exists" not in str(error):
                raise


def load_keys(server: Server, first: int, count: int, protocol: str = "tcp") -> Result:
    """Set keys over one connection."""
    loader = Loader(address=server.addresses[protocol], protocol=protocol, first=first, count=count)
    loader.connect()
    return loader.run(0, 0)


def fill(server: Server, key_count: int, watched_keys: int = 1) -> None:
    """Give a database its keys, and the watched ones."""
    if server.name != REDIS and server.keeps_values:
        sets = [f"set {key_name(number)} {value_of(number)}" for number in range(key_count)]
        sets += [f"set {watched_key_name(number)} empty" for number in range(watched_keys)]
        with Control(server.addresses["websocket"]) as control:
            control.ask(LOGIN)
            control.ask_all(sets)  # few on the way: the original never answers a thousand that come at once


def versions_total(server: Server, keys: Sequence[str]) -> int:
    """The sum of the keys' versions: it grows by one with each `set`, so it counts the sets that were carried out."""
    with Control(server.addresses["websocket"]) as control:
        control.ask(LOGIN)
        if not control.ask(f"get-safe {keys[0]}"):
            raise WireError("the server does not answer get-safe")
        answers = control.ask_all([f"get-safe {key}" for key in keys])
    return sum(int(messages[0].split(" ", 2)[1]) for messages in answers)
