"""The log: one line per event on standard output, in the original's format with the level added, or as JSON.

Levels: error, something failed that an administrator must look at; warn, it may need a look; info, starting, stopping
and the like, nothing per command; debug, connections; trace, as debug. No level shows a password, token or value.

Nothing that a client sends can begin a line or hide one: control characters are escaped, and in the text format the
lines of a trace are indented. As JSON each line is one object with `time`, `level`, `logger` and `message`, a trace
being the text `exception` in it (docs/monitoring.md).
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Final, TextIO

from pynun.timestamps import timestamp

_LEVELS: Final = {
    "off": logging.CRITICAL + 10,
    "error": logging.ERROR,
    "warn": logging.WARNING,
    "info": logging.INFO,
    "debug": logging.DEBUG,
    "trace": logging.DEBUG,
}

_LOGGER: Final = "nun_db"

_ESCAPES: Final = {
    code: f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"
    for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029)
}
"""Control characters, and what else ends a line for one program or another."""


def _level_name(level: int) -> str:
    return "WARN" if level == logging.WARNING else logging.getLevelName(level)


class _TextFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage().translate(_ESCAPES)
        if record.exc_info:
            trace = self.formatException(record.exc_info)
            text += "".join(f"\n    {line.translate(_ESCAPES)}" for line in trace.splitlines())
        return f"[{timestamp(int(record.created * 1e9))} {_level_name(record.levelno)} {record.name}] {text}"


class _JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        members = {}
        if record.exc_info:
            members["exception"] = self.formatException(record.exc_info)
        return _json_line(record.created, _level_name(record.levelno), record.name, record.getMessage(), members)


def _json_line(seconds: float, level: str, logger: str, message: str, members: dict[str, str]) -> str:
    """One object in one line, of ASCII only: what it is written to may have any encoding."""
    time_text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": time_text, "level": level, "logger": logger, "message": message, **members})


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Lines on standard output, until nobody reads it any more: a server must not end with its log's reader."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)


_is_json = False


def configure(level: str, log_format: str = "text") -> logging.Logger:
    """Set up the process's log; returns the server's logger.

    `level` is `off`, `error`, `warn`, `info`, `debug` or `trace`; `log_format` is `text` or `json`.
    """
    global _is_json
    _is_json = log_format == "json"
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # a name that can't be written must not cost the line
    handler = _StandardOutput(sys.stdout)
    handler.setFormatter(_JsonFormatter() if _is_json else _TextFormatter())
    logger = logging.getLogger(_LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(_LEVELS[level])
    logger.propagate = False
    # trio-websocket logs every frame at debug: its checks cost nothing while its level is higher.
    logging.getLogger("trio-websocket").setLevel(logging.CRITICAL)
    return logger


def announce(text: str, **members: str) -> None:
    """A line that is printed whatever the level: that the server starts, where it listens, how to stop it.

    `members` are further members of the object, for programs that read the log as JSON.
    """
    line = f"[{timestamp()} {_LOGGER}] {text.translate(_ESCAPES)}"
    if _is_json:
        line = _json_line(time.time(), "INFO", _LOGGER, text, members)
    with contextlib.suppress(OSError):  # as in _StandardOutput
        print(f"{line}\n", end="", flush=True)  # in one piece: a start that takes long has two threads
