"""Invariants 3, 6, 7, 8 and 9, each judged for itself. Told by the judge of what happens; asks no program.

Orders are counted: a line that comes to ask for something else, or goes, lets its machine stop the unit once. What
is deterministic by contract is computed twice from what etcd holds, by the pure functions themselves.
"""

from __future__ import annotations

from base64 import b64decode
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Any

from placement.cluster_state import ClusterState
from placement.decide import decide
from placement.decisions import Decision, records_after
from registry.keys import Keys, Table
from registry.mirror import Mirror, RawChange
from registry.records import encode
from registry.units.pins import pins_of
from tests.simulation.crowd import HOST_UNIT, KINDS, SLEEPER, Kind
from tests.simulation.store import Store

if TYPE_CHECKING:
    from tests.simulation.judge import Judge

SILENCE = "invariant 3: silence is no order"
UNMOVED = "invariant 6: nothing moves unasked"
REASON = "invariant 7: nothing waits without a reason"
ONE_BAD = "invariant 8: one bad unit harms no other"
TWICE = "invariant 9: deciding twice decides once"

ASKED_S = 60.0  # so long a leader may still act on what was asked, or on a machine that was gone
LATE_S = 8.0  # from a line to its unit, on a machine that nothing is wrong with
CALM_S = 45.0  # since anything was wrong with it
KEYS = Keys()
DECIDED_BY = tuple(table for table in Table if table not in (Table.EVENTS, Table.USAGE))
NOT_DECIDED_BY = tuple(KEYS.table(table).encode() for table in Table if table not in DECIDED_BY)
SHOWS = ("error", "cause", "skipped", "waits", "exit_code")  # fields of a state that say why


@dataclass(frozen=True, slots=True)
class Problem:
    """What is not as it should be at rest, and which invariant says so."""

    invariant: str
    text: str


class Checks:
    """One world's. `parsed` reads a record."""

    def __init__(self, judge: Judge, parsed: Callable[[str], dict[str, Any]]) -> None:
        self._judge, self._parsed = judge, parsed
        self._stops: Counter[tuple[str, str]] = (
            Counter()
        )  # (machine, unit): stops that are ordered, and not yet made
        self._asked: dict[str, float] = {}  # units and machines, and when something was asked of them last
        self._since: dict[tuple[str, str], float] = {}  # lines of units that do not run: since when
        self.troubled: dict[str, float] = {}  # machines, and until when something is wrong with them
        self._lines: dict[str, tuple[str, str, Kind]] = {}
        self.failing: set[str] = set()  # files and configs that fail soon after their start
        self.resting = False
        self._random = Random("checks")
        self._without = True
        self._decided_on = (0, 0, False)  # what was decided on twice last: the newest of so many records

    # ---- invariant 3

    def may_stop(self, machine: str, unit: str) -> None:
        """Somebody has ordered what a unit has to be stopped for."""
        self._stops[machine, unit] += 1

    def may_stop_all(self, machine: str = "") -> None:
        """The same of all units of a machine, or of all."""
        for host in self._judge.fleet.hosts:
            for unit in KINDS if machine in ("", host.name) else ():
                self.may_stop(host.name, unit)

    def stopping(self, machine: str, unit: str, *, leaving: bool) -> None:
        """A unit is stopped by somebody."""
        if unit == HOST_UNIT or leaving or self._judge.fleet.policy == "stop":
            return
        self._stops[machine, unit] -= 1
        if self._stops[machine, unit] < 0:
            self._judge.wrong(SILENCE, f"{unit} was stopped on {machine}, and nobody has ordered that")

    def settle(self) -> None:
        """Everybody has heard of everything: what was ordered is done."""
        self._stops.clear()

    # ---- invariant 6

    def asked(self, what: str) -> None:
        """An order concerns this unit, or this machine."""
        self._asked[what] = self._judge.now()

    def taken_off(self, machine: str, unit: str) -> None:
        """The leader takes a unit off a machine (its name)."""
        kind, now, judge = KINDS.get(unit, SLEEPER), self._judge.now(), self._judge
        standing = judge.standing[machine]
        lately = (self._asked.get(each, -ASKED_S) for each in (unit, machine))
        if kind.everywhere or kind.rival or kind.follows or any(now - each < ASKED_S for each in lately):
            return
        if standing.away_since or now - standing.vanished_at < ASKED_S or now < judge.changed_at + ASKED_S:
            return
        live = judge.fleet.etcd.store.live
        wanted = live.get(f"/fleet/units/{unit}".encode())
        if wanted is None or self._parsed(wanted.value or "").get("target", "") not in ("launched", "loaded"):
            return
        if not judge.drained(judge.fleet.host(machine).id):
            judge.wrong(UNMOVED, f"{unit} was taken off {machine}, which has it and may keep it")

    # ---- invariant 7

    def unexplained(self, unit: str, record: dict[str, Any]) -> Iterator[Problem]:
        """A unit that does not do what is wanted says why, where people look."""
        live, judge = self._judge.fleet.etcd.store.live, self._judge
        if record.get("target") != "launched":
            return
        lines = [each for each in judge.lines if each.endswith(f"/{unit}")]
        pending = live.get(f"/fleet/pending/{unit}".encode())
        if not lines and (pending is None or not self._parsed(pending.value or "").get("summary")):
            yield Problem(REASON, f"{unit} is nowhere, and nothing says why")
        for line in lines:
            state = live.get(f"/fleet/states/{line}".encode())
            found = self._parsed(state.value or "") if state else {}
            if found.get("active") == "failed" and not any(found.get(each) for each in SHOWS):
                yield Problem(REASON, f"{unit} has failed, and its state does not say why")
            if KINDS[unit].checked and found.get("health") != "healthy":
                yield Problem(REASON, f"{unit} passes its health check, and its state does not say so")

    # ---- invariant 8

    def trouble(self, machine: str, for_s: float = 0.0) -> None:
        """Something is wrong with a machine: what is late there is not another unit's fault."""
        until = self._judge.now() + for_s + CALM_S
        self.troubled[machine] = max(self.troubled.get(machine, 0.0), until)

    def look(self) -> None:
        """Where nothing is wrong, what is scheduled runs soon, whatever else is scheduled there."""
        judge, now = self._judge, self._judge.now()
        calm = now > judge.quiet_since and not judge.silence and now > judge.changed_at + CALM_S
        late: dict[tuple[str, str], float] = {}
        for line, record in judge.lines.items() if calm else ():
            name, unit, kind = self._parts(line)
            if name in judge.running[unit] or not name or not kind.stays:
                continue
            if record.get("target", "launched") != "launched" or self._fails(str(record.get("hash", ""))):
                continue
            if now < self.troubled.get(name, 0.0):
                continue
            since = late[name, unit] = self._since.get((name, unit), now)
            if now - since > LATE_S + kind.stop_s:
                judge.wrong(ONE_BAD, f"{unit} does not run on {name}, {now - since:.1f} s after it should")
        self._since = late

    def _fails(self, sha: str) -> bool:
        """Whether a unit with this file ends soon after its start, by the file or by the config that it names."""
        file = self._judge.fleet.etcd.store.live.get(f"/fleet/files/{sha}".encode())
        pins = pins_of(self._parsed(file.value or "").get("text", "")) if file else ()
        return sha in self.failing or any(pin.version in self.failing for pin in pins)

    def _parts(self, line: str) -> tuple[str, str, Kind]:
        """A line's machine ("" for a stranger's), its unit, and of which kind that is."""
        found = self._lines.get(line)
        if found is None:
            identity, _, unit = line.partition("/")
            host = self._judge.fleet.by_id.get(identity)
            found = self._lines[line] = host.name if host else "", unit, KINDS.get(unit, SLEEPER)
        return found

    # ---- invariant 9

    def decide_twice(self, store: Store) -> None:
        """The same from whatever order of records; nothing once it is carried out; and not when all is at rest.

        In turns of what there is, and of that without one machine.
        """
        live = [each for each in store.live.values() if not each.key.startswith(NOT_DECIDED_BY)]
        state = max((each.revision for each in live), default=0), len(live), self.resting
        if state == self._decided_on:
            return
        self._decided_on = state
        found = [
            RawChange(each.key.decode(), b64decode(each.value or ""), each.created, each.revision, each.lease)
            for each in live
        ]
        self._without = not (self._without or self.resting)
        if self._without:
            one = self._judge.fleet.hosts[int(self._random.random() * len(self._judge.fleet.hosts))].id
            gone = f"/fleet/machines/{one}", f"/fleet/states/{one}"
            found = [each for each in found if not each.key.startswith(gone)]
        once, _ = _decided(found)
        turned = [*found]
        self._random.shuffle(turned)
        again, mirror = _decided(turned)
        if once != again:
            self._judge.wrong(TWICE, "the same records in another order are decided on in another way")
        elif more := _decided_after(mirror, once):
            self._judge.wrong(TWICE, f"what was decided is carried out, and there is more to decide: {more[0]}")
        if self.resting and once:
            self._judge.wrong(TWICE, f"all is at rest, and there is something to decide: {once[0]}")


def _decided(records: Sequence[RawChange]) -> tuple[tuple[Decision, ...], Mirror]:
    mirror = Mirror(KEYS, DECIDED_BY)
    mirror.reset(records, 1)
    return decide(ClusterState.from_snapshot(mirror.snapshot(), KEYS)), mirror


def _decided_after(mirror: Mirror, decisions: Sequence[Decision]) -> tuple[Decision, ...]:
    for decision in decisions:
        for address, record in records_after(decision):
            value = None if record is None else encode(record)
            mirror.apply([RawChange(KEYS.at(address), value, 1, 1)], 1)
    return decide(ClusterState.from_snapshot(mirror.snapshot(), KEYS))
