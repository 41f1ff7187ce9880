"""How long to wait before the next attempt, and whether its failure is news. One object for each loop that tries.

Owns two rules. Pauses grow, with jitter, to half a minute: slowly where waiting may mend it (nobody answers), fast
where it will not (denied, foreign). And a reason is told when it changes, not at each attempt. A wait ends
early when one of the files that let us into etcd changes, or when `reset` says that another way got through.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from registry.errors import RegistryUnavailable
from registry.runtime import waits

LONGEST_S = 30.0
JITTER = (0.7, 1.0)
LOOK_S = 1.0  # between two looks at the files during a long wait
GROWTH_AWAY, GROWTH_DENIED = 1.5, 2.0
FORGET_S = 60.0  # without a failure: the next one is news, and its first pause short
TOLD_MOST = 64  # reasons remembered, so that two that alternate are told once each


def grown(shortest_s: float, failures: int, longest_s: float = LONGEST_S) -> float:
    """Return the pause after so many failures before this one: twice as long each time, up to the longest."""
    return min(shortest_s * 2.0 ** min(failures, 30), longest_s)


def jittered(pause_s: float, low: float = JITTER[0], high: float = JITTER[1]) -> float:
    """Return the pause times a random factor, so that many programs do not come at once."""
    import random  # noqa: PLC0415 - a short command waits for nothing

    return pause_s * random.uniform(low, high)


class Backoff:
    """The pauses of one loop. `files` tells the state of the files that a denial may hang on."""

    def __init__(
        self, first_s: float, *, longest_away_s: float = LONGEST_S, files: Callable[[], object] | None = None
    ) -> None:
        self.until = 0.0  # when (monotonic) the next attempt begins
        self._first_s, self._longest_away_s, self._files = first_s, longest_away_s, files
        self._next_s = 0.0
        self._class: type[Exception] | None = None
        self._told: set[str] = set()
        self._wake = waits.Signal()

    def reset(self) -> None:
        """Begin again with the shortest pause after an attempt that went well, and end the pause under way."""
        self._next_s, self._class = 0.0, None
        self._told.clear()
        self._wake.set()

    def is_news(self, error: Exception) -> bool:
        """Whether this reason has not been told since all was well, or since another kind of failure."""
        if type(error) is not self._class or time.monotonic() > self.until + FORGET_S:
            self._class, self._next_s = type(error), 0.0
            self._told.clear()
        reason = str(error)
        if reason in self._told or len(self._told) >= TOLD_MOST:
            return False
        self._told.add(reason)
        return True

    def pause(self, error: Exception, *, at_most_s: float | None = None) -> float:
        """Seconds to wait after this failure, longer each time; with `at_most_s` no longer than that, ever."""
        if type(error) is not self._class:
            self._class, self._next_s = type(error), 0.0
            self._told.clear()
        base_s = max(self._next_s, self._first_s)
        if at_most_s is None:
            away = isinstance(error, RegistryUnavailable)
            growth, longest_s = (GROWTH_AWAY, self._longest_away_s) if away else (GROWTH_DENIED, LONGEST_S)
            self._next_s = min(base_s * growth, longest_s)
        else:
            base_s = min(base_s, at_most_s)
        pause_s = jittered(base_s)
        self.until = time.monotonic() + pause_s
        return pause_s

    async def wait(self, error: Exception, *, at_most_s: float | None = None) -> None:
        """Let the pause pass."""
        self.pause(error, at_most_s=at_most_s)
        before = self._files() if self._files else None
        self._wake.clear()
        while (left_s := self.until - time.monotonic()) > 0:
            try:
                async with waits.timeout(min(left_s, LOOK_S) if before else left_s):
                    await self._wake.wait()
                    return
            except TimeoutError:
                if self._files and self._files() != before:
                    return
