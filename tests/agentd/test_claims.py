"""What counts as a claim: what compared the schedule line, and only under the lease that it was granted with."""

from __future__ import annotations

from agentd.execute import Executor
from agentd.ledger import Entry, Phase
from agentd.plan import Kind, Wish, plan
from agentd.unit import ManagedUnit
from registry.model import Target

SHA = "a" * 64
WISH = Wish("u.service", SHA, Target.LAUNCHED, 1, 7, 7)


def stopped(lease: int) -> ManagedUnit:
    """A unit that is to run and was stopped when the registry was lost; its claim was granted under this lease."""
    entry = Entry("u.service", SHA, 1, 7, Phase.LOADED, lease=lease)
    return ManagedUnit("u.service", wish=WISH, told=True, entry=entry)


def first_task(unit: ManagedUnit) -> Kind:
    return plan(unit.view(parked=False, leaving=False))[0].kind


def test_invariant_1_a_state_that_an_interrupted_join_has_put_is_no_claim() -> None:
    executor, unit = Executor(), stopped(lease=4)
    executor.units[unit.name] = unit
    executor.lease_held(5, [unit.name])  # its state is there under the new lease, and its line may be elsewhere
    assert first_task(unit) is Kind.CLAIM


def test_invariant_4_a_restarted_agent_need_not_claim_again_what_was_claimed_under_its_lease() -> None:
    executor, unit = Executor(), stopped(lease=5)
    executor.units[unit.name] = unit
    executor.lease_held(5, [unit.name])
    assert first_task(unit) is Kind.START


def test_a_lost_lease_ends_every_claim() -> None:
    executor, unit = Executor(), stopped(lease=5)
    executor.units[unit.name] = unit
    executor.lease_held(5, [unit.name])
    executor.lease_lost()
    assert first_task(unit) is Kind.CLAIM
