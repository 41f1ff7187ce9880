"""How eagerly Python looks for cyclic garbage, for programs that hold a large registry.

A full look walks over every record: with 100,000 units it stops the program for half a second, and a listing would
start several. What a program holds of the registry has no cycles, so looking seldom loses nothing. The first look
at new objects stays short: it stops the program for some milliseconds, and somebody may be typing.
"""

from __future__ import annotations

import gc

YOUNG, MIDDLE, OLD = 10_000, 100, 50  # new objects, then looks at the younger ones, before the next older look
WORTH = 1_500  # new objects: fewer are not worth a look


def relax() -> None:
    """Look for garbage seldom from here on. For a program's start; it is the whole process that changes."""
    gc.set_threshold(YOUNG, MIDDLE, OLD)


def collect_young() -> None:
    """Look at the newest objects now, if they are many, so that the look does not come at a worse moment."""
    if gc.get_count()[0] > WORTH:
        gc.collect(0)
