"""Who stands against whom on which machine: Conflicts and Replaces as counters instead of searches.

Owns, for each pattern that some unit's file holds, how many units on each machine it matches, and how many units
on each machine hold it. So whether a unit may share a machine costs a few look-ups, however many units run
there. Patterns are found by their literal beginning. It must not know machines' states or choose anything.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from registry.units.name import is_literal, matches
from registry.units.options import FleetOptions

_GLOB = re.compile(r"[*?\[]")
_FAMILY = re.compile(r"[^0-9@.]*@?")


class Patterns:
    """A set of patterns over unit names that knows which of them match a name."""

    def __init__(self) -> None:
        self._literal: set[str] = set()
        self._by_stem: dict[str, set[str]] = {}
        self._lengths: Counter[int] = Counter()
        self._version = 0
        self._known: dict[str, tuple[int, tuple[str, ...]]] = {}  # name to what matched it, and at which version

    def add(self, pattern: str) -> None:
        """Take a pattern in that is not in yet."""
        self._version += 1
        if is_literal(pattern):
            self._literal.add(pattern)
            return
        stem = stem_of(pattern)
        self._by_stem.setdefault(stem, set()).add(pattern)
        self._lengths[len(stem)] += 1

    def discard(self, pattern: str) -> None:
        """Forget a pattern that is in."""
        self._version += 1
        if is_literal(pattern):
            self._literal.discard(pattern)
            return
        stem = stem_of(pattern)
        self._by_stem[stem].discard(pattern)
        self._lengths[len(stem)] -= 1
        if not self._lengths[len(stem)]:
            del self._lengths[len(stem)]
        if not self._by_stem[stem]:
            del self._by_stem[stem]

    def matching(self, name: str) -> tuple[str, ...]:
        """Every pattern that matches the name, in no particular order."""
        known = self._known.get(name)
        if known is not None and known[0] == self._version:
            return known[1]
        found = [name] if name in self._literal else []
        for length in self._lengths:
            if there := self._by_stem.get(name[:length]):
                found += [each for each in there if matches(each, name)]
        self._known[name] = self._version, tuple(found)
        return self._known[name][1]

    def forget(self, name: str) -> None:
        """Nobody is called so any more."""
        self._known.pop(name, None)


def stem_of(pattern: str) -> str:
    """The part of a pattern before its first glob character."""
    found = _GLOB.search(pattern)
    return pattern[: found.start()] if found else pattern


class ConflictIndex:
    """The units on each machine, as the patterns in unit files see them."""

    def __init__(self) -> None:
        self._references: Counter[str] = Counter()
        self._patterns = Patterns()
        self._matched: dict[str, Counter[str]] = {}
        self._holders: dict[str, Counter[str]] = defaultdict(Counter)
        self._places: dict[str, set[str]] = {}
        self._families: dict[str, set[str]] = {}  # the names of _places, by how they begin

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
        if name not in self._places:
            self._places[name] = {machine}
            self._families.setdefault(family_of(name), set()).add(name)
        else:
            self._places[name].add(machine)
        for pattern in self._patterns.matching(name):
            self._matched[pattern][machine] += 1
        self.hold(machine, against, 1)

    def vacate(self, name: str, machine: str, against: Iterable[str]) -> None:
        """The unit has left the machine."""
        self._places[name].discard(machine)
        if not self._places[name]:
            del self._places[name]
            self._families[family_of(name)].discard(name)
        for pattern in self._patterns.matching(name):
            _count_down(self._matched[pattern], machine)
        self.hold(machine, against, -1)

    def hold(self, machine: str, against: Iterable[str], change: int) -> None:
        """So many more units on the machine hold these patterns."""
        for pattern in against:
            if change > 0:
                self._holders[pattern][machine] += change
            else:
                _count_down(self._holders[pattern], machine)

    def forget(self, name: str) -> None:
        """Nobody is called so any more."""
        self._patterns.forget(name)

    def matching(self, name: str) -> tuple[str, ...]:
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
        """Names that the pattern may match: those families that begin as it does, or that it begins as."""
        if is_literal(pattern):
            return [pattern] if pattern in self._places else []
        stem = stem_of(pattern)
        found: list[str] = []
        for family, names in self._families.items():
            if family.startswith(stem):
                found += names
            elif stem.startswith(family):
                found += [name for name in names if name.startswith(stem)]
        return found


def family_of(name: str) -> str:
    """What the instances of one template, or the units of one numbered series, begin with."""
    found = _FAMILY.match(name)
    return found[0] if found else ""


def _count_down(counter: Counter[str], machine: str) -> None:
    """One less; machines without any are left out, so that blocked ones are found quickly."""
    if counter[machine] > 1:
        counter[machine] -= 1
    else:
        del counter[machine]
