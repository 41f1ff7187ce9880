"""Giving the terminal away: to another program for a while, or for good when the console is told to end.

While another program has the terminal the event loop goes on and nothing is drawn; afterwards the console is as it
was, whatever happened.

A terminal that is closed is known by its end alone; no signal need come, and one that comes may be meant for the
program that has the terminal just then. Whatever we started there ends with it, and the console never hangs on it.

When a terminal is closed the kernel sends SIGHUP and SIGCONT together. Textual takes the latter for the end of a
suspension and begins to draw again, on nothing: its writer dies, and room in its queue is waited for without end.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from textual.app import App

from fleettui.console.terminal.driver import is_gone
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
    """Ignore the interrupt key: it is for the program that has the terminal, which inherits no empty handler."""
    before = [(number, signal.signal(number, lambda *_: None)) for number in KEYBOARD]
    try:
        yield
    finally:
        for number, handler in before:
            signal.signal(number, handler)


PATIENCE_S = 5  # then the kernel ends us: SIGALRM, with its default action
GRACE_S = 1.0  # for what we started, after SIGHUP; then SIGKILL


def leave_when_told(leave: Callable[[], object]) -> None:
    """Call `leave` on SIGTERM and SIGHUP, in the running loop. Only in the main thread."""
    loop = asyncio.get_running_loop()

    def end(number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            signal.signal(signal.SIGCONT, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE_S)
        loop.call_soon_threadsafe(leave)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)


def leave_when_gone(
    leave: Callable[[], object], give_up: Callable[[], object], descriptors: Iterable[int] = (0, 2)
) -> None:
    """Once the other end of one of these has gone, call `give_up` at once and `leave` in this loop.

    The watch is a thread that sleeps until then. What was started here is told by SIGHUP, as the kernel tells those
    whose terminal it is.
    """
    loop = asyncio.get_running_loop()
    watched = [each for each in descriptors if _can_end(each)]

    def watch() -> None:
        poll = select.poll()
        for each in watched:
            poll.register(each, 0)  # hang-ups and errors are always told; what is typed is not for us
        poll.poll()
        signal.alarm(PATIENCE_S)
        give_up()
        hang_up(descendants())
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            loop.call_soon_threadsafe(leave)

    if watched:
        threading.Thread(target=watch, name="terminal watch", daemon=True).start()


def _can_end(descriptor: int) -> bool:
    """Whether it is a terminal or a pipe that we read; the end of a pipe that we write to is seen by writing."""
    try:
        return os.isatty(descriptor) or (descriptor == 0 and not os.path.samestat(os.fstat(0), os.stat(os.devnull)))  # noqa: PTH116
    except OSError:
        return False


def descendants() -> list[int]:
    """The processes that we started, and those that they did."""
    children: dict[int, list[int]] = {}
    for each in Path("/proc").iterdir():
        if each.name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):  # it has ended meanwhile
                state, parent = (each / "stat").read_text("utf-8", "replace").rpartition(")")[2].split()[:2]
                if state != "Z":
                    children.setdefault(int(parent), []).append(int(each.name))
    found, ahead = [], [os.getpid()]
    while ahead:
        mine = children.get(ahead.pop(), [])
        found += mine
        ahead += mine
    return found


def hang_up(processes: Iterable[int], number: signal.Signals = signal.SIGHUP) -> None:
    """Signal processes that their terminal is gone; stopped ones are continued."""
    for process in processes:
        for each in (number, signal.SIGCONT):
            with contextlib.suppress(OSError):
                os.kill(process, each)


def end_descendants() -> None:
    """End all processes that we started. Blocks for up to GRACE_S."""
    deadline = time.monotonic() + GRACE_S
    hang_up(descendants())
    while (left := descendants()) and time.monotonic() < deadline:
        time.sleep(0.05)
    hang_up(left, signal.SIGKILL)
