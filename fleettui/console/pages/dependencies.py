"""Dependencies as a page: both directions in the fleet, each with its state, and what stops with it. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from fleettui.console.operations.relations import ORDER, Edge, edges_from, edges_to, stops_with
from fleettui.console.pages.rich_text import RichLine, RichText, plain, rich_line, title
from fleettui.console.tables.rows import GLYPHS, SEVERITY, TONES, health
from fleettui.console.tables.units import host
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.subject import unit_subject
from fleettui.escape import escape
from registry.lifecycle import Whereabouts, standing
from registry.mirror import Snapshot
from registry.units.name import is_glob, matches
from registry.wording import and_more, listed

KIND_WIDTH, NAME_WIDTH, STATE_WIDTH = 18, 22, 13
MATCHES_SHOWN = 20
NEEDED_HERE = frozenset({"Requires", "Requisite", "BindsTo", "After", "Wants", "PartOf"})


def dependencies_page(snapshot: Snapshot, unit: str) -> RichText:
    """The page: what the unit needs, what needs it, and what stops with it."""
    if unit not in snapshot.units:
        return [plain(f"{escape(unit)} is not in the registry", Tone.BAD)]
    homes: Homes = {}  # where each unit is scheduled or still held
    for machine, name in sorted({*snapshot.schedule, *snapshot.states}):
        homes.setdefault(name, []).append(machine)
    ahead, behind = edges_from(snapshot, unit), edges_to(snapshot, unit)
    stopping = [
        _stopping("stops too", Tone.BAD, name, why) for name, why in sorted(stops_with(snapshot, unit).items())
    ]
    followers = sorted({edge.unit for edge in behind if edge.kind == "MachineOf"})
    stopping += [_stopping("must follow", Tone.WAIT, name, "MachineOf") for name in followers]
    return [
        plain("what it names", Tone.HEAD),
        *(_side(snapshot, homes, unit, ahead, forward=True) or [_none("its file names no other unit")]),
        *title("what names it"),
        *(_side(snapshot, homes, unit, behind, forward=False) or [_none("no unit of the fleet names it")]),
        *title("when it stops"),
        *(stopping or [_none("no other unit stops with it")]),
    ]


def _none(text: str) -> RichLine:
    return plain(f"  {text}", Tone.QUIET)


Homes = dict[str, list[str]]


def _side(snapshot: Snapshot, homes: Homes, unit: str, edges: Sequence[Edge], *, forward: bool) -> RichText:
    found: dict[str, dict[str, bool]] = {}  # each other unit once, with all kinds and whether they are fleet's
    for edge in edges:
        found.setdefault(edge.other if forward else edge.unit, {})[edge.kind] = edge.fleet
    page: RichText = []
    only_ordered_last = sorted(found.items(), key=lambda each: (each[1].keys() <= set(ORDER), each[0]))
    for name, said in only_ordered_last:
        kinds, fleet = list(said), all(said.values())
        if is_glob(name):
            page += _pattern(snapshot, homes, unit, name, kinds)
        else:
            page.append(_other(snapshot, homes, name, kinds, fleet=fleet))
            mine, theirs = homes.get(unit, []), homes.get(name, [])
            if mine and theirs and not fleet and NEEDED_HERE.intersection(kinds) and not set(mine) & set(theirs):
                note = "on another machine, where systemd cannot see it; add MachineOf= to keep them together"
                page.append(plain(f"{'':{KIND_WIDTH + 3}}{note}", Tone.BUSY))
    return page


def _pattern(snapshot: Snapshot, homes: Homes, unit: str, pattern: str, kinds: list[str]) -> RichText:
    """A glob of fleet's own options, with the units it means."""
    found = [
        name for name in sorted(snapshot.units) if name != unit and "@." not in name and matches(pattern, name)
    ]
    told = f"{len(found)} in the fleet" if found else "matches no other unit now"
    head = rich_line(Cell(f"  {' '.join(kinds):<{KIND_WIDTH}} ", Tone.ONE), Cell(escape(pattern), Tone.STRONG),
                Cell(f"  {told}", Tone.QUIET))  # fmt: skip
    rows = [_other(snapshot, homes, name, [], fleet=True) for name in found[:MATCHES_SHOWN]]
    more = len(found) - MATCHES_SHOWN
    return [head, *rows, *([_none(f"  {and_more(more)}")] if more > 0 else [])]


def _other(snapshot: Snapshot, homes: Homes, name: str, kinds: list[str], *, fleet: bool) -> RichLine:
    in_fleet = name in snapshot.units
    shown = escape(name)
    head = (
        Cell(f"  {' '.join(kinds):<{KIND_WIDTH}} ", Tone.ONE),
        Cell(f"{shown:<{NAME_WIDTH}} ", Tone.STRONG if in_fleet else Tone.PLAIN),
    )
    if not in_fleet:
        told = "not in the fleet: placement waits for it" if fleet else "each machine's own"
        return rich_line(*head, Cell(told, Tone.WAIT if fleet else Tone.QUIET))
    where = homes.get(name, [])
    hosts = listed((host(snapshot, machine) for machine in where), 6) or "on no machine"
    return rich_line(*head, state_cell(snapshot, name, where), Cell(hosts), to=unit_subject(name))


def state_cell(snapshot: Snapshot, name: str, where: Sequence[str]) -> Cell:
    """The unit's state as tables show it, in one width."""
    pairs = [(machine, name) for machine in where]
    states = [snapshot.states[pair] for pair in pairs if pair in snapshot.states]
    lines = tuple(snapshot.schedule[pair] for pair in pairs if pair in snapshot.schedule)
    here = standing(snapshot, name, Whereabouts({name: lines}, {name: tuple(states)}))
    found = [health(here, state) for state in states] or [health(here, None)]
    condition = min(found, key=SEVERITY.__getitem__)
    return Cell(f"{f'{GLYPHS[condition]} {condition}':<{STATE_WIDTH}} ", TONES[condition])


def _stopping(word: str, tone: Tone, name: str, why: str) -> RichLine:
    lead, shown = Cell(f"  {word:<{KIND_WIDTH}} ", tone), Cell(f"{escape(name):<{NAME_WIDTH}} ", Tone.STRONG)
    return rich_line(lead, shown, Cell(f"({escape(why)})", Tone.QUIET), to=unit_subject(name))
