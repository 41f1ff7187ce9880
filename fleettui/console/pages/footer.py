"""The footer: the keys that make sense here, the user's own, dim where they cannot be used now. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted
from fleettui.console.text.keys import BY_ID, KEYS, Key, shown_key
from fleettui.escape import escape

VERBS = tuple(key.id for key in KEYS if key.action.startswith("verb("))
RARE = tuple(name for name in VERBS if BY_ID[name].rare)
WIDE = (*VERBS, "cordon", "drain", "undo", "submit", "edit",
        "status", "journal", "why", "file", "unit_events", "filter", "trouble", "columns", "mark", "shell",
        "command", "help", "quit")  # fmt: skip
RANK = ("help", "drain", "cordon", *(name for name in VERBS if name not in RARE), "why", "filter", "journal",
        "submit", "edit", "status", "shell", *reversed(RARE), "file", "command", "quit", "undo", "mark",
        "unit_events", "trouble", "columns")  # fmt: skip
IN_JOURNAL = ("journal_search", "journal_include", "journal_exclude", "journal_priority", "journal_since",
              "journal_fields", "journal_boot", "journal_copy", "journal_wrap", "journal_times", "journal_zoom",
              "journal_save", "journal_next", "journal_back", "help")  # fmt: skip


def footer_keys(
    width: int, keymap: Mapping[str, str], *, hide_changes: bool, view: str = "units"
) -> tuple[Key, ...]:
    """The keys that fit, the most needed first chosen, in their usual order."""
    chosen: set[str] = set()
    room = width
    for name in RANK:
        key = BY_ID[name]
        cost = len(shown_key(key, keymap)) + len(key.label) + 3
        if (hide_changes and key.changes) or cost > room or (key.views and view not in key.views):
            continue
        chosen.add(name)
        room -= cost
    return tuple(BY_ID[name] for name in WIDE if name in chosen)


def journal_footer_keys(width: int, keymap: Mapping[str, str]) -> tuple[Key, ...]:
    """The journal pane's keys that fit, the most needed first; help always."""
    costs = {name: len(shown_key(BY_ID[name], keymap)) + len(BY_ID[name].label) + 3 for name in IN_JOURNAL}
    room = width - costs["help"]
    found: list[Key] = []
    for name in IN_JOURNAL[:-1]:
        if costs[name] <= room:
            found.append(BY_ID[name])
            room -= costs[name]
    return (*found, BY_ID["help"])


def footer_line(
    keys: Sequence[Key],
    keymap: Mapping[str, str],
    usable: Callable[[Key], bool],
    label: Callable[[Key], str] = lambda key: key.label,
) -> Line:
    """Key and label, two cells each."""
    cells: list[Cell] = []
    for key in keys:
        can = usable(key)
        cells.append(Cell(shown_key(key, keymap), Tone.HEAD if can else Tone.OFF))
        cells.append(Cell(f" {label(key)}  ", Tone.QUIET if can else Tone.OFF))
    return tuple(cells)


def tabs_line(titles: Sequence[tuple[str, int | None]], current: str, room: int = 1000) -> Line:
    """The views with their numbers, two cells each; the open one stands out. Where there is no room, names go."""
    full = [f" {number} {title} {count:,} " if count is not None else f" {number} {title} "
            for number, (title, count) in enumerate(titles, 1)]  # fmt: skip
    plain = [f" {number} {title} " for number, (title, _) in enumerate(titles, 1)]
    short = [text if title == current else f" {number} " for number, (text, (title, _)) in enumerate(
        zip(plain, titles, strict=True), 1)]  # fmt: skip
    texts = next((form for form in (full, plain) if sum(map(len, form)) + len(form) <= room), short)
    cells: list[Cell] = []
    for text, (title, _) in zip(texts, titles, strict=True):
        cells += [Cell(text, Tone.CHOSEN if title == current else Tone.QUIET), Cell(" ")]
    return tuple(cells)


def narrowing(query: str, *, trouble: bool, counts: tuple[int, int], marks: int, hidden: int) -> Line:
    """What narrows the table, and what is marked."""
    cells: list[Cell] = []
    if marks:
        unseen = f" ({hidden} out of sight)" if hidden else ""
        cells.append(Cell(f"✓ {marks} marked{unseen}  ", Tone.HEAD))
    if trouble:
        cells.append(Cell("troubled only  ", Tone.BUSY))
    if query:
        cells.append(Cell(f"filter: {escape(query)}  ", Tone.BUSY))
    if query or trouble:
        shown, total = counts
        cells.append(Cell(f"{shown:,} of {counted(total, 'row')}", Tone.QUIET))
    return tuple(cells)
