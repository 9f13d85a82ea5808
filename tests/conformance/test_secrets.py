"""Tokens and passwords exist as Argon2id hashes only (docs/protocol.md section 3): with real hashes, and their cost.

All ways for a secret to come in are in tests/engine/commands/test_secrets.py.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import argon2
import pytest

from tools.clients.exact_clients import http_post, text_frames
from tools.clients.sessions import OK, admin_session, create_database, websocket_session

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tools.clients.server import Server


def _may_enter(server: Server, database: str, credentials: str) -> bool:
    answer = http_post(server.http, f"use-db {database} {credentials}")
    assert answer in ("empty", "Invalid token"), answer
    return answer == "empty"


def test_the_admin_sees_the_hash_of_a_token(shared_server: Server) -> None:
    create_database(shared_server, "secrets-seen", then="create-user ana ana-pwd")
    with admin_session(shared_server, "secrets-seen") as client:
        for command in ("get $$token", "get $$user_ana", "get-safe $$token"):
            answer, end = client.ask(command)
            assert answer.split(" ")[-1].startswith("$argon2id$v=19$"), answer
            assert "pwd" not in answer
            assert end == OK
    with websocket_session(shared_server, "$admin", shared_server.password) as client:
        client.ask(f"auth {shared_server.credentials}")
        assert client.ask("get $$token")[0].startswith("value $argon2id$")


def test_a_new_token_replaces_the_old_one_at_once(shared_server: Server) -> None:
    """Also for those whose old token the server has verified before and remembers."""
    create_database(shared_server, "secrets-new")
    assert _may_enter(shared_server, "secrets-new", "pwd")
    with admin_session(shared_server, "secrets-new") as client:
        assert client.ask("set $$token new-pwd") == [OK]
        assert client.ask("get $$token")[0].startswith("value $argon2id$")
    assert not _may_enter(shared_server, "secrets-new", "pwd")
    assert _may_enter(shared_server, "secrets-new", "new-pwd")


def test_a_hash_is_stored_as_it_is(shared_server: Server) -> None:
    """As a restore or a migration does it."""
    create_database(shared_server, "secrets-from", then="create-user ana moved")
    create_database(shared_server, "secrets-to")
    with admin_session(shared_server, "secrets-from") as client:
        hashed = client.ask("get $$user_ana")[0].removeprefix("value ").removesuffix("\n")
        client.ask("use-db secrets-to pwd")
        assert client.ask(f"set $$user_ana {hashed}") == [OK]
        assert client.ask("get $$user_ana") == [f"value {hashed}\n", OK]
    assert _may_enter(shared_server, "secrets-to", "ana moved")
    assert not _may_enter(shared_server, "secrets-to", f"ana {hashed}"), "a hash must not serve as its own token"


def test_a_token_of_one_database_is_nothing_in_another(shared_server: Server) -> None:
    create_database(shared_server, "secrets-one", then="create-user ana one")
    create_database(shared_server, "secrets-two", then="create-user ana two; create-user bob one")
    assert _may_enter(shared_server, "secrets-one", "ana one")
    assert not _may_enter(shared_server, "secrets-two", "ana one")
    assert not _may_enter(shared_server, "secrets-one", "bob one")
    assert not _may_enter(shared_server, "secrets-one", f"ana {shared_server.password}")


def test_tokens_may_hold_any_text(shared_server: Server) -> None:
    create_database(shared_server, "secrets-text", then="create-user ana Пароль!$,|*")
    assert _may_enter(shared_server, "secrets-text", "ana Пароль!$,|*")
    assert not _may_enter(shared_server, "secrets-text", "ana пароль!$,|*")


def test_the_admin_name_must_be_right_too(shared_server: Server) -> None:
    user, password = shared_server.credentials.split(" ")
    for credentials in (
        f"x{user} {password}",
        f"{user} x{password}",
        f"{user.upper()} {password}",
        f"{password} {user}",
    ):
        assert http_post(shared_server.http, f"auth {credentials}; cluster-state") == "invalid auth\n;Not auth"


@pytest.fixture(name="slow_hashing")
def _slow_hashing(new_server: Callable[..., Server]) -> Iterator[Server]:
    """A server with the default cost of hashing: 20 ms and more."""
    with new_server(NUN_ARGON2_MEMORY_KIB="19456", NUN_ARGON2_PASSES="2", NUN_ARGON2_LANES="1") as server:
        yield server


def _hash_seconds() -> float:
    """How long one hash of the default cost takes here."""
    began = time.monotonic()
    argon2.PasswordHasher(time_cost=2, memory_cost=19456, parallelism=1).hash("pwd")
    return time.monotonic() - began


def test_a_new_database_is_usable_within_100_ms(slow_hashing: Server) -> None:
    """Public clients allow so much for `create-db`, `use-db`, `watch`, four `set` and their events together."""
    times = []
    with admin_session(slow_hashing) as client:
        for number in range(5):
            began = time.monotonic()
            commands = [f"create-db quick{number} pwd", f"use-db quick{number} pwd", "watch k"]
            client.send_bytes(text_frames([*commands, *(f"set k {value}" for value in range(4))]))
            assert client.take(4 + 4 * 3)[0] == "create-db success\n"
            times.append(time.monotonic() - began)
    print(f"a new database was in use after {', '.join(f'{seconds * 1000:.0f}' for seconds in times)} ms")
    # Where the hash alone, which is made once, takes longer than usual, all of it may.
    assert min(times) < max(0.1, 4 * min(_hash_seconds() for _ in range(5)))


def test_the_thousandth_log_in_costs_nothing(slow_hashing: Server) -> None:
    """With real hashing a thousand log-ins would take 20 s and more."""
    server = slow_hashing
    create_database(server, "remembered", then="create-user ana ana-pwd")
    with websocket_session(server, "remembered") as client:
        commands = ";".join(["use-db remembered pwd", "use-db remembered ana ana-pwd"] * 500)
        client.send(commands)
        assert client.take(1000, timeout_seconds=12) == [OK] * 1000
    assert http_post(server.http, "use-db remembered ana wrong") == "Invalid token"
