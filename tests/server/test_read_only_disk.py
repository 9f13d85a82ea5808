"""A file system that becomes read-only under a running server."""

from __future__ import annotations

import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.traces import why_no_trace
from tests.support.watched import failing_disk, request, wait_until
from tools.clients.exact_clients import http_post
from tools.clients.server import Server
from tools.clients.sessions import OK, create_database, tcp_session, websocket_session

if TYPE_CHECKING:
    from pathlib import Path

    from tools.clients.exact_clients import Connection

READ_ONLY = "Read-only file system"
TOLD = f"changes can't be stored: {READ_ONLY}: see dmesg, repair the disk and restart the server"


class _Setter:
    """Sets a key to 1, 2 and so on until it is refused."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.stored = 0
        self.refusal: list[str] = []
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        while not self.refusal:
            answer = self._connection.ask(f"set n {self.stored + 1}")
            if answer == [OK]:
                self.stored += 1
            else:
                self.refusal = answer


@pytest.mark.system
def test_a_disk_that_becomes_read_only_loses_nothing_and_is_told(disk_folder: Path) -> None:
    """As ext4 does it after a disk error. Linux does not make it writable again."""
    with failing_disk(disk_folder / "disk", mib=64) as disk, Server(disk.folder / "dbs") as server:
        create_database(server, "d", then="set steady before")
        remounted = subprocess.run(["mount", "-o", "remount,ro", str(disk.folder)], capture_output=True, check=False)
        assert remounted.returncode, "Linux refuses that while a file is open to be written"
        with tcp_session(server, "d") as writer, websocket_session(server, "d") as reader:
            setter = _Setter(writer)
            wait_until(lambda: setter.stored > 50)
            disk.fail()
            setter.thread.join()
            assert setter.refusal == [f"error not stored: {READ_ONLY} \n"]
            for client in (writer, reader):
                assert client.ask("get n") == [f"value {setter.stored}\n", OK]
                assert client.ask("get steady") == ["value before\n", OK]
                assert client.ask("set refused x") == [f"error not stored: {READ_ONLY} \n"]
            health = request(server.http, "/healthz")
            assert (health.status, health.text) == (503, f"not ready: {TOLD}\n")
            assert request(server.http, "/livez").status == 200
            server.wait_output(TOLD.replace("stored: ", "stored (") + "): they were refused")
        assert server.stop() == 0
        with disk.repaired(disk_folder / "repaired") as repaired, Server(repaired / "dbs") as again:
            number, steady, refused, changed = http_post(
                again.http, "use-db d pwd; get n; get steady; get refused; set n new"
            ).split(";")[1:]
            # Nobody knows whether the change that found the error is on disk.
            assert number in (f"value {setter.stored}\n", f"value {setter.stored + 1}\n")
            assert (steady, refused, changed) == ("value before\n", "value <Empty>\n", "empty")


@pytest.mark.system
@pytest.mark.parametrize("calls", ["pwrite64", "fdatasync", "pwrite64,fdatasync,openat"])
def test_a_disk_that_becomes_writable_again_is_written_again(disk_folder: Path, calls: str) -> None:
    """As a file system over the network does it; what failed to be synced is written elsewhere."""
    if reason := why_no_trace(disk_folder):
        pytest.skip(reason)
    with Server(disk_folder / "dbs") as server:
        create_database(server, "d", then="set k before")
        with tcp_session(server, "d") as client:
            command = ["strace", "-f", "-p", str(server.pid), "-o", "/dev/null", "-e", f"inject={calls}:error=EROFS"]
            with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
                assert tracer.stderr is not None
                assert any("attached" in line for line in tracer.stderr)
                for _ in range(8):  # more than there are files
                    assert client.ask("set k refused") == [f"error not stored: {READ_ONLY} \n"]
                    assert client.ask("get k") == ["value before\n", OK]
                tracer.terminate()
            wait_until(lambda: client.ask("set k after") == [OK])
            assert request(server.http, "/healthz").text == "ok\n"
        server.kill()
        server.start()
        assert http_post(server.http, "use-db d pwd; get k; set k x") == "empty;value after\n;empty"
