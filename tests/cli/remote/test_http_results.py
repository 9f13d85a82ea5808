"""Which result of a reply belongs to which command, and which of them are failures."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pynun.cli.remote.http_results import Failure, find_failures, split_results

# What a client can store: no line breaks, for the server drops them.
stored_texts = st.text(alphabet=st.characters(exclude_characters="\n", exclude_categories=["Cs"]), max_size=20)
error_texts = st.sampled_from(["Invalid token", "Not auth", "unknown command: x", "Key is not numeric"])
messages = st.one_of(
    st.just("valid auth\n"),
    st.just("permission denied\n"),
    st.just("create-db success\n"),
    stored_texts.map(lambda text: f"value {text}\n"),
    stored_texts.map(lambda text: f"value-version 3 {text}\n"),
    stored_texts.map(lambda text: f"keys ,{text}\n"),
    st.just("metrics-state pending_ops: 0, op_log_file_size: 0, op_log_count: 0\n\n"),
    st.just("dbs-list \n$admin : newer\nmine : none\n"),
)


@given(st.lists(st.one_of(st.just("empty"), error_texts, messages)))
def test_joined_results_come_apart_as_they_were(results: list[str]) -> None:
    assert split_results(";".join(results)) == results


def test_a_semicolon_in_a_value_does_not_cut_it() -> None:
    assert split_results("empty;value a;b;empty\n;empty") == ["empty", "value a;b;empty\n", "empty"]


@pytest.mark.parametrize("reply", ["valid auth\n", "valid auth\n;empty;value Not auth\n", "valid auth\n;keys ,\n", ""])
def test_success_has_no_failures(reply: str) -> None:
    assert find_failures("auth a b; use-db d t; get k", split_results(reply)) == []


def test_a_failure_names_its_command() -> None:
    body = "auth a b; use-db d secret; nonsense secret;; get k"
    results = split_results("valid auth\n;Invalid token;unknown command: nonsense;error no-db-selected\n")
    failures = find_failures(body, results)
    assert failures == [
        Failure(2, "use-db d secret", "Invalid token"),
        Failure(3, "nonsense secret", "unknown command: nonsense"),
        Failure(4, "get k", "error no-db-selected"),
    ]
    assert [failure.command for failure in failures] == ["use-db", "nonsense", "get"]


def test_without_a_result_for_each_command_no_command_is_blamed() -> None:
    # As the original answers: a denied command leaves a message behind for the next.
    failures = find_failures("auth a b; get x", split_results("valid auth\n;permission denied\n;value 1\n"))
    assert failures == [Failure(0, "", "permission denied")]
