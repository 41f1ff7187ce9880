"""What a rollout begins with, against a real etcd: its steps, their groups, and what is refused."""

from __future__ import annotations

import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from fleettui.actions import machines, rollouts, units
from fleettui.actions.operator import Operator
from fleettui.cli.rollouts import texts_of
from registry.errors import UserError
from registry.etcd import Etcd
from registry.keys import Keys, Table
from registry.model import (
    Assignment,
    Availability,
    Machine,
    OnFailure,
    Override,
    Rollout,
    RolloutState,
    Target,
    Unit,
    UnitState,
)
from registry.records import encode
from registry.sync.listing import read_snapshot
from registry.units.file import file_hash
from tests.cli.fleet import HELLO

pytestmark = pytest.mark.etcd
NEW = f"# new\n{HELLO}"
EVERYWHERE = f"{HELLO}[X-Fleet]\nGlobal=true\n"
POLICY = rollouts.Policy(healthy_for_s=1.0)


@pytest.fixture
def operator(etcd_client: Etcd, prefix: str) -> Operator:
    return Operator(etcd_client, Keys.under(prefix), "test@host", now=lambda: 1000.5)


async def launched(operator: Operator, *names: str, text: str = HELLO) -> None:
    await units.submit(operator, [units.UnitSource(name, text) for name in names], target=Target.LAUNCHED)


async def on(operator: Operator, machine: str, *names: str) -> None:
    """A machine that runs these units."""
    keys, etcd = operator.keys, operator.etcd
    await etcd.put(keys.machine(machine), encode(Machine(machine, f"host-{machine}", "10.0.0.1", "boot-1")))
    for name in names:
        unit = await record(operator, name)
        line = Assignment(name, machine, unit.hash, unit.target, unit.generation)
        await etcd.put(keys.schedule(machine, name), encode(line))
        state = UnitState(name, machine, unit.hash, unit.generation, unit.target, "loaded", "active")
        await etcd.put(keys.state(machine, name), encode(state))


async def record(operator: Operator, name: str) -> Unit:
    return (await read_snapshot(operator.etcd, operator.keys, [Table.UNITS])).units[name]


def told(rollout: Rollout | None) -> list[tuple[str, str, int]]:
    """Unit, machine and group of each step."""
    return [(step.unit, step.machine or step.leaves, step.group) for step in rollout.steps] if rollout else []


async def test_a_global_unit_has_a_step_for_each_machine_that_lacks_the_file(operator: Operator) -> None:
    await launched(operator, "all.service", text=EVERYWHERE)
    for machine in ("a1", "b2", "c3"):
        await on(operator, machine, "all.service")
    new = f"# new\n{EVERYWHERE}"
    before = await record(operator, "all.service")
    mixed = before.with_versions({"b2": (file_hash(new), 7), "c3": (before.hash, 3)})
    await operator.etcd.put(operator.keys.unit("all.service"), encode(mixed))
    begun = await rollouts.begin(operator, ["all.service"], {"all.service": new}, POLICY)
    assert told(begun) == [("all.service", "a1", 0), ("all.service", "c3", 1)]
    assert [(step.old, step.new, step.generation) for step in begun.steps] == [
        (before.hash, file_hash(new), 1),
        (before.hash, file_hash(new), 3),
    ]
    with pytest.raises(UserError, match="global in one of its files alone"):
        await rollouts.begin(operator, ["all.service"], {"all.service": HELLO}, POLICY, "other")
    await rollouts.act(operator, "abort", begun.name)
    assert (await record(operator, "all.service")).started_anew() == Unit(
        "all.service", before.hash, Target.LAUNCHED, 8, by="test@host", at=1000.5
    )  # no generation comes twice


async def test_what_went_back_is_begun_again_for_what_nobody_has_changed_since(operator: Operator) -> None:
    names = ["web@1.service", "web@2.service", "web@3.service"]
    await launched(operator, *names)
    policy = replace(POLICY, at_a_time="2", canary=1, max_failures=1)
    begun = await rollouts.begin(operator, names, dict.fromkeys(names, NEW), policy, "r1")
    with pytest.raises(UserError, match="r1 has not gone back"):
        await rollouts.redo(operator, "r1")
    back = await rollouts.act(operator, "undo", "r1")
    with pytest.raises(UserError, match="r1 is still going back"):
        await rollouts.redo(operator, "r1")
    with pytest.raises(UserError, match="fleetctl rollout redo r1"):
        await rollouts.act(operator, "undo", "r1")
    await operator.etcd.put(operator.keys.rollout("r1"), encode(replace(back, state=RolloutState.FINISHED)))
    changed = units.UnitSource("web@3.service", f"# by hand\n{HELLO}")
    await units.submit(operator, [changed], target=Target.LAUNCHED, replace=True)
    again = await rollouts.redo(operator, "r1")
    assert [step.unit for step in again.steps] == names[:2]
    assert [(step.old, step.new) for step in again.steps] == [(step.old, step.new) for step in begun.steps[:2]]
    assert rollouts.Policy.of(again) == policy


async def test_what_does_not_run_is_in_no_restart(operator: Operator) -> None:
    await launched(operator, "a.service", "b.service")
    await units.stop(operator, ["b.service"])
    assert told(await rollouts.begin(operator, ["a.service", "b.service"], {}, POLICY)) == [("a.service", "", 0)]
    with pytest.raises(UserError, match="is in rollout"):
        await rollouts.begin(operator, ["a.service"], {}, POLICY, "other")
    with pytest.raises(UserError, match="does not run"):
        await rollouts.begin(operator, ["b.service"], {}, POLICY)


async def test_a_drain_takes_what_can_move_and_keeps_together_what_follows(operator: Operator) -> None:
    await launched(operator, "a.service", "z.service")
    await launched(operator, "b.service", text=f"{HELLO}[X-Fleet]\nMachineOf=z.service\n")
    await launched(operator, "c.service", text=f"{HELLO}[X-Fleet]\nMachineID=a1\n")
    await launched(operator, "all.service", text=EVERYWHERE)
    await on(operator, "a1", "a.service", "b.service", "c.service", "z.service", "all.service")
    await on(operator, "b2", "all.service")
    begun = await rollouts.begin_drain(operator, ["a1"], POLICY, boots={"a1": "boot-1"})
    assert told(begun) == [("a.service", "a1", 0), ("b.service", "a1", 1), ("z.service", "a1", 1)]
    assert begun is not None
    assert begun.name.startswith("drain-host-a1-")
    snapshot = await read_snapshot(operator.etcd, operator.keys, [Table.OVERRIDES, Table.UNITS])
    found = snapshot.overrides["a1"]
    assert (found.availability, found.drained_by, found.reboot) == (Availability.DRAINING, begun.name, "boot-1")
    assert all(unit.leaves == "" for unit in snapshot.units.values())  # that is the leader's to write
    with pytest.raises(UserError, match="was a drain; fleetctl uncordon ends it"):
        await rollouts.act(operator, "undo", begun.name)
    await machines.uncordon(operator, "a1")
    assert "a1" not in (await read_snapshot(operator.etcd, operator.keys, [Table.OVERRIDES])).overrides


async def test_a_paused_drain_ends_with_the_last_machine_that_is_used_again(operator: Operator) -> None:
    for machine in ("a1", "b2"):
        await launched(operator, f"{machine}.service")
        await on(operator, machine, f"{machine}.service")
    await on(operator, "c3")
    begun = await rollouts.begin_drain(operator, ["a1", "b2"], POLICY)
    assert begun is not None

    async def state() -> RolloutState:
        return next(each.state for each in await rollouts.read_rollouts(operator) if each.name == begun.name)

    await rollouts.act(operator, "pause", begun.name)
    await machines.uncordon(operator, "a1")
    assert await state() is RolloutState.PAUSED
    await machines.cordon(operator, "b2")
    assert await state() is RolloutState.ABORTED


async def test_a_drain_of_a_machine_with_nothing_to_move_is_no_rollout(operator: Operator) -> None:
    await on(operator, "a1")
    assert await rollouts.begin_drain(operator, ["a1"], POLICY) is None
    found = (await read_snapshot(operator.etcd, operator.keys, [Table.OVERRIDES])).overrides["a1"]
    assert found == Override("a1", Availability.DRAINING, by="test@host", at=1000.5)
    with pytest.raises(UserError, match="cannot be rolled back"):
        await rollouts.begin_drain(operator, ["a1"], rollouts.Policy(on_failure=OnFailure.ROLLBACK))


def test_a_file_that_comes_through_a_pipe_is_that_of_what_is_named(tmp_path: Path) -> None:
    pipe = tmp_path / "63"
    os.mkfifo(pipe)
    for names, refused in (
        (["a.service"], ""),
        (["web@1.service", "web@2.service"], ""),
        (["a.service", "b.service"], "b"),
    ):
        writer = threading.Thread(target=pipe.write_text, args=(HELLO,))
        writer.start()
        if refused:
            with pytest.raises(UserError, match=r"63 is a file of a\.service, not of b\.service"):
                texts_of(str(pipe), names)
        else:
            assert texts_of(str(pipe), names) == dict.fromkeys(names, HELLO)
        writer.join()
