"""What coroutines wait with does the same in an event loop and alone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from typing import Any

import pytest

from registry.runtime import waits

Run = Callable[[Coroutine[Any, Any, Any]], Any]
LONG_S = 60.0  # nobody waits so long


@pytest.fixture(params=[asyncio.run, waits.run_alone], ids=["loop", "alone"])
def run(request: pytest.FixtureRequest) -> Run:
    """Both ways to drive a coroutine."""
    found: Run = request.param
    return found


def test_what_is_done_beside_a_block_is_ended_with_it(run: Run) -> None:
    told = []

    async def forever() -> None:
        try:
            told.append("begins")
            await waits.sleep(LONG_S)
        finally:
            told.append("ends")

    async def work() -> None:
        async with waits.beside(forever()):
            await waits.sleep(0.001)
            told.append("block")

    run(work())
    assert told == ["begins", "block", "ends"]


def test_what_is_done_beside_a_block_may_linger(run: Run) -> None:
    told = []

    async def short() -> None:
        await waits.sleep(0.01)
        told.append("done")

    async def work() -> None:
        async with waits.beside(short(), linger_s=LONG_S):
            pass

    run(work())
    assert told == ["done"]


def test_a_signal_wakes_who_waits_and_a_timeout_who_waits_in_vain(run: Run) -> None:
    async def work() -> str:
        came, never = waits.Signal(), waits.Signal()
        waits.call_later(0.001, came.set)
        waits.call_later(0, never.set).cancel()
        async with waits.timeout(LONG_S):
            await came.wait()
        async with waits.timeout(None):
            await came.wait()  # is set
        with pytest.raises(TimeoutError):
            async with waits.timeout(0.01):
                await never.wait()
        with pytest.raises(TimeoutError):
            async with waits.timeout(0.01), waits.timeout(LONG_S):
                await never.wait()
        return "done"

    assert run(work()) == "done"


def test_what_is_gathered_goes_side_by_side_and_comes_in_order(run: Run) -> None:
    told = []

    async def each(name: str) -> str:
        for step in range(2):
            told.append(f"{name}{step}")
            await waits.sleep(0)
        return name

    async def work() -> list[str]:
        return await waits.gather(each("a"), each("b"))

    assert run(work()) == ["a", "b"]
    assert told == ["a0", "b0", "a1", "b1"]


def test_once_one_fails_the_others_are_ended_before_its_error_is_raised(run: Run) -> None:
    told = []

    async def fails() -> None:
        await waits.sleep(0.001)
        raise ValueError("no")

    async def forever() -> None:
        try:
            await waits.sleep(LONG_S)
        finally:
            told.append("ended")

    async def work() -> None:
        await waits.all_or_none(fails(), forever())

    with pytest.raises(ValueError, match="no"):
        run(work())
    assert told == ["ended"]


def test_one_is_asked_for_while_the_one_before_is_dealt_with(run: Run) -> None:
    told: list[str] = []

    async def numbers() -> AsyncGenerator[int, None]:
        try:
            for number in range(3):
                told.append(f"ask {number}")
                await waits.sleep(0)
                yield number
        finally:
            told.append("closed")

    async def work() -> None:
        async with aclosing(waits.one_ahead(numbers())) as found:
            async for number in found:
                told.append(f"take {number}")
                await waits.sleep(0.01)

    run(work())
    assert told == ["ask 0", "ask 1", "take 0", "ask 2", "take 1", "closed", "take 2"]


def test_one_ahead_raises_in_its_place_and_leaves_nothing_behind(run: Run) -> None:
    told: list[object] = []

    async def fails(at: int) -> AsyncGenerator[int, None]:
        try:
            for number in range(10):
                if number == at:
                    raise ValueError("no more")
                yield number
                await waits.sleep(0)
        finally:
            told.append("closed")

    async def take(source: AsyncGenerator[int, None], most: int) -> None:
        async with aclosing(waits.one_ahead(source)) as found:
            async for number in found:
                told.append(number)
                if number == most:
                    return

    with pytest.raises(ValueError, match="no more"):
        run(take(fails(2), 5))
    run(take(fails(9), 0))
    assert told == [0, 1, "closed", 0, "closed"]


@pytest.mark.parametrize(("most", "make"), [(1, waits.lock), (2, lambda: waits.slots(2))])
def test_locks_and_slots_let_so_many_in(run: Run, most: int, make: Callable[[], Any]) -> None:
    inside, seen = [0], []

    async def work() -> None:
        door = make()

        async def each() -> None:
            async with door:
                inside[0] += 1
                seen.append(inside[0])
                await waits.sleep(0.001)
                inside[0] -= 1

        await waits.gather(*(each() for _ in range(5)))

    run(work())
    assert (len(seen), max(seen)) == (5, most)


def test_ctrl_c_is_raised_where_a_command_waits() -> None:
    async def work() -> str:
        async with waits.beside(waits.sleep(LONG_S)):
            waits.call_later(0.001, lambda: os.kill(os.getpid(), signal.SIGINT))
            try:
                await waits.Signal().wait()
            except waits.interruption():
                await waits.sleep(0)  # it can still wait
                return "interrupted"
        return "not"

    assert waits.run_alone(work()) == "interrupted"


def test_alone_an_error_of_what_is_done_beside_a_block_is_raised_in_it() -> None:
    async def fails() -> None:
        raise ValueError("no")

    async def work() -> None:
        async with waits.beside(fails()):
            await waits.Signal().wait()

    with pytest.raises(ValueError, match="no"):
        waits.run_alone(work())


def test_alone_what_nothing_can_wake_is_an_error_and_no_hang() -> None:
    with pytest.raises(RuntimeError, match="nothing is left"):
        waits.run_alone(waits.Signal().wait())
