"""What metrics cost a leader: the first scrape, later ones, what is marked in between, and what when nobody asks.

    python -m bench.metrics [--units 20000] [--machines 1000]

Over the real server and encoder on loopback. A scrape waits for nothing but the loop, so the longest time that it
holds the loop up stands beside its time.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
import urllib.request
from dataclasses import replace
from typing import Any, cast

from bench.placement import conflicting_fleet
from bench.report import Figure, table
from placement.cluster_state import ClusterState
from registry.keys import Address, Keys, Table
from registry.mirror import Mirror, RawChange
from registry.program import collector
from registry.program.exposition import MetricsPages
from registry.program.measures import Sample
from registry.records import encode
from registry.sync.follow import Follower
from scheduler.metrics import Measures

PORT = 19465
CHANGES = 100


class Fleet:
    """A mirror, a state, and what a follower has of them."""

    def __init__(self, units: int, machines: int) -> None:
        snapshot, keys = conflicting_fleet(units, machines)[0], Keys()
        self.keys, self.mirror, self.still = keys, Mirror(keys), asyncio.Lock()
        self.states = snapshot.states
        records: dict[str, Any] = {keys.state(*pair): state for pair, state in snapshot.states.items()}
        records |= {keys.unit(name): unit for name, unit in snapshot.units.items()}
        self.mirror.reset((RawChange(key, encode(each), 1, 1) for key, each in records.items()), 1)
        self.state = ClusterState.from_snapshot(snapshot, keys)

    def change(self, measures: Measures) -> float:
        """Change some units' states; returns what the metrics' share of it was, in seconds."""
        spent_s = 0.0
        for pair, state in list(self.states.items())[:CHANGES]:
            record = replace(state, active="failed", restarts=state.restarts + 1)
            self.mirror.apply([RawChange(self.keys.state(*pair), encode(record), 1, 2)], 2)
            began = time.perf_counter()
            measures.changed([Address(Table.STATES, *pair)])
            spent_s += time.perf_counter() - began
        return spent_s


async def scrape(url: str) -> tuple[float, float, int]:
    """Seconds of a scrape, the longest that it held up the loop, and its bytes."""
    held_s, done = 0.0, False

    async def beat() -> None:
        nonlocal held_s
        while not done:
            began = time.perf_counter()
            await asyncio.sleep(0)
            held_s = max(held_s, time.perf_counter() - began)

    watch = asyncio.create_task(beat())
    began = time.perf_counter()
    body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=60).read())  # noqa: S310
    took_s, done = time.perf_counter() - began, True
    await watch
    return took_s, held_s, len(body)


async def measure(units: int, machines: int) -> list[Figure]:
    """Scrape a fleet at rest, then one that changes."""
    collector.relax()
    fleet, measures = Fleet(units, machines), Measures()
    idle_s = fleet.change(measures)

    async def samples() -> list[Sample]:
        told = await measures.fleet(cast("Follower", fleet), lambda: fleet.state)
        return [*measures.own(None), *told]

    size = f"{units:,} units on {machines:,} machines"
    async with MetricsPages("127.0.0.1", PORT, samples, lambda: (True, "")):
        url = f"http://127.0.0.1:{PORT}/metrics"
        await asyncio.to_thread(lambda: urllib.request.urlopen(url.replace("metrics", "healthz")))  # noqa: S310
        first_s, held_s, length = await scrape(url)
        marked_s = fleet.change(measures)
        changed_s, _, _ = await scrape(url)
        rest_s, rest_held_s, _ = await scrape(url)
    return [
        Figure(f"first scrape, {size}", first_s * 1000, "ms", 1000, None, f"{length:,} bytes"),
        Figure("it holds up the loop at most", held_s * 1000, "ms", 20),
        Figure(f"scrape after {CHANGES} changes", changed_s * 1000, "ms", 50, first_s * 1000, "the first"),
        Figure("scrape when nothing has changed", rest_s * 1000, "ms", 50, first_s * 1000, "the first"),
        Figure("it holds up the loop at most", rest_held_s * 1000, "ms", 20),
        Figure("a change, while somebody scrapes", marked_s / CHANGES * 1e6, "us", 20),
        Figure("a change, while nobody does", idle_s / CHANGES * 1e6, "us", 2),
    ]


def main() -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics", description=__doc__)
    parser.add_argument("--units", type=int, default=20_000, help="units (20000)")
    parser.add_argument("--machines", type=int, default=1000, help="machines (1000)")
    options = parser.parse_args()
    figures = asyncio.run(measure(options.units, options.machines))
    sys.stdout.write(table(figures) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
