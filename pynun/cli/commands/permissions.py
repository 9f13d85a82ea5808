"""`nun-db permissions`: what the users of a database may do, and why."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from pynun.cli.errors import CommandError, ExitCode, UsageError
from pynun.cli.options import TIMEOUT_SECONDS_DEFAULT, AsJson, DatabaseName, Timeout, UserName
from pynun.cli.output.tables import note, show_done, show_json, show_table
from pynun.cli.remote.admin_client import AdminClient
from pynun.cli.remote.database_client import EVERYONE
from pynun.cli.remote.sendable import check_for_http

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, add_completion=False)

Kinds = Annotated[str, typer.Argument(metavar="KINDS", help="Letters: r (read), w (write), i (increment), x (remove).")]
Patterns = Annotated[
    list[str],
    typer.Argument(metavar="PATTERN...", help="'prefix*', '*suffix' or part of a key; '*' is all. Use quotes."),
]

KIND_LETTERS = ("r", "w", "i", "x")
_NOBODY_ELSE = "sessions with the database's token"


@app.callback()
def permissions() -> None:
    """Show, grant and revoke permissions, and check who may do what."""


@app.command("show")
def show_permissions(
    context: typer.Context,
    database: DatabaseName,
    user: Annotated[str | None, typer.Argument(metavar="[USER]", help="Only this user's.")] = None,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Show what the users of a database may do, one rule per line."""
    check_for_http(database)
    rows = [
        {"user": row["user"], "permissions": row["permissions"]}
        for row in AdminClient(context.obj, timeout).rows("users", "list-users", database)
        if user in (None, row["user"])
    ]
    if user is not None and not rows:
        if user != EVERYONE:
            raise CommandError(f"there is no user {user} of {database}")
        rows = [{"user": EVERYONE, "permissions": None}]
    if as_json:
        show_json(rows)
        return
    show_table(("user", "kinds", "patterns"), [line for row in rows for line in _rules(row)])


def _rules(row: dict[str, Any]) -> list[tuple[str, str, str]]:
    text = row["permissions"]
    if text is None and row["user"] == EVERYONE:
        return [(EVERYONE, "rwix", "*")]
    rules = [part.strip().partition(" ") for part in (text or "").split("|")]
    return [(row["user"], kinds, patterns.strip()) for kinds, _, patterns in rules if patterns.strip()] or [
        (row["user"], "", "")
    ]


@app.command()
def grant(
    context: typer.Context,
    database: DatabaseName,
    user: UserName,
    kinds: Kinds,
    patterns: Patterns,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Add permissions for a user; the others stay."""
    check_for_http(database, user, kinds, *patterns)
    report = AdminClient(context.obj, timeout).report("grant", database, user, kinds, ",".join(patterns))
    if user == EVERYONE and report["is_first"]:
        note(f"{_NOBODY_ELSE} could do everything until now, and can do only this from now on")
    _tell(report, as_json)


@app.command()
def revoke(
    context: typer.Context,
    database: DatabaseName,
    user: UserName,
    kinds: Kinds,
    patterns: Patterns,
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Remove kinds on exactly these patterns from a user's permissions.

    It prints what other patterns still allow.
    """
    check_for_http(database, user, kinds, *patterns)
    report = AdminClient(context.obj, timeout).report("revoke", database, user, kinds, ",".join(patterns))
    if report["still_allowed"]:
        note(f"another rule still allows {'; '.join(report['still_allowed'])}")
    _tell(report, as_json)


def _tell(report: dict[str, Any], as_json: bool) -> None:
    show_done(report, as_json, f"{report['user']} of {report['database']}: {report['permissions'] or 'nothing'}")


@app.command()
def can(
    context: typer.Context,
    database: DatabaseName,
    user: UserName,
    kind: Annotated[str, typer.Argument(metavar="KIND", help="r (read), w (write), i (increment) or x (remove).")],
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key.")],
    as_json: AsJson = False,
    timeout: Timeout = TIMEOUT_SECONDS_DEFAULT,
) -> None:
    """Check whether a user may do something to a key: prints yes or no and the rule; exit code 0 for yes, 1 for no.

    Standard output has the answer, and stays empty after an error.
    """
    check_for_http(database, user, kind, key)
    if kind not in KIND_LETTERS:
        raise UsageError("a kind is one of r (read), w (write), i (increment) and x (remove)")
    server = AdminClient(context.obj, timeout)
    report = server.report("explain-permission", database, user, kind, key)
    text = f"{'yes' if report['allowed'] else 'no'}: {_reason(report)}"
    if report["reason"] == "no-rule" and not as_json:
        rules = [row["permissions"] for row in server.rows("users", "list-users", database) if row["user"] == user]
        text = ": ".join([text, *filter(None, rules)])
    show_done(report, as_json, text)
    if not report["allowed"]:
        raise typer.Exit(ExitCode.REFUSED)


def _reason(report: dict[str, Any]) -> str:
    match report["reason"]:
        case "rule":
            return f"the rule {report['rule']} allows it"
        case "no-rule":
            return "none of the user's rules allows it"
        case "no-permissions":
            return "the user has no permissions"
        case "no-such-user":
            return "there is no such user"
        case "database-token":
            return f"{_NOBODY_ELSE} may do everything, for {EVERYONE} has no rules"
        case "administrator-only":
            return "keys that begin with $$ are for the administrator alone"
        case other:
            return str(other)
