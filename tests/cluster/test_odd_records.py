"""Odd records in every table of a running fleet: no program ends, no unit moves, and the rest goes on."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleettui.demo.cluster import Cluster
from registry.etcd import Etcd, Op
from registry.keys import Keys
from registry.units.file import file_hash
from tests.cluster.fleet import SLEEPER, Fleet
from tests.cluster.nodes import eventually, registry
from tests.cluster.terminal import Terminal
from tests.registry import wild

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
KEYS = Keys()
PROGRAMS = ("fleet-agentd.service", "fleet-scheduler.service")


def write(cluster: Cluster, ops: list[Op]) -> None:
    async def transact() -> None:
        async with Etcd(cluster.as_root) as etcd:
            for start in range(0, len(ops), 20):
                await etcd.txn([], ops[start : start + 20])

    asyncio.run(transact())


@pytest.fixture
def fleet(cluster: Cluster, tmp_path: Path) -> Iterator[Fleet]:
    """A fleet with a unit that runs; the odd records are taken away again."""
    yield Fleet(cluster, tmp_path)
    write(cluster, [Op.delete(key) for key in {key for key, _ in odd(cluster)}])


def odd(cluster: Cluster) -> list[tuple[str, bytes]]:
    """Odd records about each machine of the cluster."""
    return [
        (key.decode("utf-8", "surrogateescape"), value)
        for node in cluster.nodes.values()
        for key, value in wild.odd(KEYS, node.spec.machine_id, "steady.service", file_hash(SLEEPER))
    ]


def lives(fleet: Fleet) -> dict[str, str]:
    """Which process each program of the fleet is on each node."""
    ask = ["systemctl", "show", "-p", "ActiveState,InvocationID,NRestarts", *PROGRAMS]
    return {node.name: node.exec(ask).stdout for node in fleet.cluster.nodes.values()}


@pytest.fixture
def console(cluster: Cluster) -> Iterator[Terminal]:
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed")
    terminal = Terminal.console(cluster)
    yield terminal
    terminal.close()


def test_odd_records_in_every_table_end_no_program_and_the_rest_goes_on(fleet: Fleet, console: Terminal) -> None:
    fleet.start("steady.service")
    home = fleet.settled("steady.service", 1)
    steady = fleet.running("steady.service")
    console.shows("steady.service", "3/3 machines")
    before = lives(fleet)
    write(fleet.cluster, [Op.put(key, value) for key, value in dict(odd(fleet.cluster)).items()])
    console.shows("corrupt records")
    fleet.start("fresh.service")
    fleet.settled("fresh.service", 1)
    console.shows("fresh.service")
    for view in "2345":
        console.keys(view)
        console.lacks("Traceback")
    console.keys("1")
    console.shows("steady.service")
    listed = fleet.ctl("list-units")
    assert "steady.service" in listed.stdout
    assert "odd-since.service" in listed.stderr
    assert lives(fleet) == before
    assert fleet.running("steady.service") == steady
    assert fleet.homes("steady.service") == home


def test_agents_and_schedulers_that_begin_among_odd_records_take_up_their_work(fleet: Fleet) -> None:
    fleet.start("steady.service")
    fleet.settled("steady.service", 1)
    write(fleet.cluster, [Op.put(key, value) for key, value in dict(odd(fleet.cluster)).items()])
    for node in fleet.cluster.nodes:
        fleet.shell(node, "systemctl restart fleet-agentd.service fleet-scheduler.service")
    eventually(
        "the machines are back",
        lambda: (
            {f"machines/{fleet.machine_id(node)}" for node in fleet.cluster.nodes}
            <= registry(fleet.cluster, "machines/").keys()
        ),
    )
    fleet.leader()
    fleet.start("fresh.service")
    fleet.settled("fresh.service", 1)
    fleet.settled("steady.service", 1)  # a busy host may take longer over a restart than a lease lasts
    for text in lives(fleet).values():
        assert text.count("ActiveState=active") == len(PROGRAMS)
        assert text.count("NRestarts=0") == len(PROGRAMS)
