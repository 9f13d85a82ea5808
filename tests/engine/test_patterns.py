"""Key patterns (docs/protocol.md section 3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun.engine.patterns import parse_pattern
from tests.engine.model_sessions import matches
from tests.engine.world import World
from tests.properties.effort import effort

CASES = [
    ("*", "", True),
    ("*", "anything", True),
    ("", "anything", True),
    ("**", "anything", True),
    ("al*", "alpha", True),
    ("al*", "al", True),
    ("al*", "real", False),
    ("*ta", "beta", True),
    ("*ta", "ta", True),
    ("*ta", "tab", False),
    ("ph", "alphabet", True),
    ("ph", "beta", False),
    ("*al*", "alpha", True),  # ends in a star: a prefix
    ("*al*", "real", False),
    ("a*b", "a*b", True),  # a star inside stands for itself
    ("a*b", "xa*by", True),
    ("a*b", "ab", False),
    ("a*b", "axb", False),
    ("a*b*", "abc", True),  # all stars are removed from a prefix
    ("*a*b", "cab", True),
    ("é*", "ecole", False),
    ("é*", "été", True),
]


@pytest.mark.parametrize(("pattern", "key", "expected"), CASES)
def test_a_pattern_means_a_key_or_not(pattern: str, key: str, expected: bool) -> None:
    assert parse_pattern(pattern).matches(key) is expected


texts = st.text(st.sampled_from("ab*é🙂"), max_size=6)


@given(pattern=texts, key=texts)
@effort(300)
def test_every_pattern_means_what_the_model_says(pattern: str, key: str) -> None:
    assert parse_pattern(pattern).matches(key) is matches(pattern, key)


@given(pattern=texts, names=st.sets(st.text(st.sampled_from("abé🙂$"), min_size=1, max_size=4), max_size=8))
@effort(60)
def test_keys_lists_what_the_pattern_means_sorted_whether_or_not_on_disk(pattern: str, names: set[str]) -> None:
    world = World()
    world.admin("create-db d pwd")
    client = world.connect("use-db d pwd")
    kept = sorted({name for name in names if not name.startswith("$$")} | {"$connections"})
    for number, name in enumerate(kept):
        if name != "$connections":
            client.ask(f"set {name} v")
        if number == len(kept) // 2:
            world.commit()
    expected = "".join(f",{name}" for name in kept if matches(pattern, name))
    assert client.ask(f"keys {pattern}") == [f"keys {expected}\n", "ok \n"]
    world.commit()
    assert client.ask(f"keys {pattern}") == [f"keys {expected}\n", "ok \n"]
