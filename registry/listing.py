"""Listing chosen tables of the registry at one revision. Owns no rule about what the records mean."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from registry.etcd import Etcd, KeyValue, RangeResult
from registry.keys import PARTS, Keys, Table
from registry.mirror import Mirror, RawChange, Snapshot


async def list_tables(etcd: Etcd, keys: Keys, tables: Iterable[Table]) -> RangeResult:
    """All keys of these tables as of one revision: what nobody asked for (old events, unit texts) is not sent."""
    first, *rest = (_prefix(keys, table) for table in tables)
    listing = await etcd.range(first)
    others = await asyncio.gather(*(etcd.range(prefix, revision=listing.revision) for prefix in rest))
    kvs = (*listing.kvs, *(kv for other in others for kv in other.kvs))
    return RangeResult(listing.revision, kvs, len(kvs))


async def read_snapshot(etcd: Etcd, keys: Keys, tables: Iterable[Table]) -> Snapshot:
    """These tables now, as one value; the others are empty in it."""
    tables = tuple(tables)
    listing = await list_tables(etcd, keys, tables)
    mirror = Mirror(keys, tables)
    mirror.reset(map(raw, listing.kvs), listing.revision)
    return mirror.snapshot()


def raw(kv: KeyValue) -> RawChange:
    """A key as read, for a mirror to fold in."""
    return RawChange(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.lease)


def _prefix(keys: Keys, table: Table) -> str:
    """A single record's key is its own prefix; what else begins so is no key of the layout."""
    return keys.table(table)[:-1] if PARTS.get(table, 1) == 0 else keys.table(table)
