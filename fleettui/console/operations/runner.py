"""Carries operations out in tasks of their own, follows them to their end, and can take the last one back.

Owns the list of operations on the screen. It never blocks and never changes what the views show of the cluster:
only the watch does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, Protocol

from fleettui.actions.outcome import Done, Outcome
from fleettui.console.operations.operation import (
    Operation,
    OperationPhase,
    Where,
    changed,
    failed,
    judge,
    judge_machines,
    judge_rollout,
    replace_command,
    rollback_command,
    rolling,
    undo_command,
    undoable,
    written,
)
from fleettui.console.operations.verbs import MachineVerb, RolloutVerb, command, metadata_words, rollout_command
from fleettui.console.tables.machines import Drains
from fleettui.verbs import Verb, verb_between
from registry.errors import FleetError, UserError
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Rollout, Target

if TYPE_CHECKING:
    from fleettui.actions.machines import MachineChange
    from fleettui.actions.rollouts import Policy
    from placement.rebalance import Move

KEPT = 200  # operations that the page of all actions lists
Changes = tuple[Sequence["MachineChange"], Sequence[str]]  # what was written, and complaints of what was not


class OperationPort(Protocol):
    """What writes to the registry; errors are FleetErrors."""

    async def on_units(self, verb: Verb, names: Sequence[str]) -> Done:
        """Carry the verb out on units of the registry."""

    async def submit(
        self, texts: Mapping[str, str], target: Target, *, replace: bool = False, based_on: str = ""
    ) -> Done:
        """Store texts by name and raise the target; with `based_on` only where the text still has that hash."""

    async def restore(self, outcomes: Sequence[Outcome], *, redo: bool = False) -> Done:
        """Take an operation on units back; with `redo` one that took another back."""

    async def on_machines(self, verb: MachineVerb, ids: Sequence[str]) -> Changes:
        """Cordon, drain or uncordon machines, given by their full ids."""

    async def set_metadata(self, ids: Sequence[str], changes: Mapping[str, str | None]) -> Changes:
        """Set metadata over the machines' own; None ends what was set."""

    async def restore_machines(self, changes: Sequence[MachineChange]) -> Changes:
        """Take an operation on machines back."""

    async def roll(
        self, names: Sequence[str], texts: Mapping[str, str], policy: Policy, based_on: str = ""
    ) -> Rollout:
        """Begin to give running units these texts, a few at a time; those without a text are restarted.

        With `based_on` only where all have the text of that hash still.
        """

    async def move(self, snapshot: Snapshot, moves: Sequence[Move], policy: Policy, name: str = "") -> Rollout:
        """Begin to move units that the snapshot has, a few at a time; the rollout is called by the name, if any."""

    async def on_rollout(self, verb: RolloutVerb, name: str) -> Rollout:
        """Pause, resume, abort or undo a rollout; with `redo` begin another that does again what was undone."""


class Undone(NamedTuple):
    """An operation that was taken back, and the operation that did so."""

    operation: Operation
    undo: Operation


class OperationRunner:
    """The operations of this console.

    `on_change` is called whenever the list differs; `barred` says why nothing may be changed ("": it may).
    """

    def __init__(
        self,
        port: OperationPort,
        clock: Callable[[], float],
        on_change: Callable[[], None],
        keys: Keys | None = None,
        barred: str = "",
    ) -> None:
        self.operations: tuple[Operation, ...] = ()
        self.history: dict[int, Operation] = {}  # every operation, by number, whether on the screen or not
        self._drains = Drains(keys or Keys())
        self._port, self._clock, self._on_change = port, clock, on_change
        self._number, self._barred = 0, barred
        self._undoable: list[Operation] = []
        self._redoable: list[Undone] = []
        self._rollouts: Mapping[str, Rollout] = {}  # as the last reading had them

    # Carrying out

    async def on_units(self, verb: Verb, names: Sequence[str]) -> None:
        """Carry a verb out on units."""
        await self._write_units(self._begin(verb, names), lambda: self._port.on_units(verb, names))

    async def submit(
        self, texts: Mapping[str, str], target: Target, *, replace: bool = False, based_on: str = ""
    ) -> Operation:
        """Submit units as one operation and raise their target; return it as it was written.

        `based_on` is the hash of the text that an edit began from: a unit that has another one now is left alone.
        """
        names = tuple(texts)
        begun = self._begin(verb_between(None, target), names, replace_command(names) if based_on else "")
        return await self._write_units(
            begun, lambda: self._port.submit(texts, target, replace=replace, based_on=based_on)
        )

    async def on_machines(self, verb: MachineVerb, names: Mapping[str, str]) -> None:
        """Carry a verb out on machines: ids with what people call them."""
        begun = self._begin(verb, tuple(names.values()), machines=tuple(names))
        await self._write_machines(begun, lambda: self._port.on_machines(verb, begun.machines))

    async def set_metadata(self, names: Mapping[str, str], changes: Mapping[str, str | None]) -> None:
        """Change the run-time metadata of machines: ids with what people call them."""
        ends = all(value is None for value in changes.values())
        verb = MachineVerb.UNSET_METADATA if ends else MachineVerb.SET_METADATA
        words = metadata_words(changes)
        line = command(verb, tuple(names.values()), words)
        if ends:  # a key could not be told from a machine
            line = "; ".join(command(verb, [name], words) for name in names.values())
        begun = self._begin(verb, tuple(names.values()), line, tuple(names))
        await self._write_machines(begun, lambda: self._port.set_metadata(begun.machines, changes))

    async def roll(
        self, names: Sequence[str], texts: Mapping[str, str], policy: Policy, line: str, based_on: str = ""
    ) -> Operation:
        """Begin a rollout; `line` is the command that does the same. Return it as it was written."""
        begun = self._begin(RolloutVerb.BEGIN, names, line)
        return await self._write_rollout(begun, None, lambda: self._port.roll(names, texts, policy, based_on))

    async def move(
        self, snapshot: Snapshot, moves: Sequence[Move], policy: Policy, line: str, name: str = ""
    ) -> Operation:
        """Begin to move units, as planned on the snapshot; `line` is the command that does the same."""
        begun = self._begin(RolloutVerb.BEGIN, [each.unit for each in moves], line)
        return await self._write_rollout(begun, None, lambda: self._port.move(snapshot, moves, policy, name))

    async def on_rollout(self, verb: RolloutVerb, before: Rollout) -> Operation:
        """Pause, resume, abort, undo or redo a rollout; `before` is its record as it is known."""
        begun = self._begin(verb, (), rollout_command(verb, before.name))
        return await self._act_on_rollout(begun, verb, before.name)

    async def undo(self, operation: Operation | None = None, policy: Policy | None = None) -> bool:
        """Take an operation back, by default the last; False when there is none that can be.

        With a `policy`, units that get their earlier text again get it a few at a time.
        """
        last = operation or self.can_undo
        if last is None or last not in self._undoable:
            return False
        self._undoable.remove(last)
        self._set(tuple(each for each in self.operations if each.number != last.number))  # its outcome is no more
        if last.rollout:
            begun = self._begin(Verb.UNDO, last.names, undo_command(last))
            done = await self._act_on_rollout(
                begun, RolloutVerb.REDO if last.back else RolloutVerb.UNDO, last.rollout
            )
        elif last.changes:
            begun = self._begin(Verb.UNDO, last.names, undo_command(last), last.machines)
            done = await self._write_machines(begun, lambda: self._port.restore_machines(last.changes))
        elif policy is not None:
            texts = {each.name: each.text for each in last.written if each.text is not None}
            based_on = {each.after.hash for each in last.written if each.after}
            begun = self._begin(Verb.UNDO, tuple(texts), rollback_command([*texts], policy.at_a_time))
            done = await self._write_rollout(
                begun, None, lambda: self._port.roll([*texts], texts, policy, "".join(based_on))
            )
        else:
            begun = self._begin(Verb.UNDO, tuple(outcome.name for outcome in last.written), undo_command(last))
            done = await self._write_units(begun, lambda: self._port.restore(last.written))
        if done.written or done.changes or done.rollout:
            self._redoable.append(Undone(last, done))
        return True

    async def redo(self, undone: Undone) -> None:
        """Do again what was taken back last; nothing when that is another by now."""
        if undone is not self.can_redo:
            return
        self._redoable.pop()
        last, undo = undone
        line = undo_command(undo) if undo.rollout else last.command
        begun = self._begin(last.verb, last.names, line, last.machines, again=True)
        if undo.rollout:
            verb = RolloutVerb.REDO if undo.back else RolloutVerb.UNDO
            await self._act_on_rollout(replace(begun, verb=verb), verb, undo.rollout)
        elif undo.changes:
            await self._write_machines(begun, lambda: self._port.restore_machines(undo.changes))
        else:
            await self._write_units(begun, lambda: self._port.restore(undo.written, redo=True))

    @property
    def can_redo(self) -> Undone | None:
        """What `redo` would do again: what was taken back last, as long as nothing else was done since."""
        return self._redoable[-1] if self._redoable else None

    @property
    def can_undo(self) -> Operation | None:
        """The operation that `undo` would take back."""
        return next((each for each in reversed(self._undoable) if undoable(each)), None)

    def report(self, command: str, reason: str) -> None:
        """Show something that failed; it stays until it is dismissed."""
        self._put(failed(self._begin(Verb.SUBMIT, (), command), reason, self._clock()))

    # Following

    def apply(self, snapshot: Snapshot, where: Where) -> None:
        """Judge what is pending by a newer snapshot."""
        now = self._clock()
        self._rollouts = snapshot.rollouts
        on_machines = any(each.machines for each in self.operations)
        drains = self._drains.update(snapshot, now, fresh=True) if on_machines else {}
        self._set(tuple(
            judge_rollout(each, snapshot, now) if each.rollout
            else judge_machines(each, snapshot, drains, now) if each.machines else judge(each, snapshot, where, now)
            for each in self.operations
        ))  # fmt: skip

    def dismiss(self) -> bool:
        """Take what has ended off the screen; False when there was nothing."""
        return self._set(tuple(each for each in self.operations if not each.settled))

    def fade(self) -> None:
        """Take successes that were shown long enough off the screen."""
        now = self._clock()
        self._set(tuple(each for each in self.operations if not each.fades(now)))

    # The list

    def _begin(
        self,
        verb: Verb | MachineVerb | RolloutVerb,
        names: Sequence[str],
        line: str = "",
        machines: tuple[str, ...] = (),
        *,
        again: bool = False,
    ) -> Operation:
        self._number += 1
        begun = Operation(
            self._number, verb, tuple(names), self._clock(), line=line, machines=machines, again=again
        )
        self._set((*(each for each in self.operations if each.phase is not OperationPhase.DONE), begun))
        return begun

    async def _write_units(self, begun: Operation, write: Callable[[], Awaitable[Done]]) -> Operation:
        try:
            self._check_barred()
            done = await write()
        except FleetError as error:
            return self._put(failed(begun, str(error), self._clock()))
        return self._put(written(begun, done, self._clock()))

    async def _write_machines(self, begun: Operation, write: Callable[[], Awaitable[Changes]]) -> Operation:
        try:
            self._check_barred()
            changes, complaints = await write()
        except FleetError as error:
            return self._put(failed(begun, str(error), self._clock()))
        return self._put(changed(begun, changes, complaints, self._clock()))

    async def _act_on_rollout(self, begun: Operation, verb: RolloutVerb, name: str) -> Operation:
        before = None if verb is RolloutVerb.REDO else self._rollouts.get(name)
        return await self._write_rollout(begun, before, lambda: self._port.on_rollout(verb, name))

    async def _write_rollout(
        self, begun: Operation, before: Rollout | None, write: Callable[[], Awaitable[Rollout]]
    ) -> Operation:
        try:
            self._check_barred()
            rollout = await write()
        except FleetError as error:
            return self._put(failed(begun, str(error), self._clock()))
        return self._put(rolling(begun, rollout, before))

    def _check_barred(self) -> None:
        if self._barred:  # nothing should have come here
            raise UserError(f"nothing is changed: {self._barred}")

    def _put(self, operation: Operation) -> Operation:
        wrote = bool(operation.written or operation.changes or operation.rollout)
        if operation.verb is not Verb.UNDO and (operation.written or operation.changes or operation.reverts):
            self._undoable.append(operation)
        if operation.verb is not Verb.UNDO and not operation.again and wrote:
            self._redoable.clear()  # what was taken back lies behind something new
        self._set(tuple(operation if each.number == operation.number else each for each in self.operations))
        return operation

    def _set(self, operations: tuple[Operation, ...]) -> bool:
        if operations == self.operations:
            return False
        self.operations = operations
        self.history.update((each.number, each) for each in operations)
        for number in list(self.history)[:-KEPT]:
            del self.history[number]
        self._on_change()
        return True
