"""Any text of any session is answered by messages and one end, and what the engine holds survives a restart."""

from __future__ import annotations

from pynun.engine.commands.table import BY_NAME
from tests.engine.answers import DATABASES, check_answer, is_event, new_clients
from tests.engine.world import ADMIN_PASSWORD, ADMIN_USER, Client
from tests.properties.command_texts import KEYS, SPECIAL_KEYS, STRATEGIES, USERS

WORDS = (
    *(f"\xff{session}{name} ".encode("latin-1") for session in "0123" for name in BY_NAME),
    *(word.encode() for word in (*KEYS, *SPECIAL_KEYS, *DATABASES, *STRATEGIES, *USERS)),
    *(
        word.encode()
        for word in (ADMIN_USER, ADMIN_PASSWORD, "one-pwd", "ana-pwd", "rwix", "r *|w a*", "-1", "<Empty>")
    ),
    str(2**63 - 1).encode(),
    str(2**31 - 1).encode(),
)

COMMANDS_MAX = 24
"""Of one input: more of them find nothing that these don't."""


def commands_of(data: bytes) -> list[tuple[int, str]]:
    """Sessions and texts: parts separated by the byte 0xFF, which UTF-8 never has; the first byte is the session."""
    parts = data.split(b"\xff")[:COMMANDS_MAX]
    return [(part[0], part[1:].decode(errors="ignore")) for part in parts if part]


def one(data: bytes) -> None:
    """Each command has its answer and one end, others hear events only; on disk is what was answered."""
    clients = new_clients()
    for number, text in commands_of(data):
        for client in clients:
            client.outbox.take()
        asking = clients[number % len(clients)]
        asking.world.settle(asking.session.execute(text))
        for client in clients:
            told = client.outbox.take()
            if client is asking:
                told = [message for message in told if not is_event(message)]
                check_answer(told)
            else:
                assert all(map(is_event, told)), told
    world = clients[0].world
    before = _stored(world.connect("use-db one one-pwd")) if _opens(world.connect()) else []
    world.commit()
    world.restart()
    after = _stored(world.connect("use-db one one-pwd")) if before else []
    assert after == before


def _opens(client: Client) -> bool:
    """Whether the token of the database is what it was."""
    told = client.ask("use-db one one-pwd")
    client.close()
    return told[-1] == "ok \n"


def _stored(client: Client) -> list[list[str]]:
    """Every key of the database with version and value, but for the count of connections."""
    keys = client.ask("keys")[0].removeprefix("keys ").removesuffix("\n").split(",")[1:]
    found = [client.ask(f"get-safe {key}") for key in keys if key != "$connections"]
    client.close()
    return found
