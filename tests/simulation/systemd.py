"""systemd, simulated at the agent's bus: units with their jobs, and what really runs on one machine.

Stands for the connection to D-Bus (`agentd.bus.Bus`): calls go in, replies and signals come out. What the
agent makes of them (senders, job results, lost signals) is its own code. Unit files are real files, in directories
of this machine alone. How a unit behaves stands in its file, in a comment `# simulate: kind=sleeper stop=0.3`.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any, Protocol

from registry.units.name import service_of
from registry.units.pins import FILES, NeedKind, pins_of
from tests.simulation.crowd import BEHAVIOUR, FLEETS_NAMES
from tests.simulation.loop import PROGRAM, Program, SimulatedLoop

SYSTEMD, THE_BUS = "org.freedesktop.systemd1", "org.freedesktop.DBus"
MANAGER_PATH = "/org/freedesktop/systemd1"
UNIT, SERVICE = f"{SYSTEMD}.Unit", f"{SYSTEMD}.Service"
RETURN, ERROR, SIGNAL = 2, 3, 4
EXITED, KILLED = 1, 2
SIGKILL, SIGTERM = 9, 15
RESTART_S = 1.0
START_LIMIT = 5
NAMED = re.compile(r"(?m)^(?:Volume|Network|Image)=([\w@-]+\.(?:volume|network|image))\b")  # by a Quadlet


class Truth(Protocol):
    """What is told of all that really happens."""

    def started(self, machine: str, unit: str, *, asked: bool) -> None:
        """A process lives from now on; `asked`: by a start job, not by Restart=."""

    def ended(self, machine: str, unit: str) -> None:
        """It is gone."""

    def overtaken(self, machine: str, unit: str) -> None:
        """A start is asked for while the old copy still lives."""

    def stopping(self, machine: str, unit: str) -> None:
        """Somebody has a unit stopped that is not at rest."""

    def stopped_late(self, machine: str, unit: str) -> None:
        """Somebody has a unit stopped that is at rest."""

    def unprovided(self, machine: str, unit: str, what: str) -> None:
        """A unit is started of which something is not there that its file names."""


@dataclass(slots=True)
class SimulatedMessage:
    """A message as the agent's reader gives it, with its arguments at hand."""

    kind: int
    sender: str
    signature: str = ""
    values: tuple[Any, ...] = ()
    path: str = ""
    interface: str = ""
    member: str = ""
    error_name: str = ""
    reply_serial: int = 0

    def arguments(self) -> list[Any]:
        return list(self.values)

    def first(self) -> Any:
        return self.values[0]

    def changes(self, wanted: dict[bytes, str], _types: object = None) -> dict[str, Any]:
        return {wanted[name.encode()]: value for name, value in self.values[1].items() if name.encode() in wanted}


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How a unit behaves: times in seconds, `life` 0 for ever.

    What has a `port` answers there while it is up; with `sick`, that it is not well.
    """

    kind: str = "sleeper"
    start: float = 0.0
    stop: float = 0.2
    life: float = 0.0
    restart: bool = False
    port: int = 0
    sick: bool = False

    @classmethod
    def of(cls, text: str) -> Behaviour:
        """What the file says."""
        for line in text.splitlines():
            if line.startswith("# simulate:"):
                pairs = dict(word.split("=", 1) for word in line.split()[2:])
                numbers = {name: float(pairs[name]) for name in ("start", "stop", "life") if name in pairs}
                restart, sick = (pairs.get(name) == "yes" for name in ("restart", "sick"))
                port = int(pairs.get("port", 0))
                return cls(pairs.get("kind", "sleeper"), restart=restart, sick=sick, port=port, **numbers)
        return cls()


@dataclass(slots=True)
class Job:
    """A job of one unit."""

    id: int
    kind: str

    @property
    def path(self) -> str:
        return f"{MANAGER_PATH}/job/{self.id}"


@dataclass(eq=False, slots=True)
class LoadedUnit:
    """A unit in systemd's memory."""

    name: str
    fragment: str = ""
    text: str = ""
    behaviour: Behaviour = field(default_factory=Behaviour)
    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    changed_us: int = 0
    left_inactive_us: int = 0
    status: int = 0
    code: int = 0
    pid: int = 0
    invocation: bytes = b""
    restarts: int = 0
    job: Job | None = None
    then_start: bool = False  # the job is a start that waits for the stop under way
    references: int = 0
    turn: int = 0  # of its life: what was set in motion before counts no more
    source: str = ""  # the Quadlet that it was made of
    requires: tuple[str, ...] = ()

    @property
    def told_as(self) -> str:
        """Its name in the fleet, which is the Quadlet's."""
        return FLEETS_NAMES.get(self.name, self.name)

    @property
    def kept(self) -> bool:
        """Whether it is up without a process, for those that need it."""
        return self.sub == "exited"

    @property
    def load(self) -> str:
        return "loaded" if self.fragment else "not-found"

    @property
    def running(self) -> bool:
        return self.active not in ("inactive", "failed")


SWITCH = "fleet-lease.service"


class SimulatedSystemd:
    """systemd of one machine, from one boot to the next."""

    def __init__(
        self, loop: SimulatedLoop, machine: str, root: Path, truth: Truth, random: Random, *, podman: bool = True
    ) -> None:
        self.podman = podman
        self.loop, self.machine, self.truth, self.random = loop, machine, truth, random
        self.root = root  # XDG_RUNTIME_DIR of the machine
        self.monotonic: Callable[[], float] = lambda: loop.now
        self.wall: Callable[[], float] = lambda: loop.now
        self.owner = ":1.1"
        self.units: dict[str, LoadedUnit] = {}
        self.buses: list[SimulatedBus] = []
        self.agent_job = ""  # what systemd is doing to the agent's own unit
        self.state = "running"
        self.jammed = False  # nothing answers at any port
        self.answers_since = 0.0
        self.slow_s = 0.0  # a busy systemd: each answer takes up to so much longer
        self.doubled = 0.0  # part of the signals that come twice
        self.busy_until = 0.0  # reloading: no answers until then
        self.off = False
        self.switch = 0  # which run of the service that guards the lease it is
        self._jobs = itertools.count(1)
        self._pids = itertools.count(4000)
        self.generated, self.quadlets = root / "systemd/generator", root / "containers/systemd"
        self.places = [root / "host", root / "systemd/user", self.generated, root / "vendor"]
        for place in self.places:
            place.mkdir(parents=True, exist_ok=True)
        self._places = tuple(map(str, self.places))

    # ---- files

    def find(self, name: str) -> tuple[str, str]:
        """The file of a unit: its path and text; "" when there is none."""
        stem, at, rest = name.partition("@")
        template = f"{stem}@.{rest.rpartition('.')[2]}" if at else ""
        for wanted in filter(None, (name, template)):
            for place in self._places:
                path = f"{place}/{wanted}"
                try:
                    descriptor = os.open(path, os.O_RDONLY)
                except OSError:
                    continue
                with open(descriptor) as file:  # noqa: PTH123 - paths as objects cost more than the files
                    return path, file.read()
        return "", ""

    def unit(self, name: str) -> LoadedUnit:
        """The unit, loaded if need be; one without a file is kept no longer than this."""
        found = self.units.get(name)
        if found is None:
            found = LoadedUnit(name)
            self._read(found)
            if found.fragment:
                self.units[name] = found
                self._forget(found)
        return found

    def known(self, name: str) -> LoadedUnit | None:
        """What it has in its memory of a unit of the fleet."""
        return self.units.get(service_of(name))

    def _read(self, unit: LoadedUnit) -> None:
        unit.fragment, unit.text = self.find(unit.name)
        unit.source, unit.requires = "", ()
        if unit.fragment.startswith(str(self.generated)):
            head, _, unit.text = unit.text.partition("\n")
            unit.source, *requires = head.split()[1:]
            unit.requires = tuple(requires)
        unit.behaviour = Behaviour.of(unit.text)

    def needs_reload(self, unit: LoadedUnit) -> bool:
        """Whether a file that it was read from is another one by now."""
        seen = LoadedUnit(unit.name)
        self._read(seen)
        quadlet = Path(unit.source)
        changed = bool(unit.source) and (not quadlet.exists() or quadlet.read_text() != unit.text)
        return changed or (seen.fragment, seen.text) != (unit.fragment, unit.text)

    def generate(self) -> None:
        """What Podman's generator does: a service for each Quadlet that names none which is not there."""
        for path in self.generated.iterdir():
            path.unlink()
        paths = sorted(self.quadlets.iterdir()) if self.podman and self.quadlets.is_dir() else []
        texts = {path.name: path.read_text() for path in paths if path.exists()}
        for name, text in texts.items():
            needs = NAMED.findall(text)
            if all(each in texts for each in needs) and Behaviour.of(text).kind != "refused":
                head = " ".join(("#", str(self.quadlets / name), *map(service_of, needs)))
                (self.generated / service_of(name)).write_text(f"{head}\n{text}")

    # ---- what is asked

    def start(self, name: str) -> Job:
        if name == SWITCH:
            return self._guard_lease()
        unit = self.unit(name)
        if unit.load != "loaded":
            raise KeyError(f"Unit {name} not found.")
        if unit.job is not None and unit.job.kind == "start":
            return unit.job
        if unit.job is not None:
            self._finish_job(unit, "canceled")
        job = unit.job = Job(next(self._jobs), "start")
        if unit.active == "deactivating":
            unit.then_start = True
            self.truth.overtaken(self.machine, unit.told_as)
        elif unit.active == "active":
            self.loop.after(0.001, self._if, unit, unit.turn, self._finish_job, unit, "done")
        elif unit.active != "activating":  # else the job waits for the end of the start that is under way, or due
            unit.restarts = 0
            self._begin(unit, asked=True)
        return job

    def _guard_lease(self) -> Job:
        """The service of the agent's own switch: what it runs is known, and done here."""
        unit = self.unit(SWITCH)
        if unit.load != "loaded":
            raise KeyError(f"Unit {SWITCH} not found.")
        if not unit.running:
            unit.active, unit.sub = "active", "running"
            self.switch += 1
            self._look_at_deadline(self.switch)
        return self._done_soon("start", SWITCH)

    def _done_soon(self, kind: str, name: str) -> Job:
        job = Job(next(self._jobs), kind)
        self.loop.after(0.002, self.emit, "JobRemoved", "uoss", job.id, job.path, name, "done")
        return job

    def _look_at_deadline(self, switch: int) -> None:
        path = self.root / "fleet" / "lease-deadline"
        if self.off or switch != self.switch or not path.parent.is_dir():
            return
        words = path.read_text().split() if path.exists() else []
        left_s, nap_s, grace_s = 0.0, 1.0, 1.0
        if len(words) == 4:
            left_s, nap_s, grace_s = (
                int(words[1]) / 100 - self.monotonic(),
                int(words[2]) / 400,
                int(words[3]) / 100,
            )
        if left_s <= 0:
            self._switch_off(switch, grace_s)
        self.loop.after(max(min(left_s, nap_s), 0.01) if left_s > 0 else nap_s, self._look_at_deadline, switch)

    def _switch_off(self, switch: int, grace_s: float) -> None:
        listed, stopped = (self.root / "fleet" / name for name in ("lease-units", "lease-units.stopped"))
        if not listed.exists():
            return
        names = [name for name in listed.read_text().splitlines() if self._runs(name)]
        listed.unlink()
        before = stopped.read_text() if stopped.exists() else ""
        stopped.write_text(before + "".join(f"{name}\n" for name in names))
        for name in names:
            self.truth.stopping(self.machine, FLEETS_NAMES.get(name, name))
            self.stop(name)
        self.loop.after(grace_s, self._switch_kill, switch, names)

    def _runs(self, name: str) -> bool:
        unit = self.units.get(name)
        return unit is not None and unit.active not in ("inactive", "failed")

    def _switch_kill(self, switch: int, names: list[str]) -> None:
        for name in names if not self.off and switch == self.switch else ():
            self.kill(name)

    def stop(self, name: str) -> Job:
        unit = self.unit(name)
        if name == SWITCH and unit.load == "loaded":
            self.switch += 1
            unit.active, unit.sub = "inactive", "dead"
            return self._done_soon("stop", name)
        if not unit.running:
            self.truth.stopped_late(self.machine, unit.told_as)
        if unit.load != "loaded" and not unit.running:
            raise KeyError(f"Unit {name} not loaded.")
        if unit.job is not None and unit.job.kind == "stop":
            return unit.job
        if unit.job is not None:
            self._finish_job(unit, "canceled")
        unit.then_start = False
        job = unit.job = Job(next(self._jobs), "stop")
        if unit.active == "deactivating":
            return job
        self._begin_stop(unit)
        return job

    def _begin_stop(self, unit: LoadedUnit) -> None:
        if not unit.running:
            self.loop.after(0.001, self._if, unit, unit.turn, self._finish_job, unit, "done")
        elif unit.kept:
            for each in [each for each in self.units.values() if unit.name in each.requires and each.running]:
                self.stop(each.name)  # Requires=
            self._rest(unit, "inactive", "dead")
        else:
            self.truth.stopping(self.machine, unit.told_as)
            if unit.sub == "auto-restart":
                self._rest(unit, "inactive", "dead")
                return
            unit.turn += 1
            self._become(unit, "deactivating", "stop-sigterm")
            self.loop.after(unit.behaviour.stop, self._if, unit, unit.turn, self._stopped, unit)

    def kill(self, name: str) -> None:
        unit = self.units.get(name)
        if unit is not None and unit.pid:
            if unit.active != "deactivating":
                self.truth.stopping(self.machine, unit.told_as)
            unit.turn += 1
            self._exit(unit, SIGKILL, KILLED)

    def reset_failed(self, name: str) -> None:
        unit = self.units.get(name)
        if unit is not None and unit.active == "failed":
            self._become(unit, "inactive", "dead")
            self._forget(unit)

    def reload(self) -> None:
        """Read all files again."""
        self.generate()
        for unit in list(self.units.values()):
            self._read(unit)
            if not unit.running and unit.job is None and not unit.fragment:
                del self.units[unit.name]
        self.emit("Reloading", "b", False)

    def execute_again(self) -> None:
        """daemon-reexec: a new connection to the bus, and nobody is subscribed any more."""
        self.owner = f":1.{2 + self.random.getrandbits(20)}"
        for bus in self.buses:
            bus.subscribed = False
            bus.signal(
                THE_BUS, "NameOwnerChanged", "sss", (SYSTEMD, "", self.owner), "/org/freedesktop/DBus", THE_BUS
            )

    def power_off(self) -> None:
        """Everything ends at once, connections too."""
        self.off = True
        for unit in self.units.values():
            unit.turn += 1
            if unit.pid:
                self.truth.ended(self.machine, unit.told_as)
        self.units.clear()
        self.buses.clear()

    # ---- lives

    def _if(self, unit: LoadedUnit, turn: int, call: Callable[..., None], *args: Any) -> None:
        if not self.off and unit.turn == turn:
            call(*args)

    def _begin(self, unit: LoadedUnit, *, asked: bool) -> None:
        unit.turn += 1
        how = unit.behaviour = self._configured(unit)
        if how.kind == "kept":
            self._become(unit, "active", "exited")
            self._finish_job(unit, "done")
            return
        for each in unit.requires:
            if (other := self.unit(each)).load != "loaded":
                self.truth.unprovided(self.machine, unit.told_as, each)
            elif not other.running:
                self._begin(other, asked=False)
        unit.pid, unit.result, unit.status, unit.code = next(self._pids), "success", 0, 0
        unit.invocation = unit.pid.to_bytes(16, "big")
        unit.left_inactive_us = int(self.monotonic() * 1e6)
        self.truth.started(self.machine, unit.told_as, asked=asked)
        if how.kind == "missing":
            self._become(unit, "active", "running")
            self._finish_job(unit, "done")
            self.loop.after(0.02, self._if, unit, unit.turn, self._exit, unit, 203)
        elif how.kind == "hangs" or how.start or how.kind == "oneshot":
            self._become(unit, "activating", "start")
            length_s = how.start or 5.0 if how.kind == "hangs" else how.life if how.kind == "oneshot" else how.start
            call = self._timed_out if how.kind == "hangs" else self._through if how.kind == "oneshot" else self._up
            self.loop.after(length_s, self._if, unit, unit.turn, call, unit)
        else:
            self._up(unit)

    def _configured(self, unit: LoadedUnit) -> Behaviour:
        """How it is to behave: by its config, in the version that its file names, if it has one."""
        how = Behaviour.of(unit.text)
        for pin in pins_of(unit.text):
            lies = self.root.parent / pin.path.lstrip("/")
            if not lies.exists():
                self.truth.unprovided(self.machine, unit.told_as, f"{pin.need} {pin.version[:8]}")
            elif pin.need.kind is NeedKind.CONFIG:
                how = Behaviour.of((lies / FILES / BEHAVIOUR).read_text())
        return how

    def listens(self, port: int) -> Behaviour | None:
        """Who answers at a port."""
        up = (each for each in self.units.values() if each.pid and each.active == "active")
        return next((each.behaviour for each in up if each.behaviour.port == port), None)

    def _up(self, unit: LoadedUnit) -> None:
        self._become(unit, "active", "running")
        self._finish_job(unit, "done")
        if unit.behaviour.life:
            status = 1 if unit.behaviour.kind == "fails" else 0
            self.loop.after(unit.behaviour.life, self._if, unit, unit.turn, self._exit, unit, status)

    def _through(self, unit: LoadedUnit) -> None:
        self._exit(unit, 0)

    def _timed_out(self, unit: LoadedUnit) -> None:
        unit.result = "timeout"
        self._dead(unit)
        self._rest(unit, "failed", "failed", "failed")

    def _exit(self, unit: LoadedUnit, status: int, code: int = EXITED) -> None:
        """Its process ends by itself, or by a signal from somebody."""
        unit.status, unit.code = status, code
        unit.result = "signal" if code == KILLED else "exit-code" if status else "success"
        self._dead(unit)
        if status and unit.behaviour.restart and unit.restarts < START_LIMIT and unit.active != "deactivating":
            unit.turn += 1
            unit.restarts += 1
            self._become(unit, "activating", "auto-restart")
            self.loop.after(RESTART_S, self._if, unit, unit.turn, self._begin_again, unit)
        else:
            self._rest(unit, "failed" if status else "inactive", "failed" if status else "dead")

    def _begin_again(self, unit: LoadedUnit) -> None:
        self._begin(unit, asked=False)

    def _stopped(self, unit: LoadedUnit) -> None:
        unit.code, unit.status = KILLED, SIGTERM
        self._dead(unit)
        self._rest(unit, "inactive", "dead")

    def _dead(self, unit: LoadedUnit) -> None:
        if unit.pid:
            unit.pid = 0
            self.truth.ended(self.machine, unit.told_as)

    def _rest(self, unit: LoadedUnit, active: str, sub: str, result: str = "done") -> None:
        unit.turn += 1
        self._become(unit, active, sub)
        if unit.then_start:
            unit.then_start = False
            self.loop.after(0.001, self._if, unit, unit.turn, self._begin_job, unit)
            return
        self._finish_job(unit, result)
        self._forget(unit)

    def _begin_job(self, unit: LoadedUnit) -> None:
        self._begin(unit, asked=True)

    def _forget(self, unit: LoadedUnit) -> None:
        """An idle unit is unloaded soon."""
        self.loop.after(self.random.random() * 0.01, self._if, unit, unit.turn, self._unload, unit)

    def _unload(self, unit: LoadedUnit) -> None:
        known = self.units.get(unit.name) is unit
        if known and unit.active == "inactive" and unit.job is None and not unit.references:
            del self.units[unit.name]

    def _become(self, unit: LoadedUnit, active: str, sub: str) -> None:
        unit.active, unit.sub = active, sub
        unit.changed_us = int(self.wall() * 1e6)
        self._changed(unit)

    def _changed(self, unit: LoadedUnit) -> None:
        if not any(bus.subscribed for bus in self.buses):
            return
        common = {name: PROPERTIES[name](unit) for name in SIGNALLED}
        special = {name: PROPERTIES[name](unit) for name in SIGNALLED_OF_SERVICES}
        path = unit_path(unit.name)
        for interface, values in ((SERVICE, special), (UNIT, common)):
            self.emit(
                "PropertiesChanged", "sa{sv}as", interface, values, [], path=path, interface=f"{THE_BUS}.Properties"
            )

    def _finish_job(self, unit: LoadedUnit, result: str) -> None:
        job, unit.job = unit.job, None
        if job is not None:
            self.emit("JobRemoved", "uoss", job.id, job.path, unit.name, result)
            if not unit.running:
                self._forget(unit)
            self._changed(unit)

    # ---- answers

    def property(self, unit: LoadedUnit, name: str) -> Any:
        if name == "NeedDaemonReload":
            return self.needs_reload(unit)
        return PROPERTIES[name](unit)

    def row(self, name: str) -> tuple[Any, ...]:
        unit = self.unit(name)
        job = unit.job
        return (
            unit.name, unit.name, unit.load, unit.active, unit.sub, "", unit_path(name), job.id if job else 0,
            job.kind if job else "", job.path if job else "/",
        )  # fmt: skip

    def emit(
        self,
        member: str,
        signature: str,
        *values: Any,
        path: str = MANAGER_PATH,
        interface: str = f"{SYSTEMD}.Manager",
    ) -> None:
        """A signal to all who have subscribed."""
        for bus in self.buses:
            if bus.subscribed:
                bus.signal(self.owner, member, signature, values, path, interface)
                if self.doubled and self.random.random() < self.doubled:
                    bus.signal(self.owner, member, signature, values, path, interface)

    def forge(self, member: str, signature: str, *values: Any, path: str, interface: str) -> None:
        """The same from somebody who is not systemd."""
        for bus in self.buses:
            bus.signal(":1.666", member, signature, values, path, interface)


PROPERTIES: dict[str, Callable[[LoadedUnit], Any]] = {
    "LoadState": lambda unit: unit.load,
    "ActiveState": lambda unit: unit.active,
    "SubState": lambda unit: unit.sub,
    "StateChangeTimestamp": lambda unit: unit.changed_us,
    "InactiveExitTimestampMonotonic": lambda unit: unit.left_inactive_us,
    "ConditionTimestampMonotonic": lambda unit: unit.left_inactive_us,
    "ConditionResult": lambda _: True,
    "FragmentPath": lambda unit: unit.fragment,
    "SourcePath": lambda unit: unit.source,
    "Job": lambda unit: (unit.job.id, unit.job.path) if unit.job else (0, "/"),
    "LoadError": lambda _: ("", ""),
    "Result": lambda unit: unit.result,
    "ExecMainStatus": lambda unit: unit.status,
    "ExecMainCode": lambda unit: unit.code,
    "MainPID": lambda unit: unit.pid,
    "InvocationID": lambda unit: unit.invocation,
    "NRestarts": lambda unit: unit.restarts,
    "KillMode": lambda _: "control-group",
    **dict.fromkeys(("Requires", "Requisite", "BindsTo", "Triggers", "Conditions", "Asserts"), lambda _: []),
}
SIGNALLED = (
    "ActiveState", "SubState", "StateChangeTimestamp", "InactiveExitTimestampMonotonic",
    "ConditionTimestampMonotonic", "ConditionResult", "Job",
)  # fmt: skip
SIGNALLED_OF_SERVICES = ("Result", "ExecMainStatus", "ExecMainCode", "MainPID", "NRestarts")


class SimulatedBus:
    """Stands for `agentd.bus.Bus`: one connection."""

    def __init__(self, address: str, on_signal: Callable[[Any], None]) -> None:
        self.systemd = MACHINES[address]
        self.program: Program = PROGRAM.get()
        self.connected = False
        self.subscribed = False
        self._on_signal = on_signal
        self._arrives = 0.0
        self._gone = asyncio.Event()
        self._asked: dict[asyncio.Future[SimulatedMessage], None] = {}

    async def connect(self) -> SimulatedBus:
        await asyncio.sleep(0.002)
        if self.systemd.off:
            raise ConnectionRefusedError("no bus")
        self.connected = True
        self.systemd.buses.append(self)
        return self

    async def wait_for_disconnect(self) -> None:
        await self._gone.wait()

    def close(self) -> None:
        self.connected = False
        if self in self.systemd.buses:
            self.systemd.buses.remove(self)
        self._gone.set()
        for future in self._asked:
            if not future.done():
                future.set_exception(ConnectionError("the connection ended"))

    def send(self, call: Any) -> asyncio.Future[SimulatedMessage]:
        systemd = self.systemd
        future: asyncio.Future[SimulatedMessage] = asyncio.get_running_loop().create_future()
        self._asked[future] = None
        future.add_done_callback(lambda _: self._asked.pop(future, None))
        systemd.loop.after(systemd.random.random() * 0.001, self._receive, call, future)
        return future

    def _receive(self, call: Any, future: asyncio.Future[SimulatedMessage]) -> None:
        systemd = self.systemd
        if systemd.off:
            return
        if systemd.busy_until > systemd.loop.now and call.destination != THE_BUS:
            systemd.loop.at(systemd.busy_until, self._receive, call, future)
            return
        if call.destination not in (THE_BUS, systemd.owner):
            reply = _failure(THE_BUS, f"{THE_BUS}.Error.ServiceUnknown", "nobody has this name")
        elif call.member == "Reload":
            systemd.busy_until = systemd.loop.now + 0.02 + systemd.random.random() * 0.4
            systemd.emit("Reloading", "b", True)
            systemd.loop.at(systemd.busy_until, self._reloaded, future)
            return
        else:
            reply = self._reply(call)
        delay = systemd.random.random() * (0.002 + systemd.slow_s)
        systemd.loop.after(delay, self._answer, future, reply)

    def _reloaded(self, future: asyncio.Future[SimulatedMessage]) -> None:
        if not self.systemd.off:
            self.systemd.reload()
            self._answer(future, SimulatedMessage(RETURN, self.systemd.owner))

    def _answer(self, future: asyncio.Future[SimulatedMessage], reply: SimulatedMessage) -> None:
        if not future.done() and not self.systemd.off:
            future.set_result(reply)

    def _reply(self, call: Any) -> SimulatedMessage:
        sender = THE_BUS if call.destination == THE_BUS else self.systemd.owner
        try:
            signature, values = ANSWERS[call.member](self, call)
        except KeyError as error:
            return _failure(sender, f"{SYSTEMD}.NoSuchUnit", str(error.args[0]))
        return SimulatedMessage(RETURN, sender, signature, values)

    def signal(
        self, sender: str, member: str, signature: str, values: tuple[Any, ...], path: str, interface: str
    ) -> None:
        """Send a signal; those of one connection keep their order."""
        systemd = self.systemd
        self._arrives = max(self._arrives, systemd.loop.now + systemd.random.random() * (0.003 + systemd.slow_s))
        message = SimulatedMessage(SIGNAL, sender, signature, values, path, interface, member)
        systemd.loop.at(self._arrives, self._bring, message)

    def _bring(self, message: SimulatedMessage) -> None:
        if self.connected and not self.systemd.off and not self.program.dead:
            self.systemd.loop.tell(self.program, self._on_signal, message)

    # ---- methods

    def add_match(self, _call: Any) -> tuple[str, tuple[Any, ...]]:
        return "", ()

    def owner(self, _call: Any) -> tuple[str, tuple[Any, ...]]:
        return "s", (self.systemd.owner,)

    def subscribe(self, _call: Any) -> tuple[str, tuple[Any, ...]]:
        self.subscribed = True
        return "", ()

    def start(self, call: Any) -> tuple[str, tuple[Any, ...]]:
        return "o", (self.systemd.start(call.body[0]).path,)

    def stop(self, call: Any) -> tuple[str, tuple[Any, ...]]:
        return "o", (self.systemd.stop(call.body[0]).path,)

    def kill(self, call: Any) -> tuple[str, tuple[Any, ...]]:
        self.systemd.kill(call.body[0])
        return "", ()

    def reset(self, call: Any) -> tuple[str, tuple[Any, ...]]:
        self.systemd.reset_failed(call.body[0])
        return "", ()

    def enable(self, _call: Any) -> tuple[str, tuple[Any, ...]]:
        return "ba(sss)", (True, [])

    def list_names(self, call: Any) -> tuple[str, tuple[Any, ...]]:
        return "a(ssssssouso)", ([self.systemd.row(name) for name in call.body[0]],)

    def list_patterns(self, call: Any) -> tuple[str, tuple[Any, ...]]:
        names = [name for name in call.body[1] if name in self.systemd.units]
        return "a(ssssssouso)", ([self.systemd.row(name) for name in names],)

    def processes(self, call: Any) -> tuple[str, tuple[Any, ...]]:
        unit = self.systemd.units[call.body[0]]
        return "a(sus)", ([(f"/{unit.name}", unit.pid, "sh")] if unit.pid else [],)

    def hold(self, call: Any) -> tuple[str, tuple[Any, ...]]:
        self.systemd.unit(call.body[0]).references += 1
        return "", ()

    def release(self, call: Any) -> tuple[str, tuple[Any, ...]]:
        unit = self.systemd.units[call.body[0]]
        unit.references -= 1
        self.systemd._forget(unit)
        return "", ()

    def by_pid(self, _call: Any) -> tuple[str, tuple[Any, ...]]:
        return "o", (unit_path("fleet-agentd.service"),)

    def get(self, call: Any) -> tuple[str, tuple[Any, ...]]:
        _, name = call.body
        systemd = self.systemd
        if call.path == MANAGER_PATH:
            values = {
                "UnitPath": [str(place) for place in systemd.places],
                "Version": "252",
                "SystemState": systemd.state,
            }
            return "v", (values[name],)
        if call.path.startswith(f"{MANAGER_PATH}/job/"):
            return "v", (self._job(call.path, name),)
        unit_name = NAMES[call.path]
        if unit_name == "fleet-agentd.service":
            return "v", ((999_999, f"{MANAGER_PATH}/job/999999") if systemd.agent_job else (0, "/"),)
        return "v", (systemd.property(systemd.unit(unit_name), name),)

    def _job(self, path: str, name: str) -> str:
        if path.endswith("/999999"):
            return self.systemd.agent_job
        for unit in self.systemd.units.values():
            if unit.job is not None and unit.job.path == path:
                return "running" if name == "State" else unit.job.kind
        raise KeyError(f"no such job {path}")


MACHINES: dict[str, SimulatedSystemd] = {}  # by the address of the bus
NAMES: dict[str, str] = {}  # of units, by object path
Answer = Callable[[SimulatedBus, Any], tuple[str, tuple[Any, ...]]]
ANSWERS: dict[str, Answer] = {
    "AddMatch": SimulatedBus.add_match,
    "GetNameOwner": SimulatedBus.owner,
    "Subscribe": SimulatedBus.subscribe,
    "StartUnit": SimulatedBus.start,
    "StopUnit": SimulatedBus.stop,
    "KillUnit": SimulatedBus.kill,
    "ResetFailedUnit": SimulatedBus.reset,
    "EnableUnitFiles": SimulatedBus.enable,
    "ListUnitsByNames": SimulatedBus.list_names,
    "ListUnitsByPatterns": SimulatedBus.list_patterns,
    "GetUnitProcesses": SimulatedBus.processes,
    "RefUnit": SimulatedBus.hold,
    "UnrefUnit": SimulatedBus.release,
    "GetUnitByPID": SimulatedBus.by_pid,
    "Get": SimulatedBus.get,
}


def _failure(sender: str, name: str, text: str) -> SimulatedMessage:
    return SimulatedMessage(ERROR, sender, "s", (text,), error_name=name)


@cache
def unit_path(unit: str) -> str:
    """A unit's object path, as systemd writes it; remembered, to be read backwards."""
    label = "".join(
        char if char.isascii() and char.isalnum() and (index or not char.isdigit()) else f"_{ord(char):02x}"
        for index, char in enumerate(unit)
    )
    path = f"{MANAGER_PATH}/unit/{label}"
    NAMES.setdefault(path, unit)
    return path


def known_names(units: Iterable[str]) -> None:
    """Have the object paths of these units understood."""
    for unit in units:
        unit_path(unit)
