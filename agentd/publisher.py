"""Telling the registry how this machine's units are: claims, states and events, in batched leased transactions.

Owns the keys `states/<this machine>/`: it alone writes them, one transaction at a time. What it knows to be in the
registry is compared with what should be there, so that only differences are written, the last value always
lands, and a write of unknown outcome is looked up rather than repeated. Every operation is guarded by the key's
last known revision: a request that was believed lost and arrives late changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from agentd.pure.plan import DesiredState
from registry.errors import InvalidRecord, LeaseLost, RegistryError
from registry.etcd import Compare, Etcd, Op
from registry.grammar import writer_of
from registry.keys import Keys
from registry.model import Event, UnitState
from registry.records import encode
from registry.roles import agent_of
from registry.sync.history import History

log = logging.getLogger("fleet.agent")

GATHER_S = 0.05  # from one write of states to the next: what is not passing is in the registry within 100 ms
GATHER_SOON_S = 0.004  # after a rest, and where a start waits for a claim or the fleet for a unit's end
HELD_S = 1.0  # how long a step on the way to another state waits for that one
STATES, CLAIMS, EVENTS = 96, 60, 30  # in one transaction of at most 128 operations and as many guards
RETRY_S = 0.2  # the first pause after a failure
EVENTS_KEPT = 1000  # while the registry is away

Compose = Callable[[str], UnitState | None]
IsPassing = Callable[[str], bool]  # whether a unit's state is a step on the way to another one that comes soon
OnGranted = Callable[[int], None]  # told the lease


@dataclass(slots=True)
class _Claim:
    desired: DesiredState
    state: UnitState
    on_granted: OnGranted
    granted: asyncio.Future[bool]


@dataclass(slots=True)
class _Known:
    """A state key as it is in the registry."""

    revision: int
    value: bytes = field(repr=False)


class Publisher:
    """Keeps `states/` as `compose` says. Nothing is written while there is no lease.

    A state that `is_passing` waits `HELD_S` for the one after it: most steps of a start, a stop and a move are
    never written, and nobody who follows the registry has to read them.
    """

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        machine: str,
        compose: Compose,
        history: History | None = None,
        user: str = "",
        is_passing: IsPassing = lambda _: False,
    ) -> None:
        self._writer = writer_of(user, agent_of(machine).name)
        self.on_lost: Callable[[], None] = lambda: None  # the registry says that the lease is gone
        self._history = history or History(keys)
        self._etcd, self._keys, self._machine, self._compose = etcd, keys, machine, compose
        self._is_passing = is_passing
        self._lease = 0
        self._known: dict[str, _Known] = {}
        self._unsure = False  # a write ended without an answer
        self._dirty: dict[str, float] = {}  # units whose state may have changed, and until when it may wait
        self._alarm: asyncio.TimerHandle | None = None  # for the first of those that wait
        self._claims: list[_Claim] = []
        self._forgets: dict[str, asyncio.Future[None]] = {}
        self._events: list[Event] = []
        self._wake = asyncio.Event()
        self._urgent = asyncio.Event()
        self._wrote_at = 0.0
        self._writing = asyncio.Lock()
        self._backoff = etcd.backoff(RETRY_S)

    def mark_dirty(self, units: Iterable[str]) -> None:
        """These units' states may have changed."""
        until = asyncio.get_running_loop().time() + HELD_S
        for unit in units:
            if self._is_passing(unit):
                self._dirty.setdefault(unit, until)
            else:
                self._dirty[unit] = 0.0  # told, whatever it may be on its way to by then
                self._wake.set()
        self._set_alarm()

    def record_event(self, verb: str, *, unit: str = "", reason: str = "") -> None:
        """Write an event soon; while the registry is away the newest are kept."""
        self._events.append(self.event(verb, unit=unit, reason=reason))
        del self._events[:-EVENTS_KEPT]
        self._wake.set()

    def event(self, verb: str, *, unit: str = "", reason: str = "") -> Event:
        """An event of this agent, now."""
        now = time.time()
        number = f"{int(now * 1000):013d}-{random.getrandbits(32):08x}"
        return Event(number, now, self._writer, verb, unit, self._machine, reason)

    async def claim(self, desired: DesiredState, state: UnitState, on_granted: OnGranted) -> bool:
        """Put the state if the schedule line is still as it was read; False when it is not. Waits for the registry.

        `on_granted` is called with the lease in the same instant in which the claim is known to hold, even when
        nobody waits for it any more.
        """
        claim = _Claim(desired, state, on_granted, asyncio.get_running_loop().create_future())
        self._claims.append(claim)
        self._urgent.set()
        self._wake.set()
        return await claim.granted

    async def forget(self, unit: str) -> None:
        """Wait until the unit's state is not in the registry; `compose` must say None for it by now."""
        future = self._forgets.setdefault(unit, asyncio.get_running_loop().create_future())
        self._urgent.set()
        self.mark_dirty([unit])
        await asyncio.shield(future)

    def suspend(self) -> None:
        """The lease is gone: write nothing until `resume`."""
        self._lease = 0

    async def resume(self, lease: int, units: Iterable[str]) -> frozenset[str]:
        """Write under this lease from now on, and put the states of all `units` before returning.

        Returns the units whose state was there under the same lease already: their claims hold.
        Raises what the registry raises.
        """
        self._backoff.reset()
        async with self._writing:
            self._lease, self._unsure = lease, True
            self._wake.set()  # whatever comes of this: claims and events may have waited for a lease
            kept = await self._refresh(lease)
            self._dirty.update(dict.fromkeys((*units, *self._known), 0.0))
            while self._dirty:
                if self._unsure:
                    kept &= await self._refresh(lease)
                await self._write_states(lease, list(self._dirty)[:STATES], [])
        return kept

    async def run(self) -> None:
        """Publish for ever."""
        while True:
            await self._wake.wait()
            rested_s = time.monotonic() - self._wrote_at
            with suppress(TimeoutError):  # more comes in, to share a transaction; what others wait for is not kept
                async with asyncio.timeout(max(GATHER_S - rested_s, GATHER_SOON_S)):
                    await self._urgent.wait()
                    await asyncio.sleep(GATHER_SOON_S)
            self._wake.clear()
            try:
                async with self._writing:
                    await self._flush()
                self._backoff.reset()
            except RegistryError as error:
                self._unsure = True
                if self._backoff.is_news(error):
                    log.debug("cannot publish: %s", error)
                await self._backoff.wait(error)
                self._wake.set()

    def retry(self) -> None:
        """The registry answers again: write now what could not be written."""
        self._backoff.reset()

    def recheck(self) -> None:
        """Look at what the registry really holds, and mend it."""
        self._unsure = True
        self.mark_dirty(self._known)
        self._wake.set()

    async def _flush(self) -> None:
        """Write what there is to write now, under one lease; what comes meanwhile is gathered for the next time."""
        self._urgent.clear()
        lease = self._lease
        try:
            while lease and self._claims and await self._settled(lease):
                await self._write_claims(lease, [each for each in self._claims if not each.granted.done()][:CLAIMS])
            units = self._due()
            while lease and (units or self._events) and await self._settled(lease):
                await self._write_states(lease, units[:STATES], self._events[:EVENTS])
                units = units[STATES:]
        except LeaseLost:
            if lease == self._lease:
                self.suspend()
                self.on_lost()
        self._wrote_at = time.monotonic()
        if self._lease and self._dirty:
            if self._due():
                self._wake.set()
            self._set_alarm()

    def _due(self) -> list[str]:
        """The units whose state waits no longer."""
        now = asyncio.get_running_loop().time()
        return [unit for unit, until in self._dirty.items() if until <= now]

    def _set_alarm(self) -> None:
        """Look again when the first state that waits has waited long enough."""

        def ring() -> None:
            self._alarm = None
            self._wake.set()

        if self._alarm is None and (waiting := [until for until in self._dirty.values() if until]):
            self._alarm = asyncio.get_running_loop().call_at(min(waiting), ring)

    async def _settled(self, lease: int) -> bool:
        """Look up what is not known for certain. False when the lease is no longer ours, perhaps only since."""
        if self._unsure and lease == self._lease:
            await self._refresh(lease)
        return lease == self._lease

    async def _refresh(self, lease: int) -> frozenset[str]:
        """Read our states as they are; returns those that hang on the lease. Strays are marked for deletion."""
        prefix = self._keys.state(self._machine)
        listing = await self._etcd.range(prefix)
        self._known = {  # one under another lease will end with that, or never: it counts as different
            kv.key.removeprefix(prefix): _Known(kv.mod_revision, kv.value if kv.lease == lease else b"")
            for kv in listing.kvs
        }
        self._unsure = False
        self._dirty.update(dict.fromkeys(self._known, 0.0))
        return frozenset(kv.key.removeprefix(prefix) for kv in listing.kvs if kv.lease == lease)

    async def _write_claims(self, lease: int, claims: list[_Claim]) -> None:
        self._claims = [each for each in self._claims if not each.granted.done()]
        encoded = {each.desired.unit: _encoded(each.state) for each in claims}
        puts = {unit: value for unit, value in encoded.items() if value is not None}
        _answer([each for each in claims if each.desired.unit not in puts], 0)
        claims = [each for each in claims if each.desired.unit in puts]
        if not claims:
            return
        lines = [self._keys.schedule(self._machine, each.desired.unit) for each in claims]
        guards = [Compare.mod(line, each.desired.revision) for line, each in zip(lines, claims, strict=True)]
        guards += [self._guard(unit) for unit in puts]
        result = await self._etcd.txn(
            guards, [self._put(lease, *item) for item in puts.items()], [Op.get(k) for k in lines]
        )
        if result.succeeded:
            self._note(puts, result.revision)
            _answer(claims, lease if lease == self._lease else 0)  # it may have been lost on the way
            return
        found = [kvs[0].mod_revision if kvs else 0 for kvs in result.gets]
        moved = [each for each, revision in zip(claims, found, strict=True) if revision != each.desired.revision]
        _answer(moved, 0)
        self._unsure = not moved  # then it was our own key that is not as we know it

    async def _write_states(self, lease: int, units: list[str], events: list[Event]) -> None:
        wanted = {unit: self._compose(unit) for unit in units}
        values = {unit: _encoded(state) if state else None for unit, state in wanted.items()}
        changed = {
            unit: value
            for unit, value in values.items()
            if value != (known.value if (known := self._known.get(unit)) else None)
            and (value is not None or wanted[unit] is None)
        }
        for unit in units:
            self._dirty.pop(unit, None)
        try:
            await self._commit(lease, changed, events)
        except BaseException:
            self._dirty.update(dict.fromkeys(units, 0.0))
            raise
        for unit in units:
            if unit not in self._known and (future := self._forgets.pop(unit, None)):
                future.set_result(None)

    async def _commit(self, lease: int, changed: dict[str, bytes | None], events: list[Event]) -> None:
        ops = [self._put(lease, unit, value) for unit, value in changed.items()]
        told = {each.id: _encoded(each) for each in events}
        puts = ((self._keys.event(self._writer, each), value) for each, value in told.items())
        ops += [Op.put(key, value) for key, value in puts if value is not None]
        if not ops:
            self._events = [each for each in self._events if told.get(each.id, b"") is not None]
            return
        result = await self._etcd.txn([self._guard(unit) for unit in changed], ops)
        if result.succeeded:
            self._note(changed, result.revision)
            self._events = [each for each in self._events if each not in events]
        else:
            self._unsure = True
            self._dirty.update(dict.fromkeys(changed, 0.0))

    def _put(self, lease: int, unit: str, value: bytes | None) -> Op:
        key = self._keys.state(self._machine, unit)
        return Op.delete(key) if value is None else Op.put(key, value, lease)

    def _guard(self, unit: str) -> Compare:
        known = self._known.get(unit)
        return Compare.mod(self._keys.state(self._machine, unit), known.revision if known else 0)

    def _note(self, written: dict[str, bytes] | dict[str, bytes | None], revision: int) -> None:
        for unit, value in written.items():
            if value is None:
                self._known.pop(unit, None)
            else:
                self._known[unit] = _Known(revision, value)
            self._history.act(revision, self._keys.state(self._machine, unit), exists=value is not None)


def _encoded(record: UnitState | Event) -> bytes | None:
    """The record's value; None, and an error in the log, for one that nobody could read: the others are written."""
    try:
        return encode(record)
    except InvalidRecord as error:
        log.error("%s", error)  # noqa: TRY400 - the reason says it all
        return None


def _answer(claims: list[_Claim], lease: int) -> None:
    """Tell that claims were granted under this lease; 0: they were not."""
    for claim in claims:
        if lease:
            claim.on_granted(lease)
        if not claim.granted.done():
            claim.granted.set_result(bool(lease))
