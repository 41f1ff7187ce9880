"""The agent as a program: its parts wired together in one task group, from the first look to the hand-over.

Owns the order of things: systemd first, then what is here is adopted, then the machine registers, then its schedule
is followed. Owns the policy for a lost registry and the decision at the end: a stop for good hands the units over,
anything else leaves them running.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from agentd import facts
from agentd.file_cache import FileCache
from agentd.ledger import Ledger
from agentd.publisher import Publisher
from agentd.pure.agent_status import AgentStatus, status_line
from agentd.reconciler import Reconciler
from agentd.registration import Hooks, Registration
from agentd.reloader import Reloader
from agentd.schedule import Schedule
from agentd.systemd import Systemd, bus_address
from agentd.task_runner import Dependencies
from agentd.unit_directory import UnitDirectory
from agentd.usage import Reporter
from registry.errors import RegistryError, SystemdError, UserError
from registry.etcd import Etcd, EtcdSettings
from registry.etcd.health import EtcdHealth, EtcdTrouble, endpoints_told, keep_watch
from registry.keys import Keys
from registry.program.config import Settings
from registry.program.notify import Notifier
from registry.sync.follow import ConnectionState
from registry.sync.history import REMEDY, History

log = logging.getLogger("fleet.agent")

TICK_S = 30.0  # behind the events: look at everything again
STOP_AT, KILL_AT = 0.5, 0.8  # of the lease, when the policy is to stop
HANG_AT = 0.3  # of the lease: an agent that stands still so long is restarted, so that the next one can stop
FORGET_S = 5.0  # how long a hand-over waits for a registry that does not answer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things lie on this machine."""

    units: Path
    links: Path

    @property
    def state(self) -> Path:
        """What the agent remembers lies beside the unit files."""
        return self.units.parent


def place(settings: Settings, environ: Mapping[str, str]) -> Paths:
    """The directories, for the system's systemd or the user's."""
    runtime = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    base = Path("/run") if settings.agent.bus == "system" else runtime
    return Paths(
        Path(settings.agent.units_directory or base / "fleet" / "units"), base / "systemd" / settings.agent.bus
    )


class Agent:
    """One machine's agent. `run` returns when it has ended in order."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], *, hand_over: bool = False) -> None:
        self._settings, self._hand_over = settings, hand_over
        self._place = place(settings, environ)
        self._machine = facts.machine_id(settings)
        self._keys = Keys.under(settings.etcd.prefix)
        self._notifier = Notifier(environ)
        self._ending = asyncio.Event()
        self._wired = asyncio.Event()
        self._executor = Reconciler()
        self._systemd = Systemd(bus_address(settings.agent.bus, environ), self._executor)
        self._directory = UnitDirectory(self._place.units)
        self._ledger = Ledger(self._place.state, self._machine, facts.boot_id())
        self._history = History(
            self._keys, self._ledger.facts.seen, lambda seen: self._ledger.remember(seen=seen), told=self._held
        )
        self._down: Mapping[str, EtcdTrouble] = {}  # endpoints of etcd
        self._since: dict[str, float] = {}
        self._registered = False
        self._health: EtcdHealth | None = None  # once everything is wired
        self._systemd.ready = Told(self._tell)

    async def run(self) -> None:
        """Run until a signal says otherwise. Raises UserError for settings that cannot work."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        self._tell()
        async with Etcd(etcd_settings(self._settings)) as etcd, asyncio.TaskGroup() as group:
            work = group.create_task(self._work(etcd), name="agent")
            await self._ending.wait()
            await self._end()
            work.cancel()

    def _signalled(self) -> None:
        if self._ending.is_set():
            log.warning("told twice to end: leaving the units as they are")
            os._exit(1)
        self._ending.set()

    async def _work(self, etcd: Etcd) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._systemd.run(), name="systemd")
            await self._wire(etcd)
            await self._adopt()
            loops = {
                "executor": self._executor.run(),
                "publisher": self._publisher.run(),
                "registration": self._registration.run(),
                "schedule": self._schedule.run(),
                "tick": self._tick(),
                "watchdog": self._notifier.keep_alive(),
                "lease guard": self._guard_lease(),
                "usage": self._reporter.run(),
                "endpoints": keep_watch(etcd.health, etcd.ask_quiet, self._endpoints_changed),
            }
            for name, loop in loops.items():
                group.create_task(loop, name=name)
            self._notifier.send("READY=1")
            if self._settings.agent.on_lost_registry == "stop":
                self._notifier.guard(HANG_AT * self._registration.ttl_s)
            self._wired.set()

    async def _wire(self, etcd: Etcd) -> None:
        self._publisher = Publisher(etcd, self._keys, self._machine, self._executor.state, self._history)
        self._schedule = Schedule(etcd, self._keys, self._machine, self._ledger, self._executor, self._history)
        self._executor.tools = Dependencies(
            systemd=self._systemd,
            directory=self._directory,
            links=self._place.links,
            ledger=self._ledger,
            texts=FileCache(etcd, self._keys),
            publisher=self._publisher,
            reloader=Reloader(self._systemd.reload),
            machine=self._machine,
            host=socket.gethostname(),
        )
        machine = facts.describe(self._settings, await self._patiently(self._systemd.version))
        hooks = Hooks(self._joining, self._joined, self._lost, self._returned, self._publisher.event)
        self._registration = Registration(etcd, self._keys, self._ledger, machine, hooks, self._history)
        self._registration.on_status, self._schedule.on_link = self._tell, self._link_changed
        self._health = etcd.health
        if self._history.held:  # by an agent before this one
            self._held(self._history.held)
        self._reporter = Reporter(
            etcd, self._keys, self._machine, self._executor.main_pids, lambda: self._registration.lease
        )

    async def _adopt(self) -> None:
        await self._patiently(self._executor.adopt)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask systemd until it answers: without it there is nothing to do."""
        while True:
            await self._systemd.ready.wait()
            try:
                return await ask()
            except SystemdError as error:
                log.warning("%s; trying again", error)
                await asyncio.sleep(1.0)

    # ---- what registration tells

    async def _joining(self, lease: int) -> None:
        """Before the fleet sees this machine it can see what runs here."""
        kept = await self._publisher.resume(lease, self._executor.held)
        self._executor.lease_held(lease, kept)

    def _joined(self) -> None:
        self._registered = True
        self._schedule.list_again()
        self._executor.turn_all()
        self._tell()

    def _lost(self) -> None:
        self._registered = False
        self._publisher.suspend()
        self._executor.lease_lost()
        self._schedule.pause()
        self._tell()

    def _returned(self) -> None:
        self._publisher.retry()
        self._schedule.list_again()
        self._executor.turn_all()

    def _link_changed(self) -> None:
        """The schedule is followed, or no longer. What got through saves registering the rest of its pause."""
        if self._schedule.link is ConnectionState.LIVE:
            self._registration.retry()
        self._tell()

    # ---- what the systemd that started us is told

    def _endpoints_changed(self, down: Mapping[str, EtcdTrouble]) -> None:
        self._down = down
        self._tell()

    def _tell(self) -> None:
        """Say how we are, if that has changed. Called whenever one of the facts may have."""
        self._notifier.status(status_line(self._standing()))

    def _standing(self) -> AgentStatus:
        standing = AgentStatus(
            machine=self._machine,
            hostname=socket.gethostname(),
            user=self._settings.etcd.username,
            systemd_away=self._first("systemd", holds=not self._systemd.ready.is_set()),
            leaving=self._first("leaving", holds=self._executor.leaving),
            units=len(self._executor.held),
            parked=self._first("parked", holds=self._executor.parked),
            held=f"the registry's history went back; {REMEDY}" if self._history.held else "",
        )
        if self._health is None:
            return standing
        return replace(
            standing,
            registered=self._registration.machine.since if self._registered else 0.0,
            place=self._registration.status,
            away=self._health.away,
            denied=self._health.denied,
            schedule=self._schedule.link,
            schedule_reason=self._schedule.reason,
            endpoints="" if self._health.away else endpoints_told(self._health.bases, self._down),
        )

    def _first(self, what: str, *, holds: bool) -> float:
        """Since when it holds; 0 when it does not."""
        if not holds:
            self._since.pop(what, None)
            return 0.0
        return self._since.setdefault(what, time.time())

    def _held(self, reason: str) -> None:
        """The registry's history went back, or ("") an operator has accepted it: nothing is done on one's own."""
        self._registration.hold(reason)
        if reason:
            log.error("the registry's history went back: %s; holding every unit as it is; %s", reason, REMEDY)
            self._executor.freeze()
        else:
            log.warning("the registry's history was accepted; going by it")
            self._executor.thaw()
            self._schedule.list_again()
        self._tell()

    # ---- loops

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(TICK_S * random.uniform(0.9, 1.1))
            self._executor.resync()
            self._executor.retry()
            self._ledger.flush()
            self._tell()
            try:
                await self._describe()
                await self._registration.verify()
                self._publisher.recheck()
            except RegistryError as error:
                log.debug("tick: %s", error)

    async def _describe(self) -> None:
        """Take up what has changed of the machine: its address, host name, host keys."""
        own = self._registration.machine
        try:
            found = await asyncio.to_thread(facts.describe, self._settings, own.systemd_version)
        except UserError as error:  # the machine id has gone: what we have is good enough to go on
            log.debug("tick: %s", error)
            return
        if found.address == facts.NO_WAY and own.address != found.address:
            found = replace(found, address=own.address)  # there is no way to the registry just now
        self._registration.describe(found)

    async def _guard_lease(self) -> None:
        """on_lost_registry = "stop": nothing of ours runs any more when our lease can end.

        By our own clock, from when the last successful renewal was sent, by us or by the agent before us: etcd
        cannot end the lease earlier.
        """
        if self._settings.agent.on_lost_registry != "stop":
            return
        registration = self._registration
        began = self._ledger.facts.renewed_at or time.monotonic()
        while True:
            renewed, ttl_s = registration.renewed_at or began, registration.ttl_s
            await asyncio.sleep(max(renewed + STOP_AT * ttl_s - time.monotonic(), 0.05))
            if registration.renewed_at > renewed:
                self._executor.park(parked=False)
                self._tell()
            elif time.monotonic() >= renewed + STOP_AT * ttl_s:
                await self._park(renewed + KILL_AT * ttl_s)

    async def _park(self, kill_at: float) -> None:
        """Stop everything in order, and what remains at `kill_at` without."""
        if not self._executor.parked:
            log.error("the registry is lost: stopping every unit before this machine's lease can end")
        self._executor.park(parked=True)
        self._tell()
        if time.monotonic() >= kill_at:
            await self._kill()

    async def _kill(self) -> None:
        for name in await self._executor.living():
            try:
                await self._systemd.kill(name)
            except SystemdError as error:
                log.warning("%s", error)

    # ---- the end

    async def _end(self) -> None:
        self._notifier.send("STOPPING=1")
        if not self._wired.is_set() or not await self._is_for_good():
            log.info("ending; every unit is left as it is")
            return
        log.info("handing %d units over", len(self._executor.held))
        await self._depart()

    async def _is_for_good(self) -> bool:
        """Whether we are stopped for good: by a stop job on our own unit, or by a shutdown."""
        if self._hand_over or await self._systemd.own_job(os.getpid()) == "stop":
            return True
        return await self._systemd.system_state() == "stopping"

    async def _depart(self) -> None:
        registered = bool(self._registration.lease)
        try:
            await self._registration.leave()
        except RegistryError as error:
            log.warning("cannot tell the registry that this machine leaves: %s", error)
        self._executor.leave()
        self._tell()
        await self._executor.emptied()
        if registered:
            await self._forget()
        log.info("handed over")

    async def _forget(self) -> None:
        try:
            async with asyncio.timeout(FORGET_S):
                await self._executor.forgotten()
                await self._registration.revoke()
        except (TimeoutError, RegistryError):
            log.warning("the registry does not answer; what it shows of this machine ends with its lease")


class Told(asyncio.Event):
    """An event that tells of being set and cleared."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        super().__init__()
        self._on_change = on_change

    def set(self) -> None:
        """As of any event."""
        super().set()
        self._on_change()

    def clear(self) -> None:
        """As of any event."""
        super().clear()
        self._on_change()


def etcd_settings(settings: Settings) -> EtcdSettings:
    """The client's settings; calls give up early enough to renew a lease at another endpoint."""
    timeout_s = min(settings.etcd.request_timeout, max(1.0, settings.agent.ttl / 5))
    return replace(settings.etcd, request_timeout=timeout_s).client_settings()
