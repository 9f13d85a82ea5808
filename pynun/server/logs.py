"""The log: one line per event on standard output, in the original's format with the level added.

Levels: error, something failed that an administrator must look at; warn, it may need a look; info, starting, stopping
and the like, nothing per command; debug, connections; trace, as debug. No level shows a password, token or value.
"""

from __future__ import annotations

import contextlib
import logging
import sys
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


class _Formatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        level = "WARN" if record.levelno == logging.WARNING else record.levelname
        return f"[{timestamp(int(record.created * 1e9))} {level} {record.name}] {text}"


class _StandardOutput(logging.StreamHandler[TextIO]):
    """Lines on standard output, until nobody reads it any more: a server must not end with its log's reader."""

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)


def configure(level: str) -> logging.Logger:
    """Set up the process's log at `off`, `error`, `warn`, `info`, `debug` or `trace`; returns the server's logger."""
    handler = _StandardOutput(sys.stdout)
    handler.setFormatter(_Formatter())
    logger = logging.getLogger("nun_db")
    logger.handlers[:] = [handler]
    logger.setLevel(_LEVELS[level])
    logger.propagate = False
    # trio-websocket logs every frame at debug: its checks cost nothing while its level is higher.
    logging.getLogger("trio-websocket").setLevel(logging.CRITICAL)
    return logger


def announce(text: str) -> None:
    """A line that is printed whatever the level: that the server starts, where it listens, how to stop it."""
    with contextlib.suppress(OSError):  # as in _StandardOutput
        print(f"[{timestamp()} nun_db] {text}", flush=True)
