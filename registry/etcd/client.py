"""etcd v3 for all programs: keys, transactions, leases and watches over one cluster with several endpoints.

This is the one door to etcd. Keys are whole key strings, values are bytes; the layout of keys is not known here.
Everything raises the errors of `registry.errors` only: RegistryUnavailable after the endpoints were tried,
RegistryDenied for credentials and rights, LeaseLost for a dead lease, Compacted for lost history.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Self

from registry.errors import LeaseLost
from registry.etcd.backoff import LONGEST_S, Backoff
from registry.etcd.cluster import AnswerTooLarge, Compacted, EtcdCluster, unavailable
from registry.etcd.endpoint import EtcdSettings
from registry.etcd.health import EtcdHealth
from registry.etcd.wire import (
    Compare,
    EtcdUnreachable,
    Json,
    KeyValue,
    Member,
    MemberStatus,
    OddAnswer,
    Op,
    RangeResult,
    TxnResult,
    WatchBatch,
    blob,
    decode_deleted,
    decode_done,
    decode_grant,
    decode_key,
    decode_kvs,
    decode_members,
    decode_page,
    decode_pages,
    decode_remaining,
    decode_renewal,
    decode_status,
    decode_store,
    decode_txn,
    put_request,
    reads_only,
    span,
    text,
    txn_request,
)
from registry.frozen import replace
from registry.runtime import waits

if TYPE_CHECKING:
    from registry.etcd.watch import OnConnect, OnState

PAGE = 2000
PIECE = 1000
QUICK_S, SLOW_S = 0.25, 0.8  # answers that let pages grow, or make them shrink
_LISTINGS = 3


class Etcd:
    """A client of one etcd cluster; use it as `async with Etcd(settings) as etcd`. It connects at the first call.

    UserError for endpoints, certificate files or a password file that cannot be used.
    """

    def __init__(self, settings: EtcdSettings) -> None:
        self._link = EtcdCluster(settings)
        self._leased = settings.leased

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all connections and watches; may be called twice."""
        await self._link.close()

    @property
    def endpoint(self) -> str:
        """The endpoint that the next call goes to."""
        return self._link.current

    @property
    def link(self) -> EtcdCluster:
        """The way to the cluster, for what is not about keys: `admin`."""
        return self._link

    @property
    def health(self) -> EtcdHealth:
        """What the calls so far have shown of the endpoints."""
        return self._link.health

    def backoff(self, first_s: float, *, longest_away_s: float = LONGEST_S) -> Backoff:
        """Pauses for a loop that uses this client; they end when a file changes that a denial may hang on."""
        return Backoff(first_s, longest_away_s=longest_away_s, files=self._link.files)

    async def ask_quiet(self, quiet_s: float) -> None:
        """Ask each endpoint that is down, or has not answered for so long; `health` shows what came of it."""
        await self._link.ask_quiet(quiet_s)

    async def get(self, key: str, *, serializable: bool = False) -> KeyValue | None:
        """One key, or None. `serializable` reads what one member has, even without a quorum: never decide on it."""
        request = {"key": text(key), "serializable": serializable}
        leader = not serializable
        found = await self._link.call("/kv/range", request, decode_page, repeatable=True, leader=leader)
        return found.kvs[0] if found.kvs else None

    async def range(
        self, prefix: str, *, revision: int = 0, keys_only: bool = False, page: int = PAGE
    ) -> RangeResult:
        """All keys that start with `prefix`, sorted, as of one revision (0: now). Compacted if that one is gone."""
        for attempt in range(_LISTINGS):
            kvs: list[KeyValue] = []
            at = revision
            try:
                pieces = self.pieces(prefix, revision=revision, keys_only=keys_only, page=page)
                async with aclosing(pieces) as found:
                    async for piece in found:
                        kvs += piece.kvs
                        at = piece.revision
                return RangeResult(at, tuple(kvs), len(kvs))
            except Compacted:
                if revision or attempt + 1 == _LISTINGS:
                    raise  # else: compacted between two pages of "now", so now is later
        raise AssertionError("unreachable")

    async def glance(self, prefixes: Sequence[str], limit: int = PAGE) -> tuple[RangeResult, ...]:
        """The first keys of each prefix in one exchange, as of one revision; `count` says how many there are."""
        request = txn_request((), [Op.range(each, limit) for each in prefixes], ())
        found = await self._link.call("/kv/txn", request, decode_pages, repeatable=True, bulk=True)
        if len(found) != len(prefixes):
            raise unavailable({self.endpoint: str(OddAnswer("a transaction"))})
        return found

    async def pieces(
        self, prefix: str, *, revision: int = 0, keys_only: bool = False, page: int = PAGE, after: str = ""
    ) -> AsyncGenerator[RangeResult, None]:
        """As `range`, piece by piece and at least one: nobody has to hold all of them, nor to stand still for long.

        With `after`, only the keys behind that one.
        At most `page` keys are asked for at a time. etcd walks over all that remain for each page, so large pages
        are cheaper; but a busy etcd must answer within the time-out, so they grow only while answers are quick.
        The next page is on its way while one is dealt with. Compacted whenever the revision goes while it is read.
        """
        pages = self._pages(prefix, revision, keys_only=keys_only, page=page, after=after)
        async with aclosing(waits.one_ahead(pages)) as found:
            async for at, raw in found:
                for start in range(0, max(len(raw), 1), PIECE):
                    try:
                        kvs = decode_kvs({"kvs": raw[start : start + PIECE]})
                    except EtcdUnreachable as error:
                        raise unavailable({self.endpoint: str(error)}) from None
                    yield RangeResult(at, kvs, len(kvs))

    async def _pages(
        self, prefix: str, revision: int, *, keys_only: bool, page: int, after: str
    ) -> AsyncGenerator[tuple[int, list[Json]], None]:
        """The revision and the keys of each page, as they are sent."""
        request: dict[str, Any] = {**span(prefix), "keys_only": keys_only}
        if after:
            request["key"] = _behind(after)
        limit = min(page, PAGE)
        while True:
            request |= {"revision": str(revision), "limit": str(limit)}
            began = time.monotonic()
            try:
                answer, answered = await self._link.call("/kv/range", request, _raw, repeatable=True, bulk=True)
            except AnswerTooLarge:
                if limit == 1:
                    raise
                limit = max(1, limit // 8)
                continue
            took_s = time.monotonic() - began
            if took_s < QUICK_S:
                limit = min(page, 4 * limit)
            elif took_s > SLOW_S:
                limit = max(min(page, PAGE), limit // 4)
            revision = revision or answered
            raw = answer["kvs"]
            yield revision, raw
            if not answer.get("more") or not raw:
                return
            try:
                request["key"] = _behind(decode_key(raw[-1]))
            except EtcdUnreachable as error:
                raise unavailable({self.endpoint: str(error)}) from None

    async def put(self, key: str, value: bytes, lease: int = 0) -> int:
        """Write a key and return the revision. LeaseLost if the lease is dead, or missing where one is needed."""
        self._check_leases((Op.put(key, value, lease),))
        return await self._link.call("/kv/put", put_request(key, value, lease), decode_store, repeatable=False)

    async def delete(self, key: str) -> bool:
        """Delete a key; False if it was not there."""
        return await self._link.call("/kv/deleterange", {"key": text(key)}, decode_deleted, repeatable=False)

    async def txn(self, compares: Sequence[Compare], then: Sequence[Op], orelse: Sequence[Op] = ()) -> TxnResult:
        """All of `then` if every comparison holds, else all of `orelse`. ValueError above MAX_OPS operations.

        LeaseLost, with nothing written, if a lease is dead, or missing where one is needed.
        """
        self._check_leases(then)
        self._check_leases(orelse)
        request = txn_request(compares, then, orelse)
        repeatable = reads_only(then) and reads_only(orelse)

        def read(answer: Json) -> TxnResult:
            return decode_txn(answer, then, orelse)

        return await self._link.call("/kv/txn", request, read, repeatable=repeatable)

    def _check_leases(self, ops: Sequence[Op]) -> None:
        """A key that should vanish with its writer, written without a lease, would stay for ever."""
        for op in ops if self._leased else ():
            if (key := op.unleased_key) and key.startswith(self._leased):
                raise LeaseLost(f"{key} may not be written without a lease; nothing was written")

    async def lease_grant(self, ttl_s: int, lease_id: int = 0) -> int:
        """A new lease; etcd picks the number unless `lease_id` is given (Conflict if that one exists)."""
        request = {"TTL": str(ttl_s), "ID": str(lease_id)}
        # Granted twice, the lease that nobody knows of just ends.
        return await self._link.call("/lease/grant", request, decode_grant, repeatable=not lease_id)

    async def lease_keepalive(self, lease_id: int) -> float:
        """Renew a lease and return the seconds it has left. LeaseLost if it is dead."""
        request = {"ID": str(lease_id)}
        return _alive(lease_id, await self._link.call("/lease/keepalive", request, decode_renewal, repeatable=True))

    async def lease_time_to_live(self, lease_id: int) -> float:
        """Seconds a lease has left, without renewing it. LeaseLost if it is dead."""
        request = {"ID": str(lease_id)}
        left_s = await self._link.call("/lease/timetolive", request, decode_remaining, repeatable=True)
        return _alive(lease_id, left_s)

    async def lease_revoke(self, lease_id: int) -> None:
        """End a lease and delete its keys; a dead one is as good."""
        try:
            await self._link.call("/lease/revoke", {"ID": str(lease_id)}, decode_done, repeatable=True)
        except LeaseLost:
            return

    def watch(
        self,
        prefix: str,
        start_revision: int,
        on_state: OnState | None = None,
        on_connect: OnConnect | None = None,
    ) -> AsyncGenerator[WatchBatch, None]:
        """Every change under `prefix` from `start_revision` on, across outages, without gap or repeat.

        A batch without changes says that the link is alive and that nothing happened up to its revision; one
        comes at least each few seconds. `on_state(connected, reason)` is called when the link is lost (no
        endpoint took over within a second) and when it is back. Raises RegistryDenied, and Compacted when the
        history is gone: list again. Leave it with `contextlib.aclosing`, so that the connection ends at once.
        """
        from registry.etcd.watch import Watch  # noqa: PLC0415 - what only asks needs none of it

        return Watch(self._link, prefix, start_revision, on_state, on_connect).batches()

    async def status(self) -> MemberStatus:
        """What the current endpoint says of itself."""

        def read(answer: Json) -> MemberStatus:
            return decode_status(answer, self.endpoint)

        found = await self._link.call("/maintenance/status", {}, read, repeatable=True, leader=False)
        return replace(found, endpoint=self.endpoint)  # by now the one that has answered

    async def member_list(self) -> tuple[Member, ...]:
        """The members of the cluster."""
        return await self._link.call("/cluster/member/list", {}, decode_members, repeatable=True)


def _behind(key: str) -> str:
    """The least key that comes after this one, as the gateway wants it."""
    return blob(key.encode("utf-8", "surrogateescape") + b"\0")


def _raw(answer: Json) -> tuple[Json, int]:
    """A page whose keys are still to be decoded, piece by piece, and its revision."""
    revision, kvs = decode_store(answer), answer.get("kvs", [])
    if not isinstance(kvs, list):
        raise OddAnswer("a listing")
    return {"kvs": kvs, "more": bool(answer.get("more"))}, revision


def _alive(lease_id: int, remaining_s: float | None) -> float:
    if remaining_s is None:
        raise LeaseLost(f"lease {lease_id:x} does not exist any more")
    return remaining_s
