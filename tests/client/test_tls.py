"""The client over TLS with our own certificate authority: `ca`, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from pynun.client import Client, ClientOptions, ConnectionFailed, SyncClient
from tools.clients.exact_clients import TcpClient
from tools.clients.server import ADMIN_PASSWORD, ADMIN_USER, Server, new_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.certificates import Authority

ADMIN = (ADMIN_USER, ADMIN_PASSWORD)
BIG = "x" * (2 << 20)


@pytest.fixture(scope="module", name="server")
def _server(authority: Authority) -> Iterator[Server]:
    with new_folder() as folder, Server(folder / "dbs", environment=authority.environment()) as server:
        yield server


def test_both_clients_trust_the_authority_they_are_given(authority: Authority, server: Server) -> None:
    url = f"wss://localhost:{server.websocket.port}"
    with SyncClient(url, admin=ADMIN, ca=str(authority.file)) as sync_client:
        sync_client.create_db("tls", "pwd")

    async def use(options: ClientOptions) -> None:
        with trio.fail_after(30):
            async with Client(url, **options) as client, client.watch("k") as watch:
                await client.set("k", BIG)
                assert (await anext(watch)).value == BIG
                assert await client.get("k") == BIG

    trio.run(use, ClientOptions(database="tls", token="pwd", ca=str(authority.file)))
    trio.run(use, ClientOptions(database="tls", token="pwd", ssl_context=authority.trusting()))


def test_nobody_is_trusted_without_reason(authority: Authority, server: Server, shared_server: Server) -> None:
    url = f"wss://localhost:{server.websocket.port}"
    refusals: tuple[tuple[str, ClientOptions, str], ...] = (
        (url, {}, r"certificate is not trusted \(.*\): --ca FILE"),
        # 127.0.0.1, by another name
        (f"wss://127.1:{server.websocket.port}", {"ca": str(authority.file)}, "its certificate is for another name"),
        (f"ws{url[3:]}", {}, "HTTP 400: this port speaks TLS"),
        # Speaks first, and no TLS.
        (f"wss://{shared_server.tcp}", {}, r"TLS failed \(WRONG_VERSION_NUMBER\); does it speak wss\?"),
    )
    for address, options, told in refusals:
        with pytest.raises(ConnectionFailed, match=told), SyncClient(address, **options):
            pytest.fail("the client must not open")
    with TcpClient(server.tcp, tls=authority.trusting()) as other:
        assert other.ask("auth user-name user-pwd") == ["valid auth\n", "ok \n"]


def test_an_authority_that_makes_no_sense_is_refused_before_anything_is_sent(authority: Authority) -> None:
    ours = str(authority.file)
    with pytest.raises(ValueError, match="can't be read: No such file or directory"):
        Client("wss://localhost:1", ca=f"{ours}.missing")
    with pytest.raises(ValueError, match="is for wss:// URLs"):
        Client("ws://localhost:1", ca=ours)
    with pytest.raises(ValueError, match="can't be combined"):
        Client("wss://localhost:1", ca=ours, ssl_context=authority.trusting())
