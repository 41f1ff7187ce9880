"""Following this machine's schedule and handing each line to the reconciler.

Owns the follower of `schedule/<id>/` and the reading of its mirror. Nothing but a listing or a change of the right
cluster's registry ever becomes a desired: silence changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from agentd.ledger import Ledger
from agentd.pure.plan import DesiredState
from registry.etcd import Etcd
from registry.keys import Address, Keys, Table
from registry.messages import RECORD_CORRUPT
from registry.model import Assignment
from registry.sync.follow import ConnectionState, Follower
from registry.sync.history import History

log = logging.getLogger("fleet.agent")


class DesiredStates(Protocol):
    """Who carries the schedule out."""

    def set_desired(self, name: str, desired: DesiredState | None, *, corrupt: bool = False) -> None:
        """What the schedule says of one unit now."""

    @property
    def held(self) -> tuple[str, ...]:
        """The units of which something is here."""


class Schedule:
    """The schedule of one machine, handed on as desired_states."""

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        machine: str,
        ledger: Ledger,
        desired_states: DesiredStates,
        history: History | None = None,
    ) -> None:
        self._etcd, self._keys, self._machine, self._ledger, self._desired_states = (
            etcd,
            keys,
            machine,
            ledger,
            desired_states,
        )
        self.link, self.reason = ConnectionState.CONNECTING, ""
        self.on_link: Callable[[], None] = lambda: None
        self._history = history or History(keys)
        self._allowed = asyncio.Event()
        self._again = asyncio.Event()
        self._known: set[str] = set()
        self._corrupt: set[str] = set()

    def list_again(self) -> None:
        """Read the whole schedule now, rather than when the watch has recovered; also the first time."""
        self._allowed.set()
        self._again.set()

    def pause(self) -> None:
        """Follow nothing until `list_again`: this machine has no place in the registry."""
        self._allowed.clear()
        self._again.set()

    async def run(self) -> None:
        """Follow for ever."""
        while True:
            await self._allowed.wait()
            self._again.clear()
            self.link, self.reason = ConnectionState.CONNECTING, ""
            follower = Follower(
                self._etcd,
                self._keys,
                tables=[Table.SCHEDULE],
                root=self._keys.schedule(self._machine),
                cluster_id=self._ledger.facts.cluster_id or None,
                history=self._history,
            )
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(follower.run(), name="follow schedule"),
                    group.create_task(self._read(follower), name="read schedule"),
                ]
                await self._again.wait()
                for task in tasks:
                    task.cancel()

    async def _read(self, follower: Follower) -> None:
        while True:
            update = await follower.next()
            if (self.link, self.reason) != (update.link, update.reason):
                self.link, self.reason = update.link, update.reason
                self.on_link()
            addresses = list(update.changed)
            if update.reset:
                lines = {pair[1] for pair in follower.mirror.snapshot().schedule}
                corrupt = map(self._keys.parse, follower.mirror.snapshot().corrupt)
                lines |= {each.second for each in corrupt if each}  # a key that is no line's names no unit
                names = lines | self._known | set(self._desired_states.held)
                addresses = [Address(Table.SCHEDULE, self._machine, name) for name in sorted(names)]
            if self._again.is_set() or self._history.held or self._is_older(follower, addresses):
                continue  # perhaps of a history before the one that was just accepted: all is listed again
            for address in addresses:
                self._hand_on(follower, address)
            self._history.save()

    def _is_older(self, follower: Follower, addresses: Iterable[Address]) -> bool:
        """Whether a line is as it was before we acted on it: then nothing is handed on."""
        for address in addresses:
            stamp = follower.mirror.stamp(self._keys.schedule(self._machine, address.second))
            entry = self._ledger.entries.get(address.second)
            known = entry is not None and entry.epoch == self._history.seen.epoch
            if stamp and entry and known and stamp.mod_revision < entry.revision:
                self._history.hold(f"the schedule line of {address.second} is older than the one acted on")
                self.list_again()
                return True
        return False

    def _hand_on(self, follower: Follower, address: Address) -> None:
        name = address.second
        line = follower.mirror.row(Table.SCHEDULE, address)
        key = self._keys.schedule(self._machine, name)
        stamp = follower.mirror.stamp(key)
        if stamp is not None:
            self._history.act(stamp.mod_revision, key)
        if stamp is None:
            self._known.discard(name)
            self._desired_states.set_desired(name, None)
        elif isinstance(line, Assignment):
            self._known.add(name)
            revisions, epoch = (stamp.create_revision, stamp.mod_revision), self._history.seen.epoch
            asked = (line.hash, line.target, line.generation)
            desired = DesiredState(name, *asked, *revisions, line.attempt, epoch, line.beside)
            self._desired_states.set_desired(name, desired)
        else:
            self._known.add(name)
            log.error(
                "the schedule line of %s is corrupt; the unit stays exactly as it is",
                name,
                extra=RECORD_CORRUPT.of(name),
            )
            self._desired_states.set_desired(name, None, corrupt=True)
