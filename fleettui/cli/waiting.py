"""Waiting for units to arrive, and telling the operator about each as it does.

Owns what a blocking verb prints: a line for each unit that arrived, an error with its reason for each that cannot,
and what the rest waits for when that is long: no scheduler, a lost registry. Driven by changes; never polls.
"""

from __future__ import annotations

import math
from collections.abc import AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager

from fleettui.actions.operator import Operator
from fleettui.actions.progress import Arrival, StillWaiting, watch_progress
from fleettui.cli.failures import FAILED, INTERRUPTED, OK
from fleettui.cli.output import ProgressLine, complain, say
from fleettui.cli.patience import WaitLimit
from fleettui.cli.words import place, short_id
from fleettui.escape import clause
from fleettui.verbs import Verb, gerund
from registry.errors import ForeignRegistry, RegistryDenied
from registry.keys import Table
from registry.lifecycle import Progress, UnitProgress, ended, standing, standing_here
from registry.mirror import Snapshot
from registry.model import Target
from registry.runtime import waits
from registry.sync.follow import ConnectionState, Follower
from registry.wording import counted

WATCHED = (
    Table.CLUSTER,
    Table.LEADER,
    Table.UNITS,
    Table.SCHEDULE,
    Table.PENDING,
    Table.MACHINES,
    Table.STATES,
)
PATIENCE_S = 2.0  # until a missing scheduler is worth a word: an election takes less
ANSWER_S = 0.25  # how much longer a verb may take so that an endpoint that is down is told


@asynccontextmanager
async def following(operator: Operator, tables: Iterable[Table] = WATCHED) -> AsyncIterator[Follower]:
    """A running follower of what waiting needs; endpoints of etcd that are not in use are asked meanwhile, once."""
    follower = Follower(operator.etcd, operator.keys, tables=tables, pinned=False)
    asking = waits.beside(operator.etcd.ask_quiet(math.inf), linger_s=ANSWER_S)
    async with waits.beside(follower.run()), asking:
        yield follower


async def wait(operator: Operator, verb: Verb, names: Iterable[str], revision: int, patience: WaitLimit) -> int:
    """Wait for the units, print each as it arrives, and return the exit code."""
    reporter = ProgressReporter(verb, tuple(names))
    deadline = None if patience.seconds is None else waits.now() + patience.seconds
    try:
        async with following(operator) as follower:
            steps = watch_progress(follower, reporter.names, revision=revision, deadline=deadline)
            async with aclosing(steps):
                async for step in steps:
                    reporter.report(step)
    except TimeoutError:
        return reporter.timed_out(patience.seconds or 0.0)
    except waits.interruption():
        reporter.interrupted()
        return INTERRUPTED
    finally:
        reporter.close()
    return reporter.code


class ProgressReporter:
    """Turns steps into lines. `code` is the exit code so far."""

    def __init__(self, verb: Verb, names: tuple[str, ...]) -> None:
        self.names = names
        self.code = OK
        self._verb = verb
        self._remaining = dict.fromkeys(names)
        self._unconfirmed: dict[str, str] = {}  # units and the machine that was lost while it stopped them
        self._snapshot = Snapshot()
        self._line = ProgressLine("units there")
        self._link = ConnectionState.LIVE
        self._leaderless: waits.Handle | None = None
        self._said_leaderless = False
        self._keeping: waits.Handle | None = None
        self._said_kept: set[tuple[str, str, str]] = set()

    def report(self, step: Arrival | StillWaiting) -> None:
        """Say what this step brought."""
        self._note_lost(step.snapshot)
        self._snapshot = step.snapshot
        if isinstance(step, Arrival):
            self._arrived(step)
        else:
            self._watch_link(step)
        self._watch_leader()
        if self._remaining and self._verb.rules.ends and self._keeping is None:
            self._keeping = waits.call_later(PATIENCE_S, self._say_kept)
        self._line.show(len(self.names) - len(self._remaining), len(self.names))

    def timed_out(self, seconds: float) -> int:
        """Say what has not arrived; the exit code."""
        self._line.close()
        count = counted(len(self._remaining), "unit")
        complain(
            f"Error {gerund(self._verb)} units: {count} not there after {seconds:g}s; they go on by themselves"
        )
        for name in list(self._remaining)[:20]:
            complain(f"  {name}: {standing(self._snapshot, name).reason or 'not known yet'}")
        return FAILED

    def interrupted(self) -> None:
        """Say that only the waiting ends."""
        self._line.close()
        if self._remaining:
            count = counted(len(self._remaining), "unit")
            goes = "keeps" if len(self._remaining) == 1 else "keep"
            complain(f"Interrupted; {count} {goes} going. See: fleetctl list-unit-files")

    def close(self) -> None:
        """Take the progress line away and stop all timers."""
        self._line.close()
        for timer in (self._leaderless, self._keeping):
            if timer:
                timer.cancel()

    def _arrived(self, arrival: Arrival) -> None:
        self._line.close()
        self._remaining.pop(arrival.name, None)
        if not self._verb.rules.forgets and arrival.name not in arrival.snapshot.units:
            self.code = FAILED
            complain(f"Error {gerund(self._verb)} unit {arrival.name}: somebody destroyed it meanwhile")
        elif arrival.standing.progress is Progress.REACHED and (doubt := self._doubt(arrival)):
            self.code = FAILED
            complain(f"Error {gerund(self._verb)} unit {arrival.name}: {doubt}")
        elif arrival.standing.progress is Progress.REACHED:
            for line in arrival_lines(arrival):
                say(line)
        elif self._verb.rules.ends and not arrival.standing.machines:
            say(f"Unit {arrival.name} runs nowhere; {_later(self._verb, arrival.standing)}")
        else:
            self.code = FAILED
            for line in arrived_elsewhere(arrival):
                say(line)
            complain(error_line(self._verb, arrival.name, arrival.standing))

    def _note_lost(self, snapshot: Snapshot) -> None:
        """Notice machines that vanish with their states before they have stopped what they were to stop."""
        before = self._snapshot
        if not self._verb.rules.ends or snapshot.machines is before.machines:
            return
        for machine, record in before.machines.items():
            if machine in snapshot.machines or record.leaving:
                continue
            held = (name for name in self._remaining if (machine, name) in before.states)
            self._unconfirmed.update(dict.fromkeys(held, machine))

    def _doubt(self, arrival: Arrival) -> str:
        """Why it is not known whether a unit has stopped, "" when it is."""
        if not self._verb.rules.ends:
            return ""
        machine = self._unconfirmed.get(arrival.name, "")
        if machine and machine not in arrival.snapshot.machines:
            return (
                f"{short_id(machine)} was lost before it had stopped; it may run there until that machine is back"
            )
        odd = (key for key in arrival.snapshot.corrupt if key.endswith(f"/{arrival.name}") and "/states/" in key)
        return next((f"the record {key} does not parse, so it may still run there" for key in odd), "")

    def _watch_link(self, step: StillWaiting) -> None:
        if step.link is ConnectionState.FOREIGN:
            raise ForeignRegistry(step.reason)
        if step.link is ConnectionState.DENIED:
            raise RegistryDenied(step.reason)
        if step.link is self._link or ConnectionState.CONNECTING in (step.link, self._link):
            self._link = step.link
            return
        self._link = step.link
        self._line.close()
        if step.link is ConnectionState.LOST:
            complain(f"The registry is out of reach ({step.reason}); waiting for it to come back")
        else:
            complain("The registry is back")

    def _watch_leader(self) -> None:
        if self._snapshot.leader is None and self._remaining:
            if self._leaderless is None:
                self._leaderless = waits.call_later(PATIENCE_S, self._say_leaderless)
            return
        if self._leaderless:
            self._leaderless.cancel()
            self._leaderless = None
        if self._said_leaderless and self._snapshot.leader:
            self._said_leaderless = False
            complain("A scheduler leads again")

    def _say_kept(self) -> None:
        """Say why machines keep what they should give up, each reason once."""
        self._keeping = None
        for (machine, name), state in self._snapshot.states.items():
            told = (machine, name, state.error)
            old = not state.error or state.error.startswith("start")  # of its start, long ago
            if name not in self._remaining or old or told in self._said_kept:
                continue
            self._said_kept.add(told)
            self._line.close()
            complain(f"Unit {name} is still on {place(machine, self._snapshot.machines)}: {state.error}")

    def _say_leaderless(self) -> None:
        self._said_leaderless = True
        self._line.close()
        complain("No scheduler leads, so nothing is placed; start fleet-scheduler on at least one machine")


def arrival_lines(arrival: Arrival) -> list[str]:
    """What is said of a unit that reached its target: fleet's words."""
    unit = arrival.snapshot.units.get(arrival.name)
    if unit is None:
        return [f"Destroyed {arrival.name}"]
    if unit.target is Target.INACTIVE:
        return [f"Unit {arrival.name} inactive"]
    return [_place_line(arrival, unit.target, machine) for machine in arrival.standing.machines]


def arrived_elsewhere(arrival: Arrival) -> list[str]:
    """The places where a unit did reach its target, while it came to nothing on others."""
    snapshot, name = arrival.snapshot, arrival.name
    unit, machines = snapshot.units.get(name), arrival.standing.machines
    if unit is None or len(machines) == 1:
        return []
    pairs = {machine: (machine, name) for machine in machines}
    here = {
        machine: standing_here(snapshot, name, snapshot.schedule.get(pair), snapshot.states.get(pair), strict=True)
        for machine, pair in pairs.items()
    }
    reached = [each for each, found in here.items() if found.progress is Progress.REACHED and not found.reason]
    return [_place_line(arrival, unit.target, machine) for machine in reached]


def _place_line(arrival: Arrival, target: Target, machine: str) -> str:
    state = arrival.snapshot.states.get((machine, arrival.name))
    where = place(machine, arrival.snapshot.machines)
    if state is not None and state.skipped and ended(state):
        return f"Unit {arrival.name} not started on {where}: {state.skipped}"
    if state is None and machine not in arrival.snapshot.machines:
        return f"Unit {arrival.name} is left as it is on {where}: that machine is lost"
    return f"Unit {arrival.name} {target} on {where}"


def error_line(verb: Verb, name: str, found: UnitProgress) -> str:
    """Why a unit does not arrive, and what to do."""
    start = f"Error {gerund(verb)} unit {name}: {clause(found.reason)}"
    if found.progress is Progress.FAILED:
        return f"{start}. See: fleetctl journal {name}"
    if verb.rules.ends:
        return f"{start}; it is stopped once {found.until}"
    return f"{start}; {_later(verb, found)}. See: fleetctl why {name}"


def _later(verb: Verb, found: UnitProgress) -> str:
    return f"it stays submitted and {verb.rules.later} when {found.until}"
