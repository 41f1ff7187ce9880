"""All fields of one entry as a page: the message, what the program said of itself, what is proven. Pure.

Fields that begin with "_" come from journald itself and cannot be forged; the others are the program's word.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.escape import escape

GROUPS = (
    ("what the program said", lambda name: not name.startswith("_") and name != "MESSAGE"),
    ("what journald knows", lambda name: name.startswith("_") and not name.startswith("__")),
    ("where it stands", lambda name: name.startswith("__")),
)


def field_lines(fields: Mapping[str, str], width: int) -> list[Line]:
    """The fields for the screen, long values broken at `width` cells."""
    lines: list[Line] = [(Cell("MESSAGE", Tone.HEAD),)]
    lines += [(Cell("  " + piece),) for piece in _pieces(fields.get("MESSAGE", ""), width - 2)]
    for title, belongs in GROUPS:
        names = sorted(filter(belongs, fields))
        if not names:
            continue
        lines += [(), (Cell(title, Tone.HEAD),)]
        wide = min(28, max(map(len, names)))
        for name in names:
            lines += _field(name, fields[name], wide, width)
    return lines


def field_text(fields: Mapping[str, str]) -> str:
    """The fields as `journalctl -o verbose` has them, for copying."""
    return "\n".join(f"{escape(name)}={escape(value, lines=True)}" for name, value in sorted(fields.items()))


def _field(name: str, value: str, wide: int, width: int) -> Iterator[Line]:
    said = escape(name).ljust(wide) + "  "
    for number, piece in enumerate(_pieces(value, max(16, width - len(said) - 2))):
        yield (Cell("  " + (said if not number else " " * len(said)), Tone.QUIET), Cell(piece))


def _pieces(value: str, room: int) -> Iterator[str]:
    from fleettui.console.journal.scribe import wrapped  # noqa: PLC0415 - only when somebody opens a line

    for line in escape(value, lines=True).rstrip("\n").split("\n"):
        yield from wrapped(line, room)
