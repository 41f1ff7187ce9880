"""How far a join is: on a terminal a line a host that changes, elsewhere a line a step; and what took how long."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from typing import TextIO

from fleettui.escape import escape
from fleettui.install.steps import Stage, Step

HERE = "this laptop"


class JoinProgress:
    """Tells `out` of steps. `report` is told of each one before it begins (with -1) and with its seconds after."""

    def __init__(self, out: TextIO, hosts: Sequence[str], planned: Sequence[Stage]) -> None:
        self._out, self._live = out, out.isatty()
        steps = [step for stage in planned for step in stage.steps]
        busy = {step.host or HERE for step in steps}
        names = [each for each in (*hosts, HERE) if each in busy]
        self._lines = dict.fromkeys(names, "")
        self._left = {name: sum((step.host or HERE) == name for step in steps) for name in names}
        self._took: list[tuple[str, str, float]] = []
        self._drawn = False
        self._began = time.monotonic()

    def report(self, step: Step, seconds: float) -> None:
        """A step begins, or has ended."""
        name = step.host or HERE
        if seconds < 0:
            self._lines[name] = f"{step.does} …"
        else:
            self._took.append((name, step.does, seconds))
            self._left[name] -= 1
            self._lines[name] = f"{step.does}, {seconds:.1f} s" if self._left[name] else "done"
            if not self._live:
                print(escape(f"{name}: {step.does} ({seconds:.1f} s)"), file=self._out, flush=True)
        if self._live:
            self._draw()

    def took(self, what: str, seconds: float) -> None:
        """Something that is no step took so long."""
        self._took.append(("all", what, seconds))

    def end(self) -> None:
        """Nothing more comes."""
        self._out.flush()

    def timing(self) -> list[str]:
        """What took how long, a line each."""
        rows = [f"{seconds:7.2f} s  {name}: {what}" for name, what, seconds in self._took]
        return [*map(escape, rows), f"{time.monotonic() - self._began:7.2f} s  all steps, side by side"]

    def _draw(self) -> None:
        columns = shutil.get_terminal_size().columns - 1
        width = max(map(len, self._lines))
        up = f"\x1b[{len(self._lines)}A" if self._drawn else ""
        rows = (escape(f"{name:{width}}  {text}")[:columns] for name, text in self._lines.items())
        self._out.write(up + "".join(f"\x1b[2K{row}\n" for row in rows))
        self._out.flush()
        self._drawn = True
