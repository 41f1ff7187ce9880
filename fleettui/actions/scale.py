"""How a template comes to have N instances, and where those that start would go. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fleettui.actions.reading import FoundUnit
from placement.preview import Prediction, preview_starts
from registry.errors import UserError
from registry.frozen import dataclass
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Target
from registry.units.name import parse

MOST = 10_000


@dataclass(frozen=True, slots=True)
class ScaleSteps:
    """The instances to start, those of them that have to be created first, and those to destroy; in order."""

    start: tuple[str, ...] = ()
    create: tuple[str, ...] = ()
    destroy: tuple[str, ...] = ()


def plan_scale(template: str, count: int, found: Mapping[str, FoundUnit], known: Iterable[str]) -> ScaleSteps:
    """What makes the instances 1 to `count` run, and no other numbered one. UserError for too many."""
    if count > MOST:
        raise UserError(f"{count} instances are more than {MOST}")
    name = parse(template)
    wanted = [name.with_instance(str(number)).full for number in range(1, count + 1)]
    launched = {each for each, record in found.items() if record.unit and record.unit.target is Target.LAUNCHED}
    numbered = {each: parse(each).instance or "" for each in known if parse(each).template == template}
    surplus = [
        each for each, number in numbered.items() if re.fullmatch("[1-9][0-9]{0,8}", number) and int(number) > count
    ]
    start = tuple(each for each in wanted if each not in launched)
    return ScaleSteps(
        start,
        tuple(each for each in start if each not in numbered),
        tuple(sorted(surplus, key=lambda each: int(numbered[each]))),
    )


def preview_scale(template: str, steps: ScaleSteps, snapshot: Snapshot, keys: Keys) -> tuple[Prediction, ...]:
    """Predict where the instances go that are to start, in order, once the others are destroyed."""
    has = {each: snapshot.units.get(template if each in steps.create else each) for each in steps.start}
    files = {name: snapshot.files.get(unit.hash) for name, unit in has.items() if unit}
    texts = {name: file.text for name, file in files.items() if file}
    return tuple(preview_starts(snapshot, texts, keys, steps.destroy).values()) if texts else ()
