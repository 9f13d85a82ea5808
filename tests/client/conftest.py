"""Databases on the shared server, one for each test, and what the documented examples expect to find."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tools.clients.exact_clients import http_post
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.clients.server import Server

_numbers = itertools.count()


@dataclass(frozen=True, slots=True)
class Database:
    """A database of a test's own, with the user `ana` who may read all and change `ana-…`."""

    server: Server
    url: str
    name: str
    token: str
    user: str = "ana"
    user_token: str = "ana-pwd"

    def admin(self, commands: str) -> str:
        """Run commands as the admin with the database selected."""
        answer = http_post(
            self.server.http, f"auth {ADMIN_USER} {ADMIN_PASSWORD};use {self.name} {self.token};{commands}"
        )
        return answer.removeprefix("valid auth\n;empty;")


def make_database(server: Server, strategy: str = "none", name: str | None = None, token: str = "db-pwd") -> Database:
    """Make a database on a running server."""
    database = Database(server, f"ws://{server.websocket}", name or f"client-test-{next(_numbers)}", token)
    http_post(server.http, f"auth {ADMIN_USER} {ADMIN_PASSWORD};create-db {database.name} {database.token} {strategy}")
    answer = database.admin(
        f"create-user {database.user} {database.user_token};set-permissions {database.user} r *|rwix ana-*"
    )
    assert answer == "empty;empty"
    return database


@pytest.fixture
def database(shared_server: Server) -> Database:
    """A database on the shared server."""
    return make_database(shared_server)


@pytest.fixture
def new_database(shared_server: Server) -> Callable[[str], Database]:
    """A factory of databases with a strategy."""
    return lambda strategy: make_database(shared_server, strategy)
