"""Unit files' texts by hash, from the registry. Owns the check that a text is what its hash says.

Many instances share one file: it is fetched once, and kept while the batch that needs it runs.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from hashlib import sha256

from registry.errors import CorruptRecord, FleetError
from registry.etcd import Etcd
from registry.keys import Keys

KEPT = 64


class TextMissing(FleetError):
    """The registry does not hold the file."""


class Texts:
    """Fetches texts, each at most once at a time."""

    def __init__(self, etcd: Etcd, keys: Keys) -> None:
        self._etcd = etcd
        self._keys = keys
        self._kept: OrderedDict[str, str] = OrderedDict()
        self._locks: dict[str, asyncio.Lock] = {}

    async def get(self, sha: str) -> str:
        """The text. Raises TextMissing, CorruptRecord, or what the registry raises."""
        if sha not in self._kept:
            async with self._locks.setdefault(sha, asyncio.Lock()):
                if sha not in self._kept:
                    self._keep(sha, await self._fetch(sha))
            self._locks.pop(sha, None)
        self._kept.move_to_end(sha)
        return self._kept[sha]

    async def _fetch(self, sha: str) -> str:
        key = self._keys.file(sha)
        kv = await self._etcd.get(key)
        if kv is None:
            raise TextMissing(f"its file {sha[:7]} is missing from the registry; submit it again with --replace")
        if sha256(kv.value).hexdigest() != sha:
            raise CorruptRecord(key, "the text is not what its hash says; submit it again with --replace")
        return kv.value.decode("utf-8", "replace")

    def _keep(self, sha: str, text: str) -> None:
        self._kept[sha] = text
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
