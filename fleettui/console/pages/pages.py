"""Which page a tab shows: the one place that knows all of them. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleettui.console.pages.dependencies import dependencies_page
from fleettui.console.pages.detail import event_page, gone_lines, places, status_page
from fleettui.console.pages.drain import drain_page
from fleettui.console.pages.file import file_page
from fleettui.console.pages.machine import facts_page, metadata_page
from fleettui.console.pages.placement import placement_page
from fleettui.console.pages.rich_text import Passage
from fleettui.console.sources.hosts import Asked
from fleettui.console.text.subject import Subject, SubjectKind, Tab
from registry.keys import DEFAULT_KEYS, Keys
from registry.mirror import Snapshot

HEAVY = frozenset({Tab.PLACEMENT, Tab.DEPENDENCIES, Tab.DRAIN})  # they look at the whole fleet
LARGE = 3000  # schedule lines and machines beyond which that takes long enough to be felt


NOT_ASKED = Asked()


@dataclass(frozen=True, slots=True)
class Order:
    """What to write: the tab of a subject, and what the reader chose there."""

    subject: Subject
    tab: Tab
    older: int = 0
    asked: Asked = NOT_ASKED
    keys: Keys = DEFAULT_KEYS
    version_keys: tuple[str, str] = ("<", ">")


def is_heavy(order: Order, snapshot: Snapshot) -> bool:
    """Whether writing it would hold up the keys."""
    return order.tab in HEAVY and len(snapshot.schedule) + len(snapshot.machines) > LARGE


def write(order: Order, snapshot: Snapshot, now: float) -> Passage:
    """The page."""
    return [*gone_lines(snapshot, order.subject, now), *_body(order, snapshot, now)]


def _body(order: Order, snapshot: Snapshot, now: float) -> Passage:
    subject = order.subject
    if subject.kind is SubjectKind.UNIT and order.tab in ABOUT_RECORD and subject.name not in snapshot.units:
        return []
    writer = WRITERS.get(order.tab)
    return writer(order, snapshot, now) if writer else []


def _status(order: Order, snapshot: Snapshot, now: float) -> Passage:
    name = order.subject.name
    homes = places(snapshot, name, order.subject.machine)
    return status_page(snapshot, name, homes, order.asked, now) if homes or name in snapshot.units else []


ABOUT_RECORD = frozenset({Tab.FILE, Tab.PLACEMENT, Tab.DEPENDENCIES})
WRITERS: dict[Tab, Callable[[Order, Snapshot, float], Passage]] = {
    Tab.STATUS: _status,
    Tab.FILE: lambda each, now, at: file_page(now, each.subject.name, at, each.older, each.version_keys),
    Tab.PLACEMENT: lambda each, now, at: placement_page(now, each.subject.name, at, each.keys),
    Tab.EVENTS: lambda each, now, at: event_page(now, each.subject, at),
    Tab.DEPENDENCIES: lambda each, now, _: dependencies_page(now, each.subject.name),
    Tab.METADATA: lambda each, now, at: metadata_page(now, each.subject.name, at),
    Tab.FACTS: lambda each, now, at: facts_page(now, each.subject.name, at),
    Tab.DRAIN: lambda each, now, _: drain_page(now, each.subject.name, each.keys),
}
