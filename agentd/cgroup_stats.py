"""What the kernel's books say of units and of this machine: memory, cpu time, load. Reads files, changes nothing.

Owns where those books lie. A unit's cgroup is found by its main process, so that systemd is not asked. Where the
kernel keeps no account for each unit (the older cgroup hierarchies), the unit's processes are added up, and the
figure counts as estimated. Everything may vanish between two reads: what cannot be read is None.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from registry.units.name import service_of

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICK_US = 1_000_000 // os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class UnitStats:
    """One unit's memory now and its cpu time since it began; `estimated`: summed over its processes."""

    memory_bytes: int | None
    cpu_us: int | None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class MachineStats:
    """The load averages, all memory, and what of it is free for the asking; the same of the disk of /.

    `pressure`: percent of the last minute in which some process waited for a cpu, for memory, for a disk; () where
    the kernel does not tell.
    """

    load: tuple[float, float, float]
    memory_bytes: int
    available_bytes: int
    pressure: tuple[float, ...] = ()
    disk_bytes: int = 0
    disk_free_bytes: int = 0


class CgroupStats:
    """Reads below `proc` and `cgroups`. Remembers each unit's cgroup as long as its main process stays the same."""

    def __init__(
        self, proc: Path = Path("/proc"), cgroups: Path = Path("/sys/fs/cgroup"), disk: Path = Path("/")
    ) -> None:
        self._proc, self._cgroups, self._disk = proc, cgroups, disk
        self._known: dict[str, tuple[int, Path | None, Path | None]] = {}

    def units(self, mains: dict[str, int]) -> dict[str, UnitStats]:
        """The accounts of units, given the pids of their main processes; without those that are unknown."""
        self._known = {unit: known for unit, known in self._known.items() if unit in mains}
        found = {unit: self._account(unit, pid) for unit, pid in mains.items()}
        return {unit: account for unit, account in found.items() if account is not None}

    def machine(self) -> MachineStats | None:
        """This machine's own."""
        load, told = _read(self._proc / "loadavg").split()[:3], _read(self._proc / "meminfo")
        lines = [line.partition(":") for line in told.splitlines()]
        found = {name: _number(rest.removesuffix("kB")) for name, _, rest in lines}
        sizes = {name: number * 1024 for name, number in found.items() if number}
        try:
            one, five, fifteen = map(float, load)
            memory = (sizes["MemTotal"], sizes["MemAvailable"])
            return MachineStats((one, five, fifteen), *memory, self._pressure(), *_disk(self._disk))
        except (ValueError, KeyError):
            return None

    def _pressure(self) -> tuple[float, ...]:
        """How much was waited: Linux's Documentation/accounting/psi.rst."""
        texts = (_read(self._proc / "pressure" / name) for name in ("cpu", "memory", "io"))
        found = [match for text in texts if (match := _SOME.search(text))]
        return tuple(float(match[1]) for match in found) if len(found) == 3 else ()

    def _account(self, unit: str, pid: int) -> UnitStats | None:
        known = self._known.get(unit)
        if known is None or known[0] != pid:  # its cgroup in the unified hierarchy, and in systemd's own if another
            told = _read(self._proc / str(pid) / "cgroup").splitlines()
            service = service_of(unit)
            unified = _place(self._cgroups, "0::", told, service)
            known = (pid, unified, _place(self._cgroups / "systemd", "name=systemd:", told, service))
            self._known[unit] = known
        _, unified, systemd = known
        if unified is not None:
            memory = _number(_read(unified / "memory.current"))
            if memory is not None:
                lines = [line.partition(" ") for line in _read(unified / "cpu.stat").splitlines()]
                return UnitStats(memory, next((_number(v) for name, _, v in lines if name == "usage_usec"), None))
        place = systemd or unified
        pids = [int(word) for word in _read(place / "cgroup.procs").split()] if place else []
        found = [each for each in map(self._process, pids or [pid]) if each is not None]
        if not found:
            return None
        return UnitStats(sum(memory for memory, _ in found), sum(cpu for _, cpu in found), estimated=True)

    def _process(self, pid: int) -> tuple[int, int] | None:
        """A process's resident memory in bytes and its cpu time in microseconds: proc(5), statm and stat."""
        pages, stat = _read(self._proc / str(pid) / "statm").split(), _read(self._proc / str(pid) / "stat")
        after_name = stat.rpartition(")")[2].split()  # a name may hold spaces and brackets
        try:
            return int(pages[1]) * PAGE_BYTES, (int(after_name[11]) + int(after_name[12])) * TICK_US
        except (IndexError, ValueError):
            return None


_SOME = re.compile(r"^some .*?avg60=(\d{1,3}(?:\.\d{1,4})?)", re.MULTILINE)


def _disk(path: Path) -> tuple[int, int]:
    """The bytes of a file system, and how many of them are free for programs; (0, 0) where it does not tell."""
    try:
        found = os.statvfs(path)
    except OSError:
        return 0, 0
    return found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize


def _place(root: Path, marker: str, lines: Iterable[str], unit: str) -> Path | None:
    """The directory of the unit's cgroup: its main process may sit in a group below it."""
    for line in lines:
        before, found, path = line.partition(marker)
        if not found or (before and not before.rstrip(":").isdigit()):
            continue
        parts = path.strip("/").split("/")
        names = [part.removeprefix("_") for part in parts]  # systemd's mark on names that are the kernel's own
        if unit in names:
            parts = parts[: names.index(unit) + 1]
            # In a container the kernel's path may begin above what is mounted there.
            tails = (root.joinpath(*parts[start:]) for start in range(len(parts)))
            return next((place for place in tails if place.is_dir()), None)
    return None


def _number(text: str) -> int | None:
    stripped = text.strip()
    return int(stripped) if stripped.isdigit() else None


def _read(path: Path) -> str:
    try:
        with path.open("rb", buffering=0) as file:
            return file.read(1 << 16).decode("utf-8", "replace")
    except OSError:
        return ""
