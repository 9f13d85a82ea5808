"""The commands against servers that speak TLS, with an authority of the house; what is told when it does not fit."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import ADMIN, command_line, run
from tests.support.certificates import Authority
from tools.clients.server import Server, clean_environment, new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", name="authority")
def _authority() -> Iterator[Authority]:
    with new_folder() as folder:
        yield Authority(folder)


@pytest.fixture(scope="module", name="server")
def _server(authority: Authority) -> Iterator[Server]:
    with new_folder() as folder, Server(folder / "dbs", environment=authority.environment()) as server:
        made = run(
            *ADMIN, "--ca", str(authority.file), "-h", f"https://{server.http}", "create-db", "-d", "tls", "-t", "pwd"
        )
        assert (made.code, made.errors) == (0, "")
        yield server


def https(server: Server) -> str:
    return f"https://localhost:{server.http.port}"


def wss(server: Server) -> str:
    return f"wss://localhost:{server.websocket.port}"


def test_exec_trusts_the_authority_it_is_given(server: Server, authority: Authority) -> None:
    by_option = run(*ADMIN, "--ca", str(authority.file), "-h", https(server), "exec", "use-db tls pwd; set k 1; get k")
    assert by_option.response_line == r'Response "valid auth\n;empty;empty;value 1\n"' + "\n"
    assert (by_option.code, by_option.errors) == (0, "")
    by_variable = run(
        *ADMIN, "-h", https(server), "exec", "use-db tls pwd; get k", environment={"NUN_CA": str(authority.file)}
    )
    assert by_variable.code == 0


def test_the_shell_and_the_watch(server: Server, authority: Authority) -> None:
    trusted = ("--ca", str(authority.file), "-h", wss(server))
    typed = run(*trusted, "shell", "-d", "tls", "-t", "pwd", standard_input=b"set s 1\nget s\n")
    assert (typed.code, typed.output, typed.errors) == (0, "ok\nvalue 1\n", "")
    watch = subprocess.Popen(
        command_line(*trusted, "watch", "-d", "tls", "-t", "pwd", "--current", "s"),
        env=clean_environment({}),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert watch.stdout is not None
    with watch, watch.stdout:
        try:
            assert watch.stdout.readline().endswith(" 1\n")
            run(*trusted, "shell", "-d", "tls", "-t", "pwd", standard_input=b"set s 2\n")
            assert watch.stdout.readline().endswith(" 2\n")
        finally:
            watch.terminate()


@pytest.mark.parametrize("command", [("exec", "keys"), ("watch", "-d", "tls", "-t", "pwd", "k")])
def test_an_authority_that_is_not_trusted(server: Server, command: tuple[str, ...]) -> None:
    address = https(server) if command[0] == "exec" else wss(server)
    result = run(*ADMIN, "-h", address, *command)
    assert result.code == 4
    assert result.errors.count("\n") == 1
    assert "certificate" in result.errors
    assert "is not trusted (" in result.errors
    assert result.errors.endswith("--ca FILE, or NUN_CA, names the authority that signed it\n")


def test_a_certificate_for_another_name(authority: Authority, disk_folder: Path) -> None:
    authority.issue("elsewhere", ["nun-db.example.org"])
    files = {
        "NUN_TLS_CERT": str(authority.file.with_name("elsewhere.pem")),
        "NUN_TLS_KEY": str(authority.file.with_name("elsewhere-key.pem")),
    }
    with Server(disk_folder / "dbs", environment=files) as server:
        for host in ("localhost", "127.0.0.1"):
            for arguments in (
                (*ADMIN, "-h", f"https://{host}:{server.http.port}", "exec", "keys"),
                ("-h", f"wss://{host}:{server.websocket.port}", "watch", "-d", "tls", "-t", "pwd", "k"),
            ):
                result = run("--ca", str(authority.file), *arguments)
                assert (result.code, result.errors.count("\n")) == (4, 1)
                assert "is for another name (" in result.errors
                assert host in result.errors
                assert result.errors.endswith("name the server as its certificate does\n")


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("http", "refused the request: this port speaks TLS: use https:// or wss://\n"),
        ("ws", "it refused the WebSocket handshake (HTTP 400: this port speaks TLS: use https:// or wss://)\n"),
    ],
)
def test_plain_text_to_a_port_that_speaks_tls(server: Server, address: str, expected: str) -> None:
    if address == "http":
        result = run(*ADMIN, "-h", f"http://{server.http}", "exec", "keys")
    else:
        result = run("-h", f"ws://{server.websocket}", "watch", "-d", "tls", "-t", "pwd", "k")
    assert result.code in (1, 4)
    assert result.errors.count("\n") == 1
    assert result.errors.endswith(expected)


def test_tls_to_a_port_that_speaks_plain_text(shared_server: Server, authority: Authority) -> None:
    trusted = ("--ca", str(authority.file))
    posted = run(*ADMIN, *trusted, "-h", f"https://{shared_server.http}", "exec", "keys")
    assert (posted.code, posted.errors.count("\n")) == (4, 1)
    assert posted.errors.endswith("; does it speak https?\n")
    watched = run(*trusted, "-h", f"wss://{shared_server.websocket}", "watch", "-d", "tls", "-t", "pwd", "k")
    assert (watched.code, watched.errors.count("\n")) == (4, 1)
    assert "cannot connect to wss://" in watched.errors
    assert "does it speak wss?" in watched.errors


def test_files_that_are_no_authority(server: Server, authority: Authority, disk_folder: Path) -> None:
    missing, text = disk_folder / "missing.pem", disk_folder / "text.pem"
    text.write_text("no certificate")
    cases = ((missing, "can't be read: No such file or directory"), (text, "holds no certificate in PEM format"))
    for file, expected in cases:
        for arguments in (
            (*ADMIN, "--ca", str(file), "-h", https(server), "exec", "keys"),
            ("--ca", str(file), "-h", wss(server), "watch", "-d", "tls", "-t", "pwd", "k"),
        ):
            result = run(*arguments)
            assert (result.code, result.errors) == (2, f"nun-db: the CA file {str(file)!r} {expected}\n")


def test_an_authority_for_a_connection_without_tls_is_refused(shared_server: Server, authority: Authority) -> None:
    """Whoever gives one believes the connection to be encrypted; a variable may be meant for other commands."""
    option = ("--ca", str(authority.file))
    posted = run(*ADMIN, *option, "-h", f"http://{shared_server.http}", "exec", "keys")
    assert (posted.code, posted.errors) == (2, "nun-db: --ca is for https:// addresses: this one is not encrypted\n")
    watched = run(*option, "-h", f"ws://{shared_server.websocket}", "watch", "-d", "x", "-t", "t", "k")
    assert (watched.code, watched.errors) == (2, "nun-db: --ca is for wss:// addresses: this one is not encrypted\n")
    by_variable = run(
        *ADMIN,
        *("-h", f"http://{shared_server.http}", "exec", "cluster-state"),
        environment={"NUN_CA": str(authority.file)},
    )
    assert by_variable.code == 0


@pytest.mark.parametrize("command", [("exec", "keys"), ("watch", "-d", "tls", "-t", "pwd", "k")])
def test_a_missing_file_of_the_systems_authorities_is_named(
    server: Server, disk_folder: Path, command: tuple[str, ...]
) -> None:
    missing = str(disk_folder / "missing.pem")
    address = https(server) if command[0] == "exec" else wss(server)
    result = run(*ADMIN, "-h", address, *command, environment={"SSL_CERT_FILE": missing})
    assert (result.code, result.errors.count("\n")) == (4, 1)
    assert result.errors.endswith(f"(SSL_CERT_FILE names {missing!r}, which can't be read)\n")
