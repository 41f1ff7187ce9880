"""Rows are a function of the snapshot alone, however they came about; nothing dangerous gets into a cell."""

from __future__ import annotations

from collections import Counter
from dataclasses import fields, replace
from typing import TypeVar
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st

from fleettui.console.tables import events, pending
from fleettui.console.tables.fleet import NO_CHANGES, Changes, FleetModel, Reading
from fleettui.console.tables.machines import MachineRows, machine_rows
from fleettui.console.tables.rows import Delta, Health, Row
from fleettui.console.tables.units import COLUMNS, UnitRow, UnitRows, units_named
from fleettui.console.text.formatting import size
from registry.keys import Keys, Table
from registry.mirror import Mirror, RawChange, Snapshot
from registry.model import Assignment, Corrupt, Event, Machine, Pending, Target, Unit, UnitState, UnitText, Usage
from registry.records import encode
from registry.sync.follow import ConnectionState
from registry.units.file import file_hash
from tests.console.fleetshow import CORES, EXPORTER, NOW, PLAIN, build, scene, state

R = TypeVar("R", bound=Row)
KEYS = Keys()
NAMES = ("a.service", "b.service", "t@.service", "t@1.service", "t@2.service", "g.service", "g@1.service")
TEXTS = (PLAIN, EXPORTER)


def rows_of(snapshot: Snapshot) -> dict[str, UnitRow]:
    return UnitRows().update(snapshot).changed


def applied(rows: dict[str, R], delta: Delta[R]) -> dict[str, R]:
    kept = {} if delta.reset else rows
    return {key: row for key, row in {**kept, **delta.changed}.items() if key not in delta.removed}


@st.composite
def changes(draw: st.DrawFn) -> RawChange:
    unit, machine = draw(st.sampled_from(NAMES)), draw(st.sampled_from(list(CORES.values())))
    gone = draw(st.booleans())
    text = draw(st.sampled_from(TEXTS))
    sha, target = file_hash(text), draw(st.sampled_from(list(Target)))
    record: tuple[str, object] = draw(
        st.sampled_from([
            (KEYS.unit(unit), Unit(unit, sha, target)),
            (KEYS.schedule(machine, unit), Assignment(unit, machine, sha, Target.LAUNCHED, 1)),
            (KEYS.state(machine, unit), UnitState(unit, machine, sha, 1, target, "loaded", "active", "running",
                                              main_pid=draw(st.sampled_from([0, 7])))),
            (KEYS.machine(machine), Machine(machine, "host", "10.0.0.1", "boot")),
            (KEYS.usage(machine), Usage(machine, units=((unit, draw(st.sampled_from([1, 1 << 20])), 0.5),))),
            (KEYS.unit(unit), None),
        ])
    )  # fmt: skip
    value = b"{" if record[1] is None else encode(record[1])  # type: ignore[arg-type]
    return RawChange(record[0], None if gone else value)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(changes(), max_size=4), max_size=8))
def test_rows_told_what_changed_are_the_rows_looked_at_from_scratch(steps: list[list[RawChange]]) -> None:
    mirror = Mirror(KEYS, Table)
    mirror.apply(RawChange(KEYS.file(file_hash(text)), encode(UnitText(file_hash(text), text))) for text in TEXTS)
    folder = UnitRows()
    rows = applied({}, folder.update(mirror.snapshot()))
    for step in steps:
        changed = mirror.apply(step)
        rows = applied(rows, folder.update(mirror.snapshot(), changed))
        assert rows == rows_of(mirror.snapshot())
        leaves = Counter(row.condition for row in rows.values() if not row.is_group)
        assert Counter(folder.counts()) == leaves


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(changes(), max_size=4), max_size=8))
def test_machines_told_what_changed_are_those_looked_at_as_a_whole(steps: list[list[RawChange]]) -> None:
    """Both see every snapshot: what vanished is remembered by whoever was there."""
    mirror, told, whole = Mirror(KEYS, Table), MachineRows(), MachineRows()
    present = (Machine(each, "host", "10.0.0.1", "boot") for each in CORES.values())
    mirror.apply(RawChange(KEYS.machine(each.id), encode(each)) for each in present)
    one = applied({}, told.update(mirror.snapshot(), None, NOW))
    other = applied({}, whole.update(mirror.snapshot(), None, NOW))
    for step in steps:
        changed, snapshot = mirror.apply(step), mirror.snapshot()
        one = applied(one, told.update(snapshot, changed, NOW))
        other = applied(other, whole.update(snapshot, None, NOW))
        assert one == other
        assert told.known() == whole.known()


@st.composite
def happenings(draw: st.DrawFn) -> RawChange:
    unit, gone = draw(st.sampled_from(NAMES)), draw(st.booleans())
    number = draw(st.integers(0, 9))
    record: tuple[str, object] = draw(
        st.sampled_from([
            (KEYS.event("a", f"{number:04}"), Event(f"{number:04}", NOW, "a", "start")),  # an event never changes
            (KEYS.pending(unit), Pending(unit, file_hash(PLAIN), 1, "it waits", passing=draw(st.booleans()))),
            (KEYS.unit(unit), Unit(unit, file_hash(PLAIN), draw(st.sampled_from(list(Target))))),
        ])
    )  # fmt: skip
    return RawChange(record[0], None if gone else encode(record[1]))  # type: ignore[arg-type]


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(happenings(), max_size=6), max_size=8))
def test_pending_units_and_the_newest_events_are_those_looked_at_from_scratch(steps: list[list[RawChange]]) -> None:
    with mock.patch.object(events, "SHOWN", 4):
        mirror, told, waiting = Mirror(KEYS, Table), events.EventRows(), pending.PendingRows()
        happened = applied({}, told.update(mirror.snapshot()))
        held = applied({}, waiting.update(mirror.snapshot()))
        for step in steps:
            changed, snapshot = mirror.apply(step), mirror.snapshot()
            happened = applied(happened, told.update(snapshot, changed))
            held = applied(held, waiting.update(snapshot, changed))
            assert happened == told.rows == events.EventRows().update(snapshot).changed
            assert held == waiting.rows == pending.PendingRows().update(snapshot).changed


@settings(max_examples=50, deadline=None)
@given(st.lists(st.lists(st.one_of(changes(), happenings()), max_size=6), max_size=6))
def test_the_model_told_what_changed_is_the_model_told_nothing(steps: list[list[RawChange]]) -> None:
    mirror, told, whole, sliced = Mirror(KEYS, Table), FleetModel(KEYS), FleetModel(KEYS), FleetModel(KEYS)
    shown: dict[str, UnitRow] = {}
    for step in steps:
        changed = frozenset(mirror.apply(step))
        at_once = told.apply(Reading(mirror.snapshot(), changed, ConnectionState.LIVE), NOW)
        whole.apply(Reading(mirror.snapshot(), None, ConnectionState.LIVE), NOW)
        parts = NO_CHANGES
        for part in Reading(mirror.snapshot(), changed, ConnectionState.LIVE).parts(1):
            parts = parts.then(sliced.apply(part, NOW))
        shown = applied(shown, parts.units)
        assert shown == sliced.units.rows() == told.units.rows()
        names = [each.name for each in fields(Changes)]
        assert [name for name in names if getattr(at_once, name) and not getattr(parts, name)] == []
        assert sliced.machines.rows == told.machines.rows
        assert (sliced.pending.rows, sliced.events.rows) == (told.pending.rows, told.events.rows)
        assert told.units.rows() == whole.units.rows()
        assert told.machines.rows == whole.machines.rows
        assert told.pending.rows == whole.pending.rows
        assert told.events.rows == whole.events.rows
        assert told.labels() == whole.labels()


def test_a_second_fold_of_the_same_snapshot_changes_nothing() -> None:
    folder, snapshot = UnitRows(), scene()
    folder.update(snapshot)
    assert not folder.update(snapshot, frozenset())


def test_a_template_gathers_its_instances_and_is_as_bad_as_the_worst() -> None:
    rows = rows_of(scene())
    assert rows["web@1.service"].parent == "web@.service"
    group = rows["web@.service"]
    assert (group.is_group, group.running, group.members, group.condition) == (True, 2, 3, Health.BUSY)


def test_a_global_unit_has_a_row_for_every_machine_it_is_on() -> None:
    rows = rows_of(scene())
    hosts = [row.label for row in rows.values() if row.parent == "exporter.service"]
    assert sorted(hosts) == ["core-1", "core-2", "core-3"]


def test_what_a_global_unit_is_on_one_machine_is_on_no_other_s_row() -> None:
    snapshot, name = scene(), "exporter.service"
    bad = replace(snapshot.states[CORES[2], name], active="failed", error="start failed: exit code 3")
    held = replace(snapshot.states[CORES[3], name], active="inactive", skipped="condition not met: ConditionHost=x")
    unit = snapshot.units[name]
    pending = Pending(name, unit.hash, unit.generation, "1 of 4 machines refuse")
    snapshot = replace(
        snapshot,
        states={**snapshot.states, (CORES[2], name): bad, (CORES[3], name): held},
        pending={**snapshot.pending, name: pending},
    )
    rows = {row.host: row for row in rows_of(snapshot).values() if row.parent == name}
    assert [(rows[host].condition, rows[host].reason) for host in ("core-1", "core-2", "core-3")] == [
        (Health.ACTIVE, ""),
        (Health.FAILED, "start failed: exit code 3"),
        (Health.INACTIVE, "condition not met: ConditionHost=x"),
    ]
    head = rows_of(snapshot)[name]
    assert (head.condition, head.reason) == (
        Health.FAILED, "on 1 of 3 machines (core-2): start failed: exit code 3",
    )  # fmt: skip


def test_a_failed_unit_tells_why_and_a_pending_one_too() -> None:
    rows = rows_of(scene())
    assert (rows["sync.service"].condition, rows["sync.service"].reason) == (
        Health.FAILED, "/usr/bin/syncd: no such file or directory",
    )  # fmt: skip
    assert rows["mars.service"].condition is Health.PENDING
    assert "region=mars" in rows["mars.service"].reason


def test_a_unit_that_was_destroyed_and_still_stops_keeps_its_row() -> None:
    snapshot = build({}, [], [state("old.service", 1, PLAIN, active="deactivating")])
    row = rows_of(snapshot)["old.service"]
    assert (row.target, row.word, row.host) == ("destroyed", "deactivating", "core-1")


def test_a_corrupt_record_is_a_row_that_says_so() -> None:
    key = KEYS.unit("bad.service")
    row = rows_of(replace(scene(), corrupt={key: Corrupt(key, "not JSON")}))["bad.service"]
    assert (row.word, "not JSON" in row.reason) == ("corrupt", True)


def test_what_a_terminal_would_act_on_never_reaches_a_cell() -> None:
    evil = "\x1b]0;owned\x07\u202e"
    snapshot = build({f"x{evil}.service": (PLAIN, Target.LAUNCHED)}, [], [])
    snapshot = replace(snapshot, machines={CORES[1]: replace(snapshot.machines[CORES[1]], hostname=evil)})
    states = {(CORES[1], "y.service"): state("y.service", 1, PLAIN, sub=evil, error=evil)}
    for row in rows_of(replace(snapshot, states=states)).values():
        for column in COLUMNS:
            assert column.cell(row, NOW).text.isprintable(), column.id


def test_a_machine_that_is_scheduled_on_and_not_here_is_lost() -> None:
    snapshot = scene()
    machines = {CORES[1]: snapshot.machines[CORES[1]]}
    rows = machine_rows(replace(snapshot, machines=machines))
    assert [rows[CORES[number]].state for number in (1, 2, 3)] == ["ready", "lost", "lost"]
    assert (rows[CORES[1]].running, rows[CORES[1]].scheduled) == (4, 4)


def test_an_action_on_a_template_is_about_its_instances_and_names_each_once() -> None:
    folder = UnitRows()
    rows = folder.update(scene()).changed
    chosen = [rows["web@.service"], rows["web@1.service"], rows["exporter.service"]]
    assert list(units_named(chosen, folder)) == [
        "web@1.service", "web@2.service", "web@3.service", "exporter.service",
    ]  # fmt: skip


def test_what_a_unit_uses_is_shown_while_its_process_lives_and_summed_in_its_group() -> None:
    reports = {
        CORES[n]: Usage(CORES[n], units=((f"web@{n}.service", n << 20, 0.1), ("mail.service", 1 << 20, 0.0)))
        for n in (1, 2)
    }
    rows = rows_of(replace(scene(), usage=reports))
    assert rows["web@1.service"].meter.texts == ("1.0 M", "10 %")
    assert rows["web@3.service"].meter.texts == ("-", "-"), "nothing was reported"
    assert rows["web@.service"].meter.texts == ("3.0 M", "20 %")
    assert rows["mail.service"].meter.texts == ("-", "-"), "it has no process any more"


def test_a_size_has_three_digits_at_most() -> None:
    sizes = {0: "-", 512: "512 B", 1000: "1.0 K", 9 << 20: "9.0 M", (10 << 20) - 9: "10 M", 18 << 20: "18 M",
             1023 << 20: "1.0 G", 3 << 39: "1.5 T"}  # fmt: skip
    assert {count: size(count) for count in sizes} == sizes


def test_what_was_summed_over_processes_says_so() -> None:
    report = Usage(CORES[1], units=(("web@1.service", 1 << 20, 0.001),), estimated=True)
    assert rows_of(replace(scene(), usage={CORES[1]: report}))["web@1.service"].meter.texts == ("~1.0 M", "0.1 %")


def test_a_reason_calls_machines_by_their_names_also_one_that_is_gone() -> None:
    name = "mars.service"
    gone = replace(scene().machines[CORES[1]], id="ab" * 16, hostname="core-9")
    told = f"machine {gone.id[:8]}... is leaving; {CORES[1]} is full"
    world = scene()
    world = replace(world, pending={name: replace(world.pending[name], summary=told)}, absent={gone.id: gone})
    rows = UnitRows()
    rows.update(world)
    assert rows.rows()[name].reason == "machine core-9 is leaving; core-1 is full"
    waiting = pending.PendingRows()
    waiting.update(world, None)
    assert waiting.rows[name].reason == "machine core-9 is leaving; core-1 is full"
