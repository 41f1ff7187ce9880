"""Texts by hash, from the registry: unit files, contents of configs. Owns the check that one is what its hash says.

Many instances share one file: it is fetched once, all that wait for it go on together, and it is kept while the
batch that needs it runs.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from hashlib import sha256

from registry.errors import CorruptRecord, FleetError
from registry.etcd import Etcd

KEPT = 64


class FileMissing(FleetError):
    """The registry does not hold the text."""


class FileCache:
    """Fetches texts, each at most once at a time. `key_of`: where one lies; `what`, `remedy`: for what is wrong."""

    def __init__(
        self,
        etcd: Etcd,
        key_of: Callable[[str], str],
        what: str = "its file",
        remedy: str = "submit it again with --replace",
        kept: int = KEPT,
    ) -> None:
        self._etcd, self._key_of = etcd, key_of
        self._what, self._remedy, self._limit = what, remedy, kept
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._coming: dict[str, asyncio.Task[str]] = {}

    async def get(self, sha: str) -> str:
        """The text. Raises FileMissing, CorruptRecord, or what the registry raises."""
        if sha in self._kept:
            self._kept.move_to_end(sha)
            return self._kept[sha]
        coming = self._coming.get(sha)
        if coming is None:
            coming = self._coming[sha] = asyncio.create_task(self._fetch(sha), name=f"fetch {sha[:7]}")
            coming.add_done_callback(lambda done: self._arrived(sha, done))
        return await asyncio.shield(coming)  # whoever gives up waiting leaves it to the others

    def _arrived(self, sha: str, done: asyncio.Task[str]) -> None:
        del self._coming[sha]
        if not done.cancelled() and done.exception() is None:
            self._kept[sha] = done.result()
            while len(self._kept) > self._limit:
                self._kept.popitem(last=False)

    async def _fetch(self, sha: str) -> str:
        key = self._key_of(sha)
        kv = await self._etcd.get(key)
        if kv is None:
            raise FileMissing(f"{self._what} {sha[:7]} is missing from the registry; {self._remedy}")
        if sha256(kv.value).hexdigest() != sha:
            raise CorruptRecord(key, f"the text is not what its hash says; {self._remedy}")
        return kv.value.decode("utf-8", "replace")
