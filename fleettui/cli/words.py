"""The words of `fleetctl` for machines, hashes and times. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from registry.model import Machine

ID_SHOWN = 8
HASH_SHOWN = 7


def short_id(machine: str, *, full: bool = False) -> str:
    """A machine id, cut unless it is wanted in full."""
    return machine if full or len(machine) <= ID_SHOWN else f"{machine[:ID_SHOWN]}..."


def short_hash(sha: str, *, full: bool = False) -> str:
    """A file's hash, cut unless it is wanted in full."""
    return sha if full else sha[:HASH_SHOWN]


def place(machine: str, machines: Mapping[str, Machine], *, full: bool = False) -> str:
    """A machine as `id/address`; its id alone when it is away."""
    known = machines.get(machine)
    return f"{short_id(machine, full=full)}/{known.address}" if known else short_id(machine, full=full)


def local_time(at: float) -> str:
    """Seconds since the epoch in the operator's time zone; "" for none."""
    from datetime import datetime  # noqa: PLC0415 - lists show none

    try:
        return datetime.fromtimestamp(at).astimezone().isoformat(" ", "seconds")[:19] if at else ""
    except (ValueError, OverflowError, OSError):
        return ""  # a record may hold any number
