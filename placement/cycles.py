"""Which units can never settle: those that follow or replace themselves in the end.

Owns the search for cycles of MachineOf and Replaces; such a unit waits with that reason. Units that lie on a cycle
together are found all at once, as the components of a graph (Tarjan, 1972), in which a set of patterns that
several files share is a point of its own, and so is a glob: the work grows with the units and what their files say,
not with their pairs. It must not know machines.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from placement.conflicts import ConflictIndex
from placement.eligibility import cycle, replace_each_other
from placement.unit_entry import UnitEntry
from registry.units.name import is_literal

LONG = 1000  # names that are looked at for the shortest way round; a longer one is not told whole


class Neighbours(Protocol):
    """What each point of a graph leads to."""

    def of(self, point: Hashable, /) -> Iterable[Hashable]:
        """Return the points that one leads to."""
        ...


class Components:
    """The strongly connected components of a graph; only what can be reached from what is asked about is looked at.

    Two points are in one component where each can be reached from the other.
    """

    def __init__(self, neighbours: Neighbours) -> None:
        self._neighbours = neighbours
        self._component: dict[Hashable, int] = {}
        self._found = 0

    def of(self, point: Hashable) -> int:
        """Return the number of the component that a point is in."""
        if point not in self._component:
            self._search(point)
        return self._component[point]

    def _search(self, start: Hashable) -> None:
        """Go down from a point: what can be left upwards no more, when all below has been seen, is a component."""
        order = {start: 0}
        lowest = {start: 0}
        open_points: list[Hashable] = [start]
        path: list[tuple[Hashable, Iterator[Hashable]]] = [(start, iter(self._neighbours.of(start)))]
        while path:
            point, ahead = path[-1]
            for each in ahead:
                if each in self._component:
                    continue
                if each not in order:
                    order[each] = lowest[each] = len(order)
                    open_points.append(each)
                    path.append((each, iter(self._neighbours.of(each))))
                    break
                lowest[point] = min(lowest[point], order[each])
            else:
                path.pop()
                if path:
                    above = path[-1][0]
                    lowest[above] = min(lowest[above], lowest[point])
                if lowest[point] == order[point]:
                    self._close(open_points, point)

    def _close(self, open_points: list[Hashable], last: Hashable) -> None:
        while True:
            point = open_points.pop()
            self._component[point] = self._found
            if point == last:
                break
        self._found += 1


@dataclass(frozen=True, slots=True)
class PatternSet:
    """What a file says in Replaces, as a point of the graph."""

    patterns: tuple[str, ...]


@dataclass(slots=True)
class Displacements:
    """Who is displaced or disturbed by whom: a unit leads to those that follow it and to what it replaces."""

    entries: Mapping[str, UnitEntry]
    followers: Mapping[str, set[str]]
    replacing: Collection[str]
    conflicts: ConflictIndex
    _by_glob: dict[str, list[str]] | None = None

    def of(self, point: Hashable) -> Iterable[Hashable]:
        """Return what a unit, what is said in Replaces, or a glob leads to."""
        if isinstance(point, PatternSet):
            return [each for each in point.patterns if not is_literal(each) or self._placeable(each)]
        if not isinstance(point, str):
            return ()
        entry = self.entries.get(point)
        if entry is None:
            return self.matching(point)
        found: list[Hashable] = [each for each in self.followers.get(point, ()) if self._placeable(each)]
        return [*found, PatternSet(entry.options.replaces)] if entry.options.replaces else found

    def matching(self, glob: str) -> list[str]:
        """Return the units that a glob matches, without those that lead nowhere: no cycle passes there."""
        if self._by_glob is None:
            self._by_glob = defaultdict(list)
            for name in {*self.replacing, *self.followers}:
                for pattern in self.conflicts.matching(name) if self._placeable(name) else ():
                    self._by_glob[pattern].append(name)
        return self._by_glob.get(glob, [])

    def _placeable(self, name: str) -> bool:
        entry = self.entries.get(name)
        return entry is not None and entry.placeable


class ReplacementCycles:
    """Which units may not replace what they name, as long as no unit's options and wishes change.

    Displacing a unit disturbs those that follow it and lets it displace others in turn: where that leads back to
    the unit itself, replacing would never come to rest.
    """

    def __init__(self, displacements: Displacements) -> None:
        self._displacements = displacements
        self._components = Components(displacements)
        self._first_two: dict[Hashable, list[str]] = {}

    def reason(self, entry: UnitEntry) -> str:
        """Return why a unit may not replace what it names; "" when it may."""
        said = PatternSet(entry.options.replaces)
        if not said.patterns or not entry.placeable or self._components.of(said) != self._components.of(entry.name):
            return ""
        replaced = next((each for each in self._first_two_of(said) if each != entry.name), "")
        if not replaced:
            return ""
        patterns = self._displacements.entries[replaced].options.replaces
        if self._displacements.conflicts.first_match(patterns, entry.name):
            return replace_each_other(entry.name, replaced)
        return f"replacing {replaced} would displace {entry.name} itself in the end; remove one Replaces"

    def _first_two_of(self, said: PatternSet) -> list[str]:
        """Return the first two by name of the units that are replaced and lie on a cycle with who replaces them."""
        found = self._first_two.get(said)
        if found is None:
            component = self._components.of(said)
            ahead = [each for each in self._displacements.of(said) if self._components.of(each) == component]
            names = {name for each in ahead for name in self._names_at(each, component)}
            found = self._first_two[said] = sorted(names)[:2]
        return found

    def _names_at(self, point: Hashable, component: int) -> list[str]:
        if not isinstance(point, str) or is_literal(point):
            return [str(point)]
        found = self._first_two.get(point)
        if found is None:
            names = self._displacements.matching(point)
            found = self._first_two[point] = sorted(
                each for each in names if self._components.of(each) == component
            )[:2]
        return found


class FollowingCycles:
    """Which units follow themselves in the end, by MachineOf, as long as no unit's options and wishes change."""

    def __init__(self, entries: Mapping[str, UnitEntry]) -> None:
        self._entries = entries
        self._components = Components(self)

    def of(self, point: Hashable) -> tuple[str, ...]:
        """Return the units that one follows."""
        found = self._entries.get(str(point))
        return found.options.machine_of if found and found.placeable else ()

    def reason(self, entry: UnitEntry) -> str:
        """Return the cycle that a unit is part of, as text; "" when there is none."""
        component = self._components.of(entry.name) if self.of(entry.name) else -1
        together = [each for each in self.of(entry.name) if self._components.of(each) == component]
        if not together:
            return ""
        return cycle(entry.name, self.of, LONG) or (
            f"MachineOf goes in a circle of many units: {entry.name} -> {together[0]} -> ...; remove one of them"
        )


class Cycles:
    """The cycles of a cluster state, looked for when one is asked for, and kept until they are forgotten."""

    def __init__(
        self,
        entries: Mapping[str, UnitEntry],
        followers: Mapping[str, set[str]],
        replacing: Collection[str],
        conflicts: ConflictIndex,
    ) -> None:
        self._known = entries, followers, replacing, conflicts
        self.forget()

    def forget(self) -> None:
        """Note that what follows or replaces what has changed."""
        self._replacements = ReplacementCycles(Displacements(*self._known))
        self._followings = FollowingCycles(self._known[0])

    def of_replacing(self, entry: UnitEntry) -> str:
        """Return why a unit may not replace what it names; "" when it may."""
        return self._replacements.reason(entry) if entry.options.replaces else ""

    def of_following(self, entry: UnitEntry) -> str:
        """Return the cycle of MachineOf that a unit is part of, as text; "" when there is none."""
        return self._followings.reason(entry) if entry.options.machine_of else ""
