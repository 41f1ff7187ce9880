"""Making every unit of this machine as its schedule says: one worker a unit, many at once, each re-planning.

Owns the run-time table of units. Level-triggered: whatever changes (a wish, a status, the policy) only wakes the
unit's worker, which plans from what is true then and goes on until nothing is left to do. A unit that fails or
takes long delays no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from agentd.managed_unit import ManagedUnit
from agentd.pure.entry import LedgerEntry, Phase, cleared
from agentd.pure.plan import DesiredState, Task, TaskKind, plan
from agentd.pure.unit_status import failure, start_failed
from agentd.systemd import BusLost
from agentd.task_runner import OURS, Dependencies, Refused, Replan, Taken, TaskRunner, monotonic_us
from registry.errors import FleetError, RegistryError, SystemdError
from registry.model import UnitState
from registry.units.file import file_hash

log = logging.getLogger("fleet.agent")

RETRY_S = (1.0, 30.0)  # after a task that failed and has to succeed in the end: a stop, an unload
EARLY_US = 2_000_000  # a unit that fails so soon after its start has failed to start
STARTS = (TaskKind.START, TaskKind.AWAIT)
NO_FILE = file_hash("")  # of a unit that was found without its file: it is replaced
TURNS = 20  # of a plan that leads to itself again: then it rests, as after a failure
FREED_S = 0.3  # after a host's own unit has ended, until systemd has forgotten it
ANSWER_S = 1.0  # for systemd to say what lives, when everything has to be stopped in time
APPEARS = (TaskKind.LOAD, *STARTS)  # what may bring a unit that another one waits for
READS = 32  # units whose properties are read at once
HANDS = 4  # units that are handed over at once: enough to be quick, so few that each is down but for a moment
HELD_S = 0.5  # a unit that takes longer to move holds up the next one no more; after as many in a row none does


class Reconciler:
    """The units of this machine. `tools` is set before `run` (they need the executor as their listener)."""

    tools: Dependencies

    def __init__(self) -> None:
        self.units: dict[str, ManagedUnit] = {}
        self.parked = False
        self.leaving = False
        self.frozen = False  # the registry's history went back: nothing is begun
        self._moved: dict[str, asyncio.Event] = {}  # units being handed over, until the schedule forgets them here
        self._waiting: dict[str, frozenset[str]] = {}  # units whose start waits, with what for
        self._unmoved = 0  # units in a row that did not move in time
        self._made: TaskRunner | None = None
        self._group: asyncio.TaskGroup | None = None
        self._stale = asyncio.Event()
        self._noted = asyncio.Event()

    async def run(self) -> None:
        """Work for ever on what was adopted and is wished."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            self.turn_all()
            while True:
                await self._stale.wait()
                await self.tools.systemd.ready.wait()
                self._stale.clear()
                await self._look_again()

    @property
    def _steps(self) -> TaskRunner:
        if self._made is None:
            self._made = TaskRunner(self.tools, self._outdated, self._granted, self._noted.set)
        return self._made

    async def adopt(self) -> None:
        """Take up the units of the ledger, and files that lie in our directory without an entry."""
        ledger, directory = self.tools.ledger, self.tools.directory
        await self.tools.systemd.unit_path()
        if ledger.rebooted:  # a directory that outlives a boot: systemd knows none of these any more
            for name in directory.units():
                directory.remove(name)
        for name in sorted({*directory.units(), *directory.linked_from(self.tools.links)}):
            if name not in ledger.entries:
                ledger.put(LedgerEntry(name, directory.hash(name) or NO_FILE, 0, 0, Phase.LOADED))
        for name, entry in ledger.entries.items():
            self.units[name] = ManagedUnit(name, entry=entry)
            self.tools.systemd.watch(name)
        await self._read(self.units)
        for unit in self.units.values():
            if unit.entry and not unit.entry.generation and unit.status.running:
                unit.entry = ledger.put(replace(unit.entry, phase=Phase.STARTED))
            if unit.entry and unit.entry.waits:
                self._waiting[unit.name] = frozenset(unit.entry.waits)
        log.info("adopted %d units", len(self.units))

    # ---- what the outside tells

    def wish(self, name: str, wish: DesiredState | None, *, corrupt: bool = False) -> None:
        """What the schedule says of a unit now; a corrupt line leaves the unit as it is."""
        unit = self.units.get(name)
        if wish is None and not corrupt and (moved := self._moved.get(name)):
            moved.set()
        if unit is None:
            if wish is None:
                return
            unit = self.units[name] = ManagedUnit(name)
        if unit.told and (unit.wish, unit.corrupt) == (wish, corrupt):
            return
        unit.told, unit.corrupt, unit.vain = True, corrupt, 0
        if not corrupt:
            unit.wish = wish
        self._turn(unit)

    def park(self, *, parked: bool) -> None:
        """Stop everything while the registry is lost, or go on as it says."""
        if parked != self.parked:
            self.parked = parked
            self.resync()  # a signal may have been missed
            self.turn_all()

    def freeze(self) -> None:
        """Begin nothing: every unit stays as it is, whatever is wished. What is under way is brought to its end."""
        self.frozen = True
        self.turn_all()

    def thaw(self) -> None:
        """An operator has accepted another history: go by what it says, which nobody has told us yet."""
        self.frozen = False
        for unit in self.units.values():
            unit.told = False
            unit.version += 1
        self.turn_all()

    def leave(self) -> None:
        """Hand every unit over: stop and remove them all, whatever the schedule says."""
        self.leaving = True
        if self._group is not None:
            self._group.create_task(self._hand_over(), name="hand over")

    async def _hand_over(self) -> None:
        """A few units at a time, so that each is down no longer than it takes itself to move."""
        gate = asyncio.Semaphore(HANDS)
        async with asyncio.TaskGroup() as group:
            for unit in list(self.units.values()):
                await gate.acquire()
                self._moved[unit.name] = moved = asyncio.Event()
                unit.departing = True
                self._turn(unit)
                group.create_task(self._make_room(gate, moved), name=f"hand over {unit.name}")

    async def _make_room(self, gate: asyncio.Semaphore, moved: asyncio.Event) -> None:
        """For the next unit, once this one has moved; where nobody takes units there is nothing to wait for."""
        try:
            if self._unmoved < HANDS:
                async with asyncio.timeout(HELD_S):
                    await moved.wait()
                self._unmoved = 0
        except TimeoutError:
            self._unmoved += 1
        finally:
            gate.release()

    def lease_lost(self) -> None:
        """Every claim is gone with the lease."""
        for unit in self.units.values():
            unit.lease = 0
            unit.version += 1

    def lease_held(self, lease: int, kept: Iterable[str]) -> None:
        """The states of these units are there under our lease.

        That alone is no claim: a join that was interrupted has put them without a look at the schedule. The ledger
        knows which were claimed.
        """
        for name in kept:
            if (unit := self.units.get(name)) and unit.entry and unit.entry.lease == lease:
                unit.lease = lease
        self.turn_all()

    def retry(self) -> None:
        """What could not be carried out may be possible by now."""
        for unit in list(self.units.values()):
            if unit.blocked:
                unit.hindered = None
                self._turn(unit)

    def _retry_taken(self) -> None:
        """The names that were the host's may be free by now."""
        for unit in list(self.units.values()):
            if unit.blocked and unit.taken:
                unit.hindered = None
                self._turn(unit)

    def turn_all(self) -> None:
        """Plan everything again."""
        for unit in list(self.units.values()):
            self._turn(unit)

    def unit_changed(self, unit: str, properties: Mapping[str, Any]) -> None:
        """systemd's news of one unit."""
        managed = self.units.get(unit)
        if managed is None:
            return
        before, managed.status = managed.status, managed.status.merged(properties)
        if managed.status == before:
            return
        if managed.status.left_inactive_us != before.left_inactive_us:
            self._ran(managed)
        self._recovered(managed)
        if managed.status.active == "failed" and before.active != "failed":
            self._failed(managed)
        if managed.taken and managed.blocked and not managed.status.running:
            asyncio.get_running_loop().call_later(FREED_S, self.resync)
        if managed.status.active == "active" and before.active != "active":
            self._announce(unit)
        managed.changed.set()
        self.tools.publisher.touch([unit])

    def resync(self) -> None:
        """Signals may have been missed."""
        self._stale.set()

    # ---- what others ask

    def state(self, name: str) -> UnitState | None:
        """The record of one unit for the registry."""
        unit = self.units.get(name)
        return unit.state(self.tools.machine) if unit else None

    @property
    def held(self) -> tuple[str, ...]:
        """The units of which something is here."""
        return tuple(name for name, unit in self.units.items() if unit.entry)

    @property
    def alive(self) -> tuple[str, ...]:
        """The units of ours of which a process may live."""
        return tuple(
            name for name, unit in self.units.items() if unit.entry and unit.status.running and not unit.foreign
        )

    async def living(self) -> tuple[str, ...]:
        """The units of ours that are alive, as systemd says now; as it said last if it does not answer in time."""
        try:
            async with asyncio.timeout(ANSWER_S):
                found = await self.tools.systemd.list_units(self.held)
        except (TimeoutError, SystemdError) as error:
            log.warning("cannot ask which units live: %s", str(error) or "no answer")
            return self.alive
        for name, (load, active, sub) in found.items():
            if unit := self.units.get(name):
                unit.status = unit.status.merged({"LoadState": load, "ActiveState": active, "SubState": sub})
        return self.alive

    def main_pids(self) -> dict[str, int]:
        """The main process of each unit of ours that has one."""
        return {name: self.units[name].status.main_pid for name in self.alive if self.units[name].status.main_pid}

    async def emptied(self) -> None:
        """Wait until nothing is left of any unit but, perhaps, its state in the registry."""
        while any(unit.entry and unit.entry.phase is not Phase.GONE for unit in self.units.values()):
            await self._news()

    async def forgotten(self) -> None:
        """Wait until the registry shows none of our units either."""
        while self.held:
            await self._news()

    async def _news(self) -> None:
        self._noted.clear()
        await self._noted.wait()

    # ---- workers

    def _turn(self, unit: ManagedUnit) -> None:
        unit.version += 1
        unit.changed.set()
        self._wake(unit)

    def _granted(self, unit: ManagedUnit) -> None:
        self.units[unit.name] = unit
        self._wake(unit)

    def _wake(self, unit: ManagedUnit) -> None:
        if unit.worker is None and self._group is not None and self._plan(unit):
            unit.worker = self._group.create_task(self._work(unit), name=f"unit {unit.name}")

    def _plan(self, unit: ManagedUnit) -> tuple[Task, ...]:
        undecided = unit.corrupt or not unit.told
        if undecided and not self.leaving and not self.parked:
            return ()
        if self.frozen and not self.leaving and not self.parked:
            return ()
        if self.leaving and not unit.departing:  # its turn comes; nothing new is begun
            return ()
        return plan(unit.view(parked=self.parked, leaving=self.leaving))

    def _outdated(self, unit: ManagedUnit) -> bool:
        """Whether the task under way is no longer what the unit's plan begins with."""
        tasks = self._plan(unit)
        if not tasks:  # the wish is gone before it was claimed, or nothing may be begun
            return unit.entry is None or (self.frozen and unit.doing in (TaskKind.CLAIM, TaskKind.FETCH))
        if unit.doing in STARTS:
            return tasks[0].kind not in (*STARTS, TaskKind.CLAIM)
        return tasks[0].kind is not unit.doing

    async def _work(self, unit: ManagedUnit) -> None:
        pause_s, turns = RETRY_S[0], 0
        try:
            while tasks := self._plan(unit):
                entry = unit.entry
                done = await self._attempt(unit, tasks)
                turns = turns + 1 if unit.entry is entry and self._plan(unit) == tasks else 0
                pause_s = RETRY_S[0] if done and turns < TURNS else await self._wait(unit, pause_s)
        finally:
            unit.worker = None
            self.tools.reloader.dismiss(unit.name)
            self._note_waiting(unit)
            if unit.entry is None and (unit.wish is None or self.leaving):
                self.units.pop(unit.name, None)
            self._noted.set()

    async def _wait(self, unit: ManagedUnit, pause_s: float) -> float:
        """Let a failed task rest, unless its wish changes; returns the next pause."""
        version, loop = unit.version, asyncio.get_running_loop()
        deadline = loop.time() + pause_s
        while unit.version == version and (left_s := deadline - loop.time()) > 0:
            unit.changed.clear()
            try:
                async with asyncio.timeout(left_s):
                    await unit.changed.wait()
            except TimeoutError:
                break
        return min(pause_s * 2, RETRY_S[1])

    async def _attempt(self, unit: ManagedUnit, tasks: tuple[Task, ...]) -> bool:
        """Carry a plan out until its ground shifts. False when a task failed that has to be tried again."""
        if any(task.kind is TaskKind.LOAD for task in tasks) and self.tools.directory.holds(unit.name):
            self.tools.reloader.expect(unit.name)
        try:
            await self._carry_out(unit, tasks)
        except Replan as error:
            log.debug("%s: planning again: %s", unit.name, error)
        except Refused as error:
            self._hinder(unit, str(error))
            unit.taken = isinstance(error, Taken)
        except BusLost as error:
            log.warning("%s", error)
            await asyncio.sleep(RETRY_S[0])
            await self.tools.systemd.ready.wait()
        except RegistryError as error:
            log.debug("%s: %s", unit.name, error)
            return False
        except SystemdError as error:
            self._fail(unit, f"{error.operation} failed: {error.reason}")
            return self._is_final(unit, error)
        except (FleetError, OSError, ValueError) as error:
            self._fail(unit, str(error))
            return False
        except Exception as error:  # noqa: BLE001 - one bad unit harms no other
            log.debug("unexpected", exc_info=True)
            self._fail(unit, f"internal error: {type(error).__name__}: {error}")
            return False
        return True

    async def _carry_out(self, unit: ManagedUnit, tasks: tuple[Task, ...]) -> None:
        version = unit.version
        for task in tasks:
            unit.doing = task.kind
            await self._steps.carry_out(unit, task)
            if task.kind in APPEARS:
                self._announce(unit.name)
            if unit.version != version:
                return

    def _fail(self, unit: ManagedUnit, reason: str) -> None:
        reason = " ".join(reason.split())
        log.warning("%s: %s", unit.name, reason)
        if unit.entry and unit.entry.error != reason:
            self._steps.note(unit, _with_error(unit, reason))
            self.tools.publisher.tell("fail", unit=unit.name, reason=reason)

    def _hinder(self, unit: ManagedUnit, reason: str) -> None:
        """The present wish cannot be carried out: say why, and let it be until something changes."""
        if (unit.hindrance, unit.hindered) != (reason, unit.wish):
            log.warning("%s: %s", unit.name, reason)
        unit.hindrance, unit.hindered = reason, unit.wish
        self.tools.publisher.touch([unit.name])

    def _is_final(self, unit: ManagedUnit, error: SystemdError) -> bool:
        """What systemd refuses to enable it will refuse again; anything else is worth another try."""
        final = error.operation == "enable"
        if final:
            self._hinder(unit, f"{error.operation} failed: {error.reason}")
        return final

    def _failed(self, unit: ManagedUnit) -> None:
        entry = unit.entry
        if entry is None or entry.phase not in (Phase.STARTED, Phase.STARTING, Phase.ASKING):
            return
        if entry.phase is Phase.STARTED and not entry.error and monotonic_us() - entry.at_us < EARLY_US:
            reason = failure(unit.status, self._steps.program(unit))
            self._steps.note(unit, _with_error(unit, start_failed(reason)))
        if self._group is not None:
            self._group.create_task(self._tell_cause(unit, entry), name=f"cause {unit.name}")

    async def _tell_cause(self, unit: ManagedUnit, then: LedgerEntry) -> None:
        """Note and tell why a unit failed, unless it has been started again meanwhile."""
        cause = await self._steps.cause(unit, then.at_us)
        self.tools.publisher.tell("fail", unit=unit.name, reason=cause)
        now = unit.entry
        if (
            now is None
            or now.at_us != then.at_us
            or now.phase is not Phase.STARTED
            or unit.status.active != "failed"
        ):
            return
        if now.error and not then.error and not now.waits:
            self._steps.note(unit, replace(now, error=start_failed(cause)))
        elif not now.error:
            self._steps.note(unit, replace(now, cause=cause))

    def _recovered(self, unit: ManagedUnit) -> None:
        """Somebody has started it by hand, and it runs: the old complaint is void."""
        entry = unit.entry
        told = entry and (entry.error or entry.skipped or entry.cause)
        if entry and told and entry.phase is Phase.STARTED and unit.status.active == "active":
            self._steps.note(unit, cleared(entry))

    # ---- starts that wait for a unit

    def _note_waiting(self, unit: ManagedUnit) -> None:
        """Remember what a unit's start waits for; what came in the meantime is found by a look now."""
        waits = unit.entry.waits if unit.entry and not unit.due else ()
        if not waits:
            self._waiting.pop(unit.name, None)
        elif self._waiting.get(unit.name) != frozenset(waits) and self._group is not None:
            self._waiting[unit.name] = frozenset(waits)
            self._group.create_task(self._look_for_awaited([unit.name]), name=f"what {unit.name} waits for")

    def _announce(self, name: str) -> None:
        """A unit of ours may be there that others wait for."""
        waiting = [unit for unit, waits in self._waiting.items() if name in waits]
        if waiting and self._group is not None:
            self._group.create_task(self._look_for_awaited(waiting), name=f"who waits for {name}")

    async def _look_for_awaited(self, waiting: Iterable[str]) -> None:
        """Ask again for the starts for which nothing is missing any more."""
        awaited = {name: unit.entry.waits for name in waiting if (unit := self.units.get(name)) and unit.entry}
        try:
            found = await self.tools.systemd.list_units({name for names in awaited.values() for name in names})
            there = {name for name, (load, *_) in found.items() if load == "loaded"}
            for name in (each for each, names in awaited.items() if there.issuperset(names)):
                if not await self._steps.inquiry.lacking(name):
                    self._ask_again(name)
        except (SystemdError, ValueError, TypeError) as error:
            log.debug("%s; looking again with the next tick", error)

    def _ask_again(self, name: str) -> None:
        """Nothing is missing for the start of a unit that waits."""
        unit = self.units.get(name)
        if unit is None or unit.due or not (unit.entry and unit.entry.waits):
            return
        unit.due = True
        self._waiting.pop(name, None)
        self._turn(unit)

    def _ran(self, unit: ManagedUnit) -> None:
        """It was started, not by us: from which file, the disk says, or else systemd."""
        if unit.entry is None or unit.entry.phase not in (Phase.STARTED, Phase.LOADED):
            return
        if self._is_touched(unit):
            self.resync()
        else:
            self._steps.note_run(unit)

    def _is_touched(self, unit: ManagedUnit) -> bool:
        """Whether somebody has had a hand on its link, or on its name."""
        return unit.entry is not None and unit.entry.phase in OURS and not self._steps.is_untouched(unit)

    async def _look_again(self) -> None:
        """Compare all units with systemd in one bulk read; read closely those that differ or were touched."""
        held = [name for name in self.held if self.units[name].entry]
        try:
            found = await self.tools.systemd.list_units(held)
            differing = [
                name
                for name in held
                if (unit := self.units.get(name)) and (_differs(unit, found.get(name)) or self._is_touched(unit))
            ]
            await self._read(differing)
            self._retry_taken()
            await self._look_for_awaited(list(self._waiting))
            await self.tools.systemd.check_jobs()
        except SystemdError as error:
            log.warning("cannot look at the units: %s", error)

    async def _read(self, names: Iterable[str]) -> None:
        gate = asyncio.Semaphore(READS)

        async def read(unit: ManagedUnit) -> None:
            async with gate:
                await self._steps.refresh(unit)
            unit.changed.set()
            self._wake(unit)

        await asyncio.gather(*(read(self.units[name]) for name in names if name in self.units))


def _differs(unit: ManagedUnit, found: tuple[str, str, str] | None) -> bool:
    return found is not None and found != (unit.status.load, unit.status.active, unit.status.sub)


def _with_error(unit: ManagedUnit, reason: str) -> LedgerEntry:
    if unit.entry is None:
        raise ValueError("no entry")
    return replace(unit.entry, error=reason)
