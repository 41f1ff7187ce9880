"""The page of a group, a template or a global unit: how its places are, where, with which file. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace

from fleettui.console.pages.file import SHORT
from fleettui.console.pages.rich_text import RichLine, RichText, plain, rich_line, title
from fleettui.console.tables.rollouts import progress_text, rollout_row, state_cell
from fleettui.console.tables.rows import Health, health_cell
from fleettui.console.tables.units import UnitRow, version_cell
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted, since
from fleettui.console.text.subject import rollout_subject, unit_subject
from fleettui.escape import escape
from registry.lifecycle import Whereabouts
from registry.mirror import Snapshot
from registry.model import UnitHealth
from registry.wording import and_more, listed

VERSION = SHORT + len(" old")
BAR = 24  # cells of the longest bar
SHOWN = 200  # members, the worst first
HOSTS = 12
NAME_WIDTH = 26


def group_page(
    snapshot: Snapshot, name: str, rows: Sequence[UnitRow], now: float, keys: tuple[str, str, str] = ("+", "-", "O")
) -> RichText:
    """How many are well, the spread over machines, versions, health, what rolls, and each member, the worst first.

    `keys`: those for one more, one less, and the template's file for old ones.
    """
    is_global = any(row.is_global for row in rows)
    order = {health: number for number, health in enumerate(Health)}
    members = sorted(rows, key=lambda row: order[row.condition])
    page = [*_head(snapshot, name, members, keys, is_global=is_global)]
    page += _rollouts(snapshot, {row.unit for row in members})
    if members and not is_global:
        page += title("machines")
        page += _spread(members)
    page += title("versions")
    page += _versions(snapshot, name, members, keys[2])
    page += title("on machines" if is_global else "instances")
    page += [_member(snapshot, row, now) for row in members[:SHOWN]]
    if len(members) > SHOWN:
        page.append(plain(f"  {and_more(len(members) - SHOWN)}; the Units view has all", Tone.QUIET))
    return page


def _head(
    snapshot: Snapshot, name: str, members: Sequence[UnitRow], keys: tuple[str, str, str], *, is_global: bool
) -> Iterator[RichLine]:
    conditions = Counter(row.condition for row in members)
    cells: list[Cell] = []
    for health in Health:
        if conditions[health]:
            cells += [health_cell(health, f"{conditions[health]} {health}"), Cell("   ")]
    what = (
        "global: on every machine that can run it"
        if is_global
        else f"template: {counted(len(members), 'instance')}"
    )
    yield rich_line(Cell(what, Tone.STRONG))
    if cells:
        yield rich_line(*cells)
    states = (snapshot.states.get((row.machine, row.unit)) for row in members)
    checked = Counter(state.health for state in states if state and state.health is not UnitHealth.UNCHECKED)
    if checked:
        tones = {UnitHealth.HEALTHY: Tone.GOOD, UnitHealth.UNHEALTHY: Tone.BAD}
        told: list[Cell] = [Cell("checks: ", Tone.QUIET)]
        for each, number in sorted(checked.items()):
            told.append(Cell(f"{number} {each.value}  ", tones.get(each, Tone.BUSY)))
        yield rich_line(*told)
    if not is_global:
        text = f"{keys[0]} starts one more · {keys[1]} destroys the last · :scale {escape(name)} N"
        yield plain(text, Tone.QUIET)


def _rollouts(snapshot: Snapshot, units: set[str]) -> Iterator[RichLine]:
    """The rollouts under way that have one of these units; each line leads to one."""
    for rollout in snapshot.rollouts.values():
        if rollout.state.over or units.isdisjoint(step.unit for step in rollout.steps):
            continue
        row = rollout_row(snapshot, rollout, lambda _, unit: Whereabouts({unit: ()}, {unit: ()}))
        yield rich_line(state_cell(row), Cell(f"  {escape(row.key)}  ", Tone.STRONG), Cell(progress_text(row)),
                        to=rollout_subject(row.key))  # fmt: skip


def _spread(members: Sequence[UnitRow]) -> Iterator[RichLine]:
    """A bar for each machine: how many are well there, and how many are not."""
    here: dict[str, list[UnitRow]] = {}
    for row in members:
        here.setdefault(row.host if row.machine else "on no machine", []).append(row)
    most = max(map(len, here.values()))
    hosts = sorted(here.items(), key=lambda item: (item[0] == "on no machine", -len(item[1]), item[0]))
    for host, rows in hosts[:HOSTS]:
        well = sum(row.condition is Health.ACTIVE for row in rows)
        cells = max(1, len(rows) * BAR // most)
        good = well * cells // len(rows)
        bars = (Cell("█" * good, Tone.GOOD), Cell("▒" * (cells - good), Tone.BAD))
        missing = Cell(f", {len(rows) - well} not active" if well < len(rows) else "", Tone.QUIET)
        yield rich_line(Cell(f"  {host:<20} "), *bars, Cell(f" {len(rows)}", Tone.STRONG), missing)
    if len(hosts) > HOSTS:
        yield plain(f"  {and_more(len(hosts) - HOSTS, 'machines')}", Tone.QUIET)


def _versions(snapshot: Snapshot, name: str, members: Sequence[UnitRow], key: str) -> Iterator[RichLine]:
    record = snapshot.units.get(name)
    if record is None:
        yield plain("  the registry has no file of the template itself", Tone.QUIET)
    by_version: dict[tuple[str, bool], list[str]] = {}
    for row in members:
        by_version.setdefault((row.version or "-", bool(row.old)), []).append(row.label)
    for (version, old), names in sorted(by_version.items(), key=lambda item: (item[0][1], -len(item[1]))):
        of = "the present file" if record and record.hash.startswith(version) else ""
        what: Line = (Cell("old", Tone.BUSY),) if old else (Cell(of, Tone.QUIET),)
        yield rich_line(Cell(f"  {version:<8} ", Tone.STRONG), Cell(f"{len(names):>4}  "), *what,
                        Cell(f"  {listed(names, 4)}", Tone.QUIET))  # fmt: skip
    if record is not None and not any(record.hash.startswith(version) for version, _ in by_version):
        yield rich_line(Cell(f"  {record.hash[:SHORT]:<8} ", Tone.STRONG), Cell("   0  "),
                        Cell("the present file", Tone.QUIET))  # fmt: skip
    hashes = {unit.hash for row in members if (unit := snapshot.units.get(row.unit))}
    if record is not None and not hashes.isdisjoint({*record.history} - {record.hash}):
        yield plain(f"  {key} gives the old ones the template's file, a few at a time", Tone.QUIET)


def _member(snapshot: Snapshot, row: UnitRow, now: float) -> RichLine:
    state = snapshot.states.get((row.machine, row.unit))
    version = version_cell(row, now)
    checked = f" {state.health.value}" if state and state.health is not UnitHealth.UNCHECKED else ""
    return rich_line(
        Cell(f"  {row.label:<{NAME_WIDTH}} "), health_cell(row.condition, f"{row.word:<12}"),
        Cell(f"{'' if row.is_global else row.host:<14} "), replace(version, text=f"{version.text:<{VERSION}}"),
        Cell(f"  {since(row.since, now):>6}{checked}  ", Tone.QUIET),
        Cell(row.reason, Tone.BAD if row.condition is Health.FAILED else Tone.WAIT),
        to=unit_subject(row.unit, row.machine if row.is_global else ""),
    )  # fmt: skip
