"""Figures beside what they should reach and a reference of the same run: a table for people, JSON for programs.

Owns how a figure is told; measures nothing. A figure that misses its reach is marked, never an error: a loaded
machine is no defect.
"""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

COLUMNS = ("", "figure", "reach", "reference", "ratio")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line: what was measured, in `unit`, beside the value to reach and a reference of the same run.

    `reach` None: no aim is set. `reference` None: nothing to compare with; `against` says what the reference is, or
    remarks on the figure. `more` is True where higher is better (rates), False where lower is (times, sizes).
    """

    work: str
    value: float
    unit: str
    reach: float | None = None
    reference: float | None = None
    against: str = ""
    more: bool = False

    @property
    def ratio(self) -> float | None:
        """The figure as a multiple of its reference."""
        return self.value / self.reference if self.reference else None

    @property
    def reached(self) -> bool | None:
        """Whether the figure is as good as it should be; None where no aim is set."""
        if self.reach is None:
            return None
        return self.value >= self.reach if self.more else self.value <= self.reach


def table(figures: Sequence[Figure]) -> str:
    """The figures as aligned text, a figure that misses its reach marked with "!"."""
    rows = [COLUMNS, *map(_cells, figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = []
    for row, figure in zip(rows, (None, *figures), strict=True):
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join([*cells, figure.against if figure else ""]).rstrip())
    return "\n".join(lines)


def markdown(figures: Sequence[Figure]) -> str:
    """The same as a table for a page."""
    lines = ["| work | figure | reach | reference | ratio | beside |", "|---|---|---|---|---|---|"]
    lines += ["| " + " | ".join((*_cells(figure), figure.against)) + " |" for figure in figures]
    return "\n".join(lines)


def write_json(path: Path, figures: Iterable[Figure], **about: object) -> None:
    """The figures with what they were taken on; `about` adds what the run was."""
    found = [{**asdict(each), "ratio": each.ratio, "reached": each.reached} for each in figures]
    path.write_text(json.dumps({"taken": surroundings(), **about, "figures": found}, indent=1) + "\n")


def surroundings() -> dict[str, object]:
    """When and on what kind of machine, and how busy it was: ratios carry over to another machine, times do not."""
    return {
        "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "cpus": len(os.sched_getaffinity(0)),
        "load": [round(each, 2) for each in os.getloadavg()],
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


def _cells(figure: Figure) -> tuple[str, ...]:
    mark = " !" if figure.reached is False else ""
    return (
        figure.work,
        f"{number(figure.value)} {figure.unit}{mark}".strip(),
        "" if figure.reach is None else f"{number(figure.reach)} {figure.unit}".strip(),
        "" if figure.reference is None else f"{number(figure.reference)} {figure.unit}".strip(),
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
    )


def number(value: float) -> str:
    """Three digits that count, without an exponent."""
    if value == 0:
        return "0"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
