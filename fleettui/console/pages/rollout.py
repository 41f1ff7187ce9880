"""The pages of a rollout: how far each unit is, what failed with its last lines, what changes, events. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fleettui.console.pages.file import SHORT, diff_lines
from fleettui.console.pages.rich_text import BLANK, RichLine, RichText, plain, rich_line, title
from fleettui.console.tables.events import GRAVE
from fleettui.console.tables.rollouts import WORDS, progress_text, rollout_row, rollout_told, state_cell
from fleettui.console.tables.units import host, in_words, writer_name
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import age, clock, counted, since, when
from fleettui.console.text.subject import unit_subject
from fleettui.escape import escape
from placement.rollout import StepState, StepView, WellSince, advance, survey
from registry.lifecycle import Whereabouts
from registry.mirror import Snapshot
from registry.model import Crash, OnFailure, Rollout, RolloutState
from registry.wording import and_more

MARKS = {
    StepState.FAILED: Cell("✖ ", Tone.BAD),
    StepState.UNDER_WAY: Cell("◐ ", Tone.BUSY),
    StepState.WAITING: Cell("◌ ", Tone.QUIET),
    StepState.CHANGED: Cell("! ", Tone.WAIT),
    StepState.AWAY: Cell("? ", Tone.WAIT),
    StepState.SETTLED: Cell("✓ ", Tone.GOOD),
}
SECTIONS = (  # in this order: what an operator looks for first
    (StepState.UNDER_WAY, "on its way"),
    (StepState.WAITING, "to come"),
    (StepState.AWAY, "on machines that are not there, to come when these are back"),
    (StepState.CHANGED, "changed by somebody else, and left alone"),
    (StepState.SETTLED, "done"),
)
SHOWN = 100  # units of a section
FAILURES, LAST_LINES = 20, 12
NAME_WIDTH, HOST_WIDTH = 28, 18
MANY = 200  # units, beyond which a page is written beside the keys


@dataclass(frozen=True, slots=True)
class RolloutOrder:
    """What the page of a rollout needs beside the snapshot.

    `homes`: the machines that schedule or hold each unit. `crashes`: what agents kept of the failed ones. `keys`:
    those that pause or resume, abort and undo.
    """

    homes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    crashes: Mapping[str, Crash] = field(default_factory=dict)
    keys: tuple[str, str, str] = ("P", "A", "B")


def progress_page(snapshot: Snapshot, name: str, order: RolloutOrder, now: float) -> RichText:
    """The page of a rollout's progress: what failed and why, what is on its way, what is to come, what is done."""
    rollout = snapshot.rollouts.get(name)
    if rollout is None:
        return [plain(f"there is no rollout {escape(name)} any more", Tone.BAD)]

    def where(unit: str) -> Whereabouts:
        return Whereabouts.of(snapshot, unit, order.homes.get(unit, ()))

    views = survey(rollout, snapshot, where, WellSince(), 0.0)
    by_state: dict[StepState, list[StepView]] = defaultdict(list)
    for view in views:
        by_state[view.state].append(view)
    page = [*_head(snapshot, rollout, order, views, now)]
    if failed := by_state[StepState.FAILED]:
        page += title(f"failed: {counted(len(failed), 'unit')}")
        for view in failed[:FAILURES]:
            page += _failure(snapshot, view, order.crashes.get(view.step.unit))
        if len(failed) > FAILURES:
            page.append(plain(f"  {and_more(len(failed) - FAILURES)}", Tone.QUIET))
    for state, words in SECTIONS:
        found = by_state[state]
        if not found:
            continue
        page += title(f"{words}: {counted(len(found), 'unit')}")
        page += [_step_line(snapshot, rollout, view, now) for view in found[:SHOWN]]
        if len(found) > SHOWN:
            page.append(plain(f"  {and_more(len(found) - SHOWN)}", Tone.QUIET))
    return page


def _head(
    snapshot: Snapshot, rollout: Rollout, order: RolloutOrder, views: Sequence[StepView], now: float
) -> Iterator[RichLine]:
    row = rollout_row(snapshot, rollout, lambda _, unit: Whereabouts.of(snapshot, unit, order.homes.get(unit, ())))
    figures = [Cell(f"  {row.settled} done", Tone.GOOD if row.settled else Tone.QUIET)]
    for number, word, tone in ((row.under_way, "on its way", Tone.BUSY), (row.failed, "failed", Tone.BAD)):
        if number:
            figures.append(Cell(f", {number} {word}", tone))
    bar = Cell(f"   {progress_text(row)} units ", WORDS[row.state, row.back][2])
    yield rich_line(state_cell(row), bar, *figures)
    yield plain(_what(rollout), Tone.PLAIN)
    yield plain(f"{_policy(rollout)} · begun {since(rollout.at, now)} ago by {escape(rollout.by)}", Tone.QUIET)
    pause, abort, undo = order.keys
    hints = []
    told = {f"{each.unit} failed: {each.reason}" for each in rollout.failed[:1]}  # below, with its last lines
    if rollout.note and rollout.note not in told:
        yield plain(in_words(snapshot, rollout.note), Tone.BAD if rollout.failed else Tone.WAIT)
    if rollout.state is RolloutState.RUNNING:
        if waits := advance(rollout, views).waits:
            yield plain(f"it waits: {in_words(snapshot, waits)}", Tone.WAIT)
        hints = [f"{pause} pauses it", f"{abort} leaves it as it is"]
    elif rollout.state is RolloutState.PAUSED:
        hints = [f"{pause} goes on" + (", and passes by what failed" if rollout.failed else ""),
                 f"{abort} leaves it as it is"]  # fmt: skip
    if can_be_undone(rollout):
        hints.append(f"{undo} gives every unit its old file again")
    if hints:
        yield plain(" · ".join(hints), Tone.QUIET)


def can_be_undone(rollout: Rollout) -> bool:
    """Whether it can be asked to give the old files back: not a restart, and only once."""
    return not rollout.back and any(step.old != step.new for step in rollout.steps)


def _what(rollout: Rollout) -> str:
    """What the units get: "restart of 3 units", "file 3f2a91c for 3 units"."""
    files = {step.new for step in rollout.steps if step.old != step.new}
    units = counted(len(rollout.steps), "unit")
    if left := {step.leaves for step in rollout.steps if step.leaves}:
        return f"{units} leave {escape(', '.join(sorted(machine[:8] for machine in left)))}"
    if any(step.goes_to for step in rollout.steps):
        return f"{units} {'moves' if len(rollout.steps) == 1 else 'move'} to another machine"
    if not files:
        return f"restart of {units}"
    olds = {step.old for step in rollout.steps}
    of = f"file {next(iter(files))[:SHORT]}" if len(files) == 1 else f"{len(files)} files"
    was = f", instead of {next(iter(olds))[:SHORT]}" if len(olds) == 1 else ""
    return f"{of} for {units}{was}"


def _policy(rollout: Rollout) -> str:
    words = [f"{rollout.at_a_time} at a time", f"healthy for {age(rollout.healthy_for_s)}"]
    if rollout.canary:
        words.append(f"{rollout.canary} first")
    if rollout.max_failures:
        words.append(f"up to {rollout.max_failures} may fail")
    if rollout.on_failure is OnFailure.ROLLBACK:
        words.append("goes back by itself on failure")
    return " · ".join(words)


def _failure(snapshot: Snapshot, view: StepView, crash: Crash | None) -> Iterator[RichLine]:
    """A unit that failed, why, and the last lines that its agent kept of it."""
    unit = view.step.unit
    place = f"on {host(snapshot, view.machine)}" if view.machine else "nowhere"
    reason = Cell(in_words(snapshot, view.reason.partition("\n")[0]), Tone.BAD)
    yield rich_line(MARKS[StepState.FAILED], Cell(escape(unit), Tone.STRONG), Cell(f"  {place}  ", Tone.QUIET),
                    reason, to=unit_subject(unit))  # fmt: skip
    if crash is None:
        return
    if crash.missing:
        yield plain(f"    {escape(crash.missing)}", Tone.QUIET)
    for at, priority, pid, who, text in crash.lines[-LAST_LINES:]:
        source = f"{who}[{pid}]" if pid else who
        tone = Tone.BAD if priority <= 3 else Tone.WAIT if priority == 4 else Tone.PLAIN
        yield rich_line(Cell(f"    {clock(at)} ", Tone.QUIET), Cell(f"{escape(source)}  ", Tone.QUIET),
                        Cell(escape(text.partition("\n")[0]), tone))  # fmt: skip


def _step_line(snapshot: Snapshot, rollout: Rollout, view: StepView, now: float) -> RichLine:
    """One unit: its mark, name, machine, and how it is or why it is not."""
    unit = view.step.unit
    machine = view.machine or view.step.machine
    place = host(snapshot, machine) if machine else "-"
    more = Cell("")
    if view.state is StepState.UNDER_WAY:
        state = snapshot.states.get((view.machine, unit))
        if view.up and state is not None:
            well = f"up for {since(state.since, now)} of {age(rollout.healthy_for_s)}"
            more = Cell(well, Tone.BUSY)
        else:
            more = Cell(in_words(snapshot, view.reason) or "starting", Tone.BUSY)
    elif view.reason:
        more = Cell(in_words(snapshot, view.reason), Tone.WAIT)
    elif not view.up:
        more = Cell("down", Tone.WAIT)
    elif view.state is StepState.WAITING and view.step.goes_to:
        more = Cell(f"goes to {host(snapshot, view.step.goes_to)}", Tone.QUIET)
    return rich_line(MARKS[view.state], Cell(f"{escape(unit):<{NAME_WIDTH}} "),
                     Cell(f"{place:<{HOST_WIDTH}} ", Tone.QUIET), more,
                     to=unit_subject(unit, view.step.machine))  # fmt: skip


def changes_page(snapshot: Snapshot, name: str) -> RichText:
    """What a rollout changes: each pair of an old and a new file, with the units that go from one to the other."""
    rollout = snapshot.rollouts.get(name)
    if rollout is None:
        return [plain(f"there is no rollout {escape(name)} any more", Tone.BAD)]
    pairs: dict[tuple[str, str], list[str]] = defaultdict(list)
    for step in rollout.steps:
        pairs[step.old, step.new].append(step.unit)
    page: RichText = []
    for (old, new), units in list(pairs.items())[:FAILURES]:
        shown = f"{escape(units[0])} {and_more(len(units) - 1)}".rstrip()
        if page:
            page.append(BLANK)
        if old == new:
            page.append(plain(f"{shown}: restarted with the same file {old[:SHORT]}", Tone.HEAD))
            continue
        page.append(plain(f"{shown}: from {old[:SHORT]} to {new[:SHORT]}", Tone.HEAD))
        page += [(line, None) for line in _difference(snapshot, old, new)]
    if len(pairs) > FAILURES:
        page.append(plain(and_more(len(pairs) - FAILURES, "files"), Tone.QUIET))
    return page


def _difference(snapshot: Snapshot, old: str, new: str) -> list[Line]:
    before, after = snapshot.files.get(old), snapshot.files.get(new)
    for sha, file in ((old, before), (new, after)):
        if file is None:
            return [(Cell(f"the registry no longer has the text of {sha[:SHORT]}", Tone.WAIT),)]
    return diff_lines(before.text, after.text) if before and after else []


def rollout_events(snapshot: Snapshot, name: str, now: float) -> RichText:
    """What is told of a rollout, newest first: what operators asked, whose turn it was, how it ended."""
    page: RichText = []
    for _, event in sorted(snapshot.events.items(), reverse=True):
        if rollout_told(event) != name:
            continue
        page.append(rich_line(
            Cell(f"{when(event.at, now)}  ", Tone.QUIET), Cell(f"{since(event.at, now):>6}  ", Tone.QUIET),
            Cell(f"{escape(event.verb):<9}", Tone.BAD if event.verb in GRAVE else Tone.STRONG),
            Cell(f"{escape(event.unit) or '-':<{NAME_WIDTH}} "),
            Cell(f"{writer_name(snapshot, event.actor)}  ", Tone.QUIET),
            Cell(in_words(snapshot, event.reason)), to=unit_subject(event.unit) if event.unit else None,
        ))  # fmt: skip
    return page[:500] or [plain("nothing is told of it; the registry keeps the last 7 days of events", Tone.QUIET)]
