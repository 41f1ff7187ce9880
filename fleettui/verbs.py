"""The verbs on units, in one table: what each does, when it applies, and its words. Pure.

`fleetctl`, the console's keys and commands, their completions and their questions are all made from it. What a verb
writes to the registry is in `actions/units.py`, its help in `cli/commands.py`, its key in `console/text/keys.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from registry.frozen import dataclass
from registry.model import Target


class Verb(StrEnum):
    """What an operator does to units, as `fleetctl` calls it; `undo` is the console's own."""

    START = "start"
    LOAD = "load"
    STOP = "stop"
    UNLOAD = "unload"
    RESTART = "restart"
    DESTROY = "destroy"
    SUBMIT = "submit"
    UNDO = "undo"
    REDO = "redo"

    @property
    def rules(self) -> VerbRules:
        """Its row of the table."""
        return RULES[self]


@dataclass(frozen=True, slots=True)
class VerbRules:
    """A row of the table.

    `target`: what a unit is brought to; None where it keeps its target, or is forgotten. `applies_from`: the
    targets that the verb can change. `asks_from`: the number of units from which the console always asks first;
    0: only where that stops several.
    """

    target: Target | None = None
    applies_from: frozenset[Target] = frozenset()
    takes_files: bool = False  # what the registry lacks is submitted first
    stops: bool = False  # what runs
    starts: bool = False
    forgets: bool = False
    asks_from: int = 0
    undoable: bool = True
    gerund: str = ""  # "" is the verb and -ing
    happens: str = "stops"  # to a unit that runs
    spreads: str = "stops"  # what systemd does to those that depend on it
    later: str = "starts"  # what a unit does once it can be placed

    @property
    def ends(self) -> bool:
        """Whether what runs is stopped for good."""
        return self.stops and not self.starts

    @property
    def only_launched(self) -> bool:
        """Whether it can change nothing but launched units."""
        return self.applies_from == {Target.LAUNCHED}


RULES: Mapping[Verb, VerbRules] = {
    Verb.START: VerbRules(
        Target.LAUNCHED, frozenset({Target.INACTIVE, Target.LOADED}), takes_files=True, starts=True
    ),
    Verb.LOAD: VerbRules(Target.LOADED, frozenset({Target.INACTIVE}), takes_files=True, later="loads"),
    Verb.STOP: VerbRules(
        Target.LOADED, frozenset({Target.LAUNCHED}), stops=True, asks_from=2, gerund="stopping", later="loads"
    ),
    Verb.UNLOAD: VerbRules(
        Target.INACTIVE, frozenset({Target.LOADED, Target.LAUNCHED}), stops=True, asks_from=1
    ),
    Verb.RESTART: VerbRules(
        None, frozenset({Target.LAUNCHED}), stops=True, starts=True, asks_from=1, undoable=False,
        happens="stops and starts again", spreads="restarts", later="is replaced",
    ),
    Verb.DESTROY: VerbRules(None, frozenset(Target), stops=True, forgets=True, asks_from=1),
    Verb.SUBMIT: VerbRules(Target.INACTIVE, takes_files=True, gerund="submitting"),
    Verb.UNDO: VerbRules(undoable=False),
    Verb.REDO: VerbRules(),
}  # fmt: skip
REPLACING = Verb.RESTART  # what another text does to units that run
INTRODUCING = tuple(verb for verb in Verb if verb.rules.takes_files)
ON_UNITS = tuple(verb for verb in Verb if verb.rules.applies_from and not verb.rules.takes_files)


def gerund(verb: str) -> str:
    """`starting` of `start`."""
    return Verb(verb).rules.gerund or f"{verb}ing"


def verb_between(old: Target | None, new: Target | None) -> Verb:
    """The operator's word for a change of target; None: the registry does not have the unit."""
    if new is None:
        return Verb.DESTROY
    if new is Target.LAUNCHED:
        return Verb.START
    if new is Target.LOADED:
        return Verb.STOP if old is Target.LAUNCHED else Verb.LOAD
    return Verb.SUBMIT if old is None else Verb.UNLOAD


def verb_towards(target: Target | None, *, up: bool) -> Verb:
    """The operator's word for what a machine does to a unit that is up there, or down; None: it gives it up."""
    if target is Target.LAUNCHED:
        return Verb.RESTART if up else Verb.START
    if up:
        return Verb.STOP
    return Verb.UNLOAD if target is None else Verb.LOAD
