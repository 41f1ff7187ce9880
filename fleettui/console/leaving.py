"""How the console ends when it is told to from outside: at once, and never hanging on a terminal that is gone.

When a terminal is closed the kernel sends SIGHUP and SIGCONT together. Textual takes the latter for the end of a
suspension and begins to draw again, on nothing: its writer dies, and room in its queue is waited for without end.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable

PATIENCE_S = 5  # then the kernel ends us: SIGALRM, with its default action


def leave_when_told(leave: Callable[[], object]) -> None:
    """Call `leave` on SIGTERM and SIGHUP, in the running loop. Only in the main thread."""
    loop = asyncio.get_running_loop()

    def told(number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            signal.signal(signal.SIGCONT, signal.SIG_IGN)
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE_S)
        loop.call_soon_threadsafe(leave)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, told)
