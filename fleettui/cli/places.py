"""Where units run and ran: a snapshot and events in; sources on live machines, and what is to be said, out. Pure.

A unit's journal lies on every machine where it ran. The schedule and the states tell where it is. Events, and what
is kept of its failures, tell where it was, as far back as they go; a bulk change is told there as one event that
names neither unit nor machine: after one, a unit may have been anywhere.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from fleettui.cli.words import short_id
from fleettui.remote import JournalSource
from registry.frozen import dataclass, field, replace
from registry.keys import Table
from registry.lifecycle import whereabouts
from registry.mirror import Pair, Snapshot
from registry.model import Event
from registry.wording import listed

PLACES = (Table.CLUSTER, Table.UNITS, Table.SCHEDULE, Table.STATES, Table.MACHINES)
RUNS = frozenset({"active", "activating", "reloading", "refreshing"})
BULK = frozenset({"place", "move", "withdraw"})
MOST = 48  # machines that are asked for a journal beside those where the unit is
SHOWN = 5


@dataclass(frozen=True, slots=True)
class UnitPlaces:
    """Where units are: sources on live machines, and what is to be said of the others.

    `guesses` are ids of machines where a unit may have run: that they do not answer says nothing of it.
    """

    names: tuple[str, ...]
    sources: tuple[JournalSource, ...]
    complaints: Mapping[str, str]  # by unit
    snapshot: Snapshot
    notes: tuple[str, ...] = ()
    guesses: frozenset[str] = frozenset()


@dataclass(slots=True)
class _Past:
    """Machines where each unit was, newest first, and whether events leave some out."""

    of: dict[str, dict[str, None]] = field(default_factory=dict)
    bulk: bool = False


def places(snapshot: Snapshot, names: Iterable[str]) -> UnitPlaces:
    """Each unit's live machines; what is nowhere, unknown or on a lost machine is complained of."""
    names = tuple(names)
    where = whereabouts(snapshot)
    sources: list[JournalSource] = []
    complaints: dict[str, str] = {}
    for name in names:
        ids = {line.machine for line in where.schedule.get(name, ())}
        ids |= {state.machine for state in where.states.get(name, ())}
        live = [snapshot.machines[machine] for machine in sorted(ids) if machine in snapshot.machines]
        sources += [JournalSource(machine, name) for machine in live]
        if not ids and name not in snapshot.units:
            complaints[name] = f"Unit {name} does not exist; see: fleetctl list-unit-files"
        elif not live:
            complaints[name] = f"Unit {name} does not appear to be loaded."
    return UnitPlaces(names, tuple(sources), complaints, snapshot)


def with_past(found: UnitPlaces, events: Iterable[Event], failed: Iterable[Pair] = ()) -> UnitPlaces:
    """The same with the machines where the units ran before, the newest first; `failed`: where they did."""
    past = _past(events, found.names)
    for id_, name in failed:
        past.of[name].setdefault(id_)
    machines = found.snapshot.machines
    asked = {(source.machine.id, source.unit) for source in found.sources}
    known = [(id_, name) for name, ids in past.of.items() for id_ in ids]
    away = list(dict.fromkeys(id_ for id_, _ in known if id_ not in machines))
    wanted = [pair for pair in known if pair[0] in machines and pair not in asked]
    there = [name for name in found.names if name in found.snapshot.units] if past.bulk else []
    guessed = [(id_, name) for name in there for id_ in sorted(machines)]
    told = {id_ for id_, _ in (*asked, *known)}
    every = list(dict.fromkeys(id_ for id_, _ in (*wanted, *guessed)))
    taken = set(every[:MOST])
    pairs = dict.fromkeys(pair for pair in (*wanted, *guessed) if pair[0] in taken and pair not in asked)
    sources = (*found.sources, *(JournalSource(machines[id_], name) for id_, name in pairs))
    explained = {name for _, name in known}
    notes = []
    if away:
        told_away = listed(map(short_id, away), SHOWN)
        notes.append(f"not in the fleet now, so what was written there is missing: {told_away}")
    if left := [each for each in every if each not in taken]:
        others = listed(map(short_id, left), SHOWN)
        notes.append(f"asked are the {MOST} machines of last, so what may be on others is missing: {others}")
    return replace(
        found,
        sources=sources,
        complaints={name: text for name, text in found.complaints.items() if name not in explained},
        notes=tuple(notes),
        guesses=frozenset(taken - told),
    )


def _past(events: Iterable[Event], names: Collection[str]) -> _Past:
    past = _Past({name: {} for name in names})
    for event in sorted(events, key=lambda each: each.id, reverse=True):
        if event.machine and event.unit in past.of:
            past.of[event.unit][event.machine] = None
        elif not event.unit and not event.machine and event.verb in BULK:
            past.bulk = True
    return past


def present(found: UnitPlaces) -> tuple[JournalSource, ...]:
    """The sources where the units are now."""
    return places(found.snapshot, found.names).sources


def host_names(sources: Iterable[JournalSource]) -> dict[str, str]:
    """What to call each machine whose host name another one has as well."""
    machines = {source.machine.id: source.machine for source in sources}
    names = [machine.hostname for machine in machines.values()]
    return {id_: f"{each.hostname}({id_[:8]})" for id_, each in machines.items() if names.count(each.hostname) > 1}


class MoveTracker:
    """Tells where units run as the registry's states say, whenever that has become another place."""

    def __init__(self, snapshot: Snapshot, names: Iterable[str]) -> None:
        self._names = tuple(names)
        self._told = _running(snapshot, self._names)

    def news(self, snapshot: Snapshot) -> list[str]:
        """A line for each unit that runs elsewhere than was told last. One that runs nowhere is waited for."""
        running = _running(snapshot, self._names)
        lines = []
        for name in self._names:
            now, before = running[name], self._told[name]
            if not now or now == before:
                continue
            if len(now) <= SHOWN or not now & before:
                lines.append(f"{name} is on {self._hosts(snapshot, now)} now")
            elif now - before:
                lines.append(f"{name} is on {self._hosts(snapshot, now - before)} now, too")
            else:
                lines.append(f"{name} is no longer on {self._hosts(snapshot, before - now)}")
        self._told |= {name: ids for name, ids in running.items() if ids}
        return lines

    @staticmethod
    def _hosts(snapshot: Snapshot, ids: Collection[str]) -> str:
        hosts = sorted(
            snapshot.machines[id_].hostname if id_ in snapshot.machines else short_id(id_) for id_ in ids
        )
        return listed(hosts, SHOWN)


def _running(snapshot: Snapshot, names: Iterable[str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = {name: set() for name in names}
    for (machine, unit), state in snapshot.states.items():
        if unit in found and state.active in RUNS and machine in snapshot.machines:
            found[unit].add(machine)
    return {name: frozenset(ids) for name, ids in found.items()}
