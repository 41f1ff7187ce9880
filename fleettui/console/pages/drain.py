"""What a drain moves and what blocks it, unit by unit; before it is begun, and while it goes on. Pure."""

from __future__ import annotations

from fleettui.actions.drain import is_global
from fleettui.console.pages.rich_text import Passage, Written, in_words, plain, said, title
from fleettui.console.tables.units import host
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import counted
from fleettui.console.text.subject import unit_subject
from fleettui.escape import escape
from placement.preview import Prediction, preview_drain
from registry.keys import DEFAULT_KEYS, Keys
from registry.mirror import Snapshot
from registry.model import Availability

NAME_WIDTH = 28


def drain_page(snapshot: Snapshot, machine: str, keys: Keys = DEFAULT_KEYS) -> Passage:
    """What would block first: it is what an operator has to deal with."""
    name = host(snapshot, machine)
    if machine not in snapshot.machines:
        return [plain(f"{name} is lost: its units go elsewhere without a drain, where they can", Tone.WAIT)]
    found = preview_drain(snapshot, (machine,), keys)[machine]
    moving = [each for each in found if each.machines]
    blocking = [each for each in found if not each.machines]
    staying = _staying(snapshot, machine)
    passage = [_headline(snapshot, machine, moving, blocking)]
    if blocking:
        passage += [*title("no other machine takes"), *(_blocker(snapshot, each) for each in blocking)]
    if moving:
        passage += [*title("goes elsewhere"), *(_mover(snapshot, each) for each in moving)]
    if staying:
        passage += [*title("belongs to the machine (Global)"), *(_unit_line(each) for each in staying)]
    if moving:
        passage += [((), None), plain("each by itself, as things are now; many at once spread", Tone.QUIET)]
    return passage


def _headline(snapshot: Snapshot, machine: str, moving: list[Prediction], blocking: list[Prediction]) -> Written:
    override = snapshot.overrides.get(machine)
    name = host(snapshot, machine)
    draining = override is not None and override.availability is Availability.DRAINING
    if draining and not moving and not blocking:
        return plain(f"✓ {name} is drained: nothing is left to move", Tone.GOOD)
    if draining and blocking:
        told = f"✖ the drain of {name} is blocked by {counted(len(blocking), 'unit')}"
        return plain(told + (f"; {len(moving)} on the move" if moving else ""), Tone.BAD)
    if draining:
        return plain(f"◐ {name} is draining: {counted(len(moving), 'unit')} to go", Tone.BUSY)
    if not moving and not blocking:
        return plain(f"a drain of {name} would move nothing", Tone.GOOD)
    told = f"a drain of {name} would move {counted(len(moving), 'unit')}"
    if blocking:
        return plain(f"{told}; {len(blocking)} would stay and block it", Tone.BAD)
    return plain(f"{told}, and nothing blocks it", Tone.GOOD)


def _staying(snapshot: Snapshot, machine: str) -> list[str]:
    return sorted(unit for each, unit in snapshot.schedule if each == machine and is_global(snapshot, unit))


def _blocker(snapshot: Snapshot, each: Prediction) -> Written:
    name = Cell(f"  ✖ {escape(each.unit):<{NAME_WIDTH}} ", Tone.BAD)
    return said(name, Cell(in_words(snapshot, each.summary)), to=unit_subject(each.unit))


def _mover(snapshot: Snapshot, each: Prediction) -> Written:
    name = Cell(f"  {escape(each.unit):<{NAME_WIDTH + 2}} ", Tone.STRONG)
    return said(name, Cell(f"→ {host(snapshot, each.machines[0])}", Tone.GOOD), to=unit_subject(each.unit))


def _unit_line(unit: str) -> Written:
    return said(Cell(f"  {escape(unit)}", Tone.PLAIN), to=unit_subject(unit))
