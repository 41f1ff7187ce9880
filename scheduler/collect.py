"""Garbage collection: what no record refers to any more.

Owns the rules of what may go: files that no unit, history, schedule or state names; states and usage that no lease
carries of machines that are gone; lines of global units on machines that are gone for long; rollouts that are over;
old events, and what was kept of units that failed long ago or often. The leader does it seldom, fenced and
guarded by mod revision: a writer of a unit writes its file again in the same transaction, so a collection that
races with it loses. Overrides outlive machines on purpose and stay.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from registry.etcd import MAX_OPS, Compare, Etcd, KeyValue, Op
from registry.keys import Keys, Table
from registry.mirror import Mirror, Snapshot, Stamp, unreadable
from scheduler.absence import Absence
from scheduler.commit import Intent

COLLECT_EVERY_S = 600.0
COLLECT_FIRST_S = 30.0
EVENTS_KEPT = 10_000
EVENTS_AGE_S = 7 * 24 * 3600.0
AHEAD_S = 24 * 3600.0  # how far the clocks of a fleet may be apart
CRASHES_KEPT, CRASHES_OF_MACHINE, CRASHES_OF_UNIT = 500, 50, 5  # the newest; of a unit on each machine

ROLLOUTS_KEPT, ROLLOUT_STEPS_KEPT, ROLLOUTS_AGE_S = 100, 10_000, 30 * 24 * 3600.0  # of those that are over
ROLLOUTS_STAY = 10  # however many steps they have, and however old they are

StampOf = Callable[[str], Stamp | None]


@dataclass(frozen=True, slots=True)
class Garbage:
    """A key to delete, if it was last written at `mod_revision`."""

    key: str
    mod_revision: int


def garbage(snapshot: Snapshot, keys: Keys, stamp_of: StampOf, long_gone: Iterable[str]) -> list[Garbage]:
    """Return what may be deleted of a snapshot. `long_gone`: machines that have been away for long."""
    gone = set(long_gone) - snapshot.machines.keys()
    live = {unit for machine, unit in snapshot.schedule if machine in snapshot.machines}
    of_globals = [keys.schedule(*pair) for pair in snapshot.schedule if pair[0] in gone and pair[1] in live]
    found = [*_files(snapshot, keys), *_ghosts(snapshot, keys, stamp_of), *of_globals]
    units = snapshot.units.keys() | unreadable(snapshot, keys, Table.UNITS)
    found += [keys.placement(name) for name in snapshot.placements if name not in units]
    stamps = ((key, stamp_of(key)) for key in sorted(found))
    return [Garbage(key, stamp.mod_revision) for key, stamp in stamps if stamp is not None]


def old_events(keys: Iterable[str], now: float) -> list[str]:
    """Return the keys of events beyond the retention. `now`: seconds since the epoch; ids begin with milliseconds.

    Where they are too many, those who wrote most lose their oldest ones, so that nobody writes another's away. What
    says that it is of the future is kept no better than what is old.
    """
    oldest, newest = (f"{int((now + age_s) * 1000):013d}" for age_s in (-EVENTS_AGE_S, AHEAD_S))
    old: list[str] = []
    written: dict[str, list[str]] = defaultdict(list)  # by writer; an older version's keys name none
    for key in sorted(keys):
        writer, _, event_id = key.rpartition("/")
        if oldest <= event_id <= newest:
            written[writer].append(key)
        else:
            old.append(key)
    share, room, writers = 0, EVENTS_KEPT, len(written)
    for count in sorted(map(len, written.values())):
        share = max(share, min(count, room // writers))
        room, writers = room - min(count, share), writers - 1
    return old + [key for each in written.values() for key in each[: max(len(each) - share, 0)]]


def old_crashes(listed: Iterable[str], keys: Keys, now: float) -> list[str]:
    """Return the keys of kept lines beyond the retention, by the rules of events: the newest stay."""
    oldest, newest = (f"{int((now + age_s) * 1000):013d}" for age_s in (-EVENTS_AGE_S, AHEAD_S))
    machines: Counter[str] = Counter()
    units: Counter[tuple[str, str]] = Counter()
    old = []
    found = [(address.second, address.first, key) for key in listed if (address := keys.parse(key)) is not None]
    for crash, machine, key in sorted(found, reverse=True):
        unit = machine, crash.partition("-")[2]
        room = machines.total() < CRASHES_KEPT and machines[machine] < CRASHES_OF_MACHINE
        if oldest <= crash <= newest and room and units[unit] < CRASHES_OF_UNIT:
            machines[machine] += 1
            units[unit] += 1
        else:
            old.append(key)
    return old


def old_rollouts(snapshot: Snapshot, now: float) -> list[str]:
    """Return the names of rollouts that are over and beyond the retention. `now`: as for events."""
    over = sorted((each for each in snapshot.rollouts.values() if each.state.over), key=lambda each: each.at)
    old, steps = [], 0
    for place, rollout in enumerate(reversed(over)):
        steps += len(rollout.steps)
        beyond = place >= ROLLOUTS_KEPT or steps > ROLLOUT_STEPS_KEPT or rollout.at < now - ROLLOUTS_AGE_S
        if beyond and place >= ROLLOUTS_STAY:
            old.append(rollout.name)
    return old


def _files(snapshot: Snapshot, keys: Keys) -> list[str]:
    naming = (Table.UNITS, Table.SCHEDULE, Table.STATES, Table.ROLLOUTS)
    if any(unreadable(snapshot, keys, table) for table in naming):
        return []  # some record that may name a file does not parse: then no file is known to be unused
    used = {unit.hash for unit in snapshot.units.values()}
    used.update(sha256 for unit in snapshot.units.values() for sha256 in unit.history)
    used.update(version.hash for unit in snapshot.units.values() for version in unit.on)
    used.update(line.hash for line in snapshot.schedule.values())
    used.update(sha256 for line in snapshot.schedule.values() for _, sha256 in line.beside)
    used.update(state.hash for state in snapshot.states.values())
    steps = [step for rollout in snapshot.rollouts.values() for step in rollout.steps]
    used.update(sha256 for step in steps for sha256 in (step.old, step.new))
    return [keys.file(sha256) for sha256 in snapshot.files if sha256 not in used]


def _ghosts(snapshot: Snapshot, keys: Keys, stamp_of: StampOf) -> list[str]:
    """States that no lease will ever end, of machines that are gone; also those that do not parse."""
    present = snapshot.machines.keys() | unreadable(snapshot, keys, Table.MACHINES)
    pairs = snapshot.states.keys() | unreadable(snapshot, keys, Table.STATES)
    gone = [keys.state(*pair) for pair in pairs if pair[0] not in present]
    stamps = ((key, stamp_of(key)) for key in gone)
    return [key for key, stamp in stamps if stamp is not None and not stamp.lease]


def ghost_usage(listed: Iterable[KeyValue], snapshot: Snapshot, keys: Keys) -> list[Garbage]:
    """Return what is listed of the usage of machines that are gone, and no lease will ever end."""
    present = {keys.usage(each) for each in (*snapshot.machines, *unreadable(snapshot, keys, Table.MACHINES))}
    gone = (each for each in listed if not each.lease and each.key not in present and keys.parse(each.key))
    return [Garbage(each.key, each.mod_revision) for each in gone]


class GarbageCollector:
    """Finds what may go, now and then. `at` is when the next look is due, on the leader's monotonic clock."""

    def __init__(self, etcd: Etcd, keys: Keys) -> None:
        self.at = 0.0
        self._etcd, self._keys = etcd, keys
        self._absence = Absence()

    async def look(self, mirror: Mirror, now: float, today: float) -> list[Intent]:
        """Return what deletes the garbage there is. `today` is the time of day, in seconds since the epoch."""
        self.at = now + COLLECT_EVERY_S
        snapshot, keys = mirror.snapshot(), self._keys
        found = garbage(snapshot, keys, mirror.stamp, self._absence.long_gone(snapshot, now))
        usage = await self._etcd.range(keys.table(Table.USAGE), keys_only=True, page=MAX_OPS * 64)
        found += ghost_usage(usage.kvs, snapshot, keys)
        rollouts = map(keys.rollout, old_rollouts(snapshot, today))
        found += [Garbage(key, mirror.mod_revision(key)) for key in rollouts]
        events = await self._etcd.range(keys.table(Table.EVENTS), keys_only=True, page=MAX_OPS * 64)
        old = old_events((each.key for each in events.kvs), today)
        crashes = await self._etcd.range(keys.table(Table.CRASHES), keys_only=True, page=MAX_OPS * 64)
        old += old_crashes((each.key for each in crashes.kvs), keys, today)
        return [
            *(Intent([Compare.mod(each.key, each.mod_revision)], [Op.delete(each.key)]) for each in found),
            *(Intent([], [Op.delete(each)]) for each in old),
        ]
