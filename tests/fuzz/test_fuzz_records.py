"""Whatever the registry holds: records or corrupt ones, and no reader of either ends over it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from fleettui.cli.read import UnitExplanation
from fleettui.cli.rows import file_rows, machine_rows, unit_rows
from fleettui.console.pages.dependencies import dependencies_page
from fleettui.console.pages.detail import event_page
from fleettui.console.pages.file import file_page
from fleettui.console.pages.machine import drain_page, facts_page, metadata_page
from fleettui.console.pages.placement import placement_page
from fleettui.console.pages.rich_text import RichText, lines_of
from fleettui.console.tables import events, pending
from fleettui.console.tables.fleet import Clocks
from fleettui.console.tables.machines import COLUMNS as MACHINE_COLUMNS
from fleettui.console.tables.machines import MachineRows
from fleettui.console.tables.map import blocks, machine_labels, plan
from fleettui.console.tables.rows import Column
from fleettui.console.tables.units import COLUMNS as UNIT_COLUMNS
from fleettui.console.tables.units import UnitRows
from fleettui.console.text.subject import machine_subject, unit_subject
from placement.explain import explain
from placement.preview import preview_drain, preview_loss
from registry.errors import CorruptRecord
from registry.grammar import UNPRINTABLE
from registry.keys import Address, Keys, Table
from registry.lifecycle import standing, whereabouts
from registry.mirror import Mirror, RawChange, Snapshot
from registry.records import decode, encode
from tests.conftest import EXAMPLES
from tests.registry import wild

KEYS = Keys()
LARGE = settings(max_examples=max(EXAMPLES // 4, 1))  # a whole registry is much to make
NOW = 1_700_000_000.0
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
addresses = st.sampled_from(Table).map(
    lambda table: Address(table, *(["m", "a.service"] if table in wild.DOUBLE else ["a.service"]))
)


@given(addresses, st.binary() | st.sampled_from(wild.HOSTILE))
def test_any_bytes_are_a_record_or_a_corrupt_one(address: Address, value: bytes) -> None:
    with suppress(CorruptRecord):
        decode(address, value, "/fleet/x")


@given(st.sampled_from(Table).flatmap(wild.fields), st.sampled_from(Table))
def test_any_fields_are_a_record_that_can_be_written_or_a_corrupt_one(value: bytes, table: Table) -> None:
    if table is Table.FILES:
        return
    address = Address(table, *(["m", "a.service"] if table in wild.DOUBLE else ["a.service"]))
    try:
        record = decode(address, value, "/fleet/x")
    except CorruptRecord as error:
        assert re.fullmatch("[ -~]{1,500}", str(error))  # noqa: PT017 - either outcome is right
        return
    assert decode(address, encode(record)) == record


@given(st.text() | st.sampled_from([key for table in Table for key in wild.strays(table)]))
@example("/fleet/units/\udcff.service")
def test_any_key_is_an_address_a_stray_or_not_ours(key: str) -> None:
    address = KEYS.parse(key)
    if address is not None:
        assert KEYS.stray(key) is None
        assert KEYS.table(address.table) in f"{key}/"


@LARGE
@given(st.lists(st.lists(wild.changes(), max_size=5), max_size=5))
def test_folding_any_changes_shows_what_listing_afresh_shows(steps: list[list[RawChange]]) -> None:
    folded = Mirror(KEYS)
    last: dict[str, RawChange] = {}
    for step in steps:
        folded.apply(step)
        folded.snapshot()
        last |= {change.key: change for change in step}
    fresh = Mirror(KEYS)
    fresh.reset(change for change in last.values() if change.value is not None)
    assert folded.snapshot() == fresh.snapshot()


@LARGE
@given(st.lists(wild.changes(), max_size=25))
def test_what_is_wrong_is_shown_and_hides_nothing(changes: list[RawChange]) -> None:
    mirror = Mirror(KEYS)
    mirror.apply(changes)
    shown = mirror.snapshot()
    for key in {change.key for change in changes}:
        value = [change.value for change in changes if change.key == key][-1]
        address = KEYS.parse(key)
        found = address is not None and mirror.row(address.table, address) is not None
        ours = address is not None or KEYS.stray(key) is not None
        assert found + (key in shown.corrupt) == (ours and value is not None)


@LARGE
@given(wild.snapshots())
def test_lists_and_explanations_are_told_of_any_registry(snapshot: Snapshot) -> None:
    where = whereabouts(snapshot)
    for name in (*wild.NAMES, "none.service"):
        standing(snapshot, name, where)
        explain(snapshot, name, KEYS)
    for name in snapshot.units:
        explanation = UnitExplanation.of(snapshot, name, KEYS)
        assert "\ud800" not in "\n".join(explanation.lines(snapshot))
        explanation.record()
    for machine in wild.IDS:
        preview_drain(snapshot, (machine,), KEYS)
        preview_loss(snapshot, machine, wild.NAMES[0], KEYS)
    for full in (False, True):
        for rows in (
            machine_rows(snapshot, full=full),
            unit_rows(snapshot, full=full),
            file_rows(snapshot, full=full),
        ):
            for row in rows:
                "".join(row.cells.values()).encode()


def draw(columns: Iterable[Column[Any]], rows: Iterable[Any]) -> None:
    """Everything that a table asks of its columns and rows."""
    listed = list(rows)
    for column in columns:
        sorted(listed, key=column.order)
        for row in listed:
            for now in (0.0, NOW, 4e9):
                assert not UNPRINTABLE.search(column.cell(row, now).text)
            if column.longest:
                column.longest(row)
            assert row.search.encode() is not None


@LARGE
@given(wild.snapshots())
def test_the_console_draws_any_registry(snapshot: Snapshot) -> None:
    units, machines, happened, waiting = UnitRows(), MachineRows(KEYS), events.EventRows(), pending.PendingRows()
    draw(UNIT_COLUMNS, units.update(snapshot).changed.values())
    draw(MACHINE_COLUMNS, machines.update(snapshot, None, NOW).changed.values())
    draw(events.COLUMNS, happened.update(snapshot).changed.values())
    draw(pending.COLUMNS, waiting.update(snapshot).changed.values())
    plan(blocks(units.every(), machine_labels(snapshot, {})), 80, 24)
    clocks = Clocks()
    clocks.update(snapshot, [Address(Table.EVENTS, each) for each in snapshot.events], NOW)
    assert not UNPRINTABLE.search(clocks.status_text())


def printed(page: RichText) -> None:
    for line in lines_of(page):
        for cell in line:
            assert not UNPRINTABLE.search(cell.text)


@LARGE
@given(wild.snapshots())
def test_the_pages_of_any_unit_and_machine_are_written(snapshot: Snapshot) -> None:
    for name in (*wild.NAMES, "none.service"):
        printed(placement_page(snapshot, name, NOW, KEYS))
        printed(dependencies_page(snapshot, name))
        printed(event_page(snapshot, unit_subject(name), NOW))
        for older in (0, 1):
            printed(file_page(snapshot, name, NOW, older))
    for machine in wild.IDS:
        printed(facts_page(snapshot, machine, NOW))
        printed(metadata_page(snapshot, machine, NOW))
        printed(drain_page(snapshot, machine, KEYS))
        printed(event_page(snapshot, machine_subject(machine), NOW))
