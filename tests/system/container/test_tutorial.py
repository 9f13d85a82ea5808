"""The public tutorial's two commands, letter by letter, with our image under the original's name."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.system.container.engine import START_SECONDS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.container.engine import Engine

pytestmark = pytest.mark.timeout(1800)

RUN = (
    'docker run --env NUN_USER=user-name --env NUN_PWD=user-pwd --env NUN_DBS_DIR="/data"'
    ' --mount type=bind,source="/tmp",target=/data -it --rm -p 3013:3013 -p 3012:3012 -p 3014:3014'
    " --name nun-test mateusfreira/nun-db"
)
EXEC = (
    "docker exec -it nun-test  /bin/sh -c 'nun-db -u user-name -p user-pwd create-db -d features-ohif-db"
    " -t features-ohif-db-pwd&&nun-db -u user-name -p user-pwd exec"
    ' "use features-of-db features-of-db-pwd; create-user client client-pwd;set-permissions client r *|rwx client-*;"\''
)
# The tutorial makes one database and uses another, which it had made before; with one name it is the whole set-up.
EXEC_ONE_NAME = EXEC.replace("features-ohif-db", "features-of-db")

STOP_SECONDS_MAX = 60.0
CLI = (sys.executable, "-P", "-m", "pynun")


@contextlib.contextmanager
def running(engine: Engine) -> Iterator[subprocess.Popen[bytes]]:
    """The tutorial's first command on a terminal, until its server is ready; ended at the end if it still runs."""
    process = subprocess.Popen(
        engine.terminal(RUN),
        env=engine.environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    try:
        deadline = time.monotonic() + START_SECONDS_MAX
        while "ready" not in engine.logs("nun-test"):
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline, engine.logs("nun-test")
            time.sleep(0.1)
        yield process
    finally:
        engine.try_docker("rm", "--force", "nun-test")
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=STOP_SECONDS_MAX)


def typed(engine: Engine, command: str) -> subprocess.CompletedProcess[str]:
    """Type a command at a terminal and wait for its end.

    The terminal's input stays open: its end would be typed into the command as a character, which it may echo.
    """
    with subprocess.Popen(
        engine.terminal(command), env=engine.environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        timer = threading.Timer(180, process.kill)
        timer.start()
        printed = process.stdout.read()
        timer.cancel()
        return subprocess.CompletedProcess(command, process.wait(STOP_SECONDS_MAX), printed)


def client(engine: Engine, *commands: str) -> str:
    """What the viewer's user gets to hear, from outside of the container, over a published port."""
    done = engine.outside("curl", "-s", "http://127.0.0.1:3013", "-d", "; ".join(commands))
    assert done.returncode == 0, done
    return done.stdout


def test_the_commands_do_what_the_tutorial_shows_and_the_data_is_there_again(engine: Engine, image: str) -> None:
    folder = engine.root / "tmp"
    assert folder.stat().st_mode & 0o7777 == 0o1777
    with running(engine) as process:
        # Letter by letter: the second command line names a database that the first did not make, and says so.
        said = typed(engine, EXEC)
        lines = said.stdout.replace("\r", "").splitlines()
        started = re.compile(r"\[[0-9T:.-]+Z nun_db\] nundb starting!")
        assert started.fullmatch(lines[0])
        assert lines[1] == 'Response "valid auth\\n;create-db success\\n"'
        assert started.fullmatch(lines[2])
        assert lines[3].startswith('Response "valid auth\\n;Not a valid database name')
        # With one name it is what the tutorial shows.
        said = typed(engine, EXEC_ONE_NAME)
        lines = said.stdout.replace("\r", "").splitlines()
        assert said.returncode == 0, lines
        assert lines[1] == 'Response "valid auth\\n;create-db success\\n"'
        assert lines[3] == 'Response "valid auth\\n;empty;empty;empty"'
        selected = "use-db features-of-db client client-pwd"
        assert client(engine, selected, "set client-a 1", "set other 1") == "empty;empty;permission denied\n"
        viewer = (
            "-h",
            "ws://127.0.0.1:3012",
            "shell",
            "-d",
            "features-of-db",
            "--database-user",
            "client",
            "-t",
            "client-pwd",
        )
        watched = engine.outside(*CLI, *viewer, typed="watch client-a\nset client-a 1\n")
        assert watched.stdout == "ok\nchanged client-a 1 1\nok\n", watched
        # The folder, which everybody may write, is as it was; the files are the server's.
        data = folder / "data.mdb"
        assert (folder.stat().st_uid, folder.stat().st_mode & 0o7777) == (0, 0o1777)
        assert (data.stat().st_uid, data.stat().st_mode & 0o777) == (65532, 0o600)
        # SIGTERM reaches the server, which ends the container and the command.
        engine.docker("stop", "--time", "30", "nun-test")  # then it would be killed, with another exit code
        assert process.wait(STOP_SECONDS_MAX) == 0
        assert process.stdout is not None
        assert b"stopped: all acknowledged changes are on disk" in process.stdout.read()
    with running(engine):
        assert client(engine, selected, "get client-a") == "empty;value 1\n"


def test_ctrl_c_at_the_terminal_stops_it_cleanly(engine: Engine, image: str) -> None:
    with running(engine) as process:
        assert process.stdin is not None
        process.stdin.write(b"\x03")
        process.stdin.flush()
        assert process.wait(STOP_SECONDS_MAX) == 0
        assert process.stdout is not None
        assert b"stopped: all acknowledged changes are on disk" in process.stdout.read()


def test_the_originals_own_command_line_stops_as_fast(engine: Engine, image: str) -> None:
    line = (
        "exec nun-db -u $NUN_USER -p $NUN_PWD start --http-address $NUN_HTTP_ADDR --tcp-address $NUN_TCP_ADDR"
        " --ws-address $NUN_WS_ADDR"
    )
    engine.docker(
        *("run", "--detach", "--name", "as-before", "--env", "NUN_USER=a", "--env", "NUN_PWD=b"),
        *(image, "/bin/sh", "-c", line),
    )
    try:
        engine.wait_log("as-before", "ready")
        engine.docker("stop", "--time", "30", "as-before")
        assert engine.inspect("as-before")["State"]["ExitCode"] == 0
    finally:
        engine.try_docker("rm", "--force", "--volumes", "as-before")
