"""The console's pages for administrators: figures, settings, audit trail, backups."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from pynun import __version__
from pynun.engine.audit_events import OK
from pynun.errors import BackupError
from pynun.server.backup_schedule import make_backup_now
from pynun.server.console import reports
from pynun.server.console.asked import NO_LOGIN, Asked, error_page, json_page
from pynun.transports.pages import FilePage, Page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from pynun.server.audit_writer import AuditWriter
    from pynun.server.console.history import History
    from pynun.server.console.logins import Logins
    from pynun.server.monitoring.endpoint import Monitoring
    from pynun.settings import Settings
    from pynun.transports.service import Service

_NEEDS_ADMIN: Final = "this is for administrators"


class AdminPages:
    """What no command says."""

    def __init__(
        self,
        settings: Settings,
        service: Service,
        monitoring: Monitoring,
        audit_writer: AuditWriter,
        history: History,
        logins: Logins,
    ) -> None:
        self._settings = settings
        self._service = service
        self._monitoring = monitoring
        self._audit_writer = audit_writer
        self._history = history
        self._logins = logins
        self._backing_up = trio.Lock()
        self._pages: Mapping[str, Callable[[Asked], Awaitable[Page | FilePage]]] = {
            "overview": self._overview,
            "settings": self._say_settings,
            "audit": self._audit,
            "backups": self._backups,
            "backup-make": self._make_backup,
            "backup-verify": self._verify_backup,
            "backup-download": self._download_backup,
        }

    def __contains__(self, name: str) -> bool:
        return name in self._pages

    async def answer(self, name: str, asked: Asked) -> Page | FilePage:
        """The page of that name, or why not."""
        if asked.login is None:
            return error_page(401, NO_LOGIN)
        if asked.login.admin is None:
            return error_page(403, _NEEDS_ADMIN)
        try:
            return await self._pages[name](asked)
        except BackupError as error:
            return error_page(409, str(error))
        except OSError as error:
            return error_page(409, error.strerror or str(error))

    async def _overview(self, asked: Asked) -> Page:
        monitoring, service, settings = self._monitoring, self._service, self._settings
        health, counters, engine = monitoring.health, service.counters, service.engine
        try:
            after = float(asked.query.get("after", "0"))
        except ValueError:
            after = 0.0
        outboxes = [peer.outbox for peer in service.peers]
        return json_page(
            {
                "now": time.time(),
                "reason": await health.reason(),
                "serving_since": health.serving_since,
                "version": __version__,
                "data_dir": str(settings.data_dir),
                "durability": settings.durability.value,
                "is_encrypted": settings.tls_cert is not None,
                "is_open": any(
                    address.host not in ("127.0.0.1", "::1", "localhost")
                    for address in (settings.websocket_address, settings.http_address, settings.tcp_address)
                ),
                "connections": counters.open,
                "refused": counters.refused,
                "dropped": counters.dropped,
                "failed_logins": engine.counters.failed_logins,
                "commit_failures": 0 if health.committer is None else health.committer.failures,
                "stalled_clients": sum(outbox.is_stalled for outbox in outboxes),
                "outbox_bytes": sum(outbox.waiting_bytes for outbox in outboxes),
                "console_logins": len(self._logins),
                "backups": {
                    "folder": None if settings.backup_dir is None else str(settings.backup_dir),
                    "interval_seconds": settings.backup_interval_seconds,
                    "keep": settings.backup_keep,
                    "newest_at": monitoring.backups.newest_at,
                    "failures": monitoring.backups.failures,
                },
                "history": self._history.since(after),
            }
        )

    async def _say_settings(self, _asked: Asked) -> Page:
        rows = reports.settings_in_force(self._settings)
        licences = await trio.to_thread.run_sync(reports.licences)
        return json_page({"settings": rows, "licences": licences})

    async def _audit(self, asked: Asked) -> Page:
        file = self._settings.audit_file
        path = None if file is None else self._settings.data_dir / file
        return json_page(await trio.to_thread.run_sync(reports.audit_tail, path, asked.query))

    async def _backups(self, _asked: Asked) -> Page:
        folder = self._settings.backup_dir
        found = [] if folder is None else await trio.to_thread.run_sync(reports.backups_of, folder)
        return json_page({"folder": None if folder is None else str(folder), "backups": found})

    async def _make_backup(self, asked: Asked) -> Page:
        async with self._backing_up:
            figures = self._monitoring.backups
            file = await make_backup_now(self._settings, self._backup_folder(), figures, _user_of(asked))
        return json_page({"name": file.name})

    async def _verify_backup(self, asked: Asked) -> Page:
        name = asked.query.get("name", "")
        async with self._backing_up:
            verified = partial(reports.verified, self._backup_folder(), name)
            return json_page(await trio.to_thread.run_sync(verified, abandon_on_cancel=True))  # a stop doesn't wait

    async def _download_backup(self, asked: Asked) -> FilePage:
        file = await trio.to_thread.run_sync(reports.backup_file, self._backup_folder(), asked.query.get("name", ""))
        address, user = asked.client.address, _user_of(asked)
        self._audit_writer.note("backup-download", OK, address=address, user=user, file=str(file))
        fields = b'Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="%b"\r\n'
        return FilePage(file, fields % file.name.encode())

    def _backup_folder(self) -> Path:
        if self._settings.backup_dir is None:
            raise BackupError("there is no folder for backups: set NUN_BACKUP_DIR")
        return self._settings.backup_dir


def _user_of(asked: Asked) -> str:
    """The administrator who asks."""
    assert asked.login is not None
    assert asked.login.admin is not None
    return asked.login.admin
