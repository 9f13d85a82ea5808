"""Granting and revoking on the text of an entry: each says and changes just what it means."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun.engine.patterns import parse_pattern
from pynun.engine.permissions import Permission, Rules, added, parse_grants, still_granted, taken
from tests.properties.effort import effort


@pytest.mark.parametrize(
    ("before", "grant", "after"),
    [
        ("", "r *", "r *"),
        ("r *", "rwx client-*", "r *|rwx client-*"),
        ("r *|rwx client-*", "i client-*", "r *|rwix client-*"),
        ("r *", "r *", "r *"),
        ("r a,b", "w b", "r a|rw b"),
        ("r a", "r b*", "r a,b*"),
        ("xwr a", "r a", "rwx a"),
        ("q a", "w a", "rw a"),
        (" r  a , b |", "w c", "r a,b|w c"),
    ],
)
def test_a_grant_is_added(before: str, grant: str, after: str) -> None:
    assert added(before, parse_grants(grant)) == after


@pytest.mark.parametrize(
    ("before", "revoked", "after"),
    [
        ("r *|rwx client-*", "wx client-*", "r *,client-*"),
        ("r *|rwx client-*", "rwix client-*", "r *"),
        ("r *", "r *", ""),
        ("rw a,b", "w b", "rw a|r b"),
        ("rw a|r a", "r a", "w a"),
        ("r *", "w *", None),
        ("r *", "r a", None),
        ("", "r a", None),
    ],
)
def test_a_grant_is_taken(before: str, revoked: str, after: str | None) -> None:
    assert taken(before, parse_grants(revoked)) == after


@pytest.mark.parametrize(
    ("left", "revoked", "still"),
    [
        ("r *", "rw client-*", ["r client-*"]),
        ("rw client-*", "w client-a*", ["w client-a*"]),
        ("rw client-a*", "w client-*", []),
        ("w ie", "w client-*", ["w client-*"]),
        ("w *-x", "w *a-x", ["w *a-x"]),
        ("w *-x", "w a-x*", []),
        ("r *", "w a", []),
        ("", "w a", []),
    ],
)
def test_what_is_still_allowed_is_told(left: str, revoked: str, still: list[str]) -> None:
    assert [str(one) for one in still_granted(left, parse_grants(revoked))] == still


patterns = st.sampled_from(("*", "a*", "ab*", "*b", "*ab", "a", "ab", "b", "c*"))
kinds = st.text(st.sampled_from("rwix"), min_size=1, max_size=4)
rules = st.builds(
    lambda letters, some: f"{letters} {','.join(some)}", kinds, st.lists(patterns, min_size=1, max_size=3)
)
entries = st.lists(rules, max_size=4).map("|".join)
keys = st.text(st.sampled_from("abc"), max_size=4)


@given(entry=entries, more=rules, kind=st.sampled_from(Permission), key=keys)
@effort(80)
def test_what_was_allowed_or_granted_is_allowed_and_nothing_else(
    entry: str, more: str, kind: Permission, key: str
) -> None:
    before, granted = Rules(parse_grants(entry)).allow(kind, key), Rules(parse_grants(more)).allow(kind, key)
    assert Rules(parse_grants(added(entry, parse_grants(more)))).allow(kind, key) == (before or granted)


@given(entry=entries, less=rules, kind=st.sampled_from(Permission), key=keys)
@effort(80)
def test_what_is_left_is_what_other_patterns_or_kinds_allow(entry: str, less: str, kind: Permission, key: str) -> None:
    gone = parse_grants(less)
    single = [(one, pattern) for grant in parse_grants(entry) for pattern in grant.patterns for one in grant.kinds]
    left = [
        (one, pattern) for one, pattern in single if not any(one in g.kinds and pattern in g.patterns for g in gone)
    ]
    text = taken(entry, gone)
    assert (text is None) == (len(left) == len(single))
    expected = any(one is kind and pattern.matches(key) for one, pattern in left)
    assert Rules(parse_grants(entry if text is None else text)).allow(kind, key) == expected


@given(wide=patterns, narrow=patterns, key=keys)
@effort(80)
def test_a_pattern_that_covers_another_matches_all_that_it_matches(wide: str, narrow: str, key: str) -> None:
    one, other = parse_pattern(wide), parse_pattern(narrow)
    if one.covers(other) and other.matches(key):
        assert one.matches(key)
    assert parse_pattern(str(one)) == one
    assert one.covers(one)
