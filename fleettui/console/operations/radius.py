"""What else happens when units are stopped, before it happens: who stops with them, who waits, who starts. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence

from fleettui.actions.drain import is_global
from fleettui.console.operations.impact import RUNNING, Impact
from fleettui.console.operations.relations import ACTIVATES, STOPS_TOO, Relation, read_relations
from fleettui.console.text.formatting import counted
from fleettui.escape import escape
from fleettui.verbs import Verb
from registry.mirror import Snapshot
from registry.model import Target
from registry.units.name import matches
from registry.wording import listed

NAMED = 3  # names in one line
HOSTS = 4
SEVERAL = 6  # names in the line that says what a question is about
LONGEST = 60  # characters of a name among others
WORDS = (*STOPS_TOO, "MachineOf")  # a file without these, of a unit that activates none, depends on nobody


def blast_radius(verb: Verb, names: Sequence[str], snapshot: Snapshot) -> list[str]:
    """What else happens, in lines: what stops running, where, who goes with it, and what comes after."""
    chosen = frozenset(names)
    lines = [_running_line(verb, chosen, snapshot)]
    if found := [name for name in names if is_global(snapshot, name)]:
        lines.append(f"{_listed(found)} runs on every machine: it stops everywhere.")
    lines += _last_ones(chosen, snapshot)
    lines += _dependents(verb, chosen, snapshot)
    if not verb.rules.starts:
        lines += _freed(chosen, snapshot)
    if verb.rules.forgets:
        forgets = "the unit; undo (u) brings it" if len(names) == 1 else "them; undo (u) brings them"
        lines.append(f"The registry forgets {forgets} back, text and target, from this console.")
    return lines


def impact_lines(impact: Impact, snapshot: Snapshot, *, verb: Verb = Verb.STOP) -> list[str]:
    """What stops and where, and what starts, in lines, for acts that are not one verb on some units."""
    lines = []
    if impact.stops:
        lines += [units_line([unit for _, unit in impact.stops]), pairs_line(verb, impact.stops, snapshot)]
    if impact.starts:
        start = "starts" if len(impact.starts) == 1 else "start"
        lines.append(f"{counted(len(impact.starts), 'unit')} {start}: {units_line(impact.starts)}")
    return lines or ["Nothing that runs is stopped."]


def units_line(names: Collection[str]) -> str:
    """The first few of many units."""
    found = sorted({*names})
    return listed(map(short, found), SEVERAL)


def short(name: str) -> str:
    """A name that leaves room for others beside it: of a very long one, its beginning and its end."""
    return escape(name if len(name) <= LONGEST else f"{name[: LONGEST - 17]}…{name[-16:]}")


def _running_line(verb: Verb, chosen: Collection[str], snapshot: Snapshot) -> str:
    running = [pair for pair, state in snapshot.states.items() if pair[1] in chosen and state.active in RUNNING]
    return pairs_line(verb, running, snapshot)


def pairs_line(verb: Verb, running: Collection[tuple[str, str]], snapshot: Snapshot) -> str:
    """How many of these (machine, unit) stop, or restart, and where."""
    if not running:
        return "Nothing that runs is stopped."
    units = len({unit for _, unit in running})
    hosts = Counter(_host(snapshot, machine) for machine, _ in running)
    several = max(hosts.values()) > 1 and len(hosts) > 1
    shown = [f"{host} ({number})" if several else host for host, number in sorted(hosts.items())]
    where = listed(shown, HOSTS, "machines")
    happens = verb.rules.happens
    if units > 1:
        happens = happens.replace("stops", "stop").replace("starts", "start")
    return f"{counted(units, 'running unit')} {happens} on {where}."


def _last_ones(chosen: Collection[str], snapshot: Snapshot) -> list[str]:
    """Templates of which no instance keeps running."""
    active: dict[str, bool] = {}
    for (_, unit), state in snapshot.states.items():
        prefix, at, _ = unit.partition("@")
        if at and state.active in RUNNING:
            active[prefix] = active.get(prefix, False) or unit not in chosen
    touched = {name.partition("@")[0] for name in chosen if "@" in name}
    return [
        f"No instance of {short(each)}@ keeps running." for each in sorted(touched) if active.get(each) is False
    ]


def _dependents(verb: Verb, chosen: Collection[str], snapshot: Snapshot) -> Iterator[str]:
    """Who goes with them by systemd's relations, on the same machine; who follows by MachineOf; who activates."""
    homes = _homes(snapshot)
    found: dict[str, list[str]] = defaultdict(list)
    for name, relation, meant in _relations(chosen, snapshot):
        together = homes.get(name, set()) & set().union(*(homes.get(each, set()) for each in meant))
        if relation.kind in STOPS_TOO and together:
            found["systemd"].append(f"{name} ({relation.kind})")
        elif relation.kind == "MachineOf" and _wanted(snapshot, name):
            found["fleet"].append(name)
        elif relation.kind == "Activates" and together:
            found["activates"].append(name)
    if names := found["systemd"]:
        yield f"systemd {verb.rules.spreads} with it: {_listed(names)}."
    if verb.rules.starts:
        return
    if names := found["fleet"]:
        yield f"{_listed(names)} must be on its machine (MachineOf), and will wait."
    if names := found["activates"]:
        what = (
            "starts it again when it is due"
            if verb.rules.target is Target.LOADED
            else "has nothing to start any more"
        )
        yield f"{_listed(names)} {what}."


def _relations(chosen: Collection[str], snapshot: Snapshot) -> Iterator[tuple[str, Relation, list[str]]]:
    """What other units say of the chosen ones."""
    for name, record in sorted(snapshot.units.items()):
        file = snapshot.files.get(record.hash)
        if file is None or name in chosen or not _speaks(name, file.text):
            continue
        for relation in read_relations(file.text, name):
            meant = [] if relation.reverse else _meant(relation, chosen)
            if meant:
                yield name, relation, meant


def _speaks(name: str, text: str) -> bool:
    return name.rpartition(".")[2] in ACTIVATES or any(word in text for word in WORDS)


def _meant(relation: Relation, chosen: Collection[str]) -> list[str]:
    if relation.fleet:
        return [each for each in chosen if matches(relation.pattern, each)]
    return [relation.pattern] if relation.pattern in chosen else []


def _homes(snapshot: Snapshot) -> Mapping[str, set[str]]:
    homes: dict[str, set[str]] = defaultdict(set)
    for machine, unit in snapshot.states:
        homes[unit].add(machine)
    return homes


def _wanted(snapshot: Snapshot, name: str) -> bool:
    unit = snapshot.units.get(name)
    return unit is not None and unit.target is not Target.INACTIVE


def _freed(chosen: Collection[str], snapshot: Snapshot) -> Iterator[str]:
    """Units that wait because of one that goes."""
    waiting = [
        name
        for name, pending in sorted(snapshot.pending.items())
        if name not in chosen and any(_blames(refusal.reason, chosen) for refusal in pending.refusals)
    ]
    if waiting:
        yield f"{_listed(waiting)} waited for the place, and may be placed."


def _blames(reason: str, chosen: Collection[str]) -> bool:
    return ("conflict" in reason or "replaces" in reason) and any(
        word in chosen for word in reason.replace(",", " ").split()
    )


def _host(snapshot: Snapshot, machine: str) -> str:
    record = snapshot.machines.get(machine)
    return short(record.hostname) if record else escape(machine[:8])


def _listed(names: Sequence[str]) -> str:
    return listed(map(short, names), NAMED)
