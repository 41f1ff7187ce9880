"""The control groups that hold a cluster's processes, on unified (v2) and hybrid (v1 beside v2) hosts.

Membership is the proof of identity: a process is ours when it is in our group, so nothing is ever ended by a
remembered number that may by now belong to somebody else. Each node needs a group of its own; two systemds in
one would fight over it.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

from fleettui.demo.process import wait_until

MOUNT = Path("/sys/fs/cgroup")


def hierarchies(mount: Path = MOUNT) -> list[Path]:
    """The hierarchies that systemd uses on this host; the v2 one, which can freeze and kill, comes last."""
    if (mount / "cgroup.procs").exists():
        return [mount]
    return [mount / each for each in ("systemd", "unified") if (mount / each / "cgroup.procs").exists()]


def groups(prefix: str) -> list[str]:
    """The names of all top-level groups that start with `prefix`."""
    return sorted({path.name for root in hierarchies() for path in root.glob(f"{prefix}*") if path.is_dir()})


class Cgroup:
    """One named group in every hierarchy."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.directories = [root / name for root in hierarchies()]

    def create(self) -> None:
        """Make the group, with the controllers that the host lets us hand down."""
        for directory in self.directories:
            directory.mkdir(exist_ok=True)
        root = self.directories[-1].parent
        for controller in {"cpu", "memory", "pids"}.intersection((root / "cgroup.controllers").read_text().split()):
            with contextlib.suppress(OSError):  # not ours to give: the nodes then show no such figures
                (root / "cgroup.subtree_control").write_text(f"+{controller}")

    def launcher(self, argv: list[str]) -> list[str]:
        """A command that moves itself into the group and then becomes `argv`: there is no moment outside."""
        join = 'while [ "$1" != -- ]; do echo $$ > "$1/cgroup.procs" || exit 1; shift; done; shift; exec "$@"'
        return ["/bin/sh", "-c", join, "launch", *map(str, self.directories), "--", *argv]

    def processes(self) -> list[int]:
        """The processes of the group and of the groups below it."""
        found: set[int] = set()
        for directory in self.directories:
            for place, _, _ in os.walk(directory):  # which passes over groups that go meanwhile
                with contextlib.suppress(OSError):
                    found.update(int(line) for line in Path(place, "cgroup.procs").read_text().split())
        return sorted(found - {0})

    def freeze(self, *, frozen: bool) -> None:
        """Stop every process of the group from running, or let them go on; nothing inside can notice."""
        (self.directories[-1] / "cgroup.freeze").write_text("1" if frozen else "0")

    def is_frozen(self) -> bool:
        """Whether `freeze` holds the group."""
        return (self.directories[-1] / "cgroup.freeze").read_text().strip() == "1"

    def memory_bytes(self) -> int:
        """What the group's processes hold in memory for themselves, shared pages divided among their users."""
        total = 0
        for pid in self.processes():
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(int(line.split()[1]) * 1024 for line in rollup.splitlines() if line.startswith("Pss:"))
        return total

    def end(self) -> None:
        """Kill whatever is in the group and remove it. A group that is not there is fine."""
        if any(directory.exists() for directory in self.directories):
            if (self.directories[-1] / "cgroup.freeze").exists():
                self.freeze(frozen=False)
            wait_until(f"the end of cgroup {self.name}", self._emptied, timeout_s=10)
        for directory in self.directories:
            for place, _, _ in os.walk(directory, topdown=False):
                with contextlib.suppress(FileNotFoundError):  # a systemd that ends tidies up, too
                    Path(place).rmdir()

    def _emptied(self) -> bool:
        processes = self.processes()
        for pid in processes:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not processes
