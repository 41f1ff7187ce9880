"""What makes a machine that takes a unit the preferred one, in a cluster state: even spread, wishes met.

Owns what the order of `eligibility` needs to know of other units, and what is said of it. It must not change the
state.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from placement.cluster_state import ClusterState
from placement.eligibility import Site
from placement.unit_entry import UnitEntry


def load_of(state: ClusterState, entry: UnitEntry) -> Counter[str]:
    """Count the instances of the unit's template, itself included, by the value that their machine has."""
    found: Counter[str] = Counter()
    for name in state.instances.get(entry.family, ()):
        for machine in state.entries[name].assigned:
            site = state.sites.get(machine)
            value = site.metadata.get(entry.options.spread) if site is not None and not site.leaving else None
            if value is not None:
                found[value] += 1
    return found


def notes(state: ClusterState, entry: UnitEntry, site: Site) -> Iterator[str]:
    """Yield what speaks for a machine, or against it, among those that take the unit."""
    options = entry.options
    value = site.metadata.get(options.spread) if options.spread else None
    if value is not None:
        yield f"{options.spread}={value} has {load_of(state, entry)[value]} of {entry.family} (SpreadOver)"
    elif options.spread:
        yield f"it has no {options.spread}, so that others come first (SpreadOver)"
    if site.id == entry.home and site.id not in entry.assigned:
        yield "it was here last, so that this one comes first (Sticky)"
    if failed := entry.failed_on.get(site.id):
        yield f"{failed.reason}, so that others come first (MoveAfterFailures)"
    for key, values in options.prefer:
        met = "has" if site.metadata.get(key) in values else "lacks"
        yield f"{met} {key}={'|'.join(sorted(values))} (PreferMetadata)"
