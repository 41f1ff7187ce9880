"""Invariants 13 and 14, judged after every write of a rollout's record or of a unit that a rollout is about.

Owns what each rollout has taken down by the simulated truth: a unit is on its way from the write of its turn until
what it was given has run for as long as the rollout asks, or has ended. What is down for other reasons counts once
every leader has to know. Told by the judge of what happens; asks no program.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.simulation.checks import CALM_S
from tests.simulation.store import Happened, Store

if TYPE_CHECKING:
    from tests.simulation.judge import Judge

ALLOWED = "invariant 13: a rollout never takes down more than it was allowed"
AT_REST = "invariant 14: a paused, aborted or finished rollout writes nothing"

JUDGED_BY = (b"/fleet/units/", b"/fleet/rollouts/")
HEARD_S = 5.0  # from an end on a machine that nothing is wrong with until every leader has heard of it
SETTLED_S = 12.0  # after a fault, until what a machine says of itself is so
DRIFT = 0.95  # clocks are that much apart, and more


@dataclass
class Rolling:
    """One rollout: its record as etcd has it, and what became of those that have had their turn, by unit."""

    record: dict[str, Any]
    given: dict[str, float] = field(default_factory=dict)  # since when they are on their way
    up: dict[str, float] = field(default_factory=dict)  # of those, since when what they were given runs
    failed: dict[str, tuple[str, float]] = field(
        default_factory=dict
    )  # units, where they failed by themselves, when

    def groups(self, units: Iterable[str]) -> set[int]:
        """The groups of these units."""
        wanted = set(units)
        return {step.get("group", 0) for step in self.record["steps"] if step["unit"] in wanted}

    def number(self, name: str, otherwise: float) -> float:
        """A number of its record, where what is usual is left out."""
        return float(self.record.get(name, otherwise))

    def file_of(self, unit: str) -> str:
        """The file that a unit has from its turn on."""
        step = next(step for step in self.record["steps"] if step["unit"] == unit)
        return str(step["old"] if self.record.get("back") else step["new"])

    @property
    def canary(self) -> set[int]:
        """The groups that no other may follow as long as one of them fails."""
        order = list(dict.fromkeys(step.get("group", 0) for step in self.record["steps"]))
        return set() if self.record.get("back") else set(order[: int(self.number("canary", 0))])

    @property
    def healthy_s(self) -> float:
        """For how long a unit must be well, by a clock that may be fast."""
        return self.number("healthy_for_s", 10.0) * DRIFT

    @property
    def running(self) -> bool:
        """Whether it may write."""
        return str(self.record.get("state", "running")) == "running"


class Rollouts:
    """Those of one world. `parsed` reads a record."""

    def __init__(self, judge: Judge, parsed: Callable[[str], dict[str, Any]]) -> None:
        self._judge, self._parsed = judge, parsed
        self._rolling: dict[str, Rolling] = {}
        self._down: dict[str, tuple[str, float]] = {}  # units that run nowhere, where they ran last, since when
        self._asked_to_stop: set[tuple[str, str]] = set()
        self.turns = 0

    # ---- what runs

    def started(self, machine: str, unit: str) -> None:
        """A unit runs."""
        self._down.pop(unit, None)
        self._asked_to_stop.discard((machine, unit))
        version = self._judge.versions.get((machine, unit))
        for each in self._rolling.values():
            if unit in each.given and version == each.file_of(unit):
                each.up[unit] = self._judge.now()

    def stopping(self, machine: str, unit: str) -> None:
        """Somebody has it stopped."""
        self._asked_to_stop.add((machine, unit))

    def ended(self, machine: str, unit: str, *, off: bool) -> None:
        """It has ended; `off`: with its machine."""
        now = self._judge.now()
        if not self._judge.running[unit]:
            self._down[unit] = machine, now
        for each in self._rolling.values():
            if unit in each.up:
                since = each.up.pop(unit)
                del each.given[unit]
                if not off and (machine, unit) not in self._asked_to_stop and now - since < each.healthy_s:
                    each.failed[unit] = machine, now

    # ---- what etcd holds

    def read(self, store: Store) -> None:
        """Another history is there."""
        self._rolling.clear()
        for key, version in store.live.items():
            if key.startswith(b"/fleet/rollouts/"):
                self._take(key.decode().removeprefix("/fleet/rollouts/"), self._parsed(version.value or ""))

    def _take(self, name: str, record: dict[str, Any]) -> None:
        if not record.get("steps"):
            self._rolling.pop(name, None)
            return
        found = self._rolling.get(name)
        if found is None or found.record.get("back") != record.get("back"):
            found = self._rolling[name] = Rolling(record)
        found.record = record

    def changed(self, program: str, changes: Sequence[Happened], sent_at: float) -> None:
        """One transaction of `program`: turns are judged by the rollout as it was before, then that is taken in."""
        if not any(each.now.key.startswith(JUDGED_BY) for each in changes):
            return
        turns: dict[str, list[str]] = defaultdict(list)
        records: list[tuple[str, dict[str, Any]]] = []
        for each in changes:
            table, _, name = each.now.key.decode().removeprefix("/fleet/").partition("/")
            if table == "units":
                self._unit(program, name, self._parsed(each.now.value or ""), turns)
            elif table == "rollouts":
                records.append((name, self._parsed(each.now.value or "")))
        scheduler = program.startswith("scheduler")
        for name in dict.fromkeys((*turns, *(name for name, _ in records if scheduler))):
            if (found := self._rolling.get(name)) is None:
                continue
            if not found.running:
                state = found.record.get("state")
                self._judge.wrong(AT_REST, f"{program} writes for rollout {name}, which is {state}")
            elif turns[name]:
                self._turn(name, found, turns[name], sent_at)
        for name, record in records:
            self._take(name, record)

    def _unit(self, program: str, unit: str, record: dict[str, Any], turns: dict[str, list[str]]) -> None:
        for name, each in self._rolling.items():
            step = next((step for step in each.record["steps"] if step["unit"] == unit), None)
            if step is None:
                continue
            if program.startswith("scheduler") and record.get("by") == f"rollout {name}":
                turns[name].append(unit)
            else:  # somebody else's from now on
                each.given.pop(unit, None)
                each.up.pop(unit, None)
                each.failed.pop(unit, None)

    # ---- a turn

    def _turn(self, name: str, rolling: Rolling, units: list[str], sent_at: float) -> None:
        """The leader has written that it is these units' turn, by what it knew at `sent_at`."""
        self.turns += 1
        judge, most = self._judge, max(int(rolling.number("at_a_time", 1)), 1)
        for unit in [each for each, since in rolling.up.items() if sent_at - since >= rolling.healthy_s]:
            del rolling.up[unit], rolling.given[unit]
        told = f"rollout {name} gives {', '.join(units)} their turn"
        on_way, fresh = rolling.groups(rolling.given), rolling.groups(units)
        if len(on_way | fresh) > most:
            others = ", ".join(each for each in rolling.given if each not in units) or "no others"
            judge.wrong(ALLOWED, f"{told} while {others} are on their way; {most} may be at a time")
        known = {unit for unit, (where, at) in rolling.failed.items() if self._is_heard(where, at, sent_at)}
        failed = rolling.groups(known)
        if len(failed) > rolling.number("max_failures", 0) or failed & rolling.canary:
            judge.wrong(ALLOWED, f"{told} though {', '.join(sorted(known))} failed")
        idle = {step["unit"] for step in rolling.record["steps"] if self._is_down(step["unit"], sent_at)}
        down = rolling.groups(idle) - rolling.groups(rolling.failed)
        if any(judge.running[unit] for unit in units) and len(on_way | fresh | down) > most:
            judge.wrong(ALLOWED, f"{told} while {', '.join(sorted(idle))} run nowhere; {most} may be down")
        now = judge.now()
        for unit in units:
            rolling.failed.pop(unit, None)
            rolling.given[unit] = now
            if not self._is_wanted(unit):
                del rolling.given[unit]

    def _is_wanted(self, unit: str) -> bool:
        found = self._judge.fleet.etcd.store.live.get(f"/fleet/units/{unit}".encode())
        return found is not None and self._parsed(found.value or "").get("target") == "launched"

    def _is_down(self, unit: str, sent_at: float) -> bool:
        """Whether a unit that should run runs nowhere, for so long that the leader had to know."""
        where, since = self._down.get(unit, ("", 0.0))
        return bool(where) and self._is_wanted(unit) and self._is_heard(where, since, sent_at)

    def _is_heard(self, machine: str, at: float, sent_at: float) -> bool:
        """Whether the leader had to know at `sent_at` what happened on a machine at `at`."""
        wrong_until = self._judge.more.troubled.get(machine, 0.0) - CALM_S + SETTLED_S
        calm = max(at, wrong_until, self._judge.quiet_since, self._judge.changed_at)
        return sent_at > calm + HEARD_S and sent_at > self._judge.leader_since + HEARD_S
