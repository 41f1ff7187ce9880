"""Placement against a deliberately dumb implementation."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from placement.eligibility import conflict_pattern, fits, site_of
from registry.model import Availability
from registry.units.file import parse
from registry.units.options import FleetOptions, parse_options
from tests.placement.world import World, machine, sized

MACHINES = ("a1", "b2", "b3")
UNITS = ("u1.service", "u2.service", "w@1.service", "w@2.service", "x.service")
FLEET = (
    (),
    ("MachineMetadata=region=r1",),
    ("MachineMetadata=region=r1 region=r2",),
    ("MachineID=b2",),
    ("MachineID=b",),
    ("Conflicts=w@*",),
    ("Conflicts=u1.service x.service",),
    ("MachineOf=u1.service",),
    ("MachineOf=x.service",),
    ("MachineOf=w@1.service", "Conflicts=u*"),
    ("Global=true",),
    ("Global=true", "Conflicts=x*"),
    ("MemoryReserve=1G",),
    ("MemoryReserve=600M", "CPUReserve=50%"),
    ("CPUReserve=1", "MachineMetadata=region=r1"),
    ("MachineOf=u1.service", "MemoryReserve=600M"),
    ("Global=true", "CPUReserve=1.5"),
    ("PreferMetadata=region=r2",),
    ("PreferMetadata=region=r2", "MemoryReserve=600M"),
    ("SpreadOver=region",),
    ("SpreadOver=region", "PreferMetadata=disk=ssd"),
)
clusters = st.fixed_dictionaries(
    {
        name: st.sampled_from((None, None, {}, {"region": "r1"}, {"region": "r2"}, {"region": "r2", "disk": "ssd"}))
        for name in MACHINES
    }
)
wishes = st.dictionaries(st.sampled_from(UNITS), st.sampled_from(FLEET))
sizes = st.fixed_dictionaries(
    {name: st.sampled_from(((0, 0), (1 << 30, 0), (2 << 30, 1), (3 << 29, 2))) for name in MACHINES}
)
availabilities = st.fixed_dictionaries({name: st.sampled_from(Availability) for name in MACHINES})


def oracle(world: World) -> dict[str, set[str]]:
    """Place every unit by name; begin again from the first whenever one found its place. No index, no memory."""
    snapshot = world.snapshot
    options = {
        name: parse_options(parse(snapshot.files[unit.hash].text), name) for name, unit in snapshot.units.items()
    }
    sites = [site_of(each, snapshot.overrides.get(each.id)) for each in snapshot.machines.values()]
    homes: dict[str, set[str]] = {name: set() for name in options}

    def takes(name: str, machine_id: str) -> bool:
        wish, site = options[name], next(site for site in sites if site.id == machine_id)
        others = [other for other in options if machine_id in homes[other]]
        memory = sum(options[each].reserve.memory_bytes for each in (name, *others))
        cpus = sum(options[each].reserve.cpu_millis for each in (name, *others)) / 1000
        has_room = (not (wish.reserve.memory_bytes and site.memory_bytes and memory > site.memory_bytes)) and not (
            wish.reserve.cpu_millis and site.cpus and cpus > site.cpus
        )
        return (
            site.open
            and fits(wish, site)
            and all(machine_id in homes.get(leader, ()) for leader in wish.machine_of)
            and not any(conflict_pattern(name, wish, other, options[other]) for other in others)
            and has_room
        )

    def unambiguous(wish: FleetOptions) -> bool:
        ids = [site.id for site in sites]
        return wish.machine_id in (None, *ids) or sum(each.startswith(str(wish.machine_id)) for each in ids) < 2

    def order(name: str, machine_id: str) -> tuple[object, ...]:
        wish, metadata = options[name], {site.id: site.metadata for site in sites}
        value = metadata[machine_id].get(wish.spread)
        mates = [other for other in options if "@" in name and other.startswith(name.partition("@")[0] + "@")]
        there = [home for mate in mates for home in homes[mate] if metadata[home].get(wish.spread) == value]
        unmet = sum(metadata[machine_id].get(key) not in values for key, values in wish.prefer)
        units = sum(machine_id in home for home in homes.values())
        if not wish.spread:
            return unmet, units, machine_id
        return value is None, 0 if value is None else len(there), unmet, units, machine_id

    def place(name: str) -> bool:
        free = sorted(site.id for site in sites if takes(name, site.id) and site.id not in homes[name])
        if not free or not unambiguous(options[name]):
            return False
        if options[name].is_global:
            homes[name] |= set(free)
        else:
            homes[name].add(min(free, key=lambda each: order(name, each)))
        return True

    tried: set[str] = set()
    while ahead := sorted(set(options) - tried):
        name = ahead[0]
        tried.add(name)
        if not (homes[name] and not options[name].is_global) and place(name):
            tried -= {other for other in options if name in options[other].machine_of and not homes[other]}
    return homes


def build(
    cluster: dict[str, dict[str, str] | None],
    availability: dict[str, Availability],
    size: dict[str, tuple[int, int]],
) -> World:
    live = {name: metadata for name, metadata in cluster.items() if metadata is not None}
    world = World(
        *(sized(machine(name, leaving=False, **metadata), *size[name]) for name, metadata in live.items())
    )
    for name in live:
        world.set(name, availability[name])
    return world


@settings(max_examples=200, deadline=None)
@given(clusters, availabilities, sizes, wishes)
def test_placement_agrees_with_brute_force(
    cluster: dict[str, dict[str, str] | None],
    availability: dict[str, Availability],
    size: dict[str, tuple[int, int]],
    wish: dict[str, tuple[str, ...]],
) -> None:
    world = build(cluster, availability, size)
    for name, fleet in wish.items():
        world.unit(name, *fleet)
    world.step()
    assert {name: set(world.where(name)) for name in wish} == oracle(world)
