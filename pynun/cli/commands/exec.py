"""`nun-db create-db` and `nun-db exec`: post commands to a running server and show its reply as the original does."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from pynun.cli.errors import CommandError, NoConnectionError, NotAuthenticatedError, UsageError
from pynun.cli.output.nundb_format import log_line, quoted
from pynun.cli.output.standard_streams import Unwritten
from pynun.cli.remote.http_request import Response, Target, parse_target, post
from pynun.cli.remote.http_results import INVALID_AUTH, VALID_AUTH, find_failures, split_results

if TYPE_CHECKING:
    from pynun.cli.authority import Authority

HTTP_OK = 200
HTTP_UNAVAILABLE = 503
"""Often said by a proxy whose server is down; by the server itself only with its text."""
HTTP_REFUSED = (400, 413)
"""Statuses by which a server of ours refuses a request, and says why in its text (docs/protocol.md section 9)."""
NOT_READY = "not ready: "
"""How the server's answer begins while it takes data over, before it runs any command."""
UNKNOWN_REPLY_CHARACTERS_MAX = 60


def run_commands(
    host: str, user: str, password: str, commands: str, timeout_seconds: int, authority: Authority
) -> None:
    """Log in, run the commands and print the reply on standard output.

    Raises CommandError, of the kind that its exit code needs, when any of it fails; a reply is printed all the same.
    What the server is asked does not depend on whether anything can be printed.
    """
    target = parse_target(host, authority)
    body = f"auth {user} {password}; {commands}"
    try:
        body.encode()
    except UnicodeEncodeError:
        raise UsageError("the commands are not valid UTF-8 text") from None
    unwritten = Unwritten()
    with unwritten.kept():
        _print(log_line("nundb starting!"))
    response = post(target, body, timeout_seconds)
    with unwritten.kept():
        _print(f"Response {quoted(response.text)}")
    _check(target, body, response)
    unwritten.tell()


def check_login(target: Target, response: Response) -> list[str]:
    """The results of a reply whose first is that of a login that was accepted. Raises CommandError for any other."""
    if response.text and (response.status in HTTP_REFUSED or _is_full(response)):
        raise CommandError(f"{target.url} refused the request: {one_line(response.text.strip())}")
    if response.status == HTTP_UNAVAILABLE and response.text.startswith(NOT_READY):
        reason = one_line(response.text.removeprefix(NOT_READY).strip())
        raise NoConnectionError(f"{target.url} is not ready ({reason}): wait, and try again; nothing was done")
    if response.status != HTTP_OK:
        status = f"{response.status} {response.reason}".rstrip()
        raise NoConnectionError(
            f"{target.url} answered with HTTP status {status}: is it the HTTP address of a Nun-db server (its port is"
            " usually 3013), and does a proxy before it reach it?"
        )
    results = split_results(response.text)
    if not results or results[0] not in (VALID_AUTH, INVALID_AUTH):
        shown = quoted(response.text[:UNKNOWN_REPLY_CHARACTERS_MAX])
        raise NoConnectionError(f"{target.url} does not answer like a Nun-db server: its reply begins with {shown}")
    if results[0] == INVALID_AUTH:
        raise NotAuthenticatedError(
            "the server does not accept this user and password; check them (-u and NUN_PWD or -p)"
        )
    return results


def _check(target: Target, body: str, response: Response) -> None:
    """Raise the CommandError that the reply amounts to, if it is not one of success."""
    failures = find_failures(body, check_login(target, response))
    if failures:
        first = failures[0]
        # The auth before them is not the user's: the first of the user's own commands is number 1.
        place = f"command {first.position - 1} ({first.command})" if first.command else "a command"
        more = f"; {len(failures) - 1} more failed" if len(failures) > 1 else ""
        raise CommandError(f"{place} failed: {one_line(first.error)}{more}")


def _is_full(response: Response) -> bool:
    """Whether the server itself has no room, and not a proxy no server."""
    from pynun.protocol.messages import TOO_MANY_CONNECTIONS  # seldom needed

    return response.status == HTTP_UNAVAILABLE and response.text == TOO_MANY_CONNECTIONS


def one_line(text: str) -> str:
    """Text from the server, safe to show on a terminal."""
    return "".join(character if character.isprintable() else " " for character in text)


def _print(line: str) -> None:
    # As UTF-8 whatever the locale, and at once: the line must stand there while the server is waited for.
    sys.stdout.buffer.write(line.encode(errors="replace") + b"\n")
    sys.stdout.buffer.flush()
