"""Machines: what they use, how far a drain is, and who is missing, for how long and with what."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleettui.console.tables.fleet import FleetModel, Reading
from fleettui.console.tables.machines import (
    COLUMNS,
    LEFT_S,
    MachineRow,
    MachineRows,
    fullness,
    machine_rows,
    room_bar,
)
from registry.keys import Address, Keys, Table
from registry.mirror import Snapshot
from registry.model import Availability, Corrupt, Duplicate, Event, Override, Target, Usage
from registry.sync.follow import ConnectionState
from tests.console.fleetshow import CORES, NOW, PLAIN, build, machine, scene


def cells(row: MachineRow, now: float = NOW) -> dict[str, str]:
    return {column.id: column.cell(row, now).text for column in COLUMNS}


def without(snapshot: Snapshot, number: int, *, lines: bool = False) -> Snapshot:
    """The snapshot after a machine's lease ended: its key and states are gone; `lines`: its schedule is not."""
    gone = CORES[number]
    machines = {key: each for key, each in snapshot.machines.items() if key != gone}
    states = {pair: each for pair, each in snapshot.states.items() if pair[0] != gone}
    schedule = {pair: each for pair, each in snapshot.schedule.items() if lines or pair[0] != gone}
    return replace(snapshot, machines=machines, states=states, schedule=schedule)


def test_load_and_memory_are_shown_where_reported_and_a_dash_where_not() -> None:
    usage = {CORES[1]: Usage(CORES[1], NOW, (0.52, 0.4, 0.3), 8 << 30, 5 << 30)}
    rows = machine_rows(replace(scene(), usage=usage), NOW)
    assert (cells(rows[CORES[1]])["load"], cells(rows[CORES[1]])["memory"]) == ("0.52", "3.0 G of 8.0 G")
    assert (cells(rows[CORES[2]])["load"], cells(rows[CORES[2]])["memory"]) == ("-", "- of 8.0 G")


def test_units_are_running_of_scheduled() -> None:
    assert cells(machine_rows(scene())[CORES[2]])["units"] == "2 of 4"


def test_a_machine_that_vanished_stays_as_lost_with_its_age_and_what_it_held() -> None:
    rows = MachineRows()
    rows.update(scene(), None, NOW)
    row = rows.update(without(scene(), 1), None, NOW + 5).changed[CORES[1]]
    assert row.state == "lost"
    assert (row.hostname, cells(row, NOW + 65)["state"]) == ("core-1", "✖ lost 60 s")
    assert "it held cache.service, exporter.service, report.timer and 1 more" in row.note
    assert rows.known() == 3


def test_units_on_a_machine_that_vanished_name_it_as_the_table_of_machines_does() -> None:
    """A global unit keeps its line there, for when the machine is back."""
    fleet = FleetModel(Keys())
    fleet.apply(Reading(scene(), None, ConnectionState.LIVE), NOW)
    units = fleet.apply(Reading(without(scene(), 1, lines=True), None, ConnectionState.LIVE), NOW + 5).units.changed
    assert units[f"exporter.service {CORES[1]}"].host == fleet.machines.rows[CORES[1]].hostname == "core-1"


def test_the_machine_is_ready_again_once_it_is_back() -> None:
    rows = MachineRows()
    rows.update(scene(), None, NOW)
    rows.update(without(scene(), 1), frozenset({Address(Table.MACHINES, CORES[1])}), NOW + 5)
    back = frozenset({Address(Table.MACHINES, CORES[1])})
    assert rows.update(scene(), back, NOW + 9).changed[CORES[1]].state == "ready"


def test_changes_and_a_full_look_agree_on_the_counts() -> None:
    rows = MachineRows()
    rows.update(scene(), None, NOW)
    less = {pair: each for pair, each in scene().states.items() if pair != (CORES[1], "cache.service")}
    snapshot = replace(scene(), states=less)
    changed = rows.update(snapshot, frozenset({Address(Table.STATES, CORES[1], "cache.service")}), NOW).changed
    assert changed[CORES[1]] == machine_rows(snapshot, NOW)[CORES[1]]


def test_a_usage_report_touches_its_machine_only() -> None:
    rows = MachineRows()
    rows.update(scene(), None, NOW)
    usage = {CORES[n]: Usage(CORES[n], NOW, (1.0, 1.0, 1.0), 8 << 30, 5 << 30) for n in (1, 2)}
    changed = rows.update(replace(scene(), usage=usage), frozenset({Address(Table.USAGE, CORES[1])}), NOW).changed
    assert changed.keys() == {CORES[1]}


def test_a_machine_that_said_good_bye_has_left_and_fades() -> None:
    rows = MachineRows()
    leaving = replace(scene(), machines={**scene().machines, CORES[1]: replace(machine(1), leaving=True)})
    assert rows.update(leaving, None, NOW).changed[CORES[1]].state == "leaving"
    assert rows.update(without(scene(), 1), None, NOW + 1).changed[CORES[1]].state == "left"
    assert rows.known() == 2, "nobody misses it"
    assert CORES[1] in rows.update(without(scene(), 1), frozenset(), NOW + LEFT_S + 2).removed


@pytest.mark.parametrize(
    ("verb", "state", "shown"), [("lost", "lost", "✖ lost 2 min"), ("leave", "left", "○ left 2 min")]
)
def test_of_machines_gone_before_it_came_the_events_tell(verb: str, state: str, shown: str) -> None:
    told = [("join", NOW - 900, "core-9 at 10.0.0.9"), (verb, NOW - 120, "")]
    events = {f"{n}": Event(f"{n}", at, "agent", each, "", "f" * 32, why) for n, (each, at, why) in enumerate(told)}
    row = machine_rows(replace(scene(), events=events), NOW)["f" * 32]
    assert (row.state, row.hostname, row.address, cells(row)["state"]) == (state, "core-9", "10.0.0.9", shown)


def test_without_any_word_of_when_no_age_is_shown() -> None:
    row = machine_rows(without(scene(), 1, lines=True), NOW)[CORES[1]]
    assert cells(row)["state"] == "✖ lost"
    assert "4 units still scheduled there" in row.note


def test_a_forgotten_machine_is_gone_until_it_is_back() -> None:
    rows = MachineRows()
    rows.update(scene(), None, NOW)
    rows.update(without(scene(), 1), None, NOW)
    rows.forget(CORES[1])
    assert CORES[1] in rows.update(without(scene(), 1), frozenset(), NOW).removed
    assert rows.update(scene(), None, NOW).changed[CORES[1]].state == "ready"


def test_a_machine_whose_name_nobody_knows_goes_by_its_id() -> None:
    corrupt, lost = "c" * 32, "\x1bd" + "d" * 30
    events = {"1": Event("1", NOW, "scheduler", "lost", machine=lost)}
    records = {f"/fleet/machines/{corrupt}": Corrupt(f"/fleet/machines/{corrupt}", "no JSON")}
    rows = machine_rows(replace(scene(), events=events, corrupt=records), NOW)
    assert [cells(rows[each])["machine"] for each in (corrupt, lost)] == ["cccccccc...", "␛ddddddd..."]


def test_a_corrupt_record_is_no_death() -> None:
    rows = MachineRows()
    rows.update(scene(), None, NOW)
    key = f"/fleet/machines/{CORES[1]}"
    snapshot = without(scene(), 1, lines=True)
    row = rows.update(replace(snapshot, corrupt={key: Corrupt(key, "no JSON")}), None, NOW).changed[CORES[1]]
    assert (row.state, cells(row)["state"]) == ("corrupt", "✖ corrupt")


def test_a_second_machine_with_the_same_id_is_told() -> None:
    twin = Duplicate(CORES[1], "b9", "core-9", "10.0.0.9")
    row = machine_rows(replace(scene(), duplicates={(CORES[1], "b9"): twin}))[CORES[1]]
    assert cells(row)["state"] == "✖ duplicate id"
    assert "core-9 at 10.0.0.9 came with the same id" in row.note


def test_a_machine_that_holds_everything_is_not_said_to_be_ready() -> None:
    snapshot = scene()
    held = replace(snapshot.machines[CORES[1]], held="it is at revision 7, and 90 was acted on")
    row = machine_rows(replace(snapshot, machines={**snapshot.machines, CORES[1]: held}))[CORES[1]]
    assert cells(row)["state"] == "◌ held"
    assert "it is at revision 7, and 90 was acted on; see fleetctl restore" in row.note


def draining(snapshot: Snapshot, number: int) -> Snapshot:
    override = Override(CORES[number], Availability.DRAINING, by="root@laptop", at=NOW)
    return replace(snapshot, overrides={**snapshot.overrides, CORES[number]: override})


def test_a_drain_tells_how_far_it_is_and_what_blocks_it() -> None:
    rows = MachineRows()
    rows.update(scene(), None, NOW)
    row = rows.update(draining(scene(), 1), None, NOW).changed[CORES[1]]
    assert "2 of 2 to move, web@1.service stays: " in row.note, "the other machines have a web@ each"
    assert not row.blocked
    moved = {pair: each for pair, each in scene().states.items() if pair != (CORES[1], "cache.service")}
    lines = {pair: each for pair, each in scene().schedule.items() if pair != (CORES[1], "cache.service")}
    row = rows.update(draining(replace(scene(), states=moved, schedule=lines), 1), None, NOW + 2).changed[CORES[1]]
    assert "1 of 2 to move" in row.note


def test_a_drain_that_was_met_on_its_way_claims_no_total() -> None:
    assert "2 to move" in machine_rows(draining(scene(), 1), NOW)[CORES[1]].note


def test_a_drain_with_nothing_left_but_what_is_stuck_is_blocked() -> None:
    only = {pair: each for pair, each in scene().schedule.items() if pair == (CORES[1], "web@1.service")}
    lines = {**{pair: each for pair, each in scene().schedule.items() if pair[0] != CORES[1]}, **only}
    states = {pair: each for pair, each in scene().states.items() if pair[0] != CORES[1] or pair in only}
    row = machine_rows(draining(replace(scene(), schedule=lines, states=states), 1), NOW)[CORES[1]]
    assert row.blocked
    assert row.note.startswith("nothing left to move, web@1.service stays: ")


def test_what_units_reserve_is_counted_as_lines_come_and_go() -> None:
    big = "[Service]\nExecStart=/bin/true\nMemoryMax=2G\nCPUQuota=50%\n"
    up = Target.LAUNCHED
    world = build({"a.service": (big, up), "b.service": (big, up), "c.service": (PLAIN, up)},
                  [("a.service", 1), ("b.service", 1), ("c.service", 1)], [])  # fmt: skip
    rows = MachineRows()
    rows.update(world, None, NOW)
    row = rows.rows[CORES[1]]
    assert (row.reserved.memory_bytes, row.reserved.cpu_millis) == (4 << 30, 1000)
    assert room_bar(1 << 30, 4 << 30, 8 << 30) == "█▒▒▒▒·····"
    assert fullness(row) == 0.5
    schedule = {pair: line for pair, line in world.schedule.items() if pair[1] != "a.service"}
    rows.update(replace(world, schedule=schedule), [Address(Table.SCHEDULE, CORES[1], "a.service")], NOW)
    assert rows.rows[CORES[1]].reserved.memory_bytes == 2 << 30
    assert room_bar(9, 0, 8) == "█" * 10
    assert room_bar(0, 0, 0) == ""
