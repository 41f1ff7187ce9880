"""What cluster tests ask of real machines: wait for a fact, see where a unit really runs, start over."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from fleettui.demo.cluster import Cluster

T = TypeVar("T")
OPERATOR_KEYS = (
    "units/",
    "files/",
    "overrides/",
    "events/",
    "crashes/",
    "rollouts/",
    "placements/",
    "config/",
    "secrets/",
    "contents/",
)


def eventually(what: str, fact: Callable[[], T], *, timeout_s: float = 20, interval_s: float = 0.05) -> T:
    """The first truthy value of `fact`; fails with the last value at the deadline."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = fact()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout_s:g} s; the last answer was {value!r}")
        time.sleep(interval_s)


def active_on(cluster: Cluster, unit: str) -> list[str]:
    """The nodes whose own systemd says that the unit is active, whatever the registry believes."""
    up = [node for node in cluster.nodes.values() if node.alive()]
    return [node.name for node in up if node.exec(["systemctl", "is-active", unit]).stdout.strip() == "active"]


def registry(cluster: Cluster, table: str) -> dict[str, str]:
    """The raw records of one table, keys without the prefix; read past our own client on purpose."""
    prefix = f"/fleet/{table}"
    return {key.removeprefix("/fleet/"): value for key, value in cluster.etcd.dump(prefix).items()}


def start_over(cluster: Cluster) -> None:
    """Mend every fault, forget all units, and wait until agents and a scheduler report an idle cluster."""
    cluster.repair()
    for key in OPERATOR_KEYS:
        cluster.etcd.delete(f"/fleet/{key}")
    eventually("all machines registered", lambda: len(registry(cluster, "machines/")) == len(cluster.nodes))
    eventually("a scheduler leading", lambda: registry(cluster, "leader"))
    eventually("no unit left anywhere", lambda: _occupied(cluster) == [], timeout_s=60)


def _occupied(cluster: Cluster) -> list[str]:
    tables = ("schedule/", "states/", "pending/")
    return [key for table in tables for key in registry(cluster, table)]
