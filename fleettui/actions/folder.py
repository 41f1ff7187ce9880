"""A folder of unit files and what it asks for: units, targets, instances of templates, an owner. Blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleettui.actions.disk import read_unit_file
from registry.errors import UserError
from registry.frozen import dataclass
from registry.model import Target
from registry.program.config import read_toml
from registry.units.file import file_hash
from registry.units.name import TYPES, check, parse

SETTINGS = "fleet-apply.toml"
MOST_INSTANCES = 10_000


@dataclass(frozen=True, slots=True)
class Applied:
    """A unit as the folder wants it."""

    name: str
    text: str
    target: Target

    @property
    def version(self) -> str:
        """What is noted with the unit once it is applied."""
        return f"{file_hash(self.text)}:{self.target}"


@dataclass(frozen=True, slots=True)
class UnitFolder:
    """What a folder asks for: its owner's name, and units by name."""

    owner: str
    units: Mapping[str, Applied]


def read_folder(path: Path) -> UnitFolder:
    """What the folder asks for. UserError with file, line and remedy for what is wrong with it."""
    if not path.is_dir():
        raise UserError(f"{path} is not a folder; give one that holds unit files")
    names = sorted(each.name for each in path.iterdir() if each.name[:1] != "." and each.suffix[1:] in TYPES)
    owner, options = _read_settings(path, names)
    found: dict[str, Applied] = {}
    for name in names:
        check(name)
        file = read_unit_file(path / name, name)
        if file is None:
            continue
        for each in _units_of(name, file.text, options.get(name, {}), f'{path / SETTINGS}: units."{name}"'):
            if each.name == name or each.name not in names:  # a file of its own goes first
                found[each.name] = each
    return UnitFolder(owner, found)


def _read_settings(path: Path, names: Iterable[str]) -> tuple[str, Mapping[str, Any]]:
    """The owner, and what is said of each file."""
    where = path / SETTINGS
    settings = read_toml(where, str(where)) if where.exists() else {}
    if unknown := settings.keys() - {"owner", "units"}:
        raise UserError(f"{where}: unknown key {min(unknown)!r}; the keys are owner and units")
    owner, options = settings.get("owner", path.resolve().name), settings.get("units", {})
    if not isinstance(owner, str) or not owner.isprintable() or not 0 < len(owner) <= 100:
        raise UserError(f'{where}: owner is not a name of 1 to 100 characters; write owner = "web-team"')
    if not isinstance(options, dict):
        raise UserError(f'{where}: units is not a table; write [units."web@.service"]')
    if missing := sorted(options.keys() - set(names)):
        raise UserError(f"{where}: there is no file {missing[0]} in {path}")
    return owner, options


def _units_of(name: str, text: str, options: Any, where: str) -> Iterable[Applied]:  # noqa: ANN401 - from a file
    """The unit of a file, and the instances of a template that are asked for."""
    if not isinstance(options, dict):
        raise UserError(f"{where} is not a table")
    if unknown := options.keys() - {"target", "instances"}:
        raise UserError(f"{where}: unknown key {min(unknown)!r}; the keys are target and instances")
    try:
        target = Target(options.get("target", Target.LAUNCHED))
    except ValueError:
        raise UserError(f"{where}: target is not one of {', '.join(Target)}") from None
    unit, instances = parse(name), options.get("instances", ())
    if not unit.is_template:
        if "instances" in options:
            raise UserError(f"{where}: {name} is no template, and has no instances")
        return [Applied(name, text, target)]
    if isinstance(instances, int) and not isinstance(instances, bool) and 0 <= instances <= MOST_INSTANCES:
        instances = [str(number) for number in range(1, instances + 1)]
    if not isinstance(instances, list | tuple) or not all(isinstance(each, str) and each for each in instances):
        raise UserError(
            f'{where}: instances is neither a number up to {MOST_INSTANCES} nor a list such as ["blue"]'
        )
    full = [unit.with_instance(each).full for each in instances]
    for each in full:
        check(each)
    return [Applied(name, text, Target.INACTIVE), *(Applied(each, text, target) for each in full)]
