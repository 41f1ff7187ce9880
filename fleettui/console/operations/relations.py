"""Who needs whom: what unit files say of other units, read in both directions. Pure.

Owns the reading of systemd's relations (`systemd.unit(5)`) and of fleet's own. systemd knows only the units of its
own machine: a relation between units on different machines does nothing, or makes a start fail. Files are read once
a text; names are expanded for each unit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from registry.mirror import Snapshot
from registry.units.file import Directive, parse
from registry.units.name import matches, named_by, normalise_pattern, refusal

ORDER = ("After", "Before")
STRONG = ("Requires", "Requisite", "BindsTo", "PartOf", "MachineOf")
SYSTEMD = ("After", "Before", "Requires", "Requisite", "Wants", "BindsTo", "PartOf", "Upholds", "Conflicts",
           "OnFailure", "OnSuccess")  # fmt: skip
FLEET = ("MachineOf", "Conflicts", "Replaces")
INSTALL = {"WantedBy": "Wants", "RequiredBy": "Requires", "UpheldBy": "Upholds"}
ACTIVATES = {"timer": "Timer", "path": "Path", "socket": "Socket"}
STOPS_TOO = frozenset({"Requires", "Requisite", "BindsTo", "PartOf"})

_parse = lru_cache(maxsize=4096)(parse)


@dataclass(frozen=True, slots=True)
class Relation:
    """What one file says: `kind` is the option's name, `pattern` a unit name or, for fleet's own, a glob."""

    kind: str
    pattern: str
    fleet: bool = False  # read by the scheduler, across machines
    reverse: bool = False  # an [Install] section: the other one needs this one

    def means(self, unit: str) -> bool:
        """Whether the pattern stands for this unit."""
        return matches(self.pattern, unit) if self.fleet else self.pattern == unit


@dataclass(frozen=True, slots=True)
class Edge:
    """`unit` says `kind` about `other`; both are names as written, `other` a glob at most for fleet's own kinds."""

    kind: str
    unit: str
    other: str
    fleet: bool = False


def edges_from(snapshot: Snapshot, unit: str) -> list[Edge]:
    """Return what the unit's own file says of others; its [Install] sections are said by the others."""
    return [_edge(unit, each) for each in relations_of(snapshot, unit) if not each.reverse]


def run_by(snapshot: Snapshot, timer: str) -> str:
    """Return the unit that a timer of the fleet starts when it elapses; "" for what is no timer."""
    edges = edges_from(snapshot, timer) if timer.endswith(".timer") else []
    return next((each.other for each in edges if each.kind == "Activates"), "")


def edges_to(snapshot: Snapshot, unit: str) -> list[Edge]:
    """Return what other units of the fleet say of this one, and what its own [Install] section makes them say."""
    found = [_edge(unit, each) for each in relations_of(snapshot, unit) if each.reverse]
    by_file: dict[str, list[str]] = defaultdict(list)
    for name, record in snapshot.units.items():
        by_file[record.hash].append(name)
    for sha, names in by_file.items():
        file = snapshot.files.get(sha)
        if file is None:
            continue
        for name in names if _depends_on_name(file.text) else names[:1]:
            said = [each for each in read_relations(file.text, name) if each.means(unit) and not each.reverse]
            others = [name] if _depends_on_name(file.text) else names
            found += [_edge(other, each, unit) for other in others for each in said if other != unit]
    return sorted(found, key=lambda edge: (edge.unit, edge.kind))


def _edge(unit: str, relation: Relation, other: str = "") -> Edge:
    if relation.reverse:
        return Edge(relation.kind, relation.pattern, unit, relation.fleet)
    return Edge(relation.kind, unit, other or relation.pattern, relation.fleet)


def relations_of(snapshot: Snapshot, unit: str) -> tuple[Relation, ...]:
    """Return all that the unit's file says of other units."""
    record = snapshot.units.get(unit)
    file = snapshot.files.get(record.hash) if record else None
    return read_relations(file.text, unit) if file else ()


def _depends_on_name(text: str) -> bool:
    """Whether two units with this text may say different things: by a specifier, or by what a timer activates."""
    return "%" in text or any(f"[{section}]" in text for section in ACTIVATES.values())


@lru_cache(maxsize=1 << 15)
def read_relations(text: str, unit: str) -> tuple[Relation, ...]:
    """Return all that a file says of other units, each once, in its order."""
    found, file = [], _parse(text)
    for kind in SYSTEMD:
        found += [Relation(kind, name) for name in _names(file.effective("Unit", kind), unit)]
    for kind in FLEET:
        names = _names(file.effective("X-Fleet", kind, f"X-{kind}", f"X-Condition{kind}"), unit)
        found += [Relation(kind, name, fleet=True) for name in names]
    for option, kind in INSTALL.items():
        names = _names(file.effective("Install", option), unit)
        found += [Relation(kind, name, reverse=True) for name in names]
    stem, _, suffix = unit.rpartition(".")
    if suffix in ACTIVATES:
        named = list(_names(file.effective(ACTIVATES[suffix], "Unit", "Service"), unit))
        found.append(Relation("Activates", named[-1] if named else f"{stem}.service"))
    return tuple(dict.fromkeys(found))


def _names(entries: tuple[Directive, ...], unit: str) -> Iterator[str]:
    for entry in entries:
        for word in entry.value.split():
            bare = word.strip("\"'")
            expands = "%" in bare and not refusal(unit)
            yield normalise_pattern(named_by(bare, unit) if expands else bare)


def stops_with(snapshot: Snapshot, unit: str) -> dict[str, str]:
    """Return the units that systemd stops when this one is stopped, with the chain that leads there ("BindsTo=db").

    Only units that share a machine with it, since systemd knows no others.
    """
    machines: dict[str, set[str]] = defaultdict(set)
    for machine, name in snapshot.states:
        machines[name].add(machine)
    found: dict[str, str] = {}
    ahead = [unit]
    for name in ahead:
        for edge in edges_to(snapshot, name):
            together = machines.get(edge.unit, set()) & machines.get(name, set())
            if edge.kind in STOPS_TOO and not edge.fleet and together and edge.unit not in (*found, unit):
                found[edge.unit] = f"{edge.kind}={name}"
                ahead.append(edge.unit)
    return found
