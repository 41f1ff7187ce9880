"""The unit file as submitted, its earlier versions with what went and what came, and who changed it when. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fleettui.actions.versions import Version, changes, hunks, versions
from fleettui.console.pages.rich_text import BLANK, RichLine, RichText, plain, rich_line, title
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted, natural, since
from fleettui.escape import escape
from registry.errors import UserError
from registry.mirror import Snapshot
from registry.units.pins import NeedKind, pins_of
from registry.wording import listed

MAX_LINES = 20_000  # beyond this it is not read
SHORT = 7
SIGNS = {"-": Tone.BAD, "+": Tone.GOOD}


def diff_lines(old: str, new: str) -> list[Line]:
    """The differing lines with a few around them, marked as removed (-) or added (+)."""
    before, after = old.splitlines(), new.splitlines()
    if len(before) + len(after) > MAX_LINES:
        return [(Cell("too long to compare line by line", Tone.QUIET),)]
    found = list(_written(before, after))
    if found:
        return found
    same = "nothing differs" if old == new else "only the ends of lines or the end of the file differ"
    return [(Cell(same, Tone.QUIET),)]


def _written(before: Sequence[str], after: Sequence[str]) -> Iterator[Line]:
    for number, group in enumerate(hunks(before, after)):
        if number:
            yield ()
        start, end = group[0][3], group[-1][4]
        yield (Cell(f"line {start + 1 if end > start else start}", Tone.QUIET),)
        for kind, from_, to, new_from, new_to in group:
            if kind == "equal":
                yield from ((Cell("  "), *unit_file_line(line)) for line in before[from_:to])
                continue
            for sign, lines in (("-", before[from_:to]), ("+", after[new_from:new_to])):
                yield from ((Cell(f"{sign} ", SIGNS[sign]), Cell(escape(line), SIGNS[sign])) for line in lines)


def change_counts(old: str, new: str) -> tuple[int, int]:
    """How many lines were added and how many removed."""
    found = [each for each in changes(old.splitlines(), new.splitlines()) if each[0] != "equal"]
    return sum(to - from_ for *_, from_, to in found), sum(to - from_ for _, from_, to, *_ in found)


def file_page(
    snapshot: Snapshot, unit: str, now: float, older: int = 0, keys: tuple[str, str, str] = ("<", ">", "B")
) -> RichText:
    """The text; with `older`, what changed from that many versions ago to the present one."""
    found = versions(snapshot, unit)
    if not found:
        return [plain(f"{escape(unit)} is not in the registry", Tone.BAD)]
    present = found[0]
    if present.text is None:
        told = f"the registry lacks the file {present.hash[:SHORT]}; submit it again with --replace"
        return [plain(told, Tone.BAD)]
    older = min(older, len(found) - 1)
    others = sharing(snapshot, unit, present.hash)
    same = [plain(f"the same text as {escape(listed(others, 4))}", Tone.QUIET)] if others else []
    head = [rich_line(*_head(found, older, now, keys)), *same, *_pins(snapshot, present.text), BLANK]
    if not older:
        text = [(unit_file_line(line), None) for line in present.text.splitlines()]
        return [*head, *text, *_history(found, now)]
    before = found[older]
    if before.text is None:
        return [*head, plain(f"the registry no longer has the text of {before.hash[:SHORT]}", Tone.WAIT)]
    return [*head, *((line, None) for line in diff_lines(before.text, present.text))]


def _pins(snapshot: Snapshot, text: str) -> Iterator[RichLine]:
    """Which versions of configs and secrets the text has, and which of them are not the newest. Never a value."""
    try:
        pins = pins_of(text)
    except UserError as error:
        yield plain(escape(str(error)), Tone.BAD)
        return
    for pin in pins:
        table = snapshot.config if pin.need.kind is NeedKind.CONFIG else snapshot.secrets
        record = table.get(pin.need.name)
        known = {each.hash: each.number for each in record.versions} if record else {}
        number = known.get(pin.version)
        what = f"version {number}" if number else f"version {pin.version[:SHORT]}, which is not kept any more"
        newest = max(known.values(), default=0)
        old = bool(known) and record is not None and record.versions[0].hash != pin.version
        more = f", version {newest} is the newest: a rollout brings it" if old else ""
        yield rich_line(
            Cell(escape(str(pin.need)), Tone.STRONG), Cell(f"  {what}{more}", Tone.BUSY if old else Tone.QUIET)
        )


def _history(found: list[Version], now: float) -> RichText:
    """The versions that are kept, newest first, below the text; nothing where there is one alone."""
    if len(found) < 2:
        return []
    lines: RichText = [
        rich_line(Cell(f"  {f'{back} back' if back else 'present':<9}", Tone.QUIET), *_named(each, now))
        for back, each in enumerate(found)
    ]
    return [*title("history"), *lines]


def _head(found: list[Version], older: int, now: float, keys: tuple[str, str, str]) -> Line:
    earlier = len(found) - 1
    if older:
        return (
            Cell("from ", Tone.QUIET), *_named(found[older], now),
            Cell(" to the present ", Tone.QUIET), *_named(found[0], now),
            Cell(f"   {older} of {earlier} · {keys[0]} older · {keys[1]} newer · ", Tone.QUIET),
            Cell(f"{keys[2]} restores it", Tone.QUIET),
        )  # fmt: skip
    hint = f"{counted(earlier, 'earlier version')} · {keys[0]} shows what changed" if earlier else "never replaced"
    return (*_named(found[0], now), Cell(f"   {hint}", Tone.QUIET))


def _named(version: Version, now: float) -> Line:
    who = f" by {escape(version.by)}, {since(version.at, now)} ago" if version.by else ""
    return (Cell(version.hash[:SHORT], Tone.STRONG), Cell(who, Tone.QUIET))


def sharing(snapshot: Snapshot, unit: str, sha: str) -> list[str]:
    """The other units of this unit's template that have the same text, the template itself first."""
    prefix, at, _ = unit.partition("@")
    if not at:
        return []
    return sorted(
        (name for name, record in snapshot.units.items()
         if name != unit and record.hash == sha and name.startswith(f"{prefix}@")),
        key=lambda name: ("@." not in name, natural(name)),
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
