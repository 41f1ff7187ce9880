"""Putting a unit of ours into systemd's reach at run time, and taking it out again: file, link, [Install].

Owns our file's link, the links by which it is enabled, and how they go. systemd's own ways are not used where
they cost a search of all directories for each unit (linking, disabling), or follow `Also=` to other units of ours
and unlink those while they run.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from agentd.dependencies import ArtifactSource, FileSource, InstallCalls, Provider
from agentd.file_reader import FileReader
from agentd.managed_unit import ManagedUnit, Refused, Replan, Taken
from agentd.pure.entry import Phase
from agentd.quadlets import Quadlets, link_place
from agentd.reloader import Reloader
from agentd.stopper import Stopper
from agentd.unit_directory import UnitDirectory, entries_of
from agentd.unit_names import UnitNames, lies_in
from agentd.unit_records import UnitRecords
from registry.units import name as unitname
from registry.units.hostreach import ALIAS
from registry.units.name import is_quadlet

TIED = (".wants", ".requires", ".upholds")  # directories of links to the units that another one pulls in


class Installer:
    """Loads and unloads units."""

    def __init__(
        self,
        systemd: InstallCalls,
        directory: UnitDirectory,
        links: Path,
        sources: tuple[FileSource, FileReader, ArtifactSource],
        provider: Provider,
        reloader: Reloader,
        names: UnitNames,
        records: UnitRecords,
        stopper: Stopper,
        quadlets: Quadlets,
    ) -> None:
        self._systemd, self._directory, self._links = systemd, directory, links
        self._texts, self._files, self._artifacts = sources
        self._provider = provider
        self._reloader, self._names, self._records, self._stopper = reloader, names, records, stopper
        self._quadlets = quadlets

    async def load(self, unit: ManagedUnit) -> None:
        """Write and link its file, enable it, reload systemd if it had another one."""
        desired, directory = unit.wanted(), self._directory
        text = await self._texts.get(desired.hash)
        known = await self._names.may_be_known(unit) and await self._names.recognise(unit)
        facts = await self._files.read(unit.name, text)
        await self._names.refuse_links(unit, facts.links)
        await self._provider.provide(unit.name, facts.needed())
        if unit.entry and unit.entry.phase is Phase.CLAIMED:  # names the file that may lie there from here on
            self._records.note(unit, replace(unit.entry, hash=desired.hash))
        if unit.entry and unit.entry.hash != desired.hash:
            await self._disable(unit)  # the new file may ask for less
        await self._artifacts.fetch(unit.name, text)  # they are here already, unless somebody has removed them
        self._artifacts.link(unit.name, text)
        directory.write(unit.name, text)
        self._provider.keep(unit.name, facts.pins)
        quadlet = is_quadlet(unit.name)
        if quadlet:
            texts = {name: await self._texts.get(sha256) for name, sha256 in desired.beside}
            unread = await self._quadlets.arrange(texts, unit.name)
            if unread or not (known or self._quadlets.was_generated(unit.name, desired.hash)):
                await self._generate(unit.name)
                self._quadlets.note_generated(unit.name, desired.hash)
            known = True
        elif not self._names.is_linked(unit.name):
            link(self._links / unit.name, directory.path(unit.name))
        if facts.installs:
            await self._enable(unit)
        if known and (await self._systemd.properties(unit.name, ("NeedDaemonReload",)))["NeedDaemonReload"]:
            await self._reloader.reload(unit.name)
        await self._names.recognise(unit, fragment="" if known else str(self._links / unit.name))
        error = ""
        if unit.status.load != "loaded":
            found = await self._systemd.properties(unit.name, ("LoadError",))
            reason = await self._quadlets.complaint(unit.name) if quadlet else ""
            reason = reason or " ".join(str(found["LoadError"][1]).split()) or f"systemd says {unit.status.load}"
            error = f"load failed: {reason.rstrip('.')}; run `fleetctl verify` on its file"
            if quadlet:  # there is nothing that could be started
                raise Refused(error)
        self._records.note(unit, desired.entry(Phase.LOADED, error=error))

    async def _generate(self, name: str) -> None:
        """Have the generator run over what lies there now."""
        changes = self._quadlets.changes
        await self._reloader.reload(name)
        self._quadlets.note_reread(changes)

    async def _enable(self, unit: ManagedUnit) -> None:
        """Carry out its [Install] section, and take back what turns out to lie over a unit of the host's."""
        places = await self._systemd.unit_path()
        for made in map(Path, await self._systemd.enable(unit.name)):
            others = [place for place in places if place != str(self._links)]
            if made.parent == self._links and made.name != unit.name and lies_in(others, [made.name]):
                made.unlink(missing_ok=True)
                raise Taken(f"[Install] Alias={made.name} names a unit that this host has; leave it out")

    async def unload(self, unit: ManagedUnit) -> None:
        """Remove its links and its file. Raises Replan when it is not down."""
        if self._stopper.may_live(unit):
            if not await self._stopper.look_closely(unit) and not unit.foreign:
                raise Replan("it is not down")
            await self._disable(unit)
        if linked := self._names.is_linked(unit.name):
            (link_place(self._links, unit.name) / unit.name).unlink()
        self._directory.remove(unit.name)
        self._artifacts.drop(unit.name)
        self._provider.keep(unit.name, ())
        if linked and is_quadlet(unit.name):
            await self._quadlets.arrange({})
            await self._generate(unit.name)  # the service that was made of it goes as well
        if not unit.foreign and unit.status.active != "inactive":
            await self._systemd.reset_failed(unit.name)
        self._systemd.unwatch(unit.name)
        if unit.entry:
            self._records.note(unit, replace(unit.entry, phase=Phase.GONE, error=""))

    async def _disable(self, unit: ManagedUnit) -> None:
        """Remove what enabling it has linked: its file says what, unless it is not the one that we wrote."""
        aliases: tuple[str, ...] | None = None
        if unit.entry is not None and self._directory.hash(unit.name) == unit.entry.hash != "":
            facts = await self._files.read(unit.name, self._directory.text(unit.name))
            if not facts.installs:
                return
            aliases = tuple(
                each.unit for each in facts.links if each.option == ALIAS and not unitname.refusal(each.unit)
            )
        unlink(self._links, self._directory.path(unit.name), aliases)


def link(path: Path, target: Path) -> None:
    """What `systemctl link --runtime` does, for a unit file of ours. Raises OSError.

    systemd looks for new files where a directory's time has changed, and the kernel's own times are some
    milliseconds coarse: two links in one of those would be one to systemd. Hence the exact time.
    """
    partial = path.with_name(f".#{path.name[:200]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial.unlink(missing_ok=True)
    partial.symlink_to(target)
    partial.replace(path)
    now = time.time_ns()
    os.utime(path.parent, ns=(now, now))


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
