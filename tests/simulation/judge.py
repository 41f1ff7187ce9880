"""The judge of a simulated fleet: looks at what really runs and at what etcd really holds, after every step.

Each way to be wrong has a name, an invariant of the architecture where it is one. Nothing is asked of the programs.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from registry.units.name import is_quadlet, service_of
from tests.simulation.checks import Checks, Problem
from tests.simulation.crowd import BESIDE, HOST_UNIT, KINDS, SLEEPER
from tests.simulation.etcd import Exchange, touched
from tests.simulation.promptness import LATE_S, Promptness
from tests.simulation.rollouts import Rollouts
from tests.simulation.store import Happened, Store, encoded

if TYPE_CHECKING:
    from tests.simulation.fleet import Fleet, Host

ONE_PLACE = "invariant 1: a unit runs on one machine"
FENCE = "invariant 2: a deposed leader writes nothing"
ORDERED = "invariant 5: the old stops before the new starts"
HOSTS_OWN = "invariant 11: the host's own units are safe"
ONCE = "invariant 12: a start happens once"
HISTORY = "invariant 15: history that goes back is no order"
LEASED = "ADR 23: no leased record without a lease"
PLACED = "invariant 1: no placement while another machine has the unit"
ALIVE = "no program ends by itself"
PROVIDED = "ADR 38: a unit starts with the versions that its file names"
LAID = "ADR 40: what a Quadlet names lies beside it, in the version of its line, and goes with it"
BUSY = "nobody spins"
REST = "after healing all comes to rest"

SENTINEL = encoded(b"/fleet/cluster")
LEASED_TABLES = ("machines/", "states/", "duplicates/", "usage/", "leader")
GRACE_S = 10.0  # after a machine is back in touch
NEWS_S = 0.1  # from a write to the moment when a scheduler has heard of it and can go by it
LAG_S = 6.0  # the same while something is wrong with etcd or the leader: until it finds its watch silent
FOREIGN_S = 30.0  # at most, until an agent looks again at a registry that was not its own
A_DAY_S = 86_400.0  # as far as an accepted history may be ahead of a machine's clock
UNLEASED_S = 60.0  # the grace of those who find a key without its lease, and what follows
UNDER_WAY_S = 10.0  # what was begun before the registry went back is brought to its end
UNHEARD_S = 30.0  # so long an agent may not have heard of a line that is gone
JUST_S = 0.05  # a start that was asked for since, and is over when the agent is back, has left no trace
CALL_S = 1.0 + JUST_S  # so long a call of a slow systemd is on its way
LONGEST_S = 30.0  # between two tries of an agent
SEVERAL_S = 14.0  # so long after several machines were lost a scheduler may wait for them: ADR 7, and an election
WINDOW_S = 5.0
LIMITS = {"calls": 150.0, "lines": 40.0, "steps": 30_000.0}  # a second, of one program in one window
AT_REST = {"calls": 3.0, "lines": 0.3, "steps": 300.0}


def patience_s(outage_s: float) -> float:
    """For how long a scheduler may wait for machines once an outage is over that took so long (ADR 7).

    It notices that the registry is back after a pause as long as the outage, and then gives the machines as long
    as it has tried in vain; neither is longer than `LONGEST_S`.
    """
    late_s = min(outage_s, LONGEST_S)
    return SEVERAL_S + late_s + min(outage_s + late_s, LONGEST_S)


@dataclass(frozen=True, slots=True)
class Violation:
    """What was wrong first."""

    invariant: str
    text: str
    at_s: float

    def __str__(self) -> str:
        return f"{self.invariant}: {self.text}"


class Violated(Exception):
    """Ends the simulation."""

    def __init__(self, violation: Violation) -> None:
        super().__init__(str(violation))
        self.violation = violation


@dataclass
class Standing:
    """What the judge knows of one machine."""

    broken: int = 0  # faults that excuse it, under way
    excused_until: float = 0.0
    soft: int = 0  # faults that excuse it only once its key has vanished
    away_since: float = 0.0  # when its key vanished; 0: it is there
    vanished_at: float = -100.0  # when that happened last
    back_at: float = -100.0  # when it was put last


@dataclass
class Orders:
    """How often one unit was ordered on one machine in this boot, and how often it was started."""

    count: int = 0
    starts: int = 0
    at: float = 0.0  # of the last start
    pardons: int = 0


class Judge:
    """Told of all that happens. `fleet` is set once it is built."""

    fleet: Fleet

    def __init__(self, now: Callable[[], float], say: Callable[[str, str], None]) -> None:
        self.now, self.say = now, say
        self.running: dict[str, dict[str, float]] = defaultdict(dict)  # unit: machine: since
        self.ended_at: dict[tuple[str, str], float] = {}
        self.versions: dict[tuple[str, str], str] = {}  # (machine, unit): hash of what was started
        self.standing: dict[str, Standing] = defaultdict(Standing)
        self.orders: dict[tuple[str, str], Orders] = defaultdict(Orders)
        self.booted_at: dict[str, float] = {}
        self.violation: Violation | None = None
        self.leader: str = ""  # the program that holds the key
        self.leader_since = 0.0
        self.quiet_since = 0.0  # when the last fault of etcd ended, and the scheduler's patience after it
        self.unleased_until = 0.0  # until then a key may have no lease
        self.outage_at = 0.0  # when the first of the faults began that overlap with it
        self.lines: dict[str, dict[str, Any]] = {}  # schedule: key below the table, record
        self.removed: dict[str, float] = {}  # lines that are gone or ask for less, and since when
        self.beside: dict[str, dict[tuple[str, str], float]] = defaultdict(
            dict
        )  # versions that a line named; until
        self.states: dict[str, dict[str, None]] = defaultdict(dict)  # unit: machines
        self.silence = ""  # the invariant by which nothing may be begun or stopped now
        self.silent_from = 0.0
        self.handed: dict[str, set[str]] = defaultdict(set)  # machines, and the units that they hand over, or did
        self.resumed: dict[str, float] = {}  # machines, and when their agent was last seen to go on after a pause
        self.leaders: dict[str, str] = {}  # programs by what they wrote into the leader's key
        self.counts: dict[str, dict[str, float]] = defaultdict(lambda: dict.fromkeys(LIMITS, 0.0))
        self.checks = 0
        self.unaware: set[str] = set()  # machines that cannot know that the history went back, unless it is marked
        self.changed_at = -1000.0  # when another history, or another registry, came or went
        self.more = Checks(self, parsed)
        self.rollouts = Rollouts(self, parsed)
        self.promptness = Promptness(self, parsed)

    def wrong(self, invariant: str, text: str) -> None:
        """Note the first violation; the world stops at its next look."""
        if self.violation is None:
            self.violation = Violation(invariant, text, self.now())
            self.say("judge", f"VIOLATION of {self.violation}")

    # ---- what runs

    def started(self, machine: str, unit: str, *, asked: bool) -> None:
        self.checks += 1
        now = self.now()
        self.say(machine, f"{unit} runs")
        places = self.running[unit]
        for other in places:
            kind = KINDS.get(unit, SLEEPER)
            if not kind.everywhere and unit != HOST_UNIT:
                self._overlap(unit, other, machine)
        places[machine] = now
        if unit == HOST_UNIT:
            return
        found = self.fleet.host(machine).systemd.known(unit)
        self.versions[machine, unit] = sha256(found.text.encode()).hexdigest() if found else ""
        self.rollouts.started(machine, unit)
        if asked:
            self._in_silence(machine, unit, "started")
            self._has_beside(machine, unit)
            order = self.orders[machine, unit]
            order.starts, order.at = order.starts + 1, now
            order.pardons += self._is_fresh(machine) + self._nobody_notes(machine, unit)
            if order.starts > order.count + order.pardons:
                self.wrong(ONCE, f"{unit} on {machine} was started {order.starts} times for {order.count} orders")

    def _has_beside(self, machine: str, unit: str) -> None:
        """Whether what a Quadlet names is there as its line says, or said until lately."""
        host = self.fleet.host(machine)
        line = f"{host.id}/{unit}"
        named = self.beside.get(line, {})
        for name in KINDS[unit].beside if named else ():
            found = host.systemd.known(name)
            sha = sha256(found.text.encode()).hexdigest() if found and found.fragment else ""
            if self.now() > named.get((name, sha), -UNHEARD_S) + UNHEARD_S and not self.excused(machine):
                self.wrong(LAID, f"{unit} is started on {machine} beside another version of {name}, or none")

    def _nobody_notes(self, machine: str, unit: str) -> bool:
        """Whether the agent that has asked for this start is dead by now, and systemd will forget the unit."""
        agent = self.fleet.host(machine).agent
        return KINDS.get(unit, SLEEPER).vanishes and (agent is None or agent.dead)

    def _is_fresh(self, machine: str) -> bool:
        """Whether it has booted under the registry that nobody should go by, and knows of no other one."""
        return bool(self.silence) and self.booted_at.get(machine, 0.0) > self.silent_from - UNDER_WAY_S

    def overtaken(self, machine: str, unit: str) -> None:
        self.wrong(ORDERED, f"{unit} was started on {machine} while its old copy still stops")

    def _in_silence(self, machine: str, unit: str, what: str) -> None:
        leaving = self.fleet.host(machine).systemd.agent_job == "stop"
        began = max(self.silent_from, self.resumed.get(machine, 0.0) + UNDER_WAY_S)
        if self._is_fresh(machine):
            return
        if self.silence and self.now() > began and not leaving and self.fleet.policy == "keep":
            self.wrong(self.silence, f"{unit} was {what} on {machine}")

    def hold(self, invariant: str) -> None:
        """Nothing may be begun from now on, but what is under way may come to its end."""
        self.silence, self.silent_from = invariant, self.now() + UNDER_WAY_S

    def is_held(self) -> bool:
        """Whether the sentinel says that the history went back."""
        found = self.fleet.etcd.store.live.get(b"/fleet/cluster")
        return found is not None and bool(parsed(found.value or "").get("held"))

    def stopping(self, machine: str, unit: str) -> None:
        self._in_silence(machine, unit, "stopped")
        self.rollouts.stopping(machine, unit)
        leaving = self.fleet.host(machine).systemd.agent_job == "stop"
        self.more.stopping(machine, unit, leaving=leaving)
        if leaving and unit not in self.handed[machine]:  # placed there since, by who had not heard of that yet
            self.handed[machine].add(unit)
            self.orders[machine, unit].pardons += 1
        key = f"{self.fleet.host(machine).id}/{unit}"
        line, removed_at = self.lines.get(key), self.removed.get(key, 0.0)
        launched = line is not None and line.get("target", "launched") == "launched"
        wanted = launched or self.now() - removed_at < UNHEARD_S
        if self.fleet.policy == "stop" and (wanted or self.silence or self.is_held()):
            self.orders[machine, unit].pardons += 1  # stopped for want of the registry, to be started afterwards

    def stopped_late(self, machine: str, unit: str) -> None:
        """It has ended while its stop was on its way: who asked for that takes it for stopped."""
        if self.fleet.policy == "stop" and self.now() - self.ended_at.get((machine, unit), 0.0) < CALL_S:
            self.orders[machine, unit].pardons += 1

    def unprovided(self, machine: str, unit: str, what: str) -> None:
        self.wrong(PROVIDED, f"{unit} is started on {machine} without {what}")

    def ended(self, machine: str, unit: str) -> None:
        self.checks += 1
        self.ended_at[machine, unit] = self.now()
        self.say(machine, f"{unit} has ended")
        self.running[unit].pop(machine, None)
        self.rollouts.ended(machine, unit, off=self.fleet.host(machine).systemd.off)
        if unit == HOST_UNIT and not self.fleet.host(machine).systemd.off:
            self.wrong(HOSTS_OWN, f"{unit} of {machine} was ended")

    def _overlap(self, unit: str, one: str, other: str) -> None:
        if not (self.excused(one) or self.excused(other)):
            self.wrong(ONE_PLACE, f"{unit} runs on {one} and on {other}")

    def excused(self, machine: str) -> bool:
        """Whether a machine is out of touch with the registry, or only just back."""
        standing = self.standing[machine]
        gone = (standing.soft > 0 and standing.away_since > 0) or self._is_in_the_past(machine)
        return gone or standing.broken > 0 or self.now() < standing.excused_until

    def _is_in_the_past(self, machine: str) -> bool:
        """Whether its clock is so far behind that it takes a history which was accepted for a broken one."""
        behind = self.fleet.host(machine).wall_offset < -A_DAY_S
        return behind and self.changed_at > 0 and self.fleet.policy == "keep"

    def set_clock(self, machine: str, by_s: float) -> None:
        """A machine's clock is stepped; one that is right again looks again at what it took for broken."""
        before = self._is_in_the_past(machine)
        self.fleet.host(machine).step_clock(by_s)
        if before and not self._is_in_the_past(machine):
            standing = self.standing[machine]
            standing.excused_until = max(standing.excused_until, self.now() + FOREIGN_S + GRACE_S)

    def breaks(self, machine: str, *, soft: bool = False) -> None:
        """A fault begins that keeps a machine from the registry."""
        standing = self.standing[machine]
        if soft:
            standing.soft += 1
        else:
            standing.broken += 1

    def heals(self, machine: str, *, soft: bool = False) -> None:
        """And ends."""
        standing = self.standing[machine]
        if soft:
            standing.soft -= 1
            if standing.away_since:
                standing.excused_until = max(standing.excused_until, self.now() + GRACE_S)
        else:
            standing.broken -= 1
            standing.excused_until = max(standing.excused_until, self.now() + GRACE_S)

    def killed(self, machine: str) -> None:
        """An agent is killed: systemd forgets a unit that ends meanwhile, whose start could not be noted."""
        for (host, unit), order in self.orders.items():
            if host == machine and KINDS.get(unit, SLEEPER).vanishes and self.now() - order.at < JUST_S:
                order.pardons += 1

    def booted(self, machine: str) -> None:
        """Orders count anew."""
        self.booted_at[machine] = self.now()
        for (host, unit), order in self.orders.items():
            if host == machine:
                line = self.lines.get(f"{self.fleet.host(machine).id}/{unit}")
                order.starts, order.pardons = 0, 0
                order.count = 1 if line else 0

    def pardon(self, machine: str) -> None:
        """The machine hands all its units over: what it is back for before they have moved is started again."""
        self.more.may_stop_all(machine)
        self.handed[machine] = {unit for host, unit in self.orders if host == machine}
        for unit in self.handed[machine]:
            self.orders[machine, unit].pardons += 1

    # ---- what etcd holds

    def changed(self, exchange: Exchange | None, changes: list[Happened]) -> None:
        self.checks += 1
        program = exchange.program.name if exchange and exchange.program else ""
        ours = program.startswith(("agent", "scheduler", "operator"))
        placed: list[tuple[str, str]] = []
        for each in changes:
            key = each.now.key.decode().removeprefix("/fleet/")
            if ours and each.now.value is not None and not each.now.lease and key.startswith(LEASED_TABLES):
                self.wrong(LEASED, f"{program} wrote {key} without a lease")
            if program.startswith("scheduler") and key not in ("leader", "cluster"):
                self._fenced(program, key, exchange)
            table, _, rest = key.partition("/")
            if table == "schedule":
                self._line(program, rest, each, placed)
            elif table == "states":
                machine, _, unit = rest.partition("/")
                if each.now.value is None:
                    self.states[unit].pop(machine, None)
                else:
                    self.states[unit][machine] = None
            elif table == "machines" and "/" not in rest:
                self._machine(rest, each)
            elif key == "leader":
                self._leads(program, each)
            self._is_asked(table, rest)
        sent_at = exchange.sent_at if exchange else self.now()
        self.rollouts.changed(program, changes, sent_at)
        for machine, unit in placed:
            self._placed(machine, unit, sent_at)

    def _is_asked(self, table: str, rest: str) -> None:
        if table == "units":
            self.more.asked(rest)
        elif table == "overrides" and rest in self.fleet.by_id:
            self.more.asked(self.fleet.by_id[rest].name)

    def _fenced(self, program: str, key: str, exchange: Exchange | None) -> None:
        if program != self.leader:
            self.wrong(FENCE, f"{program} wrote {key} while {self.leader or 'nobody'} leads")
        elif exchange is not None and exchange.sent_at < self.leader_since:
            self.wrong(FENCE, f"{program} wrote {key} under a term that is over")

    def _line(self, program: str, rest: str, each: Happened, placed: list[tuple[str, str]]) -> None:
        machine, _, unit = rest.partition("/")
        host = self.fleet.by_id.get(machine)
        name = host.name if host else machine
        if each.now.value is None:
            if program.startswith("scheduler") and host is not None and not self._has_others(unit, rest):
                self.more.taken_off(name, unit)
            self.more.may_stop(name, unit)
            self.lines.pop(rest, None)
            self.removed[rest] = self.now()
            self.say(program or "etcd", f"takes {unit} off {name}")
            return
        record = parsed(each.now.value)
        if not record and rest in self.lines:
            return  # garbled, which is no order
        order = (each.now.created, record.get("generation"), record.get("attempt", 0), record.get("hash"))
        old = self.lines.get(rest)
        self._names_beside(rest, record)
        if record.get("target", "launched") != "launched":
            self.removed[rest] = self.now()
        if old is not None and (old["order"], old.get("target")) != (order, record.get("target")):
            self.more.may_stop(name, unit)
        self.lines[rest] = {**record, "order": order}
        started = record.get("target", "launched") == "launched"
        was = old is not None and old.get("target", "launched") == "launched"
        if (
            old is None or old["order"] != order or (started and not was)
        ):  # destroyed, and submitted again as it was
            self.orders[name, unit].count += 1
        if each.before is None:
            self.say(program or "etcd", f"schedules {unit} on {name}")
            if program.startswith("scheduler"):
                placed.append((machine, unit))

    def _names_beside(self, line: str, record: dict[str, Any]) -> None:
        """A line names these versions from now on, and others no more."""
        now, known = self.now(), self.beside[line]
        known.update({each: min(until, now) for each, until in known.items()})
        known.update(dict.fromkeys(((name, sha) for name, sha in record.get("beside", ())), math.inf))

    def _has_others(self, unit: str, line: str) -> bool:
        return any(each != line and each.endswith(f"/{unit}") for each in self.lines)

    def _placed(self, machine: str, unit: str, decided_at: float) -> None:
        kind = KINDS.get(unit)
        if kind is None or kind.everywhere:
            return
        live, news_s = self.fleet.etcd.store.live, NEWS_S if self.promptness.is_calm(self.leader) else LAG_S
        for other in self.fleet.by_id:
            if other == machine or f"/fleet/machines/{other}".encode() not in live:
                continue
            name = self.fleet.by_id[other].name
            if decided_at < self.standing[name].back_at + news_s:
                continue  # it has come back meanwhile, with what it shows of itself: no scheduler had heard of it
            if f"{other}/{unit}" in self.lines:
                self.wrong(PLACED, f"{unit} was placed while {name} has a line of it")
            elif other in self.states[unit]:
                self.wrong(PLACED, f"{unit} was placed while {name} has a state of it")

    def _machine(self, machine: str, each: Happened) -> None:
        host = self.fleet.by_id.get(machine)
        if host is None:
            return
        standing = self.standing[host.name]
        if each.now.value is None or parsed(each.now.value).get("leaving"):
            self.more.asked(host.name)
        if each.now.value is None:
            live = self.fleet.etcd.store.live
            present = [each.name for each in self.fleet.hosts if f"/fleet/machines/{each.id}".encode() in live]
            leaving = bool(each.before and parsed(each.before.value or "").get("leaving"))
            self.promptness.vanished(host.name, present, leaving=leaving)
            standing.away_since = standing.vanished_at = self.now()
            self.say("etcd", f"the key of {host.name} is gone")
        elif standing.away_since or each.before is None:
            if standing.soft or self.now() < standing.excused_until:
                standing.excused_until = max(standing.excused_until, self.now() + GRACE_S)
            standing.away_since, standing.back_at = 0.0, self.now()
            self.say("etcd", f"the key of {host.name} is there")

    def _leads(self, program: str, each: Happened) -> None:
        leader = program if each.now.value is not None else ""
        self.leaders[each.now.value or ""] = leader
        if each.now.value is not None and not program.startswith("scheduler"):
            return  # somebody has garbled it
        if leader and each.before is None:
            self.leader_since = self.now()
        if leader != self.leader:
            self.say(program or "etcd", "leads" if leader else "the leader's key is gone")
            self.leader, self.leader_since = leader, self.now()

    def answered(self, exchange: Exchange) -> None:
        """Who cannot know that the history went back looks at a sentinel that nobody has marked: it goes on."""
        if not self.unaware or exchange.program is None or not exchange.program.name.startswith("agent"):
            return
        if self.is_held():
            self.unaware.clear()
        elif exchange.host in self.unaware and any(
            each["key"] == SENTINEL for each, _ in touched(exchange.path, exchange.request)
        ):
            self.unaware.discard(exchange.host)
            standing = self.standing[exchange.host]
            standing.excused_until = max(standing.excused_until, self.now() + GRACE_S)

    def restored(self, store: Store, acted_at: Mapping[str, int]) -> None:
        """Another history is there at once. `acted_at`: the newest revision that each machine remembers."""
        self.changed_at = self.now()
        self.unaware.clear()
        self.fleet.etcd.on_change = self.changed
        self.more.may_stop_all()
        self.lines.clear()
        self.states.clear()
        self.rollouts.read(store)
        leader = store.live.get(b"/fleet/leader")
        self.leader = self.leaders.get(leader.value or "", "") if leader else ""
        for each in self.fleet.hosts:
            there = f"/fleet/machines/{each.id}".encode() in store.live
            standing = self.standing[each.name]
            if there and standing.away_since and self.fleet.policy == "keep":  # it runs what it ran
                standing.excused_until = max(standing.excused_until, self.now() + GRACE_S)
            elif there and standing.away_since and acted_at[each.name] <= store.revision:
                self.unaware.add(each.name)  # cut off before the backup was made
            standing.away_since = 0.0 if there else self.now()
        for key, version in store.live.items():
            table, _, rest = key.decode().removeprefix("/fleet/").partition("/")
            if table == "schedule" and version.value is not None:
                record = parsed(version.value)
                order = (version.created, record.get("generation"), record.get("attempt", 0), record.get("hash"))
                self.lines[rest] = {**record, "order": order}
                self._names_beside(rest, record)
                machine, _, unit = rest.partition("/")
                if (host := self.fleet.by_id.get(machine)) is not None:
                    self.orders[host.name, unit].count += 1  # once it is accepted, each line is a new placement
            elif table == "states":
                machine, _, unit = rest.partition("/")
                self.states[unit][machine] = None

    def elsewhere(self, invariant: str) -> None:
        """Another registry is there, of which nothing may be taken for an order: the judge looks away."""
        self.hold(invariant)
        self.changed_at = self.now()
        self.fleet.etcd.on_change = lambda _exchange, _changes: None

    def back(self, store: Store) -> None:
        """The right one is there again, as it was, with what it knew."""
        self.changed_at = self.now()
        self.fleet.etcd.on_change = self.changed
        for each in self.fleet.hosts:
            standing = self.standing[each.name]
            there = f"/fleet/machines/{each.id}".encode() in store.live
            if there:
                standing.away_since = 0.0
        leader = store.live.get(b"/fleet/leader")
        self.leader = self.leaders.get(leader.value or "", "") if leader else ""
        self.rollouts.read(store)
        self.come_back()

    def come_back(self) -> None:
        """The fleet's registry is there again: agents are out of touch until they look, and leases may end."""
        for standing in self.standing.values() if self.fleet.policy == "keep" else ():
            standing.excused_until = max(standing.excused_until, self.now() + FOREIGN_S + GRACE_S)

    def outage(self, *, begins: bool) -> None:
        """A fault of etcd as a whole begins, or one of them ends."""
        now = self.now()
        if begins:
            self.outage_at = now if now > self.quiet_since else self.outage_at
            self.quiet_since = self.promptness.settled_at = now + 1000.0
        else:
            self.quiet_since = max(now + patience_s(now - self.outage_at), self.unleased_until)
            self.promptness.settled_at = max(now + LATE_S, self.unleased_until)

    def unleased(self) -> None:
        """A key was taken off its lease; it is put back, or goes, within the grace of those who find it."""
        self.unleased_until = self.now() + UNLEASED_S
        self.quiet_since = max(self.quiet_since, self.unleased_until)
        self.promptness.settled_at = max(self.promptness.settled_at, self.unleased_until)

    # ---- as time goes on

    def _extend(self, now: float) -> None:
        """Who was out of touch stops nothing before an older history is accepted, or while there is no quorum."""
        sentinel = self.fleet.etcd.store.live.get(b"/fleet/cluster")
        broken = sentinel is not None and not parsed(sentinel.value or "")
        mute = self.silence or self.is_held() or broken or self.fleet.etcd.leader_now is None
        for standing in self.standing.values() if mute else ():
            if standing.broken or now < standing.excused_until:
                standing.excused_until = max(standing.excused_until, now + GRACE_S)

    def look(self) -> None:
        """Once in half a second: what lasts too long."""
        now = self.now()
        self._extend(now)
        self.more.look()
        for unit, places in self.running.items():
            if len(places) > 1 and not KINDS.get(unit, SLEEPER).everywhere and unit != HOST_UNIT:
                clear = [machine for machine in places if not self.excused(machine)]
                if len(clear) > 1:
                    self.wrong(ONE_PLACE, f"{unit} runs on {' and on '.join(clear)}")
        leader = self.fleet.host(f"core-{self.leader.rpartition('-')[2]}").scheduler if self.leader else None
        if leader is None or leader.dead or leader.paused:
            return
        self.promptness.look(leader)

    def count(self, program: str, what: str) -> None:
        self.counts[program][what] += 1

    def window(self, limits: dict[str, float], length_s: float) -> None:
        """Whether anybody did too much since the last window."""
        for program, counted in self.counts.items():
            for what, number in counted.items():
                if number / length_s > limits[what]:
                    self.wrong(BUSY, f"{program} had {number / length_s:.0f} {what} a second")
        self.counts.clear()

    # ---- at rest

    def problems(self) -> list[Problem]:
        """What is not as it should be once nothing is broken any more."""
        wrong, unexplained = self._problems()
        return [*unexplained, *(Problem(REST, each) for each in wrong)]

    def _problems(self) -> tuple[list[str], list[Problem]]:
        found: list[str] = []
        unexplained: list[Problem] = []
        live = self.fleet.etcd.store.live
        if not self.leader:
            found.append("nobody leads")
        for host in self.fleet.hosts:
            key = live.get(f"/fleet/machines/{host.id}".encode())
            if key is None or not key.lease:
                found.append(f"{host.name} is not registered")
        start = "/fleet/units/"
        known = ((key.decode(), each) for key, each in live.items())
        units = {key.removeprefix(start): parsed(each.value or "") for key, each in known if key.startswith(start)}
        ready = [host.name for host in self.fleet.hosts if not self.drained(host.id)]
        found += [each for host in self.fleet.hosts for each in self._misplaced(host)]
        for name, kind in KINDS.items():
            found += self._unit(name, units.get(name), ready, stays=kind.stays)
            unexplained += self.more.unexplained(name, units.get(name, {}))
        for line in self.lines:
            machine, _, name = line.partition("/")
            if name not in units and machine in self.fleet.by_id:
                found.append(f"{self.fleet.by_id[machine].name} has a line of {name}, which nobody wants")
        for name, machines in self.states.items():
            found += [
                f"{self.fleet.by_id[each].name} has a state of {name} without a line"
                for each in machines
                if each in self.fleet.by_id and f"{each}/{name}" not in self.lines
            ]
        return found, unexplained

    def _misplaced(self, host: Host) -> list[str]:
        """Which Quadlets lie on a machine and should not, or should and do not, and which services they leave."""
        lines = {line.partition("/")[2]: each for line, each in self.lines.items() if line.startswith(host.id)}
        own = {name for name in lines if is_quadlet(name)}
        wanted = own | {name for each in own for name, _ in lines[each].get("beside", ())}
        directory, systemd = host.systemd.quadlets, host.systemd
        lies = {path.name for path in directory.iterdir()} if directory.is_dir() else set()
        found = [f"{host.name} has no {name}" for name in sorted(wanted - lies)]
        found += [f"{host.name} still has {name}" for name in sorted(lies - wanted)]
        up = (name for name in BESIDE if (unit := systemd.units.get(service_of(name))) and unit.running)
        return found + [f"{service_of(name)} still runs on {host.name}" for name in up if name not in wanted]

    def drained(self, machine: str) -> bool:
        override = self.fleet.etcd.store.live.get(f"/fleet/overrides/{machine}".encode())
        return override is not None and parsed(override.value or "").get("availability", "ready") != "ready"

    def _unit(  # noqa: PLR0911 - a table of cases
        self, name: str, record: dict[str, Any] | None, ready: list[str], *, stays: bool
    ) -> list[str]:
        kind, places = KINDS[name], list(self.running[name])
        if record is None or record.get("target") != "launched":
            return [f"{name} runs on {' '.join(places)} and should not"] if places else []
        if kind.nowhere or kind.rival or (kind.only and kind.only not in ready):
            return [f"{name} runs on {' '.join(places)}"] if kind.nowhere and places else []
        if is_quadlet(name):
            ready = [each for each in ready if self.fleet.host(each).podman]
        if not ready:
            return []
        if not stays:
            return [] if any(key.endswith(f"/{name}") for key in self.lines) else [f"{name} has no line"]
        if kind.everywhere:
            missing = [each for each in ready if each not in places]
            others = [each for each in places if self.versions[each, name] != record.get("hash")]
            found = [f"{name} does not run on {' '.join(missing)}"] if missing else []
            return [*found, f"{name} runs on {' '.join(others)} in another version"] if others else found
        if len(places) != 1:
            return [f"{name} runs on {len(places)} machines"]
        if kind.follows and places != list(self.running[kind.follows]):
            return [f"{name} runs on {places[0]}, and not where {kind.follows} runs"]
        if self.versions[places[0], name] != record.get("hash"):
            return [f"{name} runs on {places[0]} in another version"]
        return []


@lru_cache(maxsize=20_000)
def parsed(value: str) -> dict[str, Any]:
    """A record as plain JSON, to be read only; nothing for what is none."""
    try:
        found = json.loads(b64decode(value))
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
