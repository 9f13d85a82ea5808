"""Starting: what is made, what is said, what works from the first moment, and what is refused in one clear line.

What the settings refuse is in tests/test_settings.py, and which data the store refuses in tests/storage/test_store.py.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pynun.errors import StartError
from pynun.server.accepting.listeners import Listeners
from pynun.server.startup.other_servers import refuse_other_servers
from pynun.settings import load
from pynun.storage import schema
from pynun.storage.store import LmdbStore
from tests.backup.data import make_folder
from tests.cli.terminal import Terminal
from tests.support.data_pages import PAGE_BYTES, pages_in_use
from tests.support.watched import small_disk
from tools.clients.exact_clients import EndOfConnectionError, HttpClient, TcpClient, WebSocketClient, http_post
from tools.clients.load import read_states
from tools.clients.server import (
    ANY_ADDRESSES,
    CHEAP_PASSWORDS,
    REPOSITORY,
    Address,
    Server,
    clean_environment,
    new_folder,
    nun_db,
)
from tools.clients.sessions import OK, create_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from pynun.engine.overlay import Entry

ANY_PORT = "127.0.0.1:0"
CREDENTIALS = {"NUN_USER": "user-name", "NUN_PWD": "user-pwd"}
UNUSED = {"NUN_S3_BUCKET": "images", "NUN_S3_SECRET_KEY": "s3-hidden-secret", "NUN_ELECTION_TIMEOUT": "500"}
KEYS = [f"k{number}" for number in range(500)]


def _refusal(data_dir: Path, *options: str, **environment: str) -> str:
    """Try to start a server; the one line of standard error with which it exits 1."""
    try:
        result = nun_db(
            *("-u", "user-name", "-p", "user-pwd", "start", *options),
            environment={**CHEAP_PASSWORDS, **ANY_ADDRESSES, "NUN_DBS_DIR": str(data_dir), **environment},
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"it started: {error.stdout!r}") from error
    assert result.returncode == 1, result
    (line,) = result.stderr.splitlines()
    assert "ready" not in result.stdout
    return line


@contextlib.contextmanager
def _taken_port() -> Iterator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield str(Address(*listener.getsockname()))


@pytest.fixture(scope="module", name="fresh")
def _fresh() -> Iterator[Server]:
    """A server that made its folder, with what the original's settings may hold and this one has no use for. It is
    started as people do it, in a Python of its own.
    """
    with new_folder() as folder:
        server = Server(folder / "some" / "new folder" / "dbs", environment=UNUSED, is_anew=True)
        hosts = ("127.0.0.1", "localhost", "", "0.0.0.0", socket.gethostname())
        external = "nun-db.example.org:13014"
        own = [*(f"{host}:{server.tcp.port}" for host in hosts), external]
        server.environment |= {"NUN_EXTERNAL_ADDR": external, "NUN_REPLICATE_ADDR": ",".join(own)}
        with server:
            yield server


def test_a_missing_data_folder_is_made_for_its_owner_only(fresh: Server) -> None:
    create_database(fresh, "first")
    for path in (fresh.data_dir, *fresh.data_dir.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path
    fresh.restart()
    assert http_post(fresh.http, "use-db first pwd") == "empty"


def test_it_says_what_it_is(fresh: Server) -> None:
    """Where it listens, where the data is, what the durability is, and how to stop it."""
    text = "\n".join(fresh.output)
    for word in (str(fresh.websocket), str(fresh.http), str(fresh.tcp), str(fresh.data_dir), "always", "Ctrl-C"):
        assert word in text, text
    assert re.search(rf"\b{fresh.pid}\b", text), text
    assert "without TLS" not in text
    assert fresh.errors == []


def test_it_says_which_variables_have_no_effect(fresh: Server) -> None:
    """Its own address is no other server to replicate to."""
    told = fresh.output[: next(place for place, line in enumerate(fresh.output) if "ready" in line)]
    for name in (*UNUSED, "NUN_REPLICATE_ADDR"):
        assert sum(f"WARN nun_db] {name} has no effect" in line for line in told) == 1, fresh.log_text()
    assert "s3-hidden-secret" not in fresh.log_text()


def test_options_of_the_command_line(disk_folder: Path) -> None:
    """Its own address to replicate to has no effect; the data folder wins over the variable."""
    server = Server(disk_folder / "dbs")
    server.options = ("-r", str(server.tcp), "--data-dir", str(disk_folder / "given"))
    with server:
        assert "WARN nun_db] -r/--replicate-address has no effect" in server.log_text()
        assert f"data: {disk_folder / 'given'} (" in server.log_text()
    assert not (disk_folder / "dbs").exists()


def test_at_a_terminal_the_audit_trail_is_in_the_file_alone(disk_folder: Path) -> None:
    """And an address that everybody can reach, without TLS, is told."""
    environment = {**CHEAP_PASSWORDS, **ANY_ADDRESSES, **CREDENTIALS, "NUN_TCP_ADDR": ":0", "NUN_HTTP_ADDR": ":0"}
    with Terminal("start", "--data-dir", str(disk_folder), environment=environment) as terminal:
        terminal.expect("on all addresses without TLS: http, tcp; ")
        terminal.expect("console: http://127.0.0.1:")
        terminal.expect("ready; to stop it: Ctrl-C, or kill ")
        terminal.type("\x03")
        assert terminal.wait() == 0
        events = [json.loads(line)["event"] for line in (disk_folder / "audit.jsonl").read_text().splitlines()]
        assert events == ["start", "stop"]
        assert "nun_db.audit" not in terminal.text


def test_every_command_works_from_the_first_moment(new_server: Callable[..., Server]) -> None:
    """As soon as a port can be connected to, not only when the server says that it is ready."""
    server = new_server()
    starting = threading.Thread(target=server.start)
    starting.start()
    try:
        with _connect_at_once(server.http) as client:
            body = f"auth {server.credentials}; create-db at-once pwd; use-db at-once pwd; set k v"
            assert client.request(body).text == "valid auth\n;create-db success\n;empty;empty"
        for connection in (WebSocketClient(server.websocket), TcpClient(server.tcp)):
            with connection:
                assert connection.ask("use-db at-once pwd") == [OK]
                assert connection.ask("get k") == ["value v\n", OK]
    finally:
        starting.join()


def _connect_at_once(address: Address) -> HttpClient:
    """Try to connect until it succeeds; the test's own timeout ends it."""
    while True:
        with contextlib.suppress(ConnectionRefusedError):
            return HttpClient(address)
        time.sleep(0.001)


# --- settings and addresses that are refused -------------------------------------------------------------------


def test_what_is_refused_is_one_line_and_nothing_is_made(fresh: Server, disk_folder: Path) -> None:
    """Whatever refuses it: the command line, a setting, a port, a second server on the data of another."""
    data_dir = disk_folder / "dbs"
    assert "'http://x:1'" in _refusal(data_dir, "-w", "http://x:1")
    assert "198.51.100.2" in _refusal(data_dir, "-r", "localhost:65000,198.51.100.2")
    assert str(fresh.tcp) in _refusal(data_dir, "-t", str(fresh.tcp))
    in_use = _refusal(fresh.data_dir)
    assert str(fresh.data_dir) in in_use
    assert f"(process {fresh.pid})" in in_use
    assert list(disk_folder.iterdir()) == []
    result = nun_db("-u", "user-name", "start", environment={"NUN_DBS_DIR": str(data_dir), **ANY_ADDRESSES})
    assert result.returncode == 1
    assert result.stderr.startswith("nun-db: NUN_USER and NUN_PWD must be provided, and NUN_PWD is missing")
    assert list(disk_folder.iterdir()) == []


@pytest.mark.parametrize("others", ["198.51.100.1:3014", "localhost:65000, 198.51.100.2"])
def test_copies_that_nobody_would_make_are_refused(others: str) -> None:
    settings = load({**CREDENTIALS, "NUN_REPLICATE_ADDR": others}, {})
    with pytest.raises(StartError, match=re.escape(f"({others})") + ".*unset it.* give it as NUN_EXTERNAL_ADDR"):
        refuse_other_servers(settings)


@pytest.mark.parametrize(
    "names", [["NUN_WS_ADDR"], ["NUN_HTTP_ADDR"], ["NUN_TCP_ADDR"], ["NUN_WS_ADDR", "NUN_TCP_ADDR"]]
)
def test_a_port_that_is_taken(names: list[str]) -> None:
    """By another program, or by the listener before."""
    with _taken_port() as address:
        if len(names) == 1:
            _assert_no_listening(**{names[0]: address})
    if len(names) == 2:
        _assert_no_listening(**dict.fromkeys(names, address))


@pytest.mark.parametrize("address", ["192.0.2.1:3012", "no-such-host.invalid:3012"])
def test_an_address_that_is_not_this_machines(address: str) -> None:
    _assert_no_listening(NUN_WS_ADDR=address)


def _assert_no_listening(**addresses: str) -> None:
    name, address = list(addresses.items())[-1]
    with pytest.raises(StartError, match=rf"can't listen for \w+ on {re.escape(address)}: .* with {name}"):
        Listeners(load({**CREDENTIALS, **ANY_ADDRESSES, **addresses}, {}))


# --- data that can't be used -----------------------------------------------------------------------------------


def _contents(folder: Path) -> bytes:
    return (folder / schema.DATA_FILE).read_bytes()


@pytest.fixture(scope="module", name="stopped")
def _stopped() -> Iterator[Path]:
    """The data of a server that was stopped: 500 keys, and the same again with a log that a kill left."""
    with new_folder() as folder, Server(folder / "dbs") as server:
        create_database(server, "damaged", then=";".join(f"set {key} {'v' * 100}" for key in KEYS))
        server.restart()
        _copy(server.data_dir, folder / "stopped")
        create_database(server, "logged", then="set k v")
        server.kill()
        yield folder


def _copy(data: Path, folder: Path) -> Path:
    return Path(shutil.copytree(data, folder, ignore=shutil.ignore_patterns("*.sock")))


def _server_on(data: Path, folder: Path) -> Server:
    return Server(_copy(data, folder / "dbs"))


MODES = [
    (".", 0o500),
    (schema.DATA_FILE, 0o400),
    (schema.DATA_FILE, 0o000),
    (schema.READERS_FILE, 0o000),
    (schema.LOCK_FILE, 0o000),
]
OPEN_ALL = (
    "import sys; from pathlib import Path; from pynun.errors import StartError\n"
    "from pynun.storage.store import LmdbStore\n"
    "for folder in sys.argv[1:]:\n"
    "    try: LmdbStore(Path(folder))\n"
    "    except StartError as error: print(error)\n"
)


def test_data_that_this_user_may_not_write_is_refused_and_untouched(disk_folder: Path) -> None:
    """As after a copy by root, or in a folder of somebody else's."""
    whole = make_folder(disk_folder / "whole")
    before, folders = _contents(whole), []
    for number, (name, mode) in enumerate(MODES):
        folder = _copy(whole, disk_folder / str(number))
        if name == ".":
            (folder / schema.LOCK_FILE).unlink()  # so that something is to be made
        (folder / name).chmod(mode)
        folders.append(folder)
    command = [*_nobody_in_particular(), sys.executable, "-c", OPEN_ALL, *map(str, folders)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env=clean_environment({}), cwd=REPOSITORY
    )
    for folder, (name, mode), line in zip(folders, MODES, done.stdout.splitlines(), strict=True):
        for word in (str(folder), "Permission denied", "NUN_DBS_DIR"):
            assert word in line
        assert (folder / name).stat().st_mode & 0o777 == mode
        (folder / name).chmod(0o700)
        assert _contents(folder) == before
        LmdbStore(folder).close()


def _nobody_in_particular() -> list[str]:
    """What has a command obey the modes of files, also when root runs it."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed (apt-get install util-linux)")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may write anywhere but in the kernel's own file systems")
def test_a_folder_that_can_not_be_written() -> None:
    with pytest.raises(StartError, match=r"/sys/nun-dbs .*NUN_DBS_DIR"):
        LmdbStore(Path("/sys/nun-dbs"))


def test_data_on_a_read_only_disk_is_refused_and_untouched(disk_folder: Path) -> None:
    with small_disk(disk_folder / "disk", "8m") as disk:
        folder = make_folder(disk / "dbs")
        before = _contents(folder)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StartError, match=rf"{folder}.*Read-only file system.*NUN_DBS_DIR"):
            LmdbStore(folder)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert _contents(folder) == before
        LmdbStore(folder).close()


def test_a_damaged_page_of_a_data_file_is_refused_and_untouched(stopped: Path, disk_folder: Path) -> None:
    """Wherever it is: of the log or the data, near the root or a leaf. LMDB itself would trust it."""
    server = _server_on(stopped / "dbs", disk_folder)
    data_file = server.data_dir / schema.DATA_FILE
    whole = damaged = data_file.read_bytes()
    for number in pages_in_use(data_file):
        damaged = whole[: number * PAGE_BYTES] + bytes(PAGE_BYTES) + whole[(number + 1) * PAGE_BYTES :]
        data_file.write_bytes(damaged)
        with pytest.raises(StartError, match=r"can't be read \(.+\): it was left untouched; restore a backup"):
            LmdbStore(server.data_dir)
        assert data_file.read_bytes() == damaged
    assert "it was left untouched; restore a backup" in _refusal(server.data_dir)
    assert data_file.read_bytes() == damaged
    data_file.write_bytes(whole)
    with server:
        assert len(read_states(server, "damaged", KEYS)) == len(KEYS)


@pytest.mark.parametrize("transport", ["http", "tcp", "websocket"])
def test_damage_that_comes_later_stops_the_server_when_it_is_read(
    stopped: Path, disk_folder: Path, transport: str
) -> None:
    with _server_on(stopped / "stopped", disk_folder) as server:
        data_file = server.data_dir / schema.DATA_FILE
        client = WebSocketClient(server.websocket) if transport == "websocket" else TcpClient(server.tcp)
        with client, data_file.open("r+b") as file:
            assert client.ask("use-db damaged pwd") == [OK]
            for number in pages_in_use(data_file):
                file.seek(number * PAGE_BYTES)
                if file.read(PAGE_BYTES).count(b"v" * 100) > 3:
                    file.seek(number * PAGE_BYTES)
                    file.write(bytes(PAGE_BYTES))
            file.flush()
            with contextlib.suppress(EndOfConnectionError, OSError):
                if transport == "http":
                    http_post(server.http, "use-db damaged pwd; get k77")
                else:
                    client.ask("get k77")
        assert server.wait(60) == 1
        assert server.errors == [
            f"nun-db: the server stopped: the data in {server.data_dir} can't be read (Located page was wrong type): it"
            " was left untouched; restore a backup"
        ]
        assert "report this" not in server.log_text()
        with pytest.raises(StartError, match="it was left untouched; restore a backup"):
            LmdbStore(server.data_dir)


def test_a_cut_data_file_is_refused_or_still_whole(stopped: Path, disk_folder: Path) -> None:
    """A copy that was not finished, say: a clear refusal, never a crash of the process, nor an answer that is wrong.

    The last pages of a file may be unused (LMDB need not even write them), so a cut file can be a whole one.
    """
    data_dir = _copy(stopped / "stopped", disk_folder / "dbs")
    data_file = data_dir / schema.DATA_FILE
    whole, refusals = data_file.read_bytes(), 0
    expected = _entries(LmdbStore(data_dir))
    assert len(expected) > len(KEYS)
    for pages in range(2, len(whole) // PAGE_BYTES):
        cut = whole[: pages * PAGE_BYTES]
        data_file.write_bytes(cut)
        with contextlib.suppress(StartError):
            assert _entries(LmdbStore(data_dir)) == expected
            continue
        assert data_file.read_bytes() == cut
        refusals += 1
    assert refusals > 10


def _entries(store: LmdbStore) -> list[tuple[bytes, Entry]]:
    """All that a store has; it is closed."""
    with contextlib.closing(store):
        return list(store.read_all(b""))


# --- the administrator's password ------------------------------------------------------------------------------


def test_a_password_that_is_given_at_the_start(server: Server) -> None:
    """A new one takes effect. An old one does not undo a change: what was changed because it leaked must not come back
    with the next restart.
    """
    create_database(server, "kept", then="set k v")
    server.stop()
    server.password = "another-pwd"
    server.start()
    assert http_post(server.http, "auth user-name user-pwd; cluster-state") == "invalid auth\n;Not auth"
    assert http_post(server.http, "use-db $admin user-pwd") == "Invalid token"
    assert http_post(server.http, f"auth {server.credentials}; use-db $admin another-pwd; get kept").startswith(
        "valid auth\n;empty;value {}\n"
    )
    assert http_post(server.http, "use-db kept pwd; get k") == "empty;value v\n"
    assert http_post(server.http, f"auth {server.credentials}; set-password changed-pwd") == "valid auth\n;empty"
    for _ in range(2):
        server.restart()
        server.wait_output("NUN_PWD is an old password: a command has changed it since")
        assert http_post(server.http, "auth user-name another-pwd") == "invalid auth\n"
        assert http_post(server.http, "auth user-name changed-pwd") == "valid auth\n"
        server.output.clear()
    server.stop()
    server.password = "changed-pwd"
    server.start()
    assert "old password" not in server.log_text()
    server.stop()
    server.password = "another-pwd"  # not what the last start was given: it is wanted
    server.start()
    assert http_post(server.http, "auth user-name another-pwd") == "valid auth\n"
    assert http_post(server.http, "auth user-name changed-pwd") == "invalid auth\n"


@pytest.mark.parametrize(("password", "carriers"), [("trailing ", {"WebSocket", "TCP"}), ("semi;colon", {"TCP"})])
def test_an_odd_password_is_told_at_the_start(disk_folder: Path, password: str, carriers: set[str]) -> None:
    """Warned of where some transport can't send it; held against what really gets in."""
    with Server(disk_folder / "dbs", password=password) as server:
        auth = f"auth {server.credentials}"
        with TcpClient(server.tcp) as tcp, WebSocketClient(server.websocket) as websocket:
            websocket.send(auth)
            found = {
                "TCP": tcp.ask(auth)[0],
                "WebSocket": websocket.take(1)[0],
                "HTTP": http_post(server.http, f"{auth}; cluster-state").split(";")[0],
            }
        assert {name for name, answer in found.items() if answer == "valid auth\n"} == carriers
        (warned,) = (line for line in server.output if "can't log in with" in line)
        for name in {"WebSocket", "HTTP", "TCP"} - carriers:
            assert name in warned.partition("only those of")[0]
