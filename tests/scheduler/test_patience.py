"""A registry that hung kills no machine: absence is believed only when nothing speaks against it."""

from __future__ import annotations

from scheduler.patience import GRACE_S, Patience


def settled() -> Patience:
    patience = Patience()
    patience.link(live=True, now=0.0)
    return patience


def test_one_machine_of_three_is_believed_at_once() -> None:
    patience = settled()
    patience.changed(["a"], total=3, now=100.0)
    assert not patience.waits(["a"], 100.0)


def test_after_the_registry_came_back_machines_get_their_time() -> None:
    patience = settled()
    patience.link(live=False, now=100.0)
    patience.link(live=True, now=120.0)
    assert patience.waits(["a"], 120.0 + GRACE_S - 0.1)
    assert not patience.waits(["a"], 120.0 + GRACE_S)
    assert not patience.waits([], 120.0)


def test_many_at_once_get_their_time_even_when_some_are_back_already() -> None:
    patience = settled()
    patience.changed(["a", "b"], total=3, now=100.0)
    assert patience.waits(["c"], 101.0)


def test_the_same_machines_do_not_prolong_it() -> None:
    patience = settled()
    patience.changed(["a", "b", "c"], total=3, now=100.0)
    patience.changed(["a"], total=3, now=105.0)
    assert not patience.waits(["c"], 100.0 + GRACE_S)


def test_deaths_far_apart_are_deaths() -> None:
    patience = settled()
    patience.changed(["a"], total=4, now=100.0)
    patience.changed(["b"], total=4, now=100.0 + GRACE_S + 1)
    assert not patience.waits(["a", "b"], 100.0 + GRACE_S + 1)
