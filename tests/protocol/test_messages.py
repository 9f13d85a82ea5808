"""Every text that clients match on, letter by letter (docs/protocol.md sections 1, 2, 4 and 5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from pynun.protocol import messages

if TYPE_CHECKING:
    from pynun.protocol.messages import Refusal


def test_the_two_ends_have_a_space_before_the_newline() -> None:
    assert messages.OK == messages.TCP_GREETING == "ok \n"
    assert messages.error("Not auth") == "error Not auth \n"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        (messages.VALID_AUTH, "valid auth\n"),
        (messages.INVALID_AUTH, "invalid auth\n"),
        (messages.CREATE_DB_SUCCESS, "create-db success\n"),
        (messages.value("two words"), "value two words\n"),
        (messages.value(""), "value \n"),
        (messages.value(None), "value <Empty>\n"),
        (messages.value_version(-2, "v"), "value-version -2 v\n"),
        (messages.VALUE_VERSION_ABSENT, "value-version 1 <Empty>\n"),
        (messages.resolve(7, "d", 3, "k", "old", "new words"), "resolve 7 d 3 k old new words"),
        (messages.resolved("new words"), "resolved new words"),
        (messages.cluster_state([("h:1", "self", True)]), "cluster-state  h:1(self):Primary ,\n"),
        (
            messages.cluster_state([("h:2", "Connected", False), ("h:1", "self", True)]),
            "cluster-state  h:1(self):Primary , h:2(Connected):Secoundary ,\n",
        ),
        (messages.databases_list([("a", "none"), ("b", "newer")]), "dbs-list \na : none\nb : newer\n"),
        (messages.databases_list([]), "dbs-list \n"),
        (messages.PENDING_OPERATIONS, "pending-ops \n"),
        (messages.conflicts_list(["k1", "k2"]), "conflitcts-list ,k1,k2\n"),
        (messages.conflicts_list([]), "conflitcts-list \n"),
        (messages.process_info(7), "process-info \nprocess_id: 7\n"),
        (messages.commands_list(["a", "b"]), "commands-list ,a,b\n"),
        (messages.acknowledgement(7, "h:1"), "ack 7 h:1 \n"),
        (messages.storage_failed("No space left on device"), "not stored: No space left on device"),
        (messages.MESSAGE_TOO_BIG, "message too big"),
        (messages.TOO_MANY_CONNECTIONS, "too many connections"),
        (messages.INVALID_UTF8, "invalid utf-8"),
    ],
)
def test_a_message_reads(message: str, text: str) -> None:
    assert message == text


def test_a_change_is_two_messages_and_a_removal_one() -> None:
    assert messages.changed("k", 3, "two words") == ("changed k two words\n", "changed-version k 3 two words\n")
    assert messages.removed("k") == ("removed k\n",)


def test_the_metrics_count_25_bytes_for_an_operation_and_times_have_a_decimal() -> None:
    assert messages.metrics_state(5, 0.04) == (
        "metrics-state pending_ops: 0, op_log_file_size: 125, op_log_count: 5,"
        "replication_time_moving_avg: 0.0, get_query_time_moving_avg: 0.0\n\n"
    )
    assert "get_query_time_moving_avg: 12.3\n" in messages.metrics_state(0, 12.345)


@pytest.mark.parametrize(
    ("refusal", "error"),
    [
        (messages.EMPTY_COMMAND, "empty command"),
        (messages.NOT_AUTH, "Not auth"),
        (messages.SECURITY_KEY, "To read security keys you must auth as an admin!"),
        (messages.INVALID_TOKEN, "Invalid token"),
        (messages.NOT_A_DATABASE, "Not a valid database name"),
        (messages.DATABASE_EXISTS, "database already exists"),
        (messages.TOKEN_NOT_REMOVABLE, "$$token key cannot be removed"),
        (messages.NOT_NUMERIC, "Key is not numeric"),
        (messages.OUT_OF_RANGE, "increment out of range"),
        (messages.INVALID_VERSION, "Invalid version!"),
        (messages.NO_ARBITER, "An conflitct happend and there is no arbiter client not connected"),
        (messages.NO_DATABASE_TO_SNAPSHOT, "No database selected"),
        (messages.unknown_command("X"), "unknown command: X"),
        (messages.missing_key("get"), "get must contain a key"),
        (messages.conflict_unresolved("$conflicts_k_7"), "$$conflitct unresolved $conflicts_k_7"),
        (messages.too_many_watches(5), "too many watched keys: at most 5"),
        (messages.too_many_keys(5), "too many keys: at most 5, ask for fewer by a pattern"),
        (messages.not_databases(["a"]), "a is not a valid database name"),
        (messages.not_databases(["a", "b"]), "a, b, are not a valid database names"),
    ],
)
def test_a_refusal_reads(refusal: Refusal, error: str) -> None:
    assert (refusal.error, refusal.messages) == (error, ())


@pytest.mark.parametrize(
    ("refusal", "text"),
    [(messages.NO_DATABASE, "error no-db-selected\n"), (messages.PERMISSION_DENIED, "permission denied\n")],
)
def test_two_refusals_are_a_message_of_their_own_too(refusal: Refusal, text: str) -> None:
    assert refusal.messages == (text,)
    assert messages.error(refusal.error) == f"error {text} \n"
