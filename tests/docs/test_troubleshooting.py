"""docs/troubleshooting.md has every message that people read, also those that call for nothing."""

from __future__ import annotations

from tests.docs.messages_in_code import fragments, python_fragments, shell_fragments
from tools.clients.server import REPOSITORY

PAGE = " ".join((REPOSITORY / "docs" / "troubleshooting.md").read_text(encoding="utf-8").split())


def test_every_message_is_on_the_page() -> None:
    found = fragments()
    assert len(found) > 50
    assert [fragment for fragment in found if fragment.text.lstrip(":;, ") not in PAGE] == []


def test_messages_are_found_where_they_are_made() -> None:
    source = '''
def refuse(name):
    """Say what is wrong."""
    raise StartError(f"the port {name} is taken by someone") from None

def other():
    raise StartError(_text(1))

def _text(n):
    """Not a message."""
    return "no such folder: " + n

def third(n):
    _log.error("the disk (%s) is full now", n)
    _log.info("all is well again")
    logs.announce(f"{n} was imported whole")
    raise ValueError("this is for programmers only")
'''
    texts = {fragment.text for fragment in python_fragments(source, "x")}
    assert texts == {
        "is taken by someone",
        "no such folder:",
        ") is full now",
        "all is well again",
        "was imported whole",
    }
    found = shell_fragments('fail "the module $name is missing here"\n', "y")
    assert [fragment.text for fragment in found] == ["is missing here"]
