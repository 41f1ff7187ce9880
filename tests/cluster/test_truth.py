"""The judge of invariant 1 itself: it must tell two copies from one that moved between two questions."""

from __future__ import annotations

from tests.cluster.fleet import Sightings, Truth, sight, twice_up

UNIT = "a.service"


def seen(*rounds: dict[tuple[str, str], Truth]) -> Sightings:
    sightings: Sightings = {}
    for each in rounds:
        sight(sightings, each)
    return sightings


def up(since: float, asked: float) -> Truth:
    return Truth("active", "running", 1, "i", since, asked)


def test_a_move_between_two_questions_of_one_round_is_no_second_copy() -> None:
    assert not twice_up(seen({("core-1", UNIT): up(1.0, 10.0), ("core-3", UNIT): up(10.1, 10.2)}))


def test_a_copy_seen_after_the_other_one_started_is_one_too_many() -> None:
    first = {("core-1", UNIT): up(1.0, 10.0), ("core-3", UNIT): up(10.1, 10.2)}
    assert twice_up(seen(first, {("core-1", UNIT): up(1.0, 10.3)}))


def test_two_copies_that_were_there_from_the_start_are_found() -> None:
    assert twice_up(seen({("core-1", UNIT): up(1.0, 10.0), ("core-3", UNIT): up(2.0, 10.1)}))


def test_another_unit_and_a_later_run_are_no_second_copy() -> None:
    assert not twice_up(seen({("core-1", UNIT): up(1.0, 2.0)}, {("core-1", "b.service"): up(1.5, 9.0)},
                             {("core-2", UNIT): up(3.0, 4.0)}, {("core-1", UNIT): up(5.0, 6.0)}))  # fmt: skip
