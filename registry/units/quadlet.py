"""What a Quadlet needs beside it: the other Quadlets that its file names. Pure.

Podman's generator (podman-systemd.unit(5)) reads all of them in one directory, and makes nothing of a file that
names one which is not there. Also which Podman the fleet can work with.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from registry.units.file import UnitFile
from registry.units.name import QUADLETS, is_quadlet, named_by, refusal

LEAST_PODMAN = (5, 3)
"""The oldest Podman whose generator reads a directory below /run, which does not outlive a boot."""

MOST = 64
"""Quadlets that one file may name."""

GENERATORS = {
    "system": "/usr/lib/systemd/system-generators/podman-system-generator",
    "user": "/usr/lib/systemd/user-generators/podman-user-generator",
}
"""Podman's generator of services, for the system's systemd and for a user's."""

WORDS = 500  # characters of what the generator says that are told
LINE = 4096  # characters of each of its lines that are read

# Options whose value is the name of a Quadlet, or begins with one before a colon.
_NAMING = ("Volume", "Network", "Image", "Pod")
_ENDS = tuple(f".{kind}" for kind in QUADLETS)


def runs_quadlets(podman: str) -> bool:
    """Whether a machine with this version of Podman ("" for none) can run Quadlets of the fleet."""
    found = re.match(r"(\d{1,4})\.(\d{1,4})", podman)
    return found is not None and (int(found[1]), int(found[2])) >= LEAST_PODMAN


def needed_beside(unit_file: UnitFile, name: str) -> tuple[str, ...]:
    """The Quadlets that the file of this Quadlet names, in order; none of a unit of another kind."""
    if not is_quadlet(name):
        return ()
    found: dict[str, None] = {}
    section = name.rpartition(".")[2].capitalize()
    for option in _NAMING:
        for entry in unit_file.effective(section, option):
            found[entry.value.partition(":")[0]] = None
    for entry in unit_file.effective(section, "Mount"):
        found |= dict.fromkeys(_sources(entry.value))
    named = (named_by(each, name) for each in found)
    return tuple(each for each in named if each.endswith(_ENDS) and each != name and not refusal(each))[:MOST]


def _sources(mount: str) -> Iterator[str]:
    """What `type=volume,source=data.volume,destination=/data` names."""
    for part in mount.split(","):
        key, _, value = part.partition("=")
        if key.strip() in ("source", "src"):
            yield value.strip()


def complaint_about(name: str, said: str) -> str:
    """What a text of the generator's says about one file, in one line; "" when it does not mention it."""
    word = re.compile(rf"\b{re.escape(name)}\b")
    for line in said.splitlines():
        mention = word.search(line[:LINE])
        reason = line[mention.end() : LINE].partition(": ")[2] if mention else ""
        if reason:
            return " ".join(reason.split())[:WORDS]
    return ""
