"""Where a unit's journal lies, and where it is said to run: snapshots and events by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleettui.cli.places import MOST, MoveTracker, host_names, places, present, with_past
from fleettui.escape import clause
from fleettui.remote import JournalSource
from registry.mirror import Snapshot
from registry.model import Assignment, Event, Machine, Target, Unit, UnitState

HASH = "0" * 64
IDS = ("a" * 32, "b" * 32, "c" * 32)
UNIT = "x.service"


def snapshot(
    scheduled: tuple[str, ...] = (),
    running: tuple[str, ...] = (),
    live: tuple[str, ...] = IDS,
    active: str = "active",
) -> Snapshot:
    return Snapshot(
        units={UNIT: Unit(UNIT, HASH, Target.LAUNCHED)},
        machines={id_: Machine(id_, f"core-{id_[0]}", "10.0.0.1", "boot") for id_ in live},
        schedule={(id_, UNIT): Assignment(UNIT, id_, HASH, Target.LAUNCHED, 1) for id_ in scheduled},
        states={(id_, UNIT): UnitState(UNIT, id_, HASH, 1, active=active) for id_ in running},
    )


def event(number: int, machine: str = "", unit: str = UNIT, verb: str = "place") -> Event:
    return Event(f"{number:013d}-0", float(number), "scheduler-core-a", verb, unit, machine)


def asked(now: Snapshot, *events: Event) -> list[str]:
    return [source.machine.id for source in with_past(places(now, [UNIT]), events).sources]


A, B, C = IDS


def test_a_journal_is_read_where_a_unit_is_and_where_it_was() -> None:
    assert asked(snapshot((A,), (A,)), event(1, C), event(2, B), event(3, A)) == [A, B, C]
    assert asked(snapshot((A,), (A,)), event(1, B, "other.service")) == [A]


def test_a_machine_that_is_away_is_named() -> None:
    found = with_past(places(snapshot((A,), (A,), live=(A,)), [UNIT]), [event(1, B), event(2, C)])
    assert [source.machine.id for source in found.sources] == [A]
    (note,) = found.notes
    assert note.endswith("missing: cccccccc..., bbbbbbbb...")
    assert found.complaints == {}


def test_a_unit_that_is_nowhere_has_its_past_and_no_complaint() -> None:
    now = snapshot()
    assert with_past(places(now, [UNIT]), []).complaints == {UNIT: f"Unit {UNIT} does not appear to be loaded."}
    found = with_past(places(now, [UNIT, "gone.service"]), [event(1, B), event(2, C, "gone.service")])
    assert {(source.machine.id, source.unit) for source in found.sources} == {(B, UNIT), (C, "gone.service")}
    assert found.complaints == {}
    assert present(found) == ()


def test_after_a_bulk_change_every_machine_may_have_been_a_units() -> None:
    bulk = event(5, unit="", machine="", verb="move")
    found = with_past(places(snapshot((B,), (B,)), [UNIT, "nope.service"]), [bulk])
    assert [source.machine.id for source in found.sources] == [B, A, C]
    assert found.guesses == {A, C}
    assert list(found.complaints) == ["nope.service"]


def test_no_more_than_so_many_machines_are_asked_and_the_rest_is_said() -> None:
    ids = [f"{number:032x}" for number in range(MOST + 9)]
    now = snapshot((ids[0],), (ids[0],), live=tuple(ids))
    found = with_past(places(now, [UNIT]), [event(number, id_) for number, id_ in enumerate(ids)])
    assert len(found.sources) == MOST + 1
    assert found.sources[1].machine.id == ids[-1], "the newest first"
    assert "and 3 more" in found.notes[0]


def test_equal_host_names_are_told_apart() -> None:
    machines = [Machine(id_, name, "10.0.0.1", "b") for id_, name in zip(IDS, ("n", "n", "m"), strict=True)]
    assert host_names(JournalSource(each) for each in machines) == {A: "n(aaaaaaaa)", B: "n(bbbbbbbb)"}


def told(*steps: Snapshot) -> list[str]:
    first, *rest = steps
    moves = MoveTracker(first, [UNIT])
    return [line for step in rest for line in moves.news(step)]


def test_a_healed_cut_ends_with_where_the_unit_is() -> None:
    at_home, cut = snapshot((A,), (A,)), snapshot((B,), (), live=(B, C))
    moved, healed = snapshot((B,), (B,), live=(B, C)), snapshot((A,), (A, B))
    lines = told(at_home, cut, moved, healed, snapshot((A,), (A,)))
    assert lines[0] == f"{UNIT} is on core-b now"
    assert lines[-1] == f"{UNIT} is on core-a now"


def test_a_schedule_line_alone_is_no_place_where_a_unit_runs() -> None:
    assert told(snapshot((A,), (A,)), snapshot((B,), (A,)), snapshot((B,), ()), snapshot((A,), (A,))) == []
    dead = snapshot((B,), (B,), active="failed")
    assert told(snapshot((A,), (A,)), dead) == []


@given(st.lists(st.sets(st.sampled_from(IDS)), min_size=1, max_size=12))
def test_the_last_line_that_was_said_is_true(steps: list[set[str]]) -> None:
    seen = [snapshot(tuple(each), tuple(each)) for each in steps]
    lines, last = told(snapshot((A,), (A,)), *seen), {A}
    for each in steps:
        last = each or last
    if lines:
        assert lines[-1] == f"{UNIT} is on {', '.join(sorted(f'core-{id_[0]}' for id_ in last))} now"


def test_many_places_are_told_by_what_changed() -> None:
    ids = [f"{number:032x}" for number in range(20)]
    all_, fewer = (snapshot((), tuple(some), live=tuple(ids)) for some in (ids, ids[:-1]))
    assert told(all_, fewer, all_) == [f"{UNIT} is no longer on core-0", f"{UNIT} is on core-0 now, too"]


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("Unit x not found.", "Unit x not found"),
        ("lost machine 12...", "lost machine 12..."),
        ("failed;", "failed"),
        ("plain", "plain"),
        (".", ""),
        ("", ""),
    ],
)
def test_a_sentence_within_a_line_has_no_full_stop(text: str, part: str) -> None:
    assert clause(text) == part
