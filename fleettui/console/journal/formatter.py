"""Journal items as cells: when, where, who, how urgent, what; wrapping, colours, an entry's fields. Pure.

Untrusted text becomes cells here and nowhere else, escaped. Fields that begin with "_" come from journald itself
and cannot be forged; the others are the program's word.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.cells import cell_len, chop_cells, set_cell_size

from fleettui.console.journal.messages import coloured, plain, structured
from fleettui.console.journal.sources import Item, Remark, Wanted, stem
from fleettui.console.text.cells import SOURCE_TONES, Cell, Line, Tone
from fleettui.escape import escape
from fleettui.journal_entry import JournalEntry

WARNING, ERROR, NOTICE, INFO = 4, 3, 5, 6
MAX_VALUE = 200  # characters of a JSON field's value in a line; Enter shows all
MAX_CHARS = 20_000  # of one message on the screen; its fields show the rest
LEAST_ROOM = 24  # for the message, whatever stands before it
MARKS = {**dict.fromkeys(range(ERROR + 1), "✖ "), WARNING: "▲ ", NOTICE: "• "}
WORDS = ("emergency: ", "alert: ", "critical: ")
REMARK_HEAD = "── "


class Times(StrEnum):
    """How the time of a line is written."""

    LOCAL = "local time"
    FULL = "date and milliseconds"
    UTC = "UTC"
    DELTA = "since the line before"
    HIDDEN = "no time"


TIME_WIDTH = {Times.LOCAL: 9, Times.FULL: 24, Times.UTC: 10, Times.DELTA: 10, Times.HIDDEN: 0}


@dataclass(frozen=True, slots=True)
class LineFormat:
    """How lines are laid out."""

    width: int = 80
    wrap: bool = False
    times: Times = Times.LOCAL


DEFAULT_FORMAT = LineFormat()


class LineFormatter:
    """Writes items of some sources. Make another one for another format or other sources."""

    def __init__(self, wanted: Sequence[Wanted], line_format: LineFormat | None = None) -> None:
        line_format = DEFAULT_FORMAT if line_format is None else line_format
        self.wanted, self.line_format = tuple(wanted), line_format
        hosts = {each.machine.id: escape(each.machine.hostname) for each in wanted}
        units = list(dict.fromkeys(each.unit for each in wanted))
        self._all_of_it = "" in units
        self._tones = dict(source_tones(wanted))
        self._hosts = hosts if len(hosts) > 1 else {}
        longest = max(map(cell_len, self._hosts.values()), default=-1)
        self._host_width = min(longest, max(8, line_format.width // 4)) + 1
        self._name_width = 0
        if self._all_of_it or len(units) > 1:
            longest = 16 if self._all_of_it else max(cell_len(escape(stem(unit))) for unit in units)
            self._name_width = min(longest, max(8, line_format.width // 4)) + 1
        self.indent = TIME_WIDTH[line_format.times] + self._host_width + self._name_width + 2
        self._room = max(LEAST_ROOM, line_format.width - self.indent)
        self._last: tuple[Item | None, list[Line]] = (None, [])

    def rows(self, item: Item) -> int:
        """How many rows an item takes."""
        if type(item) is not Remark:
            message = item.message  # type: ignore[union-attr]
            if "\n" not in message:
                if not self.line_format.wrap:
                    return 1
                if (
                    len(message) < self._room - 12
                    and message.isascii()
                    and "\t" not in message
                    and message[:1] != "{"
                ):
                    return 1
        return len(self._pieces(item))

    def line(self, item: Item, part: int, before: Item | None) -> Line:
        """One row of an item; `before` is the item shown before it."""
        pieces = self._pieces(item)
        if part >= len(pieces):
            return ()
        if isinstance(item, Remark):
            tone = remark_tone(item)
            return (Cell(REMARK_HEAD if not part else "   ", tone), *pieces[part])
        if part:
            return (Cell(" " * self.indent), *pieces[part])
        return (*self._head(item, before), *self._writer(item), *pieces[part])

    def plain(self, item: Item) -> str:
        """An item for a file or the clipboard: full time, machine, source, message; further lines indented."""
        if isinstance(item, Remark):
            return f"-- {escape(item.text)}"
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(item.at // 1_000_000))
        zone = time.strftime("%z", time.localtime(item.at // 1_000_000))
        pid = f"[{item.pid}]" if item.pid else ""
        who = escape(item.identifier or stem(item.unit) or "unknown")
        head = f"{stamp}.{item.at // 1000 % 1000:03d}{zone} {escape(item.hostname)} {who}{pid}: "
        return head + escape(plain(item.message), lines=True).rstrip("\n").replace("\n", "\n" + " " * len(head))

    def _head(self, entry: JournalEntry, before: Item | None) -> list[Cell]:
        tones, key = self._tones, (entry.machine, entry.unit)
        tone = tones.get(key) or tones.get((entry.machine, "")) or Tone.ONE
        cells = [Cell(self._time(entry, before), Tone.QUIET)]
        if self._hosts:
            host = self._hosts.get(entry.machine) or escape(entry.hostname)
            cells.append(Cell(_fit(host, self._host_width - 1) + " ", tone))
        if self._name_width:
            name = entry.identifier or stem(entry.unit) if self._all_of_it else stem(entry.unit)
            cells.append(Cell(_fit(escape(name), self._name_width - 1) + " ", tone))
        cells.append(Cell(MARKS.get(entry.priority, "  "), tone_of(entry.priority)))
        return cells

    def _writer(self, entry: JournalEntry) -> tuple[Cell, ...]:
        """Who writes, where it is not the unit itself: systemd logs starts and stops in the same journal."""
        said = "systemd: " if entry.identifier == "systemd" and not self._all_of_it else ""
        said += WORDS[entry.priority] if 0 <= entry.priority < len(WORDS) else ""
        return (Cell(said, Tone.QUIET if entry.priority > ERROR else Tone.BAD),) if said else ()

    def _time(self, entry: JournalEntry, before: Item | None) -> str:
        at_s = entry.at // 1_000_000
        match self.line_format.times:
            case Times.LOCAL:
                return time.strftime("%H:%M:%S ", time.localtime(at_s))
            case Times.FULL:
                return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at_s)) + f".{entry.at // 1000 % 1000:03d} "
            case Times.UTC:
                return time.strftime("%H:%M:%SZ ", time.gmtime(at_s))
            case Times.DELTA:
                if before is None or isinstance(before, Remark):
                    return " " * TIME_WIDTH[Times.DELTA]
                gap = (entry.at - before.at) / 1_000_000
                text = f"{gap:+.3f}" if abs(gap) < 1000 else f"{gap:+.0f}"
                return f"{text[:7]:>7} s "
        return ""

    def _pieces(self, item: Item) -> list[Line]:
        """The item's text cut into rows, without what stands before it."""
        if self._last[0] is item:
            return self._last[1]
        if isinstance(item, Remark):
            room, tone = max(LEAST_ROOM, self.line_format.width - len(REMARK_HEAD)), remark_tone(item)
            pieces: list[Line] = [(Cell(piece, tone),) for piece in wrapped(escape(item.text), room, words=True)]
        else:
            pieces = self._message_lines(item)
        self._last = (item, pieces)
        return pieces

    def _message_lines(self, entry: JournalEntry) -> list[Line]:
        message, tone = entry.message, tone_of(entry.priority)
        if message[:1] == "{" and (found := structured(message)):
            text, spans = escape(plain(found.message)), [(len(escape(plain(found.message))), tone)]
            for name, value in found.fields.items():
                short = value if len(value) <= MAX_VALUE else value[: MAX_VALUE - 1] + "…"
                for part, colour in ((f"{'  ' if text else ''}{escape(name)}=", Tone.QUIET), (escape(short), tone)):
                    text += part
                    spans.append((len(text), colour))
        else:
            text, colours = coloured(message[:MAX_CHARS])
            spans = [(end, colour or tone) for end, colour in colours]
            text = text.rstrip("\n")
        if (more := len(message) - MAX_CHARS) > 0:
            text = text[:MAX_CHARS] + f" … {more:,} more characters (Enter shows all)"
        lead = sum(len(cell.text) for cell in self._writer(entry))
        pieces: list[Line] = []
        at = 0
        for number, line in enumerate(text.split("\n")):
            parts = wrapped(line, self._room, 0 if number else lead) if self.line_format.wrap else [line]
            for part in parts:
                pieces.append(toned(part, at, spans, tone))
                at += len(part)
            at += 1
        return pieces


def toned(piece: str, at: int, spans: Sequence[tuple[int, Tone]], otherwise: Tone) -> Line:
    """A piece of a text, which begins at a place of it, in the tones of the whole."""
    cells: list[Cell] = []
    start = at
    for end, tone in spans:
        if start < end and start < at + len(piece):
            cells.append(Cell(piece[start - at : end - at], tone))
            start = end
    rest = piece[max(0, start - at) :]
    return (*cells, Cell(rest, otherwise)) if rest or not cells else tuple(cells)


def remark_tone(remark: Remark) -> Tone:
    """How a word of the reader's own looks."""
    return Tone.GOOD if remark.good else Tone.BUSY


def source_tones(wanted: Sequence[Wanted]) -> list[tuple[tuple[str, str], Tone]]:
    """Each source's colour: one a unit; where one unit runs on many machines, one a machine."""
    units = list(dict.fromkeys(each.unit for each in wanted))
    by = [each.machine.id for each in wanted] if len(units) == 1 else [each.unit for each in wanted]
    order = {what: number for number, what in enumerate(dict.fromkeys(by))}
    return [
        (each.key, SOURCE_TONES[order[what] % len(SOURCE_TONES)]) for each, what in zip(wanted, by, strict=True)
    ]


def tone_of(priority: int) -> Tone:
    """How a priority looks."""
    if priority <= ERROR:
        return Tone.BAD
    if priority == WARNING:
        return Tone.BUSY
    return Tone.QUIET if priority > INFO else Tone.PLAIN


def wrapped(text: str, room: int, lead: int = 0, *, words: bool = False) -> list[str]:
    """The text in pieces of at most `room` cells, the first shorter by `lead`; at words where asked for."""
    room = max(1, room)
    first = max(1, room - lead)
    if words:
        return _at_words(text, room)
    if text.isascii():
        return [text[:first], *(text[at : at + room] for at in range(first, len(text), room))]
    if cell_len(text) <= first:
        return [text]
    head = chop_cells(text, first)[0]
    rest = text[len(head) :]
    return [head, *(chop_cells(rest, room) if rest else ())]


def _at_words(text: str, room: int) -> list[str]:
    lines: list[list[str]] = [[]]
    taken = 0  # cells of the last line
    for word in text.split(" "):
        cells = cell_len(word)
        if lines[-1] and taken + 1 + cells > room:
            lines.append([])
            taken = 0
        taken += cells + bool(lines[-1])
        lines[-1].append(word)
    return [piece for each in lines for piece in wrapped(" ".join(each), room)]


def _fit(text: str, width: int) -> str:
    if text.isascii():
        return text.ljust(width) if len(text) <= width else text[: width - 1] + "…"
    return set_cell_size(text, width) if cell_len(text) <= width else set_cell_size(text, width - 1) + "…"


GROUPS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    ("what the program said", lambda name: not name.startswith("_") and name != "MESSAGE"),
    ("what journald knows", lambda name: name.startswith("_") and not name.startswith("__")),
    ("where it stands", lambda name: name.startswith("__")),
)


def field_lines(fields: Mapping[str, str], width: int) -> list[Line]:
    """The fields for the screen, long values broken at `width` cells."""
    lines: list[Line] = [(Cell("MESSAGE", Tone.HEAD),)]
    lines += [(Cell("  " + piece),) for piece in _pieces(fields.get("MESSAGE", ""), width - 2)]
    groups: list[tuple[str, Mapping[str, str]]] = []
    for title, belongs in GROUPS:
        groups.append((title, {name: fields[name] for name in fields if belongs(name)}))
    if found := structured(fields.get("MESSAGE", "")):
        groups.insert(0, ("in the message", found.everything))
    for title, values in groups:
        names = sorted(values)
        if not names:
            continue
        lines += [(), (Cell(title, Tone.HEAD),)]
        wide = min(28, max(cell_len(escape(name)) for name in names))
        for name in names:
            lead = escape(name).ljust(wide) + "  "
            for number, piece in enumerate(_pieces(values[name], max(16, width - len(lead) - 2))):
                lines.append((Cell("  " + (" " * len(lead) if number else lead), Tone.QUIET), Cell(piece)))
    return lines


def field_text(fields: Mapping[str, str]) -> str:
    """The fields as `journalctl -o verbose` has them, for copying."""
    return "\n".join(f"{escape(name)}={escape(value, lines=True)}" for name, value in sorted(fields.items()))


def _pieces(value: str, room: int) -> Iterator[str]:
    for line in escape(value, lines=True).rstrip("\n").split("\n"):
        yield from wrapped(line, room)
