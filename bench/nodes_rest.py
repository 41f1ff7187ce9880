"""What the programs cost while nothing happens: processor time and memory with every unit running."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.nodes import Nodes, Size
from bench.report import Figure
from fleettui.demo.cluster import PROGRAMS

IDLE_PERCENT = 0.5
MEMORY_MIB = 55
IMPORTS = {
    "fleet-agentd.service": "import agentd.__main__, agentd.agent, registry.etcd.transport",
    "fleet-scheduler.service": "import scheduler.__main__, scheduler.service, registry.etcd.transport",
}


def at_rest(nodes: Nodes, size: Size) -> Iterator[Figure]:
    """The worst node of each program; etcd beside it, and the program's imports alone beside its memory."""
    nodes.hold(size.units)
    time.sleep(min(5.0, size.rest_s))  # the last states and the commands' traces are written
    before, etcd_before, began = _cpu_s(nodes), nodes.etcd_cpu_s(), time.monotonic()
    time.sleep(size.rest_s)
    after, etcd_after, took = _cpu_s(nodes), nodes.etcd_cpu_s(), time.monotonic() - began
    for program in PROGRAMS:
        worst = max(after[key] - before[key] for key in before if key[1] == program)
        yield Figure(
            f"idle CPU of {_short(program)}, {size.units} units", 100 * worst / took, "%", IDLE_PERCENT,
            100 * (etcd_after - etcd_before) / took, f"etcd; of one core, worst node, over {took:.0f} s",
        )  # fmt: skip
    for program in PROGRAMS:
        yield Figure(
            f"resident memory of {_short(program)}, {size.units} units", max(_memory_mib(nodes, program)), "MiB",
            MEMORY_MIB, _imports_mib(nodes, program), "its imports alone; worst node",
        )  # fmt: skip


def _cpu_s(nodes: Nodes) -> dict[tuple[str, str], float]:
    script = "awk '{print ($14+$15)/100}' /proc/$(systemctl show -P MainPID %s)/stat"
    return {
        (name, program): float(done.stdout)
        for program in PROGRAMS
        for name, done in nodes.everywhere(script % program).items()
    }


def _memory_mib(nodes: Nodes, program: str) -> list[float]:
    script = f"awk '/VmRSS/ {{print $2}}' /proc/$(systemctl show -P MainPID {program})/status"
    return [int(done.stdout) / 1024 for done in nodes.everywhere(script).values()]


def _imports_mib(nodes: Nodes, program: str) -> float:
    read = (
        f"{IMPORTS[program]}; print(next(l.split()[1] for l in open('/proc/self/status') if l.startswith('VmRSS')))"
    )
    done = nodes.cluster.exec(nodes.names[0], [nodes.cluster.system.python, "-c", read])
    return int(done.stdout) / 1024


def _short(program: str) -> str:
    return program.removesuffix(".service")
