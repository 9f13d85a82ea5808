"""Tickets: they give the rights of now, and only to whom they were made for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from pynun.cluster import tickets
from pynun.cluster.tickets import RENEW_SECONDS, VALID_SECONDS, TicketError
from pynun.engine.key_layout import CLUSTER
from pynun.engine.overlay import Entry
from tests.engine.world import Client, Visitor, World, fake_hash

if TYPE_CHECKING:
    from pynun.engine.dispatch import CommandSession

NOW = 1_800_000_000.0
USE = "use-db one one-pwd"
READER = "use-db one reader reader-pwd"


def new_world() -> World:
    """A world with a database and a user who may only read."""
    world = World()
    world.admin("create-db one one-pwd", USE, "create-user reader reader-pwd", "set-permissions reader r shared-*")
    world.engine.view.write(CLUSTER, Entry(0, "cluster-id"))
    world.commit()
    return world


def ticket_of(client: Client, *, node: str = "b", at: float = NOW) -> bytes:
    """The ticket of a session."""
    return tickets.seal(client.session, node, at)


def use(world: World, ticket: bytes, *, node: str = "b", at: float = NOW, peer: Visitor | None = None) -> Client:
    """A new session with these rights."""
    client = Client(world, peer)
    tickets.use(client.session, ticket, node, at)
    return client


def rights(session: CommandSession) -> tuple[object, ...]:
    """What a session may do."""
    return session.is_admin, session.admin_name, session.admin_hashes, session.database, session.user, session.secret


@pytest.mark.parametrize("commands", [[USE], [READER]])
def test_a_ticket_gives_a_user_what_it_has(commands: list[str]) -> None:
    world = new_world()
    client = world.connect(*commands)
    assert rights(use(world, ticket_of(client)).session) == rights(client.session)


@pytest.mark.parametrize("commands", [[], ["open-db one"], [USE]])
def test_a_ticket_gives_an_administrator_what_it_has(commands: list[str]) -> None:
    world = new_world()
    client = world.admin(*commands)
    assert rights(use(world, ticket_of(client)).session) == rights(client.session)


def test_a_named_administrator_stays_that_one_and_a_system_user_only_on_its_socket() -> None:
    world = new_world()
    world.admin("add-admin second second-pwd")
    named = world.connect("auth second second-pwd")
    assert use(world, ticket_of(named)).session.admin_name == "second"
    visitor = Visitor()
    visitor.system_user = "root"
    root = Client(world, visitor)
    root.ask("auth root any")
    ticket = ticket_of(root)
    assert use(world, ticket, peer=visitor).session.admin_name == "root"
    with pytest.raises(TicketError, match="system user"):
        use(world, ticket, peer=Visitor())


def test_rights_are_those_of_now() -> None:
    world = new_world()
    ticket = ticket_of(world.connect(READER))
    world.admin(USE, "set-permissions reader r other")
    client = use(world, ticket)
    assert client.ask("get shared-k")[0] == "permission denied\n"
    assert client.ask("get other")[-1] == "ok \n"


def test_who_has_no_rights_has_no_ticket() -> None:
    assert ticket_of(new_world().connect()) == b""


def test_no_secret_and_no_hash_is_in_a_ticket() -> None:
    ticket = ticket_of(new_world().connect(READER))
    assert b"reader-pwd" not in ticket
    assert fake_hash("reader-pwd").encode() not in ticket


@pytest.mark.parametrize("seconds", [-VALID_SECONDS - 1, VALID_SECONDS + 1])
def test_an_old_one_is_refused_and_one_of_a_clock_that_is_ahead(seconds: float) -> None:
    world = new_world()
    ticket = ticket_of(world.connect(USE))
    with pytest.raises(TicketError, match="this machine's clock"):
        use(world, ticket, at=NOW + seconds)
    use(world, ticket, at=NOW + RENEW_SECONDS + 11)


def test_one_for_another_node_or_of_another_cluster_is_refused() -> None:
    world = new_world()
    ticket = ticket_of(world.connect(USE))
    with pytest.raises(TicketError, match="for the node b"):
        use(world, ticket, node="c")
    world.engine.view.write(CLUSTER, Entry(0, "another"))
    with pytest.raises(TicketError, match="seal"):
        use(world, ticket)


@pytest.mark.parametrize("place", [2, 3, 4, 5])
def test_a_forged_one_is_refused(place: int) -> None:
    world = new_world()
    world.admin(USE, "set known value")
    ticket = ticket_of(world.connect(READER))
    said = json.loads(ticket[32:])
    said[place] = {2: "user-name", 3: True, 4: "$admin", 5: "$$token"}[place]
    with pytest.raises(TicketError):
        use(world, ticket[:32] + json.dumps(said).encode())
    for garbage in (b"", ticket[:-1], ticket[:32] + b"[]", b"\0" * 32 + ticket[32:], ticket[:32] + b"\xff"):
        with pytest.raises(TicketError):
            use(world, garbage)


def test_a_key_whose_value_is_known_seals_nothing() -> None:
    world = new_world()
    admin = world.admin(USE, "set known value")
    claim = tickets._Claim("b", NOW, None, False, "one", "known")
    said = json.dumps(claim, separators=(",", ":")).encode()
    forged = tickets._seal_of(world.engine, tickets._Proof(None, "value"), said) + said
    with pytest.raises(TicketError, match="no such user"):
        use(world, forged)
    admin.close()


@pytest.mark.parametrize(
    "command", ["set $$token new", "create-user reader new", "remove $$user_reader", "drop-db one"]
)
def test_it_ends_with_its_secret(command: str) -> None:
    world = new_world()
    ticket = ticket_of(world.connect(USE if "token" in command else READER))
    world.admin(USE, command)
    with pytest.raises(TicketError):
        use(world, ticket)
