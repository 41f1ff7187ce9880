"""Keys are built and taken apart at one place, and the two agree."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.keys import Address, Keys, Table

names = st.from_regex(r"[A-Za-z0-9:_.@\\-]{1,40}", fullmatch=True)


@given(names, names, st.sampled_from(["/fleet/", "/a/b/", "/"]))
def test_a_built_key_parses_to_what_it_was_built_from(first: str, second: str, prefix: str) -> None:
    keys = Keys.under(prefix)
    built = {
        keys.cluster: Address(Table.CLUSTER),
        keys.leader: Address(Table.LEADER),
        keys.file(first): Address(Table.FILES, first),
        keys.unit(first): Address(Table.UNITS, first),
        keys.schedule(first, second): Address(Table.SCHEDULE, first, second),
        keys.pending(first): Address(Table.PENDING, first),
        keys.machine(first): Address(Table.MACHINES, first),
        keys.override(first): Address(Table.OVERRIDES, first),
        keys.state(first, second): Address(Table.STATES, first, second),
        keys.duplicate(first, second): Address(Table.DUPLICATES, first, second),
        keys.event(first): Address(Table.EVENTS, first),
        keys.usage(first): Address(Table.USAGE, first),
    }
    assert {key: keys.parse(key) for key in built} == built


@pytest.mark.parametrize(
    "key",
    ["/other/units/a", "/fleet/", "/fleet/units/", "/fleet/units", "/fleet/units/a/b", "/fleet/schedule/m",
     "/fleet/schedule/m/", "/fleet/cluster/x", "/fleet/unknown/a", "", "/fleet/schedule//a"],
)  # fmt: skip
def test_a_foreign_key_is_none(key: str) -> None:
    assert Keys().parse(key) is None


@pytest.mark.parametrize("prefix", ["fleet", "/fleet", "fleet/", "/fleet/", "//fleet//"])
def test_slashes_around_a_prefix_do_not_matter(prefix: str) -> None:
    assert Keys.under(prefix) == Keys()
