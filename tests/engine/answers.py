"""What every command is answered by, whatever its text: messages of one line each, then one end."""

from __future__ import annotations

from tests.engine.world import Client, World

DATABASES = ("one", "two", "three")

_OF_SEVERAL_LINES = ("dbs-list ", "process-info ", "metrics-state ")


def new_clients() -> list[Client]:
    """One who said nothing yet, one with a database, an admin, an arbiter who is a named user; all in one world."""
    world = World()
    chief = world.admin(*(f"create-db {name} {name}-pwd arbiter" for name in DATABASES))
    for command in (
        "use-db one one-pwd",
        "create-user ana ana-pwd",
        "set-permissions ana rwix a*,$conflicts",
        "set a 1",
    ):
        chief.ask(command)
    return [
        world.connect(),
        world.connect("use-db one one-pwd"),
        chief,
        world.connect("use-db one ana ana-pwd", "arbiter", "watch a"),
    ]


def is_event(message: str) -> bool:
    """Whether a session may get this without having asked for anything."""
    return message.startswith(("changed ", "changed-version ", "removed ", "resolve "))


def check_answer(told: list[str]) -> None:
    """A command's messages: each one line, then one end."""
    ends = [
        message for message in told if message == "ok \n" or (message.startswith("error ") and message.endswith(" \n"))
    ]
    assert told, "no answer"
    assert told[-1] in ends, told
    assert len(ends) == 1, told
    for message in told:
        if message.startswith("resolve "):
            assert "\n" not in message
        elif not message.startswith((*_OF_SEVERAL_LINES, "error error no-db-selected\n", "error permission denied\n")):
            assert message.index("\n") == len(message) - 1, "a text of the client broke a line"
