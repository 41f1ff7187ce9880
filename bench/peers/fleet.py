"""What a fleet that is compared can do, and how it is looked at: from the host, the same way for each."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from bench.nodes import Stuck
from fleettui.demo.cgroup import Cgroup
from fleettui.demo.node import Node

COMMAND = b"/bin/sleep\0infinity\0"  # what every unit, resource and container runs
LOOK_S, LOOK_SHARE, LOOK_AT_MOST_S = 0.01, 0.02, 0.1  # looking burdens the host: as exact as the wait is long


class Fleet(ABC):
    """Three nodes and what runs units on them. Every unit sleeps; names are one word.

    Methods raise ToolFailed or Stuck.
    """

    title: str
    nodes: Mapping[str, Node]
    services: tuple[str, ...]  # its daemons on each node
    beside: tuple[Cgroup, ...] = ()  # its daemons elsewhere

    @abstractmethod
    def up(self) -> None:
        """Boot the nodes and wait until all are members and one leads."""

    @abstractmethod
    def version(self) -> str:
        """What runs, in words."""

    @abstractmethod
    def start(self, name: str) -> None:
        """Start a unit that the fleet does not know yet, by one command."""

    @abstractmethod
    def stop(self, name: str) -> None:
        """Stop a unit that stays known, by one command; its process may outlive this."""

    @abstractmethod
    def fill(self, count: int) -> None:
        """Start so many units by one command."""

    @abstractmethod
    def confirm(self, count: int) -> None:
        """Wait until the fleet itself says that so many units run."""

    @abstractmethod
    def drop(self) -> None:
        """End every unit by one command; processes may outlive this."""

    @abstractmethod
    def forget(self) -> None:
        """Know no unit any more, as at the beginning."""

    @abstractmethod
    def listing(self) -> str:
        """Run the command that lists every unit with its machine and state; what it prints."""

    @abstractmethod
    def leader(self) -> str:
        """The node that decides for the others."""

    @abstractmethod
    def settle(self) -> None:
        """Boot what is down and wait until all nodes are members and one leads."""

    @property
    def operator(self) -> Node:
        """The node on which commands run that need one."""
        return next(node for node in self.nodes.values() if node.alive())

    def boot(self) -> None:
        """Boot the nodes that are down and wait until all answer."""
        for node in self.nodes.values():
            node.boot()
        for node in self.nodes.values():
            node.wait_ready()

    def alive(self) -> int:
        """Processes of units on all nodes, together."""
        return sum(_command(pid) == COMMAND for node in self.nodes.values() for pid in node.cgroup.processes())

    def until(self, what: str, fact: Callable[[], bool], within_s: float = 180) -> None:
        """Wait for a fact. Stuck when it does not come true."""
        began = time.monotonic()
        while not fact():
            waited = time.monotonic() - began
            if waited > within_s:
                raise Stuck(f"waited {within_s:g} s for {what}")
            time.sleep(min(LOOK_S + LOOK_SHARE * waited, LOOK_AT_MOST_S))

    def cpu_s(self) -> float:
        """Seconds of processor time that everything on the nodes has used, and the daemons elsewhere."""
        groups = [*(node.cgroup for node in self.nodes.values()), *self.beside]
        rows = [(group.directories[-1] / "cpu.stat").read_text().split() for group in groups]
        return sum(int(row[row.index("usage_usec") + 1]) for row in rows) / 1e6

    def memory_mib(self) -> dict[str, float]:
        """What the daemons hold for themselves (Pss), by program, on all nodes together."""
        found: dict[str, float] = {}
        for pid in self._daemons():
            with suppress(OSError):
                name = Path(f"/proc/{pid}/comm").read_text().strip()
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
                found[name] = found.get(name, 0.0) + int(rollup[rollup.index("Pss:") + 1]) / 1024
        return found

    def _daemons(self) -> Iterable[int]:
        for node in self.nodes.values():
            for service in self.services:
                for place in node.cgroup.directories[-1].rglob(f"system.slice/{service}"):
                    for file in place.rglob("cgroup.procs"):
                        yield from map(int, file.read_text().split())
        for group in self.beside:
            yield from group.processes()


def look_s(count: int) -> float:
    """Seconds between two questions to a fleet whether so many units run: asking burdens it, many take long."""
    return 0.05 if count == 1 else 0.2


def _command(pid: int) -> bytes:
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""
