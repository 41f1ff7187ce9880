"""Looking at what really runs: the control groups of every machine, ten times a second, and the units' own traces.

Owns the reading of both; asks neither the registry nor an agent. A process is seen by its number on this host, so
two sights of the same number are proof that it lived all the time between them.
"""

from __future__ import annotations

import os
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleettui.demo.cluster import Cluster
from fleettui.demo.node import Node
from tests.chaos import crowd
from tests.chaos.judge import Overlap

EVERY_S = 0.1


@dataclass(frozen=True, slots=True)
class Sight:
    """The processes of one unit on one machine, seen at a moment (monotonic seconds)."""

    at_s: float
    pids: frozenset[int]


@dataclass(frozen=True, slots=True)
class Note:
    """A line of a trace: the unit is about to start, or the last of it is gone."""

    at_s: float  # the machine's uptime, which is this host's monotonic clock
    word: str
    unit: str
    version: int


Scan = Mapping[tuple[str, str], Sight]


class Witness:
    """Watches in a thread of its own until `stop`."""

    def __init__(self, cluster: Cluster, told: Callable[[Overlap], None]) -> None:
        self.scans = 0
        self._cluster, self._told = cluster, told
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="witness", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        before: Scan = {}
        while not self._stop.wait(EVERY_S):
            now = self.scan()
            for overlap in overlaps(before, now):
                self._told(overlap)
            before = now
            self.scans += 1

    def scan(self) -> Scan:
        """Every unit of the campaign that has a process somewhere."""
        found: dict[tuple[str, str], Sight] = {}
        for node in self._cluster.nodes.values():
            for unit, group in _groups(node):
                at_s = time.monotonic()
                if pids := _pids(group):
                    found[node.name, unit] = Sight(at_s, pids)
        return found


def overlaps(before: Scan, now: Scan) -> list[Overlap]:
    """Units with processes on two machines that both lived from one scan to the next."""
    lived: dict[str, list[tuple[str, float, float]]] = defaultdict(list)
    for (node, unit), sight in now.items():
        earlier = before.get((node, unit))
        if earlier and earlier.pids & sight.pids and crowd.KINDS[unit] is not crowd.GLOBAL:
            lived[unit].append((node, earlier.at_s, sight.at_s))
    return [
        Overlap(unit, (one[0], other[0]), max(one[1], other[1]), min(one[2], other[2]))
        for unit, copies in lived.items()
        if unit != crowd.HOST_UNIT
        for index, one in enumerate(copies)
        for other in copies[index + 1 :]
    ]


def _groups(node: Node) -> list[tuple[str, Path]]:
    """The control groups of our units on a machine; instances lie in a slice of their template."""
    top = node.cgroup.directories[-1]
    slices = [top / "payload/system.slice", top / "system.slice"]
    found: list[tuple[str, Path]] = []
    while slices:
        place = slices.pop()
        for name in _listed(place):
            if name.startswith("system-chaos") and name.endswith(".slice"):
                slices.append(place / name)
            elif name in crowd.KINDS:
                found.append((name, place / name))
    return found


def _listed(place: Path) -> list[str]:
    try:
        return [entry.name for entry in os.scandir(place)]
    except OSError:
        return []


def _pids(group: Path) -> frozenset[int]:
    try:
        return frozenset(int(line) for line in (group / "cgroup.procs").read_text().split() if line != "0")
    except OSError:
        return frozenset()


def trace(node: Node) -> list[Note]:
    """All that the units of a machine have noted, over all its boots."""
    try:
        text = (node.root.directory / crowd.TRACE[1:]).read_text(errors="replace")
    except OSError:
        return []
    return [note for line in text.splitlines() if (note := _note(line))]


def _note(line: str) -> Note | None:
    """A line; None for one that a crash has cut off."""
    words = line.split()
    try:
        return Note(float(words[0]), words[1], words[2], int(words[3]))
    except (IndexError, ValueError):
        return None


def own_units(cluster: Cluster) -> dict[str, frozenset[int]]:
    """The processes of the machines' own unit, by machine."""
    found = {}
    for node in cluster.nodes.values():
        groups = dict(_groups(node))
        if crowd.HOST_UNIT in groups:
            found[node.name] = _pids(groups[crowd.HOST_UNIT])
    return found
