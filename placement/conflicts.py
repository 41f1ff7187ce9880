"""Which units may not share a machine, and which can never settle: Conflicts, Replaces and MachineOf among many.

Owns the index of conflicts: for each pattern that some unit's file holds, how many units on each machine it
matches, and how many units on each machine hold it. So whether a unit may share a machine costs a few look-ups,
however many units run there; patterns are found by their literal beginning. Owns the search for cycles, too: a unit
that follows or replaces itself in the end waits with that reason, for it could never settle. It must not know
machines' states or choose anything.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from placement.eligibility import conflict_pattern, cycle, replace_each_other
from placement.unit_entry import UnitEntry
from registry.units.name import is_literal, matcher, matches
from registry.units.options import FleetOptions

_GLOB = re.compile(r"[*?\[]")
_FAMILY = re.compile(r"[^0-9@.]*@?")


class Patterns:
    """A set of patterns over unit names; `matching` returns those that match a name."""

    def __init__(self) -> None:
        self._literal: set[str] = set()
        self._by_stem: dict[str, set[str]] = {}
        self._lengths: Counter[int] = Counter()
        self._version = 0
        self._known: dict[str, tuple[int, tuple[str, ...]]] = {}  # name to what matched it, and at which version

    def add(self, pattern: str) -> None:
        """Add a pattern that is not in the set yet."""
        self._version += 1
        if is_literal(pattern):
            self._literal.add(pattern)
            return
        stem = stem_of(pattern)
        self._by_stem.setdefault(stem, set()).add(pattern)
        self._lengths[len(stem)] += 1

    def discard(self, pattern: str) -> None:
        """Remove a pattern that is in the set."""
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
        """Return every pattern that matches the name, in no particular order."""
        known = self._known.get(name)
        if known is not None and known[0] == self._version:
            return known[1]
        found = [name] if name in self._literal else []
        for length in self._lengths:
            if there := self._by_stem.get(name[:length]):
                found += [each for each in there if matches(each, name)]
        self._known[name] = self._version, tuple(found)
        return self._known[name][1]

    def match_all(self, names: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
        """Yield each pattern with the names of these, which are sorted, that it matches; all are remembered."""
        found = {name: [name] for name in names if name in self._literal}
        yield from found.items()
        for stem, patterns in self._by_stem.items():
            first = last = bisect_left(names, stem)
            while last < len(names) and names[last].startswith(stem):
                last += 1
            for pattern in patterns if first < last else ():
                there = [*filter(matcher(pattern), names[first:last])]
                for name in there:
                    found.setdefault(name, []).append(pattern)
                yield pattern, there
        self._known = {name: (self._version, tuple(found.get(name, ()))) for name in names}

    def forget(self, name: str) -> None:
        """Drop what is remembered of a name that no unit has any more."""
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
        self._fresh: set[str] = set()  # those that are not among them yet: it matters to new patterns alone

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

    def matching(self, name: str) -> tuple[str, ...]:
        """Return every registered pattern that matches the name."""
        return self._patterns.matching(name)

    def may_concern(self, entry: UnitEntry) -> bool:
        """Whether any pattern, the unit's own or another's, could keep the unit from a machine."""
        return bool(entry.against) or bool(self.matching(entry.name))

    def machines_blocked(self, name: str, options: FleetOptions) -> set[str]:
        """Return the machines where some other unit and this one exclude each other."""
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
        stem, found = stem_of(pattern), Counter[str]()
        for family, names in self._families.items():
            if family.startswith(stem) or stem.startswith(family):
                for name in names:
                    if name.startswith(stem) and matches(pattern, name):
                        found.update(self._places[name])
        return found


def exclude_each_other(one: UnitEntry, other: UnitEntry) -> bool:
    """Whether two units may not share a machine, whichever of their files says so."""
    return bool(
        conflict_pattern(one.name, one.options, other.name, other.options)
        or conflict_pattern(other.name, other.options, one.name, one.options)
    )


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


# Cycles


def following_cycle(entries: Mapping[str, UnitEntry], entry: UnitEntry) -> str:
    """Return the cycle of MachineOf that a unit is part of, as text; "" when there is none."""

    def leaders_of(name: str) -> tuple[str, ...]:
        found = entries.get(name)
        return found.options.machine_of if found and found.placeable else ()

    return cycle(entry.name, leaders_of)


def find_replacement_cycle(
    entries: Mapping[str, UnitEntry], followers: Mapping[str, set[str]], entry: UnitEntry
) -> str:
    """Return why a unit may not replace what it names, "" when it may.

    Displacing a unit disturbs those that follow it and lets it displace others in turn: where that leads back to
    the unit itself, replacing would never come to rest.
    """
    for replaced in _replaced(entries, entry):
        if entry.name in _replaced(entries, entries[replaced]):
            return replace_each_other(entry.name, replaced)
        reached, ahead = {replaced}, [replaced]
        while ahead:
            name = ahead.pop()
            other = entries.get(name)
            if other is None or not other.placeable:
                continue
            following = {each for each in followers.get(name, ()) if entries[each].placeable}
            new = (following | set(_replaced(entries, other))) - reached
            if entry.name in new:
                return f"replacing {replaced} would displace {entry.name} itself in the end; remove one Replaces"
            reached |= new
            ahead += new
    return ""


def _replaced(entries: Mapping[str, UnitEntry], entry: UnitEntry) -> list[str]:
    """Return the units that are wanted somewhere and that this one names in Replaces, sorted."""
    found: set[str] = set()
    for pattern in entry.options.replaces:
        names = [pattern] if is_literal(pattern) else [name for name in entries if matches(pattern, name)]
        found.update(name for name in names if name in entries and entries[name].placeable)
    found.discard(entry.name)
    return sorted(found)
