"""Whose a unit's name is on this machine: ours, or the host's.

Owns the rules by which the host's own units are safe, and those by which what we started is ours whatever became of
its file since. Asks systemd and the disk; changes nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from agentd.dependencies import NameQueries
from agentd.managed_unit import ManagedUnit, Refused, Taken
from agentd.pure.entry import Phase
from agentd.pure.unit_status import UNKNOWN
from agentd.quadlets import link_place, unit_place
from agentd.unit_directory import UnitDirectory
from registry.units import name as unitname
from registry.units.hostreach import ALIAS, CONDITIONS, REQUIRED_BY, UPHELD_BY, WANTED_BY, InstallLink
from registry.units.name import service_of

OURS = tuple(phase for phase in Phase if phase not in (Phase.CLAIMED, Phase.GONE))  # something was put into systemd
HARMLESS = (WANTED_BY, UPHELD_BY)  # links that tie a target of the host to the unit only when it starts
REMEDIES = {
    REQUIRED_BY: "it would stop with this unit: use WantedBy=",
    WANTED_BY: "use a target, multi-user.target say",
    UPHELD_BY: "use a target, multi-user.target say",
}
MOST_LINKS = 100  # that one [Install] section may name: each is looked for on the disk


class UnitNames:
    """Answers whose a name is. `links` is where systemd keeps links made at run time."""

    def __init__(self, systemd: NameQueries, directory: UnitDirectory, links: Path) -> None:
        self._systemd, self._directory, self._links = systemd, directory, links

    def is_linked(self, name: str) -> bool:
        """Whether the link is there by which systemd finds our file."""
        try:
            return (link_place(self._links, name) / name).readlink() == self._directory.path(name)
        except OSError:
            return False

    def is_untouched(self, name: str) -> bool:
        """Whether nothing on disk says that systemd may have this name from elsewhere than our link by now."""
        before = self._systemd.places_before(unit_place(self._links, name))
        return self.is_linked(name) and not lies_in(before, [service_of(name)])

    def is_foreign(self, unit: ManagedUnit) -> bool:
        """Whether systemd has this name from elsewhere: the host's file, a mask, something alive without a file.

        Not while what runs is ours: then it has to be stopped before the name is left to the host.
        """
        status = unit.status
        if (status.load in ("", "not-found") and not status.running) or self._is_our_run(unit):
            return False
        if status.fragment:
            return not self._directory.owns(status.fragment, unit.name)
        return status.load == "masked" or (status.running and not self._directory.holds(unit.name))

    def _is_our_run(self, unit: ManagedUnit) -> bool:
        """Whether what runs under this name was started from our file, whatever became of that file since.

        Without a file, or masked, nothing can have been started since. Under a file of the host's the run itself
        decides: the ledger knows when ours left inactive, and each start, also one by Restart=, has a time of its
        own. A file that came over a unit of ours takes nothing along; what the host starts from it is the host's.
        """
        entry, status = unit.entry, unit.status
        if entry is None or entry.phase not in OURS or not status.running:
            return False
        if not status.fragment or status.load in ("not-found", "masked"):
            return True
        return self._directory.owns(status.fragment, unit.name) or 0 < entry.run_us == status.left_inactive_us

    def is_overlaid(self, unit: ManagedUnit) -> bool:
        """Whether the host has put a file of its own over ours, whoever started what runs."""
        fragment = unit.status.fragment
        return bool(fragment) and unit.status.load != "masked" and not self._directory.owns(fragment, unit.name)

    def refuse_foreign(self, unit: ManagedUnit, *, also_ours: bool = False) -> None:
        """Raise Taken when the name is the host's, or an alias of another unit of ours.

        `also_ours`: even while what runs under it is still ours.
        """
        if unit.foreign or (also_ours and self.is_overlaid(unit)):
            if self._directory.owns(unit.status.fragment):
                other = Path(unit.status.fragment).resolve().name
                raise Taken(f"name is an alias of {other}, which is scheduled here too; choose another name")
            where = unit.status.fragment or f"it is {unit.status.active} without a file"
            where = "it is masked" if unit.status.load == "masked" else where
            raise Taken(f"name belongs to this host ({where}); choose another name")

    async def may_be_known(self, unit: ManagedUnit) -> bool:
        """Whether the host may have this name already: systemd in its memory, or a file where it looks for units.

        A name that it does not have is not asked for: systemd would read all its directories, and once more for
        the file that we are about to put there.
        """
        names = (service_of(unit.name), unitname.parse(service_of(unit.name)).template)
        if lies_in(await self._systemd.unit_path(), filter(None, names)):
            return True
        if await self._systemd.in_memory(unit.name):
            return True
        unit.status, unit.foreign = UNKNOWN, False
        return False

    async def recognise(self, unit: ManagedUnit, fragment: str = "") -> bool:
        """Whether systemd knows the unit by now. Raises Taken when it knows it from elsewhere than us.

        `fragment` is where it must have it from if it has it, when it had nothing of that name a moment ago.
        """
        load, active, sub, _ = await self._systemd.look(unit.name)
        found = {"LoadState": load, "ActiveState": active, "SubState": sub}
        if load == "not-found" or fragment:
            found["FragmentPath"] = fragment if load != "not-found" else ""
        else:
            found |= await self._systemd.properties(unit.name, ("FragmentPath",))
        unit.status = unit.status.merged(found)
        unit.foreign = self.is_foreign(unit)
        self.refuse_foreign(unit)
        return load != "not-found"

    async def refuse_links(self, unit: ManagedUnit, named: tuple[InstallLink, ...]) -> None:
        """Raise Taken when enabling it would take a name from this host, or tie a unit of the host to it."""
        if len(named) > MOST_LINKS:
            raise Refused(f"its [Install] section names {len(named)} units; name at most {MOST_LINKS}")
        for link in named:
            if link.unit == unit.name or (link.option in HARMLESS and link.unit.endswith(CONDITIONS)):
                continue
            if where := await self._held_elsewhere(unit, link):
                raise Taken(
                    f"[Install] {link.option}={link.unit} names a unit that this host has ({where});"
                    f" {REMEDIES.get(link.option, 'leave it out, or take another name')}"
                )

    async def _held_elsewhere(self, unit: ManagedUnit, link: InstallLink) -> str:
        """Where this host has the unit that a link names; "" when it has none, or it is a unit of ours.

        Of an alias only this unit's own file is ours: another unit's name is taken as well.
        """
        if unitname.refusal(link.unit):
            return ""  # systemd will say what is wrong with it
        own = unit.name if link.option == ALIAS else ""
        names = tuple(filter(None, (link.unit, unitname.parse(link.unit).template)))
        places = await self._systemd.unit_path()
        if path := next((each for each in _paths(places, names) if not self._leads_to_ours(each, own)), ""):
            return path
        if await self._systemd.in_memory(link.unit):
            values = await self._systemd.properties(link.unit, ("FragmentPath", "ActiveState"))
            fragment, active = str(values["FragmentPath"]), str(values["ActiveState"])
            if active != "inactive" and not self._directory.owns(fragment):
                return fragment or f"it is {active}"
        return ""

    def _leads_to_ours(self, path: str, name: str) -> bool:
        """Whether a path is, or is a link to, our file of this name, or of its own name where that is ""."""
        ours = self._directory.path(name or os.path.basename(path))  # noqa: PTH119 - many: paths as objects cost
        return os.path.realpath(path) == os.path.realpath(ours)


def lies_in(places: Iterable[str], names: Iterable[str]) -> bool:
    """Whether one of these names is a file in one of these directories."""
    return next(_paths(places, names), None) is not None


def _paths(places: Iterable[str], names: Iterable[str]) -> Iterator[str]:
    """The files of these names that there are, in the order of the places."""
    wanted = tuple(names)
    paths = (f"{place}/{name}" for place in places for name in wanted)
    return (path for path in paths if os.path.lexists(path))
