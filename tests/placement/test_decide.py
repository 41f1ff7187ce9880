"""The rules of placement, one story each, on a registry and agents of plain values."""

from __future__ import annotations

from dataclasses import replace

import pytest

from placement.decisions import Assign, MoveSource, UpdateLine, Wait, Withdraw
from placement.explain import explain
from registry.keys import Keys
from registry.lifecycle import standing
from registry.model import Availability, FailedPlacement, PastPlacement, Target
from tests.placement.world import CORRUPT, KEYS, World, decide_snapshot, machine, sized


def two() -> World:
    return World(machine("a1", region="r1"), machine("b2", region="r2"))


def three() -> World:
    return World(machine("a1"), machine("b2"), machine("c3"))


def test_the_machine_with_the_fewest_units_gets_it_then_the_lowest_id() -> None:
    world = three()
    for name in ("u1.service", "u2.service", "u3.service", "u4.service"):
        world.unit(name)
    world.settle()
    assert [world.where(f"u{n}.service") for n in (1, 2, 3, 4)] == [("a1",), ("b2",), ("c3",), ("a1",)]


@pytest.mark.parametrize(
    ("fleet", "places"),
    [
        (("MachineMetadata=region=r2",), ("b2",)),
        (("MachineMetadata=region=r2 region=r1",), ("a1",)),
        (("MachineMetadata=region=r2", "MachineMetadata=disk=ssd"), ()),
        (("MachineID=b2",), ("b2",)),
        (("MachineID=b",), ("b2",)),
        (("MachineID=cc",), ()),
        (("Global=true",), ("a1", "b2")),
        (("Global=true", "MachineMetadata=region=r2"), ("b2",)),
        (("Replaces=other.service",), ("a1",)),
    ],
)
def test_where_options_put_a_unit(fleet: tuple[str, ...], places: tuple[str, ...]) -> None:
    world = two()
    world.unit("u.service", *fleet)
    world.settle()
    assert world.where("u.service") == places
    assert bool(world.waits("u.service")) is not bool(places)


def test_a_full_machine_refuses_with_figures_and_what_leaves_makes_room() -> None:
    world = World(sized(machine("a1"), 1 << 30, 1), sized(machine("b2"), 1 << 30, 2))
    for name in ("u1.service", "u2.service", "u3.service"):
        world.unit(name, "MemoryReserve=600M")
    world.settle()
    assert world.where("u1.service") + world.where("u2.service") == ("a1", "b2")
    assert world.waits("u3.service") == "no machine fits: full: needs 600M of memory"
    assert world.pending("u3.service").rule == "room"  # type: ignore[union-attr]
    world.unit("cpu.service", "CPUReserve=1.5", "MemoryReserve=1M")
    world.settle()
    assert world.where("cpu.service") == ("b2",)
    said = {each.machine: each.reasons for each in explain(world.snapshot, "u3.service", KEYS).machines}
    assert said["a1"] == ("full: needs 600M of memory, 424M of 1G is free",)
    assert said["b2"] == ("full: needs 600M of memory, 423M of 1G is free",)
    world.destroy("u1.service")
    world.step()
    assert world.pending("u3.service").passing  # type: ignore[union-attr]
    world.settle()
    assert world.where("u3.service") == ("a1",)


def test_a_reserve_that_grows_moves_nothing_and_counts_from_then_on() -> None:
    world = World(sized(machine("a1"), 1 << 30, 0))
    world.unit("u.service", "MemoryReserve=600M")
    world.settle()
    world.unit("u.service", "MemoryReserve=2G")
    world.unit("w.service", "MemoryReserve=100M")
    world.settle()
    assert world.where("u.service") == ("a1",)
    assert world.waits("w.service") == "no machine fits: full: needs 100M of memory"


def test_instances_are_spread_over_regions_and_go_where_none_is_last() -> None:
    world = World(machine("a1", region="r1"), machine("a2", region="r1"), machine("b1", region="r2"), machine("c1"))
    world.unit("other.service", "MachineID=b1")
    world.settle()
    for number in range(1, 6):
        world.unit(f"web@{number}.service", "SpreadOver=region")
    world.settle()
    places = [world.where(f"web@{number}.service")[0] for number in range(1, 6)]
    assert places == ["a1", "b1", "a2", "b1", "a1"]
    assert world.where("other.service") == ("b1",)
    world.unit("web@6.service", "SpreadOver=region", "Conflicts=web@*")
    world.settle()
    assert world.where("web@6.service") == ("c1",)


def test_preferred_metadata_is_taken_before_fewer_units_and_does_without() -> None:
    world = World(machine("a1"), machine("b2", disk="ssd"), machine("c3", disk="ssd", region="r1"))
    wishes = ("PreferMetadata=disk=ssd", "PreferMetadata=region=r1 region=r2", "Conflicts=u*")
    for number in range(1, 5):
        world.unit(f"u{number}.service", *wishes)
    world.settle()
    assert [world.where(f"u{number}.service") for number in (1, 2, 3)] == [("c3",), ("b2",), ("a1",)]
    assert world.waits("u4.service").startswith("no machine fits: conflicts with")


def test_a_sticky_unit_comes_back_to_the_machine_it_was_on() -> None:
    world = three()
    world.unit("u.service", "Sticky=true", "Conflicts=no*")
    world.settle()
    assert world.where("u.service") == ("a1",)
    world.unit("u.service", "Sticky=true", "Conflicts=no*", target=Target.INACTIVE)
    world.unit("v.service")
    world.settle()
    assert world.snapshot.placements["u.service"].machine == "a1"
    world.unit("u.service", "Sticky=true", "Conflicts=no*")
    world.settle()
    assert world.where("u.service") == ("a1",), "though others have fewer units"
    world.set("a1", Availability.DRAINING)
    world.settle()
    world.set("a1", Availability.READY)
    world.settle()
    assert world.where("u.service") == ("b2",), "nothing moves by itself"
    world.unit("u.service", target=Target.INACTIVE)
    world.settle()
    world.lose("b2")
    world.unit("u.service", "Sticky=true")
    world.settle()
    assert world.where("u.service") == ("a1",), "where its machine is gone, as any other"


def test_a_unit_leaves_the_machine_it_keeps_failing_on_and_comes_back_for_a_new_file() -> None:
    world = World(machine("a1"), machine("b2", disk="no"))
    fleet = ("MoveAfterFailures=3/10min",)
    unit = world.unit("u.service", *fleet)
    world.settle()

    def fail(*machines: str, generation: int = unit.generation) -> None:
        failed = tuple(FailedPlacement(each, generation, "it failed here 3 times in 10min") for each in machines)
        world.put(KEYS.placement("u.service"), PastPlacement("u.service", failed=failed))

    world.set("b2", Availability.CORDONED)
    fail("a1")
    world.settle()
    assert world.where("u.service") == ("a1",), "no other takes it"
    world.set("b2", Availability.READY)
    assert [(each.machine, each.reason) for each in world.step() if isinstance(each, Withdraw)] == [
        ("a1", "it failed here 3 times in 10min")
    ]
    world.settle()
    assert world.where("u.service") == ("b2",)
    told = {each.machine: each.notes for each in explain(world.snapshot, "u.service").machines}
    assert told["a1"] == ("it failed here 3 times in 10min, so that others come first (MoveAfterFailures)",)
    fail("a1", "b2")
    world.settle()
    assert world.where("u.service") == ("b2",), "both are bad: it stays"
    world.unit("u.service", *fleet, note="new")
    world.settle()
    world.set("b2", Availability.DRAINING)
    world.settle()
    assert world.where("u.service") == ("a1",), "a new file is a new chance"


def test_a_machine_with_more_memory_takes_what_waited() -> None:
    world = World(sized(machine("a1"), 1 << 30, 0))
    world.unit("u.service", "MemoryReserve=2G")
    world.settle()
    assert world.where("u.service") == ()
    world.put(KEYS.machine("a1"), sized(machine("a1"), 4 << 30, 0))
    world.settle()
    assert world.where("u.service") == ("a1",)


@pytest.mark.parametrize(
    ("fleet", "reason"),
    [
        (("MachineMetadata=region=mars",), "no machine has region=mars"),
        (("MachineID=ff",), "no machine has MachineID=ff"),
        (("MachineOf=x.service",), "waits for x.service, which is scheduled nowhere (MachineOf)"),
        (("MachineOf=u.service",), "MachineOf goes in a circle: u.service -> u.service; remove one of them"),
    ],
)
def test_nothing_waits_without_a_reason(fleet: tuple[str, ...], reason: str) -> None:
    world = two()
    world.unit("u.service", *fleet)
    world.step()
    assert world.waits("u.service") == reason
    pending = world.pending("u.service")
    assert pending is not None
    assert not pending.passing


def test_without_machines_the_reason_names_the_remedy() -> None:
    world = World()
    world.unit("u.service")
    world.step()
    assert world.waits("u.service") == "no machine is registered; start fleet-agentd"
    world.put(KEYS.machine("a1"), machine("a1"))
    world.step()
    assert (world.where("u.service"), world.waits("u.service")) == (("a1",), "")


def test_the_reason_that_most_machines_give_comes_first() -> None:
    world = three()
    world.set("b2", Availability.CORDONED)
    world.set("c3", Availability.CORDONED)
    world.unit("a.service", "Conflicts=z.service")
    world.settle()
    world.unit("z.service")
    world.step()
    pending = world.pending("z.service")
    assert pending is not None
    assert pending.summary == "no machine fits: cordoned, a.service conflicts with it (Conflicts=z.service)"
    assert pending.rule == "availability"


def test_an_ambiguous_machine_id_waits_and_an_exact_one_does_not() -> None:
    world = World(machine("ab"), machine("abc"))
    world.unit("u.service", "MachineID=a")
    world.unit("v.service", "MachineID=ab")
    world.step()
    assert "ambiguous" in world.waits("u.service")
    assert world.where("v.service") == ("ab",)


def test_conflicts_hold_both_ways_and_never_against_itself() -> None:
    world = two()
    for number in (1, 2, 3):
        world.unit(f"w@{number}.service", "Conflicts=w@*")
    world.settle()
    assert (world.where("w@1.service"), world.where("w@2.service")) == (("a1",), ("b2",))
    assert "conflicts with w@1.service, which is scheduled here" in world.waits("w@3.service")
    world.destroy("w@1.service")
    world.settle()
    assert world.where("w@3.service") == ("a1",)


def test_of_two_placed_units_that_come_to_conflict_the_later_name_moves() -> None:
    world = World(machine("a1"))
    world.unit("a.service")
    world.unit("z.service")
    world.settle()
    world.put(KEYS.machine("b2"), machine("b2"))
    world.unit("a.service", "Conflicts=z.service")
    world.settle()
    assert (world.where("a.service"), world.where("z.service")) == (("a1",), ("b2",))


def test_a_chain_of_machine_of_settles_in_one_decision() -> None:
    world = three()
    world.unit("c.service", "MachineMetadata=x=1")
    world.unit("b.service", "MachineOf=c.service")
    world.unit("a.service", "MachineOf=b.service")
    world.step()
    world.set("b2", Availability.READY, x="1")
    world.step()
    assert {world.where(f"{name}.service") for name in "abc"} == {("b2",)}


def test_followers_move_with_their_leader() -> None:
    world = World(machine("a1", x="1"), machine("b2"))
    world.unit("lead.service", "MachineMetadata=x=1")
    world.unit("follow.service", "MachineOf=lead.service")
    world.settle()
    world.set("a1", Availability.READY, x="0")
    world.set("b2", Availability.READY, x="1")
    world.settle()
    assert world.where("lead.service") == world.where("follow.service") == ("b2",)


def test_units_that_follow_in_a_ring_say_so() -> None:
    world = two()
    world.unit("a.service", "MachineOf=b.service")
    world.unit("b.service", "MachineOf=a.service")
    world.step()
    ring = "MachineOf goes in a circle: a.service -> b.service -> a.service; remove one of them"
    assert world.waits("a.service") == ring


def test_what_replaces_another_takes_its_machine_and_the_other_moves() -> None:
    world = two()
    world.unit("old.service")
    world.unit("pad.service")
    world.unit("pad2.service", "MachineID=b2")
    world.settle()
    world.unit("new.service", "Replaces=old.service")
    decisions = world.step()
    assert Withdraw("old.service", "a1", "replaced by new.service", "new.service") in decisions
    assert world.where("new.service") == ("a1",), "counted as if old.service were not there"
    world.settle()
    assert world.where("old.service") == ("b2",)


def test_what_is_replaced_waits_when_no_other_machine_takes_it() -> None:
    world = World(machine("a1"))
    world.unit("old.service")
    world.settle()
    world.unit("new.service", "Replaces=old.service")
    world.settle()
    assert world.where("new.service") == ("a1",)
    assert "new.service replaces it (Replaces=old.service)" in world.waits("old.service")


@pytest.mark.parametrize("first", ["a.service", "b.service"])
def test_mutual_replacement_is_refused_and_what_runs_stays(first: str) -> None:
    other = "b.service" if first == "a.service" else "a.service"
    world = World(machine("a1"))
    world.unit(first, f"Replaces={other}")
    world.settle()
    world.unit(other, f"Replaces={first}")
    world.settle()
    assert world.where(first) == ("a1",)
    assert world.waits(other) == f"{other} and {first} replace each other; remove Replaces from one of them"


def test_replacing_in_a_longer_ring_comes_to_rest() -> None:
    world = World(machine("a1"))
    for name, replaced in (("a", "b"), ("b", "c"), ("c", "a")):
        world.unit(f"{name}.service", f"Replaces={replaced}.service")
    world.settle()
    assert "in the end" in world.waits("a.service")


def test_a_moving_unit_stops_at_the_old_place_before_it_goes_to_the_new_one() -> None:
    world = World(machine("a1", x="1"), machine("b2"))
    world.unit("u.service", "MachineMetadata=x=1")
    world.settle()
    world.set("a1", Availability.READY, x="0")
    world.set("b2", Availability.READY, x="1")
    decisions = world.step()
    assert Withdraw("u.service", "a1", "metadata x=1 required; it has x=0") in decisions
    pending = world.pending("u.service")
    assert pending is not None
    assert (pending.summary, pending.passing) == ("waits for a1... to stop it", True)
    assert world.step() == ()
    world.agents("a1")
    world.step()
    assert (world.where("u.service"), world.waits("u.service")) == (("b2",), "")


def test_a_state_that_does_not_parse_counts_as_a_state() -> None:
    world = two()
    world.put(KEYS.state("b2", "u.service"), CORRUPT)
    world.set("b2", Availability.CORDONED)
    world.unit("u.service")
    world.step()
    assert world.where("u.service") == ()
    assert world.waits("u.service") == "waits for b2... to stop it"


def test_a_unit_that_fits_nowhere_any_more_is_unscheduled_and_says_why() -> None:
    world = World(machine("a1", x="1"))
    world.unit("u.service", "MachineMetadata=x=1")
    world.settle()
    world.set("a1", Availability.READY, x="0")
    world.settle()
    assert world.where("u.service") == ()
    assert world.waits("u.service") == "no machine has x=1"


def test_a_lost_machine_gives_its_units_up_in_one_step() -> None:
    world = two()
    world.unit("u.service")
    world.settle()
    world.lose("a1")
    (decision,) = world.step()
    assert isinstance(decision, Assign)
    assert (decision.machine, decision.sources, decision.reason) == (
        "b2",
        (MoveSource("a1", lost=True),),
        "machine lost",
    )


def test_with_nowhere_to_go_a_unit_keeps_its_lost_machine() -> None:
    world = World(machine("a1"))
    world.unit("u.service")
    world.settle()
    world.lose("a1")
    world.step()
    assert world.where("u.service") == ("a1",)
    assert world.waits("u.service") == "machine a1... is lost; no machine is registered; start fleet-agentd"
    world.put(KEYS.machine("a1"), machine("a1"))
    world.step()
    assert (world.where("u.service"), world.waits("u.service")) == (("a1",), "")


def test_a_leaving_machine_hands_over_what_it_has_stopped() -> None:
    world = two()
    world.unit("u.service")
    world.settle()
    world.put(KEYS.machine("a1"), machine("a1", leaving=True, region="r1"))
    world.step()
    assert (world.where("u.service"), world.waits("u.service")) == (("a1",), "waits for a1... to stop it")
    world.agents("a1")
    decisions = world.step()
    assert any(isinstance(each, Assign) and each.sources == (MoveSource("a1", lost=False),) for each in decisions)
    assert world.where("u.service") == ("b2",)


def test_a_cordoned_machine_keeps_what_it_has_and_takes_nothing() -> None:
    world = World(machine("a1"))
    world.unit("u.service")
    world.unit("g.service", "Global=true")
    world.settle()
    world.set("a1", Availability.CORDONED)
    world.unit("v.service")
    world.unit("g2.service", "Global=true")
    world.settle()
    assert (world.where("u.service"), world.where("g.service")) == (("a1",), ("a1",))
    assert (world.where("v.service"), world.where("g2.service")) == ((), ())
    assert "cordoned" in world.waits("v.service")


def test_a_draining_machine_loses_one_running_unit_at_a_time() -> None:
    world = World(machine("a1"))
    for number in (1, 2, 3):
        world.unit(f"u{number}.service")
    world.unit("g.service", "Global=true")
    world.unit("pinned.service", "MachineID=a1")
    world.settle()
    world.put(KEYS.machine("b2"), machine("b2"))
    world.settle()
    world.set("a1", Availability.DRAINING)
    for number in (1, 2, 3):
        withdrawn = [each for each in world.step() if isinstance(each, Withdraw)]
        assert withdrawn == [Withdraw(f"u{number}.service", "a1", "draining")]
        assert not any(isinstance(each, Withdraw) for each in world.step())
        world.agents()
    world.settle()
    assert {world.where(f"u{number}.service") for number in (1, 2, 3)} == {("b2",)}
    assert (world.where("pinned.service"), world.waits("pinned.service")) == (("a1",), "")
    assert world.where("g.service") == ("a1", "b2")


@pytest.mark.parametrize("claimed", [True, False])
def test_two_drains_never_stop_both_units_that_only_one_place_is_left_for(claimed: bool) -> None:
    world = World(machine("a1"), machine("b2"))
    for name in ("u1.service", "u2.service"):
        world.unit(name, "Conflicts=u*.service")
    if claimed:
        world.settle()
    else:
        world.step()
    assert {world.where("u1.service"), world.where("u2.service")} == {("a1",), ("b2",)}
    world.put(KEYS.machine("c3"), machine("c3"))
    for each in ("a1", "b2"):
        world.set(each, Availability.DRAINING)
    world.settle()
    assert (world.where("u1.service"), world.where("u2.service")) == (("c3",), ("b2",))
    assert world.waits("u2.service") == "", "it runs on, and blocks the drain of its machine"


@pytest.mark.parametrize("availability", [Availability.DRAINING, Availability.CORDONED])
def test_a_new_file_stays_on_its_machine(availability: Availability) -> None:
    world = two()
    world.unit("u.service")
    world.settle()
    world.set("a1", availability)
    world.set("b2", Availability.CORDONED)
    world.settle()
    wish = world.unit("u.service", note="changed")
    (decision,) = world.step()
    assert isinstance(decision, UpdateLine)
    assert (decision.line.machine, decision.line.hash, decision.line.generation) == ("a1", wish.hash, 2)


def test_a_new_attempt_is_carried_to_every_machine_of_the_unit_and_moves_nothing() -> None:
    world = two()
    wish = world.unit("g.service", "Global=true")
    world.settle()
    world.agents()
    world.put(KEYS.unit("g.service"), replace(wish, attempt=3))
    decisions = world.step()
    assert [(each.line.machine, each.line.attempt) for each in decisions if isinstance(each, UpdateLine)] == [
        ("a1", 3), ("b2", 3),
    ]  # fmt: skip
    assert all(isinstance(each, UpdateLine) for each in decisions)
    assert world.step() == ()


@pytest.mark.parametrize("target", [Target.INACTIVE, None])
def test_unloading_and_destroying_withdraw_at_once(target: Target | None) -> None:
    world = two()
    world.unit("u.service")
    world.settle()
    if target is None:
        world.destroy("u.service")
    else:
        world.unit("u.service", target=target)
    (decision,) = world.step()
    assert isinstance(decision, Withdraw)
    assert decision.reason in ("destroyed", "target is inactive")
    world.settle()
    assert world.runs("u.service") == ()


def test_a_destroyed_unit_leaves_nothing_in_memory() -> None:
    world = World()
    world.unit("u.service", "MachineMetadata=region=mars")
    world.step()
    world.destroy("u.service")
    world.step()
    world.step()
    assert KEYS.pending("u.service") not in world.values
    assert not world.state.entries


def test_if_all_units_vanish_while_the_sentinel_stays_that_is_an_order() -> None:
    world = two()
    world.unit("u.service")
    world.settle()
    world.destroy("u.service")
    assert [type(each) for each in world.step()] == [Withdraw]


@pytest.mark.parametrize("damage", ["missing", "corrupt", "options"])
def test_a_file_that_cannot_be_used_is_a_reason_and_stops_nothing(damage: str) -> None:
    world = two()
    unit = world.unit("u.service")
    other = world.unit("v.service", "MachineMetadata=region=r1", note="another")
    world.settle()
    match damage:
        case "missing":
            world.delete(KEYS.file(unit.hash))
        case "corrupt":
            world.put(KEYS.file(unit.hash), b"\xff")
        case "options":
            world.unit("u.service", "Nonsense=1")
    world.settle()
    assert world.where("u.service") == ("a1",)
    assert "unit file" in world.waits("u.service")
    assert other.name in {each.name for each in world.snapshot.units.values()}
    assert world.waits("v.service") == ""


def test_a_corrupt_unit_record_is_left_alone() -> None:
    world = two()
    world.unit("u.service")
    world.settle()
    world.put(KEYS.unit("u.service"), CORRUPT)
    assert world.step() == ()
    world.lose("a1")
    assert world.step() == ()
    assert world.where("u.service") == ("a1",)


def test_a_corrupt_line_is_written_again_in_its_place() -> None:
    world = two()
    world.unit("u.service")
    world.settle()
    world.put(KEYS.schedule("a1", "u.service"), CORRUPT)
    assert [type(each) for each in world.step()] == [UpdateLine]
    assert world.line("a1", "u.service").unit == "u.service"


def test_a_corrupt_machine_or_override_changes_nothing_there() -> None:
    world = two()
    world.unit("u.service")
    world.settle()
    world.put(KEYS.override("a1"), CORRUPT)
    world.unit("v.service", "MachineID=a1")
    world.step()
    assert world.where("u.service") == ("a1",)
    assert "its override is corrupt" in world.waits("v.service")


def test_a_template_waits_with_a_hint() -> None:
    world = two()
    world.unit("web@.service")
    world.step()
    assert "web@1.service" in world.waits("web@.service")


def test_a_pending_that_still_holds_is_not_written_again() -> None:
    world = two()
    world.unit("u.service", "MachineMetadata=region=mars")
    first = world.step()
    assert [type(each) for each in first] == [Wait]
    world.unit("v.service")
    assert not any(isinstance(each, Wait) for each in world.step())


def test_very_many_distinct_reasons_are_told_briefly() -> None:
    world = World(*(machine(f"m{number:02}") for number in range(20)))
    for number in range(20):
        world.unit(f"a{number:02}.service", "Conflicts=z.service")
    world.settle()
    world.unit("z.service")
    world.step()
    assert world.waits("z.service") == (
        "no machine fits: a unit on it stands against this one (Conflicts=z.service)"
    )


def test_what_waits_is_not_written_again_for_a_machine_that_could_not_take_it() -> None:
    world = World(sized(machine("a1", region="r1"), 1 << 30, 1), sized(machine("b2", region="r2"), 1 << 30, 1))
    world.unit("full.service", "MemoryReserve=2G")
    world.unit("there.service", "MemoryReserve=2G", "MachineMetadata=region=r1")
    world.unit("mars.service", "MachineMetadata=region=mars")
    world.settle()
    before = dict(world.snapshot.pending)
    assert len(before) == 3
    world.lose("b2")
    assert world.step() == ()
    world.put(KEYS.machine("c3"), sized(machine("c3", region="r2"), 1 << 30, 1))
    assert world.step() == ()
    assert dict(world.snapshot.pending) == before
    world.lose("a1")
    world.lose("c3")
    world.step()
    assert {each.summary for each in world.snapshot.pending.values()} == {
        "no machine is registered; start fleet-agentd"
    }


def test_of_many_that_wait_alike_as_many_are_placed_as_there_is_room_for_by_name() -> None:
    world = World(sized(machine("a1"), 1 << 20, 1))
    for number in range(9):
        world.unit(f"w@{number}.service", "MemoryReserve=400M")
    world.unit("w@15.service", "MemoryReserve=500M")
    world.settle()
    assert len(world.snapshot.pending) == 10
    world.put(KEYS.machine("b2"), sized(machine("b2"), 2 << 30, 1))
    world.settle()
    assert {unit for _, unit in world.snapshot.schedule} == {f"w@{number}.service" for number in (0, 1, 15, 2)}
    world.set("b2", Availability.CORDONED)
    world.settle()
    assert {each.summary for each in world.snapshot.pending.values()} == {
        "no machine fits: cordoned, full: needs 400M of memory"
    }


def test_a_global_unit_is_not_pending_for_machines_it_does_not_want() -> None:
    world = two()
    world.unit("g.service", "Global=true", "MachineMetadata=region=r1")
    world.settle()
    assert (world.where("g.service"), world.waits("g.service")) == (("a1",), "")


def test_a_registry_without_a_sentinel_gives_no_decisions() -> None:
    world = two()
    world.unit("u.service")
    assert decide_snapshot(world.snapshot)
    world.delete(Keys().cluster)
    assert decide_snapshot(world.snapshot) == ()


def test_a_global_unit_keeps_its_line_on_a_lost_machine_and_counts_as_arrived() -> None:
    world = two()
    world.unit("g.service", "Global=true")
    world.settle()
    world.lose("b2")
    world.settle()
    assert world.where("g.service") == ("a1", "b2")
    assert standing(world.snapshot, "g.service").reason == ""


def test_a_unit_on_its_way_that_loses_its_place_to_another_says_so() -> None:
    world = World(machine("a1"))
    world.unit("a.service")
    world.unit("b.service")
    world.unit("c.service", "Conflicts=a.service")
    world.settle()
    world.set("a1", Availability.DRAINING)
    world.put(KEYS.machine("b2"), machine("b2"))
    first = world.decide()
    assert world.decide() == first
    world.settle()
    assert world.where("b.service") == ("b2",)


def test_a_unit_that_stays_since_its_move_was_not_written_meets_what_came_meanwhile() -> None:
    world = World(machine("aa01"), machine("aa02"))
    for name, fleet in {
        "a.service": (),
        "w@3.service": ("Replaces=a.service",),
        "b.service": (),
        "w@1.service": ("Replaces=w@*",),
        "c.service": ("MachineOf=a.service",),
        "w@2.service": ("Global=true",),
    }.items():
        world.unit(name, *fleet)
    for _ in range(8):
        world.carry_out(world.decide()[::2])  # half of the transactions fail
    world.settle()
