"""Sentences about deciding that hold whatever happens, in whatever order."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from placement.decisions import Assign, Decision, Withdraw
from placement.eligibility import conflict_pattern, fits, site_of
from registry.errors import UserError
from registry.keys import Address, Table
from registry.mirror import Mirror, RawChange
from registry.model import Availability, FailedPlacement, PastPlacement, Target
from registry.units.file import parse
from registry.units.options import ANYWHERE, FleetOptions, parse_options
from tests.placement.world import CORRUPT, KEYS, World, decide_snapshot, machine, sized

MACHINES = ("aa01", "aa02", "bb01")
UNITS = ("a.service", "b.service", "c.service", "w@1.service", "w@2.service", "w@3.service", "g.service")
FLEET = (
    (),
    ("MachineMetadata=region=r1",),
    ("MachineMetadata=region=r1 region=r2", "MachineMetadata=disk=ssd"),
    ("MachineID=aa01",),
    ("MachineID=aa",),
    ("MachineOf=a.service",),
    ("MachineOf=b.service",),
    ("MachineOf=a.service", "MachineOf=c.service"),
    ("Conflicts=w@*",),
    ("Conflicts=a.service",),
    ("Conflicts=*.service",),
    ("MachineOf=c.service", "Conflicts=w@*"),
    ("Replaces=a.service",),
    ("Replaces=w@*",),
    ("MachineOf=b.service", "Replaces=c.service"),
    ("Global=true",),
    ("Global=true", "MachineMetadata=region=r1"),
    ("Global=true", "Conflicts=w@*"),
    ("Nonsense=1",),
    ("MemoryReserve=600M",),
    ("MemoryReserve=1G", "Conflicts=a.service"),
    ("CPUReserve=1",),
    ("MachineOf=a.service", "MemoryReserve=600M"),
    ("Replaces=w@*", "MemoryReserve=900M"),
    ("Global=true", "MemoryReserve=300M"),
    ("SpreadOver=region",),
    ("SpreadOver=region", "Replaces=b.service"),
    ("Sticky=true", "Conflicts=b.service"),
    ("MoveAfterFailures=3/10min",),
    ("MoveAfterFailures=1/1h", "Sticky=true", "MemoryReserve=600M"),
    ("PreferMetadata=disk=ssd region=r1", "MemoryReserve=600M"),
)
TABLES = (Table.UNITS, Table.SCHEDULE, Table.STATES, Table.PENDING, Table.MACHINES)
SIZES = ((0, 0), (1 << 30, 1), (2 << 30, 2))
METADATA: tuple[dict[str, str], ...] = ({}, {"region": "r1"}, {"region": "r2", "disk": "ssd"})
Act = Callable[[World], None]

names = st.sampled_from(UNITS)
machines = st.sampled_from(MACHINES)


def _submit(name: str, fleet: tuple[str, ...], target: Target) -> Act:
    return lambda world: void(world.unit(name, *fleet, target=target))


def _touch_file(name: str) -> Act:
    def act(world: World) -> None:
        unit = world.snapshot.units.get(name)
        if unit:
            world.delete(KEYS.file(unit.hash))

    return act


def _corrupt(table: Table, machine_id: str, name: str) -> Act:
    keys = {
        Table.UNITS: KEYS.unit(name),
        Table.SCHEDULE: KEYS.schedule(machine_id, name),
        Table.STATES: KEYS.state(machine_id, name),
        Table.PENDING: KEYS.pending(name),
        Table.MACHINES: KEYS.machine(machine_id),
        Table.OVERRIDES: KEYS.override(machine_id),
        Table.PLACEMENTS: KEYS.placement(name),
    }

    def act(world: World) -> None:
        if keys[table] in world.values or table in (Table.UNITS, Table.OVERRIDES, Table.PLACEMENTS):
            world.put(keys[table], CORRUPT)

    return act


def void(_: object) -> None:
    """Nothing."""


submits = st.builds(_submit, names, st.sampled_from(FLEET), st.sampled_from((*Target, Target.LAUNCHED)))
joins = st.builds(
    lambda name, metadata, size, leaving: (
        lambda world: world.put(KEYS.machine(name), sized(machine(name, leaving=leaving, **metadata), *size))
    ),
    machines,
    st.sampled_from(METADATA),
    st.sampled_from(SIZES),
    st.sampled_from((False, False, False, True)),
)
overrides = st.builds(
    lambda name, availability, metadata: lambda world: world.set(name, availability, **metadata),
    machines,
    st.sampled_from(Availability),
    st.sampled_from(METADATA),
)


def _fail(name: str, machine_id: str) -> Act:
    """The leader has written down that the unit fails there."""

    def act(world: World) -> None:
        unit, old = world.snapshot.units.get(name), world.snapshot.placements.get(name)
        if unit is not None:
            failed = {each.machine: each for each in old.failed} if old else {}
            failed[machine_id] = FailedPlacement(machine_id, unit.generation, "it failed here")
            past = PastPlacement(name, old.machine if old else "", tuple(failed[each] for each in sorted(failed)))
            world.put(KEYS.placement(name), past)

    return act


failures = st.builds(_fail, names, machines)
forgets = st.builds(lambda name: lambda world: world.delete(KEYS.placement(name)), names)
destroys = st.builds(lambda name: lambda world: world.destroy(name), names)
losses = st.builds(lambda name: lambda world: world.lose(name), machines)
agents = st.builds(
    lambda name, claim, release: lambda world: world.agents(name, claim=claim, release=release),
    machines,
    st.booleans(),
    st.booleans(),
)
everybody = st.just(lambda world: world.agents())
files = st.builds(_touch_file, names)
corruptions = st.builds(
    _corrupt,
    st.sampled_from((*TABLES, Table.OVERRIDES, Table.PLACEMENTS)),
    machines,
    names,
)
acts = st.one_of(
    submits,
    submits,
    submits,
    joins,
    overrides,
    destroys,
    losses,
    agents,
    everybody,
    files,
    corruptions,
    failures,
    forgets,
)
crowds = st.dictionaries(names, st.sampled_from(FLEET), min_size=3).map(
    lambda wishes: [_submit(name, fleet, Target.LAUNCHED) for name, fleet in wishes.items()]
)
rounds = st.lists(
    st.tuples(st.lists(acts, max_size=4), st.sampled_from(("all", "all", "all", "none", "half"))), max_size=9
)
relaxed = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def options_of(world: World, name: str) -> FleetOptions | None:
    """What a unit's file asks for; None when that cannot be known."""
    unit = world.snapshot.units.get(name)
    file = world.snapshot.files.get(unit.hash) if unit else None
    if file is None:
        return None
    try:
        return parse_options(parse(file.text), name)
    except UserError:
        return None


def start(*acts_: Act) -> World:
    world = World(machine("aa01", region="r1"), machine("aa02"))
    for act in acts_:
        act(world)
    return world


def check_places(world: World, decisions: tuple[Decision, ...]) -> None:
    """Each new place is open and eligible, and the unit is nowhere else by then."""
    for each in decisions:
        if not isinstance(each, Assign):
            continue
        snapshot, options = world.snapshot, options_of(world, each.unit)
        assert options is not None
        site = site_of(snapshot.machines[each.machine], snapshot.overrides.get(each.machine))
        assert site.open
        assert fits(options, site)
        if options.is_global:
            continue
        left = {source.machine for source in each.sources}
        lines = {key.split("/")[3] for key in world.values if _is_about(key, "schedule", each.unit)}
        states = {key.split("/")[3] for key in world.values if _is_about(key, "states", each.unit)}
        assert lines - left <= {each.machine}
        assert {m for m in states if m in snapshot.machines or KEYS.machine(m) in snapshot.corrupt} <= {
            each.machine
        }


def _has_corrupt_state(world: World) -> bool:
    return any(key.startswith("/fleet/states/") for key in world.snapshot.corrupt)


def _is_about(key: str, table: str, unit: str) -> bool:
    return key.startswith(f"/fleet/{table}/") and key.endswith(f"/{unit}")


def check_schedule(world: World) -> None:
    """New lines conflict with none, and follow where they must."""
    snapshot = world.snapshot
    for where, name in snapshot.schedule:
        options = options_of(world, name)
        if options is None or where not in snapshot.machines or snapshot.corrupt:
            continue
        for leader in options.machine_of:
            assert (where, leader) in snapshot.schedule
        for machine_id, other in snapshot.schedule:
            if machine_id == where:
                assert not conflict_pattern(name, options, other, options_of(world, other) or ANYWHERE), (
                    name,
                    other,
                )


@relaxed
@given(crowds, rounds)
def test_deciding_on_changes_agrees_with_deciding_from_scratch(
    crowd: list[Act], steps: list[tuple[list[Act], str]]
) -> None:
    """...and deciding twice decides once, and nothing is placed where it may not be."""
    world = start(*crowd)
    for some, mode in steps:
        for act in some:
            act(world)
        decisions = world.decide()
        assert world.decide() == decisions, "deciding again without carrying out says the same"
        check_places(world, decisions)
        if mode == "none":
            continue
        world.carry_out(decisions if mode == "all" else decisions[::2])
        if mode == "all":
            # A destroyed unit whose state does not parse takes the knowledge of its file along with its line.
            again = world.decide()
            if any(isinstance(each, Withdraw) and each.displaced_by for each in decisions):
                # What waited to leave a machine may go to where the displaced one was.
                world.carry_out(again)
                again = world.decide()
            assert again == () or _has_corrupt_state(world), "deciding after carrying out says nothing"
            check_schedule(world)


@relaxed
@given(crowds, rounds)
def test_everything_comes_to_rest(crowd: list[Act], steps: list[tuple[list[Act], str]]) -> None:
    """With the agents working, scheduler and agents need finitely many rounds, whatever came before."""
    world = start(*crowd)
    for some, _ in steps:
        for act in some:
            act(world)
        world.step()
    for _ in range(60):
        decisions = world.step()
        world.agents()
        if not decisions and not world.decide():
            break
    else:
        raise AssertionError(decisions)
    snapshot = world.snapshot
    for name, unit in snapshot.units.items():
        settled = any(pair[1] == name for pair in snapshot.schedule) or KEYS.pending(name) in world.values
        corrupt = any(key.endswith(f"/{name}") for key in snapshot.corrupt)
        assert settled or corrupt or not unit.target.scheduled, f"{name} waits without a reason"


@relaxed
@given(st.lists(acts, max_size=12), st.randoms(use_true_random=False))
def test_the_order_of_records_never_matters(some: list[Act], random: object) -> None:
    world = start(*some)
    items = list(world.values.items())
    random.shuffle(items)  # type: ignore[attr-defined]
    other = Mirror(KEYS)
    other.reset([RawChange(key, value, 1, 1) for key, value in items], world.revision)
    assert decide_snapshot(other.snapshot(), KEYS) == decide_snapshot(world.snapshot, KEYS)


@relaxed
@given(crowds, st.sampled_from(METADATA))
def test_a_new_machine_moves_nothing(some: list[Act], metadata: dict[str, str]) -> None:
    world = start(*some)
    for _ in range(6):
        world.step()
        world.agents()
    before = set(world.snapshot.schedule)
    world.put(KEYS.machine("aa00"), machine("aa00", leaving=False, **metadata))
    for _ in range(6):
        world.step()
        world.agents()
    assert before <= set(world.snapshot.schedule)


@relaxed
@given(st.lists(acts, max_size=10))
def test_without_the_sentinel_nothing_is_decided(some: list[Act]) -> None:
    world = start(*some)
    world.delete(KEYS.cluster)
    assert decide_snapshot(world.snapshot, KEYS) == ()


def test_addresses_are_read_back() -> None:
    assert KEYS.parse(KEYS.unit("a.service")) == Address(Table.UNITS, "a.service")
