"""The Units table: one row per unit and place; templates and global units gather theirs.

`UnitRows` folds snapshots into rows and tells which changed. What it yields depends on the snapshot alone, never on
the path there: told what changed, it looks at those units only; told nothing, it looks at all.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from fleettui.console.tables.corrupt import CorruptNames
from fleettui.console.tables.gathering import Gathering
from fleettui.console.tables.health import Health, health
from fleettui.console.tables.meters import UNKNOWN, Meters
from fleettui.console.tables.row import Delta
from fleettui.console.tables.unit_row import UnitRow
from fleettui.escape import escape
from registry.errors import UserError
from registry.fleetoptions import parse_options
from registry.keys import Address, Table
from registry.lifecycle import Progress, Standing, Whereabouts, standing, standing_here
from registry.mirror import Pair, Snapshot
from registry.model import UnitState
from registry.unitfile import parse as parse_file
from registry.unitname import parse as parse_name
from registry.unitname import refusal

BY_UNIT = {Table.UNITS, Table.PENDING}
BY_PAIR = {Table.SCHEDULE, Table.STATES}
IRRELEVANT = {Table.EVENTS, Table.FILES, Table.OVERRIDES, Table.DUPLICATES}


class UnitRows:
    """Folds snapshots into unit rows."""

    def __init__(self) -> None:
        self._corrupt = CorruptNames(Table.UNITS)
        self._forget()

    def _forget(self) -> None:
        self._rows: dict[str, dict[str, UnitRow]] = {}  # unit -> its rows by key
        self._totals = dict.fromkeys(Health, 0)
        self._groups: dict[str, UnitRow] = {}
        self._members: dict[str, set[str]] = defaultdict(set)  # template -> instances
        self._gathered: dict[str, Gathering] = defaultdict(Gathering)  # template -> what its row tells
        self._places: dict[str, set[str]] = defaultdict(set)  # unit -> machines that schedule or hold it
        self._global_files: dict[str, bool] = {}
        self._meters = Meters()

    def fold(self, snapshot: Snapshot, changed: Collection[Address] | None = None) -> Delta[UnitRow]:
        """The rows that differ from the last call. `changed` None: anything may have."""
        touched = self._touched(snapshot, changed)
        reset = touched is None
        if touched is None:
            self._forget()
            self._index(snapshot)
            touched = {*self._places, *snapshot.units, *self._corrupt.of(snapshot)}
        fresh: dict[str, UnitRow] = {}
        gone: set[str] = set()
        templates: set[str] = set()
        for unit in touched:
            self._replace(unit, self._build(snapshot, unit), fresh, gone)
            templates |= self._regroup(unit)
        for template in templates:
            self._gather(snapshot, template, fresh, gone)
        return Delta(fresh, frozenset(gone - fresh.keys()), reset)

    def counts(self) -> dict[Health, int]:
        """How many rows (groups left out) are in each condition."""
        return dict(self._totals)

    def rows_of(self, unit: str) -> tuple[UnitRow, ...]:
        """The rows of one unit."""
        return tuple(row for row in self._rows.get(unit, {}).values() if not row.is_group)

    def every(self) -> Iterator[UnitRow]:
        """All rows but groups."""
        return (row for rows in self._rows.values() for row in rows.values() if not row.is_group)

    def rows_on(self, snapshot: Snapshot, machine: str) -> dict[str, UnitRow]:
        """A row for each unit that is scheduled on the machine or held by it, by unit; none is a group."""
        units = sorted(unit for unit, machines in self._places.items() if machine in machines)
        return {unit: self._row_on(snapshot, unit, machine) for unit in units}

    def _row_on(self, snapshot: Snapshot, unit: str, machine: str) -> UnitRow:
        line, state = snapshot.schedule.get((machine, unit)), snapshot.states.get((machine, unit))
        is_global = self._is_global(snapshot, unit)
        own = standing_here(snapshot, unit, line, state)
        here = own if is_global else standing(snapshot, unit, self.where(snapshot, unit))
        row = _row(snapshot, unit, "", here, machine, state)
        return self._metered(snapshot, replace(row, is_global=is_global))

    def places(self, units: Iterable[str]) -> Iterator[Pair]:
        """Where these units are scheduled or held, as (machine, unit), sorted by unit and then by machine."""
        return ((machine, unit) for unit in sorted(set(units)) for machine in sorted(self._places.get(unit, ())))

    def instances(self, template: str) -> tuple[str, ...]:
        """The instances known of a template, sorted."""
        return tuple(sorted(self._members.get(template, ())))

    def _touched(self, snapshot: Snapshot, changed: Collection[Address] | None) -> set[str] | None:
        """The units to look at again; None for all."""
        if changed is None:
            return None
        units: set[str] = set()
        for address in changed:
            if address.table in BY_UNIT:
                units.add(address.first)
            elif address.table in BY_PAIR:
                units.add(address.second)
                self._place(snapshot, address.first, address.second)
            elif address.table is Table.USAGE:
                units |= self._meters.changed(snapshot, address.first)
            elif address.table not in IRRELEVANT:
                return None  # a machine's name, the leader and the cluster are on many rows
        return units

    def _index(self, snapshot: Snapshot) -> None:
        for machine, unit in (*snapshot.schedule, *snapshot.states):
            self._places[unit].add(machine)

    def _place(self, snapshot: Snapshot, machine: str, unit: str) -> None:
        pair = (machine, unit)
        if pair in snapshot.schedule or pair in snapshot.states:
            self._places[unit].add(machine)
        else:
            self._places[unit].discard(machine)

    def _replace(self, unit: str, rows: dict[str, UnitRow], fresh: dict[str, UnitRow], gone: set[str]) -> None:
        old = self._rows.get(unit, {})
        fresh.update((key, row) for key, row in rows.items() if old.get(key) != row)
        gone.update(old.keys() - rows.keys())
        self._count(old, -1)
        self._count(rows, 1)
        self._enter(unit, old, rows)
        if rows:
            self._rows[unit] = rows
        else:
            self._rows.pop(unit, None)

    def _count(self, rows: dict[str, UnitRow], step: int) -> None:
        for row in rows.values():
            if not row.is_group:
                self._totals[row.condition] += step

    def _enter(self, unit: str, old: dict[str, UnitRow], rows: dict[str, UnitRow]) -> None:
        """Keep what an instance's template tells of it."""
        template = _template(unit)
        if template is None or template == unit:
            return
        gathering = self._gathered[template]
        for row in old.values():
            if not row.is_group:
                gathering.drop(row)
        for row in rows.values():
            if not row.is_group:
                gathering.put(row)

    def _regroup(self, unit: str) -> set[str]:
        """Keep the membership of templates; returns the templates whose group row may differ."""
        template = _template(unit)
        if template is None:
            return set()
        if template != unit:
            present = unit in self._rows
            (self._members[template].add if present else self._members[template].discard)(unit)
        return {template}

    def _gather(self, snapshot: Snapshot, template: str, fresh: dict[str, UnitRow], gone: set[str]) -> None:
        gathering = self._gathered[template]
        if not gathering and template not in snapshot.units:
            if self._groups.pop(template, None):
                gone.add(template)
            return
        group = gathering.group(UnitRow(template, template, is_group=True, target="template"))
        if self._groups.get(template) != group:
            self._groups[template] = group
            fresh[template] = group

    def _build(self, snapshot: Snapshot, unit: str) -> dict[str, UnitRow]:
        """All rows of one unit, by key. A template has none of its own."""
        if _template(unit) == unit:
            return {}
        where = self.where(snapshot, unit)
        if self._is_global(snapshot, unit):
            rows = _global_rows(snapshot, unit, where)
            return _headed(unit, {key: self._metered(snapshot, row) for key, row in rows.items()})
        row = _single_row(snapshot, unit, where, self._corrupt.of(snapshot).get(unit, ""))
        return {row.key: self._metered(snapshot, row)} if row else {}

    def _metered(self, snapshot: Snapshot, row: UnitRow) -> UnitRow:
        """The row with what the unit uses, as long as its process lives."""
        state = snapshot.states.get((row.machine, row.unit))
        if state is None or not state.main_pid:
            return row
        meter = self._meters.of(snapshot, row.machine, row.unit)
        return row if meter is UNKNOWN else replace(row, meter=meter)

    def where(self, snapshot: Snapshot, unit: str) -> Whereabouts:
        """The unit's schedule lines and states."""
        pairs = [(machine, unit) for machine in sorted(self._places.get(unit, ()))]
        lines = tuple(snapshot.schedule[pair] for pair in pairs if pair in snapshot.schedule)
        states = tuple(snapshot.states[pair] for pair in pairs if pair in snapshot.states)
        return Whereabouts({unit: lines}, {unit: states})

    def _is_global(self, snapshot: Snapshot, unit: str) -> bool:
        record = snapshot.units.get(unit)
        file = snapshot.files.get(record.hash) if record else None
        if record is None or file is None or "Global" not in file.text:
            return False
        if record.hash not in self._global_files:
            self._global_files[record.hash] = _says_global(file.text, unit)
        return self._global_files[record.hash]


def _says_global(text: str, unit: str) -> bool:
    try:
        return parse_options(parse_file(text), unit).is_global
    except UserError:
        return False


@lru_cache(maxsize=1 << 16)
def _template(unit: str) -> str | None:
    """The template that a name belongs to; None for plain names and for what is no unit name at all."""
    return None if "@" not in unit or refusal(unit) else parse_name(unit).template


def _single_row(snapshot: Snapshot, unit: str, where: Whereabouts, corrupt: str) -> UnitRow | None:
    lines, states = where.schedule[unit], where.states[unit]
    if unit not in snapshot.units and not lines and not states:
        return _corrupt_row(unit, corrupt)
    line = lines[0] if lines else None
    state = next((each for each in states if line and each.machine == line.machine), None)
    if state is None and states:
        state = states[0]
    machine = line.machine if line else state.machine if state else ""
    return _row(snapshot, unit, _parent(unit), standing(snapshot, unit, where), machine, state)


def _corrupt_row(unit: str, reason: str) -> UnitRow | None:
    if not reason:
        return None
    return UnitRow(
        unit, unit, _parent(unit), condition=Health.FAILED, word="corrupt",
        reason=escape(f"its registry record does not parse: {reason}"), drifting=True,
    )  # fmt: skip


def _parent(unit: str) -> str:
    template = _template(unit)
    return template if template and template != unit else ""


def _global_rows(snapshot: Snapshot, unit: str, where: Whereabouts) -> dict[str, UnitRow]:
    lines = {line.machine: line for line in where.schedule[unit]}
    states = {state.machine: state for state in where.states[unit]}
    rows = {}
    for machine in sorted(lines.keys() | states.keys()):
        line, state = lines.get(machine), states.get(machine)
        here = standing_here(snapshot, unit, line, state)
        row = _row(snapshot, unit, unit, here, machine, state)
        rows[f"{unit} {machine}"] = replace(row, key=f"{unit} {machine}", is_global=True)
    head = _row(snapshot, unit, _parent(unit), standing(snapshot, unit, where), "", None)
    return {unit: replace(head, is_group=True, is_global=True), **rows}


def _headed(unit: str, rows: dict[str, UnitRow]) -> dict[str, UnitRow]:
    """The rows of a global unit with the first one standing for the others."""
    return {**rows, unit: Gathering(row for key, row in rows.items() if key != unit).group(rows[unit])}


def _row(
    snapshot: Snapshot, unit: str, parent: str, here: Standing, machine: str, state: UnitState | None
) -> UnitRow:
    record = snapshot.units.get(unit)
    condition = health(here, state)
    return UnitRow(
        key=unit,
        unit=unit,
        parent=parent,
        target=record.target if record else "destroyed",
        condition=condition,
        word=_word(condition, here, state, record.target if record else "inactive"),
        sub=escape(state.sub) if state and state.sub else "-",
        machine=machine,
        host=host(snapshot, machine),
        since=state.since if state else 0.0,
        restarts=state.restarts if state and state.active else None,
        reason=escape(here.reason or _mishap(state)),
        drifting=here.progress is not Progress.REACHED,
    )


def host(snapshot: Snapshot, machine: str) -> str:
    """A machine as tables name it: its host name, or the short id where it is gone; "-" for none."""
    if not machine:
        return "-"
    record = snapshot.machines.get(machine)
    return escape(record.hostname) if record else f"{machine[:8]}..."


def _word(condition: Health, here: Standing, state: UnitState | None, target: str) -> str:
    if condition is Health.FAILED:
        return "failed"
    if condition is Health.PENDING:
        return "pending"
    active = escape(state.active) if state else ""
    if condition is Health.BUSY and active not in ("activating", "deactivating", "reloading"):
        return _doing(here, target, placed=state is not None)
    return active or "inactive"


def _doing(here: Standing, target: str, *, placed: bool) -> str:
    if target == "inactive" or here.reason.startswith("being stopped"):
        return "stopping"
    if not placed:
        return "placing" if not here.machines else "loading"
    return "starting" if target == "launched" else "stopping"


def _mishap(state: UnitState | None) -> str:
    """Why a unit that was carried out is not running, in systemd's words."""
    if state is None or (state.active != "failed" and state.result in ("", "success")):
        return ""
    if state.result == "exit-code" and state.exit_code is not None:
        return f"exited with status {state.exit_code}"
    if state.result in ("signal", "core-dump") and state.exit_code:
        return f"killed by signal {state.exit_code}"
    return f"failed: {state.result}" if state.result else "failed"


def units_named(rows: Iterable[UnitRow], table: UnitRows) -> Iterator[str]:
    """The units that an action on these rows is about: a template's row means its instances."""
    seen: set[str] = set()
    for row in rows:
        names = table.instances(row.key) if row.is_group and not row.is_global else (row.unit,)
        yield from (name for name in names if not (name in seen or seen.add(name)))  # type: ignore[func-returns-value]
