"""Units that keep failing where they are: counted by the leader, and written down once it is too often.

Owns what counts as a failure (systemd restarted the unit, or gave it up), for how long a machine is remembered on
which a unit has failed too often (`MoveAfterFailures`), and the record that says so; where the unit goes then is
decided as everything is. Counts are the leader's own: a new one begins at none, but for units that are down when it
first sees them. Each transaction compares the records of the unit, so that an operator who was first, wins. It must
not write.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from placement.cluster_state import ClusterState
from placement.unit_entry import UnitEntry
from registry.etcd import Compare, Op
from registry.keys import Address, Keys, Table
from registry.mirror import Mirror
from registry.model import MAX_FAILED, FailedPlacement, PastPlacement, Target, UnitState
from registry.records import encode, event_entry
from registry.sync.follow import FollowUpdate
from registry.units.amounts import shown_span
from registry.units.options import FailureLimit
from scheduler.commit import Audit, Intent
from scheduler.fault_log import FaultLog

REMEMBERED_S = 3600.0  # for how long a unit avoids a machine on which it has failed
ABOUT = frozenset({Table.STATES, Table.PLACEMENTS})


@dataclass(slots=True)
class Count:
    """The failures of one unit on one machine, of one generation, by the leader's monotonic clock."""

    generation: int
    restarts: int = 0
    down: bool = False
    result: str = ""  # systemd's, of the last failure that was seen: a unit that runs again shows none
    times: deque[float] = field(default_factory=deque)

    def add(self, state: UnitState, limit: FailureLimit, now: float) -> None:
        """Take in what the machine reports now."""
        if state.target is not Target.LAUNCHED:  # until its start is over, what it says is of the run before
            self.restarts, self.down = 0, False
            return
        down = state.active == "failed"
        fresh = max(state.restarts - self.restarts, 0) + (down and not self.down)
        self.restarts, self.down = state.restarts, down
        if state.result not in ("", "success"):
            self.result = state.result
        self.times.extend([now] * min(fresh, limit.failures))
        while self.times and self.times[0] <= now - limit.within_s:
            self.times.popleft()


class FailureWatch:
    """The units that fail too often for their machine. `due` is when to look though nothing changes."""

    def __init__(self, keys: Keys, audit: Audit) -> None:
        self.due = math.inf
        self._keys, self._audit = keys, audit
        self._changed: set[Address] | None = None  # None: everything may have
        self._counts: dict[tuple[str, str], Count] = {}
        self._units: set[str] = set()  # of which a failed placement is remembered
        self._faults = FaultLog()
        self._since: dict[tuple[str, FailedPlacement], float] = {}  # when such a one was first seen

    def begin_term(self) -> None:
        """Forget what an earlier term has seen: it may have changed unseen."""
        self._changed, self._counts, self._units, self._since = None, {}, set(), {}

    def update(self, update: FollowUpdate) -> None:
        """Note a change of the mirror."""
        if update.reset:
            self._changed = None
        elif self._changed is not None:
            self._changed.update(each for each in update.changed if each.table in ABOUT)

    def wants_look(self, now: float) -> bool:
        """Whether something has changed, or something is to be forgotten."""
        return self._changed is None or bool(self._changed) or now >= self.due

    def look(self, mirror: Mirror, state: ClusterState, now: float, today: float) -> list[Intent]:
        """Return what is to be written down or forgotten. `today`: seconds since the epoch, for people to read."""
        changed, self._changed = self._changed, set()
        if changed is None:
            limited = ((name, entry) for name, entry in state.entries.items() if entry.options.move_after)
            changed = {
                Address(Table.STATES, machine, name) for name, entry in limited for machine in entry.reported
            }
            changed.update(mirror.addresses(Table.PLACEMENTS))
        found: list[Intent] = []
        for address in sorted(changed):
            if address.table is Table.PLACEMENTS:
                self._units.add(address.first)
                continue
            with self._faults.contain(f"unit {address.second}"):
                if (failed := self._count(mirror, state, address, now, today)) is not None:
                    found.append(self._remember(mirror, state.entries[address.second], failed))
                    self._changed.add(address)  # to be looked at again, unless it is written by then
        return [*found, *self._forget(mirror, state, now)]

    def _count(
        self, mirror: Mirror, state: ClusterState, address: Address, now: float, today: float
    ) -> FailedPlacement | None:
        """Count what a machine reports of a unit; what is to be remembered, if that was one failure too many."""
        machine, name = address.first, address.second
        found, entry = mirror.row(Table.STATES, address), state.entries.get(name)
        limit = entry.options.move_after if entry is not None else None
        if limit is None or entry is None or entry.unit is None or not isinstance(found, UnitState):
            self._counts.pop((machine, name), None)
            return None
        if found.generation != entry.unit.generation or machine in entry.failed_on:
            return None
        count = self._counts.get((machine, name))
        if count is None or count.generation != found.generation:
            known = 0 if found.active == "failed" else found.restarts
            count = self._counts[machine, name] = Count(found.generation, known)
        count.add(found, limit, now)
        if len(count.times) < limit.failures:
            return None
        often = f" {limit.failures} times in {shown_span(limit.within_s)}" if limit.failures > 1 else ""
        how = f" ({count.result})" if count.result else ""
        reason = f"it failed here{often}{how}"
        return FailedPlacement(machine, found.generation, reason, today, today + REMEMBERED_S)

    def _remember(self, mirror: Mirror, entry: UnitEntry, failed: FailedPlacement) -> Intent:
        past = entry.past or PastPlacement(entry.name)
        known = {each.machine: each for each in past.failed} | {failed.machine: failed}
        latest = sorted(known.values(), key=lambda each: each.at)[-MAX_FAILED:]
        intent = self._intent(mirror, replace(past, failed=tuple(sorted(latest, key=lambda each: each.machine))))
        event = self._audit.event("avoid", entry.name, failed.machine, failed.reason)
        intent.put(*event_entry(self._keys, event))
        return intent

    def _forget(self, mirror: Mirror, state: ClusterState, now: float) -> Iterator[Intent]:
        """Forget what is long past, or of an earlier generation."""
        since, self._since, self.due = self._since, {}, math.inf
        for name in sorted(self._units):
            entry = state.entries.get(name)
            if entry is None or entry.past is None or not entry.past.failed:
                self._units.discard(name)
                continue
            kept = []
            for each in entry.past.failed:
                seen = self._since[name, each] = since.get((name, each), now)
                if seen + REMEMBERED_S > now and each.machine in entry.failed_on:
                    kept.append(each)
                    self.due = min(self.due, seen + REMEMBERED_S)
            if len(kept) < len(entry.past.failed):
                with self._faults.contain(f"unit {name}"):
                    yield self._intent(mirror, replace(entry.past, failed=tuple(kept)))

    def _intent(self, mirror: Mirror, after: PastPlacement) -> Intent:
        unit, key = self._keys.unit(after.unit), self._keys.placement(after.unit)
        guards = [Compare.mod(each, mirror.mod_revision(each)) for each in (unit, key)]
        intent = Intent(guards)
        if after.machine or after.failed or after.unknown:
            intent.put(key, encode(after))
        else:
            intent.ops.append(Op.delete(key))
        return intent
