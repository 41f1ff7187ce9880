"""A folder of unit files and configs, and what it asks for: units, targets, instances, an owner. Blocks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from fleettui.actions.disk import read_files, read_unit_file
from registry.errors import UserError
from registry.frozen import dataclass, field
from registry.model import Target
from registry.program.config import read_toml
from registry.units.content import ConfigContent, config_text, content_hash
from registry.units.file import file_hash
from registry.units.name import TYPES, check, parse
from registry.units.pins import check_name

SETTINGS = "fleet-apply.toml"
CONFIGS = "config"  # the folder in it that has a folder for each config
SECRETS = ("secret", "secrets")
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
class AppliedConfig:
    """A config as the folder wants it: the text that is stored of its content, and what is in that."""

    name: str
    text: str
    summary: str

    @property
    def hash(self) -> str:
        """What the content is called, and what is noted with the config once it is applied."""
        return content_hash(self.text)


@dataclass(frozen=True, slots=True)
class UnitFolder:
    """What a folder asks for: its owner's name, units and configs by name."""

    owner: str
    units: Mapping[str, Applied]
    configs: Mapping[str, AppliedConfig] = field(default_factory=dict)


def read_folder(path: Path) -> UnitFolder:
    """What the folder asks for. UserError with file, line and remedy for what is wrong with it."""
    if not path.is_dir():
        raise UserError(f"{path} is not a folder; give one that holds unit files")
    names = sorted(each.name for each in path.iterdir() if each.name[:1] != "." and each.suffix[1:] in TYPES)
    settings = _read_settings(path)
    owner, options = _owner(path, settings), _options(path, settings, names)
    found: dict[str, Applied] = {}
    for name in names:
        check(name)
        file = read_unit_file(path / name, name)
        if file is None:
            continue
        for each in _units_of(name, file.text, options.get(name, {}), f'{path / SETTINGS}: units."{name}"'):
            if each.name == name or each.name not in names:  # a file of its own goes first
                found[each.name] = each
    return UnitFolder(owner, found, _configs_of(path, settings.get(CONFIGS, {})))


def _read_settings(path: Path) -> Mapping[str, Any]:
    """What the folder's settings say, if it has any."""
    where = path / SETTINGS
    settings = read_toml(where, str(where)) if where.exists() else {}
    if unknown := settings.keys() - {"owner", "units", CONFIGS}:
        raise UserError(f"{where}: unknown key {min(unknown)!r}; the keys are owner, units and config")
    return settings


def _owner(path: Path, settings: Mapping[str, Any]) -> str:
    """Whose the folder is."""
    owner = settings.get("owner", path.resolve().name)
    if not isinstance(owner, str) or not owner.isprintable() or not 0 < len(owner) <= 100:
        raise UserError(f'{path / SETTINGS}: owner is not a name of 1 to 100 characters; write owner = "web-team"')
    return owner


def _options(path: Path, settings: Mapping[str, Any], names: Iterable[str]) -> Mapping[str, Any]:
    """What is said of each file."""
    options = settings.get("units", {})
    if not isinstance(options, dict):
        raise UserError(f'{path / SETTINGS}: units is not a table; write [units."web@.service"]')
    if missing := sorted(options.keys() - set(names)):
        raise UserError(f"{path / SETTINGS}: there is no file {missing[0]} in {path}")
    return options


def _configs_of(path: Path, variables: Any) -> Mapping[str, AppliedConfig]:  # noqa: ANN401 - from a file
    """The configs that the folder has: files of their folders, and variables of the settings."""
    for name in SECRETS:
        if (path / name).exists():
            raise UserError(f"{path / name}: secrets are not applied; use: fleetctl secret set NAME < FILE")
    inner = path / CONFIGS
    folders = {each.name: each for each in inner.iterdir() if each.name[:1] != "."} if inner.is_dir() else {}
    where = path / SETTINGS
    if not isinstance(variables, dict) or not all(isinstance(each, dict) for each in variables.values()):
        raise UserError(f'{where}: config is not a table of tables; write [config.web] and below it PORT = "80"')
    found: dict[str, AppliedConfig] = {}
    for name in sorted({*folders, *variables}):
        place = folders.get(name, where)
        try:
            check_name(name)
            if name in folders and not folders[name].is_dir():
                raise UserError(f"it is no folder; put it into one named as the config: {CONFIGS}/NAME/FILE")
            for variable, value in variables.get(name, {}).items():
                if not isinstance(value, str):
                    raise UserError(f'the value of {variable} is no text; write {variable} = "{value}"')
            files = read_files([str(folders[name])] if name in folders else [])
            content = ConfigContent(files, variables.get(name, {}))
            found[name] = AppliedConfig(name, config_text(name, content), content.summary)
        except UserError as error:
            raise UserError(f"{place}: {error}") from error
    return found


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
