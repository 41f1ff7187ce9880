"""What coroutines wait with: asyncio where an event loop runs, and the thread itself where `run_alone` drives them.

asyncio takes longer to import than a short command takes for all of its work. A command that does one thing after
the other needs none of it: its coroutines never have to give way to others, so they are driven to their end by
hand, and what would suspend them blocks instead. Nothing here imports asyncio unless a loop runs.
"""

from __future__ import annotations

import sys
import time
from _thread import get_ident
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from math import inf
from typing import Any, TypeVar

T = TypeVar("T")


class NeedsLoop(Exception):
    """What is to be done runs in an event loop only."""


_alone: set[int] = set()  # the threads in which coroutines are driven by hand
_deadlines: list[float] = []  # of the blocks that such a thread is in (monotonic)


def run_alone(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine to its end in this thread, without an event loop. Raises what it raises."""
    thread = get_ident()
    _alone.add(thread)
    try:
        coroutine.send(None)
    except StopIteration as done:
        result: T = done.value
        return result
    finally:
        _alone.discard(thread)
        coroutine.close()
    raise RuntimeError("a coroutine that runs alone waited for an event loop")


def is_alone() -> bool:
    """Whether this thread's coroutines are driven without an event loop."""
    return get_ident() in _alone


def now() -> float:
    """Seconds on the clock that time-outs are counted on."""
    return time.monotonic() if is_alone() else float(_asyncio().get_running_loop().time())


async def sleep(seconds: float) -> None:
    """Let time pass."""
    if is_alone():
        time.sleep(seconds)  # noqa: ASYNC251 - there is no loop
    else:
        await _asyncio().sleep(seconds)


async def gather(*waits: Coroutine[Any, Any, T]) -> list[T]:
    """What all of these return; side by side where a loop runs, else one after the other."""
    if not is_alone():
        return list(await _asyncio().gather(*waits))
    try:
        return [await each for each in waits]
    finally:
        for each in waits:
            each.close()


async def all_or_none(*waits: Coroutine[Any, Any, T]) -> list[T]:
    """As `gather`; once one of them fails, the others are ended before its error is raised."""
    if is_alone():
        return await gather(*waits)
    asyncio = _asyncio()
    tasks = [asyncio.create_task(each) for each in waits]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # what failed beside the first needs no telling


async def in_thread(work: Callable[..., T], *values: object) -> T:
    """What a function returns that blocks: a loop goes on meanwhile."""
    if is_alone():
        return work(*values)
    result: T = await _asyncio().to_thread(work, *values)
    return result


def timeout(seconds: float) -> AbstractAsyncContextManager[object]:
    """A block that ends with TimeoutError after so many seconds; alone, what waits in it asks `seconds_left`."""
    if is_alone():
        return _Deadline(seconds)
    found: AbstractAsyncContextManager[object] = _asyncio().timeout(seconds)
    return found


def seconds_left() -> float:
    """How long what this thread waits for may still take."""
    return min(_deadlines, default=inf) - time.monotonic()


def lock() -> AbstractAsyncContextManager[object]:
    """A lock; alone, nobody else is there to be kept out."""
    return _Nothing() if is_alone() else _asyncio().Lock()


def slots(count: int) -> AbstractAsyncContextManager[object]:
    """A semaphore; alone, there is one at a time anyway."""
    return _Nothing() if is_alone() else _asyncio().Semaphore(count)


class Signal:
    """An event of asyncio's, which is made when somebody waits for it."""

    def __init__(self) -> None:
        self._set = False
        self._event: Any = None

    def set(self) -> None:
        """Wake who waits, and let who comes later not wait."""
        self._set = True
        if self._event is not None:
            self._event.set()

    def clear(self) -> None:
        """Let who comes from now on wait again."""
        self._set = False
        if self._event is not None:
            self._event.clear()

    async def wait(self) -> None:
        """Wait until it is set."""
        if not self._set:
            self._event = self._event or _asyncio().Event()
            await self._event.wait()


class _Nothing(AbstractAsyncContextManager[object]):
    async def __aexit__(self, *_: object) -> None:
        return None


class _Deadline(AbstractAsyncContextManager[object]):
    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    async def __aenter__(self) -> object:
        _deadlines.append(self._until)
        return self

    async def __aexit__(self, *_: object) -> None:
        _deadlines.remove(self._until)


def _asyncio() -> Any:  # noqa: ANN401 - a module
    found = sys.modules.get("asyncio")
    if found is None:
        import asyncio as found  # noqa: PLC0415 - see above
    return found
