"""An event loop with virtual time, on which several programs take their steps in a seeded order.

Owns time, the order of steps, and the life of programs. A program is known by a context variable, which its tasks
and callbacks inherit: so every step belongs to one. Steps of one program keep the order that asyncio gives them
(unless the seed says otherwise); which program takes the next one is drawn. Time moves only when nobody has a step
to take. A killed program takes no further step, not even to clean up.
"""

from __future__ import annotations

import asyncio
import contextvars
import heapq
import itertools
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from random import Random
from typing import Any

NEVER = 1 << 60
TIMER_S = 1e-9  # no timer is early, whatever the rounding between two clocks
SPIN_STEPS = 200_000  # steps without time moving: the program spins
START_AT = 1_000.0  # of every clock: 0 means "never" in places
EPOCH = 1_800_000_000.0  # the wall clock's time at START_AT


class Spinning(Exception):
    """Steps are taken for ever at one moment."""


class Deadlock(Exception):
    """Nobody has anything to do, ever."""


@dataclass(eq=False)
class Program:
    """One program: its clocks, its random numbers, its steps."""

    name: str
    random: Random
    host: str = ""
    pid: int = 0
    paused: bool = False
    paused_at: float = 0.0
    stood_still: list[tuple[float, float]] = field(default_factory=list)  # from when to when, of the world's time
    dead: bool = False
    rate: float = 1.0  # of its monotonic clock
    wall_offset: float = 0.0
    fuse: int = NEVER  # steps until `blow`
    blow: Callable[[], None] = lambda: None
    steps: int = 0
    queue: deque[Turn] = field(default_factory=deque)
    queued: bool = False
    tasks: list[asyncio.Task[Any]] = field(default_factory=list)
    signals: dict[int, Callable[[], object]] = field(default_factory=dict)
    context: contextvars.Context = field(init=False)
    base: tuple[float, float] = (START_AT, START_AT)  # world time and its own monotonic time, where they were equal
    attributes: dict[str, Any] = field(default_factory=dict)  # for the simulated outside: who is behind a request

    def __post_init__(self) -> None:
        self.context = contextvars.copy_context()
        self.context.run(PROGRAM.set, self)

    def monotonic(self, now: float) -> float:
        """Its monotonic clock when the world's is at `now`."""
        base, own = self.base
        return own + (now - base) * self.rate

    def world_time(self, own: float) -> float:
        """The world's time at which its monotonic clock shows `own`."""
        base, mine = self.base
        return base + (own - mine) / self.rate

    def heard_at(self, told_at: float) -> float:
        """When it could take notice of what it was told at a time of the world."""
        return next((until for since, until in self.stood_still if since <= told_at < until), told_at)


PROGRAM: contextvars.ContextVar[Program] = contextvars.ContextVar("program")


class Step(asyncio.Task[Any]):
    """A task whose hash does not depend on its address, so that sets of tasks have the same order in each run."""

    _numbers = itertools.count(1)
    number: int

    def __new__(cls, *_arguments: object, **_options: object) -> Step:
        self = super().__new__(cls)
        self.number = next(cls._numbers)
        return self

    def __hash__(self) -> int:
        return self.number


class Turn(asyncio.Handle):
    """A callback that is due, or will be `when`: asyncio's handle, made and run with less ado."""

    __slots__ = ("_when",)
    _when: float

    def __init__(
        self, callback: Any, args: tuple[Any, ...], context: contextvars.Context, when: float = 0.0
    ) -> None:
        self._callback, self._args, self._context, self._when = callback, args, context, when
        self._cancelled = False

    def __repr__(self) -> str:
        return f"<Turn {self._callback!r}>"

    def cancel(self) -> None:
        self._cancelled = True
        self._callback, self._args = None, ()  # as asyncio does: nothing is kept alive by what never happens

    def when(self) -> float:
        return self._when


class SimulatedLoop(asyncio.BaseEventLoop):
    """The loop. `now` is the world's time; `time()` the monotonic clock of the program that asks."""

    def __init__(self, seed: int | str, *, shuffle: float = 0.0) -> None:
        super().__init__()
        self.now = START_AT
        self.steps = 0
        self.random = Random(f"loop {seed}")
        self.shuffle = shuffle  # how often the order within a program is drawn, too
        self.world = Program("world", Random(f"world {seed}"))
        self.longest_job_s = 0.004  # of work beside a loop
        self.graveyard: list[
            object
        ] = []  # what belonged to killed programs: nothing of it may run, not even to end
        self._queue: list[Program] = []  # programs with steps to take
        self._heap: list[tuple[float, int, Program | None, Any, tuple[Any, ...]]] = []
        self._order = itertools.count()
        self._seed = seed
        self.set_task_factory(self._make_task)  # type: ignore[arg-type]  # its protocol differs between versions

    def _make_task(
        self, _loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any
    ) -> asyncio.Task[Any]:
        task = Step(work, loop=self, **options)
        context = options.get("context")
        program = context.get(PROGRAM, self.world) if context is not None else PROGRAM.get(self.world)
        tasks = program.tasks
        tasks.append(task)
        if len(tasks) > 400:
            program.tasks = [each for each in tasks if not each.done()]
        return task

    # ---- what programs ask for

    def time(self) -> float:
        program = PROGRAM.get(None)
        return self.now if program is None else program.monotonic(self.now)

    def call_soon(  # type: ignore[override]  # any callback and arguments
        self, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.Handle:
        turn = Turn(callback, args, contextvars.copy_context() if context is None else context)
        self._enqueue(turn)
        return turn

    call_soon_threadsafe = call_soon  # type: ignore[assignment]

    def _enqueue(self, turn: Turn) -> None:
        program: Program = turn._context.get(PROGRAM, self.world)
        if program.dead:
            self.graveyard.append(turn)
            return
        program.queue.append(turn)
        if not program.queued and not program.paused:
            program.queued = True
            self._queue.append(program)

    def call_later(  # type: ignore[override]  # as above
        self, delay: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self.time() + delay, callback, *args, context=context)

    def call_at(  # type: ignore[override]  # as above
        self, when: float, callback: Any, *args: Any, context: contextvars.Context | None = None
    ) -> asyncio.TimerHandle:
        turn = Turn(callback, args, contextvars.copy_context() if context is None else context, when)
        program: Program = turn._context.get(PROGRAM, self.world)
        heapq.heappush(self._heap, (program.world_time(when) + TIMER_S, next(self._order), program, turn, ()))
        return turn  # type: ignore[return-value]  # all of a TimerHandle that is used

    def run_in_executor(self, _executor: object, function: Any, *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]
        """Work beside the loop is done at one moment, some milliseconds later."""
        future = self.create_future()

        def work() -> None:
            if future.cancelled():
                return
            try:
                result = function(*args)
            except Exception as error:  # noqa: BLE001 - the caller gets it
                future.set_exception(error)
            else:
                future.set_result(result)

        self.call_later(self.random.random() * self.longest_job_s, work)
        return future

    def add_signal_handler(  # type: ignore[override]  # as above
        self, sig: int, callback: Any, *args: Any
    ) -> None:
        PROGRAM.get(self.world).signals[sig] = lambda: callback(*args)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        error = context.get("exception")
        raise RuntimeError(f"in the loop: {context.get('message')}: {error!r}") from error

    # ---- what the world does

    def at(self, when: float, callback: Callable[..., object], *args: Any) -> None:
        """Call this at a time of the world, as the world."""
        heapq.heappush(self._heap, (when, next(self._order), None, callback, args))

    def after(self, delay: float, callback: Callable[..., object], *args: Any) -> None:
        """The same, so many seconds from now."""
        heapq.heappush(self._heap, (self.now + delay, next(self._order), None, callback, args))

    def program(self, name: str, host: str = "", *, life: int = 0) -> Program:
        """A new program; `life` tells its incarnations apart."""
        made = Program(name, Random(f"{self._seed} {name} {life}"), host, pid=1000 + life)
        made.base = (self.now, self.now)
        return made

    def spawn(self, program: Program, work: Coroutine[Any, Any, Any], name: str = "main") -> asyncio.Task[Any]:
        """Start a task of a program."""
        return self.create_task(work, name=name, context=program.context)

    def tell(self, program: Program, callback: Callable[..., object], *args: Any) -> None:
        """Have a program take a step of its own soon."""
        self.call_soon(callback, *args, context=program.context)

    def signal(self, program: Program, number: int) -> None:
        """Send a signal that it handles."""
        if not program.dead and number in program.signals:
            self.tell(program, program.signals[number])

    def pause(self, program: Program) -> None:
        """SIGSTOP."""
        if not program.paused:
            program.paused, program.paused_at = True, self.now
        if program.queued:
            program.queued = False
            self._queue.remove(program)

    def resume(self, program: Program) -> None:
        """SIGCONT."""
        if program.paused:
            program.paused = False
            program.stood_still.append((program.paused_at, self.now))
        if program.queue and not program.queued and not program.dead:
            program.queued = True
            self._queue.append(program)

    def kill(self, program: Program) -> None:
        """SIGKILL: nothing of it ever runs again."""
        if program.queued:
            program.queued = False
            self._queue.remove(program)
        program.dead = True
        self.graveyard += [program, *program.tasks, *program.queue]

    def light(self, program: Program, steps: int, blow: Callable[[], None]) -> None:
        """Do something in the middle of a program's work: after so many of its steps."""
        program.fuse, program.blow = max(steps, 1), blow

    # ---- running

    def _run_once(self) -> None:  # noqa: C901 - the one hot loop: all of it in one place, without calls
        queue, heap, draw, since = self._queue, self._heap, self.random.random, self.steps
        while not self._stopping:  # type: ignore[attr-defined]
            if queue:
                at = int(draw() * len(queue)) if len(queue) > 1 else 0
                program = queue[at]
                waiting = program.queue
                if self.shuffle and len(waiting) > 1 and draw() < self.shuffle:
                    waiting.rotate(-int(draw() * min(len(waiting), 4)))
                turn = waiting.popleft()
                if not waiting:
                    program.queued = False
                    queue[at] = queue[-1]
                    queue.pop()
                if turn._cancelled:
                    continue
                self.steps += 1
                program.steps += 1
                turn._context.run(turn._callback, *turn._args)
                program.fuse -= 1
                if program.fuse <= 0:
                    program.fuse = NEVER
                    program.blow()
                if self.steps - since > SPIN_STEPS:
                    raise Spinning(f"{program.name} spins: {self._busy(program)}")
                continue
            if not heap:
                raise Deadlock("nobody has anything to do")
            when, _, owner, what, args = heapq.heappop(heap)
            if owner is None:
                if when > self.now:
                    self.now, since = when, self.steps
                what(*args)
            elif not what._cancelled:
                if when > self.now:
                    self.now, since = when, self.steps
                self._enqueue(what)

    @staticmethod
    def _busy(program: Program) -> str:
        """The tasks that have steps to take."""
        owners = (getattr(each._callback, "__self__", None) for each in program.queue)
        return ", ".join(sorted({each.get_name() for each in owners if isinstance(each, asyncio.Task)}))

    def _process_events(self, _events: object) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps."""
