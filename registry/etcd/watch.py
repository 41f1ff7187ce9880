"""A watch that outlives its connections: no gap and no repeat across restarts, lost endpoints and silence.

Owns the position in history and the judgement whether a stream is alive. Three things end a stream: etcd says so,
the kernel finds the peer dead, or the stream is quiet and a small read at the same member fails or shows changes
that the stream owes us. It never lists: when history is gone it raises Compacted and the caller does.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import TYPE_CHECKING

from registry.errors import RegistryError
from registry.etcd.backoff import grown, jittered
from registry.etcd.cluster import Compacted, EtcdCluster, explain
from registry.etcd.wire import (
    EtcdError,
    EtcdUnreachable,
    WatchAnswer,
    WatchBatch,
    decode_page,
    decode_store,
    decode_watch,
    span,
    split_lines,
    watch_request,
)
from registry.runtime import waits

if TYPE_CHECKING:
    from registry.etcd.blocking import BlockingStream
    from registry.etcd.transport import WatchStream

OnState = Callable[[bool, str], None]
OnConnect = Callable[[], None]

QUIET_S = 3.0
"""Silence after which a stream has to be proven alive (plus up to a quarter, so that clients spread out)."""

GRACE_S = 1.0
"""How long a stream may take to bring what a read has already shown."""

LARGE_BYTES = 256 * 1024

MOST_LINE_BYTES, MOST_LINE_PIECES = 64 * 1024 * 1024, 100_000
"""A line that goes on beyond this is given up: what it would bring is listed instead, page by page."""

REPORT_S = 1.0
"""A link that is back within this time was never lost, as far as the caller is concerned."""

BACKOFF_S = 0.1
BACKOFF_MAX_S = 3.0


class Watch:
    """One watch over one prefix. `batches` may be iterated once."""

    def __init__(
        self,
        link: EtcdCluster,
        prefix: str,
        start_revision: int,
        on_state: OnState | None,
        on_connect: OnConnect | None = None,
    ) -> None:
        self._link = link
        self._prefix = prefix
        self._next = start_revision
        self._on_state = on_state
        self._on_connect = on_connect
        self._connected = True
        self._alarm: waits.Handle | None = None
        self._failures = 0
        self._denied_anew = False  # the next refusal is of a token just fetched
        self._base = ""
        self._created: int | None = None
        self._silent_at = 0  # where the stream fell silent last
        self._count: int | None = None  # keys under the prefix just before _next, once asked for

    async def batches(self) -> AsyncGenerator[WatchBatch, None]:
        """Batches for ever. Raises Compacted, RegistryDenied, or RegistryError for what no waiting mends."""
        try:
            while True:
                try:
                    async with aclosing(self._attempt()) as attempt:
                        async for batch in attempt:
                            yield batch
                except EtcdUnreachable as outage:
                    self._link.health.unreachable(self._base, str(outage))
                    await self._back_off(str(outage))
                except EtcdError as refusal:
                    await self._judge(refusal)
        finally:
            self._disarm()

    async def _attempt(self) -> AsyncGenerator[WatchBatch, None]:
        self._base = self._link.current
        self._created = None
        stream = await self._link.open_stream(self._base, "/watch", watch_request(self._prefix, self._next))
        pending: list[bytes] = []
        held = 0
        try:
            while (chunk := await self._next_chunk(stream)) != b"":
                if chunk is None:
                    yield WatchBatch(self._next - 1, ())
                    continue
                held = held + len(chunk) if b"\n" not in chunk else len(chunk) - chunk.rfind(b"\n") - 1
                arrived: list[WatchBatch] = []  # a slow reader gets what has come meanwhile at once
                try:
                    for line in split_lines(chunk, pending):
                        if batch := await self._take(line):
                            arrived.append(batch)  # noqa: PERF401 - what came before an error must not be lost
                except (EtcdError, EtcdUnreachable, RegistryError):
                    if arrived:
                        yield _together(arrived)
                    raise
                if arrived:
                    yield _together(arrived)
                if held > MOST_LINE_BYTES or len(pending) > MOST_LINE_PIECES:
                    raise Compacted("more has changed than is read at once")
                await self._check_history()
        finally:
            stream.close()
        if batch := await self._take(b"".join(pending)):
            yield batch
        raise EtcdUnreachable("closed the watch")

    async def _next_chunk(self, stream: WatchStream | BlockingStream) -> bytes | None:
        """The next bytes; None after a silence that is proven harmless; b"" at the end."""
        since_s = waits.now()
        chunk = await _read_within(stream, jittered(QUIET_S, 1, 1.25))
        if chunk is None and await self._owes_changes(since_s):
            chunk = await _read_within(stream, GRACE_S)
            if chunk is None:
                # Once that is a dead connection; twice at one place, a store that is not as we know it.
                again, self._silent_at = self._silent_at == self._next, self._next
                if again:
                    raise Compacted("the watch fell silent twice at the same revision: the history is another one")
                raise EtcdUnreachable("the watch fell silent")
        return chunk

    async def _owes_changes(self, since_s: float) -> bool:
        """Ask the member. Any answer since the silence began will do, if the store has not moved since."""
        heard = self._link.heard_since(self._base, since_s)
        if heard is not None and heard.revision < self._next and self._created is not None:
            return False
        revision = await self._linear_revision()
        return self._created is None or (revision >= self._next and await self._behind())

    async def _linear_revision(self) -> int:
        request = {**span(self._prefix), "range_end": "", "count_only": True}
        revision = decode_store(await self._link.call_at(self._base, "/kv/range", request))
        if revision < self._next - 1:
            raise Compacted("the registry's history went back: it was restored or replaced")
        return revision

    async def _behind(self) -> bool:
        """Compare with the newest key and the number of keys; if they agree, move on to that revision.

        A change that we have not seen is the newest of all, unless it deleted: then there are fewer keys.
        """
        if self._count is None and self._next > 1:
            request = {**span(self._prefix), "count_only": True, "revision": str(self._next - 1)}
            answer = await self._link.call_at(self._base, "/kv/range", request)
            self._count = decode_page(answer).count
        elif self._count is None:
            self._count = 0  # before the first write; as a request it would mean "now"
        newest = {"limit": "1", "sort_order": "DESCEND", "sort_target": "MOD", "keys_only": True}
        answer = await self._link.call_at(self._base, "/kv/range", {**span(self._prefix), **newest})
        page = decode_page(answer)
        if any(kv.mod_revision >= self._next for kv in page.kvs) or page.count != self._count:
            return True
        self._next = max(self._next, page.revision + 1)
        return False

    async def _check_history(self) -> None:
        """A member that starts behind us either lags or lost its history: a linearizable read tells which."""
        if self._created is not None and 0 <= self._created < self._next - 1:
            await self._linear_revision()
        if self._created is not None:
            self._created = -1

    async def _take(self, line: bytes) -> WatchBatch | None:
        if not line.strip():
            return None
        # Replayed history comes as one line of many MB: decoded beside the loop, so that leases go on.
        answer = decode_watch(line) if len(line) < LARGE_BYTES else await waits.in_thread(decode_watch, line)
        if answer.cancelled:
            if revision := answer.compact_revision:
                raise Compacted(f"the registry's history before revision {revision} is gone", revision)
            raise self._link.worded(EtcdError(14, answer.reason), "/watch", span(self._prefix))
        if not answer.created:
            return self._advance(answer)
        self._created = answer.revision
        if self._on_connect is not None:
            self._on_connect()
        self._failures, self._denied_anew = 0, False
        self._report(connected=True, reason=self._base)
        return None

    def _advance(self, answer: WatchAnswer) -> WatchBatch | None:
        changes = tuple(change for change in answer.changes if change.mod_revision >= self._next)
        if answer.changes and not changes:
            return None
        # While a watch catches up, its header is ahead of what it has brought: trust the events.
        revision = changes[-1].mod_revision if changes else answer.revision
        self._next = max(self._next, revision + 1)
        if self._count is not None:
            self._count += sum(-1 if c.kv is None else c.kv.version == 1 for c in changes)
        return WatchBatch(revision, changes)

    async def _judge(self, refusal: EtcdError) -> None:
        """Log in again once, since old etcd calls a dead token a lack of permission; else wait or raise."""
        if refusal.permanent:
            if self._denied_anew:
                raise explain(refusal) from None
            try:
                self._denied_anew = again = await self._link.new_login(self._base)
            except EtcdUnreachable:
                again = True  # there was no login: what is refused next is still the old token
            except EtcdError as denied:
                raise explain(denied) from None
            if not again:
                raise explain(refusal) from None
        elif not refusal.transient:
            raise explain(refusal) from None
        await self._back_off(str(refusal))

    async def _back_off(self, reason: str) -> None:
        """Turn to the next endpoint; at once while there are fresh ones, later and later after that."""
        self._link.leave(self._base)
        self._failures += 1
        lost = f"{self._base}: {reason}"
        spent = self._failures - len(self._link.bases)
        if spent < 0:
            if self._alarm is None:  # the others may take their time: the loss is told unless one of them is quick
                self._alarm = waits.call_later(REPORT_S, lambda: self._report(connected=False, reason=lost))
            return
        self._report(connected=False, reason=lost)
        await waits.sleep(jittered(grown(BACKOFF_S, spent, BACKOFF_MAX_S), 0.5))

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _report(self, *, connected: bool, reason: str) -> None:
        self._disarm()
        if connected != self._connected and self._on_state is not None:
            self._on_state(connected, reason)
        self._connected = connected


async def _read_within(stream: WatchStream | BlockingStream, wait_s: float) -> bytes | None:
    try:
        async with waits.timeout(wait_s):
            return await stream.read()
    except TimeoutError:
        return None


def _together(batches: list[WatchBatch]) -> WatchBatch:
    return WatchBatch(batches[-1].revision, tuple(change for batch in batches for change in batch.changes))
