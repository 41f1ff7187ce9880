"""Carries actions out in tasks of their own, follows them to their end, and can take the last one back.

Owns the list of acts on the screen. It never blocks and never changes what the views show of the cluster: only the
watch does.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from fleettui.actions.outcome import Done, Outcome
from fleettui.console.acts import Act, Phase, Where, failed, judge, undoing, written
from fleettui.console.verbs import Verb
from registry.errors import FleetError
from registry.mirror import Snapshot
from registry.model import Target


class Hands(Protocol):
    """What writes to the registry; errors are FleetErrors."""

    async def act(self, verb: Verb, names: Sequence[str]) -> Done:
        """Carry the verb out on units of the registry."""

    async def submit(self, name: str, text: str, target: Target, *, replace: bool) -> Done:
        """Make a unit known."""

    async def introduce(self, texts: Mapping[str, str], target: Target, *, replace: bool) -> Done:
        """Make several units known at once: texts by name."""

    async def restore(self, outcomes: Sequence[Outcome]) -> Done:
        """Take an act back."""


class Conductor:
    """The acts of this console. `changed` is called whenever the list differs."""

    def __init__(self, hands: Hands, clock: Callable[[], float], changed: Callable[[], None]) -> None:
        self.acts: tuple[Act, ...] = ()
        self._hands, self._clock, self._changed = hands, clock, changed
        self._number = 0
        self._undoable: list[Act] = []

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

    async def undo(self) -> bool:
        """Take the last act back; False when there is none that can be."""
        last = self.can_undo
        if last is None:
            return False
        self._undoable.remove(last)
        act = self._begin(Verb.UNDO, tuple(outcome.name for outcome in last.written), undoing(last.written))
        await self._carry_out(act, lambda: self._hands.restore(last.written), undoable=False)
        return True

    @property
    def can_undo(self) -> Act | None:
        """The act that `undo` would take back; not a restart, since what ran before it is gone."""
        return next((act for act in reversed(self._undoable) if act.verb is not Verb.RESTART), None)

    def see(self, snapshot: Snapshot, where: Where) -> None:
        """Judge what is pending by a newer snapshot."""
        now = self._clock()
        self._set(tuple(judge(act, snapshot, where, now) for act in self.acts))

    def dismiss(self) -> bool:
        """Take what has ended off the screen; False when there was nothing."""
        rest = tuple(act for act in self.acts if not act.settled)
        return self._set(rest)

    def fade(self) -> None:
        """Take successes that were shown long enough off the screen."""
        now = self._clock()
        self._set(tuple(act for act in self.acts if not act.fades(now)))

    def _begin(self, verb: Verb, names: Sequence[str], line: str = "") -> Act:
        self._number += 1
        act = Act(self._number, verb, tuple(names), self._clock(), line=line)
        self._set((*(each for each in self.acts if each.phase is not Phase.DONE), act))
        return act

    async def _carry_out(self, act: Act, work: Callable[[], Awaitable[Done]], *, undoable: bool = True) -> None:
        try:
            done = await work()
        except FleetError as error:
            self._put(failed(act, str(error), self._clock()))
            return
        act = written(act, done, self._clock())
        if undoable and act.written:
            self._undoable.append(act)
        self._put(act)

    def _put(self, act: Act) -> None:
        self._set(tuple(act if each.number == act.number else each for each in self.acts))

    def _set(self, acts: tuple[Act, ...]) -> bool:
        if acts == self.acts:
            return False
        self.acts = acts
        self._changed()
        return True
