"""The links by which systemd enables a unit of ours at run time, and how they go. Owns where they lie.

systemd's own way (`DisableUnitFiles`) is not used: it follows `Also=` to other units of ours and unlinks those
while they run, leaves the links of a masked unit, and costs a search of all directories for each unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from agentd.unit_directory import entries_of

TIED = (".wants", ".requires", ".upholds")  # directories of links to the units that another one pulls in


def unlink(places: Path, target: Path, aliases: Iterable[str] | None) -> None:
    """Remove the links to our file `target` from the directory `places` and from those tied to other units in it.

    `aliases` are the other names that its `[Install]` section gives it; None: not known, every link is looked at.
    Links that lead elsewhere stay. Raises OSError.
    """
    goals = (target.resolve(), places.resolve() / target.name)  # directly, or by way of a link that is gone perhaps
    names = [path.name for path in entries_of(places)]
    for name in names if aliases is None else aliases:
        _remove(places / name, goals)
    for directory in (places / name for name in names if name.endswith(TIED)):
        if _remove(directory / target.name, goals) and not any(directory.iterdir()):
            directory.rmdir()


def _remove(path: Path, goals: tuple[Path, ...]) -> bool:
    if not path.is_symlink() or path.resolve() not in goals:
        return False
    path.unlink()
    return True
