"""A machine: its facts and metadata, each with its source; what a drain moves, and what blocks it. Pure."""

from __future__ import annotations

from collections import Counter

from fleettui.actions.drain import is_global
from fleettui.console.pages.rich_text import RichLine, RichText, fact, plain, rich_line, title
from fleettui.console.tables.machines import PRESSED, WAITED_FOR, Reserved, room_bar
from fleettui.console.tables.units import host, in_words
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import counted, since, size
from fleettui.console.text.subject import unit_subject
from fleettui.escape import escape
from placement.preview import Prediction, preview_drain
from placement.room import memory_of
from registry.keys import DEFAULT_KEYS, Keys
from registry.mirror import Snapshot
from registry.model import Availability, Machine, Override
from registry.units.amounts import shown_cpus

KEY_WIDTH, VALUE_WIDTH = 20, 24
BAR = 20  # cells
REMEDY = "on one of them: rm /etc/machine-id && systemd-machine-id-setup; systemctl restart fleet-agentd"


def facts_page(snapshot: Snapshot, machine: str, now: float) -> RichText:
    """The page of facts: identity, address, state and resources."""
    record, override = snapshot.machines.get(machine), snapshot.overrides.get(machine)
    page = [_state_line(record, override, now)]
    if record is None:
        return [*page, fact("id", machine), *_units(snapshot, machine), *_duplicates(snapshot, machine)]
    return [
        *page,
        fact("host", escape(record.hostname)),
        fact(
            "address", escape(record.address) + (f", ssh port {record.ssh_port}" if record.ssh_port != 22 else "")
        ),
        fact("id", machine),
        fact("boot id", escape(record.boot_id)),
        fact("joined", f"{since(record.since, now)} ago"),
        fact("lease", f"{record.ttl_s:g} s: silent for so long, it counts as lost"),
        *title("what it is"),
        fact("cpus", str(record.cpus or "not known")),
        fact("memory", size(record.memory_bytes)),
        fact("system", escape(record.operating_system) or "not known"),
        fact("systemd", escape(record.systemd_version) or "not known"),
        *([fact("podman", escape(record.podman_version))] if record.podman_version else []),
        fact("agent", escape(record.agent_version) or "not known"),
        fact("bus", "the user's own systemd" if record.bus == "user" else "system"),
        *([fact("secrets", escape(f"none: {record.opens_nothing}"))] if record.opens_nothing else []),
        *room_lines(snapshot, record),
        *_units(snapshot, machine),
        *_duplicates(snapshot, machine),
        *(title("ssh host keys") if record.host_keys else []),
        *(plain(f"  {escape(key)}", Tone.QUIET) for key in record.host_keys),
    ]


def room_lines(snapshot: Snapshot, record: Machine) -> RichText:
    """What the machine has, what of it is used and reserved, and what waits for it."""
    counted_, usage = Reserved(), snapshot.usage.get(record.id)
    for pair in snapshot.schedule:
        if pair[0] == record.id:
            counted_.update(snapshot, pair)
    reserved, total = counted_.on(record.id), record.memory_bytes
    memory, cpus = memory_of(reserved, total), reserved.cpu_millis
    page = [*title("room")]
    if total:
        used = usage.memory_bytes - usage.available_bytes if usage else 0
        known = f"{size(used)} used" if usage else "use not known"
        told = f"{known}, {size(memory) if memory else 'nothing'} reserved, of {size(total)}"
        page.append(fact("memory", f"{room_bar(used, memory, total, BAR)}  {told}"))
    if record.cpus:
        bar = room_bar(round(1000 * usage.load[0]) if usage else 0, cpus, 1000 * record.cpus, BAR)
        load = f"load {usage.load[0]:.2f}, " if usage else ""
        page.append(fact("cpus", f"{bar}  {load}{shown_cpus(cpus)} reserved, of {record.cpus}"))
    if usage and usage.disk_bytes:
        used, free = usage.disk_bytes - usage.disk_free_bytes, usage.disk_free_bytes
        page.append(fact("disk of /", f"{room_bar(used, 0, usage.disk_bytes, BAR)}  {size(free)} free of "
                                      f"{size(usage.disk_bytes)}"))  # fmt: skip
    if usage and usage.pressure:
        told = ", ".join(f"{what} {part:.1f} %" for what, part in zip(WAITED_FOR, usage.pressure, strict=False))
        pressed = max(usage.pressure) >= PRESSED
        page.append(
            fact("pressure", f"{told} of the last minute was waited for it", Tone.BUSY if pressed else Tone.PLAIN)
        )
    return page if len(page) > len(title("room")) else []


def _state_line(record: Machine | None, override: Override | None, now: float) -> RichLine:
    if record is None:
        return fact("state", "lost: its agent is down, or cut off from the registry", Tone.BAD)
    if record.leaving:
        return fact("state", "leaving: its agent hands its units over", Tone.BUSY)
    if override is None or override.availability is Availability.READY:
        return fact("state", "ready", Tone.GOOD)
    who = f", by {escape(override.by)} {since(override.at, now)} ago" if override.by else ""
    tone = Tone.BUSY if override.availability is Availability.DRAINING else Tone.WAIT
    return fact("state", f"{override.availability}{who}", tone)


def machine_state(record: Machine | None, override: Override | None) -> Cell:
    """Its state in a word."""
    if record is None:
        return Cell("✖ lost", Tone.BAD)
    if record.leaving:
        return Cell("◐ leaving", Tone.BUSY)
    availability = override.availability if override else Availability.READY
    return STATES[availability]


STATES = {
    Availability.READY: Cell("● ready", Tone.GOOD),
    Availability.CORDONED: Cell("◌ cordoned", Tone.WAIT),
    Availability.DRAINING: Cell("◐ draining", Tone.BUSY),
}


def _units(snapshot: Snapshot, machine: str) -> RichText:
    scheduled = sum(1 for each, _ in snapshot.schedule if each == machine)
    states = Counter(
        state.active or "not loaded" for (each, _), state in snapshot.states.items() if each == machine
    )
    told = ", ".join(f"{number} {escape(word)}" for word, number in sorted(states.items()))
    return [*title("units"), fact("scheduled", str(scheduled)), fact("in systemd", told or "none")]


def _duplicates(snapshot: Snapshot, machine: str) -> RichText:
    twins = [twin for (each, _), twin in snapshot.duplicates.items() if each == machine]
    facts = [
        fact("twin", f"{escape(twin.hostname)} at {escape(twin.address)} came with the same id; it may do nothing",
             Tone.BAD)
        for twin in twins
    ]  # fmt: skip
    return [*facts, fact("remedy", REMEDY)] if facts else []


def metadata_page(snapshot: Snapshot, machine: str, now: float) -> RichText:
    """The page of metadata, key by key, with where each value comes from."""
    record, override = snapshot.machines.get(machine), snapshot.overrides.get(machine)
    own, over = dict(record.metadata) if record else {}, dict(override.metadata) if override else {}
    page: RichText = []
    if record is None:
        page = [plain("the machine is lost; only what was set here is known", Tone.BAD), ((), None)]
    if not own and not over:
        return [*page, plain("it has no metadata; no unit with MachineMetadata runs here", Tone.QUIET)]
    head = f"  {'KEY':<{KEY_WIDTH}} {'VALUE':<{VALUE_WIDTH}} FROM"
    rows = [_pair(key, own.get(key), over.get(key)) for key in sorted(own.keys() | over.keys())]
    tail: RichText = []
    if override and over:
        tail = [
            ((), None),
            plain(f"  set here by {escape(override.by) or 'somebody'} {since(override.at, now)} ago", Tone.QUIET),
        ]
    return [*page, plain(head, Tone.QUIET), *rows, *tail]


def _pair(key: str, own: str | None, over: str | None) -> RichLine:
    name = Cell(f"  {escape(key):<{KEY_WIDTH}} ", Tone.ONE)
    if over is None:
        return rich_line(
            name, Cell(f"{escape(own or ''):<{VALUE_WIDTH}} "), Cell("its own configuration", Tone.QUIET)
        )
    before = f", instead of its own {escape(own)}" if own is not None else ""
    if over == "":
        return rich_line(
            name, Cell(f"{'(taken away)':<{VALUE_WIDTH}} ", Tone.WAIT), Cell(f"set here{before}", Tone.BUSY)
        )
    return rich_line(
        name, Cell(f"{escape(over):<{VALUE_WIDTH}} ", Tone.STRONG), Cell(f"set here{before}", Tone.BUSY)
    )


UNIT_WIDTH = 28


def drain_page(snapshot: Snapshot, machine: str, keys: Keys = DEFAULT_KEYS) -> RichText:
    """What would block first: it is what an operator has to deal with."""
    name = host(snapshot, machine)
    if machine not in snapshot.machines:
        return [plain(f"{name} is lost: its units go elsewhere without a drain, where they can", Tone.WAIT)]
    found = preview_drain(snapshot, (machine,), keys)[machine]
    moving = [each for each in found if each.machines]
    blocking = [each for each in found if not each.machines]
    staying = sorted(unit for each, unit in snapshot.schedule if each == machine and is_global(snapshot, unit))
    page = [_headline(snapshot, machine, moving, blocking)]
    if blocking:
        page += title("no other machine takes")
    for each in blocking:
        shown = Cell(f"  ✖ {escape(each.unit):<{UNIT_WIDTH}} ", Tone.BAD)
        page.append(rich_line(shown, Cell(in_words(snapshot, each.summary)), to=unit_subject(each.unit)))
    if moving:
        page += title("goes elsewhere")
    for each in moving:
        shown, to = Cell(f"  {escape(each.unit):<{UNIT_WIDTH + 2}} ", Tone.STRONG), host(snapshot, each.machines[0])
        page.append(rich_line(shown, Cell(f"→ {to}", Tone.GOOD), to=unit_subject(each.unit)))
    if staying:
        page += title("belongs to the machine (Global)")
    page += [rich_line(Cell(f"  {escape(unit)}", Tone.PLAIN), to=unit_subject(unit)) for unit in staying]
    if moving:
        page += [((), None), plain("where each ends up, as things are now", Tone.QUIET)]
    return page


def _headline(snapshot: Snapshot, machine: str, moving: list[Prediction], blocking: list[Prediction]) -> RichLine:
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
