"""Who stands against whom on which machine: Conflicts and Replaces as counters instead of searches.

Owns, for each pattern that some unit's file holds, how many units on each machine it matches, and how many units
on each machine hold it. So whether a unit may share a machine costs a few look-ups, however many units run
there. Patterns are found by their literal beginning. It must not know machines' states or choose anything.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from registry.fleetoptions import FleetOptions
from registry.unitname import is_literal, matches

_GLOB = re.compile(r"[*?\[]")


class Patterns:
    """A set of patterns over unit names that knows which of them match a name."""

    def __init__(self) -> None:
        self._literal: set[str] = set()
        self._by_stem: dict[str, set[str]] = {}
        self._lengths: Counter[int] = Counter()

    def add(self, pattern: str) -> None:
        """Take a pattern in that is not in yet."""
        if is_literal(pattern):
            self._literal.add(pattern)
            return
        stem = stem_of(pattern)
        self._by_stem.setdefault(stem, set()).add(pattern)
        self._lengths[len(stem)] += 1

    def discard(self, pattern: str) -> None:
        """Forget a pattern that is in."""
        if is_literal(pattern):
            self._literal.discard(pattern)
            return
        stem = stem_of(pattern)
        self._by_stem[stem].discard(pattern)
        self._lengths -= Counter({len(stem): 1})
        if not self._by_stem[stem]:
            del self._by_stem[stem]

    def matching(self, name: str) -> list[str]:
        """Every pattern that matches the name, in no particular order."""
        found = [name] if name in self._literal else []
        for length in self._lengths:
            found += [each for each in self._by_stem.get(name[:length], ()) if matches(each, name)]
        return found


def stem_of(pattern: str) -> str:
    """The part of a pattern before its first glob character."""
    found = _GLOB.search(pattern)
    return pattern[: found.start()] if found else pattern


class Rivals:
    """The units on each machine, as the patterns in unit files see them."""

    def __init__(self) -> None:
        self._references: Counter[str] = Counter()
        self._patterns = Patterns()
        self._matched: dict[str, Counter[str]] = {}
        self._holders: dict[str, Counter[str]] = defaultdict(Counter)
        self._places: dict[str, set[str]] = {}

    def register(self, patterns: Iterable[str]) -> None:
        """A unit's file holds these patterns."""
        for pattern in patterns:
            self._references[pattern] += 1
            if self._references[pattern] == 1:
                self._patterns.add(pattern)
                self._matched[pattern] = self._count(pattern)

    def unregister(self, patterns: Iterable[str]) -> None:
        """A unit's file no longer holds these patterns."""
        for pattern in patterns:
            self._references[pattern] -= 1
            if not self._references[pattern]:
                del self._references[pattern]
                del self._matched[pattern]
                self._patterns.discard(pattern)

    def occupy(self, name: str, machine: str, against: Iterable[str]) -> None:
        """The unit is on the machine now."""
        self._places.setdefault(name, set()).add(machine)
        for pattern in self._patterns.matching(name):
            self._matched[pattern][machine] += 1
        self.hold(machine, against, 1)

    def vacate(self, name: str, machine: str, against: Iterable[str]) -> None:
        """The unit has left the machine."""
        self._places[name].discard(machine)
        if not self._places[name]:
            del self._places[name]
        for pattern in self._patterns.matching(name):
            self._matched[pattern][machine] -= 1
        self.hold(machine, against, -1)

    def hold(self, machine: str, against: Iterable[str], change: int) -> None:
        """So many more units on the machine hold these patterns."""
        for pattern in against:
            self._holders[pattern][machine] += change

    def matching(self, name: str) -> list[str]:
        """Every registered pattern that matches the name."""
        return self._patterns.matching(name)

    def machines_blocked(self, name: str, options: FleetOptions) -> set[str]:
        """Machines where some other unit stands against this one, in either direction."""
        counters = [(self._matched[pattern], matches(pattern, name)) for pattern in options.conflicts]
        own = {*options.conflicts, *options.replaces}
        counters += [
            (self._holders[pattern], pattern in own)
            for pattern in self._patterns.matching(name)
            if pattern in self._holders
        ]
        if not counters:
            return set()
        here = self._places.get(name, ())
        return {
            machine
            for counter, counts_itself in counters
            for machine, count in counter.items()
            if count > (1 if counts_itself and machine in here else 0)
        }

    def _count(self, pattern: str) -> Counter[str]:
        found: Counter[str] = Counter()
        for name in self._candidates(pattern):
            if matches(pattern, name):
                found.update(self._places[name])
        return found

    def _candidates(self, pattern: str) -> list[str]:
        if is_literal(pattern):
            return [pattern] if pattern in self._places else []
        stem = stem_of(pattern)
        return [name for name in self._places if name.startswith(stem)]
