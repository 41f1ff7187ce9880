"""Making configs equal to a folder: what differs, and the writing of it.

The rule of what may be touched is that of units (`apply`): configs of the folder's owner whose newest version is
the one that was applied last. A config is written only if it is still as it was when the difference was shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from fleettui.actions import configs
from fleettui.actions.apply import ChangeKind, UnitDifference, kept_from, lacking_in_folder
from fleettui.actions.folder import AppliedConfig, UnitFolder
from fleettui.actions.operator import Operator
from fleettui.actions.pins import Used
from registry.errors import Conflict, UserError
from registry.frozen import dataclass, replace
from registry.model import Config
from registry.units.pins import NeedKind
from registry.wording import listed


@dataclass(frozen=True, slots=True)
class ConfigDifference:
    """One config that differs. `before` is its record when that was found, None where there was none."""

    name: str
    kind: ChangeKind
    note: str = ""
    before: Config | None = None
    wanted: AppliedConfig | None = None


def compare_configs(
    folder: UnitFolder, present: Mapping[str, Config], *, prune: bool, adopt: bool
) -> list[ConfigDifference]:
    """Every config that differs, by name. `adopt` takes over what somebody else owns or has changed."""
    found: list[ConfigDifference] = []
    for name, wanted in folder.configs.items():
        config = present.get(name)
        if config is None or not config.versions:
            found.append(ConfigDifference(name, ChangeKind.CREATE, wanted.summary, config, wanted))
        elif (change := _compared(folder.owner, wanted, config, adopt=adopt)) is not None:
            found.append(change)
    for name, config in present.items():
        if config.owner == folder.owner and name not in folder.configs:
            kind, note = lacking_in_folder(_by_hand(config), prune=prune, adopt=adopt)
            found.append(ConfigDifference(name, kind, note, config))
    return sorted(found, key=lambda each: each.name)


def _compared(owner: str, wanted: AppliedConfig, config: Config, *, adopt: bool) -> ConfigDifference | None:
    newest, ours = config.versions[0], config.owner == owner
    same = newest.hash == wanted.hash
    if ours and same and config.applied == wanted.hash:
        return None
    hand = "" if same else _by_hand(config)
    kept = kept_from(owner, config.owner, f"it was set by {newest.by or 'somebody'}", hand, adopt=adopt)
    if kept:
        kind, note = ChangeKind.KEEP, kept
    elif same:
        kind, note = ChangeKind.ADOPT, f"it is {owner}'s from now on"
    else:
        kind, note = ChangeKind.REPLACE, f"{wanted.summary}; was version {newest.number}"
    return ConfigDifference(wanted.name, kind, note, config, wanted)


def _by_hand(config: Config) -> str:
    """Who changed a config since it was applied; "" if nobody did."""
    newest = config.versions[0] if config.versions else None
    if newest is None or newest.hash == config.applied:
        return ""
    return f"version {newest.number} was set by {newest.by or 'somebody'}"


def held_back(
    changes: Iterable[ConfigDifference], units: Iterable[UnitDifference], used: Used
) -> list[ConfigDifference]:
    """The changes, without the end of configs that units have which these changes of units leave as they are."""
    leaving = {each.name for each in units if each.kind in (ChangeKind.DESTROY, ChangeKind.REPLACE)}
    found = []
    for change in changes:
        versions = used.get((NeedKind.CONFIG, change.name), {})
        staying = sorted({unit for having in versions.values() for unit in having} - leaving)
        if change.kind is ChangeKind.DESTROY and staying:
            found.append(replace(change, kind=ChangeKind.KEEP, note=f"{listed(staying, 3)} asks for it"))
        else:
            found.append(change)
    return found


def coming(folder: UnitFolder, changes: Iterable[ConfigDifference]) -> dict[str, str]:
    """The contents that the folder's configs have once these changes are written, by name."""
    kept = {each.name for each in changes if each.kind is ChangeKind.KEEP}
    return {name: wanted.hash for name, wanted in folder.configs.items() if name not in kept}


async def write_configs(operator: Operator, owner: str, changes: Sequence[ConfigDifference]) -> dict[str, str]:
    """Carry changes out, and say by name what was refused: what was changed meanwhile, or is used."""
    refused: dict[str, str] = {}
    for change in changes:
        try:
            if change.wanted is not None:
                before = change.before or Config(change.name)
                after = replace(before, owner=owner, applied=change.wanted.hash)
                await configs.put_applied(operator, change.before, after, change.wanted.text, change.wanted.summary)
            else:
                await configs.destroy(operator, NeedKind.CONFIG, change.name, change.before)
        except (Conflict, UserError) as error:
            refused[change.name] = str(error)
    return refused
