"""A server that is started on the original's folder: it has everything, or says why not, and imports once."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from pynun.storage.store import LmdbStore
from pynun.storage.wal.segment import GLOB
from pynun.transfer.nundb_import import imported_before
from tests.support.nundb_files import REFERENCE_FOLDER, expected, write_database, write_folder
from tests.transfer.folders import content, fingerprints
from tools.clients.exact_clients import http_post
from tools.clients.server import REPOSITORY, ServerDiedError, nun_db

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.clients.server import Server


@pytest.fixture(name="at_reference")
def _at_reference(new_server: Callable[..., Server]) -> Server:
    """A server, not started, on a copy of what the original wrote."""
    server = new_server()
    shutil.copytree(REFERENCE_FOLDER, server.data_dir)
    return server


def logged(server: Server, text: str) -> bool:
    return any(text in line for line in server.output)


def test_everything_is_there_after_the_start(at_reference: Server) -> None:
    """The container is replaced, the folder stays: users, tokens, permissions, versions and values are the same."""
    server = at_reference
    before = fingerprints(server.data_dir)
    server.start()
    wanted = expected()
    for name, token in wanted["tokens"].items():
        keys = http_post(server.http, f"use-db {name} {token}; keys").split(";")[1].strip("\n")
        listed = {key for key in keys.removeprefix("keys ").split(",") if key and key != "$connections"}
        assert listed == wanted["keys"][name].keys()
        for key, (version, value) in wanted["keys"][name].items():
            answer = http_post(server.http, f"use-db {name} {token}; get-safe {key}")
            assert answer == f"empty;value-version {version} {value}\n"
        assert http_post(server.http, f"use-db {name} wrong") == "Invalid token"
    for name, users in wanted["users"].items():
        for user, token in users.items():
            answer = http_post(server.http, f"use-db {name} {user} {token}; set client-x 1; set other 1")
            assert answer.rstrip() == "empty;empty;permission denied"
    for name, keys_absent in wanted["absent"].items():
        for key in keys_absent:
            assert http_post(server.http, f"use-db {name} {wanted['tokens'][name]}; get {key}").endswith("<Empty>\n")
    answer = http_post(server.http, f"auth {server.credentials}; debug list-dbs")
    for name, strategy in wanted["strategies"].items():
        assert f"{name} : {strategy}\n" in answer
    assert logged(server, "holds data of the original Nun-db: importing it")
    assert logged(server, "imported hospital (none): 7 keys, 1 users")
    events = [json.loads(line) for line in (server.data_dir / "audit.jsonl").read_text().splitlines()]
    (imported,) = [event for event in events if event["event"] == "import-nundb"]
    assert (imported["outcome"], imported["databases"], imported["keys"]) == ("ok", len(wanted["tokens"]), 8)
    assert fingerprints(server.data_dir) == before

    server.stop()
    stored = (server.data_dir / "data.mdb").read_bytes()
    for secret in (b"hospital-pwd", b"client-pwd", b"user-pwd"):
        assert secret not in stored


def test_it_imports_once_and_looks_at_the_files_at_each_start(at_reference: Server) -> None:
    server = at_reference
    for name in ("oplog-nun.op", "hospital-nun.data.keys.old", "oplog/1"):
        (server.data_dir / name).parent.mkdir(exist_ok=True)
        (server.data_dir / name).write_text("of the original")
    server.password = "another-pwd"  # which rules, not the imported one
    server.start()
    assert http_post(server.http, "auth user-name user-pwd") == "invalid auth\n"
    assert http_post(server.http, "auth user-name another-pwd; use-db $admin another-pwd") == "valid auth\n;empty"
    assert http_post(server.http, "use-db hospital hospital-pwd; set n 99; remove jumped") == "empty;empty;empty"
    mark = len(server.output)
    server.stop()

    touched = server.data_dir / "hospital-nun.data.values"  # with another time alone it is read once more
    os.utime(touched)
    server.start()
    assert "value 99" in http_post(server.http, "use-db hospital hospital-pwd; get n")
    assert "<Empty>" in http_post(server.http, "use-db hospital hospital-pwd; get jumped")
    server.stop()
    assert not any("import" in line or "original" in line for line in server.output[mark:])
    with contextlib.closing(LmdbStore(server.data_dir)) as store:
        noted = imported_before(store)
    assert noted is not None
    assert noted.files[touched.name][1] == touched.stat().st_mtime_ns

    write_database(server.data_dir, "hospital", [("$$token", 0, "other")])  # the original ran again
    server.start()
    assert logged(server, "changed after they were imported (hospital-nun.data.keys, hospital-nun.data.values)")
    assert http_post(server.http, "use-db hospital hospital-pwd") == "empty"
    server.stop()

    page = (REPOSITORY / "docs" / "migration.md").read_text(encoding="utf-8")
    (command,) = re.findall(r"Remove them once you do not want to go back, in that folder: `(rm [^`]+)`", page)
    subprocess.run(["sh", "-c", command], cwd=server.data_dir, check=True, timeout=60)
    names = {path.name for path in server.data_dir.iterdir()} - {path.name for path in server.data_dir.glob(GLOB)}
    assert names == {"data.mdb", "lock.mdb", "server.lock", "audit.jsonl"}
    server.start()
    assert "value 99" in http_post(server.http, "use-db hospital hospital-pwd; get n")


def test_it_says_when_there_are_files_that_were_never_imported(server: Server) -> None:
    http_post(server.http, f"auth {server.credentials}; create-db ours pwd")
    write_folder(server.data_dir, {"theirs": [("$$token", 0, "pwd")]})
    server.restart()
    assert logged(server, "which were never imported: nun-db import-nundb")
    assert http_post(server.http, "use-db theirs pwd") == "Not a valid database name"


def test_a_server_without_databases_imports_what_is_put_there(server: Server) -> None:
    """Somebody started it on an empty folder first, and then copied the files."""
    write_folder(server.data_dir, {"theirs": [("$$token", 0, "pwd")]})
    server.restart()
    assert http_post(server.http, "use-db theirs pwd") == "empty"


def test_damage_stops_the_start_until_somebody_decides(at_reference: Server) -> None:
    server = at_reference
    values = server.data_dir / "hospital-nun.data.values"
    values.write_bytes(values.read_bytes()[:-20])
    before = fingerprints(server.data_dir)
    with pytest.raises(ServerDiedError, match="exit 1"):
        server.start()
    (line,) = server.errors
    assert "not all data of the original Nun-db" in line
    assert f"nun-db import-nundb --accept-damage {server.data_dir}" in line
    assert logged(server, "hospital-nun.data.values, byte 20270, key 'versioned'")
    assert content(server.data_dir) == {}
    environment = {**server.environment, "NUN_DBS_DIR": str(server.data_dir)}
    accepted = nun_db("import-nundb", "--accept-damage", str(server.data_dir), environment=environment)
    assert accepted.returncode == 6, accepted
    server.start()
    assert http_post(server.http, "use-db hospital hospital-pwd; get n") == "empty;value 42\n"
    assert http_post(server.http, "use-db hospital hospital-pwd; get versioned").endswith("<Empty>\n")
    assert fingerprints(server.data_dir) == before
