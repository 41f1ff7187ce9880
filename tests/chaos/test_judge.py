"""The judge itself: it finds what is wrong, and lets pass what is not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from registry.keys import Address, Table
from registry.model import (
    Assignment,
    Availability,
    Leader,
    Machine,
    Override,
    Pending,
    Rollout,
    RolloutState,
    RolloutStep,
    Sentinel,
    StepFailure,
    Target,
    Unit,
    UnitState,
)
from tests.chaos.history import Change, absences, allowed, judge, orders, unexplained
from tests.chaos.judge import Life, Overlap, Spell, doubles, excused, joined, read_lives, repeated
from tests.chaos.script import FAULTS, Script, compose, kind_of
from tests.chaos.turns import Turns
from tests.chaos.witness import Sight, overlaps

UNIT = "chaos-sleep1.service"
A, B, SHA = "a" * 32, "b" * 32, "0" * 64


def life(node: str, since_s: float, until_s: float, boot: int = 0) -> Life:
    return Life(UNIT, node, 1, since_s, until_s, boot, ended=True)


def test_a_seed_gives_the_same_script_and_survives_json() -> None:
    script = compose(7, 600)
    assert script == compose(7, 600)
    assert script != compose(8, 600)
    assert Script.loaded(script.dumped()) == script
    assert {each.policy for each in script.rounds} == {"keep", "stop"}


def test_every_kind_of_fault_comes_and_ends_within_its_round() -> None:
    rounds = [each for seed in range(20) for each in compose(seed, 600).rounds]
    assert {kind_of(step) for each in rounds for step in each.faults} == set(FAULTS)
    assert all(step.at_s + step.for_s <= each.seconds + 0.5 for each in rounds for step in each.faults)


def test_two_copies_are_proven_only_by_processes_that_lived_on() -> None:
    def scan(at_s: float, **pids: int) -> dict[tuple[str, str], Sight]:
        return {(node, UNIT): Sight(at_s, frozenset({pid})) for node, pid in pids.items()}

    assert overlaps(scan(1, a=1, b=2), scan(2, a=1, b=2)) == [Overlap(UNIT, ("a", "b"), 1, 2)]
    assert not overlaps(scan(1, a=1), scan(2, a=1, b=2))
    assert not overlaps(scan(1, a=1, b=2), scan(2, a=1, b=3))


def test_invariant_1_two_lives_at_once_are_found_and_cut_off_machines_excused() -> None:
    (found,) = doubles([life("a", 0, 10), life("b", 8, 20), life("a", 20, 30)])
    assert found == Overlap(UNIT, ("a", "b"), 8, 10)
    assert excused(found, [Spell("a", 5, 9)])
    assert not excused(found, [Spell("c", 5, 9)])
    assert not excused(found, [Spell("a", 9, 10)])
    assert not excused(Overlap(UNIT, ("a", "b"), 8, 16), [Spell("a", 5, 9)])


def test_sights_of_the_same_two_copies_are_told_once() -> None:
    seen = [
        Overlap(UNIT, ("a", "b"), 1, 1.1),
        Overlap(UNIT, ("b", "a"), 1.1, 1.3),
        Overlap(UNIT, ("a", "b"), 0.9, 1.4),
    ]
    assert joined([*seen, Overlap(UNIT, ("a", "c"), 1, 2), Overlap(UNIT, ("a", "b"), 5, 6)]) == [
        Overlap(UNIT, ("a", "b"), 0.9, 1.4), Overlap(UNIT, ("a", "b"), 5, 6), Overlap(UNIT, ("a", "c"), 1, 2),
    ]  # fmt: skip


def test_invariant_5_a_life_that_begins_before_the_last_one_ended_is_found() -> None:
    lives, wrong = read_lives("a", [(1, "start", UNIT, 1), (2, "start", UNIT, 2), (3, "end", UNIT, 2)], [], 9)
    assert len(wrong) == 1
    assert [(each.since_s, each.until_s) for each in lives] == [(1, 2), (2, 3)]


def test_a_life_whose_last_command_was_killed_has_ended() -> None:
    notes = [(1.0, "start", UNIT, 1), (6.0, "start", UNIT, 1)]
    lives, wrong = read_lives("a", notes, [], 9, {UNIT: [5.0]})
    assert not wrong
    assert [(each.since_s, each.until_s) for each in lives] == [(1, 5.0), (6, 9)]
    assert read_lives("a", notes, [], 9, {UNIT: [7.0]})[1]


def test_a_crash_ends_what_lived() -> None:
    lives, wrong = read_lives("a", [(1, "start", UNIT, 1), (6, "start", UNIT, 1)], [4.0], 9)
    assert not wrong
    assert [(each.since_s, each.until_s, each.boot) for each in lives] == [(1, 4.0, 0), (6, 9, 1)]


def test_invariant_12_more_starts_than_orders_are_found() -> None:
    twice, here = [life("a", 1, 2), life("a", 13, 14)], ("a", UNIT, 0)
    assert len(repeated(twice, {here: 1}, {}, {})) == 1
    assert not repeated(twice, {here: 2}, {}, {})
    assert not repeated(twice, {here: 1}, {("a", 0): 1}, {})
    assert not repeated(twice, {here: 1}, {}, {("a", 0): [1.5]})
    assert len(repeated(twice, {here: 1}, {}, {("a", 0): [8.0]})) == 1


def test_notes_of_one_moment_are_read_in_the_order_in_which_they_were_made() -> None:
    lives, wrong = read_lives("a", [(1.0, "start", UNIT, 1), (1.0, "end", UNIT, 1)], [], 9)
    assert not wrong
    assert [(each.since_s, each.until_s) for each in lives] == [(1.0, 1.0)]


# ---- the registry's history


def change(revision: int, table: Table, *names: str, record: object = None, created: int = 1) -> Change:
    return Change(revision, Address(table, *names), record, created, float(revision))


def machine(name: str) -> Machine:
    return Machine(name, "h", "1.2.3.4", "boot")


def line(where: str, target: Target = Target.LAUNCHED, generation: int = 1) -> Assignment:
    return Assignment(UNIT, where, SHA, target, generation)


BEGIN = [
    change(1, Table.LEADER, record=Leader("s", "h")),
    change(2, Table.MACHINES, A, record=machine(A)),
    change(3, Table.MACHINES, B, record=machine(B)),
    change(4, Table.UNITS, UNIT, record=Unit(UNIT, SHA, Target.LAUNCHED)),
    change(5, Table.SCHEDULE, A, UNIT, record=line(A), created=5),
    change(6, Table.STATES, A, UNIT, record=UnitState(UNIT, A, SHA, 1)),
]


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ([change(7, Table.LEADER), change(8, Table.SCHEDULE, B, UNIT, record=line(B))], ["1", "1", "2"]),
        ([change(7, Table.SCHEDULE, A, UNIT)], ["6"]),
        ([change(7, Table.STATES, B, UNIT, record=UnitState(UNIT, B, SHA, 1)),
          change(8, Table.SCHEDULE, A, UNIT, record=line(A, generation=2))], []),
        ([change(7, Table.OVERRIDES, A, record=Override(A, Availability.DRAINING)),
          change(8, Table.SCHEDULE, A, UNIT)], []),
        ([change(7, Table.OVERRIDES, A, record=Override(A, Availability.DRAINING)), change(8, Table.OVERRIDES, A),
          change(9, Table.SCHEDULE, A, UNIT)], ["6"]),
        ([change(7, Table.OVERRIDES, A, record=Override(A, Availability.DRAINING)), change(8, Table.OVERRIDES, A),
          replace(change(9, Table.SCHEDULE, A, UNIT), at_s=8.1)], []),
        ([change(7, Table.MACHINES, A), change(7, Table.STATES, A, UNIT),
          change(8, Table.SCHEDULE, A, UNIT), change(8, Table.SCHEDULE, B, UNIT, record=line(B))], []),
        ([change(7, Table.UNITS, UNIT), change(8, Table.SCHEDULE, A, UNIT),
          change(9, Table.SCHEDULE, B, UNIT, record=line(B))], ["1"]),
    ],
)  # fmt: skip
def test_invariants_1_2_and_6_in_the_registrys_history(changes: list[Change], wrong: list[str]) -> None:
    assert sorted(each[0] for each in judge([*BEGIN, *changes])) == wrong


@pytest.mark.parametrize(
    ("state", "wrong"), [(RolloutState.RUNNING, 0), (RolloutState.PAUSED, 1), (RolloutState.FINISHED, 1), (None, 1)]
)
def test_invariant_14_in_the_registrys_history(state: RolloutState | None, wrong: int) -> None:
    turn = Unit(UNIT, SHA, Target.LAUNCHED, 2, by="rollout r1", at=9.0)
    made = [change(7, Table.ROLLOUTS, "r1", record=Rollout("r1", (), state))] if state else []
    changes = [*BEGIN, *made, change(8, Table.UNITS, UNIT, record=turn)]
    changes.append(change(9, Table.UNITS, UNIT, record=turn))  # written again by somebody else, as it was
    assert [each[:3] for each in judge(changes)] == ["14:"] * wrong


WEB = tuple(f"chaos-t@{number}.service" for number in range(1, 5))
NEW = "1" * 64


def rollout(*settled: str, **fields: Any) -> Rollout:
    steps = tuple(RolloutStep(name, SHA, NEW, 1, number) for number, name in enumerate(WEB))
    return Rollout("r1", steps, healthy_for_s=1.0, settled=settled, **fields)


def at(seconds: float, *changes: Change) -> list[Change]:
    """One transaction."""
    return [replace(each, revision=int(seconds * 10), at_s=seconds) for each in changes]


def turn(name: str) -> Change:
    given = Unit(name, NEW, Target.LAUNCHED, 2, by="rollout r1", at=9.0)
    return change(0, Table.UNITS, name, record=given)


def noted(*settled: str, **fields: Any) -> Change:
    return change(0, Table.ROLLOUTS, "r1", record=rollout(*settled, **fields))


def running(name: str, sha256: str = SHA, generation: int = 1, active: str = "active") -> list[Change]:
    return [
        change(0, Table.SCHEDULE, A, name, record=Assignment(name, A, sha256, Target.LAUNCHED, generation)),
        change(0, Table.STATES, A, name, record=UnitState(name, A, sha256, generation, active=active)),
    ]


def lived(name: str, since_s: float, until_s: float = 99.0) -> Life:
    return Life(name, "a", 0, since_s, until_s, 0, ended=True)


UP = [change(0, Table.UNITS, name, record=Unit(name, SHA, Target.LAUNCHED)) for name in WEB]
UP = at(
    1.0, change(0, Table.MACHINES, A, record=machine(A)), *UP, *(each for name in WEB for each in running(name))
)
ONE, TWO, THREE, _ = WEB
FAILED = running(THREE, active="failed")
RUN = {ONE: [0, 11], TWO: [0, 13], THREE: [0, 15]}


@pytest.mark.parametrize(
    ("history", "lives", "wrong"),
    [
        # one after the other, as it should be
        ([at(10, noted()), at(10.5, noted(), turn(ONE)), at(11, *running(ONE, NEW, 2)),
          at(12.1, noted(ONE), turn(TWO))], RUN, 0),
        # two at once where one may be
        ([at(10, noted()), at(10.5, noted(), turn(ONE), turn(TWO))], RUN, 1),
        ([at(10, noted()), at(10.5, noted(), turn(ONE)), at(10.6, noted(), turn(TWO))], RUN, 1),
        ([at(10, noted(at_a_time=2)), at(10.5, turn(ONE)), at(10.6, turn(TWO))], RUN, 0),
        # noted as settled, and it had not started anew, or did not run for long enough
        ([at(10, noted()), at(10.5, noted(), turn(ONE)), at(12.1, noted(ONE), turn(TWO))], {ONE: [0]}, 1),
        ([at(10, noted()), at(10.5, noted(), turn(ONE)), at(11.2, noted(ONE), turn(TWO))], RUN, 1),
        # more has failed than may
        ([at(10, noted()), at(10.5, turn(ONE)), at(12.1, noted(failed=(StepFailure(ONE),)), turn(TWO))], RUN, 1),
        ([at(10, noted()), at(10.5, turn(ONE)),
          at(12.1, noted(max_failures=1, failed=(StepFailure(ONE),)), turn(TWO))], RUN, 0),
        ([at(10, noted()), at(10.5, turn(ONE)),
          at(12.1, noted(max_failures=1, canary=1, failed=(StepFailure(ONE, "", A),)), turn(TWO))], RUN, 1),
        # another one of them has been down for long, and it is an upright one's turn; or its own
        ([at(2, *FAILED), at(10, noted()), at(10.5, turn(ONE))], {ONE: [0], THREE: []}, 1),
        ([at(2, *FAILED), at(10, noted()), at(10.5, turn(THREE))],
         {ONE: [0], THREE: []}, 0),
        # nobody can know yet that it is down
        ([at(9, *FAILED), at(10, noted()), at(10.5, turn(ONE))], {ONE: [0], THREE: []}, 0),
        # it is reported to be down and is not, or the other way round
        ([at(2, *FAILED), at(10, noted()), at(10.5, turn(ONE))], {ONE: [0], THREE: [0]}, 0),
    ],
)  # fmt: skip
def test_invariant_13_in_the_registrys_history(
    history: list[list[Change]], lives: dict[str, list[float]], wrong: int
) -> None:
    ran = [
        lived(name, since_s, until_s)
        for name, times in lives.items()
        for since_s, until_s in zip(times, [*times[1:], 99.0], strict=False)
    ]
    found = list(Turns(ran, {A: "a"}).judge([*UP, *(each for batch in history for each in batch)]))
    assert [each[:3] for each in found] == ["13:"] * wrong, found


def test_orders_are_counted_by_placement_generation_and_return_from_loaded() -> None:
    changes = [
        *BEGIN,
        change(7, Table.SCHEDULE, A, UNIT, record=line(A, Target.LOADED), created=5),
        change(8, Table.SCHEDULE, A, UNIT, record=line(A), created=5),
        change(9, Table.SCHEDULE, A, UNIT, record=line(A, generation=2), created=5),
        change(30, Table.SCHEDULE, A, UNIT),
    ]
    found = orders(changes)
    assert [(each.since_s, each.until_s) for each in found] == [(5, 7), (8, 9), (9, 30)]
    assert allowed(found, {A: "a"}, {"a": [20.0]}) == {("a", UNIT, 0): 3, ("a", UNIT, 1): 1}


def test_a_machine_whose_agent_was_away_is_excused_from_then_until_it_is_back_if_its_lease_ended() -> None:
    changes = [*BEGIN, change(10, Table.MACHINES, A), change(15, Table.MACHINES, A, record=machine(A))]
    assert [*absences(changes, A, Spell("a", 8, 9))] == [Spell("a", 8, 15)]
    assert not [*absences(changes, A, Spell("a", 1, 3))]
    assert not [*absences(changes, A, Spell("a", 11, 20))]
    assert [*absences(changes[:-1], A, Spell("a", 8, 9))] == [Spell("a", 8, float("inf"))]
    again = [change(18, Table.MACHINES, A), change(21, Table.MACHINES, A, record=machine(A))]
    assert [*absences([*changes, *again], A, Spell("a", 8, 14))] == [Spell("a", 8, 15), Spell("a", 8, 21)]
    assert [*absences([*changes, *again], A, Spell("a", 8, 9))] == [Spell("a", 8, 15)]


def test_invariant_15_nothing_is_placed_before_a_registry_that_went_back_is_accepted() -> None:
    back = [*BEGIN, change(0, Table.UNITS, UNIT)]
    new = change(8, Table.SCHEDULE, B, UNIT, record=line(B))
    assert [told[:3] for told in judge([*back, new])] == ["15:"]
    state = change(7, Table.STATES, B, UNIT, record=UnitState(UNIT, B, SHA, 1, Target.LAUNCHED))
    assert not list(judge([*back, state, new]))
    assert not list(judge([*back, change(8, Table.SCHEDULE, A, UNIT, record=line(A, Target.LOADED))]))
    accepted = change(7, Table.CLUSTER, record=Sentinel("c"))
    assert not [told for told in judge([*back, accepted, new]) if told.startswith("15")]
    again = change(7, Table.CLUSTER, record=Sentinel("c", held="it is older"))
    assert [told[:3] for told in judge([*BEGIN, again, new])] == ["15:"]


def test_invariant_7_a_unit_without_a_machine_or_a_reason_is_found() -> None:
    waiting = [*BEGIN, change(7, Table.SCHEDULE, A, UNIT)]
    assert len(list(unexplained(waiting, 60.0))) == 1
    assert not list(
        unexplained([*waiting, change(20, Table.PENDING, UNIT, record=Pending(UNIT, SHA, 1, "why"))], 60.0)
    )
    assert not list(unexplained([*waiting, change(20, Table.UNITS, UNIT)], 60.0))
    late = [*waiting, change(50, Table.SCHEDULE, B, UNIT, record=line(B))]
    assert len(list(unexplained(late, 60.0))) == 1
