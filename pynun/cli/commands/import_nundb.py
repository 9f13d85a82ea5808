"""`nun-db import-nundb`: takes over the data folder of the original, while no server runs (docs/migration.md)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pynun.cli.errors import ExitCode
from pynun.cli.offline.data_folder import (
    DirectoryToChange,
    folder_to_change,
    folder_to_read,
    load_passwords,
    opened_store,
)
from pynun.cli.output.numbers import counted
from pynun.cli.output.progress import Progress
from pynun.cli.output.tables import show

if TYPE_CHECKING:
    from collections.abc import Callable

    from pynun.transfer.nundb_files import Problem
    from pynun.transfer.nundb_import import Summary


app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command()
def import_nundb(
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="The folder that was NUN_DBS_DIR of the original.")],
    data_dir: DirectoryToChange = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Read everything and print what would be imported; change nothing.")
    ] = False,
    replace: Annotated[bool, typer.Option("--replace", help="Replace databases that exist already.")] = False,
    accept_damage: Annotated[
        bool, typer.Option("--accept-damage", help="If something can't be read, import the rest; exit code 6.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as one JSON object.")] = False,
) -> None:
    """Import the databases of the original Nun-db. The server must be stopped, and so must the original.

    FOLDER is only read. Everything is imported, or nothing, even if this command is killed. Tokens are stored as
    hashes. What can't be read is listed on standard error, a line each; then nothing is imported without
    --accept-damage.
    """
    from pynun.cli.offline.audited import recorded
    from pynun.transfer.nundb_import import require_data

    source = Path(folder)
    require_data(source)
    target = (folder_to_read if dry_run else folder_to_change)(data_dir)
    with contextlib.ExitStack() as stack:
        more: dict[str, str | int] = {}
        if not dry_run:
            more = stack.enter_context(recorded(target, "import-nundb", folder=str(source.absolute())))
        progress = stack.enter_context(Progress())

        def report(problem: Problem) -> None:
            progress.clear()
            _tell(problem)

        run = _try if dry_run else _import
        summary = run(source, target, report, progress, replace, accept_damage)
        more.update(databases=summary.databases_made, keys=summary.keys, losses=summary.losses)
        if summary.losses:
            more["outcome"] = "incomplete" if summary.is_done else "failed"
    if as_json:
        told = {"imported": summary.is_done, **dataclasses.asdict(summary)}
        del told["is_done"]
        typer.echo(json.dumps(told))
    else:
        _print(summary, target, dry_run)
    if summary.losses:
        if not summary.is_done:
            advice = "" if dry_run else "; nothing was imported: --accept-damage imports what can be read"
            typer.echo(
                f"nun-db: not everything in {folder} can be read ({counted(summary.losses, 'problem')}){advice}",
                err=True,
            )
        raise typer.Exit(ExitCode.INCOMPLETE if summary.is_done else ExitCode.REFUSED)


def _import(
    source: Path,
    target: Path,
    report: Callable[[Problem], None],
    progress: Progress,
    is_replacing: bool,
    is_accepting_damage: bool,
) -> Summary:
    from pynun.cluster.note import refuse_change
    from pynun.transfer.nundb_import import import_folder

    passwords = load_passwords(target)
    with opened_store(target) as store:
        refuse_change(store)
        return import_folder(
            store,
            source,
            passwords.hash_now,
            report=report,
            progress=progress.show,
            is_replacing=is_replacing,
            is_accepting_damage=is_accepting_damage,
            hash_limit=passwords.hash_limit,
        )


def _try(
    source: Path,
    target: Path,
    report: Callable[[Problem], None],
    progress: Progress,
    is_replacing: bool,
    _is_accepting_damage: bool,
) -> Summary:
    from pynun.storage import schema
    from pynun.storage.snapshot import snapshot
    from pynun.storage.store import LmdbStore
    from pynun.transfer.nundb_import import check_folder

    existing: set[str] = set()
    if (target / schema.DATA_FILE).exists():
        with snapshot(target) as now:
            existing = set(now.databases())
    with (
        tempfile.TemporaryDirectory(prefix="nun-db-dry-run-") as scratch,
        contextlib.closing(LmdbStore(Path(scratch))) as store,
    ):
        return check_folder(
            store,
            source,
            existing,
            report=report,
            progress=progress.show,
            is_replacing=is_replacing,
            hash_limit=load_passwords(target).hash_limit,
        )


def _tell(problem: Problem) -> None:
    kind = "not read" if problem.is_loss else "note"
    print(f"nun-db: {kind}: {problem}", file=sys.stderr, flush=True)


def _print(summary: Summary, target: Path, is_dry: bool) -> None:
    from pynun.engine.key_layout import ADMIN_DATABASE

    for counts in summary.databases:
        if counts.name == ADMIN_DATABASE and not counts.keys and not counts.users:
            continue
        users = counted(counts.users, "user") + (", in place of the one that was there" if counts.is_replaced else "")
        show(f"{counts.name} ({counts.strategy}): {counted(counts.keys, 'key')}, {users}")
    done = "would be imported" if is_dry else f"imported into {target}" if summary.is_done else "could be imported"
    typer.echo(
        f"{done}: {counted(summary.databases_made, 'database')}, {counted(summary.keys, 'key')},"
        f" {counted(summary.users, 'user')};"
        f" {summary.skipped} skipped ($connections, which is counted anew), {counted(summary.losses, 'problem')},"
        f" {counted(summary.notes, 'note')}"
    )
