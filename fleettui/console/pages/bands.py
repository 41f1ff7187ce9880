"""The lines above and below a table: header, banner, notices, tabs, footer. Pure."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from fleettui.actions.restore import held
from fleettui.console.tables.fleet import Reading
from fleettui.console.tables.rollouts import WORDS as ROLLOUT_WORDS
from fleettui.console.tables.rollouts import RolloutRow
from fleettui.console.tables.rows import GLYPHS, TONES, Health
from fleettui.console.text.cells import Cell, Line, Tone, line_text
from fleettui.console.text.formatting import age, counted, took
from fleettui.console.text.keys import BY_ID, KEYS, ROLLOUT_KEYS, Key, shown_key
from fleettui.escape import escape
from registry.sync.follow import ConnectionState

SHOWN = (Health.ACTIVE, Health.BUSY, Health.FAILED, Health.PENDING, Health.INACTIVE)
WORDS = {Health.BUSY: "under way"}
QUIET_S = 15.0  # a live registry proves itself more often than this


@dataclass(frozen=True, slots=True)
class FleetIdentity:
    """The fleet that this is, and the user, for people."""

    cluster: str
    user: str
    endpoint: str
    protected: bool = False
    read_only: bool = False
    tone: Tone = Tone.CHOSEN  # of its name: each fleet has its own


@dataclass(frozen=True, slots=True)
class Totals:
    """The numbers in the header."""

    units: Mapping[Health, int]
    machines_up: int
    machines_known: int
    leaderless_s: float | None = None  # how long no scheduler has led, as far as this console knows
    skew: str = ""  # what is wrong with the clocks
    expiring: str = ""  # which certificate runs out soon
    retry_s: float | None = None  # until a lost registry is tried again
    rollouts: Sequence[RolloutRow] = ()  # that are not over
    loss: tuple[str, int] | None = None  # the machine without which most units would wait, and how many; if known


def header_line(
    place: FleetIdentity, reading: Reading, totals: Totals, quiet_s: float, width: int
) -> tuple[Line, Line]:
    """The longest form that fits, as (left, right)."""
    right = _link(reading, quiet_s)
    for left, leader in _forms(place, reading, totals):
        if len(line_text(left)) + len(line_text((*leader, *right))) + 3 <= width:
            return left, (*leader, *right)
    for left in _small_forms(place, reading, totals):
        if len(line_text(left)) + 3 <= width:
            break
    brief = right[:1] if reading.past is None else ()
    return left, tuple(replace(cell, text=cell.text.split()[0]) for cell in brief)


def _small_forms(place: FleetIdentity, reading: Reading, totals: Totals) -> Iterator[Line]:
    """Yield what a terminal of thirty columns has room for: the moment of a record, or what is wrong."""
    if reading.past is not None:
        yield (Cell(f" ◀ {reading.past.text.rpartition(' ')[0]} ", Tone.CHOSEN),)  # without its zone
    name = Cell(f" {escape(place.cluster)} ", Tone.CHOSEN)
    yield (name, *_counts(totals, SHOWN[:-1], words=False))
    yield (name, *_counts(totals, (Health.FAILED, Health.PENDING), words=False))


def _forms(place: FleetIdentity, reading: Reading, totals: Totals) -> Iterator[tuple[Line, Line]]:
    """Yield the line from its longest to its shortest form."""
    leader = _leader(reading, totals)
    alarm = (Cell("✖ no scheduler · ", Tone.BAD),) if leader and reading.snapshot.leader is None else ()
    shield = (Cell(" protected", Tone.BUSY),) if place.protected else ()
    mark = (Cell("  "), Cell(" READ-ONLY ", Tone.CHOSEN)) if place.read_only else ()
    if reading.past is not None:
        mark = (Cell("  "), Cell(f" ◀ {reading.past.text} ", Tone.CHOSEN))
    name = (Cell("fleet ", Tone.HEAD), Cell(f" {escape(place.cluster)} ", place.tone), *shield, *mark)
    where = Cell(f" · {place.user}@{place.endpoint.split('//')[-1]}", Tone.QUIET)
    all_up = totals.machines_up == totals.machines_known
    up = Cell(f"{totals.machines_up}/{totals.machines_known} machines", Tone.PLAIN if all_up else Tone.BAD)
    loss, at_risk = _loss(totals.loss), bool(totals.loss and totals.loss[1])
    machines: Line = (up, Cell("  "))
    few = replace(up, text=up.text.split()[0])  # the count alone
    idle, least = SHOWN, SHOWN[:-1]
    rolls, brief = _rollouts(totals.rollouts, words=True), _rollouts(totals.rollouts, words=False)
    if loss:  # that all is well is said where there is room, that it is not before anything else
        for shown in (idle, least):
            counts = _counts(totals, shown, words=True)
            yield (*name, where, Cell("   "), up, *loss, Cell(" "), *counts, *rolls), leader
    if at_risk:
        risky: Line = (up, *loss, Cell("  "))
        yield (*name, Cell("   "), *risky, *_counts(totals, least, words=True), *rolls), leader
        yield (*name, Cell("   "), *risky, *_counts(totals, idle, words=False), *brief), leader
        yield (*name, Cell("   "), *risky, *_counts(totals, idle, words=False), *brief), alarm
        yield (*name, Cell("   "), few, *loss, *_counts(totals, least, words=False), *brief), alarm
        close = Cell(loss[0].text[1:], Tone.BUSY)
        yield (*name, Cell(" "), few, close, *_counts(totals, least, words=False), *brief), alarm
    yield (*name, where, Cell("     "), *machines, *_counts(totals, idle, words=True), *rolls), leader
    yield (*name, where, Cell("     "), *machines, *_counts(totals, least, words=True), *rolls), leader
    yield (*name, Cell("   "), *machines, *_counts(totals, idle, words=True), *rolls), leader
    yield (*name, Cell("   "), *machines, *_counts(totals, least, words=True), *rolls), leader
    yield (*name, Cell("   "), *machines, *_counts(totals, idle, words=False), *rolls), leader
    yield (*name, Cell("   "), *machines, *_counts(totals, idle, words=False), *brief), leader
    yield (*name, Cell("   "), *machines, *_counts(totals, idle, words=False), *brief), alarm
    yield (*name, Cell("  "), few, *_counts(totals, idle, words=False), *brief), alarm
    yield (*name, Cell("  "), few, *_counts(totals, least, words=False), *brief), alarm
    yield (*name, Cell("  "), *_counts(totals, idle, words=False), *brief), alarm
    yield (*name, Cell("  "), *_counts(totals, idle, words=False), *brief), ()


def _counts(totals: Totals, shown: tuple[Health, ...], *, words: bool) -> Line:
    cells: list[Cell] = []
    for health in shown:
        number = totals.units.get(health, 0)  # also none: what the eye has found keeps its place
        word = f" {WORDS.get(health, health)}" if words else ""
        cells.append(Cell(f"  {GLYPHS[health]} {number:,}{word}", TONES[health] if number else Tone.QUIET))
    return tuple(cells)


def _rollouts(under_way: Sequence[RolloutRow], *, words: bool) -> Line:
    """The rollouts that are not over: the one with how far it is, or how many."""
    if not under_way:
        return ()
    told = next((row for row in under_way if row.troubled), under_way[0])
    glyph, word, tone = ROLLOUT_WORDS[told.state, told.back]
    tone = Tone.BAD if told.troubled and told.failed else tone
    many = f" (of {len(under_way)})" if len(under_way) > 1 else ""
    text = f"{glyph} {word} {escape(told.key)} " if words else f"{glyph} "
    return (Cell(f"   {text}{told.settled}/{told.units}{many}", tone),)


def _loss(found: tuple[str, int] | None) -> Line:
    """Whether the fleet survives the loss of any one machine."""
    if found is None:
        return ()
    machine, waits = found
    if not waits:
        return (Cell("  any 1 lost: ok", Tone.QUIET),)
    return (Cell(f"  {escape(machine)} lost: {waits:,} {'waits' if waits == 1 else 'wait'}", Tone.BUSY),)


def _leader(reading: Reading, totals: Totals) -> Line:
    if reading.link is ConnectionState.CONNECTING or not reading.snapshot.revision:
        return ()  # that is not known yet
    leader = reading.snapshot.leader
    if leader is None:
        since = f" for {age(totals.leaderless_s)}" if totals.leaderless_s and totals.leaderless_s >= 1 else ""
        return (Cell(f"✖ no scheduler leads{since}", Tone.BAD), Cell(" · ", Tone.QUIET))
    told = f"leader {escape(leader.hostname)}"
    return (Cell(told if reading.past else f"{told} · ", Tone.QUIET),)


def _link(reading: Reading, quiet_s: float) -> Line:
    if reading.past is not None:
        calm = reading.link is ConnectionState.LIVE
        return () if calm else (Cell(f"✖ {reading.link} then", Tone.BAD),)
    if reading.link is ConnectionState.LIVE:
        calm = quiet_s < QUIET_S and not reading.endpoints
        return (Cell("● live ", Tone.GOOD if calm else Tone.BUSY), Cell(took(quiet_s), Tone.QUIET))
    if reading.link is ConnectionState.CONNECTING:
        return (Cell("◐ connecting", Tone.BUSY),)
    return (Cell(f"✖ {reading.link}", Tone.BAD),)


def banner(reading: Reading, place: FleetIdentity, lost_s: float, totals: Totals) -> Line:
    """What stands below the header while the link is not live or something is wrong; () when all is well.

    Of a record always, how long ago that was, or what it does not know of it.
    """
    if reading.past is not None:
        past = reading.past
        told: tuple[Cell, ...] = (Cell(f"◀ not now: as it was {age(past.ago_s)} ago, read only", Tone.BUSY),)
        if reading.link is not ConnectionState.LIVE:
            told = (Cell(f"✖ the registry was {reading.link} to the recorder", Tone.BAD),
                    Cell(f" · {escape(reading.reason)}", Tone.QUIET))  # fmt: skip
        return (Cell(f"✖ {escape(past.note)}", Tone.BAD),) if past.note else told
    if reading.link in (ConnectionState.LIVE, ConnectionState.CONNECTING):
        endpoints = (Cell(f"◐ {escape(reading.endpoints)}", Tone.BUSY),) if reading.endpoints else ()
        clocks = (Cell(f"◐ {totals.skew}", Tone.BUSY),) if totals.skew else ()
        expiring = (Cell(f"◐ {totals.expiring}", Tone.BUSY),) if totals.expiring else ()
        return _held(reading) or _corrupt(reading) or endpoints or expiring or clocks
    again = f"trying again in {math.ceil(totals.retry_s)} s" if totals.retry_s else "trying again now"
    words = {
        ConnectionState.LOST: f"connection lost {age(lost_s)} ago, {again}; what you see is as of then"
        if reading.snapshot.revision
        else f"no connection for {age(lost_s)}, {again}",
        ConnectionState.FOREIGN: f"not this fleet's registry for {age(lost_s)}; nothing is changed, {again}",
        ConnectionState.DENIED: f"the registry refuses this user for {age(lost_s)}; {again}",
        ConnectionState.HELD: f"the registry's history went back {age(lost_s)} ago",
    }
    return (
        Cell(f"✖ {words[reading.link]}", Tone.BAD),
        Cell(f" · {escape(reading.reason) or place.endpoint}", Tone.QUIET),
    )


def _held(reading: Reading) -> Line:
    """The warning that everything is held, and why."""
    reason = held(reading.snapshot)
    if not reason:
        return ()
    return (
        Cell("✖ the registry's history went back, everything is held: fleetctl restore", Tone.BAD),
        Cell(f" · {escape(reason)}", Tone.QUIET),
    )


def _corrupt(reading: Reading) -> Line:
    """The warning that records do not parse, and where to look."""
    corrupt = reading.snapshot.corrupt
    if not corrupt:
        return ()
    key, record = next(iter(corrupt.items()))
    told = "1 corrupt record" if len(corrupt) == 1 else f"{len(corrupt)} corrupt records, the first"
    return (
        Cell(f"✖ {told}: {escape(key)}", Tone.BAD),
        Cell(f" · {escape(record.reason)} · etcdctl get {escape(shlex.quote(key))}", Tone.QUIET),
    )


def blank_notice(reading: Reading, place: FleetIdentity) -> tuple[Line, ...]:
    """What to say instead of rows before there was a snapshot; () once there is one."""
    if reading.link is ConnectionState.LIVE or reading.snapshot.revision:
        return ()
    why = Cell(escape(reading.reason), Tone.QUIET)
    if reading.link is ConnectionState.CONNECTING:
        return ((Cell(f"connecting to {place.endpoint} …", Tone.BUSY),),)
    if reading.link is ConnectionState.LOST:
        return (
            (Cell(f"✖ no answer from the registry at {place.endpoint}; trying again", Tone.BAD),), (why,), (),
            (Cell("Is etcd running there? Another one: fleettui --endpoint http://HOST:2379", Tone.QUIET),),
            (Cell("No fleet yet? fleettui demo up starts one on this machine.", Tone.QUIET),),
        )  # fmt: skip
    if reading.link is ConnectionState.DENIED:
        return (
            (Cell(f"✖ the registry at {place.endpoint} refuses {place.user}", Tone.BAD),), (why,), (),
            (Cell("Set username and password_file, or the certificate, in [etcd] of fleet.toml.", Tone.QUIET),),
        )  # fmt: skip
    return (
        (Cell(f"✖ what is at {place.endpoint} is not a fleet's registry", Tone.BAD),), (why,), (),
        (Cell("Check --endpoint and --prefix. A new registry becomes a fleet's with its first", Tone.QUIET),),
        (Cell("scheduler or machine: start fleet-scheduler and fleet-agentd.", Tone.QUIET),),
    )  # fmt: skip


VERBS = tuple(key.id for key in KEYS if key.action.startswith("verb("))
RARE = tuple(name for name in VERBS if BY_ID[name].rare)
WIDE = (*VERBS, "cordon", "drain", *ROLLOUT_KEYS, "roll_out", "undo", "submit", "edit",
        "status", "journal", "why", "file", "unit_events", "filter", "trouble", "columns", "mark", "shell",
        "command", "help", "quit")  # fmt: skip
RANK = ("help", "drain", "cordon", *ROLLOUT_KEYS, *(name for name in VERBS if name not in RARE), "why", "filter",
        "journal", "submit", "edit", "status", "shell", *reversed(RARE), "file", "command", "quit", "undo", "mark",
        "unit_events", "trouble", "columns")  # fmt: skip
IN_JOURNAL = ("journal_search", "journal_include", "journal_exclude", "journal_priority", "journal_since",
              "journal_fields", "journal_boot", "journal_copy", "journal_wrap", "journal_times", "journal_zoom",
              "journal_save", "journal_next", "journal_back", "help")  # fmt: skip


def footer_keys(
    width: int, keymap: Mapping[str, str], *, hide_changes: bool, view: str = "units",
    label: Callable[[Key], str] = lambda key: key.label,
) -> tuple[Key, ...]:  # fmt: skip
    """The keys that fit, the most needed first chosen, in their usual order."""
    chosen: set[str] = set()
    room = width
    for name in ("roll_out", *RANK) if view == "configs" else RANK:
        key = BY_ID[name]
        cost = len(shown_key(key, keymap)) + len(label(key)) + 3
        if (hide_changes and key.changes) or cost > room or (key.views and view not in key.views):
            continue
        chosen.add(name)
        room -= cost
    return tuple(BY_ID[name] for name in WIDE if name in chosen)


def journal_footer_keys(width: int, keymap: Mapping[str, str]) -> tuple[Key, ...]:
    """The journal pane's keys that fit, the most needed first; help always."""
    costs = {name: len(shown_key(BY_ID[name], keymap)) + len(BY_ID[name].label) + 3 for name in IN_JOURNAL}
    room = width - costs["help"]
    found: list[Key] = []
    for name in IN_JOURNAL[:-1]:
        if costs[name] <= room:
            found.append(BY_ID[name])
            room -= costs[name]
    return (*found, BY_ID["help"])


def footer_line(
    keys: Sequence[Key],
    keymap: Mapping[str, str],
    usable: Callable[[Key], bool],
    label: Callable[[Key], str] = lambda key: key.label,
) -> Line:
    """Key and label, two cells each."""
    cells: list[Cell] = []
    for key in keys:
        can = usable(key)
        cells.append(Cell(shown_key(key, keymap), Tone.HEAD if can else Tone.OFF))
        cells.append(Cell(f" {label(key)}  ", Tone.QUIET if can else Tone.OFF))
    return tuple(cells)


def tabs_line(titles: Sequence[tuple[str, int | None]], current: str, room: int = 1000) -> Line:
    """The views with their numbers, two cells each; the open one stands out. Where there is no room, names go."""
    full = [f" {number} {title} {count:,} " if count is not None else f" {number} {title} "
            for number, (title, count) in enumerate(titles, 1)]  # fmt: skip
    plain = [f" {number} {title} " for number, (title, _) in enumerate(titles, 1)]
    short = [text if title == current else f" {number} " for number, (text, (title, _)) in enumerate(
        zip(plain, titles, strict=True), 1)]  # fmt: skip
    texts = next((form for form in (full, plain) if sum(map(len, form)) + len(form) <= room), short)
    cells: list[Cell] = []
    for text, (title, _) in zip(texts, titles, strict=True):
        cells += [Cell(text, Tone.CHOSEN if title == current else Tone.QUIET), Cell(" ")]
    return tuple(cells)


def narrowing(query: str, *, trouble: bool, counts: tuple[int, int], marks: int, hidden: int) -> Line:
    """What narrows the table, and what is marked."""
    cells: list[Cell] = []
    if marks:
        unseen = f" ({hidden} out of sight)" if hidden else ""
        cells.append(Cell(f"✓ {marks} marked{unseen}  ", Tone.HEAD))
    if trouble:
        cells.append(Cell("troubled only  ", Tone.BUSY))
    if query:
        cells.append(Cell(f"filter: {escape(query)}  ", Tone.BUSY))
    if query or trouble:
        shown, total = counts
        cells.append(Cell(f"{shown:,} of {counted(total, 'row')}", Tone.QUIET))
    return tuple(cells)
