"""The sentinel `cluster`: proof that a registry is a fleet's, and which one's.

Whoever writes first creates it, once. An agent that has belonged to a cluster never creates one: for it a
registry without its sentinel is silence, not an order.
"""

from __future__ import annotations

from registry.errors import CorruptRecord, ForeignRegistry
from registry.etcd import Compare, Etcd, KeyValue, Op
from registry.keys import Address, Keys, Table
from registry.model import SCHEMA_VERSION, Sentinel
from registry.records import decode, encode


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


async def ensure_cluster(etcd: Etcd, keys: Keys, new_id: str) -> Sentinel:
    """The sentinel, created with `new_id` when there is none."""
    found = await read_cluster(etcd, keys)
    if found is not None:
        return found
    created = Sentinel(new_id)
    await etcd.txn([Compare.absent(keys.cluster)], [Op.put(keys.cluster, encode(created))])
    return await read_cluster(etcd, keys) or created
