"""Where a unit stands: every combination of wish, schedule, state and pending has one reading."""

from __future__ import annotations

from dataclasses import replace

from registry.lifecycle import Progress, Standing, current, standing
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


def of(value: Snapshot) -> Standing:
    return standing(value, "a.service")


def test_launched_and_applied_is_reached() -> None:
    assert of(snapshot()) == Standing(Progress.REACHED, "", ("m1",))


def test_an_unknown_unit_is_nowhere_or_being_stopped() -> None:
    assert of(snapshot(None, (), ())).progress is Progress.REACHED
    assert of(snapshot(None, ())) == Standing(Progress.UNDER_WAY, "being stopped on m1...", ("m1",))


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
        assert of(snapshot(states=(older,))) == Standing(Progress.UNDER_WAY, "being launched on m1...", ("m1",))


def test_an_applied_error_is_a_failure_with_its_reason() -> None:
    failed = replace(STATE, active="failed", error="exit code 203/EXEC")
    assert of(snapshot(states=(failed,))) == Standing(Progress.FAILED, "exit code 203/EXEC", ("m1",))


def test_an_error_of_an_older_attempt_is_not_held_against_the_new_one() -> None:
    failed = replace(STATE, generation=0, error="exit code 1")
    assert of(snapshot(states=(failed,))).progress is Progress.UNDER_WAY


def test_pending_counts_for_its_own_wish_only() -> None:
    pending = Pending("a.service", "h", 1, "no machine has region=mars (3 of 3 refuse)")
    waits = of(snapshot(lines=(), states=(), pending=pending))
    assert waits == Standing(Progress.WAITING, pending.summary)
    moves = of(snapshot(lines=(), states=(), pending=replace(pending, passing=True)))
    assert moves.progress is Progress.UNDER_WAY
    stale = of(snapshot(lines=(), states=(), pending=replace(pending, generation=0)))
    assert stale.reason == "waiting for the scheduler"


def test_a_copy_elsewhere_keeps_the_unit_under_way() -> None:
    stray = replace(STATE, machine="m2")
    assert of(snapshot(states=(STATE, stray))) == Standing(
        Progress.UNDER_WAY, "being stopped on m2...", ("m1", "m2")
    )


def test_a_lost_machine_is_named() -> None:
    lost = replace(LINE, machine="m9" * 8)
    assert of(snapshot(lines=(lost,), states=())).reason == "waiting for lost machine m9m9m9m9..."


def test_current_state_is_what_systemd_has_loaded() -> None:
    assert current(None, STATE) is Target.INACTIVE
    assert current(LINE, None) is Target.INACTIVE
    assert current(LINE, replace(STATE, load="not-found")) is Target.INACTIVE
    assert current(LINE, replace(STATE, target=Target.LOADED)) is Target.LOADED
    assert current(LINE, STATE) is Target.LAUNCHED
