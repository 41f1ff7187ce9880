"""Reading a unit while it changes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from agentd.dependencies import UNIT
from agentd.managed_unit import ManagedUnit
from agentd.pure.unit_status import UnitStatus
from tests.agentd.machine import NAME, FakeSystemd, machine


class Changing(FakeSystemd):
    """A systemd whose unit stops, and says so, after it has answered a question and before the next one."""

    unit: ManagedUnit
    changes = asked = 0
    active = "active"

    async def properties(self, unit: str, names: Iterable[str], interface: str = UNIT) -> dict[str, Any]:
        assert unit == self.unit.name
        if interface != UNIT:
            return {}
        self.asked += 1
        found = {"ActiveState": self.active, "LoadState": "loaded"}
        if self.changes:
            self.changes -= 1
            self.active = "inactive"
            self.unit.status = self.unit.status.merged({"ActiveState": "inactive"})  # the signal
        return {name: value for name, value in found.items() if name in names}


@pytest.mark.parametrize("changes", [0, 1, 2])
async def test_what_systemd_tells_while_a_unit_is_read_is_not_overwritten_by_older_answers(
    tmp_path: Path, changes: int
) -> None:
    unit = ManagedUnit(NAME, status=UnitStatus(load="loaded", active="active"))
    async with machine(tmp_path) as on:
        changing = Changing(on.systemd.places, on.log)
        changing.unit, changing.changes = unit, changes
        records = on.reconciler._records
        records._systemd = changing
        await records.refresh(unit)
        assert unit.status.active == ("inactive" if changes else "active")
        assert (changing.asked, on.publisher.dirty) == (changes + 1, [NAME])
