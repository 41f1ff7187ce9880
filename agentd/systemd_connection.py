"""The connection to systemd, kept open across restarts of the bus and of systemd itself.

Owns the limit of calls under way, the match rules, whose signals count, and the results of jobs. Raises
SystemdError (the operation failed: recorded on that unit) and BusLost (nothing is known: wait for `ready`, look
again). Raw messages, no introspection: signal handlers that are derived from introspection die of a wrong arity,
and they cost more.

Everybody on the bus can send us signals that look like systemd's. One counts when its sender is the connection that
has systemd's name now, which only the bus itself tells (GetNameOwner, then NameOwnerChanged), and when path,
interface, member and signature are right. Calls go to that connection too, and nobody else's reply is taken. Even
so a signal can be missed: what cannot be undone is decided by what a question brings.

dbus-daemon allows 128 replies pending for a client: a semaphore holds further calls back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from dbus_next import Message

from agentd.bus import THE_BUS, Bus
from agentd.dependencies import SERVICE, SYSTEMD, UNIT, BusLost
from agentd.pure import wire
from agentd.pure.unit_status import FIELDS, SIGNATURES
from registry.errors import SystemdError
from registry.units.name import service_of

log = logging.getLogger("fleet.systemd")

MANAGER_PATH = "/org/freedesktop/systemd1"
UNIT_PATHS = f"{MANAGER_PATH}/unit"
MANAGER = f"{SYSTEMD}.Manager"
PROPERTIES = "org.freedesktop.DBus.Properties"
DBUS = THE_BUS
DBUS_PATH = "/org/freedesktop/DBus"

CALLS = 64  # of dbus-daemon's 128 pending replies
CALL_S = 30.0  # a reload keeps systemd from answering for seconds
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
NOBODY_THERE = tuple(  # errors by which the bus says that systemd has left it, perhaps in the middle of a call
    f"{DBUS}.Error.{name}"
    for name in ("NoReply", "ServiceUnknown", "NameHasNoOwner", "Disconnected", "LimitsExceeded")
)


class Listener(Protocol):
    """Who wants to know."""

    def unit_changed(self, unit: str, properties: Mapping[str, Any]) -> None:
        """Properties of a watched unit that changed."""

    def resync(self) -> None:
        """Signals may have been missed: look at everything again."""


class SystemdConnection:
    """The connection to one systemd at `address`. `run` keeps it; calls raise BusLost while there is none."""

    def __init__(self, address: str, ready: asyncio.Event | None = None) -> None:
        self.ready = ready or asyncio.Event()
        self._address = address
        self._listener: Listener | None = None
        self._bus: Bus | None = None
        self._owner: str | None = None  # who has systemd's name; "" nobody, None: not known yet
        self._limit = asyncio.Semaphore(CALLS)
        self._watched: dict[str, str] = {}  # object path: unit
        self._waiting: dict[str, asyncio.Future[str]] = {}  # job path: result
        self._early: dict[str, str] = {}  # results that came before the reply that names their job
        self._asking = 0  # calls under way that will name a job
        self._chores: set[asyncio.Task[None]] = set()

    async def run(self, listener: Listener) -> None:
        """Stay connected for ever, and hand systemd's news to `listener`."""
        self._listener = listener
        while True:
            try:
                await self._connect()
                if self._bus is not None:
                    await self._bus.wait_for_disconnect()
                log.warning("no connection to systemd: the bus closed the connection")
            except (OSError, EOFError, TimeoutError, SystemdError) as error:
                log.warning("no connection to systemd: %s", str(error) or type(error).__name__)
            finally:
                self.ready.clear()
                bus, self._bus, self._owner = self._bus, None, None
                if bus is not None:
                    bus.close()
                for path in list(self._waiting):
                    self._finish(path, "unknown")
            await asyncio.sleep(RETRY_S)

    def watch(self, unit: str) -> None:
        """Hand on changes of this unit from now on."""
        self._watched[unit_path(service_of(unit))] = unit

    def unwatch(self, unit: str) -> None:
        """Pass over changes of this unit."""
        self._watched.pop(unit_path(service_of(unit)), None)

    async def call(
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
        message = Message(
            destination=destination or None, path=path, interface=interface, member=member, signature=signature,
            body=body or [],
        )  # fmt: skip
        (reply,) = await self._exchange(operation, unit, [message], timeout_s)
        return self._values(operation, unit, reply, returns)

    async def get(self, path: str, interface: str, name: str, *, unit: str = "", timeout_s: float = CALL_S) -> Any:  # noqa: ANN401 - any D-Bus value
        """One property of an object."""
        (value,) = await self.get_each(path, interface, [name], unit=unit, timeout_s=timeout_s)
        if isinstance(value, SystemdError):
            raise value
        return value

    async def get_each(
        self, path: str, interface: str, names: Iterable[str], *, unit: str = "", timeout_s: float = CALL_S
    ) -> list[Any]:
        """Properties of an object, asked for one by one and side by side.

        Raises BusLost; in place of a value that systemd does not give is the SystemdError that says so.
        """
        messages = [
            Message(path=path, interface=PROPERTIES, member="Get", signature="ss", body=[interface, each])
            for each in names
        ]
        values: list[Any] = []
        for reply in await self._exchange("ask", unit, messages, timeout_s):
            try:
                values += self._values("ask", unit, reply, "v")
            except BusLost:
                raise
            except SystemdError as error:
                values.append(error)
        return values

    @staticmethod
    def _values(operation: str, unit: str, reply: wire.Message, returns: str) -> list[Any]:
        """What a reply brings."""
        try:
            values = reply.arguments()
        except wire.Malformed as error:
            raise BusLost(unit, operation, f"the answer cannot be read: {error}") from error
        if reply.kind == wire.ERROR:  # BusLost where it is the bus that answers, since systemd cannot
            text = " ".join(str(next(iter(values), reply.error_name)).split())
            lost = reply.sender == DBUS and reply.error_name in NOBODY_THERE
            raise (BusLost if lost else SystemdError)(unit, operation, text, reply.error_name)
        if returns and reply.signature != returns:
            raise SystemdError(unit, operation, f"the answer is of type {reply.signature!r} instead of {returns!r}")
        return values

    async def job(self, operation: str, member: str, unit: str) -> asyncio.Future[str]:
        """Ask for a job on a unit; the future brings its result, "unknown" where that was lost."""
        self._asking += 1
        try:
            (path,) = await self.call(operation, unit, member, "ss", [service_of(unit), "replace"], returns="o")
        finally:
            self._asking -= 1
        # Two callers may be given the same job: systemd merges equal ones.
        future = self._waiting.setdefault(path, asyncio.get_running_loop().create_future())
        if path in self._early:
            self._finish(path, self._early[path])
        if not self._asking:
            self._early.clear()
        return future

    async def check_jobs(self) -> None:
        """Jobs that ended while no signal could reach us: their result is not known."""
        for path in list(self._waiting):
            try:
                await self.get(path, f"{SYSTEMD}.Job", "State")
            except BusLost:
                raise
            except SystemdError:
                if path in self._waiting:
                    self._finish(path, "unknown")

    async def _exchange(
        self, operation: str, unit: str, messages: Iterable[Message], timeout_s: float
    ) -> list[wire.Message]:
        """Send calls, to systemd where they name nobody, and wait for all replies."""
        asked: list[asyncio.Future[wire.Message]] = []
        try:
            for message in messages:
                asked.append(await self._send(operation, unit, message))  # noqa: PERF401 - some may be under way
            async with asyncio.timeout(timeout_s):
                return [await each for each in asked]
        except TimeoutError:
            raise BusLost(unit, operation, f"systemd did not answer within {timeout_s:g} s") from None
        except (OSError, EOFError) as error:
            raise BusLost(unit, operation, f"lost the connection to systemd ({error})") from error
        finally:
            for each in asked:
                if not each.cancel() and not each.cancelled():
                    each.exception()  # where one fails the others are not looked at

    async def _send(self, operation: str, unit: str, message: Message) -> asyncio.Future[wire.Message]:
        """Send one call once there is room for it; the room is free again when its future is done."""
        await self._limit.acquire()
        try:
            message.destination = message.destination or self._owner or None
            if not message.destination:
                raise BusLost(unit, operation, "systemd is not on the bus")
            bus = self._bus
            if bus is None or not bus.connected:  # a call would hang for ever
                raise BusLost(unit, operation, "no connection to systemd")
            future = bus.send(message)
        except BaseException:
            self._limit.release()
            raise
        future.add_done_callback(lambda _: self._limit.release())
        return future

    async def _connect(self) -> None:
        async with asyncio.timeout(CONNECT_S):
            self._owner = None
            self._bus = await Bus(self._address, self._handle).connect()
            for rule in RULES:
                await self._ask_bus("AddMatch", rule)
            try:
                (owner,) = await self._ask_bus("GetNameOwner", SYSTEMD, returns="s")
            except SystemdError as error:
                if error.dbus_name != f"{DBUS}.Error.NameHasNoOwner":
                    raise
                owner = ""
            if self._owner is None:  # nothing newer was told meanwhile
                self._owner = str(owner)
            if self._owner:
                await self._subscribe()
            else:
                log.warning("systemd is not on the bus; waiting for it")

    async def _ask_bus(self, member: str, argument: str, returns: str = "") -> list[Any]:
        return await self.call("watch", "", member, "s", [argument], path=DBUS_PATH, interface=DBUS,
                               destination=DBUS, returns=returns)  # fmt: skip

    async def _subscribe(self) -> None:
        """systemd sends no signals to who has not subscribed, and forgets it when it executes itself again."""
        try:
            await self.call("watch", "", "Subscribe")
        except BusLost:
            raise
        except SystemdError as error:
            log.debug("subscribing again: %s", error)
        self.ready.set()
        self._resync()
        await self.check_jobs()

    async def _resubscribe(self, owner: str) -> None:
        while self._owner == owner:
            try:
                await self._subscribe()
            except SystemdError as error:
                log.warning("cannot subscribe to systemd's signals again: %s", error)
                await asyncio.sleep(RETRY_S)
            else:
                return

    def _resync(self) -> None:
        if self._listener is not None:
            self._listener.resync()

    def _handle(self, message: wire.Message) -> None:
        """Take a signal from the bus or from systemd; anybody else may say what he likes."""
        if message.sender == DBUS:
            self._bus_signal(message)
        elif self._owner and message.sender == self._owner:
            try:
                self._systemd_signal(message)
            except wire.Malformed as error:
                log.warning("cannot read what systemd says (%s); looking at everything again", error)
                self._resync()

    def _bus_signal(self, message: wire.Message) -> None:
        if (message.path, message.interface, message.member, message.signature) != OWNER_CHANGED:
            return
        name, _, owner = message.arguments()
        if name == SYSTEMD and owner != self._owner:
            self._owner = owner
            self.ready.clear()
            if owner:
                task = asyncio.get_running_loop().create_task(
                    self._resubscribe(owner), name="systemd resubscription"
                )
                self._chores.add(task)
                task.add_done_callback(self._chores.discard)

    def _systemd_signal(self, message: wire.Message) -> None:
        if (message.interface, message.member, message.signature) == CHANGED:
            unit = self._watched.get(message.path)
            if unit is not None and self._listener is not None and message.first() in (UNIT, SERVICE):
                self._listener.unit_changed(unit, message.changes(WANTED, TYPES))
        elif SHAPES.get(message.member) != (message.path, message.interface, message.signature):
            return
        elif message.member == "JobRemoved":
            _, path, _, result = message.arguments()
            if path in self._waiting:
                self._finish(path, result)
            elif self._asking:
                self._early[path] = result
        elif not message.first():  # a reload is over
            self._resync()

    def _finish(self, path: str, result: str) -> None:
        future = self._waiting.pop(path)
        if not future.done():
            future.set_result(result)


def unit_path(unit: str) -> str:
    """A unit's object path: every byte but letters and digits (and a digit in front) as _xx."""
    label = "".join(
        chr(byte) if chr(byte).isalnum() and byte < 128 and (index or not chr(byte).isdigit()) else f"_{byte:02x}"
        for index, byte in enumerate(unit.encode())
    )
    return f"{UNIT_PATHS}/{label}"
