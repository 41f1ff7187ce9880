"""What an operator sees and what the keys do, with a scripted registry and a frozen clock."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from textual.pilot import Pilot
from textual.widgets import Button, Input

from fleettui.console.journal import Remark
from fleettui.console.screens import journal_dock
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.screens.submit import SubmitScreen, suggestion
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.journal_pane import JournalPane
from fleettui.verbs import Verb
from registry.errors import RegistryUnavailable
from registry.mirror import Snapshot
from registry.model import Target
from registry.sync.follow import ConnectionState
from tests.console.fleetshow import PLAIN, Stage, build, scene, state


class Play:
    """A running console and its pilot."""

    def __init__(self, stage: Stage, pilot: Pilot[None]) -> None:
        self.stage, self.pilot, self.main = stage, pilot, stage.main

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.pilot.press(key)
        await self.settle()

    async def settle(self) -> None:
        for _ in range(3):
            await self.pilot.pause()

    async def show(
        self, snapshot: Snapshot, link: ConnectionState = ConnectionState.LIVE, reason: str = ""
    ) -> None:
        self.stage.feed.put(snapshot, link, reason)
        await self.settle()

    async def until(self, text: str, where: str) -> str:
        for _ in range(100):
            if text in self.text(where):
                return self.text(where)
            await self.pilot.pause(0.02)
        raise AssertionError(f"{text!r} not in {self.text(where)!r}")

    def text(self, where: str) -> str:
        return "\n".join(self.main.query_one(f"#{where}", Band).texts)

    @property
    def cursor(self) -> str | None:
        return self.main.views.open.table.listing.cursor

    def table(self) -> str:
        table = self.main.views.open.table
        return "\n".join(table.render_line(y).text.rstrip() for y in range(table.size.height))


@asynccontextmanager
async def playing(
    snapshot: Snapshot | None = None, size: tuple[int, int] = (140, 40), **context: object
) -> AsyncIterator[Play]:
    stage = Stage(scene() if snapshot is None else snapshot, **context)  # type: ignore[arg-type]
    async with stage.app.run_test(size=size) as pilot:
        play = Play(stage, pilot)
        await play.settle()
        yield play


async def test_the_home_view_shows_units_counts_leader_and_link() -> None:
    async with playing() as play:
        assert "3/3 machines" in play.text("header")
        assert "● 8 active" in play.text("header")
        assert "leader core-2" in play.text("header")
        assert "sync.service" in play.table()
        assert "✖ failed" in play.table()


async def test_a_frame_is_painted_before_the_registry_answers() -> None:
    stage = Stage()
    async with stage.app.run_test(size=(80, 24)) as pilot:
        play = Play(stage, pilot)
        await play.settle()
        assert "connecting to 10.91.0.1:2379" in play.table()
        await play.show(scene())
        assert "cache.service" in play.table()


async def test_an_update_leaves_cursor_and_marks_with_their_units() -> None:
    async with playing() as play:
        await play.press("j", "j", "space")
        assert play.cursor == "exporter.service"
        more = build({**{f"a{n}.service": (PLAIN, Target.INACTIVE) for n in range(5)}}, [], [])
        merged = replace(scene(), units={**scene().units, **more.units}, files={**scene().files, **more.files})
        await play.show(merged)
        assert play.cursor == "exporter.service"
        assert play.main.selection.units() == ["db.service"]


async def test_start_is_pending_until_the_watch_confirms_it() -> None:
    async with playing() as play:
        await play.press("S")
        assert play.stage.port.calls == [("start", ("backup.service",))]
        assert "fleetctl start backup.service" in play.text("operations")
        assert "under way" in play.text("operations")
        units = {
            **scene().units,
            "backup.service": replace(scene().units["backup.service"], target=Target.LAUNCHED),
        }
        there = state("backup.service", 1, PLAIN)
        extra = build({"backup.service": (PLAIN, Target.LAUNCHED)}, [("backup.service", 1)], [there])
        play.stage.now += 0.4
        await play.show(replace(scene(), revision=101, units=units, schedule={**scene().schedule, **extra.schedule},
                                states={**scene().states, **extra.states}))  # fmt: skip
        assert "✓ fleetctl start backup.service" in play.text("operations")
        assert "core-1 · 0.4 s" in play.text("operations")


async def test_what_cannot_be_done_says_why_and_writes_nothing() -> None:
    async with playing() as play:
        await play.press("X")
        assert "it is not launched but inactive" in play.text("hint")
        assert play.stage.port.calls == []


@pytest.mark.parametrize(("keys", "calls"), [((), 0), (("enter",), 0), (("right", "enter"), 1), (("escape",), 0)])
async def test_destroy_asks_first_and_cancel_is_what_enter_means(keys: tuple[str, ...], calls: int) -> None:
    async with playing() as play:
        await play.press("j", "D")
        assert isinstance(play.stage.app.screen, ConfirmScreen)
        await play.press(*keys)
        assert len(play.stage.port.calls) == calls


@pytest.mark.parametrize("key", ["ctrl+d", "ctrl+k", "d"])
async def test_no_movement_key_destroys(key: str) -> None:
    async with playing() as play:
        await play.press(key)
        assert not isinstance(play.stage.app.screen, ConfirmScreen)
        assert play.stage.port.calls == []


async def test_marked_units_are_acted_on_together_and_undone_together() -> None:
    async with playing() as play:
        await play.press("j", "space", "space", "X", "right", "enter")
        assert play.stage.port.calls == [("stop", ("cache.service", "db.service"))]
        await play.press("u")
        assert play.stage.port.calls[-1] == ("restore", ("cache.service", "db.service"))
        assert [each.verb for each in play.main.runner.operations] == [
            Verb.UNDO
        ]  # what came of the first is no more


async def test_an_error_stays_until_it_is_dismissed() -> None:
    async with playing() as play:
        play.stage.port.error = RegistryUnavailable("no endpoint answered; is etcd up?")
        await play.press("S")
        play.stage.now += 3600
        play.main.runner.fade()
        await play.settle()
        assert "no endpoint answered" in play.text("operations")
        await play.press("escape")
        assert "no endpoint" not in play.text("operations")


async def test_read_only_takes_away_what_changes() -> None:
    async with playing(read_only=True) as play:
        assert "start" not in play.text("footer")
        await play.press("S", "n", "u")
        assert play.stage.port.calls == []
        assert "read-only" in play.text("hint")


async def test_the_users_own_keys_are_bound_and_shown() -> None:
    async with playing(keymap={"start": "f5"}) as play:
        assert "f5 start" in play.text("footer")
        await play.press("S")
        assert play.stage.port.calls == []
        await play.press("f5")
        assert play.stage.port.calls == [("start", ("backup.service",))]


async def test_filter_narrows_while_it_is_typed_and_escape_clears_it() -> None:
    async with playing() as play:
        await play.press("slash", *"failed")
        assert play.main.views.open.table.listing.order == ["sync.service"]
        assert play.cursor == "sync.service"
        assert "1 of 13 rows" in play.text("tabs")
        await play.press("enter", "escape")
        assert len(play.main.views.open.table.listing.order) > 10


async def test_a_lost_link_says_so_dims_and_heals() -> None:
    async with playing() as play:
        await play.show(scene(), ConnectionState.LOST, "timed out")
        play.stage.now += 12
        play.main.refresh_all()
        assert "connection lost 12 s ago" in play.text("banner")
        assert "✖ lost" in play.text("header")
        assert "cache.service" in play.table()
        await play.press("S")
        assert play.stage.port.calls == []
        await play.show(scene())
        assert play.text("banner") == ""


@pytest.mark.parametrize(
    ("link", "told"),
    [
        (ConnectionState.LOST, "no answer from the registry"),
        (ConnectionState.FOREIGN, "is not a fleet's registry"),
        (ConnectionState.DENIED, "refuses root"),
    ],
)
async def test_a_registry_that_cannot_be_read_says_what_to_do(link: ConnectionState, told: str) -> None:
    stage = Stage()
    async with stage.app.run_test(size=(80, 24)) as pilot:
        play = Play(stage, pilot)
        await play.show(Snapshot(), link, "the reason")
        assert told in play.table()
        assert "the reason" in play.table()


async def test_an_empty_fleet_and_a_fleet_without_machines_say_what_to_do() -> None:
    empty = replace(build({}, [], []), machines={})
    async with playing(empty) as play:
        assert "no units yet" in play.table()
        await play.press("2")
        assert "no machine has joined" in play.table()


async def test_the_journal_follows_the_selection_and_leaves_out_what_the_cursor_runs_over(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal_dock, "SETTLE_S", 3.0)  # longer than a busy host takes for four keys
    async with playing() as play:
        await play.press("j", "j", "j", "j")
        await play.until("exporter · core-1", "journal-title")
        async with asyncio.timeout(60):
            while ("exporter.service",) not in play.stage.journals.asked:
                await play.pilot.pause(0.02)
        assert len(play.stage.journals.asked) <= 2


async def test_following_pauses_above_the_bottom_and_counts_what_is_new() -> None:
    async with playing() as play:
        await play.press("j")
        await play.until("8 lines", "journal-title")
        lines = play.main.query_one(JournalPane).lines
        play.stage.journals.more.put_nowait([Remark(f"filler {number}") for number in range(60)])
        await play.until("68 lines", "journal-title")
        await play.press("tab", "g")
        play.stage.journals.more.put_nowait([Remark("news"), Remark("more news")])
        await play.until("2 new below", "journal-title")
        assert lines.scroll_offset.y == 0
        await play.press("G")
        await play.until("following", "journal-title")


async def test_a_journal_that_cannot_be_read_says_why() -> None:
    async with playing() as play:
        await play.until("no journal", "journal-title")
        lines = play.main.query_one(JournalPane).lines
        assert "backup is on no machine" in lines.render_line(1).text


async def test_why_opens_the_verdict_machine_by_machine_and_renews() -> None:
    async with playing() as play:
        await play.press("3", "enter")
        told = play.main.views.detail.page.text
        assert "core-3" in told
        assert "region=mars" in told
        await play.press("escape")
        assert play.main.views.open.name_ == "pending"


async def test_enter_on_a_machine_shows_its_units() -> None:
    async with playing() as play:
        await play.press("2", "enter")
        assert "core-1" in play.text("tabs")
        found = play.main.views.open.table.listing.order
        assert found == ["cache.service", "exporter.service", "report.timer", "web@1.service"]


async def test_submitting_a_file_shows_its_faults_and_starts_it_when_it_is_fine(tmp_path: Path) -> None:
    (tmp_path / "good.service").write_text(PLAIN)
    (tmp_path / "bad.service").write_text("[Service]\nExecStart=\n[Wrong]\nx=1\n")
    assert suggestion(f"{tmp_path}/go") == f"{tmp_path}/good.service"
    async with playing() as play:
        await play.press("n")
        screen = play.stage.app.screen
        assert isinstance(screen, SubmitScreen)
        problems = screen.query_one("#problems", Band)
        screen.query_one("#path", Input).value = f"{tmp_path}/bad.service"
        await play.pilot.pause(0.3)
        assert any("line 3" in text for text in problems.texts)
        assert screen.query_one("#launched", Button).disabled
        screen.query_one("#path", Input).value = f"{tmp_path}/good.service"
        await play.pilot.pause(0.3)
        await play.press("ctrl+s")
        assert play.stage.port.calls == [("submit launched", ("good.service",))]


async def test_copy_gives_the_command_of_the_last_action() -> None:
    async with playing() as play:
        await play.press("S", "c")
        assert play.stage.app.clipboard == "fleetctl start backup.service"


@pytest.mark.parametrize("size", [(80, 24), (60, 16), (40, 10), (200, 60)])
async def test_every_view_and_page_fits_any_screen(size: tuple[int, int]) -> None:
    async with playing(size=size) as play:
        for key in [
            "1",
            "2",
            "3",
            "4",
            "1",
            "w",
            "escape",
            "f",
            "escape",
            "question_mark",
            "escape",
            "D",
            "escape",
        ]:
            await play.press(key)
        for name in ("header", "footer") if size[0] >= 60 else ():
            assert all(len(text) <= size[0] for text in play.main.query_one(f"#{name}", Band).texts)


async def test_an_action_in_the_very_first_moment_is_on_the_screen_too() -> None:
    async with playing() as play:
        assert not play.main.query_one("#operations").display
        await play.press("S")
        assert play.main.query_one("#operations").display


async def test_a_feed_that_breaks_is_told_and_what_is_shown_is_no_longer_live(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with playing() as play:

        def broken(*_: object) -> None:
            raise ValueError("a bug")

        monkeypatch.setattr(play.main.fleet, "apply", broken)
        await play.show(scene())
        assert "a bug" in play.text("banner")
        assert "✖ lost" in play.text("header")
        await play.press("S")
        assert play.stage.port.calls == []
