"""One small fleet as snapshots: the scene that pilot tests and pictures play."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from fleettui.actions.machines import MachineChange
from fleettui.actions.outcome import Did, Done, Outcome
from fleettui.actions.rollouts import Policy
from fleettui.console.app import Console
from fleettui.console.journal import Ask, JournalPlace, News, Wanted
from fleettui.console.journal.filters import for_journalctl
from fleettui.console.operations.runner import Changes
from fleettui.console.operations.verbs import AVAILABILITY, MachineVerb, RolloutVerb
from fleettui.console.pages.bands import FleetIdentity
from fleettui.console.screens.context import Context
from fleettui.console.screens.main import MainScreen
from fleettui.console.tables.fleet import Reading
from fleettui.journal_entry import JournalEntry
from fleettui.verbs import Verb
from placement.rebalance import Move
from registry.keys import Address
from registry.mirror import Snapshot
from registry.model import (
    Assignment,
    Crash,
    Event,
    Leader,
    Machine,
    Override,
    Pending,
    Rollout,
    RolloutStep,
    Sentinel,
    Target,
    Unit,
    UnitState,
    UnitText,
)
from registry.sync.follow import ConnectionState
from registry.units.file import file_hash
from tests.console.hostshow import ScriptedHosts

NOW = 1_790_000_000.0  # 2026-09-21 14:13:20 UTC
HOUR = 3600.0
CORES = {n: f"{n}aea1bb4c0ffee{n:019d}" for n in (1, 2, 3)}
WEB = """# the shop's front
[Unit]
Description=Web %i
After=network.target

[Service]
ExecStart=/usr/bin/web --port 80%i
Restart=always

[X-Fleet]
Conflicts=web@*.service
"""
MARS = "[Service]\nExecStart=/bin/true\n\n[X-Fleet]\nMachineMetadata=region=mars\n"
EXPORTER = "[Service]\nExecStart=/usr/bin/node_exporter\n\n[X-Fleet]\nGlobal=true\n"
PLAIN = "[Service]\nExecStart=/usr/bin/report\n"


def machine(number: int) -> Machine:
    """core-1 to core-3."""
    return Machine(
        id=CORES[number], hostname=f"core-{number}", address=f"10.91.0.{10 + number}", boot_id=f"b{number}",
        metadata=(("node", f"n{number}"), ("region", "r1" if number < 3 else "r2")), cpus=4, memory_bytes=8 << 30,
        agent_version="0.1.0", systemd_version="252", since=NOW - 26 * HOUR,
    )  # fmt: skip


def state(unit: str, number: int, text: str, **more: object) -> UnitState:
    """A unit that runs as asked, unless told otherwise."""
    base = UnitState(
        unit, CORES[number], file_hash(text), 1, Target.LAUNCHED, "loaded", "active", "running", "success",
        main_pid=400 + number, since=NOW - 2 * HOUR,
    )  # fmt: skip
    return replace(base, **more)  # type: ignore[arg-type]


def build(
    units: Mapping[str, tuple[str, Target]],
    places: Iterable[tuple[str, int]],
    states: Iterable[UnitState],
    **more: object,
) -> Snapshot:
    """A snapshot of units (text and target), where they are scheduled, and their states."""
    files = {file_hash(text): UnitText(file_hash(text), text) for text, _ in units.values()}
    records = {
        name: Unit(name, file_hash(text), target, by="root@laptop", at=NOW - 3 * HOUR)
        for name, (text, target) in units.items()
    }
    schedule = {
        (CORES[number], name): Assignment(name, CORES[number], records[name].hash, records[name].target, 1)
        for name, number in places
    }
    base = Snapshot(
        revision=100, cluster=Sentinel("c1"), leader=Leader("l", "core-2"), files=files, units=records,
        schedule=schedule, states={(each.machine, each.unit): each for each in states},
        machines={CORES[number]: machine(number) for number in CORES},
    )  # fmt: skip
    return replace(base, **more)  # type: ignore[arg-type]


def scene() -> Snapshot:
    """A bit of everything: running, starting, failed, pending, inactive, global, a template."""
    up, idle = Target.LAUNCHED, Target.INACTIVE
    units = {
        "web@.service": (WEB, idle), "web@1.service": (WEB, up), "web@2.service": (WEB, up),
        "web@3.service": (WEB, up), "mars.service": (MARS, up), "report.timer": (PLAIN, up),
        "sync.service": (PLAIN, up), "backup.service": (PLAIN, idle), "exporter.service": (EXPORTER, up),
        "db.service": (PLAIN, up), "cache.service": (PLAIN, up), "mail.service": (PLAIN, Target.LOADED),
    }  # fmt: skip
    places = [("web@1.service", 1), ("web@2.service", 2), ("web@3.service", 3), ("report.timer", 1),
              ("sync.service", 2), ("db.service", 3), ("cache.service", 1), ("mail.service", 2),
              *(("exporter.service", number) for number in CORES)]  # fmt: skip
    states = [
        state("web@1.service", 1, WEB), state("web@2.service", 2, WEB),
        state("web@3.service", 3, WEB, active="activating", sub="start-pre", since=NOW - 4, restarts=1),
        state("report.timer", 1, PLAIN, sub="waiting", since=NOW - 50 * HOUR),
        state("sync.service", 2, PLAIN, active="failed", sub="failed", result="exit-code", exit_code=203,
              restarts=5, since=NOW - 12, error="/usr/bin/syncd: no such file or directory"),
        state("db.service", 3, PLAIN, since=NOW - 9 * HOUR), state("cache.service", 1, PLAIN, since=NOW - 300),
        state("mail.service", 2, PLAIN, target=Target.LOADED, active="inactive", sub="dead", main_pid=0),
        *(state("exporter.service", number, EXPORTER, since=NOW - 26 * HOUR) for number in CORES),
    ]  # fmt: skip
    wanted = file_hash(MARS)
    pending = {"mars.service": Pending(
        "mars.service", wanted, 1, "no machine has region=mars", rule="metadata",
    )}  # fmt: skip
    return build(units, places, states, pending=pending, events=events(),
                 overrides={CORES[3]: Override(CORES[3])})  # fmt: skip


def events() -> dict[str, Event]:
    """What happened of late."""
    told = [
        (200.0, "agent-core-3", "join", "", 3, "registered"),
        (120.0, "root@laptop", "start", "web@3.service", 0, ""),
        (119.8, "scheduler-core-2", "place", "web@3.service", 3, "fewest units among 3 machines"),
        (60.0, "root@laptop", "start", "mars.service", 0, ""),
        (12.0, "agent-core-2", "fail", "sync.service", 2, "/usr/bin/syncd: no such file or directory"),
    ]
    found = [
        Event(f"{int((NOW - ago) * 1000):013d}-{number:08x}", NOW - ago, actor, verb, unit,
              CORES[core] if core else "", reason)
        for number, (ago, actor, verb, unit, core, reason) in enumerate(told)
    ]  # fmt: skip
    return {event.id: event for event in found}


class ScriptedPort:
    """Says that everything was written, and remembers what."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[str, ...]]] = []
        self.error: Exception | None = None
        self.replaced: tuple[dict[str, str], str] = ({}, "")
        self.complaints: tuple[str, ...] = ()

    def _done(self, what: str, names: Sequence[str]) -> Done:
        self.calls.append((what, tuple(names)))
        if self.error:
            raise self.error
        return Done(tuple(Outcome(name, Did.CHANGED) for name in names), 101)

    async def on_units(self, verb: Verb, names: Sequence[str]) -> Done:
        return self._done(verb, names)

    async def submit(
        self, texts: Mapping[str, str], target: Target, *, replace: bool = False, based_on: str = ""
    ) -> Done:
        if not based_on:
            return self._done(f"submit {target}", [*texts])
        assert (target, replace) == (Target.INACTIVE, True)
        self.replaced = (dict(texts), based_on)
        return self._done("replace", list(texts))

    async def restore(self, outcomes: Sequence[Outcome], *, redo: bool = False) -> Done:
        return self._done("restore again" if redo else "restore", [outcome.name for outcome in outcomes])

    async def on_machines(self, verb: MachineVerb, ids: Sequence[str]) -> Changes:
        revision = self._done(verb, ids).revision
        wish = AVAILABILITY[verb]
        return [MachineChange(Override(each), Override(each, wish), revision) for each in ids], self.complaints

    async def set_metadata(self, ids: Sequence[str], changes: Mapping[str, str | None]) -> Changes:
        revision = self._done(f"metadata {dict(changes)}", ids).revision
        after = tuple((key, value) for key, value in sorted(changes.items()) if value is not None)
        return [MachineChange(Override(each), Override(each, metadata=after), revision) for each in ids], ()

    async def restore_machines(self, changes: Sequence[MachineChange]) -> Changes:
        revision = self._done("restore machines", [each.after.machine for each in changes]).revision
        return [MachineChange(each.after, each.before, revision) for each in changes], ()

    async def roll(
        self, names: Sequence[str], texts: Mapping[str, str], policy: Policy, based_on: str = ""
    ) -> Rollout:
        self._done(f"roll {policy.at_a_time}", names)
        self.replaced = (dict(texts), based_on)
        old = file_hash(PLAIN)
        steps = (RolloutStep(name, old, file_hash(texts[name]) if name in texts else old, 1, at)
                 for at, name in enumerate(names))  # fmt: skip
        return Rollout("r1", tuple(steps), by="root@laptop", at=NOW)

    async def move(self, snapshot: Snapshot, moves: Sequence[Move], policy: Policy, name: str = "") -> Rollout:
        self._done(f"move {policy.at_a_time}", [f"{each.unit} {each.target}" for each in moves])
        units = [snapshot.units[each.unit] for each in moves]
        steps = (RolloutStep(unit.name, unit.hash, unit.hash, unit.generation, at, goes_to=moves[at].target)
                 for at, unit in enumerate(units))  # fmt: skip
        return Rollout(name or "rebalance-1", tuple(steps), by="root@laptop", at=NOW)

    async def on_rollout(self, verb: RolloutVerb, name: str) -> Rollout:
        self._done(f"rollout {verb}", [name])
        return Rollout(f"{name}-again" if verb is RolloutVerb.REDO else name, (), back=verb is RolloutVerb.UNDO)


class ScriptedFeed:
    """A feed whose readings are put in by hand."""

    endpoint = "http://127.0.0.1:2379"

    def __init__(self) -> None:
        self.silence_s = 0.2
        self.lease_s: float | None = None
        self.pause_s: float | None = None
        self._queue: asyncio.Queue[Reading] = asyncio.Queue()

    def put(
        self,
        snapshot: Snapshot,
        link: ConnectionState = ConnectionState.LIVE,
        reason: str = "",
        endpoints: str = "",
        changed: frozenset[Address] | None = None,
    ) -> None:
        """Hand out a snapshot that may differ in anything, or in what changed."""
        self._queue.put_nowait(Reading(snapshot, changed, link, reason, endpoints))

    def quiet_s(self) -> float:
        """As long as the script says."""
        return self.silence_s

    async def lease_left_s(self, machine: str) -> float | None:  # noqa: ARG002 - the same for all
        """As the script says."""
        return self.lease_s

    def retry_s(self) -> float | None:
        """As the script says."""
        return self.pause_s

    async def readings(self) -> AsyncIterator[Reading]:
        """What was put in, in order."""
        while True:
            yield await self._queue.get()


class ScriptedJournals:
    """A few lines for whatever is asked, then what is put in."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.asks: list[Ask] = []
        self.targets: list[tuple[Wanted, ...]] = []
        self.first = 8  # lines a source
        self.more: asyncio.Queue[Sequence[News]] = asyncio.Queue()
        self.error: Exception | None = None
        self.crashes: list[Crash] = []
        self.archive: list[JournalEntry] = []  # older lines, oldest first
        self.histories = 0
        self.searches: list[str] = []
        self.unsearched: dict[str, str] = {}
        self.scan, self.past = asyncio.Event(), asyncio.Event()  # answers come while these are set
        self.scan.set()
        self.past.set()

    def history(
        self,
        wanted: Sequence[Wanted],
        ask: Ask,  # noqa: ARG002
        edges: Mapping[str, JournalPlace],
        *,
        backwards: bool,
    ) -> ScriptedPast:
        self.histories += 1
        at, cursors = next(iter(edges.values())).at, {each.cursor for each in edges.values()}
        kept = [*self.archive, *(entry(each, number) for each in wanted for number in range(self.first))]
        found = [each for each in kept if (each.at <= at if backwards else each.at >= at)]
        inclusive = {each.cursor for each in edges.values() if each.inclusive}
        found = [each for each in found if each.cursor not in cursors - inclusive]
        return ScriptedPast(found[::-1] if backwards else found, self.past)

    async def search(
        self,
        wanted: Sequence[Wanted],
        ask: Ask,  # noqa: ARG002
        text: str,
        troubles: dict[str, str],
    ) -> AsyncGenerator[Sequence[JournalEntry], None]:
        self.searches.append(text)
        for_journalctl(text)
        await self.scan.wait()
        troubles.update(self.unsearched)
        yield [each for each in reversed(self.archive) if each.machine in {one.machine.id for one in wanted}]

    async def kept(self, units: Collection[str], machines: Collection[str] = ()) -> list[Crash]:
        if self.error:
            raise self.error
        return [each for each in self.crashes if each.unit in units or each.machine in machines]

    def open(self, wanted: Sequence[Wanted], ask: Ask) -> ScriptedStream:
        self.asked.append(tuple(each.unit for each in wanted))
        self.asks.append(ask)
        return ScriptedStream(self, wanted)

    async def fields(self, machine: Machine, cursor: str) -> dict[str, str]:
        if self.error:
            raise self.error
        return {
            "MESSAGE": "GET / 200 4 ms", "PRIORITY": "6", "SYSLOG_IDENTIFIER": "web", "CODE_FILE": "src/server.c",
            "_HOSTNAME": machine.hostname, "_PID": "401", "_UID": "997", "_EXE": "/usr/bin/web",
            "_CMDLINE": "/usr/bin/web --port 801", "_SYSTEMD_UNIT": "web@1.service", "_BOOT_ID": "b1" * 16,
            "__CURSOR": cursor, "__REALTIME_TIMESTAMP": "1789999940000000",
        }  # fmt: skip


class ScriptedPast:
    """Lines in the direction of reading."""

    def __init__(self, found: Sequence[JournalEntry], ready: asyncio.Event) -> None:
        self.troubles: dict[str, str] = {}
        self._left, self._ready = list(found), ready

    async def read(self, count: int) -> Sequence[JournalEntry]:
        await self._ready.wait()
        found, self._left = self._left[:count], self._left[count:]
        return found


class ScriptedStream:
    """One selection's lines."""

    def __init__(self, journals: ScriptedJournals, wanted: Sequence[Wanted]) -> None:
        self._journals, self._wanted = journals, wanted

    def retarget(self, wanted: Sequence[Wanted]) -> None:
        self._journals.targets.append(tuple(wanted))

    async def batches(self) -> AsyncGenerator[Sequence[News], None]:
        first: list[JournalEntry] = [
            entry(each, number) for each in self._wanted for number in range(self._journals.first)
        ]
        first.sort(key=lambda found: found.at)
        yield first
        while True:
            yield await self._journals.more.get()


MESSAGES = (
    (6, "web", "GET /healthz 200 1 ms"), (6, "web", "GET / 200 4 ms"), (4, "web", "slow query: 812 ms"),
    (6, "web", "GET /cart 200 7 ms"), (3, "web", "upstream payment timed out after 2 s\nretrying once"),
    (6, "systemd", "Reloading requested."), (6, "web", "POST /order 201 31 ms"), (7, "web", "pool: 4 of 16 busy"),
)  # fmt: skip


def entry(wanted: Wanted, number: int, message: str = "") -> JournalEntry:
    """One line of a unit's journal."""
    priority, identifier, text = MESSAGES[number % len(MESSAGES)]
    at = int((NOW - 60 + number * 7 + len(wanted.unit) % 5) * 1_000_000)
    return JournalEntry(at, wanted.machine.id, wanted.machine.hostname, wanted.unit, priority, 1, identifier,
                        message or text, f"c{number}")  # fmt: skip


class Stage:
    """The console with everything scripted."""

    def __init__(self, snapshot: Snapshot | None = None, *, theme: str = "dark", **context: object) -> None:
        self.feed, self.port, self.journals = ScriptedFeed(), ScriptedPort(), ScriptedJournals()
        self.hosts = ScriptedHosts()
        self.now = NOW
        base = Context(self.feed, self.port, self.journals, FleetIdentity("demo", "root", "10.91.0.1:2379"),
                    lambda: self.now, {}, hosts=self.hosts)  # fmt: skip
        self.app = Console(replace(base, **context), theme=theme)  # type: ignore[arg-type]
        if snapshot is not None:
            self.feed.put(snapshot)

    @property
    def main(self) -> MainScreen:
        return next(screen for screen in self.app.screen_stack if isinstance(screen, MainScreen))
