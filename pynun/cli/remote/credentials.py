"""Passwords and tokens for the commands that talk to a server: from options, the environment, a file or a prompt.

None has to be on the command line, which every user of the machine can read.
"""

from __future__ import annotations

import ipaddress
import os
import sys
import urllib.parse
from typing import TYPE_CHECKING

from pynun import unix_socket
from pynun.administrator_settings import PASSWORD, load_credentials
from pynun.cli.errors import UsageError
from pynun.cli.output.tables import note
from pynun.cli.remote.sendable import check_for_websocket, is_http_word
from pynun.errors import SettingsError
from pynun.secret_file import read_secret_file
from pynun.setting_values import carriers_of_password

if TYPE_CHECKING:
    from pynun.cli.options import Connection
    from pynun.cli.remote.http_request import Login

TOKEN_VARIABLE = "NUN_TOKEN"
GENERATED_BYTES = 20
"""Randomness of a generated secret: 40 characters that need no quotes in a shell."""


def find_administrator(given: Connection) -> tuple[str | None, str | None]:
    """User and password as given, without a prompt. Raises UsageError."""
    password = given.password
    if password and given.password_file:
        raise UsageError("-p/--pwd and --pwd-file can't be combined")
    try:
        if given.password_file:
            password = read_secret_file(given.password_file, "--pwd-file")
        return load_credentials(given.environ, given.user, password)
    except SettingsError as error:
        raise UsageError(str(error)) from None


def require_administrator(given: Connection, url: str, *, is_sent_anywhere: bool = False) -> tuple[str, str]:
    """User and password for the server at `url`, with a prompt for the password if necessary.

    Raises UsageError, also when HTTP can't carry them, or when the password of the environment must not go there, and
    NoConnectionError if this machine's server would be asked without a login, but is stopped.
    `is_sent_anywhere`: it may, as with the original's commands; that of a profile never.
    """
    if is_peer_login(given, url):
        return unix_socket.user_name(os.geteuid()), unix_socket.NO_PASSWORD
    if not (is_sent_anywhere and given.profile is None) and _is_withheld(given, url):
        raise UsageError(_withheld_text(given, url))
    user, password = find_administrator(given)
    if user is None:
        raise UsageError(
            f"the administrator's user is missing: give it with -u USER or in NUN_USER{given.missing_login_hint()}"
        )
    if password is None:
        password = _ask(
            f"Password of {user}: ",
            "the administrator's password is missing: give it in NUN_PWD, with --pwd-file FILE or with -p PASSWORD",
        )
    _check_sendable(password)
    return user, password


def _check_sendable(password: str) -> None:
    if "HTTP" not in carriers_of_password(password):
        raise UsageError(
            "this command uses HTTP, which can't send a password with a semicolon or with white space at its end; the "
            "TCP port may accept it"
        )


def optional_administrator(given: Connection, url: str) -> tuple[str | None, str | None]:
    """The administrator's login; (None, None) if not requested and incomplete.

    A login from the environment that must not go to `url` is omitted, with a message. Raises UsageError.
    """
    if not given.has_login and not is_peer_login(given, url):
        if None in find_administrator(given):
            return None, None
        if _is_withheld(given, url):
            note(f"not logged in: {_withheld_text(given, url)}")
            return None, None
    return require_administrator(given, url)


def optional_login(given: Connection, url: str) -> Login | None:
    """The administrator's login for the server's own pages; None if not requested and incomplete.

    A password from the environment that must not go to `url` is omitted, with a message. Raises UsageError.
    """
    from pynun.cli.remote.http_request import Login

    try:
        if given.user and _is_withheld(given, url):
            note(f"not logged in: {_withheld_text(given, url)}")
            return None
        user, password = optional_administrator(given, url)
    except UsageError:
        if given.has_login:
            raise
        return None  # the environment's can't be read or sent: nobody asked for it
    return None if user is None or password is None else Login(user, password)


def is_peer_login(given: Connection, url: str) -> bool:
    """Whether the server knows who asks without a password: at its Unix socket."""
    return not given.has_login and unix_socket.path_of(url) is not None


def precedes_token(given: Connection, url: str) -> bool:
    """Whether an administrator's login takes precedence over a token in the environment: at the Unix socket."""
    return is_peer_login(given, url) or not os.environ.get(TOKEN_VARIABLE)


def _is_withheld(given: Connection, url: str) -> bool:
    """Whether the password comes from the environment and would cross a network unencrypted, which nobody chose."""
    is_of_environment = not (given.password or given.password_file) and any(
        given.environ.get(name) for name in (PASSWORD.name, f"{PASSWORD.name}_FILE")
    )
    return is_of_environment and not is_private(url)


def _withheld_text(given: Connection, url: str) -> str:
    profile = given.profile
    secret = PASSWORD.name if profile is None else f"the password of the profile {profile.name}"
    return (
        f"{secret} is not sent to {url}: others could read it on the network. Use an encrypted address"
        " (https:// or wss://), or give the password with -p or --pwd-file"
    )


def is_private(url: str) -> bool:
    """Whether the connection is private: encrypted, or within this machine.

    Only addresses and `localhost` (RFC 6761) count as this machine; others may control what a name resolves to.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme in ("https", "wss", "unix"):
        return True
    host = parts.hostname or ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost"
    return address.is_loopback or address.is_unspecified  # to 0.0.0.0 means to oneself


def require_token(token: str | None, token_file: str | None, of: str, hint: str = "") -> str:
    """The token of a database or user, named `of` in the prompt. Raises UsageError, whose text `hint` ends."""
    if token and token_file:
        raise UsageError("-t/--token and --token-file can't be combined")
    if token_file:
        try:
            token = read_secret_file(token_file, "--token-file")
        except SettingsError as error:
            raise UsageError(str(error)) from None
    token = token or os.environ.get(TOKEN_VARIABLE)
    if not token:
        token = _ask(
            f"Token of {of}: ",
            f"the token of {of} is missing: give it in {TOKEN_VARIABLE}, with --token-file FILE or with -t TOKEN{hint}",
        )
    if not is_http_word(token):
        raise UsageError(
            "a token can't be empty, contain spaces, semicolons or line breaks, or start or end with white space"
        )
    return token


def require_database_token(
    database: str, database_user: str | None, token: str | None, token_file: str | None, hint: str = ""
) -> str:
    """The token that selects the database over WebSocket, as this user if one is named. Raises UsageError."""
    check_for_websocket(database, *filter(None, [database_user]), what="a database's or user's name")
    return require_token(token, token_file, owner(database, database_user), hint)


def owner(database: str, user: str | None) -> str:
    """Whose token it is, in words: the user's, or the database's own."""
    return f"the user {user} of {database}" if user else f"the database {database}"


def new_token(token: str | None, token_file: str | None, generate: bool, of: str) -> str:
    """A new token, given or generated. Raises UsageError."""
    if not generate:
        is_given = bool(token or token_file or os.environ.get(TOKEN_VARIABLE))
        found = require_token(token, token_file, of)
        if not is_given:
            _check_again(found, f"Token of {of} again: ")
        return found
    if token or token_file:
        raise UsageError("--generate makes a token: do not give one")
    return _generated()


def new_password(password_file: str | None, generate: bool) -> str:
    """The administrator's new password: from a file, generated, or from a prompt. Raises UsageError."""
    if generate:
        if password_file:
            raise UsageError("--generate and --new-pwd-file can't be combined")
        return _generated()
    if password_file:
        try:
            password = read_secret_file(password_file, "--new-pwd-file")
        except SettingsError as error:
            raise UsageError(str(error)) from None
    else:
        password = _ask(
            "New password: ",
            "the new password is missing: give it with --new-pwd-file FILE, or have one made by --generate",
        )
        _check_again(password, "New password again: ")
    _check_sendable(password)
    return password


def _check_again(secret: str, prompt: str) -> None:
    """Ask again for a hidden input. Raises UsageError if it differs."""
    if _ask(prompt, "it has to be typed twice") != secret:
        raise UsageError("they do not match: nothing was changed")


def _generated() -> str:
    import secrets  # seldom needed

    return secrets.token_hex(GENERATED_BYTES)


def _ask(prompt: str, otherwise: str) -> str:
    """Ask on the terminal, without echo. Raises UsageError with `otherwise` if there is no terminal.

    It uses the process's controlling terminal, even if standard input is a file of commands.
    """
    if not _is_terminal_there() and not sys.stdin.isatty():
        raise UsageError(otherwise)
    import getpass  # seldom needed; asks on the same terminal

    try:
        return getpass.getpass(prompt)
    except EOFError:
        raise UsageError(otherwise) from None


def _is_terminal_there() -> bool:
    """Whether the process has a controlling terminal."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY))
    except OSError:
        return False
    return True
