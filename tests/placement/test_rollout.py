"""Rollouts: whose turn it is, and that no more is down than may be, whatever happens meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.rollout import (
    Advance,
    StepState,
    StepView,
    WellSince,
    advance,
    failures,
    going_back,
    is_called_off,
    survey,
)
from registry.lifecycle import Whereabouts
from registry.model import (
    Assignment,
    Availability,
    OnFailure,
    Override,
    Rollout,
    RolloutState,
    RolloutStep,
    Target,
    UnitHealth,
    UnitState,
    UnitText,
)
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
            fails = self.fails(home if isinstance(self, GlobalFleet) else name, line)
            active = "inactive" if line.target is Target.LOADED else "failed" if fails else "active"
            done = UnitState(name, home, line.hash, line.generation, line.target, "loaded", active, since=self.now)
            self.world.put(KEYS.state(*pair), done)

    def fails(self, what: str, line: Assignment) -> bool:
        """Whether a unit fails with what its line says."""
        return what in self.bad and line.hash == file_hash(NEW)

    def lead(self) -> Advance:
        """Let the leader do one round, and write what it says."""
        before, down = self.rollout, self.down()
        found = advance(self.rollout, self.views())
        if before.state is not RolloutState.RUNNING:
            assert found == Advance(before)  # invariant 14
        turns = {each.step.group for each in found.given}
        numbers = {step.key: step.group for step in found.rollout.steps}
        failed = {numbers[key] for key in failures(found.rollout)}
        allowed = max(self.rollout.at_a_time, len(down - failed))
        assert len((down | turns) - failed) <= allowed  # invariant 13
        assert len(failed) <= self.rollout.max_failures or not turns
        self.rollout = found.rollout
        for each in found.units:
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


class GlobalFleet(Fleet):
    """A global unit on six machines; a bad machine's one fails with the new file."""

    def __init__(self, rollout: Rollout, bad: frozenset[str] = frozenset()) -> None:
        self.machines = tuple(f"m{number}" for number in range(1, 7))
        self.world, self.now, self.well = World(*map(machine, self.machines)), 0.0, WellSince()
        self.names = ["web.service"] * 6
        self.old, self.new = file_hash(unit_text("Global=true", note="old")), file_hash(unit_text("Global=true"))
        self.world.unit("web.service", "Global=true", note="old")
        self.world.put(KEYS.file(self.new), UnitText(self.new, unit_text("Global=true")))
        self.world.settle()
        self.rollout = replace(rollout, steps=self.steps())
        self.bad = bad
        self.run_agents()

    def steps(self) -> tuple[RolloutStep, ...]:
        homes = self.world.where("web.service")
        return tuple(
            RolloutStep("web.service", self.old, self.new, 1, number, home) for number, home in enumerate(homes)
        )

    def fails(self, home: str, line: Assignment) -> bool:
        return home in self.bad and line.hash == self.new

    def down(self) -> set[int]:
        snapshot = self.world.snapshot
        unit = snapshot.units["web.service"]
        return {
            step.group
            for step in self.rollout.steps
            if unit.target is Target.LAUNCHED and (step.machine, unit.name) in snapshot.schedule
            if (state := snapshot.states.get((step.machine, unit.name))) is None
            or (state.active, state.hash, state.generation) != ("active", *unit.version_on(step.machine))
        }

    def versions(self) -> str:
        unit = self.world.snapshot.units["web.service"]
        return "".join("n" if unit.version_on(each)[0] == self.new else "o" for each in self.machines)


class DrainedFleet(Fleet):
    """Units that leave m1, which is drained a few at a time."""

    def __init__(self, rollout: Rollout) -> None:
        super().__init__(
            12, replace(rollout, steps=tuple(RolloutStep("x.service", NONE, NONE, 1, n) for n in range(12)))
        )
        self.rollout = replace(
            self.rollout,
            steps=tuple(
                replace(step, new=step.old, leaves="m1", group=group)
                for group, step in enumerate(s for s in self.rollout.steps if self.world.where(s.unit) == ("m1",))
            ),
        )
        self.names = [step.unit for step in self.rollout.steps]
        self.world.put(KEYS.override("m1"), Override("m1", Availability.DRAINING, drained_by="r1"))


NONE = "0" * 64


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


def test_a_drain_that_is_called_off_is_not_paused_by_what_fails() -> None:
    fleet = DrainedFleet(rollout())
    assert not is_called_off(fleet.rollout, fleet.world.snapshot)
    fleet.lead()
    for _ in range(3):
        fleet.world.step()
        fleet.run_agents()
    moved = fleet.names[0]
    pair = next(pair for pair in fleet.world.snapshot.states if pair[1] == moved)
    fleet.world.put(KEYS.state(*pair), replace(fleet.world.snapshot.states[pair], active="failed"))
    fleet.world.delete(KEYS.override("m1"))
    assert is_called_off(fleet.rollout, fleet.world.snapshot)
    assert advance(fleet.rollout, fleet.views()).rollout.state is RolloutState.PAUSED
    found = advance(fleet.rollout, fleet.views(), called_off=True)
    assert found.rollout.state is RolloutState.ABORTED
    assert moved in found.rollout.note


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
    assert [each.name for each in found.units] == ["web@2.service"]


def test_units_that_nothing_can_run_hold_a_rollout_and_say_so() -> None:
    fleet = Fleet(3, rollout())
    fleet.world.unit("web@0.service", "MachineMetadata=disk=none", note="old")
    for _ in range(3):
        fleet.world.step()
        fleet.run_agents()
    found = fleet.lead()
    assert not found.units
    assert "web@0.service is down already" in found.waits


def test_a_group_has_its_turn_together() -> None:
    steps = tuple(RolloutStep("x.service", "0" * 64, "1" * 64, 1, group) for group in (0, 0, 1))
    fleet = Fleet(3, replace(rollout(), steps=steps))
    assert [each.name for each in fleet.lead().units] == ["web@0.service", "web@1.service"]


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


def test_restarts_of_the_run_before_are_no_failure_while_the_turn_is_being_started() -> None:
    fleet = Fleet(2, rollout())
    fleet.round()
    home = fleet.world.where("web@0.service")[0]
    state = fleet.world.snapshot.states[home, "web@0.service"]
    starting = replace(state, target=Target.LOADED, active="inactive", restarts=1)
    fleet.world.put(KEYS.state(home, "web@0.service"), starting)
    fleet.lead()
    assert fleet.views()[0].state is StepState.UNDER_WAY
    fleet.world.put(KEYS.state(home, "web@0.service"), state)
    fleet.finish()
    assert (fleet.versions(), fleet.rollout.failed) == ("nn", ())


def test_what_failed_on_a_machine_that_came_back_without_a_line_is_no_failure_of_what_was_given_since() -> None:
    fleet = Fleet(3, rollout())
    fleet.round()
    home = fleet.world.where("web@0.service")[0]
    away = next(each for each in MACHINES if each != home)
    old = UnitState("web@0.service", away, file_hash(OLD), 1, Target.LAUNCHED, "loaded", "failed", error="no start")
    fleet.world.put(KEYS.state(away, old.unit), old)
    fleet.lead()
    assert fleet.views()[0].state is StepState.UNDER_WAY
    assert fleet.versions() == "noo"
    fleet.finish()
    assert (fleet.versions(), fleet.rollout.failed) == ("nnn", ())


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
    assert (found.rollout.state, found.given) == (RolloutState.PAUSED, ())
    assert reason in found.rollout.note


def test_a_global_unit_has_its_turn_machine_by_machine_and_its_record_follows() -> None:
    fleet = GlobalFleet(rollout())
    seen = []
    while fleet.rollout.state is RolloutState.RUNNING:
        fleet.round()
        seen.append(fleet.versions())
    assert list(dict.fromkeys(seen)) == [("n" * number).ljust(6, "o") for number in range(1, 7)]
    unit = fleet.world.snapshot.units["web.service"]
    assert (unit.hash, unit.generation, unit.on, unit.history) == (fleet.new, 2, (), (fleet.old,))
    assert fleet.rollout.settled_on == tuple(step.key for step in fleet.rollout.steps)
    assert not fleet.down()


def test_a_global_unit_goes_back_where_it_had_its_turn_alone() -> None:
    fleet = GlobalFleet(rollout(on_failure=OnFailure.ROLLBACK), bad=frozenset({"m3"}))
    fleet.finish()
    assert (fleet.rollout.state, fleet.rollout.back, fleet.versions()) == (RolloutState.FINISHED, True, "oooooo")
    unit = fleet.world.snapshot.units["web.service"]
    assert [unit.version_on(each)[1] for each in fleet.machines] == [3, 3, 3, 1, 1, 1]
    assert "web.service on m3" in fleet.rollout.note
    fleet.rollout = replace(
        rollout(), steps=tuple(replace(step, generation=unit.version_on(step.machine)[1]) for step in fleet.steps())
    )  # and another one, over machines that differ
    fleet.bad = frozenset()
    fleet.finish()
    assert fleet.versions() == "nnnnnn"
    assert not fleet.down()


def test_a_machine_that_comes_during_a_rollout_has_its_turn_and_one_that_is_away_follows_later() -> None:
    fleet = GlobalFleet(rollout(at_a_time=2))
    fleet.world.lose("m6")
    fleet.round()
    fleet.world.put(KEYS.machine("m7"), machine("m7"))
    fleet.machines = (*fleet.machines, "m7")
    fleet.finish()
    assert len(fleet.rollout.steps) == 7
    assert fleet.versions() == "nnnnnnn"
    assert fleet.world.snapshot.units["web.service"].on == ()
    fleet.world.put(KEYS.machine("m6"), machine("m6"))
    fleet.world.step()
    fleet.run_agents("m6")
    assert not fleet.down()


def test_a_machine_that_is_away_counts_as_down() -> None:
    fleet = GlobalFleet(rollout())
    fleet.world.lose("m6")
    found = fleet.lead()
    assert not found.given
    assert "web.service on m6... is down already (its machine is not there)" in found.waits


def test_a_drain_moves_a_few_at_a_time_and_the_next_when_they_are_well() -> None:
    fleet = DrainedFleet(rollout(at_a_time=2))
    assert len(fleet.rollout.steps) == 4
    left = []
    while fleet.rollout.state is RolloutState.RUNNING:
        fleet.round()
        left.append(sum(fleet.world.where(name) == ("m1",) for name in fleet.names))
    assert list(dict.fromkeys(left)) == [2, 0]
    assert left.count(2) >= 2  # until they were well for two seconds elsewhere
    assert not fleet.down()


def test_a_machine_that_is_used_again_ends_its_drain() -> None:
    fleet = DrainedFleet(rollout())
    fleet.round()
    fleet.world.delete(KEYS.override("m1"))
    fleet.finish()
    assert sum(fleet.world.where(name) == ("m1",) for name in fleet.names) == 3


@pytest.mark.parametrize(
    ("health", "state"),
    [
        (UnitHealth.STARTING, StepState.UNDER_WAY),
        (UnitHealth.HEALTHY, StepState.SETTLED),
        (UnitHealth.UNHEALTHY, StepState.FAILED),
    ],
)
def test_a_unit_whose_check_has_not_passed_does_not_settle(health: UnitHealth, state: StepState) -> None:
    fleet = Fleet(2, rollout())
    fleet.round()
    home = fleet.world.where("web@0.service")[0]
    known = fleet.world.snapshot.states[home, "web@0.service"]
    fleet.world.put(KEYS.state(home, "web@0.service"), replace(known, health=health, sickness="status 500"))
    fleet.views()
    fleet.now += 5
    view = fleet.views()[0]
    assert view.state is state
    assert ("status 500" in view.reason) == (health is UnitHealth.UNHEALTHY)


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
    world, name, home = fleet.world, fleet.names[number % len(fleet.names)], MACHINES[number % 3]
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
        case "undo" if not fleet.rollout.back and not isinstance(fleet, DrainedFleet):
            fleet.rollout = going_back(fleet.rollout, "undone")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    happenings=st.lists(st.tuples(HAPPENINGS, st.integers(0, 5)), max_size=60),
    at_a_time=st.integers(1, 3),
    canary=st.integers(0, 2),
    max_failures=st.integers(0, 2),
    on_failure=st.sampled_from(OnFailure),
    bad=st.sets(st.integers(0, 5), max_size=2),
    kind=st.sampled_from(["single", "grouped", "global", "drained"]),
)
def test_invariants_13_and_14_whatever_happens_and_every_rollout_ends(
    happenings: list[tuple[str, int]],
    at_a_time: int,
    canary: int,
    max_failures: int,
    on_failure: OnFailure,
    bad: set[int],
    kind: str,
) -> None:
    groups = (0, 0, 1, 1, 2, 2) if kind == "grouped" else range(6)
    steps = tuple(RolloutStep("x.service", "0" * 64, "1" * 64, 1, group) for group in groups)
    policy = {"at_a_time": at_a_time, "canary": canary, "max_failures": max_failures, "on_failure": on_failure}
    made = replace(rollout(**policy), steps=steps)
    if kind == "global":
        fleet: Fleet = GlobalFleet(made, frozenset(f"m{number + 1}" for number in bad))
    elif kind == "drained":
        fleet = DrainedFleet(replace(made, on_failure=OnFailure.PAUSE))
    else:
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
