"""Handing the terminal to another program and taking it back: the console is as it was, whatever happened."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

from textual.app import App

from fleettui.console.terminal.driver import is_gone
from fleettui.console.terminal.leaving import end_descendants
from fleettui.escape import escape

T = TypeVar("T")
KEYBOARD = (signal.SIGINT, signal.SIGQUIT)  # what the terminal sends to all that run on it, us included


async def hand_over(app: App[Any], work: Callable[[], Awaitable[T]], greeting: str = "") -> T:
    """Do the work with the whole terminal; the event loop goes on, and nothing is drawn until it is over.

    Without a terminal of our own (in tests) there is nothing to hand over.
    """
    if app.is_headless:
        return await work()
    failure: BaseException | None = None
    result: Any = None
    with app.batch_update(), _deaf(), app.suspend():
        # What leaves this block by an exception would leave the terminal behind: suspend() does not expect any.
        try:
            if greeting:
                print(escape(greeting), flush=True)
            result = await work()
        except BaseException as error:  # noqa: BLE001 - raised again below
            failure = error
        if is_gone(app):
            end_descendants()
    if failure is not None:
        raise failure
    return result  # type: ignore[no-any-return]


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """The interrupt key is for the program that has the terminal; an empty handler is not inherited by it."""
    before = [(number, signal.signal(number, lambda *_: None)) for number in KEYBOARD]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)
