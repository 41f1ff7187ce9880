"""Watching units on their way to their targets, driven by the registry's changes and never by polling.

Owns the judgement of when a unit is done with: it arrived, it failed, or nobody can do anything until the fleet
changes. Reads a follower's mirror; writes nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable

from registry.frozen import dataclass
from registry.keys import Address, Table
from registry.lifecycle import Progress, UnitProgress, Whereabouts, standing, whereabouts
from registry.mirror import Snapshot
from registry.model import Assignment, UnitState
from registry.runtime import waits
from registry.sync.follow import ConnectionState, Follower, FollowUpdate

OF_UNITS: dict[Table, Callable[[Address], str]] = {  # the records that are about one unit, and its name
    Table.UNITS: lambda address: address.first,
    Table.PENDING: lambda address: address.first,
    Table.SCHEDULE: lambda address: address.second,
    Table.STATES: lambda address: address.second,
}
SETTLED = (Progress.REACHED, Progress.WAITING, Progress.FAILED)


@dataclass(frozen=True, slots=True)
class Arrival:
    """A unit that is done with, one way or the other, and the snapshot that says so."""

    name: str
    standing: UnitProgress
    snapshot: Snapshot


@dataclass(frozen=True, slots=True)
class StillWaiting:
    """Nothing arrived, yet something is to be told: the link's health and what the rest waits for."""

    remaining: tuple[str, ...]
    link: ConnectionState
    reason: str
    snapshot: Snapshot


class FollowedPlaces:
    """Where units are, indexed once and kept from change to change: a schedule may be long, a change seldom is."""

    def __init__(self) -> None:
        self._schedule: dict[str, tuple[Assignment, ...]] = {}
        self._states: dict[str, tuple[UnitState, ...]] = {}
        self.where = Whereabouts(self._schedule, self._states)

    def update(self, snapshot: Snapshot, update: FollowUpdate) -> None:
        """Take in what has changed up to this snapshot."""
        if update.reset:
            whole = whereabouts(snapshot)
            self._schedule.clear()
            self._states.clear()
            self._schedule |= whole.schedule
            self._states |= whole.states
            return
        for each in update.changed:
            if each.table in (Table.SCHEDULE, Table.STATES):
                machines = {line.machine for line in self._schedule.get(each.second, ())} | {each.first}
                machines |= {state.machine for state in self._states.get(each.second, ())}
                now = Whereabouts.of(snapshot, each.second, machines)
                self._schedule |= now.schedule
                self._states |= now.states


async def watch_progress(
    follower: Follower,
    names: Iterable[str],
    *,
    revision: int = 0,
    deadline: float | None = None,
    patient: bool = False,
) -> AsyncGenerator[Arrival | StillWaiting, None]:
    """Yield each unit once it is done with, and a `StillWaiting` after each change that brought none.

    Snapshots older than `revision` (the act's) are not judged. With `patient`, a unit that waits for the fleet to
    change is waited for. `deadline` is of the clock of `waits`; then TimeoutError is raised.
    The follower must be running, and nobody else may call its `next`; a program with a snapshot stream of its own
    asks `judged` instead.
    """
    remaining = dict.fromkeys(names)
    settled = (Progress.REACHED, Progress.FAILED) if patient else SETTLED
    doubtful = set(remaining)  # those of which something has changed since they were judged
    awaited: dict[str, frozenset[str]] = {}  # and the units that their starts wait for: those count too
    places = FollowedPlaces()
    while remaining:
        async with waits.timeout(None if deadline is None else deadline - waits.now()):
            update = await follower.next()
        touched = {OF_UNITS[each.table](each) if each.table in OF_UNITS else "" for each in update.changed}
        doubtful.update(remaining if update.reset or "" in touched else touched)
        doubtful.update(name for name, others in awaited.items() if others & touched)
        snapshot = follower.mirror.snapshot()
        places.update(snapshot, update)
        if snapshot.revision < max(revision, 1):
            yield StillWaiting(tuple(remaining), follower.link, follower.reason, snapshot)
            continue
        where = places.where
        found = [Arrival(name, judged(snapshot, name, where), snapshot) for name in remaining if name in doubtful]
        awaited |= {
            each.name: frozenset(other for state in where.states.get(each.name, ()) for other in state.waits)
            for each in found
        }
        arrivals = [each for each in found if each.standing.progress in settled and not each.standing.awaited]
        doubtful.clear()
        for arrival in arrivals:
            del remaining[arrival.name]
            yield arrival
        if not arrivals:
            yield StillWaiting(tuple(remaining), follower.link, follower.reason, snapshot)


def judged(snapshot: Snapshot, name: str, where: Whereabouts | None = None) -> UnitProgress:
    """The unit's standing, where a launched unit that systemd calls failed has failed, not arrived."""
    return standing(snapshot, name, where or whereabouts(snapshot), strict=True)
