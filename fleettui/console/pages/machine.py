"""A machine's facts and metadata, each with where it comes from. Pure."""

from __future__ import annotations

from collections import Counter

from fleettui.console.pages.rich_text import Passage, Written, fact, plain, said, title
from fleettui.console.text.cells import Cell, Tone
from fleettui.console.text.formatting import since, size
from fleettui.escape import escape
from registry.mirror import Snapshot
from registry.model import Availability, Machine, Override

KEY_WIDTH, VALUE_WIDTH = 20, 24
REMEDY = "on one of them: rm /etc/machine-id && systemd-machine-id-setup; systemctl restart fleet-agentd"


def facts_page(snapshot: Snapshot, machine: str, now: float) -> Passage:
    """The page of facts: identity, address, state and resources."""
    record, override = snapshot.machines.get(machine), snapshot.overrides.get(machine)
    passage = [_state(record, override, now)]
    if record is None:
        return [*passage, fact("id", machine), *_units(snapshot, machine), *_duplicates(snapshot, machine)]
    return [
        *passage,
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
        fact("agent", escape(record.agent_version) or "not known"),
        fact("bus", "the user's own systemd" if record.bus == "user" else "system"),
        *_units(snapshot, machine),
        *_duplicates(snapshot, machine),
        *(title("ssh host keys") if record.host_keys else []),
        *(plain(f"  {escape(key)}", Tone.QUIET) for key in record.host_keys),
    ]


def _state(record: Machine | None, override: Override | None, now: float) -> Written:
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


def _units(snapshot: Snapshot, machine: str) -> Passage:
    scheduled = sum(1 for each, _ in snapshot.schedule if each == machine)
    states = Counter(
        state.active or "not loaded" for (each, _), state in snapshot.states.items() if each == machine
    )
    told = ", ".join(f"{number} {escape(word)}" for word, number in sorted(states.items()))
    return [*title("units"), fact("scheduled", str(scheduled)), fact("in systemd", told or "none")]


def _duplicates(snapshot: Snapshot, machine: str) -> Passage:
    twins = [twin for (each, _), twin in snapshot.duplicates.items() if each == machine]
    facts = [
        fact("twin", f"{escape(twin.hostname)} at {escape(twin.address)} came with the same id; it may do nothing",
             Tone.BAD)
        for twin in twins
    ]  # fmt: skip
    return [*facts, fact("remedy", REMEDY)] if facts else []


def metadata_page(snapshot: Snapshot, machine: str, now: float) -> Passage:
    """The page of metadata, key by key, with where each value comes from."""
    record, override = snapshot.machines.get(machine), snapshot.overrides.get(machine)
    own, over = dict(record.metadata) if record else {}, dict(override.metadata) if override else {}
    passage: Passage = []
    if record is None:
        passage = [plain("the machine is lost; only what was set here is known", Tone.BAD), ((), None)]
    if not own and not over:
        return [*passage, plain("it has no metadata; no unit with MachineMetadata runs here", Tone.QUIET)]
    head = f"  {'KEY':<{KEY_WIDTH}} {'VALUE':<{VALUE_WIDTH}} FROM"
    rows = [_pair(key, own.get(key), over.get(key)) for key in sorted(own.keys() | over.keys())]
    tail: Passage = []
    if override and over:
        tail = [
            ((), None),
            plain(f"  set here by {escape(override.by) or 'somebody'} {since(override.at, now)} ago", Tone.QUIET),
        ]
    return [*passage, plain(head, Tone.QUIET), *rows, *tail]


def _pair(key: str, own: str | None, over: str | None) -> Written:
    name = Cell(f"  {escape(key):<{KEY_WIDTH}} ", Tone.ONE)
    if over is None:
        return said(name, Cell(f"{escape(own or ''):<{VALUE_WIDTH}} "), Cell("its own configuration", Tone.QUIET))
    before = f", instead of its own {escape(own)}" if own is not None else ""
    if over == "":
        return said(
            name, Cell(f"{'(taken away)':<{VALUE_WIDTH}} ", Tone.WAIT), Cell(f"set here{before}", Tone.BUSY)
        )
    return said(name, Cell(f"{escape(over):<{VALUE_WIDTH}} ", Tone.STRONG), Cell(f"set here{before}", Tone.BUSY))
