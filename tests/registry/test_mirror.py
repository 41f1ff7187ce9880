"""Folding changes gives the same snapshot as listing afresh, and shares what did not change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.keys import Address, Keys, Table
from registry.mirror import Mirror, RawChange
from registry.model import Assignment, Target, Unit
from registry.records import encode

KEYS = Keys()


def unit(name: str, target: Target = Target.LAUNCHED) -> RawChange:
    return RawChange(KEYS.unit(name), encode(Unit(name, "h", target)), 1, 2, 0)


def line(machine: str, name: str) -> RawChange:
    return RawChange(
        KEYS.schedule(machine, name), encode(Assignment(name, machine, "h", Target.LOADED, 1)), 3, 4, 0
    )


changes = st.lists(
    st.one_of(
        st.builds(unit, st.sampled_from("abc"), st.sampled_from(Target)),
        st.builds(line, st.sampled_from("mn"), st.sampled_from("abc")),
        st.builds(lambda name: RawChange(KEYS.unit(name), None), st.sampled_from("abc")),
        st.builds(lambda name: RawChange(KEYS.schedule("m", name), None), st.sampled_from("abc")),
        st.builds(lambda name: RawChange(KEYS.unit(name), b"garbage", 1, 2, 0), st.sampled_from("abc")),
    )
)


@given(changes, st.integers(0, 5))
def test_folding_equals_listing_afresh(stream: list[RawChange], every: int) -> None:
    mirror = Mirror(KEYS)
    for index, change in enumerate(stream):
        mirror.apply([change], index)
        if every and index % every == 0:
            mirror.snapshot()
    last = {change.key: change for change in stream}
    fresh = Mirror(KEYS)
    fresh.reset([change for change in last.values() if change.value is not None], len(stream) - 1 if stream else 0)
    assert mirror.snapshot() == fresh.snapshot()


def test_a_snapshot_never_changes_and_shares_untouched_tables() -> None:
    mirror = Mirror(KEYS)
    mirror.apply([unit("a"), line("m", "a")], 5)
    before = mirror.snapshot()
    mirror.apply([unit("b")], 6)
    after = mirror.snapshot()
    assert set(before.units) == {"a"}
    assert set(after.units) == {"a", "b"}
    assert after.schedule is before.schedule
    assert (before.revision, after.revision) == (5, 6)


def test_a_corrupt_value_is_named_and_heals() -> None:
    mirror = Mirror(KEYS)
    mirror.apply([unit("a"), RawChange(KEYS.unit("a"), b"\xff", 1, 2, 0)], 1)
    broken = mirror.snapshot()
    assert "a" not in broken.units
    assert broken.corrupt[KEYS.unit("a")].key == KEYS.unit("a")
    mirror.apply([unit("a")], 2)
    assert not mirror.snapshot().corrupt
    assert "a" in mirror.snapshot().units


def test_changed_addresses_and_stamps_are_told() -> None:
    mirror = Mirror(KEYS, [Table.SCHEDULE])
    changed = mirror.apply([unit("a"), line("m", "a"), RawChange("/elsewhere", b"")], 1)
    assert changed == [Address(Table.SCHEDULE, "m", "a")]
    stamp = mirror.stamp(KEYS.schedule("m", "a"))
    assert stamp is not None
    assert stamp.mod_revision == 4
    assert mirror.stamp(KEYS.unit("a")) is None
    mirror.apply([RawChange(KEYS.schedule("m", "a"), None)], 2)
    assert mirror.stamp(KEYS.schedule("m", "a")) is None


def test_a_listing_that_is_being_read_is_not_seen_until_it_is_adopted() -> None:
    mirror = Mirror(KEYS)
    mirror.apply([unit("old")], 5)
    listing = mirror.listing()
    listing.fold([unit("a")])
    assert set(mirror.snapshot().units) == {"old"}
    listing.fold([unit("b"), RawChange(KEYS.unit("c"), b"garbage", 1, 2, 0)])
    mirror.adopt(listing, 9)
    after = mirror.snapshot()
    assert (set(after.units), after.revision) == ({"a", "b"}, 9)
    assert set(after.corrupt) == {KEYS.unit("c")}
    assert mirror.stamp(KEYS.unit("old")) is None
