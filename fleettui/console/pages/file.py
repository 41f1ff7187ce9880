"""What is kept in versions: unit files, configs and secrets; what changed, and who changed it when. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from fleettui.actions.versions import Version, changes, hunks, versions
from fleettui.console.pages.rich_text import BLANK, RichLine, RichText, plain, rich_line, title
from fleettui.console.sources.background import StoredContent
from fleettui.console.text.cells import Cell, Line, Tone
from fleettui.console.text.formatting import counted, natural, since
from fleettui.console.text.subject import CONFIG_KINDS, Subject, config_subject, unit_subject
from fleettui.escape import escape
from registry.errors import UserError
from registry.mirror import Snapshot
from registry.model import Config, ConfigVersion, Secret
from registry.units.content import ConfigContent, most_bytes, read_config, read_secret
from registry.units.pins import NeedKind, pins_of
from registry.wording import and_more, listed

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
            Cell(escape(str(pin.need)), Tone.STRONG),
            Cell(f"  {what}{more}", Tone.BUSY if old else Tone.QUIET),
            to=config_subject(pin.need.kind, pin.need.name),
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


# Configs and secrets. Nothing of a secret's content is here: how large it may be, and for which key it is sealed

UNITS_SHOWN = 100  # units of a section
MOST_SHOWN = 2000  # of a file


@dataclass(frozen=True, slots=True)
class ConfigOrder:
    """What the pages need beside the snapshot.

    `holders`: the units that have it, with the hash of the version of each. `contents`: what was read of
    versions, by hash. `roll_key`: the key that rolls out the newest.
    """

    holders: Mapping[str, str] = field(default_factory=dict)
    contents: Mapping[str, StoredContent] = field(default_factory=dict)
    roll_key: str = "O"


NO_CONFIG = ConfigOrder()


def config_record(snapshot: Snapshot, subject: Subject) -> Config | Secret | None:
    """The record that such a subject is about; None where there is none, or none with a version."""
    kind = CONFIG_KINDS.get(subject.kind)
    if kind is None:
        return None
    found = (snapshot.config if kind is NeedKind.CONFIG else snapshot.secrets).get(subject.name)
    return found if found is not None and found.versions else None


def versions_page(snapshot: Snapshot, subject: Subject, order: ConfigOrder, now: float) -> RichText:
    """Who set which version when, and which units have it; those with an older one first."""
    record = config_record(snapshot, subject)
    if record is None:
        return [_gone(subject)]
    newest = record.versions[0]
    having: dict[str, list[str]] = {}
    for unit, version in sorted(order.holders.items(), key=lambda item: natural(item[0])):
        having.setdefault(version, []).append(unit)
    lagging = {unit: version for unit, version in order.holders.items() if version != newest.hash}
    page: RichText = []
    if isinstance(record, Secret):
        page += _sealed(record, newest, order.contents.get(newest.hash))
    elif record.owner:
        page.append(plain(f"applied from the folder of {escape(record.owner)}", Tone.QUIET))
    if lagging:
        told = f"{counted(len(lagging), 'unit')} with an older version"
        page.append(rich_line(Cell(told, Tone.BUSY), Cell(f" · {order.roll_key} rolls out the newest", Tone.QUIET)))
    elif order.holders:
        page.append(plain(f"{counted(len(order.holders), 'unit')}, all with the newest version", Tone.GOOD))
    else:
        page.append(plain("no unit has it", Tone.QUIET))
    page += title("versions")
    widths = (
        max(len(escape(each.by)) for each in record.versions),
        max(len(each.summary) for each in record.versions),
    )
    page += [_version(each, now, len(having.get(each.hash, ())), widths) for each in record.versions]
    numbers = {each.hash: each.number for each in record.versions}
    page += _units("units with an older version", sorted(lagging, key=natural), order.holders, numbers)
    page += _units("units with the newest version", having.get(newest.hash, ()), order.holders, numbers)
    return page


def _gone(subject: Subject) -> RichLine:
    return plain(f"✖ there is no {subject.kind} {escape(subject.name)} in the registry", Tone.BAD)


def _version(version: ConfigVersion, now: float, units: int, widths: tuple[int, int]) -> RichLine:
    who = f"{since(version.at, now):>7} ago by {escape(version.by) or 'somebody':<{widths[0]}}"
    return rich_line(
        Cell(f"  {version.number:>4}  ", Tone.STRONG), Cell(f"{version.hash[:SHORT]}  ", Tone.QUIET), Cell(who),
        Cell(f"  {escape(version.summary):<{widths[1]}}", Tone.QUIET),
        Cell(f"  {counted(units, 'unit')}" if units else "", Tone.STRONG),
    )  # fmt: skip


def _units(
    heading: str, units: Sequence[str], holders: Mapping[str, str], numbers: Mapping[str, int]
) -> Iterator[RichLine]:
    """The units of a section; each leads to its page."""
    if not units:
        return
    yield from title(f"{heading}: {len(units)}")
    for unit in units[:UNITS_SHOWN]:
        sha = holders[unit]
        number = f"version {numbers[sha]}" if sha in numbers else f"{sha[:SHORT]}, which is not kept any more"
        yield rich_line(
            Cell(f"  {escape(unit):<36} ", Tone.STRONG), Cell(number, Tone.QUIET), to=unit_subject(unit)
        )
    if len(units) > UNITS_SHOWN:
        yield plain(f"  {and_more(len(units) - UNITS_SHOWN)}", Tone.QUIET)


def _sealed(record: Secret, newest: ConfigVersion, content: StoredContent | None) -> RichText:
    """For whom a secret is sealed, and how large it may be: never more."""
    lead = "sealed; its content is shown nowhere"
    if content is None:
        return [plain(f"{lead} · ◐ reading for which key …", Tone.QUIET)]
    if content.error:
        return [plain(lead, Tone.QUIET), plain(f"✖ {escape(content.error)}", Tone.BAD)]
    try:
        key, sealed = read_secret(content.text, record.name)
    except UserError as error:
        return [plain(f"✖ {escape(str(error))}", Tone.BAD)]
    most = most_bytes(len(sealed))
    return [
        plain(f"{lead} · version {newest.number} has at most {most} bytes, for the key {escape(key)}", Tone.QUIET)
    ]


def content_page(
    snapshot: Snapshot, subject: Subject, order: ConfigOrder, older: int, now: float, keys: tuple[str, str, str]
) -> RichText:
    """Variables and files; with `older`, what changed from that many versions ago to the newest."""
    record = config_record(snapshot, subject)
    if record is None:
        return [_gone(subject)]
    older = min(older, len(record.versions) - 1)
    newest = record.versions[0]
    wanted = [newest, *([record.versions[older]] if older else [])]
    more = (
        f"{keys[0]} older · {keys[1]} newer"
        if older
        else f"{keys[0]} shows what changed" * (len(record.versions) > 1)
    )
    lead = f"version {newest.number}" + (f", since version {record.versions[older].number}" if older else "")
    head: RichText = [
        rich_line(
            Cell(lead, Tone.STRONG), Cell(f"  {since(newest.at, now)} ago by {escape(newest.by)}", Tone.QUIET),
            Cell(f"   {more}" if more else "", Tone.QUIET),
        ),
        BLANK,
    ]  # fmt: skip
    texts: list[list[str]] = []
    for version in wanted:
        content = order.contents.get(version.hash)
        if content is None:
            return [*head, plain("◐ reading …", Tone.BUSY)]
        try:
            if content.error:
                raise UserError(content.error)
            texts.append([*content_lines(read_config(content.text, record.name))])
        except UserError as error:
            return [*head, plain(f"✖ {escape(str(error))}", Tone.BAD)]
    if older:
        return [*head, *((line, None) for line in diff_lines("\n".join(texts[1]), "\n".join(texts[0])))]
    return [*head, *(_line(line) for line in texts[0])]


def content_lines(content: ConfigContent) -> Iterator[str]:
    """A config as lines: its variables, then each file below a heading."""
    for name, value in content.variables.items():
        yield f"{name}={value}".replace("\n", "\\n")
    for path, data in content.files.items():
        yield ""
        yield f"[{path}]  {counted(len(data), 'byte')}"
        try:
            lines = data.decode().splitlines()
        except UnicodeDecodeError:
            lines = ["(not text)"]
        yield from lines[:MOST_SHOWN]
        if len(lines) > MOST_SHOWN:
            yield f"({and_more(len(lines) - MOST_SHOWN, 'lines')})"


def _line(text: str) -> RichLine:
    shown = escape(text)
    if text.startswith("["):
        return plain(shown, Tone.HEAD)
    return plain(shown)
