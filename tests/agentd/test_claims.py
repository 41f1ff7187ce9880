"""What counts as a claim: what compared the schedule line, and only under the lease that it was granted with."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from agentd.managed_unit import ManagedUnit
from agentd.pure.entry import ANY_PLACEMENT, LedgerEntry, Phase
from agentd.pure.plan import DesiredState, PlanInput, TaskKind, plan
from agentd.reconciler import TURNS, Reconciler
from agentd.task_runner import Dependencies, Replan
from registry.model import Target

SHA = "a" * 64
WISH = DesiredState("u.service", SHA, Target.LAUNCHED, 1, 7, 7)


def stopped(lease: int) -> ManagedUnit:
    """A unit that is to run and was stopped when the registry was lost; its claim was granted under this lease."""
    entry = LedgerEntry("u.service", SHA, 1, 7, Phase.LOADED, lease=lease)
    return ManagedUnit("u.service", wish=WISH, told=True, entry=entry)


def first_task(unit: ManagedUnit) -> TaskKind:
    return plan(unit.view(parked=False, leaving=False))[0].kind


def test_invariant_1_a_state_that_an_interrupted_join_has_put_is_no_claim() -> None:
    executor, unit = Reconciler(), stopped(lease=4)
    executor.units[unit.name] = unit
    executor.lease_held(5, [unit.name])  # its state is there under the new lease, and its line may be elsewhere
    assert first_task(unit) is TaskKind.CLAIM


def test_invariant_4_a_restarted_agent_need_not_claim_again_what_was_claimed_under_its_lease() -> None:
    executor, unit = Reconciler(), stopped(lease=5)
    executor.units[unit.name] = unit
    executor.lease_held(5, [unit.name])
    assert first_task(unit) is TaskKind.START


def test_a_lost_lease_ends_every_claim() -> None:
    executor, unit = Reconciler(), stopped(lease=5)
    executor.units[unit.name] = unit
    executor.lease_held(5, [unit.name])
    executor.lease_lost()
    assert first_task(unit) is TaskKind.CLAIM


def running(generation: int = 1) -> ManagedUnit:
    """A unit that runs, claimed, as its schedule line said at revision 7."""
    entry = LedgerEntry("u.service", SHA, generation, 7, Phase.STARTED, lease=5, revision=7)
    return ManagedUnit("u.service", wish=WISH, told=True, entry=entry, lease=5)


@pytest.mark.parametrize("wish", [None, replace(WISH, generation=2), replace(WISH, hash="b" * 64)])
def test_invariant_15_while_the_history_is_held_nothing_is_planned_for_any_wish(wish: DesiredState | None) -> None:
    executor, unit = Reconciler(), running()
    executor.units[unit.name] = unit
    unit.wish = wish
    assert executor._plan(unit)
    executor.freeze()
    assert not executor._plan(unit)
    executor.leaving, unit.departing = True, True  # whoever stops the agent for good is obeyed
    assert executor._plan(unit)


def test_invariant_15_an_accepted_history_counts_once_it_was_read_and_restarts_nothing_for_its_placement() -> None:
    executor, unit = Reconciler(), running()
    executor.units[unit.name] = unit
    executor.freeze()
    executor.thaw()
    unit.wish = None
    assert not executor._plan(unit)  # nobody has said yet what the accepted history wants
    accepted = replace(WISH, placement=3, revision=3, epoch=1)
    executor.wish("u.service", accepted)
    assert [task.kind for task in executor._plan(unit)] == [TaskKind.RECORD]
    executor.wish("u.service", replace(accepted, generation=9))
    assert [task.kind for task in executor._plan(unit)] == [TaskKind.STOP, TaskKind.START]


def test_invariant_15_what_was_acted_on_in_another_history_says_nothing_however_late_it_is_noted() -> None:
    entry = LedgerEntry("u.service", SHA, 1, 7, Phase.STARTED, revision=90)
    accepted = entry.seen(1, 5)  # a line of the accepted history was acted on
    assert (accepted.epoch, accepted.revision, accepted.placement) == (1, 5, ANY_PLACEMENT)
    assert accepted.seen(0, 90) == accepted  # a task from before it comes to its end
    assert accepted.seen(1, 8).revision == 8
    late = replace(WISH, revision=90).entry(Phase.STARTED).seen(1, 5)
    assert plan(PlanInput(replace(WISH, placement=7, epoch=1), late, claimed=True))[0].kind is TaskKind.RECORD


async def test_a_plan_that_leads_to_itself_rests_instead_of_going_round_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    executor, unit, begun = Reconciler(), running(), 0
    reloader = SimpleNamespace(dismiss=lambda _: None, expect=lambda _: None)
    directory = SimpleNamespace(holds=lambda _: True)
    executor.tools = cast("Dependencies", SimpleNamespace(reloader=reloader, directory=directory))
    executor.units[unit.name] = unit
    unit.wish = replace(WISH, generation=2)

    async def in_vain(_unit: ManagedUnit, _task: object) -> None:
        nonlocal begun
        begun += 1
        raise Replan("nothing has changed")

    async def rest(resting: ManagedUnit, _pause_s: float) -> float:
        resting.wish = resting.entry = None  # nothing to plan any more: the end
        return 0.0

    monkeypatch.setattr(Reconciler, "_steps", SimpleNamespace(carry_out=in_vain))
    monkeypatch.setattr(executor, "_wait", rest)
    async with asyncio.timeout(10):
        await executor._work(unit)
    assert begun == TURNS
