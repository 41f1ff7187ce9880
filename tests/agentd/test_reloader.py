from __future__ import annotations

import asyncio

import pytest

from agentd import reloader
from agentd.reloader import Reloader
from registry.errors import SystemdError


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reloader, "QUIET_S", 0.05)


async def _nothing() -> None:
    await asyncio.sleep(0.01)


async def test_a_batch_is_reloaded_once() -> None:
    reload = Reloader(_nothing)
    for number in range(20):
        reload.expect(f"{number}.service")

    async def change(number: int) -> None:
        await asyncio.sleep(number * 0.005)
        await reload.reload(f"{number}.service")

    await asyncio.gather(*map(change, range(20)))
    assert reload.count == 1


async def test_one_that_stops_slowly_delays_no_other() -> None:
    reload = Reloader(_nothing)
    reload.expect("quick.service")
    reload.expect("slow.service")
    async with asyncio.timeout(0.5):
        await reload.reload("quick.service")
    await reload.reload("slow.service")
    assert reload.count == 2


async def test_who_needs_none_after_all_is_not_waited_for() -> None:
    reload = Reloader(_nothing)
    reload.expect("a.service")
    reload.expect("b.service")
    reload.dismiss("b.service")
    await reload.reload("a.service")
    assert reload.count == 1


async def test_a_file_changed_during_a_reload_gets_the_next_one() -> None:
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        begun.set()
        await go_on.wait()

    reload = Reloader(slowly)
    first = asyncio.create_task(reload.reload("a.service"))
    await begun.wait()
    second = asyncio.create_task(reload.reload("b.service"))
    await asyncio.sleep(0.1)
    assert not second.done()
    go_on.set()
    await asyncio.gather(first, second)
    assert reload.count == 2


async def test_a_failure_reaches_all_who_wait_and_none_who_come_later() -> None:
    failing = [True]

    async def maybe() -> None:
        if failing.pop():
            raise SystemdError("", "reload", "no")

    reload = Reloader(maybe)
    results = await asyncio.gather(reload.reload("a"), reload.reload("b"), return_exceptions=True)
    assert [type(each) for each in results] == [SystemdError, SystemdError]
    failing.append(False)
    await reload.reload("c")
