"""The databases of the client's tests, for the commands that use the client."""

from __future__ import annotations

from tests.client.conftest import database, new_database

__all__ = ["database", "new_database"]
