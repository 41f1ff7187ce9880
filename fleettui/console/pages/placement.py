"""Why a unit is where it is, or is not: its places, what every machine says, and what would happen then. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from fleettui.console.pages.rich_text import RichLine, RichText, fact, plain, rich_line, title
from fleettui.console.tables.units import host, in_words, writer_name
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import counted, since
from fleettui.console.text.subject import machine_subject
from fleettui.escape import escape
from placement.explain import MachineVerdict, Verdict, explain
from placement.preview import Prediction, preview_drain, preview_loss
from placement.room import needs
from registry.errors import UserError
from registry.keys import DEFAULT_KEYS, Keys
from registry.lifecycle import Progress, applied, standing, whereabouts
from registry.mirror import Snapshot
from registry.model import Assignment, Event, UnitState
from registry.units.amounts import shown_span
from registry.units.file import parse
from registry.units.options import FleetOptions, parse_options
from registry.wording import listed


@dataclass(frozen=True, slots=True)
class Prospect:
    """What becomes of a unit: where it goes (a machine's id), or "" with the reason why nowhere."""

    machine: str
    reason: str = ""


def options_of(snapshot: Snapshot, unit: str) -> FleetOptions | None:
    """The unit's options; None when its file is missing or does not parse."""
    record = snapshot.units.get(unit)
    file = snapshot.files.get(record.hash) if record else None
    return options_from(file.text, unit) if file else None


def options_from(text: str, name: str) -> FleetOptions | None:
    """The fleet options of a text; None when they do not parse."""
    try:
        return parse_options(parse(text), name)
    except UserError:
        return None


def if_lost(snapshot: Snapshot, unit: str, machine: str, keys: Keys = DEFAULT_KEYS) -> Prospect:
    """Where the unit goes when its machine is gone for good, with everything on it."""
    return _prospect_of(preview_loss(snapshot, machine, unit, keys))


def if_drained(snapshot: Snapshot, unit: str, machine: str, keys: Keys = DEFAULT_KEYS) -> Prospect:
    """Where the unit goes when its machine is drained; nowhere: it stays and blocks the drain."""
    found = next((each for each in preview_drain(snapshot, (machine,), keys)[machine] if each.unit == unit), None)
    return _prospect_of(found) if found else Prospect(machine, "it belongs to its machine")


def _prospect_of(found: Prediction) -> Prospect:
    return Prospect(found.machines[0]) if found.machines else Prospect("", found.summary)


PROGRESS_TONES = {
    Progress.REACHED: Tone.GOOD,
    Progress.UNDER_WAY: Tone.BUSY,
    Progress.WAITING: Tone.WAIT,
    Progress.FAILED: Tone.BAD,
}
VERDICTS = {
    Verdict.HERE: Cell("● here      ", Tone.GOOD),
    Verdict.STOPPING: Cell("◐ stopping  ", Tone.BUSY),
    Verdict.ELIGIBLE: Cell("○ could     ", Tone.PLAIN),
    Verdict.REFUSED: Cell("◌ refuses   ", Tone.WAIT),
}
ORDER = tuple(VERDICTS)
ONE_BY_ONE = 24  # more machines than this are told in groups
GROUPS_SHOWN = 16
NAME_WIDTH = 14
PLACING = frozenset({"place", "move"})
PROSPECTS_SHOWN = 3


def placement_page(snapshot: Snapshot, unit: str, now: float, keys: Keys = DEFAULT_KEYS) -> RichText:
    """Where the unit is, where it should be, what stands between, and what if."""
    told, options = explain(snapshot, unit, keys), options_of(snapshot, unit)
    return [
        plain(in_words(snapshot, told.summary), Tone.STRONG),
        *_facts(snapshot, unit, now, options),
        *_places(snapshot, unit, now),
        *verdict_lines(snapshot, told.machines, title("machine by machine")),
        *_prospects(snapshot, unit, options, keys),
    ]


def _facts(snapshot: Snapshot, unit: str, now: float, options: FleetOptions | None) -> Iterator[RichLine]:
    found = standing(snapshot, unit)
    yield fact("progress", found.progress.value, PROGRESS_TONES[found.progress])
    record = snapshot.units.get(unit)
    if record:
        yield fact("target", record.target.value)
        yield fact("asked", f"{since(record.at, now)} ago by {escape(record.by) or 'somebody'}")
        yield fact("file", f"{record.hash[:7]}, generation {record.generation}")
    if options is not None:
        yield fact("may run", escape("; ".join(wishes(options)) or "on any machine"))


def wishes(options: FleetOptions) -> Iterator[str]:
    """What the file asks of a machine, in words."""
    if options.is_global:
        yield "on every machine that takes it (Global)"
    if options.machine_id:
        yield f"only on machine {options.machine_id[:12]} (MachineID)"
    for key, values in options.metadata:
        yield f"where {key} is {' or '.join(sorted(values))} (MachineMetadata)"
    if options.machine_of:
        yield f"where {' and '.join(options.machine_of)} is (MachineOf)"
    if options.conflicts:
        yield f"never beside {', '.join(options.conflicts)} (Conflicts)"
    if options.replaces:
        yield f"in the place of {', '.join(options.replaces)} (Replaces)"
    if need := needs(options.reserve):
        yield f"with {need} free"
    yield from preferences(options)


def preferences(options: FleetOptions) -> Iterator[str]:
    """What the file would rather have of the machines that it may run on, in words."""
    if options.spread:
        yield f"rather where few of its template are, by {options.spread} (SpreadOver)"
    for key, values in options.prefer:
        yield f"rather where {key} is {' or '.join(sorted(values))} (PreferMetadata)"
    if options.sticky:
        yield "rather where it was last (Sticky)"
    if (limit := options.move_after) is not None:
        often = f"{limit.failures} times in {shown_span(limit.within_s)}"
        yield f"rather not where it has failed {often} (MoveAfterFailures)"


def _places(snapshot: Snapshot, unit: str, now: float) -> RichText:
    where = whereabouts(snapshot)
    schedule = {line.machine: line for line in where.schedule.get(unit, ())}
    states = {state.machine: state for state in where.states.get(unit, ())}
    machines = sorted(schedule.keys() | states.keys())
    page: RichText = []
    for machine in machines[:ONE_BY_ONE]:
        page += title(f"on {host(snapshot, machine)}")
        brought = (
            e for e in snapshot.events.values() if (e.unit, e.machine) == (unit, machine) and e.verb in PLACING
        )
        if placed := max(brought, key=lambda event: event.at, default=None):
            told = f"{since(placed.at, now)} ago by {writer_name(snapshot, placed.actor)}"
            page.append(fact("placed", f"{told}: {why_there(snapshot, placed)}"))
        page += place_facts(schedule.get(machine), states.get(machine), now)
    if len(machines) > ONE_BY_ONE:
        page.append(plain(f"and on {len(machines) - ONE_BY_ONE} more machines", Tone.QUIET))
    return page


def why_there(snapshot: Snapshot, event: Event) -> str:
    """Why the scheduler chose it: its own word, else its rule."""
    return in_words(snapshot, event.reason) or "it fitted, and had the fewest units"


def place_facts(line: Assignment | None, state: UnitState | None, now: float) -> RichText:
    """What the registry knows of a unit on one machine."""
    facts = [fact("scheduled", f"{line.target}, generation {line.generation}" if line else "no longer")]
    if state is None:
        return [*facts, fact("agent", "has not taken it up yet", Tone.BUSY)]
    carried = line is not None and applied(line, state)
    facts.append(fact("agent", "carried out" if carried else "at it", Tone.GOOD if carried else Tone.BUSY))
    words = " ".join(escape(word) for word in (state.load, state.active, state.sub) if word)
    facts.append(fact("systemd", f"{words or 'not loaded'}, since {since(state.since, now)}"))
    if state.main_pid:
        facts.append(fact("main pid", str(state.main_pid)))
    if state.restarts:
        facts.append(fact("restarts", str(state.restarts), Tone.BUSY))
    if state.result and state.result != "success":
        code = f", exit status {state.exit_code}" if state.exit_code is not None else ""
        facts.append(fact("result", escape(state.result) + code, Tone.BAD))
    if state.skipped:
        facts.append(fact("not started", escape(state.skipped), Tone.WAIT))
    if state.error:
        facts.append(fact("error", escape(state.error), Tone.BAD))
    return facts


def verdict_lines(snapshot: Snapshot, machines: Sequence[MachineVerdict], heading: RichText) -> RichText:
    """What every machine says to the unit: one by one, or in groups where they are many."""
    if not machines:
        return [*heading[:1], plain("no machine has joined", Tone.WAIT)]
    ordered = sorted(machines, key=lambda each: (ORDER.index(each.verdict), host(snapshot, each.machine)))
    if len(ordered) <= ONE_BY_ONE:
        return [*heading, *(line for each in ordered for line in _one(snapshot, each))]
    return [*heading, *_groups(snapshot, ordered)]


def _one(snapshot: Snapshot, each: MachineVerdict) -> RichText:
    name = host(snapshot, each.machine)
    first, *more = [in_words(snapshot, reason) for reason in (*each.reasons, *each.notes)] or [""]
    head = f"  {name:<{NAME_WIDTH}} "
    load = Cell(f"{counted(each.units, 'unit'):<11} ", Tone.QUIET)
    line = rich_line(
        Cell(head, Tone.STRONG), VERDICTS[each.verdict], load, Cell(first), to=machine_subject(each.machine)
    )
    indent = Cell(" " * (len(head) + 24))
    return [line, *(rich_line(indent, Cell(reason)) for reason in more)]


def _groups(snapshot: Snapshot, ordered: Iterable[MachineVerdict]) -> Iterator[RichLine]:
    """Machines that say the same, together; the biggest group of each verdict first."""
    found: dict[tuple[Verdict, tuple[str, ...]], list[MachineVerdict]] = defaultdict(list)
    for each in ordered:
        found[each.verdict, each.reasons].append(each)
    groups = sorted(found.items(), key=lambda item: (ORDER.index(item[0][0]), -len(item[1])))
    for (verdict, reasons), members in groups[:GROUPS_SHOWN]:
        members.sort(key=lambda each: (each.units, host(snapshot, each.machine)))
        told = "; ".join(in_words(snapshot, reason) for reason in reasons)
        count = Cell(f"{counted(len(members), 'machine'):<14} ", Tone.STRONG)
        to = machine_subject(members[0].machine)
        yield rich_line(Cell("  "), VERDICTS[verdict], count, Cell(told), to=to)
        names = listed((host(snapshot, each.machine) for each in members), 6)
        yield plain(f"{'':14}{names}", Tone.QUIET)
    rest = sum(len(members) for _, members in groups[GROUPS_SHOWN:])
    if rest:
        yield plain(
            f"  and {counted(rest, 'machine')} more, with {len(groups) - GROUPS_SHOWN} other reasons", Tone.QUIET
        )


def _prospects(snapshot: Snapshot, unit: str, options: FleetOptions | None, keys: Keys) -> RichText:
    """What would become of it without its machine, as things are now."""
    homes = [
        machine for machine, name in sorted(snapshot.schedule) if name == unit and machine in snapshot.machines
    ]
    if options is None or not homes:
        return []
    page = title("what if, as things are now")
    if options.is_global:
        return [
            *page,
            plain("  a global unit goes nowhere else: where its machine is lost, it is not", Tone.PLAIN),
        ]
    for machine in homes[:PROSPECTS_SHOWN]:
        name = host(snapshot, machine)
        page.append(_prospect(snapshot, f"{name} is lost", if_lost(snapshot, unit, machine, keys), "waits"))
        drained = if_drained(snapshot, unit, machine, keys)
        page.append(_prospect(snapshot, f"{name} is drained", drained, "stays and blocks the drain"))
    return page


def _prospect(snapshot: Snapshot, case: str, found: Prospect, otherwise: str) -> RichLine:
    lead = Cell(f"  {case + ':':<24} ", Tone.QUIET)
    if found.machine:
        return rich_line(
            lead, Cell(f"→ {host(snapshot, found.machine)}", Tone.GOOD), to=machine_subject(found.machine)
        )
    return rich_line(lead, Cell(f"it {otherwise}: ", Tone.WAIT), Cell(in_words(snapshot, found.reason)))
