"""Where a unit stands: every combination of wish, schedule, state and pending has one reading."""

from __future__ import annotations

from dataclasses import replace

from registry.lifecycle import Progress, UnitProgress, current, standing, standing_here
from registry.mirror import Snapshot
from registry.model import Assignment, Leader, Machine, Pending, Target, Unit, UnitState

UNIT = Unit("a.service", "h", Target.LAUNCHED)
LINE = Assignment("a.service", "m1", "h", Target.LAUNCHED, 1)
STATE = UnitState("a.service", "m1", "h", 1, Target.LAUNCHED, "loaded", "active", "running")
LEADER = Leader("s1", "host")
MACHINE = Machine("m1", "host", "10.0.0.1", "boot")


def snapshot(
    unit: Unit | None = UNIT,
    lines: tuple[Assignment, ...] = (LINE,),
    states: tuple[UnitState, ...] = (STATE,),
    pending: Pending | None = None,
    leader: Leader | None = LEADER,
) -> Snapshot:
    return Snapshot(
        leader=leader,
        units={unit.name: unit} if unit else {},
        schedule={(line.machine, line.unit): line for line in lines},
        states={(state.machine, state.unit): state for state in states},
        pending={pending.unit: pending} if pending else {},
        machines={"m1": MACHINE},
    )


def of(value: Snapshot) -> UnitProgress:
    return standing(value, "a.service")


def test_launched_and_applied_is_reached() -> None:
    assert of(snapshot()) == UnitProgress(Progress.REACHED, "", ("m1",))


def test_an_unknown_unit_is_nowhere_or_being_stopped() -> None:
    assert of(snapshot(None, (), ())).progress is Progress.REACHED
    assert of(snapshot(None, ())) == UnitProgress(Progress.UNDER_WAY, "being stopped on m1...", ("m1",))


def test_inactive_is_reached_only_when_the_last_state_is_gone() -> None:
    idle = replace(UNIT, target=Target.INACTIVE)
    assert of(snapshot(idle)).progress is Progress.UNDER_WAY
    assert of(snapshot(idle, (), ())).progress is Progress.REACHED


def test_undecided_names_a_missing_leader() -> None:
    assert of(snapshot(lines=(), states=())).reason == "waiting for the scheduler"
    assert "no scheduler leads" in of(snapshot(lines=(), states=(), leader=None)).reason


def test_a_line_of_an_older_wish_is_under_way() -> None:
    for newer in (replace(UNIT, generation=2), replace(UNIT, hash="h2"), replace(UNIT, target=Target.LOADED)):
        assert of(snapshot(newer)).progress is Progress.UNDER_WAY


def test_a_state_that_lags_is_under_way() -> None:
    for older in (replace(STATE, generation=0), replace(STATE, hash="x"), replace(STATE, target=Target.LOADED)):
        assert of(snapshot(states=(older,))) == UnitProgress(Progress.UNDER_WAY, "being launched on m1...", ("m1",))


def test_an_applied_error_is_a_failure_with_its_reason() -> None:
    failed = replace(STATE, active="failed", error="exit code 203/EXEC")
    assert of(snapshot(states=(failed,))) == UnitProgress(Progress.FAILED, "exit code 203/EXEC", ("m1",))


def test_an_error_of_an_older_attempt_is_not_held_against_the_new_one() -> None:
    failed = replace(STATE, generation=0, error="exit code 1")
    assert of(snapshot(states=(failed,))).progress is Progress.UNDER_WAY


def test_an_older_attempt_s_failure_is_not_held_against_the_new_one() -> None:
    failed, again = replace(STATE, active="failed", error="exit code 1"), replace(UNIT, attempt=1)
    assert of(snapshot(again, states=(failed,))).reason == "waiting for the scheduler"
    taken = of(snapshot(again, (replace(LINE, attempt=1),), (failed,)))
    assert taken == UnitProgress(Progress.UNDER_WAY, "being launched on m1...", ("m1",))
    done = of(snapshot(again, (replace(LINE, attempt=1),), (replace(failed, attempt=1),)))
    assert done == UnitProgress(Progress.FAILED, "exit code 1", ("m1",))


def test_a_verdict_on_an_older_attempt_is_none_on_the_new_one() -> None:
    pending = Pending("a.service", "h", 1, "1 of 3 machines refuse")
    again = replace(UNIT, attempt=1)
    assert of(snapshot(again, pending=pending)).reason == "waiting for the scheduler"
    assert of(snapshot(again, (), (), pending=replace(pending, attempt=1))).progress is Progress.WAITING


def everywhere(*states: UnitState, pending: Pending | None = None) -> Snapshot:
    """A global unit on three machines, with what they report."""
    machines = {f"m{n}": Machine(f"m{n}", f"core-{n}", f"10.0.0.{n}", "boot") for n in (1, 2, 3)}
    lines = tuple(replace(LINE, machine=machine) for machine in machines)
    return replace(snapshot(lines=lines, states=states, pending=pending), machines=machines)


def here(value: Snapshot, machine: str) -> UnitProgress:
    pair = (machine, "a.service")
    return standing_here(value, "a.service", value.schedule.get(pair), value.states.get(pair))


def test_a_failure_is_told_with_its_machine_and_held_against_no_other() -> None:
    good, bad = STATE, replace(STATE, machine="m2", active="failed", error="exit code 3")
    value = everywhere(good, bad, replace(STATE, machine="m3"))
    assert of(value).reason == "on 1 of 3 machines (core-2): exit code 3"
    assert here(value, "m1") == UnitProgress(Progress.REACHED, "", ("m1",))
    assert here(value, "m2") == UnitProgress(Progress.FAILED, "exit code 3", ("m2",))
    late = everywhere(good, bad)
    assert (of(late).progress, of(late).awaited, of(late).under_way) == (Progress.FAILED, ("m3",), True)
    assert here(late, "m3").reason == "being launched on m3..."


def test_a_machine_that_refuses_a_global_unit_is_no_reason_where_it_runs() -> None:
    pending = Pending("a.service", "h", 1, "1 of 3 machines refuse")
    value = everywhere(*(replace(STATE, machine=machine) for machine in ("m1", "m2", "m3")), pending=pending)
    assert of(value).progress is Progress.WAITING
    assert here(value, "m1") == UnitProgress(Progress.REACHED, "", ("m1",))


def test_machines_with_one_host_name_are_told_apart() -> None:
    value = everywhere(replace(STATE, machine="m1", error="e"), *(replace(STATE, machine=f"m{n}") for n in (2, 3)))
    twins = {name: replace(each, hostname="web") for name, each in value.machines.items()}
    assert of(replace(value, machines=twins)).reason == "on 1 of 3 machines (m1...): e"


def test_only_strictly_is_what_systemd_calls_failed_a_failure() -> None:
    killed = replace(STATE, active="failed", result="signal", exit_code=9)
    value = snapshot(states=(killed,))
    assert of(value).progress is Progress.REACHED
    strict = standing(value, "a.service", strict=True)
    assert strict == UnitProgress(Progress.FAILED, "it failed on m1... (signal, killed by signal 9)", ("m1",))


def test_a_condition_is_a_failure_only_where_the_unit_runs_nowhere_because_of_it() -> None:
    held = replace(STATE, active="inactive", skipped="condition not met: ConditionPathExists=/nope")
    assert of(snapshot(states=(held,))).progress is Progress.FAILED
    assert of(snapshot(states=(replace(held, active="active"),))).progress is Progress.REACHED
    value = everywhere(STATE, replace(held, machine="m2"), replace(held, machine="m3"))
    assert of(value) == UnitProgress(Progress.REACHED, "", ("m1", "m2", "m3"))
    assert here(value, "m2") == UnitProgress(Progress.REACHED, held.skipped, ("m2",))


def test_what_waits_for_a_unit_waits() -> None:
    state = replace(STATE, active="inactive", error="waits for b.service", waits=("b.service",))
    found = of(snapshot(states=(state,)))
    assert (found.progress, found.reason, found.until) == (
        Progress.WAITING, "waits for b.service", "that unit is there",
    )  # fmt: skip


def test_what_waits_for_a_unit_that_is_coming_is_under_way() -> None:
    waits = replace(STATE, active="inactive", error="waits for b.service", waits=("b.service",))
    other, line = Unit("b.service", "h", Target.LOADED), replace(LINE, unit="b.service", target=Target.LOADED)
    there = UnitState("b.service", "m1", "h", 1, Target.LOADED, "loaded", "inactive", "dead")

    def progress(*lines: Assignment, of_b: UnitState | None = None, state: UnitState = waits) -> Progress:
        value = snapshot(lines=(LINE, *lines), states=(state, *((of_b,) if of_b else ())))
        machines = {each: replace(MACHINE, id=each) for each in ("m1", "m2")}
        return of(replace(value, units={**value.units, "b.service": other}, machines=machines)).progress

    assert progress() is Progress.UNDER_WAY, "it is not placed yet"
    assert progress(replace(line, machine="m2")) is Progress.WAITING, "it goes elsewhere"
    assert progress(line) is Progress.UNDER_WAY, "its agent is at it"
    assert progress(line, of_b=there) is Progress.UNDER_WAY, "it has only just come"
    assert progress(line, of_b=replace(there, load="bad-setting")) is Progress.WAITING
    runs = replace(waits, waits_running=("b.service",))
    assert progress(line, of_b=there, state=runs) is Progress.WAITING, "nobody wants it to run"


def test_pending_counts_for_its_own_wish_only() -> None:
    pending = Pending("a.service", "h", 1, "no machine has region=mars")
    waits = of(snapshot(lines=(), states=(), pending=pending))
    assert waits == UnitProgress(Progress.WAITING, pending.summary)
    moves = of(snapshot(lines=(), states=(), pending=replace(pending, passing=True)))
    assert moves.progress is Progress.UNDER_WAY
    stale = of(snapshot(lines=(), states=(), pending=replace(pending, generation=0)))
    assert stale.reason == "waiting for the scheduler"


def test_a_copy_elsewhere_keeps_the_unit_under_way() -> None:
    stray = replace(STATE, machine="m2")
    assert of(snapshot(states=(STATE, stray))) == UnitProgress(
        Progress.UNDER_WAY, "being stopped on m2...", ("m1", "m2")
    )


def test_what_failed_on_a_machine_that_has_to_give_it_up_is_no_failure_of_what_was_asked_since() -> None:
    failed = replace(STATE, machine="m2", generation=0, active="failed", error="start failed: exit code 1")
    under_way = UnitProgress(Progress.UNDER_WAY, "being stopped on m2...", ("m1", "m2"))
    assert standing(snapshot(states=(STATE, failed)), "a.service", strict=True) == under_way
    assert of(snapshot(states=(STATE, replace(failed, error="", waits=("b.service",))))) == under_way


def test_a_lost_machine_is_named() -> None:
    lost = replace(LINE, machine="m9" * 8)
    assert of(snapshot(lines=(lost,), states=())).reason == "waiting for lost machine m9m9m9m9..."


def test_current_state_is_what_systemd_has_loaded() -> None:
    assert current(None, STATE) is Target.INACTIVE
    assert current(LINE, None) is Target.INACTIVE
    assert current(LINE, replace(STATE, load="not-found")) is Target.INACTIVE
    assert current(LINE, replace(STATE, target=Target.LOADED)) is Target.LOADED
    assert current(LINE, STATE) is Target.LAUNCHED
