"""Rollouts: whose turn it is, and that no more is down than may be, whatever happens meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.rollout import Advance, StepState, StepView, WellSince, advance, going_back, survey
from registry.lifecycle import Whereabouts
from registry.model import OnFailure, Rollout, RolloutState, RolloutStep, Target, UnitState, UnitText
from registry.units.file import file_hash
from tests.placement.world import KEYS, World, machine, unit_text

OLD, NEW = unit_text(note="old"), unit_text(note="new")
MACHINES = ("m1", "m2", "m3")


class Fleet:
    """Units of a rollout on three machines, agents that do as they are told, and a leader that comes and goes."""

    def __init__(self, count: int, rollout: Rollout, bad: frozenset[str] = frozenset()) -> None:
        self.world, self.now, self.well = World(*map(machine, MACHINES)), 0.0, WellSince()
        self.names = [f"web@{number}.service" for number in range(count)]
        for name in self.names:
            self.world.unit(name, note="old")
        self.world.put(KEYS.file(file_hash(NEW)), UnitText(file_hash(NEW), NEW))
        self.world.settle()
        steps = tuple(
            RolloutStep(
                name, file_hash(OLD), file_hash(NEW), 1, rollout.steps[number].group if rollout.steps else number
            )
            for number, name in enumerate(self.names)
        )
        self.rollout = replace(rollout, steps=steps)
        self.bad = bad  # units that fail with the new file
        self.run_agents()

    # -- what happens

    def run_agents(self, *machines: str) -> None:
        """Let agents carry their schedule out; a bad unit fails with the new file."""
        snapshot = self.world.snapshot
        for pair in snapshot.states:
            if pair not in snapshot.schedule and pair[0] in (machines or MACHINES):
                self.world.delete(KEYS.state(*pair))
        for pair, line in snapshot.schedule.items():
            home, name = pair
            if home not in snapshot.machines or (machines and home not in machines):
                continue
            known = snapshot.states.get(pair)
            request = (line.hash, line.generation, line.target)
            if known is not None and known.active and (known.hash, known.generation, known.target) == request:
                continue
            fails = name in self.bad and line.hash == file_hash(NEW)
            active = "inactive" if line.target is Target.LOADED else "failed" if fails else "active"
            done = UnitState(name, home, line.hash, line.generation, line.target, "loaded", active, since=self.now)
            self.world.put(KEYS.state(*pair), done)

    def lead(self) -> Advance:
        """Let the leader do one round, and write what it says."""
        before, down = self.rollout, self.down()
        found = advance(self.rollout, self.views())
        if before.state is not RolloutState.RUNNING:
            assert found == Advance(before)  # invariant 14
        turns = {self.group(each.name) for each in found.turns}
        failed = {self.group(each.unit) for each in found.rollout.failed}
        allowed = max(self.rollout.at_a_time, len(down - failed))
        assert len((down | turns) - failed) <= allowed  # invariant 13
        assert len(failed) <= self.rollout.max_failures or not turns
        self.rollout = found.rollout
        for each in found.turns:
            self.world.put(KEYS.unit(each.name), each)
        return found

    def mend(self) -> None:
        """Let an operator mend what is down for other reasons than the rollout's."""
        for view in self.views():
            for pair, state in self.world.snapshot.states.items():
                others = (
                    view.state is StepState.CHANGED
                    or state.hash != file_hash(NEW)
                    or view.step.unit not in self.bad
                )
                if pair[1] == view.step.unit and state.active == "failed" and others:
                    self.world.put(KEYS.state(*pair), replace(state, active="active"))

    def views(self) -> tuple[StepView, ...]:
        snapshot = self.world.snapshot
        return survey(self.rollout, snapshot, lambda name: Whereabouts.of(snapshot, name), self.well, self.now)

    def group(self, name: str) -> int:
        return next(step.group for step in self.rollout.steps if step.unit == name)

    def down(self) -> set[int]:
        """The groups with a unit that should run, and does not run what its record says, anywhere."""
        snapshot = self.world.snapshot
        return {
            step.group
            for step in self.rollout.steps
            if (unit := snapshot.units.get(step.unit)) is not None
            and unit.target is Target.LAUNCHED
            and not any(
                state.active == "active" and (state.hash, state.generation) == (unit.hash, unit.generation)
                for (_, name), state in snapshot.states.items()
                if name == step.unit
            )
        }

    def round(self, seconds: float = 1.0) -> Advance:
        """Let everybody do what there is to do, and time go by."""
        found = self.lead()
        self.world.step()
        self.run_agents()
        self.world.step()
        self.now += seconds
        return found

    def finish(self, rounds: int = 60) -> None:
        for _ in range(rounds):
            self.round()
            if self.rollout.state is not RolloutState.RUNNING:
                return
        told = [f"{each.step.unit} {each.state} {each.reason}" for each in self.views() if not each.up]
        raise AssertionError(f"the rollout does not end: {told}")

    def versions(self) -> str:
        """Which file each unit has: o for the old one, n for the new one."""
        units = self.world.snapshot.units
        return "".join("n" if units[name].hash == file_hash(NEW) else "o" for name in self.names)


def rollout(**policy: object) -> Rollout:
    return Rollout("r1", (), healthy_for_s=2.0, **policy)  # type: ignore[arg-type]


def test_units_have_their_turn_one_after_another() -> None:
    fleet = Fleet(3, rollout())
    seen = []
    while fleet.rollout.state is RolloutState.RUNNING:
        fleet.round()
        seen.append(fleet.versions())
    assert list(dict.fromkeys(seen)) == ["noo", "nno", "nnn"]
    assert seen.count("noo") == 3  # its turn, and two seconds of being well
    assert fleet.rollout.state is RolloutState.FINISHED
    assert fleet.rollout.settled == tuple(fleet.names)


def test_several_at_a_time_after_the_canary() -> None:
    fleet = Fleet(7, rollout(at_a_time=3, canary=1))
    seen = []
    while fleet.rollout.state is RolloutState.RUNNING:
        fleet.round()
        seen.append(fleet.versions())
    assert list(dict.fromkeys(seen)) == ["noooooo", "nnnnooo", "nnnnnnn"]


def test_a_bad_version_stops_at_its_first_unit() -> None:
    fleet = Fleet(5, rollout(at_a_time=2, canary=1), bad=frozenset({"web@0.service"}))
    fleet.finish()
    assert fleet.rollout.state is RolloutState.PAUSED
    assert fleet.versions() == "noooo"
    assert fleet.rollout.note.startswith("web@0.service failed: it failed on ")
    assert [each.unit for each in fleet.rollout.failed] == ["web@0.service"]
    assert fleet.rollout.failed[0].machine in MACHINES


def test_a_bad_version_goes_back_by_itself() -> None:
    fleet = Fleet(5, rollout(at_a_time=2, on_failure=OnFailure.ROLLBACK), bad=frozenset({"web@3.service"}))
    fleet.finish()
    assert (fleet.rollout.state, fleet.rollout.back) == (RolloutState.FINISHED, True)
    assert fleet.versions() == "ooooo"
    assert "web@3.service failed" in fleet.rollout.note
    assert not fleet.down()
    generations = [fleet.world.snapshot.units[name].generation for name in fleet.names]
    assert generations == [3, 3, 3, 3, 1]  # one that never had the new file was not touched


def test_failures_that_are_allowed_are_passed_by() -> None:
    fleet = Fleet(4, rollout(max_failures=1), bad=frozenset({"web@1.service"}))
    fleet.finish()
    assert fleet.rollout.state is RolloutState.FINISHED
    assert fleet.versions() == "nnnn"


def test_a_unit_that_is_down_already_holds_the_others_up_and_goes_first() -> None:
    fleet = Fleet(3, rollout())
    home = fleet.world.where("web@2.service")[0]
    state = fleet.world.snapshot.states[home, "web@2.service"]
    fleet.world.put(KEYS.state(home, "web@2.service"), replace(state, active="failed"))
    found = fleet.lead()
    assert [each.name for each in found.turns] == ["web@2.service"]


def test_units_that_nothing_can_run_hold_a_rollout_and_say_so() -> None:
    fleet = Fleet(3, rollout())
    fleet.world.unit("web@0.service", "MachineMetadata=disk=none", note="old")
    for _ in range(3):
        fleet.world.step()
        fleet.run_agents()
    found = fleet.lead()
    assert not found.turns
    assert "web@0.service is down already" in found.waits


def test_a_group_has_its_turn_together() -> None:
    steps = tuple(RolloutStep("x.service", "0" * 64, "1" * 64, 1, group) for group in (0, 0, 1))
    fleet = Fleet(3, replace(rollout(), steps=steps))
    assert [each.name for each in fleet.lead().turns] == ["web@0.service", "web@1.service"]


def test_what_somebody_else_changes_is_left_alone() -> None:
    fleet = Fleet(3, rollout())
    unit = fleet.world.snapshot.units["web@1.service"]
    fleet.world.put(KEYS.unit(unit.name), replace(unit, generation=9, by="root@elsewhere"))
    fleet.finish()
    assert fleet.rollout.state is RolloutState.FINISHED
    assert fleet.versions() == "non"
    views = fleet.views()
    assert views[1].state is StepState.CHANGED
    assert "root@elsewhere" in views[1].reason


def test_a_unit_that_systemd_restarts_before_it_settles_has_failed() -> None:
    fleet = Fleet(2, rollout())
    fleet.round()
    home = fleet.world.where("web@0.service")[0]
    state = fleet.world.snapshot.states[home, "web@0.service"]
    fleet.world.put(KEYS.state(home, "web@0.service"), replace(state, restarts=1))
    fleet.lead()
    assert fleet.rollout.state is RolloutState.PAUSED
    assert "systemd restarted it" in fleet.rollout.note


def test_a_service_that_ends_has_failed_and_a_oneshot_has_not() -> None:
    fleet = Fleet(1, rollout())
    fleet.round()
    home = fleet.world.where("web@0.service")[0]
    state = replace(fleet.world.snapshot.states[home, "web@0.service"], active="inactive", result="success")
    fleet.world.put(KEYS.state(home, "web@0.service"), state)
    fleet.lead()
    assert "it ended, and should run on" in fleet.rollout.note


@pytest.mark.parametrize(
    ("steps", "reason"),
    [
        (
            (RolloutStep("a.service", "0" * 64, "1" * 64, 1), RolloutStep("a.service", "0" * 64, "1" * 64, 1)),
            "in it twice",
        ),
        (tuple(RolloutStep(f"a{number}.service", "0" * 64, "1" * 64, 1) for number in range(50)), "more than 40"),
    ],
)
def test_a_record_that_makes_no_sense_is_paused_with_the_reason(
    steps: tuple[RolloutStep, ...], reason: str
) -> None:
    world = World(machine("m1"))
    for each in steps:
        world.unit(each.unit)
    made = replace(rollout(), steps=steps)
    views = survey(made, world.snapshot, lambda name: Whereabouts.of(world.snapshot, name), WellSince(), 0.0)
    found = advance(made, views)
    assert (found.rollout.state, found.turns) == (RolloutState.PAUSED, ())
    assert reason in found.rollout.note


HAPPENINGS = st.sampled_from(
    [
        *("lead",) * 3,
        "schedule",
        "agents",
        "time",
        "leader",
        "lose",
        "return",
        "pause",
        "resume",
        "restart",
        "stop",
        "undo",
        "crash",
    ]
)


def happen(fleet: Fleet, what: str, number: int) -> None:  # noqa: C901, PLR0912 - a table of what may happen
    """Let one thing happen, to the unit and the machine of this number."""
    world, name, home = fleet.world, fleet.names[number], MACHINES[number % 3]
    unit = world.snapshot.units[name]
    match what:
        case "lead":
            fleet.lead()
        case "schedule":
            world.step()
        case "agents":
            fleet.run_agents(home)
        case "time":
            fleet.now += number
        case "leader":
            fleet.well = WellSince()
        case "lose":
            world.lose(home)
        case "return":
            world.put(KEYS.machine(home), machine(home))
        case "pause" if not fleet.rollout.state.over:
            fleet.rollout = replace(fleet.rollout, state=RolloutState.PAUSED)
        case "resume" if fleet.rollout.state is RolloutState.PAUSED:
            fleet.rollout = replace(fleet.rollout, state=RolloutState.RUNNING)
        case "restart":
            world.put(KEYS.unit(name), replace(unit, generation=unit.generation + 1))
        case "stop":
            world.put(KEYS.unit(name), replace(unit, target=Target.LOADED))
        case "crash" if unit.target is Target.LAUNCHED:
            for pair, state in world.snapshot.states.items():
                if pair[1] == name and state.active == "active":
                    world.put(KEYS.state(*pair), replace(state, active="failed"))
        case "undo" if not fleet.rollout.back:
            fleet.rollout = going_back(fleet.rollout, "undone")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    happenings=st.lists(st.tuples(HAPPENINGS, st.integers(0, 5)), max_size=60),
    at_a_time=st.integers(1, 3),
    canary=st.integers(0, 2),
    max_failures=st.integers(0, 2),
    on_failure=st.sampled_from(OnFailure),
    bad=st.sets(st.integers(0, 5), max_size=2),
    grouped=st.booleans(),
)
def test_invariants_13_and_14_whatever_happens_and_every_rollout_ends(
    happenings: list[tuple[str, int]],
    at_a_time: int,
    canary: int,
    max_failures: int,
    on_failure: OnFailure,
    bad: set[int],
    *,
    grouped: bool,
) -> None:
    groups = (0, 0, 1, 1, 2, 2) if grouped else range(6)
    steps = tuple(RolloutStep("x.service", "0" * 64, "1" * 64, 1, group) for group in groups)
    policy = {"at_a_time": at_a_time, "canary": canary, "max_failures": max_failures, "on_failure": on_failure}
    made = replace(rollout(**policy), steps=steps)
    fleet = Fleet(6, made, frozenset(f"web@{number}.service" for number in bad))
    world = fleet.world
    for what, number in happenings:
        happen(fleet, what, number)
    for home in MACHINES:
        world.put(KEYS.machine(home), machine(home))
    if fleet.rollout.state is RolloutState.PAUSED:
        fleet.rollout = replace(fleet.rollout, state=RolloutState.RUNNING)
    fleet.round()
    fleet.mend()
    fleet.finish()
