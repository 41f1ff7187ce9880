"""The map: one square a unit, the squares of a machine together. Pure: rows in, places on the screen out.

A square's place follows from names alone, never from a state, so that nothing moves when a unit fails. Squares are
as large as lets the whole fleet be seen at once; where it cannot be, they are small and the map scrolls.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from fleettui.console.tables.machines import FULL, TIGHT
from fleettui.console.tables.units import UnitRow
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import natural
from fleettui.escape import escape
from registry.mirror import Snapshot
from registry.model import Availability

PENDING, NOWHERE = "\0pending", "\uffff"  # names of blocks that are no machine
LABEL_MAX = 18
BLOCK_GAP = 2  # between two machines side by side
PITCHES = (3, 2, 1)  # cells from one square to the next
LEAST = 8  # squares in a line of a machine, before machines stand side by side
FULLNESS = ((FULL, " █"), (TIGHT, " ▆"))  # from which part on a machine has which sign
MARKS = {Availability.CORDONED: "◌ ", Availability.DRAINING: "◐ "}


@dataclass(frozen=True, slots=True)
class Block:
    """A machine, or what is on none, with its units in order."""

    label: Cell
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """One line of one block: where it begins, its label on the first line, and its squares."""

    x: int
    label: Cell | None
    count: int  # of the whole block
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MapLayout:
    """The place of every square."""

    lines: tuple[tuple[Piece, ...], ...] = ()
    pitch: int = PITCHES[0]
    label_width: int = 0
    lead: int = 0  # from the beginning of a label to the first square
    places: Mapping[str, tuple[int, int]] = field(default_factory=dict)  # key -> (line, x)


def place(row: UnitRow) -> str:
    """The block that a unit is in."""
    if row.machine:
        return row.machine
    return NOWHERE if row.target == "inactive" else PENDING


def order(row: UnitRow) -> str:
    """The sort key: what waits first, then machines by name, then inactive units; in a block by name.

    One text, since twenty thousand of these are sorted.
    """
    block = place(row)
    rank = {PENDING: "0", NOWHERE: "2"}.get(block, "1")
    return f"{rank}{natural(row.host)}\0{block}\0{natural(row.unit)}"


def machine_labels(snapshot: Snapshot, full: Mapping[str, float]) -> dict[str, Cell]:
    """Every machine's name as the map shows it, with a mark where it takes no more units, or how `full` it is."""
    labels = {}
    for machine, record in snapshot.machines.items():
        override = snapshot.overrides.get(machine)
        mark = MARKS.get(override.availability, "") if override else ""
        level = next((sign for least, sign in FULLNESS if full.get(machine, 0.0) >= least), "")
        tone = Tone.BUSY if level == FULLNESS[0][1] else Tone.WAIT if mark else Tone.PLAIN
        labels[machine] = Cell(f"{mark}{escape(record.hostname)}{level}", tone)
    return labels


def blocks(rows: Iterable[UnitRow], labels: Mapping[str, Cell]) -> list[Block]:
    """The rows, already in order, by block; machines without units are there too."""
    members: dict[str, list[str]] = {}
    hosts: dict[str, str] = {}
    for row in rows:
        name = place(row)
        members.setdefault(name, []).append(row.key)
        hosts[name] = row.host
    shown = {name: labels.get(name) or Cell(f"✖ {hosts[name]}", Tone.BAD) for name in {*members, *labels}}
    shown |= {PENDING: Cell("pending", Tone.WAIT), NOWHERE: Cell("on no machine", Tone.QUIET)}
    machines = sorted(
        shown.keys() - {PENDING, NOWHERE}, key=lambda name: (natural(shown[name].text.lstrip("◌◐✖ ")), name)
    )
    names = [*[PENDING][: PENDING in members], *machines, *[NOWHERE][: NOWHERE in members]]
    return [Block(shown[name], tuple(members.get(name, ()))) for name in names]


def plan(fleet: Sequence[Block], width: int, height: int) -> MapLayout:
    """Places for all squares: the largest with which everything fits the height, else the smallest."""
    if not fleet:
        return MapLayout()
    label = min(LABEL_MAX, max(len(block.label.text) for block in fleet))
    count = max(len(str(len(block.keys))) for block in fleet)
    lead = label + count + 2  # label, count, and space around it
    shapes = [
        shape
        for pitch in PITCHES
        for shape in (_listed(width, lead, pitch), _side_by_side(fleet, width, lead, pitch))
    ]
    shape = next((shape for shape in shapes if shape.height(fleet) <= height), shapes[-1])
    lines = _lay_out(fleet, lead, shape)
    places = {
        key: (number, piece.x + lead + position * shape.pitch)
        for number, line in enumerate(lines)
        for piece in line
        for position, key in enumerate(piece.keys)
    }
    return MapLayout(tuple(lines), shape.pitch, label, lead, places)


@dataclass(frozen=True, slots=True)
class _Shape:
    """How large squares are, how many stand in a line of a block, and how many blocks side by side."""

    pitch: int
    across: int
    columns: int

    def height(self, fleet: Sequence[Block]) -> int:
        """How many lines these blocks take."""
        heights = [max(1, -(-len(block.keys) // self.across)) for block in fleet]
        return sum(max(heights[first : first + self.columns]) for first in range(0, len(fleet), self.columns))


def _listed(width: int, lead: int, pitch: int) -> _Shape:
    """A machine a line, or several lines."""
    return _Shape(pitch, max(1, (width - lead) // pitch), 1)


def _side_by_side(fleet: Sequence[Block], width: int, lead: int, pitch: int) -> _Shape:
    """As many machines side by side as have room for what nine of ten machines hold."""
    sizes = sorted(len(block.keys) for block in fleet)
    usual = max(LEAST, sizes[(len(sizes) * 9) // 10])
    columns = (width + BLOCK_GAP) // (lead + usual * pitch + BLOCK_GAP)
    if columns < 2:
        return _listed(width, lead, pitch)
    return _Shape(pitch, (width - (columns - 1) * BLOCK_GAP - columns * lead) // columns // pitch, columns)


def _lay_out(fleet: Sequence[Block], lead: int, shape: _Shape) -> list[tuple[Piece, ...]]:
    """The lines: blocks side by side, each cut into as many lines as it needs."""
    lines: list[tuple[Piece, ...]] = []
    across, step = shape.across, lead + shape.across * shape.pitch + BLOCK_GAP
    for first in range(0, len(fleet), shape.columns):
        row = fleet[first : first + shape.columns]
        cut = range(0, max(1, *(len(block.keys) for block in row)), across)
        lines += [
            tuple(
                Piece(column * step, None if at else block.label, len(block.keys), block.keys[at : at + across])
                for column, block in enumerate(row)
                if at == 0 or at < len(block.keys)
            )
            for at in cut
        ]
    return lines


def nearest(plan_: MapLayout, line: int, x: int, admitted: Mapping[str, None]) -> str | None:
    """The square of a line that is nearest to `x`, of those that the filter lets through."""
    keys = [key for piece in plan_.lines[line] for key in piece.keys if key in admitted]
    return min(keys, key=lambda key: abs(plan_.places[key][1] - x), default=None)
