"""Whether a machine is this very host, under this user's own systemd; decided by files of this host alone.

A machine's record is the registry's word, and a command that was meant for another host must not run on this one
because of it. The proof is the agent of this user, which runs (it holds the lock in the user's own runtime
directory) and wrote there which registry it obeys: only what comes from that very registry, by the operator's own
configuration, can mean this host. A user who can write there already decides what runs here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from registry.errors import UserError
from registry.etcd.endpoint import base_urls
from registry.keys import Keys
from registry.model import Machine
from registry.program.config import EtcdTable

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
LOCK, FACTS = "agent.lock", "agent.json"
MAX_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class LocalMachine:
    """The machine that this host is to the operator, for commands that need no SSH."""

    machine: str
    boot_id: str

    def means(self, machine: Machine) -> bool:
        """Whether a record means this host under the user's own systemd."""
        return machine.bus == "user" and (machine.id, machine.boot_id) == (self.machine, self.boot_id)


def own_machine(etcd: EtcdTable, environ: Mapping[str, str]) -> LocalMachine | None:
    """This host, if the user's own agent runs here and obeys the registry that `etcd` names. Reads files."""
    runtime = Path(environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")
    directory = runtime / "fleet"
    try:
        if not all(_ours(each.stat(), stat.S_IWGRP | stat.S_IWOTH) for each in (runtime, directory)):
            return None
        obeyed = json.loads(_private(directory / LOCK, held=True))
        ours = set(base_urls(etcd.client_settings()))
        if not ours <= set(obeyed["endpoints"]) or Keys.under(etcd.prefix).prefix != obeyed["prefix"]:
            return None
        facts = json.loads(_private(directory / FACTS))
        here = LocalMachine(facts["machine"], facts["boot_id"])
        return here if here.boot_id == BOOT_ID.read_text(encoding="ascii").strip() else None
    except (OSError, ValueError, KeyError, TypeError, RecursionError, UserError):
        return None


def _private(path: Path, *, held: bool = False) -> str:
    """A file of this user's alone; `held`: some program has it locked. Raises OSError, ValueError."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(handle, encoding="utf-8") as file:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or not _ours(found, stat.S_IWOTH):
            raise ValueError(f"{path} is not this user's alone")
        if held:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
                raise ValueError(f"{path} is held by nobody")
        return file.read(MAX_BYTES)


def _ours(found: os.stat_result, shut: int) -> bool:
    """Whether it is this user's, and the modes of `shut` are off."""
    return found.st_uid == os.getuid() and not found.st_mode & shut
