"""The last lines that agents kept of what failed in a rollout: asked for once a failure, never waited for."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fleettui.console.journal import Journals
from fleettui.console.sources.hosts import Spawn
from registry.errors import FleetError
from registry.model import Crash, Rollout, StepFailure

MOST = 20  # failures


class LastLines:
    """Knows them of one rollout. `changed` is called when they were read."""

    def __init__(self, journals: Journals, spawn: Spawn, changed: Callable[[], None]) -> None:
        self._journals, self._spawn, self._changed = journals, spawn, changed
        self._asked: tuple[StepFailure, ...] = ()
        self._found: Mapping[str, Crash] = {}

    def of(self, rollout: Rollout) -> Mapping[str, Crash]:
        """What is known by now, by unit; what is not, is asked for."""
        failures = rollout.failed[:MOST]
        if failures != self._asked:
            self._asked = failures
            if failures:
                self._spawn(self._read(failures))
            else:
                self._found = {}
        return self._found

    async def _read(self, failures: tuple[StepFailure, ...]) -> None:
        machines = {each.unit: each.machine for each in failures}
        try:
            kept = await self._journals.kept(machines.keys())
        except FleetError:
            return  # the reason is told in any case, and the journal says why it cannot be read
        if failures == self._asked:
            self._found = {each.unit: each for each in kept if machines.get(each.unit) in ("", each.machine)}
            self._changed()
