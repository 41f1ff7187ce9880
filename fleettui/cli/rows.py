"""The lists of `fleetctl` as rows: a snapshot in, cells and JSON records out. Pure.

A row gives every field as the text of its column; a record gives the same facts whole, for programs.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from fleettui.cli import fields
from fleettui.cli.words import place, short_hash, short_id
from registry.errors import UserError
from registry.frozen import dataclass
from registry.lifecycle import current, mishap, refused, standing, standing_here, whereabouts
from registry.mirror import Snapshot
from registry.model import (
    Assignment,
    Availability,
    Duplicate,
    Target,
    Unit,
    UnitHealth,
    UnitState,
    effective_metadata,
)
from registry.wording import counted

OWN_ID = "rm /etc/machine-id && systemd-machine-id-setup && systemctl restart fleet-agentd"
RANK = {Target.INACTIVE: 0, Target.LOADED: 1, Target.LAUNCHED: 2}


@dataclass(frozen=True, slots=True)
class ListRow:
    """One line of a list, for people (`cells`) and for programs (`record`)."""

    cells: dict[str, str]
    record: dict[str, object]


def machine_rows(snapshot: Snapshot, *, full: bool) -> Iterator[ListRow]:
    """The live machines by id."""
    counts = Counter(machine for machine, _ in snapshot.schedule)
    for machine in sorted(snapshot.machines.values(), key=lambda each: each.id):
        metadata = effective_metadata(machine, snapshot.overrides.get(machine.id))
        override, twins = snapshot.overrides.get(machine.id), twins_of(snapshot, machine.id)
        state = str("leaving" if machine.leaving else override.availability if override else Availability.READY)
        state += ",held" if machine.held else ""
        state += ",duplicate" if twins else ""
        state += f" id of {', '.join(map(_named, twins))}" if twins and full else ""
        cells = {
            "machine": short_id(machine.id, full=full),
            "ip": machine.address,
            "metadata": ",".join(f"{key}={value}" for key, value in sorted(metadata.items())),
            "hostname": machine.hostname,
            "units": str(counts[machine.id]),
            "state": state,
            "version": machine.agent_version,
        }
        whole = {"machine": machine.id, "metadata": metadata, "units": counts[machine.id]}
        yield ListRow(cells, {**cells, **whole})


def machine_usual(snapshot: Snapshot) -> tuple[str, ...]:
    """The fields that are shown when none is asked for: the state, too, while two machines have one id."""
    twins = any(of in snapshot.machines for of, _ in snapshot.duplicates)
    return (*fields.MACHINES.usual, "state") if twins else fields.MACHINES.usual


def twins_of(snapshot: Snapshot, machine: str) -> list[Duplicate]:
    """The machines that came with the id of this one, by host name."""
    found = (twin for (of, _), twin in snapshot.duplicates.items() if of == machine)
    return sorted(found, key=lambda each: (each.hostname, each.boot_id))


def duplicate_lines(snapshot: Snapshot) -> list[str]:
    """A line for each machine that does nothing because another has its id, with the remedy."""
    return [
        f"WARNING: {_named(twin)} has the id of {place(machine, snapshot.machines, full=True)} and does nothing;"
        f" give one of them an id of its own: {OWN_ID}"
        for machine in sorted({of for of, _ in snapshot.duplicates})
        for twin in twins_of(snapshot, machine)
    ]


def _named(twin: Duplicate) -> str:
    return f"{twin.hostname} at {twin.address}"


def unit_rows(snapshot: Snapshot, *, full: bool) -> Iterator[ListRow]:
    """One row per unit and machine, with what is true there; a unit that waits for a machine has one without."""
    where = whereabouts(snapshot)
    waiting = {name for name, unit in snapshot.units.items() if unit.target.scheduled} & snapshot.pending.keys()
    for name in sorted({*where.schedule, *where.states, *waiting}):
        lines = {line.machine: line for line in where.schedule.get(name, ())}
        states = {state.machine: state for state in where.states.get(name, ())}
        rows = [
            _unit_row(snapshot, name, machine, lines.get(machine), states.get(machine), full=full)
            for machine in sorted({*lines, *states})
        ]
        yield from rows
        verdict = refused(snapshot, name)
        if not rows or (verdict and all(row.cells["reason"] != verdict.reason for row in rows)):
            yield _unit_row(snapshot, name, "", None, None, full=full)


def unit_usual(snapshot: Snapshot) -> tuple[str, ...]:
    """The fields that are shown when none is asked for: health, too, where a unit has a check."""
    checked = any(state.health is not UnitHealth.UNCHECKED for state in snapshot.states.values())
    return (*fields.UNITS.usual, "health") if checked else fields.UNITS.usual


def _unit_row(
    snapshot: Snapshot, name: str, machine: str, line: Assignment | None, state: UnitState | None, *, full: bool
) -> ListRow:
    unit = snapshot.units.get(name)
    sha = state.hash if state else line.hash if line else unit.hash if unit else ""
    here = standing_here(snapshot, name, line, state) if machine else refused(snapshot, name)
    cells = {
        "unit": name,
        "load": state.load if state else "",
        "active": state.active if state else "",
        "sub": state.sub if state else "",
        "health": str(state.health) if state else "",
        "machine": place(machine, snapshot.machines, full=full) if machine else "",
        "hash": short_hash(sha, full=full),
        "reason": (here or standing(snapshot, name)).reason or mishap(state),
    }
    return ListRow(cells, {**cells, "machine": machine, "hash": sha})


def file_rows(snapshot: Snapshot, *, full: bool) -> Iterator[ListRow]:
    """Every unit of the registry by name. `global` and `desc` are known only where the snapshot holds the texts."""
    where = whereabouts(snapshot)
    for unit in sorted(snapshot.units.values(), key=lambda each: each.name):
        states = {state.machine: state for state in where.states.get(unit.name, ())}
        lines = where.schedule.get(unit.name, ())
        machines = [line.machine for line in lines]
        now = min((current(line, states.get(line.machine)) for line in lines), key=RANK.__getitem__, default=None)
        is_global, told = _from_text(snapshot, unit)
        target = place(machines[0], snapshot.machines, full=full) if machines else ""
        cells = {
            "unit": unit.name,
            "hash": short_hash(unit.hash, full=full),
            "dstate": unit.target,
            "state": now or Target.INACTIVE,
            "target": counted(len(machines), "machine") if len(machines) > 1 else target,
            "global": str(is_global).lower(),
            "desc": told,
        }
        yield ListRow(cells, {**cells, "hash": unit.hash, "target": machines, "global": is_global})


def _from_text(snapshot: Snapshot, unit: Unit) -> tuple[bool, str]:
    stored = snapshot.files.get(unit.hash)
    if stored is None:
        return False, ""
    from registry.units.file import description, parse  # noqa: PLC0415 - the same
    from registry.units.options import parse_options  # noqa: PLC0415 - two fields of one list need it

    try:
        file = parse(stored.text)
        return parse_options(file, unit.name).is_global, description(file, unit.name)
    except UserError:
        return False, ""
