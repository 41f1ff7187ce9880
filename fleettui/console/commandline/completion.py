"""What the last word of a line may become: commands, flags, units, machines, columns, themes. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from fleettui.cli.arguments import COMMANDS
from fleettui.console.commandline.commands import (
    ROLLOUT_ACTS,
    VIEWS,
    CommandContext,
    complete_names,
    flags_of,
    names_of_commands,
)
from fleettui.console.tables.query import completed

SHOWN = 200  # candidates; nobody reads more
OF_UNITS = frozenset(command.name for command in COMMANDS if command.takes("UNIT")) | {
    "history",
    "diff",
    "rollback",
}
OF_MACHINES = frozenset(command.name for command in COMMANDS if command.takes("MACHINE")) | {"ssh"}


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
    name, last = before[0], before[-1]
    if word.startswith("-"):
        return [flag for flag in flags_of(name) if flag not in before]
    if last == "--unit" or (name in OF_UNITS and last != "--machine"):
        return _fresh(context.snapshot.units, before)
    if last == "--machine" or name in OF_MACHINES:
        units = context.snapshot.units if name == "ssh" else ()
        return _fresh([*_hosts(context), *units], before)
    if len(before) > 1:
        return {"sort": ("asc", "desc"), "rollout": _fresh(context.snapshot.rollouts, before)}.get(name, ())
    choices = {
        "sort": context.columns,
        "rollout": ("list", "status", *ROLLOUT_ACTS),
        "theme": context.themes,
        "cluster": context.fleets,
        "help": tuple(names_of_commands()),
    }
    return choices.get(name, ())


def _hosts(context: CommandContext) -> list[str]:
    return [machine.hostname for machine in context.snapshot.machines.values()]


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
