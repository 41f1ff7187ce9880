"""Whatever the registry, the machines and the journals say is shown and never obeyed, and the layout holds."""

from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest
from rich.cells import cell_len

from fleettui.console.app import Console
from fleettui.console.journal import Remark
from fleettui.console.journal.sources import LinkNews
from fleettui.escape import escape
from registry.mirror import Snapshot
from registry.model import Corrupt, Event, Leader, Pending
from registry.sync.follow import ConnectionState
from tests.console.fleetshow import CORES, NOW, scene
from tests.console.test_screen import Play, playing

BAD = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202eevil\u2066\u200b\u200d\ufeff[bold]語\r\n\t\x00\ud800" + "x" * 300


def hostile() -> Snapshot:
    """The scene, where everything that is a text says more than it should."""
    world = scene()
    machines = {key: replace(each, hostname=f"{each.hostname}{BAD}", address=BAD, metadata=((BAD, BAD),),
                             agent_version=BAD, systemd_version=BAD, boot_id=BAD)
                for key, each in world.machines.items()}  # fmt: skip
    states = {key: replace(each, sub=BAD, result=BAD, error=f"no {BAD}") for key, each in world.states.items()}
    units = {key: replace(each, by=BAD) for key, each in world.units.items()}
    pending = {key: replace(each, summary=BAD, rule=BAD)
               for key, each in world.pending.items()}  # fmt: skip
    events = {key: replace(each, writer=BAD, reason=BAD) for key, each in world.events.items()}
    events["9" * 13 + "-1"] = Event("9" * 13 + "-1", NOW, BAD, "start", "db.service", CORES[1], BAD)
    pending["db.service"] = Pending("db.service", "h", 1, BAD)
    overrides = {key: replace(each, by=BAD, metadata=((BAD, BAD),)) for key, each in world.overrides.items()}
    files = {
        key: replace(each, text=f"{each.text}# {BAD}\nDescription={BAD}\n") for key, each in world.files.items()
    }
    return replace(world, machines=machines, states=states, units=units, pending=pending, events=events,
                   overrides=overrides, files=files, leader=Leader("l", BAD))  # fmt: skip


def faults(app: Console) -> list[str]:
    """What a terminal would obey, or what breaks the rows, on the screen as it is."""
    width, found = app.size.width, []
    for y, strip in enumerate(app.screen._compositor.render_strips()):
        text = strip.text
        found += [f"row {y}: {letter!r} in {text!r}" for letter in text if not _harmless(letter)]
        if strip.cell_length != width or cell_len(text) != width:
            found.append(f"row {y}: {cell_len(text)} cells, not {width}: {text!r}")
    return found


def _harmless(letter: str) -> bool:
    return letter.isprintable() or unicodedata.category(letter) in ("Co", "Cn")


WALKS = {
    "units": "1 j j j j j", "machines": "2 j j", "pending": "3 j", "events": "4 j j j", "map": "5 down",
    "status": "j d", "why": "j w", "file": "j f", "happened": "j v", "relations": "j r",
    "machine": "2 enter d w f v", "drain": "2 D", "destroy": "j D", "stop": "asterisk X", "cordon": "2 C",
    "palette": "ctrl+p", "columns": "o", "help": "question_mark", "actions": "X a", "undo": "j X escape u",
    "filter": "slash c o r e", "command": "colon s s h space", "shell": "j s", "edit": "j e",
    "fields": "tab up enter", "search": "tab slash e v i l enter", "zoom": "tab z w",
}  # fmt: skip
SMALL, WIDE = (80, 24), (140, 40)


@pytest.mark.parametrize(
    ("walk", "size"), [*((walk, SMALL) for walk in WALKS), ("machine", WIDE), ("status", WIDE), ("drain", WIDE)]
)
async def test_nothing_on_any_screen_is_obeyed(walk: str, size: tuple[int, int]) -> None:
    async with playing(hostile(), size=size) as play:
        play.stage.hosts.text = f"● {{unit}} - {BAD}\n   Active: {BAD}\n"
        play.stage.journals.more.put_nowait([Remark(BAD), LinkNews("core-1", BAD)])
        for key in WALKS[walk].split():
            await play.press(key)
            assert faults(play.stage.app) == [], key


async def told(play: Play) -> None:
    assert faults(play.stage.app) == []


@pytest.mark.parametrize("link", [ConnectionState.LOST, ConnectionState.FOREIGN, ConnectionState.DENIED])
async def test_no_error_of_the_link_is_obeyed(link: ConnectionState) -> None:
    async with playing(hostile(), size=(80, 24)) as play:
        await play.show(hostile(), link, BAD)
        await told(play)
    async with playing(Snapshot(), size=(80, 24)) as play:
        await play.show(Snapshot(), link, BAD)
        await told(play)


async def test_no_message_of_the_console_is_obeyed() -> None:
    async with playing(hostile(), size=(80, 24)) as play:
        play.main.status.show(BAD)
        await play.settle()
        await told(play)
        play.main.runner.report(BAD, BAD)
        await play.settle()
        await told(play)
        await play.press("a")
        await told(play)
        await play.press("escape", "escape")
        play.main.navigator.filter_by(BAD)
        await play.settle()
        await told(play)
        await play.show(replace(hostile(), corrupt={f"/fleet/units/{BAD}": Corrupt("k", BAD)}))
        await told(play)


@pytest.mark.parametrize(
    "letter", [*"\u200b\u200c\u200d\u2060\u00ad\u180e\u034f\u115f\u3164\u061c\ufeff", "\U000e0041"]
)
def test_characters_that_are_not_seen_are_shown(letter: str) -> None:
    assert len(escape(f"web{letter}.service")) > len("web.service") + 1
