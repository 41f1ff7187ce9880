"""How many units are in which state, all over the fleet, counted again only where something has changed. Pure.

The first count looks at every unit, later ones at those that are marked; who stops asking drops the census, and
nothing is marked for nobody. A unit counts by what the registry holds of it, never by what is decided.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from placement.cluster_state import ClusterState
from placement.pending_reasons import RULES
from placement.unit_entry import UnitEntry
from registry.keys import Address, Table
from registry.lifecycle import applied
from registry.mirror import Mirror
from registry.model import Availability, UnitState
from registry.program.measures import DRIFT, ERRORS, MACHINES, OTHER, PENDING, UNITS, Metric, Sample, active_label

PIECE = 500  # units counted at a stretch

Counted = tuple[Metric, tuple[str, ...]]


class Census:
    """The counts. `mark` what changes; `count` brings them up to date, piece by piece."""

    def __init__(self) -> None:
        self._state: ClusterState | None = None  # whose units were counted
        self._found: dict[str, tuple[Counted, ...]] = {}  # what each unit counts as
        self._counts: Counter[Counted] = Counter()
        self._marked: set[str] = set()

    def mark(self, address: Address) -> None:
        """Note that a record has changed."""
        if address.table in (Table.SCHEDULE, Table.STATES):
            self._marked.add(address.second)
        elif address.table in (Table.UNITS, Table.PENDING):
            self._marked.add(address.first)

    def count(self, state: ClusterState, mirror: Mirror) -> Iterator[None]:
        """Count what was marked since the last time, and everything in another state; yield after each piece."""
        if state is not self._state:
            self._state = state
            self._found, self._counts = {}, Counter()
            self._marked = set(state.entries)
        number = 0
        while self._marked:
            name = self._marked.pop()
            self._counts.subtract(self._found.pop(name, ()))
            entry = state.entries.get(name)
            if entry is not None:
                found = self._found[name] = tuple(_counts_as(entry, mirror))
                self._counts.update(found)
            number += 1
            if number % PIECE == 0:
                yield

    def samples(self) -> Iterator[Sample]:
        """Yield the counts; drift and errors are told also when there are none."""
        for metric in (DRIFT, ERRORS):
            yield Sample(metric, self._counts[metric, ()])
        for (metric, labels), number in self._counts.items():
            if labels and number:
                yield Sample(metric, number, labels)


def _counts_as(entry: UnitEntry, mirror: Mirror) -> Iterator[Counted]:
    if not (entry.unit or entry.held or entry.scheduled or entry.reported or entry.pending_exists):
        return  # it was destroyed, and nothing but where it was is remembered for a while
    target = entry.unit.target.value if entry.unit else "none"
    states: dict[str, UnitState | None] = {
        machine: mirror.row(Table.STATES, Address(Table.STATES, machine, entry.name)) for machine in entry.reported
    }
    for state in states.values():
        yield UNITS, (target, active_label(state.active if state else ""))
    if not states:
        yield UNITS, (target, "none")
    if any(state is not None and state.error for state in states.values()):
        yield ERRORS, ()
    lines = entry.scheduled.items()
    done = all(line is not None and applied(line, states.get(machine)) for machine, line in lines)
    if not done or states.keys() - entry.scheduled.keys():
        yield DRIFT, ()
    if entry.pending_exists:
        rule = entry.pending.rule if entry.pending else ""
        yield PENDING, (rule if rule in RULES else OTHER,)


def machine_samples(state: ClusterState) -> Iterator[Sample]:
    """Yield the machines by state; one that is lost counts as long as units are scheduled there."""
    found = Counter({each.value: 0 for each in Availability} | {"leaving": 0, "unreadable": 0, "lost": 0})
    for site in state.sites.values():
        found["unreadable" if site.trouble else "leaving" if site.leaving else site.availability.value] += 1
    found["lost"] = len(state.absent())
    for word, number in found.items():
        yield Sample(MACHINES, number, (word,))
