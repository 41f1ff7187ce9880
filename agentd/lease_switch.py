"""A dead man's switch for on_lost_registry = "stop": a timer of systemd's that this agent holds back.

While the lease is renewed the timer is started over. When it is not, whatever became of the agent (dead, frozen,
without CPU), the timer runs out: systemd stops the units that run, and kills what is left before the lease can end.
Owns the units `fleet-lease.timer` and `.service`, their script, and the list of units in it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from agentd.unit_directory import PUBLIC, read_text, write_atomically
from registry.errors import SystemdError

log = logging.getLogger("fleet.agent")

TIMER, SERVICE = "fleet-lease.timer", "fleet-lease.service"
FIRE_AT, GRACE = 0.55, 0.2  # of the lease: when it fires, and from then until what is left is killed
LATE_AT = 0.2  # of the lease: a renewal whose answer took longer is too old to count from when it came

TIMER_TEXT = """\
# Made by fleet-agentd, for on_lost_registry = "stop". It is started over at each renewal of this machine's lease.
[Unit]
Description=Stop the fleet's units when the lease is not renewed
StartLimitIntervalSec=0
[Timer]
OnActiveSec={after_s:.3f}s
AccuracySec=1ms
"""
SERVICE_TEXT = """\
# Made by fleet-agentd: see fleet-lease.timer.
[Unit]
Description=Stop the fleet's units before the lease of this machine ends
StartLimitIntervalSec=0
[Service]
Type=oneshot
ExecStart=/bin/sh "{script}"
"""
SCRIPT = """\
# Made by fleet-agentd: see fleet-lease.timer. Stops what runs of the units that are listed, and kills what is left.
cd "{directory}" || exit 1
mv lease-units lease-units.due || exit 0
set --
while IFS= read -r unit; do set -- "$@" "$unit"; done <lease-units.due
[ $# -gt 0 ] || exit 0
for state in $(systemctl {manager} is-active -- "$@"); do  # a line for each, in their order
    unit=$1
    shift
    case $state in inactive | failed | unknown) ;; *) set -- "$@" "$unit" ;; esac
done
[ $# -gt 0 ] || exit 0
printf '%s\\n' "$@" >lease-units.new
mv lease-units.new lease-units.stopped
systemctl {manager} stop --no-block -- "$@"
sleep {grace_s:.3f}
systemctl {manager} kill --signal=KILL -- "$@" 2>/dev/null
exit 0
"""


class SwitchCalls(Protocol):
    """What the switch asks of systemd."""

    async def start_over(self, unit: str) -> object:
        """Stop and start a unit."""

    async def stop(self, unit: str) -> object:
        """Stop a unit."""

    async def reload(self) -> None:
        """Read all unit files again."""


class LeaseSwitch:
    """The switch of one machine. `links` is where systemd finds units made at run time; `state` where ours lie."""

    def __init__(self, systemd: SwitchCalls, links: Path, state: Path, bus: str) -> None:
        self._systemd, self._links, self._state, self._manager = systemd, links, state, f"--{bus}"
        self._list = state / "lease-units"
        self._covered: frozenset[str] = frozenset()
        self._ready_for_s = 0.0

    async def hold_back(self, ttl_s: float, units: Iterable[str]) -> None:
        """The lease has just been renewed: begin the time over, for these units. Raises SystemdError, OSError."""
        if self._ready_for_s != ttl_s:
            await self._prepare(ttl_s)
        self._write(frozenset(units))
        await self._systemd.start_over(TIMER)

    def cover(self, unit: str) -> None:
        """This unit is about to be started: it is among those that are stopped."""
        if self._ready_for_s and unit not in self._covered:
            self._write(self._covered | {unit})

    async def fired(self) -> tuple[str, ...]:
        """The units that the switch has stopped since it was last asked; what it still had to do is called off."""
        due, stopped = self._state / "lease-units.due", self._state / "lease-units.stopped"
        if not (due.exists() or stopped.exists()):
            return ()
        await self._systemd.stop(SERVICE)
        names = tuple(read_text(stopped).splitlines())
        for path in (due, stopped):
            path.unlink(missing_ok=True)
        return names

    async def remove(self) -> tuple[str, ...]:
        """Have no switch, also none from an agent before us; return what it has stopped, as `fired` does."""
        self._ready_for_s = 0.0
        if not (self._links / TIMER).exists():
            return ()
        try:
            await self._systemd.stop(TIMER)
            stopped = await self.fired()
        except SystemdError as error:
            log.warning("cannot stop the timer that guards the lease: %s", error)
            return ()
        for path in (self._links / TIMER, self._links / SERVICE, self._list):
            path.unlink(missing_ok=True)
        return stopped

    async def _prepare(self, ttl_s: float) -> None:
        script = self._state / "lease-over.sh"
        texts = {
            script: SCRIPT.format(directory=self._state, manager=self._manager, grace_s=GRACE * ttl_s),
            self._links / SERVICE: SERVICE_TEXT.format(script=script),
            self._links / TIMER: TIMER_TEXT.format(after_s=FIRE_AT * ttl_s),
        }
        changed = [path for path, text in texts.items() if read_text(path) != text]
        known = any(path.exists() for path in changed if path != script)
        for path in changed:
            write_atomically(path, texts[path], PUBLIC)
        if known:
            await self._systemd.reload()
        self._covered = frozenset(read_text(self._list).splitlines())
        self._ready_for_s = ttl_s

    def _write(self, units: frozenset[str]) -> None:
        if units != self._covered or not self._list.exists():
            write_atomically(self._list, "".join(f"{unit}\n" for unit in sorted(units)))
            self._covered = units
