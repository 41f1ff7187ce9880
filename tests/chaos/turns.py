"""Invariant 13: each turn of a rollout in the registry's history, against what its units really did. Pure.

Owns a reading of ADR 28's table of its own: which steps have had their turn is told by the records before each
write. What has settled must have run by its unit's own notes, and what is down for other reasons is what neither
ran nor was reported to run, for so long that every leader had to know. No fault excuses anything else.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby

from registry.keys import Table
from registry.model import (
    Assignment,
    Rollout,
    RolloutState,
    RolloutStep,
    Target,
    Unit,
    UnitState,
    UnitText,
)
from tests.chaos import crowd
from tests.chaos.history import Change, Past
from tests.chaos.judge import BLUR_S, Life

HEARD_S = 6.0  # a leader's lease and a second: for so long it may not have heard of what is written
DRIFT = 0.9  # clocks are that much apart, and times in notes are rounded
ALWAYS = float("-inf")

Key = tuple[str, str]  # a unit, and of a global one the machine


class Turns:
    """Goes through a history. `lives` are what ran; `node_of` names machines by their ids."""

    def __init__(self, lives: Iterable[Life], node_of: Mapping[str, str]) -> None:
        self.count = 0  # turns that were judged
        self._past = Past()
        self._node_of = node_of
        self._lives: dict[str, list[Life]] = defaultdict(list)
        for life in lives:
            self._lives[life.unit].append(life)
        self._down: dict[Key, float] = {}  # what should run and is not reported to: since when
        self._up: dict[Key, float] = {}  # what runs as it should: since when it is reported
        self._unwanted: dict[str, float] = {}  # when a unit was last not to run
        self._gone: dict[str, float] = {}  # when a machine was last not there
        self._given: dict[tuple[str, Key, bool], float] = {}  # turns: rollout, step, whether it goes back

    def judge(self, changes: Iterable[Change]) -> Iterator[str]:
        """Every turn that should not have been, and every unit that had not settled as its rollout notes."""
        before_s = ALWAYS
        for revision, group in groupby(changes, key=lambda change: change.revision):
            batch = list(group)
            if revision:
                yield from self._judged(batch, before_s)
                before_s = batch[0].at_s
            else:
                self._take(batch)
                self._given.clear()

    def _judged(self, batch: Sequence[Change], before_s: float) -> Iterator[str]:
        """Go on by one transaction, written after `before_s`."""
        known = {name: record for (name, _), record in self._past.rows[Table.ROLLOUTS].items()}
        written = {each.address.first: each.record for each in batch if each.address.table is Table.ROLLOUTS}
        names = {_author(each.record) for each in batch} - {""}
        running = [
            (before, after)
            for name in {*names, *written}
            if isinstance(before := known.get(name), Rollout) and before.state is RolloutState.RUNNING
            if isinstance(after := written.get(name, before), Rollout)
        ]
        had = {after.name: {each.key for each in after.steps if self._had(after, each)} for _, after in running}
        for before, after in running:
            if before.back == after.back:
                yield from self._settled(before, after, batch[0].at_s)
        up = {each.key for _, after in running for each in after.steps if self._surely_up(each.key, before_s)}
        self._take(batch)
        for _, after in running:
            fresh = [each for each in after.steps if self._had(after, each) and each.key not in had[after.name]]
            for each in fresh:
                self._given[after.name, each.key, after.back] = batch[0].at_s
            if fresh and after.name in names:
                self.count += 1
                told = (
                    f"{', '.join(sorted(each.unit for each in fresh))} their turn at revision {batch[0].revision}"
                )
                for wrong in self._turn(after, fresh, up, before_s):
                    yield f"13: rollout {after.name} gave {told}, {wrong}"

    # ---- what is there

    def _take(self, batch: Iterable[Change]) -> None:
        """Go on by these changes, and note since when what is up and down."""
        for change in batch:
            self._past.take(change)
            table, first, second = change.address.table, change.address.first, change.address.second
            if table is Table.MACHINES and change.record is None:
                self._gone[first] = change.at_s
            if table is Table.UNITS:
                for machine in ("", *self._machines(first)):
                    self._look((first, machine), change.at_s)
            if table in (Table.SCHEDULE, Table.STATES):
                self._look((second, ""), change.at_s)
                self._look((second, first), change.at_s)

    def _machines(self, unit: str) -> list[str]:
        return [machine for machine, name in self._past.rows[Table.SCHEDULE] if name == unit]

    def _look(self, key: Key, at_s: float) -> None:
        unit, machine = key
        wanted, record = self._wanted(unit), self._past.rows[Table.UNITS].get((unit, ""))
        if not wanted:
            self._unwanted[unit] = at_s
        machines = [machine] if machine else self._machines(unit)
        lines = [self._past.rows[Table.SCHEDULE].get((each, unit)) for each in machines]
        reported = [self._past.rows[Table.STATES].get((each, unit)) for each in machines]
        active = [isinstance(each, UnitState) and each.active == "active" for each in reported]
        over = any(isinstance(each, UnitState) and each.result == "success" for each in reported)
        right = [
            isinstance(record, Unit)
            and isinstance(line, Assignment)
            and isinstance(state, UnitState)
            and (state.hash, state.generation) == (line.hash, line.generation) == record.version_on(each)
            for each, line, state in zip(machines, lines, reported, strict=True)
        ]
        due = wanted and (not machine or lines[0] is not None)
        may_be_over = over and crowd.KINDS.get(unit) is crowd.ONCE
        _note(self._down, key, at_s, so=due and not any(active) and not may_be_over)
        _note(self._up, key, at_s, so=due and bool(active) and all(active) and all(right))

    def _wanted(self, unit: str) -> bool:
        record = self._past.rows[Table.UNITS].get((unit, ""))
        return isinstance(record, Unit) and record.target is Target.LAUNCHED

    def _had(self, rollout: Rollout, step: RolloutStep) -> bool:
        """Whether a step has had its turn, by the unit's record."""
        unit = self._past.rows[Table.UNITS].get((step.unit, ""))
        if not isinstance(unit, Unit):
            return False
        if step.leaves:
            return unit.leaves == rollout.name
        back = (step.old, step.generation + 2)
        return unit.version_on(step.machine) == (back if rollout.back else (step.new, step.generation + 1))

    # ---- what really ran

    def _ran(self, key: Key) -> list[Life]:
        unit, machine = key
        return [each for each in self._lives[unit] if not machine or each.node == self._node_of.get(machine)]

    def _surely_down(self, key: Key, at_s: float) -> bool:
        """Whether it should have run, and did not for so long that the leader had to know."""
        since_s = self._down.get(key, at_s)
        lived = any(each.since_s < at_s and each.until_s > at_s - HEARD_S for each in self._ran(key))
        return since_s < at_s - HEARD_S and not lived

    def _surely_up(self, key: Key, at_s: float) -> bool:
        since_s = at_s - HEARD_S
        lived = any(each.since_s < since_s and each.until_s > at_s for each in self._ran(key))
        return self._up.get(key, at_s) < since_s and lived

    # ---- judging

    def _turn(self, rollout: Rollout, fresh: Sequence[RolloutStep], up: set[Key], at_s: float) -> Iterator[str]:
        """What is wrong with a turn that was decided on after `at_s`, when what is `up` was."""
        most = max(rollout.at_a_time, 1)
        named = {(each.unit, each.machine) for each in rollout.failed}
        unnamed = {each.unit for each in rollout.failed}
        failed = _groups(
            each for each in rollout.steps if (each.key in named if each.machine else each.unit in unnamed)
        )
        settled = {*((unit, "") for unit in rollout.settled), *rollout.settled_on}
        on_way = _groups(
            each
            for each in rollout.steps
            if each.key not in settled
            and self._had(rollout, each)
            and self._gone.get(each.machine, ALWAYS) < at_s - HEARD_S
            and (not each.machine or self._past.has(Table.MACHINES, each.machine))
        )
        turn = _groups(fresh)
        on_way = (on_way - failed) | turn
        if len(on_way) > most:
            yield f"so that {len(on_way)} are on their way; {most} may be"
        order = list(dict.fromkeys(each.group for each in rollout.steps))
        in_canary = not rollout.back and failed & set(order[: rollout.canary])
        if len(failed) > rollout.max_failures or in_canary:
            yield f"though {len(failed)} have failed"
        down = _groups(each for each in rollout.steps if self._surely_down(each.key, at_s)) - failed
        wanted = [each for each in fresh if self._wanted(each.unit)]
        takes_down = any(all(each.key in up for each in wanted if each.group == group) for group in _groups(wanted))
        if takes_down and len(on_way) <= most < len(on_way | down):
            idle = ", ".join(each.unit for each in rollout.steps if self._surely_down(each.key, at_s))
            yield f"while {idle} ran nowhere; {most} may be down"

    def _settled(self, before: Rollout, after: Rollout, at_s: float) -> Iterator[str]:
        """Units that are noted as settled, and were not well for as long as the rollout asks."""
        known = {*((unit, "") for unit in before.settled), *before.settled_on}
        fresh = {*((unit, "") for unit in after.settled), *after.settled_on} - known
        for step in after.steps:
            unwanted = self._unwanted.get(step.unit, ALWAYS) > at_s - HEARD_S or not self._wanted(step.unit)
            if step.key not in fresh or unwanted or not self._had(after, step):
                continue
            since_s = self._given.get((after.name, step.key, after.back), ALWAYS) - HEARD_S
            file = self._past.rows[Table.FILES].get((step.old if after.back else step.new, ""))
            found = re.search(r", version (\d+)", file.text) if isinstance(file, UnitText) else None
            well = [
                life
                for life in self._ran(step.key)
                if life.node != self._node_of.get(step.leaves)
                and (step.leaves or life.since_s > since_s)
                and (step.leaves or not found or life.version == int(found[1]))
                and at_s - life.since_s > after.healthy_for_s * DRIFT - BLUR_S
                and (not life.ended or life.until_s - life.since_s > after.healthy_for_s * DRIFT - BLUR_S)
            ]
            if not well and crowd.KINDS.get(step.unit) is not crowd.ONCE:
                yield f"13: rollout {after.name} took {step.unit} for settled, which had not run for so long"


def _author(record: object) -> str:
    """The rollout that wrote a unit's record."""
    by = record.by if isinstance(record, Unit) else ""
    return by.removeprefix("rollout ") if by.startswith("rollout ") else ""


def _note(since: dict[Key, float], key: Key, at_s: float, *, so: bool) -> None:
    if so:
        since.setdefault(key, at_s)
    else:
        since.pop(key, None)


def _groups(steps: Iterable[RolloutStep]) -> set[int]:
    return {each.group for each in steps}
