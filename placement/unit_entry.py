"""One unit as the board sees it: what was asked, where it is, where it shall be.

Owns the per-unit facts and the words for them. A case is mutable and belongs to one board; the board alone
changes it, so that its indexes stay true.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from placement.options_cache import OptionsError
from registry.model import Assignment, Pending, Target, Unit
from registry.units.options import ANYWHERE, FleetOptions

Wish = tuple[str, int, Target, int]  # hash, generation, target, attempt: what a schedule line must say


@dataclass(slots=True)
class UnitEntry:
    """Everything about one unit name.

    `lines` is what the registry schedules (None: a line that does not parse), `homes` what shall be scheduled once
    the decisions are carried out, `claims` the machines that report a state of it, with the file's hash ("" when
    the state does not parse). `held` means that the operator's record does not parse: nothing is changed.
    """

    name: str
    unit: Unit | None = None
    held: bool = False
    options: FleetOptions = ANYWHERE
    trouble: OptionsError | None = None
    lines: dict[str, Assignment | None] = field(default_factory=dict)
    homes: set[str] = field(default_factory=set)
    claims: dict[str, str] = field(default_factory=dict)
    pending: Pending | None = None
    pending_exists: bool = False  # also when it does not parse
    verdict: Pending | None = None
    read_hash: str = ""  # the file that `options` were read from

    @property
    def wanted(self) -> bool:
        """Whether the operator wants it on a machine."""
        return self.unit is not None and self.unit.target is not Target.INACTIVE

    @property
    def template(self) -> bool:
        """Whether it is `web@.service`, which is never placed itself."""
        return "@." in self.name

    @property
    def placeable(self) -> bool:
        """Whether it may be given to a machine at all."""
        return self.wanted and not self.held and self.trouble is None and not self.template

    @property
    def frozen(self) -> bool:
        """Whether its lines stay as they are, whatever happens: nobody knows what is wanted."""
        return self.held or (self.wanted and self.trouble is not None and not self.template)

    @property
    def against(self) -> tuple[str, ...]:
        """The patterns of units that it does not share a machine with."""
        return self.options.conflicts + self.options.replaces

    @property
    def hash(self) -> str:
        """The file that speaks for it: the operator's, else what is scheduled, else what runs."""
        if self.unit is not None:
            return self.unit.hash
        scheduled = (line.hash for _, line in sorted(self.lines.items()) if line is not None)
        return next(scheduled, "") or next((each for _, each in sorted(self.claims.items()) if each), "")

    @property
    def wish(self) -> Wish | None:
        """What its schedule lines must say; None when they stay as they are."""
        if self.unit is None or self.frozen:
            return None
        return (self.unit.hash, self.unit.generation, self.unit.target, self.unit.attempt)

    @property
    def empty(self) -> bool:
        """Whether nothing in the registry speaks of it."""
        return not (self.unit or self.held or self.lines or self.homes or self.claims or self.pending_exists)

    def stale(self, machine: str) -> bool:
        """Whether the line on `machine` says something else than what is wished."""
        line, wish = self.lines[machine], self.wish
        if wish is None:
            return False
        return line is None or (line.hash, line.generation, line.target, line.attempt) != wish

    @property
    def reflected(self) -> bool:
        """Whether the registry holds what was decided last."""
        return (
            self.homes == self.lines.keys()
            and not any(self.stale(machine) for machine in self.lines)
            and (self.held or (self.pending == self.verdict and self.pending_exists == (self.verdict is not None)))
        )
