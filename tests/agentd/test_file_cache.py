"""FileCache of unit files from a real etcd: each is fetched once, for all that wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from agentd.file_cache import FileCache, FileMissing
from registry.errors import CorruptRecord
from registry.etcd import Etcd
from registry.keys import Keys
from registry.units.file import file_hash

pytestmark = pytest.mark.etcd

TEXT = "[Service]\nExecStart=/bin/true\n"
SHA = file_hash(TEXT)


async def stored(etcd: Etcd, prefix: str) -> tuple[FileCache, str]:
    """FileCache below this prefix, where there is one; and its key."""
    keys = Keys.under(prefix)
    await etcd.put(keys.file(SHA), TEXT.encode())
    return FileCache(etcd, keys.file), keys.file(SHA)


async def test_all_that_wait_for_a_text_go_on_together(etcd_client: Etcd, prefix: str) -> None:
    (texts, _), turns = await stored(etcd_client, prefix), 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.create_task(count_turns())
    ends = await asyncio.gather(*(_turn_of(texts, lambda: turns) for _ in range(50)))
    counting.cancel()
    assert max(ends) - min(ends) <= 1


async def _turn_of(texts: FileCache, turn: Callable[[], int]) -> int:
    assert await texts.get(SHA) == TEXT
    return turn()


async def test_who_gives_up_waiting_leaves_the_text_to_the_others(etcd_client: Etcd, prefix: str) -> None:
    texts, _ = await stored(etcd_client, prefix)
    first, second = asyncio.create_task(texts.get(SHA)), asyncio.create_task(texts.get(SHA))
    await asyncio.sleep(0)
    first.cancel()
    assert await second == TEXT
    assert first.cancelled()


async def test_a_text_that_is_missing_or_wrong_is_asked_for_again(etcd_client: Etcd, prefix: str) -> None:
    texts, key = await stored(etcd_client, prefix)
    await etcd_client.put(key, b"something else")
    with pytest.raises(CorruptRecord, match="not what its hash says"):
        await texts.get(SHA)
    await etcd_client.delete(key)
    with pytest.raises(FileMissing, match=SHA[:7]):
        await texts.get(SHA)
    await etcd_client.put(key, TEXT.encode())
    assert await texts.get(SHA) == TEXT
