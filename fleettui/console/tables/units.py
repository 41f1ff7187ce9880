"""The Units table: one row per unit and place; templates and global units gather theirs. Pure.

`UnitRows` makes rows of snapshots and returns which changed. What it yields depends on the snapshot alone, not on
the path there: told what changed, it looks at those units only; told nothing, it looks at all. What a template's
row is made of is kept as its instances change: a change costs the same with few and many.

What units use is looked up in the agents' reports; a figure stands for a process that lives, so who shows one asks
for its state first.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TypeVar

from fleettui.actions.pins import newest_versions
from fleettui.console.tables.rows import SEVERITY, Column, CorruptNames, Delta, Health, health, health_cell
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import natural, share, since, size
from fleettui.escape import escape
from registry.errors import UserError
from registry.keys import Address, Table
from registry.lifecycle import Progress, UnitProgress, Whereabouts, standing, standing_here
from registry.mirror import Pair, Snapshot
from registry.model import Machine, Unit, UnitState, Usage
from registry.units.file import parse as parse_file
from registry.units.name import parse as parse_name
from registry.units.name import refusal
from registry.units.options import parse_options
from registry.units.pins import PINS_SECTION, NeedKind, outdated

N = TypeVar("N", int, float)


@dataclass(frozen=True, slots=True)
class Meter:
    """A unit's memory in bytes and its part of one cpu; None where not reported."""

    memory: int | None = None
    cpu: float | None = None
    estimated: bool = False

    def __add__(self, other: Meter) -> Meter:
        memory, cpu = _sum(self.memory, other.memory), _sum(self.cpu, other.cpu)
        return Meter(memory, cpu, self.estimated or other.estimated)

    @property
    def memory_text(self) -> str:
        """ "18 M", "~18 M" where it was summed over processes, "-" where not known."""
        if self.memory is None:
            return "-"
        return f"{'~' if self.estimated else ''}{size(self.memory)}"

    @property
    def texts(self) -> tuple[str, str]:
        """The texts of its columns."""
        return self.memory_text, share(self.cpu)


UNKNOWN = Meter()


class Meters:
    """The reports, indexed by unit as long as they stay the same."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Usage, dict[str, Meter]]] = {}

    def of(self, snapshot: Snapshot, machine: str, unit: str) -> Meter:
        """What the unit uses there."""
        usage = snapshot.usage.get(machine)
        return self._index(usage).get(unit, UNKNOWN) if usage else UNKNOWN

    def changed(self, snapshot: Snapshot, machine: str) -> set[str]:
        """The units whose figures read differently since the machine was last asked about."""
        _, before = self._known.pop(machine, (None, {}))
        usage = snapshot.usage.get(machine)
        now = self._index(usage) if usage else {}
        return {
            unit
            for unit in before.keys() | now.keys()
            if before.get(unit, UNKNOWN).texts != now.get(unit, UNKNOWN).texts
        }

    def _index(self, usage: Usage) -> dict[str, Meter]:
        known = self._known.get(usage.machine)
        if known is None or known[0] is not usage:
            index = {unit: Meter(memory, cpu, usage.estimated) for unit, memory, cpu in usage.units}
            known = self._known[usage.machine] = (usage, index)
        return known[1]


def memory_cell(meter: Meter) -> Cell:
    """The memory, for a column."""
    return Cell(meter.memory_text, Tone.QUIET)


def cpu_cell(meter: Meter) -> Cell:
    """The part of a cpu, for a column; more than half of one is worth a look."""
    return Cell(share(meter.cpu), Tone.PLAIN if (meter.cpu or 0) >= 0.5 else Tone.QUIET)


def _sum(one: N | None, other: N | None) -> N | None:
    return other if one is None else one if other is None else one + other


@dataclass(frozen=True, slots=True)
class UnitRow:
    """A unit on one machine, a unit on none, or a group (template, global unit) that gathers such rows."""

    key: str
    unit: str  # as the registry has it: not escaped
    parent: str = ""
    is_group: bool = False
    is_global: bool = False
    target: str = "-"
    condition: Health = Health.INACTIVE
    word: str = ""  # systemd's active state, or what is going on
    sub: str = "-"
    machine: str = ""  # id
    host: str = "-"
    since: float = 0.0
    restarts: int | None = None
    reason: str = ""
    drifting: bool = False
    running: int = 0  # of a group: how many rows are active
    members: int = 0
    meter: Meter = UNKNOWN
    version: str = ""  # the beginning of the hash of the file that it runs, or has; of a group, if that is one
    old: int = 0  # 1 where that is not the newest; of a group: how many rows are so

    @property
    def label(self) -> str:
        """What stands in the first column."""
        return self.host if self.key != self.unit else escape(self.unit)

    @property
    def troubled(self) -> bool:
        """Whether it is not as it should be: failed, pending or drifting."""
        return self.drifting or self.condition in (Health.FAILED, Health.PENDING)

    @property
    def well(self) -> bool:
        """Whether it is as it was asked to be, and nothing is under way."""
        return not self.troubled and self.condition is not Health.BUSY

    @property
    def search(self) -> str:
        """The text that a filter's words are looked for in."""
        return f"{self.unit} {self.condition} {self.word} {self.host} {self.reason}".lower()

    def facet(self, name: str) -> str | float | None:  # noqa: PLR0911 - one each; a dict of all is slow
        """The facets of the filter."""
        match name:
            case "state":
                return f"{self.condition} {self.word}"
            case "machine":
                return f"{self.host} {self.machine}"
            case "is":
                return f"{'drifting' if self.drifting else 'settled'} {'old' if self.old else 'new'}"
            case "target" | "sub" | "unit" | "version" | "since":
                return getattr(self, name)  # type: ignore[no-any-return]
            case "why":
                return self.reason
            case "restarts":
                return math.nan if self.restarts is None else self.restarts
            case "mem":
                return math.nan if self.meter.memory is None else self.meter.memory
            case "cpu":
                return math.nan if self.meter.cpu is None else self.meter.cpu
        return None


def _tally(row: UnitRow) -> str:
    return f"  {row.running} of {row.members}" if row.members else ""


def _unit_cell(row: UnitRow, _now: float) -> Cell:
    if row.is_group:
        return Cell(row.label + _tally(row), Tone.STRONG)
    return Cell(row.label)


def _restarts(row: UnitRow, _now: float) -> Cell:
    if row.restarts is None:
        return Cell("-", Tone.QUIET)
    return Cell(str(row.restarts), Tone.BUSY if row.restarts else Tone.QUIET)


def _reason(row: UnitRow, _now: float) -> Cell:
    tones = {Health.FAILED: Tone.BAD, Health.PENDING: Tone.WAIT}
    return Cell(row.reason, tones.get(row.condition, Tone.QUIET))


def _quiet(text: str) -> Cell:
    return Cell(text, Tone.QUIET)


def _version_text(row: UnitRow) -> str:
    if row.members:
        return f"{row.old} old" if row.old else row.version or "mixed"
    return f"{row.version} old" if row.old else row.version or "-"


def version_cell(row: UnitRow, _now: float) -> Cell:
    """The version, and whether it is an old one; of a group how many are old."""
    return Cell(_version_text(row), Tone.BUSY if row.old else Tone.QUIET)


COLUMNS: tuple[Column[UnitRow], ...] = (
    Column("unit", "UNIT", 44, _unit_cell, lambda row: (natural(row.unit), natural(row.host)), middle=True,
           longest=lambda row: len(row.label) + len(_tally(row))),
    Column("target", "TARGET", 9, lambda row, _: _quiet(row.target), lambda row: row.target, drop=3),
    Column("active", "ACTIVE", 14, lambda row, _: health_cell(row.condition, row.word),
           lambda row: SEVERITY[row.condition]),
    Column("sub", "SUB", 11, lambda row, _: _quiet(row.sub), lambda row: row.sub, drop=7),
    Column(
        "machine", "MACHINE", 20,
        lambda row, _: Cell(row.host, Tone.QUIET if row.host == "-" else Tone.PLAIN),
        lambda row: natural(row.host), longest=lambda row: len(row.host), middle=True,
    ),
    Column("since", "SINCE", 7, lambda row, now: _quiet(since(row.since, now)), lambda row: -row.since, drop=2),
    Column("restarts", "RESTARTS", 8, _restarts, lambda row: -(row.restarts or 0), drop=4, right=True, falls=True),
    Column("version", "VERSION", 11, version_cell, lambda row: (-row.old, row.version), drop=6,
           longest=lambda row: len(_version_text(row)), falls=True),
    Column("mem", "MEM", 6, lambda row, _: memory_cell(row.meter), lambda row: -(row.meter.memory or -1), drop=5,
           right=True, falls=True),
    Column("cpu", "CPU", 6, lambda row, _: cpu_cell(row.meter), lambda row: -(row.meter.cpu or -1.0), drop=8,
           right=True, falls=True),
    Column("why", "WHY", 0, _reason, lambda row: (not row.reason, row.reason)),
)  # fmt: skip


class RowSummary:
    """Rows, counted by what a group shows of them."""

    def __init__(self, rows: Iterable[UnitRow] = ()) -> None:
        self.conditions: Counter[Health] = Counter()
        self._words: defaultdict[Health, Counter[str]] = defaultdict(Counter)
        self._reasons: defaultdict[Health, Counter[str]] = defaultdict(Counter)
        self._targets: Counter[str] = Counter()
        self._versions: Counter[str] = Counter()
        self._drifting = self._old = 0
        self._metered: dict[str, UnitRow] = {}
        for row in rows:
            self.put(row)

    def put(self, row: UnitRow) -> None:
        """Count a row in."""
        self._count(row, 1)
        if row.meter != UNKNOWN:
            self._metered[row.key] = row

    def drop(self, row: UnitRow) -> None:
        """Count a row out, as it was put in."""
        self._count(row, -1)
        self._metered.pop(row.key, None)

    def _count(self, row: UnitRow, step: int) -> None:
        _step(self.conditions, row.condition, step)
        _step(self._words[row.condition], row.word, step)
        _step(self._targets, row.target, step)
        if row.reason:
            _step(self._reasons[row.condition], row.reason, step)
        _step(self._versions, row.version, step)
        self._drifting += step * row.drifting
        self._old += step * row.old

    def __len__(self) -> int:
        return self.conditions.total()

    def group(self, head: UnitRow) -> UnitRow:
        """The row that stands for them: as bad as the worst, with how many are where they should be."""
        if not self:
            return replace(head, word=head.word if head.is_global else "no instances")
        worst = next(condition for condition in Health if self.conditions[condition])
        target = next(iter(self._targets)) if len(self._targets) == 1 else "mixed"
        return replace(
            head,
            condition=worst,
            word=min(self._words[worst]),
            target=head.target if head.is_global else target,
            running=self.conditions[Health.ACTIVE],
            members=len(self),
            reason=head.reason or min(self._reasons[worst], default=""),
            drifting=bool(self._drifting),
            version=next(iter(self._versions)) if len(self._versions) == 1 else "",
            old=self._old,
            meter=sum((self._metered[key].meter for key in sorted(self._metered)), UNKNOWN),
        )


def _step(counts: Counter[Health] | Counter[str], what: str, step: int) -> None:
    """Count up or down; what reaches 0 is deleted."""
    counts[what] += step  # type: ignore[index] # a Health is a text
    if not counts[what]:  # type: ignore[index]
        del counts[what]


class Replaced:
    """Which files instances of a name gave up for which others: for those whose template has no record."""

    def __init__(self) -> None:
        # by template and file: the files that came after it, and when the last of them did
        self._by_name: dict[str, dict[str, dict[str, float]]] = {}

    def index(self, snapshot: Snapshot, template: str, names: Iterable[str]) -> bool:
        """Look at all its instances again; return whether anything differs."""
        found: dict[str, dict[str, float]] = {}
        for record in (snapshot.units[name] for name in names if name in snapshot.units):
            for earlier in record.history:
                if earlier != record.hash:
                    after = found.setdefault(earlier, {})
                    after[record.hash] = max(record.at, after.get(record.hash, 0.0))
        before = self._by_name.pop(template, {})
        if found:
            self._by_name[template] = found
        return found != before

    def has_old(self, template: str, record: Unit) -> bool:
        """Whether another instance went on from the file of this one, which did not come back to it since."""
        after = self._by_name.get(template, {}).get(record.hash, {})
        return any(each not in record.history or at > record.at for each, at in after.items())


SHORT = 7  # digits of a version
BY_UNIT = {Table.UNITS, Table.PENDING}
BY_PAIR = {Table.SCHEDULE, Table.STATES}
IRRELEVANT = {Table.EVENTS, Table.FILES, Table.OVERRIDES, Table.DUPLICATES}


class UnitRows:
    """The units as rows."""

    def __init__(self) -> None:
        self._corrupt = CorruptNames(Table.UNITS)
        self._forget()

    def _forget(self) -> None:
        self._rows: dict[str, dict[str, UnitRow]] = {}  # unit -> its rows by key
        self._totals = dict.fromkeys(Health, 0)
        self._groups: dict[str, UnitRow] = {}
        self._members: dict[str, set[str]] = defaultdict(set)  # template -> instances
        self._summaries: dict[str, RowSummary] = defaultdict(RowSummary)  # template -> what its row shows
        self._places: dict[str, set[str]] = defaultdict(set)  # unit -> machines that schedule or hold it
        self._global_files: dict[str, bool] = {}
        self._meters = Meters()
        self._replaced = Replaced()
        self._rolling: dict[str, str] = {}  # unit -> the file that a rollout under way is to give it
        self._newest: dict[tuple[NeedKind, str], str] = {}  # of configs and secrets, the newest version

    def update(self, snapshot: Snapshot, changed: Collection[Address] | None = None) -> Delta[UnitRow]:
        """Return the rows that differ from the last call. `changed` None: anything may have changed."""
        stale = self._stale_units(snapshot, changed)
        reset = stale is None
        if stale is None:
            self._forget()
            for machine, unit in (*snapshot.schedule, *snapshot.states):
                self._places[unit].add(machine)
            stale = {*self._places, *snapshot.units, *self._corrupt.of(snapshot)}
        fresh: dict[str, UnitRow] = {}
        gone: set[str] = set()
        templates: set[str] = set()
        if changed is None:
            self._rolling, self._newest = rolling(snapshot), newest_versions(snapshot)
            self._index_replaced(snapshot)
        for unit in stale:
            self._replace(unit, self._build(snapshot, unit), fresh, gone)
            if (template := _template(unit)) is not None:
                templates.add(template)
                if template != unit:
                    present = unit in self._rows
                    (self._members[template].add if present else self._members[template].discard)(unit)
        for template in templates:
            self._update_group(snapshot, template, fresh, gone)
        return Delta(fresh, frozenset(gone - fresh.keys()), reset)

    def _index_replaced(self, snapshot: Snapshot) -> None:
        instances = defaultdict[str, list[str]](list)
        for name in snapshot.units:
            instances[_parent(name)].append(name)
        for template, names in instances.items():
            if template:
                self._replaced.index(snapshot, template, names)

    def rows(self) -> dict[str, UnitRow]:
        """All rows by key, groups too."""
        return {**{key: row for rows in self._rows.values() for key, row in rows.items()}, **self._groups}

    def counts(self) -> dict[Health, int]:
        """How many rows (groups left out) are in each condition."""
        return dict(self._totals)

    def rows_of(self, unit: str) -> tuple[UnitRow, ...]:
        """The rows of one unit."""
        return tuple(row for row in self._rows.get(unit, {}).values() if not row.is_group)

    def every(self) -> Iterator[UnitRow]:
        """All rows but those of groups."""
        return (row for rows in self._rows.values() for row in rows.values() if not row.is_group)

    def rows_on(self, snapshot: Snapshot, machine: str) -> dict[str, UnitRow]:
        """A row for each unit that is scheduled on the machine or held by it, by unit; none is a group."""
        units = sorted(unit for unit, machines in self._places.items() if machine in machines)
        rows = {}
        for unit in units:
            line, state = snapshot.schedule.get((machine, unit)), snapshot.states.get((machine, unit))
            is_global = self._is_global(snapshot, unit)
            own = standing_here(snapshot, unit, line, state)
            here = own if is_global else standing(snapshot, unit, self.where(snapshot, unit))
            rows[unit] = self._row(snapshot, unit, "", here, machine, state, is_global=is_global)
        return rows

    def places(self, units: Iterable[str]) -> Iterator[Pair]:
        """Where these units are scheduled or held, as (machine, unit), sorted by unit and then by machine."""
        return (
            (machine, unit)
            for unit in sorted(set(units), key=natural)
            for machine in sorted(self._places.get(unit, ()))
        )

    def instances(self, template: str) -> tuple[str, ...]:
        """The instances known of a template, sorted."""
        return tuple(sorted(self._members.get(template, ()), key=natural))

    def _stale_units(self, snapshot: Snapshot, changed: Collection[Address] | None) -> set[str] | None:
        """The units to look at again; None for all."""
        if changed is None:
            return None
        units: set[str] = set()
        for address in changed:
            if address.table in BY_UNIT:
                units |= {address.first, *self._members.get(address.first, ())}  # instances may be old now
                units |= self._outrun(snapshot, address.first)
            elif address.table is Table.ROLLOUTS:
                known, self._rolling = self._rolling, rolling(snapshot)
                units |= {unit for unit, _ in known.items() ^ self._rolling.items()}
            elif address.table in (Table.CONFIG, Table.SECRETS):
                self._newest = newest_versions(snapshot)
                units.update(
                    unit.name for unit in snapshot.units.values() if self._lags(snapshot, unit) is not None
                )
            elif address.table in BY_PAIR:
                units.add(address.second)
                pair = (address.first, address.second)
                present = pair in snapshot.schedule or pair in snapshot.states
                places = self._places[address.second]
                (places.add if present else places.discard)(address.first)
            elif address.table is Table.USAGE:
                units |= self._meters.changed(snapshot, address.first)
            elif address.table not in IRRELEVANT:  # a machine, the leader, the cluster
                units |= self._telling(address.first)
        return units

    def _outrun(self, snapshot: Snapshot, unit: str) -> set[str]:
        """The instances beside this one, where a change of its record makes a file of theirs old, or no longer."""
        template = _parent(unit)
        beside = self._members.get(template, set()) | {unit}
        return beside if template and self._replaced.index(snapshot, template, beside) else set()

    def _telling(self, machine: str) -> set[str]:
        """The units on a machine, and all that are not as asked or say why: it names machines, or who decides."""
        rows = ((unit, row) for unit, rows in self._rows.items() for row in rows.values())
        here = {unit for unit, machines in self._places.items() if machine in machines}
        return here | {unit for unit, row in rows if row.reason or row.drifting}

    def _replace(self, unit: str, rows: dict[str, UnitRow], fresh: dict[str, UnitRow], gone: set[str]) -> None:
        old = self._rows.get(unit, {})
        fresh.update((key, row) for key, row in rows.items() if old.get(key) != row)
        gone.update(old.keys() - rows.keys())
        self._count(old, -1)
        self._count(rows, 1)
        template = _template(unit)
        if template is not None and template != unit:  # an instance counts for its template's row
            for row in old.values():
                if not row.is_group:
                    self._summaries[template].drop(row)
            for row in rows.values():
                if not row.is_group:
                    self._summaries[template].put(row)
        if rows:
            self._rows[unit] = rows
        else:
            self._rows.pop(unit, None)

    def _count(self, rows: dict[str, UnitRow], step: int) -> None:
        for row in rows.values():
            if not row.is_group:
                self._totals[row.condition] += step

    def _update_group(self, snapshot: Snapshot, template: str, fresh: dict[str, UnitRow], gone: set[str]) -> None:
        summary = self._summaries[template]
        if not summary and template not in snapshot.units:
            if self._groups.pop(template, None):
                gone.add(template)
            return
        group = summary.group(UnitRow(template, template, is_group=True, target="template"))
        if self._groups.get(template) != group:
            self._groups[template] = group
            fresh[template] = group

    def _build(self, snapshot: Snapshot, unit: str) -> dict[str, UnitRow]:
        """All rows of one unit, by key. A template has none of its own."""
        if _template(unit) == unit:
            return {}
        where = self.where(snapshot, unit)
        if self._is_global(snapshot, unit):
            rows = self._global_rows(snapshot, unit, where)
            head = RowSummary(row for key, row in rows.items() if key != unit).group(rows[unit])
            return {**rows, unit: head}
        row = self._single_row(snapshot, unit, where)
        return {row.key: row} if row else {}

    def _single_row(self, snapshot: Snapshot, unit: str, where: Whereabouts) -> UnitRow | None:
        lines, states = where.schedule[unit], where.states[unit]
        if unit not in snapshot.units and not lines and not states:
            corrupt = self._corrupt.of(snapshot).get(unit, "")
            return UnitRow(
                unit, unit, _parent(unit), condition=Health.FAILED, word="corrupt",
                reason=escape(f"its registry record does not parse: {corrupt}"), drifting=True,
            ) if corrupt else None  # fmt: skip
        line = lines[0] if lines else None
        state = next((each for each in states if line and each.machine == line.machine), None)
        if state is None and states:
            state = states[0]
        machine = line.machine if line else state.machine if state else ""
        return self._row(snapshot, unit, _parent(unit), standing(snapshot, unit, where), machine, state)

    def _global_rows(self, snapshot: Snapshot, unit: str, where: Whereabouts) -> dict[str, UnitRow]:
        lines = {line.machine: line for line in where.schedule[unit]}
        states = {state.machine: state for state in where.states[unit]}
        now = standing(snapshot, unit, where)
        rows = {unit: self._row(snapshot, unit, _parent(unit), now, "", None, is_group=True, is_global=True)}
        for machine in sorted(lines.keys() | states.keys()):
            line, state, key = lines.get(machine), states.get(machine), f"{unit} {machine}"
            here = standing_here(snapshot, unit, line, state)
            rows[key] = self._row(snapshot, unit, unit, here, machine, state, key=key, is_global=True)
        return rows

    def _row(
        self, snapshot: Snapshot, unit: str, parent: str, here: UnitProgress, machine: str, state: UnitState | None,
        *, key: str = "", is_group: bool = False, is_global: bool = False,
    ) -> UnitRow:  # fmt: skip
        """One row, made whole at once: a copy with one more figure costs as much again."""
        record = snapshot.units.get(unit)
        condition = health(here, state)
        there = snapshot.states.get((machine, unit))
        version, old = self._version(snapshot, unit, machine, there)
        return UnitRow(
            key=key or unit,
            unit=unit,
            parent=parent,
            is_group=is_group,
            is_global=is_global,
            target=record.target if record else "destroyed",
            condition=condition,
            word=_word(condition, here, state, record.target if record else "inactive"),
            sub=escape(state.sub) if state and state.sub else "-",
            machine=machine,
            host=host(snapshot, machine),
            since=state.since if state else 0.0,
            restarts=state.restarts if state and state.active else None,
            reason=in_words(snapshot, here.reason or _mishap(state)),
            drifting=here.progress is not Progress.REACHED,
            meter=self._meters.of(snapshot, machine, unit) if there and there.main_pid else UNKNOWN,  # of a process
            version=version,
            old=old,
        )

    def _version(self, snapshot: Snapshot, unit: str, machine: str, state: UnitState | None) -> tuple[str, int]:
        """The version that the unit has there, and 1 if it is an old one.

        That is: not the file that its record names, one that a rollout replaces, an earlier one of its template (or
        of other instances, where that has no record), or one with an earlier version of a config.
        """
        record = snapshot.units.get(unit)
        if record is None:
            return state.hash[:SHORT] if state else "", 0
        runs = state.hash if state and state.hash else record.hash
        parent = _parent(unit)
        template = snapshot.units.get(parent)
        if template is None:
            earlier = bool(parent) and self._replaced.has_old(parent, record)
        else:
            earlier = record.hash != template.hash and record.hash in template.history
        wanted = self._rolling.get(unit) or record.version_on(machine)[0]
        return runs[:SHORT], int(earlier or runs != wanted or bool(self._lags(snapshot, record)))

    def _lags(self, snapshot: Snapshot, record: Unit) -> bool | None:
        """Whether a config or a secret of the unit has a newer version; None for a unit that has none of them."""
        file = snapshot.files.get(record.hash)
        if file is None or PINS_SECTION not in file.text:
            return None
        return bool(outdated(file.text, self._newest))

    def group(self, template: str) -> UnitRow | None:
        """The row of a template; None for none."""
        return self._groups.get(template)

    def where(self, snapshot: Snapshot, unit: str) -> Whereabouts:
        """The unit's schedule lines and states."""
        return Whereabouts.of(snapshot, unit, self._places.get(unit, ()))

    def _is_global(self, snapshot: Snapshot, unit: str) -> bool:
        record = snapshot.units.get(unit)
        file = snapshot.files.get(record.hash) if record else None
        if record is None or file is None:
            return False
        known = self._global_files.get(record.hash)
        if known is None:
            try:
                known = "Global" in file.text and parse_options(parse_file(file.text), unit).is_global
            except UserError:
                known = False
            self._global_files[record.hash] = known
        return known


def rolling(snapshot: Snapshot) -> dict[str, str]:
    """The file that each unit of a rollout under way is to have in the end."""
    return {
        step.unit: step.old if rollout.back else step.new
        for rollout in snapshot.rollouts.values()
        if not rollout.state.over
        for step in rollout.steps
    }


@lru_cache(maxsize=1 << 16)
def _template(unit: str) -> str | None:
    """The template that a name belongs to; None for plain names and for what is no unit name at all."""
    return None if "@" not in unit or refusal(unit) else parse_name(unit).template


def _parent(unit: str) -> str:
    template = _template(unit)
    return template if template and template != unit else ""


def host(snapshot: Snapshot, machine: str) -> str:
    """A machine as tables name it: its host name, also the last known one, else the short id; "-" for none."""
    if not machine:
        return "-"
    record = snapshot.machines.get(machine) or snapshot.absent.get(machine)
    return escape(record.hostname) if record else f"{machine[:8]}..."


_ID = re.compile(r"\b([0-9a-f]{8,})(\.\.\.)?")
_BEGINNING = 8  # digits that every short id has


class Beginnings:
    """The ids of one table of machines by their beginnings, found once for as long as it is the same table."""

    def __init__(self) -> None:
        self._machines: Mapping[str, Machine] | None = None
        self._ids: dict[str, list[str]] = {}

    def find(self, machines: Mapping[str, Machine], beginning: str) -> str:
        """The first id that begins so; "" for none. A beginning has at least eight digits."""
        if machines is not self._machines:
            self._machines, self._ids = machines, {}
            for each in machines:
                self._ids.setdefault(each[:_BEGINNING], []).append(each)
        found = self._ids.get(beginning[:_BEGINNING], ())
        return next((each for each in found if each.startswith(beginning)), "")


_here, _gone = Beginnings(), Beginnings()


def in_words(snapshot: Snapshot, text: str) -> str:
    """Text of the registry, escaped, with machines called by their host names, also the last known ones."""

    def name(match: re.Match[str]) -> str:
        machine, cut = match[1], match[2]
        if cut:
            machine = _here.find(snapshot.machines, machine) or _gone.find(snapshot.absent, machine) or machine
        known_here = machine in snapshot.machines or machine in snapshot.absent
        return host(snapshot, machine) if known_here else match[0]

    return _ID.sub(name, escape(text)) if text else ""


_WRITER = re.compile(r"(agent|scheduler) ([0-9a-f]{8})")


def writer_name(snapshot: Snapshot, actor: str) -> str:
    """Who wrote an event, escaped: a program is called by its machine's host name, also the last known one."""
    if found := _WRITER.fullmatch(actor):
        machine = _here.find(snapshot.machines, found[2]) or _gone.find(snapshot.absent, found[2])
        return f"{found[1]} {host(snapshot, machine)}" if machine else actor
    return escape(actor)


def _word(condition: Health, here: UnitProgress, state: UnitState | None, target: str) -> str:
    if condition is Health.FAILED:
        return "failed"
    if condition is Health.PENDING:
        return "pending"
    active = escape(state.active) if state else ""
    if condition is Health.BUSY and active not in ("activating", "deactivating", "reloading"):
        return _doing(here, target, placed=state is not None)
    return active or "inactive"


def _doing(here: UnitProgress, target: str, *, placed: bool) -> str:
    if target == "inactive" or here.reason.startswith("being stopped"):
        return "stopping"
    if not placed:
        return "placing" if not here.machines else "loading"
    return "starting" if target == "launched" else "stopping"


def _mishap(state: UnitState | None) -> str:
    """Why a loaded unit is not running, from its systemd result."""
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
