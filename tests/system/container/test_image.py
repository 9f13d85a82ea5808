"""The image: what it declares, whose folders it serves, how little it needs, and that it can be moved."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from tests.support.certificates import Authority
from tools.docs.man_pages import COMPLETIONS

if TYPE_CHECKING:
    from pathlib import Path

    from tests.system.container.engine import Engine

pytestmark = pytest.mark.timeout(1800)

USER = 65532
IMAGE_BYTES_MAX = 160_000_000
FAST_CHECKS = ("--health-interval", "1s")
HARDENED = (
    *("--read-only", "--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--user", f"{USER}:{USER}"),
    *("--pids-limit", "100", "--memory", "256m"),
)


def exec_in(engine: Engine, name: str, commands: str) -> str:
    """Run commands as the administrator with the nun-db command in the container."""
    return engine.docker("exec", name, "nun-db", "exec", commands)


def process_users(engine: Engine, name: str) -> set[str]:
    """The users (real, effective, saved, of the file system) of the container's first process."""
    status = engine.docker("exec", name, "cat", "/proc/1/status")
    return {word for line in status.splitlines() if line.startswith("Uid:") for word in line.split()[1:]}


def test_what_it_declares(engine: Engine, image: str) -> None:
    told = engine.inspect(image)
    config = told["Config"]
    environment = dict(entry.split("=", 1) for entry in config["Env"])
    assert {name: environment.get(name) for name in ("NUN_WS_ADDR", "NUN_HTTP_ADDR", "NUN_TCP_ADDR")} == {
        "NUN_WS_ADDR": "0.0.0.0:3012",
        "NUN_HTTP_ADDR": "0.0.0.0:3013",
        "NUN_TCP_ADDR": "0.0.0.0:3014",
    }
    assert config["ExposedPorts"].keys() == {"3012/tcp", "3013/tcp", "3014/tcp"}
    assert config["Labels"]["org.opencontainers.image.title"] == "pynun"
    assert config["Labels"]["org.opencontainers.image.version"] == "0.0.test"
    assert config["Healthcheck"]["Interval"] == 30_000_000_000
    assert config["Healthcheck"]["StartPeriod"] == 1_800_000_000_000
    assert told["Size"] < IMAGE_BYTES_MAX
    print(f"image: {told['Size'] / 1e6:.1f} MB")


def test_nothing_is_in_it_but_the_locked_packages(engine: Engine, image: str) -> None:
    listed = engine.docker(
        *("run", "--rm", image, "/opt/pynun/bin/python", "-c"),
        "import importlib.metadata as m, json;"
        "print(json.dumps([d.name for d in m.distributions() if '/opt/pynun/' in str(d.locate_file(''))]))",
    )
    names = set(json.loads(listed))
    assert {"pynun", "trio", "lmdb"} <= names
    assert not names & {"pip", "setuptools", "wheel"}


def test_a_folder_of_roots_is_handed_over_and_the_health_becomes_good(engine: Engine, image: str) -> None:
    folder = engine.root / "srv" / "of-root"
    folder.mkdir(mode=0o755)
    assert folder.stat().st_uid == 0
    with engine.running(*FAST_CHECKS, "--volume", "/srv/of-root:/data") as name:
        engine.wait_health(name, "healthy")
        assert "ready; to stop it: docker stop CONTAINER" in engine.logs(name)
        assert process_users(engine, name) == {str(USER)}
        assert folder.stat().st_uid == USER
        assert {path.stat().st_uid for path in folder.iterdir()} == {USER}
        exec_in(engine, name, "create-db a b; use-db a b; set k kept")
        engine.docker("restart", "--time", "30", name)
        engine.wait_health(name, "healthy")
        assert '"valid auth\\n;empty;value kept' in exec_in(engine, name, "use-db a b; get k")
    # Files that root made in it meanwhile, as with nun-db in `docker exec` or a restored copy.
    for path in folder.iterdir():
        os.chown(path, 0, 0)
    with engine.running("--volume", "/srv/of-root:/data") as name:
        assert '"valid auth\\n;empty;value kept' in exec_in(engine, name, "use-db a b; get k")
        assert {path.stat().st_uid for path in folder.iterdir()} == {USER}


def test_a_folder_that_is_missing_is_made(engine: Engine, image: str) -> None:
    with engine.running("--volume", "/srv/new:/data", "--env", "NUN_DBS_DIR=/data/site/dbs") as name:
        exec_in(engine, name, "create-db a b")
    for folder in ("new/site", "new/site/dbs"):
        assert (engine.root / "srv" / folder).stat().st_uid == USER
    assert (engine.root / "srv" / "new" / "site" / "dbs" / "data.mdb").stat().st_uid == USER


def test_a_folder_with_other_things_is_not_handed_over(engine: Engine, image: str) -> None:
    folder = engine.root / "srv" / "others"
    folder.mkdir(mode=0o755)
    (folder / "payroll").write_text("of somebody else")
    done = engine.try_docker(
        *("run", "--rm", "--env", "NUN_USER=a", "--env", "NUN_PWD=b", "--volume", "/srv/others:/data", image)
    )
    assert done.returncode == 1
    assert "was not given to that user, because it contains other things (payroll)" in done.stderr
    assert folder.stat().st_uid == 0


def test_a_folder_of_backups_is_handed_over(engine: Engine, image: str) -> None:
    folder = engine.root / "srv" / "backups"
    folder.mkdir(mode=0o755)
    (folder / "lost+found").mkdir(mode=0o700)
    old = folder / "nun-db-20200101T000000Z.backup"
    old.write_text("made by root")
    os.link(make_file(engine, "srv/not-a-backup"), folder / "nun-db-20200102T000000Z.backup")
    on = ("--env", "NUN_BACKUP_DIR=/backups", "--volume", "/srv/backups:/backups")
    with engine.running(*on, "--env", "NUN_BACKUP_INTERVAL=1s", "--env", "NUN_BACKUP_KEEP=2") as name:
        engine.wait_log(name, "backup made: /backups/")
        engine.wait_log(name, "old backup removed: /backups/nun-db-20200102T000000Z.backup")
    assert folder.stat().st_uid == USER
    assert (folder / "lost+found").stat().st_uid == 0
    assert (engine.root / "srv" / "not-a-backup").stat().st_uid == 0
    made = [path for path in folder.iterdir() if path.name.endswith(".backup")]
    assert len(made) in (2, 3)  # ended before the third was removed
    assert {path.stat().st_uid for path in made} == {USER}


def test_backups_of_roots_are_handed_over_with_their_folder(engine: Engine, image: str) -> None:
    folder = engine.root / "srv" / "old-backups"
    folder.mkdir(mode=0o755)
    old = make_file(engine, "srv/old-backups/nun-db-20200101T000000Z.backup")
    with engine.running("--env", "NUN_BACKUP_DIR=/backups", "--volume", "/srv/old-backups:/backups") as name:
        engine.wait_log(name, "backup made: /backups/")
    assert (folder.stat().st_uid, old.stat().st_uid) == (USER, USER)


@pytest.mark.parametrize(
    ("made", "how", "told"),
    [
        ("payroll", "rw", "it contains other things (payroll)"),
        ("", "ro", "Read-only file system"),
    ],
)
def test_a_folder_of_backups_that_is_not_handed_over_is_told_and_the_server_runs(
    engine: Engine, image: str, made: str, how: str, told: str
) -> None:
    folder = engine.root / "srv" / f"others-backups-{how}"
    folder.mkdir(mode=0o755)
    if made:
        (folder / made).write_text("of somebody else")
    volume = ("--volume", f"/srv/{folder.name}:/backups:{how}")
    with engine.running("--env", "NUN_BACKUP_DIR=/backups", *volume) as name:
        printed = engine.wait_log(name, "no backup was made (the folder /backups can't be used")
        assert f"the folder of the backups /backups can't be given to the user 65532:65532: {told}" in printed
        exec_in(engine, name, "debug list-dbs")
    assert folder.stat().st_uid == 0


def test_a_folder_of_backups_that_is_missing_is_not_made(engine: Engine, image: str) -> None:
    with engine.running("--env", "NUN_BACKUP_DIR=/backups") as name:
        printed = engine.wait_log(name, "no backup was made (the folder /backups can't be used: No such file")
        assert "handed over" not in printed


def test_links_are_not_followed(engine: Engine, image: str) -> None:
    folder = engine.root / "srv" / "links"
    folder.mkdir(mode=0o755)
    (folder / "data.mdb").symlink_to("/etc/shadow")
    os.link(make_file(engine, "srv/secret"), folder / "server.lock")
    done = engine.try_docker(
        *("run", "--rm", "--env", "NUN_USER=a", "--env", "NUN_PWD=b", "--volume", "/srv/links:/data", image)
    )
    assert done.returncode == 1
    assert (engine.root / "srv" / "secret").stat().st_uid == 0


def make_file(engine: Engine, path: str) -> Path:
    """Make a file of root's."""
    file = engine.root / path
    file.write_text("secret")
    file.chmod(0o600)
    return file


def test_the_hardened_form_works(engine: Engine, image: str) -> None:
    with engine.running(*FAST_CHECKS, *HARDENED, "--volume", "hardened:/data") as name:
        engine.wait_health(name, "healthy")
        assert process_users(engine, name) == {str(USER)}
        exec_in(engine, name, "create-db a b; use-db a b; set k v; snapshot")
        status = engine.docker("exec", name, "cat", "/proc/1/status")
        assert "CapEff:\t0000000000000000" in status
        assert "NoNewPrivs:\t1" in status
        assert engine.try_docker("exec", name, "touch", "/usr/x").returncode != 0
        engine.docker("stop", "--time", "30", name)  # which would kill it then
        assert engine.inspect(name)["State"]["ExitCode"] == 0
    engine.docker("volume", "rm", "hardened")


def test_root_that_may_not_change_the_user_is_told_what_to_do(engine: Engine, image: str) -> None:
    done = engine.try_docker(*("run", "--rm", "--cap-drop", "ALL", "--env", "NUN_USER=a", "--env", "NUN_PWD=b", image))
    assert done.returncode == 1
    assert "docker run --user 65532:65532" in done.stderr
    assert "Traceback" not in done.stderr


def test_secrets_that_only_root_can_read(engine: Engine, image: str) -> None:
    secrets = engine.root / "srv" / "secrets"
    secrets.mkdir(mode=0o700)
    make_file(engine, "srv/secrets/user").write_text("ana\n")
    make_file(engine, "srv/secrets/pwd").write_text("long one\n")
    engine.docker(
        *("run", "--detach", "--name", "secret", "--volume", "/srv/secrets:/run/secrets:ro"),
        *("--env", "NUN_USER_FILE=/run/secrets/user", "--env", "NUN_PWD_FILE=/run/secrets/pwd", image),
    )
    try:
        engine.wait_log("secret", "ready")
        assert process_users(engine, "secret") == {str(USER)}
        assert "ana" not in json.dumps(engine.inspect("secret")["Config"]["Env"])
        assert "valid auth" in engine.docker("exec", "secret", "nun-db", "exec", "debug list-dbs")
    finally:
        engine.try_docker("rm", "--force", "--volumes", "secret")


def test_tls_with_a_key_that_only_root_can_read(engine: Engine, image: str, tmp_path: Path) -> None:
    folder = engine.root / "srv" / "tls"
    folder.mkdir()
    certificate, key = Authority(tmp_path).issue("server")
    for source, name in ((certificate, "server.pem"), (key, "key.pem")):
        (folder / name).write_bytes(source.read_bytes())
    (folder / "key.pem").chmod(0o600)
    tls = ("--env", "NUN_TLS_CERT=/tls/server.pem", "--env", "NUN_TLS_KEY=/tls/key.pem", "--volume", "/srv/tls:/tls:ro")
    with engine.running(*FAST_CHECKS, *tls) as name:
        engine.wait_health(name, "healthy")
        assert "/tls/key.pem can be read only by root, not by the user 65532:65532" in engine.logs(name)
        engine.docker("kill", "--signal", "HUP", name)
        engine.wait_log(name, "the old certificate stays in use")


def test_a_server_that_does_not_answer_is_unhealthy(engine: Engine, image: str) -> None:
    # It listens elsewhere than its environment says.
    engine.docker(
        *("run", "--detach", "--name", "deaf", *FAST_CHECKS, "--health-start-period", "1s", "--health-retries", "1"),
        *("--env", "NUN_USER=a", "--env", "NUN_PWD=b", image, "nun-db", "start", "-h", "127.0.0.1:4000"),
    )
    try:
        engine.wait_health("deaf", "unhealthy")
        assert "not ready: no answer from 127.0.0.1, port 3013" in json.dumps(engine.inspect("deaf")["State"]["Health"])
    finally:
        engine.try_docker("rm", "--force", "--volumes", "deaf")


def test_options_alone_are_for_nun_db(engine: Engine, image: str) -> None:
    assert engine.docker("run", "--rm", image, "--help").startswith("Usage: nun-db ")
    assert engine.docker("run", "--rm", image, "-V").startswith("nun-db ")
    assert engine.docker("run", "--rm", image, "/bin/sh", "-c", "nun-db -V && echo of a shell").endswith("of a shell")
    shares = [f"/usr/local/{path}" for path in (*COMPLETIONS.values(), "share/man/man1/nun-db-start.1")]
    assert ".TH NUN-DB-START 1" in engine.docker("run", "--rm", image, "head", "-n", "1", *shares)


def test_without_a_password_it_says_so(engine: Engine, image: str) -> None:
    done = engine.try_docker("run", "--rm", image)
    assert done.returncode == 1
    assert "NUN_USER and NUN_PWD must be provided" in done.stderr


def test_it_is_moved_as_a_tar(engine: Engine, image: str) -> None:
    tar = engine.folder / "image.tar"
    engine.docker("save", "--output", str(tar), image)
    engine.docker("tag", image, "pynun:kept")
    engine.docker("rmi", image)
    assert engine.try_docker("inspect", image).returncode != 0
    engine.docker("load", "--input", str(tar))
    assert engine.docker("run", "--rm", image, "nun-db", "version").startswith("nun-db ")
    tar.unlink()
