"""Invariants 13 and 14, judged after every write of a rollout's record or of a unit that a rollout is about.

Owns what each rollout has taken down by the simulated truth: a unit is on its way from the write of its turn until
what it was given has run for as long as the rollout asks, or has ended, or was asked in vain as often as its health
check says; one that has to leave a machine, until it has run elsewhere. A global unit has a turn on each machine,
which is on its way while that machine is there. What is down for other reasons counts once every leader has to
know. Told by the judge of what happens; asks no program.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.simulation.checks import CALM_S
from tests.simulation.crowd import CHECK_S, CHECKS, KINDS, SLEEPER
from tests.simulation.store import Happened, Store

if TYPE_CHECKING:
    from tests.simulation.judge import Judge

ALLOWED = "invariant 13: a rollout never takes down more than it was allowed"
AT_REST = "invariant 14: a paused, aborted or finished rollout writes nothing"

OVER = ("aborted", "finished")
JUDGED_BY = (b"/fleet/units/", b"/fleet/rollouts/")
HEARD_S = 5.0  # from an end on a machine that nothing is wrong with until every leader has heard of it
SETTLED_S = 12.0  # after a fault, until what a machine says of itself is so
DRIFT = 0.95  # clocks are that much apart, and more
SICK_S = CHECK_S * CHECKS * DRIFT  # from its start, until what passes no check may count as failed
SICK_AT_LAST_S = CHECK_S * (CHECKS + 1) / DRIFT  # and until it has to


Key = tuple[str, str]  # a step: its unit, and of a global one the machine


@dataclass
class Rolling:
    """One rollout: its record as etcd has it, and what became of the steps that have had their turn."""

    record: dict[str, Any]
    given: dict[Key, float] = field(default_factory=dict)  # since when they are on their way
    up: dict[Key, float] = field(default_factory=dict)  # of those, since when what they were given runs
    sick: dict[Key, float] = field(default_factory=dict)  # and since when that runs, and passes no health check
    failed: dict[Key, tuple[str, float]] = field(default_factory=dict)  # where they failed by themselves, when

    @property
    def steps(self) -> dict[Key, dict[str, Any]]:
        """Its steps."""
        return {(step["unit"], step.get("machine", "")): step for step in self.record["steps"]}

    def groups(self, keys: Iterable[Key]) -> set[object]:
        """The groups of these steps. A machine that a global unit has come to since is one of its own."""
        steps = self.steps
        return {steps[key].get("group", 0) if key in steps else key for key in keys}

    def number(self, name: str, otherwise: float) -> float:
        """A number of its record, where what is usual is left out."""
        return float(self.record.get(name, otherwise))

    def file_of(self, unit: str) -> str:
        """The file that a unit has from its turn on."""
        step = next(step for step in self.record["steps"] if step["unit"] == unit)
        return str(step["old"] if self.record.get("back") else step["new"])

    def leaves(self, key: Key) -> str:
        """The machine that a step's unit leaves, if that is what it is about."""
        return str(self.steps.get(key, {}).get("leaves", ""))

    def turned(self, unit: str, before: dict[str, Any], after: dict[str, Any]) -> list[Key]:
        """The steps whose turn it is by the unit's record as it was and as it is now."""
        mine = [key for key in self.steps if key[0] == unit]
        if not any(machine for _, machine in mine):
            return mine
        was, now = _versions(before), _versions(after)
        file = self.file_of(unit)
        own = str(before.get("hash", "")), int(before.get("generation", 1))
        return [
            (unit, machine) for machine, found in now.items() if found[0] == file and was.get(machine, own) != found
        ]

    @property
    def canary(self) -> set[object]:
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


def _versions(record: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """The machines where a global unit is otherwise than its record says, and how."""
    return {
        machine: (str(each["hash"]), int(each.get("generation", 1)))
        for each in record.get("on", ())
        for machine in each["machines"]
    }


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
        version, here = self._judge.versions.get((machine, unit)), self._judge.fleet.host(machine).id
        for each in self._rolling.values():
            for key in ((unit, ""), (unit, here)):
                if key not in each.given:
                    continue
                leaves = each.leaves(key)  # what has to leave a machine may have another file by now
                if leaves != here if leaves else version == each.file_of(unit):
                    (each.sick if self._is_sick(machine, unit) else each.up)[key] = self._judge.now()

    def _is_sick(self, machine: str, unit: str) -> bool:
        """Whether it has a health check, which it never passes."""
        found = self._judge.fleet.host(machine).systemd.known(unit)
        return found is not None and found.behaviour.sick

    def stopping(self, machine: str, unit: str) -> None:
        """Somebody has it stopped."""
        self._asked_to_stop.add((machine, unit))

    def ended(self, machine: str, unit: str, *, off: bool) -> None:
        """It has ended; `off`: with its machine."""
        now, here = self._judge.now(), self._judge.fleet.host(machine).id
        if not self._judge.running[unit]:
            self._down[unit] = machine, now
        for each in self._rolling.values():
            for key in [key for key in ((unit, ""), (unit, here)) if key in each.up]:
                since = each.up.pop(key)
                del each.given[key]
                if not off and (machine, unit) not in self._asked_to_stop and now - since < each.healthy_s:
                    each.failed[key] = machine, now
            for key in [key for key in ((unit, ""), (unit, here)) if key in each.sick]:
                del each.sick[key], each.given[key]

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
        turns: dict[str, list[Key]] = defaultdict(list)
        records: list[tuple[str, dict[str, Any]]] = []
        for each in changes:
            table, _, name = each.now.key.decode().removeprefix("/fleet/").partition("/")
            if table == "units":
                before = self._parsed(each.before.value or "") if each.before else {}
                self._unit(program, name, (before, self._parsed(each.now.value or "")), turns)
            elif table == "rollouts":
                records.append((name, self._parsed(each.now.value or "")))
        scheduler = program.startswith("scheduler")
        for name in dict.fromkeys((*turns, *(name for name, _ in records if scheduler))):
            if (found := self._rolling.get(name)) is None:
                continue
            deletes = name not in turns and not dict(records)[name]
            if self._may_write(program, name, found, deletes=deletes) and turns[name]:
                self._turn(name, found, turns[name], sent_at)
        for name, record in records:
            self._take(name, record)

    def _may_write(self, program: str, name: str, rolling: Rolling, *, deletes: bool) -> bool:
        """Whether a scheduler may write for a rollout that stands so, or delete its record."""
        state = str(rolling.record.get("state", "running"))
        if state in OVER if deletes else rolling.running:
            return True
        what = "deletes" if deletes else "writes for"
        self._judge.wrong(AT_REST, f"{program} {what} rollout {name}, which is {state}")
        return False

    def _unit(
        self, program: str, unit: str, records: tuple[dict[str, Any], dict[str, Any]], turns: dict[str, list[Key]]
    ) -> None:
        for name, each in self._rolling.items():
            mine = [key for key in each.steps if key[0] == unit]
            if program.startswith("scheduler") and records[1].get("by") == f"rollout {name}":
                turns[name] += each.turned(unit, *records) if mine else []
                continue
            for key in mine:  # somebody else's from now on
                for known in (each.given, each.up, each.sick, each.failed):
                    known.pop(key, None)

    # ---- a turn

    def _turn(self, name: str, rolling: Rolling, keys: list[Key], sent_at: float) -> None:
        """The leader has written that it is the turn of these steps, by what it knew at `sent_at`."""
        self.turns += 1
        judge, most = self._judge, max(int(rolling.number("at_a_time", 1)), 1)
        for key in [each for each, since in rolling.up.items() if sent_at - since >= rolling.healthy_s]:
            del rolling.up[key], rolling.given[key]
        for key in [each for each, since in rolling.sick.items() if sent_at - since >= SICK_S]:
            rolling.failed[key] = self._where(key[0]), rolling.sick.pop(key) + SICK_AT_LAST_S
            del rolling.given[key]
        told = f"rollout {name} gives {', '.join(_told(key) for key in keys)} their turn"
        on_way = rolling.groups(key for key in rolling.given if self._is_there(key))
        fresh = rolling.groups(key for key in keys if self._is_there(key))
        if len(on_way | fresh) > most:
            others = ", ".join(_told(each) for each in rolling.given if each not in keys) or "no others"
            judge.wrong(ALLOWED, f"{told} while {others} are on their way; {most} may be at a time")
        known = {key for key, (where, at) in rolling.failed.items() if self._is_heard(where, at, sent_at)}
        failed = rolling.groups(known)
        if len(failed) > rolling.number("max_failures", 0) or failed & rolling.canary:
            judge.wrong(ALLOWED, f"{told} though {', '.join(map(_told, sorted(known)))} failed")
        idle = [key for key in rolling.steps if not key[1] and self._is_down(key[0], sent_at)]
        down = rolling.groups(idle) - rolling.groups(rolling.failed)
        takes_down = any(self._is_up(unit, sent_at) for unit, _ in keys)
        if takes_down and len(on_way | fresh | down) > most:
            judge.wrong(ALLOWED, f"{told} while {', '.join(map(_told, idle))} run nowhere; {most} may be down")
        now = judge.now()
        for key in keys:
            rolling.failed.pop(key, None)
            rolling.sick.pop(key, None)
            rolling.given[key] = now
            if not (self._is_wanted(key[0]) and KINDS.get(key[0], SLEEPER).starts):
                del rolling.given[key]  # nothing that runs tells when what a machine refuses has failed

    def _where(self, unit: str) -> str:
        return next(iter(self._judge.running[unit]), "")

    def _is_up(self, unit: str, sent_at: float) -> bool:
        """Whether it had come up and was well, and the leader had to know; else it is down already."""
        places = self._judge.running[unit].items()
        well = ((machine, self._well_since(machine, unit, since)) for machine, since in places)
        return any(sent_at - since > HEARD_S for machine, since in well if not self._judge.excused(machine))

    def _well_since(self, machine: str, unit: str, started_at: float) -> float:
        """Since when its health check, if it has one, has been asked where that can be answered."""
        systemd = self._judge.fleet.host(machine).systemd
        if not KINDS.get(unit, SLEEPER).checked:
            return started_at
        return (
            math.inf if systemd.jammed or self._is_sick(machine, unit) else max(started_at, systemd.answers_since)
        )

    def _is_there(self, key: Key) -> bool:
        """Whether a step's machine, where it is about one, is in touch and has the unit."""
        unit, machine = key
        host = self._judge.fleet.by_id.get(machine)
        if host is None:
            return True
        standing = self._judge.standing[host.name]
        there = not standing.away_since and self._judge.now() > standing.back_at + SETTLED_S
        return there and f"{machine}/{unit}" in self._judge.lines

    def _is_wanted(self, unit: str) -> bool:
        found = self._judge.fleet.etcd.store.live.get(f"/fleet/units/{unit}".encode())
        return found is not None and self._parsed(found.value or "").get("target") == "launched"

    def _is_down(self, unit: str, sent_at: float) -> bool:
        """Whether a unit that should run on runs nowhere, for so long that the leader had to know."""
        where, since = self._down.get(unit, ("", 0.0))
        return (
            bool(where)
            and KINDS.get(unit, SLEEPER).stays
            and self._is_wanted(unit)
            and self._is_heard(where, since, sent_at)
        )

    def _is_heard(self, machine: str, at: float, sent_at: float) -> bool:
        """Whether the leader had to know at `sent_at` what happened on a machine at `at`."""
        wrong_until = self._judge.more.troubled.get(machine, 0.0) - CALM_S + SETTLED_S
        calm = max(at, wrong_until, self._judge.quiet_since, self._judge.changed_at)
        return sent_at > calm + HEARD_S and sent_at > self._judge.leader_since + HEARD_S


def _told(key: Key) -> str:
    unit, machine = key
    return f"{unit} on {machine[:8]}" if machine else unit
