"""The agent as a program: its parts wired together in one task group, from the first look to the hand-over.

Owns the order of things: systemd first, then what is here is adopted, then the machine registers, then its schedule
is followed. Owns the decision at the end: a stop for good hands the units over, anything else leaves them running.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from agentd import facts
from agentd.artifacts import Artifacts
from agentd.crashes import CrashRecorder
from agentd.dependencies import Dependencies
from agentd.file_cache import FileCache
from agentd.health import HealthChecks
from agentd.lease_guard import HANG_AT, LeaseGuard
from agentd.lease_switch import LeaseSwitch
from agentd.ledger import Ledger
from agentd.machine_lease import keep_alive
from agentd.provisions import Provisions, read_private
from agentd.publisher import Publisher
from agentd.pure.agent_status import AgentStatus, is_well, status_line
from agentd.reconciler import Reconciler
from agentd.registration import Registration
from agentd.reloader import Reloader
from agentd.schedule import Schedule
from agentd.systemd import Systemd, bus_address
from agentd.systemd_connection import SystemdConnection
from agentd.unit_directory import UnitDirectory
from agentd.unit_table import UnitTable
from agentd.usage import Reporter
from registry.errors import RegistryError, SystemdError, UserError
from registry.etcd import Etcd
from registry.etcd.backoff import jittered
from registry.etcd.health import EtcdHealth, keep_watch
from registry.keys import Keys
from registry.messages import HANDED_OVER, HANDING_OVER, HISTORY_ACCEPTED, HISTORY_WENT_BACK
from registry.model import Event, UnitHealth
from registry.program.config import Settings
from registry.program.measures import (
    HEALTH,
    HELD_UNITS,
    LEASE_REMAINING,
    REGISTERED,
    REGISTRY_HELD,
    RENEWAL_AGE,
    TASKS,
    RequestTimes,
    Sample,
    active_label,
)
from registry.program.metrics import certificate_samples, common_samples, serve
from registry.program.notify import Notifier
from registry.sync.follow import ConnectionState
from registry.sync.history import REMEDY, History

log = logging.getLogger("fleet.agent")

TICK_S = 30.0  # behind the events: look at everything again
LAST_S = 0.3  # for a renewal as the last thing that is done
CONTENTS_KEPT = 4  # of configs, which may have a MiB each
FORGET_S = 5.0  # how long a hand-over waits for a registry that does not answer

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Paths:
    """Where things lie on this machine."""

    units: Path
    links: Path
    artifacts: Path  # what is kept of them
    artifact_links: Path  # where units find them

    @property
    def state(self) -> Path:
        """What the agent remembers lies beside the unit files."""
        return self.units.parent

    @classmethod
    def of(cls, settings: Settings, environ: Mapping[str, str]) -> Paths:
        """The directories, for the system's systemd or the user's."""
        runtime = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
        base = Path("/run") if settings.agent.bus == "system" else runtime
        data = Path(environ.get("XDG_DATA_HOME") or Path(environ.get("HOME") or runtime) / ".local/share")
        kept = Path("/var/lib") if settings.agent.bus == "system" else data
        return cls(
            Path(settings.agent.units_directory or base / "fleet" / "units"),
            base / "systemd" / settings.agent.bus,
            Path(settings.agent.artifacts_directory or kept / "fleet" / "artifacts"),
            base / "fleet" / "artifacts",
        )


class Agent:
    """One machine's agent. `run` returns when it has ended in order."""

    def __init__(self, settings: Settings, environ: Mapping[str, str], *, hand_over: bool = False) -> None:
        self._settings, self._hand_over = settings, hand_over
        self._paths = Paths.of(settings, environ)
        self._keys = Keys.under(settings.etcd.prefix)
        self._notifier = Notifier(environ)
        self._ending = asyncio.Event()
        self._wired = asyncio.Event()
        self._since: dict[str, float] = {}
        self._requests = RequestTimes()
        self._registered = False
        self._health: EtcdHealth | None = None  # once everything is wired
        self._table = UnitTable(facts.machine_id(settings))
        self._directory = UnitDirectory(self._paths.units)
        self._ledger = Ledger(self._paths.state, self._table.machine, facts.boot_id())
        self._history = History(
            self._keys, self._ledger.facts.seen, lambda seen: self._ledger.remember(seen=seen), told=self._held
        )
        connection = SystemdConnection(
            bus_address(settings.agent.bus, environ), NotifyingEvent(self._update_status)
        )
        self._systemd = Systemd(connection)
        self._switch = LeaseSwitch(
            self._systemd, self._paths.links, self._paths.state, settings.agent.bus, facts.boot_id()
        )
        self._stops = settings.agent.on_lost_registry == "stop"

    async def run(self) -> None:
        """Run until a signal says otherwise. Raises UserError for settings that cannot work."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        self._update_status()
        timeout_s = min(self._settings.etcd.request_timeout, max(1.0, self._settings.agent.ttl / 5))
        etcd_settings = replace(self._settings.etcd, request_timeout=timeout_s).client_settings()
        async with Etcd(etcd_settings) as etcd, asyncio.TaskGroup() as group:  # early enough for another endpoint
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
        self._wire(etcd)
        listen = self._settings.metrics.listen
        if listen:
            etcd.health.timed = self._requests.note
        async with asyncio.TaskGroup() as group:
            group.create_task(self._systemd.run(self._reconciler), name="systemd")
            known = self._ledger.facts  # what the agent before us held goes on while we look at what runs here
            held = group.create_task(keep_alive(etcd, known.lease_id, known.lease_ttl_s), name="lease held before")
            await self._register_with(etcd)
            await self._patiently(self._reconciler.adopt)
            held.cancel()
            loops = {
                "reconciler": self._reconciler.run(),
                "publisher": self._publisher.run(),
                "registration": self._registration.run(),
                "schedule": self._schedule.run(),
                "tick": self._tick(),
                "watchdog": self._notifier.keep_alive(),
                "usage": Reporter(etcd, self._keys, self._table, self._registration.lease).run(),
                "health": self._checks.run(),
                "crashes": self._crashes.run(etcd, self._keys, self._registration.lease),
                "metrics": serve("agent", listen, lambda: self._samples(etcd.health), self._healthz),
                "endpoints": keep_watch(etcd.health, etcd.ask_quiet, self._update_status),
            }
            if self._stops:
                began = self._ledger.facts.renewed_at or time.monotonic()
                lease, systemd = self._registration.lease, self._systemd
                loops["lease guard"] = LeaseGuard(
                    lease, self._reconciler, systemd, self._switch, began, self._update_status
                ).run()
            else:  # where it was "stop" before, units may be down for want of a lease
                self._reconciler.stopped_by_switch(await self._switch.remove())
            for name, loop in loops.items():
                group.create_task(loop, name=name)
            self._notifier.send("READY=1")
            if self._stops:
                self._notifier.guard(HANG_AT * self._registration.lease.ttl_s)
            self._wired.set()

    def _wire(self, etcd: Etcd) -> None:
        machine = self._table.machine
        self._crashes = CrashRecorder(machine, socket.gethostname(), self._settings.agent.bus)
        self._publisher = Publisher(
            etcd,
            self._keys,
            machine,
            self._table.state,
            self._history,
            self._settings.etcd.username,
            self._table.is_passing,
        )
        self._checks = HealthChecks(self._table, self._directory, self._publisher)
        artifacts = Artifacts(
            self._paths.artifacts,
            self._paths.artifact_links,
            self._directory,
            self._settings.agent.artifacts_mib << 20,
            self._table.retry,
        )
        artifacts.offer()
        needs = Dependencies(
            systemd=self._systemd,
            directory=self._directory,
            links=self._paths.links,
            ledger=self._ledger,
            files=FileCache(etcd, self._keys.file),
            artifacts=artifacts,
            publisher=self._publisher,
            reloader=Reloader(self._systemd.reload),
            host=socket.gethostname(),
            provider=Provisions(
                FileCache(etcd, self._keys.content, "version", "set it again, and roll that out", CONTENTS_KEPT),
                self._open_secret,
                "" if self._settings.agent.bus == "system" else "only the system's systemd is handed any",
            ),
            before_start=self._switch.cover,
            crashed=self._crashes.note,
            looked=self._checks.look,
        )
        self._reconciler = Reconciler(needs, self._table)
        self._schedule = Schedule(etcd, self._keys, machine, self._ledger, self._reconciler, self._history)
        self._schedule.on_link = self._link_changed

    def _open_secret(self, key: str, sealed: bytes, name: str) -> bytes:
        """A secret by the fleet's key, which is read each time: it may be renewed. Raises UserError."""
        from registry.sealing import unseal  # noqa: PLC0415 - costs what few machines need

        return unseal(read_private(self._settings.agent.secrets_key_file), key, sealed, name)

    async def _register_with(self, etcd: Etcd) -> None:
        version = await self._patiently(self._systemd.version)
        machine = await asyncio.to_thread(facts.describe, self._settings, version)
        self._registration = Registration(etcd, self._keys, self._ledger, machine, self, self._history)
        self._publisher.on_lost = self._registration.doubt
        self._health = etcd.health
        if self._history.held:  # by an agent before this one
            self._held(self._history.held)

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask systemd until it answers: without it there is nothing to do."""
        while True:
            await self._systemd.ready.wait()
            try:
                return await ask()
            except SystemdError as error:
                log.warning("%s; trying again", error)
                await asyncio.sleep(1.0)

    # ---- what registration and schedule tell

    def event(self, verb: str, *, unit: str = "", reason: str = "") -> Event:
        """An event of this agent, now."""
        return self._publisher.event(verb, unit=unit, reason=reason)

    def status_changed(self) -> None:
        """Say how registering goes."""
        self._update_status()

    async def joining(self, lease: int) -> None:
        """Before the fleet sees this machine it can see what runs here."""
        kept = await self._publisher.resume(lease, self._table.held)
        self._reconciler.lease_held(lease, kept)

    def joined(self) -> None:
        """Follow the schedule."""
        self._registered = True
        self._schedule.list_again()
        self._table.mark_all_dirty()
        self._update_status()

    def lost(self) -> None:
        """Hold what runs; nothing of it is claimed any more."""
        self._registered = False
        self._publisher.suspend()
        self._reconciler.lease_lost()
        self._schedule.pause()
        self._update_status()

    def returned(self) -> None:
        """Catch up after an outage."""
        self._publisher.retry()
        self._schedule.list_again()
        self._table.mark_all_dirty()

    def _link_changed(self) -> None:
        """The schedule is followed, or no longer. What got through saves registering the rest of its pause."""
        if self._schedule.link is ConnectionState.LIVE:
            self._registration.retry()
        self._update_status()

    def _held(self, reason: str) -> None:
        """The registry's history went back, or ("") an operator has accepted it: nothing is done on one's own."""
        self._registration.hold(reason)
        if reason:
            held = "the registry's history went back: %s; holding every unit as it is; %s"
            log.error(held, reason, REMEDY, extra=HISTORY_WENT_BACK.of())
            self._reconciler.freeze()
        else:
            log.warning("the registry's history was accepted; going by it", extra=HISTORY_ACCEPTED.of())
            self._reconciler.thaw()
            if self._registered:  # else it is followed once this machine has its place
                self._schedule.list_again()
        self._update_status()

    # ---- what the systemd that started us is told

    def _update_status(self) -> None:
        """Say how we are, if that has changed. Called whenever one of the facts may have."""
        self._notifier.status(status_line(self._status()))

    def _status(self) -> AgentStatus:
        status = AgentStatus(
            machine=self._table.machine,
            hostname=socket.gethostname(),
            user=self._settings.etcd.username,
            systemd_away=self._first("systemd", holds=not self._systemd.ready.is_set()),
            leaving=self._first("leaving", holds=self._table.leaving),
            units=len(self._table.held),
            parked=self._first("parked", holds=self._table.parked),
            held=f"the registry's history went back; {REMEDY}" if self._history.held else "",
        )
        if self._health is None:
            return status
        return replace(
            status,
            registered=self._registration.machine.since if self._registered else 0.0,
            place=self._registration.status,
            away=self._health.away,
            denied=self._health.denied,
            schedule=self._schedule.link,
            schedule_reason=self._schedule.reason,
            endpoints=self._health.endpoints,
        )

    def _first(self, what: str, *, holds: bool) -> float:
        """Since when it holds; 0 when it does not."""
        if not holds:
            self._since.pop(what, None)
            return 0.0
        return self._since.setdefault(what, time.time())

    # ---- what is measured

    def _healthz(self) -> tuple[bool, str]:
        status = self._status()
        return is_well(status), status_line(status)

    async def _samples(self, health: EtcdHealth) -> list[Sample]:
        lease = self._registration.lease
        age_s = time.monotonic() - lease.renewed_at
        units = Counter(active_label(unit.status.active) for unit in self._table.units.values() if unit.entry)
        checked = Counter(unit.health for unit in self._table.units.values() if unit.health)
        renewal = [Sample(RENEWAL_AGE, age_s)] if lease.renewed_at else []
        return [
            *common_samples("agent", health),
            *self._requests.samples(),
            *await certificate_samples(self._settings.etcd.client_settings()),
            Sample(REGISTRY_HELD, bool(self._history.held)),
            Sample(REGISTERED, self._registered),
            Sample(LEASE_REMAINING, max(lease.ttl_s - age_s, 0.0) if lease.id else 0.0),
            *renewal,
            *(Sample(HELD_UNITS, count, (active,)) for active, count in units.items()),
            *(Sample(HEALTH, checked[each], (str(each),)) for each in UnitHealth if each),
            *(Sample(TASKS, count, ended) for ended, count in self._reconciler.ended.items()),
        ]

    # ---- the tick

    async def _tick(self) -> None:
        while True:
            await asyncio.sleep(jittered(TICK_S, 0.9, 1.1))
            self._reconciler.resync()
            self._table.retry_blocked()
            self._ledger.flush()
            self._update_status()
            try:
                await self._describe()
                await self._registration.verify()
                self._publisher.recheck()
            except RegistryError as error:
                log.debug("tick: %s", error)

    async def _describe(self) -> None:
        """Take up what has changed of the machine: its address, host name, host keys, key for secrets."""
        own = self._registration.machine
        try:
            found = await asyncio.to_thread(facts.describe, self._settings, own.systemd_version)
        except UserError as error:  # the machine id has gone: what we have is good enough to go on
            log.debug("tick: %s", error)
            return
        if found.address == facts.NO_WAY and own.address != found.address:
            found = replace(found, address=own.address)  # there is no way to the registry just now
        self._registration.describe(found)

    # ---- the end

    async def _end(self) -> None:
        """Hand over when we are stopped for good: by a stop job on our own unit, or by a shutdown."""
        self._notifier.send("STOPPING=1")
        for_good = self._wired.is_set() and (
            self._hand_over
            or await self._systemd.own_job(os.getpid()) == "stop"
            or await self._systemd.system_state() == "stopping"
        )
        if not for_good:
            log.info("ending; every unit is left as it is")
            if self._wired.is_set():
                await self._renew_once_more()
            return
        log.info("handing %d units over", len(self._table.held), extra=HANDING_OVER.of())
        registered = bool(self._registration.lease.id)
        try:
            await self._registration.leave()
        except RegistryError as error:
            log.warning("cannot tell the registry that this machine leaves: %s", error)
        self._reconciler.leave()
        self._update_status()
        await self._table.emptied()
        if registered:
            try:
                async with asyncio.timeout(FORGET_S):
                    await self._table.forgotten()
                    await self._registration.revoke()
            except (TimeoutError, RegistryError):
                log.warning("the registry does not answer; what it shows of this machine ends with its lease")
        await self._switch.remove()
        log.info("handed over", extra=HANDED_OVER.of())

    async def _renew_once_more(self) -> None:
        """Give the agent after us as long as there is before units have to be stopped, or move."""
        lease = self._registration.lease
        try:
            async with asyncio.timeout(LAST_S):
                if lease.id and not self._table.parked:
                    await lease.renew(lease.id)
                    if self._stops:
                        age_s = time.monotonic() - lease.renewed_at
                        await self._switch.hold_back(lease.ttl_s, self._table.exposed, age_s)
        except (TimeoutError, RegistryError, SystemdError, OSError) as error:
            log.debug("cannot renew once more: %s", error)


class NotifyingEvent(asyncio.Event):
    """An event that calls `on_change` when it is set or cleared."""

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
