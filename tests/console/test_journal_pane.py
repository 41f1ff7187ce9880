"""The journal pane under real keys: every key of its own, and every state it can be in."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.events import Key
from textual.geometry import Offset
from textual.selection import Selection
from textual.widgets import Input

from fleettui.console.journal import LinkNews, Remark, Wanted
from fleettui.console.journal import sources as journal_sources
from fleettui.console.journal.buffer import PIECE
from fleettui.console.screens import journal_dock
from fleettui.console.screens.text_screens import FieldsScreen
from fleettui.console.text.cells import Tone
from fleettui.console.text.subject import Tab
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.journal_lines import JournalLines
from fleettui.console.widgets.journal_pane import JournalPane, JournalPrompt
from fleettui.journal_entry import JournalEntry
from fleettui.remote import RemoteError
from registry.errors import RegistryUnavailable
from registry.mirror import Snapshot
from registry.model import Crash, Override
from tests.console.fleetshow import CORES, PLAIN, entry, machine, scene, state
from tests.console.test_screen import Play, playing

CACHE = Wanted(machine(1), "cache.service")


class Pane(Play):
    """A console whose journal pane shows cache.service on core-1 and has the focus."""

    @property
    def pane(self) -> JournalPane:
        return self.main.query_one(JournalPane)

    @property
    def lines(self) -> JournalLines:
        return self.pane.lines

    @property
    def title(self) -> str:
        return self.text("journal-title")

    @property
    def terms(self) -> str:
        return self.text("journal-terms")

    def shown(self) -> list[str]:
        height = self.lines.size.height
        return [self.lines.render_line(y).text.rstrip() for y in range(height)]

    @property
    def last(self) -> str:
        """The lowest line that is not empty."""
        return next(text for text in reversed(self.shown()) if text)

    def messages(self) -> list[str]:
        layout = self.lines.buffer.view.layout
        items = [self.lines.buffer.item(layout.item(index)) for index in range(len(layout))]
        return [item.text if isinstance(item, Remark) else item.message for item in items]

    async def come(self, *messages: str, priority: int = 6) -> None:
        """More lines of the unit."""
        before = self.lines.buffer.end
        news = [
            replace(entry(CACHE, number, message), priority=priority) for number, message in enumerate(messages)
        ]
        self.stage.journals.more.put_nowait(news)
        await self.wait(lambda: self.lines.buffer.end >= before + len(messages))

    async def wait(self, fact: object) -> None:
        for _ in range(400):
            if fact():  # type: ignore[operator]
                await self.settle()
                return
            await self.pilot.pause(0.02)
        raise AssertionError(f"it did not come to that; {self.title!r} {self.terms!r} {self.shown()!r}")

    async def type(self, text: str) -> None:
        field = self.pane.query_one("#journal-answer", Input)
        field.value = text
        await self.settle()


@asynccontextmanager
async def reading(
    size: tuple[int, int] = (140, 40), snapshot: Snapshot | None = None, **context: object
) -> AsyncIterator[Pane]:
    async with playing(snapshot, size, **context) as play:
        pane = Pane(play.stage, play.pilot)
        await pane.press("j")
        await pane.until("8 lines", "journal-title")
        await pane.press("tab")
        assert pane.lines.has_focus
        yield pane


# Following and the reader


@pytest.mark.parametrize("key", ["up", "k", "pageup", "ctrl+b", "g", "home"])
async def test_whatever_goes_up_pauses_and_nothing_moves_under_the_eye(key: str) -> None:
    async with reading() as pane:
        await pane.come(*(f"old {number}" for number in range(60)))
        await pane.press(key)
        assert "paused" in pane.title
        before = pane.shown()
        await pane.come("new 1", "new 2")
        assert pane.shown() == before
        assert "2 new below" in pane.title


@pytest.mark.parametrize(
    "keys", [("G",), ("end",), ("pagedown", "pagedown"), ("j", "j", "j"), ("ctrl+f", "ctrl+f")]
)
async def test_the_end_resumes(keys: tuple[str, ...]) -> None:
    async with reading() as pane:
        await pane.come(*(f"old {number}" for number in range(60)))
        await pane.press("up", "up", *keys)
        assert "following" in pane.title
        await pane.come("the newest")
        assert pane.shown()[-1].endswith("the newest")


async def test_the_wheel_pauses_and_resumes_too() -> None:
    async with reading() as pane:
        await pane.come(*(f"old {number}" for number in range(60)))
        for _ in range(3):
            pane.lines.scroll_relative(y=-3, animate=False, force=True)
            await pane.settle()
        assert "paused" in pane.title
        for _ in range(4):
            pane.lines.scroll_relative(y=3, animate=False, force=True)
            await pane.settle()
        assert "following" in pane.title


async def test_the_place_stays_when_old_lines_leave_the_ring() -> None:
    async with reading() as pane:
        pane.lines.buffer.capacity = pane.lines.buffer.ring.capacity = 100
        await pane.come(*(f"line {number}" for number in range(100)))
        await pane.press("pageup", "pageup")
        before, cursor = pane.shown(), pane.lines.place.current
        await pane.come(*(f"more {number}" for number in range(30)))
        assert pane.lines.buffer.ring.first == 13  # a quarter more is kept while somebody reads
        assert pane.shown() == before
        assert pane.lines.place.current is cursor


async def test_what_cannot_be_kept_beside_what_is_read_is_counted_and_said() -> None:
    async with reading() as pane:
        pane.lines.buffer.capacity = pane.lines.buffer.ring.capacity = 100
        await pane.come(*(f"line {number}" for number in range(100)))
        await pane.press("g")
        before = pane.shown()
        news = [entry(CACHE, number, f"flood {number}") for number in range(300)]
        pane.stage.journals.more.put_nowait(news)
        await pane.wait(lambda: pane.lines.place.missed > 0)
        assert pane.shown() == before
        assert f"{pane.lines.place.missed} lines dropped" in pane.title
        assert len(pane.lines.buffer.ring) == 125
        await pane.press("G")
        assert "275 lines came while you read and could not be kept" in pane.last
        assert "275 lines dropped" in pane.title
        await pane.come("new")
        assert len(pane.lines.buffer.ring) == 100
        assert pane.messages()[-1] == "new"


async def test_a_pane_that_nobody_touched_follows_whatever_comes() -> None:
    async with reading() as pane:
        for number in range(5):
            await pane.come(*(f"{number}.{line}" for line in range(40)))
            assert pane.shown()[-1].endswith(f"{number}.39")


# Search


async def test_search_goes_to_hits_while_it_is_typed_and_goes_on_both_ways() -> None:
    async with reading() as pane:
        await pane.come(*(f"needle {n}" if n % 10 == 0 else f"hay {n}" for n in range(100)))
        await pane.press("slash", *"needle")
        assert pane.pane.query_one(JournalPrompt).display
        assert "10 of 10" in pane.text("journal-question")
        await pane.press("enter")
        assert "⌕ needle: 10 of 10" in pane.terms
        await pane.press("N", "N")
        assert "8 of 10" in pane.terms
        shown = pane.shown()
        at = next(y for y, text in enumerate(shown) if text.endswith("needle 70"))
        assert 2 < at < len(shown) - 3  # with context above and below
        await pane.press("n")
        assert "9 of 10" in pane.terms
        await pane.come("needle at last")
        assert "9 of 11" in pane.terms


async def test_what_is_typed_right_after_enter_is_for_the_lines() -> None:
    async with reading() as pane:
        await pane.come("needle")
        wrapped = pane.pane.terms.line_format.wrap
        await pane.press("slash")
        for each in (*"needle", "enter", "w"):
            pane.stage.app.post_message(Key(each, each if len(each) == 1 else None))
        await pane.settle()
        assert pane.pane.terms.search == "needle"
        assert not pane.pane.query_one(JournalPrompt).display
        assert pane.pane.terms.line_format.wrap is not wrapped


async def test_search_goes_to_hits_of_what_was_typed_last_among_many_lines() -> None:
    async with reading() as pane:
        await pane.come(*(f"old {n} needl" for n in range(3000)), "a needle", *(f"new {n}" for n in range(3000)))
        await pane.press("g", "slash", *"needle")
        await pane.until("1 of 1", "journal-terms")
        assert any(text.endswith("a needle") for text in pane.shown())


async def test_every_hit_is_highlighted() -> None:
    async with reading() as pane:
        await pane.come("one two one")
        await pane.press("slash", *"one", "enter")
        strip = pane.lines.render_line(
            pane.shown().index(next(t for t in pane.shown() if t.endswith("one two one")))
        )
        marked = [
            segment.text
            for segment in strip
            if segment.style and segment.style.bgcolor == pane.lines.style_of(Tone.BUSY).color
        ]
        assert marked == ["one", "one"]


async def test_escape_in_the_search_puts_everything_back() -> None:
    async with reading() as pane:
        await pane.press("slash", *"slow")
        assert "paused" in pane.title
        await pane.press("escape")
        assert "following" in pane.title
        assert pane.terms == ""
        assert pane.lines.has_focus


async def test_what_is_not_found_is_said() -> None:
    async with reading() as pane:
        await pane.press("slash", *"nowhere", "enter")
        assert "nothing found" in pane.terms
        await pane.press("n")
        assert "nothing found for nowhere" in pane.terms
        await pane.press("escape", "n")
        assert "nothing is searched for" in pane.terms


# Beyond what was read at first


def archive(count: int, needle: int = -1) -> list[JournalEntry]:
    """So many older lines, one of which says needle."""
    first = entry(CACHE, 0)
    return [
        replace(
            first, at=first.at - (count - number) * 1_000_000, cursor=f"old{number}",
            message=f"old {number}" + (" needle" if number == needle else ""),
        )
        for number in range(count)
    ]  # fmt: skip


async def test_older_lines_are_read_as_they_are_scrolled_to_up_to_the_first() -> None:
    async with reading() as pane:
        pane.stage.journals.archive = archive(5000)
        before = pane.shown()
        await pane.press("up")
        await pane.wait(lambda: len(pane.lines.buffer.ring) == 2008)
        assert pane.last == [text for text in before if text][-1], "nothing moves under the eye"
        assert "paused" in pane.title
        await pane.press("g")
        await pane.wait(lambda: len(pane.lines.buffer.ring) == 5008)
        assert pane.messages()[:2] == ["old 0", "old 1"]
        assert pane.shown()[0].endswith("old 0")
        await pane.press("up")
        await pane.until("this is the first line", "journal-terms")
        assert pane.stage.journals.histories == 1
        await pane.press("G")
        assert pane.last.endswith("pool: 4 of 16 busy")


async def test_who_goes_elsewhere_while_older_lines_are_read_is_not_taken_back() -> None:
    async with reading() as pane:
        past = pane.stage.journals.past
        pane.stage.journals.archive = archive(9000)
        past.clear()
        await pane.press("g", "G")
        past.set()
        await pane.wait(lambda: not pane.pane.doing)
        assert "following" in pane.title
        assert pane.last.endswith("pool: 4 of 16 busy")
        past.clear()
        await pane.press("g")
        await pane.until("reading older lines", "journal-title")
        await pane.press("j")
        kept = pane.lines.place.current
        past.set()
        await pane.wait(lambda: not pane.pane.doing)
        assert pane.lines.place.current == kept
        assert len(pane.lines.buffer.ring) == 2008, "all of them are not wanted any more"


async def test_a_full_ring_gives_up_its_newest_lines_for_older_ones_and_reads_them_again() -> None:
    async with reading() as pane:
        pane.lines.buffer.capacity = pane.lines.buffer.ring.capacity = 3000
        pane.stage.journals.archive = archive(9000)
        await pane.press("g")
        await pane.wait(lambda: len(pane.lines.buffer.ring) > 2000)
        await pane.until("lines are kept here; PgUp goes on", "journal-terms")
        for _ in range(3):
            size = pane.lines.buffer.ring.first
            await pane.press("g")
            await pane.wait(lambda size=size: pane.lines.buffer.ring.first < size)
        assert len(pane.lines.buffer.ring) <= 3750
        assert pane.lines.place.detached
        pane.stage.journals.more.put_nowait([entry(CACHE, 1, "new")])
        await pane.wait(lambda: "new below" in pane.title)
        asked = len(pane.stage.journals.asks)
        await pane.press("G")
        await pane.wait(lambda: len(pane.stage.journals.asks) == asked + 1)
        await pane.until("following", "journal-title")


async def test_a_search_goes_through_all_that_the_machines_keep() -> None:
    async with reading() as pane:
        pane.stage.journals.archive = archive(9000, needle=100)
        pane.stage.journals.scan.clear()
        await pane.come("a needle here")
        await pane.press("slash", *"needle", "enter")
        await pane.until("scanning …", "journal-terms")
        assert "1 of 1" in pane.terms
        await pane.press("N")
        assert "scanning …; N goes on" in pane.terms
        pane.stage.journals.unsearched["core-3"] = "it is off"
        pane.stage.journals.scan.set()
        await pane.press("left")
        await pane.until("✖ core-3 not searched: it is off", "journal-terms")
        assert "2 of 2" in pane.terms
        await pane.press("N")
        await pane.wait(lambda: pane.lines.place.detached)
        await pane.until("1 of 2", "journal-terms")
        at = next(y for y, text in enumerate(pane.shown()) if text.endswith("old 100 needle"))
        assert pane.shown()[at - 1].endswith("old 99")
        assert pane.shown()[at + 1].endswith("old 101")
        await pane.press("escape")
        assert "needle:" not in pane.terms
        await pane.press("G")
        await pane.until("following", "journal-title")


async def test_what_is_found_nowhere_near_is_gone_to_by_itself_and_a_search_can_be_cancelled() -> None:
    async with reading() as pane:
        pane.stage.journals.archive = archive(9000, needle=4000)
        await pane.press("slash", *"needle", "enter")
        await pane.wait(lambda: pane.lines.place.detached)
        assert any(text.endswith("old 4000 needle") for text in pane.shown())
        await pane.press("G")
        await pane.until("following", "journal-title")
        pane.stage.journals.scan.clear()
        await pane.press("slash")
        await pane.type("elsewhere")
        await pane.press("enter")
        await pane.until("none yet · scanning …", "journal-terms")
        await pane.press("escape")
        assert "scanning" not in pane.terms


# Filters


async def test_include_and_exclude_narrow_what_is_there_and_what_comes() -> None:
    async with reading() as pane:
        await pane.press("i", *"get", "enter", "x", *"healthz", "enter")
        assert pane.messages() == ["GET / 200 4 ms", "GET /cart 200 7 ms"]
        await pane.come("GET /new", "GET /healthz", "POST /")
        assert pane.messages()[-1] == "GET /new"
        assert "only get · without healthz · 8 hidden" in pane.terms
        await pane.press("escape")
        assert "only get · 6 hidden" in pane.terms
        await pane.press("escape")
        assert pane.terms == ""
        assert len(pane.messages()) == 11


async def test_a_bad_expression_is_said_at_once_and_changes_nothing() -> None:
    async with reading((80, 24)) as pane:
        await pane.press("i", *"GET", *"(")
        assert "not an expression: missing ) at 4; write \\ before plain signs" in pane.text("journal-question")
        assert len(pane.messages()) == 3
        await pane.press("enter")
        assert pane.pane.query_one(JournalPrompt).display
        await pane.press("escape")
        assert len(pane.messages()) == 8


async def test_the_priority_key_goes_round() -> None:
    async with reading() as pane:
        told = []
        for _ in range(5):
            await pane.press("p")
            told.append((pane.terms.split(" · ")[0], len(pane.messages())))
        assert told == [
            ("notices and worse", 2), ("warnings and worse", 2), ("errors and worse", 1), ("critical and worse", 0),
            ("", 8),
        ]  # fmt: skip


async def test_a_journal_that_is_all_hidden_says_so() -> None:
    async with reading() as pane:
        await pane.press("p", "p", "p", "p")
        assert "8 lines hidden by the filters" in "\n".join(pane.shown())


async def test_a_hundred_thousand_lines_are_narrowed_while_keys_work() -> None:
    async with reading() as pane:
        news = [entry(CACHE, number, f"GET /{number}") for number in range(20 * PIECE)]
        pane.stage.journals.more.put_nowait(news)
        await pane.wait(lambda: len(pane.lines.buffer.ring) == 20 * PIECE + 8)
        await pane.press("i")
        pane.pane.query_one("#journal-answer", Input).value = "/1999"
        await pane.press("enter")
        await pane.wait(lambda: not pane.lines.working)
        assert pane.messages() == ["GET /1999", *(f"GET /1999{digit}" for digit in range(10))]


async def test_narrowing_stays_near_the_line_under_the_eye() -> None:
    async with reading() as pane:
        await pane.come(*(f"even {n}" if n % 2 == 0 else f"odd {n}" for n in range(100)))
        await pane.press("pageup", "pageup")
        cursor = pane.lines.place.current
        assert cursor is not None
        await pane.press("x", *"odd", "enter")
        shown = [text.split()[-1] for text in pane.shown()]
        number = int(cursor.message.split()[-1])  # type: ignore[union-attr]
        assert any(abs(int(each) - number) <= 1 for each in shown if each.isdigit())


# Since and boot


async def test_since_is_read_anew_and_a_bad_moment_says_what_to_write() -> None:
    async with reading() as pane:
        await pane.press("t")
        await pane.type("soon")
        assert "no moment: soon; write -1h" in pane.text("journal-question")
        await pane.press("enter")
        assert len(pane.stage.journals.asks) == 1
        await pane.type("-1h")
        assert "= 2026-09-21 13:13:20" in pane.text("journal-question")
        await pane.press("enter")
        await pane.until("since -1h", "journal-terms")
        await pane.wait(lambda: len(pane.stage.journals.asks) == 2)
        assert pane.stage.journals.asks[-1].since == 1_790_000_000 - 3600
        await pane.press("escape")
        await pane.wait(lambda: len(pane.stage.journals.asks) == 3)
        assert [each.since for each in pane.stage.journals.asks[2:]] == [None]
        await pane.press("t")
        await pane.type("10:30..10:40")
        assert "= 2026-09-21 10:30:00 to 2026-09-21 10:40:00" in pane.text("journal-question")
        await pane.press("enter")
        await pane.wait(lambda: len(pane.stage.journals.asks) == 4)
        ask = pane.stage.journals.asks[-1]
        assert (ask.until or 0) - (ask.since or 0) == 600
        assert "10:30..10:40" in pane.terms
        assert "not followed" in pane.title


async def test_the_boot_key_goes_round() -> None:
    async with reading() as pane:
        for number, (boot, told) in enumerate((("0", "this boot"), ("-1", "the boot before"), ("", "")), 2):
            await pane.press("b")
            await pane.wait(lambda number=number: len(pane.stage.journals.asks) == number)
            assert pane.stage.journals.asks[-1].boot == boot
            assert pane.terms.startswith(told)


# How lines look


async def test_wrap_shows_the_whole_of_a_long_line_and_cut_lines_scroll_sideways() -> None:
    async with reading((80, 24)) as pane:
        await pane.come("a" * 100 + " the end")
        assert "the end" not in "\n".join(pane.shown())
        await pane.press("right", "right", "right")
        assert "the end" in "\n".join(pane.shown())
        await pane.press("left", "left", "left", "w")
        assert "the end" in "\n".join(pane.shown())
        await pane.press("w")
        assert "the end" not in "\n".join(pane.shown())


async def test_the_time_key_goes_round() -> None:
    async with reading() as pane:
        heads = [pane.shown()[0][:10]]
        for _ in range(4):
            await pane.press("T")
            heads.append(pane.shown()[0][:10])
        assert heads[0].startswith("14:12:2")
        assert heads[1] == "2026-09-21"
        assert heads[2].startswith("14:12:2")
        assert "Z" in heads[2]
        await pane.press("T")
        assert pane.shown()[0][:10] == heads[0]


async def test_priorities_have_a_mark_colours_are_colours_and_control_sequences_are_shown() -> None:
    async with reading() as pane:
        await pane.come("\x1b[32mgreen\x1b[0m [b]x[/b]\x1b[2J", priority=2)
        assert pane.last.endswith("✖ critical: green [b]x[/b]␛[2J")
        strip = pane.lines.render_line(max(y for y, text in enumerate(pane.shown()) if text))
        green = next(segment for segment in strip if segment.text == "green")
        assert green.style is not None
        assert green.style.color == pane.lines.style_of(Tone.GOOD).color
        assert "▲ 3 warnings and worse" in pane.title


# Fields, copy, save


async def test_enter_opens_the_fields_which_can_be_copied() -> None:
    async with reading() as pane:
        await pane.press("up", "enter")
        await pane.wait(lambda: isinstance(pane.stage.app.screen, FieldsScreen))
        page = pane.stage.app.screen
        text = "\n".join("".join(cell.text for cell in line) for line in page.query_one("#fields-lines").lines)  # type: ignore[attr-defined]
        assert "_SYSTEMD_UNIT" in text
        await pane.press("c")
        assert "_EXE=/usr/bin/web" in pane.stage.app.clipboard
        await pane.press("escape")
        assert pane.stage.app.screen is pane.main
        assert pane.lines.has_focus


async def test_fields_that_cannot_be_had_say_why() -> None:
    async with reading() as pane:
        pane.stage.journals.error = RemoteError(
            "core-1", "it does not have the entry any more", "it was rotated away"
        )
        await pane.press("enter")
        await pane.until("it does not have the entry any more", "journal-terms")


async def test_a_remark_has_no_fields() -> None:
    async with reading() as pane:
        pane.stage.journals.more.put_nowait([Remark("core-1: lost")])
        await pane.wait(lambda: len(pane.messages()) == 9)
        await pane.press("enter")
        assert "the console's own" in pane.terms


async def test_c_copies_the_line_or_what_is_selected() -> None:
    async with reading() as pane:
        await pane.press("up", "c")
        assert pane.stage.app.clipboard == "2026-09-21T14:13:05.000+0000 core-1 web[1]: POST /order 201 31 ms"
        assert "copied 1 line" in pane.terms
        pane.main.selections = {pane.lines: Selection(Offset(11, 0), Offset(14, 1))}
        await pane.settle()
        await pane.press("c")
        assert pane.stage.app.clipboard == "GET /healthz 200 1 ms\n14:12:30   GET"


async def test_save_writes_the_shown_lines_and_asks_before_it_writes_over(tmp_path: Path) -> None:
    async with reading() as pane:
        await pane.press("p", "p", "ctrl+s")
        assert pane.pane.query_one("#journal-answer", Input).value == "journal-cache-20260921-141320.log"
        await pane.type(str(tmp_path / "a.log"))
        await pane.press("enter")
        await pane.until("saved 2 lines to", "journal-terms")
        text = (tmp_path / "a.log").read_text()
        assert text.splitlines()[0].endswith("core-1 web[1]: slow query: 812 ms")
        assert (tmp_path / "a.log").stat().st_mode & 0o777 == 0o600
        await pane.press("escape", "ctrl+s")
        await pane.type(str(tmp_path / "a.log"))
        await pane.press("enter")
        await pane.until("Enter writes over it", "journal-question")
        assert (tmp_path / "a.log").read_text() == text
        await pane.press("enter")
        await pane.until("saved 8 lines to", "journal-terms")


async def test_a_file_that_cannot_be_written_says_why() -> None:
    async with reading() as pane:
        await pane.press("ctrl+s")
        await pane.type("/no/such/place/a.log")
        await pane.press("enter")
        await pane.until("No such file or directory; give another path", "journal-question")


# The pane itself


async def test_zoom_and_height_and_the_way_out() -> None:
    async with reading((80, 24)) as pane:
        docked = pane.pane.size.height
        await pane.press("z")
        assert pane.pane.size.height > docked + 8
        await pane.press("escape")
        assert pane.pane.size.height == docked
        await pane.press("plus", "ctrl+up")
        assert pane.pane.size.height == docked + 4
        await pane.press("minus", "ctrl+down", "minus")
        assert pane.pane.size.height == docked - 2
        await pane.press("escape")
        assert pane.main.views.open.table.has_focus


@pytest.mark.parametrize("before", [("z", "z"), ("z", "escape"), ("plus", "plus"), ("minus",), ("z",)])
async def test_the_whole_screen_is_the_whole_screen_whatever_height_it_had(before: tuple[str, ...]) -> None:
    async with reading((80, 40)) as pane:
        await pane.press(*before)
        docked = pane.pane.size.height if before != ("z",) else 0
        await pane.press("tab", "l")
        assert pane.main.views.detail.subject.name == "cache.service"
        assert pane.pane.size.height > 30
        await pane.press("plus", "minus", "z", "z")
        assert pane.pane.size.height > 30
        await pane.press("l")
        assert pane.main.views.open.name_ == "units"
        assert not docked or pane.pane.size.height == docked


async def test_its_keys_are_in_the_footer_while_it_has_the_focus() -> None:
    async with reading() as pane:
        assert "/ search" in pane.text("footer")
        assert "? help" in pane.text("footer")
        await pane.press("tab")
        assert "/ filter" in pane.text("footer")


async def test_its_keys_are_the_users_own() -> None:
    async with reading(keymap={"journal_wrap": "f6"}) as pane:
        await pane.press("w")
        assert pane.stage.app.screen is not pane.main or not pane.lines.buffer.view.terms.line_format.wrap
        await pane.press("escape", "tab") if pane.stage.app.screen is not pane.main else None
        pane.lines.focus()
        await pane.press("f6")
        assert pane.lines.buffer.view.terms.line_format.wrap


async def test_no_key_of_the_pane_acts_on_a_unit() -> None:
    async with reading() as pane:
        await pane.press("slash", *"SXRLUD", "escape", "i", *"SXRLUD", "escape")
        assert pane.stage.port.calls == []


# Other sources


def moved(number: int | None) -> Snapshot:
    """The scene with cache.service on another machine, or on none."""
    base = scene()
    schedule = {key: value for key, value in base.schedule.items() if value.unit != "cache.service"}
    states = {key: value for key, value in base.states.items() if value.unit != "cache.service"}
    if number is not None:
        there = state("cache.service", number, PLAIN)
        states[CORES[number], "cache.service"] = there
    return replace(base, revision=base.revision + 1, schedule=schedule, states=states)


async def test_a_unit_that_moves_is_followed_in_the_same_stream() -> None:
    async with reading() as pane:
        await pane.come("before the move")
        await pane.show(moved(None))
        assert "is on no machine" in pane.title
        assert pane.messages()[-1] == "before the move"
        await pane.show(moved(2))
        assert [each.machine.hostname for each in pane.stage.journals.targets[-1]] == ["core-2"]
        assert len(pane.stage.journals.asked) == 1
        await pane.until("following", "journal-title")
        pane.stage.journals.more.put_nowait([entry(Wanted(machine(2), "cache.service"), 1, "after the move")])
        await pane.wait(lambda: pane.messages()[-1] == "after the move")
        assert "core-2" in pane.last
        assert pane.messages()[-2] == "before the move"


async def test_marks_are_read_together_and_a_machine_as_a_whole() -> None:
    async with playing() as play:
        await play.press("j", "space", "space")
        await play.until("cache, db · core-1, core-3", "journal-title")
        await play.press("2")
        await play.until("everything · core-1", "journal-title")
        assert play.stage.journals.asked[-1] == ("",)


async def test_what_is_not_read_is_said_in_red(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_sources, "MAX_MACHINES", 2)
    async with playing() as play:
        assert play.main.views.open.table.select("exporter.service")
        await play.until("only 2 of 3 are read; mark fewer", "journal-terms")
        band = play.main.query_one("#journal-terms", Band)
        assert [cell.tone for cell in band._lines[0][0]] == [Tone.BAD]
        await play.press("j")
        await play.until("core-1", "journal-title")
        assert play.text("journal-terms") == ""


async def test_what_narrows_one_selection_narrows_no_other_and_holds_again_when_it_is_back() -> None:
    async with reading() as pane:
        await pane.press("p", "p", "tab", "j")
        await pane.until("db · core-3", "journal-title")
        await pane.wait(lambda: len(pane.messages()) == 8)
        assert pane.terms == ""
        await pane.press("k")
        await pane.wait(lambda: len(pane.messages()) == 2)
        assert "warnings and worse · 6 hidden" in pane.terms


async def test_json_lines_show_level_message_and_fields_and_are_filtered_by_them() -> None:
    async with reading() as pane:
        await pane.come(
            '{"level":"error","msg":"payment failed","user":42,"http":{"status":502}}',
            '{"level":"info","msg":"paid","user":7,"http":{"status":200}}',
        )
        assert any(text.endswith("✖ payment failed  user=42  http.status=502") for text in pane.shown())
        await pane.press("i", *"user=42", "enter")
        assert len(pane.messages()) == 1
        await pane.press("i")
        await pane.type("status>=500")
        await pane.press("enter")
        assert len(pane.messages()) == 1
        await pane.press("escape", "p", "p", "p")
        assert len(pane.messages()) == 2  # the error that was there, and the level of the line itself


async def test_l_gives_the_journal_the_whole_screen_and_takes_it_back() -> None:
    async with reading() as pane:
        await pane.press("tab", "l")
        assert pane.main.views.open.name_ == "detail"
        assert pane.main.views.detail.subject.name == "cache.service"
        await pane.press("l")
        assert pane.main.views.open.name_ == "units"
        await pane.press("J")
        assert not pane.pane.display
        await pane.press("l", "l")
        assert not pane.pane.display
        await pane.press("space", "space", "l")
        assert pane.pane.room.zoomed
        await pane.press("l")
        assert not pane.pane.room.zoomed


# States


@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_a_lost_machine_is_said_with_reason_and_remedy_and_so_is_its_return(size: tuple[int, int]) -> None:
    why = "cannot reach core-1 (10.91.0.11): connection refused on port 22; is sshd running there?"
    async with reading(size) as pane:
        pane.stage.journals.more.put_nowait([LinkNews("core-1", why), Remark(f"core-1: {why}; trying again")])
        await pane.until("core-1 lost, trying again", "journal-title")
        await pane.wait(lambda: len(pane.messages()) == 9)
        text = " ".join("".join(pane.shown()).split())
        assert "connection refused on port 22" in text
        pane.stage.journals.more.put_nowait([LinkNews("core-1"), Remark("core-1: connected again", good=True)])
        await pane.wait(lambda: len(pane.messages()) == 10)
        assert "lost" not in pane.title


async def test_while_nothing_was_read_the_reason_stands_in_the_middle() -> None:
    async with playing(size=(80, 24)) as play:
        play.stage.journals.first = 0
        await play.press("j")
        pane = Pane(play.stage, play.pilot)
        await pane.wait(lambda: "no line yet" in "".join(pane.shown()))
        play.stage.journals.more.put_nowait(
            [LinkNews("core-1", "will not connect to core-1: its host key changed")]
        )
        await pane.wait(lambda: "its host key changed" in "".join(pane.shown()))
        assert "trying again" in "".join(pane.shown())


async def test_before_the_first_answer_it_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_dock, "SETTLE_S", 600)
    async with playing() as play:
        await play.press("j")
        assert "connecting to core-1" in play.text("journal-title")


async def test_what_was_dropped_is_said_in_the_stream_and_in_the_title() -> None:
    async with reading((80, 24)) as pane:
        said = "core-1: 12,400 lines dropped: written faster than they can be shown"
        pane.stage.journals.more.put_nowait([Remark(said, dropped=12_400)])
        await pane.until("12,400 lines dropped", "journal-title")
        assert said in pane.messages()


async def test_many_lines_at_once_are_taken_and_the_newest_is_seen() -> None:
    async with reading() as pane:
        for round_ in range(10):
            news: Sequence[object] = [entry(CACHE, n, f"{round_}.{n}") for n in range(1000)]
            pane.stage.journals.more.put_nowait(news)  # type: ignore[arg-type]
        await pane.wait(lambda: pane.lines.buffer.end == 10_008)
        assert pane.shown()[-1].endswith("9.999")


async def test_what_was_kept_of_a_failure_on_a_machine_that_is_gone_comes_first() -> None:
    kept = Crash(
        CORES[3], "1789999000000-cache.service", "core-3", "exit code 3", lines=((1.0, 3, 7, "c", "last"),)
    )
    here = replace(kept, machine=CORES[1], hostname="core-1")
    async with reading() as play:
        play.stage.journals.crashes = [here, kept]
        play.main.dock.reader.again()
        await play.wait(lambda: "last" in play.messages())
        told = play.messages()
        assert "cache.service failed on core-3 (exit code 3) at" in told[0]
        assert "its last line is kept" in told[0]
        assert told[1:3] == ["last", "what follows is written now"]
        assert not any("core-1" in each for each in told[:3]), "a machine that is asked needs no record"
        play.pane.narrow("boot", "0")
        await play.wait(lambda: play.messages() and "last" not in play.messages())


async def test_a_unit_that_is_nowhere_shows_what_was_kept_and_then_its_journal_when_it_is_placed() -> None:
    kept = Crash(CORES[3], "1789999000000-mars.service", "core-9", lines=((1.0, 3, 7, "m", "no air"),), cut=True)
    async with reading() as play:
        play.stage.journals.crashes = [kept]
        play.main.views.open.table.select("mars.service")
        await play.wait(lambda: "no air" in play.messages())
        assert "kept by its agent" in play.title
        placed = scene()
        line = replace(placed.schedule[CORES[1], "cache.service"], unit="mars.service")
        play.stage.feed.put(replace(placed, schedule={**placed.schedule, (CORES[1], "mars.service"): line}))
        await play.wait(lambda: "GET / 200 4 ms" in play.messages())
        assert play.messages()[1] == "no air"


async def test_a_registry_that_cannot_be_read_costs_what_was_kept_alone() -> None:
    async with reading() as play:
        play.stage.journals.error = RegistryUnavailable("no endpoint answers")
        play.main.dock.reader.again()
        await play.wait(lambda: len(play.messages()) > 5)
        assert "cannot be read: no endpoint answers" in play.messages()[0]


async def test_one_key_shows_why_it_failed_also_on_a_machine_that_is_gone() -> None:
    kept = Crash(
        CORES[3], "1789999000000-cache.service", "core-3", "exit code 3", lines=((1.0, 3, 7, "c", "out of memory"),)
    )
    async with reading() as play:
        play.stage.journals.crashes = [kept]
        play.stage.journals.first = 60
        await play.press("K")
        await play.wait(lambda: "out of memory" in "\n".join(play.shown()))
        await play.wait(lambda: len(play.messages()) > 60)
        assert play.main.views.detail.tab is Tab.JOURNAL
        assert "cache.service failed on core-3 (exit code 3) at" in play.shown()[0]
        assert "paused" in play.title
        play.stage.journals.crashes = []
        await play.press("K")
        await play.until("nothing is kept of a failure of it", "journal-terms")


async def test_what_is_left_of_a_lost_machine_is_what_was_kept_and_what_was_read_of_it() -> None:
    kept = Crash(CORES[1], "1789999000000-db.service", "core-1", lines=((1.0, 3, 7, "d", "disk full"),))
    async with reading() as play:
        play.stage.journals.crashes = [kept]
        now = scene()
        machines = {id_: each for id_, each in now.machines.items() if id_ != CORES[1]}
        schedule = {key: each for key, each in now.schedule.items() if key[0] != CORES[1]}
        states = {key: each for key, each in now.states.items() if key[0] != CORES[1]}
        overrides = {**now.overrides, CORES[1]: Override(CORES[1])}
        play.stage.feed.put(replace(now, machines=machines, schedule=schedule, states=states, overrides=overrides))
        await play.press("tab", "2")
        await play.wait(lambda: CORES[1] in play.main.views.open.table.listing.rows)
        assert play.main.views.open.table.select(CORES[1])
        await play.press("K")
        await play.wait(lambda: "disk full" in play.messages())
        assert any("last read from core-1, which is not read now: 8 lines" in each for each in play.messages())
        assert "pool: 4 of 16 busy" in play.messages()
        assert any(text.startswith("14:13:12 web") for text in play.shown()), "its lines say who wrote them"


async def test_the_shown_lines_are_opened_in_the_pager() -> None:
    async with reading() as pane:
        opened: list[tuple[str, str]] = []
        pane.pane.open_pager = lambda name, text: opened.append((name, text))
        await pane.press("i", *"GET", "enter", "o")
        assert [name for name, _ in opened] == ["journal.log"]
        assert opened[0][1].count("\n") == 3
        assert "GET /cart 200 7 ms\n" in opened[0][1]
