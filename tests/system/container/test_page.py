"""docs/container.md: its commands are run, in order, where the daemon of the tests is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.docs.blocks import commands
from tests.support.certificates import Authority
from tests.support.node import leave_out
from tests.system.container.conftest import BASE, TUTORIALS_IMAGE
from tests.system.container.test_tutorial import EXEC, RUN
from tools.clients.server import REPOSITORY

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.docs.blocks import Block
    from tests.system.container.engine import Engine

pytestmark = pytest.mark.timeout(1800)

PAGE = REPOSITORY / "docs" / "container.md"
MIGRATION = REPOSITORY / "docs" / "migration.md"
USER = 65532

# Where docker has no plug-in `compose`, Debian's program of its own takes its place.
_COMPOSE = 'if [ "$1" = compose ]; then shift; docker-compose "$@"; return; fi;'


@pytest.fixture
def unpacked(engine: Engine, image: str, packages: Path) -> Iterator[Path]:
    """What the page's commands need of an unpacked bundle, where the daemon sees it; its path there is /srv/bundle."""
    folder = engine.root / "srv" / "bundle"
    shutil.copytree(REPOSITORY / "docker", folder / "docker")
    shutil.copytree(packages, folder / "wheels")
    shutil.copy2(REPOSITORY / ".dockerignore", folder)
    (folder / "VERSION").write_text("0.0.page\n")
    engine.docker("tag", image, "pynun:0.0.page")
    engine.docker("tag", BASE, "python:3.13-slim-trixie")
    tar = engine.folder / "page.tar"
    engine.docker("save", "--output", str(tar), "pynun:0.0.page")
    shutil.move(tar, folder / "docker" / "pynun-0.0.page-image.tar")
    yield folder
    shutil.rmtree(folder)


def type_in(engine: Engine, block: Block, docker: str = "", put: Mapping[str, str] | None = None) -> str:
    """Type a block where the daemon is, in the unpacked bundle; returns what is printed.

    `docker` is what `docker` does first, as a function of the shell; `put` are other words in the place of some.
    """
    text = block.text
    for word, other in (put or {}).items():
        assert word in text
        text = text.replace(word, other)
    done = subprocess.run(
        [
            *("nsenter", f"--target={engine.pid}", "--net", "--mount", "--pid", "--"),
            *("bash", "-euc", f'cd /srv/bundle; docker() {{ {docker} {engine.docker_program} "$@"; }}\n{text}'),
        ],
        env=engine.environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{block}: exit {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


def test_the_commands_of_the_page_work(engine: Engine, unpacked: Path) -> None:
    written = commands(PAGE, "container")
    assert len(written) >= 8
    try:
        for block in written:
            type_in(engine, block)
            if "--name nun-db " in block.text or "docker start" in block.text:
                engine.wait_log("nun-db", "ready")
        state = engine.docker("exec", "nun-db", "nun-db", "exec", "use-db features-of-db client client-pwd; keys")
        assert "valid auth\\n;empty;keys ," in state
    finally:
        engine.try_docker("rm", "--force", "--volumes", "nun-db", "nun-db-before")


def test_the_page_shows_the_tutorials_commands_as_they_are_tested() -> None:
    shown = [block.text.strip() for block in commands(PAGE, "tutorial")]
    assert shown == [RUN, EXEC]


def compose_function(engine: Engine) -> str:
    """What `docker compose` is here; skips the test where there is none."""
    if engine.try_docker("compose", "version").returncode == 0:
        return ""
    if shutil.which("docker-compose") is None:
        leave_out("docker compose is not installed (apt-get install docker-compose)")
    return _COMPOSE


def test_the_compose_files_work_without_tls_and_with_it(engine: Engine, unpacked: Path, tmp_path: Path) -> None:
    docker = compose_function(engine)
    engine.docker("tag", "pynun:0.0.page", "pynun:latest")
    up, up_with_tls, renew = commands(PAGE, "compose")

    def name() -> str:
        return engine.docker("ps", "--quiet", "--filter", "label=com.docker.compose.service=nun-db")

    try:
        type_in(engine, up, docker)
        engine.wait_log(name(), "ready")
        engine.docker("exec", name(), "nun-db", "create-db", "-d", "db", "-t", "db-pwd")
        engine.docker("exec", name(), "nun-db", "exec", "use-db db db-pwd; set k kept")

        # What the file says, as docker has understood it.
        told = engine.inspect(name())
        host = told["HostConfig"]
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["PidsLimit"], host["Memory"]) == (
            *(True, ["ALL"], 100),
            1 << 30,
        )
        assert set(host["CapAdd"]) == {"CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"}
        assert host["SecurityOpt"] == ["no-new-privileges:true"]
        assert host["RestartPolicy"]["Name"] == "unless-stopped"
        assert told["Config"]["StopTimeout"] == 30
        ports = {port: [(at["HostIp"], at["HostPort"]) for at in bound] for port, bound in host["PortBindings"].items()}
        assert {port: (at[0][0] or "0.0.0.0", at[0][1]) for port, at in ports.items()} == {
            "3012/tcp": ("0.0.0.0", "3012"),
            "3013/tcp": ("127.0.0.1", "3013"),
            "3014/tcp": ("127.0.0.1", "3014"),
        }
        password = (unpacked / "docker" / "secrets" / "nun_pwd").read_text().strip()
        assert password
        assert password not in json.dumps(told)

        # With TLS, on the same data.
        authority = Authority(tmp_path)
        folder = unpacked / "docker" / "tls"
        folder.mkdir()
        for source, target in zip(authority.issue("server"), ("server.pem", "server-key.pem"), strict=True):
            shutil.copy(source, folder / target)
            os.chown(folder / target, USER, USER)
        type_in(engine, up_with_tls, docker)
        engine.wait_log(name(), "ready")
        client = (
            "curl",
            "-s",
            "--cacert",
            str(authority.file),
            "https://localhost:3013",
            "-d",
            "use-db db db-pwd; get k",
        )
        assert engine.outside(*client).stdout == "empty;value kept\n"
        assert "speaks TLS" in engine.outside("curl", "-s", "http://localhost:3013", "-d", "keys").stdout
        type_in(engine, renew, docker)
        engine.wait_log(name(), "the certificate /tls/server.pem was reloaded")
        engine.docker("stop", name())
    finally:
        for found in engine.docker("ps", "--all", "--quiet", "--filter", "label=com.docker.compose.service").split():
            engine.try_docker("rm", "--force", "--volumes", found)
        engine.try_docker("volume", "rm", "docker_nun-db-data")
        engine.try_docker("network", "rm", "docker_default")


def test_the_originals_container_is_stopped_copied_and_started_again(engine: Engine, unpacked: Path) -> None:
    """docs/migration.md; the original can't be had here, so this server's image stands in for it, under its name."""
    snapshot, stop, copy, start = commands(MIGRATION, "original")
    (engine.root / "srv" / "original").mkdir(mode=0o755)
    volume = ("--volume", "/srv/original:/data", "--restart", "unless-stopped")
    with engine.running(*volume, name="nun-db", image=TUTORIALS_IMAGE) as name:
        engine.docker("exec", name, "nun-db", "create-db", "-d", "features-of-db", "-t", "features-of-db-pwd")
        assert "valid auth\\n;empty;empty" in type_in(engine, snapshot, put={"sleep 310": "sleep 0"})
        type_in(engine, stop)
        assert engine.inspect(name)["State"]["ExitCode"] == 0
        assert engine.inspect(name)["HostConfig"]["RestartPolicy"]["Name"] == "no"
        type_in(engine, copy, put={"/FOLDER": "/data"})
        assert (unpacked / "nun-db-data" / "data.mdb").exists()
        type_in(engine, start)
        assert engine.inspect(name)["HostConfig"]["RestartPolicy"]["Name"] == "unless-stopped"
        assert engine.inspect(name)["State"]["Running"]
