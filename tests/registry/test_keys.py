"""Keys are built and taken apart at one place, and the two agree."""

from __future__ import annotations

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.keys import Address, Keys, Table

units = st.from_regex(r"[A-Za-z0-9:_.@\\-]{1,40}\.service", fullmatch=True).filter(lambda each: each[0] != "@")
ids = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,40}", fullmatch=True)
hashes = st.binary(max_size=8).map(lambda data: sha256(data).hexdigest())


@given(units, ids, hashes, st.sampled_from(["/fleet/", "/a/b/", "/"]))
def test_a_built_key_parses_to_what_it_was_built_from(unit: str, name: str, sha: str, prefix: str) -> None:
    keys = Keys.under(prefix)
    built = {
        keys.cluster: Address(Table.CLUSTER),
        keys.leader: Address(Table.LEADER),
        keys.file(sha): Address(Table.FILES, sha),
        keys.unit(unit): Address(Table.UNITS, unit),
        keys.schedule(name, unit): Address(Table.SCHEDULE, name, unit),
        keys.pending(unit): Address(Table.PENDING, unit),
        keys.machine(name): Address(Table.MACHINES, name),
        keys.override(name): Address(Table.OVERRIDES, name),
        keys.state(name, unit): Address(Table.STATES, name, unit),
        keys.duplicate(name, name): Address(Table.DUPLICATES, name, name),
        keys.event("root@laptop", name): Address(Table.EVENTS, name, "root@laptop"),
        keys.usage(name): Address(Table.USAGE, name),
        keys.crash(name, f"1790000000000-{unit}"): Address(Table.CRASHES, name, f"1790000000000-{unit}"),
    }
    assert {key: keys.parse(key) for key in built} == built


@pytest.mark.parametrize(
    "key",
    ["/other/units/a", "/fleet/", "/fleet/units/", "/fleet/units", "/fleet/units/a/b", "/fleet/schedule/m",
     "/fleet/schedule/m/", "/fleet/cluster/x", "/fleet/unknown/a", "", "/fleet/schedule//a", "/fleet/units/a",
     "/fleet/units/a.service\n", "/fleet/units/\udcff.service", "/fleet/schedule/../a.service",
     "/fleet/machines/-m", "/fleet/machines/m\x1b", f"/fleet/files/{'A' * 64}", f"/fleet/files/{'0' * 63}",
     "/fleet/states/m/a.service/x",
     "/fleet/duplicates/m/é", f"/fleet/units/{'a' * 300}.service", "/fleet/events/a/\u202e",
     "/fleet/crashes/m/a.service", "/fleet/crashes/m/1-a.service", "/fleet/crashes/m/1790000000000-a"],
)  # fmt: skip
def test_a_foreign_key_is_none(key: str) -> None:
    assert Keys().parse(key) is None


@pytest.mark.parametrize(
    ("key", "table"),
    [
        ("/fleet/units/a", Table.UNITS),
        ("/fleet/units/", Table.UNITS),
        ("/fleet/units/\udcff.service", Table.UNITS),
        ("/fleet/schedule/m", Table.SCHEDULE),
        ("/fleet/states/m/a.service/x", Table.STATES),
        ("/fleet/files/no-hash", Table.FILES),
        ("/fleet/events/a/ ", Table.EVENTS),
        ("/fleet/events/a/b/c", Table.EVENTS),
        ("/fleet/events/0000000000000-1", None),  # as an older version has it
        ("/fleet/units", None),
        ("/fleet/units/a.service", None),
        ("/other/units/a", None),
    ],
)
def test_a_key_that_no_record_can_have_is_told_from_one_that_is_not_ours(key: str, table: Table | None) -> None:
    assert Keys().stray(key) is table


@pytest.mark.parametrize("prefix", ["fleet", "/fleet", "fleet/", "/fleet/", "//fleet//"])
def test_slashes_around_a_prefix_do_not_matter(prefix: str) -> None:
    assert Keys.under(prefix) == Keys()
