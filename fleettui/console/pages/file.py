"""The unit file as submitted, its earlier versions, and who changed it when. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from fleettui.console.pages.rich_text import BLANK, Passage, plain, said
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted, since
from fleettui.escape import escape
from registry.mirror import Snapshot
from registry.model import Event

WRITES = frozenset({"submit", "load", "start", "replace", "undo"})
SHORT = 7


@dataclass(frozen=True, slots=True)
class Version:
    """One text that the unit has or had. `by` and `at` tell who brought it; "" and 0 when that is not known."""

    hash: str
    text: str | None
    by: str = ""
    at: float = 0.0


def versions(snapshot: Snapshot, unit: str) -> list[Version]:
    """The present text and the earlier ones, newest first; none for a unit that is not in the registry."""
    record = snapshot.units.get(unit)
    if record is None:
        return []
    events = sorted((event for event in snapshot.events.values() if event.unit == unit), key=lambda event: event.at)
    hashes = [record.hash, *record.history]
    found = []
    for sha, before in zip(hashes, [*hashes[1:], ""], strict=True):
        file, event = snapshot.files.get(sha), _brought(events, before)
        found.append(
            Version(sha, file.text if file else None, event.actor if event else "", event.at if event else 0)
        )
    return found


def _brought(events: Iterable[Event], before: str) -> Event | None:
    """The event that put a text in the place of the one `before`; without one before, the first submission."""
    if not before:
        return next((event for event in events if event.verb in WRITES - {"replace", "undo"}), None)
    told = f"was {before[:SHORT]}"
    return next((event for event in reversed(list(events)) if event.reason == told), None)


def file_page(
    snapshot: Snapshot, unit: str, now: float, older: int = 0, keys: tuple[str, str] = ("<", ">")
) -> Passage:
    """The text; with `older`, what changed from that many versions ago to the present one."""
    found = versions(snapshot, unit)
    if not found:
        return [plain(f"{escape(unit)} is not in the registry", Tone.BAD)]
    present = found[0]
    if present.text is None:
        told = f"the registry lacks the file {present.hash[:SHORT]}; submit it again with --replace"
        return [plain(told, Tone.BAD)]
    older = min(older, len(found) - 1)
    head = [said(*_head(found, older, now, keys)), *_sharing(snapshot, unit, present.hash), BLANK]
    if not older:
        return [*head, *((unit_file_line(line), None) for line in present.text.splitlines())]
    before = found[older]
    if before.text is None:
        return [*head, plain(f"the registry no longer has the text of {before.hash[:SHORT]}", Tone.WAIT)]
    from fleettui.console.pages.diff import diff_lines  # noqa: PLC0415 - loads difflib when it is needed

    return [*head, *((line, None) for line in diff_lines(before.text, present.text))]


def _head(found: list[Version], older: int, now: float, keys: tuple[str, str]) -> Line:
    earlier = len(found) - 1
    if older:
        return (
            Cell("changed from ", Tone.QUIET), *_named(found[older], now),
            Cell(" to the present ", Tone.QUIET), *_named(found[0], now),
            Cell(f"   {older} of {earlier} · {keys[0]} older · {keys[1]} newer", Tone.QUIET),
        )  # fmt: skip
    hint = f"{counted(earlier, 'earlier version')} · {keys[0]} shows what changed" if earlier else "never replaced"
    return (*_named(found[0], now), Cell(f"   {hint}", Tone.QUIET))


def _named(version: Version, now: float) -> Line:
    who = f" by {escape(version.by)}, {since(version.at, now)} ago" if version.by else ""
    return (Cell(version.hash[:SHORT], Tone.STRONG), Cell(who, Tone.QUIET))


def _sharing(snapshot: Snapshot, unit: str, sha: str) -> Passage:
    others = sharing(snapshot, unit, sha)
    if not others:
        return []
    named = escape(", ".join(others[:4])) + (f" and {len(others) - 4} more" if len(others) > 4 else "")
    return [plain(f"the same text as {named}", Tone.QUIET)]


def sharing(snapshot: Snapshot, unit: str, sha: str) -> list[str]:
    """The other units of this unit's template that have the very same text, the template itself first."""
    prefix, at, _ = unit.partition("@")
    if not at:
        return []
    return sorted(
        (name for name, record in snapshot.units.items()
         if name != unit and record.hash == sha and name.startswith(f"{prefix}@")),
        key=lambda name: ("@." not in name, name),
    )  # fmt: skip


def unit_file_line(text: str) -> Line:
    """One line of a unit file, with sections, options and comments told apart."""
    shown = escape(text)
    stripped = shown.strip()
    if stripped.startswith(("#", ";")):
        return (Cell(shown, Tone.QUIET),)
    if stripped.startswith("[") and stripped.endswith("]"):
        return (Cell(shown, Tone.HEAD),)
    option, equals, value = shown.partition("=")
    if equals and option.strip().replace("-", "").isalnum():
        return (Cell(option, Tone.ONE), Cell("=", Tone.QUIET), Cell(value))
    return (Cell(shown),)
