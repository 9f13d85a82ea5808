"""The server's settings: one row each, read from the command line, the environment and their defaults, in this order.

The rows (`SETTINGS`) feed the loader, the configuration reference and the tests. Names and defaults of the original's
variables are docs/protocol.md section 6; variables that have no effect on a single node are accepted and reported.
A value that does not parse is one line naming the variable, the value (never that of a secret) and what is accepted.
An empty value counts as not set, for that is what an unset variable becomes in container files.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from pynun import limits
from pynun import setting_values as values
from pynun.administrator_settings import PASSWORD, USER
from pynun.cluster_settings import CLUSTER_SETTINGS, ClusterValues, complete
from pynun.errors import SettingsError
from pynun.original_settings import ORIGINAL_SETTINGS
from pynun.setting import Given, Setting, find, parse

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from pynun.audit_file import AuditTrail
    from pynun.setting_values import Address


class CredentialsMissingError(SettingsError):
    """The server can't start without the administrator's user and password."""


class Durability(enum.Enum):
    """When a change is acknowledged: once it is on disk (`always`), or at once, with the disk to follow (`relaxed`)."""

    ALWAYS = "always"
    RELAXED = "relaxed"


def _durability(text: str) -> Durability:
    return Durability(values.word(*(member.value for member in Durability))(text))


SETTINGS: tuple[Setting, ...] = (
    USER,
    PASSWORD,
    Setting(
        name="NUN_DBS_DIR", default="dbs", parse=values.folder, field="data_dir", option="--data-dir",
        help="The data folder, created if missing. A relative path starts at the current directory.",
    ),
    Setting(
        name="NUN_BACKUP_DIR", default="", parse=values.folder, field="backup_dir",
        help="An existing folder for scheduled backups (docs/backup.md). Unset: no schedule.",
    ),
    Setting(
        name="NUN_BACKUP_INTERVAL", default="1d", parse=values.duration_seconds(1, 3660 * 86_400), unit="s",
        field="backup_interval_seconds", help="Time between backups, counted from the newest in NUN_BACKUP_DIR, also "
        "after a restart.",
    ),
    Setting(
        name="NUN_BACKUP_KEEP", default="7", parse=values.whole_number(1, 100_000), unit="backups",
        field="backup_keep", help="How many backups to keep. The oldest is removed once a new one is complete.",
    ),
    Setting(
        name="NUN_MIGRATION_BACKUP", default="on", parse=values.is_on, field="is_keeping_old_format",
        help="on: before data of an older format is converted at a start, a backup of it is kept in the data folder. "
        "off: none is; make one yourself first (docs/upgrade.md).",
    ),
    Setting(
        name="NUN_RUN_AS", default="", parse=values.identity, field="run_as",
        help="User and group to switch to if root starts the server; they get the data folder. The container image sets"
        " it to 65532:65532. Other users can't switch: no effect.",
    ),
    Setting(
        name="NUN_WS_ADDR", default="0.0.0.0:3012", parse=values.parse_address, field="websocket_address",
        option="-w/--ws-address", help="Where WebSocket clients connect. Port 0 picks a free port.",
    ),
    Setting(
        name="NUN_HTTP_ADDR", default="0.0.0.0:3013", parse=values.parse_address, field="http_address",
        option="-h/--http-address", help="Where HTTP clients and the nun-db command connect.",
    ),
    Setting(
        name="NUN_TCP_ADDR", default="0.0.0.0:3014", parse=values.parse_address, field="tcp_address",
        option="-t/--tcp-address", help="Where TCP clients connect.",
    ),
    Setting(
        name="NUN_EXTERNAL_ADDR", default="", parse=values.host_and_port_text, field="external_address",
        option="--external-address", help="The address that cluster-state shows. Unset: the TCP address.",
    ),
    Setting(
        name="NUN_LOG_LEVEL", default="info", parse=values.word("off", "error", "warn", "info", "debug", "trace"),
        field="log_level", help="How much is logged.",
    ),
    Setting(
        name="NUN_AUDIT_FILE", default="audit.jsonl", parse=values.file_or_off, field="audit_file",
        help="The audit trail (docs/audit.md); a relative path starts at NUN_DBS_DIR. off: audit to the log only.",
    ),
    Setting(
        name="NUN_AUDIT_MAX_SIZE", default="10MiB", parse=values.size_bytes(4096, 1024**4), unit="bytes",
        field="audit_bytes_max", help="The size at which this file is renamed and a new one started.",
    ),
    Setting(
        name="NUN_AUDIT_KEEP", default="10", parse=values.whole_number(0, 10_000), unit="files", field="audit_keep",
        help="How many renamed audit files to keep.",
    ),
    Setting(
        name="NUN_LOG_FORMAT", default="text", parse=values.word("text", "json"), field="log_format",
        help="text: lines to read. json: one object per line, with time, level, logger and message.",
    ),
    Setting(
        name="NUN_METRICS", default="on", parse=values.on_off_or_address, field="metrics",
        help="on: Prometheus metrics at /metrics on the HTTP port. HOST:PORT: only there, on a port that runs no "
        "commands and has /livez, /readyz and /healthz too. Database names are shown only there, or after a login as "
        "administrator.",
    ),
    Setting(
        name="NUN_CONSOLE", default="on", parse=values.on_off_or_address, field="console",
        help="on: the web console at /console on the HTTP port (docs/console.md), over https, or over http from this "
        "machine's own browser. HOST:PORT: only there, on a port that runs no commands. off: none.",
    ),
    Setting(
        name="NUN_DURABILITY", default="always", parse=_durability, field="durability",
        help="always: acknowledged changes are on disk. relaxed: written within 100 ms; a crash can lose those.",
    ),
    Setting(
        name="NUN_SYNC", default="auto", parse=values.word("auto", "thread"), field="sync",
        help="Who waits for the disk with NUN_DURABILITY=always. auto: the thread that serves clients, while the disk"
        " is quick; a disk that stops then holds up reads too, until it answers. thread: always another thread.",
    ),
    Setting(
        name="NUN_MAX_MESSAGE_SIZE", default="16MiB", parse=values.size_bytes(1024, 1024**3), unit="bytes",
        field="message_bytes_max", help="The largest message, request body or line.",
    ),
    Setting(
        name="NUN_MAX_OUTBOX_SIZE", default="8MiB", parse=values.size_bytes(64 * 1024, 1024**3), unit="bytes",
        field="outbox_bytes_max", help="Unread output of a client before it is disconnected.",
    ),
    Setting(
        name="NUN_MAX_KEY_SIZE", default="8KiB", parse=values.size_bytes(64, 1024**3), unit="bytes",
        field="key_bytes_max", help="The longest new key. Existing longer keys keep working.",
    ),
    Setting(
        name="NUN_MAX_DATABASE_SIZE", default="", parse=values.size_bytes(4096, 1024**5), unit="bytes",
        field="database_bytes_max", help="Total size of a database's keys and values. Changes beyond it are"
        " refused, except removing, shrinking and managing users. Unset: no limit.",
    ),
    Setting(
        name="NUN_MAX_CHANGES_PER_SECOND", default="", parse=values.whole_number(1, 1_000_000), unit="changes a second",
        field="changes_per_second_max", help="Changes per second of a session (docs/security.md). A moving viewer makes"
        " about 120. The administrator is exempt. Unset: no limit.",
    ),
    Setting(
        name="NUN_MAX_UNFINISHED_SIZE", default="64MiB", parse=values.size_bytes(4096, 1024**4), unit="bytes",
        field="unfinished_bytes_max", help="Memory for incomplete or waiting input of all clients that have not"
        " logged in; those that have get four times as much. At least four times NUN_MAX_MESSAGE_SIZE; the default "
        "grows with that.",
    ),
    Setting(
        name="NUN_TLS_CERT", default="", parse=values.file, field="tls_cert",
        help="PEM file with the certificate and its chain. With it, all three ports speak only TLS (1.2 and up). SIGHUP"
        " reloads it.",
    ),
    Setting(
        name="NUN_TLS_KEY", default="", parse=values.file, field="tls_key",
        help="PEM file with the certificate's private key, unencrypted.",
    ),
    Setting(
        name="NUN_MAX_CONNECTIONS", default="10000", parse=values.whole_number(1, 1_000_000), unit="connections",
        field="connections_max", help="Open connections, all transports together.",
    ),
    Setting(
        name="NUN_MAX_CONNECTIONS_PER_ADDRESS", default="8000", parse=values.whole_number(1, 1_000_000),
        unit="connections", field="connections_per_address_max",
        help="Open connections from one address (or IPv6 /64). Behind a proxy, set NUN_TRUSTED_PROXIES.",
    ),
    Setting(
        name="NUN_MAX_WATCHES", default="10000", parse=values.whole_number(1, 100_000_000), unit="keys",
        field="watches_max", help="Watched keys of a session.",
    ),
    Setting(
        name="NUN_MAX_KEYS", default="1000000", parse=values.whole_number(1, 1_000_000_000), unit="keys",
        field="keys_max", help="Keys in one reply to keys.",
    ),
    Setting(
        name="NUN_HANDSHAKE_TIMEOUT", default="15", parse=values.whole_number(1, 3600), unit="s",
        field="handshake_seconds", help="Time limit for a TLS or WebSocket handshake, or an HTTP request.",
    ),
    Setting(
        name="NUN_IDLE_TIMEOUT", default="45", parse=values.whole_number(3, 86_400), unit="s",
        field="idle_seconds", help="A client that answers nothing for so long, not even a WebSocket ping or TCP"
        " keep-alive probe, is disconnected.",
    ),
    Setting(
        name="NUN_ALLOWED_ORIGINS", default="", parse=values.origins, field="allowed_origins",
        help="Web pages (https://viewer.example.org, comma-separated) that may connect by WebSocket and use HTTP (with"
        " CORS); others get 403. Unset: all by WebSocket; by HTTP what browsers allow without CORS. Other programs are"
        " not restricted.",
    ),
    Setting(
        name="NUN_TRUSTED_PROXIES", default="", parse=values.networks, field="trusted_proxies",
        help="Addresses and networks of your proxies. For connections from them, the client's address is taken from"
        " X-Forwarded-For, Forwarded or the PROXY protocol (docs/proxies.md). Unset: these are ignored.",
    ),
    Setting(
        name="NUN_PROXY_PROTOCOL", default="auto", parse=values.word("auto", "on", "off"), field="proxy_protocol",
        help="Whether connections from NUN_TRUSTED_PROXIES may (auto), must (on) or must not (off) start with a PROXY "
        "header (version 1 or 2).",
    ),
    Setting(
        name="NUN_ARGON2_MEMORY_KIB", default="19456", parse=values.whole_number(8, 4 * 1024**2), unit="KiB",
        field="argon2_memory_kib", help="Memory for hashing a password; at least 8 per lane.",
    ),
    Setting(
        name="NUN_ARGON2_PASSES", default="2", parse=values.whole_number(1, 1000), unit="passes", field="argon2_passes",
        help="Passes over that memory. More passes cost attackers, and the server, more time.",
    ),
    Setting(
        name="NUN_ARGON2_LANES", default="1", parse=values.whole_number(1, 255), unit="lanes", field="argon2_lanes",
        help="Threads for hashing a password.",
    ),
    Setting(
        name="NUN_LOGIN_BURST", default="10", parse=values.whole_number(1, 1000), unit="tries", field="login_burst",
        help="Wrong passwords or tokens from an address before its further tries wait; for an account, some more "
        "(docs/security.md).",
    ),
    Setting(
        name="NUN_LOGIN_DELAY_MAX", default="60", parse=values.whole_number(10, 3600), unit="s",
        field="login_delay_seconds_max", help="The longest wait. Waits start at 1 s and double.",
    ),
    *CLUSTER_SETTINGS,
    *ORIGINAL_SETTINGS,
)  # fmt: skip
"""Every setting, in the order of the reference."""

HOW_TO_GIVE_CREDENTIALS = "set these variables, or NUN_USER_FILE and NUN_PWD_FILE, or write nun-db -u USER -p PWD start"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(ClusterValues):
    """What the server was told. The meaning of each field is its row's help in `SETTINGS`."""

    user: str
    password: str = field(repr=False)
    data_dir: Path
    websocket_address: Address
    http_address: Address
    tcp_address: Address
    external_address: str | None
    replicate_addresses: tuple[str, ...]
    log_level: str
    log_format: str
    metrics: bool | Address
    console: bool | Address
    durability: Durability
    sync: str = "auto"
    message_bytes_max: int
    outbox_bytes_max: int
    unfinished_bytes_max: int
    key_bytes_max: int
    database_bytes_max: int | None
    changes_per_second_max: int | None
    audit_file: Path | None
    """Relative to `data_dir`, unless it is absolute; None: no file."""
    audit_bytes_max: int
    audit_keep: int
    run_as: values.Identity | None
    tls_cert: Path | None
    tls_key: Path | None
    connections_max: int
    connections_per_address_max: int
    watches_max: int
    keys_max: int
    handshake_seconds: int
    idle_seconds: int
    allowed_origins: tuple[str, ...]
    trusted_proxies: tuple[values.Network, ...]
    proxy_protocol: str
    backup_dir: Path | None
    backup_interval_seconds: int
    backup_keep: int
    is_keeping_old_format: bool
    login_burst: int
    login_delay_seconds_max: int
    argon2_memory_kib: int
    argon2_passes: int
    argon2_lanes: int
    unknown: tuple[str, ...]
    """Variables whose names begin like those of settings, and are none: typing errors, most likely."""
    unused: tuple[str, ...]
    """The variables (or options) that were set, not to their default, and have no effect on a single node."""


def load(environ: Mapping[str, str], overrides: Mapping[str, str | None]) -> Settings:
    """Read all settings.

    `overrides` holds what the command line gave, by the variable's name; None, like a missing entry, means not given.
    Raises SettingsError, and of it CredentialsMissingError when there is no user or no password.
    """
    assert overrides.keys() <= {setting.name for setting in SETTINGS}, overrides.keys()
    found: dict[str, Any] = {}
    is_given: dict[str, bool] = {}
    unused: list[str] = []
    for setting in SETTINGS:
        given = find(setting, environ, overrides)
        value = parse(setting, given or Given(setting.default, setting.name))
        if setting.field:
            is_given[setting.field] = given is not None
            found[setting.field] = value
        is_unused = not setting.effect or (setting in CLUSTER_SETTINGS and not found["etcd_urls"])
        if given and is_unused and given.text != setting.default:
            unused.append(given.source)
    if missing := [setting.name for setting in (USER, PASSWORD) if not found[setting.field or ""]]:
        # The beginning is the original's (docs/protocol.md section 6).
        which = f", and {missing[0]} is missing" if len(missing) == 1 else ""
        raise CredentialsMissingError(f"NUN_USER and NUN_PWD must be provided{which}: {HOW_TO_GIVE_CREDENTIALS}")
    if found["argon2_memory_kib"] < 8 * found["argon2_lanes"]:
        raise SettingsError(
            f"NUN_ARGON2_MEMORY_KIB: {found['argon2_memory_kib']} is too little for"
            f" {found['argon2_lanes']} lanes; accepted: at least {8 * found['argon2_lanes']}"
        )
    complete(found, is_given)
    # One message of the full size always fits.
    least = limits.UNFINISHED_MESSAGES * found["message_bytes_max"]
    if is_given["unfinished_bytes_max"] and found["unfinished_bytes_max"] < least:
        raise SettingsError(
            f"NUN_MAX_UNFINISHED_SIZE: {values.format_size(found['unfinished_bytes_max'])} is too little for messages"
            f" of {values.format_size(found['message_bytes_max'])} (NUN_MAX_MESSAGE_SIZE); accepted: at least"
            f" {values.format_size(least)}"
        )
    found["unfinished_bytes_max"] = max(found["unfinished_bytes_max"], least)
    if (found["tls_cert"] is None) != (found["tls_key"] is None):
        one, other = ("NUN_TLS_CERT", "NUN_TLS_KEY") if found["tls_cert"] else ("NUN_TLS_KEY", "NUN_TLS_CERT")
        raise SettingsError(f"{one} is set, but {other} is not: TLS needs both the certificate and its key")
    if found["proxy_protocol"] == "on" and not found["trusted_proxies"]:
        raise SettingsError(
            "NUN_PROXY_PROTOCOL=on has no effect without NUN_TRUSTED_PROXIES: name the proxies whose connections begin"
            " with a PROXY header, or unset it"
        )
    return Settings(**found, unused=tuple(unused), unknown=_unknown(environ))


def wrong_values(environ: Mapping[str, str], overrides: Mapping[str, str | None]) -> list[str]:
    """What `load` would refuse about single settings, all of it."""
    found = []
    for setting in SETTINGS:
        try:
            parse(setting, find(setting, environ, overrides) or Given(setting.default, setting.name))
        except SettingsError as error:
            found.append(str(error))
    return found


_OTHER_VARIABLES = ("NUN_TOKEN", "NUN_CA", "NUN_ENV_FILE", "NUN_PROFILE", "NUN_TEST_")
"""Beginnings of variables that belong to other commands, or to the tests."""


def _unknown(environ: Mapping[str, str]) -> tuple[str, ...]:
    known = {name for setting in SETTINGS for name in (setting.name, f"{setting.name}_FILE")}
    return tuple(
        sorted(
            name
            for name in environ
            if name.startswith("NUN_") and name not in known and not name.startswith(_OTHER_VARIABLES)
        )
    )


def load_audit_trail(environ: Mapping[str, str], data_dir: Path) -> AuditTrail:
    """The audit trail of the server on a data folder, for commands that work on the folder. Raises SettingsError."""
    from pynun.audit_file import AuditTrail  # most commands need none, and start sooner

    file, bytes_max, keep = load_fields(environ, "audit_file", "audit_bytes_max", "audit_keep")
    return AuditTrail(None if file is None else data_dir / file, bytes_max=bytes_max, keep=keep)


def load_fields(environ: Mapping[str, str], *fields: str) -> tuple[Any, ...]:
    """Some settings alone, by their fields, for commands that work on the data folder. Raises SettingsError."""
    rows = {setting.field: setting for setting in SETTINGS}
    return tuple(
        parse(row, find(row, environ, {}) or Given(row.default, row.name)) for row in (rows[name] for name in fields)
    )
