"""The client of etcd. What the programs use of it is here; its parts import one another directly.

`client` is made of `cluster` (one call: which endpoint, how often, as whom), `watch` (a position in history),
`wire` (requests and answers as values) and `transport` (one HTTP exchange, the only module that knows etcd3-py and
aiohttp; it is imported at the first call, since a command may end without one).
"""

from registry.etcd.client import Etcd
from registry.etcd.cluster import Compacted
from registry.etcd.endpoint import EtcdSettings
from registry.etcd.wire import (
    MAX_OPS,
    Compare,
    KeyChange,
    KeyValue,
    Member,
    MemberStatus,
    Op,
    RangeResult,
    TxnResult,
    WatchBatch,
)

__all__ = [
    "MAX_OPS",
    "Compacted",
    "Compare",
    "Etcd",
    "EtcdSettings",
    "KeyChange",
    "KeyValue",
    "Member",
    "MemberStatus",
    "Op",
    "RangeResult",
    "TxnResult",
    "WatchBatch",
]
