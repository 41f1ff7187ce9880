"""Why a unit is where it is, or is not: every machine's verdict, by the rules that decide.

Owns what people read of one unit's placement: `explain` for one of the registry, `verdicts_on_text` for one whose
text is about to change. It looks at the state of a snapshot; it must not decide. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from placement.cluster_state import ClusterState
from placement.eligibility import NO_MACHINE, availability_objection
from placement.objections import all_to_going, to_staying
from placement.preferences import notes
from placement.preview import latest, trial
from placement.unit_entry import UnitEntry
from registry.keys import DEFAULT_KEYS, Keys
from registry.lifecycle import Progress, ended, standing
from registry.mirror import Snapshot
from registry.model import Target, Unit


class Verdict(StrEnum):
    """What a machine says to a unit."""

    HERE = "here"  # it is scheduled here
    STOPPING = "stopping"  # it is scheduled here no longer and has not stopped yet
    ELIGIBLE = "eligible"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class MachineVerdict:
    """One machine's verdict. `units` is how many of our units are scheduled on it; `reasons` why it refuses.

    `notes` is what else of the machine matters to the unit: what is free there, what makes it preferred.
    """

    machine: str
    verdict: Verdict
    units: int
    reasons: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Explanation:
    """A unit's place in one line, and what each machine says, by machine id."""

    unit: str
    summary: str
    machines: tuple[MachineVerdict, ...] = ()


def explain(snapshot: Snapshot, name: str, keys: Keys = DEFAULT_KEYS) -> Explanation:
    """Explain why the unit is where it is, or what it waits for."""
    with latest.lock:
        state = latest.state_of(snapshot, keys)
        entry = state.entries.get(name, UnitEntry(name))
        unit = snapshot.units.get(name)
        if unit is None:
            trouble = f"{name} is not in the registry"
            if entry.held:
                trouble = f"{name} has a corrupt record, so it is left as it is; submit it again"
        else:
            trouble = entry.options_error.reason if entry.options_error else ""
        sites, counts = state.sites, state.candidates.counts
        if trouble or unit is None:  # what another machine would say is not known
            here = sorted(entry.scheduled.keys() & sites.keys())
            return Explanation(
                name, trouble, tuple(MachineVerdict(each, Verdict.HERE, counts[each]) for each in here)
            )
        found = []
        for machine in sorted(sites):
            verdict, reasons = Verdict.ELIGIBLE, ()  # type: Verdict, tuple[str, ...]
            if machine in entry.scheduled:
                verdict = Verdict.HERE
            elif machine in entry.reported:
                verdict = Verdict.STOPPING
            elif reasons := tuple(each.reason for each in all_to_going(state, entry, machine)):
                verdict = Verdict.REFUSED
            merits = () if verdict is Verdict.REFUSED else tuple(_notes(state, entry, machine))
            found.append(MachineVerdict(machine, verdict, counts[machine], reasons, merits))
        return Explanation(name, _summary(snapshot, unit, state, entry), tuple(found))


def verdicts_on_text(
    snapshot: Snapshot, name: str, text: str, keys: Keys = DEFAULT_KEYS
) -> tuple[MachineVerdict, ...]:
    """Return what each machine would say to a unit with this text, by machine id; its own may refuse, too."""
    found = []
    with trial(snapshot, keys) as tried:
        tried.start(name, text)
        state, entry = tried.state, tried.state.entries[name]
        for machine, site in sorted(state.sites.items()):
            if here := machine in entry.assigned:
                objections = [*to_staying(state, entry, machine)]
                if site.leaving and (leaving := availability_objection(site)):
                    objections.append(leaving)
            else:
                objections = [*all_to_going(state, entry, machine)]
            reasons = tuple(each.reason for each in objections)
            verdict = Verdict.REFUSED if reasons else Verdict.HERE if here else Verdict.ELIGIBLE
            merits = () if reasons else tuple(_notes(state, entry, machine))
            found.append(MachineVerdict(machine, verdict, state.candidates.counts[machine], reasons, merits))
    return tuple(found)


def _notes(state: ClusterState, entry: UnitEntry, machine: str) -> Iterator[str]:
    """What else of a machine matters to a unit that it takes or has."""
    yield from notes(state, entry, state.sites[machine])
    if free := state.room.free(entry.options.reserve, state.sites[machine]):
        yield free


def _summary(snapshot: Snapshot, unit: Unit, state: ClusterState, entry: UnitEntry) -> str:
    now = standing(snapshot, unit.name, strict=True)
    if unit.target is Target.INACTIVE:
        return now.reason or "its target is inactive, so it needs no machine"
    if reason := state.cycles.of_replacing(entry) or state.cycles.of_following(entry) or now.reason:
        return reason
    scheduled = [machine for machine in now.machines if (machine, unit.name) in snapshot.schedule]
    if now.progress is Progress.REACHED and scheduled:
        rule = "one on every machine that takes it" if entry.options.is_global else "it stays where it runs"
        return _resting(snapshot, unit, scheduled) or f"{unit.target} on {', '.join(scheduled)}; {rule}"
    return NO_MACHINE if not state.sites else "waiting for the scheduler"


def _resting(snapshot: Snapshot, unit: Unit, machines: list[str]) -> str:
    """Where a launched unit does not run, though it came to that without a failure; "" when it runs everywhere."""
    states = {machine: snapshot.states.get((machine, unit.name)) for machine in machines}
    down = {machine: state for machine, state in states.items() if state is not None and ended(state)}
    if not down:
        return ""
    up = [machine for machine in machines if machine not in down]
    over = [machine for machine, state in down.items() if not state.skipped]
    parts = [f"{unit.target} on {', '.join(up)}"] if up else []
    parts += [f"it has ended on {', '.join(over)}, where a start runs it again"] if over else []
    parts += [f"not started on {machine}: {state.skipped}" for machine, state in down.items() if state.skipped]
    return "; ".join(parts)
