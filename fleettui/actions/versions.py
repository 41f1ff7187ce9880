"""The versions of a unit: the file that it has, and those that it had before. Reads; writes nothing."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from fleettui.actions.operator import Operator
from fleettui.actions.reading import read_texts, read_units
from registry.errors import UserError
from registry.model import Unit


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a unit, by the hash of its file. `back`: 0 for the present one, 1 for the one before it."""

    hash: str
    back: int
    text: str | None = None  # None: the registry does not have it any more


async def versions(operator: Operator, name: str) -> tuple[Unit, tuple[Version, ...]]:
    """The unit and its versions, newest first. UserError when the registry has no such unit."""
    found = (await read_units(operator, [name]))[name]
    if found.unit is None:
        why = f"the registry's record of {name} is corrupt ({found.corrupt})" if found.corrupt else ""
        raise UserError(why or f"unit {name} is not in the registry; see: fleetctl list-unit-files")
    hashes = tuple(dict.fromkeys((found.unit.hash, *found.unit.history)))
    texts = await read_texts(operator, hashes)
    return found.unit, tuple(Version(sha, back, texts.get(sha)) for back, sha in enumerate(hashes))


def choose(known: Sequence[Version], asked: str | None, name: str) -> Version:
    """The version whose hash begins as asked; by default the one before the present. UserError unless it is one."""
    if asked is None:
        if len(known) == 1:
            raise UserError(f"{name} has had no other file; see: fleetctl history {name}")
        return known[1]
    fitting = [each for each in known if len(asked) >= 4 and each.hash.startswith(asked.lower())]
    if len(fitting) != 1:
        listed = ", ".join(each.hash[:7] for each in known)
        raise UserError(
            f"{asked!r} is not the beginning of one version of {name}, of four digits or more ({listed})"
        )
    return fitting[0]


def text_of(version: Version, name: str) -> str:
    """The version's text. UserError when it is gone."""
    if version.text is None:
        raise UserError(f"the text of version {version.hash[:7]} of {name} is not in the registry any more")
    return version.text


def difference(old: str, new: str, old_name: str, new_name: str) -> list[str]:
    """The lines of a unified diff; none when the texts are equal."""
    lines = difflib.unified_diff(old.splitlines(), new.splitlines(), old_name, new_name, lineterm="")
    return list(lines)
