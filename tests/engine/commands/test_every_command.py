"""Every row of the command table: it answers as its cases say, and its gates refuse whom they should."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pynun.engine.commands.table import BY_NAME, COMMANDS
from pynun.protocol import messages
from pynun.protocol.messages import Refusal
from tests.engine.commands.cases import CASES, OK, WHO, Case, prepared_world
from tests.engine.world import Client, World

if TYPE_CHECKING:
    from pynun.engine.commands.command import Command

DENIED = ["permission denied\n", "error permission denied\n \n"]
SECURITY = ["error To read security keys you must auth as an admin! \n"]
NO_DATABASE = ["error no-db-selected\n", "error error no-db-selected\n \n"]


@pytest.fixture(name="world")
def _world() -> World:
    return prepared_world()


def client(world: World, who: str) -> Client:
    """The session that a case names; it has been told nothing yet."""
    connected = Client(world)
    for command in WHO[who]:
        connected.ask(command)
    return connected


def rows(chosen: list[Command]) -> pytest.MarkDecorator:
    """Parametrize by rows."""
    return pytest.mark.parametrize("row", [pytest.param(row, id=row.name) for row in chosen])


def right_text(row: Command) -> str:
    """A command of the row that succeeds."""
    return next(case.text for case in CASES[row.name] if case.told[-1] == OK)


@pytest.mark.parametrize(
    "case", [pytest.param(case, id=f"{case.who}: {case.text}"[:60]) for cases in CASES.values() for case in cases]
)
def test_a_command_answers(world: World, case: Case) -> None:
    assert client(world, case.who).ask(case.text) == list(case.told)


@rows([row for row in COMMANDS if row.needs_admin])
def test_only_an_admin_may(world: World, row: Command) -> None:
    for who in ("nobody", "client"):
        assert client(world, who).ask(right_text(row)) == [messages.error(row.denial.error)]


@rows([row for row in COMMANDS if not row.needs_admin and row.name != "resolve"])
def test_nobody_has_to_be_an_admin_for(world: World, row: Command) -> None:
    who = "client" if row.needs_database else "nobody"
    assert client(world, who).ask(right_text(row))[-1] == OK


@rows([row for row in COMMANDS if row.needs_database])
def test_a_database_has_to_be_selected_for(world: World, row: Command) -> None:
    assert client(world, "admin").ask(right_text(row)) == NO_DATABASE


@rows([row for row in COMMANDS if row.needs_admin and not row.needs_database and row.name not in ("snapshot", "rp")])
def test_no_database_has_to_be_selected_for(world: World, row: Command) -> None:
    assert client(world, "admin").ask(right_text(row))[-1] == OK


def _key(row: Command) -> str:
    """The key of the right text: an ephemeral one must be new."""
    return "new" if row.name == "set-ephemeral" else "k"


@rows([row for row in COMMANDS if row.permission])
def test_a_user_without_the_permission_is_denied(world: World, row: Command) -> None:
    text = right_text(row)
    assert text.split(" ")[1] == _key(row)
    assert client(world, "ana").ask(text) == DENIED


@rows([row for row in COMMANDS if row.permission])
def test_a_user_with_just_the_permission_may(world: World, row: Command) -> None:
    assert row.permission is not None
    client(world, "chief").ask(f"set-permissions ana {row.permission.value} {_key(row)}")
    assert client(world, "ana").ask(right_text(row))[-1] == OK
    other = row.permission.value.translate(str.maketrans("rwix", "wixr"))
    client(world, "chief").ask(f"set-permissions ana {other} {_key(row)}")
    assert client(world, "ana").ask(right_text(row)) == DENIED


@rows([row for row in COMMANDS if row.permission])
def test_a_security_key_is_the_admin_s(world: World, row: Command) -> None:
    words = right_text(row).split(" ", 2)
    text = " ".join([words[0], "$$other", *words[2:]])
    assert client(world, "client").ask(text) == SECURITY
    if row.name != "set-ephemeral":  # which no key of the server can be
        assert client(world, "chief").ask(text)[-1] == OK


@pytest.mark.parametrize("alias", [name for name, row in BY_NAME.items() if name != row.name])
def test_an_alias_is_another_name_for_the_same(world: World, alias: str) -> None:
    row = BY_NAME[alias]
    for case in CASES[row.name]:
        text = case.text.replace(row.name, alias, 1)
        assert client(prepared_world(), case.who).ask(text) == list(case.told)
    assert client(world, "nobody").ask(f"{alias}-x") == [f"error unknown command: {alias}-x \n"]


@pytest.mark.parametrize("name", ["nonsense", "SET", "set\tk", "sets", "$$token", "🙂", "ok", "error"])
def test_any_other_word_is_unknown(world: World, name: str) -> None:
    assert client(world, "chief").ask(f"{name} k v") == [f"error unknown command: {name} \n"]


@pytest.mark.parametrize("text", ["", " ", "\n", ";", ";;", "\n\n;", " get k"])
def test_without_a_word_there_is_no_command(world: World, text: str) -> None:
    assert client(world, "chief").ask(text) == ["error empty command \n"]


# --- that nothing is left out ----------------------------------------------------------------------------------


def test_every_row_has_its_cases_and_a_success_among_them() -> None:
    assert set(CASES) == {row.name for row in COMMANDS}
    for name, cases in CASES.items():
        assert {BY_NAME[case.text.split(" ")[0]].name for case in cases} == {name}
        assert any(case.told[-1] == OK for case in cases), name


def test_every_refusal_of_the_messages_is_met() -> None:
    told = {message for cases in CASES.values() for case in cases for message in case.told}
    by_gates = {messages.error(refusal.error) for refusal in (messages.NOT_AUTH, messages.SECURITY_KEY)}
    refusals = {name: value for name, value in vars(messages).items() if isinstance(value, Refusal)}
    assert len(refusals) > 10
    for name, refusal in refusals.items():
        assert messages.error(refusal.error) in told | by_gates, name
        assert set(refusal.messages) <= told, name


def test_the_rows_say_what_they_are() -> None:
    names = [name for row in COMMANDS for name in (row.name, *row.aliases)]
    assert len(names) == len(set(names)) == len(BY_NAME)
    for row in COMMANDS:
        assert row.help.endswith("."), row.name
        assert row.usage.split(" ")[0] == row.name
        assert row.differs is None or row.differs.endswith("."), row.name
        assert row.permission is None or row.needs_database, row.name
