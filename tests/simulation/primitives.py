"""asyncio's `gather` and `shield`, with the same steps in each version of Python."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any


class Gathered(asyncio.Future[list[Any]]):
    """What all of some futures bring; cancelling it cancels them."""

    def __init__(self, futures: list[asyncio.Future[Any]], *, keep: bool) -> None:
        super().__init__(loop=asyncio.get_running_loop())
        self._futures, self._left, self._keep = futures, len(set(futures)), keep
        self._cancelling = False
        for each in dict.fromkeys(futures):
            each.add_done_callback(self._take)

    def cancel(self, msg: object = None) -> bool:
        if self.done():
            return False
        cancelled = [each.cancel(msg) for each in self._futures]
        self._cancelling = self._cancelling or any(cancelled)
        return any(cancelled)

    def _take(self, future: asyncio.Future[Any]) -> None:
        self._left -= 1
        error = asyncio.CancelledError() if future.cancelled() else future.exception()
        if self.done():
            return
        if error is not None and not self._keep:
            self.set_exception(error)
        elif not self._left and self._cancelling:
            self.set_exception(asyncio.CancelledError())
        elif not self._left:
            self.set_result([_outcome(each) for each in self._futures])


def gather(*awaitables: Awaitable[Any], return_exceptions: bool = False) -> asyncio.Future[list[Any]]:
    """As asyncio's."""
    futures: list[asyncio.Future[Any]] = [asyncio.ensure_future(each) for each in awaitables]
    gathered = Gathered(futures, keep=return_exceptions)
    if not futures:
        gathered.set_result([])
    return gathered


def shield(awaitable: Awaitable[Any]) -> asyncio.Future[Any]:
    """As asyncio's."""
    inner = asyncio.ensure_future(awaitable)
    if inner.done():
        return inner
    outer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def bring(_: asyncio.Future[Any]) -> None:
        error = None if inner.cancelled() else inner.exception()
        if outer.done():
            return
        if inner.cancelled():
            outer.cancel()
        elif error is not None:
            outer.set_exception(error)
        else:
            outer.set_result(inner.result())

    inner.add_done_callback(bring)
    outer.add_done_callback(lambda _: inner.remove_done_callback(bring) if not inner.done() else None)
    return outer


def _outcome(future: asyncio.Future[Any]) -> Any:
    if future.cancelled():
        return asyncio.CancelledError()
    return future.exception() or future.result()
