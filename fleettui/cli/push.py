"""`fleetctl push`: a file that units name by its hash (`Artifact=`), brought to machines over SSH.

Each machine takes it into the directory where its agent keeps such files, checks its hash there, and says how far
it is: what was interrupted goes on from there. Machines that have it are left alone.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import time
from argparse import Namespace
from pathlib import Path

from fleettui.actions.reading import find_machine, read_machines
from fleettui.cli.connection import open_operator, read_settings
from fleettui.cli.failures import FAILED, INTERRUPTED, OK
from fleettui.cli.hosts import remote_of
from fleettui.cli.output import complain, say
from fleettui.cli.words import place
from fleettui.escape import escape
from fleettui.remote import Remote
from fleettui.remote.command import as_root, collect, on_user_bus
from fleettui.remote.errors import RemoteError
from registry.errors import UserError
from registry.keys import Table
from registry.model import Machine
from registry.sync.listing import read_snapshot
from registry.units.artifacts import ARTIFACT

AT_ONCE = 8  # machines
HAS_IT, NO_STORE, NO_ROOM, BUSY, WRONG = 3, 4, 5, 6, 7
SPARE_BYTES = 64 << 20  # of the disk, left to others
# Whose systemd, the hash and the size; with a fourth argument that many bytes are there, and the rest is the input.
# Without, it prints how many are there.
TAKE = f"""umask 077
run=/run; [ "$1" = system ] || run=$XDG_RUNTIME_DIR
cd -P "$run/fleet/artifacts/.store" 2>/dev/null || exit {NO_STORE}
[ ! -e "$2" ] || exit {HAS_IT}
part=.$2.push
exec 9>>"$part"
flock -n 9 || exit {BUSY}
have=$(stat -c %s "$part")
[ "$have" -le "$3" ] || {{ : >"$part"; have=0; }}
if [ $# -eq 3 ]; then
    free=$(df -P -B1 . | awk 'END {{ print $4 }}')
    [ "$((free - {SPARE_BYTES}))" -ge "$(($3 - have))" ] || exit {NO_ROOM}
    echo "$have"
    exit 0
fi
[ "$have" -eq "$4" ] || exit {BUSY}
cat >&9 || exit {NO_ROOM}
[ "$(stat -c %s "$part")" -eq "$3" ] || {{ echo "only a part of it has arrived" >&2; exit 1; }}
sum=$(sha256sum "$part")
[ "${{sum%% *}}" = "$2" ] || {{ rm -f "$part"; exit {WRONG}; }}
sync "$part"; chmod 755 "$part" && mv "$part" "$2"
"""
REASONS = {
    NO_STORE: "its agent keeps no such files: it does not run, or is older than this; see fleetctl upgrade",
    NO_ROOM: "its disk has no room for it",
    BUSY: "somebody else brings it there at this moment",
    WRONG: "what arrived has another hash, and was removed; say the same again",
}


async def push(flags: Namespace) -> int:
    """Bring a file to machines; the exit code."""
    path = Path(flags.file)
    sha256, size = await asyncio.to_thread(_measured, path)
    settings = read_settings(flags, os.environ)
    async with open_operator(settings) as operator:
        machines, overrides, unread = await read_machines(operator)
        snapshot = await read_snapshot(operator.etcd, operator.keys, [Table.CLUSTER])
    known = {*overrides, *unread}
    chosen = [find_machine(each, machines, known, unread) for each in dict.fromkeys(flags.machines)]
    gone = [each for each in chosen if each not in machines]
    if gone:
        raise UserError(f"machine {gone[0][:8]}... is not there; leave it out, or say the same when it is back")
    targets = [machines[each] for each in chosen or machines]
    if not targets:
        raise UserError("there are no machines")
    gate = asyncio.Semaphore(AT_ONCE)

    async def bring(machine: Machine) -> bool:
        told = place(machine.id, machines)
        async with gate:
            began = time.monotonic()
            try:
                sent = await _bring(remote, machine, path, sha256, size)
            except (RemoteError, UserError, OSError) as error:
                complain(f"Error: {told}: {error}")
                return False
        brought = f"{sent} of {size} bytes brought in {time.monotonic() - began:.1f}s"
        say(f"{told}: {'has it already' if sent is None else brought}")
        return True

    try:
        async with remote_of(settings, snapshot) as remote:
            done = await asyncio.gather(*map(bring, targets))
    except asyncio.CancelledError:
        complain("Interrupted; say the same again to go on")
        return INTERRUPTED
    if not all(done):
        return FAILED
    say(f"In [X-Fleet]: {ARTIFACT}=sha256={sha256} name={path.name}")
    return OK


def _measured(path: Path) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            return sha256, os.fstat(file.fileno()).st_size
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(f"cannot read {escape(str(path))}: {reason}") from None


async def _bring(remote: Remote, machine: Machine, path: Path, sha256: str, size: int) -> int | None:
    """How many bytes were brought; None when the machine has the file. Raises RemoteError, UserError, OSError."""
    script = ["sh", "-c", TAKE, "sh", machine.bus, sha256, str(size)]
    as_owner = on_user_bus if machine.bus == "user" else as_root
    async with remote.start(machine, as_owner(script)) as asking:
        asked = await collect(asking)
    if asked.status == HAS_IT:
        return None
    _check(asked.status, asked.stderr)
    have = int(asked.stdout.split()[-1])
    with path.open("rb") as file:
        file.seek(have)
        async with remote.start(machine, as_owner([*script, str(have)]), stdin=file) as taking:
            taken = await collect(taking)
    _check(taken.status, taken.stderr)
    return size - have


def _check(status: int, stderr: bytes) -> None:
    """Raise UserError for a script that has not done what it was to do."""
    if status == 0:
        return
    said = escape(stderr.decode("utf-8", "replace").strip().partition("\n")[0])
    raise UserError(REASONS.get(status) or said or f"status {status}")
