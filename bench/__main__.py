"""What the working fleet costs, on three real nodes: `make bench`, or `python -m bench --help`.

Every figure stands beside a reference of the same run: what the node's own `systemctl` takes for the same work, or
the lease that a failover has to wait for.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from fleettui.demo.cluster import Cluster

SLEEPER = "[Service]\nExecStart=/bin/sleep infinity\n"
PROGRAMS = ("fleet-agentd.service", "fleet-scheduler.service")
TTL_S = 5.0


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table; `reference` is 0 where there is nothing to compare with."""

    work: str
    value: float
    unit: str
    reference: float = 0.0
    against: str = ""

    def line(self) -> str:
        """The figure as a line of the table."""
        ratio = f"{self.value / self.reference:.2f} x" if self.reference else ""
        beside = f"{self.reference:.3g} {self.unit} {self.against}" if self.reference else self.against
        return f"{self.work:<44} {self.value:>8.3g} {self.unit:<5} {ratio:>8}  {beside}"


class Bench:
    """A booted cluster to measure; every unit it starts is named bench-…"""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster, self.directory = cluster, directory

    def measure(self, count: int) -> list[Figure]:
        """All figures, in the order of the table."""
        self._wait(lambda: self._rows("machines/") == len(self.cluster.nodes))
        self._wait(lambda: self._rows("leader") == 1)
        one, many = self._files(1), self._files(count)
        figures = [*self._starts(one, 5), self._batch(many, count), *self._at_rest(count)]
        figures += [self._hand_over(count), self._failover(count)]
        self.cluster.fleetctl("destroy", "bench-*", timeout_s=120)
        return figures

    def _starts(self, files: list[str], runs: int) -> list[Figure]:
        starts, stops, lists = [], [], []
        for _ in range(runs):
            starts.append(self._timed("start", *files))
            lists.append(self._timed("list-units"))
            stops.append(self._timed("destroy", "bench-0.service"))
        bare = statistics.median(self._bare(1) for _ in range(runs))
        imports = statistics.median(self._timed("version") for _ in range(runs))
        return [
            Figure(
                "fleetctl start, one unit, whole command", statistics.median(starts), "s", bare, "systemctl start"
            ),
            Figure(
                "fleetctl destroy, one unit, whole command", statistics.median(stops), "s", bare, "systemctl start"
            ),
            Figure(
                "fleetctl list-units, whole command", statistics.median(lists), "s", imports, "fleetctl version"
            ),
        ]

    def _batch(self, files: list[str], count: int) -> Figure:
        bare = self._bare(count)
        took = self._timed("start", *files)
        return Figure(f"fleetctl start, {count} units, all active", took, "s", bare, "systemctl start, on one node")

    def _at_rest(self, count: int) -> list[Figure]:
        before = self._cpu_s()
        began = time.monotonic()
        time.sleep(20)
        elapsed = time.monotonic() - began
        used = {name: self._cpu_s()[name] - before[name] for name in before}
        figures = [
            Figure(
                f"idle CPU of {program}, {count} units", 100 * worst / elapsed, "%", against="of a core, worst node"
            )
            for program in PROGRAMS
            for worst in [max(value for (_, unit), value in used.items() if unit == program)]
        ]
        figures += [
            Figure(f"resident memory of {program}", max(self._memory(program)), "MiB", against="worst node")
            for program in PROGRAMS
        ]
        return figures

    def _hand_over(self, count: int) -> Figure:
        busiest = next(iter(self.cluster.nodes))
        began = time.monotonic()
        self.cluster.exec(busiest, ["systemctl", "stop", PROGRAMS[0]], timeout_s=130)
        self._wait(lambda: self._active(but=busiest) == count)
        took = time.monotonic() - began
        self.cluster.exec(busiest, ["systemctl", "start", PROGRAMS[0]])
        self._wait(lambda: self._rows("machines/") == len(self.cluster.nodes))
        return Figure("clean stop of a machine: active elsewhere", took, "s", TTL_S, "the lease")

    def _failover(self, count: int) -> Figure:
        victim = list(self.cluster.nodes)[-1]
        began = time.monotonic()
        self.cluster.node(victim).crash()
        self._wait(lambda: self._active(but=victim) == count)
        return Figure("crash of a machine: active elsewhere", time.monotonic() - began, "s", TTL_S, "the lease")

    def _timed(self, *arguments: str) -> float:
        began = time.monotonic()
        done = self.cluster.fleetctl(*arguments, timeout_s=120)
        took = time.monotonic() - began
        if done.returncode:
            raise SystemExit(f"fleetctl {arguments[0]}: {done.stderr.strip()}")
        return took

    def _bare(self, count: int) -> float:
        """What systemd itself takes for as many starts on one node, files written before."""
        node = next(iter(self.cluster.nodes))
        names = " ".join(f"bare-{number}.service" for number in range(count))
        write = f"for u in {names}; do printf '{SLEEPER}' >/run/systemd/system/$u; done; systemctl daemon-reload"
        self.cluster.exec(node, ["sh", "-c", write])
        began = time.monotonic()
        self.cluster.exec(node, ["sh", "-c", f"systemctl start {names}"], timeout_s=120)
        took = time.monotonic() - began
        undo = "systemctl stop 'bare-*'; rm /run/systemd/system/bare-*; systemctl daemon-reload"
        self.cluster.exec(node, ["sh", "-c", undo], timeout_s=120)
        return took

    def _files(self, count: int) -> list[str]:
        paths = [self.directory / f"bench-{number}.service" for number in range(count)]
        for path in paths:
            path.write_text(SLEEPER)
        return [str(path) for path in paths]

    def _rows(self, table: str) -> int:
        return len(self.cluster.etcd.dump(f"/fleet/{table}"))

    def _active(self, *, but: str) -> int:
        """Active units as the nodes' own systemds see them, one node left out."""
        script = "systemctl list-units --no-legend --state=active 'bench-*' | wc -l"
        others = [node for node in self.cluster.nodes.values() if node.name != but and node.alive()]
        return sum(int(node.exec(["sh", "-c", script]).stdout) for node in others)

    def _cpu_s(self) -> dict[tuple[str, str], float]:
        script = "awk '{print ($14+$15)/100}' /proc/$(systemctl show -P MainPID %s)/stat"
        return {
            (name, program): float(self.cluster.exec(name, ["sh", "-c", script % program]).stdout)
            for name in self.cluster.nodes
            for program in PROGRAMS
        }

    def _memory(self, program: str) -> list[float]:
        script = f"awk '/VmRSS/ {{print $2}}' /proc/$(systemctl show -P MainPID {program})/status"
        return [int(self.cluster.exec(name, ["sh", "-c", script]).stdout) / 1024 for name in self.cluster.nodes]

    def _wait(self, fact: Callable[[], bool], within_s: float = 60) -> None:
        deadline = time.monotonic() + within_s
        while not fact():
            if time.monotonic() > deadline:
                raise SystemExit("the cluster did not get there within a minute")
            time.sleep(0.02)


def main() -> int:
    """Boot a cluster of its own, measure, print the table, take the cluster away."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--units", type=int, default=100, help="how many units the larger figures use (100)")
    parser.add_argument("--json", type=Path, help="also write the figures there")
    arguments = parser.parse_args()
    cluster = Cluster("bench", ttl=f"{TTL_S:g}s")
    try:
        cluster.up()
        with tempfile.TemporaryDirectory() as directory:
            figures = Bench(cluster, Path(directory)).measure(arguments.units)
    finally:
        cluster.down()
    print("\n".join(figure.line() for figure in figures))
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(each) for each in figures], indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
