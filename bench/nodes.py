"""A cluster that is measured: commands on its nodes at once, and what their systemds say happened when.

Owns the ways to act and to look; measures nothing itself. What happened to a unit is read in each node's journal,
where systemd itself notes its times; all nodes share this host's clocks. Every unit that is started here is an
instance of `bench@.service` (the fleet's) or of `ref@.service` (systemd's own, put there by hand).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fleettui.demo.cluster import PROGRAMS, Cluster
from fleettui.demo.process import Completed

SLEEPER = "[Service]\nExecStart=/bin/sleep infinity\n"
OURS, REFERENCE = "bench@", "ref@"
STARTED, STOPPING, STOPPED = (
    "39f53479d3a045ac8e11786248231fbf",
    "de5b426a63be47a7b6ac3eaac82e2f6f",
    "9d1aaa27d60140bd96365438aad20286",
)  # systemd.journal-fields(7), MESSAGE_ID: sd-messages.h


@dataclass(frozen=True, slots=True)
class Size:
    """How much is measured: units in all, repetitions of short work, and seconds of the long ones."""

    units: int = 300
    runs: int = 7
    rest_s: float = 30.0
    cut_s: float = 60.0
    outage_s: float = 20.0
    ttl_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Event:
    """One line of systemd's journal about a unit; `at` in seconds since the epoch, by systemd's own clock."""

    node: str
    unit: str
    kind: str
    at: float


@dataclass(frozen=True, slots=True)
class Running:
    """One active unit of ours: since when (seconds of the monotonic clock) and its main process."""

    since: float
    pid: int


class Stuck(Exception):
    """The cluster did not get to where it can be measured."""


class Nodes:
    """The cluster under measurement. `directory` takes unit files; `note` is told what goes on."""

    def __init__(self, cluster: Cluster, directory: Path, note: Callable[[str], None]) -> None:
        self.cluster, self.directory, self.note = cluster, directory, note
        self.names = tuple(cluster.nodes)
        (directory / f"{OURS}.service").write_text(SLEEPER)

    # ---- acting

    def ours(self, count: int, first: int = 1) -> list[str]:
        """Arguments for fleetctl: so many instances of the file in `directory`."""
        return [str(self.directory / f"{OURS}{number}.service") for number in range(first, first + count)]

    def fleetctl(self, *arguments: str, timeout_s: float = 300) -> float:
        """Seconds that one command took, from its start to its end. Stuck when it failed."""
        began = time.monotonic()
        done = self.cluster.fleetctl(*arguments, timeout_s=timeout_s)
        took = time.monotonic() - began
        if done.returncode:
            raise Stuck(f"fleetctl {arguments[0]}: {done.stderr.strip()[-500:]}")
        return took

    def act(self, *arguments: str) -> None:
        """One command whose time does not count."""
        self.fleetctl(*arguments)

    def everywhere(self, script: str, *, nodes: Iterable[str] = (), timeout_s: float = 300) -> dict[str, Completed]:
        """Run a shell script on these nodes (default: all that are up) at the same time."""
        wanted = tuple(nodes) or self.up()
        with ThreadPoolExecutor(len(wanted)) as pool:
            found = pool.map(
                lambda name: self.cluster.exec(name, ["sh", "-c", script], timeout_s=timeout_s), wanted
            )
            return dict(zip(wanted, found, strict=True))

    def up(self) -> tuple[str, ...]:
        """The nodes that run."""
        return tuple(name for name in self.names if self.cluster.node(name).alive())

    def settle(self, units: int = 0) -> None:
        """Wait for every node to be registered, a leader, and as many units of ours to be active."""
        self.until(
            "machines and a leader", lambda: self.rows("machines/") == len(self.up()) and self.rows("leader") == 1
        )
        self.until(f"{units} active units", lambda: self.active() == units)

    def hold(self, units: int) -> None:
        """So many units of ours run, as many on each machine; those that do already are left alone."""
        share = units // len(self.names)
        counts = {name: self.active(nodes=[name]) for name in self.up()}
        if self.rows("units/") != units or any(count != share for count in counts.values()):
            self.clear()
            self.fleetctl("start", *self.ours(units))
        self.settle(units)

    def clear(self) -> None:
        """No unit of ours is left anywhere, in the registry or on a node."""
        if self.rows("units/"):
            self.fleetctl("destroy", f"{OURS}*")
        self.settle(0)
        self.until("an empty schedule", lambda: self.rows("schedule/") == 0 and self.rows("states/") == 0)

    @contextmanager
    def reference(self) -> Iterator[None]:
        """While systemd on every node knows `ref@.service` as a file of its own."""
        path = f"/run/systemd/system/{REFERENCE}.service"
        self.everywhere(f"printf '{SLEEPER}' >{path}; systemctl daemon-reload")
        try:
            yield
        finally:
            self.everywhere(f"systemctl stop '{REFERENCE}*'; rm -f {path}; systemctl daemon-reload")

    def systemctl(self, verb: str, each: int, *, nodes: Iterable[str] = ()) -> float:
        """Seconds until `systemctl start` or `stop` of so many reference units has ended on all nodes at once."""
        began = time.monotonic()
        done = self.everywhere(f"systemctl {verb} $(seq -f '{REFERENCE}%g.service' 1 {each})", nodes=nodes)
        took = time.monotonic() - began
        for name, each_done in done.items():
            if each_done.returncode:
                raise Stuck(f"systemctl {verb} on {name}: {each_done.stderr.strip()[-300:]}")
        return took

    # ---- looking

    def rows(self, table: str) -> int:
        """How many keys a table of the registry has."""
        return len(self.cluster.etcd.dump(f"/fleet/{table}"))

    def active(self, *, nodes: Iterable[str] = ()) -> int:
        """Units of ours that the nodes' systemds call active, together."""
        script = f"systemctl list-units --no-legend --state=active '{OURS}*' | wc -l"
        return sum(int(done.stdout or 0) for done in self.everywhere(script, nodes=nodes).values())

    def alive(self) -> int:
        """Processes of our units, together."""
        script = "pgrep -fxc '/bin/sleep infinity' || true"
        return sum(int(done.stdout or 0) for done in self.everywhere(script).values())

    def running(self, *, nodes: Iterable[str] = ()) -> dict[tuple[str, str], Running]:
        """Every active unit of ours by node and name."""
        script = f"systemctl show -p Id,MainPID,ActiveState,ActiveEnterTimestampMonotonic '{OURS}*'"
        found = {}
        for node, done in self.everywhere(script, nodes=nodes).items():
            for block in done.stdout.split("\n\n"):
                fields = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
                if fields.get("ActiveState") == "active":
                    since = int(fields["ActiveEnterTimestampMonotonic"]) / 1e6
                    found[node, fields["Id"]] = Running(since, int(fields["MainPID"]))
        return found

    def events(self, since: float, *, nodes: Iterable[str] = (), of: str = OURS) -> list[Event]:
        """What systemd wrote since then (seconds since the epoch) about units whose name begins so, in order."""
        wanted = " ".join(f"MESSAGE_ID={kind}" for kind in (STARTED, STOPPING, STOPPED))
        script = (
            f"journalctl --sync; journalctl -b -o json --since=@{int(since) - 1} "
            f"--output-fields=MESSAGE_ID,UNIT,_SOURCE_REALTIME_TIMESTAMP {wanted}"
        )
        found = []
        for node, done in self.everywhere(script, nodes=nodes).items():
            for line in done.stdout.splitlines():
                said = json.loads(line)
                event = Event(
                    node, said.get("UNIT", ""), said["MESSAGE_ID"], int(said["_SOURCE_REALTIME_TIMESTAMP"]) / 1e6
                )
                if event.unit.startswith(of) and event.at >= since:
                    found.append(event)
        return sorted(found, key=lambda each: each.at)

    def programs(self) -> dict[tuple[str, str], tuple[int, int]]:
        """Main process and number of restarts of each of our programs, by node and name."""
        found = {}
        for program in PROGRAMS:
            for node, done in self.everywhere(f"systemctl show -p MainPID,NRestarts {program}").items():
                fields = dict(line.split("=", 1) for line in done.stdout.split())
                found[node, program] = int(fields["MainPID"]), int(fields["NRestarts"])
        return found

    def machine_id(self, node: str) -> str:
        """The machine's id."""
        return self.cluster.node(node).spec.machine_id

    def leader(self) -> str:
        """The node whose scheduler leads."""
        (record,) = self.cluster.etcd.dump("/fleet/leader").values()
        return str(json.loads(record)["hostname"])

    def etcd_cpu_s(self) -> float:
        """Seconds of processor time that etcd has used."""
        ticks = 0
        for pid in self.cluster.etcd.cgroup.processes():
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
        return ticks / os.sysconf("SC_CLK_TCK")

    def until(self, what: str, fact: Callable[[], bool], within_s: float = 120, every_s: float = 0.05) -> None:
        """Wait for a fact. Stuck when it does not come true."""
        deadline = time.monotonic() + within_s
        while not fact():
            if time.monotonic() > deadline:
                raise Stuck(f"waited {within_s:g} s for {what}")
            time.sleep(every_s)


def host_command(argv: Sequence[str], runs: int) -> list[float]:
    """Seconds that a command on this host took, each time."""
    found = []
    for _ in range(runs):
        began = time.monotonic()
        subprocess.run(argv, check=True, capture_output=True)
        found.append(time.monotonic() - began)
    return found


def spread(values: Sequence[float], unit: str = "s") -> str:
    """Least, and how many runs, for a figure that is a median."""
    return f"least {min(values):.3g} {unit} of {len(values)}"


def median(values: Sequence[float]) -> float:
    """The median."""
    return statistics.median(values)
