"""Where records are kept: the directory of a recorder, and those in which the console looks for one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from registry.errors import UserError

SYSTEM = Path("/var/lib/fleet-record")  # of fleet-record.service


def own_directory(environ: Mapping[str, str]) -> Path:
    """Where a recorder writes: what systemd gives it, else below the user's state."""
    given = environ.get("STATE_DIRECTORY", "").partition(":")[0]
    state = environ.get("XDG_STATE_HOME") or f"{environ.get('HOME', '')}/.local/state"
    return Path(given) if given else Path(state) / "fleet" / "record"


def found_directory(asked: str | None, environ: Mapping[str, str]) -> Path:
    """Where the console reads: what it is told, else what the user recorded, else the machine's own.

    UserError where there is none.
    """
    if asked:
        return Path(asked).expanduser()
    known = (own_directory(environ), SYSTEM)
    for each in known:
        try:
            if any(each.glob("fleet-*.jsonl.gz")):
                return each
        except OSError:
            continue
    raise UserError(
        f"there is no record in {known[0]} or {known[1]}; fleettui record keeps one, --record names its directory"
    )
