"""CandidatePools of machines: how many are kept, and what one that was dropped says when it is asked for again."""

from __future__ import annotations

from placement.candidate_pools import KEPT, CandidatePools
from placement.eligibility import Site
from registry.units.options import FleetOptions


def asking(rack: int) -> FleetOptions:
    return FleetOptions(metadata=(("rack", frozenset({str(rack)})),))


def test_options_that_nobody_has_any_more_are_not_kept_for_ever() -> None:
    pools = CandidatePools()
    for number in range(3):
        pools.put(Site(f"m{number}", {"rack": str(number)}))
    for rack in range(KEPT * 2):
        pools.pool(asking(rack))
        pools.pool(asking(1))
    pools.end_decision()
    assert len(pools._pools) == KEPT
    kept, again = pools.pool(asking(1)), pools.pool(asking(0))
    assert kept.fits == {"m1"}
    assert again.fits == {"m0"}
    pools.remove("m0")
    assert again.fits == set()
