"""Following the registry: list at a revision, watch from the next, list again after a gap. Never polls.

Owns the one loop that keeps a `Mirror` current and the rule of the sentinel: an empty or foreign registry is not
an order. A listing without the expected sentinel, or changes that took the sentinel away, are not folded in; the
mirror keeps what it had, `link` says why, and the loop tries again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import aclosing
from enum import StrEnum

from registry.errors import CorruptRecord, ForeignRegistry, HistoryWentBack, RegistryDenied, RegistryError
from registry.etcd import Compacted, Etcd, WatchBatch
from registry.etcd.backoff import LONGEST_S
from registry.frozen import dataclass
from registry.keys import Address, Keys, Table
from registry.messages import RECORD_CORRUPT
from registry.mirror import Mirror, RawChange, Read
from registry.records import decode
from registry.runtime import logs, waits
from registry.sync.history import History
from registry.sync.listing import raw, read_prefix, read_tables
from registry.sync.sentinel import cluster_of

log = logs.logger("fleet.follow")

HELD_S = 2.0  # from one look to the next whether a history that went back was accepted

UNFOLLOWED = (Table.EVENTS, Table.USAGE, Table.CRASHES, Table.CONTENTS)
FOLLOWED = tuple(table for table in Table if table not in UNFOLLOWED)
CORRUPT_TOLD = 100  # corrupt records named in the log at a time
RETRY_S = 0.2  # first pause between attempts


class ConnectionState(StrEnum):
    """What the follower's connection is worth."""

    CONNECTING = "connecting"
    LIVE = "live"
    LOST = "lost"  # no endpoint answers: what the mirror holds grows stale
    FOREIGN = "foreign"  # the registry answers, and is not this cluster's
    DENIED = "denied"  # the registry refuses us
    HELD = "held"  # the registry's history went back, and nobody has accepted that yet


@dataclass(frozen=True, slots=True)
class FollowUpdate:
    """What happened since the last one: the records that changed, or everything (`reset`)."""

    changed: tuple[Address, ...] = ()
    reset: bool = False
    link: ConnectionState = ConnectionState.LIVE
    reason: str = ""


class Follower:
    """Keeps `mirror` current below `root` (default: the whole prefix of `keys`).

    `cluster_id` pins the sentinel: once known (given, or the first one seen) another one is foreign; with
    `pinned=False` the follower takes whatever cluster it finds (an operator's console). A registry that does not
    answer is tried again after `longest_away_s` at the latest. With a `history` nothing is folded in that is older
    than what was acted on. `read` makes of a value what the mirror holds. Only `run` writes the mirror; readers
    call `next` and then read it before they await anything else, or hold `still` while they read.
    """

    def __init__(
        self,
        etcd: Etcd,
        keys: Keys,
        *,
        tables: Iterable[Table] = FOLLOWED,
        root: str | None = None,
        cluster_id: str | None = None,
        pinned: bool = True,
        longest_away_s: float = LONGEST_S,
        history: History | None = None,
        read: Read = decode,
    ) -> None:
        self._history = history
        self._unproven = False  # a new connection may be to an older history
        self._epoch: tuple[str, int] | None = None  # of what the mirror shows
        self._tables = tuple(tables)
        self.mirror = Mirror(keys, self._tables, read)
        self.cluster_id = cluster_id
        self.link = ConnectionState.CONNECTING
        self.reason = ""
        self.revision = 0
        self.changed_at = time.monotonic()  # when the link last proved itself alive or something changed
        self._etcd, self._keys, self._root, self._pinned = etcd, keys, root or keys.prefix, pinned
        self._backoff = etcd.backoff(RETRY_S, longest_away_s=longest_away_s)
        self._proven = False  # a watch has brought something since the last listing
        self._changed: dict[Address, None] = {}
        self._told: dict[str, str] = {}  # corrupt records that are in the log, and what is wrong with them
        self._reset = False
        self._wake = waits.Signal()
        self._wanted = 0  # the revision that a reader waits for, 0: none
        self.still = (
            waits.lock()
        )  # who holds it sees the mirror unchanged; what comes meanwhile waits in the stream

    async def run(self) -> None:
        """Follow for ever; outages, compactions and foreign registries are waited out."""
        while True:
            self._proven = False
            try:
                await self._list()
                await self._watch()  # until another history is accepted
            except Compacted as error:
                if not self._proven:  # history goes faster than we list it
                    await self._backoff.wait(error)
            except HistoryWentBack as error:
                self._set_link(ConnectionState.HELD, str(error))
                await waits.sleep(HELD_S)
            except RegistryError as error:
                link = ConnectionState.DENIED if isinstance(error, RegistryDenied) else ConnectionState.LOST
                link = ConnectionState.FOREIGN if isinstance(error, ForeignRegistry) else link
                self._set_link(link, str(error), news=self._backoff.is_news(error))
                await self._backoff.wait(error)

    @property
    def retry_at(self) -> float:
        """While the link is not live: when (monotonic) the next attempt begins."""
        return self._backoff.until

    async def next(self) -> FollowUpdate:
        """Wait until something changed since the last call; many changes come as one update."""
        await self._wake.wait()
        self._wake.clear()
        update = FollowUpdate(tuple(self._changed), self._reset, self.link, self.reason)
        self._changed, self._reset = {}, False
        return update

    def want(self, revision: int) -> None:
        """Let `next` return once the mirror is at this revision, even if nothing that is followed changes by it."""
        self._wanted = revision
        self._reached()

    def _reached(self) -> None:
        if 0 < self._wanted <= self.revision:
            self._wanted = 0
            self._wake.set()

    async def _list(self) -> None:
        await self._check_history()
        listing = self.mirror.listing()
        if self._root != self._keys.prefix:
            revision = await read_prefix(self._etcd, self._root, 0, listing.add)
        else:
            revision = await read_tables(self._etcd, self._keys, self._tables, listing.add)
        await self._check_sentinel(revision)
        same = self._history is not None and self._epoch == self._history.epoch
        if self._history and same and (older := await waits.in_thread(self.mirror.older, listing)):
            raise self._history.hold(f"{older} is older than it was")  # in one history no record grows older
        async with self.still:
            self.revision = revision
            if self._history is not None:
                key, written_at = listing.newest()
                self._history.act(written_at, key)
                self._history.act(revision)
                self._epoch = self._history.epoch
            self.mirror.adopt(listing, revision)
            self._changed, self._reset = {}, True
            self._tell_corrupt()
            self._set_link(ConnectionState.LIVE)
            self._wake.set()

    def _tell_corrupt(self) -> None:
        """Log each record that does not parse once, however often all is listed; the first of very many."""
        corrupt = self.mirror.corrupt
        fresh = [each for key, each in corrupt.items() if self._told.get(key) != each.reason]
        self._told = {key: each.reason for key, each in corrupt.items()}
        for each in fresh[:CORRUPT_TOLD]:
            log.error("%s; it is left as it is", CorruptRecord(each.key, each.reason), extra=RECORD_CORRUPT.of())
        if len(fresh) > CORRUPT_TOLD:
            log.error("%d more registry records are corrupt", len(fresh) - CORRUPT_TOLD)

    async def _watch(self, enough: Callable[[], bool] = lambda: False) -> None:
        """Fold in what changes until another history is accepted, or a batch is `enough`."""
        stream = self._etcd.watch(self._root, self.revision + 1, self._on_state, self._on_connect)
        async with aclosing(stream):
            async for batch in stream:
                self.changed_at = time.monotonic()
                self._proven = True
                self._backoff.reset()
                if self._unproven or any(change.key == self._keys.cluster for change in batch.changes):
                    await self._check_history()  # also where the sentinel says that another one was accepted
                if self._history is not None and self._epoch != self._history.epoch:
                    return  # another one was accepted while we were away: what the mirror shows is of the old one
                if any(change.kv is None for change in batch.changes):
                    await self._check_sentinel(batch.revision)
                async with self.still:
                    self._fold(batch)
                if enough():
                    return

    def _fold(self, batch: WatchBatch) -> None:
        self.revision = batch.revision
        if self._history is not None:
            if batch.changes:
                newest = batch.changes[-1]
                self._history.act(newest.mod_revision, newest.key, exists=newest.kv is not None)
            self._history.act(batch.revision)
        self._reached()
        if not batch.changes:
            return
        corrupt = self.mirror.corrupt_changes
        changed = self.mirror.apply(
            (RawChange(change.key, None) if change.kv is None else raw(change.kv) for change in batch.changes),
            batch.revision,
        )
        self._changed.update(dict.fromkeys(changed))
        if corrupt != self.mirror.corrupt_changes:
            self._tell_corrupt()
            self._wake.set()
        if changed:
            self._wake.set()

    async def _check_sentinel(self, revision: int) -> None:
        """Whether what was read at a revision was this cluster's: the sentinel was there then, and still is."""
        kv = await self._etcd.get(self._keys.cluster)
        if kv is None or kv.create_revision > revision:
            raise ForeignRegistry(f"{self._keys.cluster} is missing: this registry is empty or not a fleet's")
        found = cluster_of(kv)
        if self.cluster_id is None or not self._pinned:
            self.cluster_id = found.id
        if found.id != self.cluster_id:
            raise ForeignRegistry(f"this registry belongs to cluster {found.id}, not to {self.cluster_id}")

    async def _check_history(self) -> None:
        if self._history is not None:
            await self._history.check(self._etcd)
        self._unproven = False

    def _on_connect(self) -> None:
        self._unproven = True

    def _on_state(self, connected: bool, reason: str) -> None:  # noqa: FBT001 - the watch's callback
        self._set_link(ConnectionState.LIVE if connected else ConnectionState.LOST, "" if connected else reason)

    def _set_link(self, link: ConnectionState, reason: str = "", *, news: bool = False) -> None:
        """`news`: tell this reason though the link is no other than before."""
        if (link, reason) == (self.link, self.reason):
            return
        tell = log.info if link is ConnectionState.LIVE else log.warning
        if (
            news or link is not self.link
        ) and link is not ConnectionState.HELD:  # of that the history itself tells, once
            tell("registry link: %s%s", link, f" ({reason})" if reason else "")
        self.link, self.reason = link, reason
        self._wake.set()
