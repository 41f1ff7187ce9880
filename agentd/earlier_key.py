"""Another boot's machine key under our id: waited for, and told when somebody is alive behind it.

Owns `duplicates/<id>/<boot>`. A key that outlives its own lease is renewed by another machine with our id; this one
then does nothing but say so. A key that no lease will ever end is nobody's, and removed.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable

from agentd.machine_lease import MARGIN_S
from registry.errors import LeaseLost, RegistryError
from registry.etcd import Compare, Etcd, KeyValue, Op
from registry.keys import Keys
from registry.leases import grace_s
from registry.model import Duplicate, Event, Machine
from registry.records import encode, event_entry

log = logging.getLogger("fleet.agent")

POLL_S = 0.5
REMIND_S = 60.0


class EarlierKey:
    """Waits until the key of `machine` is free. `read` is the machine's record of a key, None for no such."""

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        machine: Machine,
        event: Callable[..., Event],
        read: Callable[[KeyValue], Machine | None],
        on_status: Callable[[str], None],
    ) -> None:
        self._etcd, self._keys, self._machine = etcd, keys, machine
        self._event, self._read, self._on_status = event, read, on_status
        self._lease = 0  # of our record under `duplicates/`

    async def wait(self, first: KeyValue, ttl_s: float) -> None:
        """Wait until the key is gone or another one; say it loudly when it outlives its lease of `ttl_s`."""
        began = time.monotonic()
        deadline, nobodys_at = began + ttl_s + MARGIN_S, began + grace_s(ttl_s)
        key, reminded = self._keys.machine(self._machine.id), -math.inf
        log.info("waiting for the lease of machine %s from its earlier boot", self._machine.id)
        self._on_status(f"waiting for the lease of machine {self._machine.id} from its earlier boot")
        try:
            while (found := await self._etcd.get(key)) and found.create_revision == first.create_revision:
                now = time.monotonic()
                if now >= nobodys_at and found.mod_revision == first.mod_revision and await self._clear(found):
                    continue
                if now >= deadline:
                    if now >= reminded + REMIND_S:
                        self._report(self._read(found))
                        reminded = now
                    await self._show_duplicate()
                await asyncio.sleep(POLL_S)
        finally:
            if self._lease:
                try:
                    await self._etcd.lease_revoke(self._lease)
                except RegistryError as error:
                    log.debug("cannot withdraw the duplicate's lease: %s", error)

    async def _clear(self, found: KeyValue) -> bool:
        """Delete a key that no lease will ever end and that nobody took over; False when a lease carries it."""
        try:
            if found.lease:
                await self._etcd.lease_time_to_live(found.lease)
                return False
        except LeaseLost:
            pass
        guard = Compare.mod(found.key, found.mod_revision)
        deleted = (await self._etcd.txn([guard], [Op.delete(found.key)])).succeeded
        if deleted:
            log.warning("removed the key of machine %s from an earlier boot: it had no lease", self._machine.id)
        return deleted

    def _report(self, other: Machine | None) -> None:
        who = f"{other.hostname} at {other.address}" if other else "another machine"
        self._on_status(f"machine id {self._machine.id} is in use by {who}")
        log.error(
            "DUPLICATE MACHINE ID: %s is in use by %s. This machine does nothing until that one is gone. Give one"
            " of them an id of its own: remove /etc/machine-id and run systemd-machine-id-setup, or set machine_id"
            " in [agent]; then restart fleet-agentd.",
            self._machine.id,
            who,
        )

    async def _show_duplicate(self) -> None:
        """Keep our record under `duplicates/` alive."""
        try:
            if self._lease:
                await self._etcd.lease_keepalive(self._lease)
                return
        except LeaseLost:
            pass
        self._lease = await self._etcd.lease_grant(math.ceil(self._machine.ttl_s))
        machine = self._machine
        record = Duplicate(machine.id, machine.boot_id, machine.hostname, machine.address, time.time())
        event = self._event("duplicate", reason=f"{machine.hostname} at {machine.address} has the same id")
        key = self._keys.duplicate(machine.id, machine.boot_id)
        puts = [
            Op.put(key, encode(record), self._lease),
            Op.put(*event_entry(self._keys, event)),
        ]
        await self._etcd.txn([], puts)
