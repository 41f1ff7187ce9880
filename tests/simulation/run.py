"""One seed from its first step to its verdict, and the shrinking of a script that fails."""

from __future__ import annotations

import asyncio
import json
import logging
import shutil
from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from time import process_time

from registry.model import SCHEMA_VERSION
from tests.simulation import crowd, outside
from tests.simulation.checks import SILENCE, Problem
from tests.simulation.etcd import Member
from tests.simulation.fleet import PASSWORD, Fleet, Host, Story
from tests.simulation.judge import (
    AT_REST,
    BUSY,
    HISTORY,
    LIMITS,
    REST,
    WINDOW_S,
    Violation,
    parsed,
)
from tests.simulation.loop import NEVER, START_AT, Deadlock, SimulatedLoop, Spinning
from tests.simulation.promptness import LATE_S
from tests.simulation.script import (
    BUSY_S,
    IDLE_S,
    LEADER,
    MACHINES,
    QUIET_S,
    REST_S,
    SCHEDULERS,
    Script,
    Step,
)
from tests.simulation.store import Store, encoded
from tests.simulation.systemd import MANAGER_PATH, SYSTEMD, THE_BUS, UNIT, unit_path

LOOK_S = 0.5
BACKUP_S = 6.0
TRIES = 5  # of the operator to put things right: etcd may be starting
DENIED_S = 10.0  # after a login that was refused, until the next is tried
DECIDE_S = 9.0  # from one look whether deciding is deterministic to the next
stopwatch = process_time  # of one core, whoever else works; taken before the clocks are replaced


@dataclass
class Outcome:
    """What came of a script."""

    script: Script
    violation: Violation | None = None
    lines: list[str] = field(default_factory=list)
    virtual_s: float = 0.0
    real_s: float = 0.0
    steps: int = 0
    checks: int = 0
    settled_s: list[float] = field(default_factory=list)


class Done(Exception):
    """The judge has seen enough."""


class Play:
    """Carries a script out."""

    def __init__(self, script: Script, fleet: Fleet) -> None:
        self.script, self.fleet, self.loop, self.judge = script, fleet, fleet.loop, fleet.judge
        self.settled_s: list[float] = []
        self.backups: list[Store] = []
        self._healing: dict[int, Callable[[], None]] = {}
        self._numbers = 0
        self._garbled = 0  # records that an operator has to put right

    async def run(self) -> None:
        fleet = self.fleet
        fleet.start()
        self.loop.after(LOOK_S, self._look)
        self.loop.after(WINDOW_S, self._window, LIMITS)
        self.loop.after(BACKUP_S, self._save)
        self.loop.after(DECIDE_S, self._decide)
        await asyncio.sleep(3.0)
        fleet.act("submit", crowd.NAMES)
        await asyncio.sleep(QUIET_S)
        for number, steps in enumerate(self.script.rounds, 1):
            fleet.say("world", f"---- round {number}")
            for step in steps:
                self.loop.after(step.at_s, self._begin, step)
            await asyncio.sleep(BUSY_S)
            fleet.say("world", "---- everything is healed")
            for heal in list(self._healing.values()):
                heal()
            for host in fleet.hosts:
                for program in filter(None, (host.agent, host.scheduler)):
                    program.fuse = NEVER
            fleet.act("uncordon", tuple(host.name for host in fleet.hosts), tries=TRIES)
            fleet.act("tidy up", crowd.NAMES, tries=TRIES)
            self.judge.quiet_since = max(self.judge.quiet_since, self.loop.now)
            await self._rest()

    async def _rest(self) -> None:
        began, calm = self.loop.now, 0
        problems: list[Problem] = []
        while calm < 4:
            await asyncio.sleep(LOOK_S)
            problems = self.judge.problems()
            calm = 0 if problems else calm + 1
            if self.loop.now - began > REST_S:
                problems.sort(
                    key=lambda each: each.invariant != REST
                )  # where something is missing anyway, that first
                told = "; ".join(each.text for each in problems[:4])
                self.judge.wrong(problems[0].invariant, f"after {REST_S:g} s {told}")
                return
        self.settled_s.append(self.loop.now - began)
        await asyncio.sleep(12.0)
        self.judge.counts.clear()
        self._resting = self.judge.more.resting = True
        await asyncio.sleep(IDLE_S)
        self._resting = self.judge.more.resting = False
        self.judge.more.settle()
        if self.judge.violation is None:
            self.judge.window(AT_REST, IDLE_S)

    _resting = False

    def _look(self) -> None:
        self.judge.look()
        if self.judge.violation is not None:
            raise Done
        self.loop.after(LOOK_S, self._look)

    def _decide(self) -> None:
        if not (self.judge.silence or self.judge.is_held()):
            self.judge.more.decide_twice(self.fleet.etcd.store)
        self.loop.after(DECIDE_S, self._decide)

    def _window(self, limits: dict[str, float]) -> None:
        for program in [each for host in self.fleet.hosts for each in (host.agent, host.scheduler) if each]:
            self.judge.counts[program.name]["steps"] += program.steps - program.attributes.get("counted", 0)
            program.attributes["counted"] = program.steps
        if not self._resting:
            self.judge.window(limits, WINDOW_S)
        self.loop.after(WINDOW_S, self._window, limits)

    # ---- steps

    def _begin(self, step: Step) -> None:
        if step.target.endswith(LEADER):
            if (leads := self._leaders_host()) is None:
                return
            step = replace(step, target=step.target.replace(LEADER, leads.name))
        if step.is_act:
            if self.judge.silence == SILENCE:
                return  # who sees that the registry is not his orders nothing there
            self.fleet.act(step.verb, (step.target,), int(step.value))
            return
        heal = VERBS[step.verb](self, step)
        if heal is None:
            return
        self.fleet.say("fault", str(step))
        host = step.target.rpartition("@")[2]
        self.judge.more.trouble(host, step.for_s)
        self.judge.promptness.unsettle(host, step.for_s)
        if heal is not NOTHING:
            self._numbers += 1
            number = self._numbers

            def over() -> None:
                if self._healing.pop(number, None) is not None:
                    self.fleet.say("fault", f"over: {step.verb} {step.target}")
                    heal()

            self._healing[number] = over
            self.loop.after(step.for_s, over)

    def host(self, step: Step) -> Host:
        return self.fleet.host(step.target.rpartition("@")[2])

    def kill(self, step: Step) -> Heal:
        kind, host = step.target.partition("@")[0], self.host(step)
        if not self._running(host, kind):
            return None
        host.kill(kind)
        return NOTHING

    @staticmethod
    def _running(host: Host, kind: str) -> bool:
        program = host.program(kind)
        return (
            program is not None and not program.dead and not program.attributes.get("ending") and not program.paused
        )

    def fuse(self, step: Step) -> Heal:
        kind, host = step.target.partition("@")[0], self.host(step)
        program = host.program(kind)
        if program is None or not self._running(host, kind):
            return None

        def blow() -> None:
            self.fleet.say("fault", f"{program.name} is killed")
            self.judge.more.trouble(host.name)
            self.judge.promptness.unsettle(host.name)
            host.kill(kind)

        self.loop.light(program, int(step.value), blow)
        return NOTHING

    def nap(self, step: Step) -> Heal:
        kind, host = step.target.partition("@")[0], self.host(step)
        program = host.program(kind)
        if program is None or not self._running(host, kind):
            return None
        begun: list[int] = []

        def blow() -> None:
            self.fleet.say("fault", f"{program.name} is paused")
            self.judge.more.trouble(host.name, step.for_s)
            begun.append(1)
            self._excuse(kind, host, begins=True)
            self.loop.pause(program)

        def heal() -> None:
            program.fuse = NEVER
            if begun:
                self.judge.resumed[host.name] = self.loop.now
                self._excuse(kind, host, begins=False)
                if not host.frozen:
                    self.loop.resume(program)

        self.loop.light(program, int(step.value), blow)
        return heal

    def pause(self, step: Step) -> Heal:
        kind, host = step.target.partition("@")[0], self.host(step)
        program = host.program(kind)
        if program is None or not self._running(host, kind):
            return None
        self._excuse(kind, host, begins=True)
        self.loop.pause(program)

        def heal() -> None:
            self.judge.resumed[host.name] = self.loop.now
            self._excuse(kind, host, begins=False)
            if not host.frozen:
                self.loop.resume(program)

        return heal

    def _excuse(self, kind: str, host: Host, *, begins: bool) -> None:
        """With the policy "stop" an agent that is out of touch, or stands still, has to stop its units in time."""
        if kind == "agent" and self.script.policy == "keep":
            (self.judge.breaks if begins else self.judge.heals)(host.name)

    def restart(self, step: Step) -> Heal:
        kind, host = step.target.partition("@")[0], self.host(step)
        if not self._running(host, kind):
            return None
        host.end(kind, again=True)
        return NOTHING

    def leave(self, step: Step) -> Heal:
        host = self.host(step)
        if not self._running(host, "agent"):
            return None
        self.judge.breaks(host.name)
        host.end("agent", again=False)

        def heal() -> None:
            self.judge.heals(host.name)
            host.wanted.add("agent")
            if host.agent is None or host.agent.dead:
                host.start("agent")

        return heal

    def crash(self, step: Step) -> Heal:
        host = self.host(step)
        if host.systemd.off or host.frozen:
            return None
        host.crash()
        return host.boot

    def _leaders_host(self) -> Host | None:
        number = self.judge.leader.rpartition("-")[2]
        return self.fleet.host(f"core-{number}") if number else None

    def freeze(self, step: Step) -> Heal:
        host = self.host(step)
        if host.systemd.off or host.frozen:
            return None
        host.freeze()
        self.judge.breaks(host.name)

        def heal() -> None:
            self.judge.resumed[host.name] = self.loop.now
            self.judge.heals(host.name)
            host.thaw()

        return heal

    def cut(self, step: Step) -> Heal:
        host = self.host(step)
        if self.fleet.etcd.wire(host.name).cut:
            return None
        self._excuse("agent", host, begins=True)
        self.fleet.etcd.cut(host.name)

        def heal() -> None:
            self._excuse("agent", host, begins=False)
            self.fleet.etcd.heal(host.name)

        return heal

    def worsen(self, step: Step) -> Heal:
        host = self.host(step)
        wire = self.fleet.etcd.wire(host.name)
        if wire.slow_s:
            return None
        self._excuse("agent", host, begins=True)
        wire.lost, wire.slow_s = step.value, 0.8

        def heal() -> None:
            self._excuse("agent", host, begins=False)
            wire.lost, wire.slow_s = 0.0, 0.0

        return heal

    def repeat(self, step: Step) -> Heal:
        wire = self.fleet.etcd.wire(self.host(step).name)
        wire.doubled = step.value
        return lambda: vars(wire).update(doubled=0.0)

    def _member(self, step: Step) -> Member | None:
        etcd = self.fleet.etcd
        if step.target == "leader":
            return etcd.leader_now
        return etcd.members[int(step.target.rpartition("-")[2])]

    def member(self, step: Step) -> Heal:
        member = self._member(step)
        if member is None or not member.well:
            return None
        begin, end = {
            "kill member": (member.kill, member.spawn),
            "hang member": (member.freeze, member.thaw),
            "isolate member": (member.isolate, member.join),
        }[step.verb]
        begin()

        def heal() -> None:
            end()
            self.judge.outage(begins=False)

        self.judge.outage(begins=True)
        return heal

    def _save(self) -> None:
        """A backup is made every few seconds."""
        if self.judge.silence == "" and not self._garbled:
            self.backups = [*self.backups[-2:], self.fleet.etcd.store.copy()]
        self.loop.after(BACKUP_S, self._save)

    def restore(self, _step: Step) -> Heal:
        etcd, judge = self.fleet.etcd, self.judge
        backup = self.backups[0] if self.backups else None
        if backup is None or judge.silence or backup.revision >= etcd.store.revision:
            return None
        self._bring_back(backup)
        judge.outage(begins=True)

        def heal() -> None:
            judge.outage(begins=False)
            self._accept(8)

        return heal

    def _bring_back(self, backup: Store) -> None:
        self._swap(backup.copy())
        self.judge.restored(backup, {host.name: host.acted_at() for host in self.fleet.hosts})
        self.judge.hold(HISTORY)
        self.fleet.say("world", f"the registry is as it was at revision {backup.revision}")

    def _swap(self, store: Store) -> None:
        """Have etcd come up with other data."""
        for member in self.fleet.etcd.members:
            member.kill()
        passwords = store.users.passwords
        passwords.update(dict.fromkeys(passwords, PASSWORD))  # one that was refused when the backup was made
        self.fleet.etcd.store = store
        self.loop.after(0.5, self._spawn_members)

    def wipe(self, step: Step) -> Heal:
        """All data is gone and an empty etcd comes up; later there is what was there, or (value 1) a backup."""
        return self._replace_registry(Store(), "the registry is empty", self.backups[-1:] if step.value else [])

    def mistake(self, _step: Step) -> Heal:
        """Another fleet's registry answers, which wants nothing here; later the right one again."""
        return self._replace_registry(
            another_fleets(users=self.script.users), "the registry is another fleet's", []
        )

    def _replace_registry(self, store: Store, what: str, backups: list[Store]) -> Heal:
        etcd, judge, own = self.fleet.etcd, self.judge, self.fleet.etcd.store
        cluster = own.live.get(b"/fleet/cluster")
        if judge.silence or judge.is_held() or cluster is None or not parsed(cluster.value or "").get("id"):
            return None
        self._swap(store)
        self.fleet.say("world", what)
        judge.elsewhere(SILENCE)
        judge.outage(begins=True)

        def heal() -> None:
            judge.outage(begins=False)
            judge.silence = ""
            if backups and backups[0].revision < own.revision:
                self._bring_back(backups[0])
                self.loop.after(8.0, self._accept, 8)
            else:
                self._swap(own)
                judge.back(own)
            self._reclaim(parsed(cluster.value or "")["id"], 5)

        assert etcd.store is not own
        return heal

    def _reclaim(self, cluster: str, tries: int) -> None:
        """The operator takes machines back that have joined the registry which was there for a while."""
        for host in self.fleet.hosts:
            facts = host.root / "run" / "fleet" / "agent.json"
            if facts.exists() and json.loads(facts.read_text()).get("cluster_id", "") not in ("", cluster):
                self.fleet.say("operator", f"has {host.name} leave the other cluster")
                host.kill("agent")
                facts.unlink()
                self.judge.more.may_stop_all(host.name)  # as the agent says of leaving a cluster
        if tries:
            self.loop.after(4.0, self._reclaim, cluster, tries - 1)

    def _spawn_members(self) -> None:
        for member in self.fleet.etcd.members:
            member.spawn()

    def _accept(self, tries: int) -> None:
        """The operator accepts what is there, again until all have seen that it is older and that is written."""
        self.judge.silence = ""
        if self.judge.is_held():
            self.fleet.act("accept", ())
        if tries > 0 or self.judge.is_held():
            self.loop.after(4.0, self._accept, tries - 1)

    def clock(self, step: Step) -> Heal:
        name = self.host(step).name
        self.judge.set_clock(name, step.value)
        return lambda: self.judge.set_clock(name, -step.value)

    def drift(self, step: Step) -> Heal:
        host = self.host(step)
        host.drift(step.value)
        return lambda: host.drift(1.0)

    def compact(self, _step: Step) -> Heal:
        store = self.fleet.etcd.store
        if store.revision > store.compacted:
            store.compact(store.revision)
        return NOTHING

    def _picked(self, step: Step) -> bytes | None:
        start = f"/fleet/{step.target}".encode()
        keys = [key for key in self.fleet.etcd.store.order if key.startswith(start)]
        return keys[int(step.value * len(keys))] if keys else None

    def garble(self, step: Step) -> Heal:
        key = self._picked(step)
        if key is None:
            return None
        live, bad = self.fleet.etcd.store.live, b64encode(b"{garbled").decode()
        found = live[key]
        self._put(key, bad, found.lease)

        self._garbled += step.for_s > 0
        if step.target == "cluster":  # nobody does anything while it is broken
            self.judge.outage(begins=True)
        for host in self.fleet.hosts:
            self.judge.more.trouble(host.name, step.for_s)
        confused = self.judge.promptness
        confused.confused_until = max(confused.confused_until, self.loop.now + step.for_s + LATE_S)

        def heal() -> None:
            if self.judge.silence == SILENCE:  # in a registry that is away
                self.loop.after(4.0, heal)
                return
            self._garbled -= 1
            if step.target == "cluster":
                self.judge.outage(begins=False)
                self.judge.come_back()
            now = self.fleet.etcd.store.live.get(key)
            if now is not None and now.value == bad and now.lease == found.lease:
                self._put(key, found.value or "", now.lease)

        return heal if step.for_s else NOTHING

    def unlease(self, step: Step) -> Heal:
        key = self._picked(step)
        if key is None:
            return None
        self.judge.unleased()
        self._put(key, self.fleet.etcd.store.live[key].value or "", 0)
        return NOTHING

    def _put(self, key: bytes, value: str, lease: int) -> None:
        self.fleet.etcd.post("/kv/put", {"key": b64encode(key).decode(), "value": value, "lease": str(lease)})

    def slow(self, step: Step) -> Heal:
        systemd = self.host(step).systemd
        systemd.slow_s = step.value
        return lambda: vars(systemd).update(slow_s=0.0)

    def double(self, step: Step) -> Heal:
        systemd = self.host(step).systemd
        systemd.doubled = step.value
        return lambda: vars(systemd).update(doubled=0.0)

    def reload(self, step: Step) -> Heal:
        systemd = self.host(step).systemd
        if systemd.off:
            return None
        systemd.emit("Reloading", "b", True)
        systemd.busy_until = max(systemd.busy_until, self.loop.now + 0.3)
        self.loop.after(0.3, lambda: None if systemd.off else systemd.reload())
        return NOTHING

    def reexecute(self, step: Step) -> Heal:
        systemd = self.host(step).systemd
        if not systemd.off:
            systemd.execute_again()
        return NOTHING

    def forge(self, step: Step) -> Heal:
        """Somebody on the bus says what systemd would say, again and again."""
        systemd, open_ = self.host(step).systemd, [1]

        def again() -> None:
            if not open_ or systemd.off:
                return
            jobs = [unit.job for unit in systemd.units.values() if unit.job is not None]
            for job in jobs:
                systemd.forge(
                    "JobRemoved",
                    "uoss",
                    job.id,
                    job.path,
                    "x.service",
                    "done",
                    path=MANAGER_PATH,
                    interface=f"{SYSTEMD}.Manager",
                )
            for unit in [each for each in systemd.units.values() if each.running][:3]:
                state = {"ActiveState": "inactive", "SubState": "dead", "LoadState": "loaded"}
                systemd.forge(
                    "PropertiesChanged",
                    "sa{sv}as",
                    UNIT,
                    state,
                    [],
                    path=unit_path(unit.name),
                    interface=f"{THE_BUS}.Properties",
                )
            self.loop.after(0.03, again)

        again()
        return open_.clear

    def expire(self, _step: Step) -> Heal:
        """No token is good any more."""
        if not self.fleet.etcd.store.users.on:
            return None
        self.fleet.etcd.store.users.tokens.clear()
        return NOTHING

    def refuse(self, step: Step) -> Heal:
        """A program's password is not that of its user, and its token is good no more."""
        kind, host = step.target.partition("@")[0], self.host(step)
        users, user = self.fleet.etcd.store.users, host.user(kind)
        if not users.on or users.passwords.get(user.name) != PASSWORD:
            return None
        users.passwords[user.name] = "another"
        for token in [token for token, name in users.tokens.items() if name == user.name]:
            del users.tokens[token]
        self._excuse(kind, host, begins=True)

        def heal() -> None:
            users.passwords[user.name] = PASSWORD
            self.loop.after(DENIED_S, lambda: self._excuse(kind, host, begins=False))

        return heal

    def fill(self, step: Step) -> Heal:
        host = self.host(step)
        host.disk_full = True
        return lambda: vars(host).update(disk_full=False)

    def jam(self, step: Step) -> Heal:
        """Who would connect to a unit of the machine gets no answer."""
        systemd = self.host(step).systemd
        systemd.jammed = True
        return lambda: vars(systemd).update(jammed=False, answers_since=self.loop.now)


def another_fleets(*, users: bool) -> Store:
    """A registry with a sentinel of its own, and nothing else; with `users`, nobody of ours."""
    store = Store()
    store.users.on = users
    record = json.dumps({"id": "f" * 32, "schema": SCHEMA_VERSION})
    store.put({"key": encoded(b"/fleet/cluster"), "value": b64encode(record.encode()).decode()})
    return store


Heal = Callable[[], None] | None
"""What ends a fault; NOTHING where nothing has to, None where it could not begin."""


def NOTHING() -> None:  # noqa: N802 - a constant
    """There is nothing to heal."""


VERBS: dict[str, Callable[[Play, Step], Heal]] = {
    "kill": Play.kill,
    "kill in the middle": Play.fuse,
    "restart": Play.restart,
    "pause": Play.pause,
    "pause in the middle": Play.nap,
    "stop in order": Play.leave,
    "crash": Play.crash,
    "crash the machine of": Play.crash,
    "freeze": Play.freeze,
    "cut": Play.cut,
    "worsen the link of": Play.worsen,
    "double the requests of": Play.repeat,
    "kill member": Play.member,
    "hang member": Play.member,
    "isolate member": Play.member,
    "restore the registry": Play.restore,
    "wipe the registry": Play.wipe,
    "show another registry": Play.mistake,
    "step the clock of": Play.clock,
    "let drift the clocks of": Play.drift,
    "compact": Play.compact,
    "garble": Play.garble,
    "take the lease off": Play.unlease,
    "slow down systemd of": Play.slow,
    "double the signals of": Play.double,
    "reload systemd of": Play.reload,
    "execute again systemd of": Play.reexecute,
    "forge signals on": Play.forge,
    "fill the disk of": Play.fill,
    "jam the ports of": Play.jam,
    "expire the tokens": Play.expire,
    "refuse the logins of": Play.refuse,
}


def play(script: Script, root: Path) -> Outcome:
    """Carry a script out in this process, whose clocks and chance it takes over for good."""
    began = stopwatch()
    loop = SimulatedLoop(script.seed, shuffle=script.shuffle)
    outside.take_over(loop)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    story = Story(loop, root)
    fleet = Fleet(
        loop, script.seed, root, story.say, machines=MACHINES, schedulers=SCHEDULERS, policy=script.policy,
        ttl=script.ttl, users=script.users,
    )  # fmt: skip
    story.count = fleet.judge.count
    log = logging.getLogger("fleet")
    log.setLevel(logging.INFO)
    log.handlers, log.propagate = [story], False
    asyncio.set_event_loop(loop)
    acted = Play(script, fleet)
    main = loop.spawn(loop.world, acted.run())
    try:
        loop.run_until_complete(main)
    except Done:
        pass
    except (Spinning, Deadlock) as error:
        fleet.judge.wrong(BUSY, str(error))
    finally:
        shutil.rmtree(root, ignore_errors=True)
    judge = fleet.judge
    return Outcome(
        script, judge.violation, story.lines, loop.now - START_AT, stopwatch() - began, loop.steps,
        judge.checks, acted.settled_s,
    )  # fmt: skip


def without(script: Script, left_out: set[int]) -> Script:
    """A script without some of its steps, counted over all rounds."""
    numbered, number = [], 0
    for steps in script.rounds:
        kept = []
        for step in steps:
            if number not in left_out:
                kept.append(step)
            number += 1
        numbered.append(tuple(kept))
    while len(numbered) > 1 and not numbered[-1]:
        numbered.pop()
    return replace(script, rounds=tuple(numbered))


def shrink(script: Script, fails: Callable[[Script], bool], tries: int = 120) -> Script:
    """A shorter script that fails as well: halves, then quarters and so on are left out while that can be done."""
    size = sum(map(len, script.rounds))
    part = max(size // 2, 1)
    while part and tries > 0:
        start = 0
        while start < sum(map(len, script.rounds)) and tries > 0:
            tries -= 1
            shorter = without(script, set(range(start, start + part)))
            if fails(shorter):
                script = shorter
            else:
                start += part
        part //= 2
    return script
