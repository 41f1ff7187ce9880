"""A preview is what happens: after the same change, the scheduler and the agents bring about what it said."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement import preview
from placement.decide import decide
from placement.explain import Verdict, explain, verdicts_on_text
from placement.pending_reasons import PendingRule
from placement.preview import (
    Prediction,
    StateCache,
    preview_drain,
    preview_loss,
    preview_overrides,
    preview_starts,
    preview_without,
)
from registry.keys import Table
from registry.mirror import Snapshot
from registry.model import Availability, Override
from tests.conftest import EXAMPLES
from tests.placement.test_decide_properties import (
    FLEET,
    MACHINES,
    METADATA,
    UNITS,
    Act,
    agents,
    crowds,
    destroys,
    everybody,
    failures,
    files,
    joins,
    losses,
    overrides,
    submits,
)
from tests.placement.world import KEYS, World, decide_snapshot, machine, unit_text

MANY = settings(
    max_examples=max(EXAMPLES // 2, 1),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
steps = st.just(lambda world: void(world.step()))
rest = st.just(lambda world: world.settle())
acts = st.one_of(
    submits, submits, joins, overrides, destroys, losses, agents, everybody, files, failures, steps, rest
)
histories = st.tuples(crowds, st.lists(acts, max_size=8)).map(lambda both: [*both[0], *both[1]])
machines = st.sampled_from(MACHINES)
names = st.sampled_from((*UNITS, "new.service"))
fleets = st.sampled_from(FLEET)


def void(_: object) -> None:
    """Nothing."""


def world_after(history: list[Act]) -> World:
    world = World(*(machine(name, leaving=False, **METADATA[1]) for name in MACHINES))
    for act in history:
        act(world)
    return world


def assert_came_true(world: World, predicted: Prediction) -> None:
    """The unit is where it was predicted, or waits for the predicted reason."""
    live = tuple(each for each in world.where(predicted.unit) if each in world.snapshot.machines)
    assert live == predicted.machines
    if not live:
        pending = world.pending(predicted.unit)
        assert (pending.summary if pending else "") == predicted.summary


@MANY
@given(histories, st.dictionaries(names, fleets, min_size=1, max_size=3))
def test_starting_or_replacing_units_does_what_was_predicted(
    history: list[Act], started: dict[str, tuple[str, ...]]
) -> None:
    world = world_after(history)
    texts = {name: unit_text(*fleet) for name, fleet in started.items()}
    predicted = preview_starts(world.snapshot, texts, KEYS)
    for name, fleet in started.items():
        world.unit(name, *fleet)
    world.settle()
    for each in predicted.values():
        assert_came_true(world, each)


@MANY
@given(histories, st.sets(machines, min_size=1))
def test_draining_machines_does_what_was_predicted(history: list[Act], drained: set[str]) -> None:
    world = world_after(history)
    before = world.snapshot
    predicted = preview_drain(before, sorted(drained), KEYS)
    for each in drained:
        old = before.overrides.get(each, Override(each))
        world.set(each, Availability.DRAINING, **dict(old.metadata))
    world.settle()
    for where, found in predicted.items():
        for foreseen in found:
            if foreseen.machines:
                assert_came_true(world, foreseen)
            else:
                assert foreseen.summary
                assert where in world.where(foreseen.unit) or world.waits(foreseen.unit)
        told = {each.unit for each in found}
        left = {unit for machine_id, unit in before.schedule if machine_id == where} - told
        for unit in left:  # what is not told of is global, or goes without a drain
            text = before.files.get(before.units[unit].hash) if unit in before.units else None
            assert text is None or "Global" in text.text or where not in world.where(unit)


@MANY
@given(histories, machines, names)
def test_losing_a_machine_does_what_was_predicted(history: list[Act], lost: str, unit: str) -> None:
    world = world_after(history)
    predicted = preview_loss(world.snapshot, lost, unit, KEYS)
    world.lose(lost)
    world.settle()
    if unit in world.snapshot.units:
        assert_came_true(world, predicted)


@MANY
@given(histories, st.sets(machines, min_size=1, max_size=2))
def test_losing_machines_lets_those_units_wait_that_were_predicted(history: list[Act], lost: set[str]) -> None:
    world = world_after(history)
    before = world.snapshot
    predicted = preview_without(before, sorted(lost), KEYS)
    for each in sorted(lost):
        world.lose(each)
    world.settle()
    for found in predicted.moves:
        assert_came_true(world, found)
    for found in predicted.waits:
        assert world.waits(found.unit) == found.summary
        assert not set(world.where(found.unit)) & world.snapshot.machines.keys()
    told = {each.unit for each in (*predicted.moves, *predicted.waits)}
    lines = Counter(unit for _, unit in before.schedule)
    for machine_id, unit in before.schedule:
        if lines[unit] > 1:  # it was global until just now, and keeps one place of these
            continue
        if machine_id in before.machines and unit not in told and "Global" not in text_of(before, unit):
            wanted = before.units.get(unit)
            here = (machine_id, unit) in world.snapshot.schedule
            assert here or wanted is None or not wanted.target.scheduled, f"{unit} was not told of"


def text_of(snapshot: Snapshot, name: str) -> str:
    """The text of a unit's file, "" where it is not known."""
    unit = snapshot.units.get(name)
    file = snapshot.files.get(unit.hash) if unit else None
    return file.text if file else ""


@MANY
@given(histories, st.dictionaries(machines, st.sampled_from(METADATA), min_size=1))
def test_changing_metadata_moves_what_was_predicted(history: list[Act], changed: dict[str, dict[str, str]]) -> None:
    world = world_after(history)
    before = world.snapshot
    new = [
        Override(name, Availability.READY, tuple(sorted(metadata.items()))) for name, metadata in changed.items()
    ]
    predicted = preview_overrides(before, new, KEYS)
    for each in new:
        world.put(KEYS.override(each.machine), each)
    world.settle()
    assert predicted == before.schedule.keys() - world.snapshot.schedule.keys()


@MANY
@given(histories, names, fleets)
def test_the_verdicts_on_a_text_are_those_of_the_decision(
    history: list[Act], name: str, fleet: tuple[str, ...]
) -> None:
    world = world_after(history)
    world.settle()
    said = {each.machine: each for each in verdicts_on_text(world.snapshot, name, unit_text(*fleet), KEYS)}
    before = set(world.where(name))
    others = {pair for pair in world.snapshot.schedule if pair[1] != name}
    world.unit(name, *fleet)
    if world.snapshot.units[name].generation > 1 and "Nonsense=1" in fleet:
        return  # a file that cannot be used leaves everything as it is
    world.step()
    if others != {pair for pair in world.snapshot.schedule if pair[1] != name}:
        return  # what the text makes room for, or displaces, may be what it was refused for
    leaving = {
        each.id for each in world.snapshot.machines.values() if each.leaving
    }  # it stays until another takes it
    after = (set(world.where(name)) & said.keys()) - leaving
    assert {each for each in before & said.keys() if said[each].verdict is Verdict.HERE} >= after & before
    if "Global=true" in fleet:
        assert after <= {each for each, verdict in said.items() if verdict.verdict is not Verdict.REFUSED}


@MANY
@given(histories)
def test_why_names_the_machines_that_refuse_for_what_the_pending_record_says(history: list[Act]) -> None:
    world = world_after(history)
    world.settle()
    snapshot = world.snapshot
    for name, pending in snapshot.pending.items():
        said = explain(snapshot, name, KEYS).machines
        if pending.rule in {*PendingRule} or "Global" in text_of(snapshot, name) or not said:
            continue
        reasons = [each.reasons for each in said if each.verdict is Verdict.REFUSED]
        assert all(reasons)
        assert len(reasons) == len(said) - sum((each, name) in snapshot.schedule for each in snapshot.machines)
        _, fits, told = pending.summary.partition(" fits: ")
        if fits:  # the first of the reasons is that of a machine; its figures are its own
            assert any(told.startswith(each[0].partition(", ")[0]) for each in reasons), (told, reasons)
        elif "no machine has" in pending.summary:
            assert all(each[0].startswith(("metadata ", "MachineID=", "podman ")) for each in reasons)


@MANY
@given(histories, histories, machines, names)
def test_previews_leave_no_trace(history: list[Act], later: list[Act], one: str, name: str) -> None:
    world, cache = world_after(history), StateCache()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(preview, "latest", cache)
        for act in [*later, *later]:
            snapshot = world.snapshot
            preview_drain(snapshot, (one,), KEYS)
            preview_loss(snapshot, one, name, KEYS)
            state = cache.state_of(snapshot, KEYS)
            assert {(each, unit) for unit, entry in state.entries.items() for each in entry.assigned} == {
                *snapshot.schedule,
                *(
                    tuple(found[1:])
                    for key in snapshot.corrupt
                    if (found := KEYS.parse(key)) and found.table is Table.SCHEDULE
                ),
            }
            assert decide(state) == decide_snapshot(snapshot, KEYS)
            state.begin()
            act(world)
