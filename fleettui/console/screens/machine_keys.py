"""The keys that work on machines: cordon, drain, open again, forget; each says first what it would do.

Owns the lease of the selected machine, too: it is asked for one machine at a time, only while that is looked at.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from fleettui.console.operations.impact import Impact, Survey, impact_of_drain, impact_of_metadata
from fleettui.console.operations.machine_verbs import (
    MachineVerb,
    cordon_or_uncordon,
    machine_command,
    machine_name,
    machine_permit,
    machine_radius,
    metadata_words,
)
from fleettui.console.operations.radius import impact_lines, short
from fleettui.console.screens.guarding import Guarding
from fleettui.console.tables.machines import MachineRow
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted, took
from fleettui.console.text.keys import Key
from registry.errors import FleetError
from registry.sync.follow import ConnectionState

LEASE_S = 1.0  # between two questions for the lease
ASKING = "ask for the lease"


class MachineKeys(Guarding):
    """What is done to machines."""

    def on_mount(self) -> None:
        """Begin to ask for leases."""
        self._lease: tuple[str, float, float] = ("", 0.0, 0.0)  # whose, what was left, when (monotonic)
        self.set_interval(LEASE_S, self._ask_lease)

    # Selection

    def chosen_machines(self) -> list[str]:
        """The machines that an action is about: the open detail's, else the marked or the selected of the view."""
        if subject := self.subject_machine():
            return [subject]
        return [row.key for row in self._machines_view.table.listing.chosen()]

    # Keys

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """One key may mean a machine in the Machines view and a unit elsewhere."""
        if action == "machine":
            return self.view_name == "machines"
        if action == "verb" and parameters == ("destroy",) and self.view_name == "machines":
            return False
        return super().check_action(action, parameters)

    def action_machine(self, name: str) -> None:
        """Cordon or open, drain or forget what is chosen."""
        chosen = self.chosen_machines()
        absent = [each for each in chosen if not self._is_present(each)]
        if name == "drain" and absent and absent == chosen:
            self._machines_view.update(self.fleet.forget(absent, self.desk.clock()))
            self.refuse(f"forgotten: {counted(len(absent), 'machine')}; shown again when back")
            return
        verb = cordon_or_uncordon(self.reading.snapshot, chosen) if name == "cordon" else MachineVerb(name)
        self.machine_verb(verb, chosen)

    def machine_verb(self, verb: str, ids: Sequence[str]) -> None:
        """Cordon, drain or uncordon machines, given by their full ids, after telling what would happen."""
        wanted = MachineVerb(verb)
        self.ask_first(lambda: self._surveyed_machines(wanted, ids), lambda found: self._carry_out(wanted, found))

    def _surveyed_machines(self, verb: MachineVerb, ids: Sequence[str]) -> Survey:
        """What the verb would do to these machines now."""
        snapshot, keys = self.reading.snapshot, self.desk.keys
        allowed = machine_permit(verb, ids, snapshot, link=self.reading.link, read_only=self.desk.read_only)
        if allowed.refusal:
            return Survey(refusal=allowed.refusal)
        shown = [machine_name(snapshot, machine) for machine in allowed.ids]
        what = short(shown[0]) if len(shown) == 1 else counted(len(shown), "machine")
        impact = impact_of_drain(allowed.ids, snapshot, keys) if verb is MachineVerb.DRAIN else Impact()
        return Survey(
            f"{verb.capitalize()} {what}?", verb, tuple(machine_radius(verb, allowed.ids, snapshot, keys)),
            machine_command(verb, shown, shown=3), impact, allowed.ids, always=True,
        )  # fmt: skip

    def machine_metadata(self, ids: Sequence[str], changes: Mapping[str, str | None]) -> None:
        """Set metadata of machines at run time; None ends what was set for that key. Asks if units have to move."""

        def act(found: Survey) -> None:
            names = {machine: machine_name(self.reading.snapshot, machine) for machine in found.names}
            self.run_worker(self.conductor.set_metadata(names, changes), name="set-metadata", exit_on_error=False)

        self.ask_first(lambda: self._surveyed_metadata(ids, changes), act)

    def _surveyed_metadata(self, ids: Sequence[str], changes: Mapping[str, str | None]) -> Survey:
        snapshot, verb = self.reading.snapshot, MachineVerb.SET_METADATA
        allowed = machine_permit(verb, ids, snapshot, link=self.reading.link, read_only=self.desk.read_only)
        if allowed.refusal:
            return Survey(refusal=allowed.refusal)
        shown = [machine_name(snapshot, machine) for machine in allowed.ids]
        impact = impact_of_metadata(allowed.ids, changes, snapshot, self.desk.keys)
        lines = ("What asks for other metadata may not stay there.", *impact_lines(impact, snapshot))
        what = short(shown[0]) if len(shown) == 1 else counted(len(shown), "machine")
        same = machine_command(verb, shown, metadata_words(changes), shown=3)
        return Survey(f"Set metadata of {what}?", "set", lines, same, impact, allowed.ids)

    def _carry_out(self, verb: MachineVerb, found: Survey) -> None:
        names = {machine: machine_name(self.reading.snapshot, machine) for machine in found.names}
        self.run_worker(self.conductor.on_machines(verb, names), name=f"{verb}", exit_on_error=False)

    # What the footer says

    def label_of(self, key: Key) -> str:
        """What the key would do to what is chosen."""
        if key.id == "cordon":
            return cordon_or_uncordon(self.reading.snapshot, self.chosen_machines()).value
        if key.id == "drain":
            chosen = self.chosen_machines()
            return "forget" if chosen and not any(map(self._is_present, chosen)) else "drain"
        return super().label_of(key)

    def usable(self, key: Key, names: Sequence[str]) -> bool:
        """Whether the key would do something now."""
        if key.id not in ("cordon", "drain"):
            return super().usable(key, names)
        verb = MachineVerb(self.label_of(key)) if self.label_of(key) != "forget" else None
        return (
            verb is None
            or not machine_permit(
                verb, self.chosen_machines(), self.reading.snapshot, link=self.reading.link, read_only=False
            ).refusal
        )

    def _is_present(self, machine: str) -> bool:
        row = self.fleet.machines.rows.get(machine)
        return row is not None and row.present

    # The lease of the selected machine

    def hint_of(self, row: Any) -> Line:  # noqa: ANN401 - a row of any view
        """The selected machine's note and its lease; of other rows what they say."""
        if not isinstance(row, MachineRow):
            return super().hint_of(row)
        told = ", ".join(each for each in (row.note, self._lease_text(row)) if each)
        return (Cell(f"{row.hostname}: ", Tone.STRONG), Cell(told, Tone.QUIET)) if told else ()

    def _lease_text(self, row: MachineRow) -> str:
        machine, left_s, at = self._lease
        if machine != row.key or not row.present or self.reading.link is not ConnectionState.LIVE:
            return ""
        left_s = max(0.0, left_s - (time.monotonic() - at))
        seen = took(max(0.0, row.ttl_s - left_s))
        return f"last sign of life {seen} ago, lease {left_s:.0f} of {row.ttl_s:.0f} s left"

    def _ask_lease(self) -> None:
        row = self._machines_view.table.listing.current() if self.view_name == "machines" else None
        if row is None or not row.present or self.reading.link is not ConnectionState.LIVE:
            return
        self.run_worker(self._learn_lease(row.key), name=ASKING, group=ASKING, exclusive=True, exit_on_error=False)

    async def _learn_lease(self, machine: str) -> None:
        try:
            left_s = await self.desk.feed.lease_left_s(machine)
        except FleetError:
            left_s = None
        self._lease = (machine, left_s, time.monotonic()) if left_s is not None else ("", 0.0, 0.0)
        self._show_hint()
