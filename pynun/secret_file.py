"""Secrets by file, as container secrets are."""

from __future__ import annotations

import codecs
from pathlib import Path
from typing import Final

from pynun.errors import SettingsError

SECRET_FILE_BYTES_MAX: Final = 64 * 1024
"""A longer file is not a secret but a mistake."""


def read_secret_file(path: str, source: str) -> str:
    """The text of a file that holds one secret, without the line end and the byte order mark that editors add.

    `source` (the variable or option that names the file) begins the line of the SettingsError.
    """
    try:
        with Path(path).open("rb") as file:
            content = file.read(SECRET_FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise SettingsError(f"{source}: the file {path!r} can't be read: {reason}") from None
    try:
        text = content.removeprefix(codecs.BOM_UTF8).decode()
        if "\0" in text:
            raise UnicodeError
    except UnicodeError:
        raise SettingsError(f"{source}: the file {path!r} is not UTF-8 text (UTF-16? save it as UTF-8)") from None
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise SettingsError(f"{source}: the file {path!r} is empty: write the secret into it")
    if len(content) > SECRET_FILE_BYTES_MAX:
        raise SettingsError(
            f"{source}: the file {path!r} is too big for a secret: give a file that holds only the secret"
        )
    return text
