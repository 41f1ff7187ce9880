"""The fleet as the leader counts it for its metrics: right after any change, and no work where nothing changed."""

from __future__ import annotations

from typing import Any

from hypothesis import given

from placement.eligibility import Requirement
from registry.keys import Address
from registry.model import Availability, PastPlacement, Target
from registry.program.measures import DRIFT, ERRORS, MACHINES, PENDING, UNITS, Metric
from scheduler.census import Census, machine_samples
from tests.placement.test_decide_properties import Act, crowds, rounds, start
from tests.placement.world import CORRUPT, KEYS, World, machine

Counts = dict[tuple[Metric, tuple[str, ...]], float]


def counted(census: Census, world: World) -> Counts:
    for _ in census.count(world.state, world.mirror):
        pass
    return {(each.metric, each.labels): float(each.value) for each in census.samples()}  # type: ignore[arg-type]


def followed(world: World) -> Census:
    """A census that is told of every change of the world."""
    census, apply = Census(), world.state.apply

    def noted(address: Address, record: Any, *, exists: bool) -> None:
        census.mark(address)
        apply(address, record, exists=exists)

    world.state.apply = noted  # type: ignore[method-assign]
    return census


@given(crowds, rounds)
def test_what_was_counted_change_by_change_is_what_is_counted_from_scratch(
    crowd: list[Act], steps: list[tuple[list[Act], str]]
) -> None:
    world = start(*crowd)
    census = followed(world)
    for some, mode in steps:
        counted(census, world)
        for act in some:
            act(world)
        decisions = world.decide()
        world.carry_out(decisions if mode == "all" else decisions[::2])
        assert counted(census, world) == counted(Census(), world)


def test_units_count_by_target_and_by_what_systemd_says_of_them() -> None:
    world = World(machine("m1"), machine("m2"))
    world.unit("a.service")
    world.unit("idle.service", target=Target.INACTIVE)
    world.unit("everywhere.service", "Global=true")
    world.unit("mars.service", "MachineMetadata=region=mars")
    world.step()
    found = counted(Census(), world)
    assert found[UNITS, ("launched", "none")] == 3
    assert found[DRIFT, ()] == 2  # placed, and not yet carried out
    world.settle()
    found = counted(Census(), world)
    assert found == {
        (UNITS, ("launched", "none")): 4,  # one of them twice; the states of this world know no systemd
        (UNITS, ("inactive", "none")): 1,
        (PENDING, ("metadata",)): 1,
        (DRIFT, ()): 0,
        (ERRORS, ()): 0,
    }


def test_a_unit_that_is_only_remembered_is_none() -> None:
    world = World(machine("m1"))
    world.unit("a.service")
    world.settle()
    census = followed(world)
    before = counted(census, world)
    world.put(KEYS.placement("gone.service"), PastPlacement("gone.service", "m1"))
    assert counted(census, world) == counted(Census(), world) == before
    world.destroy("a.service")
    world.put(KEYS.placement("a.service"), PastPlacement("a.service", "m1"))
    world.settle()
    assert counted(census, world) == counted(Census(), world)
    assert not any(number for (metric, _), number in counted(census, world).items() if metric is UNITS)


def test_a_unit_that_waits_counts_by_the_rule_that_it_waits_for() -> None:
    world = World()
    world.unit("a.service")
    world.unit("web@.service")
    world.settle()
    assert counted(Census(), world)[PENDING, ("no_machine",)] == 1
    assert counted(Census(), world)[PENDING, ("file",)] == 1
    world.put(KEYS.machine("m1"), machine("m1"))
    world.settle()
    world.set("m1", Availability.CORDONED)
    world.unit("b.service", "Conflicts=a.service")
    world.unit("c.service", "MachineOf=b.service")
    world.unit("d.service", "MachineID=ffff")
    world.unit("e.service", "MachineOf=e.service")
    world.settle()
    found = {labels: number for (metric, labels), number in counted(Census(), world).items() if metric is PENDING}
    assert found == {(rule,): 1 for rule in ("availability", "machine_of", "machine_id", "cycle", "file")}
    assert {each.name.lower() for each in Requirement} >= {"availability", "machine_of", "machine_id"}
    world.put(KEYS.pending("a.service"), CORRUPT)
    assert counted(Census(), world)[PENDING, ("other",)] == 1


def test_machines_count_by_what_may_be_placed_on_them() -> None:
    world = World(*(machine(f"m{number}") for number in range(6)), machine("going", leaving=True))
    world.unit("everywhere.service", "Global=true")
    world.settle()
    world.set("m1", Availability.CORDONED)
    world.set("m2", Availability.DRAINING)
    world.lose("m3")
    world.put(KEYS.machine("m4"), CORRUPT)
    found = {each.labels[0]: each.value for each in machine_samples(world.state)}
    assert all(each.metric is MACHINES for each in machine_samples(world.state))
    assert found == {"ready": 2, "cordoned": 1, "draining": 1, "leaving": 1, "unreadable": 1, "lost": 1}
