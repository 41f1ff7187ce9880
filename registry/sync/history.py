"""Whether a registry's history went back: a restored backup is no order (invariant 15).

etcd's revisions only grow, and what was written at one of them stays so. A program remembers how far it has acted,
and one record that it saw written (or deleted) at one revision. A registry of the same cluster that is not that
far, or that says otherwise of that record, is an older history: nobody knows which of its orders still hold. Who
notices first marks the sentinel, so that those hold as well who cannot notice; an operator who accepts the history
raises the sentinel's epoch. Reads are linearizable: a member that lags behind is no older history.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from registry.errors import ForeignRegistry, HistoryWentBack, RegistryError
from registry.etcd import Compacted, Compare, Etcd, KeyValue, Op
from registry.frozen import dataclass, fields, replace
from registry.keys import Keys
from registry.model import Sentinel
from registry.records import encode
from registry.runtime.logs import logger
from registry.sync.sentinel import ahead, cluster_of

if TYPE_CHECKING:
    from pathlib import Path

log = logger("fleet.history")

ACCEPT = "fleetctl restore --accept"
REMEDY = f"see what would change with fleetctl restore, then accept it: {ACCEPT}"


@dataclass(frozen=True, slots=True)
class ActedOn:
    """What of a history was acted on. `key` was written, or deleted if not `exists`, at revision `at`.

    `held` is why nothing is done any more, "" while all is well.
    """

    cluster_id: str = ""
    epoch: int = 0
    revision: int = 0
    key: str = ""
    at: int = 0
    exists: bool = True
    held: str = ""

    @classmethod
    def of(cls, data: object) -> ActedOn:
        """From its fields by name; what does not fit is as good as nothing."""
        if not isinstance(data, dict):
            return cls()
        kinds = {each.name: type(each.default) for each in fields(cls)}
        return cls(**{name: data[name] for name, kind in kinds.items() if type(data.get(name)) is kind})


class History:
    """What one program has acted on. `keep` stores it.

    `told` is called with `held` whenever that changes, and with "" when an operator has accepted another history
    since the program last looked: what it remembers of revisions is void, whether or not it ever noticed.
    `pinned`: another cluster's registry is somebody else's business; else it begins a history of its own.
    """

    def __init__(
        self,
        keys: Keys,
        seen: ActedOn | None = None,
        keep: Callable[[ActedOn], None] | None = None,
        *,
        told: Callable[[str], None] | None = None,
        pinned: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.seen = seen or ActedOn()
        self.told = told
        self.sentinel_at = 0  # the revision at which the sentinel was written that was read last; 0: none was
        self._keys, self._keep, self._pinned, self._clock = keys, keep, pinned, clock
        self._kept = self.seen

    @property
    def held(self) -> str:
        """Why nothing may be done; "" while all is well."""
        return self.seen.held

    @property
    def epoch(self) -> tuple[str, int]:
        """Which history it is: the cluster, and the epoch that was accepted last."""
        return self.seen.cluster_id, self.seen.epoch

    def act(self, revision: int, key: str = "", *, exists: bool = True) -> None:
        """Everything up to a revision was taken in; `key` was written (or deleted) at it."""
        seen = self.seen
        if revision > seen.revision and not seen.held:
            seen = replace(seen, revision=revision)
        if key and revision > seen.at and not seen.held:
            seen = replace(seen, key=key, at=revision, exists=exists)
        self.seen = seen

    def save(self) -> None:
        """Store what has changed."""
        if self._kept != self.seen and self._keep is not None:
            self._keep(self.seen)
            self._kept = self.seen

    def hold(self, reason: str) -> HistoryWentBack:
        """From now on nothing may be done; returns the error that says so."""
        if not self.held:
            self._become(replace(self.seen, held=reason))
        return HistoryWentBack(
            f"the registry's history went back: {self.held}; everything is held as it is; {REMEDY}"
        )

    async def check(self, etcd: Etcd) -> None:
        """Compare with the registry as it is now.

        Raises HistoryWentBack; ForeignRegistry for a sentinel that is broken, or whose epoch is new here and ahead
        of the clock. It may be this host's clock that is wrong, so the sentinel is not marked then. A registry
        without a sentinel, or with another cluster's, is left to the caller's own judgement.
        """
        while True:
            before = self.seen  # what is acted on while the question is under way may be newer than its answer
            listing = await etcd.txn([], [Op.get(self._keys.cluster)])  # an agent may read this very key, no more
            kv = next(iter(listing.gets[0]), None) if listing.gets else None
            found = cluster_of(kv) if kv else None
            if kv is None or found is None or (self._pinned and self.seen.cluster_id not in ("", found.id)):
                return
            if self._is_overtaken(before):
                continue
            self.sentinel_at = kv.mod_revision
            if (found.id, found.epoch) != self.epoch and (why := ahead(found, self._clock())):
                raise ForeignRegistry(f"{kv.key} is broken: {why}; set the clock, or accept the registry: {ACCEPT}")
            if found.id != self.seen.cluster_id or found.epoch > self.seen.epoch:
                self._become(ActedOn(found.id, found.epoch, listing.revision, held=found.held))
            elif not self.held:
                reason = found.held or await self._went_back(etcd, found, listing.revision, before)
                if self._is_overtaken(before):
                    continue
                if reason:
                    self.hold(reason)
            break
        if self.held:
            await self._mark(etcd, kv, found)
            raise self.hold(self.held)
        self.act(listing.revision)

    def _is_overtaken(self, before: ActedOn) -> bool:
        """Whether another history was taken up while a question was under way: its answer is about the one before.

        By it, what an operator has just accepted would be held once more, and all other programs with it.
        """
        return self.epoch != (before.cluster_id, before.epoch)

    async def look(self, etcd: Etcd) -> None:
        """The same for who goes by `held`: a history that went back is no error."""
        with suppress(HistoryWentBack):
            await self.check(etcd)

    async def _went_back(self, etcd: Etcd, found: Sentinel, revision: int, seen: ActedOn) -> str:
        if found.epoch < seen.epoch:
            return f"it is from before epoch {seen.epoch}, which was accepted"
        if revision < seen.revision:
            return f"it is at revision {revision}, and {seen.revision} was acted on"
        if not seen.key:
            return ""
        try:
            listing = await etcd.range(seen.key, revision=seen.at)
        except Compacted:
            return ""  # nobody can say how it was
        written = [kv.mod_revision == seen.at for kv in listing.kvs if kv.key == seen.key]
        if written != ([True] if seen.exists else []):
            return f"{seen.key} is not as it was acted on at revision {seen.at}"
        return ""

    async def _mark(self, etcd: Etcd, kv: KeyValue, found: Sentinel) -> None:
        """Say in the sentinel that this history is held; in vain, others may have done so, or we come again."""
        if found.held and found.epoch >= self.seen.epoch:
            return
        marked = replace(found, held=found.held or self.held, epoch=max(found.epoch, self.seen.epoch))
        with suppress(RegistryError):
            done = await etcd.txn([Compare.mod(kv.key, kv.mod_revision)], [Op.put(kv.key, encode(marked))])
            if done.succeeded:
                self.sentinel_at = done.revision

    def _become(self, seen: ActedOn) -> None:
        before, self.seen = self.seen, seen
        accepted = before.cluster_id == seen.cluster_id and before.epoch < seen.epoch  # also while we were away
        if self.told is not None and (accepted or before.held != seen.held):
            self.told(seen.held)
        self.save()  # last: a program that is killed before it takes the new history up again


def read_seen(path: Path) -> ActedOn:
    """What was stored in a file; nothing if there is none, or none that can be read."""
    try:
        return ActedOn.of(json.loads(path.read_text()))
    except FileNotFoundError:
        return ActedOn()
    except (OSError, ValueError, RecursionError) as error:
        log.warning("cannot read %s (%s); going on without what it remembers", path, error)
        return ActedOn()


def write_seen(path: Path, seen: ActedOn) -> None:
    """Store it in a file, whole or not at all; a disk that takes nothing is told of."""
    partial = f"{path.parent}/.{path.name}.new"
    try:
        with open(partial, "w") as file:  # noqa: PTH123 - at each write of the leader: paths as objects cost more
            file.write(json.dumps({each.name: getattr(seen, each.name) for each in fields(seen)}))
        os.replace(partial, path)  # noqa: PTH105 - as above
    except OSError as error:
        log.warning("cannot write %s (%s); a restart will not know how far this program has acted", path, error)
