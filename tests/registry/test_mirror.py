"""Folding changes gives the same snapshot as listing afresh, and shares what did not change."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from registry.keys import Address, Keys, Table
from registry.mirror import Mirror, RawChange
from registry.model import Assignment, Target, Unit
from registry.records import encode

KEYS = Keys()
HASH = "0" * 64
NAMES = ("a.service", "b.service", "c.service")


def unit(name: str, target: Target = Target.LAUNCHED) -> RawChange:
    return RawChange(KEYS.unit(name), encode(Unit(name, HASH, target)), 1, 2, 0)


def line(machine: str, name: str) -> RawChange:
    return RawChange(
        KEYS.schedule(machine, name), encode(Assignment(name, machine, HASH, Target.LOADED, 1)), 3, 4, 0
    )


changes = st.lists(
    st.one_of(
        st.builds(unit, st.sampled_from(NAMES), st.sampled_from(Target)),
        st.builds(line, st.sampled_from("mn"), st.sampled_from(NAMES)),
        st.builds(lambda name: RawChange(KEYS.unit(name), None), st.sampled_from(NAMES)),
        st.builds(lambda name: RawChange(KEYS.schedule("m", name), None), st.sampled_from(NAMES)),
        st.builds(lambda name: RawChange(KEYS.unit(name), b"garbage", 1, 2, 0), st.sampled_from(NAMES)),
        st.builds(lambda value: RawChange(KEYS.unit("\udcff"), value, 1, 2, 0), st.sampled_from([b"{}", None])),
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
    mirror.apply([unit("a.service"), line("m", "a.service")], 5)
    before = mirror.snapshot()
    mirror.apply([unit("b.service")], 6)
    after = mirror.snapshot()
    assert set(before.units) == {"a.service"}
    assert set(after.units) == {"a.service", "b.service"}
    assert after.schedule is before.schedule
    assert (before.revision, after.revision) == (5, 6)


def test_a_corrupt_value_is_named_and_heals() -> None:
    mirror = Mirror(KEYS)
    mirror.apply([unit("a.service"), RawChange(KEYS.unit("a.service"), b"\xff", 1, 2, 0)], 1)
    broken = mirror.snapshot()
    assert "a.service" not in broken.units
    assert broken.corrupt[KEYS.unit("a.service")].key == KEYS.unit("a.service")
    mirror.apply([unit("a.service")], 2)
    assert not mirror.snapshot().corrupt
    assert "a.service" in mirror.snapshot().units


def test_changed_addresses_and_stamps_are_told() -> None:
    mirror = Mirror(KEYS, [Table.SCHEDULE])
    changed = mirror.apply([unit("a.service"), line("m", "a.service"), RawChange("/elsewhere", b"")], 1)
    assert changed == [Address(Table.SCHEDULE, "m", "a.service")]
    stamp = mirror.stamp(KEYS.schedule("m", "a.service"))
    assert stamp is not None
    assert stamp.mod_revision == 4
    assert mirror.stamp(KEYS.unit("a.service")) is None
    mirror.apply([RawChange(KEYS.schedule("m", "a.service"), None)], 2)
    assert mirror.stamp(KEYS.schedule("m", "a.service")) is None


def test_a_listing_that_is_being_read_is_not_seen_until_it_is_adopted() -> None:
    mirror = Mirror(KEYS)
    mirror.apply([unit("old.service")], 5)
    listing = mirror.listing()
    listing.add([unit("a.service")])
    assert set(mirror.snapshot().units) == {"old.service"}
    listing.add([unit("b.service"), RawChange(KEYS.unit("c.service"), b"garbage", 1, 2, 0)])
    mirror.adopt(listing, 9)
    after = mirror.snapshot()
    assert (set(after.units), after.revision) == ({"a.service", "b.service"}, 9)
    assert set(after.corrupt) == {KEYS.unit("c.service")}
    assert mirror.stamp(KEYS.unit("old.service")) is None


def test_a_key_that_no_record_can_have_is_shown_as_corrupt_and_is_in_no_table() -> None:
    mirror = Mirror(KEYS)
    stray = KEYS.schedule("m", "\udcff")
    assert mirror.apply([RawChange(stray, b"{}", 1, 2, 0), unit("a.service")], 1) == [
        Address(Table.UNITS, "a.service")
    ]
    shown = mirror.snapshot()
    assert list(shown.corrupt) == [stray]
    assert not shown.schedule
    mirror.apply([RawChange(stray, None)], 2)
    assert not mirror.snapshot().corrupt


def test_corrupt_records_are_not_looked_at_again_for_each_change() -> None:
    mirror = Mirror(KEYS)
    mirror.apply([RawChange(KEYS.unit(f"u{number}.service"), b"{", 1, 2, 0) for number in range(100)], 1)
    corrupt = mirror.snapshot().corrupt
    mirror.apply([line("m", "a.service")], 2)
    assert mirror.snapshot().corrupt is corrupt
