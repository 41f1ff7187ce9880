"""What the agent asks of systemd, in its words: jobs, lists, properties. The one door to it; decides nothing.

Units have the fleet's names here. What systemd calls a Quadlet is known to the door alone.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from agentd.batching import Batch
from agentd.dependencies import AT_REST, SYSTEMD, UNIT, BusLost, ListedUnit
from agentd.systemd_connection import MANAGER, MANAGER_PATH, Listener, SystemdConnection, unit_path
from registry.errors import SystemdError
from registry.units.name import is_quadlet, service_of

log = logging.getLogger("fleet.systemd")

RELOAD_S = 120.0
ROWS = "a(ssssssouso)"  # of systemd's lists of units
NO_SUCH_UNIT = f"{SYSTEMD}.NoSuchUnit"


class Systemd:
    """systemd, the system's or the user's. Every call may raise SystemdError and BusLost."""

    def __init__(self, connection: SystemdConnection) -> None:
        self._connection = connection
        self._looks = Batch(self._list, BusLost)
        self._memory = Batch(self._remembered, BusLost)
        self._unit_path: tuple[str, ...] = ()

    @property
    def ready(self) -> asyncio.Event:
        """Set while systemd answers."""
        return self._connection.ready

    async def run(self, listener: Listener) -> None:
        """Stay connected for ever, and hand systemd's news to `listener`."""
        await self._connection.run(listener)

    def watch(self, unit: str) -> None:
        """Hand on changes of this unit from now on."""
        self._connection.watch(unit)

    def unwatch(self, unit: str) -> None:
        """Pass over changes of this unit."""
        self._connection.unwatch(unit)

    async def check_jobs(self) -> None:
        """Find out what came of jobs whose end no signal told."""
        await self._connection.check_jobs()

    # ---- what is done to units

    async def start(self, unit: str) -> asyncio.Future[str]:
        """Ask for a start; the future brings the job's result. The start may well go on when nobody waits."""
        return await self._connection.job("start", "StartUnit", unit)

    async def stop(self, unit: str) -> asyncio.Future[str] | None:
        """Ask for a stop, cancelling a start under way; None when systemd does not have the unit loaded."""
        try:
            return await self._connection.job("stop", "StopUnit", unit)
        except SystemdError as error:
            if error.dbus_name == NO_SUCH_UNIT:
                return None
            raise

    async def kill(self, unit: str) -> None:
        """SIGKILL to every process of the unit; a unit that has none is fine."""
        await self._ignoring_absence("kill", unit, "KillUnit", "ssi", [service_of(unit), "all", 9])

    async def reset_failed(self, unit: str) -> None:
        """Let systemd forget a failed unit; one that it does not know is fine."""
        await self._ignoring_absence("reset", unit, "ResetFailedUnit", "s", [service_of(unit)])

    async def hold(self, unit: str) -> None:
        """Keep a unit in systemd's memory, with all it knows of its next start, until `release`."""
        await self._ignoring_absence("hold", unit, "RefUnit", "s", [service_of(unit)])

    async def release(self, unit: str) -> None:
        """Let systemd forget a unit again; one that it does not know is fine."""
        await self._ignoring_absence("release", unit, "UnrefUnit", "s", [service_of(unit)])

    async def reload(self) -> None:
        """Read all unit files again (daemon-reload)."""
        await self._connection.call("reload", "", "Reload", timeout_s=RELOAD_S)

    async def enable(self, unit: str) -> tuple[str, ...]:
        """Carry out the unit's [Install] section, until the next boot; returns the links that were made."""
        body = [[unit], True, True]
        _, changes = await self._connection.call("enable", unit, "EnableUnitFiles", "asbb", body, returns="ba(sss)")
        return tuple(path for kind, path, _ in changes if kind == "symlink")

    # ---- how units are

    async def list_units(self, units: Iterable[str]) -> dict[str, tuple[str, str, str]]:
        """Load, active and sub state of each unit, in one call; an unknown unit is `not-found`."""
        return {name: seen[:3] for name, seen in (await self._list(list(units))).items()}

    async def _list(self, names: list[str]) -> dict[str, ListedUnit]:
        if not names:
            return {}
        body = [[service_of(name) for name in names]]
        (rows,) = await self._connection.call("list", names[0], "ListUnitsByNames", "as", body, returns=ROWS)
        if len(rows) != len(names):  # by position: a row has the unit's own name where it was asked for by an alias
            raise SystemdError(names[0], "list", f"systemd listed {len(rows)} units of {len(names)}")
        return {name: ListedUnit(row[2], row[3], row[4], row[7]) for name, row in zip(names, rows, strict=True)}

    async def look(self, unit: str) -> ListedUnit:
        """The same of one unit, and its job; those who ask at once share a call."""
        return await self._looks.about(unit)

    async def processes(self, unit: str) -> tuple[int, ...]:
        """The pids of everything that lives in the unit's control group; none for a unit that is not loaded."""
        try:
            (rows,) = await self._connection.call(
                "list", unit, "GetUnitProcesses", "s", [service_of(unit)], returns="a(sus)"
            )
        except SystemdError as error:
            if error.dbus_name == NO_SUCH_UNIT:
                return ()
            raise
        return tuple(row[1] for row in rows)

    async def in_memory(self, unit: str) -> bool:
        """Whether systemd has the unit loaded; no file is looked for. Those who ask at once share a call."""
        return await self._memory.about(unit) is not None

    async def recall(self, unit: str) -> ListedUnit:
        """What `look` says of a unit that systemd has loaded; one that it has not is at rest. No file is read."""
        if "\\" in unit:  # not all versions take these in patterns
            return await self.look(unit)
        return await self._memory.about(unit) or AT_REST

    async def _remembered(self, units: list[str]) -> dict[str, ListedUnit | None]:
        # Patterns of fnmatch(3); names have no other of its signs.
        patterns = [service_of(unit).replace("\\", r"\\") for unit in units]
        (rows,) = await self._connection.call(
            "list", units[0], "ListUnitsByPatterns", "asas", [[], patterns], returns=ROWS
        )
        loaded = {row[0]: ListedUnit(row[2], row[3], row[4], row[7]) for row in rows}
        return {unit: loaded.get(service_of(unit)) for unit in units}

    async def properties(self, unit: str, names: Iterable[str], interface: str = UNIT) -> dict[str, Any]:
        """Single properties of a unit, loading it if need be; read side by side, as they are cheaper than all.

        Of a service that was made of a Quadlet, the FragmentPath is that of the Quadlet.
        """
        wanted, path = list(names), unit_path(service_of(unit))
        if is_quadlet(unit) and "FragmentPath" in wanted:
            wanted.append("SourcePath")
        values = await self._connection.get_each(path, interface, wanted, unit=unit)
        for value in values:
            if isinstance(value, SystemdError):
                raise value
        found = dict(zip(wanted, values, strict=True))
        if (source := found.pop("SourcePath", "")) and "/generator" in found["FragmentPath"]:
            found["FragmentPath"] = source
        return found

    async def known_properties(self, unit: str, names: Iterable[str], interface: str = UNIT) -> dict[str, Any]:
        """The same, without those that this systemd or this type of unit does not have."""
        wanted, path = list(names), unit_path(service_of(unit))
        known: dict[str, Any] = {}
        for name, value in zip(
            wanted, await self._connection.get_each(path, interface, wanted, unit=unit), strict=True
        ):
            if isinstance(value, SystemdError):
                log.debug("%s", value)
            else:
                known[name] = value
        return known

    # ---- how systemd is

    async def unit_path(self) -> tuple[str, ...]:
        """The directories in which systemd looks for unit files."""
        if not self._unit_path:
            self._unit_path = tuple(await self._connection.get(MANAGER_PATH, MANAGER, "UnitPath"))
        return self._unit_path

    def places_before(self, directory: Path) -> tuple[str, ...]:
        """The directories whose unit files win over those in `directory`; none before `unit_path` was asked for."""
        place = str(directory)
        return self._unit_path[: self._unit_path.index(place)] if place in self._unit_path else ()

    async def version(self) -> str:
        """systemd's version."""
        return str(await self._connection.get(MANAGER_PATH, MANAGER, "Version"))

    async def own_job(self, pid: int) -> str:
        """What systemd is doing to the unit of this process: "stop", "restart", …; "" when nothing or no unit."""
        call, get = self._connection.call, self._connection.get
        try:
            (path,) = await call("ask", "", "GetUnitByPID", "u", [pid], timeout_s=1.0, returns="o")
            job = await get(path, UNIT, "Job", timeout_s=1.0)
            return str(await get(job[1], f"{SYSTEMD}.Job", "JobType", timeout_s=1.0)) if job[0] else ""
        except SystemdError:
            return ""

    async def system_state(self) -> str:
        """What `systemctl is-system-running` says; "stopping" during a shutdown, "" when there is no answer."""
        try:
            return str(await self._connection.get(MANAGER_PATH, MANAGER, "SystemState", timeout_s=1.0))
        except SystemdError:
            return ""

    async def _ignoring_absence(
        self, operation: str, unit: str, member: str, signature: str, body: list[Any]
    ) -> None:
        try:
            await self._connection.call(operation, unit, member, signature, body)
        except BusLost:
            raise
        except SystemdError as error:
            log.debug("%s", error)


def bus_address(bus: str, environ: Mapping[str, str]) -> str:
    """Where the bus listens: the system's, or the user's own."""
    if bus == "system":
        return environ.get("DBUS_SYSTEM_BUS_ADDRESS") or "unix:path=/run/dbus/system_bus_socket"
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return environ.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={runtime}/bus"
