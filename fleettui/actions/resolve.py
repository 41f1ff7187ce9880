"""Where a unit's text comes from, by fleet's rule: the registry's unit, a file on disk, the registry's template, a
template on disk. Decides; stores nothing.
"""

from __future__ import annotations

from collections.abc import Iterable

from fleettui.actions.disk import Candidate
from fleettui.actions.operator import Operator
from fleettui.actions.reading import NOTHING, FoundUnit, read_texts, read_units
from fleettui.actions.units import UnitSource
from registry.frozen import dataclass
from registry.units.name import parse


@dataclass(frozen=True, slots=True)
class Resolved:
    """What can be submitted, and the names that neither the registry nor the disk knows."""

    sources: tuple[UnitSource, ...] = ()
    missing: tuple[str, ...] = ()


async def resolve(operator: Operator, candidates: Iterable[Candidate]) -> Resolved:
    """Choose each unit's text. An instance without a file of its own takes its template's, and so its hash.

    A unit of the registry comes with the text that would replace it, for `submit` to warn or to store.
    """
    wanted = {candidate.name: candidate for candidate in candidates}
    templates = {name: parse(name).template or "" for name in wanted if parse(name).is_instance}
    found = await read_units(operator, list(dict.fromkeys((*wanted, *templates.values()))))
    texts = await read_texts(operator, (unit.hash for name in templates.values() if (unit := found[name].unit)))
    sources: dict[str, UnitSource | None] = {}
    for name, each in wanted.items():
        template = templates.get(name, "")
        unit = found.get(template, NOTHING).unit
        text = texts.get(unit.hash) if unit else None
        stored = None if text is None else UnitSource(name, text, f"template {template} in the registry")
        sources[name] = _source(each, found[name], stored)
    missing = tuple(name for name, source in sources.items() if source is None)
    return Resolved(tuple(source for source in sources.values() if source), missing)


def _source(candidate: Candidate, found: FoundUnit, stored: UnitSource | None) -> UnitSource | None:
    """A file of its own goes first. Of two templates the registry's does, unless the unit is known already:
    then the one on disk is what the operator may have changed.
    """
    name = candidate.name
    if candidate.file:
        return UnitSource(name, candidate.file.text, candidate.file.path)
    on_disk = UnitSource(name, candidate.template.text, candidate.template.path) if candidate.template else None
    chosen = (on_disk or stored) if found.exists else (stored or on_disk)
    return chosen or (UnitSource(name) if found.exists else None)
