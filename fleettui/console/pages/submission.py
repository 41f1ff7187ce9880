"""A new unit before it is submitted: what is wrong with it, whether its name is taken, where it would go. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from fleettui.console.pages.file import change_counts
from fleettui.console.pages.review import Draft, options_from, problem_lines, review, what_happens
from fleettui.console.pages.rich_text import Passage, in_words, lines_of
from fleettui.console.tables.units import host
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted
from placement.preview import preview_starts
from registry.keys import DEFAULT_KEYS, Keys
from registry.mirror import Snapshot
from registry.model import Target
from registry.units.check import verify
from registry.wording import and_more, listed

SHOWN_PROBLEMS = 4
REFUSALS_SHOWN = 2


@dataclass(frozen=True, slots=True)
class Submission:
    """What to submit. `replace`: the operator has seen what is there under that name."""

    name: str
    text: str
    target: Target
    replace: bool = False


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


def comparison(snapshot: Snapshot, name: str, text: str, now: float, keys: Keys = DEFAULT_KEYS) -> Passage:
    """The text against the one in the registry, and what replacing it would do."""
    record = snapshot.units.get(name)
    base = record.hash if record else ""
    return review(snapshot, Draft(name, text, base), [name], now, keys).passage
