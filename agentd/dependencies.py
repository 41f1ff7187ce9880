"""What the reconciler needs of the outside, as narrow interfaces: systemd, the registry's writer, the disk.

`Systemd` is all of the first group; tests have a systemd of their own. Calls raise SystemdError, and BusLost when
it is not known what came of them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from agentd.ledger import Ledger
from agentd.pure.plan import DesiredState
from agentd.reloader import Reloader
from agentd.unit_directory import UnitDirectory
from registry.errors import SystemdError
from registry.model import UnitState
from registry.units.pins import VersionPin

SYSTEMD = "org.freedesktop.systemd1"
UNIT = f"{SYSTEMD}.Unit"
SERVICE = f"{SYSTEMD}.Service"


class BusLost(SystemdError):
    """The bus or systemd did not answer; the operation may or may not have happened."""


class ListedUnit(NamedTuple):
    """A unit in systemd's list: its states, and the id of its job, 0 for none."""

    load: str
    active: str
    sub: str
    job: int


AT_REST = ListedUnit("not-found", "inactive", "dead", 0)


class UnitQueries(Protocol):
    """Questions about single units."""

    async def properties(self, unit: str, names: Iterable[str], interface: str = UNIT) -> dict[str, Any]:
        """Single properties of a unit, loading it if need be."""

    async def look(self, unit: str) -> ListedUnit:
        """States and job of one unit, loading it if need be."""


class DiagnosisQueries(Protocol):
    """Questions about why a start came to nothing."""

    async def known_properties(self, unit: str, names: Iterable[str], interface: str = UNIT) -> dict[str, Any]:
        """Single properties, without those that this systemd or this type of unit does not have."""

    async def list_units(self, units: Iterable[str]) -> dict[str, tuple[str, str, str]]:
        """Load, active and sub state of each unit; an unknown one is `not-found`."""


class StartCalls(UnitQueries, DiagnosisQueries, Protocol):
    """What a start takes."""

    async def start(self, unit: str) -> asyncio.Future[str]:
        """Ask for a start; the future brings the job's result."""

    async def reset_failed(self, unit: str) -> None:
        """Let systemd forget a failed unit."""

    async def hold(self, unit: str) -> None:
        """Keep a unit in systemd's memory until `release`."""

    async def release(self, unit: str) -> None:
        """Let systemd forget a unit again."""


class StopCalls(UnitQueries, Protocol):
    """What a stop takes, to be sure of it."""

    async def stop(self, unit: str) -> asyncio.Future[str] | None:
        """Ask for a stop; None when systemd does not have the unit loaded."""

    async def recall(self, unit: str) -> ListedUnit:
        """States and job of a unit that is loaded; one that is not is AT_REST."""

    async def processes(self, unit: str) -> tuple[int, ...]:
        """The pids of everything in the unit's control group."""


class NameQueries(UnitQueries, Protocol):
    """Who has a unit's name."""

    async def unit_path(self) -> tuple[str, ...]:
        """The directories in which systemd looks for unit files."""

    def places_before(self, directory: Path) -> tuple[str, ...]:
        """The directories whose unit files win over those in `directory`."""

    async def in_memory(self, unit: str) -> bool:
        """Whether systemd has the unit loaded."""


class InstallCalls(NameQueries, Protocol):
    """What loading and unloading a unit takes."""

    async def enable(self, unit: str) -> tuple[str, ...]:
        """Carry out the unit's [Install] section; returns the links that were made."""

    async def reset_failed(self, unit: str) -> None:
        """Let systemd forget a failed unit."""

    async def stop(self, unit: str) -> asyncio.Future[str] | None:
        """Ask for a stop; None when systemd does not have the unit loaded."""

    def watch(self, unit: str) -> None:
        """Hand on changes of this unit from now on."""

    def unwatch(self, unit: str) -> None:
        """Pass over changes of this unit."""


class SystemdDoor(StartCalls, StopCalls, InstallCalls, Protocol):
    """All that the reconciler asks of systemd."""

    @property
    def ready(self) -> asyncio.Event:
        """Set while systemd answers."""

    async def check_jobs(self) -> None:
        """Find out what came of jobs whose end no signal told."""


class StatePublisher(Protocol):
    """Who writes states, claims and events into the registry."""

    def mark_dirty(self, units: Iterable[str]) -> None:
        """These units' states may have changed."""

    def record_event(self, verb: str, *, unit: str = "", reason: str = "") -> None:
        """Write an event soon."""

    async def claim(self, desired: DesiredState, state: UnitState, on_granted: Callable[[int], None]) -> bool:
        """Put the state if the schedule line is still as it was read; `on_granted` is told the lease."""

    async def forget(self, unit: str) -> None:
        """Wait until the unit's state is not in the registry."""


class HeldLease(Protocol):
    """The lease of the machine; 0 for none."""

    id: int


class FileSource(Protocol):
    """Where unit files come from."""

    async def get(self, sha: str) -> str:
        """The text with this hash. Raises FileMissing, CorruptRecord, or what the registry raises."""


class ArtifactSource(Protocol):
    """Who brings the files that units need beside their own."""

    async def fetch(self, unit: str, text: str) -> None:
        """Have everything here that the file of a unit names. Raises Refused."""

    def link(self, unit: str, text: str) -> None:
        """Have a link by its name to each of them, and no others. Raises Refused, OSError."""

    def linked(self, unit: str, text: str) -> bool:
        """Whether all of them are here, and linked."""

    def drop(self, unit: str) -> None:
        """Forget a unit that is gone from here."""


class Provider(Protocol):
    """Who puts what units need beside their files where systemd finds it."""

    async def check(self, pins: tuple[VersionPin, ...]) -> None:
        """Raise Refused when one of these cannot be had here."""

    async def provide(self, unit: str, pins: tuple[VersionPin, ...]) -> None:
        """Have all of them there for a unit. Raises Refused, Unprovided, or what the registry raises."""

    def holds(self, pins: tuple[VersionPin, ...]) -> bool:
        """Whether all of them are there."""

    def keep(self, unit: str, pins: tuple[VersionPin, ...]) -> None:
        """The unit needs these from now on; what no unit needs any more is removed."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the reconciler works with."""

    systemd: SystemdDoor
    directory: UnitDirectory
    links: Path  # where systemd keeps links made at run time
    ledger: Ledger
    files: FileSource
    artifacts: ArtifactSource
    publisher: StatePublisher
    reloader: Reloader
    host: str  # what people call the machine
    provider: Provider
    before_start: Callable[[str], None] = lambda _: None  # told each unit whose start is about to be asked for
    looked: Callable[[Iterable[str]], None] = lambda _: None  # told units whose status has changed
    crashed: Callable[[str, bytes, str, str], None] = lambda *_: None  # unit, run, why it failed, hash of its file
