"""What coroutines wait with: asyncio where an event loop runs, and `alone` where `run_alone` drives them.

asyncio takes longer to import than a short command takes for all of its work. Everything here does what asyncio's
of the same name does; nothing here imports asyncio unless a loop runs.
"""

from __future__ import annotations

import sys
import time
from _thread import get_ident
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from math import inf
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    import asyncio

    from registry.runtime.alone import Kernel

T = TypeVar("T")


class NeedsLoop(Exception):
    """What is to be done runs in an event loop only."""


class Handle(Protocol):
    """A call to come."""

    def cancel(self) -> None:
        """Let it not come."""


_alone: dict[int, Kernel] = {}  # what drives coroutines without an event loop, by thread


def run_alone(coroutine: Coroutine[Any, Any, T]) -> T:
    """Drive a coroutine to its end in this thread, without an event loop. Raises what it raises."""
    from registry.runtime.alone import Kernel  # noqa: PLC0415 - programs with a loop do without

    thread = get_ident()
    _alone[thread] = kernel = Kernel(coroutine)
    try:
        result: T = kernel.run()
        return result
    finally:
        del _alone[thread]


def is_alone() -> bool:
    """Whether this thread's coroutines are driven without an event loop."""
    return get_ident() in _alone


def now() -> float:
    """Seconds on the clock that time-outs are counted on."""
    return time.monotonic() if is_alone() else float(_asyncio().get_running_loop().time())


def interruption() -> type[BaseException]:
    """What Ctrl-C raises in a command."""
    found: type[BaseException] = KeyboardInterrupt if is_alone() else _asyncio().CancelledError
    return found


async def sleep(seconds: float) -> None:
    """Let time pass."""
    if not is_alone():
        await _asyncio().sleep(seconds)
        return
    until = time.monotonic() + seconds
    while await _pause(until):
        pass


def call_later(seconds: float, act: Callable[[], object]) -> Handle:
    """Call a function after so long, unless it is cancelled."""
    if kernel := _alone.get(get_ident()):
        return kernel.later(seconds, act)
    handle: Handle = _asyncio().get_running_loop().call_later(seconds, act)
    return handle


async def gather(*waits: Coroutine[Any, Any, T]) -> list[T]:
    """What all of these return, side by side."""
    if not is_alone():
        return list(await _asyncio().gather(*waits))
    return await all_or_none(*waits)


async def all_or_none(*waits: Coroutine[Any, Any, T]) -> list[T]:
    """As `gather`; once one of them fails, the others are ended before its error is raised."""
    if kernel := _alone.get(get_ident()):
        begun = [kernel.begin(each) for each in waits]
        try:
            for task in begun:
                await kernel.end(task)
                if task.error is not None:
                    raise task.error
            return [task.value for task in begun]
        finally:
            for task in begun:
                await kernel.cancel(task)
    asyncio = _asyncio()
    tasks = [asyncio.create_task(each) for each in waits]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)  # what failed beside the first needs no telling


@asynccontextmanager
async def beside(work: Coroutine[Any, Any, object], *, linger_s: float = 0.0) -> AsyncIterator[None]:
    """A block beside which something else is done. At its end that has `linger_s` to be done, and is ended then."""
    if kernel := _alone.get(get_ident()):
        begun = kernel.begin(work, wanted_by=kernel.current)
        try:
            yield
            await kernel.end(begun, time.monotonic() + linger_s)
        finally:
            await kernel.cancel(begun)
        return
    asyncio = _asyncio()
    task = asyncio.create_task(work)
    try:
        yield
        await asyncio.wait({task}, timeout=linger_s)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def one_ahead(source: AsyncGenerator[T, None]) -> AsyncGenerator[T, None]:
    """What a generator yields, the next value on its way while one is dealt with. Use it with `aclosing`."""
    kernel = _alone.get(get_ident())
    begin: Any = kernel.begin if kernel else _asyncio().create_task
    task = begin(_next(source))
    try:
        while found := await _value_of(task):
            task = begin(_next(source))
            await sleep(0)  # it asks before anything is done here
            yield found[0]
    finally:
        if kernel:
            await kernel.cancel(task)
        else:
            task.cancel()
            await _asyncio().gather(task, return_exceptions=True)
        await source.aclose()


async def _next(source: AsyncGenerator[T, None]) -> tuple[T] | None:
    """The next value; None at the end."""
    async for value in source:
        return (value,)
    return None


async def _value_of(task: Any) -> Any:  # noqa: ANN401 - a task of either kind
    """What a task returns. Raises what it does."""
    if kernel := _alone.get(get_ident()):
        await kernel.end(task)
        if task.error is not None:
            raise task.error
        return task.value
    return await task


async def in_thread(work: Callable[..., T], *values: object) -> T:
    """What a function returns that blocks: a loop goes on meanwhile."""
    if is_alone():
        return work(*values)
    result: T = await _asyncio().to_thread(work, *values)
    return result


async def readable(descriptor: int, within_s: float = inf, *, or_writable: bool = False) -> None:
    """Wait, alone, until a descriptor can be read, or else written to. TimeoutError."""
    from registry.runtime.alone import READ, WRITE, pause  # noqa: PLC0415 - loaded already

    if not await pause(time.monotonic() + within_s, descriptor, WRITE if or_writable else READ):
        raise TimeoutError


async def _woken(kernel: Kernel, waiting: deque[Any]) -> None:
    """Wait among others until this task is woken."""
    task = kernel.current
    waiting.append(task)
    try:
        await _pause()
    finally:
        with suppress(ValueError):
            waiting.remove(task)


async def _pause(until: float = inf) -> bool:
    from registry.runtime.alone import pause  # noqa: PLC0415 - loaded already

    return await pause(until)


def timeout(seconds: float | None) -> AbstractAsyncContextManager[object]:
    """A block that ends with TimeoutError after so many seconds (None: never)."""
    if is_alone():
        return _Deadline(inf if seconds is None else seconds)
    found: AbstractAsyncContextManager[object] = _asyncio().timeout(seconds)
    return found


def seconds_left() -> float:
    """How long what this task waits for may still take."""
    kernel = _alone.get(get_ident())
    return min(kernel.current.deadlines, default=inf) - time.monotonic() if kernel else inf


def lock() -> asyncio.Lock:
    """A lock; alone, for `async with` only."""
    found: asyncio.Lock = _Turns(1) if is_alone() else _asyncio().Lock()  # type: ignore[assignment]
    return found


def slots(count: int) -> AbstractAsyncContextManager[object]:
    """A semaphore."""
    return _Turns(count) if is_alone() else _asyncio().Semaphore(count)


class Signal:
    """An event of asyncio's, which is made when somebody waits for it."""

    def __init__(self) -> None:
        self._set = False
        self._event: Any = None
        self._waiting = deque[Any]()

    def set(self) -> None:
        """Wake who waits, and let who comes later not wait."""
        self._set = True
        if self._event is not None:
            self._event.set()
        while self._waiting:
            _alone[get_ident()].wake(self._waiting.popleft())

    def clear(self) -> None:
        """Let who comes from now on wait again."""
        self._set = False
        if self._event is not None:
            self._event.clear()

    async def wait(self) -> None:
        """Wait until it is set."""
        if kernel := _alone.get(get_ident()):
            if not self._set:
                await _woken(kernel, self._waiting)
        elif not self._set:
            self._event = self._event or _asyncio().Event()
            await self._event.wait()


class _Turns(AbstractAsyncContextManager[object]):
    """So many may be in the block at once."""

    def __init__(self, free: int) -> None:
        self._free, self._waiting = free, deque[Any]()

    async def __aenter__(self) -> object:
        while not self._free:
            await _woken(_alone[get_ident()], self._waiting)
        self._free -= 1
        return self

    async def __aexit__(self, *_: object) -> None:
        self._free += 1
        while self._waiting:
            _alone[get_ident()].wake(self._waiting.popleft())


class _Deadline(AbstractAsyncContextManager[object]):
    def __init__(self, seconds: float) -> None:
        self._until = time.monotonic() + seconds

    async def __aenter__(self) -> object:
        _alone[get_ident()].current.deadlines.append(self._until)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        from registry.runtime.alone import Cancelled  # noqa: PLC0415 - loaded already

        _alone[get_ident()].current.deadlines.remove(self._until)
        if kind is Cancelled and time.monotonic() >= self._until:
            raise TimeoutError from None


def _asyncio() -> Any:  # noqa: ANN401 - a module
    found = sys.modules.get("asyncio")
    if found is None:
        import asyncio as found  # noqa: PLC0415 - see above
    return found
