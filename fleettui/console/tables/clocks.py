"""Whether clocks agree: what others wrote just now, against our own clock. Pure; times are arguments.

Ages on the screen are ours minus theirs, so a clock that is far off makes them wrong. An event that comes live was
written moments ago: how far its time is from ours is how far that writer's clock is, give or take those moments.
"""

from __future__ import annotations

from collections.abc import Collection
from statistics import median

from fleettui.console.text.formatting import age
from fleettui.escape import escape
from registry.keys import Address, Table
from registry.mirror import Snapshot

LARGE_S = 10.0
KEPT = 200  # writers
FOR_S = 3600  # that a writer is told of who writes nothing more


class Clocks:
    """The writers' clocks, as far as they wrote while this console watched."""

    def __init__(self) -> None:
        self._ahead: dict[str, float] = {}  # writer to seconds that its clock is ahead of ours
        self._seen: dict[str, float] = {}  # and to when it wrote last, by our clock

    def see(self, snapshot: Snapshot, changed: Collection[Address] | None, now: float) -> None:
        """Learn from events and reports that came live; a first listing tells nothing."""
        for address in changed or ():
            if address.table is Table.EVENTS and (event := snapshot.events.get(address.first)):
                self._ahead.pop(event.actor, None)
                self._ahead[event.actor], self._seen[event.actor] = event.at - now, now
        silent = [actor for actor, seen in self._seen.items() if now - seen > FOR_S]
        for actor in {*silent, *list(self._ahead)[:-KEPT]}:
            del self._ahead[actor], self._seen[actor]

    def told(self) -> str:
        """What is wrong, in one line; "" when nothing is, or nothing is known."""
        off = {actor: ahead for actor, ahead in self._ahead.items() if abs(ahead) >= LARGE_S}
        if not off:
            return ""
        if len(off) == len(self._ahead) and len(off) > 1:
            ahead = median(off.values())
            where = "behind" if ahead > 0 else "ahead of"
            return f"this clock is {age(abs(ahead))} {where} the fleet's; ages are off by that"
        actor, ahead = max(off.items(), key=lambda item: abs(item[1]))
        return f"the clock of {escape(actor)} is {age(abs(ahead))} {'ahead of' if ahead > 0 else 'behind'} this one"
