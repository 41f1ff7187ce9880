"""Asking the units of this machine how they are: the health checks that their files name.

Owns a task for each unit that runs and has a check. An attempt has a time limit and reads one line; only so many
are under way at once, and those that took long last time have turns of their own, so that units which do not answer
hold nobody else up. Names are looked up by threads of its own: a resolver that does not answer holds up no check of
an address, and nothing else of the agent's. What an attempt finds is compared with what is known; only a change is
told to the registry.
"""

from __future__ import annotations

import asyncio
import logging
import random
import socket
from asyncio import to_thread
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from typing import Protocol

from agentd.managed_unit import ManagedUnit
from agentd.unit_directory import UnitDirectory
from agentd.unit_table import UnitTable
from registry.errors import UserError
from registry.messages import UNIT_FAILED
from registry.model import UnitHealth
from registry.units.file import parse
from registry.units.health import CHECK, HealthCheck, read_check

log = logging.getLogger("fleet.agent")

AT_ONCE = 64  # attempts under way
SLOW_S = 0.5  # an attempt that takes longer is slow
FIRST_S = 0.2  # at most from the start of a unit to its first attempt
STATUS_LINE_BYTES = 1024
LARGE = 1 << 15  # characters of a file that is read beside the loop: it may take a second
RUNS = ("active", "reloading")
LOOPBACK = {"localhost": ("127.0.0.1", "::1")}  # by no resolver (RFC 6761)
RESOLVING = ThreadPoolExecutor(4, "health-names")


async def attempt(check: HealthCheck) -> str:
    """Ask once; "" when all is well, else why not, in a few words."""
    try:
        async with asyncio.timeout(check.timeout_s):
            reader, writer = await _connected(check)
            try:
                return "" if check.path is None else await _status(reader, writer, check)
            finally:
                writer.transport.abort()  # nothing more is wanted of it
    except TimeoutError:
        return f"no answer from {check.url} in {check.timeout_s:g}s"
    except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return f"what answers at {check.url} does not speak HTTP"
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return f"cannot reach {check.url}: {reason}"
    except Exception as error:  # noqa: BLE001 - one bad unit harms no other
        return f"internal error, {type(error).__name__}: {error}"


async def _connected(check: HealthCheck) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection to the first address that takes one. Raises OSError, of the first, and UnicodeError."""
    refused: OSError | None = None
    for address in await _addresses(check):
        try:
            return await asyncio.open_connection(address, check.port, limit=STATUS_LINE_BYTES)
        except OSError as error:
            refused = refused or error
    raise refused or OSError(f"{check.host} has no address")


async def _addresses(check: HealthCheck) -> Iterable[str]:
    if check.host in LOOPBACK:
        return LOOPBACK[check.host]
    with suppress(ValueError):
        return (str(ip_address(check.host)),)
    look_up = partial(socket.getaddrinfo, check.host, check.port, type=socket.SOCK_STREAM)
    found = await asyncio.get_running_loop().run_in_executor(RESOLVING, look_up)
    return dict.fromkeys(str(each[4][0]) for each in found)


async def _status(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, check: HealthCheck) -> str:
    host = f"[{check.host}]" if ":" in check.host else check.host
    head = f"GET {check.path} HTTP/1.1\r\nHost: {host}:{check.port}\r\nUser-Agent: fleet-agentd\r\n"
    writer.write(f"{head}Accept: */*\r\nConnection: close\r\n\r\n".encode("ascii"))
    await writer.drain()
    version, _, rest = (await reader.readuntil(b"\n")).decode("latin-1").partition(" ")
    code = rest[:3]
    if not version.startswith("HTTP/") or not (len(code) == 3 and code.isascii() and code.isdigit()):
        return f"what answers at {check.url} does not speak HTTP"
    return "" if 200 <= int(code) < 400 else f"status {code} from {check.url}"


def _check_of(name: str, text: str) -> HealthCheck | None:
    try:
        return read_check(parse(text), name)
    except UserError as error:
        log.warning("%s has no health check that could be made: %s", name, error)
        return None


class HealthTeller(Protocol):
    """Who is told what a check has found."""

    def mark_dirty(self, units: Iterable[str]) -> None:
        """These units' states may have changed."""

    def record_event(self, verb: str, *, unit: str = "", reason: str = "") -> None:
        """Write an event soon."""


@dataclass(slots=True)
class _Course:
    """The checks of one run of a unit."""

    run: bytes
    task: asyncio.Task[None]


class HealthChecks:
    """Keeps `health` and `sickness` of the units current while they run."""

    def __init__(self, table: UnitTable, directory: UnitDirectory, publisher: HealthTeller) -> None:
        self._table, self._directory, self._publisher = table, directory, publisher
        self._courses: dict[str, _Course] = {}
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._slow_turns = asyncio.Semaphore(AT_ONCE)  # of those whose last attempt took long
        self._looked: dict[str, None] = {}
        self._wake = asyncio.Event()

    def look(self, units: Iterable[str]) -> None:
        """These units may have come to run, or run no longer."""
        self._looked.update(dict.fromkeys(units))
        self._wake.set()

    async def run(self) -> None:
        """Check for ever."""
        self.look(self._table.units)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    names, self._looked = self._looked, {}
                    for name in names:
                        self._follow(name, group)
        finally:
            self._courses.clear()

    def _follow(self, name: str, group: asyncio.TaskGroup) -> None:
        unit, course = self._table.units.get(name), self._courses.get(name)
        runs = unit is not None and unit.entry is not None and not unit.foreign and unit.status.active in RUNS
        if course is not None and not (runs and unit and course.run == unit.status.invocation):
            course.task.cancel()
            del self._courses[name]
            course = None
        if unit is None:
            return
        if not runs:
            unit.health, unit.sickness = UnitHealth.UNCHECKED, ""
        elif course is None and CHECK in (text := self._directory.text(name)):
            unit.health, unit.sickness = UnitHealth.STARTING, ""
            self._publisher.mark_dirty([name])
            task = group.create_task(self._keep_asking(unit, text), name=f"health of {name}")
            self._courses[name] = _Course(unit.status.invocation, task)

    async def _keep_asking(self, unit: ManagedUnit, text: str) -> None:
        """Ask what the unit's file says, again and again, for as long as this run lasts."""
        check = _check_of(unit.name, text) if len(text) <= LARGE else await to_thread(_check_of, unit.name, text)
        if check is None:
            self._tell(unit, UnitHealth.UNCHECKED, "")
            return
        await asyncio.sleep(random.uniform(0.0, min(FIRST_S, check.pause_s)))
        loop, turns = asyncio.get_running_loop(), self._turns
        failed, began = 0, loop.time()
        while True:
            async with turns:
                asked = loop.time()
                sickness = await attempt(check)
                slow = loop.time() - asked > min(SLOW_S, 0.9 * check.timeout_s)
                turns = self._slow_turns if slow else self._turns
            failed = failed + 1 if sickness else 0
            starting = unit.health is UnitHealth.STARTING
            waited_s = loop.time() - began
            patient = waited_s < check.interval_s * (check.retries + 1) if starting else failed <= check.retries
            if not sickness:
                self._tell(unit, UnitHealth.HEALTHY, "")
            elif not patient:
                self._tell(unit, UnitHealth.UNHEALTHY, sickness)
            elif starting:
                self._tell(unit, UnitHealth.STARTING, sickness)
            retrying = sickness and unit.health is not UnitHealth.UNHEALTHY
            await asyncio.sleep(check.pause_s if retrying else check.interval_s)

    def _tell(self, unit: ManagedUnit, health: UnitHealth, sickness: str) -> None:
        if (unit.health, unit.sickness) == (health, sickness):
            return
        before, unit.health, unit.sickness = unit.health, health, sickness
        self._publisher.mark_dirty([unit.name])
        if health is UnitHealth.UNHEALTHY and before is not health:
            log.warning("%s is not healthy: %s", unit.name, sickness, extra=UNIT_FAILED.of(unit.name))
            self._publisher.record_event("unhealthy", unit=unit.name, reason=sickness)
        elif health is UnitHealth.HEALTHY and before is UnitHealth.UNHEALTHY:
            log.info("%s is healthy again", unit.name)
            self._publisher.record_event("healthy", unit=unit.name)
