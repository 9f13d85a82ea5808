"""`nun-db backup`, `verify` and `restore` with real servers: under load, killed, on a full disk, as another user."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import pwd
import random
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import lmdb
import pytest

from pynun.storage import schema
from tests.backup.data import BIG_DATABASE, BIG_KEYS, KEYS_EACH, NAMES, contents, fill, make_folder
from tests.cli.command import TIMEOUT_SECONDS, command_line, run
from tests.cli.terminal import run_at_terminal
from tests.support.system_calls import SETPRIORITY
from tools.clients.exact_clients import http_post
from tools.clients.load import ConflictMaker, check_writer, read_states, start_writers
from tools.clients.server import REPOSITORY, Server, clean_environment, new_folder
from tools.clients.sessions import create_database

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

DATABASE = "load"
CONFLICTS = "conflicts"
SEED = random.SystemRandom().randrange(1_000_000)


def start(*arguments: str) -> subprocess.Popen[str]:
    """Start nun-db."""
    return subprocess.Popen(
        command_line(*arguments),
        env=clean_environment({}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Ctrl-C works also where the tests were started in the background, where shells have it ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Wait for its end; exit code, output, errors."""
    output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    return process.returncode, output, errors


def wait_until(condition: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Wait until something is so while a process works, or until that has ended."""
    deadline = time.monotonic() + TIMEOUT_SECONDS
    while not condition() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.001)


def size_of(path: Path) -> int:
    """The size of a file, 0 where there is none."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def test_a_process_that_may_not_lower_its_priority_makes_backups(disk_folder: Path) -> None:
    # The unit of a service may have the system answer setpriority(2) with EPERM.
    if platform.machine() not in SETPRIORITY:
        pytest.skip(f"the number of setpriority is not known on {platform.machine()}")
    folder = make_folder(disk_folder / "dbs")
    file = disk_folder / "a.backup"
    filtered = [sys.executable, "-m", "tests.support.system_calls"]

    def run_filtered(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*filtered, *command],
            cwd=REPOSITORY,
            env=clean_environment({}),
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )

    refused = run_filtered(sys.executable, "-c", "import os; os.setpriority(os.PRIO_PROCESS, 0, 19)")
    assert "PermissionError" in refused.stderr
    scheduled = run_filtered(sys.executable, "-m", "pynun.backup.make", str(folder), str(file))
    assert json.loads(scheduled.stdout)["databases"] == len(NAMES), scheduled.stderr
    typed = run_filtered(*command_line("backup", "--data-dir", str(folder), "--replace", str(file)))
    assert (typed.returncode, typed.stderr) == (0, "")


# --- what people type ------------------------------------------------------------------------------------------


def test_the_whole_way(disk_folder: Path) -> None:
    make_folder(disk_folder / "dbs")
    result = run("backup", "a.backup", "--data-dir", "dbs", cwd=str(disk_folder))
    assert (result.code, result.errors) == (0, "")
    assert result.output.startswith(f"a.backup: 3 databases, {3 * KEYS_EACH} keys, ")
    assert "; complete and verified (" in result.output
    result = run("verify", "a.backup", cwd=str(disk_folder))
    assert (result.code, result.errors) == (0, "")
    first, *rest = result.output.splitlines()
    assert first.startswith("a.backup: whole; made 2")
    assert rest == [f"  {name}: {KEYS_EACH} keys" for name in sorted(NAMES)]
    result = run("restore", "a.backup", "--data-dir", "new", cwd=str(disk_folder))
    assert (result.code, result.errors) == (0, "")
    told = f" is in it (3 databases, {3 * KEYS_EACH} keys), and the administrators, passwords and tokens of then; "
    assert result.output.endswith(f"{told}start the server\n")
    assert contents(disk_folder / "new") == contents(disk_folder / "dbs")
    result = run("restore", "a.backup", "--replace", cwd=str(disk_folder), environment={"NUN_DBS_DIR": "new"})
    assert result.code == 0
    assert "The old data is kept: remove new/data-before-" in result.output
    assert f"\n  cd {disk_folder / 'new'} && rm -f data.mdb log-*.wal\n  mv data-before-" in result.output


def test_results_for_scripts(disk_folder: Path) -> None:
    make_folder(disk_folder / "dbs")
    made = json.loads(run("backup", "--json", "a.backup", cwd=str(disk_folder)).output)
    assert made.pop("seconds") > 0
    told = {"file": "a.backup", "databases": 3, "keys": 3 * KEYS_EACH, "revision": 3}
    assert told.items() <= made.items()
    assert made["bytes"] == (disk_folder / "a.backup").stat().st_size
    verified = json.loads(run("verify", "--json", "a.backup", cwd=str(disk_folder)).output)
    assert made.items() <= verified.items()
    assert verified["keys_by_database"] == dict.fromkeys(NAMES, KEYS_EACH)
    restored = json.loads(run("restore", "--json", "a.backup", "--data-dir", "n", cwd=str(disk_folder)).output)
    assert restored == {**verified, "folder": "n", "kept": None}


def trail_of(folder: Path) -> list[dict[str, object]]:
    """The lines of a data folder's audit trail."""
    text = (folder / "audit.jsonl").read_text(encoding="ascii")
    return [json.loads(line) for line in text.splitlines()]


def test_who_made_and_restored_a_backup_is_written_down(disk_folder: Path) -> None:
    folder = make_folder(disk_folder / "dbs")
    made = json.loads(run("backup", "--json", "a.backup", cwd=str(disk_folder)).output)
    assert run("restore", "a.backup", "--data-dir", "dbs", cwd=str(disk_folder)).code == 1
    assert run("restore", "--replace", "a.backup", "--data-dir", "dbs", cwd=str(disk_folder)).code == 0
    user = pwd.getpwuid(os.getuid()).pw_name
    first, refused, last = trail_of(folder)
    for line, event, outcome in ((first, "backup", "ok"), (refused, "restore", "failed"), (last, "restore", "ok")):
        told = {"event": event, "outcome": outcome, "file": "a.backup", "system_user": user}
        assert told.items() <= line.items()
    assert first["sha256"] == last["sha256"] == made["sha256"]
    assert str(refused["reason"]).startswith("dbs already has data")
    result = run("backup", "b.backup", cwd=str(disk_folder), environment={"NUN_AUDIT_KEEP": "many"})
    assert result.code == 1
    assert "NUN_AUDIT_KEEP" in result.errors
    assert not (disk_folder / "b.backup").exists()
    assert run("backup", "c.backup", "--data-dir", "nowhere", cwd=str(disk_folder)).code == 1
    assert not (disk_folder / "nowhere").exists()


def test_failures_are_one_line_and_exit_code_1(disk_folder: Path) -> None:
    make_folder(disk_folder / "dbs")
    for arguments, told in (
        (("backup", "--data-dir", "nowhere", "x"), "there is no data in nowhere (data.mdb is missing or empty)"),
        (("backup", "no/x"), "no/x can't be written (No such file or directory)"),
        (("verify", "x"), "x can't be read: No such file or directory"),
        (("restore", "dbs/data.mdb"), "dbs/data.mdb is not a backup, but a server's data"),
    ):
        result = run(*arguments, cwd=str(disk_folder), environment={"NUN_DBS_DIR": "dbs"})
        assert (result.code, result.output) == (1, "")
        assert result.errors.startswith(f"nun-db: {told}")
        assert result.errors.count("\n") == 1
    assert run("backup").code == 2


def test_progress_is_shown_on_a_terminal_only(disk_folder: Path) -> None:
    make_folder(disk_folder / "dbs")
    file = str(disk_folder / "a.backup")
    code, screen = run_at_terminal(("backup", file, "--data-dir", str(disk_folder / "dbs")), [])
    assert code == 0
    assert "\rcopying: " in screen
    assert "checking the entries" in screen
    assert screen.rpartition("\r" + " " * 4)[2].count(" verified (") == 1
    assert "copying" not in run("verify", file).errors


# --- under load ------------------------------------------------------------------------------------------------


@pytest.mark.timeout(300)
def test_a_backup_under_load_is_one_moment_of_it_and_is_restored_elsewhere(server: Server, disk_folder: Path) -> None:
    fill(server)
    create_database(server, DATABASE, then="create-user ana ana-pwd; set-permissions ana r *")
    create_database(server, CONFLICTS, strategy="arbiter")
    writers = start_writers(server, DATABASE, SEED)
    conflicts = ConflictMaker(server, CONFLICTS, f"c{SEED}")
    conflicts.start()
    file = disk_folder / "a.backup"
    acknowledged = {writer.name: writer.acknowledged for writer in writers}
    conflicts_acknowledged = dict(conflicts.acknowledged)
    records = {
        key: record for key, record in conflicts.records.copy().items() if conflicts_acknowledged.get(key, 0) > 1
    }
    result = run("backup", "--json", str(file), environment={"NUN_DBS_DIR": str(server.data_dir)})
    assert result.code == 0, result.errors
    revisions = json.loads(result.output)["revision"]
    for writer in writers:
        writer.is_told_to_stop.set()
    during = {writer.name: writer.acknowledged - acknowledged[writer.name] for writer in writers}
    for writer in writers:
        writer.finish()
    assert all(count > 20 for count in during.values()), f"the writers stood still: {during}"
    server.kill()
    conflicts.join()
    conflicts.acknowledged, conflicts.records = conflicts_acknowledged, records
    elsewhere = disk_folder / "elsewhere"
    with Server(elsewhere) as before:
        assert before.stop() == 0
    result = run("restore", "--replace", str(file), "--data-dir", str(elsewhere))
    assert result.code == 0, result.errors
    with Server(elsewhere, password="another-pwd") as other:
        states = read_states(other, DATABASE, [key for writer in writers for key in writer.keys])
        for writer in writers:
            check_writer(writer, states, acknowledged=acknowledged[writer.name])
        conflicts.check(other)
        answer = http_post(other.http, f"use-db {DATABASE} ana ana-pwd; get x; set x 1; use-db {DATABASE} wrong")
        assert answer == "empty;value <Empty>\n;permission denied\n;Invalid token"
        assert http_post(other.http, f"auth {other.credentials}; use-db {BIG_DATABASE} pwd").startswith("valid auth")
        assert http_post(other.http, f"auth {server.credentials}").startswith("invalid auth")
        assert len(http_post(other.http, f"use-db {BIG_DATABASE} pwd; keys").split(",")) > BIG_KEYS
    assert revisions > 10
    print(f"seed {SEED}: acknowledged while the backup was made: {during}")


def test_a_restore_under_a_running_server_is_refused(server: Server, disk_folder: Path) -> None:
    create_database(server, DATABASE, then="set k v")
    file = disk_folder / "a.backup"
    assert run("backup", str(file), "--data-dir", str(server.data_dir)).code == 0
    result = run("restore", "--replace", str(file), "--data-dir", str(server.data_dir))
    assert result.code == 1
    assert f"in use by another nun-db server (process {server.pid}): stop that one first" in result.errors
    assert http_post(server.http, f"use-db {DATABASE} pwd; get k") == "empty;value v\n"
    server.restart()
    assert http_post(server.http, f"use-db {DATABASE} pwd; get k") == "empty;value v\n"


def test_a_server_may_start_while_its_data_is_copied(disk_folder: Path) -> None:
    with Server(disk_folder / "dbs") as server:
        create_database(server, DATABASE, then="set k v")
        server.stop()
        for name in (schema.READERS_FILE, schema.LOCK_FILE):
            (server.data_dir / name).unlink()
        with lmdb.open(str(server.data_dir), readonly=True) as reading:
            transaction = reading.begin()
            server.start()
            for number in range(20):
                http_post(server.http, f"use-db {DATABASE} pwd; set k {number}")
            transaction.abort()
            assert server.stop() == 0


# --- killed and interrupted ------------------------------------------------------------------------------------


@pytest.fixture(name="big_folder", scope="module")
def _big_folder() -> Iterator[Path]:
    """The data of a stopped server, some 25 MB."""
    with new_folder() as folder, Server(folder / "dbs") as server:
        fill(server)
        server.stop()
        yield server.data_dir


def ends_well(file: Path, big_folder: Path) -> None:
    """The next backup is made, and nothing lies about."""
    assert run("backup", str(file), "--data-dir", str(big_folder)).code == 0
    assert run("verify", str(file)).code == 0
    assert [path.name for path in file.parent.iterdir() if "backup" in path.name] == [file.name]


def end_in_the_middle(file: Path, folder: Path, number: signal.Signals, size: int) -> tuple[int, str, str]:
    """Make a backup and send a signal when so many bytes are written; exit code, output, errors.

    Tried again if it was done before the signal came, for nobody holds it up.
    """
    partial = file.with_name(f".{file.name}.partial")
    for _ in range(20):
        process = start("backup", str(file), "--data-dir", str(folder))
        wait_until(lambda: size_of(partial) >= size, process)
        process.send_signal(number)
        ended = finish(process)
        if ended[0] != 0:
            return ended
        file.unlink()
    raise AssertionError("the signal came too late each time")


def test_a_killed_backup_leaves_nothing_under_its_name(big_folder: Path, disk_folder: Path) -> None:
    file = disk_folder / "a.backup"
    partial = disk_folder / ".a.backup.partial"
    for size in (1, 10 << 20):
        assert end_in_the_middle(file, big_folder, signal.SIGKILL, size)[0] == -signal.SIGKILL
        assert not file.exists()
        assert partial.exists()
    ends_well(file, big_folder)


def test_ctrl_c_leaves_nothing_at_all(big_folder: Path, disk_folder: Path) -> None:
    code, output, errors = end_in_the_middle(disk_folder / "a.backup", big_folder, signal.SIGINT, 1)
    assert (code, output) == (130, "")
    assert "Traceback" not in errors
    assert list(disk_folder.iterdir()) == []


@pytest.mark.timeout(300)
def test_a_killed_restore_leaves_the_old_data_or_the_new(big_folder: Path, disk_folder: Path) -> None:
    file = disk_folder / "a.backup"
    assert run("backup", str(file), "--data-dir", str(big_folder)).code == 0
    with Server(disk_folder / "dbs") as server:
        create_database(server, DATABASE, then="set k old")
        server.stop()
        old = (server.data_dir / schema.DATA_FILE).read_bytes()
        arguments = ("restore", "--replace", str(file), "--data-dir", str(server.data_dir))
        began = time.monotonic()
        assert run(*arguments).code == 0
        whole_seconds = time.monotonic() - began
        for share in (0.5, 0.9):
            (server.data_dir / schema.DATA_FILE).write_bytes(old)
            process = start(*arguments)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(whole_seconds * share)
            process.kill()
            finish(process)
            is_old = (server.data_dir / schema.DATA_FILE).read_bytes() == old
            server.start()
            databases = http_post(server.http, f"use-db {DATABASE} pwd; get k; use-db {BIG_DATABASE} pwd")
            assert databases == ("empty;value old\n;Not a valid database name" if is_old else databases)
            assert is_old or databases.endswith("empty"), databases
            server.stop()
        assert run(*arguments).code == 0
        assert not list(server.data_dir.glob(".*"))


def test_a_killed_copy_does_not_make_the_server_s_file_grow(server: Server) -> None:
    """A dead reader's pages are used again: LMDB would keep them for it for ever."""
    create_database(server, DATABASE)
    program = (
        "import lmdb, sys\n"
        "environment = lmdb.open(sys.argv[1], readonly=True, max_dbs=2)\n"
        "transaction = environment.begin()\n"
        "print('reading', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with (
        subprocess.Popen(
            [sys.executable, "-c", program, str(server.data_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as killed,
        lmdb.open(str(server.data_dir), readonly=True) as environment,
    ):
        assert killed.stdout is not None
        assert killed.stdout.readline() == b"reading\n"
        assert f" {killed.pid} " in environment.readers()
        killed.kill()
        killed.wait(TIMEOUT_SECONDS)
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while f" {killed.pid} " in environment.readers() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert f" {killed.pid} " not in environment.readers()


# --- rooms and rights ------------------------------------------------------------------------------------------


def test_a_full_disk(big_folder: Path, disk_folder: Path, small_disk: Path) -> None:
    file = small_disk / "a.backup"
    result = run("backup", str(file), "--data-dir", str(big_folder))
    assert (result.code, result.output) == (1, "")
    assert result.errors.startswith(f"nun-db: {file} can't be written (No space left on device): free up space")
    assert list(small_disk.iterdir()) == []
    big = disk_folder / "a.backup"
    assert run("backup", str(big), "--data-dir", str(big_folder)).code == 0
    make_folder(small_disk / "dbs")
    before = contents(small_disk / "dbs")
    result = run("restore", "--replace", str(big), "--data-dir", str(small_disk / "dbs"))
    assert result.code == 1
    assert "can't be written (No space left on device)" in result.errors
    assert contents(small_disk / "dbs") == before
    assert not list((small_disk / "dbs").glob("data-before-*"))


def can_be_run_by_nobody() -> bool:
    """Whether another user can run this Python with its packages, and this checkout."""
    program = "import lmdb, typer, pynun.cli.app"
    try:
        tried = subprocess.run(
            [sys.executable, "-c", program], user="nobody", cwd=REPOSITORY, env=clean_environment({}), check=False
        )
    except OSError:
        return False
    return tried.returncode == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can run the command as another user")
def test_another_user_is_told_whose_data_it_is(disk_folder: Path) -> None:
    if not can_be_run_by_nobody():
        pytest.skip("the user nobody can't run this checkout or its Python")
    disk_folder.chmod(0o755)
    folder = make_folder(disk_folder / "dbs")
    result = subprocess.run(
        command_line("backup", "/tmp/x", "--data-dir", str(folder)),
        user="nobody",
        cwd=REPOSITORY,
        env=clean_environment({}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == (
        f"nun-db: the data in {folder} can't be read: Permission denied; run this as the user of the server (root)"
        " or as root\n"
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to another user")
def test_what_root_restores_and_makes_belongs_to_the_server_s_user(disk_folder: Path) -> None:
    folder = make_folder(disk_folder / "dbs")
    (folder / schema.READERS_FILE).unlink()
    owner = (12345, 12346)
    for path in (disk_folder, folder, *folder.iterdir()):
        os.chown(path, *owner)
    file = disk_folder / "a.backup"
    assert run("backup", str(file), "--data-dir", str(folder)).code == 0
    assert (file.stat().st_uid, file.stat().st_mode & 0o777) == (0, 0o600)
    for path in folder.iterdir():  # the table of readers and the audit trail among them
        assert (path.stat().st_uid, path.stat().st_gid) == owner, path
    for target in (folder, disk_folder / "new"):
        assert run("restore", "--replace", str(file), "--data-dir", str(target)).code == 0
        for path in (target, *target.iterdir()):
            assert (path.stat().st_uid, path.stat().st_gid) == owner, path
