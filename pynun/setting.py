"""One row of the table of settings, and how its text is found and read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from pynun import setting_values as values
from pynun.errors import SettingsError
from pynun.secret_file import read_secret_file

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


@dataclass(frozen=True, slots=True)
class Setting:
    """One row: what can be set, how it is read, and what a person has to know about it."""

    name: str
    """The environment variable."""
    default: str
    """As it would be written; empty: none."""
    parse: Callable[[str], Any]
    """From text to value; raises ValueError whose text completes "accepted: …"."""
    help: str
    unit: str = ""
    effect: bool = True
    """False: accepted, and without effect on a single node."""
    field: str = ""
    """The attribute of `Settings` that holds the value; empty only for settings without effect."""
    option: str = ""
    """The option of the command line that wins over the variable, if there is one."""
    secret: bool = False
    """Its value is never shown, and NAME_FILE may name a file that holds it."""


class Given(NamedTuple):
    """A setting's text and where it came from, in words for an error."""

    text: str
    source: str


def find(setting: Setting, environ: Mapping[str, str], overrides: Mapping[str, str | None]) -> Given | None:
    """The setting's text where it was given, the command line first; None if nowhere."""
    if override := overrides.get(setting.name):
        return Given(override, setting.option or setting.name)
    text = environ.get(setting.name)
    if setting.secret and setting.effect and (path := environ.get(file_name := f"{setting.name}_FILE")):
        if text:
            raise SettingsError(f"{setting.name} and {file_name} are both set: keep one of them")
        return Given(read_secret_file(path, file_name), file_name)
    return Given(text, setting.name) if text else None


_LISTS = (values.comma_separated, values.etcd_urls, values.origins, values.networks)


def parse(setting: Setting, given: Given) -> Any:  # noqa: ANN401 - each row has a type of its own
    """The value of a setting; None when it has neither text nor default. Raises SettingsError."""
    if not given.text:
        return () if setting.parse in _LISTS else None
    shown = "its value" if setting.secret else repr(given.text)
    try:
        # The environment may hold bytes that are no text (to Python surrogates); no client can send those.
        given.text.encode()
    except UnicodeEncodeError:
        raise SettingsError(f"{given.source}: {shown} is not valid UTF-8 text") from None
    try:
        return setting.parse(given.text)
    except ValueError as error:
        raise SettingsError(f"{given.source}: {shown} is not accepted; accepted: {error}") from None
