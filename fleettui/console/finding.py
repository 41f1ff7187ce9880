"""Finding one thing among many by a few letters: what the palette offers, best first. Pure.

All words typed must be found. A beginning is better than the beginning of a word, that better than any part, and
that better than letters in order; of equals the shorter name, and what can be done before what can be gone to.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from fleettui.console.keys import APP, KEYS, MAIN, shown_key
from registry.mirror import Snapshot

Score = tuple[int, int, int]
_SPAN = 40  # letters in order, no further apart than this in all


@dataclass(frozen=True, slots=True)
class Find:
    """One thing to do or to go to. `what` is the action, or the key of a row, or a theme's name."""

    kind: str
    label: str
    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """Things of one kind; `rank` orders kinds among equals."""

    kind: str
    labels: Sequence[str]
    finds: Mapping[str, Find] | None = None  # by label, where a thing is more than its name
    keys: Mapping[str, str] | None = None

    def find(self, label: str) -> Find:
        """The thing of this label."""
        if self.finds is not None:
            return self.finds[label]
        return Find(self.kind, label, self.keys[label] if self.keys is not None else label, self.kind)


def sources(
    snapshot: Snapshot, keymap: Mapping[str, str], themes: Iterable[str], *, read_only: bool, view: str = "units"
) -> tuple[Source, ...]:
    """All that can be found: the view's actions with their keys, themes, machines, units."""
    usable = [
        key for key in KEYS
        if key.where in (MAIN, APP) and key.id != "palette" and not (read_only and key.changes)
        and (not key.views or view in key.views)
    ]  # fmt: skip
    actions = [Find("action", f"{key.label}: {key.does}", key.action, shown_key(key, keymap)) for key in usable]
    colours = [Find("theme", f"theme {name}", name, "theme") for name in themes]
    hosts = {machine.hostname: machine.id for machine in snapshot.machines.values()}
    return (
        Source("action", [find.label for find in actions], {find.label: find for find in actions}),
        Source("theme", [find.label for find in colours], {find.label: find for find in colours}),
        Source("machine", sorted(hosts), keys=hosts),
        Source("unit", sorted(snapshot.units)),
    )


def ranked(query: str, among: Sequence[Source], limit: int) -> list[Find]:
    """The best finds; without a query the first of each kind in turn."""
    words = query.lower().split()
    if not words:
        return [source.find(label) for source in among for label in source.labels][:limit]
    patterns = [(word, re.compile(".*?".join(map(re.escape, word)))) for word in words]
    scored = (
        (score, rank, label)
        for rank, source in enumerate(among)
        for label in source.labels
        if (score := _score(label.lower(), patterns)) is not None
    )
    return [among[rank].find(label) for _, rank, label in nsmallest(limit, scored)]


def _score(label: str, patterns: Sequence[tuple[str, re.Pattern[str]]]) -> Score | None:
    worst: Score = (0, 0, 0)
    for word, pattern in patterns:
        score = _word(label, word, pattern)
        if score is None:
            return None
        worst = max(worst, score)
    return worst


def _word(label: str, word: str, pattern: re.Pattern[str]) -> Score | None:
    at = label.find(word)
    if at >= 0:
        return (0 if at == 0 else 1 if not label[at - 1].isalnum() else 2), 0, len(label)
    found = pattern.search(label) if len(word) > 1 else None
    if found is None or found.end() - found.start() > _SPAN:
        return None
    return 3, found.end() - found.start(), len(label)
