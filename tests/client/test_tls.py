"""The client over TLS with an authority of the house: `ca`, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from pynun.client import Client, ConnectionFailed, SyncClient
from tests.support.certificates import Authority
from tools.clients.exact_clients import TcpClient
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER, Server

if TYPE_CHECKING:
    from pathlib import Path

ADMIN = (ADMIN_USER, ADMIN_PASSWORD)
BIG = "x" * (2 << 20)


def test_both_clients_trust_the_authority_they_are_given(disk_folder: Path) -> None:
    authority = Authority(disk_folder)
    with Server(disk_folder / "dbs", environment=authority.environment()) as server:
        url = f"wss://localhost:{server.websocket.port}"
        with SyncClient(url, admin=ADMIN, ca=str(authority.file)) as sync_client:
            sync_client.create_db("tls", "pwd")

        async def use() -> None:
            with trio.fail_after(30):
                async with (
                    Client(url, database="tls", token="pwd", ca=str(authority.file)) as client,
                    client.watch("k") as watch,
                ):
                    await client.set("k", BIG)
                    assert (await anext(watch)).value == BIG
                    assert await client.get("k") == BIG

        trio.run(use)


def test_nobody_is_trusted_without_reason(disk_folder: Path) -> None:
    authority = Authority(disk_folder)
    with Server(disk_folder / "dbs", environment=authority.environment()) as server:
        url = f"wss://localhost:{server.websocket.port}"
        with pytest.raises(ConnectionFailed, match=r"certificate is not trusted \(.*\): --ca FILE"), SyncClient(url):
            pass
        ours = str(authority.file)
        with (
            pytest.raises(ConnectionFailed, match="its certificate is for another name"),
            SyncClient(f"wss://127.1:{server.websocket.port}", ca=ours),  # 127.0.0.1, by another name
        ):
            pass
        with pytest.raises(ConnectionFailed, match=r"HTTP 400: this port speaks TLS"), SyncClient(f"ws{url[3:]}"):
            pass
        with TcpClient(server.tcp, tls=authority.trusting()) as other:
            assert other.ask("auth user-name user-pwd") == ["valid auth\n", "ok \n"]


def test_an_authority_that_makes_no_sense_is_refused_before_anything_is_sent(disk_folder: Path) -> None:
    authority = Authority(disk_folder)
    ours = str(authority.file)
    with pytest.raises(ValueError, match="can't be read: No such file or directory"):
        Client("wss://localhost:1", ca=str(disk_folder / "missing.pem"))
    with pytest.raises(ValueError, match="is for wss:// URLs"):
        Client("ws://localhost:1", ca=ours)
    with pytest.raises(ValueError, match="exclude each other"):
        Client("wss://localhost:1", ca=ours, ssl_context=authority.trusting())
