"""The same work by several fleets, side by side: a table for people, JSON for programs. Pure but for the file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.report import number, surroundings

ABSENT = "-"


@dataclass(frozen=True, slots=True)
class Line:
    """One work: each fleet's figure in `unit` by its title, less being better. A fleet without one is absent."""

    work: str
    unit: str
    values: Mapping[str, float]
    remark: str = ""

    def ratio(self, ours: str, peer: str) -> float | None:
        """Our figure as a multiple of the peer's; None where one of them is absent or nothing."""
        mine, other = self.values.get(ours), self.values.get(peer)
        return mine / other if mine is not None and other else None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All lines; the first of `titles` is ours."""

    titles: Sequence[str]
    lines: Sequence[Line]
    versions: Mapping[str, str] = field(default_factory=dict)

    def lost(self) -> list[tuple[str, str]]:
        """Every work in which a peer is better than ours, with its title."""
        ours, *peers = self.titles
        return [(line.work, peer) for line in self.lines for peer in peers if (line.ratio(ours, peer) or 0.0) > 1.0]

    def cells(self) -> list[list[str]]:
        """The table's rows, the header first: our figure, then each peer's and how many times as much ours is."""
        ours, *peers = self.titles
        header = ["", ours, *(cell for peer in peers for cell in (peer, "ratio")), ""]
        lost = set(self.lost())
        rows = [header]
        for line in self.lines:
            row = [line.work, _figure(line, ours)]
            for peer in peers:
                ratio = line.ratio(ours, peer)
                mark = " !" if (line.work, peer) in lost else ""
                row += [_figure(line, peer), ABSENT if ratio is None else f"{number(ratio)}{mark}"]
            rows.append([*row, line.remark])
        return rows

    def text(self) -> str:
        """The table as aligned text."""
        rows = self.cells()
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = []
        for work, *figures, remark in rows:
            cells = [cell.rjust(width) for cell, width in zip(figures, widths[1:-1], strict=True)]
            lines.append("  ".join([work.ljust(widths[0]), *cells, remark]).rstrip())
        return "\n".join(lines)

    def markdown(self) -> str:
        """The table for a page."""
        header, *rows = self.cells()
        lines = [["work", *header[1:-1], "beside"], ["---"] * len(header), *rows]
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def write(self, path: Path, **about: object) -> None:
        """Everything as JSON, with what it was taken on; `about` adds what the run was."""
        ours, *peers = self.titles
        lost = self.lost()
        lines = [
            {
                "work": line.work,
                "unit": line.unit,
                "values": dict(line.values),
                "ratios": {peer: line.ratio(ours, peer) for peer in peers},
                "lost_to": [peer for work, peer in lost if work == line.work],
                "remark": line.remark,
            }
            for line in self.lines
        ]
        told = {"taken": surroundings(), **about, "versions": dict(self.versions), "lines": lines}
        path.write_text(json.dumps(told, indent=1) + "\n")


def _figure(line: Line, title: str) -> str:
    value = line.values.get(title)
    return ABSENT if value is None else f"{number(value)} {line.unit}"
