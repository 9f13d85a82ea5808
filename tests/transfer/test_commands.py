"""`nun-db export` and `nun-db import` as people run them, beside a server and without one."""

from __future__ import annotations

import errno
import json
import os
import pwd
import subprocess
from typing import TYPE_CHECKING

import pytest

from pynun.cli.commands.export_import import _opened
from pynun.errors import TransferError
from tests.cli.command import command_line, run
from tests.cli.terminal import run_at_terminal
from tests.transfer.folders import content
from tools.clients.exact_clients import http_post
from tools.clients.server import CHEAP_PASSWORDS, Server, clean_environment

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LARGE_KEYS = 400
LARGE_VALUE_BYTES = 256 * 1024
LARGE_MEMORY_MAX = 64 * 1024 * 1024


@pytest.fixture(name="full")
def _full(new_server: Callable[..., Server]) -> Server:
    """A running server with a database."""
    server = new_server()
    server.start()
    answer = http_post(
        server.http,
        f"auth {server.credentials}; create-db db db-pwd newer; use-db db db-pwd; create-user ana ana-pwd;"
        " set-permissions ana r *; set k Приве́т; set-safe n 41 7",
    )
    assert "error" not in answer
    return server


def nun_db_on(server: Server, *arguments: str, standard_input: bytes = b"") -> tuple[int, str, str]:
    environment = {**CHEAP_PASSWORDS, "NUN_DBS_DIR": str(server.data_dir)}
    return run(*arguments, environment=environment, standard_input=standard_input)


def test_from_a_running_server_to_another_folder(full: Server, new_server: Callable[..., Server]) -> None:
    file = full.data_dir.parent / "db.jsonl"
    assert nun_db_on(full, "export", "db", str(file), "--with-secrets") == (0, f"{file}: db, 5 keys, with tokens\n", "")
    assert file.stat().st_mode & 0o777 == 0o600
    trail = [json.loads(line) for line in (full.data_dir / "audit.jsonl").read_text().splitlines()]
    assert (trail[-1]["event"], trail[-1]["database"], trail[-1]["keys"]) == ("export", "db", 5)
    code, _, told = nun_db_on(full, "export", "typed-secret", str(file.with_suffix(".other")))
    assert (code, "there is no database 'typed-secret'" in told) == (1, True)
    failed = json.loads((full.data_dir / "audit.jsonl").read_text().splitlines()[-1])
    assert (failed["event"], failed["outcome"], failed["database"]) == ("export", "failed", None)
    assert "typed-secret" not in str(failed)
    other = new_server()
    assert nun_db_on(other, "import", "db", str(file)) == (
        0,
        "db: 5 keys imported (with users and tokens); start the server\n",
        "",
    )
    other.start()
    answer = http_post(other.http, "use-db db ana ana-pwd; get-safe k; get-safe n; set k x")
    assert answer.split(";")[:3] == ["empty", "value-version 0 Приве́т\n", "value-version 42 7\n"]
    assert "permission denied" in answer
    assert http_post(other.http, "use-db db db-pwd") == "empty"


def test_through_a_pipe(full: Server, new_server: Callable[..., Server]) -> None:
    code, lines, errors = nun_db_on(full, "export", "db")
    assert (code, errors) == (0, "")
    header, *keys, end = (json.loads(line) for line in lines.splitlines())
    assert (header["format"], header["database"], header["strategy"]) == ("nun-db export", "db", "newer")
    assert [line["key"] for line in keys] == ["$$permission_$ana", "k", "n"]
    assert end["keys"] == 3
    other = new_server()
    result = nun_db_on(other, "import", "copy", "-", "--token", "copy-pwd", standard_input=lines.encode())
    assert result == (0, "copy: 4 keys imported (with users and tokens); start the server\n", "")
    other.start()
    assert http_post(other.http, "use-db copy copy-pwd; get n") == "empty;value 7\n"


def test_memory_does_not_grow_with_the_file(disk_folder: Path) -> None:
    file, copy, folder = disk_folder / "large.jsonl", disk_folder / "copy.jsonl", str(disk_folder / "dbs")
    with file.open("w") as lines:
        first = {"format": "nun-db export", "version": 1, "database": "d", "strategy": "none", "secrets": False}
        print(json.dumps({**first, "made": "2026-11-24T20:15:00Z"}), file=lines)
        for number in range(LARGE_KEYS):
            print(json.dumps({"key": f"k{number}", "version": 1, "value": "v" * LARGE_VALUE_BYTES}), file=lines)
        print(json.dumps({"end": True, "keys": LARGE_KEYS}), file=lines)
    # The limit is of private memory; the pages of the data file are none.
    limit = ("prlimit", f"--data={LARGE_MEMORY_MAX}", "--")
    assert LARGE_KEYS * LARGE_VALUE_BYTES > 1.5 * LARGE_MEMORY_MAX
    for arguments in (
        ("import", "large", str(file), "-t", "x", "--data-dir", folder),
        ("export", "large", str(copy), "--data-dir", folder),
    ):
        done = subprocess.run(
            [*limit, *command_line(*arguments)],
            env=clean_environment(CHEAP_PASSWORDS),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done
        keys = LARGE_KEYS + (arguments[0] == "import")  # with its token
        assert f"{keys} keys" in done.stdout
    assert copy.stat().st_size > LARGE_KEYS * LARGE_VALUE_BYTES


def test_progress_is_shown_at_a_terminal(full: Server, disk_folder: Path) -> None:
    file = str(disk_folder / "db.jsonl")
    code, screen = run_at_terminal(("export", "db", file, "--data-dir", str(full.data_dir)), [])
    assert (code, "\r0 keys" in screen) == (0, True)
    assert screen.endswith(f"{file}: db, 3 keys, without tokens\r\n")
    code, screen = run_at_terminal(("import", "copy", file, "-t", "x", "--data-dir", str(disk_folder / "new")), [])
    assert (code, "\rline " in screen) == (0, True)
    assert screen.endswith("copy: 4 keys imported (with users and tokens); start the server\r\n")


def test_import_is_refused_while_the_server_runs(full: Server) -> None:
    _, lines, _ = nun_db_on(full, "export", "db")
    code, _, errors = nun_db_on(full, "import", "copy", "-t", "x", standard_input=lines.encode())
    assert code == 1
    assert "is in use by another nun-db server" in errors


def test_without_a_token_it_is_asked_for(full: Server, disk_folder: Path) -> None:
    _, lines, _ = nun_db_on(full, "export", "db")
    result = run("import", "db", "--data-dir", str(disk_folder / "new"), standard_input=lines.encode())
    assert result.code == 2
    assert "the token of the database db is missing" in result.errors
    assert content(disk_folder / "new") == {}


def test_a_bad_line_is_one_line_of_trouble(full: Server, disk_folder: Path) -> None:
    _, lines, _ = nun_db_on(full, "export", "db")
    cut = lines.encode()[:-5]
    result = run("import", "db", "-t", "x", "--data-dir", str(disk_folder / "new"), standard_input=cut)
    assert result == (1, "", "nun-db: line 5: it is not JSON, or was cut; nothing was imported\n")


def test_a_file_that_is_there_is_kept_unless_told(full: Server, disk_folder: Path) -> None:
    file = disk_folder / "db.jsonl"
    file.write_text("precious")
    code, _, errors = nun_db_on(full, "export", "db", str(file))
    assert (code, file.read_text()) == (1, "precious")
    assert "already exists" in errors
    assert nun_db_on(full, "export", "missing", str(file), "--replace")[0] == 1
    assert file.read_text() == "precious"
    assert nun_db_on(full, "export", "db", str(file), "--replace")[0] == 0
    assert file.read_text().startswith('{"format"')
    assert [path.name for path in disk_folder.iterdir() if "partial" in path.name] == []


def test_only_an_error_of_the_file_is_called_one(disk_folder: Path) -> None:
    file = disk_folder / "db.jsonl"
    file.write_text("{}")

    def import_and_fail() -> None:
        with _opened(str(file)) as source:
            assert source.readline() == b"{}"
            raise OSError(errno.ENOSPC, "of the store")

    with pytest.raises(OSError, match="of the store"):
        import_and_fail()
    # The memory of a process can be opened; its first page, which is never there, can't be read.
    with (
        _opened("/proc/self/mem") as source,
        pytest.raises(TransferError, match="self/mem can't be read: Input/output"),
    ):
        source.readline()


@pytest.mark.parametrize(
    ("arguments", "code", "why"),
    [
        (["export", "db", "--data-dir", "/nowhere/x"], 1, "there is no data in /nowhere/x"),
        (
            ["import", "db", "/nowhere/x", "--data-dir", "/nowhere/y"],
            1,
            "/nowhere/x can't be read: No such file or directory",
        ),
        (["import", "db", "--replace", "--merge"], 2, "--replace and --merge can't be combined"),
        (["import", "d b"], 2, "choose another name for the database: 'd b'"),
    ],
)
def test_what_makes_no_sense(arguments: list[str], code: int, why: str) -> None:
    result = run(*arguments)
    assert (result.code, result.output) == (code, "")
    assert why in result.errors


def test_it_exports_one_moment_while_clients_write(full: Server) -> None:
    """Both keys are changed together by each request, in order: no moment has the second ahead of the first."""
    setup = "".join(f"set filler-{number} {'x' * 500};" for number in range(2000))
    http_post(full.http, f"use-db db db-pwd; {setup} set a 0; set z 0")
    environment = clean_environment({"NUN_DBS_DIR": str(full.data_dir)})
    file = full.data_dir.parent / "moment.jsonl"
    for attempt in range(3):
        with file.open("wb") as output:
            process = subprocess.Popen(command_line("export", "db"), env=environment, stdout=output)
        number = attempt * 1_000_000
        while process.poll() is None:
            number += 1
            http_post(full.http, f"use-db db db-pwd; set a {number}; set z {number}")
        assert process.returncode == 0
        lines = [json.loads(line) for line in file.read_bytes().splitlines()]
        values = {line["key"]: line["value"] for line in lines if "key" in line}
        assert int(values["a"]) - int(values["z"]) in (0, 1)
        assert len(values) == 2005


def trail_of(server: Server) -> list[dict[str, object]]:
    return [json.loads(line) for line in (server.data_dir / "audit.jsonl").read_text().splitlines()]


def test_what_failed_is_on_the_audit_trail_too(full: Server) -> None:
    full.stop()
    assert nun_db_on(full, "export", "no-such")[0] == 1
    assert nun_db_on(full, "import", "db", standard_input=b"{}\n")[0] == 1
    out, into = trail_of(full)[-2:]
    user = pwd.getpwuid(os.getuid()).pw_name
    for line, event in ((out, "export"), (into, "import")):
        assert {"event": event, "outcome": "failed", "system_user": user}.items() <= line.items()
    assert into["database"] == "db"
    assert "no-such" not in json.dumps(out)  # a name of no database may be a secret that was typed in its place


def test_without_a_trail_nothing_is_done(full: Server) -> None:
    """Not said afterwards: it would be done then, and nobody would know."""
    full.stop()
    environment = {**CHEAP_PASSWORDS, "NUN_DBS_DIR": str(full.data_dir), "NUN_AUDIT_KEEP": "many"}
    lines = nun_db_on(full, "export", "db", "--with-secrets")[1].encode()
    for arguments in (("import", "new"), ("export", "db", str(full.data_dir.parent / "out"))):
        code, _, errors = run(*arguments, environment=environment, standard_input=lines)
        assert code == 1
        assert "NUN_AUDIT_KEEP" in errors
    assert "new" not in content(full.data_dir)
    assert not (full.data_dir.parent / "out").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be led by a link of another user's")
def test_root_follows_no_link_from_the_data_folder(full: Server) -> None:
    full.stop()
    (full.data_dir / "audit.jsonl").unlink(missing_ok=True)
    for path in (full.data_dir.parent, full.data_dir, *full.data_dir.iterdir()):
        os.chown(path, 12345, 12346)
    victim = full.data_dir.parent / "of-root"
    victim.write_text("")
    victim.chmod(0o600)
    (full.data_dir / "audit.jsonl").symlink_to(victim)
    code, lines, _ = nun_db_on(full, "export", "db", "--with-secrets")
    assert code == 0
    assert nun_db_on(full, "import", "db", "--replace", standard_input=lines.encode())[0] == 0
    assert victim.read_text() == ""
