"""`nun-db import-nundb` as people run it: what it prints, how it ends, and what is there when it is killed."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import command_line, run
from tests.cli.terminal import run_at_terminal
from tests.support.nundb_files import REFERENCE_FOLDER, Key, write_database, write_folder
from tests.transfer.folders import Content, content, fingerprints, stored_keys
from tools.clients.exact_clients import http_post
from tools.clients.server import CHEAP_PASSWORDS, Server, clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable

TOKEN: Key = ("$$token", 0, "pwd")
KILLS = 4


@pytest.fixture(name="old")
def _old(disk_folder: Path) -> Path:
    old = disk_folder / "old"
    shutil.copytree(REFERENCE_FOLDER, old)
    return old


@pytest.fixture(name="environment")
def _environment(disk_folder: Path) -> dict[str, str]:
    return {**CHEAP_PASSWORDS, "NUN_DBS_DIR": str(disk_folder / "dbs")}


def test_the_reference_folder(old: Path, environment: dict[str, str]) -> None:
    before = fingerprints(old)
    result = run("import-nundb", str(old), environment=environment)
    assert (result.code, result.errors) == (0, "")
    assert result.output == (
        "arb (arbiter): 0 keys, 0 users\n"
        "empty (none): 0 keys, 0 users\n"
        "hospital (none): 7 keys, 1 user\n"
        "newest (newer): 1 key, 0 users\n"
        f"imported into {environment['NUN_DBS_DIR']}: 4 databases, 8 keys, 1 user; 2 skipped ($connections, which is"
        " counted anew), 0 problems, 0 notes\n"
    )
    assert fingerprints(old) == before


def test_it_is_on_the_audit_trail(old: Path, environment: dict[str, str]) -> None:
    run("import-nundb", str(old), environment=environment)
    (line,) = (disk(environment) / "audit.jsonl").read_text().splitlines()
    told = json.loads(line)
    assert (told["event"], told["outcome"], told["folder"]) == ("import-nundb", "ok", str(old))
    assert (told["databases"], told["keys"], told["losses"]) == (4, 8, 0)


def test_what_root_makes_belongs_to_the_folders_owner(old: Path, environment: dict[str, str]) -> None:
    if os.geteuid():
        pytest.skip("to give files to another user, root is needed")
    dbs = disk(environment)
    dbs.mkdir(mode=0o700)
    dbs.parent.chmod(0o755)  # the server's user gets there, as everywhere
    os.chown(dbs, 12345, 12346)
    assert run("import-nundb", str(old), environment=environment).code == 0
    assert {(path.stat().st_uid, path.stat().st_gid) for path in dbs.iterdir()} == {(12345, 12346)}
    assert len(list(dbs.iterdir())) == 8


def test_a_dry_run_changes_nothing(old: Path, disk_folder: Path, environment: dict[str, str]) -> None:
    before = fingerprints(old)
    result = run("import-nundb", "--dry-run", "--json", str(old), environment=environment)
    assert result.code == 0
    told = json.loads(result.output)
    assert (told["imported"], told["losses"], len(told["databases"])) == (False, 0, 5)
    assert not (disk_folder / "dbs").exists()
    assert fingerprints(old) == before


def test_everything_that_is_not_read_is_listed(old: Path, environment: dict[str, str]) -> None:
    (old / "newest-nun.data.values").unlink()
    with (old / "hospital-nun.data.keys").open("ab") as file:
        file.write(b"\xff" * 9)
    (old / "empty-nun.madadata").write_bytes(b"?")
    before = fingerprints(old)
    for arguments, code in ((["--dry-run"], 1), ([], 1), (["--accept-damage"], 6)):
        result = run("import-nundb", *arguments, str(old), environment=environment)
        assert result.code == code
        lines = result.errors.splitlines()
        assert lines[:5] == [
            "nun-db: not read: empty-nun.madadata: it does not say a strategy: newer is taken, as when it is missing",
            "nun-db: not read: hospital-nun.data.keys, byte 356: no key can be read from here to the end (9 bytes): cut"
            " off, or a length that is garbage",
            "nun-db: not read: newest-nun.data.values: it is missing: no value of this database can be read",
            "nun-db: not read: newest-nun.data.values, key '$$token': the value of the key is missing with its file",
            "nun-db: not read: newest-nun.data.values, key 'k': the value of the key is missing with its file",
        ]
        assert "nobody can select it by its own token" in lines[5]
        assert len(lines) == (6 if code == 6 else 7)
        if code == 1:
            assert "not everything in" in lines[6]
    assert fingerprints(old) == before
    assert "k" not in content(disk(environment))["newest"]
    assert len(content(disk(environment))["hospital"]) == 10


def disk(environment: dict[str, str]) -> Path:
    return Path(environment["NUN_DBS_DIR"])


def test_it_is_refused_while_the_server_runs(old: Path, new_server: Callable[..., Server]) -> None:
    server = new_server()
    server.start()
    result = run("import-nundb", "--data-dir", str(server.data_dir), str(old), environment=CHEAP_PASSWORDS)
    assert result.code == 1
    assert f"is in use by another nun-db server (process {server.pid}): stop that one first" in result.errors
    assert http_post(server.http, "use-db hospital hospital-pwd") == "Not a valid database name"


def test_what_exists_is_named(old: Path, environment: dict[str, str]) -> None:
    assert run("import-nundb", str(old), environment=environment).code == 0
    again = run("import-nundb", str(old), environment=environment)
    assert again.code == 1
    assert "nothing was imported: arb, empty, hospital, newest exist already; --replace" in again.errors
    replaced = run("import-nundb", "--replace", str(old), environment=environment)
    assert replaced.code == 0
    assert "hospital (none): 7 keys, 1 user, in place of the one that was there" in replaced.output


@pytest.mark.parametrize("made", [False, True])
def test_a_folder_with_nothing_in_it_is_refused_and_makes_none(
    disk_folder: Path, environment: dict[str, str], made: bool
) -> None:
    folder = disk_folder / "nothing"
    if made:
        folder.mkdir()
    result = run("import-nundb", str(folder), environment=environment)
    assert result.code == 1
    assert ("there is no data of the original" if made else "No such file or directory") in result.errors
    assert not (disk_folder / "dbs").exists()


def test_progress_is_shown_at_a_terminal(old: Path, disk_folder: Path) -> None:
    code, screen = run_at_terminal(["import-nundb", "--data-dir", str(disk_folder / "dbs"), str(old)], [])
    assert code == 0
    assert "\rimporting $admin: 0 %" in screen
    assert screen.endswith("0 problems, 0 notes\r\n")


def test_names_cannot_act_on_a_terminal(disk_folder: Path, environment: dict[str, str]) -> None:
    write_folder(disk_folder / "evil", {"a\x1b[2J": [TOKEN, ("\x1b]0;x\x07", 0, "v"), ("\x1b]0;x\x07", 1, "w")]})
    result = run("import-nundb", "--accept-damage", str(disk_folder / "evil"), environment=environment)
    assert result.code == 6
    assert "\x1b" not in result.output + result.errors


def many_keys(folder: Path) -> None:
    for name in ("one", "two"):
        write_database(folder, name, [TOKEN, *((f"{name}-{number}", number, "v" * 200) for number in range(30_000))])


def complete(command: list[str], environment: dict[str, str]) -> float:
    began = time.monotonic()
    done = subprocess.run(command, env=clean_environment(environment), capture_output=True, timeout=200, check=False)
    assert done.returncode == 0, done
    return time.monotonic() - began


@pytest.mark.timeout(300)
def test_killed_at_any_moment_it_leaves_all_or_nothing(disk_folder: Path, environment: dict[str, str]) -> None:
    old = disk_folder / "many"
    many_keys(old)
    before = fingerprints(old)
    command = command_line("import-nundb", str(old))
    seconds = complete(command, {**environment, "NUN_DBS_DIR": str(disk_folder / "whole")})
    whole = _without_secrets(content(disk_folder / "whole"))
    dbs = disk(environment)
    outcomes = set()
    for number in range(KILLS):
        shutil.rmtree(dbs, ignore_errors=True)
        process = subprocess.Popen(
            command, env=clean_environment(environment), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(seconds * (number + 1) / (KILLS + 1))
        process.send_signal(signal.SIGKILL)
        process.wait(10)
        if (dbs / "data.mdb").exists() and (found := content(dbs)):
            assert _without_secrets(found) == whole
            outcomes.add("all")
        else:
            outcomes.add("nothing")
    assert "nothing" in outcomes
    # What the last kill left does not stand in the way, and is gone.
    complete([*command, "--replace"], environment)
    assert _without_secrets(content(dbs)) == whole
    assert len(stored_keys(dbs)) == len(stored_keys(disk_folder / "whole"))
    assert fingerprints(old) == before


def test_a_server_killed_while_it_imports_imports_again(disk_folder: Path, new_server: Callable[..., Server]) -> None:
    server = new_server()
    many_keys(server.data_dir)
    process = subprocess.Popen(
        server.command_line(),
        env=clean_environment({**server.environment, "NUN_DBS_DIR": str(server.data_dir)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdout is not None
    while "importing it" not in process.stdout.readline():
        pass
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    process.stdout.close()
    server.start()
    answer = http_post(server.http, "use-db two pwd; get two-29999; get two-0")
    assert answer == f"empty;value {'v' * 200}\n;value {'v' * 200}\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_server_stopped_while_it_imports_ends_cleanly_with_nothing(
    disk_folder: Path, new_server: Callable[..., Server], number: signal.Signals
) -> None:
    server = new_server()
    many_keys(server.data_dir)
    with subprocess.Popen(
        server.command_line(),
        env=clean_environment({**server.environment, "NUN_DBS_DIR": str(server.data_dir)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        while "importing it" not in process.stdout.readline():
            pass
        process.send_signal(number)
        said = process.stdout.read()
        assert process.wait(60) == 0, said
    assert f"stopped on {number.name}, before any client was served" in said
    assert "Traceback" not in said
    assert content(server.data_dir) == {}


def test_a_full_disk_imports_nothing(old: Path, environment: dict[str, str], disk_folder: Path) -> None:
    if os.geteuid() or shutil.which("mount") is None:
        pytest.skip("to mount a small disk, root is needed")
    small = disk_folder / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=19m", "none", small], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        write_folder(old, {"large": [TOKEN, *((f"k{number}", 0, "v" * 1000) for number in range(5000))]})
        result = run("import-nundb", str(old), "--data-dir", str(small), environment=environment)
        assert result.code == 1
        assert "No space left on device; nothing was imported, free up space and try again" in result.errors
        assert content(small) == {}
    finally:
        subprocess.run(["umount", "-l", small], check=True)


def _without_secrets(found: Content) -> Content:
    return {name: {key: entry for key, entry in entries.items() if key != "$$token"} for name, entries in found.items()}
