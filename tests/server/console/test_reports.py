"""What is said of the settings, and what is read of the audit trail."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from pynun import limits
from pynun.server.console.asked import MASK
from pynun.server.console.reports import audit_tail, settings_in_force
from pynun.settings import SETTINGS, load

if TYPE_CHECKING:
    from pathlib import Path

GIVEN = {
    "NUN_USER": "ana", "NUN_PWD": "secret", "NUN_DBS_DIR": "/data", "NUN_BACKUP_INTERVAL": "36h",
    "NUN_WS_ADDR": "127.0.0.1:4012", "NUN_HTTP_ADDR": "[::1]:4013", "NUN_CONSOLE": "127.0.0.1:4015",
    "NUN_METRICS": "off", "NUN_SYNC": "thread", "NUN_MAX_MESSAGE_SIZE": "3MiB", "NUN_HANDSHAKE_TIMEOUT": "7",
    "NUN_ALLOWED_ORIGINS": "https://a.example,https://b.example", "NUN_TRUSTED_PROXIES": "10.0.0.0/8,192.0.2.1/32",
    "NUN_ETCD": "http://127.0.0.1:2379,http://127.0.0.1:2380", "NUN_NODE_NAME": "a",
    "NUN_CLUSTER_EXTERNAL_ADDR": "10.0.0.1:3015", "NUN_CLUSTER_PLAIN": "1", "NUN_FAST_TAKEOVER": "off",
}  # fmt: skip


def test_every_setting_is_shown_as_it_can_be_given() -> None:
    settings = load(GIVEN, {})
    rows = {str(row["name"]): row for row in settings_in_force(settings)}
    assert {name for name, row in rows.items() if not row["is_default"]} == GIVEN.keys()
    for setting in SETTINGS:
        if setting.field and (text := rows[setting.name]["value"]) not in ("", MASK):
            assert setting.parse(str(text)) == getattr(settings, setting.field), setting.name


def test_the_end_of_the_trail_is_read_and_no_more(tmp_path: Path) -> None:
    trail = tmp_path / "audit.jsonl"
    lines = [json.dumps({"event": "login", "number": number, "command": "x" * 900}) for number in range(2000)]
    trail.write_text("\n".join([*lines, '{"event": "log']))
    newest: dict[str, Any] = audit_tail(trail, {})
    found = [line["number"] for line in newest["lines"]]
    assert found == list(range(1999, 1999 - limits.CONSOLE_AUDIT_LINES_MAX, -1))
    assert newest["is_cut"]
    oldest_read = 2000 - limits.CONSOLE_AUDIT_BYTES // len(lines[-1])
    assert audit_tail(trail, {"text": f'"number": {oldest_read + 5},'})["lines"]
    older = audit_tail(trail, {"text": f'"number": {oldest_read - 5},'})
    assert older == {"lines": [], "is_off": False, "is_cut": True}
