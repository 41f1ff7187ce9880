"""Find and remove everything that a cluster put on this host, however it ended.

Works from the cluster's name alone: cgroups (and through them processes), mounts, interfaces, directories.
"""

from __future__ import annotations

import contextlib
import json
import re
from pathlib import Path

from fleettui.demo import network
from fleettui.demo.cgroup import Cgroup, groups
from fleettui.demo.layout import ClusterLayout
from fleettui.demo.noderoot import PROPAGATE, remove_traces
from fleettui.demo.process import run, wait_until


def sweep(layout: ClusterLayout) -> None:
    """Remove every trace of the cluster; when there is none, do nothing."""
    for name in groups(layout.cgroup_prefix):
        Cgroup(name).end()
    prepared = {f"{layout.name}-{path.name}" for path in (layout.state / "nodes").glob("core-*")}
    for machine in prepared.union(_propagated(layout)):  # whatever size the cluster had
        remove_traces(machine, layout.state / "nodes" / machine.removeprefix(f"{layout.name}-") / "root")
    for point in reversed(_mounts(layout)):
        if run(["umount", point], check=False).returncode:  # somebody still looks inside: it goes when they leave
            run(["umount", "--lazy", point])
    for name in _namespaces(layout):
        network.remove_namespace(name)
    network.remove_bridge(layout)
    for name in _interfaces(layout):  # the kernel removes what a namespace held in its own time
        run(["ip", "link", "delete", name], check=False)
    wait_until(f"the links of {layout.name} going", lambda: not _interfaces(layout), timeout_s=15)
    with contextlib.suppress(OSError):  # those above it may be in use by other clusters
        for directory in (layout.state, layout.state.parent, layout.state.parent.parent):
            directory.rmdir()


def leftovers(layout: ClusterLayout) -> list[str]:
    """What of the cluster is on this host, in words; empty when it is gone."""
    found = [f"cgroup {name}" for name in groups(layout.cgroup_prefix)]
    found += [f"mount {point}" for point in _mounts(layout)]
    found += [f"interface {name}" for name in _interfaces(layout)]
    found += [f"network namespace {name}" for name in _namespaces(layout)]
    found += [f"directory {PROPAGATE / name}" for name in _propagated(layout)]
    if layout.state.exists():
        found.append(f"directory {layout.state}")
    return found


def is_mounted(point: Path) -> bool:
    """Whether something is mounted at exactly this place."""
    return point in _mount_points()


def _mounts(layout: ClusterLayout) -> list[Path]:
    return [point for point in _mount_points() if point == layout.state or layout.state in point.parents]


def _mount_points() -> list[Path]:
    """All mount points in the order they were mounted; octal escapes as in proc(5)."""
    rows = Path("/proc/self/mountinfo").read_text().splitlines()
    return [Path(re.sub(r"\\([0-7]{3})", lambda m: chr(int(m[1], 8)), row.split()[4])) for row in rows]


def _interfaces(layout: ClusterLayout) -> list[str]:
    """The bridge and the machines' links; a link whose name the kernel finds too long has it as an alternative."""
    wanted = re.compile(rf"{layout.bridge}|vb-{layout.name}-core-\d+|ve{layout.subnet}-\d+")
    shown = json.loads(run(["ip", "-json", "link", "show"]).stdout or "[]")
    names = [name for link in shown for name in (link["ifname"], *link.get("altnames", []))]
    return [name for name in names if wanted.fullmatch(name)]


def _namespaces(layout: ClusterLayout) -> list[str]:
    return [name for name in network.namespaces() if name.startswith(f"fl-{layout.name}-etcd-")]


def _propagated(layout: ClusterLayout) -> list[str]:
    return [path.name for path in PROPAGATE.glob(f"{layout.name}-core-*")] if PROPAGATE.exists() else []
