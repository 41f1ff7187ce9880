"""The simulated systemd keeps the contract that the real one keeps (`tests/cluster/test_systemd_contract.py`)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from random import Random

import pytest

import agentd.systemd_connection
from agentd.systemd import Systemd
from agentd.systemd_connection import SystemdConnection
from tests.simulation.contract import CHECKS, OF_QUADLETS, Bench, Heard
from tests.simulation.loop import SimulatedLoop
from tests.simulation.systemd import MACHINES, SimulatedBus, SimulatedSystemd, known_names

SEEDS = (1, 2, 3)  # orders of what happens at once, and delays


class Nobody:
    """Is told what really runs, and has no opinion."""

    def started(self, _machine: str, _unit: str, *, asked: bool) -> None: ...
    def ended(self, _machine: str, _unit: str) -> None: ...
    def overtaken(self, _machine: str, _unit: str) -> None: ...
    def stopping(self, _machine: str, _unit: str) -> None: ...
    def stopped_late(self, _machine: str, _unit: str) -> None: ...
    def unprovided(self, _machine: str, _unit: str, _what: str) -> None: ...


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("check", [*CHECKS, *OF_QUADLETS], ids=lambda check: check.__name__)
def test_contract(
    check: Callable[[Bench], Awaitable[None]], seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agentd.systemd_connection, "Bus", SimulatedBus)
    ends = ("", "-idle", "-nobody", "-volume")
    known_names(f"contract{each}.service" for each in ends)
    loop = SimulatedLoop(seed)
    simulated = SimulatedSystemd(loop, "core-1", tmp_path, Nobody(), Random(seed))
    monkeypatch.setitem(MACHINES, "simulated:contract", simulated)

    async def checked() -> None:
        systemd, heard = Systemd(SystemdConnection("simulated:contract")), Heard()
        following = asyncio.ensure_future(systemd.run(heard))
        await systemd.ready.wait()
        bench = Bench(systemd, heard, Path("/"), simulated.places[1], simulated.execute_again)
        try:
            await check(bench)
        finally:
            following.cancel()
            await asyncio.wait([following])

    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(loop.spawn(loop.program("agent-1", "core-1"), checked()))
    finally:
        asyncio.set_event_loop(None)
        loop.close()
