"""Listing chosen tables of the registry at one revision. Owns no rule about what the records mean."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import aclosing

from registry.errors import RegistryUnavailable
from registry.etcd import Etcd, KeyValue
from registry.keys import PARTS, Keys, Table
from registry.mirror import Mirror, RawChange, Snapshot
from registry.runtime import waits

LEAN_PAGE = 20_000
PAGES = dict.fromkeys((Table.UNITS, Table.SCHEDULE, Table.STATES), LEAN_PAGE)
"""Tables with many small records are asked for in large pages; others may hold a MiB in one, and keep the usual."""
PAGE = 1000

Take = Callable[[Iterable[RawChange]], object]


async def read_tables(etcd: Etcd, keys: Keys, tables: Iterable[Table], take: Take) -> int:
    """Hand every key of these tables to `take`, in pieces, as of one revision; returns that revision.

    What nobody asked for (old events, unit texts) is not sent. Tables are read side by side, and the loop goes on
    between pieces. Compacted when the revision is lost meanwhile: what was taken is worth nothing then.
    """
    tables = tuple(tables)
    if waits.is_alone():  # a connection for each would cost a command more than it saves
        return await _read_in_turns(etcd, keys, tables, take)
    first, *rest = tables
    revision = await _read(etcd, keys, first, 0, take)
    await waits.gather(*(_read(etcd, keys, table, revision, take) for table in rest))
    return revision


async def read_prefix(
    etcd: Etcd, prefix: str, revision: int, take: Take, page: int = LEAN_PAGE, after: str = ""
) -> int:
    """Hand every key below `prefix` to `take`, in pieces, as of `revision` (0: now); returns the revision.

    With `after`, only the keys behind that one.
    """
    async with aclosing(etcd.pieces(prefix, revision=revision, page=page, after=after)) as pieces:
        async for piece in pieces:
            take(map(raw, piece.kvs))
            revision = piece.revision
            await waits.sleep(0)
    return revision


async def read_snapshot(etcd: Etcd, keys: Keys, tables: Iterable[Table]) -> Snapshot:
    """These tables now, as one value; the others are empty in it."""
    tables = tuple(tables)
    mirror = Mirror(keys, tables)
    listing = mirror.listing()
    mirror.adopt(listing, await read_tables(etcd, keys, tables, listing.add))
    return mirror.snapshot()


def raw(kv: KeyValue) -> RawChange:
    """A key as read, for a mirror to fold in."""
    return RawChange(kv.key, kv.value, kv.create_revision, kv.mod_revision, kv.lease)


async def _read_in_turns(etcd: Etcd, keys: Keys, tables: Sequence[Table], take: Take) -> int:
    """One exchange for as much of each table as a small fleet has; then what is left, table by table."""
    try:
        found = await etcd.glance([_prefix(keys, table) for table in tables], PAGE)
    except RegistryUnavailable:  # more than one answer may hold, or than a busy etcd counts within the time-out
        revision = 0
        for table in tables:
            revision = await _read(etcd, keys, table, revision, take)
        return revision
    for table, page in zip(tables, found, strict=True):
        take(map(raw, page.kvs))
        if page.count > len(page.kvs):
            await _read(etcd, keys, table, page.revision, take, after=page.kvs[-1].key)
    return found[0].revision


async def _read(etcd: Etcd, keys: Keys, table: Table, revision: int, take: Take, after: str = "") -> int:
    return await read_prefix(etcd, _prefix(keys, table), revision, take, PAGES.get(table, PAGE), after)


def _prefix(keys: Keys, table: Table) -> str:
    # A single record's key is its own prefix; what else begins so is no key of the layout.
    return keys.table(table)[:-1] if PARTS.get(table, 1) == 0 else keys.table(table)
