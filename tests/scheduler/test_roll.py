"""A machine that vanishes without a good-bye is missed once; one that said it leaves is not."""

from __future__ import annotations

from scheduler.roll import Roll


def test_only_an_unannounced_absence_is_a_loss_and_only_once() -> None:
    roll = Roll()
    assert not roll.see("a", present=True)
    assert roll.see("a", present=False)
    assert not roll.see("a", present=False)
    assert not roll.see("never", present=False)


def test_who_said_good_bye_is_not_missed_but_who_came_back_may_be() -> None:
    roll = Roll()
    roll.see("a", present=True)
    roll.see("a", present=True, leaving=True)
    assert not roll.see("a", present=False)
    roll.see("a", present=True)
    assert roll.see("a", present=False)


def test_a_full_listing_tells_who_is_missing() -> None:
    roll = Roll()
    for each in ("a", "b"):
        roll.see(each, present=True)
    assert roll.missing({"b"}) == ["a"]
