"""One unit as decisions see it: what was asked, where it is, where it shall be.

An entry belongs to one cluster state, which alone changes it, so that its indexes stay true.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from placement.eligibility import Site, fits
from placement.options_cache import OptionsError
from registry.mirror import Snapshot
from registry.model import Assignment, FailedPlacement, PastPlacement, Pending, Target, Unit
from registry.units.options import ANYWHERE, FleetOptions


@dataclass(slots=True)
class UnitEntry:
    """Everything about one unit name.

    `scheduled` is what the registry schedules (None: a record that does not parse), `assigned` the machines that
    shall have it once the decisions are carried out, `reported` those that report a state of it, with the file's
    hash ("" when the state does not parse). `held`: the operator's record does not parse, so nothing is changed.
    `pending` is the record in the registry, `due` what it shall say.
    """

    name: str
    unit: Unit | None = None
    held: bool = False
    options: FleetOptions = ANYWHERE
    options_error: OptionsError | None = None
    scheduled: dict[str, Assignment | None] = field(default_factory=dict)
    assigned: set[str] = field(default_factory=set)
    reported: dict[str, str] = field(default_factory=dict)
    pending: Pending | None = None
    pending_exists: bool = False  # also when it does not parse
    due: Pending | None = None
    past: PastPlacement | None = None  # what is remembered of where it was
    past_exists: bool = False  # also when it does not parse
    read_hash: str = ""  # the file that `options` were read from
    beside: tuple[tuple[str, str], ...] = ()  # Quadlets that it needs beside it, with the hashes of their files

    @property
    def wanted(self) -> bool:
        """Whether the operator wants it on a machine."""
        return self.unit is not None and self.unit.target is not Target.INACTIVE

    @property
    def template(self) -> bool:
        """Whether it is `web@.service`, which is never placed itself."""
        return "@." in self.name

    @property
    def family(self) -> str:
        """The template that it is an instance of, such as `web@.service`; "" for a unit of its own."""
        prefix, at, rest = self.name.partition("@")
        return f"{prefix}@.{rest.rpartition('.')[2]}" if at else ""

    @property
    def placeable(self) -> bool:
        """Whether it may be given to a machine at all."""
        return self.wanted and not self.held and self.options_error is None and not self.template

    @property
    def against(self) -> tuple[str, ...]:
        """The patterns of units that it does not share a machine with."""
        return self.options.conflicts + self.options.replaces

    @property
    def hash(self) -> str:
        """The file that speaks for it: the operator's, else what is scheduled, else what runs."""
        if self.unit is not None:
            return self.unit.hash
        scheduled = (line.hash for _, line in sorted(self.scheduled.items()) if line is not None)
        return next(scheduled, "") or next((each for _, each in sorted(self.reported.items()) if each), "")

    def desired(self, machine: str) -> tuple[str, int, Target, int] | None:
        """What the machine's schedule must say (hash, generation, target, attempt); None when it stays as it is."""
        unit = self.unit
        if unit is None or self.held or (self.wanted and self.options_error is not None and not self.template):
            return None
        if unit.on:
            return (*unit.version_on(machine), unit.target, unit.attempt)
        return (unit.hash, unit.generation, unit.target, unit.attempt)

    @property
    def empty(self) -> bool:
        """Whether nothing in the registry speaks of it."""
        return not (
            self.unit
            or self.held
            or self.scheduled
            or self.assigned
            or self.reported
            or self.pending_exists
            or self.past_exists
        )

    def resting_place(self, sites: Mapping[str, Site]) -> Site | None:
        """The machine where it may stay with the line it has, if no other unit is in its way; None: not sure."""
        unit, options = self.unit, self.options
        if unit is None or unit.target is Target.INACTIVE or len(self.assigned) != 1 or self.pending_exists:
            return None
        (machine,) = self.assigned
        line, site = self.scheduled.get(machine), sites.get(machine)
        if line is None or site is None or len(self.scheduled) != 1 or self.stale(machine):
            return None
        if site.leaving or site.trouble or not self.placeable or (self.past is not None and self.past.failed):
            return None
        if options is not ANYWHERE and (options.is_global or options.machine_of or not fits(options, site)):
            return None
        return site

    def stranded(self, sites: Mapping[str, Site]) -> bool:
        """Whether it is assigned to a machine that is lost or leaving."""
        for machine in self.assigned:  # asked for every unit several times: a loop costs half of what any() does
            site = sites.get(machine)
            if site is None or site.leaving:
                return True
        return False

    @property
    def ordered(self) -> str:
        """The machine that an operator has it go to with its present generation; "" for none."""
        if self.unit is None or not self.unit.goes_to:
            return ""
        generation, _, machine = self.unit.goes_to.partition(":")
        return machine if generation == str(self.unit.generation) else ""

    def may_leave_for(self, machine: str) -> bool:
        """Whether it is yet to be started anew where it is, and is to be so on another machine: this one."""
        lines = [self.scheduled.get(each) for each in self.assigned]
        anew = (line for line in lines if line and self.unit and line.generation != self.unit.generation)
        return bool(machine) and machine not in self.assigned and any(anew)

    @property
    def home(self) -> str:
        """The machine that it rather comes back to; "" for none."""
        return self.past.machine if self.past is not None and self.options.sticky else ""

    @property
    def failed_on(self) -> dict[str, FailedPlacement]:
        """The machines on which it has failed too often, and that it rather avoids; by id."""
        if self.past is None or self.unit is None or self.options.move_after is None:
            return {}
        return {each.machine: each for each in self.past.failed if each.generation == self.unit.generation}

    def past_after(self, machine: str) -> PastPlacement | None:
        """What is to be remembered once it has left the machine; None where that is nothing new."""
        if not self.options.sticky or self.unit is None or self.home == machine:
            return None
        return replace(self.past or PastPlacement(self.name), machine=machine)

    def stale(self, machine: str) -> bool:
        """Whether the schedule of `machine` says something else than what is desired."""
        line, desired = self.scheduled[machine], self.desired(machine)
        if desired is None:
            return False
        if line is None or (line.hash, line.generation, line.target, line.attempt) != desired:
            return True
        return line.beside != self.beside

    @property
    def reflected(self) -> bool:
        """Whether the registry holds what was decided last."""
        return (
            self.assigned == self.scheduled.keys()
            and not any(self.stale(machine) for machine in self.scheduled)
            and (self.held or self.recorded)
        )

    @property
    def recorded(self) -> bool:
        """Whether the pending record says what it shall."""
        return self.pending == self.due and self.pending_exists == (self.due is not None)


def entries_of(snapshot: Snapshot) -> dict[str, UnitEntry]:
    """Return an entry for every unit that some record of a snapshot speaks of, by name, with no options yet."""
    found = {name: UnitEntry(name, unit) for name, unit in snapshot.units.items()}

    def entry(name: str) -> UnitEntry:
        return found.get(name) or found.setdefault(name, UnitEntry(name))

    for (machine, name), line in snapshot.schedule.items():
        each = found.get(name) or entry(name)
        each.scheduled[machine] = line
        each.assigned.add(machine)
    for (machine, name), reported in snapshot.states.items():
        each = found.get(name) or entry(name)
        each.reported[machine] = reported.hash
    for name, past in snapshot.placements.items():
        entry(name).past, entry(name).past_exists = past, True
    for name, pending in snapshot.pending.items():
        entry(name).pending, entry(name).pending_exists = pending, True
    return found
