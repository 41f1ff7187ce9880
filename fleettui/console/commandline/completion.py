"""What the last word of a line may become: commands, flags, units, machines, columns, themes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from fleettui.cli.commands import BY_NAME
from fleettui.cli.operands import NameKind, wanted
from fleettui.console.commandline.commands import (
    ELSEWHERE,
    VIEWS,
    CommandContext,
    complete_names,
    flags_of,
    names_of_commands,
)
from fleettui.console.tables.query import completed
from registry.units.name import parse

SHOWN = 200  # candidates; nobody reads more


@dataclass(frozen=True, slots=True)
class Completion:
    """What may replace the line from `start` on, and the longest text that all of it begins with."""

    start: int = 0
    candidates: tuple[str, ...] = ()
    common: str = ""
    more: int = 0  # candidates left out


def complete(line: str, context: CommandContext) -> Completion:
    """Return the candidates for the last word of the line."""
    lead = line[: len(line) - len(line.lstrip())]
    words = line.split()
    if not words or line.endswith(" "):
        words.append("")
    if words[0] == "fleetctl" and len(words) > 1:
        words = words[1:]
    *before, word = words
    if before and before[0] in ("filter", *VIEWS) and not any(each.startswith("--") for each in (*before, word)):
        start, view = line.index(before[0]) + len(before[0]) + 1, before[0]
        return offered(completed(line[start:], lambda facet: context.values(view, facet)), start)
    found = [each for each in _known(before, context, word) if each.startswith(word) and each.isprintable()]
    shown = tuple(nsmallest(SHOWN, found) if before else found)
    return Completion(max(len(lead), len(line) - len(word)), shown, _common(found), len(found) - len(shown))


def offered(found: Sequence[str], start: int) -> Completion:
    """Return these candidates for what stands from `start` on; none that a terminal would obey."""
    found = [each for each in found if each.isprintable()]
    return Completion(start, tuple(found[:SHOWN]), _common(found), max(0, len(found) - SHOWN))


def _known(before: Sequence[str], context: CommandContext, word: str) -> Iterable[str]:
    if not before:
        return complete_names(context)
    name = before[0]
    if word.startswith("-"):
        return [flag for flag in flags_of(name) if flag not in before]
    choices = {
        "sort": context.columns if len(before) == 1 else ("asc", "desc"),
        "theme": context.themes,
        "cluster": context.fleets,
        "help": tuple(names_of_commands()),
    }
    if name in choices:
        return choices[name] if len(before) == 1 or name == "sort" else ()
    if name not in BY_NAME or name in ELSEWHERE:
        return ()
    rule = wanted([*before, word]).rule
    return [*rule.words, *_fresh((each for kind in rule.names for each in _names(kind, context)), before)]


def _names(kind: NameKind, context: CommandContext) -> Iterable[str]:
    """The names of a kind that the fleet has."""
    snapshot = context.snapshot
    match kind:
        case NameKind.MACHINE:
            return (machine.hostname for machine in snapshot.machines.values())
        case NameKind.UNIT:
            return snapshot.units
        case NameKind.TEMPLATE:
            return (name for name in snapshot.units if parse(name).is_template)
        case NameKind.ROLLOUT:
            return snapshot.rollouts
        case NameKind.CONFIG:
            return snapshot.config
        case NameKind.SECRET:
            return snapshot.secrets


def _fresh(known: Iterable[str], before: Sequence[str]) -> list[str]:
    """Names that the line does not hold yet."""
    taken = {*before[1:]}
    return [name for name in known if name not in taken]


def _common(words: Sequence[str]) -> str:
    if not words:
        return ""
    first, last = min(words), max(words)
    length = next(
        (n for n, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last))
    )
    return first[:length]
