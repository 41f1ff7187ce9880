"""The console over a scripted fleet on the terminal that it is started on, for tests that close that terminal.

`python -m tests.console.closing rest|busy|shell|editor`: what it is doing when the terminal goes. A shell is a
program here that, like the editor in $EDITOR, does not mind SIGHUP or the end of its input.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from fleettui.console.program import show
from fleettui.console.sources.hosts import Session
from registry.model import Machine
from tests.console.fleetshow import PLAIN, Stage, scene, state
from tests.console.hostshow import ScriptedHosts

BUSY_S = 0.005


class Here(ScriptedHosts):
    """Its shells are programs on this host."""

    @asynccontextmanager
    async def shell(self, machine: Machine) -> AsyncIterator[Session]:  # noqa: ARG002
        async def session() -> int:
            process = await asyncio.create_subprocess_exec("/bin/sh", os.environ["EDITOR"])
            return await process.wait()

        yield session


async def change(stage: Stage) -> None:
    """Something new for every frame."""
    number = 0
    while True:
        number += 1
        states = dict(scene().states)
        for unit in ("db.service", "cache.service"):
            states["x" * number, unit] = state(unit, 3, PLAIN, restarts=number, error="x" * (number % 100))
        stage.feed.put(replace(scene(), revision=100 + number, states=states))
        await asyncio.sleep(BUSY_S)


async def main(what: str) -> None:
    """Play, and do it by key as a reader would."""
    stage = Stage(scene(), hosts=Here())
    tasks = [asyncio.create_task(change(stage))] if what == "busy" else []
    await show(stage.app)
    for task in tasks:
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
