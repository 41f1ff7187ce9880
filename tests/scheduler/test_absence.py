"""Absence is believed only when nothing speaks against it; a machine that vanishes unannounced is reported once."""

from __future__ import annotations

from agentd.registration import PAUSE_S
from registry.errors import RegistryUnavailable
from registry.etcd.backoff import LONGEST_S, Backoff
from scheduler.absence import GRACE_S, Membership, OutageGrace


def settled(*machines: str) -> OutageGrace:
    """Machines known for long, in a registry that has answered for long."""
    grace = OutageGrace(0.0)
    grace.link(live=True, now=0.0)
    for machine in machines:
        grace.machine(machine, 1, leaving=False, now=0.0)
    return grace


def gone(grace: OutageGrace, machine: str, now: float) -> None:
    grace.machine(machine, None, leaving=False, now=now)


def test_one_machine_of_three_is_believed_at_once() -> None:
    grace = settled("a", "b", "c")
    gone(grace, "a", 100.0)
    assert not grace.waits(["a"], 100.0)


def test_after_the_registry_came_back_machines_get_their_time() -> None:
    grace = settled("a", "b", "c")
    grace.link(live=False, now=100.0)
    grace.link(live=True, now=100.0)
    assert grace.waits(["a"], 100.0 + GRACE_S - 0.1)
    assert not grace.waits(["a"], 100.0 + GRACE_S)
    assert not grace.waits([], 100.0)


def test_the_longer_the_registry_was_away_the_longer_is_the_pause_that_agents_may_be_in() -> None:
    grace = settled("a", "b", "c")
    grace.link(live=False, now=100.0)
    grace.link(live=False, now=110.0)
    grace.link(live=True, now=120.0)
    assert grace.waits(["a"], 120.0 + 20.0 + GRACE_S - 0.1)
    assert not grace.waits(["a"], 120.0 + 20.0 + GRACE_S)
    gone(grace, "b", 121.0)
    gone(grace, "c", 121.0)
    assert grace.waits(["a"], 120.0 + 20.0 + GRACE_S - 0.1), "later losses shorten nothing"


def test_a_second_short_outage_takes_no_time_away_that_the_first_has_given() -> None:
    grace = settled("a", "b", "c")
    grace.link(live=False, now=100.0)
    grace.link(live=True, now=120.0)
    grace.link(live=False, now=120.1)
    grace.link(live=True, now=120.2)
    assert grace.waits(["a"], 120.0 + 20.0 + GRACE_S - 0.1)
    assert not grace.waits(["a"], 120.0 + 20.0 + GRACE_S)


def test_a_scheduler_that_began_while_the_registry_was_away_waits_as_long_as_any_pause() -> None:
    grace = OutageGrace(0.0)
    grace.link(live=True, now=3600.0)
    assert grace.waits(["a"], 3600.0 + LONGEST_S + GRACE_S - 0.1)
    assert not grace.waits(["a"], 3600.0 + LONGEST_S + GRACE_S)


def test_no_agent_pauses_longer_than_it_has_tried() -> None:
    """What the time that they get is made of."""
    backoff, tried_s = Backoff(PAUSE_S), 0.0
    for _ in range(60):
        pause_s = backoff.pause(RegistryUnavailable("away"))
        assert pause_s <= min(tried_s, LONGEST_S) + PAUSE_S
        tried_s += pause_s


def test_many_at_once_get_their_time() -> None:
    grace = settled("a", "b", "c")
    gone(grace, "a", 100.0)
    gone(grace, "b", 100.1)
    assert grace.waits(["a"], 101.0)


def test_a_key_made_anew_has_ended_too() -> None:
    grace = settled("a", "b", "c")
    grace.machine("a", 7, leaving=False, now=100.0)
    grace.machine("b", 8, leaving=False, now=100.0)
    assert grace.waits(["c"], 101.0)


def test_a_listing_without_them_is_their_end() -> None:
    grace = settled("a", "b", "c")
    grace.listed(["c"], 100.0)
    assert grace.waits(["a", "b"], 101.0)


def test_who_says_good_bye_or_joins_raises_no_doubt() -> None:
    grace = settled("a", "b", "c")
    grace.machine("a", 1, leaving=True, now=100.0)
    gone(grace, "a", 100.5)
    grace.machine("a", 9, leaving=False, now=101.0)
    grace.machine("d", 10, leaving=False, now=101.0)
    gone(grace, "c", 102.0)
    assert not grace.waits(["c"], 102.0)


def test_the_same_machines_do_not_prolong_it() -> None:
    grace = settled("a", "b", "c")
    for machine in "abc":
        gone(grace, machine, 100.0)
    grace.machine("a", 9, leaving=False, now=104.0)
    gone(grace, "a", 105.0)
    assert not grace.waits(["c"], 100.0 + GRACE_S)


def test_deaths_far_apart_are_deaths() -> None:
    grace = settled("a", "b", "c", "d")
    gone(grace, "a", 100.0)
    gone(grace, "b", 100.0 + GRACE_S + 1)
    assert not grace.waits(["a", "b"], 100.0 + GRACE_S + 1)


def test_only_an_unannounced_absence_is_a_loss_and_only_once() -> None:
    membership = Membership()
    assert not membership.update("a", present=True)
    assert membership.update("a", present=False)
    assert not membership.update("a", present=False)
    assert not membership.update("never", present=False)


def test_who_said_good_bye_is_not_missed_but_who_came_back_may_be() -> None:
    membership = Membership()
    membership.update("a", present=True)
    membership.update("a", present=True, leaving=True)
    assert not membership.update("a", present=False)
    membership.update("a", present=True)
    assert membership.update("a", present=False)


def test_a_full_listing_tells_who_is_missing() -> None:
    membership = Membership()
    for each in ("a", "b"):
        membership.update(each, present=True)
    assert membership.missing({"b"}) == ["a"]
