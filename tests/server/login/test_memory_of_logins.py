"""Password checks take 19 MiB each while they run, and leave nothing of it behind."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tools.clients.server import Server, new_folder
from tools.clients.sessions import admin_session, create_database, tcp_session

pytestmark = pytest.mark.system

USERS = 12
ARGON2_MEMORY_KIB = 19456  # the default, which other tests lower


@pytest.mark.timeout(300)
def test_memory_of_password_checks_is_given_back() -> None:
    environment = {"NUN_ARGON2_MEMORY_KIB": str(ARGON2_MEMORY_KIB)}
    with new_folder() as folder, Server(folder / "dbs", environment=environment) as server:
        create_database(server, "ward")
        with admin_session(server, "ward") as admin:
            for number in range(USERS):
                assert admin.ask(f"create-user user{number} token{number}") == ["ok \n"]
        server.restart()  # nothing is remembered as verified
        before_kib = server.resident_private_kib()

        def log_in(number: int) -> None:
            tcp_session(server, "ward", f"user{number} token{number}").close()

        with ThreadPoolExecutor(USERS) as pool:
            list(pool.map(log_in, range(USERS)))
        grown_kib = server.resident_private_kib() - before_kib
    print(f"{USERS} logins: private memory +{grown_kib} KiB")
    assert grown_kib < ARGON2_MEMORY_KIB / 2
