"""Corrupt records on the tables: those that name something are rows, and very many cost no more than they count."""

from __future__ import annotations

from fleettui.console.tables.machines import MachineRows
from fleettui.console.tables.units import UnitRows
from registry.keys import Keys
from registry.mirror import Mirror, RawChange, Snapshot
from tests.fuzz.test_fuzz_dbus import calls

KEYS = Keys()


def corrupt(*keys: str) -> Snapshot:
    mirror = Mirror(KEYS)
    mirror.apply([RawChange(key, b"{", 1, 1) for key in keys])
    return mirror.snapshot()


def test_a_corrupt_record_is_a_row_and_a_key_that_names_nothing_is_none() -> None:
    snapshot = corrupt(KEYS.unit("a.service"), KEYS.unit("\udcff"), KEYS.machine("m1"), KEYS.machine("\x1b[31m"))
    assert set(UnitRows().update(snapshot).changed) == {"a.service"}
    assert set(MachineRows(KEYS).update(snapshot).changed) == {"m1"}
    assert len(snapshot.corrupt) == 4  # the banner counts them all


def test_twice_as_many_corrupt_records_are_twice_the_work() -> None:
    def work(count: int) -> int:
        units = (KEYS.unit(f"u{number}.service") for number in range(count))
        machines = (KEYS.machine(f"m{number}") for number in range(count))
        snapshot = corrupt(*units, *machines)
        return calls(lambda: (UnitRows().update(snapshot), MachineRows(KEYS).update(snapshot)))

    work(10)
    assert work(400) <= 2.5 * work(200)
