"""What the scheduler notices of machines from change to change, beyond what the registry says of them now.

Owns whether an absence is believed, which losses are still to be reported, which machines say that the registry's
history went back, and which keys no lease will ever end. The time is passed in. It must not write anything.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace

from registry.etcd import Compare, Op
from registry.keys import Address, Keys, Table
from registry.leases import TTL_S, Unleased, grace_s, leader_grace_s
from registry.messages import MACHINES_AWAITED
from registry.mirror import Mirror
from registry.model import Machine, Sentinel
from registry.records import encode
from registry.sync.follow import ConnectionState, FollowUpdate
from scheduler.absence import Membership, OutageGrace
from scheduler.commit import Intent

log = logging.getLogger("fleet.scheduler")

TELL_S = 20.0  # longer than a leader's lease: how old a loss may be that a new leader still reports
WATCHED_LEASES = (Table.MACHINES, Table.DUPLICATES, Table.LEADER)


class MachineWatch:
    """The machines as this scheduler has seen them come and go, whether or not it leads."""

    def __init__(self, keys: Keys, lease_ttl_s: float, now: float) -> None:
        self.grace = OutageGrace(now)
        self.unleased = Unleased()
        self.holding: set[str] = set()  # machines that say that the registry's history went back
        self.awaited = False  # whether nothing is decided, since machines may be back any moment
        self._keys, self._lease_ttl_s = keys, lease_ttl_s
        self._membership = Membership()
        self._vanished: dict[str, float] = {}  # machines whose loss is not reported yet, and when they went

    def update(self, mirror: Mirror, update: FollowUpdate, now: float) -> None:
        """Notice what an update of the mirror says of machines."""
        self.grace.link(live=update.link is ConnectionState.LIVE, now=now)
        machines = [each.first for each in update.changed if each.table is Table.MACHINES]
        leased: Iterable[Address] = update.changed
        if update.reset:
            machines = list(mirror.snapshot().machines)
            self.grace.listed(machines, now)
            machines += self._membership.missing(machines)
            leased = mirror.addresses(*WATCHED_LEASES)
            self.unleased.keep({self._keys.at(each) for each in leased})
        for each in leased:
            if each.table in WATCHED_LEASES:
                record = mirror.row(each.table, each)
                ttl_s = record.ttl_s if isinstance(record, Machine) else TTL_S
                within_s = leader_grace_s(self._lease_ttl_s) if each.table is Table.LEADER else grace_s(ttl_s)
                key = self._keys.at(each)
                self.unleased.update(key, mirror.stamp(key), now, within_s)
        for machine in machines:
            stamp = mirror.stamp(self._keys.machine(machine))
            record = mirror.row(Table.MACHINES, Address(Table.MACHINES, machine))
            created, leaving = stamp.create_revision if stamp else None, bool(record and record.leaving)
            self.grace.machine(machine, created, leaving=leaving, now=now)
            self._vanished.pop(machine, None)
            self.holding.discard(machine)
            if isinstance(record, Machine) and record.held:
                self.holding.add(machine)
            if self._membership.update(machine, present=stamp is not None, leaving=leaving):
                self._vanished[machine] = now

    def awaits(self, absent: Callable[[], Sequence[str]], now: float) -> bool:
        """Whether machines with units, which `absent` finds, are absent and may be back any moment."""
        away = absent() if now < self.grace.until else ()
        waits = self.grace.waits(away, now)
        if waits and not self.awaited:
            text = "the registry was away or hung; giving %d machines time to come back"
            log.warning(text, len(away), extra=MACHINES_AWAITED.of())
        self.awaited = waits
        return waits

    def held_mark(self, mirror: Mirror) -> Intent | None:
        """Mark the sentinel for a machine whose agent says that the history went back, and may not mark it itself.

        So that those hold as well who cannot notice. What was said before the sentinel was last written is void:
        an operator may have accepted the history since. In vain, somebody else has written it, or we come again.
        """
        key = self._keys.cluster
        sentinel, known = mirror.row(Table.CLUSTER, Address(Table.CLUSTER)), mirror.stamp(key)
        if not isinstance(sentinel, Sentinel) or sentinel.held or known is None:
            return None
        for machine in sorted(self.holding):
            record = mirror.row(Table.MACHINES, Address(Table.MACHINES, machine))
            said = mirror.stamp(self._keys.machine(machine))
            if isinstance(record, Machine) and record.held and said and said.mod_revision > known.mod_revision:
                marked = encode(replace(sentinel, held=record.held))
                return Intent([Compare.mod(key, known.mod_revision)], [Op.put(key, marked)])
        return None

    def take_lost(self, now: float) -> Iterator[str]:
        """Yield each machine that vanished lately, once. An older loss was reported by the leader of that time.

        The leader may have died with the machine: then its successor, who saw it too, reports it.
        """
        while self._vanished:
            machine, at = self._vanished.popitem()
            if now - at <= TELL_S:
                yield machine
