"""The sources of time and chance that programs use, replaced by those of the simulated world.

Everything here is global to the process: a simulation runs in a process of its own. Each program has its own
clocks and its own random numbers, which follow from the seed and its name.
"""

from __future__ import annotations

import asyncio
import gc
import os
import pathlib
import random
import secrets
import socket
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from random import Random
from types import BuiltinFunctionType, FunctionType
from typing import Any

import registry.etcd.wire
import registry.keys
import registry.records
import registry.units.file
import registry.units.options
from tests.simulation.loop import EPOCH, PROGRAM, START_AT, Program, SimulatedLoop
from tests.simulation.primitives import gather, shield

KEPT = 20_000  # of each kind
OURS = ("registry", "placement", "scheduler", "agentd", "fleettui")
RANDOM_FUNCTIONS = (
    "random", "uniform", "choice", "getrandbits", "randint", "randrange", "shuffle", "sample", "expovariate",
    "gauss", "randbytes", "choices", "triangular", "betavariate",
)  # fmt: skip


def same_in_each_run(arguments: list[str]) -> None:
    """Begin again with a fixed hash seed, unless this process has one: sets of strings get one order."""
    if os.environ.get("PYTHONHASHSEED") != "0":
        environment = {**os.environ, "PYTHONHASHSEED": "0", "TZ": "UTC"}
        os.execve(sys.executable, [sys.executable, *arguments], environment)  # noqa: S606 - this very program


def take_over(loop: SimulatedLoop) -> None:
    """From here on the process has the world's time, and chance from the seed."""
    gc.disable()  # its moments depend on the version of Python, and it ends what was killed
    os.environ["TZ"] = "UTC"
    time.tzset()
    _clocks(loop)
    _chance(loop)
    _files()
    _remember()
    vars(asyncio).update(gather=gather, shield=shield)
    vars(socket)["gethostname"] = lambda: current(loop).host or "world"
    vars(os)["getpid"] = lambda: current(loop).pid


def _remember() -> None:
    """Have what every program reads in turn be read once.

    A key, a record, a unit file, its options and a watch's line are read by functions that are pure, and what they
    return never changes: the programs of one process may share it. What does not parse is read each time.
    """
    remembered = (
        registry.records.decode, registry.units.file.parse, registry.units.options.parse_options,
        registry.etcd.wire.decode_watch,
    )  # fmt: skip
    for function in remembered:
        shared = _shared(function)
        for name, module in list(sys.modules.items()):
            if name.startswith(OURS):
                vars(module).update({each: shared for each, value in vars(module).items() if value is function})
    setattr(registry.keys.Keys, "parse", _shared(registry.keys.Keys.parse))  # noqa: B010 - replaced on purpose


def _shared(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with what it returned for the same first arguments; the last one (a key) only names it."""
    known: dict[Any, Any] = {}

    def read(first: Any, second: Any = None, *rest: Any) -> Any:
        arguments = (first, second)
        try:
            return known[arguments]
        except KeyError:
            if len(known) > KEPT:
                known.clear()
        found = known[arguments] = function(*(arguments if second is not None else (first,)), *rest)
        return found

    return read


def current(loop: SimulatedLoop) -> Program:
    """The program whose step this is."""
    return PROGRAM.get(loop.world)


def wall(program: Program, now: float) -> float:
    """The wall clock of a program, in seconds since 1970."""
    return EPOCH + program.monotonic(now) - START_AT + program.wall_offset


def now(loop: SimulatedLoop) -> float:
    """The wall clock of the program whose step this is."""
    return wall(current(loop), loop.now)


def _clocks(loop: SimulatedLoop) -> None:
    world, program = loop.world, PROGRAM.get

    def monotonic() -> float:
        return program(world).monotonic(loop.now)

    clocks: dict[str, Callable[[], float]] = {
        "monotonic": monotonic,
        "perf_counter": monotonic,
        "time": lambda: now(loop),
        "monotonic_ns": lambda: int(monotonic() * 1e9),
        "perf_counter_ns": lambda: int(monotonic() * 1e9),
        "time_ns": lambda: int(now(loop) * 1e9),
    }
    replaced = {getattr(time, name): clock for name, clock in clocks.items()}
    vars(time).update(clocks, clock_gettime=lambda _clock: monotonic())
    _defaults(replaced)


def _defaults(replaced: dict[Any, Any]) -> None:
    """A clock may be the default of an argument: it was taken when the function was made."""
    for each in gc.get_objects():
        if isinstance(each, FunctionType) and (each.__module__ or "").startswith(OURS):
            kept = each.__kwdefaults__ or {}
            kept.update({name: replaced[value] for name, value in kept.items() if _is_in(replaced, value)})
            values = each.__defaults__ or ()
            if any(_is_in(replaced, value) for value in values):
                each.__defaults__ = tuple(replaced[each] if _is_in(replaced, each) else each for each in values)


def _is_in(replaced: dict[Any, Any], value: object) -> bool:
    return isinstance(value, BuiltinFunctionType) and value in replaced


def _chance(loop: SimulatedLoop) -> None:
    def drawn(name: str) -> Callable[..., object]:
        def function(*args: Any, **options: Any) -> object:
            return getattr(current(loop).random, name)(*args, **options)

        return function

    vars(random).update({name: drawn(name) for name in RANDOM_FUNCTIONS})

    def some_bytes(count: int = 32) -> bytes:
        source: Random = current(loop).random
        return source.randbytes(count)

    def below(most: int) -> int:
        return current(loop).random.randrange(most)

    vars(os)["urandom"] = some_bytes
    vars(secrets).update(
        token_bytes=some_bytes,
        token_hex=lambda count=32: some_bytes(count).hex(),
        randbelow=below,
    )
    vars(uuid)["uuid4"] = lambda: uuid.UUID(bytes=some_bytes(16), version=4)


def _files() -> None:
    """Directories are listed in the order of their names: the kernel's own order is nobody's promise."""
    listed = pathlib.Path.iterdir

    def iterdir(self: pathlib.Path) -> Iterator[pathlib.Path]:
        return iter(sorted(listed(self)))

    setattr(pathlib.Path, "iterdir", iterdir)  # noqa: B010 - a method is replaced on purpose
