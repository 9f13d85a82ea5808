"""Asks a running server about the keys of one database: as one of its users, or as the administrator."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from pynun.cli.errors import CommandError, NotAuthenticatedError
from pynun.cli.remote import credentials
from pynun.cli.remote.admin_client import AdminClient, check_text, refusal, results_of, unknown_reply
from pynun.cli.remote.http_request import parse_target, post
from pynun.cli.remote.http_results import is_failure
from pynun.cli.remote.sendable import check_for_http, check_for_websocket

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pynun.cli.options import Connection

EVERYONE = "all"
"""The server's user name for sessions with the database's own token (docs/protocol.md section 3)."""
INVALID_TOKEN = "Invalid token"


class DatabaseLogin(NamedTuple):
    """What selects a database."""

    database: str
    user: str | None
    """The database's user; None: its own token, or the administrator."""
    token: str | None
    """None: an administrator opens it without a token."""

    @property
    def command(self) -> str:
        """The command that selects it."""
        if self.token is None:
            return f"open-db {self.database}"
        return " ".join(("use-db", self.database, *([self.user] if self.user else []), self.token))

    @property
    def who(self) -> tuple[str, str]:
        """The database and the user whose permissions count."""
        return self.database, self.user or EVERYONE

    def explained(self, error: str, names: Callable[[], Sequence[str]] | None = None, command: str = "") -> str:
        """The text for an error of the login, or of another command; `names` as in `pynun.cli.output.explain`."""
        from pynun.cli.output.explain import explained  # seldom needed

        text = explained(command or self.command, error, names, self.who)
        if error != INVALID_TOKEN:
            return text
        is_of_environment = self.token == os.environ.get(credentials.TOKEN_VARIABLE)
        source = f", which is in {credentials.TOKEN_VARIABLE}" if is_of_environment else ""
        return f"{text}: check the token of {credentials.owner(self.database, self.user)}{source}"


def find_login(
    given: Connection,
    database: str,
    database_user: str | None,
    token: str | None,
    token_file: str | None,
    *,
    is_administrator: bool | None = None,
) -> DatabaseLogin:
    """A token if one is given or in NUN_TOKEN, else the administrator's login, else a prompt for the token.

    A user or password among the options asks for the administrator's login. At the Unix socket, NUN_TOKEN counts only
    for a database user. `is_administrator` says it, if the caller knows. Raises UsageError and NoConnectionError.
    """
    check_for_websocket(database, what="a database's name")
    if is_administrator is None:
        is_administrator = _is_administrator(given)
    if is_administrator and not (token or token_file or database_user):
        return DatabaseLogin(database, None, None)
    is_given = token or token_file or os.environ.get(credentials.TOKEN_VARIABLE)
    hint = "" if is_given else given.missing_login_hint()  # raises: a stopped server needs no token
    found = credentials.require_database_token(database, database_user, token, token_file, hint)
    return DatabaseLogin(database, database_user, found)


def find_logins(
    given: Connection, url: str, database: str, database_user: str | None, token: str | None, token_file: str | None
) -> tuple[str | None, str | None, DatabaseLogin]:
    """For a WebSocket session: the administrator's user and password, None if there are none, and the database's login.

    At the Unix socket, who selects a database by a token is no administrator. Raises UsageError and NoConnectionError.
    """
    user, password = credentials.optional_administrator(given, url)
    is_administrator = user is not None and credentials.precedes_token(given, url)
    login = find_login(given, database, database_user, token, token_file, is_administrator=is_administrator)
    if login.token is not None and credentials.is_peer_login(given, url):
        return None, None, login
    return user, password, login


def _is_administrator(given: Connection) -> bool:
    if given.has_login:
        return True
    url = given.http_url()
    if not credentials.precedes_token(given, url):
        return False
    return credentials.is_peer_login(given, url) or credentials.find_administrator(given)[0] is not None


def open_database(
    given: Connection,
    timeout_seconds: int,
    database: str,
    database_user: str | None,
    token: str | None,
    token_file: str | None,
) -> DatabaseClient:
    """The client for a database, with the login that `find_login` finds. Raises UsageError."""
    check_for_http(database, *filter(None, [database_user]), what="a database's or user's name")
    return DatabaseClient(given, find_login(given, database, database_user, token, token_file), timeout_seconds)


class DatabaseClient:
    """A server, a login and a database. All methods raise the CommandError that fits the exit code."""

    def __init__(self, given: Connection, login: DatabaseLogin, timeout_seconds: int) -> None:
        self._target = parse_target(given.http_url(), given.authority)
        self._timeout_seconds = timeout_seconds
        self._login = login
        self._admin = None if login.token is not None else AdminClient(given, timeout_seconds)

    def run(self, *commands: str) -> list[str]:
        """The results of some commands, one for each; may be errors (`refusal`)."""
        results = self._ask("; ".join((self._login.command, *commands)))
        if results[0] == INVALID_TOKEN:
            raise NotAuthenticatedError(self._login.explained(results[0]))
        if is_failure(results[0]):
            raise self.refusal(self._login.command, results[0])
        return results[1:]

    def _ask(self, body: str) -> list[str]:
        if self._admin is not None:
            return self._admin.run(body)
        check_text(body)
        response = post(self._target, body, self._timeout_seconds)
        results = results_of(self._target, response)
        if not results:
            raise unknown_reply(self._target, response)
        return results

    def refusal(self, command: str, result: str, label: str = "") -> CommandError:
        """The exception for a command that failed; `label` stands before its text."""
        if self._admin is not None:
            return self._admin.refusal(command, result, label)
        return refusal(self._target, command, result, label=label, who=self._login.who)
