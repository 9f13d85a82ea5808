"""The settings that say who the administrator is. Most commands read no others, and start sooner without them."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from pynun import setting_values as values
from pynun.setting import Setting, find, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

USER = Setting(
    name="NUN_USER", default="", parse=values.user_name, field="user", option="-u/--user", secret=True,
    help="The administrator's user name. Must be given.",
)  # fmt: skip
PASSWORD = Setting(
    name="NUN_PWD", default="", parse=values.password, field="password", option="-p/--pwd", secret=True,
    help="The administrator's password, which is also the token of the database $admin. Must be given.",
)  # fmt: skip


class Credentials(NamedTuple):
    """Who the administrator is, as far as it is known: a prompt may still add what is None."""

    user: str | None
    password: str | None

    def __repr__(self) -> str:
        return f"Credentials(user={self.user!r}, password={'<hidden>' if self.password else None})"


def load_credentials(environ: Mapping[str, str], user: str | None, password: str | None) -> Credentials:
    """The administrator's credentials alone, for the commands that talk to a running server. Raises SettingsError."""
    overrides = {USER.name: user, PASSWORD.name: password}
    found = [
        parse(setting, given) if (given := find(setting, environ, overrides)) else None for setting in (USER, PASSWORD)
    ]
    return Credentials(*found)
