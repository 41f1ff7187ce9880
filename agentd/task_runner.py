"""Carrying out one task of a plan on one unit: the only place where the agent acts on systemd.

Owns the order inside a task: the ledger says what may happen before it happens, and what has once it has. Raises
Refused (the wish cannot be carried out; tell, and do nothing more), Again (the ground has shifted; plan again),
SystemdError and the registry's errors.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

from agentd.file_cache import FileCache, FileMissing
from agentd.file_reader import FileReader
from agentd.inquiry import NOT_ACTIVE, Inquiry, Lack, named_as_absent
from agentd.ledger import Ledger
from agentd.managed_unit import ManagedUnit
from agentd.publisher import Publisher
from agentd.pure.entry import LedgerEntry, Phase, cleared
from agentd.pure.plan import LIVELY, DesiredState, Task, TaskKind
from agentd.pure.unit_status import DETAILS, SERVICE_FIELDS, UNKNOWN, failure, skipped, start_error, start_failed
from agentd.reloader import Reloader
from agentd.systemd import AT_REST, SERVICE, SYSTEMD, BusLost, Systemd
from agentd.unit_directory import UnitDirectory, read_text
from agentd.unitlinks import unlink
from registry.errors import CorruptRecord, FleetError, SystemdError
from registry.units import name as unitname
from registry.units.hostreach import ALIAS, CONDITIONS, REQUIRED_BY, UPHELD_BY, WANTED_BY, InstallLink

log = logging.getLogger("fleet.agent")

TOLD = (TaskKind.LOAD, TaskKind.START, TaskKind.STOP, TaskKind.UNLOAD)  # in the log; the others follow from them
SETTLE_S = 0.06  # a program that is missing shows right after its start was called done
STALE_S = 1.0  # how long the news of a changed schedule line may take; then the claim is tried again
STOP_AGAIN_S = 0.2
OURS = tuple(phase for phase in Phase if phase not in (Phase.CLAIMED, Phase.GONE))  # something was put into systemd
LEFT_INACTIVE = "InactiveExitTimestampMonotonic"
HARMLESS = (WANTED_BY, UPHELD_BY)  # links that tie a target of the host to the unit only when it starts
REMEDIES = {
    REQUIRED_BY: "it would stop with this unit: use WantedBy=",
    WANTED_BY: "use a target, multi-user.target say",
    UPHELD_BY: "use a target, multi-user.target say",
}
MOST_LINKS = 100  # that one [Install] section may name: each is looked for on the disk
KILLING = ("service", "socket", "mount", "swap", "scope")  # types of unit that have processes, and a KillMode=
RETRIES = 30  # in a row, of a start that is refused for want of a unit each time that it is there; then it is left
VAIN = 3  # starts in a row that were refused for want of a unit which was there when it was looked for
READS_AGAIN = 3  # of a unit that changes while it is read; its next signal comes in any case
STOPS = 5  # when somebody else starts the unit while it is being stopped


T = TypeVar("T")


class Refused(FleetError):
    """The wish cannot be carried out on this machine as things are; the text says why and what to do."""


class Taken(Refused):
    """The host has what the unit would take: try again when the host's units change."""


class Replan(FleetError):
    """Something has changed under the task; plan again."""


@dataclass(frozen=True, slots=True)
class Dependencies:
    """What the steps work with."""

    systemd: Systemd
    directory: UnitDirectory
    links: Path  # where systemd keeps links made at run time
    ledger: Ledger
    texts: FileCache
    publisher: Publisher
    reloader: Reloader
    machine: str
    host: str  # what people call the machine


class TaskRunner:
    """The tasks.

    `outdated` tells whether a long wait is to be given up, because the unit's plan begins with something else by
    now; `granted` is told of each claim, `noted` of each entry written.
    """

    def __init__(
        self,
        tools: Dependencies,
        outdated: Callable[[ManagedUnit], bool],
        granted: Callable[[ManagedUnit], None],
        noted: Callable[[], None],
    ) -> None:
        self._tools, self._outdated, self._granted, self._noted = tools, outdated, granted, noted
        self._files = FileReader()
        self.inquiry = Inquiry(tools.systemd, tools.host)
        self._by_kind: dict[TaskKind, Callable[[ManagedUnit], Awaitable[None]]] = {
            TaskKind.CLAIM: self._claim,
            TaskKind.FETCH: self._fetch,
            TaskKind.STOP: self._stop,
            TaskKind.LOAD: self._load,
            TaskKind.START: self._start,
            TaskKind.AWAIT: self._await,
            TaskKind.RECORD: self._record,
            TaskKind.UNLOAD: self._unload,
            TaskKind.FORGET: self._forget,
        }

    async def carry_out(self, unit: ManagedUnit, task: Task) -> None:
        """Do one task."""
        log.log(
            logging.INFO if task.kind in TOLD else logging.DEBUG, "%s: %s (%s)", unit.name, task.kind, task.reason
        )
        await self._by_kind[task.kind](unit)

    async def refresh(self, unit: ManagedUnit) -> None:
        """Read the unit's properties from systemd; again if it told of a change meanwhile: answers may be older."""
        for _ in range(READS_AGAIN):
            before = unit.status
            found = await self._tools.systemd.properties(unit.name, DETAILS)
            if unit.name.endswith(".service"):
                found |= await self._tools.systemd.properties(unit.name, SERVICE_FIELDS, SERVICE)
            if unit.status is before:
                break
        unit.status = unit.status.merged(found)
        unit.foreign = self._is_foreign(unit)
        self.note_run(unit)
        self._tools.publisher.touch([unit.name])

    def note(self, unit: ManagedUnit, entry: LedgerEntry) -> None:
        """Write the unit's entry, with the claim and the run that it has now."""
        if unit.wish:
            entry = entry.seen(unit.wish.epoch, unit.wish.revision)
        entry = replace(entry, lease=unit.lease, run_us=self._run_us(unit))
        self._take(unit, self._tools.ledger.put(entry))

    def note_run(self, unit: ManagedUnit) -> None:
        """Remember which run is ours, should the host take the name while that goes on."""
        if unit.entry and unit.entry.phase in OURS and unit.entry.run_us != self._run_us(unit):
            self.note(unit, unit.entry)

    def _run_us(self, unit: ManagedUnit) -> int:
        if unit.status.running and self._tools.directory.owns(unit.status.fragment, unit.name):
            return unit.status.left_inactive_us
        return unit.entry.run_us if unit.entry else 0

    def is_untouched(self, unit: ManagedUnit) -> bool:
        """Whether nothing on disk says that systemd may have this name from elsewhere than our link by now."""
        return self._is_linked(unit.name) and not _lies_in(
            self._tools.systemd.places_before(self._tools.links), [unit.name]
        )

    def _take(self, unit: ManagedUnit, entry: LedgerEntry) -> None:
        unit.entry = entry
        self._noted()
        self._tools.publisher.touch([unit.name])

    async def _claim(self, unit: ManagedUnit) -> None:
        wish = _wish(unit)
        entry = unit.entry or wish.entry()
        state = replace(unit, entry=entry, hindered=None).state(self._tools.machine)
        if state is None:
            raise Replan("nothing to claim")

        def granted(lease: int) -> None:  # at once: nobody may see the claim without the entry
            unit.lease = lease
            self._tools.systemd.watch(unit.name)
            self.note(unit, unit.entry or entry)
            self._granted(unit)

        if not await self._unless_outdated(unit, self._tools.publisher.claim(wish, state, granted)):
            await _pause(unit, STALE_S)
            raise Replan("its schedule line has changed")

    async def _fetch(self, unit: ManagedUnit) -> None:
        try:
            await self._unless_outdated(unit, self._tools.texts.get(_wish(unit).hash))
        except (FileMissing, CorruptRecord) as error:
            raise Refused(str(error)) from error

    async def _load(self, unit: ManagedUnit) -> None:
        tools, wish = self._tools, _wish(unit)
        text = await tools.texts.get(wish.hash)
        known = await self._may_be_known(unit) and await self._recognise(unit)
        facts = await self._files.read(unit.name, text)
        await self._refuse_links(unit, facts.links)
        if unit.entry and unit.entry.phase is Phase.CLAIMED:  # names the file that may lie there from here on
            self.note(unit, replace(unit.entry, hash=wish.hash))
        if unit.entry and unit.entry.hash != wish.hash:
            await self._disable(unit)  # the new file may ask for less
        tools.directory.write(unit.name, text)
        if not self._is_linked(unit.name):
            link(tools.links / unit.name, tools.directory.path(unit.name))
        if facts.installs:
            await self._enable(unit)
        if known and (await tools.systemd.properties(unit.name, ("NeedDaemonReload",)))["NeedDaemonReload"]:
            await tools.reloader.reload(unit.name)
        await self._recognise(unit, fragment="" if known else str(tools.links / unit.name))
        error = await self._load_error(unit)
        self.note(unit, wish.entry(Phase.LOADED, error=error))

    async def _refuse_links(self, unit: ManagedUnit, named: tuple[InstallLink, ...]) -> None:
        """Raise Taken when enabling it would take a name from this host, or tie a unit of the host to it."""
        if len(named) > MOST_LINKS:
            raise Refused(f"its [Install] section names {len(named)} units; name at most {MOST_LINKS}")
        for link_ in named:
            if link_.unit == unit.name or (link_.option in HARMLESS and link_.unit.endswith(CONDITIONS)):
                continue
            if where := await self._held_elsewhere(unit, link_):
                raise Taken(
                    f"[Install] {link_.option}={link_.unit} names a unit that this host has ({where});"
                    f" {REMEDIES.get(link_.option, 'leave it out, or take another name')}"
                )

    async def _held_elsewhere(self, unit: ManagedUnit, link_: InstallLink) -> str:
        """Where this host has the unit that a link names; "" when it has none, or it is a unit of ours.

        Of an alias only this unit's own file is ours: another unit's name is taken as well.
        """
        if unitname.refusal(link_.unit):
            return ""  # systemd will say what is wrong with it
        tools, own = self._tools, unit.name if link_.option == ALIAS else ""
        names = tuple(filter(None, (link_.unit, unitname.parse(link_.unit).template)))
        places = await tools.systemd.unit_path()
        if found := next((path for path in _paths(places, names) if not _leads_to(path, tools.directory, own)), ""):
            return found
        if await tools.systemd.in_memory(link_.unit):
            values = await tools.systemd.properties(link_.unit, ("FragmentPath", "ActiveState"))
            fragment, active = str(values["FragmentPath"]), str(values["ActiveState"])
            if active != "inactive" and not tools.directory.owns(fragment):
                return fragment or f"it is {active}"
        return ""

    async def _enable(self, unit: ManagedUnit) -> None:
        """Carry out its [Install] section, and take back what turns out to lie over a unit of the host's."""
        places = await self._tools.systemd.unit_path()
        for made in map(Path, await self._tools.systemd.enable(unit.name)):
            others = [place for place in places if place != str(self._tools.links)]
            if made.parent == self._tools.links and made.name != unit.name and _lies_in(others, [made.name]):
                made.unlink(missing_ok=True)
                raise Taken(f"[Install] Alias={made.name} names a unit that this host has; leave it out")

    async def _may_be_known(self, unit: ManagedUnit) -> bool:
        """Whether the host may have this name already: systemd in its memory, or a file where it looks for units.

        A name that it does not have is not asked for: systemd would read all its directories anew, and once more
        for the file that we are about to put there.
        """
        names = (unit.name, unitname.parse(unit.name).template)
        places = await self._tools.systemd.unit_path()
        if _lies_in(places, filter(None, names)):
            return True
        if await self._tools.systemd.in_memory(unit.name):
            return True
        unit.status, unit.foreign = UNKNOWN, False
        return False

    async def _recognise(self, unit: ManagedUnit, fragment: str = "") -> bool:
        """Whether systemd knows the unit by now. Raises Refused when it knows it from elsewhere than us.

        `fragment` is where it must have it from if it has it, when it had nothing of that name a moment ago.
        """
        systemd = self._tools.systemd
        load, active, sub, _ = await systemd.look(unit.name)
        found = {"LoadState": load, "ActiveState": active, "SubState": sub}
        if load == "not-found" or fragment:
            found["FragmentPath"] = fragment if load != "not-found" else ""
        else:
            found |= await systemd.properties(unit.name, ("FragmentPath",))
        unit.status = unit.status.merged(found)
        unit.foreign = self._is_foreign(unit)
        self._refuse_foreign(unit)
        return load != "not-found"

    async def _load_error(self, unit: ManagedUnit) -> str:
        if unit.status.load == "loaded":
            return ""
        found = await self._tools.systemd.properties(unit.name, ("LoadError",))
        reason = " ".join(str(found["LoadError"][1]).split()) or f"systemd says {unit.status.load}"
        return f"load failed: {reason.rstrip('.')}; run `fleetctl verify` on its file"

    async def _start(self, unit: ManagedUnit) -> None:
        if not self.is_untouched(unit) or not self._tools.directory.holds(unit.name):
            await self._load(unit)  # somebody has taken its file away, or the name
        wish, at_us = _wish(unit), monotonic_us()
        entry = replace(wish.entry(Phase.ASKING), at_us=at_us, lease=unit.lease)
        self._take(unit, self._tools.ledger.put_first(entry))
        unit.vain += unit.due
        unit.due = False
        if unit.status.active == "failed":  # else it may count as started too often
            await self._tools.systemd.reset_failed(unit.name)
        if not (await self._files.read(unit.name, self._tools.directory.text(unit.name))).fleeting:
            await self._launch(unit, entry)
            return
        await self._tools.systemd.hold(unit.name)
        try:
            await self._launch(unit, entry)
        finally:
            await self._tools.systemd.release(unit.name)

    async def _launch(self, unit: ManagedUnit, entry: LedgerEntry) -> None:
        try:
            job = await self._tools.systemd.start(unit.name)
        except BusLost:
            raise
        except SystemdError as error:
            entry = replace(entry, phase=Phase.STARTED, error=f"start failed: {error.reason}")
            self.note(unit, await self._never_begun(unit, entry, named_as_absent(error.reason)))
            return
        # Noted apart: systemd forgets a unit that has ended, and with it every trace of its start.
        self.note(unit, entry := replace(entry, phase=Phase.STARTING))
        result = await self._unless_outdated(unit, asyncio.shield(job))
        if result == "unknown":
            raise Replan("the result of its start was lost")
        await self._started(unit, entry, result)

    async def _await(self, unit: ManagedUnit) -> None:
        """The start was asked for by an agent before us: wait until it is over."""
        await self.refresh(unit)
        await self._unless_outdated(unit, self._settled(unit))
        held = await self._tools.systemd.properties(unit.name, ("ConditionResult", "ConditionTimestampMonotonic"))
        unit.status = unit.status.merged(held)
        if unit.entry:
            await self._started(unit, unit.entry, "unknown")

    async def _settled(self, unit: ManagedUnit) -> None:
        while True:
            found = await self._tools.systemd.properties(unit.name, ("Job", "ActiveState"))
            if unit.status.merged(found).settled:
                return
            await _pause(unit, 2.0)

    async def _started(self, unit: ManagedUnit, entry: LedgerEntry, result: str) -> None:
        if result == "done" and unit.name.endswith(".service"):
            await self._settle(unit)
        await self._confirm(unit)
        error = start_error(result, unit.status, entry.at_us, self.program(unit))
        entry = replace(entry, phase=Phase.STARTED, error=error)
        if unit.status.active == "failed":
            entry = replace(entry, error=start_failed(await self.cause(unit, entry.at_us)))
        elif result == "assert":
            words = await self.inquiry.unmet(unit.name) or self._condition(unit, "assertion")
            entry = replace(entry, error=f"start failed: {words}")
        elif result in ("dependency", "failed"):
            triggered = await self.inquiry.triggered(unit.name) if result == "failed" else ()
            if unit.name.endswith(".socket") and (running := await self.inquiry.running(triggered)):
                what = f"{running[0]}, which it is to start, runs already; stop that first"
                entry = replace(entry, error=f"start failed: {what}")
            else:
                entry = await self._never_begun(unit, entry, triggered)
            if result == "dependency" and not entry.waits:
                entry = replace(entry, error=error + await self._failed_dependencies(unit))
        elif not unit.status.running:
            entry = replace(entry, skipped=await self._skipped(unit, entry.at_us))
        if not entry.waits:
            unit.vain = 0
        self.note(unit, entry)

    async def cause(self, unit: ManagedUnit, at_us: int) -> str:
        """Why systemd calls the unit failed, after its start at `at_us`."""
        program = self.program(unit)
        try:
            return await self.inquiry.cause(unit.name, unit.status, at_us, program)
        except (SystemdError, ValueError, TypeError) as error:
            log.debug("%s: asking why it failed: %s", unit.name, error)
            return failure(unit.status, program)

    async def _never_begun(self, unit: ManagedUnit, entry: LedgerEntry, suspects: tuple[str, ...]) -> LedgerEntry:
        """The entry of a start that was refused: what it waits for, if it is a unit that is not there.

        `suspects` are what systemd names. They may have come meanwhile: then the start is tried again at once, but
        not for ever.
        """
        lacks = await self.inquiry.lacking(unit.name) if unit.vain < RETRIES else ()
        if not lacks and unit.vain < VAIN:
            lacks = tuple(Lack(name, "only just loaded") for name in suspects if name != unit.name)
        if not lacks:
            return entry
        reason = self.inquiry.waiting(lacks)
        self._tools.publisher.tell("wait", unit=unit.name, reason=reason)
        names = tuple(dict.fromkeys(each.unit for each in lacks))
        running = tuple(each.unit for each in lacks if each.what == NOT_ACTIVE)
        return replace(entry, error=reason, waits=names, waits_running=running)

    async def _skipped(self, unit: ManagedUnit, at_us: int) -> str:
        """The condition that kept the unit from starting; "" when it has started, and ended."""
        found = await self.inquiry.verdict(unit.name)
        if found.get("ConditionTimestampMonotonic", 0) >= at_us:  # else systemd has forgotten it
            unit.status = unit.status.merged(found)
        if unit.status.result == "exec-condition":
            words = await self.inquiry.refused_by_command(unit.name, at_us) or "condition not met: ExecCondition="
        elif skipped(unit.status, at_us):
            words = await self.inquiry.unmet(unit.name) or self._condition(unit, "condition")
        else:
            return ""
        self._tools.publisher.tell("skip", unit=unit.name, reason=words)
        return words

    async def _confirm(self, unit: ManagedUnit) -> None:
        """Have systemd confirm what its signals made of the unit, before the start is judged by that."""
        seen = await self._tools.systemd.look(unit.name)
        if seen[:3] != (unit.status.load, unit.status.active, unit.status.sub):
            await self.refresh(unit)

    async def _settle(self, unit: ManagedUnit) -> None:
        deadline = time.monotonic() + SETTLE_S
        while unit.status.running and (left_s := deadline - time.monotonic()) > 0:
            await _pause(unit, left_s)

    async def _failed_dependencies(self, unit: ManagedUnit) -> str:
        found = await self._tools.systemd.properties(unit.name, ("Requires", "Requisite", "BindsTo"))
        names = {name for group in found.values() for name in group}
        states = await self._tools.systemd.list_units(sorted(names))
        down = ("failed", "inactive")
        bad = [name for name, (load, active, _) in sorted(states.items()) if active in down or load != "loaded"]
        return f": {', '.join(bad[:3])}" if bad else ""

    def _condition(self, unit: ManagedUnit, kind: str) -> str:
        """From the file, where systemd has forgotten which it was: it unloads an idle unit at once."""
        facts = self._files.read_now(unit.name, self._tools.directory.text(unit.name))
        found = facts.conditions if kind == "condition" else facts.assertions
        return f"{kind} not met: {'one of ' if len(found) > 1 else ''}{', '.join(found)}"

    async def _stop(self, unit: ManagedUnit) -> None:
        """Stop and wait until it is down, however long its own time-outs let it take."""
        entry = unit.entry
        if entry is None or (entry.phase is Phase.CLAIMED and not self._tools.directory.holds(unit.name)):
            return
        await self._look_closely(unit)
        if unit.foreign and unit.wish is not None:
            self._refuse_foreign(unit)
        if unit.foreign:
            raise Replan("the name belongs to the host by now")
        if entry.phase in LIVELY:
            self.note(unit, replace(entry, phase=Phase.STOPPING))
        for _ in range(STOPS):
            if await self._stopped(unit):
                break
            await asyncio.sleep(STOP_AGAIN_S)
        else:
            raise SystemdError(unit.name, "stop", f"it is still {unit.status.active}; something starts it again")
        await self._refuse_remains(unit)
        if entry.phase is not Phase.CLAIMED:
            self.note(unit, replace(cleared(entry), phase=Phase.LOADED))

    async def _stopped(self, unit: ManagedUnit) -> bool:
        """Whether it is down; systemd's answer to a question says so, never the news that a job is over."""
        job = await self._tools.systemd.stop(unit.name)
        result = "done" if job is None else await job
        if await self._is_down(unit):
            return True
        if unit.status.running and result not in ("done", "canceled", "unknown"):
            raise SystemdError(unit.name, "stop", f"its stop job ended with {result}; it is {unit.status.active}")
        return False

    async def _is_down(self, unit: ManagedUnit) -> bool:
        """Ask systemd whether the unit is at rest, with no job to change that; one that it has unloaded is."""
        load, active, sub, job = seen = await self._tools.systemd.recall(unit.name)
        found = {"ActiveState": active, "SubState": sub, "Job": (job,)}
        unit.status = unit.status.merged(found if seen is AT_REST else found | {"LoadState": load})
        self._tools.publisher.touch([unit.name])
        return not unit.status.running and not job

    async def _refuse_remains(self, unit: ManagedUnit) -> None:
        """Raise SystemdError while processes outlive their unit, unless its file leaves them alone (KillMode=)."""
        kind = unit.name.rpartition(".")[2]
        if kind not in KILLING or not await self._remains(unit):
            return
        found = await self._tools.systemd.properties(unit.name, ("KillMode",), f"{SYSTEMD}.{kind.capitalize()}")
        pids = () if found["KillMode"] in ("process", "none") else await self._remains(unit, STOPS)
        if pids:
            lives = f"{len(pids)} of its processes live on (pid {', '.join(map(str, pids[:3]))})"
            raise SystemdError(unit.name, "stop", f"it is {unit.status.active}, but {lives}")

    async def _remains(self, unit: ManagedUnit, times: int = 1) -> tuple[int, ...]:
        """The processes in its control group; the older kind of those is empty only a moment after a stop."""
        for _ in range(times - 1):
            if not await self._tools.systemd.processes(unit.name):
                return ()
            await asyncio.sleep(STOP_AGAIN_S)
        return await self._tools.systemd.processes(unit.name)

    async def _look_closely(self, unit: ManagedUnit) -> bool:
        """Ask systemd whose the unit is by now, and whether it is down."""
        down = await self._is_down(unit)
        found = {"FragmentPath": ""}
        if not down and unit.status.load != "not-found":
            found = await self._tools.systemd.properties(unit.name, ("FragmentPath",))
            if not self._tools.directory.owns(found["FragmentPath"], unit.name):
                found |= await self._tools.systemd.properties(unit.name, (LEFT_INACTIVE,))
        if not down:
            unit.status = unit.status.merged(found)
        unit.foreign = self._is_foreign(unit)
        return down

    async def _record(self, unit: ManagedUnit) -> None:
        wish = _wish(unit)
        if unit.entry:
            entry = unit.entry.seen(wish.epoch, wish.revision)
            self.note(
                unit,
                replace(entry, generation=wish.generation, placement=wish.placement, attempt=wish.attempt),
            )

    async def _unload(self, unit: ManagedUnit) -> None:
        tools = self._tools
        if _may_live(unit, tools.directory):
            if not await self._look_closely(unit) and not unit.foreign:
                raise Replan("it is not down")
            await self._disable(unit)
        if self._is_linked(unit.name):  # itself: systemd would search all its directories for each unit
            (tools.links / unit.name).unlink()
        tools.directory.remove(unit.name)
        if not unit.foreign and unit.status.active != "inactive":
            await tools.systemd.reset_failed(unit.name)
        tools.systemd.unwatch(unit.name)
        if unit.entry:
            self.note(unit, replace(unit.entry, phase=Phase.GONE, error=""))

    async def _disable(self, unit: ManagedUnit) -> None:
        """Remove what enabling it has linked: its file says what, unless it is not the one that we wrote."""
        directory, links_ = self._tools.directory, self._tools.links
        aliases: tuple[str, ...] | None = None
        if unit.entry is not None and directory.hash(unit.name) == unit.entry.hash != "":
            facts = await self._files.read(unit.name, directory.text(unit.name))
            if not facts.installs:
                return
            aliases = tuple(
                each.unit for each in facts.links if each.option == ALIAS and not unitname.refusal(each.unit)
            )
        unlink(links_, directory.path(unit.name), aliases)

    async def _forget(self, unit: ManagedUnit) -> None:
        await self._tools.publisher.forget(unit.name)
        self._tools.ledger.drop(unit.name)
        unit.entry, unit.lease, unit.foreign = None, 0, False
        unit.status = UNKNOWN

    def program(self, unit: ManagedUnit) -> str:
        """The path of the unit's first command, for messages."""
        return self._files.read_now(unit.name, self._tools.directory.text(unit.name)).program

    def _refuse_foreign(self, unit: ManagedUnit) -> None:
        if unit.foreign:
            if self._tools.directory.owns(unit.status.fragment):
                other = Path(unit.status.fragment).resolve().name
                raise Taken(f"name is an alias of {other}, which is scheduled here too; choose another name")
            where = unit.status.fragment or f"it is {unit.status.active} without a file"
            where = "it is masked" if unit.status.load == "masked" else where
            raise Taken(f"name belongs to this host ({where}); choose another name")

    def _is_foreign(self, unit: ManagedUnit) -> bool:
        """Whether systemd has this name from elsewhere: the host's file, a mask, something alive without a file.

        Not while what runs is ours: then it has to be stopped before the name is left to the host.
        """
        status = unit.status
        if (status.load in ("", "not-found") and not status.running) or self._is_our_run(unit):
            return False
        if status.fragment:
            return not self._tools.directory.owns(status.fragment, unit.name)
        return status.load == "masked" or (status.running and not self._tools.directory.holds(unit.name))

    def _is_our_run(self, unit: ManagedUnit) -> bool:
        """Whether what runs under this name was started from our file, whatever became of that file since.

        Without a file, or masked, nothing can have been started since. A file of the host's takes what runs along
        with the name, unless it is ours, edited, and has started nothing yet.
        """
        entry, status = unit.entry, unit.status
        if entry is None or entry.phase not in OURS or not status.running:
            return False
        if not status.fragment or status.load in ("not-found", "masked"):
            return True
        if self._tools.directory.owns(status.fragment, unit.name):
            return True
        return 0 < entry.run_us == status.left_inactive_us and self._is_copy(unit, status.fragment)

    def _is_copy(self, unit: ManagedUnit, path: str) -> bool:
        """Whether a file of the host's runs what ours does: `systemctl edit --full` begins with a copy."""
        ours = self._files.read_now(unit.name, self._tools.directory.text(unit.name)).commands
        return bool(ours) and ours == self._files.read_now(unit.name, read_text(Path(path))).commands

    def _is_linked(self, name: str) -> bool:
        link = self._tools.links / name
        return link.is_symlink() and link.readlink() == self._tools.directory.path(name)

    async def _unless_outdated(self, unit: ManagedUnit, work: Awaitable[T]) -> T:
        """Wait for something that may take long; Again as soon as the unit's plan begins with something else."""
        waiting = asyncio.ensure_future(work)
        try:
            while not waiting.done():
                unit.changed.clear()
                await _either(waiting, unit.changed)
                if not waiting.done() and self._outdated(unit):
                    raise Replan("something else has to be done first")
            return waiting.result()
        finally:
            waiting.cancel()


def _may_live(unit: ManagedUnit, directory: UnitDirectory) -> bool:
    """Whether something of ours may live: all but a claim of which nothing was loaded yet."""
    return unit.entry is not None and (unit.entry.phase is not Phase.CLAIMED or directory.holds(unit.name))


def _lies_in(places: Iterable[str], names: Iterable[str]) -> bool:
    return next(_paths(places, names), None) is not None


def _paths(places: Iterable[str], names: Iterable[str]) -> Iterator[str]:
    """The files of these names that there are, in the order of the places."""
    wanted = tuple(names)
    paths = (f"{place}/{name}" for place in places for name in wanted)
    return (path for path in paths if os.path.lexists(path))


def _leads_to(path: str, directory: UnitDirectory, name: str = "") -> bool:
    """Whether a path is, or is a link to, our file of this name, or of its own."""
    return os.path.realpath(path) == os.path.realpath(directory.path(name or os.path.basename(path)))  # noqa: PTH119


def link(path: Path, target: Path) -> None:
    """What `systemctl link --runtime` does, for a unit file of ours. Raises OSError.

    systemd looks for new files where a directory's time has changed, and the kernel's own times are some
    milliseconds coarse: two links in one of those would be one to systemd. Hence the exact time.
    """
    partial = path.with_name(f".#{path.name[:200]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(path)
    now = time.time_ns()
    os.utime(path.parent, ns=(now, now))


async def _either(waiting: asyncio.Future[T], changed: asyncio.Event) -> None:
    waker: asyncio.Future[object] = asyncio.create_task(changed.wait(), name="change of a unit")
    try:
        await asyncio.wait([cast("asyncio.Future[object]", waiting), waker], return_when=asyncio.FIRST_COMPLETED)
    finally:
        waker.cancel()


def _wish(unit: ManagedUnit) -> DesiredState:
    if unit.wish is None:
        raise Replan("no longer wished for")
    return unit.wish


async def _pause(unit: ManagedUnit, seconds: float) -> None:
    """Until something of the unit changes, at most so long."""
    unit.changed.clear()
    try:
        async with asyncio.timeout(seconds):
            await unit.changed.wait()
    except TimeoutError:
        return


def monotonic_us() -> int:
    """systemd's clock for starts."""
    return time.monotonic_ns() // 1000
