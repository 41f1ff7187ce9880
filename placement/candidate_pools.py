"""Machines in order of preference, for each way to choose among them.

Owns the pools: one for each pair of MachineID and MachineMetadata that some unit asks for, with the machines that
fit it, what the others object, and a heap by number of units. Heaps live for one decision; between decisions
counts may change freely. It must not know units by name.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Container, Mapping

from placement.eligibility import (
    Objection,
    Site,
    SiteGroup,
    fits,
    group_of,
    preference,
    rank,
    static_objections,
)
from registry.units.options import FleetOptions

KEPT = 500  # pools, between decisions: each is kept in step with every machine, and is made again when asked for

PoolKey = tuple[str | None, tuple[tuple[str, frozenset[str]], ...], bool]
Heap = list[tuple[int, str]]


class CandidatePool:
    """The machines that satisfy one MachineID and MachineMetadata, whether or not they are open."""

    def __init__(self, options: FleetOptions, sites: Mapping[str, Site]) -> None:
        self.options = options
        self.fits: set[str] = set()
        self._objections: dict[str, Objection] = {}
        self.heap: Heap | None = None
        self.grouped: list[tuple[FleetOptions, dict[SiteGroup, Heap]]] = []
        for site in sites.values():
            self.update(site)

    def update(self, site: Site) -> None:
        """Note a machine that is new or has changed."""
        self._objections.pop(site.id, None)
        if fits(self.options, site):
            self.fits.add(site.id)
        else:
            self.fits.discard(site.id)

    def remove(self, machine: str) -> None:
        """Note that a machine is gone."""
        self._objections.pop(machine, None)
        self.fits.discard(machine)

    def objections(self, sites: Mapping[str, Site]) -> dict[str, Objection]:
        """Return the first thing that each machine which does not fit has against it."""
        for machine, site in sites.items():
            if machine not in self.fits and machine not in self._objections:
                self._objections[machine] = static_objections(self.options, site)[0]
        return dict(self._objections)


class CandidatePools:
    """All pools over one set of machines, and how many units each machine has."""

    def __init__(self) -> None:
        self.sites: dict[str, Site] = {}
        self.counts: Counter[str] = Counter()
        self._pools: dict[PoolKey, CandidatePool] = {}
        self._heaped: list[CandidatePool] = []

    def pool(self, options: FleetOptions) -> CandidatePool:
        """Return the pool for these options, made when it is asked for."""
        key = (options.machine_id, options.metadata, options.quadlet)
        found = self._pools.pop(key, None) or CandidatePool(options, self.sites)
        self._pools[key] = found  # the last one of all
        return found

    def put(self, site: Site) -> None:
        """Note a machine that is new or has changed."""
        self.sites[site.id] = site
        for pool in self._pools.values():
            pool.update(site)

    def remove(self, machine: str) -> None:
        """Note that a machine is gone."""
        del self.sites[machine]
        for pool in self._pools.values():
            pool.remove(machine)

    def count(self, machine: str, change: int) -> None:
        """Count so many more units on a machine."""
        self.counts[machine] += change
        if change > 0 or not self._heaped:
            return  # a heap finds out by itself that a machine has more units than it thought
        site = self.sites.get(machine)
        for pool in self._heaped if site and site.open else ():
            if machine in pool.fits:
                now = preference(self.counts[machine], machine)
                if pool.heap is not None:
                    heapq.heappush(pool.heap, now)
                for options, heaps in pool.grouped:
                    heapq.heappush(heaps[group_of(options, self.sites[machine])], now)

    def end_decision(self) -> None:
        """Forget all heaps: from now on machines may come, go, and change. Pools not asked for lately go, too."""
        for pool in self._heaped:
            pool.heap = None
            pool.grouped.clear()
        self._heaped.clear()
        for key in list(self._pools)[: max(0, len(self._pools) - KEPT)]:
            del self._pools[key]

    def first(self, pool: CandidatePool, blocked: Container[str]) -> str | None:
        """Return the preferred open machine of the pool outside `blocked`."""
        if pool.heap is None:
            open_ones = (machine for machine in pool.fits if self.sites[machine].open)
            pool.heap = [preference(self.counts[machine], machine) for machine in open_ones]
            heapq.heapify(pool.heap)
            self._heaped.append(pool)
        return self._first(pool.heap, blocked)

    def first_by_groups(
        self, options: FleetOptions, blocked: Container[str], load: Mapping[str, int]
    ) -> str | None:
        """Return the preferred open machine outside `blocked`, by SpreadOver and PreferMetadata.

        `load`: the instances of the unit's template by the value that is spread over.
        """
        heaps = self._groups(options)
        ranks: dict[tuple[bool, int, int], list[Heap]] = defaultdict(list)
        for group, heap in heaps.items():
            ranks[rank(group, load)].append(heap)
        for each in sorted(ranks):
            found = (self._first(heap, blocked) for heap in ranks[each])
            if machines := [machine for machine in found if machine is not None]:
                return min(machines, key=lambda machine: preference(self.counts[machine], machine))
        return None

    def _groups(self, options: FleetOptions) -> dict[SiteGroup, Heap]:
        pool = self.pool(options)
        for known, heaps in pool.grouped:
            if (known.spread, known.prefer) == (options.spread, options.prefer):
                return heaps
        heaps = defaultdict(list)
        for machine in pool.fits:
            if (site := self.sites[machine]).open:
                heaps[group_of(options, site)].append(preference(self.counts[machine], machine))
        for heap in heaps.values():
            heapq.heapify(heap)
        pool.grouped.append((options, heaps))
        self._heaped.append(pool)
        return heaps

    def _first(self, heap: Heap, blocked: Container[str]) -> str | None:
        aside: list[tuple[int, str]] = []
        found = None
        while heap and found is None:
            units, machine = heap[0]
            now = self.counts[machine]
            if units < now:
                heapq.heapreplace(heap, preference(now, machine))
            elif units > now:
                heapq.heappop(heap)  # an entry with the lower count is in the heap, too
            elif machine in blocked:
                aside.append(heapq.heappop(heap))
            else:
                found = machine
        for entry in aside:
            heapq.heappush(heap, entry)
        return found
