"""An action is done when the watch says so, not before, and what cannot be done says why."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleettui.actions.outcome import Did, Done, Outcome
from fleettui.console.operations.impact_text import stopping_lines, units_line
from fleettui.console.operations.operation import (
    Operation,
    OperationPhase,
    failed,
    judge,
    undo_units_command,
    written,
)
from fleettui.console.operations.verbs import command, permit
from fleettui.console.tables.units import UnitRows
from fleettui.verbs import Verb
from registry.lifecycle import Whereabouts
from registry.mirror import Snapshot
from registry.model import Target, Unit
from registry.sync.follow import ConnectionState
from tests.console.fleetshow import PLAIN, build, scene, state

ACT = Operation(1, Verb.START, ("db.service",), began=10.0)
SENT = written(ACT, Done((Outcome("db.service", Did.CHANGED),), 101), 10.1)


def where(snapshot: Snapshot, unit: str) -> Whereabouts:
    rows = UnitRows()
    rows.update(snapshot)
    return rows.where(snapshot, unit)


def test_an_act_is_pending_until_a_snapshot_of_its_revision_says_otherwise() -> None:
    assert SENT.phase is OperationPhase.PENDING
    assert judge(SENT, replace(scene(), revision=100), where, 11.0).phase is OperationPhase.PENDING
    done = judge(SENT, replace(scene(), revision=101), where, 12.0)
    assert (done.phase, done.ended, done.place) == (OperationPhase.DONE, 12.0, "core-3")


def test_an_act_fails_with_the_units_reason() -> None:
    act = written(replace(ACT, names=("sync.service",)), Done((Outcome("sync.service", Did.CHANGED),), 99), 10.1)
    done = judge(act, scene(), where, 12.0)
    assert done.phase is OperationPhase.FAILED
    assert "no such file" in done.complaints[0]


def test_an_act_on_a_unit_that_must_wait_ends_waiting() -> None:
    act = written(replace(ACT, names=("mars.service",)), Done((Outcome("mars.service", Did.CHANGED),), 99), 10.1)
    assert judge(act, scene(), where, 12.0).phase is OperationPhase.WAITING


def test_a_destroyed_unit_is_done_with_when_no_machine_holds_it() -> None:
    act = written(replace(ACT, verb=Verb.DESTROY), Done((Outcome("db.service", Did.DESTROYED),), 99), 10.1)
    held = build({}, [], [state("db.service", 1, PLAIN)])
    assert judge(act, held, where, 11.0).phase is OperationPhase.PENDING
    assert judge(act, build({}, [], []), where, 12.0).phase is OperationPhase.DONE


def test_successes_fade_and_errors_stay() -> None:
    done = judge(SENT, replace(scene(), revision=101), where, 12.0)
    assert done.fades(21.0)
    assert not failed(ACT, "no", 12.0).fades(1e9)


def test_a_refused_unit_is_a_complaint() -> None:
    act = written(ACT, Done((Outcome("db.service", Did.REFUSED, note="it is a template"),)), 10.1)
    assert (act.phase, act.complaints) == (OperationPhase.FAILED, ("it is a template",))


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        (Target.INACTIVE, Target.LAUNCHED, "fleetctl unload a.service"),
        (Target.LOADED, Target.LAUNCHED, "fleetctl stop a.service"),
        (Target.LAUNCHED, None, "fleetctl start a.service"),
        (None, Target.LAUNCHED, "fleetctl destroy a.service"),
    ],
)
def test_undo_shows_the_command_that_does_the_same(before: Target | None, after: Target | None, line: str) -> None:
    was, now = (Unit("a.service", "h", target) if target else None for target in (before, after))
    assert undo_units_command([Outcome("a.service", Did.CHANGED, was, now)]) == line


@pytest.mark.parametrize(
    ("verb", "names", "told"),
    [
        (Verb.START, ["db.service"], "already"),
        (Verb.STOP, ["backup.service"], "not launched but inactive"),
        (Verb.START, ["nonsuch.service"], "destroyed already"),
        (Verb.START, [], "no unit is selected"),
        (Verb.LOAD, ["db.service", "cache.service"], "none of the 2"),
    ],
)
def test_what_cannot_be_done_says_why(verb: Verb, names: list[str], told: str) -> None:
    assert told in permit(verb, names, scene(), link=ConnectionState.LIVE, barred="").refusal


def test_of_several_units_those_are_taken_that_can_be() -> None:
    assert permit(
        Verb.START, ["db.service", "backup.service"], scene(), link=ConnectionState.LIVE, barred=""
    ).names == ("backup.service",)


def test_start_takes_launched_units_that_are_down_and_no_others() -> None:
    world = scene()
    (machine, name), state = next((pair, each) for pair, each in world.states.items() if pair[1] == "db.service")
    for active in ("inactive", "failed"):
        states = {**world.states, (machine, name): replace(state, active=active)}
        down = replace(world, states=states)
        asked = [name, "cache.service", "backup.service"]
        assert permit(Verb.START, asked, down, link=ConnectionState.LIVE, barred="").names == (
            name,
            "backup.service",
        )
        assert permit(Verb.LOAD, [name], down, link=ConnectionState.LIVE, barred="").refusal


def test_nothing_changes_without_a_link_or_read_only() -> None:
    assert (
        "read-only"
        in permit(Verb.STOP, ["db.service"], scene(), link=ConnectionState.LIVE, barred="read-only").refusal
    )
    assert (
        "no connection" in permit(Verb.STOP, ["db.service"], scene(), link=ConnectionState.LOST, barred="").refusal
    )


def test_the_question_says_what_stops_where_and_the_last_instance() -> None:
    all_three = ["web@1.service", "web@2.service", "web@3.service"]
    told = stopping_lines(Verb.DESTROY, all_three, scene())
    assert "3 running units stop on core-1, core-2, core-3." in told
    assert "No instance of web@ keeps running." in told
    assert "No instance of web@ keeps running." not in stopping_lines(Verb.DESTROY, all_three[:2], scene())


def test_commands_are_quoted_for_a_shell() -> None:
    assert command(Verb.STOP, ["a;rm -rf.service"]) == "fleetctl stop 'a;rm -rf.service'"
    assert command(Verb.STOP, list("abcde"), shown=3) == "fleetctl stop a b c … 2 more"


def test_names_in_a_question_are_in_the_order_of_their_numbers() -> None:
    assert units_line(["api@11.service", "api@2.service", "api@1.service"]) == (
        "api@1.service, api@2.service, api@11.service"
    )
