"""Our own fleet, as `make bench` boots it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from bench.nodes import OURS, Nodes
from bench.peers.fleet import Fleet
from fleettui.demo.cluster import PROGRAMS, Cluster
from registry.program.version import installed_version


class Ours(Fleet):
    """Agents, schedulers and one etcd; commands run on this host, over TLS."""

    title = "fleettui"
    services = PROGRAMS

    def __init__(self, name: str, ttl_s: float, directory: Path, note: Callable[[str], None]) -> None:
        self.cluster = Cluster(name, 3, ttl=f"{ttl_s:g}s")
        self.bench = Nodes(self.cluster, directory, note)
        self.nodes = self.cluster.nodes

    def up(self) -> None:
        self.cluster.up()
        self.bench.settle()
        self.beside = (self.cluster.etcd.cgroup,)

    def version(self) -> str:
        return f"fleettui {installed_version()}"

    def start(self, name: str) -> None:
        self.bench.fleetctl("start", str(self.bench.directory / f"{OURS}{name}.service"))

    def stop(self, name: str) -> None:
        self.bench.fleetctl("stop", f"{OURS}{name}.service")

    def fill(self, count: int) -> None:
        self.bench.fleetctl("start", *self.bench.ours(count))

    def confirm(self, count: int) -> None:
        """Its commands have waited."""

    def drop(self) -> None:
        self.bench.fleetctl("destroy", f"{OURS}*")

    def forget(self) -> None:
        self.bench.clear()

    def listing(self) -> str:
        return self.cluster.fleetctl("list-units").stdout

    def leader(self) -> str:
        return self.bench.leader()

    def settle(self) -> None:
        self.cluster.up()
        self.bench.until("machines and a leader", self._whole)

    def _whole(self) -> bool:
        return self.bench.rows("machines/") == len(self.nodes) and self.bench.rows("leader") == 1
