"""Telling a machine's death from an outage of the registry itself. Pure: the time is passed in.

When etcd hangs longer than the machines' leases, all of them end together, and the machines come back one by one
as soon as it answers again. Nothing has died, so nothing may move. A machine's absence is therefore not believed
for a while after the registry came back, nor after a good part of all machines changed at once.
"""

from __future__ import annotations

from collections.abc import Iterable

GRACE_S = 6.0
"""How long agents get to come back: a keepalive's time-out, its pause, and a new registration, twice over."""


class Patience:
    """When the absence of machines may be acted on. Times are of one monotonic clock, in seconds."""

    def __init__(self) -> None:
        self.until = 0.0
        self._live = False
        self._recent: dict[str, float] = {}

    def link(self, *, live: bool, now: float) -> None:
        """Take in whether the registry answers; its return begins the wait."""
        if live and not self._live:
            self.until = now + GRACE_S
        self._live = live

    def changed(self, machines: Iterable[str], *, total: int, now: float) -> None:
        """Take in which machines came or went; two or more that are half of `total` begin the wait."""
        before = len(self._recent)
        self._recent = {machine: at for machine, at in self._recent.items() if now - at < GRACE_S}
        self._recent |= dict.fromkeys(machines, now)
        if len(self._recent) >= max(2, total / 2) and len(self._recent) > before:
            self.until = now + GRACE_S

    def waits(self, absent: Iterable[str], now: float) -> bool:
        """Whether `absent` machines, which have units, may yet come back."""
        return now < self.until and any(True for _ in absent)
