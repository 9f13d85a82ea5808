"""Starting: what is made, what is said, what works from the first moment, and what is refused in one clear line."""

from __future__ import annotations

import contextlib
import mmap
import os
import re
import shutil
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import lmdb
import pytest

from pynun.errors import StartError
from pynun.storage import schema
from pynun.storage.store import LmdbStore
from tests.support.data_pages import PAGE_BYTES, pages_in_use
from tests.support.watched import small_disk
from tools.clients.exact_clients import EndOfConnectionError, HttpClient, TcpClient, WebSocketClient, http_post
from tools.clients.load import read_states
from tools.clients.server import CHEAP_PASSWORDS, Address, Server, ServerDiedError, nun_db
from tools.clients.sessions import OK, create_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

ANY_PORT = "127.0.0.1:0"


def _try_start(
    data_dir: Path, *options: str, wrapper: Sequence[str] = (), **environment: str
) -> subprocess.CompletedProcess[str]:
    """Try to start a server that is expected to refuse."""
    addresses = {"-w": ANY_PORT, "-h": ANY_PORT, "-t": ANY_PORT} | dict(zip(options[::2], options[1::2], strict=True))
    arguments = [part for pair in addresses.items() for part in pair]
    try:
        return nun_db(
            *("-u", "user-name", "-p", "user-pwd", "start", *arguments),
            environment={**CHEAP_PASSWORDS, "NUN_DBS_DIR": str(data_dir), **environment},
            wrapper=wrapper,
        )
    except subprocess.TimeoutExpired as error:
        raise AssertionError(f"it started: {error.stdout!r}") from error


def _assert_refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """Exit 1 and one line on standard error that holds the words."""
    assert result.returncode == 1, result
    lines = result.stderr.strip().split("\n")
    assert len(lines) == 1, result.stderr
    for word in words:
        assert word in lines[0], lines[0]
    assert "Traceback" not in result.stderr
    assert "ready" not in result.stdout


@contextlib.contextmanager
def _taken_port() -> Iterator[Address]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield Address(*listener.getsockname())


def test_a_missing_data_folder_is_made(disk_folder: Path) -> None:
    data_dir = disk_folder / "some" / "new folder" / "dbs"
    with Server(data_dir) as server:
        create_database(server, "first")
        assert data_dir.is_dir()
        server.restart()
        assert http_post(server.http, "use-db first pwd") == "empty"


def test_the_data_is_for_its_owner_only(server: Server) -> None:
    create_database(server, "private")
    for path in (server.data_dir, *server.data_dir.iterdir()):
        assert path.stat().st_mode & 0o077 == 0, path


def test_it_says_what_it_is(server: Server) -> None:
    """Where it listens, where the data is, what the durability is, and how to stop it."""
    text = "\n".join(server.output)
    for word in (str(server.websocket), str(server.http), str(server.tcp), str(server.data_dir), "always", "Ctrl-C"):
        assert word in text, text
    assert re.search(rf"\b{server.pid}\b", text), text
    assert server.errors == []


def test_it_says_which_variables_have_no_effect(new_server: Callable[..., Server]) -> None:
    unused = {"NUN_S3_BUCKET": "images", "NUN_S3_SECRET_KEY": "s3-hidden-secret", "NUN_ELECTION_TIMEOUT": "500"}
    with new_server(**unused) as server:
        for name in unused:
            assert sum(name in line for line in server.log_text().splitlines()) == 1, server.log_text()
        assert "s3-hidden-secret" not in server.log_text()


@pytest.mark.parametrize(
    ("options", "environment", "words"),
    [
        ((), {"NUN_STORAGE_STRATEGY": "s3", "NUN_S3_BUCKET": "b"}, ["NUN_STORAGE_STRATEGY: 's3'", "NUN_DBS_DIR"]),
        ((), {"NUN_REPLICATE_ADDR": "198.51.100.1:3014"}, ["NUN_REPLICATE_ADDR", "(198.51.100.1:3014)", "unset it"]),
        (("-r", "localhost:65000,198.51.100.2"), {}, ["-r", "(localhost:65000, 198.51.100.2)", "NUN_EXTERNAL_ADDR"]),
    ],
)
def test_copies_and_storage_that_nobody_would_make(
    disk_folder: Path, options: Sequence[str], environment: dict[str, str], words: Sequence[str]
) -> None:
    """In a container without a volume, a start on the local disk would lose everything."""
    result = _try_start(disk_folder / "dbs", *options, **environment)
    _assert_refused(result, *words)
    assert not (disk_folder / "dbs").exists()


def test_its_own_address_is_no_other_server(new_server: Callable[..., Server]) -> None:
    server = new_server(NUN_EXTERNAL_ADDR="nun-db.example.org:13014")
    hosts = ("127.0.0.1", "localhost", "", "0.0.0.0", socket.gethostname())
    own = [*(f"{host}:{server.tcp.port}" for host in hosts), "nun-db.example.org:13014"]
    server.environment["NUN_REPLICATE_ADDR"] = ",".join(own)
    with server:
        assert sum("NUN_REPLICATE_ADDR has no effect" in line for line in server.output) == 1


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


@pytest.mark.parametrize("option", ["-w", "-h", "-t"])
def test_a_port_that_is_taken(disk_folder: Path, option: str) -> None:
    with _taken_port() as address:
        result = _try_start(disk_folder / "dbs", option, str(address))
    _assert_refused(result, str(address))


def test_two_listeners_on_one_port(disk_folder: Path) -> None:
    with _taken_port() as address:
        pass
    result = _try_start(disk_folder / "dbs", "-w", str(address), "-t", str(address))
    _assert_refused(result, str(address))


@pytest.mark.parametrize(
    ("option", "address"),
    [
        ("-h", "nonsense"),
        ("-t", "nonsense"),
        ("-w", "nonsense"),
        ("-w", "127.0.0.1"),
        ("-w", "127.0.0.1:"),
        ("-w", "127.0.0.1:abc"),
        ("-w", "127.0.0.1:65536"),
        ("-w", "http://x:1"),
    ],
)
def test_a_bad_address(disk_folder: Path, option: str, address: str) -> None:
    _assert_refused(_try_start(disk_folder / "dbs", option, address), address)


@pytest.mark.parametrize("address", ["192.0.2.1:3012", "no-such-host.invalid:3012"])
def test_an_address_that_is_not_this_machines(disk_folder: Path, address: str) -> None:
    _assert_refused(_try_start(disk_folder / "dbs", "-w", address), address.split(":")[0])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NUN_WS_ADDR", "nonsense"),
        ("NUN_HTTP_ADDR", "127.0.0.1:99999"),
        ("NUN_TCP_ADDR", ":"),
        ("NUN_LOG_LEVEL", "loud"),
        ("NUN_DURABILITY", "maybe"),
        ("NUN_MAX_MESSAGE_SIZE", "big"),
        ("NUN_MAX_MESSAGE_SIZE", "0"),
        ("NUN_MAX_MESSAGE_SIZE", "-5"),
        ("NUN_MAX_OUTBOX_SIZE", "1e6"),
        ("NUN_ARGON2_MEMORY_KIB", "x"),
        ("NUN_ARGON2_PASSES", "0"),
        ("NUN_ARGON2_LANES", "-1"),
    ],
)
def test_a_bad_environment_value(disk_folder: Path, name: str, value: str) -> None:
    arguments = ("-u", "user-name", "-p", "user-pwd", "start")
    addresses = {"NUN_WS_ADDR": ANY_PORT, "NUN_HTTP_ADDR": ANY_PORT, "NUN_TCP_ADDR": ANY_PORT}
    environment = {**addresses, "NUN_DBS_DIR": str(disk_folder / "dbs"), name: value}
    result = nun_db(*arguments, environment=environment)
    _assert_refused(result, name, value)
    assert not (disk_folder / "dbs").exists(), "nothing is made by a start that fails"


@pytest.mark.parametrize("arguments", [("start",), ("-u", "user-name", "start"), ("-p", "user-pwd", "start")])
def test_without_user_or_password(disk_folder: Path, arguments: tuple[str, ...]) -> None:
    environment = {"NUN_DBS_DIR": str(disk_folder / "dbs"), "NUN_HTTP_ADDR": ANY_PORT}
    result = nun_db(*arguments, environment=environment)
    _assert_refused(result, "NUN_USER", "NUN_PWD")


def test_a_file_where_the_folder_should_be(disk_folder: Path) -> None:
    (disk_folder / "dbs").write_text("in the way", encoding="utf-8")
    _assert_refused(_try_start(disk_folder / "dbs"), str(disk_folder / "dbs"))
    _assert_refused(_try_start(disk_folder / "dbs" / "below"), str(disk_folder / "dbs" / "below"))
    assert (disk_folder / "dbs").read_text(encoding="utf-8") == "in the way"


def test_a_folder_that_cannot_be_written(disk_folder: Path) -> None:
    if os.geteuid() != 0:
        data_dir = disk_folder / "read-only"
        data_dir.mkdir(mode=0o500)
    else:  # root may write anywhere but in the kernel's own file systems
        data_dir = Path("/sys/nun-dbs")
    _assert_refused(_try_start(data_dir), str(data_dir), "NUN_DBS_DIR")


def test_a_second_server_on_the_same_folder(server: Server) -> None:
    create_database(server, "guarded", then="set k v")
    _assert_refused(_try_start(server.data_dir), str(server.data_dir), str(server.pid))
    assert http_post(server.http, "use-db guarded pwd; set k w; get k") == "empty;empty;value w\n"
    server.restart()
    assert http_post(server.http, "use-db guarded pwd; get k") == "empty;value w\n"


def test_a_killed_server_does_not_lock_its_folder(server: Server) -> None:
    create_database(server, "unlocked")
    server.kill()
    server.start()
    assert http_post(server.http, "use-db unlocked pwd") == "empty"


def _contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name == schema.DATA_FILE}


def test_data_of_a_newer_format_is_refused_and_untouched(server: Server) -> None:
    create_database(server, "newer")
    server.stop()
    with lmdb.open(str(server.data_dir), max_dbs=4, map_size=1 << 30) as environment:
        meta = environment.open_db(schema.META_DATABASE)
        with environment.begin(write=True, db=meta) as transaction:
            transaction.put(schema.FORMAT_KEY, schema.encode_format(schema.FORMAT + 1))
    before = _contents(server.data_dir)
    _assert_refused(_try_start(server.data_dir), f"format {schema.FORMAT + 1}", str(server.data_dir))
    assert _contents(server.data_dir) == before


def test_a_data_file_of_another_program_is_refused_and_untouched(disk_folder: Path) -> None:
    data_dir = disk_folder / "dbs"
    with lmdb.open(str(data_dir), max_dbs=4, map_size=1 << 30) as environment, environment.begin(write=True) as other:
        other.put(b"somebody else's", b"data")
    before = _contents(data_dir)
    _assert_refused(_try_start(data_dir), str(data_dir))
    assert _contents(data_dir) == before


@pytest.mark.parametrize(
    ("name", "mode", "why"),
    [
        (".", 0o500, "Permission denied"),
        (schema.DATA_FILE, 0o400, "Permission denied"),
        (schema.DATA_FILE, 0o000, "Permission denied"),
        (schema.READERS_FILE, 0o000, "Permission denied"),
        (schema.LOCK_FILE, 0o000, "Permission denied"),
    ],
)
def test_data_that_this_user_may_not_write_is_refused_and_untouched(
    server: Server, name: str, mode: int, why: str
) -> None:
    """As after a copy by root, or in a folder of somebody else's."""
    create_database(server, "foreign", then="set k v")
    server.stop()
    before = _contents(server.data_dir)
    path = server.data_dir / name
    if name == ".":
        (server.data_dir / schema.LOCK_FILE).unlink()  # so that something is to be made
    path.chmod(mode)
    _assert_refused(
        _try_start(server.data_dir, wrapper=_nobody_in_particular()), str(server.data_dir), why, "NUN_DBS_DIR"
    )
    assert path.stat().st_mode & 0o777 == mode
    path.chmod(0o700)
    assert _contents(server.data_dir) == before
    server.start()
    assert http_post(server.http, "use-db foreign pwd; get k") == "empty;value v\n"


def _nobody_in_particular() -> list[str]:
    """What has a command obey the modes of files, also when root runs it."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed (apt-get install util-linux)")
    return ["setpriv", "--bounding-set=-dac_override,-dac_read_search"]


def test_data_on_a_read_only_disk_is_refused_and_untouched(disk_folder: Path) -> None:
    with small_disk(disk_folder / "disk", "8m") as disk, Server(disk / "dbs") as server:
        create_database(server, "read-only", then="set k v")
        assert server.stop() == 0
        before = _contents(server.data_dir)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        _assert_refused(_try_start(server.data_dir), str(server.data_dir), "Read-only file system", "NUN_DBS_DIR")
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)
        assert _contents(server.data_dir) == before
        server.start()
        assert http_post(server.http, "use-db read-only pwd; get k") == "empty;value v\n"


@pytest.mark.parametrize("size", [1, 100, 4096, 10_000, 100_000])
def test_a_damaged_data_file_is_refused_and_untouched(disk_folder: Path, size: int) -> None:
    data_dir = disk_folder / "dbs"
    data_dir.mkdir()
    (data_dir / schema.DATA_FILE).write_bytes(b"\xa5" * size)
    before = _contents(data_dir)
    _assert_refused(_try_start(data_dir), str(data_dir))
    assert _contents(data_dir) == before


def test_a_damaged_page_of_a_data_file_is_refused_and_untouched(server: Server) -> None:
    """Wherever it is: of the log or the data, near the root or a leaf. LMDB itself would trust it."""
    keys = [f"k{number}" for number in range(500)]
    create_database(server, "damaged", then=";".join(f"set {key} {'v' * 100}" for key in keys))
    server.stop()
    server.start()
    create_database(server, "logged", then="set k v")
    server.kill()
    data_file = server.data_dir / schema.DATA_FILE
    whole = damaged = data_file.read_bytes()
    for number in pages_in_use(data_file):
        damaged = whole[: number * PAGE_BYTES] + bytes(PAGE_BYTES) + whole[(number + 1) * PAGE_BYTES :]
        data_file.write_bytes(damaged)
        with pytest.raises(StartError, match=r"can't be read \(.+\): it was left untouched; restore a backup"):
            LmdbStore(server.data_dir)
        assert data_file.read_bytes() == damaged
    _assert_refused(_try_start(server.data_dir), str(server.data_dir), "it was left untouched; restore a backup")
    assert data_file.read_bytes() == damaged
    data_file.write_bytes(whole)
    server.start()
    assert len(read_states(server, "damaged", keys)) == len(keys)


@pytest.mark.parametrize("transport", ["http", "tcp", "websocket"])
def test_damage_that_comes_later_stops_the_server_when_it_is_read(server: Server, transport: str) -> None:
    create_database(server, "later", then=";".join(f"set k{number} {'v' * 100}" for number in range(500)))
    server.restart()
    data_file = server.data_dir / schema.DATA_FILE
    pages = pages_in_use(data_file)
    clients = {"tcp": TcpClient, "websocket": WebSocketClient}
    with (
        clients.get(transport, TcpClient)(server.tcp if transport != "websocket" else server.websocket) as client,
        data_file.open("r+b") as file,
    ):
        assert client.ask("use-db later pwd") == [OK]
        for number in pages:
            file.seek(number * PAGE_BYTES)
            if file.read(PAGE_BYTES).count(b"v" * 100) > 3:
                file.seek(number * PAGE_BYTES)
                file.write(bytes(PAGE_BYTES))
        file.flush()
        with contextlib.suppress(EndOfConnectionError, OSError):
            if transport == "http":
                http_post(server.http, "use-db later pwd; get k77")
            else:
                client.ask("get k77")
    assert server.wait(10) == 1
    assert server.errors == [
        f"nun-db: the server stopped: the data in {server.data_dir} can't be read (Located page was wrong type): it was"
        " left untouched; restore a backup"
    ]
    assert "report this" not in server.log_text()
    _assert_refused(_try_start(server.data_dir), "it was left untouched; restore a backup")


@pytest.mark.parametrize("pages", [2, 3, -2, -1])
def test_a_cut_data_file_is_refused_or_still_whole(server: Server, pages: int) -> None:
    """A copy that was not finished, say: a clear refusal, never a crash of the process, nor an answer that is wrong.

    The last pages of a file may be unused (LMDB need not even write them), so a cut file can be a whole one.
    """
    keys = [f"k{number}" for number in range(500)]
    create_database(server, "cut", then=";".join(f"set {key} {'v' * 500}" for key in keys))
    expected = read_states(server, "cut", keys)
    assert len(expected) == len(keys)
    server.stop()
    data_file = server.data_dir / schema.DATA_FILE
    whole = data_file.read_bytes()
    cut = whole[: pages * mmap.PAGESIZE]
    data_file.write_bytes(cut)
    with contextlib.suppress(ServerDiedError):
        server.start()
    if not server.is_running:
        assert server.exit_code == 1
        assert str(server.data_dir) in server.errors[-1]
        assert data_file.read_bytes() == cut
        data_file.write_bytes(whole)
        server.start()
    assert read_states(server, "cut", keys) == expected


def test_a_changed_admin_password_takes_effect(server: Server) -> None:
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


def test_an_old_password_at_the_start_does_not_undo_a_change(server: Server) -> None:
    """What was changed because it leaked must not come back with the next restart; a new one given at a start rules."""
    old = server.password
    assert http_post(server.http, f"auth {server.credentials}; set-password changed-pwd") == "valid auth\n;empty"
    for _ in range(2):
        server.restart()
        server.wait_output("NUN_PWD is an old password: the administrator's was changed by a command since")
        assert http_post(server.http, f"auth {server.user} {old}") == "invalid auth\n"
        assert http_post(server.http, f"auth {server.user} changed-pwd") == "valid auth\n"
        server.output.clear()
    server.stop()
    server.password = "changed-pwd"
    server.start()
    assert "old password" not in server.log_text()
    server.stop()
    server.password = old  # not what the last start was given: it is wanted
    server.start()
    assert http_post(server.http, f"auth {server.user} {old}") == "valid auth\n"
    assert http_post(server.http, f"auth {server.user} changed-pwd") == "invalid auth\n"


@pytest.mark.parametrize(
    ("password", "carriers"),
    [
        ("plain", {"WebSocket", "HTTP", "TCP"}),
        ("with a blank", {"WebSocket", "HTTP", "TCP"}),
        (" leading", {"WebSocket", "HTTP", "TCP"}),
        ("trailing ", {"WebSocket", "TCP"}),
        ("trailing\u00a0", {"WebSocket", "TCP"}),
        ("semi;colon", {"TCP"}),
        (";", set()),
        ("semicolon;", set()),
    ],
)
def test_an_odd_password_is_told_at_the_start(disk_folder: Path, password: str, carriers: set[str]) -> None:
    """Warned of where some transport can't send it, refused where none can; held against what really gets in."""
    with contextlib.ExitStack() as stack:
        server = Server(disk_folder / "dbs", password=password)
        stack.callback(server.end)
        if not carriers:
            with pytest.raises(ServerDiedError, match="-p/--pwd: its value is not accepted; accepted: text without"):
                server.start()
            return
        server.start()
        auth = f"auth {server.credentials}"
        with TcpClient(server.tcp) as tcp, WebSocketClient(server.websocket) as websocket:
            websocket.send(auth)
            found = {
                "TCP": tcp.ask(auth)[0],
                "WebSocket": websocket.take(1)[0],
                "HTTP": http_post(server.http, f"{auth}; cluster-state").split(";")[0],
            }
        assert {name for name, answer in found.items() if answer == "valid auth\n"} == carriers
        warned = [line for line in server.output if "can't log in with" in line]
        assert len(warned) == (len(carriers) < 3)
        for name in {"WebSocket", "HTTP", "TCP"} - carriers:
            assert name in warned[0].partition("only those of")[0]
