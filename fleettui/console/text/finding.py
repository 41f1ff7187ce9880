"""Finding one thing among many by a few letters: what the palette offers, best first. Pure.

All words typed must be found. A beginning is better than the beginning of a word, that better than any part, and
that better than letters in order; of equals the shorter name, and what can be done before what can be gone to.
A verb and a thing are found together, before all else; a verb alone offers things after what is called so itself.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest

from fleettui.console.text.formatting import natural
from fleettui.console.text.keys import APP, KEYS, MAIN, shown_key
from fleettui.verbs import INTRODUCING, ON_UNITS, Verb
from registry.mirror import Snapshot

Score = tuple[int, int, int]
ACTED = 12  # acts on things that are offered
_SPAN = 40  # letters in order, no further apart than this in all


@dataclass(frozen=True, slots=True)
class Find:
    """One thing to do or to go to. `what` is the action, or the key of a row, or a theme's name."""

    kind: str
    label: str
    what: str
    hint: str = ""


@dataclass(frozen=True, slots=True)
class FinderSource:
    """Things of one kind; `rank` orders kinds among equals.

    `acts` are what can be done to each: the first word of what is typed chooses one, the others find the thing.
    """

    kind: str
    labels: Sequence[str]
    finds: Mapping[str, Find] | None = None  # by label, where a thing is more than its name
    keys: Mapping[str, str] | None = None
    acts: Sequence[str] = ()

    def find(self, label: str) -> Find:
        """The thing of this label."""
        if self.finds is not None:
            return self.finds[label]
        return Find(self.kind, label, self.keys[label] if self.keys is not None else label, self.kind)


def sources(
    snapshot: Snapshot, keymap: Mapping[str, str], themes: Iterable[str], *, read_only: bool, view: str = "units"
) -> tuple[FinderSource, ...]:
    """Return all that can be found: the view's actions with their keys, themes, machines, units."""
    usable = [
        key for key in KEYS
        if key.where in (MAIN, APP) and key.id != "palette" and not (read_only and key.changes)
        and (not key.views or view in key.views)
    ]  # fmt: skip
    actions = [Find("action", f"{key.label}: {key.does}", key.action, shown_key(key, keymap)) for key in usable]
    colours = [Find("theme", f"theme {name}", name, "theme") for name in themes]
    hosts = {machine.hostname: machine.id for machine in snapshot.machines.values()}
    names = sorted(snapshot.units, key=natural)
    return (
        FinderSource("action", [find.label for find in actions], {find.label: find for find in actions}),
        FinderSource("theme", [find.label for find in colours], {find.label: find for find in colours}),
        FinderSource("machine", sorted(hosts, key=natural), keys=hosts),
        FinderSource("unit", names),
        *(() if read_only else (FinderSource("command", sorted(hosts, key=natural), acts=TO_MACHINES),)),
        FinderSource("command", names, acts=SEEING if read_only else (*SEEING, *TO_UNITS)),
    )


SEEING = ("journal", "status", "why", "cat", "history")
TO_UNITS = (*(verb.value for verb in Verb if verb in (*ON_UNITS, *INTRODUCING) and verb is not Verb.SUBMIT), "ssh")
TO_MACHINES = ("drain", "cordon", "uncordon", "ssh")


def acted(words: Sequence[str], source: FinderSource, limit: int) -> list[Find]:
    """What the first word does to the things that the others find, to any without others: "drain core-2", "dra"."""
    acts = [act for act in source.acts if act.startswith(words[0])] if len(words[0]) > 1 else []
    if not acts:
        return []
    found = nsmallest(
        limit,
        ((score, label) for label in source.labels if (score := _score(label.lower(), words[1:])) is not None),
    )
    return [Find("command", f"{act} {label}", f"{act} {shlex.quote(label)}", "command")
            for _, label in found for act in acts][:limit]  # fmt: skip


def ranked(query: str, among: Sequence[FinderSource], limit: int) -> list[Find]:
    """The best finds; without a query the first of each kind in turn."""
    words = query.lower().split()
    if not words:
        return [source.find(label) for source in among if not source.acts for label in source.labels][:limit]
    scored = (
        (score, rank, label)
        for rank, source in enumerate(among)
        for label in (source.labels if not source.acts else ())
        if (score := _score(label.lower(), words)) is not None
    )
    things = [(score, among[rank].find(label)) for score, rank, label in nsmallest(limit, scored)]
    acts = [find for source in among for find in acted(words, source, ACTED)]
    first = (
        sum(score[0] <= 1 for score, _ in things) if len(words) == 1 else 0
    )  # what is called so comes before acts
    found = [find for _, find in things]
    return [*found[:first], *acts, *found[first:]][:limit]


def _score(label: str, words: Sequence[str]) -> Score | None:
    worst: Score = (0, 0, 0)
    for word in words:
        at = label.find(word)
        if at >= 0:
            score = (0 if at == 0 else 1 if not label[at - 1].isalnum() else 2), 0, len(label)
        else:
            found = letters(word, label) if len(word) > 1 else None
            if found is None or found[1] - found[0] > _SPAN:
                return None
            score = 3, found[1] - found[0], len(label)
        worst = max(worst, score)
    return worst


def letters(word: str, text: str) -> tuple[int, int] | None:
    """Where the word's letters first stand in order in the text, from and to; None where they do not.

    Every letter is looked for once, from where the one before was found: the work grows with the text alone.
    """
    at = start = text.find(word[:1])
    for letter in word[1:]:
        if at < 0:
            return None
        at = text.find(letter, at + 1)
    return (start, at + 1) if at >= 0 else None


def in_order(word: str, text: str, gap: int) -> bool:
    """Whether the word's letters stand in order in the text, no more than `gap` characters between any two.

    Of each letter only the last place counts at which the letters up to it are found: none nearer can come. So the
    text is gone through once.
    """
    if letters(word, text) is None:
        return False
    wanted: dict[str, list[int]] = {}  # by letter, its places in the word, the last first
    for number, letter in enumerate(word):
        wanted.setdefault(letter, []).insert(0, number)
    found = [-1] * len(word)
    for at, letter in enumerate(text):
        for number in wanted.get(letter, ()):
            before = found[number - 1] if number else at
            if before >= 0 and at - before <= gap + 1:
                found[number] = at
    return found[-1] >= 0


def spread(word: str, text: str) -> int:
    """The most characters between two of the word's letters, each as early in the text as it can be; -1: not there.

    Where that is no more than is allowed, `in_order` holds; where it is more, that has to look.
    """
    at, widest = text.find(word[:1]), 0
    for letter in word[1:]:
        if at < 0:
            return -1
        before, at = at, text.find(letter, at + 1)
        widest = max(widest, at - before - 1)
    return widest if at >= 0 else -1
