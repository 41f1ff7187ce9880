"""This machine's place in the registry: its lease, its machine key, and the peace between two with one id.

Owns `machines/<id>`. The lease, the boot and the cluster are remembered, so that a
restarted agent goes on under the same lease and nobody notices. A machine key of another boot is waited for;
when it outlives its own lease somebody is alive behind it, and this machine does nothing but say so.
A registry that is not the remembered cluster's is never joined.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from agentd.earlier_key import EarlierKey
from agentd.ledger import Ledger
from agentd.machine_lease import MachineLease
from registry.errors import (
    Conflict,
    CorruptRecord,
    ForeignRegistry,
    InvalidRecord,
    LeaseLost,
    RegistryDenied,
    RegistryError,
)
from registry.etcd import Compare, Etcd, KeyValue, Op
from registry.keys import Address, Keys, Table
from registry.messages import JOINED, REGISTRY_BACK, REGISTRY_LOST
from registry.model import Event, Machine
from registry.records import decode, encode, event_entry
from registry.sync.history import History
from registry.sync.sentinel import read_cluster

log = logging.getLogger("fleet.agent")

PAUSE_S = 0.5  # between attempts while our lease may still be saved; from there on they grow rarer


class RegisteredAgent(Protocol):
    """Who is registered: the rest of the agent."""

    async def joining(self, lease: int) -> None:
        """Show what runs here under this lease; called before the machine key is created."""

    def joined(self) -> None:
        """The machine key is there."""

    def lost(self) -> None:
        """The lease is gone."""

    def returned(self) -> None:
        """The registry answers again after an outage."""

    def event(self, verb: str, *, unit: str = "", reason: str = "") -> Event:
        """An event of this agent, now."""

    def status_changed(self) -> None:
        """What registering has come to has changed."""


class Registration:
    """Holds the machine's place."""

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        ledger: Ledger,
        machine: Machine,
        member: RegisteredAgent,
        history: History | None = None,
    ) -> None:
        self._history = history or History(keys, ledger.facts.seen, lambda seen: ledger.remember(seen=seen))
        self.machine = replace(machine, held=self._history.held)
        self.lease = MachineLease(etcd, ledger, self._history, machine.ttl_s)
        self._status = "connecting to the registry"
        self._etcd, self._keys, self._ledger, self._member = etcd, keys, ledger, member
        self._backoff = etcd.backoff(PAUSE_S)
        self._shown = False  # that we hold everything, and what runs here
        self._doubtful = False  # somebody was told that our lease is gone, and writes nothing until it is known
        self._nudge = asyncio.Event()  # our key has to be looked at before the next renewal is due
        self._reported = 0  # revision of our key whose record was said to be corrupt

    @property
    def status(self) -> str:
        """What registering has come to, for people; the member hears of it when it changes."""
        return self._status

    def _set_status(self, text: str) -> None:
        self._status = text
        self._member.status_changed()

    @property
    def _key(self) -> str:
        return self._keys.machine(self.machine.id)

    async def run(self) -> None:
        """Register, renew, and register again when the lease was lost; until this machine has left."""
        while not self.machine.leaving:
            try:
                await self._stand_back()
                await self._register()
                self._backoff.reset()
                await self._keep()
            except LeaseLost:
                self._forget_lease()
                await asyncio.sleep(0.05)
            except Conflict as error:
                log.debug("%s; registering again", error)
                await asyncio.sleep(0.05)
            except RegistryError as error:
                await self._rest(error)

    async def _stand_back(self) -> None:
        """Wait where our leases do not last; a registry whose history went back is joined at once, to say that."""
        while (left_s := self.lease.away_until - time.monotonic()) > 0:
            await self._check_cluster()
            if self._history.held:
                return
            row = f"{self.lease.losses} leases in a row did not last"
            self._set_status(f"registering again in {left_s:.0f} s: {row}")
            await self._nudged(min(left_s, self.lease.ttl_s))

    async def _rest(self, error: RegistryError) -> None:
        """Say what is wrong, once, and wait: shortly while our lease, or that of the agent before us, may live."""
        cluster = self._ledger.facts.cluster_id
        if isinstance(error, ForeignRegistry) and cluster:
            leave = f"rm {self._ledger.facts_path} && systemctl restart fleet-agentd"
            self._set_status(
                f"{error}; every unit is kept as it is (of cluster {cluster}). If the registry was lost: fleetctl"
                " restore FILE, with a backup, or with one of what machines run: fleetctl backup --rebuild CLUSTER"
                " FILE. To leave the old cluster on purpose, which stops its units here, and join this one:"
                f" {leave}"
            )
        elif isinstance(error, ForeignRegistry):
            self._set_status(f"{error}; every unit is kept as it is")
        else:
            self._set_status(f"cannot register: {error}")
        if self._backoff.is_news(error):
            log.warning("%s", self.status, extra=REGISTRY_LOST.of())
        begins = isinstance(error, ForeignRegistry) and not cluster  # a new fleet waits for its machines
        await self._backoff.wait(error, at_most_s=PAUSE_S if begins or self.lease.may_be_saved() else None)

    async def leave(self) -> None:
        """Tell the fleet that this machine hands its units over."""
        self.machine = replace(self.machine, leaving=True)
        lease = self.lease.id
        if not lease:
            return
        event = self._member.event("leave", reason="agent stopped")
        puts = [self._put_machine(lease), Op.put(*event_entry(self._keys, event))]
        await self._etcd.txn([Compare.lease(self._key, lease)], puts)

    async def revoke(self) -> None:
        """Give the place up: the machine key and all states vanish with the lease."""
        await self.lease.revoke()

    async def verify(self) -> None:
        """Write the machine key again if somebody deleted or changed it, or took it off our lease."""
        lease = self.lease.id
        if not lease or self.machine.leaving:
            return
        found = await self._etcd.get(self._key)  # asked first: even a transaction that writes nothing is logged
        if lease != self.lease.id:
            return
        self._keep_unknown(found)
        if found is None:
            guard = Compare.absent(self._key)
        elif found.lease == lease:
            if found.value == encode(self.machine):
                return
            guard = Compare.mod(self._key, found.mod_revision)
        elif self._is_ours(found) or (not found.lease and self._read(found) is None):
            log.warning("the machine's key was taken off its lease; putting it back")
            guard = Compare.mod(self._key, found.mod_revision)
        else:
            return
        await self._etcd.txn([guard, *self._still_held()], [self._put_machine(lease)])

    def _keep_unknown(self, found: KeyValue | None) -> None:
        """Keep what another version put into our record."""
        record = self._read(found) if found else None
        if record is not None and record.boot_id == self.machine.boot_id:
            self.machine = replace(self.machine, unknown=record.unknown)

    def describe(self, machine: Machine) -> None:
        """What the machine is by now (an address, a host key); written at the next `verify`."""
        own = self.machine
        found = replace(machine, since=own.since, leaving=own.leaving, held=own.held, unknown=own.unknown)
        try:
            encode(found)
        except InvalidRecord as error:
            log.debug("%s; going on with what was written before", error)
        else:
            self.machine = found

    def retry(self) -> None:
        """The registry answers again, as another part of the agent found: try now."""
        self._backoff.reset()

    def doubt(self) -> None:
        """The registry said to another part of the agent that our lease is gone: see whether it is."""
        self._doubtful = True
        self._nudge.set()

    def hold(self, reason: str) -> None:
        """Say in our machine's record why everything is held, or that it no longer is ("")."""
        self.machine = replace(self.machine, held=reason)
        self._nudge.set()

    async def _register(self) -> None:
        self._doubtful = False
        await self._check_cluster()
        found = await self._etcd.get(self._key)
        if found is None:
            await self._join()
        elif self._is_ours(found) or await self._was_ours(found):
            await self._rejoin(found)
        else:
            record = self._read(found)
            earlier = EarlierKey(
                self._etcd, self._keys, self.machine, self._member.event, self._read, self._set_status
            )
            await earlier.wait(found, record.ttl_s if record else self.lease.ttl_s)

    async def _check_cluster(self) -> None:
        remembered = self._ledger.facts.cluster_id
        found = await read_cluster(self._etcd, self._keys)
        if found is None:
            begins = "" if remembered else "; a fleet begins with a scheduler that is started, or its first unit"
            raise ForeignRegistry(
                f"{self._keys.cluster} is missing: this registry is empty or not a fleet's{begins}"
            )
        if remembered and found.id != remembered:
            raise ForeignRegistry(f"this registry belongs to cluster {found.id}, not to {remembered}")
        self._ledger.remember(cluster_id=found.id)
        await self._history.look(self._etcd)

    def _is_ours(self, found: KeyValue) -> bool:
        """Whether this boot wrote the key: by its record, or by its lease where somebody has garbled the record."""
        record = self._read(found)
        if record is None:
            return found.lease != 0 and found.lease == self._ledger.facts.lease_id
        return (record.boot_id, record.bus) == (self.machine.boot_id, self.machine.bus)

    async def _was_ours(self, found: KeyValue) -> bool:
        """Whether a garbled key without a lease was ours: while our lease lives nobody else can have taken it."""
        lease = self._ledger.facts.lease_id
        if found.lease or not lease or self._read(found) is not None:
            return False
        try:
            await self._etcd.lease_time_to_live(lease)
        except LeaseLost:
            return False
        return True

    def _read(self, found: KeyValue) -> Machine | None:
        try:
            record = decode(Address(Table.MACHINES, self.machine.id), found.value, found.key)
        except CorruptRecord as error:
            if self._reported != found.mod_revision:
                log.warning("%s", error)
            self._reported = found.mod_revision
            return None
        return record if isinstance(record, Machine) else None

    async def _join(self) -> None:
        lease = await self.lease.acquire(0)
        await self._member.joining(lease)
        self.machine = replace(self.machine, since=time.time())
        event = self._member.event("join", reason=f"{self.machine.hostname} at {self.machine.address}")
        puts = [
            self._put_machine(lease),
            Op.put(*event_entry(self._keys, event)),
            Op.delete(self._keys.duplicate(self.machine.id, self.machine.boot_id)),
        ]
        result = await self._etcd.txn([Compare.absent(self._key), *self._still_held()], puts)
        if result.succeeded:
            log.info("joined as machine %s with lease %x", self.machine.id, lease, extra=JOINED.of())
            await self._joined()
        elif self.machine.held and await self._etcd.get(self._key) is None:
            raise Conflict("the registry's sentinel changed while this agent came back")
        else:  # somebody was faster: leave nothing of ours below that id
            await self._etcd.lease_revoke(lease)
            self._forget_lease()

    async def _rejoin(self, found: KeyValue) -> None:
        """Our key from before a restart: go on under its lease, or move everything to another before it ends.

        The states come first and the machine key last, each overwritten in place, so that nothing vanishes.
        """
        lease = await self.lease.acquire(found.lease)
        record = self._read(found)
        self.machine = replace(self.machine, since=record.since if record else time.time())
        self._keep_unknown(found)
        await self._member.joining(lease)
        guard = Compare.mod(self._key, found.mod_revision)
        if not (await self._etcd.txn([guard, *self._still_held()], [self._put_machine(lease)])).succeeded:
            raise Conflict("the machine's key, or the registry's sentinel, changed while this agent came back")
        log.info("back as machine %s under lease %x", self.machine.id, lease, extra=JOINED.of())
        await self._joined()

    async def _joined(self) -> None:
        self._set_status(f"registered as {self.machine.id}")
        self._member.joined()
        await self.lease.settle()

    async def _keep(self) -> None:
        """Renew until the lease is lost; in each ttl look once at our key, and at the history."""
        away, looked_at = False, time.monotonic()
        while lease := self.lease.id:
            if not away and await self._nudged(self.lease.ttl_s / 3):
                looked_at = -math.inf
            if self.lease.id != lease:
                continue
            try:
                await self.lease.renew(lease)
                if away or self._history.held:
                    await self._history.look(self._etcd)
                if time.monotonic() >= looked_at + self.lease.ttl_s:
                    await self._show(lease)
                    looked_at = time.monotonic()
            except (LeaseLost, Conflict):
                raise
            except RegistryError as error:
                if self._backoff.is_news(error):
                    denied = isinstance(error, RegistryDenied)
                    how = "refuses us" if denied else "does not answer"
                    log.warning("the registry %s: %s", how, error, extra=REGISTRY_LOST.of())
                away = True
                await self._backoff.wait(error, at_most_s=PAUSE_S if self.lease.may_be_saved() else None)
                continue
            if away:
                log.info("the registry answers again", extra=REGISTRY_BACK.of())
                self._member.returned()
            self._backoff.reset()
            away = False

    async def _show(self, lease: int) -> None:
        """Have our key as it should be; before it says that we hold everything, it can be seen what runs here."""
        with suppress(ForeignRegistry):  # of a broken sentinel the schedule tells
            await self._history.look(self._etcd)  # others may have seen what we cannot
        if self._doubtful:  # the lease lives, so another registry was there for a moment
            await self._member.joining(lease)
            self._doubtful = False  # not before: where this fails it is done again
        if self.machine.held:
            found = await self._etcd.get(self._key) if self._shown else None
            if found is None or found.value != encode(self.machine):  # what runs here may be told as it once was
                await self._member.joining(lease)
        self._shown = bool(self.machine.held)
        await self.verify()

    async def _nudged(self, within_s: float) -> bool:
        """Wait; True as soon as our key has to be looked at."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._nudge.wait()
                self._nudge.clear()
                return True
        return False

    def _forget_lease(self) -> None:
        self.lease.forget()
        self._set_status("registering again")
        self._member.lost()

    def _still_held(self) -> list[Compare]:
        """The guard of a record that says that everything is held: nobody has accepted the history meanwhile.

        Said after an acceptance, it would count as noticed since (scheduler/machines.py).
        """
        at = self._history.sentinel_at
        return [Compare.mod(self._keys.cluster, at)] if self.machine.held and at else []

    def _put_machine(self, lease: int) -> Op:
        return Op.put(self._key, encode(self.machine), lease)
