"""Many patterns, and many units: what is found is what comparing everything finds, and the work grows in step."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from unittest import mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placement import conflicts
from placement.cluster_state import ClusterState
from placement.conflicts import Patterns
from placement.cycles import Components
from placement.decide import decide
from placement.eligibility import first_match, replace_each_other
from placement.unit_entry import UnitEntry
from registry.model import Target
from registry.units import name as unit_name
from registry.units.name import is_literal, matches
from tests.placement.world import KEYS, World, machine

NAMES = ("a@1.service", "a@2.service", "a@12.service", "ab.service", "b.service", "cb@1.timer", "a-b-a.service")
PATTERNS = (
    "a@1.service", "b.service", "a@*", "*", "**", "*.service", "?b*", "*b*", "[ab]*", "*@[0-9].*", "*1?.service",
    "*[", "a*a*", "*-b-*", "c?@*.timer", "*b.service",
)  # fmt: skip
sets = st.lists(st.sampled_from(PATTERNS), unique=True, max_size=20)


@given(
    st.lists(st.tuples(st.sampled_from(("add", "discard", "ask", "all")), st.sampled_from(PATTERNS)), max_size=40)
)
def test_patterns_match_what_each_of_them_matches(steps: list[tuple[str, str]]) -> None:
    with mock.patch.object(conflicts, "SPARE", 3):
        patterns, there = Patterns(), set[str]()
        for step, pattern in steps:
            if step == "add" and pattern not in there:
                patterns.add(pattern)
                there.add(pattern)
            elif step == "discard" and pattern in there:
                patterns.discard(pattern)
                there.discard(pattern)
            elif step == "all":
                found = {(each, name) for each, names in patterns.match_all(sorted(NAMES)) for name in names}
                assert found == {(each, name) for each in there for name in NAMES if matches(each, name)}
            else:
                for name in NAMES:
                    assert sorted(patterns.matching(name)) == sorted(p for p in there if matches(p, name))


@given(sets, st.sampled_from(NAMES), st.integers(0, 20))
def test_the_first_match_is_the_first_that_matches(words: list[str], name: str, few: int) -> None:
    with mock.patch.object(conflicts, "FEW", few):
        index = conflicts.ConflictIndex()
        index.register(PATTERNS)
        assert index.first_match(tuple(words), name) == first_match(words, name)


@given(st.text("ab-*", max_size=8).filter(lambda glob: "*" in glob), st.text("ab-", max_size=10))
def test_a_glob_with_stars_alone_is_what_its_expression_matches(glob: str, text: str) -> None:
    expected = unit_name._compiled(glob)(text)
    assert bool(unit_name._between_stars(glob)(text)) == bool(expected)


@given(st.dictionaries(st.integers(0, 8), st.lists(st.integers(0, 8), max_size=4)), st.permutations(range(9)))
def test_points_are_together_where_each_leads_to_the_other(graph: dict[int, list[int]], order: list[int]) -> None:
    def reached(start: int) -> set[int]:
        found, ahead = {start}, [start]
        while ahead:
            new = set(graph.get(ahead.pop(), ())) - found
            found |= new
            ahead += new
        return found

    class Graph:
        def of(self, point: object) -> list[int]:
            return graph.get(point, []) if isinstance(point, int) else []

    components = Components(Graph())
    found = {point: components.of(point) for point in order}
    for one in order:
        for other in order:
            assert (found[one] == found[other]) == (one in reached(other) and other in reached(one))


def naive_cycle(entries: Mapping[str, UnitEntry], followers: Mapping[str, set[str]], entry: UnitEntry) -> str:
    """Follow all that each replaced unit displaces, unit by unit and pattern by pattern."""

    def replaced(one: UnitEntry) -> list[str]:
        found: set[str] = set()
        for pattern in one.options.replaces:
            names = [pattern] if is_literal(pattern) else [name for name in entries if matches(pattern, name)]
            found.update(name for name in names if name in entries and entries[name].placeable)
        return sorted(found - {one.name})

    for first in replaced(entry):
        if entry.name in replaced(entries[first]):
            return replace_each_other(entry.name, first)
        reached, ahead = {first}, [first]
        while ahead:
            name = ahead.pop()
            if name not in entries or not entries[name].placeable:
                continue
            following = {each for each in followers.get(name, ()) if entries[each].placeable}
            new = (following | set(replaced(entries[name]))) - reached
            if entry.name in new:
                return f"replacing {first} would displace {entry.name} itself in the end; remove one Replaces"
            reached |= new
            ahead += new
    return ""


RELATIONS = (
    (), ("Replaces=b@*",), ("Replaces=a@*",), ("Replaces=c.service",), ("Replaces=a@1.service d*",),
    ("Replaces=*",), ("MachineOf=a@1.service",), ("MachineOf=c.service",), ("MachineOf=d.service b@2.service",),
    ("MachineOf=b@1.service", "Replaces=d.service"), ("Replaces=?@2.*",),
)  # fmt: skip
UNITS = ("a@1.service", "a@2.service", "b@1.service", "b@2.service", "c.service", "d.service")
fleets = st.dictionaries(
    st.sampled_from(UNITS),
    st.tuples(st.sampled_from(RELATIONS), st.sampled_from((Target.LAUNCHED, Target.LAUNCHED, Target.INACTIVE))),
)


@given(st.lists(fleets, min_size=1, max_size=3))
def test_replacement_cycles_are_those_that_a_search_from_each_unit_finds(
    changes: list[dict[str, tuple[tuple[str, ...], Target]]],
) -> None:
    world = World(machine("a1"))
    for change in changes:
        for name, (lines, target) in change.items():
            world.unit(name, *lines, target=target)
        state = world.state
        for entry in state.entries.values():
            assert state.cycles.of_replacing(entry) == naive_cycle(state.entries, state.followers, entry)


# -- how the work grows


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Count how often a name is compared with a pattern, or two units are looked at together."""
    calls = [0]

    def counting(function: Callable[..., object]) -> Callable[..., object]:
        def call(*given: object, **named: object) -> object:
            calls[0] += 1
            return function(*given, **named)

        return call

    def matcher(pattern: str) -> Callable[[str], object]:
        return counting(unit_name.matcher(pattern))

    monkeypatch.setattr(conflicts, "matcher", matcher)
    monkeypatch.setattr(conflicts.ConflictIndex, "keeps_out", counting(conflicts.ConflictIndex.keeps_out))
    monkeypatch.setattr(conflicts.ConflictIndex, "first_match", counting(conflicts.ConflictIndex.first_match))
    return calls


def words_of(option: str, *first: str) -> tuple[str, ...]:
    return (f"{option}={' '.join([*first, *(f'other{number}*x*' for number in range(50))])}",)


def both_replace(n: int) -> dict[str, tuple[str, ...]]:
    one, other = words_of("Replaces", "b@*"), words_of("Replaces", "a@*")
    return {f"{kind}@{i}.service": lines for kind, lines in (("a", one), ("b", other)) for i in range(n)}


def one_replaces(n: int) -> dict[str, tuple[str, ...]]:
    lines = words_of("Replaces", "b@*")
    return {f"{kind}@{i}.service": each for kind, each in (("a", lines), ("b", ())) for i in range(n)}


def one_waits(n: int) -> dict[str, tuple[str, ...]]:
    waits, runs = ("MachineMetadata=region=mars", *words_of("Conflicts", "b@*")), words_of("Conflicts", "c@*")
    return {f"{kind}@{i}.service": each for kind, each in (("a", waits), ("b", runs)) for i in range(n)}


def apart(n: int) -> dict[str, tuple[str, ...]]:
    return {f"a@{i}.service": words_of("Conflicts", "a@*") for i in range(n)}


def each_its_own(n: int) -> dict[str, tuple[str, ...]]:
    words = {i: " ".join(f"*q{i}-{number}-*" for number in range(20)) for i in range(n)}
    return {f"a@{i}.service": (f"Conflicts={words[i]}",) for i in range(n)}


@pytest.mark.parametrize("fleet", [both_replace, one_replaces, one_waits, apart, each_its_own])
def test_the_work_grows_in_step_with_the_units(
    fleet: Callable[[int], dict[str, tuple[str, ...]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls, spent = counted(monkeypatch), []
    for n in (40, 80):
        world = World(machine("a1"), machine("a2"))
        for name, lines in fleet(n).items():
            world.unit(name, *lines)
        state = ClusterState.from_snapshot(world.snapshot, KEYS)
        calls[0] = 0
        decide(state)
        spent.append(calls[0])
    assert spent[1] <= 2.2 * spent[0] + 50, spent


def test_a_long_circle_of_leaders_is_not_told_whole() -> None:
    world = World(machine("a1"))
    for number in range(1100):
        world.unit(f"a{number}.service", f"MachineOf=a{(number + 1) % 1100}.service")
    state = ClusterState.from_snapshot(world.snapshot, KEYS)
    told = state.cycles.of_following(state.entries["a7.service"])
    assert told == ("MachineOf goes in a circle of many units: a7.service -> a8.service -> ...; remove one of them")
