"""One node's part in an election, step by step; how several play together, the simulation shows."""

from __future__ import annotations

import math

import pytest

from pynun.cluster.election import (
    CLEAN_SECONDS,
    DELAY_SECONDS,
    MARGIN_SECONDS,
    PRECEDENCE_SECONDS,
    RETRY_SECONDS,
    Action,
    Begin,
    Campaign,
    Election,
    End,
    Grant,
    Renew,
    Resign,
    Revoke,
    Role,
)
from pynun.cluster.keys import Owner
from pynun.cluster.transactions import Campaigned

TTL = 3
LEASE = 77
OTHER = Owner("other", "other:3015", 5)
OWN = Owner("me", "me:3015", LEASE)


@pytest.fixture
def election() -> Election:
    """That of a node that may campaign and knows nothing yet, at the moment 0."""
    election = Election("me", TTL, lambda: 0.5)
    election.allow(0.0, may_campaign=True)
    return election


def candidate(election: Election, now: float = 10.0) -> float:
    """Let it see that there is no owner; the moment at which it campaigns."""
    election.owner_seen(now, None, 0, 1)
    assert election.tick(election.wake_at) == [Grant(TTL)]
    assert election.role is Role.CAMPAIGNING
    return now + DELAY_SECONDS / 2


def won(election: Election, *, head: int = 4, applied: int = 4) -> float:
    """Let it win; the moment from which its lease counts."""
    began = candidate(election)
    election.log_seen(began, applied, applied)
    assert election.granted(began + 0.1, began, LEASE, TTL) == [Campaign(LEASE, began + TTL - MARGIN_SECONDS)]
    assert not election.may_send(began + 0.1), "it is not owner yet"
    actions = election.campaigned(began + 0.2, Campaigned(20, True, OWN, head, 20))
    assert actions == ([Begin(20)] if applied == head else [])
    assert election.term == 20
    return began


def ended(election: Election, now: float, lease: int = LEASE, successor: str = "") -> list[Action]:
    """End the term, which must revoke the lease; what else follows."""
    first, *others = election.ended(now)
    assert first == Resign(20, lease, successor)
    assert election.role is Role.FOLLOWING
    return others


def test_a_campaign_that_a_node_wins_when_its_data_has_failed_is_given_up(election: Election) -> None:
    began = candidate(election)
    election.granted(began + 0.1, began, LEASE, TTL)
    election.allow(began + 0.15, may_campaign=False)
    assert election.campaigned(began + 0.2, Campaigned(20, True, OWN, 4, 20)) == [Revoke(LEASE, TTL)]
    assert election.role is Role.FOLLOWING


def test_it_campaigns_only_when_it_knows_that_there_is_no_owner(election: Election) -> None:
    assert election.wake_at == math.inf
    election.owner_seen(1.0, OTHER, 3, 3)
    assert election.wake_at == math.inf
    assert election.owner == OTHER
    election.owner_seen(2.0, None, 0, 4)
    assert 2.0 <= election.wake_at <= 2.0 + DELAY_SECONDS
    election.owner_seen(2.1, OTHER, 5, 5)
    assert election.wake_at == math.inf


def test_who_may_not_be_owner_does_not_campaign(election: Election) -> None:
    election.allow(0.0, may_campaign=False)
    election.owner_seen(1.0, None, 0, 1)
    assert election.wake_at == math.inf
    election.allow(2.0, may_campaign=True)
    assert election.wake_at < 3.0


def test_who_is_behind_waits_longer(election: Election) -> None:
    election.log_seen(0.0, 100, 150)
    election.owner_seen(1.0, None, 0, 1)
    assert election.wake_at > 1.0 + DELAY_SECONDS / 2 + 0.2


def test_the_term_begins_when_the_log_is_applied(election: Election) -> None:
    began = won(election, head=6, applied=4)
    assert election.log_seen(began + 0.3, 5, 6) == []
    assert election.role is Role.CATCHING_UP
    assert election.log_seen(began + 0.4, 6, 6) == [Begin(20)]


def test_a_node_ahead_of_etcd_does_not_begin(election: Election) -> None:
    began = candidate(election)
    election.log_seen(began, 9, 9)
    election.granted(began, began, LEASE, TTL)
    (end,) = election.campaigned(began, Campaigned(20, True, OWN, 6, 20))
    assert isinstance(end, End)
    assert "batch 9" in end.reason
    assert not election.may_send(began)


def test_renewals_move_the_deadline_from_when_they_were_sent(election: Election) -> None:
    began = won(election)
    assert election.deadline == began + TTL - MARGIN_SECONDS
    assert election.wake_at == began + TTL / 4
    sent_at = election.wake_at
    assert election.tick(sent_at) == [Renew(LEASE, election.deadline)]
    assert election.tick(sent_at + 0.1) == [], "one at a time"
    assert election.renewed(sent_at + 0.9, sent_at, LEASE, TTL) == []
    assert election.deadline == sent_at + TTL - MARGIN_SECONDS
    assert election.may_send(election.deadline - 0.001)
    assert not election.may_send(election.deadline)


def test_without_a_renewal_the_term_ends_at_the_deadline(election: Election) -> None:
    won(election)
    deadline = election.deadline
    election.tick(election.wake_at)
    assert election.wake_at == deadline
    (end,) = election.tick(deadline)
    assert isinstance(end, End)
    assert not end.is_clean
    assert not election.may_send(deadline - 1), "whatever the clock says"
    assert election.renewed(deadline, deadline - 1, LEASE, TTL) == [], "too late"
    ended(election, deadline)
    assert election.wake_at == math.inf, "its own key is still there, as far as it knows"
    election.owner_seen(deadline + 1, None, 0, 30)
    assert election.wake_at < math.inf


def test_a_failed_renewal_is_repeated(election: Election) -> None:
    won(election)
    now = election.wake_at
    election.tick(now)
    assert election.renewal_failed(now + 0.1, LEASE) == []
    assert election.wake_at == now + 0.1 + RETRY_SECONDS
    assert [type(action) for action in election.tick(election.wake_at)] == [Renew]


@pytest.mark.parametrize("how", ["lease", "key", "other", "batch"])
def test_the_term_ends_at_once(election: Election, how: str) -> None:
    now = won(election) + 0.5
    if how == "lease":
        actions = election.renewed(now, now, LEASE, 0)
    elif how == "key":
        actions = election.owner_seen(now, None, 0, 30)
    elif how == "other":
        actions = election.owner_seen(now, OTHER, 30, 30)
    else:
        actions = election.refused(now, "refused")
    (end,) = actions
    assert isinstance(end, End)
    assert not end.is_clean
    assert not election.may_send(now)
    assert election.refused(now, "again") == []
    ended(election, now)
    assert (election.wake_at < math.inf) == (how == "key")


def test_a_disk_that_hangs_does_not_keep_the_lease(election: Election) -> None:
    now = won(election)
    end, revoke = election.hangs(now, "its disk does not answer")
    assert isinstance(end, End)
    assert isinstance(revoke, Revoke)
    assert not election.may_send(now)
    assert election.hangs(now, "again") == []


def test_old_news_is_not_believed(election: Election) -> None:
    now = won(election)
    assert election.owner_seen(now, None, 0, 19) == []
    assert election.owner_seen(now, OTHER, 12, 12) == []
    assert election.owner_seen(now, OWN, 20, 21) == [], "its own key, put again"
    assert election.role is Role.OWNING


def test_a_lost_campaign_follows_the_winner(election: Election) -> None:
    now = candidate(election)
    election.granted(now, now, LEASE, TTL)
    assert election.campaigned(now, Campaigned(9, False, OTHER, 4, 12)) == [Revoke(LEASE, TTL)]
    assert (election.role, election.owner) == (Role.FOLLOWING, OTHER)
    assert election.wake_at == math.inf
    assert not election.may_send(now)


def test_an_answer_older_than_the_watch_is_no_win(election: Election) -> None:
    now = candidate(election)
    election.granted(now, now, LEASE, TTL)
    assert election.owner_seen(now, None, 0, 25) == []
    assert election.campaigned(now, Campaigned(20, True, OWN, 4, 20)) == [Revoke(LEASE, TTL)]
    assert election.role is Role.FOLLOWING
    assert election.wake_at < math.inf


def test_failures_of_etcd_are_tried_again(election: Election) -> None:
    now = candidate(election)
    assert election.grant_failed(now) == []
    assert election.wake_at >= now + RETRY_SECONDS
    now = election.wake_at
    assert election.tick(now) == [Grant(TTL)]
    election.granted(now, now, LEASE, TTL)
    assert election.campaign_failed(now) == [Revoke(LEASE, TTL)], "the key may be there all the same"
    assert election.wake_at >= now + RETRY_SECONDS


def test_a_lease_that_came_too_late_is_revoked(election: Election) -> None:
    now = candidate(election)
    assert election.granted(now + TTL, now, LEASE, TTL) == [Revoke(LEASE, TTL)]
    assert election.role is Role.FOLLOWING


def test_a_key_of_an_earlier_life_is_revoked(election: Election) -> None:
    earlier = OWN._replace(lease=3)
    assert election.owner_seen(1.0, earlier, 3, 3) == [Revoke(3, TTL)]
    election.owner_seen(1.1, None, 0, 4)
    assert election.wake_at < 2.0


def test_stopping_answers_first_and_then_revokes(election: Election) -> None:
    now = won(election) + 0.5
    assert election.stop(now) == [End("the server stops", True)]
    assert election.may_send(now), "what has arrived is answered"
    assert [type(action) for action in election.tick(election.wake_at)] == [Renew], "it is owner until then"
    ended(election, now)
    election.owner_seen(now, None, 0, 30)
    assert election.wake_at == math.inf


def test_a_clean_end_that_takes_too_long_is_cut_off(election: Election) -> None:
    now = won(election) + 0.5
    election.stop(now)
    (end,) = election.tick(election.deadline)
    assert isinstance(end, End)
    assert not end.is_clean
    assert not election.may_send(now)


@pytest.mark.parametrize("how", ["stop", "hand_over"])
def test_a_clean_end_is_cut_off_also_while_the_lease_is_renewed(election: Election, how: str) -> None:
    """etcd renews leases while it takes no changes: its space is used up."""
    now = began = won(election) + 0.5
    getattr(election, how)(now)
    actions: list[Action] = []
    while not actions:
        assert now < began + CLEAN_SECONDS
        now = election.wake_at
        actions = [action for action in election.tick(now) if not isinstance(action, Renew)]
        election.renewed(now, now, LEASE, TTL)
    (end,) = actions
    assert isinstance(end, End)
    assert not end.is_clean
    assert now == began + CLEAN_SECONDS
    assert not election.may_send(now)


@pytest.mark.parametrize("role", [Role.FOLLOWING, Role.CAMPAIGNING, Role.CATCHING_UP])
def test_stopping_while_not_owner(election: Election, role: Role) -> None:
    if role is Role.FOLLOWING:
        election.owner_seen(1.0, None, 0, 1)
        assert election.stop(1.0) == []
    elif role is Role.CAMPAIGNING:
        now = candidate(election)
        assert election.stop(now) == []
        assert election.granted(now, now, LEASE, TTL) == [Revoke(LEASE, TTL)]
    else:
        now = won(election, head=6)
        (end,) = election.stop(now)
        assert isinstance(end, End)
        ended(election, now)
    assert election.role is Role.FOLLOWING
    assert election.wake_at == math.inf


def test_a_hand_over_lets_the_successor_go_first(election: Election) -> None:
    now = won(election) + 0.5
    (end,) = election.hand_over(now, "other")
    assert end == End("hand-over", True)
    assert ended(election, now, successor="other") == []
    election.owner_seen(now, OWN._replace(successor="other"), 20, 30)
    election.owner_seen(now, None, 0, 31)
    assert election.wake_at >= now + 2 * PRECEDENCE_SECONDS

    successor, third = Election("other", TTL, lambda: 0.5), Election("third", TTL, lambda: 0.5)
    for one in (successor, third):
        one.allow(0.0, may_campaign=True)
        one.owner_seen(1.0, OWN._replace(successor="other"), 20, 30)
        one.owner_seen(2.0, None, 0, 31)
    assert successor.wake_at == 2.0
    assert third.wake_at >= 2.0 + PRECEDENCE_SECONDS
    third.owner_seen(2.1, OTHER, 32, 32)
    third.owner_seen(9.0, None, 0, 33)
    assert third.wake_at <= 9.0 + DELAY_SECONDS, "the precedence was for one time"


def test_the_process_of_the_owner_is_gone(election: Election) -> None:
    assert election.owner_gone(1.0, 5) == []
    election.owner_seen(1.0, OTHER, 3, 3)
    assert election.owner_gone(1.1, 5) == [Revoke(5, TTL)]
    assert election.owner_gone(1.1, 4) == [], "another owner's"
    careful = Election("me", TTL, lambda: 0.5, has_fast_takeover=False)
    careful.owner_seen(1.0, OTHER, 3, 3)
    assert careful.owner_gone(1.1, 5) == []
