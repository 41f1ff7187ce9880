"""When the leader looks at rollouts, and that those at rest cost it nothing."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from placement.rollout import survey
from registry.errors import InvalidRecord
from registry.etcd import Compare
from registry.keys import Address, Table
from registry.model import Rollout, RolloutState, RolloutStep
from registry.sync.follow import ConnectionState, FollowUpdate
from registry.units.file import file_hash
from scheduler.commit import Audit
from scheduler.rollouts import RolloutWatch
from tests.placement.world import KEYS, World, machine, unit_text


def changed(*addresses: Address) -> FollowUpdate:
    return FollowUpdate(addresses, link=ConnectionState.LIVE)


@pytest.mark.parametrize("state", [RolloutState.PAUSED, RolloutState.ABORTED, RolloutState.FINISHED])
def test_a_rollout_at_rest_is_looked_at_once_and_costs_nothing_from_then_on(state: RolloutState) -> None:
    world = World(machine("a1"))
    unit = world.unit("web@1.service")
    world.settle()
    step = RolloutStep(unit.name, unit.hash, file_hash(unit_text(note="new")), unit.generation)
    made = Rollout("r1", (step,), state)
    world.put(KEYS.rollout("r1"), made)
    watch = RolloutWatch(KEYS, Audit("scheduler-a", lambda: (0.0, "1")))
    assert watch.wants_look(0.0)
    assert watch.look(world.mirror, world.state, 0.0, 0.0) == []
    assert (watch.due, watch.wants_look(1e9)) == (math.inf, False)
    watch.update(changed(Address(Table.UNITS, unit.name), Address(Table.STATES, "a1", unit.name)))
    watch.update(changed(Address(Table.MACHINES, "a1"), Address(Table.OVERRIDES, "a1")))
    assert not watch.wants_look(1e9)
    world.put(KEYS.rollout("r1"), replace(made, state=RolloutState.RUNNING))
    watch.update(changed(Address(Table.ROLLOUTS, "r1")))
    assert watch.wants_look(1.0)
    (intent,) = watch.look(world.mirror, world.state, 1.0, 0.0)
    assert {op.key for op in intent.ops} >= {KEYS.unit(unit.name)}
    keys = (KEYS.rollout("r1"), KEYS.unit(unit.name))
    assert intent.guards == [Compare.mod(key, world.mirror.mod_revision(key)) for key in keys]
    watch.update(changed(Address(Table.STATES, "a1", "other.service")))
    assert not watch.wants_look(1.0)
    watch.update(changed(Address(Table.STATES, "a1", unit.name)))
    assert watch.wants_look(1.0)


def test_a_rollout_that_cannot_be_worked_out_is_told_once_and_holds_up_no_other(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    world = World(machine("a1"))
    units = [world.unit(f"web@{number}.service") for number in (1, 2)]
    world.settle()
    for unit, name in zip(units, ("broken", "sound"), strict=True):
        step = RolloutStep(unit.name, unit.hash, file_hash(unit_text(note="new")), unit.generation)
        world.put(KEYS.rollout(name), Rollout(name, (step,), RolloutState.RUNNING))

    def survey_or_fail(rollout: Rollout, *rest: Any) -> Any:
        if rollout.name == "broken":
            raise InvalidRecord("too long")
        return survey(rollout, *rest)

    monkeypatch.setattr("scheduler.rollouts.survey", survey_or_fail)
    watch = RolloutWatch(KEYS, Audit("scheduler-a", lambda: (0.0, "1")))
    for now in (0.0, 1.0):
        (intent,) = watch.look(world.mirror, world.state, now, 0.0)
        assert KEYS.unit(units[1].name) in {op.key for op in intent.ops}
    (told,) = [each.getMessage() for each in caplog.records if "internal error" in each.getMessage()]
    assert "rollout broken" in told
