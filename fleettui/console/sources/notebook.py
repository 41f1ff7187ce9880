"""The files of one cluster that the console keeps: how it was left, and the command line's history. Blocks."""

from __future__ import annotations

import os
from pathlib import Path

from fleettui.console.sources.history import History, load, save
from fleettui.console.sources.keeping import read_private, write_private
from fleettui.console.sources.memory import Memory, decode, encode


class Notebook:
    """Two files beside one another; `place` is their path without the endings."""

    def __init__(self, place: Path) -> None:
        self._view = place.with_name(f"{place.name}.view.json")
        self._history = place.with_name(f"{place.name}.history")

    def recall(self) -> tuple[Memory | None, str]:
        """How the console was left, and a sentence when that cannot be known though there is a file."""
        if not os.path.lexists(self._view):  # nor may it be looked for
            return None, ""
        text = read_private(self._view)
        if text is None:
            return None, f"ignored {self._view}: it cannot be read; it is written anew"
        try:
            return decode(text), ""
        except (ValueError, RecursionError) as error:
            return None, f"ignored {self._view}: {error}; it is written anew"

    def keep(self, memory: Memory) -> None:
        """Write how the console is left."""
        write_private(self._view, encode(memory))

    def history(self) -> History:
        """What was typed before."""
        return load(self._history)

    def keep_history(self, history: History) -> None:
        """Write what was typed."""
        save(self._history, history)
