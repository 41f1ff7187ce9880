"""The help page, made from the keys table and the user's keymap. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from fleettui.console.cells import Cell, Line, Tone
from fleettui.console.keys import KEYS, keys_of, written
from fleettui.console.rows.health import GLYPHS, TONES, Health

MOVING = (
    ("Up Down j k g G", "move; PgUp PgDn or ctrl+b ctrl+f by screens"),
    ("Enter", "open; fold or unfold a group (also Left, Right)"),
)
MEANING = {
    Health.ACTIVE: "runs as asked",
    Health.BUSY: "under way: WHY says who is at it",
    Health.FAILED: "was carried out and went wrong, or stopped by itself with an error",
    Health.PENDING: "waits until the fleet changes: WHY and w say for what",
    Health.INACTIVE: "is not running, and is not asked to, or has ended",
}


def help_lines(keymap: Mapping[str, str], *, read_only: bool) -> list[Line]:
    """All keys by group, and what the glyphs mean."""
    lines: list[Line] = []
    group = ""
    for key in KEYS:
        if read_only and key.changes:
            continue
        if key.group != group:
            group = key.group
            lines += [(), (Cell(group, Tone.HEAD),)]
        lines.append(_line(" ".join(map(written, keys_of(key, keymap))), key.does))
    lines += [(), (Cell("Tables", Tone.HEAD),), *(_line(keys, does) for keys, does in MOVING)]
    lines += [(), (Cell("States", Tone.HEAD),)]
    lines += [
        (Cell(f"  {GLYPHS[health]} {health:<16}", TONES[health]), Cell(does)) for health, does in MEANING.items()
    ]
    lines += [(), (Cell("Filter", Tone.HEAD),), *_filter_lines()]
    return lines[1:]


def _line(keys: str, does: str) -> Line:
    return (Cell(f"  {keys:<18}", Tone.STRONG), Cell(does))


def _filter_lines() -> list[Line]:
    examples = (
        ("web core-2", "both words, anywhere in the row; letters in order do too: wb1"),
        ("state:failed", "also machine: target: sub: unit: is:drifting metadata: actor: verb:"),
        ("!inactive", "rows without it; !state:active as well"),
    )
    return [_line(example, does) for example, does in examples]
