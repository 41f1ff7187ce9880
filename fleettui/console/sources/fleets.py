"""The fleets that this operator can open, and what is handed over from one to the next: the name of a unit.

A fleet is a configuration file: those of `fleettui join` and any other in ~/.config/fleet/clusters, the usual one,
and those of local clusters. Variables say where one registry is, so that they count for no other fleet.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fleettui.console.text.keys import checked_keymap
from fleettui.demo.paths import CLUSTERS
from registry.errors import UserError
from registry.program.config import Settings, load, operator_files, put

MOST = 500  # fleets that are listed
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class SwitchTo:
    """The fleet to open next, and the unit to be at there; "" for none."""

    name: str
    settings: Settings
    unit: str = ""


def known_fleets(environ: Mapping[str, str]) -> dict[str, Path]:
    """The configuration file of each fleet by its name, sorted. Reads directories."""
    usual = Path(operator_files(environ)[0])
    clusters = usual.parent / "clusters"
    found: dict[str, Path] = {}
    files: Iterable[tuple[str, Path]] = (
        *((each.parent.name, each) for each in CLUSTERS.glob("*/fleet.toml")),
        *((each.stem, each) for each in clusters.glob("*.toml")),
        *((each.parent.name, each) for each in clusters.glob("*/fleet.toml")),
    )
    for name, path in files:
        if _NAME.fullmatch(name) and path.is_file() and len(found) < MOST:
            found[name] = path
    resolved = {path.resolve() for path in found.values()}
    if usual.is_file() and usual.resolve() not in resolved:
        found.setdefault("default", usual)
    return dict(sorted(found.items()))


def open_fleet(name: str, fleets: Mapping[str, Path], *, read_only: bool, unit: str = "") -> SwitchTo:
    """The fleet of this name; `read_only` holds there, too. UserError for one that is not known or not right."""
    if name not in fleets:
        known = ", ".join(list(fleets)[:10]) or "none; put fleet.toml files into ~/.config/fleet/clusters"
        raise UserError(f"no fleet is called {name[:64]}; known: {known}")
    settings = load(fleets[name], {})
    checked_keymap(settings.console.keymap, settings.source)
    if read_only:
        settings = put(settings, "console", "read_only", value=True, where="--read-only")
    return SwitchTo(settings.console.name or name, settings, unit)
