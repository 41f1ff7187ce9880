"""What one start takes, from the registry's record to a running process, and what the command around it costs."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager

from bench.nodes import OURS, SLEEPER, Nodes, Size, host_command, median, spread
from bench.report import Figure
from fleettui.actions import units
from fleettui.actions.operator import Operator
from registry.etcd import Etcd
from registry.keys import Keys
from registry.program.config import load

ABOVE_S = 0.060  # what a start may take above systemctl's own
COMMAND_S = 0.45
LIST_S = 0.4


def one_start(nodes: Nodes, size: Size) -> Iterator[Figure]:
    """An instance that the registry knows is set to launched; systemd's own time says when it was active."""
    nodes.clear()
    bare = _systemctl_starts(nodes, size.runs)
    ours = asyncio.run(_starts(nodes, size.runs))
    nodes.clear()
    reference = median(bare)
    yield Figure(
        "one start: registry write to active in systemd",
        1000 * median(ours),
        "ms",
        1000 * (reference + ABOVE_S),
        1000 * reference,
        f"systemctl start on the node; ours {spread([1000 * each for each in ours], 'ms')}",
    )


def _systemctl_starts(nodes: Nodes, runs: int) -> list[float]:
    """Timed on the node itself, so that entering it does not count."""
    script = (
        "import subprocess, time\n"
        f"for number in range(1, {runs} + 1):\n"
        "    began = time.monotonic()\n"
        "    subprocess.run(['systemctl', 'start', f'ref@{number}'], check=True)\n"
        "    print(time.monotonic() - began)\n"
    )
    with nodes.reference():
        done = nodes.cluster.exec(nodes.names[0], ["python3", "-c", script], timeout_s=120)
    return [float(line) for line in done.stdout.split()]


async def _starts(nodes: Nodes, runs: int) -> list[float]:
    found = []
    async with _operator(nodes) as operator:
        names = [f"{OURS}one-{number}.service" for number in range(runs)]
        await units.submit(operator, [units.UnitSource(name, SLEEPER) for name in names])
        for name in names:
            began = time.monotonic()
            await units.start(operator, [name])
            found.append(await asyncio.to_thread(_active_at, nodes, name) - began)
    return found


def _active_at(nodes: Nodes, name: str) -> float:
    nodes.until(f"{name} to run", lambda: any(unit == name for _, unit in nodes.running()))
    return next(found.since for (_, unit), found in nodes.running().items() if unit == name)


@asynccontextmanager
async def _operator(nodes: Nodes) -> AsyncIterator[Operator]:
    settings = load(nodes.cluster.config, {}).etcd
    async with Etcd(settings.client_settings()) as etcd:
        await etcd.status()  # the connection and the imports are the command's, not the registry's
        yield Operator(etcd, Keys.under(settings.prefix), settings.username)


def whole_command(nodes: Nodes, size: Size) -> Iterator[Figure]:
    """`fleetctl start` of a unit that the fleet does not know yet, and what of it are imports."""
    nodes.clear()
    runs = size.runs
    took = [nodes.fleetctl("start", *nodes.ours(1, first)) for first in range(1, runs + 1)]
    nodes.clear()
    python = host_command([sys.executable, "-c", "pass"], runs)
    imports = host_command([sys.executable, "-c", "import fleettui.cli.units, registry.etcd.transport"], runs)
    version = [nodes.fleetctl("version") for _ in range(runs)]
    reference = median(imports)
    yield Figure(
        "fleetctl start, one unit, whole command",
        median(took), "s", COMMAND_S, reference,
        f"its imports alone; {spread(took)}",
    )  # fmt: skip
    yield Figure("its imports", reference, "s", None, median(python), f"python -c pass; {spread(imports)}")
    yield Figure(
        "fleetctl version", median(version), "s", None, median(python), f"python -c pass; {spread(version)}"
    )


def listing(nodes: Nodes, size: Size) -> Iterator[Figure]:
    """`fleetctl list-units` with all units running."""
    nodes.hold(size.units)
    took = [nodes.fleetctl("list-units") for _ in range(2 * size.runs)]
    imports = host_command([sys.executable, "-c", "import fleettui.cli.lists, registry.etcd.blocking"], size.runs)
    yield Figure(
        f"fleetctl list-units, {size.units} units, whole command",
        median(took), "s", LIST_S, median(imports), f"its imports alone; {spread(took)}",
    )  # fmt: skip
