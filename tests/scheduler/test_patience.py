"""A registry that hung kills no machine: absence is believed only when nothing speaks against it."""

from __future__ import annotations

from agentd.registration import PAUSE_S
from registry.errors import RegistryUnavailable
from registry.etcd.backoff import LONGEST_S, Backoff
from scheduler.patience import GRACE_S, OutageGrace


def settled(*machines: str) -> OutageGrace:
    """Machines known for long, in a registry that has answered for long."""
    patience = OutageGrace(0.0)
    patience.link(live=True, now=0.0)
    for machine in machines:
        patience.machine(machine, 1, leaving=False, now=0.0)
    return patience


def gone(patience: OutageGrace, machine: str, now: float) -> None:
    patience.machine(machine, None, leaving=False, now=now)


def test_one_machine_of_three_is_believed_at_once() -> None:
    patience = settled("a", "b", "c")
    gone(patience, "a", 100.0)
    assert not patience.waits(["a"], 100.0)


def test_after_the_registry_came_back_machines_get_their_time() -> None:
    patience = settled("a", "b", "c")
    patience.link(live=False, now=100.0)
    patience.link(live=True, now=100.0)
    assert patience.waits(["a"], 100.0 + GRACE_S - 0.1)
    assert not patience.waits(["a"], 100.0 + GRACE_S)
    assert not patience.waits([], 100.0)


def test_the_longer_the_registry_was_away_the_longer_is_the_pause_that_agents_may_be_in() -> None:
    patience = settled("a", "b", "c")
    patience.link(live=False, now=100.0)
    patience.link(live=False, now=110.0)
    patience.link(live=True, now=120.0)
    assert patience.waits(["a"], 120.0 + 20.0 + GRACE_S - 0.1)
    assert not patience.waits(["a"], 120.0 + 20.0 + GRACE_S)
    gone(patience, "b", 121.0)
    gone(patience, "c", 121.0)
    assert patience.waits(["a"], 120.0 + 20.0 + GRACE_S - 0.1), "later losses shorten nothing"


def test_a_scheduler_that_began_while_the_registry_was_away_waits_as_long_as_any_pause() -> None:
    patience = OutageGrace(0.0)
    patience.link(live=True, now=3600.0)
    assert patience.waits(["a"], 3600.0 + LONGEST_S + GRACE_S - 0.1)
    assert not patience.waits(["a"], 3600.0 + LONGEST_S + GRACE_S)


def test_no_agent_pauses_longer_than_it_has_tried() -> None:
    """What the time that they get is made of."""
    backoff, tried_s = Backoff(PAUSE_S), 0.0
    for _ in range(60):
        pause_s = backoff.pause(RegistryUnavailable("away"))
        assert pause_s <= min(tried_s, LONGEST_S) + PAUSE_S
        tried_s += pause_s


def test_many_at_once_get_their_time() -> None:
    patience = settled("a", "b", "c")
    gone(patience, "a", 100.0)
    gone(patience, "b", 100.1)
    assert patience.waits(["a"], 101.0)


def test_a_key_made_anew_has_ended_too() -> None:
    patience = settled("a", "b", "c")
    patience.machine("a", 7, leaving=False, now=100.0)
    patience.machine("b", 8, leaving=False, now=100.0)
    assert patience.waits(["c"], 101.0)


def test_a_listing_without_them_is_their_end() -> None:
    patience = settled("a", "b", "c")
    patience.listed(["c"], 100.0)
    assert patience.waits(["a", "b"], 101.0)


def test_who_says_good_bye_or_joins_raises_no_doubt() -> None:
    patience = settled("a", "b", "c")
    patience.machine("a", 1, leaving=True, now=100.0)
    gone(patience, "a", 100.5)
    patience.machine("a", 9, leaving=False, now=101.0)
    patience.machine("d", 10, leaving=False, now=101.0)
    gone(patience, "c", 102.0)
    assert not patience.waits(["c"], 102.0)


def test_the_same_machines_do_not_prolong_it() -> None:
    patience = settled("a", "b", "c")
    for machine in "abc":
        gone(patience, machine, 100.0)
    patience.machine("a", 9, leaving=False, now=104.0)
    gone(patience, "a", 105.0)
    assert not patience.waits(["c"], 100.0 + GRACE_S)


def test_deaths_far_apart_are_deaths() -> None:
    patience = settled("a", "b", "c", "d")
    gone(patience, "a", 100.0)
    gone(patience, "b", 100.0 + GRACE_S + 1)
    assert not patience.waits(["a", "b"], 100.0 + GRACE_S + 1)
