"""The console's pages for administrators: figures, settings, audit trail, backups."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from pynun import __version__
from pynun.engine.audit_events import OK
from pynun.errors import BackupError, NoBackupError
from pynun.server.backup_schedule import make_backup_now
from pynun.server.console import reports
from pynun.server.console.asked import NO_LOGIN, Asked, error_page, json_page
from pynun.transports.pages import FilePage, Page

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from pynun.cluster.overview import NodeState
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
        nodes: Callable[[], Sequence[NodeState]] | None,
    ) -> None:
        """`nodes` are those of the cluster, None without one."""
        self._settings = settings
        self._service = service
        self._monitoring = monitoring
        self._audit_writer = audit_writer
        self._history = history
        self._logins = logins
        self._nodes = nodes
        self._backing_up = trio.Lock()
        self._pages: Mapping[str, Callable[[Asked], Awaitable[Page | FilePage]]] = {
            "overview": self._overview,
            "settings": self._say_settings,
            "audit": self._audit,
            "backups": self._backups,
            "cluster": self._cluster,
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
        except NoBackupError as error:
            return error_page(404, str(error))
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
                "nodes_not_ready": [one.node for one in self._states() if not one.is_ready or one.unready],
                "history": self._history.since(after),
            }
        )

    def _states(self) -> Sequence[NodeState]:
        return () if self._nodes is None else self._nodes()

    async def _cluster(self, _asked: Asked) -> Page:
        return json_page({"nodes": [one._asdict() for one in self._states()]})

    async def _say_settings(self, _asked: Asked) -> Page:
        rows = reports.settings_in_force(self._settings)
        licences = await trio.to_thread.run_sync(reports.licences)
        return json_page({"settings": rows, "licences": licences})

    async def _audit(self, asked: Asked) -> Page:
        file = self._settings.audit_file
        path = None if file is None else self._settings.data_dir / file
        return json_page(await trio.to_thread.run_sync(reports.audit_tail, path, asked.query))

    async def _backups(self, _asked: Asked) -> Page:
        found = await trio.to_thread.run_sync(reports.backups_of, self._backup_folder)
        is_scheduled = self._settings.backup_dir is not None
        return json_page({"folder": str(self._backup_folder), "is_scheduled": is_scheduled, "backups": found})

    async def _make_backup(self, asked: Asked) -> Page:
        async with self._backing_up:
            figures, folder = self._monitoring.backups, self._backup_folder
            if self._settings.backup_dir is None:
                await trio.to_thread.run_sync(partial(folder.mkdir, mode=0o700, exist_ok=True))
            file = await make_backup_now(self._settings, folder, figures, _user_of(asked))
        return json_page({"name": file.name})

    async def _verify_backup(self, asked: Asked) -> Page:
        name = asked.query.get("name", "")
        async with self._backing_up:
            verified = partial(reports.verified, self._backup_folder, name)
            return json_page(await trio.to_thread.run_sync(verified, abandon_on_cancel=True))  # a stop doesn't wait

    async def _download_backup(self, asked: Asked) -> FilePage:
        file = await trio.to_thread.run_sync(reports.backup_file, self._backup_folder, asked.query.get("name", ""))
        address, user = asked.client.address, _user_of(asked)
        self._audit_writer.note("backup-download", OK, address=address, user=user, file=str(file))
        fields = b'Content-Type: application/octet-stream\r\nContent-Disposition: attachment; filename="%b"\r\n'
        return FilePage(file, fields % file.name.encode())

    @property
    def _backup_folder(self) -> Path:
        """That of the schedule; without one, backups are made here only, and stay with the data."""
        return self._settings.backup_dir or self._settings.data_dir / "backups"


def _user_of(asked: Asked) -> str:
    """The administrator who asks."""
    assert asked.login is not None
    assert asked.login.admin is not None
    return asked.login.admin
