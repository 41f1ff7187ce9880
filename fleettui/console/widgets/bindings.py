"""The keys table as Textual's bindings."""

from __future__ import annotations

from textual.binding import Binding, BindingType

from fleettui.console.text.keys import KEYS


def bound(where: str) -> list[BindingType]:
    """The bindings of what is called so in the keys table."""
    return [Binding(key.keys, key.action, key.label, id=key.id) for key in KEYS if key.where == where]
