"""The sentinel `cluster`: proof that a registry is a fleet's, and which one's.

The first writer creates it, once: a scheduler that is started, or an operator's command. An agent never does: for
it a registry without a sentinel is silence, not an order.

An epoch is the time when an operator accepted a history (milliseconds since 1970), and only grows. One that is far
ahead of the clock was accepted by nobody, and could not be raised once it is adopted: the sentinel is broken then.
"""

from __future__ import annotations

from registry.errors import CorruptRecord, ForeignRegistry
from registry.etcd import Compare, Etcd, KeyValue, Op
from registry.keys import Address, Keys, Table
from registry.model import SCHEMA_VERSION, Sentinel
from registry.records import decode, encode

AHEAD_S = 86_400.0  # how far the clocks of a fleet may be apart


async def read_cluster(etcd: Etcd, keys: Keys) -> Sentinel | None:
    """The sentinel, or None when there is none.

    Raises ForeignRegistry when it does not parse or is of a newer schema: nothing here is to be trusted then.
    """
    kv = await etcd.get(keys.cluster)
    return None if kv is None else cluster_of(kv)


def cluster_of(kv: KeyValue) -> Sentinel:
    """The sentinel that a key holds. Raises ForeignRegistry as `read_cluster` does."""
    try:
        record = decode(Address(Table.CLUSTER), kv.value, kv.key)
    except CorruptRecord as error:
        raise ForeignRegistry(str(error)) from error
    if not isinstance(record, Sentinel) or record.schema > SCHEMA_VERSION:
        raise ForeignRegistry(f"{kv.key} is of a newer schema than this program knows; upgrade it")
    return record


def ahead(sentinel: Sentinel, now: float) -> str:
    """Why its epoch cannot have been accepted by this clock's time; "" when it can."""
    if sentinel.epoch <= (now + AHEAD_S) * 1000:
        return ""
    return f"its epoch {sentinel.epoch} is more than a day ahead of this host's clock"


async def ensure_cluster(etcd: Etcd, keys: Keys, new_id: str) -> Sentinel:
    """The sentinel, created with `new_id` when there is none."""
    found = await read_cluster(etcd, keys)
    if found is not None:
        return found
    created = Sentinel(new_id)
    await etcd.txn([Compare.absent(keys.cluster)], [Op.put(keys.cluster, encode(created))])
    return await read_cluster(etcd, keys) or created
