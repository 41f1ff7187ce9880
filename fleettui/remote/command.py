"""Commands as argument lists, and the outcome of one.

Nothing untrusted reaches a shell unquoted: a command is an argument list, quoted once, here.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from fleettui.remote.process import CHUNK_BYTES, ByteStream, Running
from registry.model import Machine
from registry.units.name import service_of

MAX_OUTPUT_BYTES = 64 * 1024 * 1024
# As root there may be no sudo at all; as anybody else it must not ask.
_SUDO = 'if [ "$(id -u)" = 0 ]; then exec "$@"; else exec sudo -n -- "$@"; fi'
# A session without pam_systemd does not know where the user's own systemd listens.
_USER_BUS = 'export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/run/user/$(id -u)}"; exec "$@"'


@dataclass(frozen=True, slots=True)
class Completed:
    """A command's output and exit status (128 + n when signal n ended it)."""

    stdout: bytes
    stderr: bytes
    status: int


def quoted(argv: Sequence[str]) -> str:
    """An argument list as one shell command."""
    return shlex.join(argv)


def as_root(argv: Sequence[str]) -> list[str]:
    """The command as root: by sudo that must not ask, unless we are root already."""
    return ["sh", "-c", _SUDO, "sh", *argv]


def within(timeout_s: float, argv: Sequence[str]) -> list[str]:
    """The command, ended by its own machine a second after we gave up on it.

    Closing the channel does not end it, and sshd passes no signals on when root is logged in.
    """
    return ["timeout", "--kill-after=2", f"{timeout_s + 1:.3f}", *argv]


def on_user_bus(argv: Sequence[str]) -> list[str]:
    """The command where it finds the user's own systemd."""
    return ["sh", "-c", _USER_BUS, "sh", *argv]


def status_argv(
    machine: Machine, unit: str, *, colour: bool = False, lines: int | None = None, sudo: bool = False
) -> list[str]:
    """`systemctl status` of one unit as its machine's systemd prints it."""
    argv = ["env", f"SYSTEMD_COLORS={int(colour)}", "SYSTEMD_URLIFY=0", "systemctl"]
    argv += ["--user"] if machine.bus == "user" else []
    argv += ["--no-pager", "--full"]
    argv += [] if lines is None else [f"--lines={lines}"]
    argv += ["status", "--", service_of(unit)]
    if machine.bus == "user":
        return on_user_bus(argv)
    return as_root(argv) if sudo else argv


def look_argvs(machine: Machine, unit: str) -> list[tuple[str, list[str]]]:
    """What else a machine can say of a unit, a timer's times first: a heading, and the command that prints it."""
    kind, user = unit.rpartition(".")[2], ["--user"] if machine.bus == "user" else []
    env = ["env", "SYSTEMD_COLORS=1", "SYSTEMD_URLIFY=0"]
    systemctl = [*env, "systemctl", *user, "--no-pager", "--full"]
    found = []
    if kind == "timer":
        found.append(("when it elapses, and did", [*systemctl, "list-timers", "--all", "--", unit]))
    if kind == "socket":
        found.append(("what it listens on", [*systemctl, "list-sockets", "--all", "--", unit]))
    if kind in ("service", "scope"):
        which = f"--user-unit={unit}" if user else f"--unit={unit}"
        found.append(("its processes", [*env, "systemd-cgls", "--no-pager", "--full", which]))
    found.append(("its file and drop-ins, as systemd has them", [*systemctl, "cat", "--", unit]))
    if kind in ("service", "socket", "mount", "swap"):
        found.append(("how exposed it is", [*env, "systemd-analyze", *user, "--no-pager", "security", "--", unit]))
    return [(title, on_user_bus(argv) if user else argv) for title, argv in found]


def kill_argv(machine: Machine, unit: str, signal: str) -> list[str]:
    """`systemctl kill`: a signal to all processes of a unit, as root where the system's systemd runs it."""
    argv = ["systemctl", *(["--user"] if machine.bus == "user" else []), "kill", f"--signal={signal}", "--", unit]
    return on_user_bus(argv) if machine.bus == "user" else as_root(argv)


def start_argv(machine: Machine, unit: str) -> list[str]:
    """`systemctl start` without waiting, as a timer does it; as root where the system's systemd runs the unit."""
    argv = ["systemctl", *(["--user"] if machine.bus == "user" else []), "start", "--no-block", "--", unit]
    return on_user_bus(argv) if machine.bus == "user" else as_root(argv)


async def collect(running: Running) -> Completed:
    """Read a command to its end. Raises LinkLost, and OverflowError for more output than anybody asked for."""
    stdout, stderr = await asyncio.gather(_all(running.stdout), _all(running.stderr))
    return Completed(stdout, stderr, await running.wait())


async def hand_on(running: Running, take: Callable[[bytes], object]) -> int:
    """Give what a command prints to `take` as it comes; return its exit status. Raises LinkLost."""

    async def read(source: ByteStream) -> None:
        while part := await source.read(CHUNK_BYTES):
            take(part)
            await asyncio.sleep(0)  # a command that prints without end stops nobody else

    await asyncio.gather(read(running.stdout), read(running.stderr))
    return await running.wait()


async def _all(source: ByteStream) -> bytes:
    parts, size = [], 0
    while part := await source.read(CHUNK_BYTES):
        size += len(part)
        if size > MAX_OUTPUT_BYTES:
            raise OverflowError
        parts.append(part)
    return b"".join(parts)
