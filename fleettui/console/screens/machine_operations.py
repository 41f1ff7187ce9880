"""The operations on machines: cordon, drain, open again, forget, metadata; each says first what it would do."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from textual.screen import Screen

from fleettui.console.operations.impact import Impact, Survey, impact_of_drain, impact_of_metadata
from fleettui.console.operations.impact_text import impact_lines, machine_lines, short
from fleettui.console.operations.runner import OperationRunner
from fleettui.console.operations.verbs import (
    MachineVerb,
    command,
    cordon_or_uncordon,
    machine_name,
    machine_permit,
    metadata_words,
)
from fleettui.console.screens.confirm import Confirmer
from fleettui.console.screens.context import Context, StatusLine
from fleettui.console.screens.navigator import Selection, Views
from fleettui.console.tables.fleet import FleetModel, Reading
from fleettui.console.tables.machines import MachineRow
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted, took
from fleettui.console.text.keys import Key
from registry.errors import FleetError
from registry.sync.follow import ConnectionState

ASKING = "ask for the lease"


class MachineOperations:
    """What is done to machines."""

    def __init__(
        self, screen: Screen[None], context: Context, fleet: FleetModel, views: Views, selection: Selection,
        runner: OperationRunner, confirmer: Confirmer, status: StatusLine,
    ) -> None:  # fmt: skip
        self._screen, self._context, self._fleet = screen, context, fleet
        self._views, self._selection = views, selection
        self._runner, self._confirmer, self._status = runner, confirmer, status

    def perform_on_selection(self, name: str) -> None:
        """Cordon or open, drain or forget the chosen machines."""
        chosen = self._selection.machines()
        if name == "drain" and chosen and not any(map(self._is_present, chosen)):
            self._views.machines.update(self._fleet.forget(chosen, self._context.clock()))
            self._status.show(f"forgotten: {counted(len(chosen), 'machine')}; shown again when back")
            return
        snapshot = self._fleet.reading.snapshot
        self.perform(cordon_or_uncordon(snapshot, chosen) if name == "cordon" else MachineVerb(name), chosen)

    def perform(self, verb: str, ids: Sequence[str]) -> None:
        """Cordon, drain or uncordon machines, given by their full ids, after saying what would happen."""
        wanted = MachineVerb(verb)
        self._confirmer.ask_first(
            lambda reading: self._survey(reading, wanted, ids),
            lambda found: self._screen.run_worker(
                self._runner.on_machines(wanted, self._names(found.names)), name=f"{wanted}", exit_on_error=False
            ),
        )

    def _survey(self, reading: Reading, verb: MachineVerb, ids: Sequence[str]) -> Survey:
        """Say what the verb would do to these machines."""
        snapshot, keys = reading.snapshot, self._context.keys
        allowed = machine_permit(verb, ids, snapshot, link=reading.link, barred=self._context.barred)
        if allowed.refusal:
            return Survey(refusal=allowed.refusal)
        shown = [machine_name(snapshot, machine) for machine in allowed.names]
        impact = impact_of_drain(allowed.names, snapshot, keys) if verb is MachineVerb.DRAIN else Impact()
        question, lines = (
            f"{verb.capitalize()} {_named(shown)}?",
            machine_lines(verb, allowed.names, snapshot, keys),
        )
        same = command(verb, shown, shown=3)
        return Survey(question, verb, tuple(lines), same, impact, allowed.names, always=True)

    def set_metadata(self, ids: Sequence[str], changes: Mapping[str, str | None]) -> None:
        """Set metadata of machines at run time; None ends what was set for that key. Asks if units have to move."""
        self._confirmer.ask_first(
            lambda reading: self._survey_metadata(reading, ids, changes),
            lambda found: self._screen.run_worker(
                self._runner.set_metadata(self._names(found.names), changes),
                name="set-metadata",
                exit_on_error=False,
            ),
        )

    def _survey_metadata(self, reading: Reading, ids: Sequence[str], changes: Mapping[str, str | None]) -> Survey:
        snapshot, verb = reading.snapshot, MachineVerb.SET_METADATA
        allowed = machine_permit(verb, ids, snapshot, link=reading.link, barred=self._context.barred)
        if allowed.refusal:
            return Survey(refusal=allowed.refusal)
        shown = [machine_name(snapshot, machine) for machine in allowed.names]
        impact = impact_of_metadata(allowed.names, changes, snapshot, self._context.keys)
        lines = ("What asks for other metadata may not stay there.", *impact_lines(impact, snapshot))
        same = command(verb, shown, metadata_words(changes), shown=3)
        return Survey(f"Set metadata of {_named(shown)}?", "set", lines, same, impact, allowed.names)

    def _names(self, ids: Sequence[str]) -> dict[str, str]:
        """Return what people call these machines, by id."""
        return {machine: machine_name(self._fleet.reading.snapshot, machine) for machine in ids}

    def _is_present(self, machine: str) -> bool:
        row = self._fleet.machines.rows.get(machine)
        return row is not None and row.present

    # What the footer says

    def label_of(self, key: Key) -> str:
        """Return what the key would do to the chosen machines."""
        chosen = self._selection.machines()
        if key.id == "cordon":
            return cordon_or_uncordon(self._fleet.reading.snapshot, chosen).value
        if key.id == "drain":
            return "forget" if chosen and not any(map(self._is_present, chosen)) else "drain"
        return key.label

    def can_use(self, key: Key) -> bool:
        """Whether the key would do something to the chosen machines now."""
        label = self.label_of(key)
        if label == "forget":
            return True
        reading, chosen = self._fleet.reading, self._selection.machines()
        return not machine_permit(
            MachineVerb(label), chosen, reading.snapshot, link=reading.link, barred=""
        ).refusal


class LeaseWatch:
    """The lease of the selected machine: asked for one machine at a time, only while that is looked at."""

    INTERVAL_S = 1.0  # between two questions

    def __init__(
        self, screen: Screen[None], context: Context, fleet: FleetModel, views: Views, status: StatusLine
    ) -> None:
        self._screen, self._context, self._fleet = screen, context, fleet
        self._views, self._status = views, status
        self._lease: tuple[str, float, float] = ("", 0.0, 0.0)  # whose, what was left, when (monotonic)

    def ask(self) -> None:
        """Ask for the lease of the selected machine, if one is selected and the link is live."""
        in_view = self._views.key_scope == "machines"
        row = self._views.machines.table.listing.current() if in_view else None
        if row is not None and self._is_known(row):
            self._screen.run_worker(
                self._learn(row.key), name=ASKING, group=ASKING, exclusive=True, exit_on_error=False
            )

    async def _learn(self, machine: str) -> None:
        try:
            left_s = await self._context.feed.lease_left_s(machine)
        except FleetError:
            left_s = None
        self._lease = (machine, left_s, time.monotonic()) if left_s is not None else ("", 0.0, 0.0)
        self._status.renew()

    def hint(self, row: MachineRow) -> Line:
        """Return the machine's note and its lease."""
        notes = [row.note] if row.note else []
        machine, left_s, at = self._lease
        if machine == row.key and self._is_known(row):
            left_s = max(0.0, left_s - (time.monotonic() - at))
            seen = took(max(0.0, row.ttl_s - left_s))
            notes.append(f"last sign of life {seen} ago, lease {left_s:.0f} of {row.ttl_s:.0f} s left")
        if not notes:
            return ()
        return (Cell(f"{row.hostname}: ", Tone.STRONG), Cell(", ".join(notes), Tone.QUIET))

    def _is_known(self, row: MachineRow) -> bool:
        return row.present and self._fleet.reading.link is ConnectionState.LIVE


def _named(shown: Sequence[str]) -> str:
    return short(shown[0]) if len(shown) == 1 else counted(len(shown), "machine")
