"""Faults that the fleet once had, or could have, to be put back: the simulation has to find each of them.

Each replaces a few lines of a program in this process, and takes away the second line of defence that was built
behind it since, where there is one.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import agentd.health
import placement.rollout
import scheduler.commit
import scheduler.rollouts
import scheduler.service
from agentd.ledger import Ledger
from agentd.machine_lease import MachineLease
from agentd.managed_unit import ManagedUnit
from agentd.provisions import Provisions
from agentd.pure.entry import Phase
from agentd.pure.plan import Task
from agentd.quadlets import Quadlets
from agentd.reconciler import Reconciler
from agentd.registration import Registration
from agentd.schedule import Schedule
from agentd.stopper import Stopper
from agentd.systemd_connection import SystemdConnection
from agentd.task_runner import TaskRunner
from agentd.unit_directory import UnitDirectory
from placement.candidate_pools import CandidatePools
from placement.cluster_state import ClusterState
from placement.decide import decide_around
from placement.decisions import Decision, Withdraw
from placement.placement import Placement
from placement.rollout import Advance, StepState, WellSince
from registry.errors import Conflict
from registry.etcd import Compare, Etcd, Op
from registry.keys import Address, Keys, Table
from registry.mirror import Mirror, Snapshot
from registry.model import Rollout, RolloutState, UnitState
from registry.records import encode
from registry.sync.follow import ConnectionState, Follower
from registry.sync.sentinel import ensure_cluster
from registry.units.pins import VersionPin
from scheduler.election import Lead
from scheduler.rollouts import RolloutWatch
from scheduler.service import Scheduler
from tests.simulation.store import decoded


def _replaced(owner: Any, name: str, value: Any) -> None:
    getattr(owner, name)  # what is replaced has to be there
    setattr(owner, name, value)


def verify_race() -> None:
    """Registration.verify writes under the lease that it finds after its question, which may be none by then."""

    async def verify(self: Registration) -> None:
        if not self.lease.id or self.machine.leaving:
            return
        found = await self._etcd.get(self._key)
        guard = Compare.absent(self._key) if found is None else Compare.mod(self._key, found.mod_revision)
        right = found is not None and (found.lease, found.value) == (self.lease.id, encode(self.machine))
        if found is None or (not right and self._is_ours(found)):
            await self._etcd.txn([guard], [self._put_machine(self.lease.id)])

    _replaced(Registration, "verify", verify)
    _replaced(Etcd, "_check_leases", lambda _self, _ops: None)


def state_for_a_claim() -> None:
    """A state that an interrupted join has put is taken for a claim (ADR 16)."""

    def lease_held(self: Reconciler, lease: int, kept: Iterable[str]) -> None:
        for name in kept:
            if unit := self.table.units.get(name):
                unit.lease = lease
        self.table.mark_all_dirty()

    _replaced(Reconciler, "lease_held", lease_held)


def sleeping_leader() -> None:
    """The leader is not woken by what it wrote itself and does not follow: an event."""
    _replaced(Follower, "want", lambda _self, _revision: None)


def forged_stop() -> None:
    """Whoever says that a job is done is believed."""

    async def stop(self: Stopper, unit: ManagedUnit) -> None:
        if unit.entry is not None and self.may_live(unit):
            entry = unit.entry
            self._records.note(unit, replace(entry, phase=Phase.STOPPING))
            job = await self._systemd.stop(unit.name)
            if job is None or await job == "done" or await self._is_down(unit):
                self._records.note(unit, replace(entry, phase=Phase.LOADED))

    handle = SystemdConnection._handle

    def believe(self: SystemdConnection, message: Any) -> None:
        (SystemdConnection._systemd_signal if message.member == "JobRemoved" else handle)(self, message)

    _replaced(Stopper, "stop", stop)
    _replaced(SystemdConnection, "_handle", believe)


def lost_ledger() -> None:
    """The ledger's entries are not found again by a restarted agent."""
    _replaced(Ledger, "_read_entries", lambda _self, _found: None)


def missing_fence() -> None:
    """The leader's transactions do not compare the leader's key, nor the lines that only leaders write."""

    async def write(etcd: Etcd, keys: Keys, _term: int, batch: scheduler.commit.Intent) -> int:
        lines = tuple(keys.table(table).encode() for table in (Table.SCHEDULE, Table.PENDING))
        guards = [each for each in batch.guards if not decoded(each.body["key"]).startswith(lines)]
        result = await etcd.txn(guards, batch.ops)
        if not result.succeeded:
            raise Conflict("the registry changed while the scheduler was deciding; it decides again")
        return result.revision

    _replaced(scheduler.commit, "write", write)
    _replaced(scheduler.service, "write", write)


def early_placement() -> None:
    """A unit is placed while another machine still has a state of it."""
    _replaced(Placement, "_elsewhere", lambda _self, _entry, _machine: ())

    class Blind(Compare):
        @classmethod
        def absent(cls, key: str) -> Compare:
            return Compare({**Op.get("/nothing").body, **NEVER}) if "/states/" in key else Compare.absent(key)

    _replaced(scheduler.commit, "Compare", Blind)


def writes_of_another_history() -> None:
    """A leader whose lease outlives a restore waits for the revisions that it once wrote at."""

    def may_decide(self: Scheduler, follower: Follower, lead: Lead) -> bool:
        own = max(lead.term, self._written)
        if follower.revision < own:
            follower.want(own)
        live = follower.link is ConnectionState.LIVE and follower.revision >= own
        return live and not self._held(follower)

    _replaced(Scheduler, "_may_decide", may_decide)


def start_before_the_look() -> None:
    """A renewal counts before anybody has looked whether the history went back."""

    async def renew(self: MachineLease, lease: int) -> None:
        sent = time.monotonic()
        await self._etcd.lease_keepalive(lease)
        self._renewed(sent)

    _replaced(MachineLease, "renew", renew)


def empty_is_an_order() -> None:
    """An agent takes whatever registry it finds for its own: one that is empty orders nothing."""

    of_others = Follower._check_sentinel

    async def check_cluster(self: Registration) -> None:
        await ensure_cluster(self._etcd, self._keys, "0" * 32)

    async def check_sentinel(self: Follower, revision: int) -> None:
        if not self._pinned:
            await of_others(self, revision)

    _replaced(Registration, "_check_cluster", check_cluster)
    _replaced(Follower, "_check_sentinel", check_sentinel)


def corrupt_is_gone() -> None:
    """A schedule line that does not parse counts as one that is not there."""
    hand_on = Schedule._hand_on

    def gone(self: Schedule, follower: Follower, address: Address) -> None:
        if follower.mirror.row(Table.SCHEDULE, address) is None:
            self._desired_states.set_desired(address.second, None)
        else:
            hand_on(self, follower, address)

    _replaced(Schedule, "_hand_on", gone)


def balance() -> None:
    """The leader takes a unit off the machine that has most when another one has far fewer."""
    decide = decide_around

    def decide_and_balance(state: ClusterState, again: Any) -> tuple[Decision, ...]:
        found = decide(state, again)
        entries = [each for each in state.entries.values() if each.placeable and not each.options.is_global]
        there = {site: [each.name for each in entries if each.assigned == {site}] for site in sorted(state.sites)}
        most = max(there, key=lambda site: len(there[site]), default="")
        if not found or len(there[most]) < 4 + min(map(len, there.values())):
            return found
        taken = {each.unit for each in found}
        return (
            *found,
            *(Withdraw(each, most, "another has fewer") for each in there[most][:1] if each not in taken),
        )

    _replaced(scheduler.service, "decide_around", decide_and_balance)


def unexplained_failure() -> None:
    """States do not say why a unit failed."""
    state = ManagedUnit.state

    def silent(self: ManagedUnit, machine: str) -> UnitState | None:
        found = state(self, machine)
        return replace(found, error="", cause="", skipped="", waits=(), exit_code=0) if found else None

    _replaced(ManagedUnit, "state", silent)


def one_at_a_time() -> None:
    """An agent carries out one task at a time: a unit that hangs holds up all others."""
    carry_out = TaskRunner.carry_out

    async def in_turn(self: TaskRunner, unit: ManagedUnit, task: Task) -> None:
        lock = vars(self).setdefault("turn", asyncio.Lock())
        async with lock:
            await carry_out(self, unit, task)

    _replaced(TaskRunner, "carry_out", in_turn)


def first_come() -> None:
    """A unit goes to the first machine that takes it, in the order in which their records were read."""

    def first(self: CandidatePools, pool: Any, blocked: Any) -> str | None:
        fits = (each for each in self.sites if each in pool.fits and each not in blocked)
        return next((each for each in fits if self.sites[each].open), None)

    _replaced(CandidatePools, "first", first)


def one_too_many() -> None:
    """A rollout takes one more than it may at a time."""
    choose = placement.rollout._choose

    def more(rollout: Rollout, groups: Any) -> Any:
        return choose(replace(rollout, at_a_time=rollout.at_a_time + 1), groups)

    _replaced(placement.rollout, "_choose", more)


def past_failures() -> None:
    """A rollout goes on whatever has failed."""
    _replaced(placement.rollout, "_stopped", lambda _rollout, _groups: None)


def deaf_to_pauses() -> None:
    """The leader works a rollout off that is paused."""
    look = RolloutWatch.look

    class Deaf:
        def __init__(self, mirror: Mirror) -> None:
            self.mirror = mirror

        def __getattr__(self, name: str) -> Any:
            return getattr(self.mirror, name)

        def snapshot(self) -> Snapshot:
            found = self.mirror.snapshot()
            running, paused = RolloutState.RUNNING, RolloutState.PAUSED
            heard = {
                name: replace(each, state=running) if each.state is paused else each
                for name, each in found.rollouts.items()
            }
            return replace(found, rollouts=heard)

    def look_at_all(self: RolloutWatch, mirror: Any, *rest: Any) -> Any:
        return look(self, Deaf(mirror), *rest)  # type: ignore[arg-type]  # it is asked the same

    _replaced(RolloutWatch, "look", look_at_all)


def unguarded_rollout() -> None:
    """What the leader writes for a rollout does not compare its record: who pauses may lose."""
    intent = RolloutWatch._intent

    def unguarded(self: RolloutWatch, mirror: Mirror, rollout: Rollout, *rest: Any) -> Any:
        found = intent(self, mirror, rollout, *rest)
        del found.guards[0]
        return found

    _replaced(RolloutWatch, "_intent", unguarded)


def forgetful_leader() -> None:
    """A new leader takes for settled what another one has given its turn."""
    intent, survey = RolloutWatch._intent, placement.rollout.survey

    def noting(self: RolloutWatch, mirror: Mirror, rollout: Rollout, result: Advance, *rest: Any) -> Any:
        vars(self._well).setdefault("own", set()).update(each.step.unit for each in result.given)
        return intent(self, mirror, rollout, result, *rest)

    def forgetting(rollout: Rollout, snapshot: Snapshot, where: Any, well: WellSince, now: float) -> Any:
        under_way, settled = StepState.UNDER_WAY, StepState.SETTLED
        own = vars(well).setdefault("own", set())
        return tuple(
            replace(each, state=settled) if each.state is under_way and each.step.unit not in own else each
            for each in survey(rollout, snapshot, where, well, now)
        )

    _replaced(RolloutWatch, "_intent", noting)
    _replaced(scheduler.rollouts, "survey", forgetting)


def any_answer_is_well() -> None:
    """A unit that answers at all passes its health check."""

    async def status(*_rest: Any) -> str:
        return ""

    _replaced(agentd.health, "_status", status)


def any_version() -> None:
    """A machine that has a config or a secret in one version takes no other."""
    provide, holds = Provisions.provide, Provisions.holds

    def lacking(self: Provisions, pins: tuple[VersionPin, ...]) -> tuple[VersionPin, ...]:
        return tuple(each for each in pins if not self._path(each).parent.exists())

    async def provide_some(self: Provisions, unit: str, pins: tuple[VersionPin, ...]) -> None:
        await provide(self, unit, lacking(self, pins))

    _replaced(Provisions, "provide", provide_some)
    _replaced(Provisions, "holds", lambda self, pins: holds(self, lacking(self, pins)))


def old_beside() -> None:
    """What lies beside a Quadlet already stays as it is, whatever version its line names."""
    arrange = Quadlets.arrange

    async def arrange_new_ones(self: Quadlets, texts: Mapping[str, str], own: str = "") -> bool:
        lying = UnitDirectory(self._beside).units()
        return await arrange(self, {name: text for name, text in texts.items() if name not in lying}, own)

    _replaced(Quadlets, "arrange", arrange_new_ones)


def left_beside() -> None:
    """What nothing needs beside it any more is not taken away."""

    async def leave(*_: Any) -> None:
        """As it is."""

    _replaced(Quadlets, "_remove", leave)


NEVER = {"target": "CREATE", "result": "EQUAL", "create_revision": "0"}
MUTANTS: dict[str, Callable[[], None]] = {
    "verify-race": verify_race,
    "state-for-a-claim": state_for_a_claim,
    "sleeping-leader": sleeping_leader,
    "forged-stop": forged_stop,
    "lost-ledger": lost_ledger,
    "missing-fence": missing_fence,
    "early-placement": early_placement,
    "writes-of-another-history": writes_of_another_history,
    "start-before-the-look": start_before_the_look,
    "empty-is-an-order": empty_is_an_order,
    "corrupt-is-gone": corrupt_is_gone,
    "balance": balance,
    "unexplained-failure": unexplained_failure,
    "one-at-a-time": one_at_a_time,
    "first-come": first_come,
    "one-too-many": one_too_many,
    "past-failures": past_failures,
    "deaf-to-pauses": deaf_to_pauses,
    "unguarded-rollout": unguarded_rollout,
    "forgetful-leader": forgetful_leader,
    "any-answer-is-well": any_answer_is_well,
    "any-version": any_version,
    "old-beside": old_beside,
    "left-beside": left_beside,
}


def put_back(name: str | None) -> None:
    """Put one fault back, in this process."""
    if name:
        MUTANTS[name]()
