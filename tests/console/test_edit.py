"""Editing, submitting and shells by key: what is shown before anything is done, and that no text is ever lost."""

from __future__ import annotations

import stat
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from textual.widgets import Button, Input, TextArea

from fleettui.console.pages import detail
from fleettui.console.pages.review import Draft, forecast, review, taken
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.screens.edit import EditScreen
from fleettui.console.screens.submit import SubmitScreen, instances_of, read_path, suggestion
from fleettui.console.sources.editor import create_draft, discard_draft, editor_argv, read_draft
from fleettui.console.text.keys import BY_ID
from fleettui.console.widgets.drawing import Band
from fleettui.console.widgets.page import Page
from fleettui.remote.errors import MachineUnreachable
from registry.errors import RegistryUnavailable, UserError
from registry.model import Target, UnitText
from registry.sync.follow import ConnectionState
from registry.units.file import file_hash
from tests.console.fleetshow import MARS, NOW, PLAIN, WEB, scene
from tests.console.test_detail_pages import text_of
from tests.console.test_screen import Play, playing

SIZES = [(80, 24), (140, 40)]
EditWith = Callable[..., Path]


@pytest.fixture
def edit_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EditWith:
    """Make the user's editor a program that does this to the text of the file it is given, and counts its calls."""
    monkeypatch.setenv("TMPDIR", str(tmp_path / "drafts"))
    monkeypatch.setattr("tempfile.tempdir", None)
    (tmp_path / "drafts").mkdir()

    def make(body: str, status: int = 0) -> Path:
        script, log = tmp_path / "editor.py", tmp_path / "calls"
        script.write_text(
            "import pathlib, sys\n"
            "path = pathlib.Path(sys.argv[1]); text = path.read_text()\n"
            f"log = pathlib.Path({str(log)!r}); calls = len(log.read_text()) if log.exists() else 0\n"
            "log.write_text('x' * (calls + 1))\n"
            f"{body}\npath.write_text(text)\nsys.exit({status})\n"
        )
        monkeypatch.delenv("VISUAL", raising=False)
        monkeypatch.setenv("EDITOR", f"{sys.executable} {script}")
        return tmp_path / "drafts"

    return make


ADD = "text += 'Restart=no\\n' if 'Restart=no' not in text else ''"


async def reviewed(play: Play) -> EditScreen:
    """The review, once it is there."""
    for _ in range(300):
        screen = play.stage.app.screen
        if isinstance(screen, EditScreen):
            await play.settle()
            return screen
        await play.pilot.pause(0.02)
    raise AssertionError(f"no review; {play.text('hint')!r} {play.text('operations')!r}")


def told(screen: EditScreen) -> str:
    return screen.query_one(Page).text


async def hinted(play: Play, text: str, where: str = "hint") -> None:
    await play.until(text, where)


@pytest.mark.parametrize("size", SIZES)
async def test_an_edit_shows_what_changes_and_happens_and_is_not_done_by_enter(
    edit_with: EditWith,
    size: tuple[int, int],
) -> None:
    drafts = edit_with(ADD)
    async with playing(size=size) as play:
        play.main.views.open.table.select("db.service")
        await play.press("e")
        screen = await reviewed(play)
        assert "changes  +1 -0 lines" in told(screen)
        assert "+ Restart=no" in told(screen)
        assert "db.service                 restarts on core-3" in told(screen)
        assert "fleetctl submit --replace db.service" in told(screen)
        assert screen.query_one("#keep").has_focus
        await play.press("enter")
        assert play.stage.port.calls == []
        (draft,) = drafts.glob("*/db.service")
        assert draft.read_text() == PLAIN + "Restart=no\n"
        assert str(draft) in play.text("hint") or size[0] == 80


@pytest.mark.parametrize("large", [detail.LARGE, 0])
async def test_a_confirmed_edit_replaces_what_it_was_made_from_and_forgets_the_draft(
    edit_with: EditWith, large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a large fleet, too, whose review is written in a thread."""
    monkeypatch.setattr(detail, "LARGE", large)
    drafts = edit_with(ADD)
    async with playing() as play:
        play.main.views.open.table.select("db.service")
        await play.press("e")
        screen = await reviewed(play)
        for _ in range(300):
            if not screen.query_one("#replace", Button).disabled:
                break
            await play.pilot.pause(0.02)
        await play.press("left", "enter")
        await hinted(play, "fleetctl submit --replace db.service", "operations")
        assert play.stage.port.replaced == ({"db.service": PLAIN + "Restart=no\n"}, file_hash(PLAIN))
        for _ in range(100):
            if not list(drafts.iterdir()):
                break
            await play.pilot.pause(0.02)
        assert list(drafts.iterdir()) == []


async def test_an_unchanged_file_says_so(edit_with: EditWith) -> None:
    drafts = edit_with("pass")
    async with playing() as play:
        play.main.views.open.table.select("db.service")
        await play.press("e")
        await hinted(play, "db.service is unchanged")
        for _ in range(200):  # it is taken away after that was said
            if not list(drafts.iterdir()):
                break
            await play.pilot.pause(0.02)
        assert list(drafts.iterdir()) == []
        assert play.stage.port.calls == []


async def test_an_emptied_file_changes_nothing(edit_with: EditWith) -> None:
    edit_with("text = ''")
    async with playing() as play:
        play.main.views.open.table.select("db.service")
        await play.press("e")
        await hinted(play, "was emptied")
        assert play.stage.port.calls == []


async def test_faults_have_line_reason_and_remedy_and_the_text_is_edited_again(
    edit_with: EditWith,
) -> None:
    edit_with("text = text.split('[Wrong]')[0] + 'User=a\\n' if calls else text + '[Wrong]\\nx=1\\n'")
    async with playing() as play:
        play.main.views.open.table.select("db.service")
        await play.press("e")
        screen = await reviewed(play)
        assert "✖ line 3" in told(screen)
        assert "[Wrong]" in told(screen) or "'Wrong'" in told(screen)
        assert screen.query_one("#replace", Button).disabled
        await play.press("e")
        await play.settle()
        again = await reviewed(play)
        while again is screen:
            await play.pilot.pause(0.02)
            again = await reviewed(play)
        assert "+ User=a" in told(again)
        assert not again.query_one("#replace", Button).disabled


async def test_a_unit_changed_meanwhile_is_told_and_not_overwritten(edit_with: EditWith) -> None:
    edit_with(ADD)
    async with playing() as play:
        play.main.views.open.table.select("db.service")
        await play.press("e")
        screen = await reviewed(play)
        theirs = UnitText(file_hash(WEB), WEB)
        unit = replace(scene().units["db.service"], hash=theirs.hash, by="ann@desk", at=NOW - 3)
        await play.show(replace(scene(), revision=101, units={**scene().units, "db.service": unit}))
        assert "it was changed while you edited it, by ann@desk 3 s ago" in told(screen)
        assert screen.query_one("#replace", Button).disabled
        await play.press("e")
        await play.settle()
        again = await reviewed(play)
        while again is screen:
            await play.pilot.pause(0.02)
            again = await reviewed(play)
        await play.press("left", "enter")
        await hinted(play, "fleetctl submit --replace", "operations")
        assert play.stage.port.replaced[1] == theirs.hash


async def test_a_refused_replacement_keeps_the_text_and_e_goes_on_with_it(
    edit_with: EditWith,
) -> None:
    drafts = edit_with(ADD)
    async with playing() as play:
        play.stage.port.error = RegistryUnavailable("no endpoint answered; is etcd up?")
        play.main.views.open.table.select("db.service")
        await play.press("e")
        await reviewed(play)
        await play.press("left", "enter")
        (draft,) = drafts.glob("*/db.service")
        await hinted(play, f"your text is in {draft}"[:40], "operations")
        play.stage.port.error = None
        await play.press("e")
        assert "+ Restart=no" in told(await reviewed(play))


async def test_a_template_takes_its_instances_along_when_asked(edit_with: EditWith) -> None:
    edit_with("text = text.replace('80%i', '90%i')")
    async with playing() as play:
        play.main.views.open.table.select("web@1.service")
        await play.press("e")
        screen = await reviewed(play)
        assert "web@1.service              restarts on core-1" in told(screen)
        await play.press("a")
        assert "web@3.service              restarts on core-3" in told(screen)
        assert "a template: instances made from now on" in told(screen)
        await play.press("left", "enter")
        while not isinstance(play.stage.app.screen, ConfirmScreen):  # how many at a time
            await play.pilot.pause(0.02)
        await play.press("right", "enter")
        await hinted(play, "--file web@.service --at-a-time 1", "operations")
        assert sorted(play.stage.port.replaced[0]) == [
            "web@.service", "web@1.service", "web@2.service", "web@3.service",
        ]  # fmt: skip


async def test_an_editor_that_fails_or_is_missing_is_told_with_the_remedy(
    edit_with: EditWith,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    edit_with(ADD, status=3)
    async with playing() as play:
        play.main.views.open.table.select("db.service")
        await play.press("e")
        await hinted(play, "ended with status 3", "operations")
        monkeypatch.setenv("EDITOR", "no-such-editor -w")
        await play.press("escape", "e")
        await hinted(play, "set EDITOR to one that is", "operations")


@pytest.mark.parametrize(
    ("context", "why"),
    [({"read_only": True}, "read-only"), ({"has_terminal": False}, "there is no editor in a browser")],
)
async def test_where_nothing_can_be_edited_it_says_why(context: dict[str, bool], why: str) -> None:
    async with playing(**context) as play:  # type: ignore[arg-type]
        await play.press("e")
        assert why in play.text("hint")


async def test_without_a_link_nothing_is_edited() -> None:
    async with playing() as play:
        await play.show(scene(), ConnectionState.LOST, "timed out")
        await play.press("e")
        assert "no connection to the registry" in play.text("hint")


def test_the_editor_is_the_users_own_or_says_what_to_set() -> None:
    have = {"vim", "nano", "vi"}.__contains__
    which = lambda name: f"/usr/bin/{name}" if have(name) else None  # noqa: E731
    assert editor_argv({"VISUAL": "vim -f", "EDITOR": "nano"}, which) == ["vim", "-f"]
    assert editor_argv({"VISUAL": " ", "EDITOR": "nano"}, which) == ["nano"]
    assert editor_argv({}, which) == ["nano"]
    with pytest.raises(UserError, match="set VISUAL to one that is"):
        editor_argv({"VISUAL": "emacs"}, which)
    with pytest.raises(UserError, match="set it to a command"):
        editor_argv({"EDITOR": "vim 'x"}, which)
    with pytest.raises(UserError, match="export EDITOR=nano"):
        editor_argv({}, lambda _: None)


def test_a_draft_is_its_owners_alone_and_comes_back_as_text() -> None:
    path = create_draft("a.service", "[Service]\n")
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        assert read_draft(path) == "[Service]\n"
        path.write_bytes(b"\xff")
        with pytest.raises(UserError, match="UTF-8"):
            read_draft(path)
    finally:
        discard_draft(path)
    with pytest.raises(UserError, match="cannot read"):
        read_draft(path)


def test_a_review_says_when_no_machine_takes_the_new_text() -> None:
    draft = Draft("db.service", MARS, file_hash(PLAIN))
    found = review(scene(), draft, ["db.service"], NOW)
    assert found.fine
    assert "stops on core-3, and waits: no machine has region=mars" in text_of(found.page)
    assert "core-3         ◌ refuses" in text_of(found.page)


def test_a_review_of_a_unit_that_moves_or_rests() -> None:
    draft = Draft("db.service", PLAIN + "[X-Fleet]\nMachineMetadata=node=n1\n", file_hash(PLAIN))
    assert "moves from core-3 to core-1" in text_of(review(scene(), draft, ["db.service"], NOW).page)
    rests = replace(draft, name="backup.service")
    assert "nothing restarts" in text_of(review(scene(), rests, ["backup.service"], NOW).page)


# Submitting


async def open_submit(play: Play) -> SubmitScreen:
    await play.press("n")
    for _ in range(200):
        if isinstance(play.stage.app.screen, SubmitScreen):
            await play.settle()
            return play.stage.app.screen
        await play.pilot.pause(0.02)
    raise AssertionError("no submit screen")


async def band(play: Play, screen: SubmitScreen, name: str, text: str) -> None:
    for _ in range(200):
        if any(text in line for line in screen.query_one(f"#{name}", Band).texts):
            return
        await play.pilot.pause(0.02)
    raise AssertionError(f"{text!r} not in {screen.query_one(f'#{name}', Band).texts}")


@pytest.mark.parametrize(("size", "large"), zip(SIZES, (detail.LARGE, 0), strict=True))
async def test_a_new_unit_says_where_it_would_go_before_it_is_submitted(
    tmp_path: Path, size: tuple[int, int], large: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(detail, "LARGE", large)
    (tmp_path / "new.service").write_text(PLAIN)
    async with playing(size=size) as play:
        screen = await open_submit(play)
        screen.query_one("#path", Input).value = f"{tmp_path}/new.service"
        await band(play, screen, "forecast", "started now, it would go to core-3")
        screen.query_one("#text", TextArea).load_text(MARS)
        await band(play, screen, "forecast", "it would wait: no machine has region=mars")


@pytest.mark.parametrize(("button", "target"), [("inactive", Target.INACTIVE), ("loaded", Target.LOADED)])
async def test_each_button_submits_with_its_target(tmp_path: Path, button: str, target: Target) -> None:
    (tmp_path / "new.service").write_text(PLAIN)
    async with playing() as play:
        screen = await open_submit(play)
        screen.query_one("#path", Input).value = f"{tmp_path}/new.service"
        await band(play, screen, "problems", "nothing is wrong")
        screen.query_one(f"#{button}", Button).press()
        await hinted(play, "new.service", "operations")
        assert play.stage.port.calls == [(f"submit {target}", ("new.service",))]


async def test_a_taken_name_is_replaced_only_after_it_was_compared() -> None:
    async with playing() as play:
        screen = await open_submit(play)
        screen.query_one("#name", Input).value = "db"
        screen.query_one("#text", TextArea).load_text(PLAIN + "Restart=no\n")
        await band(play, screen, "forecast", "db.service has another text: +1 -0 lines; ctrl+d compares")
        assert str(screen.query_one("#launched", Button).label) == "… and start"
        await play.press("ctrl+s")
        assert play.stage.port.calls == []
        assert "+ Restart=no" in screen.query_one("#compared", Page).text
        await band(play, screen, "problems", "press again to replace it")
        await play.press("ctrl+s")
        await hinted(play, "db.service", "operations")
        assert play.stage.port.calls == [("submit launched", ("db.service",))]


async def test_what_was_typed_is_there_again_the_next_time() -> None:
    async with playing() as play:
        screen = await open_submit(play)
        screen.query_one("#name", Input).value = "half"
        screen.query_one("#text", TextArea).load_text("[Service]\nExecS")
        await play.press("escape")
        await hinted(play, "n goes on with your text (2 lines)")
        screen = await open_submit(play)
        assert screen.query_one("#text", TextArea).text == "[Service]\nExecS"
        assert screen.query_one("#name", Input).value == "half"


async def test_the_text_goes_through_the_users_editor(edit_with: EditWith) -> None:
    edit_with("text = '[Service]\\nExecStart=/bin/x\\n'")
    async with playing() as play:
        screen = await open_submit(play)
        await play.press("ctrl+e")
        for _ in range(200):
            if "ExecStart" in screen.query_one("#text", TextArea).text:
                break
            await play.pilot.pause(0.02)
        await band(play, screen, "problems", "it needs a name")


async def test_a_path_that_is_no_unit_file_says_why(tmp_path: Path) -> None:
    (tmp_path / "x.service").write_bytes(b"\xff\xfe")
    async with playing() as play:
        screen = await open_submit(play)
        screen.query_one("#path", Input).value = f"{tmp_path}/x.service"
        await band(play, screen, "problems", "is not UTF-8 text")


def test_a_path_is_completed_and_read(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a.service").write_text(PLAIN)
    assert suggestion(f"{tmp_path}/s") == f"{tmp_path}/sub/"
    assert read_path(f"{tmp_path}/sub/") is None
    assert read_path(f"{tmp_path}/sub/a.service") == PLAIN
    assert read_path(f"{tmp_path}/none.service") is None


def test_a_forecast_of_templates_and_of_the_same_text() -> None:
    line = "".join(cell.text for cell in forecast(scene(), "new@.service", PLAIN)[0])
    assert "new@1.service" in line
    assert taken(scene(), "db.service", PLAIN) is None
    same = "".join(cell.text for cell in forecast(scene(), "db.service", PLAIN)[0])
    assert "with this very text" in same


# Shell


@pytest.mark.parametrize(("keys", "host"), [((), "core-3"), (("enter",), "core-3")])
async def test_a_shell_opens_on_the_units_machine_from_the_table_and_from_its_detail(
    keys: tuple[str, ...], host: str
) -> None:
    async with playing() as play:
        play.main.views.open.table.select("db.service")
        await play.press(*keys, "s")
        await hinted(play, f"the shell on {host} ended")
        assert play.stage.hosts.shells == [host]


async def test_a_shell_on_the_chosen_machine_and_its_exit_status() -> None:
    async with playing() as play:
        play.stage.hosts.exit_status = 3
        await play.press("2", "j", "s")
        await hinted(play, "the shell on core-2 ended with status 3")


@pytest.mark.parametrize(
    ("unit", "why"), [("mars.service", "on no machine"), ("exporter.service", "on 3 machines; select one of them")]
)
async def test_without_one_machine_there_is_no_shell_and_it_says_why(unit: str, why: str) -> None:
    async with playing() as play:
        play.main.views.open.table.select(unit)
        await play.press("s")
        assert why in play.text("hint")
        assert play.stage.hosts.shells == []


async def test_a_shell_that_cannot_be_had_stays_on_the_screen_with_its_remedy() -> None:
    async with playing() as play:
        play.stage.hosts.error = MachineUnreachable("core-3", "connection refused", "is sshd running there?")
        play.main.views.open.table.select("db.service")
        await play.press("s")
        await hinted(
            play, "✖ fleetctl ssh core-3   cannot reach core-3: connection refused; is sshd running", "operations"
        )


async def test_in_a_browser_there_is_no_shell_and_it_says_what_to_do() -> None:
    async with playing(has_terminal=False) as play:
        play.main.views.open.table.select("db.service")
        await play.press("s")
        assert "there is no shell in a browser; in a terminal: fleetctl ssh core-3" in play.text("hint")
        usable = {
            key.id: play.main.footer.can_use(key, ["db.service"])
            for key in (BY_ID["shell"], BY_ID["edit"], BY_ID["why"])
        }
        assert usable == {"shell": False, "edit": False, "why": True}


@pytest.mark.parametrize(
    ("text", "names"),
    [("1..3", ("1", "2", "3")), ("blue, green blue", ("blue", "green")), ("", ()), ("1..2,x", ("1", "2", "x"))],
)
def test_instances_are_named_as_people_count(text: str, names: tuple[str, ...]) -> None:
    assert instances_of("job@.service", text) == tuple(f"job@{each}.service" for each in names)


@pytest.mark.parametrize("text", ["a/b", "1..x", "a\x1b"])
def test_what_is_no_instance_is_told(text: str) -> None:
    with pytest.raises(UserError, match=r"is no instance; write 1\.\.3"):
        instances_of("job@.service", text)


async def test_a_template_asks_for_instances_and_starts_them() -> None:
    async with playing() as play:
        screen = await open_submit(play)
        screen.query_one("#name", Input).value = "job@.service"
        screen.query_one("#text", TextArea).load_text(PLAIN)
        await play.settle()
        field = screen.query_one("#instances", Input)
        assert field.display
        assert screen.query_one("#launched", Button).disabled
        field.value = "1..2"
        await play.settle()
        assert not screen.query_one("#launched", Button).disabled
        await play.press("ctrl+s")
        if isinstance(play.stage.app.screen, ConfirmScreen):
            await play.press("y")
        await play.settle()
        assert play.stage.port.calls == [
            ("submit inactive", ("job@.service",)),
            ("submit launched", ("job@1.service", "job@2.service")),
        ]
