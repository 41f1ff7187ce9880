"""Carrying out tasks: what is read of a unit while it changes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from agentd.managed_unit import ManagedUnit
from agentd.pure.unit_status import UnitStatus
from agentd.systemd import UNIT
from agentd.task_runner import Dependencies, TaskRunner
from agentd.unit_directory import UnitDirectory

NAME = "a.service"


class Changing:
    """A systemd whose unit stops, and says so, after it has answered a question and before the next one."""

    def __init__(self, unit: ManagedUnit, changes: int) -> None:
        self.unit, self.changes, self.asked = unit, changes, 0
        self.active = "active"

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
    systemd = Changing(unit, changes)
    touched: list[str] = []
    publisher = SimpleNamespace(touch=touched.extend)
    tools = SimpleNamespace(systemd=systemd, host="core-1", directory=UnitDirectory(tmp_path), publisher=publisher)
    steps = TaskRunner(cast("Dependencies", tools), lambda _: False, lambda _: None, lambda: None)
    await steps.refresh(unit)
    assert unit.status.active == ("inactive" if changes else "active")
    assert (systemd.asked, touched) == (changes + 1, [NAME])
