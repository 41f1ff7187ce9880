"""The real systemd of a node keeps the contract that the simulated one has to keep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agentd.systemd import Systemd
from agentd.systemd_connection import SystemdConnection
from fleettui.demo.cluster import Cluster
from tests.simulation.contract import CHECKS, Bench, Heard


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Callable[[Bench], Awaitable[None]], nodes: Cluster) -> None:
    node = nodes.nodes["core-1"]
    root = Path(f"/proc/{node.leader()}/root")
    systemd, heard = Systemd(SystemdConnection(f"unix:path={root}/run/dbus/system_bus_socket")), Heard()
    bench = Bench(
        systemd, heard, root, Path("/run/systemd/system"), lambda: node.exec(["systemctl", "daemon-reexec"])
    )
    following = asyncio.create_task(systemd.run(heard))
    try:
        async with asyncio.timeout(60):
            await systemd.ready.wait()
            try:
                await check(bench)
            finally:
                await bench.tidy()
    finally:
        following.cancel()
        await asyncio.wait([following])
