"""Asks a running server as the administrator: one command, one machine-readable reply."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pynun.cli.errors import CommandError, NoConnectionError, NotAuthenticatedError, RefusedError, UsageError
from pynun.cli.output.nundb_format import quoted
from pynun.cli.remote import credentials
from pynun.cli.remote.http_request import Response, Target, parse_target, post
from pynun.cli.remote.http_results import INVALID_AUTH, VALID_AUTH, is_failure, split_results

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from pynun.cli.options import Connection

HTTP_OK = 200
HTTP_UNAVAILABLE = 503
"""Often from a proxy whose server is down; from the server only with its text."""
HTTP_REFUSED = (400, 413)
"""Statuses of this server's refusals, with the reason as text (docs/protocol.md section 9)."""
NOT_READY = "not ready: "
"""The beginning of the server's reply while it imports data and runs no commands."""
UNKNOWN_REPLY_CHARACTERS_MAX = 60


class AdminClient:
    """A server and a login. All methods raise the CommandError that fits the exit code."""

    def __init__(self, given: Connection, timeout_seconds: int) -> None:
        self._target = parse_target(given.http_url(), given.authority)
        self.user, self._password = credentials.require_administrator(given, self._target.url)
        self.is_system_user = credentials.is_peer_login(given, self._target.url)
        """Whether it is a system user at the Unix socket, and no administrator with a password."""
        self._timeout_seconds = timeout_seconds

    def ask(self, *words: str) -> str:
        """The message that one command answers, `empty` if it has none."""
        command = " ".join(words)
        result = self._post(command).text.removeprefix(f"{VALID_AUTH};")
        if is_failure(result):
            raise self.refusal(command, result)
        return result.rstrip("\n")

    def run(self, *commands: str) -> list[str]:
        """The results of several commands, which may be errors."""
        return split_results(self._post("; ".join(commands)).text)[1:]

    def refusal(self, command: str, result: str, label: str = "") -> CommandError:
        """The exception for a command that failed."""
        return refusal(self._target, command, result, self.database_names, label)

    def database_names(self) -> list[str]:
        """The names of the first databases, more than a message shows; none if the server can't say."""
        try:
            return names_of(self._post("list-dbs").text)
        except CommandError:
            return []

    def _post(self, commands: str) -> Response:
        body = f"auth {self.user} {self._password}; {commands}"
        check_text(body)
        response = post(self._target, body, self._timeout_seconds)
        check_login(self._target, response)
        return response

    def report(self, *words: str) -> dict[str, Any]:
        """The JSON object that one command answers."""
        _, _, text = self.ask(*words).partition(" ")
        try:
            report = json.loads(text)
        except ValueError:
            report = None
        if not isinstance(report, dict):
            raise CommandError(f"{self._target.url} gave an answer to {words[0]} that this program does not understand")
        return report

    def rows(self, member: str, *words: str) -> Iterator[dict[str, Any]]:
        """The rows of a listing, page by page."""
        after: list[str] = []
        while True:
            report = self.report(*words, *after)
            yield from report[member]
            if report["next"] is None:
                return
            after = [str(report["next"])]


def check_text(body: str) -> None:
    """Raises UsageError for commands that are not text."""
    try:
        body.encode()
    except UnicodeEncodeError:
        raise UsageError("the commands are not valid UTF-8 text") from None


def names_of(reply: str) -> list[str]:
    """The names of databases in a reply to `list-dbs`; none if it is another reply."""
    try:
        return [row["name"] for row in json.loads(reply.partition("databases ")[2])["databases"]]
    except (ValueError, LookupError):
        return []


def refusal(
    target: Target,
    command: str,
    result: str,
    names: Callable[[], Sequence[str]] | None = None,
    label: str = "",
    who: tuple[str, str] | None = None,
) -> CommandError:
    """The exception for a command that failed; `names` and `who` as in `pynun.cli.output.explain.explained`.

    `label` stands before the text.
    """
    from pynun.cli.output.explain import explained  # seldom needed

    name = command.partition(" ")[0]
    if result.startswith("unknown command:"):
        return CommandError(
            f"{target.url} does not know the command {name}: it is an older version, or another program"
        )
    return RefusedError(f"{label}{one_line(explained(command, result, names, who))}", result.strip())


def check_login(target: Target, response: Response) -> list[str]:
    """The results of a reply after an accepted login. Raises CommandError for any other reply."""
    results = results_of(target, response)
    if not results or results[0] not in (VALID_AUTH, INVALID_AUTH):
        raise unknown_reply(target, response)
    if results[0] == INVALID_AUTH:
        raise NotAuthenticatedError(
            "the server does not accept this user and password; check them (-u and NUN_PWD or -p)"
        )
    return results


def unknown_reply(target: Target, response: Response) -> NoConnectionError:
    """The exception for a reply that no Nun-db server gives."""
    shown = quoted(response.text[:UNKNOWN_REPLY_CHARACTERS_MAX])
    return NoConnectionError(f"{target.url} does not answer like a Nun-db server: its reply begins with {shown}")


def results_of(target: Target, response: Response) -> list[str]:
    """The results of a reply. Raises CommandError if the server did not run the commands."""
    if response.text and (response.status in HTTP_REFUSED or _is_full(response)):
        raise CommandError(f"{target.url} refused the request: {one_line(response.text.strip())}")
    if response.status == HTTP_UNAVAILABLE and response.text.startswith(NOT_READY):
        reason = one_line(response.text.removeprefix(NOT_READY).strip())
        raise NoConnectionError(f"{target.url} is not ready ({reason}): wait, and try again; nothing was done")
    if response.status != HTTP_OK:
        status = f"{response.status} {response.reason}".rstrip()
        raise NoConnectionError(
            f"{target.url} answered with HTTP status {status}: is it the HTTP address of a Nun-db server (usually "
            "port 3013), and can a proxy in front reach it?"
        )
    return split_results(response.text)


def _is_full(response: Response) -> bool:
    """Whether the server itself is full, rather than a proxy without a server."""
    if response.status != HTTP_UNAVAILABLE:
        return False
    from pynun.protocol.messages import TOO_MANY_CONNECTIONS  # seldom needed

    return response.text == TOO_MANY_CONNECTIONS


def one_line(text: str) -> str:
    """Text from the server, safe to show on a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)
