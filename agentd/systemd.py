"""The one door to systemd: its D-Bus interface, kept open across restarts of the bus and of systemd itself.

Owns the connection, the limit of calls under way, the match rules, and the results of jobs. Raises
SystemdError (the operation failed: recorded on that unit) and BusLost (nothing is known: wait for `ready`,
look again). It must not decide anything. Raw messages, no introspection: signal handlers that are derived from
introspection die of a wrong arity, and they cost more.

Everybody on the bus can send us signals that look like systemd's. One counts when its sender is the connection that
has systemd's name now, which only the bus itself tells (GetNameOwner, then NameOwnerChanged), and when path,
interface, member and signature are right. Calls go to that connection too, and nobody else's reply is taken. Even
so a signal can be missed: what cannot be undone is decided by what a question brings (`look`, `properties`).

dbus-daemon allows 128 replies pending for a client: a semaphore holds further calls back.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from dbus_next import Message

from agentd.batching import Batch
from agentd.bus import THE_BUS, Bus
from agentd.pure import wire
from agentd.pure.unit_status import FIELDS, SIGNATURES
from registry.errors import SystemdError

log = logging.getLogger("fleet.systemd")

SYSTEMD = "org.freedesktop.systemd1"
MANAGER_PATH = "/org/freedesktop/systemd1"
UNIT_PATHS = f"{MANAGER_PATH}/unit"
MANAGER = f"{SYSTEMD}.Manager"
UNIT = f"{SYSTEMD}.Unit"
SERVICE = f"{SYSTEMD}.Service"
PROPERTIES = "org.freedesktop.DBus.Properties"
DBUS = THE_BUS
DBUS_PATH = "/org/freedesktop/DBus"

CALLS = 64  # of dbus-daemon's 128 pending replies
CALL_S = 30.0  # a reload keeps systemd from answering for seconds
RELOAD_S = 120.0
CONNECT_S = 5.0
RETRY_S = 0.5

RULES = (
    f"type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='JobRemoved'",
    f"type='signal',sender='{SYSTEMD}',interface='{MANAGER}',member='Reloading'",
    f"type='signal',sender='{DBUS}',interface='{DBUS}',member='NameOwnerChanged',arg0='{SYSTEMD}'",
    *(
        f"type='signal',sender='{SYSTEMD}',interface='{PROPERTIES}',member='PropertiesChanged',"
        f"path_namespace='{UNIT_PATHS}',arg0='{interface}'"
        for interface in (UNIT, SERVICE)
    ),
)

SHAPES = {  # what a signal of the manager looks like: its path, interface and signature
    "JobRemoved": (MANAGER_PATH, MANAGER, "uoss"),
    "Reloading": (MANAGER_PATH, MANAGER, "b"),
}
OWNER_CHANGED = (DBUS_PATH, DBUS, "NameOwnerChanged", "sss")
CHANGED = (PROPERTIES, "PropertiesChanged", "sa{sv}as")
WANTED = {name.encode(): name for name in FIELDS}
TYPES = {name.encode(): SIGNATURES[name].encode() for name in FIELDS}
ROWS = "a(ssssssouso)"  # of systemd's lists of units
NO_SUCH_UNIT = f"{SYSTEMD}.NoSuchUnit"
NOBODY_THERE = tuple(  # errors by which the bus says that systemd has left it, perhaps in the middle of a call
    f"{DBUS}.Error.{name}"
    for name in ("NoReply", "ServiceUnknown", "NameHasNoOwner", "Disconnected", "LimitsExceeded")
)


class BusLost(SystemdError):
    """The bus or systemd did not answer; the operation may or may not have happened."""


class ListedUnit(NamedTuple):
    """A unit in systemd's list: its states, and the id of its job, 0 for none."""

    load: str
    active: str
    sub: str
    job: int


AT_REST = ListedUnit("not-found", "inactive", "dead", 0)


class Listener(Protocol):
    """Who wants to know."""

    def unit_changed(self, unit: str, properties: Mapping[str, Any]) -> None:
        """Properties of a watched unit that changed."""

    def resync(self) -> None:
        """Signals may have been missed: look at everything again."""


class Systemd:
    """systemd, the system's or the user's. `run` keeps the connection; calls raise BusLost while there is none."""

    def __init__(self, address: str, listener: Listener) -> None:
        self.ready = asyncio.Event()
        self._address = address
        self._listener = listener
        self._bus: Bus | None = None
        self._owner: str | None = None  # who has systemd's name; "" nobody, None: not known yet
        self._limit = asyncio.Semaphore(CALLS)
        self._watched: dict[str, str] = {}  # object path: unit
        self._waiting: dict[str, asyncio.Future[str]] = {}  # job path: result
        self._early: dict[str, str] = {}  # results that came before the reply that names their job
        self._asking = 0  # calls under way that will name a job
        self._looks = Batch(self._list, BusLost)
        self._memory = Batch(self._remembered, BusLost)
        self._unit_path: tuple[str, ...] = ()
        self._chores: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Stay connected for ever."""
        while True:
            try:
                await self._connect()
                await self._disconnected()
            except (OSError, EOFError, TimeoutError, SystemdError) as error:
                log.warning("no connection to systemd: %s", str(error) or type(error).__name__)
            finally:
                self._close()
            await asyncio.sleep(RETRY_S)

    def watch(self, unit: str) -> None:
        """Hand on changes of this unit from now on."""
        self._watched[unit_path(unit)] = unit

    def unwatch(self, unit: str) -> None:
        """Pass over changes of this unit."""
        self._watched.pop(unit_path(unit), None)

    async def start(self, unit: str) -> asyncio.Future[str]:
        """Ask for a start; the future brings the job's result. The start may well go on when nobody waits."""
        return await self._job("start", "StartUnit", unit)

    async def stop(self, unit: str) -> asyncio.Future[str] | None:
        """Ask for a stop, cancelling a start under way; None when systemd does not have the unit loaded."""
        try:
            return await self._job("stop", "StopUnit", unit)
        except SystemdError as error:
            if error.dbus_name == NO_SUCH_UNIT:
                return None
            raise

    async def kill(self, unit: str) -> None:
        """SIGKILL to every process of the unit; a unit that has none is fine."""
        await self._ignoring_absence("kill", unit, "KillUnit", "ssi", [unit, "all", 9])

    async def reset_failed(self, unit: str) -> None:
        """Let systemd forget a failed unit; one that it does not know is fine."""
        await self._ignoring_absence("reset", unit, "ResetFailedUnit", "s", [unit])

    async def reload(self) -> None:
        """Read all unit files again (daemon-reload)."""
        await self._call("reload", "", "Reload", timeout_s=RELOAD_S)

    async def enable(self, unit: str) -> tuple[str, ...]:
        """Carry out the unit's [Install] section, until the next boot; returns the links that were made."""
        body = [[unit], True, True]
        _, changes = await self._call("enable", unit, "EnableUnitFiles", "asbb", body, returns="ba(sss)")
        return tuple(path for kind, path, _ in changes if kind == "symlink")

    async def list_units(self, units: Iterable[str]) -> dict[str, tuple[str, str, str]]:
        """Load, active and sub state of each unit, in one call; an unknown unit is `not-found`."""
        return {name: seen[:3] for name, seen in (await self._list(list(units))).items()}

    async def _list(self, names: list[str]) -> dict[str, ListedUnit]:
        if not names:
            return {}
        (rows,) = await self._call("list", names[0], "ListUnitsByNames", "as", [names], returns=ROWS)
        if len(rows) != len(names):  # by position: a row has the unit's own name where it was asked for by an alias
            raise SystemdError(names[0], "list", f"systemd listed {len(rows)} units of {len(names)}")
        return {name: ListedUnit(row[2], row[3], row[4], row[7]) for name, row in zip(names, rows, strict=True)}

    async def look(self, unit: str) -> ListedUnit:
        """The same of one unit, and its job; those who ask together share a call."""
        return await self._looks.about(unit)

    async def processes(self, unit: str) -> tuple[int, ...]:
        """The pids of everything that lives in the unit's control group; none for a unit that is not loaded."""
        try:
            (rows,) = await self._call("list", unit, "GetUnitProcesses", "s", [unit], returns="a(sus)")
        except SystemdError as error:
            if error.dbus_name == NO_SUCH_UNIT:
                return ()
            raise
        return tuple(row[1] for row in rows)

    async def in_memory(self, unit: str) -> bool:
        """Whether systemd has the unit loaded; no file is looked for. Those who ask together share a call."""
        return await self._memory.about(unit) is not None

    async def recall(self, unit: str) -> ListedUnit:
        """What `look` says of a unit that systemd has loaded; one that it has not is at rest. No file is read."""
        if "\\" in unit:  # not all versions take these in patterns
            return await self.look(unit)
        return await self._memory.about(unit) or AT_REST

    async def _remembered(self, units: list[str]) -> dict[str, ListedUnit | None]:
        patterns = [unit.replace("\\", r"\\") for unit in units]  # of fnmatch(3); names have no other of its signs
        (rows,) = await self._call("list", units[0], "ListUnitsByPatterns", "asas", [[], patterns], returns=ROWS)
        loaded = {row[0]: ListedUnit(row[2], row[3], row[4], row[7]) for row in rows}
        return {unit: loaded.get(unit) for unit in units}

    async def unit_path(self) -> tuple[str, ...]:
        """The directories in which systemd looks for unit files."""
        if not self._unit_path:
            self._unit_path = tuple(await self._get(MANAGER_PATH, MANAGER, "UnitPath"))
        return self._unit_path

    def places_before(self, directory: Path) -> tuple[str, ...]:
        """The directories whose unit files win over those in `directory`; none before `unit_path` was asked for."""
        place = str(directory)
        return self._unit_path[: self._unit_path.index(place)] if place in self._unit_path else ()

    async def properties(self, unit: str, names: Iterable[str], interface: str = UNIT) -> dict[str, Any]:
        """Single properties of a unit, loading it if need be; read side by side, as they are cheaper than all."""
        wanted = list(names)
        values = await asyncio.gather(*(self._property(unit, interface, name) for name in wanted))
        return dict(zip(wanted, values, strict=True))

    async def known_properties(self, unit: str, names: Iterable[str], interface: str = UNIT) -> dict[str, Any]:
        """The same, without those that this systemd or this type of unit does not have."""
        pairs = await asyncio.gather(*(self._pair(unit, interface, name) for name in names))
        return dict(pair for pair in pairs if pair is not None)

    async def _pair(self, unit: str, interface: str, name: str) -> tuple[str, Any] | None:
        try:
            return name, await self._property(unit, interface, name)
        except BusLost:
            raise
        except SystemdError as error:
            log.debug("%s", error)
            return None

    async def hold(self, unit: str) -> None:
        """Keep a unit in systemd's memory, with all it knows of its next start, until `release`."""
        await self._ignoring_absence("hold", unit, "RefUnit", "s", [unit])

    async def release(self, unit: str) -> None:
        """Let systemd forget a unit again; one that it does not know is fine."""
        await self._ignoring_absence("release", unit, "UnrefUnit", "s", [unit])

    async def version(self) -> str:
        """systemd's version."""
        return str(await self._get(MANAGER_PATH, MANAGER, "Version"))

    async def own_job(self, pid: int) -> str:
        """What systemd is doing to the unit of this process: "stop", "restart", …; "" when nothing or no unit."""
        try:
            (path,) = await self._call("ask", "", "GetUnitByPID", "u", [pid], timeout_s=1.0, returns="o")
            job = await self._get(path, UNIT, "Job", timeout_s=1.0)
            return str(await self._get(job[1], f"{SYSTEMD}.Job", "JobType", timeout_s=1.0)) if job[0] else ""
        except SystemdError:
            return ""

    async def system_state(self) -> str:
        """What `systemctl is-system-running` says; "stopping" during a shutdown, "" when there is no answer."""
        try:
            return str(await self._get(MANAGER_PATH, MANAGER, "SystemState", timeout_s=1.0))
        except SystemdError:
            return ""

    async def check_jobs(self) -> None:
        """Jobs that ended while no signal could reach us: their result is not known."""
        for path in list(self._waiting):
            try:
                await self._get(path, f"{SYSTEMD}.Job", "State")
            except BusLost:
                raise
            except SystemdError:
                if path in self._waiting:
                    self._finish(path, "unknown")

    async def _property(self, unit: str, interface: str, name: str) -> Any:  # noqa: ANN401 - any D-Bus value
        return await self._get(unit_path(unit), interface, name, unit=unit)

    async def _get(self, path: str, interface: str, name: str, *, unit: str = "", timeout_s: float = CALL_S) -> Any:  # noqa: ANN401
        (value,) = await self._call(
            "ask", unit, "Get", "ss", [interface, name], path=path, interface=PROPERTIES, timeout_s=timeout_s,
            returns="v",
        )  # fmt: skip
        return value

    async def _ignoring_absence(
        self, operation: str, unit: str, member: str, signature: str, body: list[Any]
    ) -> None:
        try:
            await self._call(operation, unit, member, signature, body)
        except BusLost:
            raise
        except SystemdError as error:
            log.debug("%s", error)

    async def _job(self, operation: str, member: str, unit: str) -> asyncio.Future[str]:
        self._asking += 1
        try:
            (path,) = await self._call(operation, unit, member, "ss", [unit, "replace"], returns="o")
        finally:
            self._asking -= 1
        # Two callers may be given the same job: systemd merges equal ones.
        future = self._waiting.setdefault(path, asyncio.get_running_loop().create_future())
        if path in self._early:
            self._finish(path, self._early[path])
        if not self._asking:
            self._early.clear()
        return future

    async def _call(
        self,
        operation: str,
        unit: str,
        member: str,
        signature: str = "",
        body: list[Any] | None = None,
        *,
        path: str = MANAGER_PATH,
        interface: str = MANAGER,
        timeout_s: float = CALL_S,
        destination: str = "",
        returns: str = "",
    ) -> list[Any]:
        """Ask systemd, or `destination`. `returns` is the signature of what counts as an answer; "": any."""
        async with self._limit:
            destination = destination or self._owner or ""
            if not destination:
                raise BusLost(unit, operation, "systemd is not on the bus")
            message = Message(
                destination=destination,
                path=path,
                interface=interface,
                member=member,
                signature=signature,
                body=body or [],
            )
            reply = await self._exchange(operation, unit, message, timeout_s)
        try:
            values = reply.arguments()
        except wire.Malformed as error:
            raise BusLost(unit, operation, f"the answer cannot be read: {error}") from error
        if reply.kind == wire.ERROR:
            raise _refusal(reply, values, unit, operation)
        if returns and reply.signature != returns:
            raise SystemdError(unit, operation, f"the answer is of type {reply.signature!r} instead of {returns!r}")
        return values

    async def _exchange(self, operation: str, unit: str, message: Message, timeout_s: float) -> wire.Message:
        bus = self._bus
        if bus is None or not bus.connected:  # a call would hang for ever
            raise BusLost(unit, operation, "no connection to systemd")
        try:
            async with asyncio.timeout(timeout_s):
                return await bus.ask(message)
        except TimeoutError:
            raise BusLost(unit, operation, f"systemd did not answer within {timeout_s:g} s") from None
        except (OSError, EOFError) as error:
            raise BusLost(unit, operation, f"lost the connection to systemd ({error})") from error

    async def _connect(self) -> None:
        async with asyncio.timeout(CONNECT_S):
            self._owner = None
            self._bus = await Bus(self._address, self._handle).connect()
            for rule in RULES:
                await self._ask_bus("AddMatch", rule)
            owner = await self._owner_now()
            if self._owner is None:  # nothing newer was told meanwhile
                self._owner = owner
            if self._owner:
                await self._subscribe()
            else:
                log.warning("systemd is not on the bus; waiting for it")

    async def _owner_now(self) -> str:
        try:
            (owner,) = await self._ask_bus("GetNameOwner", SYSTEMD, returns="s")
        except SystemdError as error:
            if error.dbus_name == f"{DBUS}.Error.NameHasNoOwner":
                return ""
            raise
        return str(owner)

    async def _ask_bus(self, member: str, argument: str, returns: str = "") -> list[Any]:
        return await self._call("watch", "", member, "s", [argument], path=DBUS_PATH, interface=DBUS,
                                destination=DBUS, returns=returns)  # fmt: skip

    async def _subscribe(self) -> None:
        """systemd sends no signals to who has not subscribed, and forgets it when it executes itself anew."""
        try:
            await self._call("watch", "", "Subscribe")
        except BusLost:
            raise
        except SystemdError as error:
            log.debug("subscribing again: %s", error)
        self.ready.set()
        self._listener.resync()
        await self.check_jobs()

    async def _disconnected(self) -> None:
        if self._bus is not None:
            await self._bus.wait_for_disconnect()
        raise ConnectionError("the bus closed the connection")

    def _close(self) -> None:
        self.ready.clear()
        bus, self._bus, self._owner = self._bus, None, None
        if bus is not None:
            bus.close()
        for path in list(self._waiting):
            self._finish(path, "unknown")

    def _handle(self, message: wire.Message) -> None:
        """Take a signal from the bus or from systemd; anybody else may say what he likes."""
        if message.sender == DBUS:
            self._told_by_bus(message)
        elif self._owner and message.sender == self._owner:
            self._told(message)

    def _told_by_bus(self, message: wire.Message) -> None:
        if (message.path, message.interface, message.member, message.signature) != OWNER_CHANGED:
            return
        name, _, owner = message.arguments()
        if name == SYSTEMD and owner != self._owner:
            self._owner = owner
            self.ready.clear()
            if owner:
                self._chore(self._resubscribe(owner))

    def _told(self, message: wire.Message) -> None:
        try:
            if (message.interface, message.member, message.signature) == CHANGED:
                self._changed(message)
            elif SHAPES.get(message.member) == (message.path, message.interface, message.signature):
                self._manager_told(message)
        except wire.Malformed as error:
            log.warning("cannot read what systemd says (%s); looking at everything again", error)
            self._listener.resync()

    def _manager_told(self, message: wire.Message) -> None:
        if message.member == "JobRemoved":
            _, path, _, result = message.arguments()
            self._job_removed(path, result)
        elif not message.first():
            self._listener.resync()

    def _changed(self, message: wire.Message) -> None:
        unit = self._watched.get(message.path)
        if unit is not None and message.first() in (UNIT, SERVICE):
            self._listener.unit_changed(unit, message.changes(WANTED, TYPES))

    def _job_removed(self, path: str, result: str) -> None:
        if path in self._waiting:
            self._finish(path, result)
        elif self._asking:
            self._early[path] = result

    def _finish(self, path: str, result: str) -> None:
        future = self._waiting.pop(path)
        if not future.done():
            future.set_result(result)

    async def _resubscribe(self, owner: str) -> None:
        while self._owner == owner:
            try:
                await self._subscribe()
            except SystemdError as error:
                log.warning("cannot subscribe to systemd's signals again: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _chore(self, work: Any) -> None:  # noqa: ANN401 - a coroutine
        task = asyncio.get_running_loop().create_task(work, name="systemd resubscription")
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)


def _refusal(reply: wire.Message, values: list[Any], unit: str, operation: str) -> SystemdError:
    """The error that a reply is; BusLost where it is the bus that answers, since systemd cannot."""
    text = " ".join(str(next(iter(values), reply.error_name)).split())
    if reply.sender == DBUS and reply.error_name in NOBODY_THERE:
        return BusLost(unit, operation, text, reply.error_name)
    return SystemdError(unit, operation, text, reply.error_name)


def bus_address(bus: str, environ: Mapping[str, str]) -> str:
    """Where the bus listens: the system's, or the user's own."""
    if bus == "system":
        return environ.get("DBUS_SYSTEM_BUS_ADDRESS") or "unix:path=/run/dbus/system_bus_socket"
    runtime = environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    return environ.get("DBUS_SESSION_BUS_ADDRESS") or f"unix:path={runtime}/bus"


def unit_path(unit: str) -> str:
    """A unit's object path: every byte but letters and digits (and a digit in front) as _xx."""
    label = "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 and (index or not chr(byte).isdigit()) else f"_{byte:02x}"
        for index, byte in enumerate(unit.encode())
    )
    return f"{UNIT_PATHS}/{label}"
