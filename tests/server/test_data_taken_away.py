"""The data is taken away under a running server: a cleaner of /tmp, a move, a mount, a restore by hand.

It says so, takes no change any more, keeps other servers away, and what it has open can be saved.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING, NamedTuple

import pytest

from pynun.backup.make import make_backup
from pynun.backup.restore import restore_backup
from pynun.cli.offline.data_folder import opened_store
from pynun.errors import BackupError, StartError
from pynun.storage import schema
from pynun.storage.snapshot import snapshot
from pynun.storage.store import LmdbStore
from tests.support.watched import request, wait_until
from tools.clients.exact_clients import EndOfConnectionError, http_post
from tools.clients.server import Server, new_folder, nun_db
from tools.clients.sessions import OK, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

KEYS = {f"k{number}": f"v{number}" for number in range(300)}
NOTICED_SECONDS_MAX = 30.0


def _remove(*names: str) -> Callable[[Path], object]:
    def remove(folder: Path) -> None:
        for name in names:
            (folder / name).unlink()

    return remove


def _move(folder: Path) -> None:
    folder.rename(folder.with_name("moved"))


def _mount_over(folder: Path) -> None:
    subprocess.run(["mount", "-t", "tmpfs", "nun-db-test", str(folder)], check=True)


class Case(NamedTuple):
    """What happens to the folder, and what is said of it."""

    do: Callable[[Path], object]
    reason: str
    is_data_there: bool = False
    """Whether the path still names the data."""
    is_folder_there: bool = False
    """Whether it is the same folder, so that no other server may have it."""
    durability: str = "always"


_DATA_REMOVED = "data.mdb was removed from the data folder"
_LOCK_REMOVED = "server.lock was removed from the data folder"
CASES = {
    "data-removed": Case(_remove("data.mdb"), _DATA_REMOVED, is_folder_there=True),
    "folder-moved-relaxed": Case(_move, "the data folder was removed or moved", durability="relaxed"),
    "mounted-over": Case(_mount_over, "the data folder was replaced by another one"),
    "readers-removed": Case(_remove("lock.mdb"), "lock.mdb was removed from the data folder", True, True),
    "log-removed": Case(_remove("log-01.wal"), "log-01.wal was removed from the data folder", True, True),
    "lock-removed": Case(_remove("server.lock"), _LOCK_REMOVED, True, True),
    "locks-removed": Case(_remove("lock.mdb", "server.lock"), _LOCK_REMOVED, True, True),
}


@pytest.fixture(scope="module", name="taken")
def _taken() -> Iterator[dict[str, Server]]:
    """A server for each case, to which it has happened: so all of them are waited for at once."""
    with new_folder() as folder, contextlib.ExitStack() as stack:
        servers = {}
        for name, case in CASES.items():
            if case.do is _mount_over and os.geteuid() != 0:
                continue
            data_dir = folder / name / "dbs"
            server = Server(data_dir, environment={"NUN_DURABILITY": case.durability})
            stack.enter_context(server)
            create_database(server, "d", then=";".join(["snapshot", *(f"set {k} {v}" for k, v in KEYS.items())]))
            case.do(data_dir)
            if case.do is _mount_over:
                stack.callback(subprocess.run, ["umount", "-l", str(data_dir)], check=True)
            servers[name] = server
        yield servers


def _stored(folder: Path) -> dict[str, str]:
    with snapshot(folder) as now:
        return {key: entry.text for key, entry in now.entries(now.databases()["d"]) if key in KEYS}


def _saved(command: list[str], folder: Path) -> dict[str, str]:
    """What is stored in another folder, after the command that the server names and a restore."""
    saved = nun_db(*command, str(folder / "saved"))
    assert saved.returncode == 0, saved.stderr
    restore_backup(folder / "saved", folder / "restored", lambda *_: None)
    return _stored(folder / "restored")


@pytest.mark.parametrize("name", CASES)
def test_what_was_taken_away_is_told_and_can_be_saved(taken: dict[str, Server], name: str, disk_folder: Path) -> None:
    if name not in taken:
        pytest.skip("only root may mount")
    server, case = taken[name], CASES[name]
    refused = "not ready: changes can't be stored: "
    wait_until(lambda: request(server.http, "/healthz").text.startswith(refused), NOTICED_SECONDS_MAX)
    answer = request(server.http, "/healthz")
    assert answer.status == 503
    assert request(server.http, "/readyz") == request(server.websocket, "/readyz") == answer
    assert request(server.http, "/livez").status == 200  # a restart would lose what is still open
    reason = answer.text.strip().removeprefix(refused)
    # The data file is looked at before each write, the rest every few seconds: either may come first.
    assert reason in (case.reason, _DATA_REMOVED), answer
    _assert_refused(server, reason)
    errors = [line for line in server.output if "ERROR" in line and "under the running server" in line]
    assert len(errors) == 1, errors
    assert str(server.data_dir) in errors[0]
    if case.is_folder_there:
        _assert_kept_away(server, disk_folder)
    if case.is_data_there:
        assert "No data is lost: start the server again" in errors[0]
    else:
        command = re.search(r"nun-db (backup --data-dir /proc/[0-9]+/fd/[0-9]+) FILE", errors[0])
        assert command is not None, errors[0]
        assert f"nun-db restore FILE --data-dir {server.data_dir.absolute()} " in errors[0]
        assert _saved(command[1].split(), disk_folder) == KEYS
    output, complaints = len(server.output), len(server.errors)
    assert server.stop() == 1
    assert "on disk" not in "".join(server.output[output:])
    (line,) = server.errors[complaints:]
    assert line.startswith(f"nun-db: {reason} while the server ran, and changes were refused from then on. ")
    if case.is_data_there:
        server.start()
        assert _stored(server.data_dir) == KEYS
        assert http_post(server.http, "use-db d pwd; set k0 again") == "empty;empty"


def _assert_refused(server: Server, reason: str) -> None:
    error = f"not stored: {reason}"
    answer = http_post(
        server.http,
        f"auth {server.credentials}; use-db d pwd; set k0 x; get k0; increment n; remove k1; create-db e t; snapshot",
    )
    assert answer == f"valid auth\n;empty;{error};value v0\n;{error};{error};{error};{error}"
    with websocket_session(server, "d") as websocket, tcp_session(server, "d") as tcp:
        for client in (websocket, tcp):
            assert client.ask("set k2 x") == [f"error {error} \n"]
            assert client.ask("get k2") == ["value v2\n", OK]


def _assert_kept_away(server: Server, folder: Path) -> None:
    """No other server, and no command that changes the data, may have the folder: they would lose each other's."""
    in_use = rf"is in use by another nun-db server \(process {server.pid}\)"
    with pytest.raises(StartError, match=in_use):  # as a server opens it, and each import
        LmdbStore(server.data_dir)
    backup = folder / "backup"
    LmdbStore(folder / "empty").close()
    make_backup(folder / "empty", backup, lambda *_: None)
    with pytest.raises(BackupError, match=in_use):
        restore_backup(backup, server.data_dir, lambda *_: None, is_replacing=True)


def test_changes_that_relaxed_had_answered_can_still_be_saved(
    new_server: Callable[..., Server], disk_folder: Path
) -> None:
    """They are not in the file yet when that loses its name."""
    with new_server(NUN_DURABILITY="relaxed") as server:
        create_database(server, "d", then="snapshot")
        (server.data_dir / schema.DATA_FILE).unlink()
        answered = http_post(server.http, ";".join(["use-db d pwd", *(f"set {k} {v}" for k, v in KEYS.items())]))
        assert answered == ";".join(["empty"] * (len(KEYS) + 1))
        line = server.wait_output("under the running server")
        path = re.search(r"--data-dir (\S+)", line)
        assert path is not None
        assert _saved(["backup", "--data-dir", path[1]], disk_folder) == KEYS
        assert server.stop() == 1


def test_a_stop_looks_whether_the_data_is_still_there(server: Server) -> None:
    """Also when it was taken away just now: nothing is said to be on disk that is not."""
    (server.data_dir / schema.DATA_FILE).unlink()
    assert server.stop() == 1
    assert "all acknowledged changes are on disk" not in server.log_text()
    assert server.errors[0].startswith(f"nun-db: {_DATA_REMOVED} while the server ran"), server.errors


def test_a_command_that_imports_looks_at_its_end(disk_folder: Path) -> None:
    reason = "server.lock was removed from the data folder meanwhile, so the result may be lost"
    with pytest.raises(StartError, match=reason), opened_store(disk_folder / "dbs") as store:
        (store.folder / schema.LOCK_FILE).unlink()


def test_data_that_is_taken_away_during_the_start_ends_it(disk_folder: Path) -> None:
    # The hash of the password takes some time, between opening the data and being ready.
    slow = {"NUN_ARGON2_MEMORY_KIB": str(128 * 1024), "NUN_ARGON2_PASSES": "4"}
    server = Server(disk_folder / "dbs", environment=slow)
    with server.starting():
        wait_until(lambda: (server.data_dir / schema.READERS_FILE).exists())
        (server.data_dir / schema.DATA_FILE).unlink()
        assert server.wait(60) == 1
    assert "ready" not in server.log_text()
    assert server.errors[0].startswith(f"nun-db: {_DATA_REMOVED} during the start"), server.errors


def test_a_data_file_that_is_cut_under_the_server_stops_it(server: Server) -> None:
    create_database(server, "d", then=";".join(f"set {key} {value * 20}" for key, value in KEYS.items()))
    os.truncate(server.data_dir / schema.DATA_FILE, 0)
    assert server.wait(NOTICED_SECONDS_MAX) == 1
    assert server.errors == [
        f"nun-db: the server stopped: the data in {server.data_dir} can't be read (data.mdb was cut by another"
        " program): it was left untouched; restore a backup"
    ]


def test_a_copy_written_over_the_data_file_stops_the_server(server: Server, disk_folder: Path) -> None:
    """`cp backup data.mdb` keeps the file and changes what is in it. What was copied is not written into."""
    create_database(server, "d", then=";".join(f"set {key} {value}" for key, value in KEYS.items()))
    server.restart()
    data_file = server.data_dir / schema.DATA_FILE
    shutil.copy(data_file, disk_folder / "copy")
    assert http_post(server.http, "use-db d pwd; set k0 x") == "empty;empty"
    shutil.copy(disk_folder / "copy", data_file)
    with contextlib.suppress(EndOfConnectionError, OSError):
        assert "empty;empty" not in http_post(server.http, "use-db d pwd; set k0 y")
    assert server.wait(NOTICED_SECONDS_MAX) == 1
    (line,) = server.errors
    # cp(1) cuts the file before it writes it.
    assert re.fullmatch(
        r"nun-db: the server stopped: data\.mdb was (written|cut) by another program; the data file was read through"
        " and is not damaged: start the server again",
        line,
    )
    assert _stored(server.data_dir) == KEYS


def test_the_folder_is_locked_as_cleaners_of_tmp_respect_it(disk_folder: Path) -> None:
    """systemd-tmpfiles leaves alone what it can't lock (tmpfiles.d(5)): flock(1) does the same."""
    with contextlib.closing(LmdbStore(disk_folder)):
        locked = subprocess.run(["flock", "--nonblock", str(disk_folder), "true"], check=False)
    assert locked.returncode == 1


def test_a_lock_that_a_cleaner_takes_for_a_moment_does_not_stop_a_start(disk_folder: Path) -> None:
    command = ["flock", str(disk_folder), "sh", "-c", "echo locked; sleep 0.5"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as cleaner:
        assert cleaner.stdout is not None
        assert cleaner.stdout.readline() == b"locked\n"
        LmdbStore(disk_folder).close()
