"""What many units at once take: started and destroyed in one command, beside systemd alone on each node."""

from __future__ import annotations

import time
from collections.abc import Iterator

from bench.nodes import Nodes, Size, median, spread
from bench.report import Figure

TIMES = 1.5  # of what systemd takes alone
RUNS = 3


def many(nodes: Nodes, size: Size) -> Iterator[Figure]:
    """All instances in one blocking command, and all destroyed by another; each beside systemctl alone."""
    each = size.units // len(nodes.names)
    runs = min(RUNS, size.runs)
    nodes.clear()
    bare, started, destroyed = [], [], []
    for _ in range(runs):  # by turns: what else this host does shall burden both
        with nodes.reference():
            bare.append((nodes.systemctl("start", each), nodes.systemctl("stop", each)))
        started.append(_start(nodes, size.units))
        destroyed.append(_destroy(nodes))
    start_s, stop_s = median([start for start, _ in bare]), median([stop for _, stop in bare])
    yield Figure(
        f"{size.units} instances, one blocking command, all active", median(started), "s", TIMES * start_s, start_s,
        f"systemctl start of {each} on each node at once; {spread(started)}",
    )  # fmt: skip
    yield Figure(
        f"destroy {size.units}, all processes gone", median(destroyed), "s", TIMES * stop_s, stop_s,
        f"systemctl stop of {each} on each node at once; {spread(destroyed)}",
    )  # fmt: skip


def _start(nodes: Nodes, count: int) -> float:
    took = nodes.fleetctl("start", *nodes.ours(count))
    found = nodes.active()
    if found != count:
        raise AssertionError(f"the command said so, but {found} of {count} units are active")
    return took


def _destroy(nodes: Nodes) -> float:
    began = time.monotonic()
    nodes.fleetctl("destroy", "bench@*")
    nodes.until("the end of all processes", lambda: nodes.alive() == 0, every_s=0.01)
    return time.monotonic() - began
