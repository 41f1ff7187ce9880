"""A dead man's switch for on_lost_registry = "stop": a service that this agent holds back by a file.

`fleet-lease.service` runs a few lines of shell, which sleep until the deadline in the file. Each renewal of the
lease moves it. When none does, whatever became of the agent (dead, frozen, without CPU), or when the file is
missing or garbled, the service stops the units that run, and kills what is left before the lease can end. systemd
starts it again when it dies. Owns that unit, its script, the deadline, and the list of units to stop.

Deadlines are in CLOCK_BOOTTIME, which nobody sets and which counts the time of a suspended machine; one of another
boot counts as garbled, and so does one that lies further ahead than any renewal puts it.

A full file system fires nothing and hides nothing: the deadline is moved in its file, and what ran when the switch
fired is marked in the list itself, so that neither needs room.
"""

from __future__ import annotations

import logging
import os
import time
from asyncio import Future
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

from agentd.unit_directory import PUBLIC, read_text, write_atomically
from registry.errors import SystemdError
from registry.units.name import service_of

log = logging.getLogger("fleet.agent")

SERVICE = "fleet-lease.service"
EARLIER = "fleet-lease.timer"  # what agents before this one held back
FIRE_AT, GRACE = 0.55, 0.2  # of the lease: when it fires, and from then until what is left is killed
DEADLINE_SIZE = 120  # bytes of the line
LATE_AT = 0.2  # of the lease: a renewal whose answer took longer is too old to start units by

SERVICE_TEXT = """\
# Made by fleet-agentd, for on_lost_registry = "stop".
[Unit]
Description=Stop the fleet's units before the lease of this machine ends
StartLimitIntervalSec=0
[Service]
ExecStart=/bin/sh "{script}"
Restart=always
RestartSec=100ms
{priority}"""
PRIORITY = "Nice=-20\nOOMScoreAdjust=-900\n"  # it has to run where nothing else gets to
SCRIPT = """\
# Made by fleet-agentd, run by fleet-lease.service. Stops what runs of the units in lease-units, and kills what is
# left, once the deadline in lease-deadline has passed: BOOT DEADLINE AHEAD GRACE DEADLINE, times in 1/100 s.
read -r here </proc/sys/kernel/random/boot_id
nap=100 grace=100 torn=0 digits=[0-9][0-9][0-9][0-9]
in_seconds() {{
    part=$(($1 % 100))
    [ "$part" -gt 9 ] || part=0$part
    seconds=$(($1 / 100)).$part
}}
pause() {{
    in_seconds "$1"
    sleep "$seconds"
}}
kill_groups() {{  # at once, and without systemd, which takes a call for each unit
    for unit do
        for group in "{groups}/$unit" "{groups}"/*.slice/"$unit"; do
            [ ! -e "$group/cgroup.kill" ] || echo 1 >"$group/cgroup.kill"
        done
    done
}}
while cd "{directory}" 2>/dev/null || {{ pause "$nap"; continue; }}; do  # each time: it may be made anew
    if [ ! -e lease-units.due ]; then  # else this was killed on the way
        left=0 boot= deadline= ahead= rest= again=
        read -r boot deadline ahead rest again 2>/dev/null <lease-deadline
        if [ "$deadline" != "$again" ]; then  # it may be read while it is written
            torn=$((torn + 1)) deadline=
            [ "$torn" -gt 9 ] || {{ pause 1; continue; }}
        fi
        torn=0
        read -r up _ </proc/uptime
        case $deadline:$ahead:$rest in
        *[!0-9:]* | *:*:*:* | :* | *::* | *: | 0* | *:0* | *$digits$digits$digits*) ;;  # nothing to reckon with
        *)
            left=$((deadline - ${{up%.*}} * 100 - 1${{up#*.}} + 100)) grace=$rest nap=$((ahead / 4 + 1))
            [ "$boot" = "$here" ] && [ "$left" -le "$ahead" ] || left=0
            ;;
        esac
        if [ "$left" -gt 0 ]; then
            [ "$left" -gt "$nap" ] || nap=$left
            pause "$nap"  # in pieces: sleep stands still while the machine is suspended
            continue
        fi
        mv lease-units lease-units.due 2>/dev/null || {{ pause "$nap"; continue; }}
    fi
    noted=
    set --
    while IFS= read -r unit; do
        case $unit in
        !) noted=yes ;;
        +* | ' '*) set -- "$@" "$unit" ;;
        esac
    done <lease-units.due
    for unit do
        shift
        [ "$noted" ] && [ "$unit" = "${{unit#+}}" ] || set -- "$@" "${{unit#?}}"
    done
    if [ -z "$noted" ] && [ $# -gt 0 ]; then
        in_seconds "$grace"
        {{
            for unit do
                shift
                read -r state <&3 || state=
                case $state in
                inactive | failed | unknown) mark=" " ;;
                *) mark=+ && set -- "$@" "$unit" ;;
                esac
                printf '%s%s\\n' "$mark" "$unit"
            done
            echo !
        }} 1<>lease-units.due 3<<STATES  # in place: there may be no room for another file
$(timeout "$seconds" systemctl {manager} is-active -- "$@")
STATES
    fi
    if [ $# -gt 0 ]; then
        systemctl {manager} stop --no-block -- "$@" & stop=$!  # nothing may hold up what follows
        echo "stopped $# units: this machine's lease was not renewed in time" &
        pause "$grace"
        kill_groups "$@"
        wait "$stop"
        kill_groups "$@"  # what came up again before systemd heard that it is to stop
        systemctl {manager} kill --signal=KILL -- "$@" 2>/dev/null
        read -r up _ </proc/uptime
        mv lease-units.due "lease-units.stopped.$up"
    else
        rm -f lease-units.due
    fi
done
"""
GROUPS = Path("/sys/fs/cgroup")
SYSTEM = "system.slice"  # units with a slice of their own are systemd's to kill
USER = "user.slice/user-{uid}.slice/user@{uid}.service/app.slice"
RAN, ASIDE, NOTED, UNNOTED = "+", " ", "!", "."  # lines of a list: a unit that ran, one that did not; its last line


class SwitchCalls(Protocol):
    """What the switch asks of systemd."""

    async def start(self, unit: str) -> object:
        """Ask for a start."""

    async def stop(self, unit: str) -> Future[str] | None:
        """Ask for a stop; the result is done when it has stopped."""

    async def list_units(self, units: Iterable[str]) -> dict[str, tuple[str, str, str]]:
        """Load, active and sub state of each unit."""

    async def reload(self) -> None:
        """Read all unit files again."""


class LeaseSwitch:
    """The switch of one machine. `links` is where systemd finds units made at run time; `state` where ours lie.

    `groups` is where the control groups of services lie.
    """

    def __init__(
        self, systemd: SwitchCalls, links: Path, state: Path, bus: str, boot_id: str, groups: Path | None = None
    ) -> None:
        self._systemd, self._links, self._state, self._bus, self._boot_id = systemd, links, state, bus, boot_id
        self._groups = groups or GROUPS / (SYSTEM if bus == "system" else USER.format(uid=os.getuid()))
        self._list, self._deadline = state / "lease-units", state / "lease-deadline"
        self._covered: frozenset[str] = frozenset()
        self._ready = False

    async def hold_back(self, ttl_s: float, units: Iterable[str], age_s: float = 0.0) -> None:
        """The lease was renewed by what was sent `age_s` ago: move the deadline, for these units.

        Raises SystemdError, OSError.
        """
        if not self._ready:
            await self._prepare()
        unlisted: OSError | None = None
        try:
            self._write(frozenset(map(service_of, units)))
        except OSError as error:  # no reason to stop those that are listed
            unlisted = error
        ahead, grace = (max(1, int(part * ttl_s * 100)) for part in (FIRE_AT, GRACE))
        deadline = max(1, int((time.clock_gettime(time.CLOCK_BOOTTIME) - age_s) * 100) + ahead)
        self._move(f"{self._boot_id} {deadline} {ahead} {grace} {deadline}")
        _, active, _ = (await self._systemd.list_units([SERVICE]))[SERVICE]
        if active not in ("active", "activating"):
            await self._systemd.start(SERVICE)
        if unlisted:
            raise unlisted

    def cover(self, unit: str) -> None:
        """This unit is about to be started: it is among those that are stopped."""
        if self._ready and service_of(unit) not in self._covered:
            self._write(self._covered | {service_of(unit)})

    async def fired(self) -> tuple[str, ...]:
        """What the switch has stopped since it was last asked, by systemd's names; the rest is called off."""
        if not self._fired():
            return ()
        await self._stop(SERVICE)
        found = self._fired()
        names = dict.fromkeys(unit for path in found for unit in ran(path))
        for path in found:
            path.unlink(missing_ok=True)
        return tuple(names)

    def _fired(self) -> list[Path]:
        """The lists of units that the switch has stopped, or was about to."""
        return sorted(self._state.glob(f"{self._list.name}.*"))

    async def remove(self) -> tuple[str, ...]:
        """Have no switch, also none from an agent before us; return what it has stopped, as `fired` does."""
        self._ready = False
        if not ((self._links / SERVICE).exists() or (self._links / EARLIER).exists()):
            return ()
        try:
            for unit in (EARLIER, SERVICE):
                await self._stop(unit)
            stopped = await self.fired()
        except SystemdError as error:
            log.warning("cannot stop what guards the lease: %s", error)
            return ()
        for path in (self._links / EARLIER, self._links / SERVICE, self._list, self._deadline):
            path.unlink(missing_ok=True)
        return stopped

    async def _stop(self, unit: str) -> None:
        if (job := await self._systemd.stop(unit)) is not None:
            await job

    async def _prepare(self) -> None:
        script = self._state / "lease-over.sh"
        priority = PRIORITY if self._bus == "system" else ""
        texts = {
            script: SCRIPT.format(directory=self._state, manager=f"--{self._bus}", groups=self._groups),
            self._links / SERVICE: SERVICE_TEXT.format(script=script, priority=priority),
        }
        changed = [path for path, text in texts.items() if read_text(path) != text]
        earlier = (self._links / EARLIER).exists()
        if changed and (earlier or (self._links / SERVICE).exists()):  # by an agent of another version
            for unit in (EARLIER, SERVICE):
                await self._stop(unit)
            (self._links / EARLIER).unlink(missing_ok=True)
        for path in changed:
            write_atomically(path, texts[path], PUBLIC)
        if changed:
            await self._systemd.reload()
        self._covered = frozenset(each[1:] for each in read_text(self._list).splitlines() if each[:1] == ASIDE)
        self._ready = True

    def _move(self, deadline: str) -> None:
        line = f"{deadline:<{DEADLINE_SIZE}}\n".encode()
        try:
            with self._deadline.open("r+b", buffering=0) as file:
                if file.seek(0, os.SEEK_END) == len(line):
                    os.pwrite(file.fileno(), line, 0)
                    return
        except FileNotFoundError:
            pass
        write_atomically(self._deadline, line)

    def _write(self, units: frozenset[str]) -> None:
        if units != self._covered or not self._list.exists():
            lines = (*(f"{ASIDE}{unit}" for unit in sorted(units)), UNNOTED)
            write_atomically(self._list, "".join(f"{line}\n" for line in lines))
            self._covered = units


def ran(path: Path) -> list[str]:
    """The units that a list says were stopped; none while it was not noted which of them ran."""
    lines = read_text(path).splitlines()
    if path.name == "lease-units.stopped":  # by the script of an agent before this one, without marks
        return lines
    return [each.removeprefix(RAN) for each in lines if each[:1] == RAN] if NOTED in lines else []
