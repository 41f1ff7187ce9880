"""The registry's whole history, followed from the campaign's start and judged revision by revision.

`Follow` collects it in a thread of its own. The rest is pure: which changes no leader may have made, which moves
nobody asked for, and how often the schedule ordered each unit to be launched.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import aclosing, suppress
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from registry.errors import CorruptRecord, RegistryError
from registry.etcd import Compacted, Etcd, EtcdSettings, KeyValue
from registry.keys import Address, Keys, Table
from registry.model import (
    Assignment,
    Availability,
    Machine,
    Override,
    Rollout,
    RolloutState,
    Sentinel,
    Target,
    Unit,
)
from registry.records import decode
from tests.chaos import crowd
from tests.chaos.judge import Spell

KEYS = Keys()
SILENT_S = 30.0  # longer than etcd is ever away, and the scheduler's patience after that
REPLACED = "the registry was replaced"
CROSSED_S = 0.5  # an order and a decision that was made before it may be on their way at the same time
LATE_S = 6.0  # how much later than the programs this process may hear of a change


@dataclass(frozen=True, slots=True)
class Change:
    """One key written (or deleted: `record` is None) at a revision, and when that was heard of."""

    revision: int
    address: Address
    record: Any
    created: int
    at_s: float


class Follow:
    """Collects every change but events, from the beginning on.

    When the registry went back (`begin_again`), what it holds then is compared with what was known: the difference
    is noted as changes of revision 0, which nobody made and nobody is judged by.
    """

    def __init__(self, settings: EtcdSettings) -> None:
        self.changes: list[Change] = []
        self.revision = 0
        self._watching: asyncio.Task[None] | None = None
        self._replaced = asyncio.Event()
        self._listed = threading.Event()
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(target=self._run, name="history", daemon=True)
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to follow."""
        self._thread.start()

    def stop(self) -> None:
        """Follow no more."""
        if self._task and self._loop:
            self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(timeout=10)

    def _run(self) -> None:
        with suppress(asyncio.CancelledError):
            asyncio.run(self._begin())

    async def _begin(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        await self._follow()

    def pause(self) -> None:
        """The registry is about to be replaced: follow nothing until `begin_again`."""
        if self._loop and self._watching:
            self._loop.call_soon_threadsafe(self._watching.cancel, REPLACED)

    def begin_again(self) -> None:
        """The registry is another one: list it, and follow from there. Returns when it is listed."""
        self._listed.clear()
        if self._loop:
            self._loop.call_soon_threadsafe(self._replaced.set)
        if not self._listed.wait(timeout=60):
            raise AssertionError("the restored registry could not be listed")

    async def _follow(self) -> None:
        while True:
            async with Etcd(self._settings) as etcd:
                self._watching = asyncio.create_task(self._watch(etcd))
                try:
                    await self._watching
                except Compacted as error:
                    raise AssertionError("the history was compacted before it was read") from error
                except RegistryError:
                    await asyncio.sleep(0.2)
                except asyncio.CancelledError as error:
                    if REPLACED not in error.args:
                        raise
                    await self._list_again()

    async def _list_again(self) -> None:
        await self._replaced.wait()
        self._replaced.clear()
        while True:
            try:
                async with Etcd(self._settings) as etcd:
                    listing = await etcd.range(KEYS.prefix)
            except RegistryError:
                await asyncio.sleep(0.2)
            else:
                break
        self.changes += replaced(self.changes, listing.kvs, time.monotonic())
        self.revision = listing.revision
        self._listed.set()

    async def _watch(self, etcd: Etcd) -> None:
        async with aclosing(etcd.watch(KEYS.prefix, self.revision + 1)) as stream:
            async for batch in stream:
                at_s = time.monotonic()
                for change in batch.changes:
                    address = KEYS.parse(change.key)
                    if address and address.table is not Table.EVENTS:
                        self.changes.append(_change(address, change.kv, change.mod_revision, at_s))
                self.revision = batch.revision


def _change(address: Address, kv: Any, revision: int, at_s: float) -> Change:
    if kv is None:
        return Change(revision, address, None, 0, at_s)
    try:
        return Change(revision, address, decode(address, kv.value, kv.key), kv.create_revision, at_s)
    except CorruptRecord as error:
        return Change(revision, address, error, kv.create_revision, at_s)


def replaced(changes: Iterable[Change], found: Iterable[KeyValue], at_s: float) -> list[Change]:
    """What a registry that was put in the place of another changes, as changes of revision 0."""
    known = {change.address: change for change in changes}
    now: dict[Address, Change] = {}
    for kv in found:
        address = KEYS.parse(kv.key)
        if address and address.table is not Table.EVENTS:
            now[address] = _change(address, kv, 0, at_s)
    gone = [
        Change(0, address, None, 0, at_s)
        for address, change in known.items()
        if change.record is not None and address not in now
    ]
    new = [
        change
        for address, change in now.items()
        if (old := known.get(address)) is None or (old.record, old.created) != (change.record, change.created)
    ]
    return gone + new


# ---- judging


class Past:
    """The registry as it was before the revision that is judged."""

    def __init__(self) -> None:
        self.rows: dict[Table, dict[tuple[str, str], Any]] = defaultdict(dict)
        self._drained: dict[str, float] = {}  # machine to when it was last said to be drained no more

    def take(self, change: Change) -> None:
        """Go on by one change."""
        key = (change.address.first, change.address.second)
        if change.address.table is Table.OVERRIDES and self._drains(change.address.first):
            self._drained[change.address.first] = change.at_s
        if change.record is None:
            self.rows[change.address.table].pop(key, None)
        else:
            self.rows[change.address.table][key] = change.record

    def _drains(self, machine: str) -> bool:
        override = self.rows[Table.OVERRIDES].get((machine, ""))
        return isinstance(override, Override) and override.availability is Availability.DRAINING

    def drains(self, machine: str, at_s: float) -> bool:
        """Whether a machine is being drained, as far as a leader can know that has just decided."""
        return self._drains(machine) or at_s - self._drained.get(machine, -CROSSED_S) < CROSSED_S

    def has(self, table: Table, first: str = "", second: str = "") -> bool:
        """Whether a key existed."""
        return (first, second) in self.rows[table]


def judge(changes: Iterable[Change]) -> Iterator[str]:
    """Every change of the schedule that should not have been."""
    past, held = Past(), False
    for revision, group in groupby(changes, key=lambda change: change.revision):
        batch = list(group)
        if not revision:
            held = True
        elif held:
            yield from _while_held(past, batch)
            held = not any(isinstance(change.record, Sentinel) and not change.record.held for change in batch)
        else:
            yield from _judged(past, batch)
            held = any(isinstance(change.record, Sentinel) and bool(change.record.held) for change in batch)
        for change in batch:
            past.take(change)


def _while_held(past: Past, batch: list[Change]) -> Iterator[str]:
    """Until an operator accepts a registry that went back, the schedule is only brought in line with what runs."""
    for change in batch:
        machine, unit = change.address.first, change.address.second
        placed = change.address.table is Table.SCHEDULE and change.record is not None and _ours(change)
        known = past.has(Table.SCHEDULE, machine, unit) or past.has(Table.STATES, machine, unit)
        if placed and not known:  # a line that is changed places nothing
            where = f"on {machine[:8]} at revision {change.revision}"
            yield f"15: {unit} was scheduled {where}, before the registry that went back was accepted"


def _judged(past: Past, batch: list[Change]) -> Iterator[str]:
    decided = [each for each in batch if each.address.table in (Table.SCHEDULE, Table.PENDING) and _ours(each)]
    if decided and not past.has(Table.LEADER):
        what, at = decided[0].address, decided[0].revision
        yield f"2: {what.table} of {what.second or what.first} was changed at revision {at} with no leader"
    yield from filter(None, (_turn(past, change) for change in batch if change.address.table is Table.UNITS))
    gone = {each.address for each in batch if each.record is None}
    for change in decided:
        if change.address.table is Table.SCHEDULE:
            yield from _placed(past, gone, change) if change.record else _withdrawn(past, change)


def _turn(past: Past, change: Change) -> str:
    """What is wrong with a unit's turn in a rollout: only one that runs has turns (invariant 14)."""
    record, before = change.record, past.rows[Table.UNITS].get((change.address.first, ""))
    if not isinstance(record, Unit) or not record.by.startswith("rollout "):
        return ""
    if isinstance(before, Unit) and (before.by, before.at) == (record.by, record.at):
        return ""
    rollout = past.rows[Table.ROLLOUTS].get((record.by.removeprefix("rollout "), ""))
    state = rollout.state if isinstance(rollout, Rollout) else "not there"
    if isinstance(rollout, CorruptRecord) or state == RolloutState.RUNNING:
        return ""
    return f"14: {record.name} was changed at revision {change.revision} by {record.by}, which was {state}"


def _ours(change: Change) -> bool:
    """Whether it is about a unit of the campaign, and not an odd record or a garbled one."""
    known = (change.address.second or change.address.first) in crowd.KINDS
    return known and not isinstance(change.record, CorruptRecord)


def _placed(past: Past, gone: set[Address], change: Change) -> Iterator[str]:
    """A unit that is not global is placed only where no other machine has it; a changed line is no placement."""
    machine, unit = change.address.first, change.address.second
    if _global(unit) or past.has(Table.SCHEDULE, machine, unit):
        return
    for table in (Table.SCHEDULE, Table.STATES):
        for other, name in past.rows[table]:
            held = name == unit and other != machine and Address(table, other, name) not in gone
            if held and (table is Table.SCHEDULE or past.has(Table.MACHINES, other)):
                where = f"on {machine[:8]} at revision {change.revision}"
                yield f"1: {unit} was placed {where} while {other[:8]} had its {table}"


def _withdrawn(past: Past, change: Change) -> Iterator[str]:
    """A unit that somebody wants leaves a live machine only for a reason (invariant 6)."""
    machine, unit = change.address.first, change.address.second
    wish, home = past.rows[Table.UNITS].get((unit, "")), past.rows[Table.MACHINES].get((machine, ""))
    if not isinstance(wish, Unit) or not wish.target.scheduled or not isinstance(home, Machine) or home.leaving:
        return
    draining = past.drains(machine, change.at_s)
    line = past.rows[Table.SCHEDULE].get((machine, unit))
    lines = [other for other, name in past.rows[Table.SCHEDULE] if name == unit]
    if isinstance(line, CorruptRecord) and len(lines) > 1:
        return  # it is not what has the unit there
    anew = isinstance(line, Assignment) and (line.hash, line.generation) != (wish.hash, wish.generation)
    if not draining and not anew and not crowd.KINDS[unit].moves:
        yield f"6: {unit} was taken off the live machine {machine[:8]} at revision {change.revision}, unasked"


def absences(changes: Iterable[Change], machine: str, spell: Spell) -> Iterator[Spell]:
    """The times in which a machine was away: each from the spell's beginning until the machine was back.

    There is one for every time that its lease ended in the spell or soon after it; the last lasts for ever if the
    machine did not come back.
    """
    there, gone = False, False
    for change in changes:
        if change.address != Address(Table.MACHINES, machine):
            continue
        ended = there and change.record is None
        there = change.record is not None
        gone = gone or (ended and spell.since_s < change.at_s < spell.until_s + LATE_S)
        if gone and there:
            yield Spell(spell.node, spell.since_s, change.at_s)
            gone = False
    if gone:
        yield Spell(spell.node, spell.since_s, float("inf"))


def unexplained(changes: Iterable[Change], now_s: float) -> Iterator[str]:
    """Units that somebody wanted and that for long had neither a machine nor a reason (invariant 7)."""
    past, open_ = Past(), dict[str, float]()
    for change in changes:
        past.take(change)
        name = change.address.second or change.address.first
        if change.address.table not in (Table.UNITS, Table.SCHEDULE, Table.PENDING):
            continue
        since_s = open_.get(name)
        if not _silent(past, name):
            open_.pop(name, None)
        elif since_s is None:
            open_[name] = change.at_s
        if since_s is not None and change.at_s - since_s > SILENT_S:
            yield f"7: {name} had neither a machine nor a reason for {change.at_s - since_s:.0f} s"
    for name, since_s in open_.items():
        if now_s - since_s > SILENT_S:
            yield f"7: {name} has had neither a machine nor a reason for {now_s - since_s:.0f} s"


def _silent(past: Past, name: str) -> bool:
    wish = past.rows[Table.UNITS].get((name, ""))
    wanted = isinstance(wish, Unit) and wish.target.scheduled
    placed = any(unit == name for _, unit in past.rows[Table.SCHEDULE])
    return wanted and not placed and not past.has(Table.PENDING, name)


def _global(unit: str) -> bool:
    return unit in crowd.KINDS and crowd.KINDS[unit] is crowd.GLOBAL


@dataclass(frozen=True, slots=True)
class Order:
    """A time in which the schedule had one machine launch one unit; `until_s` is infinite while it does."""

    machine: str
    unit: str
    since_s: float
    until_s: float


def orders(changes: Iterable[Change]) -> list[Order]:
    """Every order to launch, one for each placement, generation, attempt, file and return from `loaded`."""
    found: list[Order] = []
    open_: dict[tuple[str, str], tuple[object, float]] = {}
    for change in changes:
        if change.address.table is not Table.SCHEDULE:
            continue
        place = (change.address.first, change.address.second)
        line = change.record
        wanted = isinstance(line, Assignment) and line.target is Target.LAUNCHED
        order = (change.created, line.generation, line.attempt, line.hash) if wanted else None
        if place in open_ and open_[place][0] != order:
            found.append(Order(*place, open_.pop(place)[1], change.at_s))
        if order is not None and place not in open_:
            open_[place] = (order, change.at_s)
    return found + [Order(*place, since_s, float("inf")) for place, (_, since_s) in open_.items()]


def allowed(
    found: Iterable[Order], node_of: dict[str, str], ends: dict[str, list[float]]
) -> dict[tuple[str, str, int], int]:
    """How many launches of each unit each boot of each machine may have seen. `ends`: when machines crashed."""
    counts: dict[tuple[str, str, int], int] = defaultdict(int)
    for order in found:
        node = node_of.get(order.machine, "")
        edges = [float("-inf"), *ends.get(node, ()), float("inf")]
        for boot in range(len(edges) - 1):
            if order.since_s - LATE_S < edges[boot + 1] and order.until_s + LATE_S > edges[boot]:
                counts[node, order.unit, boot] += 1
    return counts
