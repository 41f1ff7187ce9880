"""What an operation would do, in words: what stops and where, what stops with it, what waits, what starts. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from itertools import groupby
from operator import itemgetter

from fleettui.actions.drain import DrainPlan, is_global, plan, present
from fleettui.console.operations.impact import PREDICTED, RUNNING, Impact, impact_of_moves
from fleettui.console.operations.relations import ACTIVATES, STOPS_TOO, Relation, read_relations, relations_of
from fleettui.console.operations.verbs import MachineVerb, availability, machine_name
from fleettui.console.text.formatting import counted, natural
from fleettui.escape import escape
from fleettui.verbs import Verb
from placement.preview import Prediction
from placement.rebalance import Move, staying
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Availability, Target
from registry.wording import listed

NAMED = 3  # names in one line
HOSTS = 4
SEVERAL = 6  # names in the line that says what a question is about
MACHINES_NAMED = 4  # units or machines in one line about machines
LONGEST = 60  # characters of a name among others
WORDS = (*STOPS_TOO, "MachineOf")  # a file without these, of a unit that activates none, depends on nobody


def stopping_lines(verb: Verb, names: Sequence[str], snapshot: Snapshot) -> list[str]:
    """Return what happens when a verb stops units: what stops where, what goes with it, and what comes after."""
    chosen = frozenset(names)
    running = [pair for pair, state in snapshot.states.items() if pair[1] in chosen and state.active in RUNNING]
    lines = [pairs_line(verb, running, snapshot)]
    if found := [name for name in names if is_global(snapshot, name)]:
        lines.append(f"{_listed(found)} runs on every machine: it stops everywhere.")
    lines += _last_instances(chosen, snapshot)
    lines += _dependents(verb, chosen, snapshot)
    if not verb.rules.starts:
        lines += _freed(chosen, snapshot)
    if verb.rules.forgets:
        forgets = "the unit; undo (u) brings it" if len(names) == 1 else "them; undo (u) brings them"
        lines.append(f"The registry forgets {forgets} back, text and target, from this console.")
    return lines


def impact_lines(impact: Impact, snapshot: Snapshot, *, verb: Verb = Verb.STOP) -> list[str]:
    """Return what stops and where, and what starts, for operations that are not one verb on some units."""
    lines = []
    if impact.stops:
        lines += [units_line([unit for _, unit in impact.stops]), pairs_line(verb, impact.stops, snapshot)]
    if impact.starts:
        start = "starts" if len(impact.starts) == 1 else "start"
        lines.append(f"{counted(len(impact.starts), 'unit')} {start}: {units_line(impact.starts)}")
    return lines or ["Nothing that runs is stopped."]


def units_line(names: Collection[str]) -> str:
    """Return the first few of many units."""
    return _listed({*names}, SEVERAL)


def short(name: str) -> str:
    """Return a name that leaves room for others beside it: of a very long one, its beginning and its end."""
    return escape(name if len(name) <= LONGEST else f"{name[: LONGEST - 17]}…{name[-16:]}")


def pairs_line(verb: Verb, running: Collection[tuple[str, str]], snapshot: Snapshot) -> str:
    """How many of these (machine, unit) stop, or restart, and where."""
    if not running:
        return "Nothing that runs is stopped."
    units = len({unit for _, unit in running})
    hosts: Counter[str] = Counter()
    for machine, _ in running:
        record = snapshot.machines.get(machine)
        hosts[short(record.hostname) if record else escape(machine[:8])] += 1
    several = max(hosts.values()) > 1 and len(hosts) > 1
    shown = [f"{host} ({number})" if several else host for host, number in sorted(hosts.items())]
    where = listed(shown, HOSTS, "machines")
    happens = verb.rules.happens
    if units > 1:
        happens = happens.replace("stops", "stop").replace("starts", "start")
    return f"{counted(units, 'running unit')} {happens} on {where}."


def _last_instances(chosen: Collection[str], snapshot: Snapshot) -> list[str]:
    """Say of which templates no instance keeps running."""
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
    """Say what systemd stops with them on the same machine, what must be where they are, what activates them."""
    machines: dict[str, set[str]] = defaultdict(set)
    for machine, unit in snapshot.states:
        machines[unit].add(machine)
    found: dict[str, list[str]] = defaultdict(list)
    for name, relation, meant in _relations(chosen, snapshot):
        together = machines.get(name, set()) & set().union(*(machines.get(each, set()) for each in meant))
        if relation.kind in STOPS_TOO and together:
            found["systemd"].append(f"{name} ({relation.kind})")
        elif relation.kind == "MachineOf" and snapshot.units[name].target is not Target.INACTIVE:
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
    """Yield what other units say of the chosen ones: who, what, and of which."""
    for name, record in sorted(snapshot.units.items()):
        file = snapshot.files.get(record.hash)
        if file is None or name in chosen:
            continue
        if name.rpartition(".")[2] not in ACTIVATES and not any(word in file.text for word in WORDS):
            continue
        for relation in read_relations(file.text, name):
            if relation.reverse:
                continue
            if relation.fleet:
                meant = [each for each in chosen if relation.means(each)]
            else:  # one name, and many may be chosen
                meant = [relation.pattern] if relation.pattern in chosen else []
            if meant:
                yield name, relation, meant


def _freed(chosen: frozenset[str], snapshot: Snapshot) -> Iterator[str]:
    """Say which units wait because of one that goes."""

    def against(name: str, kinds: Collection[str], others: Collection[str]) -> bool:
        said = (each for each in relations_of(snapshot, name) if each.fleet and each.kind in kinds)
        return any(each.means(other) for each in said for other in others)

    refused = [name for name, each in sorted(snapshot.pending.items()) if each.rule == "conflict"]
    waiting = [
        name
        for name in refused
        if name not in chosen
        and (
            against(name, ("Conflicts",), chosen)
            or any(against(other, ("Conflicts", "Replaces"), (name,)) for other in chosen)
        )
    ]
    if waiting:
        yield f"{_listed(waiting)} waited for the place, and may be placed."


def _listed(names: Collection[str], most: int = NAMED) -> str:
    return listed(map(short, sorted(names, key=natural)), most)


def arriving_lines(found: Collection[Prediction] | None, snapshot: Snapshot) -> list[str]:
    """Return where units would go, and which would have to wait, and why; None: they are more than PREDICTED."""
    if found is None:
        return [f"Where each of them goes is worked out for up to {PREDICTED} units."]
    places = Counter(escape(machine_name(snapshot, machine)) for each in found for machine in each.machines)
    stuck = [(each.summary, each.unit) for each in found if not each.machines]
    lines = []
    if places:
        told = listed((f"{number:,} to {place}" for place, number in places.most_common()), MACHINES_NAMED)
        lines.append(f"By what is known now: {told}.")
    for why, waiting in groupby(sorted(stuck), key=itemgetter(0)):
        names = sorted((unit for _, unit in waiting), key=natural)
        lines.append(f"{units_line(names)} {'waits' if len(names) == 1 else 'wait'}: {escape(why)}")
    return lines


# Machines


def machine_lines(verb: MachineVerb, machines: Sequence[str], snapshot: Snapshot, keys: Keys) -> list[str]:
    """Return what will happen to the units of machines."""
    if verb is MachineVerb.DRAIN:
        plans = plan(snapshot, machines, keys)
        lines = [line for each in plans for line in _drain_lines(each, snapshot)]
        if stays := sorted({unit for each in plans for unit in each.stays}, key=natural):
            remain = "stays" if len(stays) == 1 else "stay"
            lines.append(
                f"{counted(len(stays), 'global unit')} {remain} there: {escape(listed(stays, MACHINES_NAMED))}"
            )
        return lines
    stay = sum(len(present(snapshot, machine)) for machine in machines)
    if verb is MachineVerb.CORDON:
        return [f"Nothing new is placed there; {counted(stay, 'unit')} stay and go on running."]
    lines = ["The scheduler may place units there again; nothing moves back by itself."]
    draining = [each for each in machines if availability(snapshot, each) is Availability.DRAINING]
    if draining and stay:
        lines.append(f"The drain ends: {counted(stay, 'unit')} that have not moved yet stay.")
    if snapshot.pending:
        lines.append(f"{counted(len(snapshot.pending), 'unit')} that wait may be placed there.")
    return lines


def move_lines(
    moves: Sequence[Move], tied: Mapping[str, str], snapshot: Snapshot, *, most: int = MACHINES_NAMED
) -> list[str]:
    """Return what stays and why, then what goes from where to where and why; of more than `most` moves how many.

    `tied`: what each unit is tied by that may not be moved.
    """
    moving = {each.unit for each in moves}
    move = "moves" if len(moving) == 1 else "move"
    lines = [f"{counted(len(moving), 'unit')} {move}: each stops where it is, and then starts elsewhere."]
    if rest := staying(moves, tied, snapshot):
        lines.append(f"{rest}.")
    if along := {unit for _, unit in impact_of_moves(moves, snapshot).stops} - moving:
        lines.append(f"systemd stops along with them: {units_line(along)}")
    hosts = {each: escape(machine_name(snapshot, each)) for it in moves for each in (it.source, it.target)}
    for each in moves[:most]:
        way = f"from {hosts[each.source]} to {hosts[each.target]}"
        lines.append(f"{short(each.unit)} {way}: {escape(each.reason)}")
    if more := len(moves[most:]):
        ways = Counter((hosts[each.source], hosts[each.target]) for each in moves[most:]).most_common()
        told = listed(
            (f"{number:,} from {source} to {target}" for (source, target), number in ways), MACHINES_NAMED
        )
        lines.append(f"{counted(more, 'more unit')}: {told}")
    return lines


def _drain_lines(found: DrainPlan, snapshot: Snapshot) -> Iterator[str]:
    host = escape(machine_name(snapshot, found.machine))
    moves, stuck = found.moves, found.stuck
    if not moves and not stuck:
        yield f"Nothing on {host} has to move."
    if moves:
        leave = "leaves" if len(moves) == 1 else "leave"
        places = [(each.unit, escape(machine_name(snapshot, each.machines[0]))) for each in moves]
        if len(moves) <= MACHINES_NAMED:
            where = ", ".join(f"{escape(unit)} to {place}" for unit, place in places)
        else:
            counts = Counter(place for _, place in places).most_common(MACHINES_NAMED)
            where = "about " + ", ".join(f"{number:,} to {place}" for place, number in counts)
        yield f"{counted(len(moves), 'unit')} {leave} {host} one by one, each stops there first: {where}"
    for each in stuck[:MACHINES_NAMED]:
        yield f"{escape(each.unit)} stays and blocks the drain: {escape(each.summary)}"
    if more := len(stuck[MACHINES_NAMED:]):
        yield f"{counted(more, 'more unit')} {'stays' if more == 1 else 'stay'}, too."
