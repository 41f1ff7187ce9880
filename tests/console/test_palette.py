"""The palette, the help and the themes: finding things, and how they look."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console as Printer
from textual.color import Color
from textual.events import Key
from textual.widgets import Input

from fleettui.console.app import Console
from fleettui.console.pages.help import help_lines
from fleettui.console.screens.choosers import PaletteScreen
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.screens.text_screens import HelpScreen
from fleettui.console.text.cells import line_text
from fleettui.console.text.finding import FinderSource, ranked, sources
from fleettui.console.text.keys import JOURNAL, KEYS, MAIN
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.page import Lines
from fleettui.console.widgets.theme import THEMES
from tests.console.fleetshow import CORES, Stage, scene
from tests.console.test_screen import Play, playing

NAMES = st.lists(st.text("abcw@1-", min_size=1, max_size=12), max_size=30, unique=True)


def labels(query: str, names: list[str]) -> list[str]:
    return [find.label for find in ranked(query, [FinderSource("unit", names)], 100)]


def test_beginnings_come_before_words_before_parts_before_letters_in_order() -> None:
    names = ["a-w-e-b", "cobweb", "my-web", "web@1.service", "web"]
    assert labels("web", names) == ["web", "web@1.service", "my-web", "cobweb", "a-w-e-b"]
    assert labels("web 1", names) == ["web@1.service"]
    assert labels("WEB", ["web"]) == ["web"]
    assert labels("zzz", names) == []


@given(NAMES, st.text("abcw@1-", min_size=1, max_size=4))
def test_all_that_hold_the_word_are_found_and_nothing_twice(names: list[str], word: str) -> None:
    found = labels(word, names)
    assert {name for name in names if word in name} <= {*found}
    assert len({*found}) == len(found)


def test_actions_have_the_users_own_keys_and_read_only_has_none_that_change() -> None:
    everything = sources(scene(), {"start": "f5"}, THEMES, read_only=False)
    (start,) = [find for find in ranked("start the marked", everything, 5) if find.what == "verb('start')"]
    assert start.hint == "f5"
    calm = sources(scene(), {}, THEMES, read_only=True)
    actions = {find.what for find in ranked("", calm, 1000) if find.kind == "action"}
    assert not actions & {key.action for key in KEYS if key.changes}


async def found(play: Play, text: str, *keys: str) -> None:
    await play.press("ctrl+p", *text, *keys)


async def test_a_unit_is_gone_to_whatever_hides_it() -> None:
    async with playing() as play:
        await play.press("slash", *"cache", "enter")
        await found(play, "sync", "enter")
        assert play.main.views.open.name_ == "units"
        assert play.cursor == "sync.service"


async def test_a_machine_and_a_theme_are_found_by_name() -> None:
    async with playing() as play:
        await found(play, "core-2", "enter")
        assert play.main.views.open.name_ == "machines"
        assert play.cursor == CORES[2]
        await found(play, "theme light", "enter")
        assert play.stage.app.theme == THEMES["light"].name


async def test_an_action_is_done_as_its_key_does_it() -> None:
    async with playing() as play:
        await play.press("j")
        await found(play, "destroy", "enter")
        assert isinstance(play.stage.app.screen, ConfirmScreen)


async def test_the_arrows_choose_escape_leaves_and_nothing_found_is_said() -> None:
    async with playing(size=(80, 24)) as play:
        await found(play, "web@", "down", "down", "up")
        screen = play.stage.app.screen
        assert isinstance(screen, PaletteScreen)
        lines = list(screen.query_one("#finds", Band).texts)
        assert lines[1].startswith("▌")
        await play.press("enter")
        assert play.cursor == "web@1.service"
        await found(play, "nothing is called this", "enter")
        assert play.stage.app.screen is play.main
        await found(play, "", "escape")
        assert play.stage.app.screen is play.main


async def test_the_palette_scrolls_below_its_last_line() -> None:
    async with playing(size=(80, 24)) as play:
        await found(play, "", *["pagedown"] * 3)
        screen = play.stage.app.screen
        assert any(text.startswith("▌") for text in screen.query_one("#finds", Band).texts)


@pytest.mark.parametrize(
    ("key", "field"), [("question_mark", "#help-search"), ("ctrl+p", "#palette"), ("n", "#path")]
)
async def test_what_is_typed_while_a_field_opens_is_in_the_field(key: str, field: str) -> None:
    async with playing() as play:
        for each in (key, *"affixed"):  # a, i, e, d and x are keys of the table
            play.stage.app.post_message(Key(each, each if len(each) == 1 else None))
        await play.settle()
        assert play.stage.app.screen.query_one(field, Input).value.endswith("affixed")


async def test_what_is_typed_right_after_enter_is_not_in_the_field() -> None:
    async with playing() as play:
        await play.press("ctrl+p")
        for each in (*"core-2", "enter", "x"):
            play.stage.app.post_message(Key(each, each if len(each) == 1 else None))
        await play.settle()
        assert play.main.views.open.name_ == "machines"
        assert play.cursor == CORES[2], "what was found by core-2, and not by core-2x"
    async with playing() as play:
        await play.press("n")
        for each in (*"/srv/a", "enter", *"web", "enter", "x"):
            play.stage.app.post_message(Key(each, each if len(each) == 1 else None))
        await play.settle()
        values = [field.value for field in play.stage.app.screen.query(Input)]
        assert values[0] == "/srv/a"
        assert values[1].endswith("web")


# Help


def written(**more: object) -> list[str]:
    return [line_text(line) for line in help_lines({}, **{"read_only": False, **more})]  # type: ignore[arg-type]


def test_help_begins_with_the_keys_of_the_place() -> None:
    assert written(view="machines")[0] == "Machines"
    assert written(view="units")[0] == "Units"
    assert written(view="units", where=JOURNAL)[0] == "Journal"
    assert any("Machines (in Machines)" in line for line in written(view="units", where=MAIN))


def test_help_shows_the_users_own_keys_and_what_a_search_asks_for() -> None:
    assert any(line.startswith("  f5 ") for line in map(line_text, help_lines({"start": "f5"}, read_only=False)))
    searched = written(search="take last")
    assert any("take the last action back" in line for line in searched)
    assert not any("submit a unit file" in line for line in searched)
    assert written(search="zzzz") == ["nothing in the help has zzzz"]


async def test_the_help_is_searched_by_typing() -> None:
    async with playing(size=(80, 24)) as play:
        await play.press("question_mark", *"palette")
        screen = play.stage.app.screen
        assert isinstance(screen, HelpScreen)
        assert any("ctrl+p" in line_text(line) for line in screen.query_one(Lines).lines)
        await play.press("pagedown", "up", "escape")
        assert play.stage.app.screen is play.main


# Themes


@pytest.mark.parametrize("name", ["dark", "light", "contrast"])
def test_text_can_be_read_on_its_ground(name: str) -> None:
    theme = THEMES[name]
    ground = Color.parse(theme.background or "")
    body = Color.parse(theme.foreground or "")
    quiet = Color.parse(theme.variables["quiet"])
    assert _contrast(body, ground) >= 7
    assert _contrast(quiet, ground) >= 4.5


def _contrast(one: Color, other: Color) -> float:
    light, dark = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: Color) -> float:
    parts = [part / 255 for part in colour.rgb]
    red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("size", [(80, 24), (140, 40)])
async def test_every_theme_draws_every_view(theme: str, size: tuple[int, int]) -> None:
    stage = Stage(scene(), theme=theme)
    async with stage.app.run_test(size=size) as pilot:
        for key in ["2", "3", "4", "5", "1", "o", "escape", "ctrl+p", "escape", "colon", "escape"]:
            await pilot.press(key)
        assert stage.app.screen is stage.main


async def test_without_colour_nothing_is_told_by_colour_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    stage = Stage(scene())
    async with stage.app.run_test(size=(80, 24)) as pilot:
        play = Play(stage, pilot)
        await play.settle()
        await play.press("5")
        drawn = _printed(stage.app)
        assert "\x1b[38" not in drawn
        assert "\x1b[48" not in drawn
        assert not any(f"\x1b[{code}" in drawn for code in range(30, 48))
        assert "✖" in drawn
        assert "\x1b[1;7m" in drawn or "\x1b[7" in drawn  # the open view and the cursor


def _printed(app: Console) -> str:
    """The screen as it goes to a terminal."""
    out = io.StringIO()
    printer = Printer(file=out, force_terminal=True, color_system="truecolor", width=80, legacy_windows=False)
    filters = [each for each in app._filters if each.enabled]
    background = app.screen.styles.background
    for strip in app.screen._compositor.render_strips(app.size):
        for each in filters:
            strip = strip.apply_filter(each, background)  # noqa: PLW2901 - the strip after it
        for segment in strip:
            printer.print(segment.text, style=segment.style, end="", markup=False, highlight=False)
    return out.getvalue()
