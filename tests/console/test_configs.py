"""Configs and secrets in the console: what is seen of them, and that no secret ever is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from textual.widgets import Button

from fleettui.console.pages.file import ConfigOrder, content_page, versions_page
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.sources.background import StoredContent
from fleettui.console.tables.configs import ConfigRows, config_told
from fleettui.console.text.cells import line_text
from fleettui.console.text.subject import Subject, SubjectKind
from registry.errors import RegistryUnavailable
from registry.keys import Address, Table
from registry.mirror import Snapshot
from registry.model import ConfigVersion, Event, UnitVersion
from registry.sealing import new_key, public_of, seal
from registry.units.content import ConfigContent, config_text, most_bytes
from registry.units.pins import NeedKind
from tests.console.fleetshow import NOW
from tests.console.scenes import HOLDING, configured, stored_texts
from tests.console.test_asking import question
from tests.console.test_screen import Play, playing

SHOP = Subject(SubjectKind.CONFIG, "shop")


def rows_of(snapshot: Snapshot) -> ConfigRows:
    rows = ConfigRows()
    rows.update(snapshot)
    return rows


def page_text(play: Play) -> str:
    return play.main.views.detail.page.text


def test_a_row_counts_the_units_and_those_with_an_older_version() -> None:
    row = rows_of(configured()).rows["config shop"]
    assert (row.version, row.units, row.lagging) == (2, 5, ("shop@3.service", "shop@4.service"))
    assert row.content == "1 file, 2 variables"
    secret = rows_of(configured()).rows["secret pay-key"]
    assert (secret.version, secret.units, secret.lagging) == (1, 5, ())


def test_only_what_a_change_is_about_is_looked_at_again() -> None:
    rows, world = rows_of(configured()), configured()
    newest = world.units["shop@1.service"].hash
    turned = {**world.units, "shop@3.service": replace(world.units["shop@3.service"], hash=newest)}
    delta = rows.update(replace(world, units=turned), frozenset({Address(Table.UNITS, "shop@3.service")}))
    assert [*delta.changed] == ["config shop"]
    assert rows.lagging(["config shop", "no such"]) == ["shop@4.service"]
    assert not rows.update(replace(world, units=turned), frozenset({Address(Table.UNITS, "other.service")}))
    gone = {name: unit for name, unit in turned.items() if name != "shop@4.service"}
    rows.update(replace(world, units=gone), frozenset({Address(Table.UNITS, "shop@4.service")}))
    assert "shop@4.service" not in rows.holders("config shop")
    delta = rows.update(replace(world, config={}), frozenset({Address(Table.CONFIG, "shop")}))
    assert delta.removed == {"config shop"}


def test_a_global_unit_is_older_until_its_last_machine_has_had_its_turn() -> None:
    world = configured()
    before, after = (world.units[f"shop@{number}.service"].hash for number in (3, 1))
    turned = UnitVersion(after, 2, ("7aea1bb4" * 4,))
    unit = replace(world.units["shop@3.service"], name="all.service", hash=before, on=(turned,))
    rows = rows_of(replace(world, units={"all.service": unit}))
    assert rows.lagging(["config shop"]) == ["all.service"]
    assert rows.holders("config shop")["all.service"] != world.config["shop"].versions[0].hash
    unit = replace(unit, hash=after, on=())
    rows.update(replace(world, units={"all.service": unit}), frozenset({Address(Table.UNITS, "all.service")}))
    assert rows.lagging(["config shop"]) == []


def test_a_unit_counts_as_soon_as_its_file_is_there() -> None:
    world = configured()
    rows = rows_of(replace(world, files={}))
    assert rows.rows["config shop"].units == 0
    changed = frozenset(Address(Table.FILES, sha) for sha in world.files)
    rows.update(world, changed)
    assert rows.rows["config shop"].units == 5


@pytest.mark.parametrize(
    ("verb", "reason", "about"),
    [
        ("config", "config shop: version 2", (NeedKind.CONFIG, "shop")),
        ("secret", "secret db: destroyed", (NeedKind.SECRET, "db")),
        ("start", "config shop: version 2", None),
        ("config", "something else", None),
    ],
)
def test_an_event_says_which_config_it_is_about(verb: str, reason: str, about: tuple[NeedKind, str] | None) -> None:
    assert config_told(Event("1", NOW, "a", verb, "", "", reason)) == about


def test_a_hostile_config_is_text_on_its_page() -> None:
    name, world = "shop", configured()
    evil = ConfigContent({"\u202eevil": b"\x1b[2Jgone\n", "bin": bytes(range(256))}, {"A": "line\nnext"})
    sha = world.config[name].versions[0].hash
    text = config_text(name, ConfigContent({"bin": evil.files["bin"], "x": b"\x1b[2Jgone\n"}, evil.variables))
    order = ConfigOrder(contents={sha: StoredContent(text)})
    shown = "\n".join(line_text(line) for line, _ in content_page(world, SHOP, order, 0, NOW, ("<", ">", "B")))
    assert "\x1b" not in shown
    assert "A=line\\nnext" in shown
    assert "[bin]  256 bytes\n(not text)" in shown
    broken = ConfigOrder(contents={sha: StoredContent("{}")})
    told = "\n".join(line_text(line) for line, _ in content_page(world, SHOP, broken, 0, NOW, ("<", ">", "B")))
    assert "the content is none of config shop; set it again" in told


@pytest.mark.parametrize("length", [1, 252, 253, 1000])
def test_the_most_that_a_secret_can_have_is_never_too_little(length: int) -> None:
    sealed = seal(public_of(new_key()), "db", b"x" * length)[1]
    assert length <= most_bytes(len(sealed)) < length + 256


def test_what_is_gone_says_so() -> None:
    world = replace(configured(), config={})
    assert [line_text(line) for line, _ in versions_page(world, SHOP, ConfigOrder(), NOW)] == [
        "✖ there is no config shop in the registry"
    ]


async def test_the_view_leads_to_a_config_its_units_and_back() -> None:
    async with playing(configured(), **HOLDING) as play:
        assert "7 Configs" in play.text("tabs")
        await play.press("7", "j", "j")
        assert play.cursor == "config shop"
        assert "OLDER" in play.table()
        await play.press("enter")
        assert "2 units with an older version · O rolls out the newest" in page_text(play)
        assert "units with an older version: 2\n  shop@3.service" in page_text(play)
        play.main.navigator.follow_link(Subject(SubjectKind.UNIT, "shop@3.service"))
        await play.press("f")
        assert "config shop  version 1, version 2 is the newest: a rollout brings it" in page_text(play)
        play.main.navigator.follow_link(SHOP)
        await play.settle()
        assert play.main.views.detail.subject == SHOP
        await play.press("v")
        assert "config shop: version 2" in page_text(play)
        await play.press("left_square_bracket", "left_square_bracket", "left_square_bracket")
        assert play.main.views.detail.subject.name == "shop@3.service"


async def test_the_content_of_a_config_is_shown_for_each_version() -> None:
    async with playing(configured(), **HOLDING) as play:
        await play.press("7", "j", "j", "f")
        assert "PORT=8080" in page_text(play)
        assert "limit = 40" in page_text(play)
        await play.press("less_than_sign")
        assert "- limit = 20" in page_text(play)
        assert "+ MODE=fast" in page_text(play)


async def test_a_content_that_cannot_be_read_says_why_and_is_asked_for_again() -> None:
    calls = []

    async def failing(kind: NeedKind, name: str, version: ConfigVersion) -> str:  # noqa: ARG001 - one fits
        calls.append(name)
        if len(calls) == 1:
            raise RegistryUnavailable("no endpoint answered")
        return next(text for text in stored_texts()[f"{kind.lower()} {name}"])

    async with playing(configured(), contents=failing) as play:
        await play.press("7", "j", "j", "f")
        assert "✖ no endpoint answered" in page_text(play)
        await play.press("escape", "k", "k", "f", "escape", "j", "j", "f")
        assert "limit = 40" in page_text(play)


async def test_nothing_of_a_secret_is_shown_but_what_it_may_be() -> None:
    async with playing(configured(), **HOLDING) as play:
        await play.press("colon", *"secrets", "enter")
        assert [*play.main.views.open.table.listing.order] == ["secret pay-key"]
        await play.press("enter")
        text = page_text(play)
        assert "version 1 has at most 252 bytes, for the key 3fa9c12e44b0d1a7" in text
        assert "AAAA" not in text
        await play.press("f")
        assert page_text(play) == text


async def test_the_units_that_lag_behind_are_rolled_out_after_a_question() -> None:
    async with playing(configured(), **HOLDING) as play:
        await play.press("7", "j", "j", "O")
        assert isinstance(play.stage.app.screen, ConfirmScreen)
        assert "Roll out the newest configs to 2 units?" in question(play)
        assert str(play.stage.app.screen.query_one("#go", Button).label) == "Roll out (y)"
        assert "fleetctl rollout shop@3.service shop@4.service --at-a-time 1" in question(play)
        await play.press("y")
        assert play.stage.port.calls == [("roll 1", ("shop@3.service", "shop@4.service"))]


@pytest.mark.parametrize("read_only", [True, False])
async def test_where_nothing_lags_or_nothing_may_be_changed_the_key_says_so(read_only: bool) -> None:
    async with playing(configured(), read_only=read_only, **HOLDING) as play:
        await play.press("7", *(("j", "j") if read_only else ()), "O", "X", "D")
        assert play.stage.port.calls == []
        assert not isinstance(play.stage.app.screen, ConfirmScreen)


async def test_a_fleet_without_configs_has_no_such_tab_until_it_is_opened() -> None:
    async with playing() as play:
        assert "Configs" not in play.text("tabs")
        await play.press("7")
        assert "7 Configs" in play.text("tabs")
        assert "no config and no secret yet" in play.table()
