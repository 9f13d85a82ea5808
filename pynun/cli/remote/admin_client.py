"""Asking a running server as the administrator: one command, one answer, which programs can read."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pynun.cli.app import DEFAULT_HTTP_URL
from pynun.cli.commands.exec import check_login, one_line
from pynun.cli.errors import CommandError, UsageError
from pynun.cli.remote import credentials
from pynun.cli.remote.http_request import parse_target, post
from pynun.cli.remote.http_results import VALID_AUTH, is_failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pynun.cli.app import Connection


class Administrator:
    """A server, and who asks it. Everything raises a CommandError of the kind that the exit code needs."""

    def __init__(self, given: Connection, timeout_seconds: int) -> None:
        self._target = parse_target(given.host or DEFAULT_HTTP_URL, given.authority)
        self._user, self._password = credentials.require_administrator(
            given.user, given.password, given.password_file, self._target.url
        )
        self._timeout_seconds = timeout_seconds

    def ask(self, *words: str) -> str:
        """The message that one command answers, `empty` if it has none."""
        body = f"auth {self._user} {self._password}; {' '.join(words)}"
        try:
            body.encode()
        except UnicodeEncodeError:
            raise UsageError("the commands are not valid UTF-8 text") from None
        response = post(self._target, body, self._timeout_seconds)
        check_login(self._target, response)
        result = response.text.removeprefix(f"{VALID_AUTH};")
        if result.startswith("unknown command:"):
            raise CommandError(
                f"{self._target.url} does not know the command {words[0]}: the server is older than this program, or"
                " another one"
            )
        if is_failure(result):
            raise CommandError(f"{words[0]} failed: {one_line(result.strip())}")
        return result.rstrip("\n")

    def report(self, *words: str) -> dict[str, Any]:
        """The JSON object that one command answers."""
        _, _, text = self.ask(*words).partition(" ")
        try:
            report = json.loads(text)
        except ValueError:
            report = None
        if not isinstance(report, dict):
            raise CommandError(f"{self._target.url} gave an answer to {words[0]} that is not understood")
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
