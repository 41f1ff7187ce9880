"""Carries actions out in tasks of their own, follows them to their end, and can take the last one back.

Owns the list of acts on the screen. It never blocks and never changes what the views show of the cluster: only the
watch does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from fleettui.actions.outcome import Done, Outcome
from fleettui.console.operations.acts import (
    Operation,
    OperationPhase,
    Where,
    changed,
    failed,
    judge,
    judge_machines,
    replacing,
    undoable,
    undoing,
    undoing_machines,
    written,
)
from fleettui.console.operations.machine_verbs import MachineVerb, machine_command, metadata_words
from fleettui.console.operations.verbs import Verb
from fleettui.console.tables.drains import Drains
from registry.errors import FleetError, UserError
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Target

if TYPE_CHECKING:
    from fleettui.actions.machines import MachineChange

KEPT = 200  # acts that the page of all actions tells of
Changes = tuple[Sequence["MachineChange"], Sequence[str]]  # what was written, and complaints of what was not


class OperationPort(Protocol):
    """What writes to the registry; errors are FleetErrors."""

    async def act(self, verb: Verb, names: Sequence[str]) -> Done:
        """Carry the verb out on units of the registry."""

    async def submit(self, name: str, text: str, target: Target, *, replace: bool) -> Done:
        """Make a unit known."""

    async def introduce(self, texts: Mapping[str, str], target: Target, *, replace: bool) -> Done:
        """Make several units known at once: texts by name."""

    async def replace(self, texts: Mapping[str, str], based_on: str) -> Done:
        """Give units other texts; refused for those that no longer have the text `based_on`."""

    async def restore(self, outcomes: Sequence[Outcome]) -> Done:
        """Take an act back."""

    async def machines(self, verb: MachineVerb, ids: Sequence[str]) -> Changes:
        """Cordon, drain or uncordon machines, given by their full ids."""

    async def metadata(self, ids: Sequence[str], changes: Mapping[str, str | None]) -> Changes:
        """Set metadata over the machines' own; None ends what was set."""

    async def restore_machines(self, changes: Sequence[MachineChange]) -> Changes:
        """Take an act on machines back."""


class OperationRunner:
    """The acts of this console. `changed` is called whenever the list differs; `barred`: why nothing is done."""

    def __init__(
        self,
        hands: OperationPort,
        clock: Callable[[], float],
        changed: Callable[[], None],
        keys: Keys | None = None,
        barred: str = "",
    ) -> None:
        self.acts: tuple[Operation, ...] = ()
        self.history: dict[int, Operation] = {}  # every act, by number, whether on the screen or not
        self._drains = Drains(keys or Keys())
        self._hands, self._clock, self._changed = hands, clock, changed
        self._number, self._barred = 0, barred
        self._undoable: list[Operation] = []

    async def perform(self, verb: Verb, names: Sequence[str]) -> None:
        """Carry a verb out."""
        act = self._begin(verb, names)
        await self._carry_out(act, lambda: self._hands.act(verb, names))

    async def submit(self, name: str, text: str, target: Target, *, replace: bool = False) -> None:
        """Submit a unit, and raise its target."""
        verb = {Target.LAUNCHED: Verb.START, Target.LOADED: Verb.LOAD}.get(target, Verb.SUBMIT)
        act = self._begin(verb, (name,))
        await self._carry_out(act, lambda: self._hands.submit(name, text, target, replace=replace))

    async def introduce(self, texts: Mapping[str, str], target: Target, *, replace: bool = False) -> None:
        """Submit several units as one act, and raise their target."""
        verb = {Target.LAUNCHED: Verb.START, Target.LOADED: Verb.LOAD}.get(target, Verb.SUBMIT)
        act = self._begin(verb, tuple(texts))
        await self._carry_out(act, lambda: self._hands.introduce(texts, target, replace=replace))

    async def replace(self, texts: Mapping[str, str], based_on: str) -> Operation:
        """Give units other texts, in place of the one that has this hash; the act as it was written."""
        names = tuple(texts)
        act = self._begin(Verb.SUBMIT, names, replacing(names))
        await self._carry_out(act, lambda: self._hands.replace(texts, based_on))
        return next((each for each in self.acts if each.number == act.number), act)

    def report(self, command: str, reason: str) -> None:
        """Tell of something that failed; it stays until it is dismissed."""
        self._put(failed(self._begin(Verb.SUBMIT, (), command), reason, self._clock()))

    async def undo(self, act: Operation | None = None) -> bool:
        """Take an act back, without one the last; False when there is none that can be."""
        last = act or self.can_undo
        if last is None or last not in self._undoable:
            return False
        self._undoable.remove(last)
        if last.changes:
            act = self._begin(Verb.UNDO, last.names, undoing_machines(last), last.machines)
            await self._change(act, lambda: self._hands.restore_machines(last.changes), undoable=False)
            return True
        act = self._begin(Verb.UNDO, tuple(outcome.name for outcome in last.written), undoing(last.written))
        await self._carry_out(act, lambda: self._hands.restore(last.written), undoable=False)
        return True

    @property
    def can_undo(self) -> Operation | None:
        """The act that `undo` would take back."""
        return next((act for act in reversed(self._undoable) if undoable(act)), None)

    def see(self, snapshot: Snapshot, where: Where) -> None:
        """Judge what is pending by a newer snapshot."""
        now = self._clock()
        drains = self._drains.see(snapshot, now, fresh=True) if any(act.machines for act in self.acts) else {}
        judged = (
            judge_machines(act, snapshot, drains, now) if act.machines else judge(act, snapshot, where, now)
            for act in self.acts
        )
        self._set(tuple(judged))

    def dismiss(self) -> bool:
        """Take what has ended off the screen; False when there was nothing."""
        rest = tuple(act for act in self.acts if not act.settled)
        return self._set(rest)

    def fade(self) -> None:
        """Take successes that were shown long enough off the screen."""
        now = self._clock()
        self._set(tuple(act for act in self.acts if not act.fades(now)))

    async def on_machines(self, verb: MachineVerb, names: Mapping[str, str]) -> None:
        """Carry a verb out on machines: ids with what people call them."""
        act = self._begin(verb, tuple(names.values()), machines=tuple(names))
        await self._change(act, lambda: self._hands.machines(verb, act.machines))

    async def metadata(self, names: Mapping[str, str], changes: Mapping[str, str | None]) -> None:
        """Change the run-time metadata of machines: ids with what people call them."""
        ends = all(value is None for value in changes.values())
        verb = MachineVerb.UNSET_METADATA if ends else MachineVerb.SET_METADATA
        words = metadata_words(changes)
        line = machine_command(verb, tuple(names.values()), words)
        if ends:  # a key could not be told from a machine
            line = "; ".join(machine_command(verb, [name], words) for name in names.values())
        act = self._begin(verb, tuple(names.values()), line, tuple(names))
        await self._change(act, lambda: self._hands.metadata(act.machines, changes))

    async def _change(
        self, act: Operation, work: Callable[[], Awaitable[Changes]], *, undoable: bool = True
    ) -> None:
        try:
            self._check()
            changes, complaints = await work()
        except FleetError as error:
            self._put(failed(act, str(error), self._clock()))
            return
        act = changed(act, changes, complaints, self._clock())
        if undoable and act.changes:
            self._undoable.append(act)
        self._put(act)

    def _check(self) -> None:
        if self._barred:  # nothing should have come here
            raise UserError(f"nothing is changed: {self._barred}")

    def _begin(
        self, verb: Verb | MachineVerb, names: Sequence[str], line: str = "", machines: tuple[str, ...] = ()
    ) -> Operation:
        self._number += 1
        act = Operation(self._number, verb, tuple(names), self._clock(), line=line, machines=machines)
        self._set((*(each for each in self.acts if each.phase is not OperationPhase.DONE), act))
        return act

    async def _carry_out(
        self, act: Operation, work: Callable[[], Awaitable[Done]], *, undoable: bool = True
    ) -> None:
        try:
            self._check()
            done = await work()
        except FleetError as error:
            self._put(failed(act, str(error), self._clock()))
            return
        act = written(act, done, self._clock())
        if undoable and act.written:
            self._undoable.append(act)
        self._put(act)

    def _put(self, act: Operation) -> None:
        self._set(tuple(act if each.number == act.number else each for each in self.acts))

    def _set(self, acts: tuple[Operation, ...]) -> bool:
        if acts == self.acts:
            return False
        self.acts = acts
        self.history.update((act.number, act) for act in acts)
        for number in list(self.history)[:-KEPT]:
            del self.history[number]
        self._changed()
        return True
