"""Coroutines of one thread without an event loop: what a command needs of one, at a fraction of its price.

A command that waits for a change does few things at once: it follows, it asks, it watches the clock. Its coroutines
are tasks here, which are resumed when a moment comes, a socket is ready, or another task wakes them. What they wait
with is in `waits`, which is the same where asyncio runs. Ctrl-C is raised in the first task, where it waits.
"""

from __future__ import annotations

import select
import time
from collections import deque
from collections.abc import Callable, Coroutine
from math import ceil, inf
from types import coroutine
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Generator

READ, WRITE = select.POLLIN, select.POLLOUT


class Cancelled(BaseException):
    """Ends a task that nobody wants any more."""


class Pause(NamedTuple):
    """What a task waits for: a moment (monotonic, seconds), a descriptor, or that it is woken."""

    until: float = inf
    descriptor: int = -1
    events: int = 0


@coroutine
def pause(until: float = inf, descriptor: int = -1, events: int = 0) -> Generator[Pause, bool, bool]:
    """Let others go on; True when the descriptor is ready or somebody woke this task, False when it is late."""
    return (yield Pause(until, descriptor, events))


class AloneTask:
    """A coroutine on its way. `wanted_by`: the task in which its error is raised; None: who waits for its end."""

    def __init__(self, work: Coroutine[Any, Any, Any], wanted_by: AloneTask | None) -> None:
        self.work, self.wanted_by = work, wanted_by
        self.ended = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.deadlines: list[float] = []  # of the blocks that it is in (monotonic, seconds)
        self.waited_for: list[AloneTask] = []
        self.thrown: BaseException | None = None  # to be raised where it waits


class Timer:
    """A function to be called at a moment, unless it is cancelled before."""

    def __init__(self, at: float, act: Callable[[], object]) -> None:
        self.at, self.act = at, act

    def cancel(self) -> None:
        """Let nothing be called."""
        self.at = inf


class Kernel:
    """All tasks of one thread, and the one that runs."""

    def __init__(self, work: Coroutine[Any, Any, Any]) -> None:
        self.first = self.current = AloneTask(work, None)
        self._awake: deque[tuple[AloneTask, bool | None]] = deque([(self.first, None)])
        self._asleep: dict[AloneTask, Pause] = {}
        self._timers: list[Timer] = []

    def run(self) -> Any:  # noqa: ANN401 - what the coroutine returns
        """Drive the first task to its end. Returns and raises what it does; RuntimeError if nothing can wake it."""
        try:
            while not self.first.ended:
                try:
                    self._turn()
                except KeyboardInterrupt as stop:
                    self.throw(self.first, stop)
        finally:
            for task in (*self._asleep, *(task for task, _ in self._awake), self.first):
                task.work.close()
        if self.first.error is not None:
            raise self.first.error
        return self.first.value

    def begin(self, work: Coroutine[Any, Any, Any], wanted_by: AloneTask | None = None) -> AloneTask:
        """A task beside this one."""
        task = AloneTask(work, wanted_by)
        self._awake.append((task, None))
        return task

    async def end(self, task: AloneTask, until: float = inf) -> None:
        """Wait until a task has ended, but no longer than to that moment."""
        waiting = self.current
        task.waited_for.append(waiting)
        while not task.ended and time.monotonic() < until:
            await pause(until)
        task.waited_for.remove(waiting)

    async def cancel(self, task: AloneTask) -> None:
        """End a task, and wait until it has ended."""
        while not task.ended:
            self.throw(task, Cancelled())
            await self.end(task)

    def wake(self, task: AloneTask) -> None:
        """Resume a task that waits."""
        if self._asleep.pop(task, None):
            self._awake.append((task, True))

    def throw(self, task: AloneTask, error: BaseException) -> None:
        """Raise an error in a task where it waits."""
        task.thrown = error
        self.wake(task)

    def later(self, seconds: float, act: Callable[[], object]) -> Timer:
        """Call a function after so long."""
        timer = Timer(time.monotonic() + seconds, act)
        self._timers.append(timer)
        return timer

    def _turn(self) -> None:
        """Let every task that is awake go on, and then wait for what comes first."""
        for _ in range(len(self._awake)):
            self._step(*self._awake.popleft())
        if self.first.ended:
            return
        moments = [timer.at for timer in self._timers]
        moments += [moment for task, each in self._asleep.items() for moment in (each.until, *task.deadlines)]
        due = min(moments, default=inf)
        wanted = {each.descriptor: each.events for each in self._asleep.values() if each.descriptor >= 0}
        if due == inf and not wanted and not self._awake:
            raise RuntimeError("nothing is left that a coroutine which runs alone could wait for")
        left_s = 0.0 if self._awake else due - time.monotonic()
        ready = _poll(wanted, left_s)
        now = time.monotonic()
        for task, each in list(self._asleep.items()):
            if each.descriptor in ready:
                self.wake(task)
            elif min(task.deadlines, default=inf) <= now:
                self.throw(task, Cancelled())
            elif each.until <= now:
                del self._asleep[task]
                self._awake.append((task, False))
        passed = [timer for timer in self._timers if timer.at <= now]
        self._timers = [timer for timer in self._timers if now < timer.at < inf]
        for timer in passed:
            timer.act()

    def _step(self, task: AloneTask, came: bool | None) -> None:  # noqa: FBT001 - what `pause` returns
        self.current = task
        thrown, task.thrown = task.thrown, None
        try:
            wish = task.work.throw(thrown) if thrown else task.work.send(came)
            while not isinstance(wish, Pause):
                wish = task.work.throw(RuntimeError("a coroutine that runs alone waited for an event loop"))
        except StopIteration as done:
            task.value = done.value
        except BaseException as error:  # noqa: BLE001 - raised where the task is waited for
            task.error = error
        else:
            self._asleep[task] = wish
            return
        task.ended = True
        for other in task.waited_for:
            self.wake(other)
        if task.wanted_by and task.error is not None and not isinstance(task.error, Cancelled):
            self.throw(task.wanted_by, task.error)


def _poll(wanted: dict[int, int], left_s: float) -> set[int]:
    """The descriptors that are ready, once there are some or the time is over."""
    if not wanted:
        if left_s > 0:
            time.sleep(left_s)
        return set()
    found = select.poll()
    for descriptor, events in wanted.items():
        found.register(descriptor, events)
    return {descriptor for descriptor, _ in found.poll(None if left_s == inf else max(0, ceil(left_s * 1000)))}
