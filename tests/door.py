"""A client of etcd with something happening at one exact await: the registry is real, only the moment is chosen."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from registry.etcd import Etcd

READS = ("get", "range")
WRITES = ("put", "delete", "txn")
LEASES = ("lease_grant", "lease_keepalive", "lease_revoke")
CALLS = (*READS, *WRITES, *LEASES)


class Door:
    """Hands every call on; `happen` is awaited once, between the answer to call number `at` and its return."""

    def __init__(self, etcd: Etcd, at: int, happen: Callable[[], Awaitable[None]]) -> None:
        self._etcd, self._at, self._happen = etcd, at, happen
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._etcd, name)
        if name not in CALLS:
            return method

        async def call(*arguments: Any, **options: Any) -> Any:
            answer = await method(*arguments, **options)
            self.calls.append(name)
            if len(self.calls) == self._at:
                await self._happen()
            return answer

        return call


def door(etcd: Etcd, at: int, happen: Callable[[], Awaitable[None]]) -> Etcd:
    """The client with such a door before it."""
    return cast("Etcd", Door(etcd, at, happen))
