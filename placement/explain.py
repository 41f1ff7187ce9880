"""Why a unit is where it is, or is not: every machine with its verdict, read from a snapshot.

Owns the explanations that people ask for: of one unit, of one that is not submitted yet (`dry_run`), and of what
keeps a machine from draining. It follows the same rules as the scheduler (`eligibility`) and predicts it for one
unit at a time; it must not decide for many, nor read anything but the snapshot. Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property, lru_cache

from placement.eligibility import (
    NO_MACHINE,
    Objection,
    Site,
    ambiguity,
    availability_objection,
    conflict_objection,
    cycle,
    group,
    leader_objection,
    preference,
    replace_each_other,
    site_of,
    static_objections,
    summarise,
)
from registry.errors import UserError
from registry.keys import Address, Keys, Table
from registry.lifecycle import Progress, ended, standing
from registry.mirror import Snapshot
from registry.model import Availability, Reason, Target, Unit
from registry.units.file import UnitFile, parse
from registry.units.name import matches
from registry.units.options import ANYWHERE, FleetOptions, parse_options, uses_specifiers

DEFAULT_KEYS = Keys()


class Verdict(StrEnum):
    """What a machine says to a unit."""

    HERE = "here"  # it is scheduled here
    STOPPING = "stopping"  # it is scheduled here no longer and has not stopped yet
    ELIGIBLE = "eligible"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class MachineVerdict:
    """One machine's verdict. `units` is how many of our units are scheduled on it; `reasons` why it refuses."""

    machine: str
    verdict: Verdict
    units: int
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A unit's place in one line, and what each machine says, by machine id."""

    unit: str
    summary: str
    machines: tuple[MachineVerdict, ...] = ()


@dataclass(frozen=True, slots=True)
class Prediction:
    """Where a unit would go: `machines` (several for a global unit), or nowhere, with the refusals."""

    unit: str
    machines: tuple[str, ...]
    summary: str
    refusals: tuple[Reason, ...] = ()


@dataclass(frozen=True, slots=True)
class Blocker:
    """A unit that stays on a draining machine, and why."""

    unit: str
    reason: str


def explain(snapshot: Snapshot, name: str, keys: Keys = DEFAULT_KEYS) -> Explanation:
    """Why the unit is where it is, or what it waits for."""
    fleet = _Fleet(snapshot, keys)
    unit = snapshot.units.get(name)
    if unit is None:
        corrupt = keys.unit(name) in snapshot.corrupt
        state = (
            "has a corrupt record, so it is left as it is; submit it again" if corrupt else "is not in the registry"
        )
        return Explanation(name, f"{name} {state}", fleet.places_of(name))
    options = fleet.options(name)
    if isinstance(options, UserError):
        return Explanation(name, str(options).splitlines()[0], fleet.places_of(name))
    verdicts = tuple(fleet.verdict(name, options, site) for _, site in sorted(fleet.sites.items()))
    return Explanation(name, _summary(snapshot, name, fleet, options), verdicts)


def dry_run(snapshot: Snapshot, name: str, options: FleetOptions, keys: Keys = DEFAULT_KEYS) -> Prediction:
    """Where the scheduler would place a unit with these options now; a unit that may stay where it is stays."""
    fleet = _Fleet(snapshot, keys, {name: options})
    ring = fleet.circle(name) or fleet.mutual(name, options)
    if ring:
        return Prediction(name, (), ring)
    found = {site.id: fleet.objections(name, options, site) for site in fleet.sites.values()}
    refused = {machine: each[0] for machine, each in found.items() if each}
    refusals = group(refused)
    free = sorted(set(found) - set(refused), key=lambda machine: fleet.preference(name, options, machine))
    if not free:
        return Prediction(name, (), fleet.waits_for(options) or summarise(refused, refusals), refusals)
    homes = [machine for machine in free if (machine, name) in snapshot.schedule]
    chosen = tuple(sorted(free)) if options.is_global else (homes or free)[:1]
    return Prediction(name, tuple(chosen), f"would go to {', '.join(chosen)}", refusals)


def dry_verdicts(
    snapshot: Snapshot, name: str, options: FleetOptions, keys: Keys = DEFAULT_KEYS
) -> tuple[MachineVerdict, ...]:
    """What each machine would say to a unit with these options, by machine id; its own machine may refuse, too."""
    fleet = _Fleet(snapshot, keys, {name: options})
    return tuple(fleet.dry_verdict(name, options, site) for _, site in sorted(fleet.sites.items()))


def departures(snapshot: Snapshot, machine: str, keys: Keys = DEFAULT_KEYS) -> tuple[Prediction, ...]:
    """Where each unit would go if the machine took none any more, one after the other; or nowhere, with the reason.

    By name, though followers go after those that they follow. Global units are left out: they belong to their
    machine.
    """
    fleet = _Fleet(snapshot, keys)
    return tuple(_departures(fleet, machine))


def _departures(fleet: _Fleet, machine: str) -> Iterator[Prediction]:
    others = [site for site in fleet.sites.values() if site.id != machine]
    found: dict[str, Prediction] = {}
    ahead, again = sorted(fleet.scheduled[machine]), True
    while again:
        again = False
        for name in ahead:
            options = fleet.options(name)
            if isinstance(options, UserError):
                found[name] = Prediction(name, (), str(options).splitlines()[0])
            elif not options.is_global:
                found[name] = _elsewhere(fleet, name, options, others)
                again = fleet.move(name, machine, found[name].machines) or again
        ahead = [name for name in ahead if name in found and not found[name].machines]
    yield from (found[name] for name in sorted(found))


def _elsewhere(fleet: _Fleet, name: str, options: FleetOptions, others: list[Site]) -> Prediction:
    found = {site.id: fleet.objections(name, options, site) for site in others}
    refused = {each: objections[0] for each, objections in found.items() if objections}
    free = sorted(found.keys() - refused.keys(), key=lambda each: fleet.preference(name, options, each))
    if free:
        return Prediction(name, (free[0],), f"would go to {free[0]}")
    refusals = group(refused)
    reason = summarise(refused, refusals) if others else "there is no other machine"
    return Prediction(name, (), reason, refusals)


def drain_blockers(snapshot: Snapshot, machine: str, keys: Keys = DEFAULT_KEYS) -> tuple[Blocker, ...]:
    """The units that no other machine would take from this one, by name. Global units belong to their machine."""
    found = departures(snapshot, machine, keys)
    return tuple(Blocker(each.unit, each.summary) for each in found if not each.machines)


def _summary(snapshot: Snapshot, name: str, fleet: _Fleet, options: FleetOptions) -> str:
    unit = snapshot.units[name]
    now = standing(snapshot, name, strict=True)
    if unit.target is Target.INACTIVE:
        return now.reason or "its target is inactive, so it needs no machine"
    if ring := fleet.circle(name) or fleet.mutual(name, options):
        return ring
    if now.reason:
        return now.reason
    homes = [machine for machine in now.machines if (machine, name) in snapshot.schedule]
    if now.progress is Progress.REACHED and homes:
        rule = "one on every machine that takes it" if options.is_global else "it stays where it runs"
        return _resting(snapshot, unit, homes) or f"{unit.target} on {', '.join(homes)}; {rule}"
    return NO_MACHINE if not fleet.sites else "waiting for the scheduler"


def _resting(snapshot: Snapshot, unit: Unit, homes: list[str]) -> str:
    """Where a launched unit does not run, though it came to that without a failure; "" when it runs everywhere."""
    states = {machine: snapshot.states.get((machine, unit.name)) for machine in homes}
    down = {machine: state for machine, state in states.items() if state is not None and ended(state)}
    if not down:
        return ""
    up = [machine for machine in homes if machine not in down]
    over = [machine for machine, state in down.items() if not state.skipped]
    told = [f"{unit.target} on {', '.join(up)}"] if up else []
    told += [f"it has ended on {', '.join(over)}, where a start runs it again"] if over else []
    told += [f"not started on {machine}: {state.skipped}" for machine, state in down.items() if state.skipped]
    return "; ".join(told)


class _Fleet:
    """A snapshot, indexed for questions about single units."""

    def __init__(self, snapshot: Snapshot, keys: Keys, assumed: Mapping[str, FleetOptions] | None = None) -> None:
        self._snapshot, self._keys = snapshot, keys
        self._options: dict[str, FleetOptions | UserError] = dict(assumed or {})
        self._assumed = frozenset(assumed or ())
        self.scheduled: dict[str, set[str]] = defaultdict(set)
        self.stopping: dict[str, set[str]] = defaultdict(set)
        for machine, unit in self._pairs(Table.SCHEDULE):
            self.scheduled[machine].add(unit)
        for machine, unit in self._pairs(Table.STATES):
            if unit not in self.scheduled[machine]:
                self.stopping[machine].add(unit)

    def _pairs(self, table: Table) -> Iterator[tuple[str, str]]:
        """Keys of a table with two parts, those included whose value does not parse."""
        yield from self._snapshot.schedule if table is Table.SCHEDULE else self._snapshot.states
        yield from ((each.first, each.second) for each in self._corrupt(table))

    def _corrupt(self, table: Table) -> list[Address]:
        addresses = (self._keys.parse(key) for key in self._snapshot.corrupt)
        return [address for address in addresses if address is not None and address.table is table]

    @cached_property
    def sites(self) -> dict[str, Site]:
        """The live machines as placement sees them."""
        snapshot = self._snapshot
        found = {name: site_of(each, snapshot.overrides.get(name)) for name, each in snapshot.machines.items()}
        for address in self._corrupt(Table.OVERRIDES):
            if address.first in found:
                trouble = "its override is corrupt; cordon or uncordon it again"
                found[address.first] = Site(address.first, found[address.first].metadata, trouble=trouble)
        for address in self._corrupt(Table.MACHINES):
            trouble = "its machine record is corrupt; restart fleet-agentd there"
            found[address.first] = Site(address.first, {}, Availability.READY, trouble=trouble)
        return found

    def options(self, name: str) -> FleetOptions | UserError:
        """A unit's options by its wish, else by what is scheduled or runs; an error that says why not."""
        if name not in self._options:
            self._options[name] = self._read(name)
        return self._options[name]

    def _read(self, name: str) -> FleetOptions | UserError:
        sha256 = self._hash(name)
        file = self._snapshot.files.get(sha256)
        if file is None:
            return UserError(
                f"the unit file {sha256[:7]} of {name} is missing or corrupt; submit it with --replace"
            )
        return _options(file.text, name)

    def _hash(self, name: str) -> str:
        if unit := self._snapshot.units.get(name):
            return unit.hash
        lines = [line.hash for (_, unit), line in sorted(self._snapshot.schedule.items()) if unit == name]
        states = [state.hash for (_, unit), state in sorted(self._snapshot.states.items()) if unit == name]
        return next(iter(lines + states), "")

    def verdict(self, name: str, options: FleetOptions, site: Site) -> MachineVerdict:
        """What one machine says to a unit."""
        units = len(self.scheduled[site.id])
        if name in self.scheduled[site.id]:
            return MachineVerdict(site.id, Verdict.HERE, units)
        if name in self.stopping[site.id]:
            return MachineVerdict(site.id, Verdict.STOPPING, units)
        reasons = tuple(each.reason for each in self.objections(name, options, site))
        return MachineVerdict(site.id, Verdict.REFUSED if reasons else Verdict.ELIGIBLE, units, reasons)

    def dry_verdict(self, name: str, options: FleetOptions, site: Site) -> MachineVerdict:
        """What one machine would say to a unit with other options than it has now."""
        units, here = len(self.scheduled[site.id]), name in self.scheduled[site.id]
        reasons = tuple(each.reason for each in self.objections(name, options, site))
        verdict = Verdict.REFUSED if reasons else Verdict.HERE if here else Verdict.ELIGIBLE
        return MachineVerdict(site.id, verdict, units, reasons)

    def move(self, name: str, machine: str, to: tuple[str, ...]) -> bool:
        """Suppose that the unit went there; False when it goes nowhere."""
        for target in to:
            self.scheduled[machine].discard(name)
            self.scheduled[target].add(name)
        return bool(to)

    def places_of(self, name: str) -> tuple[MachineVerdict, ...]:
        """The machines that have the unit; of the others nothing is known."""
        here = [machine for machine in sorted(self.sites) if name in self.scheduled[machine]]
        return tuple(MachineVerdict(machine, Verdict.HERE, len(self.scheduled[machine])) for machine in here)

    def objections(self, name: str, options: FleetOptions, site: Site) -> tuple[Objection, ...]:
        """Everything that stands between a unit and a machine. A unit that is there already asks for less."""
        found = list(static_objections(options, site))
        settled = name in self.scheduled[site.id]
        if (
            not settled
            and (several := ambiguity(options, self.sites))
            and site.id.startswith(options.machine_id or "")
        ):
            found.append(several)
        found += (leader_objection(each) for each in options.machine_of if each not in self.scheduled[site.id])
        if (not settled or site.leaving) and (closed := availability_objection(site)):
            found.append(closed)
        found += self._rivals(name, options, site.id)
        return tuple(sorted(found, key=lambda each: each.rule.value))

    def _rivals(self, name: str, options: FleetOptions, machine: str) -> Iterator[Objection]:
        for stopping, others in ((False, self.scheduled[machine]), (True, self.stopping[machine])):
            for other in sorted(others - {name}):
                if any(matches(pattern, other) for pattern in options.replaces):
                    continue
                theirs = self._known_options(other)
                found = conflict_objection(name, options, other, theirs, stopping=stopping)
                if found:
                    yield found

    def _known_options(self, name: str) -> FleetOptions:
        options = self.options(name)
        return ANYWHERE if isinstance(options, UserError) else options

    def preference(self, name: str, options: FleetOptions, machine: str) -> tuple[int, str]:
        """The order among eligible machines, as if the units that this one replaces were not there."""
        others = self.scheduled[machine] - {name}
        replaced = sum(1 for other in others if any(matches(pattern, other) for pattern in options.replaces))
        return preference(len(others) - replaced, machine)

    def circle(self, name: str) -> str:
        """The ring of MachineOf that the unit is part of, "" when there is none."""
        return cycle(name, lambda each: self._known_options(each).machine_of if self._wanted(each) else ())

    def _wanted(self, name: str) -> bool:
        unit = self._snapshot.units.get(name)
        return name in self._assumed or (unit is not None and unit.target.scheduled)

    def mutual(self, name: str, options: FleetOptions) -> str:
        """Why it may not replace what it names: one of those replaces it, too."""
        for other in sorted(self._snapshot.units) if options.replaces else ():
            if other == name or not self._wanted(other):
                continue
            theirs = self._known_options(other).replaces
            if theirs and _any(options.replaces, other) and _any(theirs, name):
                return replace_each_other(name, other)
        return ""

    def waits_for(self, options: FleetOptions) -> str:
        """The unit to follow that is scheduled nowhere, told in one line."""
        everywhere = set().union(*self.scheduled.values())
        for leader in options.machine_of if self.sites else ():
            if leader not in everywhere:
                return f"waits for {leader}, which is scheduled nowhere (MachineOf)"
        return ""


def _any(patterns: tuple[str, ...], name: str) -> bool:
    return any(matches(pattern, name) for pattern in patterns)


@lru_cache(maxsize=4096)
def _parse(text: str) -> UnitFile:
    return parse(text)


def _options(text: str, name: str) -> FleetOptions | UserError:
    """A unit's options by its text: read once for all units of a text that says the same to each."""
    if not uses_specifiers(_parse(text)):
        shared = _shared_options(text)
        if shared is not None:
            return shared
    return _own_options(text, name)


@lru_cache(maxsize=4096)
def _shared_options(text: str) -> FleetOptions | None:
    """None when the text is wrong: then each unit is told so under its own name."""
    try:
        return parse_options(_parse(text), "any.service")
    except UserError:
        return None


@lru_cache(maxsize=1 << 15)
def _own_options(text: str, name: str) -> FleetOptions | UserError:
    try:
        return parse_options(_parse(text), name)
    except UserError as error:
        return error
