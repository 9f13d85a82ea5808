"""No password or token is readable anywhere: not in a log at its most talkative, not in a file, not in an error."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from tools.clients.exact_clients import TcpClient, WebSocketClient, http_post
from tools.clients.sessions import become_admin, websocket_session

if TYPE_CHECKING:
    from collections.abc import Callable

    from tools.clients.server import Server


class Secret(enum.StrEnum):
    """Every one of them is sent to the server; none may be found afterwards."""

    ADMIN = "admin-hidden-1"
    WRONG_ADMIN = "wrong-hidden-2"
    TOKEN = "token-hidden-3"
    WRONG_TOKEN = "mistake-hidden-4"
    USER = "user-hidden-5"
    WRONG_USER = "mistake-hidden-6"
    REPLACED_USER = "old-hidden-7"
    SET_BY_KEY = "reset-hidden-8"
    SET_BY_KEY_WITH_VERSION = "reset-hidden-9"
    IN_A_CONFLICT = "conflict-hidden-10"
    IN_A_TYPING_ERROR = "typo-hidden-11"
    REPLICATED = "replicated-hidden-12"
    BEHIND_RP = "acknowledged-hidden-13"
    REFUSED_TOKEN = "refused-hidden-14"
    ON_TCP = "line-hidden-15"


def _use_every_secret(server: Server) -> None:
    bodies = [
        f"auth user-name {Secret.WRONG_ADMIN}; auth user-name {Secret.ADMIN};"
        f"create-db hidden {Secret.TOKEN} arbiter; create-db hidden {Secret.REFUSED_TOKEN};"
        f"use-db hidden {Secret.TOKEN};"
        f"create-user ana {Secret.REPLACED_USER}; create-user ana {Secret.USER};"
        f"set-safe $$user_eve 1 {Secret.SET_BY_KEY_WITH_VERSION}; set-safe $$user_eve 1 {Secret.IN_A_CONFLICT};"
        f"set $$user_bob {Secret.SET_BY_KEY};"
        f"replicate hidden $$user_cat 1 {Secret.REPLICATED}; rp 1 create-user dan {Secret.BEHIND_RP};"
        "get $$token; get $$user_ana; get $$user_eve; keys; metrics-state;"
        "debug list-dbs; debug pending-ops; debug pending-conflicts",
        f"use-db hidden {Secret.WRONG_TOKEN}; use-db hidden ana {Secret.WRONG_USER};"
        f"use-dbs hidden {Secret.IN_A_TYPING_ERROR}",
        f"use-db hidden ana {Secret.USER}",
        f"use-db $admin {Secret.ADMIN}",
    ]
    for body in bodies:
        _assert_hidden("the answer to a request", http_post(server.http, body).encode())
    with WebSocketClient(server.websocket) as websocket, TcpClient(server.tcp) as tcp:
        for client in (websocket, tcp):
            become_admin(client, server)
            client.ask(f"use-db hidden {Secret.TOKEN}")
            client.ask(f"create-user tom {Secret.ON_TCP}")
            client.ask(f"use-db hidden tom {Secret.WRONG_TOKEN}")


def _assert_hidden(where: str, data: bytes) -> None:
    for secret in Secret:
        for form in (secret.encode(), secret.encode().hex().encode(), secret[::-1].encode()):
            assert form not in data, f"{secret.name} is readable in {where}"


def _assert_hidden_in_files(server: Server) -> None:
    paths = [path for path in server.data_dir.rglob("*") if path.is_file()]
    assert paths
    for path in paths:
        _assert_hidden(str(path), path.read_bytes())


def test_no_secret_is_in_any_log_or_file(new_server: Callable[..., Server]) -> None:
    server = new_server(NUN_LOG_LEVEL="trace")
    server.password = Secret.ADMIN
    with server:
        _use_every_secret(server)
        _assert_hidden_in_files(server)
        server.restart()
        _use_every_secret(server)
        assert server.stop() == 0
        _assert_hidden_in_files(server)
        _assert_hidden("the log", server.log_text().encode())
        assert len(server.log_text().splitlines()) > 10, "a log at level trace should say something"


def test_a_values_text_is_not_logged(new_server: Callable[..., Server]) -> None:
    """Values are patients' data."""
    with new_server(NUN_LOG_LEVEL="trace") as server:
        http_post(server.http, f"auth {server.credentials}; create-db private pwd")
        with websocket_session(server, "private") as client:
            client.ask_all(
                "watch k", "set k confidential-1", "set-safe k 9 confidential-2", "set-safe k 1 confidential-3"
            )
        assert server.stop() == 0
        assert "confidential" not in server.log_text()


def test_log_levels(new_server: Callable[..., Server]) -> None:
    """The start lines come at every level; an unknown one is refused (see the tests of starting)."""
    for level in ("off", "Info", "WARN"):
        with new_server(NUN_LOG_LEVEL=level) as server:
            http_post(server.http, f"auth {server.credentials}; create-db logged pwd")
            assert server.stop() == 0
