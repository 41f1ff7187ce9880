"""Quadlets on this machine: where Podman's generator finds their files, and the files that they need beside them.

Owns the directory of those files. Which of them are needed is read from the disk each time: what is named by the
Quadlets that lie among our unit files, and by those that they name. Asks systemd only to stop what goes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from agentd.managed_unit import Taken
from agentd.unit_directory import UnitDirectory, entries_of
from registry.errors import UserError
from registry.units.file import parse
from registry.units.name import is_quadlet, refusal
from registry.units.quadlet import GENERATORS, complaint_about, needed_beside

COMPLAINT_S = 5.0
GENERATED_S = 600.0  # a file that the generator makes nothing of costs no reload within so long


class StopsUnits(Protocol):
    """Who stops units."""

    async def stop(self, unit: str) -> asyncio.Future[str] | None:
        """Ask for a stop; None when systemd does not have the unit loaded."""


def link_place(links: Path, name: str) -> Path:
    """The directory of the link to a unit's file: `links`, or where Podman's generator looks for Quadlets."""
    return links.parent.parent / "containers" / "systemd" if is_quadlet(name) else links


def unit_place(links: Path, name: str) -> Path:
    """The directory in which systemd finds the unit: `links`, or where generators put services."""
    return links.parent / "generator" if is_quadlet(name) else links


class Quadlets:
    """The Quadlets among the unit files of `directory`, and what lies beside them."""

    def __init__(self, systemd: StopsUnits, directory: UnitDirectory, links: Path) -> None:
        self._systemd, self._directory = systemd, directory
        self._place = link_place(links, "a.container")
        self._bus = links.name
        self._beside = directory.directory.parent / "beside"
        self._changing = asyncio.Lock()
        self._generated: dict[str, tuple[str, float]] = {}  # the file of a unit that it has had, and when
        self.changes = 1  # of what the generator finds: the agent before us may have left one unread
        self._reread = 0  # up to which of them systemd has read its files again

    async def arrange(self, texts: Mapping[str, str], own: str = "") -> bool:
        """Lay these files beside ours, and take away what none of ours needs; whether systemd has to read them.

        It has to as long as no reload began after the last change, whoever made that. The generator finds them, and
        `own`, the unit that needs them. Raises Taken where the host has a file of its own under one of the names.
        """
        async with self._changing:
            kept = UnitDirectory(self._beside)
            if own:
                self.changes += self._link(own, self._directory)
            for name, text in texts.items():
                self.changes += kept.write(name, text)
            needed = self._needed(kept)
            for name in kept.units():
                if name not in needed:
                    self.changes += 1
                    await self._remove(name, kept)
                elif not self._directory.holds(name):
                    self.changes += self._link(name, kept)
            return self.changes > self._reread

    def note_reread(self, changes: int) -> None:
        """A reload is over that began when there had been so many changes."""
        self._reread = max(self._reread, changes)

    def was_generated(self, name: str, sha256: str) -> bool:
        """Whether the generator has lately run over this file of a unit."""
        file, at = self._generated.get(name, ("", 0.0))
        return file == sha256 and time.monotonic() < at + GENERATED_S

    def note_generated(self, name: str, sha256: str) -> None:
        """It has run over that now."""
        self._generated[name] = sha256, time.monotonic()

    def forget(self) -> None:
        """Remove the files of an earlier boot."""
        for path in entries_of(self._beside):
            path.unlink(missing_ok=True)

    async def complaint(self, name: str) -> str:
        """What Podman's generator has against a file, in its own words; "" when it says nothing."""
        argv = [GENERATORS[self._bus], *(["-user"] if self._bus == "user" else []), "-dryrun", "-no-kmsg-log"]
        try:
            process = await asyncio.create_subprocess_exec(
                *argv, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
            )  # fmt: skip
        except OSError as error:
            return f"Podman's generator cannot be run: {error.strerror}"
        try:
            async with asyncio.timeout(COMPLAINT_S):
                _, said = await process.communicate()
        except TimeoutError:
            with suppress(ProcessLookupError):
                process.kill()
            await process.wait()
            return ""
        return complaint_about(name, said.decode("utf-8", "replace"))

    def _needed(self, kept: UnitDirectory) -> set[str]:
        ahead = [(name, self._directory.text(name)) for name in self._directory.units() if is_quadlet(name)]
        found: set[str] = set()
        while ahead:
            name, text = ahead.pop()
            for each in _named_in(name, text):
                if each not in found:
                    found.add(each)
                    ahead.append((each, kept.text(each)))
        return found

    def _link(self, name: str, of: UnitDirectory) -> bool:
        """Have the generator find a file of this directory; False where it does already."""
        path, ours = self._place / name, (self._directory.path(name), self._beside / name)
        if path.is_symlink() and path.readlink() == of.path(name):
            return False
        if path.exists() and not (path.is_symlink() and path.readlink() in ours):
            raise Taken(f"this host has a file of its own at {path}; choose another name than {name}")
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.symlink_to(of.path(name))
        return True

    async def _remove(self, name: str, kept: UnitDirectory) -> None:
        path = self._place / name
        if path.is_symlink() and path.readlink() == kept.path(name):
            if (job := await self._systemd.stop(name)) is not None:
                await job
            path.unlink()
        kept.remove(name)


def _named_in(name: str, text: str) -> Iterable[str]:
    try:
        return (each for each in needed_beside(parse(text), name) if not refusal(each))
    except UserError:
        return ()
