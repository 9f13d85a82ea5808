"""The commands against servers that speak TLS, by our own certificate authority; what is told when it does not fit."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest

from tests.cli.command import ADMIN, Result, ask, command_line, run
from tools.clients.server import Server, clean_environment, new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.support.certificates import Authority


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


def both(
    server: Server, *options: str, encrypted: bool = True, host: str = "127.0.0.1", **environment: str
) -> Iterator[Result]:
    """What exec says, over HTTP, and what watch says, over WebSocket."""
    s = "s" if encrypted else ""
    for scheme, port, command in (
        ("http", server.http.port, ("exec", "keys")),
        ("ws", server.websocket.port, ("watch", "-d", "tls", "-t", "pwd", "k")),
    ):
        yield run(*ADMIN, *options, "-h", f"{scheme}{s}://{host}:{port}", *command, environment=environment)


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


def test_an_authority_that_is_not_trusted(server: Server) -> None:
    for result in both(server):
        assert (result.code, result.errors.count("\n")) == (4, 1)
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
            for result in both(server, "--ca", str(authority.file), host=host):
                assert (result.code, result.errors.count("\n")) == (4, 1)
                assert "is for another name (" in result.errors
                assert host in result.errors
                assert result.errors.endswith("name the server as its certificate does\n")


def test_plain_text_to_a_port_that_speaks_tls(server: Server) -> None:
    posted, watched = both(server, encrypted=False)
    told = "this port speaks TLS: use https:// or wss://"
    assert (posted.code, posted.errors) == (1, f"nun-db: http://{server.http} refused the request: {told}\n")
    assert (watched.code, watched.errors.count("\n")) == (4, 1)
    assert watched.errors.endswith(f"it refused the WebSocket handshake (HTTP 400: {told})\n")


def test_tls_to_a_port_that_speaks_plain_text(shared_server: Server, authority: Authority) -> None:
    posted, watched = both(shared_server, "--ca", str(authority.file))
    assert (posted.code, posted.errors.count("\n")) == (4, 1)
    assert posted.errors.endswith("; does it speak https?\n")
    assert (watched.code, watched.errors.count("\n")) == (4, 1)
    assert "cannot connect to wss://" in watched.errors
    assert "does it speak wss?" in watched.errors


def test_files_that_are_no_authority(server: Server, disk_folder: Path) -> None:
    missing, text = disk_folder / "missing.pem", disk_folder / "text.pem"
    text.write_text("no certificate")
    cases = ((missing, "can't be read: No such file or directory"), (text, "holds no certificate in PEM format"))
    for file, expected in cases:
        for result in both(server, "--ca", str(file)):
            assert (result.code, result.errors) == (2, f"nun-db: the CA file {str(file)!r} {expected}\n")


def test_an_authority_for_a_connection_without_tls_is_refused(shared_server: Server, authority: Authority) -> None:
    """With the option, a user expects an encrypted connection; the variable may be meant for other commands."""
    posted, watched = both(shared_server, "--ca", str(authority.file), encrypted=False)
    assert (posted.code, posted.errors) == (2, "nun-db: --ca is for https:// addresses: this one is not encrypted\n")
    assert (watched.code, watched.errors) == (2, "nun-db: --ca is for wss:// addresses: this one is not encrypted\n")
    assert ask(shared_server, "exec", "cluster-state", NUN_CA=str(authority.file)).code == 0


def test_a_missing_file_of_the_systems_authorities_is_named(server: Server, disk_folder: Path) -> None:
    missing = str(disk_folder / "missing.pem")
    for result in both(server, SSL_CERT_FILE=missing):
        assert (result.code, result.errors.count("\n")) == (4, 1)
        assert result.errors.endswith(f"(SSL_CERT_FILE names {missing!r}, which can't be read)\n")
