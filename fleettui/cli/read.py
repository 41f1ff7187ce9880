"""`fleetctl why` and `events`: reading what the registry knows of units, without changing it."""

from __future__ import annotations

import os
from argparse import Namespace
from collections.abc import Iterator
from contextlib import aclosing

from fleettui.actions.crashes import failure_of, newest_crashes, read_crashes, what_is_kept
from fleettui.actions.operator import Operator
from fleettui.actions.pins import newest_versions
from fleettui.actions.progress import judged
from fleettui.actions.reading import find_machine, read_machines
from fleettui.cli.cat import unit_names
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import FAILED, OK
from fleettui.cli.lists import tell_corrupt
from fleettui.cli.output import ListFormat, complain, print_json, print_json_line, say, table
from fleettui.cli.words import local_time, place, short_id
from fleettui.escape import clause
from placement.explain import MachineVerdict, Verdict, explain
from registry.errors import CorruptRecord
from registry.frozen import dataclass
from registry.keys import Keys, Table
from registry.lifecycle import Progress, UnitProgress, ended, standing_here, whereabouts
from registry.mirror import Snapshot
from registry.model import Assignment, Event, Unit, UnitState
from registry.records import decode
from registry.sync.listing import read_snapshot
from registry.units.name import matches, normalise_pattern
from registry.units.pins import outdated

JUDGING = tuple(table for table in Table if table not in (Table.EVENTS, Table.CRASHES, Table.CONTENTS))
EVENT_FIELDS = ("time", "who", "what", "unit", "machine", "why")


async def why(flags: Namespace) -> int:
    """Say where units stand, and every machine's verdict where they are not where they should be."""
    async with open_operator(read_settings(flags, os.environ)) as operator:
        names = await unit_names(operator, flags.names, running=True)
        snapshot = await read_snapshot(operator.etcd, operator.keys, JUDGING)
        where = await newest_crashes(operator, names)
        lost = (address for (machine, _), address in where.items() if machine not in snapshot.machines)
        crashes = {each.unit: each for each in await read_crashes(operator, lost)}
    tell_corrupt(snapshot)
    unknown = [name for name in names if name not in snapshot.units]
    for name in unknown:
        complain(f"Unit {name} not found; see: fleetctl list-unit-files")
    newest = newest_versions(snapshot)
    explanations = [UnitExplanation.of(snapshot, name, operator.keys) for name in names if name not in unknown]
    if flags.json:
        print_json([explanation.record() for explanation in explanations])
    else:
        for explanation in explanations:
            for line in explanation.lines(snapshot):
                say(line)
            for need in outdated(_text_of(snapshot, explanation.unit), newest):
                say(f"  {need} has a newer version; to roll it out: fleetctl rollout {explanation.unit.name}")
            if crash := crashes.get(explanation.unit.name):
                told = f"{failure_of(crash)} at {local_time(crash.failed_at)}, which is not in the fleet now"
                say(f"  It {told}; {what_is_kept(crash)}: fleetctl journal {crash.unit}")
    return FAILED if unknown else OK


def _text_of(snapshot: Snapshot, unit: Unit) -> str:
    """The unit's file; "" where the registry does not have it."""
    file = snapshot.files.get(unit.hash)
    return file.text if file is not None else ""


@dataclass(frozen=True, slots=True)
class UnitOnMachine:
    """How a unit is on one of its machines. `words` says it to people. Pure."""

    machine: str
    standing: UnitProgress
    words: str
    down: bool  # it was launched there and has ended

    @classmethod
    def of(cls, snapshot: Snapshot, name: str, line: Assignment | None, state: UnitState | None) -> UnitOnMachine:
        """What is true on the machine of this schedule line or state."""
        here = standing_here(snapshot, name, line, state, strict=True)
        words = _verdict(here)
        if here.progress is Progress.REACHED and state is not None:
            activity = f"{state.active} ({state.sub})" if state.active else "not known yet"
            words = f"not started: {here.reason}" if here.reason else activity
        down = state is not None and ended(state)
        return cls(line.machine if line else state.machine if state else "", here, words, down)


@dataclass(frozen=True, slots=True)
class UnitExplanation:
    """A unit's standing, with how it is on each of its machines and every machine's verdict on it. Pure."""

    unit: Unit
    standing: UnitProgress
    verdicts: tuple[MachineVerdict, ...]
    places: tuple[UnitOnMachine, ...]

    @classmethod
    def of(cls, snapshot: Snapshot, name: str, keys: Keys) -> UnitExplanation:
        """The explanation of a unit of the registry."""
        where = whereabouts(snapshot)
        lines = {line.machine: line for line in where.schedule.get(name, ())}
        states = {state.machine: state for state in where.states.get(name, ())}
        places = tuple(
            UnitOnMachine.of(snapshot, name, lines.get(each), states.get(each)) for each in {**lines, **states}
        )
        return cls(
            snapshot.units[name], judged(snapshot, name, where), explain(snapshot, name, keys).machines, places
        )

    def lines(self, snapshot: Snapshot) -> Iterator[str]:
        """The standing in one line; then, for a unit that has not arrived, a line for each machine."""
        name, found = self.unit.name, self.standing
        where = ", ".join(place(machine, snapshot.machines) for machine in found.machines)
        well = found.progress is Progress.REACHED and not any(e.down or e.standing.reason for e in self.places)
        apart = len(self.places) > 1 and not well
        verdict = "it has ended" if self._has_ended else _verdict(found)
        if where and not apart:  # a reason may itself end in a place, or in a remedy
            verdict += f" (on {where})" if ": " in verdict else f" on {where}"
        yield f"{name}: wanted {self.unit.target}; {verdict}"
        for each in self.places if apart else ():
            yield f"  {place(each.machine, snapshot.machines)}  {each.words}"
        if self._has_ended:
            yield f"  See: fleetctl journal {name}; fleetctl start {name} runs it again"
        elif found.progress is Progress.FAILED:
            yield f"  See: fleetctl journal {name}; fleetctl start {name} tries again"
        elif found.progress is not Progress.REACHED:
            told = {each.machine for each in self.places} if apart else set()
            for one in self.verdicts:
                if one.machine not in told:
                    words = "; ".join(one.reasons) or ": ".join(
                        (one.verdict, *filter(None, ["; ".join(one.notes)]))
                    )
                    yield f"  {place(one.machine, snapshot.machines)}  {words}"
        else:
            for one in self.verdicts:
                if one.verdict is Verdict.HERE and one.notes:
                    yield f"  {place(one.machine, snapshot.machines)}  {'; '.join(one.notes)}"

    @property
    def _has_ended(self) -> bool:
        """Whether it was launched and runs nowhere any more, without having failed."""
        return self.standing.progress is Progress.REACHED and bool(self.places) and all(e.down for e in self.places)

    def record(self) -> dict[str, object]:
        """The same for programs."""
        return {
            "unit": self.unit.name,
            "wanted": self.unit.target,
            "progress": self.standing.progress,
            "reason": self.standing.reason,
            "machines": self.standing.machines,
            "places": [
                {"machine": each.machine, "progress": each.standing.progress, "reason": each.standing.reason}
                for each in self.places
            ],
            "verdicts": [
                {"machine": e.machine, "verdict": e.verdict, "reasons": e.reasons, "notes": e.notes}
                for e in self.verdicts
            ],
        }


def _verdict(found: UnitProgress) -> str:
    words = {Progress.REACHED: "it is", Progress.UNDER_WAY: "under way", Progress.WAITING: "waiting"}
    said = words.get(found.progress, "failed")
    return f"{said}: {clause(found.reason)}" if found.reason else said


async def events(flags: Namespace) -> int:
    """Print the newest events, and those to come with --follow."""
    async with open_operator(read_settings(flags, os.environ)) as operator:
        machine = flags.machine or ""
        if machine and len(machine) < 32:
            machines, overrides, unread = await read_machines(operator)
            machine = find_machine(machine, machines, {*overrides, *unread}, unread)
        wanted = _Wanted(normalise_pattern(flags.unit) if flags.unit else "", machine)
        listing = await operator.etcd.range(operator.keys.table(Table.EVENTS))
        found = [event for kv in listing.kvs if (event := _event(operator, kv.key, kv.value)) and wanted(event)]
        old = sorted(found, key=lambda event: event.id)
        _print_events(old[-flags.lines :] if flags.lines else [], flags)
        if flags.follow:
            await _follow(operator, flags, wanted, listing.revision + 1)
    return OK


class _Wanted:
    """Whether an event is about the unit and the machine asked for."""

    def __init__(self, unit: str, machine: str) -> None:
        self._unit, self._machine = unit, machine

    def __call__(self, event: Event) -> bool:
        if self._machine and event.machine != self._machine:
            return False
        if not self._unit:
            return True
        # An act on many units is one event that lists them: "100 units: web@1.service, web@2.service".
        listed = [] if event.unit else event.reason.partition(": ")[2].split(", ")
        return any(matches(self._unit, name) for name in (event.unit, *listed) if name)


async def _follow(operator: Operator, flags: Namespace, wanted: _Wanted, revision: int) -> None:
    stream = operator.etcd.watch(operator.keys.table(Table.EVENTS), revision)
    async with aclosing(stream):
        async for batch in stream:
            new = [
                event
                for change in batch.changes
                if change.kv and (event := _event(operator, change.key, change.kv.value)) and wanted(event)
            ]
            _print_events(new, flags, more=True)


def _event(operator: Operator, key: str, value: bytes) -> Event | None:
    address = operator.keys.parse(key)
    if address is None and operator.keys.stray(key):
        complain(f"WARNING: {CorruptRecord(key, 'no event can be called so; delete it')}")
    try:
        record = decode(address, value, key) if address else None
    except CorruptRecord as error:
        complain(f"WARNING: {error}")
        return None
    return record if isinstance(record, Event) else None


def _print_events(events: list[Event], flags: Namespace, *, more: bool = False) -> None:
    if flags.json and (more or flags.follow):
        for event in events:
            print_json_line(event_record(event))
    elif flags.json:
        print_json([event_record(event) for event in events])
    elif events or not more:
        form = ListFormat(EVENT_FIELDS, legend=not (more or flags.no_legend))
        cells = []
        for event in events:
            reason = event.reason if len(event.reason) <= 120 else f"{event.reason[:117]}..."
            where = event.unit, short_id(event.machine)
            cells.append([local_time(event.at), event.actor, event.verb, *where, reason])
        for line in table(cells, form):
            print(line, flush=True)


def event_record(event: Event) -> dict[str, object]:
    """An event for programs; `at` is seconds since the epoch."""
    return {
        "id": event.id,
        "at": event.at,
        "actor": event.actor,
        "writer": event.writer,
        "verb": event.verb,
        "unit": event.unit,
        "machine": event.machine,
        "reason": event.reason,
    }
