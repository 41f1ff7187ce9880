"""The units of the campaign: their texts, and what each may rightfully do. Pure.

Every unit notes its own life in a file of its machine: a line when it is about to start and one when the last of it
is gone, with the machine's uptime, which all machines share with this host.
"""

from __future__ import annotations

from dataclasses import dataclass

TRACE = "/var/chaos/trace"
PREFIX = "chaos-"
HOST_UNIT = "chaos-host.service"  # a name that belongs to the machines themselves
TEMPLATE = "chaos-t@.service"

_NOTE = '/bin/sh -c \'read up rest </proc/uptime; echo "$$up {word} %n {version}" >>' + TRACE + "'"


@dataclass(frozen=True, slots=True)
class Kind:
    """What one sort of unit is made of and what it may do."""

    service: str  # lines of its [Service] section
    fleet: str = ""  # lines of its [X-Fleet] section
    stays: bool = True  # once started it is up until it is stopped
    restarts: bool = False  # systemd itself starts it again
    fails: bool = False  # its start rightfully goes wrong
    stop_s: float = 0.5  # how long its stop may take
    moves: bool = False  # other units decide where it runs


_SLEEP = "ExecStart=/bin/sleep infinity\n"
SLEEPER = Kind(_SLEEP)
STUBBORN = Kind("ExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'\nTimeoutStopSec=3\n", stop_s=3.5)
SLOW = Kind(_SLEEP + "ExecStop=/bin/sleep 1.5\n", stop_s=2.0)
FORKER = Kind("Type=forking\nExecStart=/bin/sh -c 'setsid -f sleep infinity; setsid -f sleep infinity'\n")
HANGER = Kind("Type=notify\nTimeoutStartSec=12\n" + _SLEEP, stays=False, fails=True)
FAILER = Kind("ExecStart=/bin/false\n", stays=False, fails=True)
MISSING = Kind("ExecStart=/usr/bin/does-not-exist\n", stays=False, fails=True)
ONCE = Kind("Type=oneshot\nExecStart=/bin/true\n", stays=False)
BRIEF = Kind("ExecStart=/bin/sleep 3\n", stays=False)
CRASHER = Kind("ExecStart=/bin/sleep 2\nRestart=always\nRestartSec=1\n", stays=False, restarts=True)
RIVAL = Kind(_SLEEP, "Conflicts=chaos-rival*\n", moves=True)
FOLLOWER = Kind(_SLEEP, "MachineOf=chaos-sleep1.service\n", moves=True)
PINNED = Kind(_SLEEP, "MachineMetadata=node=n2\n")
MARTIAN = Kind(_SLEEP, "MachineMetadata=planet=mars\n")
GLOBAL = Kind(_SLEEP, "Global=true\n")

KINDS = {
    **{f"chaos-sleep{number}.service": SLEEPER for number in range(1, 7)},
    **{f"chaos-t@{number}.service": SLEEPER for number in range(1, 5)},
    "chaos-stubborn.service": STUBBORN,
    "chaos-slow1.service": SLOW,
    "chaos-slow2.service": SLOW,
    "chaos-fork.service": FORKER,
    "chaos-hang.service": HANGER,
    "chaos-fail.service": FAILER,
    "chaos-missing.service": MISSING,
    "chaos-once.service": ONCE,
    "chaos-brief.service": BRIEF,
    "chaos-crash.service": CRASHER,
    "chaos-rival1.service": RIVAL,
    "chaos-rival2.service": RIVAL,
    "chaos-follow.service": FOLLOWER,
    "chaos-pinned.service": PINNED,
    "chaos-mars.service": MARTIAN,
    "chaos-all.service": GLOBAL,
    HOST_UNIT: SLEEPER,
}
NAMES = tuple(KINDS)
INSTANCES = tuple(name for name in NAMES if name.startswith(TEMPLATE.partition("@")[0] + "@"))


def text(unit: str, version: int) -> str:
    """A unit's file in one of its versions."""
    kind = SLEEPER if unit == TEMPLATE else KINDS[unit]
    start, end = (_NOTE.format(word=word, version=version) for word in ("start", "end"))
    fleet = f"\n[X-Fleet]\n{kind.fleet}" if kind.fleet else ""
    return (
        f"[Unit]\nDescription=chaos, version {version}\n\n"
        f"[Service]\nExecStartPre={start}\n{kind.service}ExecStopPost={end}\n{fleet}"
    )


def host_text() -> str:
    """The machines' own unit, which the fleet must leave alone."""
    return f"[Unit]\nDescription=the host's own\n[Service]\n{_SLEEP}[Install]\nWantedBy=multi-user.target\n"
