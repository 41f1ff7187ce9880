"""Machines that are absent: whether that is to be believed, reported, and cleaned up after. Pure.

Times are of one monotonic clock, in seconds, and are passed in.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from registry.etcd.backoff import LONGEST_S
from registry.mirror import Snapshot

ABSENCE_S = 600.0  # how long a machine must be away before its schedule records of global units go
GRACE_S = 6.0
"""How long agents get to come back: a keepalive's time-out, a short pause, and a new registration, twice over."""


class OutageGrace:
    """Tells a machine's death from an outage of the registry itself.

    When etcd hangs longer than the machines' leases, all of them end together, and the machines come back one by
    one as soon as it answers again. Nothing has died, so nothing may move. A machine's absence is therefore not
    believed for a while after the registry came back, nor after a good part of all machines changed at once. The
    longer the registry was away, the rarer agents try it, and the longer they get.

    `away_since` is since when the registry has been tried in vain.
    """

    def __init__(self, away_since: float) -> None:
        self.until = 0.0
        self._live = False
        self._away_since = away_since
        self._known: dict[str, tuple[int, bool]] = {}  # create revision of its key, whether it said good-bye
        self._lost: dict[str, float] = {}  # machines whose key ended unannounced, and when

    def link(self, *, live: bool, now: float) -> None:
        """Note whether the registry answers; its return begins the wait, and ends none that lasts longer.

        An agent pauses no longer than it has tried, and never longer than LONGEST_S.
        """
        if live and not self._live:
            self.until = max(self.until, now + GRACE_S + min(now - self._away_since, LONGEST_S))
        elif self._live and not live:
            self._away_since = now
        self._live = live

    def machine(self, machine: str, created: int | None, *, leaving: bool, now: float) -> None:
        """Note a machine's key: its create revision (None: gone) and whether the machine is leaving in order.

        Two or more keys that ended unannounced within the grace, and are half of all, begin the wait; a key that
        was made again has ended too.
        """
        known = self._known.pop(machine, None)
        if created is not None:
            self._known[machine] = (created, leaving)
        if known is None or known[1] or known[0] == created:
            return
        self._lost = {each: at for each, at in self._lost.items() if now - at < GRACE_S}
        again = machine in self._lost
        self._lost[machine] = now
        if not again and len(self._lost) >= max(2, len(self._known | self._lost) / 2):
            self.until = max(self.until, now + GRACE_S)

    def listed(self, present: Iterable[str], now: float) -> None:
        """Note a full listing: what was known and is not `present` has ended."""
        for machine in self._known.keys() - set(present):
            self.machine(machine, None, leaving=False, now=now)

    def waits(self, absent: Iterable[str], now: float) -> bool:
        """Whether `absent` machines, which have units, may yet come back."""
        return now < self.until and any(True for _ in absent)


class Membership:
    """The machines as last seen, so that one that vanishes without a good-bye is reported once.

    The registry forgets a dead machine with its lease; the event that the leader writes is what is left of it.
    """

    def __init__(self) -> None:
        self._leaving: dict[str, bool] = {}

    def update(self, machine: str, *, present: bool, leaving: bool = False) -> bool:
        """Note a machine's state; True when it has just vanished without having said that it leaves."""
        if present:
            self._leaving[machine] = leaving
            return False
        return self._leaving.pop(machine, True) is False

    def missing(self, present: Collection[str]) -> list[str]:
        """Return the known machines that a full listing does not have."""
        return [machine for machine in self._leaving if machine not in present]


class Absence:
    """Since when each machine that the schedule names has been away, on the leader's monotonic clock."""

    def __init__(self) -> None:
        self._since: dict[str, float] = {}

    def long_gone(self, snapshot: Snapshot, now: float) -> set[str]:
        """Look at a snapshot; return the machines that were away at every look for ABSENCE_S."""
        named = {machine for machine, _ in snapshot.schedule}
        corrupt = {key.rpartition("/")[2] for key in snapshot.corrupt}
        away = named - snapshot.machines.keys() - corrupt
        self._since = {machine: self._since.get(machine, now) for machine in away}
        return {machine for machine, since in self._since.items() if now - since >= ABSENCE_S}
