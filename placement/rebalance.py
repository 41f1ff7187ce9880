"""Moves that make a fleet even again: which running units would be placed better if they were placed today.

Owns what is better, in this order: instances spread more evenly over the values of their key, preferred metadata,
and machines with more equal numbers of units. Each move improves the first of these that it changes, so that plan
after plan comes to an end. A plan moves a unit once, and takes the greatest gain first, from the fullest machine to
the emptiest: no fewer moves would do as well. Units that follow others or are followed, replace others, are sticky
or global stay where they are. It decides nothing: each move is tried as an order, by the rules that decide. Pure.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from placement.cluster_state import ClusterState
from placement.eligibility import group_of
from placement.placement import Placement
from placement.preferences import load_of
from placement.preview import Trial, trial
from placement.unit_entry import UnitEntry
from registry.keys import DEFAULT_KEYS, Address, Keys, Table
from registry.mirror import Snapshot
from registry.model import Target
from registry.wording import counted

MOST = 4000  # moves of one plan: the steps of one rollout

Gain = tuple[int, int, int]  # spread, preferences met, units fewer; better if the first that is not 0 is above 0
EVEN: Gain = (0, 0, 0)


@dataclass(frozen=True, slots=True)
class Move:
    """A unit that would be better placed on another machine, and why."""

    unit: str
    source: str
    target: str
    reason: str


@dataclass(frozen=True, slots=True)
class _Chance:
    entry: UnitEntry
    source: str
    target: str
    gain: Gain


def plan_rebalance(snapshot: Snapshot, keys: Keys = DEFAULT_KEYS) -> tuple[Move, ...]:
    """Return the moves that make the fleet even, in the order in which they are to be made; at most MOST."""
    busy = _in_rollouts(snapshot)
    moves: list[Move] = []
    with trial(snapshot, keys) as tried:
        tried.settle()
        alike = _alike(tried.state, busy)
        while len(moves) < MOST and (best := _best(tried.state, busy, alike)) is not None:
            busy.add(best.entry.name)
            reason = _reason(tried.state, best)
            if _carry_out(tried, best):
                moves.append(Move(best.entry.name, best.source, best.target, reason))
        tried.state.candidates.end_decision()
    return tuple(moves)


def tied_units(snapshot: Snapshot, keys: Keys = DEFAULT_KEYS) -> dict[str, str]:
    """Return, by unit that runs and may not be moved, whatever would be better, what it is tied by."""
    busy = _in_rollouts(snapshot)
    with trial(snapshot, keys) as tried:
        tried.settle()
        placed = ((name, entry) for name, entry in tried.state.entries.items() if entry.assigned)
        found = {name: "in a rollout" if name in busy else _tie(tried.state, entry) for name, entry in placed}
        return {name: tie for name, tie in found.items() if tie}


def staying(moves: Collection[Move], tied: Mapping[str, str], snapshot: Snapshot) -> str:
    """Return in words what a rebalance leaves where it is, and why: "3 units stay: 2 well placed, 1 in a rollout".

    `tied`: what each unit is tied by that may not be moved. "" where nothing else runs.
    """
    well = {unit for _, unit in snapshot.schedule} - {each.unit for each in moves} - tied.keys()
    reasons = [("well placed", len(well)), *sorted(Counter(tied.values()).items())]
    told = ", ".join(f"{number:,} {reason}" for reason, number in reasons if number)
    stay = len(well) + len(tied)
    return f"{counted(stay, 'unit')} {'stays' if stay == 1 else 'stay'}: {told}" if stay else ""


def _in_rollouts(snapshot: Snapshot) -> set[str]:
    """Return the units whose rollout is not over."""
    return {step.unit for each in snapshot.rollouts.values() if not each.state.over for step in each.steps}


def _alike(state: ClusterState, busy: Collection[str]) -> list[deque[str]]:
    """Return the units that would rather have one machine than another; those together that a move serves alike."""
    found: dict[object, deque[str]] = defaultdict(deque)
    for name in sorted(state.picky - set(busy)):
        entry = state.entries[name]
        if not _tie(state, entry):
            (machine,) = entry.assigned
            group = group_of(entry.options, state.sites[machine])
            alone = name if state.conflicts.may_concern(entry) else ""
            found[entry.family, entry.options, group, alone].append(name)
    return list(found.values())


def _best(state: ClusterState, busy: Collection[str], alike: Iterable[deque[str]]) -> _Chance | None:
    """Return the move with the greatest gain, of those the first by name; None where none is left."""
    placement = Placement(state)
    for names in alike:
        while names and names[0] in busy:
            names.popleft()
    found = _chances(state, placement, sorted(names[0] for names in alike if names))
    better = [chance for chance in found if chance.gain[:2] > EVEN[:2]]
    if better:
        return max(better, key=lambda chance: chance.gain)
    return _off_the_fullest(state, placement, busy)


def _off_the_fullest(state: ClusterState, placement: Placement, busy: Collection[str]) -> _Chance | None:
    """Return the move from the fullest machine that makes numbers more equal, to the emptiest that there is."""
    counts = state.candidates.counts
    best: _Chance | None = None
    lowest = min((counts[each.id] for each in state.sites.values() if each.open), default=0)
    for machine in sorted(state.sites, key=lambda each: (-counts[each], each)):
        if counts[machine] - lowest < 2 or best is not None:
            break
        there = (name for name in sorted(state.occupants.get(machine, ())) if name not in busy)
        for chance in _chances(state, placement, there):
            if chance.gain > EVEN and (best is None or chance.gain > best.gain):
                best = chance
                if counts[best.target] == lowest:
                    return best  # nothing is emptier
    return best


def _chances(state: ClusterState, placement: Placement, names: Iterable[str]) -> Iterator[_Chance]:
    """Yield for each of these units that may move the machine that it would rather be on."""
    for name in names:
        entry = state.entries[name]
        if _tie(state, entry):
            continue
        (source,) = entry.assigned
        target = placement.better_than(entry, source)
        if target is not None:
            yield _Chance(entry, source, target, _gain(state, placement.load(entry), entry, source, target))


def _tie(state: ClusterState, entry: UnitEntry) -> str:
    """Return what keeps a unit where it is, whatever would be better; "" where nothing does."""
    options, unit = entry.options, entry.unit
    followers = (state.entries[each] for each in state.followers.get(entry.name, ()))
    site = state.sites.get(next(iter(entry.assigned))) if len(entry.assigned) == 1 else None
    settled = site is not None and not (site.leaving or site.trouble) and entry.reported.keys() == entry.assigned
    ties = (
        ("global", options.is_global),
        ("not launched", unit is None or unit.target is not Target.LAUNCHED or not entry.placeable),
        ("Sticky", options.sticky),
        ("following others (MachineOf)", options.machine_of),
        ("followed (MachineOf)", any(each.placeable for each in followers)),
        ("replacing others (Replaces)", options.replaces),
        ("on a machine that is drained", not state.draining.isdisjoint(entry.assigned)),
        ("not settled yet", not settled),
    )
    return next((tie for tie, holds in ties if holds), "")


def _gain(state: ClusterState, load: Mapping[str, int], entry: UnitEntry, source: str, target: str) -> Gain:
    """Return what the move makes better. A unit more than another one is no gain: moved, it would be the same."""
    old, new = (group_of(entry.options, state.sites[each]) for each in (source, target))
    spread = 0
    if entry.options.spread and old.value != new.value:
        if old.value is None or new.value is None:
            spread = 1 if old.value is None else -1
        else:
            spread = load[old.value] - load[new.value] - 1
    counts = state.candidates.counts
    return spread, old.unmet - new.unmet, counts[source] - counts[target] - 1


def _reason(state: ClusterState, chance: _Chance) -> str:
    entry, options = chance.entry, chance.entry.options
    old, new = (state.sites[each] for each in (chance.source, chance.target))
    if chance.gain[0] > 0:
        load, key = load_of(state, entry), options.spread
        values = [site.metadata.get(key) for site in (old, new)]
        told = (f"{key}={value} has {load[value]}" if value is not None else f"no {key}" for value in values)
        return f"{' and '.join(told)} of {entry.family} (SpreadOver)"
    if chance.gain[1] > 0:
        met = (f"{k}={new.metadata[k]}" for k, values in options.prefer if new.metadata.get(k) in values)
        return f"it has {', '.join(met)} (PreferMetadata)"
    counts = state.candidates.counts
    return f"{counted(counts[old.id], 'unit')} here, {counts[new.id]} there"


def _carry_out(tried: Trial, chance: _Chance) -> bool:
    """Order the move; whether the unit went there."""
    unit = chance.entry.unit
    if unit is None:
        return False
    tried.put(Address(Table.UNITS, unit.name), unit.started_anew().going_to(chance.target))
    tried.settle()
    return chance.entry.assigned == {chance.target}
