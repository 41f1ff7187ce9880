"""Where units are, kept from change to change, is what looking at everything again would find."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fleettui.actions.progress import FollowedPlaces
from registry.keys import Address, Table
from registry.lifecycle import whereabouts
from registry.mirror import Snapshot
from registry.model import Assignment, Target, UnitState
from registry.sync.follow import FollowUpdate

PAIRS = st.tuples(st.sampled_from(["m1", "m2", "m3"]), st.sampled_from(["a.service", "b.service"]))
WORLDS = st.tuples(st.dictionaries(PAIRS, st.integers(1, 2)), st.dictionaries(PAIRS, st.integers(1, 2)))


def snapshot_of(schedule: dict[tuple[str, str], int], states: dict[tuple[str, str], int]) -> Snapshot:
    return Snapshot(
        schedule={(m, u): Assignment(u, m, "h", Target.LAUNCHED, number) for (m, u), number in schedule.items()},
        states={(m, u): UnitState(u, m, "h", number) for (m, u), number in states.items()},
    )


@given(st.lists(WORLDS, min_size=2, max_size=6))
def test_what_is_kept_is_what_everything_says(
    worlds: list[tuple[dict[tuple[str, str], int], dict[tuple[str, str], int]]],
) -> None:
    places, before = FollowedPlaces(), Snapshot()
    for number, world in enumerate(worlds):
        now = snapshot_of(*world)
        changed = [
            Address(table, *pair)
            for table, old, new in (
                (Table.SCHEDULE, before.schedule, now.schedule),
                (Table.STATES, before.states, now.states),
            )
            for pair in sorted(old.keys() | new.keys())
            if old.get(pair) != new.get(pair)
        ]
        places.update(now, FollowUpdate(tuple(changed), reset=number == 0))
        whole, before = whereabouts(now), now
        for unit in ("a.service", "b.service"):
            assert places.where.schedule.get(unit, ()) == whole.schedule.get(unit, ())
            assert places.where.states.get(unit, ()) == whole.states.get(unit, ())
