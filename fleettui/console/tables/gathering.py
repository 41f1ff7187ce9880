"""What the row of a template is made of, kept as its instances change: a change costs the same with few and many.

What it yields depends on the rows that it holds alone, not on the order in which they came. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import replace

from fleettui.console.tables.health import Health
from fleettui.console.tables.meters import UNKNOWN
from fleettui.console.tables.unit_row import UnitRow


class Gathering:
    """Rows counted by what a group tells of them."""

    def __init__(self, rows: Iterable[UnitRow] = ()) -> None:
        self.conditions: Counter[Health] = Counter()
        self._words: defaultdict[Health, Counter[str]] = defaultdict(Counter)
        self._reasons: defaultdict[Health, Counter[str]] = defaultdict(Counter)
        self._targets: Counter[str] = Counter()
        self._drifting = 0
        self._metered: dict[str, UnitRow] = {}
        for row in rows:
            self.put(row)

    def put(self, row: UnitRow) -> None:
        """One more."""
        self._count(row, 1)
        if row.meter != UNKNOWN:
            self._metered[row.key] = row

    def drop(self, row: UnitRow) -> None:
        """One less, as it was put."""
        self._count(row, -1)
        self._metered.pop(row.key, None)

    def _count(self, row: UnitRow, step: int) -> None:
        _step(self.conditions, row.condition, step)
        _step(self._words[row.condition], row.word, step)
        _step(self._targets, row.target, step)
        if row.reason:
            _step(self._reasons[row.condition], row.reason, step)
        self._drifting += step * row.drifting

    def __len__(self) -> int:
        return self.conditions.total()

    def group(self, head: UnitRow) -> UnitRow:
        """The row that stands for them: as bad as the worst, with how many are where they should be."""
        if not self:
            return replace(head, word=head.word if head.is_global else "no instances")
        worst = next(condition for condition in Health if self.conditions[condition])
        return replace(
            head,
            condition=worst,
            word=min(self._words[worst]),
            target=head.target if head.is_global else self._target(),
            running=self.conditions[Health.ACTIVE],
            members=len(self),
            reason=head.reason or min(self._reasons[worst], default=""),
            drifting=bool(self._drifting),
            meter=sum((self._metered[key].meter for key in sorted(self._metered)), UNKNOWN),
        )

    def _target(self) -> str:
        return next(iter(self._targets)) if len(self._targets) == 1 else "mixed"


def _step(counts: Counter[Health] | Counter[str], what: str, step: int) -> None:
    """Count up or down; what is at nothing is not there."""
    counts[what] += step  # type: ignore[index] # a Health is a text
    if not counts[what]:  # type: ignore[index]
        del counts[what]
