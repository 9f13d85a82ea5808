"""Profiles: addresses and logins of servers elsewhere, in a file that nobody else may read."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from pynun.cli.errors import UsageError
from pynun.cli.profiles import Profile
from tests.cli.command import run
from tests.support.as_user import SOMEBODY

if TYPE_CHECKING:
    from pathlib import Path

    from tests.cli.command import Result
    from tools.clients.server import Server


@pytest.fixture(name="home")
def _home(tmp_path: Path, shared_server: Server) -> Path:
    """A home directory with profiles of the shared server."""
    folder = tmp_path / ".config" / "pynun"
    folder.mkdir(parents=True)
    secret = tmp_path / "pwd"
    secret.write_text(f"{shared_server.password}\n", encoding="utf-8")
    text = f"""
        [ward]
        url = "http://{shared_server.http}"
        websocket_url = "ws://{shared_server.websocket}"
        user = "{shared_server.user}"
        password = "{shared_server.password}"

        [by-file]
        url = "http://{shared_server.http}"
        user = "{shared_server.user}"
        password_file = "~/pwd"

        [open]
        url = "http://192.0.2.1:3013"
        user = "a"
        password = "b"

        [typo]
        url = "http://127.0.0.1:3013"
        pasword = "b"

        [none]
        user = "a"

        [local]
        url = "unix:/var/lib/pynun/server.sock"
        user = "a"
    """
    write(folder / "profiles.toml", text)
    return tmp_path


def write(file: Path, text: str, mode: int = 0o600) -> None:
    file.write_text(text, encoding="utf-8")
    file.chmod(mode)


def at_home(home: Path, *arguments: str, standard_input: bytes = b"", **environment: str) -> Result:
    """Run a command there; the environment has a login of another server."""
    variables = {"HOME": str(home), "XDG_CONFIG_HOME": "", "NUN_USER": "somebody", "NUN_PWD": "else", **environment}
    return run(*arguments, environment=variables, standard_input=standard_input)


@pytest.mark.parametrize("name", ["ward", "by-file"])
def test_a_profile_has_the_address_and_the_login(home: Path, name: str) -> None:
    for arguments in (("--profile", name, "databases", "list"), ("databases", "list", "--profile", name)):
        done = at_home(home, *arguments)
        assert (done.code, done.errors) == (0, "")
    assert at_home(home, "databases", "list", NUN_PROFILE=name).code == 0
    assert at_home(home, "exec", "list-dbs", NUN_PROFILE=name).code == 0
    moved = at_home(home, "databases", "list", NUN_PROFILE=name, XDG_CONFIG_HOME=str(home / ".config"))
    assert moved.code == 0


def test_the_shell_needs_the_other_address(home: Path) -> None:
    assert "$admin" in at_home(home, "--profile", "ward", "shell", standard_input=b"list-dbs\n").output
    missing = at_home(home, "--profile", "by-file", "shell")
    assert (missing.code, "has no WebSocket address" in missing.errors) == (2, True)


def test_options_take_precedence(home: Path, shared_server: Server) -> None:
    wrong = at_home(home, "--profile", "ward", "-p", "wrong", "databases", "list")
    assert wrong.code == 3
    at = ("-h", f"http://{shared_server.http}", "-u", shared_server.user, "-p", shared_server.password)
    assert at_home(home, *at, "databases", "list", NUN_PROFILE="nonsense").code == 0
    both = at_home(home, *at, "--profile", "ward", "databases", "list")
    assert (both.code, "can't be combined" in both.errors) == (2, True)


def test_its_password_does_not_cross_a_network_unencrypted(home: Path) -> None:
    for command in (("databases", "list"), ("exec", "list-dbs")):
        refused = at_home(home, "--profile", "open", *command)
        assert refused.code == 2
        assert "the password of the profile open is not sent to http://192.0.2.1:3013" in refused.errors


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("nobody", "there is no profile 'nobody' in"),
        ("typo", "has the unknown line 'pasword'"),
        ("none", "has no address: add url"),
        ("local", "has a login, which the Unix socket does not need"),
    ],
)
def test_what_is_wrong_is_told(home: Path, name: str, why: str) -> None:
    refused = at_home(home, "--profile", name, "databases", "list")
    assert (refused.code, why in refused.errors) == (2, True), refused


def test_a_file_that_others_can_read_is_refused(home: Path) -> None:
    file = home / ".config" / "pynun" / "profiles.toml"
    for mode in (0o640, 0o604, 0o620):
        file.chmod(mode)
        refused = at_home(home, "--profile", "ward", "databases", "list")
        assert (refused.code, f"run chmod 600 {file}" in refused.errors) == (2, True)
    file.chmod(0o600)
    os.chown(file, SOMEBODY, SOMEBODY)
    refused = at_home(home, "--profile", "ward", "databases", "list")
    assert (refused.code, "belong to another user" in refused.errors, "chmod" in refused.errors) == (2, True, False)


@pytest.mark.parametrize(
    "text", ["[ward", "ward = 1", "[ward]\nurl = 1", '[ward]\nurl = "u"\npassword = "a"\npassword_file = "b"']
)
def test_a_file_that_makes_no_sense_is_refused(home: Path, text: str) -> None:
    write(home / ".config" / "pynun" / "profiles.toml", text)
    refused = at_home(home, "--profile", "ward", "databases", "list")
    assert (refused.code, refused.errors.startswith("nun-db: the profile")) == (2, True)


def test_without_a_file_it_is_said_where_it_should_be(tmp_path: Path) -> None:
    refused = at_home(tmp_path, "--profile", "ward", "databases", "list")
    assert f"the profiles in {tmp_path}/.config/pynun/profiles.toml can't be read" in refused.errors


def test_the_websocket_address_follows_from_the_usual_port() -> None:
    assert Profile("x", "https://host:3013/").find_websocket_url() == "wss://host:3012"
    assert Profile("x", "http://host:3013").find_websocket_url() == "ws://host:3012"
    with pytest.raises(UsageError):
        Profile("x", "https://host").find_websocket_url()
