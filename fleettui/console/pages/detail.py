"""The pages of a detail: status, events, what is said of what is gone, and which page a tab shows. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleettui.console.operations.relations import run_by
from fleettui.console.pages.dependencies import dependencies_page
from fleettui.console.pages.file import NO_CONFIG, ConfigOrder, content_page, file_page, versions_page
from fleettui.console.pages.group import group_page
from fleettui.console.pages.machine import drain_page, facts_page, metadata_page
from fleettui.console.pages.placement import place_facts, placement_page
from fleettui.console.pages.rich_text import BLANK, RichLine, RichText, plain, rich_line, title
from fleettui.console.pages.rollout import MANY, RolloutOrder, changes_page, progress_page, rollout_events
from fleettui.console.sources.background import Trend
from fleettui.console.sources.hosts import Asked
from fleettui.console.tables.configs import config_told
from fleettui.console.tables.events import GRAVE
from fleettui.console.tables.units import UnitRow, host, in_words, writer_name
from fleettui.console.text.cells import Cell, Tone, ansi_lines
from fleettui.console.text.formatting import age, share, since, size, sparkline, when
from fleettui.console.text.subject import Subject, SubjectKind, Tab, machine_subject, unit_subject
from fleettui.escape import escape
from fleettui.verbs import Verb
from registry.keys import DEFAULT_KEYS, Keys
from registry.lifecycle import Progress, standing, standing_here
from registry.mirror import Snapshot
from registry.model import Event
from registry.wording import and_more

ENDS = frozenset({*(verb for verb in Verb if verb.rules.forgets), Verb.UNDO, Verb.REDO})


def gone_lines(snapshot: Snapshot, subject: Subject, now: float, *, is_group: bool = False) -> RichText:
    """Lines for the top of the page; none while the subject is there, or any instance of it (`is_group`)."""
    if subject.kind is SubjectKind.MACHINE:
        told = "✖ the machine is not registered: its agent is down or cut off"
        return [] if subject.name in snapshot.machines else [plain(told, Tone.BAD), BLANK]
    if subject.kind is not SubjectKind.UNIT:  # their pages say so themselves
        return []
    if subject.name in snapshot.units or is_group:
        return []
    held = any(unit == subject.name for _, unit in (*snapshot.schedule, *snapshot.states))
    rest = "; it is still being stopped" if held else ""
    ends = [event for event in snapshot.events.values() if event.unit == subject.name and event.verb in ENDS]
    last = max(ends, key=lambda event: event.at, default=None)
    who = f": destroyed by {writer_name(snapshot, last.actor)} {since(last.at, now)} ago" if last else ""
    told = f"✖ {escape(subject.name)} is no longer in the registry{who}{rest}"
    hint = "u takes the last action of this console back; n submits a unit file"
    return [plain(told, Tone.BAD), plain(hint, Tone.QUIET), BLANK]


PLACES_SHOWN = 40


def places(snapshot: Snapshot, unit: str, machine: str = "") -> list[str]:
    """The machines that schedule or hold the unit, those that can be asked first; `machine` narrows it to one."""
    ids = sorted(each for each, name in {*snapshot.schedule, *snapshot.states} if name == unit)
    found = [each for each in ids if not machine or each == machine]
    return sorted(found, key=lambda each: (each not in snapshot.machines, (each, unit) not in snapshot.schedule))


def status_page(
    snapshot: Snapshot, unit: str, homes: Sequence[str], asked: Asked, now: float, run_key: str = "T"
) -> RichText:
    """The page of a status: what systemctl printed, or what the registry knows.

    `run_key`: the key that starts now what a timer starts.
    """
    if len(homes) > 1:
        return _many(snapshot, unit, homes)
    if not homes:
        return _nowhere(snapshot, unit, now)
    head = [_age(snapshot, homes[0], asked, now)]
    if runs := run_by(snapshot, unit):
        head.append(rich_line(Cell(f"{run_key} starts ", Tone.QUIET), Cell(escape(runs), Tone.STRONG),
                              Cell(" now", Tone.QUIET), to=unit_subject(runs)))  # fmt: skip
    if asked.text is not None and asked.machine == homes[0]:
        return [*head, BLANK, *((line, None) for line in ansi_lines(asked.text))]
    pair = (homes[0], unit)
    known = place_facts(snapshot.schedule.get(pair), snapshot.states.get(pair), now)
    return [*head, *title("what the registry knows"), *known]


def _age(snapshot: Snapshot, machine: str, asked: Asked, now: float) -> RichLine:
    name = host(snapshot, machine)
    if machine not in snapshot.machines:
        return plain(f"✖ {name} is lost: what it does now is not known", Tone.BAD)
    old = age(now - asked.at) if asked.text is not None and asked.machine == machine else ""
    if asked.error:
        shown = f"  what follows is {old} old" if old else "  what follows is from the registry"
        return rich_line(Cell(f"✖ {escape(asked.error)}", Tone.BAD), Cell(shown, Tone.BUSY))
    if asked.asking or not old:
        doing = Cell(f"◐ asking {name} …", Tone.BUSY)
        return rich_line(doing, Cell(f"  what follows is {old} old" if old else "", Tone.QUIET))
    return rich_line(Cell(f"systemctl status on {name}", Tone.QUIET), Cell(f" · {old} old", Tone.QUIET),
                to=machine_subject(machine))  # fmt: skip


def _nowhere(snapshot: Snapshot, unit: str, now: float) -> RichText:
    record = snapshot.units.get(unit)
    if record is None:
        return [plain(f"{escape(unit)} is not in the registry", Tone.BAD)]
    page = [plain(f"○ {escape(unit)} is on no machine, so no systemd knows it", Tone.STRONG)]
    if reason := standing(snapshot, unit).reason:
        page.append(plain(in_words(snapshot, reason), Tone.WAIT))
    told = f"its target is {record.target}, asked {since(record.at, now)} ago by {escape(record.by) or 'somebody'}"
    return [*page, plain(told, Tone.QUIET)]


def _many(snapshot: Snapshot, unit: str, homes: Sequence[str]) -> RichText:
    """A global unit: one line a machine; each leads to what systemctl says there."""
    page = [plain(f"{escape(unit)} is on {len(homes)} machines; Enter asks one", Tone.STRONG), BLANK]
    for machine in homes[:PLACES_SHOWN]:
        state = snapshot.states.get((machine, unit))
        words = " ".join(escape(word) for word in (state.load, state.active, state.sub) if word) if state else ""
        here = standing_here(snapshot, unit, snapshot.schedule.get((machine, unit)), state, strict=True)
        words += f": {in_words(snapshot, here.reason)}" if words and here.reason else ""
        tone = Tone.BAD if here.progress is Progress.FAILED else Tone.PLAIN
        page.append(rich_line(Cell(f"  {host(snapshot, machine):<20} ", Tone.STRONG),
                            Cell(words or "not taken up yet", tone), to=unit_subject(unit, machine)))  # fmt: skip
    if len(homes) > PLACES_SHOWN:
        page.append(plain(f"  {and_more(len(homes) - PLACES_SHOWN)}; open one from the Units view", Tone.QUIET))
    return page


SHOWN = 500
VERB_WIDTH, OTHER_WIDTH = 10, 18


def event_page(snapshot: Snapshot, subject: Subject, now: float) -> RichText:
    """The page of events: who did what, and why; each line leads to the unit or machine."""
    if subject.kind is SubjectKind.ROLLOUT:
        return rollout_events(snapshot, subject.name, now)
    of_unit = subject.kind is SubjectKind.UNIT
    found = [event for _, event in sorted(snapshot.events.items(), reverse=True) if _is_about(event, subject)]
    if not found:
        return [plain("nothing is known to have happened; the registry keeps the last 7 days", Tone.QUIET)]
    page: RichText = []
    for event in found[:SHOWN]:
        if of_unit:
            other, to = host(snapshot, event.machine), machine_subject(event.machine) if event.machine else None
        else:
            other, to = escape(event.unit) or "-", unit_subject(event.unit) if event.unit else None
        page.append(rich_line(
            Cell(f"{when(event.at, now)}  ", Tone.QUIET),
            Cell(f"{since(event.at, now):>6}  ", Tone.QUIET),
            Cell(f"{escape(event.verb):<{VERB_WIDTH}}", Tone.BAD if event.verb in GRAVE else Tone.STRONG),
            Cell(f"{other:<{OTHER_WIDTH}} "),
            Cell(f"{writer_name(snapshot, event.actor)}  ", Tone.QUIET),
            Cell(in_words(snapshot, event.reason)),
            to=to,
        ))  # fmt: skip
    if len(found) > SHOWN:
        page.append(plain(f"and {len(found) - SHOWN:,} older ones", Tone.QUIET))
    return page


def _is_about(event: Event, subject: Subject) -> bool:
    if subject.need is not None:
        return config_told(event) == (subject.need.kind, subject.need.name)
    return subject.name == (event.unit if subject.kind is SubjectKind.UNIT else event.machine)


HEAVY = frozenset({Tab.PLACEMENT, Tab.DEPENDENCIES, Tab.DRAIN})  # they look at the whole fleet
LARGE = 3000  # schedule lines and machines beyond which that takes long enough to be felt


NOT_ASKED = Asked()
NO_ROLLOUT = RolloutOrder()


@dataclass(frozen=True, slots=True)
class Order:
    """What to write: the tab of a subject, and what the reader chose there."""

    subject: Subject
    tab: Tab
    older: int = 0
    asked: Asked = NOT_ASKED
    keys: Keys = DEFAULT_KEYS
    version_keys: tuple[str, str, str] = ("<", ">", "B")
    rollout: RolloutOrder = NO_ROLLOUT
    group: tuple[UnitRow, ...] | None = None  # the members of a template or a global unit
    group_keys: tuple[str, str, str] = ("+", "-", "O")
    run_key: str = "T"
    trends: tuple[Trend, ...] = ()
    config: ConfigOrder = NO_CONFIG


def is_heavy(order: Order, snapshot: Snapshot) -> bool:
    """Whether writing it would hold up the keys."""
    if order.tab is Tab.PROGRESS:
        return len(order.rollout.homes) > MANY
    return order.tab in HEAVY and is_large(snapshot)


def is_large(snapshot: Snapshot) -> bool:
    """Whether a look at the whole fleet would hold up the keys."""
    return len(snapshot.schedule) + len(snapshot.machines) > LARGE


def write(order: Order, snapshot: Snapshot, now: float) -> RichText:
    """The page of a tab, below what is said of a subject that is gone."""
    subject, writer = order.subject, WRITERS.get(order.tab)
    head = gone_lines(snapshot, subject, now, is_group=bool(order.group))
    gone = subject.kind is SubjectKind.UNIT and subject.name not in snapshot.units
    if writer is None or (gone and order.tab in ABOUT_RECORD):
        return head
    return [*head, *trend_lines(order.trends, now), *writer(order, snapshot, now)]


SPARKS = 40  # cells
FIGURES: dict[str, Callable[[float], str]] = {
    "memory": lambda value: size(round(value)),
    "cpu": share,
    "load": lambda value: f"{value:.2f}",
    "restarts": lambda value: f"{value:.0f}",
}


def trend_lines(trends: Sequence[Trend], now: float) -> RichText:
    """How each figure went in the last hours, by the record; nothing where there is none."""
    known = [each for each in trends if each.points]
    if not known:
        return []
    begun = min(each.points[0][0] for each in known)
    page: RichText = []
    for each in known:
        figure = FIGURES[each.name]
        drawn, most = sparkline(each.points, begun, now, SPARKS), max(value for _, value in each.points)
        page.append(rich_line(
            Cell(f"{each.name:>9} ", Tone.QUIET), Cell(drawn, Tone.HEAD),
            Cell(f" {figure(each.points[-1][1])}", Tone.STRONG), Cell(f", at most {figure(most)}", Tone.QUIET),
        ))  # fmt: skip
    return [*page, plain(f"{'':>9} since {age(now - begun)} ago, by the record", Tone.QUIET), BLANK]


def _status(order: Order, snapshot: Snapshot, now: float) -> RichText:
    name = order.subject.name
    if order.group is not None:
        return group_page(snapshot, name, order.group, now, order.group_keys)
    homes = places(snapshot, name, order.subject.machine)
    known = homes or name in snapshot.units
    return status_page(snapshot, name, homes, order.asked, now, order.run_key) if known else []


ABOUT_RECORD = frozenset({Tab.FILE, Tab.PLACEMENT, Tab.DEPENDENCIES})
WRITERS: dict[Tab, Callable[[Order, Snapshot, float], RichText]] = {
    Tab.STATUS: _status,
    Tab.FILE: lambda each, now, at: file_page(now, each.subject.name, at, each.older, each.version_keys),
    Tab.PLACEMENT: lambda each, now, at: placement_page(now, each.subject.name, at, each.keys),
    Tab.EVENTS: lambda each, now, at: event_page(now, each.subject, at),
    Tab.PROGRESS: lambda each, now, at: progress_page(now, each.subject.name, each.rollout, at),
    Tab.CHANGES: lambda each, now, _: changes_page(now, each.subject.name),
    Tab.DEPENDENCIES: lambda each, now, _: dependencies_page(now, each.subject.name),
    Tab.METADATA: lambda each, now, at: metadata_page(now, each.subject.name, at),
    Tab.FACTS: lambda each, now, at: facts_page(now, each.subject.name, at),
    Tab.DRAIN: lambda each, now, _: drain_page(now, each.subject.name, each.keys),
    Tab.VERSIONS: lambda each, now, at: versions_page(now, each.subject, each.config, at),
    Tab.CONTENT: lambda each, now, at: content_page(
        now, each.subject, each.config, each.older, at, each.version_keys
    ),
}
