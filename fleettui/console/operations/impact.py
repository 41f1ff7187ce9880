"""What an operation would do to what runs: which units stop, or restart, where, and which start. Pure.

Every way to change the fleet from the console is surveyed here first; `needs_answer` and `words_to_type` decide how
sure the operator must be. A unit that systemd stops along with another counts like that other one.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from fleettui.actions.drain import plan
from fleettui.actions.outcome import Outcome
from fleettui.console.operations.relations import STOPS_TOO, read_relations
from fleettui.verbs import Verb
from placement.preview import preview_overrides, preview_starts
from placement.rebalance import Move
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Availability, Override, Rollout, Target, Unit
from registry.units.file import file_hash

if TYPE_CHECKING:
    from fleettui.actions.machines import MachineChange

RUNNING = frozenset({"active", "activating", "reloading", "deactivating"})  # a process may be there
CONFIRM_FROM = 10  # running units that stop, from which on a word must be typed
STOPPING = frozenset(verb for verb in Verb if verb.rules.stops)
FORGETTING = frozenset(verb for verb in Verb if verb.rules.forgets)
PREDICTED = 64  # units whose places are worked out; of more, whatever they may displace counts
RANK = {Target.INACTIVE: 0, Target.LOADED: 1, Target.LAUNCHED: 2}
Pairs = frozenset[tuple[str, str]]
NOTHING_KNOWN = Snapshot()


@dataclass(frozen=True, slots=True)
class Impact:
    """`stops`: (machine, unit) that run now and stop or restart; `starts`: units that are launched."""

    stops: Pairs = frozenset()
    starts: frozenset[str] = frozenset()

    def exceeds(self, shown: Impact) -> bool:
        """Whether it reaches further than what was shown; a unit that only moved does not."""
        units, known = ({unit for _, unit in each.stops} for each in (self, shown))
        return not units <= known or len(self.stops) > len(shown.stops) or not self.starts <= shown.starts


@dataclass(frozen=True, slots=True)
class Survey:
    """An operation as the fleet is now: the question, what it means, the same command, and what it would do.

    `names` are the units, or the ids of machines, that it is carried out on. `always`: it is asked about even where
    it stops one unit or none. `shown`: the operator has read what it does and said yes to that. `at_once`: how many
    of what stops are down at a time, at most; 0: all. `at_a_time`: the operator is asked how many at a time, and
    this is offered, then what he chose; "": not asked. `rolled`: the command for that, where it is another;
    `policy`: its flags beside that. `answer`: what saying yes to it does, where that is not called like the verb.
    `moves`: the units that go elsewhere, as planned on `snapshot`. `refusal`: why it cannot be done.
    """

    question: str = ""
    verb: str = ""
    lines: tuple[str, ...] = ()
    command: str = ""
    impact: Impact = Impact()
    names: tuple[str, ...] = ()
    always: bool = False
    shown: bool = False
    at_once: int = 0
    at_a_time: str = ""
    rolled: str = ""
    policy: str = ""
    answer: str = ""
    moves: tuple[Move, ...] = ()
    snapshot: Snapshot = NOTHING_KNOWN
    refusal: str = ""

    def exceeds(self, shown: Survey) -> bool:
        """Whether it is more than what the operator was asked about."""
        moves, known = ({(each.unit, each.target) for each in found.moves} for found in (self, shown))
        return self.impact.exceeds(shown.impact) or not {*self.names} <= {*shown.names} or not moves <= known

    def paced(self, at_a_time: str) -> Survey:
        """The same with so many at a time, which must be a pace. Moves are a rollout in any case."""
        if self.moves and at_a_time == ALL:
            at_a_time = "100%"
        return replace(self, at_a_time=at_a_time, at_once=at_once(at_a_time, len(self.names)))

    @property
    def same(self) -> str:
        """The command line that does the same, with how many at a time."""
        rolled = f"{self.rolled or self.command} --at-a-time {self.at_a_time}{self.policy}"
        return rolled if self.rolls else self.command

    @property
    def rolls(self) -> bool:
        """Whether it is carried out a few at a time, as a rollout."""
        return self.at_a_time not in ("", ALL)

    @property
    def weight(self) -> int:
        """How many running units stop; of a destruction, at least as many as are forgotten."""
        stops = len(self.impact.stops)
        return max(min(stops, self.at_once or stops), len(self.names) if self.verb in FORGETTING else 0)

    @property
    def weight_text(self) -> str:
        """The weight for people: a unit that runs on many machines stops on each."""
        if self.weight > len(self.impact.stops):
            return f"That is {self.weight} units"
        machines = {machine for machine, _ in self.impact.stops}
        return f"That is {self.weight} stops on {len(machines)} {'machine' if len(machines) == 1 else 'machines'}"


ALL = "all"  # at once, without a rollout
FEW = 10  # units, of which one at a time is quick enough
_PACE = re.compile(r"([1-9][0-9]{0,3})(%?)")


def is_pace(text: str) -> bool:
    """Whether the text says how many at a time: a number, a share such as 25%, or all."""
    found = _PACE.fullmatch(text)
    return text == ALL or (found is not None and (not found[2] or int(found[1]) <= 100))


def at_once(pace: str, units: int) -> int:
    """How many units are down at a time by this pace; 0: all."""
    if not pace or pace == ALL:
        return 0
    return max(1, units * int(pace[:-1]) // 100) if pace.endswith("%") else int(pace)


def usual_pace(units: int, last: str = "") -> str:
    """What is offered first: what was chosen last, unless that would be all of these at once."""
    if last and last != ALL and at_once(last, units) < units:
        return last
    return "1" if units <= FEW else "10%"


@dataclass(frozen=True, slots=True)
class Care:
    """How sure an operator must be: a protected cluster, or `confirm_from` running units, want a word typed."""

    cluster: str
    protected: bool = False
    confirm_from: int = CONFIRM_FROM


def needs_answer(survey: Survey, care: Care) -> bool:
    """Whether the operator is asked: always before more than one running unit stops, and before many start."""
    if survey.at_a_time or words_to_type(survey, care):
        return True
    if survey.shown:
        return False
    return survey.always or len(survey.impact.stops) > 1 or len(survey.impact.starts) >= max(2, care.confirm_from)


def words_to_type(survey: Survey, care: Care) -> tuple[str, ...]:
    """The words of which one must be typed: the cluster's name, or the number of units; () where none must be."""
    if care.protected and survey.verb in FORGETTING and len(survey.names) == 1:
        return (*survey.names, care.cluster)
    if survey.weight > 1 and (care.protected or survey.weight >= care.confirm_from):
        return (care.cluster, str(survey.weight)) if care.protected else (str(survey.weight), care.cluster)
    return ()


# Units


def impact_of(verb: Verb, names: Sequence[str], snapshot: Snapshot, keys: Keys) -> Impact:
    """Return what a verb on units of the registry would do."""
    if verb in STOPPING:
        return Impact(_with_dependents(_running(names, snapshot), snapshot))
    if not verb.rules.starts:
        return Impact()
    started = {name: text for name in names if (text := text_of(name, snapshot)) is not None}
    return Impact(_displaced(started, snapshot, keys), frozenset(names))


def impact_of_texts(
    texts: Mapping[str, str], target: Target, snapshot: Snapshot, keys: Keys, *, replacing: bool
) -> Impact:
    """Return what submitting texts would do: what runs with another text restarts if replaced; the rest starts."""
    restarted, started = [], {}
    for name, text in texts.items():
        record = snapshot.units.get(name)
        launched = Target.LAUNCHED in (target, record.target if record else None)
        if record is not None and replacing and not record.has_file(file_hash(text)):
            restarted.append(name)
        if launched and (record is None or record.target is not Target.LAUNCHED):
            started[name] = text
    stops = _with_dependents(_running(restarted, snapshot), snapshot)
    return Impact(stops | _displaced(started, snapshot, keys), frozenset(started))


def impact_of_undoing(verb: str, outcomes: Iterable[Outcome], snapshot: Snapshot, keys: Keys) -> Impact:
    """Return what taking an operation on units back would do."""
    stopped, started = [], {}
    for outcome in outcomes:
        if _stops_when_undone(verb, outcome):
            stopped.append(outcome.name)
        elif _starts_when_undone(verb, outcome):
            started[outcome.name] = outcome.text or text_of(outcome.name, snapshot) or ""
    stops = _with_dependents(_running(stopped, snapshot), snapshot)
    return Impact(stops | _displaced(started, snapshot, keys), frozenset(started))


def _stops_when_undone(verb: str, outcome: Outcome) -> bool:
    before, after = outcome.before, outcome.after
    if before is None:  # it was created; without a record of either the operation's verb decides
        return after is not None or verb not in STOPPING
    if after is None:
        return False
    other_text = before.hash != after.hash and before.target is Target.LAUNCHED
    return RANK[before.target] < RANK[after.target] or other_text


def _starts_when_undone(verb: str, outcome: Outcome) -> bool:
    before, after = outcome.before, outcome.after
    if before is None and after is None:
        return verb in STOPPING
    return _launched(before) and not _launched(after)


def _launched(unit: Unit | None) -> bool:
    return unit is not None and unit.target is Target.LAUNCHED


def _running(names: Iterable[str], snapshot: Snapshot) -> Pairs:
    chosen = {*names}
    if not chosen:
        return frozenset()
    return frozenset(
        pair for pair, state in snapshot.states.items() if pair[1] in chosen and state.active in RUNNING
    )


def _with_dependents(stopped: Pairs, snapshot: Snapshot) -> Pairs:
    """Those, and what systemd stops along with them on the same machine, however long the chain."""
    if not stopped:
        return stopped
    dependents = _dependents(snapshot)
    found, ahead = {*stopped}, [*stopped]
    while ahead:
        machine, unit = ahead.pop()
        for name in dependents.get(unit, ()):
            state = snapshot.states.get((machine, name))
            if (machine, name) not in found and state is not None and state.active in RUNNING:
                found.add((machine, name))
                ahead.append((machine, name))
    return frozenset(found)


def _dependents(snapshot: Snapshot) -> Mapping[str, list[str]]:
    """By unit, the units that systemd stops when it stops."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, record in snapshot.units.items():
        file = snapshot.files.get(record.hash)
        if file is None or not any(word in file.text for word in (*STOPS_TOO, "RequiredBy")):
            continue
        for relation in read_relations(file.text, name):
            if relation.kind in STOPS_TOO and not relation.fleet:
                needed, dependent = (name, relation.pattern) if relation.reverse else (relation.pattern, name)
                found[needed].append(dependent)
    return found


def _displaced(started: Mapping[str, str], snapshot: Snapshot, keys: Keys) -> Pairs:
    """Return what runs and has to go where these texts start: Replaces= of the fleet, Conflicts= of systemd."""
    meant: dict[str, set[tuple[str, str]]] = {}
    for name, text in started.items():
        if "Replaces" not in text and "Conflicts" not in text:
            continue
        displacing = [
            each for each in read_relations(text, name) if each.kind == ("Replaces" if each.fleet else "Conflicts")
        ]
        meant[name] = {
            pair
            for pair, state in snapshot.states.items()
            if displacing and pair[1] not in started and state.active in RUNNING
            and any(each.means(pair[1]) for each in displacing)
        }  # fmt: skip
    if any(meant.values()) and len(started) <= PREDICTED:
        found = preview_starts(snapshot, started, keys)
        meant = {name: {each for each in pairs if each[0] in found[name].machines} for name, pairs in meant.items()}
    return _with_dependents(frozenset().union(*meant.values()), snapshot)


def text_of(name: str, snapshot: Snapshot) -> str | None:
    """Return the file of a unit; None where the registry does not have it."""
    record = snapshot.units.get(name)
    file = snapshot.files.get(record.hash) if record else None
    return file.text if file else None


def impact_of_rolling_back(rollout: Rollout, snapshot: Snapshot) -> Impact:
    """Return what undoing a rollout would do: what has its new file restarts with the old one."""
    turned = [
        step.unit
        for step in rollout.steps
        if step.old != step.new and (unit := snapshot.units.get(step.unit)) and unit.hash == step.new
    ]
    return Impact(_with_dependents(_running(turned, snapshot), snapshot))


# Machines


def impact_of_drain(machines: Sequence[str], snapshot: Snapshot, keys: Keys) -> Impact:
    """Return what draining machines would stop: all that runs there and can run elsewhere."""
    moving = {(each.machine, move.unit) for each in plan(snapshot, machines, keys) for move in each.moves}
    stops = frozenset(pair for pair, state in snapshot.states.items() if pair in moving and state.active in RUNNING)
    return Impact(_with_dependents(stops, snapshot))


def impact_of_moves(moves: Iterable[Move], snapshot: Snapshot) -> Impact:
    """Return what moving units would stop: what of them runs where it leaves, and what systemd stops along."""
    leaving = {(each.source, each.unit) for each in moves}
    stops = (pair for pair, state in snapshot.states.items() if pair in leaving and state.active in RUNNING)
    return Impact(_with_dependents(frozenset(stops), snapshot))


def impact_of_metadata(
    machines: Collection[str], changes: Mapping[str, str | None], snapshot: Snapshot, keys: Keys
) -> Impact:
    """Return what changed metadata would stop: what may no longer run where it runs."""
    overrides = []
    for machine in machines:
        old = snapshot.overrides.get(machine, Override(machine))
        merged: dict[str, str | None] = {**dict(old.metadata), **changes}
        kept = tuple(sorted((key, value) for key, value in merged.items() if value is not None))
        overrides.append(replace(old, metadata=kept))
    return _evicted(overrides, snapshot, keys)


def _evicted(overrides: Iterable[Override], snapshot: Snapshot, keys: Keys) -> Impact:
    """Return what runs and has to leave its machine under these overrides."""
    leaving = preview_overrides(snapshot, overrides, keys)
    found = {pair for pair in leaving if pair in snapshot.states and snapshot.states[pair].active in RUNNING}
    return Impact(_with_dependents(frozenset(found), snapshot))


def impact_of_restoring(changes: Iterable[MachineChange], snapshot: Snapshot, keys: Keys) -> Impact:
    """Return what taking an operation on machines back would do: a drain or metadata that come back."""
    changes = tuple(changes)
    draining = [
        each.before.machine
        for each in changes
        if each.after.availability is not Availability.DRAINING is each.before.availability
    ]
    stops = impact_of_drain(draining, snapshot, keys).stops if draining else frozenset()
    if told := [each.before for each in changes if each.before.metadata != each.after.metadata]:
        stops |= _evicted(told, snapshot, keys).stops
    return Impact(stops)
