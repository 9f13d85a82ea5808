"""The Unix socket in the data folder: who gets in there without a password, and what becomes of its file."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pynun import limits, unix_socket
from tests.support.as_user import SOMEBODY, SOMEBODY_ELSE, as_user
from tests.support.certificates import Authority
from tests.support.watched import wait_until
from tools.clients.exact_clients import TcpClient
from tools.clients.server import Server
from tools.clients.sessions import OK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def socket_of(server: Server) -> Path:
    return server.data_dir / unix_socket.SOCKET_NAME


def post(path: Path, body: str, header: str = "Host: x") -> str:
    """The results of commands that are posted to the socket, the whole answer if there are none."""
    with unix_socket.connect(path, 30) as connected:
        request = f"POST / HTTP/1.1\r\n{header}\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        connected.sendall(request.encode())
        answer = b"".join(iter(lambda: connected.recv(65536), b"")).decode()
    return answer.partition("\r\n\r\n")[2] or answer


@pytest.fixture(scope="module")
def service() -> Iterator[Server]:
    """A server that root started and that runs as a user, in a folder that others may enter.

    pytest's own folders are root's alone again whenever another run begins.
    """
    with tempfile.TemporaryDirectory(prefix="pynun-test-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        with Server(folder / "dbs", environment={"NUN_RUN_AS": f"{SOMEBODY}:{SOMEBODY}"}) as running:
            running.data_dir.chmod(0o755)
            yield running


def test_root_logs_in_without_a_password(service: Server) -> None:
    assert post(socket_of(service), "auth root -;list-dbs").startswith("valid auth\n;databases {")


def test_the_servers_user_logs_in_and_not_as_root(service: Server) -> None:
    path = socket_of(service)
    assert as_user(SOMEBODY, lambda: post(path, f"auth {SOMEBODY} -;db-size $admin")).startswith("valid auth\n;data")
    assert as_user(SOMEBODY, lambda: post(path, "auth root -")) == "invalid auth\n"
    assert "choose another" in post(path, f"auth root -;add-admin {SOMEBODY} pwd")


def test_a_password_works_there_as_elsewhere(service: Server) -> None:
    assert post(socket_of(service), f"auth {service.credentials}") == "valid auth\n"
    assert post(socket_of(service), f"auth {service.user} wrong") == "invalid auth\n"


def test_nobody_is_logged_in_before_the_command(service: Server) -> None:
    assert post(socket_of(service), "list-dbs") == "Not auth"


def test_the_name_of_a_system_user_is_nothing_on_the_network(service: Server) -> None:
    with TcpClient(service.tcp) as client:
        assert client.ask("auth root -") == ["invalid auth\n", OK]


def test_whom_a_proxy_brings_is_no_system_user(service: Server) -> None:
    for header in ("X-Forwarded-For: 192.0.2.7", "Forwarded: for=192.0.2.7"):
        assert post(socket_of(service), "auth root -;list-dbs", header) == "invalid auth\n;Not auth"
        assert post(socket_of(service), f"auth {service.credentials}", header) == "valid auth\n"
    with unix_socket.connect(socket_of(service), 30) as connected:
        lines = "Host: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13"
        key = base64.b64encode(bytes(16)).decode()
        head = f"GET / HTTP/1.1\r\n{lines}\r\nSec-WebSocket-Key: {key}\r\nX-Forwarded-For: ::1\r\n\r\n"
        text = b"auth root -"
        frame = bytes([0x81, 0x80 | len(text)]) + bytes(4) + text
        connected.sendall(head.encode() + frame)
        answer = b""
        while b"auth\n" not in answer:
            answer += connected.recv(4096) or b"the end: auth\n"
    assert b"invalid auth\n" in answer


def test_others_are_kept_out_by_the_mode_and_by_the_server(service: Server) -> None:
    path = socket_of(service)
    assert stat.S_IMODE(path.lstat().st_mode) == 0o600
    assert as_user(SOMEBODY_ELSE, lambda: post(path, "auth root -")) == "PermissionError"
    path.chmod(0o666)
    try:
        answer = as_user(SOMEBODY_ELSE, lambda: post(path, f"auth {SOMEBODY_ELSE} -"))
    finally:
        path.chmod(0o600)
    assert answer in ("", "ConnectionResetError", "BrokenPipeError")
    assert f"the system user {SOMEBODY_ELSE} was refused" in service.log_text()


def test_a_socket_of_somebody_else_is_not_talked_to(tmp_path: Path) -> None:
    """In a folder that everybody may write, a name proves nothing."""
    path = tmp_path / unix_socket.SOCKET_NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listening:
        listening.bind(str(path))
        os.seteuid(SOMEBODY)
        try:
            listening.listen()
        finally:
            os.seteuid(0)
        with pytest.raises(PermissionError):
            unix_socket.connect(path)
        os.chown(tmp_path, SOMEBODY, SOMEBODY)
        unix_socket.connect(path).close()


def test_the_audit_trail_names_the_system_user(service: Server) -> None:
    post(socket_of(service), "auth root -;create-db of-root t")
    trail = service.data_dir / "audit.jsonl"
    wait_until(lambda: "create-db" in trail.read_text(encoding="ascii"))  # a line may come after the answer
    lines = [json.loads(line) for line in trail.read_text(encoding="ascii").splitlines()]
    made = next(line for line in lines if line["event"] == "create-db")
    assert (made["user"], made["address"], made["transport"]) == ("root", None, "unix")
    assert "auth root ***" in [line["command"] for line in lines if line["event"] == "login"]


def test_a_new_password_leaves_system_users_alone(server: Server) -> None:
    assert post(socket_of(server), "auth root -;set-password another;list-dbs;set-password again").startswith(
        "valid auth\n;empty;databases {"
    )
    assert post(socket_of(server), "auth user-name again") == "valid auth\n"


def test_its_file_is_replaced_after_a_kill_and_removed_at_the_end(new_server: Callable[..., Server]) -> None:
    server = new_server()
    server.start()
    server.kill()
    assert socket_of(server).exists()
    with pytest.raises(ConnectionRefusedError):
        unix_socket.connect(socket_of(server))
    server.start()
    assert post(socket_of(server), "auth root -") == "valid auth\n"
    server.stop()
    assert not socket_of(server).exists()


def test_a_file_of_that_name_stays_and_costs_the_socket_only(new_server: Callable[..., Server]) -> None:
    server = new_server()
    server.data_dir.mkdir()
    socket_of(server).write_text("mine", encoding="utf-8")
    server.start()
    assert "no Unix socket at" in server.log_text()
    server.stop()
    assert socket_of(server).read_text(encoding="utf-8") == "mine"


def test_a_folder_whose_path_is_too_long_for_a_socket(disk_folder: Path) -> None:
    with Server(disk_folder / ("long-" * 30)) as server:
        assert len(str(socket_of(server))) > 107
        assert post(socket_of(server), "auth root -") == "valid auth\n"


def test_a_full_server_lets_the_administrator_in_up_to_a_limit(
    new_server: Callable[..., Server], disk_folder: Path
) -> None:
    authority = Authority(disk_folder)
    server = new_server(**authority.environment(), NUN_MAX_CONNECTIONS="1")
    server.start()
    with contextlib.ExitStack() as stack:
        stack.enter_context(TcpClient(server.tcp, tls=authority.trusting()))
        for _ in range(limits.LOCAL_CONNECTIONS_MAX):
            connected = stack.enter_context(unix_socket.connect(socket_of(server), 30))
            connected.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\nauth root -")
            assert b"valid auth\n" in connected.recv(65536)
        assert post(socket_of(server), "auth root -") == "too many connections"
    server.wait_output("a connection of root to the Unix socket was refused (1 so far): at most 16")
