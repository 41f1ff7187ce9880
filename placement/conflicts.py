"""Which units may not share a machine: Conflicts and Replaces among many.

Owns the index of conflicts: for each pattern that some unit's file holds, how many units on each machine it
matches, and how many units on each machine hold it. So whether a unit may share a machine costs a few look-ups,
however many units run there; patterns are found by their literal beginning. It must not know machines' states or
choose anything.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from placement.eligibility import conflict_pattern
from placement.unit_entry import UnitEntry
from registry.units.name import is_literal, matcher
from registry.units.options import FleetOptions

_GLOB = re.compile(r"[*?\[]")
_WILD = re.compile(r"\*|\?|\[[^\]]*\]|\[")
_FAMILY = re.compile(r"[^0-9@.]*@?")
FEW = 16  # patterns that match a name, or that a file holds: more are found by hash and not one by one
KEPT = 1 << 14  # files of many patterns, of which the places of these are remembered
SPARE = 1000  # globs that may have gone and are remembered as having come


Matcher = Callable[[str], object]


class Known(NamedTuple):
    """What is known of a name: the patterns that matched it, at which version, when so many globs had come."""

    version: int
    seen: int
    found: Collection[str]


class ByPart:
    """Globs by a part that has to be in a name that they match."""

    def __init__(self) -> None:
        self.globs: dict[str, dict[str, Matcher]] = {}
        self._lengths: Counter[int] = Counter()

    def add(self, part: str, glob: str, match: Matcher) -> None:
        """Add a glob that is not among them yet."""
        self.globs.setdefault(part, {})[glob] = match
        self._lengths[len(part)] += 1

    def discard(self, part: str, glob: str) -> None:
        """Remove a glob."""
        del self.globs[part][glob]
        if not self.globs[part]:
            del self.globs[part]
        self._lengths[len(part)] -= 1
        if not self._lengths[len(part)]:
            del self._lengths[len(part)]

    def beginning(self, name: str) -> list[str]:
        """Return those that match a name, and whose part it begins with."""
        found: list[str] = []
        for length in self._lengths:
            if there := self.globs.get(name[:length]):
                found += [glob for glob, match in there.items() if match(name)]
        return found

    def inside(self, name: str) -> list[str]:
        """Return those that match a name, and whose part is anywhere in it."""
        parts = {name[at : at + length] for length in self._lengths for at in range(len(name) - length + 1)}
        found: list[str] = []
        for part in parts & self.globs.keys():
            found += [glob for glob, match in self.globs[part].items() if match(name)]
        return found


class Patterns:
    """A set of patterns over unit names; `matching` returns those that match a name.

    A name and a glob meet at most once: what is known of a name stays known, and globs that have come since are
    looked at when it is asked for again.
    """

    def __init__(self) -> None:
        self._literal: set[str] = set()
        self._globs: dict[str, Matcher] = {}
        self._stems, self._inner = ByPart(), ByPart()
        self._added: list[str] = []  # globs in the order in which they came; those that have gone may be among them
        self._dropped = 0  # how many of these are not kept any more
        self._version = 0
        self._known: dict[str, Known] = {}

    def add(self, pattern: str) -> None:
        """Add a pattern that is not in the set yet."""
        self._version += 1
        if is_literal(pattern):
            self._literal.add(pattern)
            return
        self._globs[pattern] = matcher(pattern)
        parts, part = self._place_of(pattern)
        parts.add(part, pattern, self._globs[pattern])
        if len(self._added) > 2 * len(self._globs) + SPARE:
            self._dropped += len(self._added)
            self._added.clear()
        self._added.append(pattern)

    def discard(self, pattern: str) -> None:
        """Remove a pattern that is in the set."""
        self._version += 1
        if is_literal(pattern):
            self._literal.discard(pattern)
            return
        del self._globs[pattern]
        parts, part = self._place_of(pattern)
        parts.discard(part, pattern)

    def _place_of(self, glob: str) -> tuple[ByPart, str]:
        """Where a glob is found: by its literal beginning, or else by what has to be somewhere in a name."""
        stem = stem_of(glob)
        return (self._stems, stem) if stem else (self._inner, inner_of(glob))

    def matching(self, name: str) -> Collection[str]:
        """Return every pattern that matches the name, each once, in no particular order."""
        known = self._known.get(name)
        if known is not None and known.version == self._version:
            return known.found
        if known is None or known.seen < self._dropped or len(self._added) + self._dropped - known.seen > SPARE:
            found = self._stems.beginning(name)
            if self._inner.globs:
                found += self._inner.inside(name)
        else:
            found = [each for each in known.found if each in self._globs]
            for each in self._added[known.seen - self._dropped :]:
                if each in self._globs and self._globs[each](name):
                    found.append(each)
        return self._remember(name, found)

    def _remember(self, name: str, found: list[str]) -> Collection[str]:
        if name in self._literal:
            found.append(name)
        kept: Collection[str] = tuple(found) if len(found) <= 1 else dict.fromkeys(found)
        self._known[name] = Known(self._version, self._dropped + len(self._added), kept)
        return kept

    def match_all(self, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield each pattern with the names of these, which are sorted, that it matches; all are remembered."""
        found: dict[str, list[str]] = {}
        yield from ((name, [name]) for name in names if name in self._literal)
        for stem, globs in self._stems.globs.items():
            first = bisect_left(names, stem)
            last = first
            while last < len(names) and names[last].startswith(stem):
                last += 1
            for pattern, match in globs.items() if first < last else ():
                there = [*filter(match, names[first:last])]
                for name in there:
                    found.setdefault(name, []).append(pattern)
                yield pattern, there
        by_glob: dict[str, list[str]] = {}
        for name in names if self._inner.globs else ():
            for pattern in self._inner.inside(name):
                found.setdefault(name, []).append(pattern)
                by_glob.setdefault(pattern, []).append(name)
        yield from by_glob.items()
        self._known.clear()
        for name in names:
            self._remember(name, found.get(name, []))

    def forget(self, name: str) -> None:
        """Drop what is remembered of a name that no unit has any more."""
        self._known.pop(name, None)


def stem_of(pattern: str) -> str:
    """The part of a pattern before its first glob character."""
    found = _GLOB.search(pattern)
    return pattern[: found.start()] if found else pattern


def inner_of(glob: str) -> str:
    """The longest literal part of a glob, rather one that is not a type of units; "" where there is none."""
    return max(_WILD.split(glob), key=lambda part: (not part.startswith("."), len(part)))


class ConflictIndex:
    """The units on each machine, as the patterns in unit files see them."""

    def __init__(self) -> None:
        self._references: Counter[str] = Counter()
        self._patterns = Patterns()
        self._matched: dict[str, Counter[str]] = {}
        self._holders: dict[str, Counter[str]] = defaultdict(Counter)
        self._places: dict[str, set[str]] = {}
        self._families: dict[str, set[str]] = {}  # the names of _places, by how they begin
        self._fresh: set[str] = set()  # those that are not among them yet: it matters to new patterns alone
        self._orders: dict[tuple[str, ...], dict[str, int]] = {}  # the patterns of a file to their places in it

    def register(self, patterns: Iterable[str], units: int = 1) -> None:
        """Note that the files of so many more units hold these patterns."""
        for pattern in patterns:
            self._references[pattern] += units
            if self._references[pattern] == units:
                self._patterns.add(pattern)
                self._matched[pattern] = self._count(pattern)

    def unregister(self, patterns: Iterable[str]) -> None:
        """Note that a unit's file no longer holds these patterns."""
        for pattern in patterns:
            self._references[pattern] -= 1
            if not self._references[pattern]:
                del self._references[pattern]
                del self._matched[pattern]
                self._patterns.discard(pattern)

    def occupy_all(self, entries: Iterable[UnitEntry]) -> set[str]:
        """Note where units are; none must be on a machine yet.

        Returns the machines where some two of them may exclude each other; on all others none do.
        """
        against: dict[str, tuple[str, ...]] = {}
        for entry in entries:
            if machines := entry.assigned | entry.reported.keys():
                self._places[entry.name] = machines
                against[entry.name] = entry.against
        for name, patterns in against.items():
            for pattern in patterns:
                holders = self._holders[pattern]
                for machine in self._places[name]:
                    holders[machine] = holders.get(machine, 0) + 1
        self._fresh.update(against)
        crowded: set[str] = set()
        for pattern, names in self._patterns.match_all(sorted(against)):
            matched, holders = self._matched[pattern], self._holders[pattern]
            for name in names:
                holds = pattern in against[name]
                for machine in self._places[name]:
                    matched[machine] = matched.get(machine, 0) + 1
                    if machine in holders and holders[machine] > holds:
                        crowded.add(machine)
        return crowded

    def occupy(self, name: str, machine: str, against: Iterable[str]) -> None:
        """Note that a unit is on the machine now."""
        if name not in self._places:
            self._places[name] = {machine}
            self._fresh.add(name)
        else:
            self._places[name].add(machine)
        for pattern in self._patterns.matching(name):
            matched = self._matched[pattern]
            matched[machine] = matched.get(machine, 0) + 1
        self.hold(machine, against, 1)

    def vacate(self, name: str, machine: str, against: Iterable[str]) -> None:
        """Note that a unit has left the machine."""
        self._places[name].discard(machine)
        if not self._places[name]:
            del self._places[name]
            self._fresh.discard(name)
            self._families.get(family_of(name), set()).discard(name)
        for pattern in self._patterns.matching(name):
            _count_down(self._matched[pattern], machine)
        self.hold(machine, against, -1)

    def hold(self, machine: str, against: Iterable[str], change: int) -> None:
        """Note that so many more units on the machine hold these patterns."""
        for pattern in against:
            holders = self._holders[pattern]
            if change > 0:
                holders[machine] = holders.get(machine, 0) + change
            else:
                _count_down(holders, machine)

    def forget(self, name: str) -> None:
        """Drop what is remembered of a name that no unit has any more."""
        self._patterns.forget(name)

    def matching(self, name: str) -> Collection[str]:
        """Return every registered pattern that matches the name."""
        return self._patterns.matching(name)

    def first_match(self, patterns: tuple[str, ...], name: str) -> str:
        """Return the first of some file's patterns, all of them registered, that matches a name; "" for none.

        It asks what is known of the name: comparing every pattern with it would be done for each pair of units.
        """
        matching = self._patterns.matching(name) if patterns else ()
        if not matching:
            return ""
        if len(patterns) <= FEW:
            return next((each for each in patterns if each in matching), "")
        order = self._orders.get(patterns)
        if order is None:
            if len(self._orders) >= KEPT:
                self._orders.clear()
            order = self._orders[patterns] = {each: place for place, each in enumerate(patterns)}
        if len(matching) < len(order):
            places = [order[each] for each in matching if each in order]
            return patterns[min(places)] if places else ""
        return next((each for each in patterns if each in matching), "")

    def exclude_each_other(self, one: UnitEntry, other: UnitEntry) -> bool:
        """Whether two units may not share a machine, whichever of their files says so."""
        return self.keeps_out(one, other) or self.keeps_out(other, one)

    def keeps_out(self, one: UnitEntry, other: UnitEntry) -> bool:
        """Whether `one` may not come to a machine where `other` is, unless it replaces that."""
        return bool(
            conflict_pattern(one.name, one.options, other.name, other.options, first_match=self.first_match)
        )

    def may_concern(self, entry: UnitEntry) -> bool:
        """Whether any pattern, the unit's own or another's, could keep the unit from a machine."""
        return bool(entry.against) or bool(self.matching(entry.name))

    def machines_blocked(self, name: str, options: FleetOptions) -> set[str]:
        """Return the machines where some other unit and this one exclude each other."""
        matching = self._patterns.matching(name)
        counters = [(self._matched[pattern], pattern in matching) for pattern in options.conflicts]
        own = {*options.conflicts, *options.replaces}
        counters += [(self._holders[pattern], pattern in own) for pattern in matching if pattern in self._holders]
        if not counters:
            return set()
        here = self._places.get(name, ())
        return {
            machine
            for counter, counts_itself in counters
            for machine, count in counter.items()
            if count > (1 if counts_itself and machine in here else 0)
        }

    def may_oppose(self, name: str, options: FleetOptions, machine: str) -> bool:
        """Whether a unit on the machine may exclude this one, or this one it; False is certain."""
        matching, own = self._patterns.matching(name), options.conflicts + options.replaces
        if not (matching or own):
            return False
        here = machine in self._places.get(name, ())
        for pattern in own:
            count = self._matched[pattern].get(machine)
            if count and count > (here and pattern in matching):
                return True
        for pattern in matching:
            holders = self._holders.get(pattern)
            count = holders.get(machine) if holders else None
            if count and count > (here and pattern in own):
                return True
        return False

    def _count(self, pattern: str) -> Counter[str]:
        """Count, by machine, the units that a pattern matches: of families whose beginning agrees with its own."""
        if is_literal(pattern):
            return Counter(self._places.get(pattern, ()))
        for name in self._fresh:
            self._families.setdefault(family_of(name), set()).add(name)
        self._fresh.clear()
        stem, match, found = stem_of(pattern), matcher(pattern), Counter[str]()
        for family, names in self._families.items():
            if family.startswith(stem) or stem.startswith(family):
                for name in names:
                    if name.startswith(stem) and match(name):
                        found.update(self._places[name])
        return found


def family_of(name: str) -> str:
    """Return the beginning that the instances of one template, or the units of one numbered series, share."""
    found = _FAMILY.match(name)
    return found[0] if found else ""


def _count_down(counter: Counter[str], machine: str) -> None:
    """Count one less; machines without any are left out, so that blocked ones are found quickly."""
    if counter[machine] > 1:
        counter[machine] -= 1
    else:
        del counter[machine]
