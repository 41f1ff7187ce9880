"""Rebalancing: moves that are foreseen happen, make the fleet better, and come to an end."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings

from placement.eligibility import group_of, site_of
from placement.preview import latest
from placement.rebalance import Move, plan_rebalance, tied_units
from registry.mirror import Snapshot
from registry.model import Availability, Rollout, RolloutStep, Target
from registry.units.file import parse
from registry.units.options import FleetOptions, parse_options
from tests.conftest import EXAMPLES
from tests.placement.test_decide_properties import Act
from tests.placement.test_preview import histories, world_after
from tests.placement.world import KEYS, World, machine, sized

MANY = settings(max_examples=max(EXAMPLES // 2, 1), deadline=None, suppress_health_check=list(HealthCheck))


def carry_out(world: World, moves: tuple[Move, ...]) -> None:
    """As the leader does, one after another."""
    for move in moves:
        unit = world.snapshot.units[move.unit]
        assert world.where(move.unit) == (move.source,)
        world.put(KEYS.unit(move.unit), unit.started_anew().going_to(move.target))
        world.settle()
        assert world.where(move.unit) == (move.target,) == world.runs(move.unit)


def options_of(snapshot: Snapshot) -> dict[str, FleetOptions]:
    return {
        name: parse_options(parse(snapshot.files[unit.hash].text), name) for name, unit in snapshot.units.items()
    }


def unevenness(world: World) -> tuple[int, ...]:
    """Instances where there is no value, how uneven the others are, wishes unmet, how unequal machines are."""
    snapshot, spread, unmet = world.snapshot, Counter[tuple[str, str]](), 0
    options = options_of(snapshot)
    sites = {each.id: site_of(each, snapshot.overrides.get(each.id)) for each in snapshot.machines.values()}
    for where, name in snapshot.schedule:
        if where in sites and name in options:
            group = group_of(options[name], sites[where])
            unmet += group.unmet
            if options[name].spread:
                spread[name.partition("@")[0], group.value or ""] += 1
    none = sum(count for (_, value), count in spread.items() if not value)
    counts = Counter(where for where, _ in snapshot.schedule)
    squares = sum(n * n for (_, value), n in spread.items() if value)
    return none, squares, unmet, sum(n * n for n in counts.values())


def crowded(*machines: str, units: int) -> World:
    """All units on the first machine, since the others came later."""
    world = World(machine(machines[0]))
    for number in range(units):
        world.unit(f"u{number}.service")
    world.settle()
    for each in machines[1:]:
        world.put(KEYS.machine(each), machine(each))
    world.settle()
    return world


@pytest.mark.parametrize(("machines", "units", "moves"), [(3, 9, 6), (3, 10, 6), (2, 1, 0), (2, 3, 1), (4, 5, 3)])
def test_no_fewer_moves_would_make_machines_equal(machines: int, units: int, moves: int) -> None:
    world = crowded(*(f"m{number}" for number in range(machines)), units=units)
    found = plan_rebalance(world.snapshot, KEYS)
    assert len(found) == moves
    carry_out(world, found)
    counts = Counter(where for where, _ in world.snapshot.schedule)
    assert max(counts.values()) - min(counts[f"m{number}"] for number in range(machines)) <= 1
    assert plan_rebalance(world.snapshot, KEYS) == ()


def test_spread_comes_before_preference_and_both_before_equal_numbers() -> None:
    world = World(machine("a1", region="r1"))
    for number in (1, 2, 3, 4):
        world.unit(f"web@{number}.service", "SpreadOver=region")
    world.unit("fast.service", "PreferMetadata=disk=ssd")
    world.settle()
    world.put(KEYS.machine("b2"), machine("b2", region="r2", disk="ssd"))
    world.settle()
    found = plan_rebalance(world.snapshot, KEYS)
    assert [(each.unit, each.reason) for each in found] == [
        ("web@1.service", "region=r1 has 4 and region=r2 has 0 of web@.service (SpreadOver)"),
        ("web@2.service", "region=r1 has 3 and region=r2 has 1 of web@.service (SpreadOver)"),
        ("fast.service", "it has disk=ssd (PreferMetadata)"),
    ]
    carry_out(world, found)
    assert sum(world.where(f"web@{number}.service") == ("b2",) for number in (1, 2, 3, 4)) == 2


def test_what_is_tied_to_its_place_stays() -> None:
    world = World(machine("a1"))
    for name, *fleet in (
        ("leader.service",),
        ("follower.service", "MachineOf=leader.service"),
        ("global.service", "Global=true"),
        ("sticky.service", "Sticky=true"),
        ("replacing.service", "Replaces=nobody.service"),
        ("pinned.service", "MachineID=a1"),
    ):
        world.unit(name, *fleet)
    world.unit("loaded.service", target=Target.LOADED)
    world.settle()
    world.put(KEYS.machine("b2"), machine("b2"))
    world.settle()
    assert plan_rebalance(world.snapshot, KEYS) == ()
    assert tied_units(world.snapshot, KEYS) == {
        "leader.service": "followed (MachineOf)",
        "follower.service": "following others (MachineOf)",
        "global.service": "global",
        "sticky.service": "Sticky",
        "replacing.service": "replacing others (Replaces)",
        "loaded.service": "not launched",
    }


def test_units_of_a_rollout_and_of_a_draining_machine_are_left_to_those() -> None:
    world = crowded("a1", "b2", units=2)
    unit = world.snapshot.units["u0.service"]
    steps = tuple(RolloutStep(f"u{number}.service", unit.hash, unit.hash, 1, number) for number in (0, 1))
    world.put(KEYS.rollout("r"), Rollout("r", steps))
    assert plan_rebalance(world.snapshot, KEYS) == ()
    assert tied_units(world.snapshot, KEYS) == dict.fromkeys(("u0.service", "u1.service"), "in a rollout")
    world.delete(KEYS.rollout("r"))
    assert tied_units(world.snapshot, KEYS) == {}
    assert len(plan_rebalance(world.snapshot, KEYS)) == 1
    world.set("b2", Availability.CORDONED)
    assert plan_rebalance(world.snapshot, KEYS) == ()


def test_an_order_is_carried_out_once_and_void_where_the_machine_refuses() -> None:
    world = crowded("a1", "b2", units=1)
    unit = world.snapshot.units["u0.service"]
    world.set("b2", Availability.CORDONED)
    world.put(KEYS.unit(unit.name), unit.started_anew().going_to("b2"))
    world.settle()
    assert world.where(unit.name) == ("a1",), "it is started anew where it is"
    world.set("b2", Availability.READY)
    world.settle()
    assert world.where(unit.name) == ("a1",), "and the order is void"
    world.put(KEYS.unit(unit.name), world.snapshot.units[unit.name].started_anew().going_to("b2"))
    world.settle()
    assert world.where(unit.name) == ("b2",)
    world.set("b2", Availability.DRAINING)
    world.settle()
    world.set("b2", Availability.READY)
    world.settle()
    assert world.where(unit.name) == ("a1",), "it does not go there again by itself"


def test_what_finds_no_room_is_not_moved() -> None:
    world = World(sized(machine("a1"), 4 << 30, 0))
    for number in range(4):
        world.unit(f"u{number}.service", "MemoryReserve=1G")
    world.settle()
    world.put(KEYS.machine("b2"), sized(machine("b2"), 1 << 30, 0))
    world.settle()
    found = plan_rebalance(world.snapshot, KEYS)
    assert len(found) == 1
    carry_out(world, found)


@MANY
@given(histories)
def test_what_is_planned_happens_makes_it_better_and_comes_to_an_end(history: list[Act]) -> None:
    world = world_after(history)
    world.settle()
    units = len(world.snapshot.units)
    for _ in range(2 * units + 2):
        latest.forget()
        if any(unit.hash not in world.snapshot.files for unit in world.snapshot.units.values()):
            return
        moves = plan_rebalance(world.snapshot, KEYS)
        if not moves:
            return
        assert len({each.unit for each in moves}) == len(moves)
        if any("Nonsense" in file.text for file in world.snapshot.files.values()):
            return
        before = unevenness(world)
        carry_out(world, moves)
        assert unevenness(world) < before
    raise AssertionError("does not come to rest")


@MANY
@given(histories)
def test_planning_leaves_no_trace(history: list[Act]) -> None:
    world = world_after(history)
    before = plan_rebalance(world.snapshot, KEYS)
    assert plan_rebalance(world.snapshot, KEYS) == before
    latest.forget()
    assert plan_rebalance(world.snapshot, KEYS) == before
