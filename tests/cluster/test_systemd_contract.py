"""The real systemd of a node keeps the contract that the simulated one has to keep."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from agentd.systemd import Systemd
from agentd.systemd_connection import SystemdConnection
from fleettui.demo.cluster import Cluster
from fleettui.demo.images import load_image
from fleettui.demo.node import Node
from tests.simulation.contract import CHECKS, OF_QUADLETS, Bench, Heard


@pytest.fixture(scope="module")
def with_podman(newer: Cluster) -> Node:
    node = newer.nodes["core-1"]
    load_image(node)
    return node


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
async def test_contract(check: Callable[[Bench], Awaitable[None]], nodes: Cluster) -> None:
    await _holds(check, nodes.nodes["core-1"])


@pytest.mark.parametrize("check", OF_QUADLETS, ids=lambda check: check.__name__)
async def test_contract_of_quadlets(check: Callable[[Bench], Awaitable[None]], with_podman: Node) -> None:
    await _holds(check, with_podman)


async def _holds(check: Callable[[Bench], Awaitable[None]], node: Node) -> None:
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
