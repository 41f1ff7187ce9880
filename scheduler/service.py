"""The scheduler's program: follow the registry, lead if nobody else does, decide, commit.

Owns the one loop and when a decision may be made: the registry is live and a fleet's, our term has begun before
what the mirror shows, and all that we wrote ourselves is in it. Events wake the loop, a slow tick backs them up. A
write that may or may not have happened ends the term: the next one fences it off.

The mirror stands still from the first look at a change until the decision is made, so that what guards a write is
what was decided on. A large decision is made beside the event loop, which renews the leadership meanwhile. The
scheduler keeps nothing that a registry could contradict: whatever cluster it finds is the one that it serves.
"""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable

from placement.cluster_state import ClusterState, Faults
from placement.decide import decide_around
from placement.decisions import summary_of
from registry.errors import Conflict, ForeignRegistry, LeadershipLost, RegistryError
from registry.etcd import Compare, Etcd, Op
from registry.etcd.health import keep_watch
from registry.grammar import host_of, writer_of
from registry.keys import Address, Keys, Table
from registry.messages import DECIDED, MACHINE_LOST
from registry.model import Leader
from registry.program.config import Settings
from registry.program.measures import REGISTRY_HELD, Sample
from registry.program.metrics import certificate_samples, common_samples, serve
from registry.records import event_entry
from registry.sync.follow import ConnectionState, Follower, FollowUpdate
from registry.sync.history import REMEDY, History
from registry.sync.sentinel import ensure_cluster, read_cluster
from scheduler.collect import COLLECT_FIRST_S, GarbageCollector
from scheduler.commit import Audit, Intent, intents, transactions, write
from scheduler.election import Election, Lead
from scheduler.failures import FailureWatch
from scheduler.fault_log import FaultLog
from scheduler.inbox import LARGE, Inbox
from scheduler.machines import MachineWatch
from scheduler.metrics import Measures
from scheduler.rollouts import RolloutWatch
from scheduler.standby import StandbyFollower
from scheduler.standing import SchedulerStatus, is_well, status_line

log = logging.getLogger("fleet.scheduler")

START_RETRY_S = 1.0
PIECE = 1000  # changes applied at a stretch
WRITERS = 4  # transactions under way at once


class Scheduler:
    """One scheduler process. `run` until cancelled; it resigns on the way out. `say` takes a line of status."""

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
        self._follower = StandbyFollower(etcd, self._keys, self._history)
        self._inbox = Inbox(self._follower)
        self._trouble = ""  # why the registry is not followed yet
        self._tick_s = settings.scheduler.tick
        self._machines = MachineWatch(self._keys, settings.scheduler.lease_ttl, time.monotonic())
        leader = Leader(uuid.uuid4().hex, host_of(hostname), time.time())
        self._election = Election(etcd, self._keys, leader, settings.scheduler.lease_ttl)
        self._audit = Audit(writer_of(self._user, f"scheduler-{hostname}"))
        self._lead: Lead | None = None
        self._backoff = etcd.backoff(START_RETRY_S)
        self._state: ClusterState | None = None
        self._written = 0  # revision of our last write
        self._wrote_in = self._history.epoch  # the history that it was made in
        self._garbage = GarbageCollector(etcd, self._keys)
        self._rollouts = RolloutWatch(self._keys, self._audit)
        self._failures = FailureWatch(self._keys, self._audit)
        self._faults = FaultLog()
        self._listen = settings.metrics.listen
        self._measures = Measures() if self._listen else None
        self._etcd_settings = settings.etcd.client_settings()

    async def run(self) -> None:
        """Work for ever. Outages and denials are waited out."""
        watching = keep_watch(self._etcd.health, self._etcd.ask_quiet, self._show_status)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(watching, name="watch the endpoints")
                if self._measures is not None:
                    self._etcd.health.timed = self._measures.requests.note
                    group.create_task(self._serve(self._measures), name="metrics")
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
                if await read_cluster(self._etcd, self._keys) is None:
                    tables = [self._keys.table(table) for table in (Table.UNITS, Table.SCHEDULE)]
                    if any([(await self._etcd.range(each, keys_only=True)).count for each in tables]):
                        raise ForeignRegistry(
                            f"{self._keys.cluster} is missing, yet the registry holds units: it is damaged; "
                            "restore a backup"
                        )
                    await ensure_cluster(self._etcd, self._keys, uuid.uuid4().hex)
            except RegistryError as error:
                self._trouble = str(error)
                self._show_status()
                if self._backoff.is_news(error):
                    log.warning("%s", error)
                await self._backoff.wait(error)
            else:
                self._backoff.reset()
                self._trouble = ""
                self._show_status()
                return

    def _show_status(self) -> None:
        """Show what we do. Called whenever one of the facts may have changed; the same again costs little."""
        self._say(status_line(self._standing()))

    def _standing(self) -> SchedulerStatus:
        follower, health = self._follower, self._etcd.health
        leader: Leader | None = follower.mirror.row(Table.LEADER, Address(Table.LEADER))
        led = follower.mirror.stamp(self._keys.leader) is not None
        lead = self._lead
        return SchedulerStatus(
            link=ConnectionState.FOREIGN if self._trouble else follower.link,
            reason=self._trouble or follower.reason,
            user=self._user,
            term=lead.term if lead is not None and lead.holds(time.monotonic()) else 0,
            leader=leader.hostname if leader else "" if led else None,
            machines=follower.mirror.count(Table.MACHINES),
            awaited=self._machines.awaited,
            held=f"the registry's history went back; {REMEDY}" if self._held(follower) else "",
            away=health.away,
            denied=health.denied,
            endpoints=health.endpoints,
        )

    async def _serve(self, measures: Measures) -> None:
        """Serve what is measured."""

        async def samples() -> list[Sample]:
            lead = self._lead if self._lead and self._lead.holds(time.monotonic()) else None
            fleet = await measures.fleet(self._follower, lambda: self._state) if lead is not None else []
            certificates = await certificate_samples(self._etcd_settings)
            held = Sample(REGISTRY_HELD, self._held(self._follower))
            common = common_samples("scheduler", self._etcd.health)
            return [*common, *certificates, held, *measures.own(lead), *fleet]

        def healthz() -> tuple[bool, str]:
            standing = self._standing()
            return is_well(standing), status_line(standing)

        await serve("scheduler", self._listen, samples, healthz)

    async def _work(self, follower: Follower, group: asyncio.TaskGroup) -> None:
        while True:
            self._show_status()
            update = await self._inbox.gather(self._wait_s(follower))
            self._show_status()
            try:
                async with follower.still:
                    await self._apply(follower, update)
                    self._machines.update(follower.mirror, update, time.monotonic())
                    self._rollouts.update(update)
                    self._failures.update(update)
                    found = await self._think(follower, group)
                if self._lead is not None and (mark := self._machines.held_mark(follower.mirror)):
                    await self._etcd.txn(mark.guards, mark.ops)
                if self._lead is not None and not self._held(follower):
                    await self._carry_out(found, self._lead)
                    await self._attend(follower, self._lead)
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
        """Stand for the leadership if there is none; decide if we lead.

        Who is let in no longer may still renew a lease, and would lead on without being able to write.
        """
        if self._lead is not None and (
            self._etcd.health.locked_out or self._election.is_over(self._lead, follower)
        ):
            await self._step_down()
        if self._lead is None:
            await self._stand(follower, group)
        if self._lead is None or not self._may_decide(follower, self._lead):
            return []
        if self._state is None or len(self._state.marks.units) > LARGE:
            return await asyncio.to_thread(self._decide, follower)
        return self._decide(follower)

    def _wait_s(self, follower: Follower) -> float:
        """How long to wait for a change: until the tick, or the end of the lease or of what else is waited for."""
        wait_s = self._tick_s
        if self._lead is not None:
            wait_s = min(wait_s, max(self._lead.until - time.monotonic(), 0.0))
            wait_s = min(wait_s, max(min(self._rollouts.due, self._failures.due) - time.monotonic(), 0.05))
            if self._machines.awaited:
                wait_s = min(wait_s, max(self._machines.grace.until - time.monotonic(), 0.05))
        elif follower.link is ConnectionState.LIVE and follower.mirror.stamp(self._keys.leader) is None:
            again_s = self._backoff.until - time.monotonic()
            wait_s = min(wait_s, max(again_s, START_RETRY_S))  # a campaign failed: stand again
        if self._machines.unleased:  # somebody may have to remove a key soon
            wait_s = min(wait_s, START_RETRY_S)
        return wait_s

    async def _apply(self, follower: Follower, update: FollowUpdate) -> None:
        """Apply an update to the state; it is built again when the whole registry was listed again."""
        if update.reset or self._lead is None:
            self._state = None
        if self._state is None:
            return
        if self._measures is not None:
            self._measures.changed(update.changed)
        for number, address in enumerate(update.changed, 1):
            record = follower.mirror.row(address.table, address)
            exists = follower.mirror.stamp(self._keys.at(address)) is not None
            try:
                self._state.apply(address, record, exists=exists)
            except Exception as error:  # noqa: BLE001 - no record ends a scheduler: it begins from scratch
                self._faults.note(self._keys.at(address), error)
                self._state = None
                return
            if number % PIECE == 0:
                await asyncio.sleep(0)

    async def _stand(self, follower: Follower, group: asyncio.TaskGroup) -> None:
        if follower.link is not ConnectionState.LIVE:
            return
        if (stamp := follower.mirror.stamp(self._keys.leader)) is not None:
            if (self._keys.leader, stamp.mod_revision) in self._machines.unleased.overdue(time.monotonic()):
                await self._election.depose(stamp.mod_revision)
            return
        if time.monotonic() < self._backoff.until:
            return
        self._lead = await self._election.campaign()
        if self._lead is not None:
            self._follower.leading.set()
            self._written = (
                0  # in another registry revisions may be lower; our term's own fences off what was before
            )
            self._garbage.at = time.monotonic() + COLLECT_FIRST_S
            self._rollouts.begin_term()
            self._failures.begin_term()
            group.create_task(self._election.keep(self._lead), name=f"keep term {self._lead.term}")

    async def _step_down(self) -> None:
        lead, self._lead, self._state = self._lead, None, None
        self._follower.leading.clear()
        if lead is not None:
            await self._election.resign(lead)

    def _may_decide(self, follower: Follower, lead: Lead) -> bool:
        """Whether the registry is live and shows all that we wrote; if not yet, we are woken when it does.

        An event that we wrote changes nothing that is followed, and would wake nobody.
        """
        if self._held(follower):
            return False
        written = self._written if self._wrote_in == self._history.epoch else 0  # lower again once restored
        own = max(lead.term, written)
        if follower.revision < own:
            follower.want(own)
        return follower.link is ConnectionState.LIVE and follower.revision >= own

    def _held(self, follower: Follower) -> bool:
        """Whether the history went back, by what we know, by the sentinel's mark or by what a machine says."""
        sentinel = follower.mirror.row(Table.CLUSTER, Address(Table.CLUSTER))
        return bool(self._history.held or self._machines.holding or (sentinel and sentinel.held))

    def _decide(self, follower: Follower) -> list[Intent]:
        """Return what is to be written; the follower must be still. May run beside the event loop.

        An unforeseen error outside of one unit's decision decides nothing, and says so: it ends no
        scheduler, for the next one would end over the same records.
        """
        began = time.monotonic()
        try:
            if self._state is None:
                self._state = self._new_state(follower)
            if self._machines.awaits(self._state.absent, time.monotonic()):
                return []
            decisions = decide_around(self._state, lambda faults: self._new_state(follower, faults))
            faults = self._state.faults
            for name, fault in faults.items():
                self._faults.note(f"unit {name}" if name else "drains", fault)
            if faults:  # the next decision begins from scratch
                self._state = None
            if not decisions:
                return []
            units = {each.unit for each in decisions}
            log.info("%s", summary_of(decisions), extra=DECIDED.of(*units if len(units) == 1 else ()))
            return intents(decisions, self._keys, follower.mirror.mod_revision, self._audit)
        except RegistryError:
            raise
        except Exception as error:  # noqa: BLE001 - see above
            self._faults.note("the whole decision", error)
            self._state = None
            return []
        finally:
            if self._measures is not None:
                self._measures.decisions.observe(time.monotonic() - began)

    def _new_state(self, follower: Follower, faults: Faults | None = None) -> ClusterState:
        self._state = ClusterState.from_snapshot(follower.mirror.snapshot(), self._keys, faults)
        return self._state

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

    async def _write(self, lead: Lead, batch: Intent) -> None:
        if not lead.holds(time.monotonic()):
            raise LeadershipLost("the lease of the leadership could not be renewed in time; nothing was written")
        epoch = self._history.epoch
        revision = await write(self._etcd, self._keys, lead.term, batch)
        self._written = max(self._written, revision) if epoch == self._wrote_in else revision
        self._wrote_in = epoch
        if self._measures is not None:
            self._measures.written.update(batch.kinds)
        newest = batch.ops[-1]
        self._history.act(revision, newest.key, exists=newest.kind == "request_put")

    async def _attend(self, follower: Follower, lead: Lead) -> None:
        """Do what else a leader does: rollouts, lost machines, keys that belong to nobody, garbage."""
        now = time.monotonic()
        for watch in (self._rollouts, self._failures):
            if self._state is not None and watch.wants_look(now) and self._may_decide(follower, lead):
                for each in watch.look(follower.mirror, self._state, now, time.time()):
                    await self._write(lead, each)
        for machine in self._machines.take_lost(time.monotonic()):
            log.warning("machine %s is lost: its lease ended", machine, extra=MACHINE_LOST.of())
            event = self._audit.event("lost", machine=machine, reason="its lease ended")
            intent = Intent([Compare.absent(self._keys.machine(machine))])  # it may be back by now
            intent.put(*event_entry(self._keys, event))
            await self._write(lead, intent)
        unleased = self._machines.unleased
        for key, revision in unleased.overdue(time.monotonic()) if unleased else ():
            log.warning("removing %s: it has no lease, and nobody took it over", key)
            guards = [Compare.mod(key, revision), Compare.lease(key, 0)]
            await self._write(lead, Intent(guards, [Op.delete(key)]))
            self._garbage.at = 0.0  # what lies below it
        if time.monotonic() >= self._garbage.at and self._may_decide(follower, lead):
            batch = await self._garbage.look(follower.mirror, time.monotonic(), time.time())
            if batch:  # a restored backup may need what nothing needed
                await self._history.check(self._etcd)
            for transaction in transactions(batch):
                await self._write(lead, transaction)
            if batch:
                log.info("deleted %d records that nothing needs any more", len(batch))
