"""What an agent tells the registry of one unit, by what it was told to do and what systemd says."""

from __future__ import annotations

import pytest

from agentd.managed_unit import ManagedUnit
from agentd.pure.entry import LedgerEntry, Phase
from agentd.pure.plan import DesiredState
from agentd.pure.unit_status import UnitStatus
from registry.model import Target

NAME = "u.service"
RAN = UnitStatus(load="loaded", active="active", restarts=3)


@pytest.mark.parametrize(
    ("phase", "told"), [(Phase.ASKING, 0), (Phase.STARTING, 0), (Phase.STARTED, 3), (Phase.STOPPING, 3)]
)
def test_restarts_of_the_run_before_are_not_told_as_those_of_the_start_under_way(phase: Phase, told: int) -> None:
    state = ManagedUnit(NAME, entry=LedgerEntry(NAME, "0" * 64, 2, 1, phase), status=RAN).state("a1")
    assert state
    assert state.restarts == told


def test_restarts_of_what_runs_are_not_told_as_those_of_a_version_that_was_refused() -> None:
    desired = DesiredState(NAME, "1" * 64, Target.LAUNCHED, generation=3, placement=1, revision=9)
    entry = LedgerEntry(NAME, "0" * 64, 2, 1, Phase.STARTED)
    unit = ManagedUnit(NAME, desired, entry=entry, status=RAN, blocked_at=desired, block_reason="no such file")
    state = unit.state("a1")
    assert state
    assert (state.generation, state.restarts, state.active) == (3, 0, "active")
