"""This machine's place in the registry: its lease, its machine key, and the peace between two with one id.

Owns `machines/<id>` and `duplicates/<id>/<boot>`. The lease, the boot and the cluster are remembered, so that a
restarted agent goes on under the same lease and nobody notices. A machine key of another boot is waited for;
when it outlives its own lease somebody is alive behind it, and this machine does nothing but say so.
A registry that is not the remembered cluster's is never joined.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
import uuid
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace

from agentd.ledger import Ledger
from registry.errors import (
    Conflict,
    CorruptRecord,
    ForeignRegistry,
    HistoryWentBack,
    InvalidRecord,
    LeaseLost,
    RegistryDenied,
    RegistryError,
)
from registry.etcd import Compare, Etcd, KeyValue, Op
from registry.keys import Address, Keys, Table
from registry.leases import grace_s
from registry.model import Duplicate, Event, Machine
from registry.records import decode, encode
from registry.sync.history import History
from registry.sync.sentinel import ensure_cluster, read_cluster

log = logging.getLogger("fleet.agent")

PAUSE_S = 0.5  # between attempts while our lease may still be saved; from there on they grow rarer
MARGIN_S = 2.0  # etcd ends a lease up to this much late
POLL_S = 0.5  # while somebody else has our key
REMIND_S = 60.0


@dataclass(frozen=True, slots=True)
class Hooks:
    """What the rest of the agent does when its place changes. `joining` runs before the machine key is created."""

    joining: Callable[[int], Awaitable[None]]
    joined: Callable[[], None]
    lost: Callable[[], None]  # the lease is gone
    returned: Callable[[], None]  # the registry answers again after an outage
    event: Callable[..., Event]


class Registration:
    """Holds the machine's place. `renewed_at` is when the last successful renewal was sent (monotonic)."""

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        ledger: Ledger,
        machine: Machine,
        hooks: Hooks,
        history: History | None = None,
    ) -> None:
        self._history = history or History(keys, ledger.facts.seen, lambda seen: ledger.remember(seen=seen))
        self.machine = replace(machine, held=self._history.held)
        self.renewed_at = 0.0
        self.ttl_s = min(ledger.facts.lease_ttl_s or machine.ttl_s, machine.ttl_s)  # of the lease that is held
        self.lease = 0
        self.on_status: Callable[[], None] = lambda: None
        self._status = "connecting to the registry"
        self._etcd, self._keys, self._ledger, self._hooks = etcd, keys, ledger, hooks
        self._backoff = etcd.backoff(PAUSE_S)
        self._shown = False  # that we hold everything, and what runs here
        self._nudge = asyncio.Event()  # our key has to be looked at before the next renewal is due
        self._outgrown: set[int] = set()  # leases of another length, to be ended once nothing hangs on them

    @property
    def status(self) -> str:
        """What registering has come to, for people; `on_status` is called when it changes."""
        return self._status

    @status.setter
    def status(self, text: str) -> None:
        self._status = text
        self.on_status()

    @property
    def _key(self) -> str:
        return self._keys.machine(self.machine.id)

    @property
    def _duplicate_key(self) -> str:
        return self._keys.duplicate(self.machine.id, self.machine.boot_id)

    async def run(self) -> None:
        """Register, renew, and register again when the lease was lost; until this machine has left."""
        while not self.machine.leaving:
            try:
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

    async def _rest(self, error: RegistryError) -> None:
        """Say what is wrong, once, and wait: shortly while our lease, or that of the agent before us, may live."""
        foreign = isinstance(error, ForeignRegistry)
        self.status = (
            f"{error}; every unit is kept as it is. {self._remedy()}" if foreign else f"cannot register: {error}"
        )
        if self._backoff.is_news(error):
            log.warning("%s", self.status)
        await self._backoff.wait(error, at_most_s=PAUSE_S if self._may_be_saved() else None)

    def _may_be_saved(self) -> bool:
        """Whether etcd may still hold our lease, so that every moment counts."""
        renewed_at = self.renewed_at or self._ledger.facts.renewed_at
        return 0 < time.monotonic() - renewed_at < self.ttl_s + MARGIN_S

    async def leave(self) -> None:
        """Tell the fleet that this machine hands its units over."""
        self.machine = replace(self.machine, leaving=True)
        lease = self.lease
        if not lease:
            return
        event = self._hooks.event("leave", reason="agent stopped")
        puts = [self._put_machine(lease), Op.put(self._keys.event(event.id), encode(event))]
        await self._etcd.txn([Compare.lease(self._key, lease)], puts)

    async def revoke(self) -> None:
        """Give the place up: the machine key and all states vanish with the lease."""
        lease, self.lease = self.lease, 0
        self._ledger.remember(lease_id=0)
        if lease:
            await self._etcd.lease_revoke(lease)

    async def verify(self) -> None:
        """Write the machine key again if somebody deleted or changed it, or took it off our lease."""
        lease = self.lease
        if not lease or self.machine.leaving:
            return
        found = await self._etcd.get(self._key)  # asked first: even a transaction that writes nothing is logged
        if lease != self.lease:
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
        await self._etcd.txn([guard], [self._put_machine(lease)])

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

    def hold(self, reason: str) -> None:
        """Say in our machine's record why everything is held, or that it no longer is ("")."""
        self.machine = replace(self.machine, held=reason)
        self._nudge.set()

    async def _register(self) -> None:
        await self._check_cluster()
        found = await self._etcd.get(self._key)
        if found is None:
            await self._join()
        elif self._is_ours(found) or await self._was_ours(found):
            await self._rejoin(found)
        else:
            await self._wait_for(found)

    async def _check_cluster(self) -> None:
        remembered = self._ledger.facts.cluster_id
        if remembered:
            found = await read_cluster(self._etcd, self._keys)
        else:
            found = await ensure_cluster(self._etcd, self._keys, uuid.uuid4().hex)
        if found is None:
            raise ForeignRegistry(f"{self._keys.cluster} is missing: this registry is empty or not a fleet's")
        if remembered and found.id != remembered:
            raise ForeignRegistry(f"this registry belongs to cluster {found.id}, not to {remembered}")
        self._ledger.remember(cluster_id=found.id)
        await self._look_back()

    async def _look_back(self) -> None:
        """Whether the history went back, or was accepted since; those who hold units are told by the history."""
        try:
            await self._history.check(self._etcd)
        except HistoryWentBack as error:
            log.debug("%s", error)

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
            log.warning("%s", error)
            return None
        return record if isinstance(record, Machine) else None

    async def _join(self) -> None:
        lease = await self._lease_for(0)
        await self._hooks.joining(lease)
        self.machine = replace(self.machine, since=time.time())
        event = self._hooks.event("join", reason=f"{self.machine.hostname} at {self.machine.address}")
        puts = [
            self._put_machine(lease),
            Op.put(self._keys.event(event.id), encode(event)),
            Op.delete(self._duplicate_key),
        ]
        result = await self._etcd.txn([Compare.absent(self._key)], puts)
        if result.succeeded:
            log.info("joined as machine %s with lease %x", self.machine.id, lease)
            await self._joined(lease)
        else:  # somebody was faster: leave nothing of ours below that id
            await self._etcd.lease_revoke(lease)
            self._forget_lease()

    async def _rejoin(self, found: KeyValue) -> None:
        """Our key from before a restart: go on under its lease, or move everything to another before it ends.

        The states come first and the machine key last, each overwritten in place, so that nothing vanishes.
        """
        lease = await self._lease_for(found.lease)
        record = self._read(found)
        self.machine = replace(self.machine, since=record.since if record else time.time())
        self._keep_unknown(found)
        await self._hooks.joining(lease)
        guard = Compare.mod(self._key, found.mod_revision)
        if not (await self._etcd.txn([guard], [self._put_machine(lease)])).succeeded:
            raise Conflict("the machine's key changed while this agent came back")
        log.info("back as machine %s under lease %x", self.machine.id, lease)
        await self._joined(lease)

    async def _joined(self, lease: int) -> None:
        self.ttl_s = self.machine.ttl_s
        self.status = f"registered as {self.machine.id}"
        self._hooks.joined()
        outgrown, self._outgrown = self._outgrown - {lease}, set()
        for each in outgrown:
            await self._etcd.lease_revoke(each)

    async def _lease_for(self, found: int) -> int:
        """The lease of our key (0: none) or the remembered one, if it lives and lasts as long as is configured now.

        Else a new one. What the others carry is to be moved to it before they end: they are renewed here once.
        """
        sent = time.monotonic()
        for lease in dict.fromkeys((found, self.lease, self._ledger.facts.lease_id)):
            if lease and await self._fits(lease):
                break
        else:
            lease = await self._etcd.lease_grant(math.ceil(self.machine.ttl_s))
        self.lease = lease
        self.ttl_s = min(self.ttl_s, self.machine.ttl_s)
        self._ledger.remember(lease_id=lease, lease_ttl_s=self.machine.ttl_s)
        self._renewed(sent)
        return lease

    async def _fits(self, lease: int) -> bool:
        """Renew a lease; whether it lives and is as long as ours should be."""
        try:
            granted_s = await self._etcd.lease_keepalive(lease)
        except LeaseLost:
            return False
        facts, wanted_s = self._ledger.facts, self.machine.ttl_s
        if granted_s == math.ceil(wanted_s) or (facts.lease_id, facts.lease_ttl_s) == (lease, wanted_s):
            return True
        self._outgrown.add(lease)
        return False

    async def _renew(self, lease: int) -> None:
        sent = time.monotonic()
        await self._etcd.lease_keepalive(lease)
        self._renewed(sent)

    def _renewed(self, sent: float) -> None:
        """Also for the agent after us, should we be killed: our lease goes on meanwhile."""
        self.renewed_at = sent
        self._ledger.remember(renewed_at=sent, seen=self._history.seen)

    async def _keep(self) -> None:
        """Renew until the lease is lost; look once in each ttl whether our key is as it should be."""
        away, looked_at = False, time.monotonic()
        while lease := self.lease:
            if not away and await self._nudged(self.ttl_s / 3):
                looked_at = -math.inf
            if self.lease != lease:
                continue
            try:
                await self._renew(lease)
                if away or self._history.held:
                    await self._look_back()
                if time.monotonic() >= looked_at + self.ttl_s:
                    await self._show(lease)
                    looked_at = time.monotonic()
            except (LeaseLost, Conflict):
                raise
            except RegistryError as error:
                if self._backoff.is_news(error):
                    denied = isinstance(error, RegistryDenied)
                    log.warning("the registry %s: %s", "refuses us" if denied else "does not answer", error)
                away = True
                await self._backoff.wait(error, at_most_s=PAUSE_S if self._may_be_saved() else None)
                continue
            if away:
                log.info("the registry answers again")
                self._hooks.returned()
            self._backoff.reset()
            away = False

    async def _show(self, lease: int) -> None:
        """Have our key as it should be; before it says that we hold everything, it can be seen what runs here."""
        if self.machine.held and not (self._shown and await self._stands()):
            await self._hooks.joining(lease)
        self._shown = bool(self.machine.held)
        await self.verify()

    async def _stands(self) -> bool:
        """Whether our key is as we wrote it; if not, what runs here may be told as it once was (restored again)."""
        found = await self._etcd.get(self._key)
        return found is not None and found.value == encode(self.machine)

    async def _nudged(self, within_s: float) -> bool:
        """Wait; True as soon as our key has to be looked at."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._nudge.wait()
                self._nudge.clear()
                return True
        return False

    def _forget_lease(self) -> None:
        if self.lease:
            log.warning("lease %x is gone; registering again", self.lease)
        self.lease = 0
        self.status = "registering again"
        self._ledger.remember(lease_id=0)
        self._hooks.lost()

    def _put_machine(self, lease: int) -> Op:
        return Op.put(self._key, encode(self.machine), lease)

    async def _wait_for(self, first: KeyValue) -> None:
        """Another boot's key: wait until it is gone, and say it loudly when it outlives its lease."""
        record = self._read(first)
        ttl_s = record.ttl_s if record else self.ttl_s
        began = time.monotonic()
        deadline = began + ttl_s + MARGIN_S
        nobodys_at = began + grace_s(ttl_s)
        log.info("waiting for the lease of machine %s from its earlier boot", self.machine.id)
        self.status = f"waiting for the lease of machine {self.machine.id} from its earlier boot"
        lease, reminded = 0, -math.inf
        try:
            while (found := await self._etcd.get(self._key)) and found.create_revision == first.create_revision:
                now = time.monotonic()
                if now >= nobodys_at and found.mod_revision == first.mod_revision and await self._clear(found):
                    continue
                if now >= deadline and now >= reminded + REMIND_S:
                    self._shout(self._read(found))
                    reminded = now
                if now >= deadline:
                    lease = await self._show_duplicate(lease)
                await asyncio.sleep(POLL_S)
        finally:
            if lease:
                await self._withdraw(lease)

    async def _clear(self, found: KeyValue) -> bool:
        """Delete a key that no lease will ever end and that nobody took over; False when a lease carries it."""
        try:
            if found.lease:
                await self._etcd.lease_time_to_live(found.lease)
                return False
        except LeaseLost:
            pass
        guard = Compare.mod(self._key, found.mod_revision)
        deleted = (await self._etcd.txn([guard], [Op.delete(self._key)])).succeeded
        if deleted:
            log.warning("removed the key of machine %s from an earlier boot: it had no lease", self.machine.id)
        return deleted

    def _shout(self, other: Machine | None) -> None:
        who = f"{other.hostname} at {other.address}" if other else "another machine"
        self.status = f"machine id {self.machine.id} is in use by {who}"
        log.error(
            "DUPLICATE MACHINE ID: %s is in use by %s. This machine does nothing until that one is gone. Give one"
            " of them an id of its own: remove /etc/machine-id and run systemd-machine-id-setup, or set machine_id"
            " in [agent]; then restart fleet-agentd.",
            self.machine.id,
            who,
        )

    async def _show_duplicate(self, lease: int) -> int:
        """Keep `duplicates/` alive; returns its lease."""
        try:
            if lease:
                await self._etcd.lease_keepalive(lease)
                return lease
        except LeaseLost:
            pass
        lease = await self._etcd.lease_grant(math.ceil(self.machine.ttl_s))
        machine = self.machine
        record = Duplicate(machine.id, machine.boot_id, machine.hostname, machine.address, time.time())
        event = self._hooks.event("duplicate", reason=f"{machine.hostname} at {machine.address} has the same id")
        puts = [
            Op.put(self._duplicate_key, encode(record), lease),
            Op.put(self._keys.event(event.id), encode(event)),
        ]
        await self._etcd.txn([], puts)
        return lease

    async def _withdraw(self, lease: int) -> None:
        try:
            await self._etcd.lease_revoke(lease)
        except RegistryError as error:
            log.debug("cannot withdraw the duplicate's lease: %s", error)

    def _remedy(self) -> str:
        path = self._ledger.facts_path
        return f"To leave the old cluster and join this one on purpose: rm {path} && systemctl restart fleet-agentd"
