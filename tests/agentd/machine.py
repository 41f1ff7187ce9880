"""A machine without root: the agent's own reconciler, ledger and unit directory, with a systemd in memory.

`FakeSystemd` knows unit files by the directories that it searches, loads and forgets units, runs jobs, and sends
its news to the reconciler in the next turn of the loop, as the real one does over the bus. What it was asked
stands in `log`, in order, beside what the registry was told.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from agentd.artifacts import Artifacts
from agentd.dependencies import AT_REST, UNIT, BusLost, Dependencies, ListedUnit
from agentd.ledger import Ledger
from agentd.managed_unit import ManagedUnit
from agentd.provisions import Provisions
from agentd.pure.entry import LedgerEntry, Phase
from agentd.pure.plan import DesiredState
from agentd.reconciler import Reconciler
from agentd.reloader import Reloader
from agentd.starter import monotonic_us
from agentd.unit_directory import UnitDirectory
from agentd.unit_table import UnitTable
from registry.errors import SystemdError, UserError
from registry.model import Target, UnitState
from registry.units.file import file_hash

NAME, MACHINE, BOOT = "u.service", "1" * 32, "boot"
TEXT = "[Service]\nExecStart=/bin/sleep infinity\n"
WITHIN_S = 10
DOWN = ("inactive", "failed")


@dataclass
class FakeUnit:
    """A unit in the memory of systemd."""

    fragment: str = ""
    load: str = "not-found"
    active: str = "inactive"
    sub: str = "dead"
    left_inactive_us: int = 0
    pids: tuple[int, ...] = ()
    job: int = 0
    ran: str = ""  # the text of the file that what runs was started from


class FakeSystemd:
    """systemd as the reconciler sees it. `places` are its directories, those that win first."""

    def __init__(self, places: tuple[Path, ...], log: list[str]) -> None:
        self.ready = asyncio.Event()
        self.ready.set()
        self.places, self.log = places, log
        self.units: dict[str, FakeUnit] = {}
        self.listener: Reconciler | None = None
        self.hanging: set[str] = set()  # "start u.service": its job does not end before `finish`
        self.errors: dict[str, SystemdError] = {}  # by what is asked: "stop u.service"
        self.undying: set[str] = set()  # units whose stop is called done and changes nothing
        self.leaving: dict[str, tuple[int, ...]] = {}  # processes that outlive their unit
        self._jobs: dict[str, asyncio.Future[str]] = {}
        self._watched: set[str] = set()

    # ---- what the test does as the host's administrator

    def daemon_reload(self) -> None:
        """Read all files again: what runs goes on."""
        for name, unit in list(self.units.items()):
            unit.fragment, unit.load = self._found(name)
            if unit.load == "not-found" and unit.active in DOWN:
                del self.units[name]

    def runs(self, name: str) -> bool:
        """Whether a process of the unit lives."""
        return name in self.units and self.units[name].active not in DOWN

    def run(self, name: str, **changes: Any) -> None:
        """Have the unit run, not asked by the agent."""
        unit = self._loaded(name)
        unit.ran = Path(unit.fragment).read_text() if unit.fragment else ""
        self.become(name, active="active", sub="running", left_inactive_us=monotonic_us(), pids=(7,), **changes)

    def become(self, name: str, **changes: Any) -> None:
        """Change a unit, and tell the listener."""
        unit = self.units[name]
        for key, value in changes.items():
            setattr(unit, key, value)
        if self.listener is not None and name in self._watched:
            found = {key: value for key, value in self._values(name).items() if key != "FragmentPath"}
            asyncio.get_running_loop().call_soon(self.listener.unit_changed, name, found)

    def finish(self, asked: str, result: str = "done") -> None:
        """End the job of "start u.service"."""
        self.hanging.discard(asked)
        operation, _, name = asked.partition(" ")
        self._end(operation, name, result)

    # ---- what the reconciler asks

    def watch(self, unit: str) -> None:
        self._watched.add(unit)

    def unwatch(self, unit: str) -> None:
        self._watched.discard(unit)

    async def start(self, unit: str) -> asyncio.Future[str]:
        self._asked("start", unit)
        if self._loaded(unit).load == "not-found":
            raise SystemdError(unit, "start", f"Unit {unit} not found.")
        return self._job("start", unit, "activating")

    async def stop(self, unit: str) -> asyncio.Future[str] | None:
        self._asked("stop", unit)
        return None if unit not in self.units else self._job("stop", unit, "deactivating")

    async def reset_failed(self, unit: str) -> None:
        self._asked("reset", unit)
        if unit in self.units and self.units[unit].active == "failed":
            self.become(unit, active="inactive", sub="dead")

    async def hold(self, unit: str) -> None:
        self._asked("hold", unit)

    async def release(self, unit: str) -> None:
        self._asked("release", unit)

    async def kill(self, unit: str) -> None:
        self._asked("kill", unit)
        self.become(unit, active="failed", sub="failed", pids=())

    async def enable(self, unit: str) -> tuple[str, ...]:
        self._asked("enable", unit)
        return ()

    async def unit_path(self) -> tuple[str, ...]:
        return tuple(map(str, self.places))

    def places_before(self, directory: Path) -> tuple[str, ...]:
        return tuple(map(str, self.places[: self.places.index(directory)]))

    async def in_memory(self, unit: str) -> bool:
        return unit in self.units

    async def look(self, unit: str) -> ListedUnit:
        await asyncio.sleep(0)
        found = self._loaded(unit)
        return ListedUnit(found.load, found.active, found.sub, found.job)

    async def recall(self, unit: str) -> ListedUnit:
        return await self.look(unit) if unit in self.units else AT_REST

    async def processes(self, unit: str) -> tuple[int, ...]:
        return self.leaving.get(unit, self.units[unit].pids if unit in self.units else ())

    async def list_units(self, units: Iterable[str]) -> dict[str, tuple[str, str, str]]:
        return {name: (await self.look(name))[:3] for name in units}

    async def properties(self, unit: str, names: Iterable[str], interface: str = UNIT) -> dict[str, Any]:  # noqa: ARG002 - one name space here
        await asyncio.sleep(0)
        self._loaded(unit)
        return {name: value for name, value in self._values(unit).items() if name in set(names)}

    async def known_properties(self, unit: str, names: Iterable[str], interface: str = UNIT) -> dict[str, Any]:
        return await self.properties(unit, names, interface)

    async def check_jobs(self) -> None:
        return

    # ---- inside

    def _asked(self, operation: str, unit: str) -> None:
        if not self.ready.is_set():
            raise BusLost(unit, operation, "no connection to systemd")
        self.log.append(f"{operation} {unit}")
        if error := self.errors.get(f"{operation} {unit}"):
            raise error

    def _job(self, operation: str, unit: str, meanwhile: str) -> asyncio.Future[str]:
        loop = asyncio.get_running_loop()
        for asked, job in list(self._jobs.items()):
            if asked.endswith(f" {unit}") and not asked.startswith(operation):
                del self._jobs[asked]
                job.set_result("canceled")
        future = self._jobs.setdefault(f"{operation} {unit}", loop.create_future())
        if operation == "start" or self.runs(unit):
            left = {"left_inactive_us": monotonic_us()} if not self.runs(unit) else {}
            self.become(unit, active=meanwhile, sub="changing", job=5, **left)
        if f"{operation} {unit}" not in self.hanging:
            loop.call_soon(self._end, operation, unit, "done")
        return future

    def _end(self, operation: str, name: str, result: str) -> None:
        job = self._jobs.pop(f"{operation} {name}", None)
        if job is None or job.done():
            return
        if operation == "start" and result == "done":
            self.units[name].ran = Path(self.units[name].fragment).read_text()
            self.become(name, active="active", sub="running", pids=(7,), job=0)
        elif operation == "stop" and name in self.undying:
            self.become(name, active="active", sub="running", job=0)
        elif operation == "stop" and result == "done" and name in self.units:
            self.become(name, active="inactive", sub="dead", pids=(), job=0)
        job.set_result(result)

    def _found(self, name: str) -> tuple[str, str]:
        for place in self.places:
            if (place / name).exists():
                return str(place / name), "loaded"
        return "", "not-found"

    def _loaded(self, name: str) -> FakeUnit:
        unit = self.units.get(name)
        if unit is None:
            fragment, load = self._found(name)
            unit = FakeUnit(fragment, load)
            if load != "not-found":
                self.units[name] = unit
        return unit

    def _values(self, name: str) -> dict[str, Any]:
        unit = self._loaded(name)
        return {
            "LoadState": unit.load,
            "ActiveState": unit.active,
            "SubState": unit.sub,
            "FragmentPath": unit.fragment,
            "InactiveExitTimestampMonotonic": unit.left_inactive_us,
            "MainPID": unit.pids[0] if unit.pids else 0,
            "Job": (unit.job, "/"),
            "NeedDaemonReload": False,
            "KillMode": "control-group",
            "LoadError": ("", ""),
        }


class FakePublisher:
    """The registry's writer: grants every claim, unless told otherwise."""

    def __init__(self, log: list[str]) -> None:
        self.log, self.lease = log, 3
        self.events: list[tuple[str, str, str]] = []
        self.dirty: list[str] = []
        self.grants = True

    def mark_dirty(self, units: Iterable[str]) -> None:
        self.dirty.extend(units)

    def record_event(self, verb: str, *, unit: str = "", reason: str = "") -> None:
        self.events.append((verb, unit, reason))

    async def claim(self, desired: DesiredState, state: UnitState, on_granted: Callable[[int], None]) -> bool:  # noqa: ARG002
        self.log.append(f"claim {desired.unit}")
        if self.grants:
            on_granted(self.lease)
        return self.grants

    async def forget(self, unit: str) -> None:
        self.log.append(f"forget {unit}")


@dataclass
class Files:
    """The registry's unit files."""

    texts: dict[str, str] = field(default_factory=dict)

    async def get(self, sha: str) -> str:
        return self.texts[sha]


@dataclass
class FakeMachine:
    """One machine, its agent's reconciler running."""

    systemd: FakeSystemd
    publisher: FakePublisher
    reconciler: Reconciler
    needs: Dependencies
    files: Files
    log: list[str]
    host: Path  # where the host's own unit files lie
    revision: int = 10

    def unit(self, name: str = NAME) -> ManagedUnit:
        return self.reconciler.table.units[name]

    def entry(self, name: str = NAME) -> LedgerEntry:
        return self.needs.ledger.entries[name]

    def want(self, name: str = NAME, text: str = TEXT, target: Target = Target.LAUNCHED, **other: Any) -> None:
        """Schedule a unit here."""
        self.revision += 1
        sha = file_hash(text)
        self.files.texts[sha] = text
        line = {"generation": 1, "placement": 7, "revision": self.revision} | other
        self.reconciler.set_desired(name, DesiredState(name, sha, target, **line))

    def withdraw(self, name: str = NAME) -> None:
        """Schedule it here no more."""
        self.reconciler.set_desired(name, None)

    async def until(self, fact: Callable[[], object]) -> None:
        """Wait for a fact; about a unit that is not there yet it is no fact."""

        def holds() -> object:
            try:
                return fact()
            except KeyError:
                return False

        async with asyncio.timeout(WITHIN_S):
            while not holds():  # noqa: ASYNC110 - what is waited for tells nobody
                await asyncio.sleep(0.002)

    async def launched(self, name: str = NAME) -> None:
        await self.until(lambda: self.systemd.runs(name) and self.entry(name).phase is Phase.STARTED)

    async def gone(self, name: str = NAME) -> None:
        await self.until(lambda: name not in self.reconciler.table.units)

    async def rest(self) -> None:
        """Wait until no unit has a worker, and none gets one."""
        for _ in range(20):
            await asyncio.sleep(0)
        await self.until(lambda: not any(unit.worker for unit in self.reconciler.table.units.values()))


@asynccontextmanager
async def machine(root: Path, before: FakeMachine | None = None) -> AsyncIterator[FakeMachine]:
    """Run a machine's reconciler; `before` is one whose agent has ended, while systemd has not."""
    host, links = root / "etc", root / "links"
    for place in (host, links):
        place.mkdir(exist_ok=True)
    log = before.log if before else list[str]()
    systemd = before.systemd if before else FakeSystemd((host, links), log)
    publisher, files = FakePublisher(log), before.files if before else Files()

    async def reload() -> None:
        log.append("reload")
        systemd.daemon_reload()

    table, directory = UnitTable(MACHINE), UnitDirectory(root / "units")
    needs = Dependencies(
        systemd=systemd,
        directory=directory,
        links=links,
        ledger=Ledger(root, MACHINE, BOOT),
        files=files,
        artifacts=Artifacts(root / "artifacts", root / "run/artifacts", directory, 1 << 20, table.retry),
        publisher=publisher,
        reloader=Reloader(reload),
        host="core-1",
        provider=Provisions(files, _no_secrets, run=root),
    )
    reconciler = Reconciler(needs, table)
    systemd.listener = reconciler
    await reconciler.adopt()
    running = asyncio.create_task(_running(reconciler.run))
    try:
        yield FakeMachine(systemd, publisher, reconciler, needs, files, log, host)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        systemd.listener = None


def _no_secrets(*_: object) -> bytes:
    raise UserError("there is no key")


async def _running(run: Callable[[], Awaitable[None]]) -> None:
    await run()
