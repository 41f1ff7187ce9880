"""Rollouts under a leader's term: when to look at them, and what `placement.rollout` decides, as transactions.

Owns for how long units have been well, as this leader saw it, and when the next look is due. Nothing is looked at
while nothing has changed that a running rollout is about. Each transaction compares the rollout's record and those
of the units whose turn it is, so that whoever pauses or changes something first, wins. It must not write.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from placement.cluster_state import ClusterState
from placement.rollout import Advance, WellSince, advance, is_called_off, survey
from registry.etcd import Compare
from registry.keys import Address, Keys, Table
from registry.lifecycle import Whereabouts
from registry.mirror import Mirror
from registry.model import Event, Rollout, RolloutState
from registry.records import encode, event_entry
from registry.sync.follow import FollowUpdate
from scheduler.commit import Audit, Intent
from scheduler.fault_log import FaultLog

log = logging.getLogger("fleet.scheduler")

ABOUT = frozenset({Table.UNITS, Table.PENDING})  # by unit
WHOLE_MACHINES = frozenset({Table.MACHINES, Table.OVERRIDES})
ON_MACHINES = frozenset({Table.SCHEDULE, Table.STATES})  # by machine and unit


class RolloutWatch:
    """The running rollouts. `due` is when to look though nothing changes, on the leader's monotonic clock."""

    def __init__(self, keys: Keys, audit: Audit) -> None:
        self.due = math.inf
        self._changed = True
        self._keys, self._audit = keys, audit
        self._well = WellSince()
        self._units: frozenset[str] = frozenset()  # of running rollouts
        self._faults = FaultLog()
        self._told: dict[str, str] = {}  # why a rollout does not go on, as it was logged last

    def begin_term(self) -> None:
        """Forget what an earlier term has seen: it may have changed unseen."""
        self._well, self._units, self._changed = WellSince(), frozenset(), True

    def update(self, update: FollowUpdate) -> None:
        """Note a change of the mirror."""
        self._changed = self._changed or update.reset or any(map(self._concerns, update.changed))

    def wants_look(self, now: float) -> bool:
        """Whether something has changed, or a unit may have settled."""
        return self._changed or now >= self.due

    def _concerns(self, address: Address) -> bool:
        table = address.table
        if table is Table.ROLLOUTS or (table in WHOLE_MACHINES and self._units):
            return True
        name = address.second if table in ON_MACHINES else address.first if table in ABOUT else ""
        return name in self._units

    def look(self, mirror: Mirror, state: ClusterState, now: float, today: float) -> list[Intent]:
        """Return what is to be written. `now` is monotonic, `today` in seconds since the epoch."""
        self._changed, self.due = False, math.inf
        snapshot = mirror.snapshot()
        unfinished = sorted(
            (each for each in snapshot.rollouts.values() if not each.state.over),
            key=lambda each: (each.at, each.name),
        )
        running = [each for each in unfinished if each.state is RolloutState.RUNNING]
        self._units = frozenset(step.unit for each in running for step in each.steps)
        self._well.keep(self._units)

        def where(unit: str) -> Whereabouts:
            entry = state.entries.get(unit)
            return Whereabouts.of(snapshot, unit, {*entry.scheduled, *entry.reported} if entry else ())

        found: list[Intent] = []
        told, self._told = self._told, {}
        for rollout in running:
            with self._faults.contain(f"rollout {rollout.name}"):
                views = survey(rollout, snapshot, where, self._well, now)
                times = [each.settles_in_s for each in views if each.settles_in_s]
                self.due = min(self.due, now + min(times, default=math.inf))
                earlier, called_off = _earlier(rollout, unfinished), is_called_off(rollout, snapshot)
                result = advance(rollout, views, earlier, called_off=called_off)
                if result.waits and told.get(rollout.name) != result.waits:
                    log.info("rollout %s waits: %s", rollout.name, result.waits)
                self._told[rollout.name] = result.waits
                if result.rollout != rollout or result.given:
                    found.append(self._intent(mirror, rollout, result, today))
        return found

    def _intent(self, mirror: Mirror, rollout: Rollout, result: Advance, today: float) -> Intent:
        """Make one transaction of what a rollout does next."""
        key, after, intent = self._keys.rollout(rollout.name), result.rollout, Intent()
        intent.guards.append(Compare.mod(key, mirror.mod_revision(key)))
        if after != rollout:
            intent.put(key, encode(after))
        by = f"rollout {rollout.name}"
        changed = [(self._keys.unit(each.name), encode(replace(each, by=by, at=today))) for each in result.units]
        for each, value in changed:
            intent.guards.append(Compare.mod(each, mirror.mod_revision(each)))
            intent.put(each, value)
        for event in self._events(rollout, result):
            intent.put(*event_entry(self._keys, event))
        return intent

    def _events(self, rollout: Rollout, result: Advance) -> Iterator[Event]:
        """Tell whose turn it is, and what becomes of the rollout."""
        after = result.rollout
        for view in result.given:
            step, new = view.step, view.step.old if after.back else view.step.new
            old, reason = view.step.new if after.back else view.step.old, f"rollout {rollout.name}"
            verb = "rollout" if new == old else "replace"
            told = f"leaves; {reason}" if step.leaves else reason if new == old else f"was {old[:7]}; {reason}"
            yield self._audit.event(verb, step.unit, view.machine, told)
        if (after.state, after.back) != (rollout.state, rollout.back):
            how = "is going back" if after.back and not rollout.back else f"is {after.state}"
            if after.back and after.state is RolloutState.FINISHED:
                how = "went back"
            reason = f"rollout {rollout.name} {how}" + (f": {after.note}" if after.note else "")
            yield self._audit.event("rollout", reason=reason)


def _earlier(rollout: Rollout, unfinished: Iterable[Rollout]) -> str:
    """The name of an earlier rollout that has a unit of this one and is not over; "" if there is none."""
    units = {step.unit for step in rollout.steps}
    for other in unfinished:
        if other.name == rollout.name:
            return ""
        if any(step.unit in units for step in other.steps):
            return other.name
    return ""
