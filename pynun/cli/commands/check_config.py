"""`nun-db check-config`: would the server start with these settings? Nothing is started or changed."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Annotated

import typer

from pynun.cli.commands.start import administrator
from pynun.cli.errors import CommandError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pynun.settings import Settings

app = typer.Typer(rich_markup_mode=None, add_completion=False)


@app.command("check-config")
def check_config(
    context: typer.Context,
    env_file: Annotated[
        str | None,
        typer.Option("--env-file", metavar="FILE", help="Check the settings in this file; else in NUN_ENV_FILE."),
    ] = None,
    is_environment: Annotated[
        bool, typer.Option("--environment", help="Check the settings in the environment, as start would.")
    ] = False,
) -> None:
    """Check the settings, as start would read them, without starting.

    Where install.sh installed the server, these are the settings of the service; elsewhere those in the environment.
    Checked are values, certificate and key, addresses and folders. Root checks a file as the owner of the data folder.
    Exit code 0: good; 1: the server would not start; 2: the file can't be read.
    """
    from pynun.cli.installation import exported_settings, settings_of_server

    if env_file and is_environment:
        raise UsageError("--env-file and --environment can't be combined")
    environ, file = (os.environ, None) if is_environment else settings_of_server(os.environ, env_file)
    overrides = administrator(context.obj)
    if file is not None:
        for name in exported_settings(file):
            typer.echo(
                f"nun-db: warning: systemd ignores {name} in {file}: take the word export out of its line", err=True
            )
        _become_owner(environ)
    settings, errors, warnings = _check(environ, overrides)
    for warning in warnings:
        typer.echo(f"nun-db: warning: {warning}", err=True)
    for error in errors:
        typer.echo(f"nun-db: {error}", err=True)
    where = f"in {file}" if file else "in the environment"
    if errors or settings is None:
        raise CommandError(f"the server would not start with the settings {where}")
    parts = [
        f"data in {settings.data_dir}",
        _audit(settings),
        f"websocket {settings.websocket_address}, http {settings.http_address}, tcp {settings.tcp_address}",
        _tls(settings),
    ]
    typer.echo(f"The settings {where} are good: {'; '.join(parts)}.")


def _audit(settings: Settings) -> str:
    file = settings.audit_file
    return "audit trail in the log only" if file is None else f"audit trail in {settings.data_dir / file}"


def _check(
    environ: Mapping[str, str], overrides: Mapping[str, str | None]
) -> tuple[Settings | None, list[str], list[str]]:
    """The settings, unless they can't be read; why the server would not start; what else is doubtful."""
    from pynun.errors import SettingsError
    from pynun.settings import load, wrong_values

    errors = wrong_values(environ, overrides)
    if errors:
        return None, errors, []
    try:
        settings = load(environ, overrides)
    except SettingsError as error:
        return None, [str(error)], []
    from pynun.server.startup import settings_check

    warnings = settings_check.doubts(settings)
    if why := settings_check.why_no_backups(settings):
        warnings.append(why)
    return settings, settings_check.refusals(settings), warnings


def _tls(settings: Settings) -> str:
    return "no TLS" if settings.tls_cert is None else f"TLS with {settings.tls_cert}"


def _become_owner(environ: Mapping[str, str]) -> None:
    """Go on as the user of the service, to see whether that one can read and write what it has to."""
    # Also what the checks need: that user may not be able to read modules.
    import encodings.idna  # noqa: F401 - for host names
    import pwd

    from pynun.errors import SettingsError
    from pynun.server.startup import settings_check  # noqa: F401
    from pynun.settings import load_fields

    # A wrong setting is told later, a folder that is missing has no owner.
    with contextlib.suppress(SettingsError, FileNotFoundError, KeyError):
        data_dir, run_as = load_fields(environ, "data_dir", "run_as")
        if os.geteuid() == 0 and run_as is None:
            owner = pwd.getpwuid(data_dir.stat().st_uid)
            os.initgroups(owner.pw_name, owner.pw_gid)
            os.setgid(owner.pw_gid)
            os.setuid(owner.pw_uid)
