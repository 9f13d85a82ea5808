"""The log: one line per event on standard output, in the original's format with the level added, or as JSON.

Levels: error, an administrator must act; warn, somebody should look; info, start, stop and the like, nothing per
command; debug and trace, connections. No level shows a password, token or value.

Clients can't forge or hide a line: control characters are escaped, and in the text format tracebacks are indented. As
JSON each line is an object with `time`, `level`, `logger` and `message`, and a traceback is the text `exception`
(docs/monitoring.md).

A thread writes the lines in order, so nothing here waits for the reader of the log.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Final, TextIO

from pynun.server.process.log_writer import LogWriter
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
"""Control characters, and other characters that some programs take as line ends."""


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
    """One JSON object per line, in ASCII, because the output may have any encoding."""
    time_text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return json.dumps({"time": time_text, "level": level, "logger": logger, "message": message, **members})


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        try:
            _output.put(f"{self.format(record)}\n")
        except Exception:
            self.handleError(record)


class _Direct:
    """Writes directly, where standard output is not a file descriptor of the process (the demo, tests)."""

    dropped = 0

    def put(self, text: str) -> None:
        with contextlib.suppress(OSError):
            print(text.encode(errors="backslashreplace").decode(), end="", flush=True)

    def finish(self) -> None:
        pass


class _StandardError(io.TextIOBase):
    """Replaces sys.stderr for Python and libraries; keeps lines whole if they are written whole."""

    encoding = "utf-8"
    errors = "backslashreplace"

    def __init__(self, output: LogWriter) -> None:
        self._output = output

    def write(self, text: str) -> int:
        self._output.put(text)
        return len(text)

    def fileno(self) -> int:
        return STANDARD_ERROR

    def writable(self) -> bool:
        return True


STANDARD_OUTPUT: Final = 1
STANDARD_ERROR: Final = 2

_is_json = False
_output: LogWriter | _Direct = _Direct()


def configure(level: str, log_format: str = "text") -> logging.Logger:
    """Set up the log of the process; returns the server's logger.

    From now on, printing to standard output or standard error never blocks (`pynun.server.process.log_writer`). `level`
    is `off`, `error`, `warn`, `info`, `debug` or `trace`; `log_format` is `text` or `json`.
    """
    global _is_json, _output
    _is_json = log_format == "json"
    _output = LogWriter(STANDARD_OUTPUT, _gap_line) if _is_descriptor(sys.stdout, STANDARD_OUTPUT) else _Direct()
    if _is_descriptor(sys.stderr, STANDARD_ERROR):
        errors = LogWriter(STANDARD_ERROR, _gap_line)
        sys.stderr = _StandardError(errors)
        atexit.register(errors.finish)
    handler = _Handler()
    handler.setFormatter(_JsonFormatter() if _is_json else _TextFormatter())
    logger = logging.getLogger(_LOGGER)
    logger.handlers[:] = [handler]
    logger.setLevel(_LEVELS[level])
    logger.propagate = False
    # trio-websocket logs every frame at debug; a higher level makes that cheap.
    logging.getLogger("trio-websocket").setLevel(logging.CRITICAL)
    return logger


def _is_descriptor(stream: TextIO, descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor and not isinstance(stream, _StandardError)
    except (AttributeError, OSError, ValueError):
        return False


def announce(text: str, **members: str) -> None:
    """Print a line at every level: that the server starts, where it listens, how to stop it.

    `members` are further members of the JSON object.
    """
    line = f"[{timestamp()} {_LOGGER}] {text.translate(_ESCAPES)}"
    if _is_json:
        line = _json_line(time.time(), "INFO", _LOGGER, text, members)
    _output.put(f"{line}\n")


def dropped_lines() -> int:
    """Log lines dropped so far because nobody read them or they could not be written."""
    return _output.dropped


def finish() -> None:
    """Wait until the log is written; give up after a second without progress."""
    _output.finish()


def _gap_line(count: int) -> str:
    text = f"{count} lines of the log were dropped: nobody read them in time, or they could not be written"
    if _is_json:
        return _json_line(time.time(), "WARN", _LOGGER, text, {}) + "\n"
    return f"[{timestamp()} WARN {_LOGGER}] {text}\n"
