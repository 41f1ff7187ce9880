"""What counts as a claim: what compared the schedule line, and only under the lease that it was granted with."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from agentd.managed_unit import ManagedUnit, Replan
from agentd.pure.entry import ANY_PLACEMENT, LedgerEntry, Phase
from agentd.pure.plan import DesiredState, PlanInput, TaskKind, plan
from agentd.unit_worker import FRUITLESS, UnitWorker
from registry.model import Target
from tests.agentd.machine import FakeMachine, machine

SHA = "a" * 64
DESIRED = DesiredState("u.service", SHA, Target.LAUNCHED, 1, 7, 7)


def stopped(lease: int) -> ManagedUnit:
    """A unit that is to run and was stopped when the registry was lost; its claim was granted under this lease."""
    entry = LedgerEntry("u.service", SHA, 1, 7, Phase.LOADED, lease=lease)
    return ManagedUnit("u.service", desired=DESIRED, listed=True, entry=entry)


def first_task(unit: ManagedUnit) -> TaskKind:
    return plan(unit.view(parked=False, leaving=False))[0].kind


def at_rest(on: FakeMachine, unit: ManagedUnit) -> ManagedUnit:
    """The unit in the machine's table, where nobody works on it."""
    on.reconciler.table.units[unit.name] = unit
    unit.worker = asyncio.get_running_loop().create_task(asyncio.sleep(0))
    return unit


async def test_invariant_1_a_state_that_an_interrupted_join_has_put_is_no_claim(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        unit = at_rest(on, stopped(lease=4))
        on.reconciler.lease_held(5, [unit.name])  # its state is under the new lease, and its line may be elsewhere
        assert first_task(unit) is TaskKind.CLAIM


async def test_invariant_4_a_restarted_agent_need_not_claim_again_what_was_claimed_under_its_lease(
    tmp_path: Path,
) -> None:
    async with machine(tmp_path) as on:
        unit = at_rest(on, stopped(lease=5))
        on.reconciler.lease_held(5, [unit.name])
        assert first_task(unit) is TaskKind.START


async def test_a_lost_lease_ends_every_claim(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        unit = at_rest(on, stopped(lease=5))
        on.reconciler.lease_held(5, [unit.name])
        on.reconciler.lease_lost()
        assert first_task(unit) is TaskKind.CLAIM


def running(generation: int = 1) -> ManagedUnit:
    """A unit that runs, claimed, as its schedule line said at revision 7."""
    entry = LedgerEntry("u.service", SHA, generation, 7, Phase.STARTED, lease=5, revision=7)
    return ManagedUnit("u.service", desired=DESIRED, listed=True, entry=entry, lease=5)


@pytest.mark.parametrize("desired", [None, replace(DESIRED, generation=2), replace(DESIRED, hash="b" * 64)])
async def test_invariant_15_while_the_history_is_held_nothing_is_planned_whatever_is_desired(
    tmp_path: Path, desired: DesiredState | None
) -> None:
    async with machine(tmp_path) as on:
        unit, table = at_rest(on, running()), on.reconciler.table
        unit.desired = desired
        assert table.plan(unit)
        on.reconciler.freeze()
        assert not table.plan(unit)
        table.leaving, unit.departing = True, True  # whoever stops the agent for good is obeyed
        assert table.plan(unit)


async def test_invariant_15_an_accepted_history_counts_once_it_was_read_and_restarts_nothing_for_its_placement(
    tmp_path: Path,
) -> None:
    async with machine(tmp_path) as on:
        unit, table = at_rest(on, running()), on.reconciler.table
        on.reconciler.freeze()
        on.reconciler.thaw()
        unit.desired = None
        assert not table.plan(unit)  # nobody has said yet what the accepted history wants
        accepted = replace(DESIRED, placement=3, revision=3, epoch=1)
        on.reconciler.set_desired("u.service", accepted)
        assert [task.kind for task in table.plan(unit)] == [TaskKind.RECORD]
        on.reconciler.set_desired("u.service", replace(accepted, generation=9))
        assert [task.kind for task in table.plan(unit)] == [TaskKind.STOP, TaskKind.START]


def test_invariant_15_what_was_acted_on_in_another_history_says_nothing_however_late_it_is_noted() -> None:
    entry = LedgerEntry("u.service", SHA, 1, 7, Phase.STARTED, revision=90)
    accepted = entry.seen(1, 5)  # a line of the accepted history was acted on
    assert (accepted.epoch, accepted.revision, accepted.placement) == (1, 5, ANY_PLACEMENT)
    assert accepted.seen(0, 90) == accepted  # a task from before it comes to its end
    assert accepted.seen(1, 8).revision == 8
    late = replace(DESIRED, revision=90).entry(Phase.STARTED).seen(1, 5)
    assert plan(PlanInput(replace(DESIRED, placement=7, epoch=1), late, claimed=True))[0].kind is TaskKind.RECORD


async def test_a_plan_that_leads_to_itself_rests_instead_of_going_round_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = 0

    class InVain:
        async def carry_out(self, _unit: ManagedUnit, _task: object) -> None:
            nonlocal begun
            begun += 1
            raise Replan("nothing has changed")

    async def rest(_self: UnitWorker, resting: ManagedUnit, _version: int, _pause_s: float) -> float:
        resting.desired = resting.entry = None  # nothing to plan any more: the end
        return 0.0

    monkeypatch.setattr(UnitWorker, "_rest", rest)
    async with machine(tmp_path) as on:
        unit, reconciler = at_rest(on, running()), on.reconciler
        unit.desired = replace(DESIRED, generation=2)
        worker = UnitWorker(on.needs, reconciler.table, InVain(), reconciler._records, reconciler._waiting)
        async with asyncio.timeout(10):
            await worker.run(unit)
        assert begun == FRUITLESS
