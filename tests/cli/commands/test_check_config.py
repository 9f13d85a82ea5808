"""`nun-db check-config`: what the start would refuse, all at once, without a start."""

from __future__ import annotations

import os
import shutil
import socket
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import run
from tests.support.certificates import Authority
from tools.clients.server import ANY_ADDRESSES

if TYPE_CHECKING:
    from pathlib import Path


def _environment(folder: Path, **more: str) -> dict[str, str]:
    return {"NUN_USER": "ana", "NUN_PWD": "secret", "NUN_DBS_DIR": str(folder / "dbs"), **ANY_ADDRESSES, **more}


def test_good_settings_are_told_and_nothing_is_made(disk_folder: Path) -> None:
    certificate, key = Authority(disk_folder).issue("server")
    before = sorted(disk_folder.rglob("*"))
    environment = _environment(disk_folder, NUN_TLS_CERT=str(certificate), NUN_TLS_KEY=str(key))
    with socket.create_server(("127.0.0.1", 0)) as server:  # that port may be the running server's
        environment["NUN_TCP_ADDR"] = taken = f"127.0.0.1:{server.getsockname()[1]}"
        result = run("check-config", "--environment", environment=environment)
    assert (result.code, result.errors) == (0, "")
    assert result.output == (
        f"The settings in the environment are good: data in {disk_folder}/dbs; "
        f"audit trail in {disk_folder}/dbs/audit.jsonl; "
        f"websocket 127.0.0.1:0, http 127.0.0.1:0, tcp {taken}; TLS with {certificate}.\n"
    )
    assert sorted(disk_folder.rglob("*")) == before


def test_all_that_is_wrong_is_told(disk_folder: Path) -> None:
    result = run(*COMMAND, environment=_environment(disk_folder, NUN_LOG_LEVEL="loud", NUN_WS_ADDR="x", NUN_USER=""))
    told = result.errors.splitlines()
    assert (result.code, result.output, len(told)) == (1, "", 3)
    assert told[0].startswith("nun-db: NUN_WS_ADDR: 'x' is not accepted")
    assert told[1].startswith("nun-db: NUN_LOG_LEVEL: 'loud' is not accepted")
    assert told[2] == "nun-db: the server would not start with the settings in the environment"

    (disk_folder / "dbs").write_text("a file")
    (disk_folder / "key.pem").write_text("no key")
    environment = _environment(
        disk_folder,
        NUN_WS_ADDR="127.0.0.1:1234",
        NUN_HTTP_ADDR=":1234",
        NUN_TCP_ADDR="192.0.2.1:0",
        NUN_METRICS="127.0.0.1:1234",
        NUN_TLS_CERT=str(disk_folder / "missing.pem"),
        NUN_TLS_KEY=str(disk_folder / "key.pem"),
        NUN_BACKUP_DIR=str(disk_folder / "none"),
        NUN_AUDIT_FILE=str(disk_folder),
        NUN_LOGLEVEL="info",
    )
    result = run(*COMMAND, environment=environment)
    assert (result.code, result.output) == (1, "")
    for line in (
        "warning: NUN_LOGLEVEL is not a setting of this server",
        f"warning: no backups will be made, because the folder {disk_folder}/none can't be used: No such file",
        f"the TLS file {disk_folder}/missing.pem can't be read",
        "can't listen for tcp on 192.0.2.1:0",
        "NUN_WS_ADDR and NUN_HTTP_ADDR name the same port, 1234",
        "NUN_WS_ADDR and NUN_METRICS name the same port, 1234",
        f"the data folder {disk_folder}/dbs can't be used: a file is in its place",
        f"the audit trail {disk_folder} can't be written: Is a directory",
    ):
        assert f"nun-db: {line}" in result.errors


COMMAND = ("check-config", "--environment")


def test_a_file_is_read_as_systemd_does(disk_folder: Path) -> None:
    file = disk_folder / "pynun.env"
    lines = [f"{name}={value!r}" for name, value in _environment(disk_folder, NUN_PWD="a $b").items()]
    file.write_text("\n".join(["# settings", *lines]))
    for options, variables in ((("--env-file", str(file)), {}), ((), {"NUN_ENV_FILE": str(file)})):
        result = run("check-config", *options, environment={"NUN_LOG_LEVEL": "not of the server", **variables})
        assert (result.code, result.errors) == (0, "")
        assert result.output.startswith(f"The settings in {file} are good: data in {disk_folder}/dbs; ")
    file.write_text(f"# export NUN_WS_ADDR=x\nexport NUN_LOG_LEVEL=info\n{file.read_text()}")
    exported = run("check-config", "--env-file", str(file))
    told = f"nun-db: warning: systemd ignores NUN_LOG_LEVEL in {file}: take the word export out of its line\n"
    assert (exported.code, exported.errors) == (0, told)
    missing = run("check-config", "--env-file", f"{file}x")
    assert (missing.code, missing.output) == (2, "")
    assert missing.errors == f"nun-db: --env-file: the file '{file}x' can't be read: No such file or directory\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can go on as another user")
def test_root_checks_as_the_owner_of_the_data(disk_folder: Path) -> None:
    certificate, key = Authority(disk_folder).issue("server")
    (disk_folder / "dbs").mkdir()
    shutil.chown(disk_folder / "dbs", "nobody")
    disk_folder.chmod(0o755)
    key.chmod(0o600)
    file = disk_folder / "pynun.env"
    environment = _environment(disk_folder, NUN_TLS_CERT=str(certificate), NUN_TLS_KEY=str(key))
    file.write_text("".join(f"{name}={value}\n" for name, value in environment.items()))
    result = run("check-config", "--env-file", str(file))
    assert result.code == 1
    assert f"nun-db: the TLS file {key} can't be read: Permission denied\n" in result.errors
    shutil.chown(key, "nobody")
    assert run("check-config", "--env-file", str(file)).code == 0
