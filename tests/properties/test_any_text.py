"""Any text is answered: by messages and one end, never by an exception."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from pynun.protocol.framing import http_commands, websocket_commands
from tests.engine.answers import check_answer, is_event, new_clients
from tests.properties.command_texts import commands
from tests.properties.effort import effort

characters = st.characters(exclude_categories=["Cs"])  # what decoded UTF-8 can hold: no lone surrogates
anything = st.text(st.sampled_from(" ;\n\r\t\0$*|,_-1") | characters, max_size=40)


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A real command with something cut out, put in, doubled or swapped."""
    text = draw(commands)
    for _ in range(draw(st.integers(1, 3))):
        first, last = sorted((draw(st.integers(0, len(text))), draw(st.integers(0, len(text)))))
        inserted = draw(st.sampled_from((" ", "  ", "\0", "\n", ";", "$$", "-", "9" * 25, "x" * 2000)) | anything)
        text = draw(
            st.sampled_from(
                (
                    text[:first] + text[last:],
                    text[:first] + inserted + text[first:],
                    text[:last] + text[first:],
                    text[last:] + text[:first],
                    text[:first] + inserted + text[last:],
                )
            )
        )
    return text


@given(texts=st.lists(anything | mutated(), min_size=1, max_size=12))
@example(["\ud7ff\ue000\U0010ffff"])
@example(["set k " + "x" * 1_000_000, "get k", "keys " + "k" * 100_000, "get " + "k" * 100_000, "s" * 1_000_000])
@example([" " * 100_000, ";" * 100_000, "\n" * 100_000, "resolve 1 " + " " * 100_000])
@effort(150)
def test_any_text_is_answered_by_messages_and_one_end(texts: list[str]) -> None:
    asking = new_clients()
    for number, text in enumerate(texts):
        client = asking[number % len(asking)]
        for other in asking:
            other.outbox.take()
        check_answer([message for message in client.ask(text) if not is_event(message)])


@given(data=st.binary(max_size=60) | mutated().map(lambda text: text.encode()[1:-1]))
@effort(150)
def test_any_bytes_that_are_text_give_commands_that_are_answered(data: bytes) -> None:
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    client = new_clients()[1]
    for command in (*websocket_commands(text), *http_commands(text)):
        client.outbox.take()
        check_answer([message for message in client.ask(command) if not is_event(message)])
