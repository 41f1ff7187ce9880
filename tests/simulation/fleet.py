"""A fleet in the simulated world: machines with their systemd, agents, schedulers, an operator and a follower.

Everything that can happen to them is a method of `Fleet` or `Host`. The programs are the real ones; what they find
outside of themselves (etcd, systemd, this machine's facts, the watchdog) is simulated.
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import shutil
import signal
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import agentd.agent
import agentd.crashes
import agentd.facts
import agentd.quadlets
import agentd.systemd_connection
import agentd.usage
from agentd.agent import Agent
from agentd.cgroup_stats import CgroupStats, MachineStats, UnitStats
from agentd.dependencies import FileSource
from agentd.provisions import Provisions
from fleettui.actions import configs
from fleettui.actions import machines as machine_acts
from fleettui.actions import restore as restore_acts
from fleettui.actions import rollouts as rollout_acts
from fleettui.actions import units as unit_acts
from fleettui.actions.operator import Operator
from fleettui.actions.pins import renewed
from fleettui.actions.reading import unit_names
from registry.errors import FleetError
from registry.etcd import Etcd
from registry.keys import Keys
from registry.model import Availability, Machine, OnFailure, Target
from registry.program.config import AgentTable, EtcdTable, Settings
from registry.program.notify import Notifier
from registry.roles import Right, Role, User, agent_of, rights, scheduler_of
from registry.sync.follow import Follower
from registry.sync.history import History, read_seen, write_seen
from registry.units.content import config_text, content_hash, secret_text
from registry.units.file import file_hash
from registry.units.name import service_of
from registry.units.pins import NeedKind
from scheduler.service import Scheduler
from tests.simulation import crowd, ports
from tests.simulation.etcd import Exchange, SimulatedEtcd, VirtualClock, take_over_transport
from tests.simulation.judge import ALIVE, Judge
from tests.simulation.loop import EPOCH, PROGRAM, START_AT, Program, SimulatedLoop
from tests.simulation.script import ACT_S, ROLLING
from tests.simulation.store import Granted
from tests.simulation.systemd import MACHINES, SimulatedBus, SimulatedSystemd, known_names

AGENT_RESTART_S = (0.3, 1.5)  # systemd starts a killed program again
BOOT_S = 3.0
AGAIN_S = 2.0  # from one try of the operator to the next
LACKING = 8  # the machine whose number is the rest of the seed by this has no Podman
CONFIGURED = "conf"  # how the names of units with a config begin
BACK_S = 15.0  # within so long a restarted agent is registered, or its lease has ended
KEYS = Keys()
OPERATOR, CONSOLE, PASSWORD = User("operator", Role.OPERATOR), User("viewer", Role.VIEWER), "simulated"


class Host:
    """One machine."""

    def __init__(self, fleet: Fleet, number: int, *, schedules: bool) -> None:
        self.fleet, self.number, self.name = fleet, number, f"core-{number}"
        self.id = f"{number:x}" * 32
        self.schedules = schedules
        self.podman = number != fleet.seed % LACKING
        self.root = fleet.root / self.name
        self.boots = 0
        self.lives = 0
        self.base, self.rate, self.wall_offset = (fleet.loop.now, fleet.loop.now), 1.0, 0.0
        self.disk_full = False
        self.frozen = False
        self.agent: Program | None = None
        self.scheduler: Program | None = None
        self.wanted = {"agent", "scheduler"} if schedules else {"agent"}  # what systemd starts again
        self.systemd = self._boot_systemd()

    @property
    def boot_id(self) -> str:
        return f"boot-{self.name}-{self.boots}"

    @property
    def address(self) -> str:
        return f"10.0.0.{self.number}"

    def monotonic(self) -> float:
        base, own = self.base
        return own + (self.fleet.loop.now - base) * self.rate

    def _boot_systemd(self) -> SimulatedSystemd:
        shutil.rmtree(self.root / "run", ignore_errors=True)
        (self.root / "state").mkdir(parents=True, exist_ok=True)
        self.boots += 1
        random = Random(f"{self.fleet.seed} systemd {self.name} {self.boots}")
        run, judge = self.root / "run", self.fleet.judge
        systemd = SimulatedSystemd(self.fleet.loop, self.name, run, judge, random, podman=self.podman)
        systemd.monotonic = self.monotonic
        systemd.wall = lambda: EPOCH + self.fleet.loop.now - START_AT + self.wall_offset
        MACHINES[f"simulated:{self.name}"] = systemd
        (systemd.places[-1] / crowd.HOST_UNIT).write_text(
            "# simulate: kind=sleeper\n[Service]\nExecStart=/bin/own\n"
        )
        return systemd

    def user(self, kind: str) -> User:
        """Who a program of it is for etcd."""
        return agent_of(self.id) if kind == "agent" else scheduler_of(self.id)

    def program(self, kind: str) -> Program | None:
        return self.agent if kind == "agent" else self.scheduler

    def start(self, kind: str) -> None:
        """Start a program that does not run."""
        if self.systemd.off or ((now := self.program(kind)) is not None and not now.dead):
            return
        self.lives += 1
        program = self.fleet.loop.program(f"{kind}-{self.number}", self.name, life=self.lives)
        program.base, program.rate, program.wall_offset = self.base, self.rate, self.wall_offset
        program.attributes["host"] = self
        if self.frozen:
            self.fleet.loop.pause(program)
        if kind == "agent":
            self.agent = program
            self.fleet.launch(program, self._agent(), lambda: self._over(kind, program))
        else:
            self.scheduler = program
            self.fleet.judge.promptness.launched(program.name)
            self.fleet.launch(program, self._scheduler(), lambda: self._over(kind, program))

    async def _agent(self) -> None:
        environ = {"XDG_RUNTIME_DIR": str(self.root / "run"), "DBUS_SESSION_BUS_ADDRESS": f"simulated:{self.name}"}
        await Agent(self.fleet.settings(self, "agent"), environ).run()

    async def _scheduler(self) -> None:
        settings = self.fleet.settings(self, "scheduler")
        path = self.root / "state" / "history.json"
        history = History(
            KEYS, read_seen(path), lambda seen: write_seen(path, seen), told=lambda _: None, pinned=False
        )
        async with Etcd(settings.etcd.client_settings()) as etcd:
            work = asyncio.ensure_future(Scheduler(etcd, settings, self.name, lambda _: None, history).run())
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, work.cancel)
            with suppress(asyncio.CancelledError):
                await work

    def acted_at(self) -> int:
        """The newest revision of a record that its ledger knows: a history without that has gone back."""
        try:
            seen = json.loads((self.root / "run" / "fleet" / "agent.json").read_text())["seen"]
        except (OSError, KeyError, ValueError):
            return 0
        return int(seen["at"])

    def _over(self, kind: str, program: Program) -> None:
        """A program has ended in order."""
        if kind in program.attributes.get("ending", ()):
            self.fleet.say("world", f"{program.name} has ended")
            self.bury(program)
            if kind == "agent":
                self.systemd.agent_job = ""
            if kind in self.wanted:
                self.fleet.loop.after(0.1, self.start, kind)
        elif not program.dead:
            self.fleet.judge.wrong(ALIVE, f"{program.name} ended")

    def bury(self, program: Program) -> None:
        """Close what a dead program has left open."""
        self.fleet.loop.kill(program)
        self.fleet.etcd.forget(program)
        self.systemd.buses[:] = [bus for bus in self.systemd.buses if bus.program is not program]

    def kill(self, kind: str) -> None:
        """SIGKILL; systemd starts it again."""
        program = self.program(kind)
        if program is None or program.dead:
            return
        self.bury(program)
        if kind == "agent":
            self.fleet.judge.killed(self.name)
            self.fleet.judge.breaks(self.name, soft=True)
        low, high = AGENT_RESTART_S
        self.fleet.loop.after(low + self.fleet.random.random() * (high - low), self._again, kind)

    def _again(self, kind: str) -> None:
        if kind in self.wanted:
            self.start(kind)
        if kind == "agent":
            self.fleet.loop.after(BACK_S, lambda: self.fleet.judge.heals(self.name, soft=True))

    def end(self, kind: str, *, again: bool) -> None:
        """SIGTERM by a job of systemd: a restart, or a stop for good."""
        program = self.program(kind)
        self.wanted.discard(kind)
        if again:
            self.wanted.add(kind)
        if program is None or program.dead or program.attributes.get("ending"):
            return
        program.attributes["ending"] = (kind,)
        if kind == "agent":
            self.systemd.agent_job = "restart" if again else "stop"
            if not again:
                self.fleet.judge.pardon(self.name)
        self.fleet.loop.signal(program, signal.SIGTERM)
        self.fleet.loop.after(60.0, self._give_up, kind, program)

    def _give_up(self, kind: str, program: Program) -> None:
        """TimeoutStopSec= is over."""
        if not program.dead:
            self.bury(program)
            self.systemd.agent_job = ""
            if kind in self.wanted:
                self.start(kind)

    def crash(self) -> None:
        """Power is gone."""
        self.systemd.power_off()
        for program in (self.agent, self.scheduler):
            if program is not None and not program.dead:
                self.bury(program)

    def boot(self) -> None:
        if not self.systemd.off:
            return
        self.base = (self.fleet.loop.now, 5.0)
        self.disk_full = False
        self.systemd = self._boot_systemd()
        self.fleet.judge.booted(self.name)
        self.systemd.start(crowd.HOST_UNIT)
        for kind in sorted(self.wanted):
            self.fleet.loop.after(self.fleet.random.random() * BOOT_S, self.start, kind)

    def freeze(self) -> None:
        """The machine stands still as a whole."""
        self.frozen = True
        self.systemd.busy_until = self.fleet.loop.now + 10_000
        for program in (self.agent, self.scheduler):
            if program is not None:
                self.fleet.loop.pause(program)

    def thaw(self) -> None:
        self.frozen = False
        self.systemd.busy_until = self.fleet.loop.now
        for program in (self.agent, self.scheduler):
            if program is not None:
                self.fleet.loop.resume(program)

    def step_clock(self, by_s: float) -> None:
        """The wall clock jumps."""
        self.wall_offset += by_s
        for program in (self.agent, self.scheduler):
            if program is not None:
                program.wall_offset = self.wall_offset

    def drift(self, rate: float) -> None:
        """All clocks of the machine run at another rate."""
        self.base, self.rate = (self.fleet.loop.now, self.monotonic()), rate
        for program in (self.agent, self.scheduler):
            if program is not None:
                program.base, program.rate = self.base, self.rate


class Fleet:
    """The whole world of one seed."""

    def __init__(
        self, loop: SimulatedLoop, seed: int, root: Path, say: Callable[[str, str], None], *,
        machines: int = 5, schedulers: int = 3, policy: str = "keep", ttl: float = 10.0, users: bool = False,
    ) -> None:  # fmt: skip
        self.loop, self.seed, self.root, self.say, self.policy = loop, seed, root, say, policy
        self.ttl, self.users = ttl, users
        self.random = Random(f"fleet {seed}")
        self.judge = Judge(lambda: loop.now, say)
        self.judge.fleet = self
        self.etcd = SimulatedEtcd(3, seed=seed, clock=VirtualClock(loop))
        self.etcd.on_change = self.judge.changed
        self.etcd.on_call = self._called
        self.etcd.on_answer = self.judge.answered
        self.etcd.on_link = self.judge.promptness.link
        self.hosts: list[Host] = []
        self.hosts += [Host(self, number, schedules=number <= schedulers) for number in range(1, machines + 1)]
        self.by_id = {host.id: host for host in self.hosts}
        self._by_name = {host.name: host for host in self.hosts}
        if users:
            self.admit(
                OPERATOR, CONSOLE, *(host.user(kind) for host in self.hosts for kind in ("agent", "scheduler"))
            )
        names = map(service_of, (*crowd.NAMES, *crowd.BESIDE))
        known_names([*names, crowd.HOST_UNIT, "fleet-agentd.service"])
        self._replace_the_outside()
        self.operator_client: Etcd | None = None
        self.follower: Follower | None = None
        self._acts: list[asyncio.Task[None]] = []  # under way
        self.desk = loop.program("operator", "desk")
        self.console = loop.program("console", "desk")

    def host(self, name: str) -> Host:
        return self._by_name[name]

    def admit(self, *users: User) -> None:
        """Let users do what their roles may."""
        for user in users:
            granted = [_granted(right) for right in rights(user, KEYS)]
            self.etcd.store.grant_access(user.name, PASSWORD, granted)

    def etcd_table(self, user: User) -> EtcdTable:
        """The part of a program's configuration that says where etcd is, and as whom to log in."""
        if not self.users:
            return EtcdTable(endpoints=self.etcd.endpoints)
        path = self.root / "password"
        if not path.exists():
            path.touch(mode=0o600)
            path.write_text(f"{PASSWORD}\n")
        return EtcdTable(endpoints=self.etcd.endpoints, username=user.name, password_file=str(path))

    def settings(self, host: Host, kind: str) -> Settings:
        agent = AgentTable(
            machine_id=host.id,
            bus="user",
            on_lost_registry=self.policy,
            ttl=self.ttl,
            metadata={"node": str(host.number)},
        )
        return Settings(etcd=self.etcd_table(host.user(kind)), agent=agent)

    def _called(self, exchange: Exchange) -> None:
        if exchange.program not in (None, self.desk):  # there each act is a program of its own
            self.judge.count(exchange.program.name, "calls")

    def _replace_the_outside(self) -> None:
        take_over_transport()
        vars(agentd.systemd_connection)["Bus"] = SimulatedBus
        vars(agentd.facts).update(boot_id=lambda: _here().boot_id, describe=_describe)
        vars(agentd.usage).update(CgroupStats=Books)
        vars(agentd.agent).update(Provisions=_provisions)
        vars(agentd.crashes).update(read_journal=_nothing_written)
        setattr(agentd.quadlets.Quadlets, "complaint", _complaint)  # noqa: B010 - the generator is simulated
        ports.simulate(lambda: _here().systemd)
        setattr(Notifier, "send", _notified)  # noqa: B010 - the socket is not simulated, the watchdog is
        _fill_disks()

    def start(self) -> None:
        """Power on."""
        self.etcd.start()
        for host in self.hosts:
            host.systemd.start(crowd.HOST_UNIT)
            for kind in sorted(host.wanted):
                self.loop.after(self.random.random(), host.start, kind)
        self.launch(self.console, self._follow(), lambda: None)
        self.loop.after(1.0, self._watchdogs)

    def launch(self, program: Program, work: Coroutine[Any, Any, None], over: Callable[[], None]) -> None:
        """Run a program; an error in it ends the world."""
        task = self.loop.spawn(program, work)

        def done(task: asyncio.Task[None]) -> None:
            if not task.cancelled() and (error := task.exception()) is not None:
                self.judge.wrong(ALIVE, f"{program.name} ended with {first_cause(error)!r}")
            over()

        task.add_done_callback(done, context=self.loop.world.context)

    def _watchdogs(self) -> None:
        """What has promised systemd signs of life and gives none is killed."""
        for host in self.hosts:
            program = host.agent
            if program is None or program.dead or host.frozen or "watchdog" not in program.attributes:
                continue
            if self.loop.now - program.attributes["alive"] > program.attributes["watchdog"]:
                self.say("world", f"{program.name} gives no sign of life: killed")
                host.kill("agent")
        self.loop.after(0.5, self._watchdogs)

    async def _follow(self) -> None:
        async with Etcd(self.etcd_table(CONSOLE).client_settings()) as etcd:
            self.follower = Follower(etcd, KEYS, pinned=False)
            await self.follower.run()

    # ---- the operator

    def act(self, verb: str, names: tuple[str, ...], version: int = 1, tries: int = 1) -> None:
        """Have the operator do something, again for as many `tries` as it takes; nobody waits for it."""
        self.say("operator", f"{verb} {' '.join(names)}")
        earlier = [task for task in self._acts if not task.done()] if verb == "tidy up" else []
        task = self.loop.spawn(self.desk, self._act(verb, names, version, earlier, tries), f"{verb} {names}")
        self._acts = [each for each in (*self._acts, task) if not each.done()]

    async def _act(
        self, verb: str, names: tuple[str, ...], version: int, earlier: Sequence[asyncio.Task[None]], tries: int
    ) -> None:
        for each in earlier:  # what comes about late is not left behind
            await each
        if self.operator_client is None:
            self.operator_client = Etcd(replace(self.etcd_table(OPERATOR).client_settings(), leased=()))
        operator = Operator(self.operator_client, KEYS, OPERATOR.name)
        for left in reversed(range(tries)):
            try:
                async with asyncio.timeout(ACT_S):
                    await self._do(operator, verb, names, version)
            except (FleetError, TimeoutError) as error:
                self.say("operator", f"{verb} {' '.join(names)} failed: {error}")
            else:
                return
            if left:
                await asyncio.sleep(AGAIN_S)

    async def _do(self, operator: Operator, verb: str, names: tuple[str, ...], version: int) -> None:
        if verb in ("submit", "replace"):
            await self._submit(operator, names, version)
        elif verb in ("drain", "uncordon"):
            availability = Availability.DRAINING if verb == "drain" else Availability.READY
            for name in names:
                await machine_acts.set_availability(operator, self.host(name).id, availability)
        elif verb == "tidy up":
            for each in await rollout_acts.read_rollouts(operator):
                if not each.state.over:
                    await rollout_acts.act(operator, "abort", each.name)
            await self._do(operator, "submit", names, version)
        elif verb in ROLLING:
            await self._roll(operator, verb, names[0], version)
        elif verb == "accept":
            found = await restore_acts.read_restoration(operator)
            there = {each.id for each in self.hosts} <= found.snapshot.machines.keys()  # who accepts counts them
            if found.held and there and not found.silent:  # of a silent machine it is not known what runs there
                await restore_acts.accept(operator, found)
        else:
            await getattr(unit_acts, verb)(operator, names)

    async def _submit(self, operator: Operator, names: tuple[str, ...], version: int) -> None:
        """Submit units in a version, and before them what they need of the registry."""
        await self._configure(operator, names, version)
        needs = any(name in crowd.KINDS and crowd.KINDS[name].beside for name in names)
        beside = [each for each in crowd.BESIDE if each in names or needs]
        units = [name for name in names if name not in crowd.BESIDE]
        for some, target in ((beside, Target.INACTIVE), (units, Target.LAUNCHED)):
            sources = [unit_acts.UnitSource(name, crowd.text(name, version)) for name in some]
            await unit_acts.submit(operator, sources, replace=True, target=target)

    async def _roll(self, operator: Operator, verb: str, stem: str, version: int) -> None:
        """Roll the units whose names begin so, empty a machine, or do something with the newest rollout."""
        if verb not in ("roll", "empty"):
            if found := await rollout_acts.read_rollouts(operator):
                await rollout_acts.act(operator, verb, found[-1].name)
            return
        policy = rollout_acts.Policy(
            str(1 + version % 3), version % 2, 1.0, version % 2, tuple(OnFailure)[version % 2]
        )
        name = f"r{len(await rollout_acts.read_rollouts(operator))}"
        if verb == "empty":
            policy = replace(policy, on_failure=OnFailure.PAUSE)
            await rollout_acts.begin_drain(operator, [self.host(stem).id], policy, name)
            return
        names = [each for each in await unit_names(operator) if each.startswith(stem)]
        bad = crowd.is_bad(version)
        texts = {each: crowd.text(each, version, bad=bad) for each in names} if bad or version % 4 else {}
        if stem == CONFIGURED:
            await self._configure(operator, names, version, bad=bad)
            texts = await renewed(operator, names)
        self.judge.more.failing.update(file_hash(text) for text in texts.values() if bad)
        if not texts:
            policy = replace(policy, on_failure=OnFailure.PAUSE)
        await rollout_acts.begin(operator, names, texts, policy, name)

    async def _configure(
        self, operator: Operator, names: Sequence[str], version: int, *, bad: bool = False
    ) -> None:
        """Set a version of the config that some units have, and of their secret, if it is about those."""
        if not any(name.startswith(CONFIGURED) for name in names):
            return
        content, secret = crowd.config(version, bad=bad), f"secret {version % 3}"
        text = config_text(crowd.CONFIG, content)
        if bad:
            self.judge.more.failing.add(content_hash(text))
        sealed = secret_text(crowd.SECRET, "key", secret.encode())
        await configs.change(operator, NeedKind.CONFIG, crowd.CONFIG, lambda _: (text, content.summary))
        await configs.change(operator, NeedKind.SECRET, crowd.SECRET, lambda _: (sealed, "sealed"))


def _granted(right: Right) -> Granted:
    key = right.key.encode()
    end = key[:-1] + bytes([key[-1] + 1]) if right.prefix else key + b"\0"
    return Granted(key, end, right.access.reads, right.access.writes)


def first_cause(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def _here() -> Host:
    host: Host = PROGRAM.get().attributes["host"]
    return host


def _describe(settings: Settings, systemd_version: str) -> Machine:
    host = _here()
    return Machine(
        id=host.id, hostname=host.name, address=host.address, boot_id=host.boot_id,
        metadata=tuple(sorted(settings.agent.metadata.items())), cpus=2, memory_bytes=1 << 30, agent_version="0",
        systemd_version=systemd_version, bus=settings.agent.bus, ttl_s=settings.agent.ttl,
        podman_version="5.4.2" if host.podman else "",
    )  # fmt: skip


class Books(CgroupStats):
    """The kernel's books of a simulated machine: each unit holds 4 MiB and a hundredth of a processor."""

    def machine(self) -> MachineStats:
        load = 0.01 * sum(unit.pid > 0 for unit in _here().systemd.units.values())
        return MachineStats((load, load, load), 1 << 30, 1 << 29)

    def units(self, mains: dict[str, int]) -> dict[str, UnitStats]:
        return {unit: UnitStats(1 << 22, int(_here().monotonic() * 1e4)) for unit in mains}


def _provisions(contents: FileSource, _open_secret: object, _refusal: str) -> Provisions:
    """Below the directory of a simulated machine; its secrets are not sealed, which takes chance of its own."""
    return Provisions(contents, lambda _key, sealed, _name: sealed, run=_here().root)


async def _complaint(_self: object, _name: str) -> str:
    """What Podman's generator says of a file that it makes nothing of."""
    await asyncio.sleep(0.01)
    return "unsupported key"


async def _nothing_written(_argv: Sequence[str]) -> tuple[bytes, str]:
    """What a journal has of a run."""
    return b"", ""


def _notified(_self: Notifier, *states: str) -> None:
    """What systemd is told: it counts for the watchdog."""
    program = PROGRAM.get()
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SimulatedLoop)
    for state in states:
        if state.startswith("WATCHDOG_USEC="):
            program.attributes["watchdog"] = int(state.partition("=")[2]) / 1e6
        if state.startswith("WATCHDOG"):
            program.attributes["alive"] = loop.now


def _fill_disks() -> None:
    """On a machine whose disk is full a write succeeds only where there is room already."""
    real = os.write
    if real.__name__ == "write_if_room":
        return

    def write_if_room(descriptor: int, data: bytes) -> int:
        program = PROGRAM.get(None)
        host = program.attributes.get("host") if program else None
        if host is not None and host.disk_full:
            room = os.fstat(descriptor).st_blocks * 512
            if os.lseek(descriptor, 0, os.SEEK_CUR) + len(data) > room:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(descriptor, data)

    vars(os)["write"] = write_if_room


class Story(logging.Handler):
    """The log of all programs, as lines by virtual time."""

    def __init__(self, loop: SimulatedLoop, root: Path) -> None:
        super().__init__(logging.INFO)
        self.lines: list[str] = []
        self.count: Callable[[str, str], None] = lambda _program, _what: None
        self._loop, self._root = loop, str(root)

    def say(self, who: str, text: str) -> None:
        self.lines.append(f"{self._loop.now - START_AT:10.3f}  {who:<12} {text.replace(self._root, '')}")

    def emit(self, record: logging.LogRecord) -> None:
        program = PROGRAM.get(self._loop.world)
        self.count(program.name, "lines")
        self.say(program.name, f"{record.levelname.lower()}: {record.getMessage()}")
