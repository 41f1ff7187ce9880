"""Unit files' texts by hash, from the registry. Owns the check that a text is what its hash says.

Many instances share one file: it is fetched once, all that wait for it go on together, and it is kept while the
batch that needs it runs.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from hashlib import sha256

from registry.errors import CorruptRecord, FleetError
from registry.etcd import Etcd
from registry.keys import Keys

KEPT = 64


class FileMissing(FleetError):
    """The registry does not hold the file."""


class FileCache:
    """Fetches texts, each at most once at a time."""

    def __init__(self, etcd: Etcd, keys: Keys) -> None:
        self._etcd = etcd
        self._keys = keys
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
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)

    async def _fetch(self, sha: str) -> str:
        key = self._keys.file(sha)
        kv = await self._etcd.get(key)
        if kv is None:
            raise FileMissing(f"its file {sha[:7]} is missing from the registry; submit it again with --replace")
        if sha256(kv.value).hexdigest() != sha:
            raise CorruptRecord(key, "the text is not what its hash says; submit it again with --replace")
        return kv.value.decode("utf-8", "replace")
