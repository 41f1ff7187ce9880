"""What a leader may wait for, and what not: units of a lost machine are moved, and orders decided on, at once.

A leader waits for machines as ADR 7 says: after its own connection to the registry was away (whose watch is open is
seen at etcd), and after half of all machines were lost at once. Told by the judge of what happens; asks no program.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.simulation.crowd import KINDS

if TYPE_CHECKING:
    from tests.simulation.judge import Judge
    from tests.simulation.loop import Program

PROMPT = "promptness: units of a lost machine are moved at once"
DECIDED = "promptness: what is ordered is decided on at once"

PROMPT_S = 1.5
ORDER_S = 4.0  # many orders are decided on together
COPIED = ("generation", "hash")  # from a unit's record into its line
WAIT_S = 6.5  # so long a scheduler waits for machines: GRACE_S of ADR 7, and until it has heard of what begins it
LONGEST_S = 30.0  # and at most for so long more, after an outage
KEPT_S = 30.0  # of losses: nobody stands still for longer and leads then, with what it waits for added
LATE_S = 8.0  # from the end of a fault until a leader has got over it: a request's time-outs, a lease, a term


@dataclass
class Link:
    """One program's watch of the registry."""

    open: int = 0
    away_since: float = 0.0
    patient_until: float = 0.0  # once it is back


class Loss(NamedTuple):
    """A machine whose key ended unannounced, and those that were there then."""

    machine: str
    at: float
    present: frozenset[str]


class Promptness:
    """That of one world. `parsed` reads a record."""

    def __init__(self, judge: Judge, parsed: Callable[[str], dict[str, Any]]) -> None:
        self._judge, self._parsed = judge, parsed
        self._links: dict[str, Link] = defaultdict(Link)
        self._losses: list[Loss] = []  # lately, in their order
        self._absent_at = 0.0  # when a machine was away last
        self.settled_at = 0.0  # when the last fault of etcd has ended, and what follows from it at once
        self.unsettled: dict[str, float] = {}  # the same of hosts
        self.confused_until = 0.0  # records that are garbled may hold a decision up
        self._undecided: dict[str, float] = {}  # units that are wanted, and not decided on; since when

    # ---- what is told

    def launched(self, program: str) -> None:
        """A scheduler begins: it has not seen the registry yet."""
        self._links[program] = Link(away_since=self._judge.now())

    def link(self, program: Program | None, *, up: bool) -> None:
        """A watch of a program is open, or is over."""
        if program is None or program.dead or not program.name.startswith("scheduler"):
            return
        link, now = self._links[program.name], self._judge.now()
        if up and link.open == 0:
            patience_s = WAIT_S + min(now - link.away_since, LONGEST_S)
            link.patient_until = max(link.patient_until, now + patience_s)  # a second, short outage ends none
        elif not up and link.open == 1:
            link.away_since = now
        link.open = max(link.open + (1 if up else -1), 0)

    def vanished(self, machine: str, present: Collection[str], *, leaving: bool) -> None:
        """A machine's key is gone, and these others are there; one of them may have come back just now."""
        now = self._judge.now()
        self._losses = [each for each in self._losses if now - each.at < KEPT_S]
        if not leaving:
            self._losses.append(Loss(machine, now, frozenset(present)))

    def _several_until(self, scheduler: Program) -> float:
        """Until when it may wait for machines of which half went at once, by when it could hear of them."""
        until, lost = 0.0, dict[str, float]()
        for each in self._losses:
            heard = scheduler.heard_at(each.at)
            lost = {machine: at for machine, at in lost.items() if heard - at < WAIT_S} | {each.machine: heard}
            if len(lost) >= max(2, len(each.present | lost.keys()) / 2):
                until = heard + WAIT_S
        return until

    def unsettle(self, host: str, for_s: float = 0.0) -> None:
        """Something is wrong with a host for so long."""
        self.unsettled[host] = max(self.unsettled.get(host, 0.0), self._judge.now() + for_s + LATE_S)

    def is_calm(self, leader: str) -> bool:
        """Whether nothing keeps from a leader what happens: of etcd, or of its host."""
        host = f"core-{leader.rpartition('-')[2]}"
        return self._judge.now() > max(self.settled_at, self.unsettled.get(host, 0.0))

    # ---- as time goes on

    def look(self, leader: Program) -> None:
        """Once in half a second, while somebody leads."""
        judge, now, link = self._judge, self._judge.now(), self._links[leader.name]
        if not link.open:
            return
        faults_over = max(self.settled_at, self.unsettled.get(leader.host, 0.0))
        waits_until = max(link.patient_until, self._several_until(leader))
        calm_since = max(judge.leader_since, faults_over, waits_until)
        for name, standing in judge.standing.items():
            away = standing.away_since
            if away and now - max(away, calm_since) > PROMPT_S and (left := self._left_on(name)):
                judge.wrong(PROMPT, f"{left} is still scheduled on {name}, which is gone for {now - away:.1f} s")
        if any(standing.away_since for standing in judge.standing.values()):
            self._absent_at = now
        waited = min(waits_until, self._absent_at + PROMPT_S)
        self._orders(now, max(judge.leader_since, faults_over, waited, self.confused_until))

    def _left_on(self, machine: str) -> str:
        """A unit that another machine could take, for all that anybody has said of it."""
        start, live = f"{self._judge.fleet.host(machine).id}/", self._judge.fleet.etcd.store.live
        for key in self._judge.lines:
            unit = key.removeprefix(start)
            kind = KINDS.get(unit) if key.startswith(start) else None
            if kind is None or kind.everywhere or kind.only or kind.rival or kind.nowhere or kind.follows:
                continue
            record = live.get(f"/fleet/units/{unit}".encode())
            garbled = record is not None and not self._parsed(record.value or "")
            if not garbled and f"/fleet/pending/{unit}".encode() not in live:
                return unit
        return ""

    def _orders(self, now: float, calm_since: float) -> None:
        """A unit that is wanted has a line that says how, or a record of why not; another one has none."""
        judge, live = self._judge, self._judge.fleet.etcd.store.live
        if judge.silence or judge.is_held():
            self._undecided.clear()
            return
        lines = {line.partition("/")[2]: record for line, record in judge.lines.items()}
        undecided: dict[str, float] = {}
        for unit, kind in KINDS.items():
            found = live.get(f"/fleet/units/{unit}".encode())
            record = self._parsed(found.value or "") if found else {}
            if (found and not record) or kind.everywhere:
                continue
            line = lines.get(unit)
            if record.get("target") in ("launched", "loaded"):
                there = f"/fleet/pending/{unit}".encode() in live
                says = line is not None and all(line.get(each, 1) == record.get(each, 1) for each in COPIED)
                decided = says or (there and (line is None or bool(kind.beside)))  # it may run on as it is
            else:
                decided = line is None
            if not decided:
                since = undecided[unit] = self._undecided.get(unit, now)
                if now - max(since, calm_since) > ORDER_S:
                    judge.wrong(DECIDED, f"what is wanted of {unit} is not decided on after {now - since:.1f} s")
        self._undecided = undecided
