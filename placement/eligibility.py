"""Which machines a unit may run on, and in which words a machine refuses it.

Owns the rules of `[X-Fleet]` (fleet's semantics) for one unit and one machine, the order of preference among the
machines that are left, and the grouping of refusals into what a user reads. The scheduler and every explanation
ask here, so that no two of them can disagree. Pure; it must not choose, remember or look at etcd.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from registry.model import Availability, Machine, Override, effective_metadata
from registry.units.name import matches
from registry.units.options import FleetOptions
from registry.units.quadlet import LEAST_PODMAN, runs_quadlets
from registry.wording import listed

NO_MACHINE = "no machine is registered; start fleet-agentd"
DISTINCT_LIMIT = 16  # more distinct reasons than this are given in their brief form, so that records stay small
SHOWN_VALUES = 8  # of metadata, named as those that would do
SHOWN_REASONS = 3  # reasons named in a one-line summary


class Requirement(Enum):
    """What a refusal is about. A machine's refusals are given in this order."""

    MACHINE_ID = 1
    METADATA = 2
    MACHINE_OF = 3
    AVAILABILITY = 4
    CONFLICT = 5
    ROOM = 6
    PODMAN = 7


@dataclass(frozen=True, slots=True)
class Objection:
    """One reason why a unit may not be on a machine.

    `brief` leaves out what differs from machine to machine. `passing` marks one that ends by itself.
    """

    rule: Requirement
    reason: str
    brief: str
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason, and the machines that give it, sorted."""

    reason: str
    machines: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Site:
    """A machine as placement sees it: effective metadata, what the operator allows, whether it hands over.

    `trouble` says why nothing may be concluded about it (its record does not parse): what runs there stays, and
    nothing new comes. Memory or processors that it does not tell of are 0. `drained_by`: the rollout that says
    which units a drain moves away, if not all that can. `podman`: the version of its generator, "" for none.
    """

    id: str
    metadata: Mapping[str, str]
    availability: Availability = Availability.READY
    leaving: bool = False
    trouble: str = ""
    memory_bytes: int = 0
    cpus: int = 0
    drained_by: str = ""
    podman: str = ""

    @property
    def open(self) -> bool:
        """Whether units may be placed here that are not here yet."""
        return not (self.trouble or self.leaving) and self.availability is Availability.READY


def site_of(machine: Machine, override: Override | None) -> Site:
    """Return a live machine with what the operator set on it."""
    availability = override.availability if override else Availability.READY
    return Site(
        machine.id,
        effective_metadata(machine, override),
        availability,
        machine.leaving,
        memory_bytes=machine.memory_bytes,
        cpus=machine.cpus,
        drained_by=override.drained_by if override else "",
        podman=machine.podman_version,
    )


def preference(units: int, machine: str) -> tuple[int, str]:
    """Return the sort key of eligible machines: the one with the fewest of our units first, then the lowest id."""
    return (units, machine)


class SiteGroup(NamedTuple):
    """Machines that are alike to a unit but for their units: of one value of its key, with as many wishes unmet."""

    value: str | None
    unmet: int


def group_of(options: FleetOptions, site: Site) -> SiteGroup:
    """Return the group that a machine is in."""
    value = site.metadata.get(options.spread) if options.spread else None
    return SiteGroup(value, sum(site.metadata.get(key) not in values for key, values in options.prefer))


def rank(group: SiteGroup, load: Mapping[str, int]) -> tuple[bool, int, int]:
    """Return the sort key of a group: few instances there, then wishes met; machines without the key come last."""
    return (group.value is None, load.get(group.value, 0) if group.value is not None else 0, group.unmet)


def fits(options: FleetOptions, site: Site) -> bool:
    """Whether MachineID and MachineMetadata allow the machine, and it can run Quadlets if this is one."""
    if options.quadlet and not runs_quadlets(site.podman):
        return False
    if options.machine_id is not None and not site.id.startswith(options.machine_id):
        return False
    return all(site.metadata.get(key) in values for key, values in options.metadata)


def matters(options: FleetOptions, site: Site) -> bool:
    """Whether a unit that waits may be placed, or be told something else, because this machine comes or goes."""
    return fits(options, site) or (options.machine_id is not None and site.id.startswith(options.machine_id))


def static_objections(options: FleetOptions, site: Site) -> tuple[Objection, ...]:
    """Return what `fits` has against a machine: for units that run there, too."""
    found = []
    if options.machine_id is not None and not site.id.startswith(options.machine_id):
        reason = f"MachineID={options.machine_id} is not this machine"
        found.append(Objection(Requirement.MACHINE_ID, reason, reason))
    for key, values in options.metadata:
        actual = site.metadata.get(key)
        if actual not in values:
            brief = f"metadata {_shown(key, values)} required"
            has = f"it has {key}={actual}" if actual is not None else f"it has no {key}"
            found.append(Objection(Requirement.METADATA, f"{brief}; {has}", brief))
    if options.quadlet and not runs_quadlets(site.podman):
        brief = f"podman {'.'.join(map(str, LEAST_PODMAN))} or newer required"
        has = f"its generator is of {site.podman}" if site.podman else "it has none with a generator for Quadlets"
        found.append(Objection(Requirement.PODMAN, f"{brief}; {has}", brief))
    return tuple(found)


def _shown(key: str, values: Iterable[str]) -> str:
    found = sorted(values)
    return f"{key}={'|'.join(found[:SHOWN_VALUES] + ['...'] * (len(found) > SHOWN_VALUES))}"


def required(options: FleetOptions) -> str:
    """Return what `fits` asks of a machine, in words; "" for nothing."""
    found = [f"MachineID={options.machine_id}"] if options.machine_id is not None else []
    found += [_shown(key, values) for key, values in options.metadata]
    found += [f"podman {'.'.join(map(str, LEAST_PODMAN))} or newer"] if options.quadlet else []
    return " and ".join(found)


def ambiguity(options: FleetOptions, machines: Collection[str]) -> Objection | None:
    """Return what stands against placing by a MachineID that several machines' ids begin with."""
    wanted = options.machine_id
    if wanted is None or wanted in machines:
        return None
    count = sum(1 for machine in machines if machine.startswith(wanted))
    if count < 2:
        return None
    reason = f"MachineID={wanted} is ambiguous, {count} machine ids begin with it; write more of the id"
    return Objection(Requirement.MACHINE_ID, reason, reason)


def availability_objection(site: Site) -> Objection | None:
    """Return why the machine takes nothing new; None when it does."""
    if site.trouble:
        return Objection(Requirement.AVAILABILITY, site.trouble, site.trouble)
    if site.leaving:
        return Objection(Requirement.AVAILABILITY, "leaving", "leaving")
    if site.availability is not Availability.READY:
        word = site.availability.value
        return Objection(Requirement.AVAILABILITY, word, word)
    return None


def leader_objection(leader: str) -> Objection:
    """Return the objection that a unit named by MachineOf is not scheduled on the machine."""
    reason = f"{leader} is not scheduled here (MachineOf)"
    return Objection(Requirement.MACHINE_OF, reason, reason)


def first_match(patterns: Iterable[str], name: str) -> str:
    """Return the first pattern that matches a name; "" when none does."""
    return next((pattern for pattern in patterns if matches(pattern, name)), "")


FirstMatch = Callable[[tuple[str, ...], str], str]


def conflict_pattern(
    name: str, options: FleetOptions, other: str, others: FleetOptions, *, first_match: FirstMatch = first_match
) -> str:
    """Return the pattern by which two units may not share a machine, as written in either file; "" when they may.

    Conflicts counts both ways. Replaces counts for the unit that is named: to the one that replaces, the named
    units are not there. `first_match`: a faster one, of who knows what matches.
    """
    if name == other:
        return ""
    if pattern := first_match(options.conflicts, other) or first_match(others.conflicts, name):
        return f"Conflicts={pattern}"
    if pattern := first_match(others.replaces, name):
        return f"Replaces={pattern}"
    return ""


def conflict_objection(
    name: str,
    options: FleetOptions,
    other: str,
    others: FleetOptions,
    *,
    stopping: bool = False,
    first_match: FirstMatch = first_match,
) -> Objection | None:
    """Return what a unit that is on a machine has against `name` there; None when they get along.

    `stopping`: the other one is scheduled there no longer, and has not stopped yet.
    """
    pattern = conflict_pattern(name, options, other, others, first_match=first_match)
    if not pattern:
        return None
    where = "which is being stopped here" if stopping else "which is scheduled here"
    brief = f"a unit on it stands against this one ({pattern})"
    if first_match(options.conflicts, other):
        reason = f"conflicts with {other}, {where}"
    elif pattern.startswith("Replaces="):
        reason = f"{other} replaces it ({pattern})"
    else:
        reason = f"{other} conflicts with it ({pattern})"
        if stopping:
            reason = f"{reason} and is being stopped here"
    return Objection(Requirement.CONFLICT, reason, brief, passing=stopping)


def cycle(start: str, leaders_of: Callable[[str], Iterable[str]], most: int) -> str:
    """Return the shortest cycle of MachineOf that a unit is part of, in one line.

    "" when there is none, or none is found among so many leaders that are looked at.
    """
    came_from: dict[str, str] = {}
    ahead = [start]
    for name in ahead:
        for leader in leaders_of(name):
            most -= 1
            if most < 0:
                return ""
            if leader == start:
                ring = [start]
                while name != start:
                    ring.append(name)
                    name = came_from[name]  # noqa: PLW2901 - the search is over
                ring.append(start)
                return f"MachineOf goes in a circle: {' -> '.join(reversed(ring))}; remove one of them"
            if leader not in came_from:
                came_from[leader] = name
                ahead.append(leader)
    return ""


def replace_each_other(one: str, other: str) -> str:
    """Return what is said of two units that each name the other in Replaces."""
    return f"{one} and {other} replace each other; remove Replaces from one of them"


def group(objections: Mapping[str, Objection]) -> tuple[Reason, ...]:
    """Return the refusals by reason, the most frequent first; machines sorted. Bounded: see DISTINCT_LIMIT."""
    full = _by_reason((each.reason, machine) for machine, each in objections.items())
    if len(full) > DISTINCT_LIMIT:
        full = _by_reason((each.brief, machine) for machine, each in objections.items())
    refusals = (Reason(reason, tuple(sorted(machines))) for reason, machines in full.items())
    return tuple(sorted(refusals, key=lambda refusal: (-len(refusal.machines), refusal.reason)))


def _by_reason(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = defaultdict(list)
    for reason, machine in pairs:
        found[reason].append(machine)
    return found


def summarise(objections: Mapping[str, Objection], refusals: tuple[Reason, ...]) -> str:
    """Return one line for tables: why no machine takes the unit."""
    total = len(objections)
    if not total:
        return NO_MACHINE
    metadata = {each.brief for each in objections.values() if each.rule is Requirement.METADATA}
    if len(metadata) == 1 and all(each.rule is Requirement.METADATA for each in objections.values()):
        wanted = metadata.pop().removeprefix("metadata ").removesuffix(" required")
        return f"no machine has {wanted} ({total} of {total} refuse)"
    reasons = (f"{refusal.reason} ({len(refusal.machines)} of {total})" for refusal in refusals)
    return f"no machine fits: {listed(reasons, SHOWN_REASONS, 'reasons')}"


def nowhere(options: FleetOptions, objections: Mapping[str, Objection]) -> str:
    """Return one line that is kept: why no machine takes the unit, by what those say that it fits.

    It stays the same where another machine comes or goes, and where one that is full becomes fuller.
    """
    if not objections:
        return f"no machine has {required(options) or 'a place for it'}"
    fitting = f" with {required(options)}" if required(options) else ""
    return f"no machine{fitting} fits: {in_short(objections)}"


def in_short(objections: Mapping[str, Objection]) -> str:
    """Return the reasons that most machines give, the most frequent first, without figures."""
    told = Counter(each.brief if each.rule is Requirement.ROOM else each.reason for each in objections.values())
    if len(told) > DISTINCT_LIMIT:
        told = Counter(each.brief for each in objections.values())
    return listed(sorted(told, key=lambda reason: (-told[reason], reason)), SHOWN_REASONS, "reasons")
