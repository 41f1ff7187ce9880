"""What a text of a unit would do, before it is submitted: faults, difference, what becomes of what runs. Pure.

`review` is of an edit of units that are there; `verdict` and `forecast` are of a new unit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fleettui.console.operations.impact import impact_of_texts
from fleettui.console.operations.impact_text import pairs_line
from fleettui.console.operations.operation import replace_command
from fleettui.console.pages.file import change_counts, diff_lines, sharing
from fleettui.console.pages.placement import options_from, verdict_lines
from fleettui.console.pages.rich_text import BLANK, RichLine, RichText, lines_of, plain, rich_line, title
from fleettui.console.tables.units import host, in_words
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted, since
from fleettui.escape import escape
from fleettui.verbs import REPLACING
from placement.explain import verdicts_on_text
from placement.preview import preview_starts
from registry.keys import DEFAULT_KEYS, Keys
from registry.mirror import Snapshot
from registry.model import Target
from registry.units.check import verify
from registry.units.file import Problem
from registry.wording import and_more, listed

FATES_SHOWN = 8
PROBLEMS_SHOWN = 12
NAME_WIDTH = 26


@dataclass(frozen=True, slots=True)
class Draft:
    """A text on its way into a unit: from which text (by hash) it was made, and where its file is."""

    name: str
    text: str
    base: str = ""
    path: str = ""


@dataclass(frozen=True, slots=True)
class Review:
    """What there is to read, and whether it may be submitted."""

    page: RichText
    fine: bool


def review(snapshot: Snapshot, draft: Draft, names: Sequence[str], now: float, keys: Keys = DEFAULT_KEYS) -> Review:
    """The review of replacing the texts of `names` (the draft's own among them) by the draft's."""
    record = snapshot.units.get(draft.name)
    overtaken = _overtaken(snapshot, draft, now)
    problems = verify(draft.name, draft.text, draft.name)
    page = [*overtaken, *problem_lines(problems)]
    old = snapshot.files.get(record.hash) if record else None
    if not problems:
        page += [*what_happens(snapshot, draft, names, keys), BLANK]
    if old is not None:
        came, went = change_counts(old.text, draft.text)
        lines = (Cell(f"+{came}", Tone.GOOD), Cell(f" -{went} lines", Tone.BAD))
        page.append(rich_line(Cell("changes  ", Tone.HEAD), *lines))
        page += ((line, None) for line in diff_lines(old.text, draft.text))
    if not problems:
        page += machines_say(snapshot, draft, keys)
        page += [BLANK, rich_line(Cell("the same as  ", Tone.QUIET), Cell(replace_command(names)))]
    return Review(page, not overtaken and not problems)


def _overtaken(snapshot: Snapshot, draft: Draft, now: float) -> RichText:
    """Somebody else was faster."""
    record = snapshot.units.get(draft.name)
    if record is not None and record.hash == draft.base:
        return []
    kept = f"; your text is in {draft.path}" if draft.path else ""
    if record is None:
        told = f"✖ {escape(draft.name)} was destroyed while you edited it{kept}"
        return [plain(told, Tone.BAD), plain("submit it as a new unit: n, then the path", Tone.QUIET), BLANK]
    who = f"{escape(record.by) or 'somebody'} {since(record.at, now)} ago"
    return [
        plain(f"✖ it was changed while you edited it, by {who}{kept}", Tone.BAD),
        plain("what follows is your text against theirs; edit again to go on from both", Tone.BUSY),
        BLANK,
    ]


def problem_lines(problems: Sequence[Problem]) -> RichText:
    """What is wrong, line by line, with the remedy."""
    if not problems:
        return []
    lines = [
        rich_line(Cell(f"✖ line {each.line:<4} ", Tone.BAD), Cell(escape(f"{each.reason}; {each.remedy}")))
        for each in problems[:PROBLEMS_SHOWN]
    ]
    more = len(problems) - PROBLEMS_SHOWN
    return [*lines, *([plain(and_more(more), Tone.QUIET)] if more > 0 else []), BLANK]


def what_happens(snapshot: Snapshot, draft: Draft, names: Sequence[str], keys: Keys = DEFAULT_KEYS) -> RichText:
    """What becomes of each unit."""
    if options_from(draft.text, draft.name) is None:
        return []
    fates = [_fate(snapshot, name, draft, names, keys) for name in list(names)[:FATES_SHOWN]]
    more = len(names) - FATES_SHOWN
    page = [plain("what happens", Tone.HEAD)]
    if len(names) > 1:
        texts = dict.fromkeys(names, draft.text)
        impact = impact_of_texts(texts, Target.INACTIVE, snapshot, keys, replacing=True)
        page.append(plain(f"  {pairs_line(REPLACING, impact.stops, snapshot)}", Tone.BUSY))
    page += fates
    if more > 0:
        page.append(plain(f"  and {counted(more, 'unit')} more", Tone.QUIET))
    return page


def machines_say(snapshot: Snapshot, draft: Draft, keys: Keys = DEFAULT_KEYS) -> RichText:
    """What every machine says to the new text."""
    options = options_from(draft.text, draft.name)
    if options is None or "@." in draft.name:
        return []
    verdicts = verdicts_on_text(snapshot, draft.name, draft.text, keys)
    return verdict_lines(snapshot, verdicts, title("machine by machine, with the new text"))


def _fate(snapshot: Snapshot, name: str, draft: Draft, names: Sequence[str], keys: Keys) -> RichLine:
    lead = Cell(f"  {escape(name):<{NAME_WIDTH}} ", Tone.STRONG)
    record = snapshot.units.get(name)
    options = options_from(draft.text, name)
    if "@." in name:
        kept = [each for each in sharing(snapshot, name, draft.base) if each not in names]
        told = f"; {counted(len(kept), 'instance')} with the old text keep it" if kept else ""
        return rich_line(lead, Cell(f"a template: instances made from now on use the new text{told}", Tone.QUIET))
    if record is None or not record.target.scheduled:
        return rich_line(lead, Cell("its target is inactive, so nothing restarts", Tone.QUIET))
    if options is None:
        return rich_line(lead, Cell("its options do not parse under this name", Tone.BAD))
    return rich_line(lead, *_journey(snapshot, name, draft.text, keys))


def _journey(snapshot: Snapshot, name: str, text: str, keys: Keys) -> tuple[Cell, ...]:
    """From where to where."""
    found = preview_starts(snapshot, {name: text}, keys)[name]
    homes = {machine for machine, unit in snapshot.schedule if unit == name}
    if not found.machines:
        lost = f"stops on {_hosts(snapshot, homes)}, and waits: " if homes else "waits: "
        return (Cell(lost, Tone.BAD), Cell(in_words(snapshot, found.summary)))
    new, old = set(found.machines), homes
    if new == old:
        return (Cell("restarts", Tone.BUSY), Cell(f" on {_hosts(snapshot, old)}"))
    if not old:
        return (Cell("goes to ", Tone.GOOD), Cell(_hosts(snapshot, new)))
    return (Cell("moves", Tone.BUSY), Cell(f" from {_hosts(snapshot, old)} to {_hosts(snapshot, new)}"))


def _hosts(snapshot: Snapshot, machines: set[str]) -> str:
    names = sorted(host(snapshot, machine) for machine in machines)
    return listed(names, 4)


SHOWN_PROBLEMS = 4
REFUSALS_SHOWN = 2


@dataclass(frozen=True, slots=True)
class Submission:
    """What to submit. `replace`: the operator has seen what is there under that name.

    `instances` are those of a template that are brought to the target, with its text.
    """

    name: str
    text: str
    target: Target
    replace: bool = False
    instances: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Unsubmitted:
    """What was not submitted, to go on with."""

    name: str = ""
    path: str = ""
    text: str = ""


def verdict(name: str, text: str) -> tuple[list[Line], bool]:
    """What is wrong, in a few lines, and whether it may be submitted."""
    if not text.strip():
        return [(Cell("name a file, or paste its text", Tone.QUIET),)], False
    if not name:
        return [(Cell("✖ ", Tone.BAD), Cell("it needs a name, such as web.service"))], False
    problems = verify(name, text, name)
    if not problems:
        return [(Cell("✓ nothing is wrong with it", Tone.GOOD),)], True
    lines = lines_of(problem_lines(problems))[: min(SHOWN_PROBLEMS, len(problems))]
    more = len(problems) - SHOWN_PROBLEMS
    return [*lines, (Cell(f"  {and_more(more)}", Tone.QUIET),)] if more > 0 else lines, False


def taken(snapshot: Snapshot, name: str, text: str) -> str | None:
    """The other text that the registry has under this name; None when there is none, or the same."""
    record = snapshot.units.get(name)
    file = snapshot.files.get(record.hash) if record else None
    return file.text if file and file.text != text else None


def forecast(snapshot: Snapshot, name: str, text: str, keys: Keys = DEFAULT_KEYS) -> list[Line]:
    """Where it would go, were it started now; what becomes of the unit of that name."""
    options = options_from(text, name)
    if options is None:
        return []
    record, old = snapshot.units.get(name), taken(snapshot, name, text)
    if record is not None:
        lines = [_conflict(name, old, text)]
        fates = lines_of(what_happens(snapshot, Draft(name, text, record.hash), [name], keys))
        return [*lines, *fates[1:2]] if old is not None else lines
    if "@." in name:
        return [(Cell("a template runs nowhere itself; start an instance such as ", Tone.QUIET),
                 Cell(name.replace("@.", "@1.")))]  # fmt: skip
    found = preview_starts(snapshot, {name: text}, keys)[name]
    if not found.machines:
        refusals = [f"{in_words(snapshot, each.reason)} ({len(each.machines)})" for each in found.refusals]
        more = [(Cell(f"  {reason}", Tone.QUIET),) for reason in refusals[:REFUSALS_SHOWN]]
        return [(Cell("◌ started now, it would wait: ", Tone.WAIT), Cell(in_words(snapshot, found.summary))), *more]
    hosts = listed((host(snapshot, machine) for machine in found.machines), 4)
    refusing = sum(len(each.machines) for each in found.refusals)
    rest = f"; {counted(refusing, 'machine')} would not take it" if refusing else ""
    return [(Cell("→ ", Tone.GOOD), Cell(f"started now, it would go to {hosts}"), Cell(rest, Tone.QUIET))]


def _conflict(name: str, old: str | None, text: str) -> Line:
    if old is None:
        return (Cell(f"{name} is in the registry already, with this very text", Tone.QUIET),)
    came, went = change_counts(old, text)
    return (
        Cell(f"▲ {name} has another text: ", Tone.BUSY),
        Cell(f"+{came}", Tone.GOOD), Cell(f" -{went} lines", Tone.BAD), Cell("; ctrl+d compares", Tone.QUIET),
    )  # fmt: skip


def comparison(snapshot: Snapshot, name: str, text: str, now: float, keys: Keys = DEFAULT_KEYS) -> RichText:
    """The text against the one in the registry, and what replacing it would do."""
    record = snapshot.units.get(name)
    base = record.hash if record else ""
    return review(snapshot, Draft(name, text, base), [name], now, keys).page
