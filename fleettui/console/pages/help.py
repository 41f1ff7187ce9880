"""The help page, made from the keys table and the user's keymap. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fleettui.console.tables.rows import GLYPHS, TONES, Health
from fleettui.console.text.cells import Cell, Line, Tone, line_text
from fleettui.console.text.keys import KEYS, MAIN, PLANE, Key, keys_of, written

WIDTH = 16  # of the keys' column; a key with more names than fit pushes its text aside
MEANING = {
    Health.ACTIVE: "runs as asked",
    Health.BUSY: "under way: WHY says who is at it",
    Health.FAILED: "was carried out and went wrong, or stopped by itself with an error",
    Health.PENDING: "waits until the fleet changes: WHY and w say for what",
    Health.INACTIVE: "is not running, and is not asked to, or has ended",
}
FILTERS = (
    ("web core-2", "both words, anywhere in the row; letters in order do too: wb1"),
    ('"no machine"', "exactly that, with its blanks"),
    ("web@*", "a glob, of a whole name; /web@[0-9]+/ is a regular expression"),
    ("state:failed", "its beginning; also machine: target: name: sub: is: why: metadata: actor: verb:"),
    ("machine=core-1", "exactly; machine!=core-1 is any other"),
    ("mem>100M", "compares; also cpu>50% restarts>0 since<5m load>4 units<3, by > >= < <= ="),
    ("is:old", "what runs an old file; version:3fa9c12 runs that one; is:drifting is not as asked"),
    ("!inactive", "rows without it; !state:active as well"),
)


def help_lines(
    keymap: Mapping[str, str], *, read_only: bool, view: str = "units", where: str = MAIN, search: str = ""
) -> list[Line]:
    """The keys that work where the reader is come first, then all others by group, then what signs mean.

    `search`: only lines that have all its words, with their group's name.
    """
    keys = [key for key in KEYS if not (read_only and key.changes)]
    width = min(WIDTH, max(len(_keys(key, keymap)) for key in keys) + 2)
    groups: dict[str, list[tuple[str, Line]]] = {}  # what a search looks into, and the line
    for key in sorted(keys, key=lambda key: _distance(key, view, where)):  # stable: otherwise as in the table
        elsewhere = ", ".join(each.capitalize() for each in key.views[:2]) if view not in key.views else ""
        groups.setdefault(f"{key.group} (in {elsewhere})" if elsewhere else key.group, []).append(
            (f"{key.id} {key.label}", _line(_keys(key, keymap), key.does, width))
        )
    groups["States"] = [
        ("", (Cell(f"  {GLYPHS[health]} {health:<{max(10, width - 2)}}", TONES[health]), Cell(does)))
        for health, does in MEANING.items()
    ]
    groups["Filter"] = [("", _line(example, does, width)) for example, does in FILTERS]
    words = search.lower().split()
    lines: list[Line] = []
    for title, members in groups.items():
        texts = [(f"{title} {more} {line_text(line)}".lower(), line) for more, line in members]
        found = [line for text, line in texts if all(word in text for word in words)]
        if found:
            lines += [(), (Cell(title, Tone.HEAD),), *found]
    return lines[1:] or [(Cell(f"nothing in the help has {search}", Tone.QUIET),)]


def _distance(key: Key, view: str, where: str) -> int:
    """0 for what belongs to this place alone, 1 for what works everywhere, 2 for what belongs elsewhere."""
    if key.where not in PLANE or where not in PLANE:
        return 0 if key.where == where else 2 if key.where not in PLANE else 1
    return 0 if view in key.views else 2 if key.views else 1


def _keys(key: Key, keymap: Mapping[str, str]) -> str:
    return " ".join(dict.fromkeys(map(written, keys_of(key, keymap))))


def _line(keys: str, does: str, width: int) -> Line:
    return (Cell(f"  {keys:<{width - 1}} ", Tone.STRONG), Cell(does))
