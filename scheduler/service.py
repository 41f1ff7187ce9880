"""The scheduler's program: follow the registry, lead if nobody else does, decide, commit.

Owns the one loop and when a decision may be made: the registry is live and a fleet's, our term has begun before
what the mirror shows, and all that we wrote ourselves is in it. Events wake the loop, a slow tick backs them up. A
write of which nobody knows whether it happened ends the term: the next one fences it off.

The mirror stands still from the first look at a change until the decision is made, so that what guards a write is
what was decided on. A large decision is made beside the event loop, which renews the leadership meanwhile. The
scheduler keeps nothing that a registry could contradict: whatever cluster it finds is the one that it serves.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence

from placement.cluster_state import ClusterState, Faults
from placement.decide import decide_around
from placement.decisions import Decision
from registry.errors import Conflict, ForeignRegistry, LeadershipLost, RegistryError
from registry.etcd import MAX_OPS, Compare, Etcd, Op
from registry.etcd.health import EtcdTrouble, endpoints_told, keep_watch
from registry.grammar import host_of
from registry.keys import Address, Keys, Table
from registry.leases import TTL_S, Unleased, grace_s, leader_grace_s
from registry.model import Leader, Machine
from registry.program.config import Settings
from registry.records import encode
from registry.sync.follow import ConnectionState, Follower, FollowUpdate
from registry.sync.history import REMEDY, History
from registry.sync.sentinel import ensure_cluster, read_cluster
from scheduler.absence import Absence, Membership, OutageGrace
from scheduler.collect import garbage, ghost_usage, old_events
from scheduler.commit import Audit, Intent, StampOf, intents, transactions, write
from scheduler.election import Election, Lead
from scheduler.standing import SchedulerStatus, status_line

log = logging.getLogger("fleet.scheduler")

START_RETRY_S = 1.0
COLLECT_EVERY_S = 600.0
TELL_S = 20.0  # longer than a leader's lease: how old a loss may be that a new leader still tells of
COLLECT_FIRST_S = 30.0
LARGE = 500  # cases to look at from which on deciding would hold up the loop: about 20 ms
PIECE = 1000  # changes folded at a stretch
MANY = 64  # changes in one turn that make it bulk work
WRITERS = 4  # transactions under way at once
PAUSE_S = (0.05, 0.25)  # bulk work waits until no order has come for so long; the longer one while it is large,
GATHER_S = 2.0  # and never longer than this
ORDERS = frozenset({Table.UNITS, Table.MACHINES})
WATCHED_LEASES = (Table.MACHINES, Table.DUPLICATES, Table.LEADER)


class Scheduler:
    """One scheduler process. `run` until cancelled; it resigns on the way out. `say` is told what it does."""

    def __init__(
        self,
        etcd: Etcd,
        settings: Settings,
        hostname: str,
        say: Callable[[str], None] = lambda _: None,
        history: History | None = None,
    ) -> None:
        self._etcd = etcd
        self._say = say
        self._user = settings.etcd.username
        self._keys = Keys.under(settings.etcd.prefix)
        self._history = history or History(self._keys, pinned=False)
        self._follower = Follower(etcd, self._keys, pinned=False, history=self._history)
        self._trouble = ""  # why the registry is not followed yet
        self._down: Mapping[str, EtcdTrouble] = {}  # endpoints of etcd
        self._holding: set[str] = set()  # machines that say that the registry's history went back
        self._tick_s, self._lease_ttl_s = settings.scheduler.tick, settings.scheduler.lease_ttl
        leader = Leader(uuid.uuid4().hex, host_of(hostname), time.time())
        self._election = Election(etcd, self._keys, leader, settings.scheduler.lease_ttl)
        self._audit = Audit(hostname, _event_stamp)
        self._lead: Lead | None = None
        self._backoff = etcd.backoff(START_RETRY_S)
        self._state: ClusterState | None = None
        self._written = 0  # revision of our last write
        self._absence = Absence()
        self._collect_at = 0.0
        self._faults: dict[str, str] = {}  # units whose decision failed, and how
        self._grace = OutageGrace(time.monotonic())
        self._awaits = False
        self._bulk = 0  # turns of bulk work in a row
        self._membership = Membership()
        self._vanished: dict[str, float] = {}  # machines whose loss is not told of yet, and when they went
        self._unleased = Unleased()

    async def run(self) -> None:
        """Work for ever. Outages and denials are waited out."""
        watching = keep_watch(self._etcd.health, self._etcd.ask_quiet, self._endpoints_changed)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(watching, name="watch the endpoints")
                await self._await_cluster()
                group.create_task(self._follower.run(), name="follow the registry")
                group.create_task(self._work(self._follower, group), name="elect and decide")
        finally:
            if self._lead is not None:
                await self._election.resign(self._lead)

    async def _await_cluster(self) -> None:
        """Wait for a registry that is a fleet's, creating the sentinel in one that is empty."""
        while True:
            try:
                await self._ensure_cluster()
            except RegistryError as error:
                self._trouble = str(error)
                self._tell()
                await self._rest(error)
            else:
                self._backoff.reset()
                self._trouble = ""
                self._tell()
                return

    async def _rest(self, error: RegistryError) -> None:
        """Log a failure if it is news, and wait."""
        if self._backoff.is_news(error):
            log.warning("%s", error)
        await self._backoff.wait(error)

    def _endpoints_changed(self, down: Mapping[str, EtcdTrouble]) -> None:
        self._down = down
        self._tell()

    def _tell(self) -> None:
        """Say what we do. Called whenever one of the facts may have changed; the same again costs little."""
        follower, health = self._follower, self._etcd.health
        leader: Leader | None = follower.mirror.row(Table.LEADER, Address(Table.LEADER))
        led = follower.mirror.stamp(self._keys.leader) is not None
        lead = self._lead
        standing = SchedulerStatus(
            link=ConnectionState.FOREIGN if self._trouble else follower.link,
            reason=self._trouble or follower.reason,
            user=self._user,
            term=lead.term if lead is not None and lead.holds(time.monotonic()) else 0,
            leader=leader.hostname if leader else "" if led else None,
            machines=follower.mirror.count(Table.MACHINES),
            awaited=self._awaits,
            held=f"the registry's history went back; {REMEDY}" if self._held(follower) else "",
            away=health.away,
            denied=health.denied,
            endpoints="" if health.away else endpoints_told(health.bases, self._down),
        )
        self._say(status_line(standing))

    async def _ensure_cluster(self) -> None:
        if await read_cluster(self._etcd, self._keys) is not None:
            return
        found = await self._etcd.range(self._keys.table(Table.UNITS), keys_only=True)
        found_lines = await self._etcd.range(self._keys.table(Table.SCHEDULE), keys_only=True)
        if found.count or found_lines.count:
            raise ForeignRegistry(
                f"{self._keys.cluster} is missing, yet the registry holds units: it is damaged; restore a backup"
            )
        await ensure_cluster(self._etcd, self._keys, uuid.uuid4().hex)

    async def _work(self, follower: Follower, group: asyncio.TaskGroup) -> None:
        while True:
            self._tell()
            update = await self._gather(follower)
            self._tell()
            try:
                async with follower.still:
                    await self._fold(follower, update)
                    self._judge(follower, update)
                    found = await self._think(follower, group)
                if self._lead is not None and not self._held(follower):
                    await self._carry_out(found, self._lead)
                    await self._tell_lost(self._lead)
                    await self._remove_unleased(self._lead)
                    await self._collect(follower, self._lead)
                    if found:  # a term alone proves no right to write
                        self._backoff.reset()
                    self._history.save()
            except Conflict as error:
                log.info("%s", error)
            except RegistryError as error:
                if self._backoff.is_news(error):
                    log.warning("%s", error)
                self._backoff.pause(error)
                await self._step_down()

    async def _think(self, follower: Follower, group: asyncio.TaskGroup) -> list[Intent]:
        """Stand for the leadership if there is none; decide if we lead."""
        if self._lead is not None and self._is_deposed(follower, self._lead):
            await self._step_down()
        if self._lead is None:
            await self._stand(follower, group)
        if self._lead is None or not self._may_decide(follower, self._lead):
            return []
        if self._state is None or len(self._state.marked) > LARGE:
            return await asyncio.to_thread(self._decide, follower)
        return self._decide(follower)

    async def _gather(self, follower: Follower) -> FollowUpdate:
        """The next change; of bulk work all orders that come without a pause, and what comes along with them.

        One command of an operator is many transactions. Decided on together, the lines for one machine are written
        together, and its agent is woken once. The first of them is decided on at once. What agents answer to
        our own lines is no order: nobody gains by waiting for more of it.
        """
        update = await self._next(follower)
        self._bulk = self._bulk + 1 if len(update.changed) >= MANY else 0
        began = newest = time.monotonic()
        orders = _orders(update)
        while self._bulk > 1:
            pause_s = PAUSE_S[orders >= LARGE]
            try:
                async with asyncio.timeout(min(began + GATHER_S, newest + pause_s) - time.monotonic()):
                    more = await follower.next()
            except TimeoutError:
                break
            if fresh := _orders(more):
                orders, newest = orders + fresh, time.monotonic()
            changed = tuple(dict.fromkeys((*update.changed, *more.changed)))
            update = FollowUpdate(changed, update.reset or more.reset, more.link, more.reason)
        return update

    async def _next(self, follower: Follower) -> FollowUpdate:
        """The next change, or an empty one when the tick or the lease ends first."""
        wait_s = self._tick_s
        if self._lead is not None:
            wait_s = min(wait_s, max(self._lead.until - time.monotonic(), 0.0))
            if self._awaits:
                wait_s = min(wait_s, max(self._grace.until - time.monotonic(), 0.05))
        elif follower.link is ConnectionState.LIVE and follower.mirror.stamp(self._keys.leader) is None:
            again_s = self._backoff.until - time.monotonic()
            wait_s = min(wait_s, max(again_s, START_RETRY_S))  # a campaign failed: stand again
        if self._unleased:  # somebody may have to remove a key soon
            wait_s = min(wait_s, START_RETRY_S)
        try:
            async with asyncio.timeout(wait_s):
                return await follower.next()
        except TimeoutError:
            return FollowUpdate(link=follower.link)

    async def _fold(self, follower: Follower, update: FollowUpdate) -> None:
        """Keep the state in step; it is built anew when the whole registry was listed again."""
        if update.reset or self._lead is None:
            self._state = None
        if self._state is None:
            return
        for number, address in enumerate(update.changed, 1):
            record = follower.mirror.row(address.table, address)
            exists = follower.mirror.stamp(_key(self._keys, address)) is not None
            try:
                self._state.apply(address, record, exists=exists)
            except Exception as error:  # noqa: BLE001 - no record ends a scheduler: it begins from scratch
                self._tell_error(_key(self._keys, address), error)
                self._state = None
                return
            if number % PIECE == 0:
                await asyncio.sleep(0)

    def _judge(self, follower: Follower, update: FollowUpdate) -> None:
        """Notice what makes the absence of machines doubtful."""
        now = time.monotonic()
        self._grace.link(live=update.link is ConnectionState.LIVE, now=now)
        machines = [each.first for each in update.changed if each.table is Table.MACHINES]
        if update.reset:
            machines = list(follower.mirror.snapshot().machines)
            self._grace.listed(machines, now)
            machines += self._membership.missing(machines)
        self._note_leases(follower, update, now)
        for machine in machines:
            stamp = follower.mirror.stamp(self._keys.machine(machine))
            record = follower.mirror.row(Table.MACHINES, Address(Table.MACHINES, machine))
            created, leaving = stamp.create_revision if stamp else None, bool(record and record.leaving)
            self._grace.machine(machine, created, leaving=leaving, now=now)
            self._vanished.pop(machine, None)
            self._holding.discard(machine)
            if isinstance(record, Machine) and record.held:
                self._holding.add(machine)
            if self._membership.update(machine, present=stamp is not None, leaving=leaving):
                self._vanished[machine] = now

    def _note_leases(self, follower: Follower, update: FollowUpdate, now: float) -> None:
        """Notice machines, duplicates and a leader whose keys no lease will ever end.

        What an absent machine has left without a lease is garbage, and collected as such.
        """
        addresses: Iterable[Address] = update.changed
        if update.reset:
            addresses = follower.mirror.addresses(*WATCHED_LEASES)
            self._unleased.keep({_key(self._keys, each) for each in addresses})
        for each in addresses:
            if each.table in WATCHED_LEASES:
                key = _key(self._keys, each)
                record = follower.mirror.row(each.table, each)
                ttl_s = record.ttl_s if isinstance(record, Machine) else TTL_S
                within_s = leader_grace_s(self._lease_ttl_s) if each.table is Table.LEADER else grace_s(ttl_s)
                self._unleased.update(key, follower.mirror.stamp(key), now, within_s)

    async def _remove_unleased(self, lead: Lead) -> None:
        """Delete keys that belong to nobody: their owner would have put them back under its lease long since."""
        for key, revision in self._unleased.overdue(time.monotonic()) if self._unleased else ():
            log.warning("removing %s: it has no lease, and nobody took it over", key)
            guards = [Compare.mod(key, revision), Compare.lease(key, 0)]
            await self._write(lead, Intent(guards, [Op.delete(key)]))
            self._collect_at = 0.0  # what lies below it

    def _is_deposed(self, follower: Follower, lead: Lead) -> bool:
        """Whether the term has ended: by our clock, or because the leader key says so."""
        if not lead.holds(time.monotonic()):
            return True
        if follower.revision < lead.term:
            return False
        stamp = follower.mirror.stamp(self._keys.leader)
        if stamp is None or (stamp.create_revision, stamp.lease) != (lead.term, lead.lease):
            return True
        return follower.mirror.row(Table.LEADER, Address(Table.LEADER)) is None  # garbled: nobody sees who leads

    async def _stand(self, follower: Follower, group: asyncio.TaskGroup) -> None:
        if follower.link is not ConnectionState.LIVE:
            return
        if (stamp := follower.mirror.stamp(self._keys.leader)) is not None:
            if (self._keys.leader, stamp.mod_revision) in self._unleased.overdue(time.monotonic()):
                await self._election.depose(stamp.mod_revision)
            return
        if time.monotonic() < self._backoff.until:
            return
        self._lead = await self._election.campaign()
        if self._lead is not None:
            self._written = (
                0  # in another registry revisions may be lower; our term's own fences off what was before
            )
            self._collect_at = time.monotonic() + COLLECT_FIRST_S
            group.create_task(self._election.keep(self._lead), name=f"keep term {self._lead.term}")

    async def _step_down(self) -> None:
        lead, self._lead, self._state = self._lead, None, None
        if lead is not None:
            await self._election.resign(lead)

    def _may_decide(self, follower: Follower, lead: Lead) -> bool:
        """Whether the registry is live and shows all that we wrote; if not yet, we are woken when it does.

        An event that we wrote changes nothing that is followed, and would wake nobody.
        """
        if self._held(follower):
            return False
        own = max(lead.term, self._written)
        if follower.revision < own:
            follower.want(own)
        return follower.link is ConnectionState.LIVE and follower.revision >= own

    def _held(self, follower: Follower) -> bool:
        """Whether the history went back, by what we know, by the sentinel's mark or by what a machine says."""
        sentinel = follower.mirror.row(Table.CLUSTER, Address(Table.CLUSTER))
        return bool(self._history.held or self._holding or (sentinel and sentinel.held))

    def _decide(self, follower: Follower) -> list[Intent]:
        """What is to be written; the follower must be still. May run beside the event loop.

        An error that nobody foresaw outside of one unit's decision decides nothing, and says so: it ends no
        scheduler, for the next one would end over the same records.
        """
        try:
            return self._decide_now(follower)
        except RegistryError:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            self._tell_error("the whole decision", error)
            self._state = None
            return []

    def _decide_now(self, follower: Follower) -> list[Intent]:
        if self._state is None:
            self._state = self._new_board(follower)
        if self._awaits_machines(self._state):
            return []
        decisions = decide_around(self._state, lambda faults: self._new_board(follower, faults))
        self._tell_faults()
        if not decisions:
            return []
        log.info("%s", _told(decisions))
        return intents(decisions, self._keys, _mod_revision(follower), self._audit)

    def _new_board(self, follower: Follower, faults: Faults | None = None) -> ClusterState:
        self._state = ClusterState.from_snapshot(follower.mirror.snapshot(), self._keys, faults)
        return self._state

    def _tell_faults(self) -> None:
        """Log errors in decisions, each once; the next decision begins from scratch then."""
        faults = self._state.faults if self._state else {}
        for name, error in faults.items():
            self._tell_error(f"unit {name}" if name else "drains", error)
        if faults:
            self._state = None

    def _tell_error(self, what: str, error: Exception) -> None:
        """Log an error in a decision on something; the same one once."""
        if self._faults.get(what) != str(error):
            log.error("internal error in a decision on %s: %s: %s", what, type(error).__name__, error)
            log.debug("where", exc_info=error)
        self._faults[what] = str(error)

    async def _carry_out(self, found: list[Intent], lead: Lead) -> None:
        """Write all that still holds, several transactions at a time. Raises in the end what went wrong.

        Each transaction stands for itself. A conflict stops none of the others; anything else stops all.
        """
        batches = transactions(found)
        failures: list[RegistryError] = []

        async def write_some() -> None:
            for batch in batches:
                try:
                    await self._write(lead, batch)
                except RegistryError as error:
                    failures.append(error)
                if any(not isinstance(each, Conflict) for each in failures):
                    return

        if found:
            await asyncio.gather(*(write_some() for _ in range(WRITERS)))
        for failure in sorted(failures, key=lambda each: isinstance(each, Conflict)):
            raise failure

    def _awaits_machines(self, state: ClusterState) -> bool:
        """Whether machines with units are absent and may be back any moment."""
        now = time.monotonic()
        absent = state.absent() if now < self._grace.until else []
        waits = self._grace.waits(absent, now)
        if waits and not self._awaits:
            log.warning("the registry was away or hung; giving %d machines time to come back", len(absent))
        self._awaits = waits
        return waits

    async def _write(self, lead: Lead, batch: Intent) -> None:
        if not lead.holds(time.monotonic()):
            raise LeadershipLost("the lease of the leadership could not be renewed in time; nothing was written")
        revision = await write(self._etcd, self._keys, lead.term, batch)
        self._written = max(self._written, revision)
        newest = batch.ops[-1]
        self._history.act(revision, newest.key, exists=newest.kind == "request_put")

    async def _tell_lost(self, lead: Lead) -> None:
        """An event for each machine that vanished, if it is not back by now.

        The leader may have died with the machine: then its successor, who saw it too, tells of it.
        """
        while self._vanished:
            machine, at = self._vanished.popitem()
            if time.monotonic() - at > TELL_S:
                continue  # that was the business of who led then
            event = self._audit.event("lost", machine=machine, reason="its lease ended")
            intent = Intent([Compare.absent(self._keys.machine(machine))])
            intent.put(self._keys.event(event.id), encode(event))
            await self._write(lead, intent)

    async def _collect(self, follower: Follower, lead: Lead) -> None:
        """Delete what no record needs any more, now and then."""
        now = time.monotonic()
        if now < self._collect_at or not self._may_decide(follower, lead):
            return
        self._collect_at = now + COLLECT_EVERY_S
        snapshot = follower.mirror.snapshot()
        found = garbage(snapshot, self._keys, follower.mirror.stamp, self._absence.long_gone(snapshot, now))
        usage = await self._etcd.range(self._keys.table(Table.USAGE), keys_only=True, page=MAX_OPS * 64)
        found += ghost_usage(usage.kvs, snapshot, self._keys)
        batch = [Intent([Compare.mod(each.key, each.mod_revision)], [Op.delete(each.key)]) for each in found]
        batch += [Intent([], [Op.delete(key)]) for key in await self._old_events()]
        for transaction in transactions(batch):
            await self._write(lead, transaction)
        if batch:
            log.info("deleted %d records that nothing needs any more", len(batch))

    async def _old_events(self) -> list[str]:
        prefix = self._keys.table(Table.EVENTS)
        listed = await self._etcd.range(prefix, keys_only=True, page=MAX_OPS * 64)
        ids = (each.key.removeprefix(prefix) for each in listed.kvs)
        return [self._keys.event(each) for each in old_events(ids, time.time())]


def _orders(update: FollowUpdate) -> int:
    """How many of the changes are orders: wishes of an operator, machines that come and go."""
    return sum(each.table in ORDERS for each in update.changed)


def _key(keys: Keys, address: Address) -> str:
    if address.table in (Table.CLUSTER, Table.LEADER):
        return f"{keys.prefix}{address.table}"
    return f"{keys.table(address.table)}{address.first}" + (f"/{address.second}" if address.second else "")


def _mod_revision(follower: Follower) -> StampOf:
    def revision_of(key: str) -> int:
        stamp = follower.mirror.stamp(key)
        return stamp.mod_revision if stamp else 0

    return revision_of


def _event_stamp() -> tuple[float, str]:
    now = time.time()
    return now, f"{int(now * 1000):013d}-{uuid.uuid4().hex[:8]}"


def _told(decisions: Sequence[Decision]) -> str:
    """Decisions as one line for the log."""
    if len(decisions) > 5:
        kinds = sorted({type(each).__name__.lower() for each in decisions})
        return f"{len(decisions)} decisions ({', '.join(kinds)})"
    return "; ".join(_words(each) for each in decisions)


def _words(decision: Decision) -> str:
    verb = type(decision).__name__.lower()
    where = getattr(decision, "machine", "")
    return f"{verb} {decision.unit}" + (f" on {where}" if where else "")
