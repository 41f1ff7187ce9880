"""The fleet as a test sees it: orders through `fleetctl`, the truth from each node's own systemd.

Nothing here asks the registry what runs where; what systemd says on the machines is what counts.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

from fleettui.demo.cluster import Cluster
from fleettui.demo.node import Node
from fleettui.demo.process import ToolFailed
from tests.cluster.nodes import eventually, registry

PROPERTIES = "Id,ActiveState,SubState,MainPID,InvocationID,FragmentPath,InactiveExitTimestampMonotonic"
GONE = ("inactive", "failed", "")
SLEEPER = "[Unit]\nDescription=sleeper\n[Service]\nExecStart=/bin/sleep infinity\n"


@dataclass(frozen=True, slots=True)
class Truth:
    """What one node's systemd says of one unit."""

    active: str
    sub: str
    main_pid: int
    invocation: str
    since: float = 0.0  # when it left inactive, on the monotonic clock that the nodes share with this process
    asked: float = field(
        default=0.0, compare=False
    )  # when it was asked for, on the same clock: so it was then, or later

    @property
    def up(self) -> bool:
        """Whether something of the unit may be running."""
        return self.active not in GONE


class Fleet:
    """A cluster with an operator at its keyboard. Unit files are written below `directory`."""

    def __init__(self, cluster: Cluster, directory: Path) -> None:
        self.cluster = cluster
        self.directory = directory

    def write(self, name: str, text: str) -> str:
        """A unit file's path."""
        path = self.directory / name
        path.write_text(text)
        return str(path)

    def ctl(self, *arguments: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Run fleetctl and expect it to succeed."""
        done = self.cluster.fleetctl(*arguments, timeout_s=timeout_s)
        assert done.returncode == 0, (
            f"fleetctl {' '.join(arguments[:3])}: {done.stdout[-2000:]} {done.stderr[-2000:]}"
        )
        return done

    def fails(self, *arguments: str, timeout_s: float = 60) -> str:
        """Run fleetctl, expect it to fail without a traceback, and return what it says on stderr."""
        done = self.cluster.fleetctl(*arguments, timeout_s=timeout_s)
        assert done.returncode != 0, done.stdout
        assert "Traceback" not in done.stderr
        return done.stderr

    def start(self, *units: str, text: str = SLEEPER) -> None:
        """Submit and start units that share one text."""
        self.ctl("start", *[self.write(unit, text) for unit in units], timeout_s=120)

    def truth(self, pattern: str) -> dict[tuple[str, str], Truth]:
        """What every live node's systemd says of the loaded units that match, by (node, unit)."""
        found: dict[tuple[str, str], Truth] = {}
        for node in self.cluster.nodes.values():
            asked = time.monotonic()
            if text := _asked(node, ["systemctl", "show", "-p", PROPERTIES, "--", pattern]):
                found |= {(node.name, unit): truth for unit, truth in _parse(text, asked)}
        return found

    def running(self, pattern: str) -> dict[tuple[str, str], Truth]:
        """The part of the truth that is up."""
        return {key: truth for key, truth in self.truth(pattern).items() if truth.up}

    def homes(self, pattern: str) -> dict[str, str]:
        """Each running unit's node; fails when one runs twice."""
        sightings: Sightings = {}
        while True:  # a unit that moved between two questions is seen on both nodes, and is asked for again
            running = self.running(pattern)
            sight(sightings, running)
            assert not (twice := twice_up(sightings)), twice
            homes = {unit: node for node, unit in running}
            if len(homes) == len(running):
                return homes

    def settled(self, pattern: str, count: int, *, within_s: float = 30) -> dict[str, str]:
        """Wait until `count` units that match run, each once, and return their nodes."""

        def once() -> dict[tuple[str, str], Truth]:
            running = self.running(pattern)
            distinct = len({unit for _, unit in running}) == len(running) == count
            return running if distinct and all(each.active == "active" for each in running.values()) else {}

        running = eventually(f"{count} units {pattern} running once each", once, timeout_s=within_s)
        return {unit: node for node, unit in running}

    def machine_id(self, node: str) -> str:
        """The node's full machine id."""
        return self.cluster.node(node).spec.machine_id

    def leader(self) -> str:
        """The name of the node whose scheduler leads."""
        value = eventually("a leader", lambda: registry(self.cluster, "leader")).popitem()[1]
        return next(name for name in self.cluster.nodes if f'"{name}"' in value)

    def shell(self, node: str, script: str) -> str:
        """A shell script's output on a node; the script must succeed."""
        done = self.cluster.exec(node, ["sh", "-c", script], timeout_s=150)
        assert done.returncode == 0, done.stderr
        return done.stdout


# By (node, unit, when it left inactive): the last moment at which it was certainly still up.
Sightings: TypeAlias = dict[tuple[str, str, float], float]


@contextmanager
def never_twice(fleet: Fleet, pattern: str, *, apart_from: tuple[str, ...] = ()) -> Iterator[None]:
    """Look at every node all the time; fail if a unit was ever up on two of them (cut-off ones left out)."""
    sightings: Sightings = {}
    stop = threading.Event()

    def watch() -> None:
        while not stop.is_set():
            running = fleet.running(pattern)
            sight(sightings, {key: truth for key, truth in running.items() if key[0] not in apart_from})

    watcher = threading.Thread(target=watch, name="never-twice")
    watcher.start()
    try:
        yield
    finally:
        stop.set()
        watcher.join()
    assert not (twice := twice_up(sightings)), twice


def sight(sightings: Sightings, running: Mapping[tuple[str, str], Truth]) -> None:
    """Note what was just seen up."""
    for (node, unit), truth in running.items():
        sightings[node, unit, truth.since] = truth.asked


def twice_up(sightings: Sightings) -> list[str]:
    """The units that left inactive on one node while they were still up on another.

    The nodes are asked one after the other, so that being seen on two in one round proves nothing: systemd's own
    time of the start, against a later sight of the other copy, does.
    """
    found = []
    for (node, unit, since), seen in sightings.items():
        for other, same, later in sightings:
            if unit == same and node != other and since <= later < seen:
                found.append(f"{unit} up on {node} from {since:.3f} to {seen:.3f}, and on {other} from {later:.3f}")
    return found


def _asked(node: Node, argv: list[str]) -> str:
    """A command's output on a node; nothing from one that is down, or goes down meanwhile."""
    try:
        return node.exec(argv).stdout if node.alive() else ""
    except ToolFailed:
        if node.alive():
            raise
        return ""


def _parse(text: str, asked: float) -> Iterator[tuple[str, Truth]]:
    for block in re.split(r"\n\n", text.strip()):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        if values.get("FragmentPath"):
            pid = int(values.get("MainPID") or 0)
            since = int(values.get("InactiveExitTimestampMonotonic") or 0) / 1e6
            truth = Truth(
                values["ActiveState"], values["SubState"], pid, values.get("InvocationID", ""), since, asked
            )
            yield values["Id"], truth
