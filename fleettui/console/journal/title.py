"""What the pane says above its lines: whose journal, how it goes, what narrows it. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.cells import cell_len

from fleettui.console.journal.filters import ALL_PRIORITIES, EVERYTHING, Narrowing, priority_text
from fleettui.console.journal.formatter import source_tones, wrapped
from fleettui.console.journal.sources import Wanted, hosts_of, stem
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted
from fleettui.escape import clause, escape

BOOTS = {"": "", "0": "this boot", "-1": "the boot before"}
SHOWN_TEXT = 24


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """The state of a journal. `trouble` is a machine's, `note` what is said instead of counts."""

    following: bool = True
    unseen: int = 0
    kept: int = 0
    warnings: int = 0
    dropped: int = 0
    trouble: str = ""
    note: str = ""
    working: str = ""  # what is being done
    past: bool = False  # what is shown ends before the newest line
    ended: bool = False  # what is read has an end: nothing is followed


@dataclass(frozen=True, slots=True)
class Narrowed:
    """What narrows the journal."""

    narrowing: Narrowing = EVERYTHING
    since: str = ""
    boot: str = ""
    search: str = ""
    hidden: int = 0
    hit: int = 0
    hits: int = 0
    unread: str = ""  # of what is wanted, in words
    scanning: str = ""  # of a search through everything

    def __bool__(self) -> bool:
        return bool(self.narrowing or self.since or self.boot or self.search or self.unread)


def status_cells(status: JournalStatus, room: int) -> Line:
    """The state of a journal, in the room that there is; then counts, the most needed first."""
    if status.note:
        state = Cell(status.note, Tone.QUIET)
    elif status.ended:
        state = Cell("not followed: t has an end", Tone.BUSY)
    elif status.following:
        state = Cell("following", Tone.GOOD)
    else:
        paused = "paused in the past" if status.past else "paused"
        state = Cell(f"{paused} · {status.unseen:,} new below" if status.unseen else paused, Tone.BUSY)
    found = [state]
    for ways in _counts(status):
        taken = sum(len(cell.text) + 3 for cell in found)
        found += [part for part in ways if taken + len(part.text) + 3 <= room][:1]
    order = [state, *sorted(found[1:], key=lambda cell: cell.tone is not Tone.QUIET)]
    cells: list[Cell] = [Cell(" ")]
    for number, cell in enumerate(order):
        cells += [Cell(" · ", Tone.QUIET)] if number else []
        cells.append(cell)
    return (*cells, Cell(" "))


def _counts(status: JournalStatus) -> list[tuple[Cell, ...]]:
    """The counts, the most needed first, each in words and shorter."""
    parts: list[tuple[Cell, ...]] = []
    if status.trouble:
        parts.append((Cell(f"✖ {status.trouble}", Tone.BAD),))
    if status.dropped:
        parts.append((Cell(f"{counted(status.dropped, 'line')} dropped", Tone.BAD),))
    if status.working:
        parts.append((Cell(status.working, Tone.BUSY),))
    if status.kept or not status.note:
        parts.append((Cell(counted(status.kept, "line"), Tone.QUIET), Cell(f"{status.kept:,}", Tone.QUIET)))
    if status.warnings:
        warnings = f"▲ {counted(status.warnings, 'warning')}"
        parts.append((Cell(f"{warnings} and worse", Tone.BUSY), Cell(f"▲ {status.warnings:,}", Tone.BUSY)))
    return parts


def source_cells(wanted: Sequence[Wanted], room: int) -> Line:
    """Whose journal it is; where lines of several sources meet, each name in its lines' colour."""
    if not wanted:
        return ()
    units = list(dict.fromkeys(each.unit for each in wanted))
    if len(units) == 1:
        name = escape(stem(units[0])) or "everything"
        tones = [
            (each.machine.hostname, tone) for each, (_, tone) in zip(wanted, source_tones(wanted), strict=True)
        ]
        if len(tones) == 1:
            return (Cell(_cut(f"{name} · {tones[0][0]}", room), Tone.PLAIN),)
        return (Cell(f"{name} · ", Tone.PLAIN), *_list(tones, room - len(name) - 3))
    tones = list(dict.fromkeys((stem(unit) or "everything", tone) for (_, unit), tone in source_tones(wanted)))
    names = _list(tones, room)
    said = sum(len(cell.text) for cell in names)
    hosts = f" · {hosts_of(wanted)}"
    return (*names, Cell(hosts)) if said + len(hosts) <= room else names


def _list(names: Sequence[tuple[str, Tone]], room: int) -> Line:
    """Names in their tones, as many as there is room for; the others are counted."""
    cells: list[Cell] = []
    used = 0
    for number, (name, tone) in enumerate(names):
        text = escape(name)
        rest = len(names) - number
        tail = len(f" and {rest} more")
        if used + len(text) + 2 + (tail if rest > 1 else 0) > room and cells:
            return (*cells, Cell(f" and {rest} more", Tone.QUIET))
        cells += [Cell(", ", Tone.QUIET)] if cells else []
        cells.append(Cell(_cut(text, max(8, room - used)), tone))
        used += len(text) + 2
    return tuple(cells)


def narrowed_cells(narrowed: Narrowed) -> Line:
    """What narrows the journal, in words; nothing is hidden without being counted."""
    found = narrowed.narrowing
    parts = [
        Cell(f"✖ {narrowed.unread}", Tone.BAD) if narrowed.unread else None,
        Cell(f"only {_shown(found.include)}", Tone.BUSY) if found.include else None,
        Cell(f"without {_shown(found.exclude)}", Tone.BUSY) if found.exclude else None,
        Cell(priority_text(found.priority), Tone.BUSY) if found.priority < ALL_PRIORITIES else None,
        Cell(("" if ".." in narrowed.since else "since ") + _shown(narrowed.since), Tone.BUSY)
        if narrowed.since
        else None,
        Cell(BOOTS.get(narrowed.boot, narrowed.boot), Tone.BUSY) if narrowed.boot else None,
        Cell(f"{narrowed.hidden:,} hidden", Tone.PLAIN) if found else None,
        Cell(f"⌕ {_shown(narrowed.search)}: {found_text(narrowed)}", Tone.HEAD) if narrowed.search else None,
        Cell(narrowed.scanning, Tone.BAD if narrowed.scanning.startswith("✖") else Tone.BUSY)
        if narrowed.scanning
        else None,
    ]
    cells: list[Cell] = []
    for part in parts:
        if part is not None:
            cells += [Cell(" · ", Tone.QUIET)] if cells else []
            cells.append(part)
    return tuple(cells)


def found_text(narrowed: Narrowed) -> str:
    """How many lines were found; while a search goes on, none is not nothing."""
    return hits_text(narrowed.hit, narrowed.hits) if narrowed.hits or not narrowed.scanning else "none yet"


def hits_text(hit: int, hits: int) -> str:
    """ "3 of 17", "17 found", "nothing found"."""
    if not hits:
        return "nothing found"
    return f"{hit:,} of {hits:,}" if hit else f"{hits:,} found"


def _shown(text: str) -> str:
    return escape(_cut(text, SHOWN_TEXT))


def _cut(text: str, room: int) -> str:
    return text if len(text) <= room else text[: max(0, room - 1)] + "…"


def title_line(wanted: Sequence[Wanted], status: JournalStatus, width: int, *, focus: bool) -> tuple[Line, Line]:
    """The pane's upper edge: a rule with whose journal it is on its left and how it goes on its right."""
    whose = source_cells(wanted, max(12, width // 2 - 10))
    name: Line = (Cell(" journal  ", Tone.HEAD if focus else Tone.STRONG), *whose, Cell(" "))
    used = sum(cell_len(cell.text) for cell in name)
    right = status_cells(status, width - used - 6)
    rule = max(0, width - used - sum(cell_len(cell.text) for cell in right) - 3)
    line = Tone.HEAD if focus else Tone.QUIET
    return (Cell("─", line), *name, Cell("─" * rule, line)), (*right, Cell("──", line))


def trouble_text(troubles: Mapping[str, str]) -> str:
    """Which machine cannot be read (why, by host name), or how many cannot; "" when all can."""
    if len(troubles) != 1:
        return f"{len(troubles)} machines lost, trying again" if troubles else ""
    host, reason = next(iter(troubles.items()))
    return f"{escape(host)} {'unreadable' if reason.startswith('cannot use') else 'lost'}, trying again"


def notice_lines(
    why: str, troubles: Mapping[str, str], kept: int, hidden: int, where: tuple[str, str], room: int
) -> list[Line]:
    """What stands where lines would be, for a journal of some boot since some moment (`where`)."""
    boot, since = where
    if why:
        told = [why]
    elif troubles and not kept:
        told = [f"{host}: {clause(reason)}; trying again" for host, reason in troubles.items()]
    elif kept:
        told = [f"{counted(hidden, 'line')} hidden by the filters; Esc takes the last filter away"]
    else:
        of_boot = {"0": " of this boot", "-1": " of the boot before"}.get(boot, "")
        told = [f"no line{of_boot}{f' since {since}' if since else ''} yet; what comes is shown here"]
    pieces = (piece for each in told for piece in wrapped(each, max(20, room), words=True))
    return [(), *((Cell(f"  {piece}", Tone.QUIET),) for piece in pieces)]
