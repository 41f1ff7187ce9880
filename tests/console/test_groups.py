"""A template and a global unit have a page of their own, and a template is scaled from it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleettui.console.commandline.commands import CommandContext, Scale, parse_command
from fleettui.console.operations.impact import PREDICTED
from fleettui.console.pages.group import group_page
from fleettui.console.tables.units import UnitRows
from fleettui.console.text.cells import line_text
from registry.errors import UserError
from registry.mirror import Snapshot
from registry.model import Availability, Override, UnitHealth
from tests.console.fleetshow import NOW, scene
from tests.console.scenes import rolling, stopped
from tests.console.test_asking import question
from tests.console.test_screen import playing
from tests.console.test_versions import NEW_HASH, half_done
from tests.console.test_versions import OLD_HASH as PLAIN_HASH


def text_of(world: Snapshot, name: str = "shop@.service") -> str:
    rows = UnitRows()
    rows.update(world)
    members = [row for unit in rows.instances(name) or (name,) for row in rows.rows_of(unit)]
    return "\n".join(line_text(line) for line, _ in group_page(world, name, members, NOW))


def test_the_page_of_a_template_has_its_instances_the_worst_first() -> None:
    text = text_of(stopped())
    assert "template: 6 instances" in text
    assert "✖ 1 failed" in text
    assert "● 5 active" in text
    assert text.rindex("shop@3.service") < text.rindex("shop@1.service")


def test_the_page_of_a_template_has_spread_versions_and_what_rolls() -> None:
    text = text_of(rolling())
    assert "↻ running  shop-2" in text
    machines, versions = text.index("machines"), text.index("versions")
    assert machines < versions
    assert "core-1" in text[machines:versions]
    assert "2  old  shop@5.service, shop@6.service" in text[versions:]
    assert "O gives the old ones" not in text  # the template has no newer one
    assert "O gives the old ones the template's file" in text_of(half_done())


def test_a_file_of_the_template_that_no_instance_has_is_named() -> None:
    world = half_done()
    assert "0  the present file" not in text_of(world)
    units = {**world.units, "shop@1.service": world.units["shop@2.service"]}
    states = {pair: replace(each, hash=PLAIN_HASH) for pair, each in world.states.items()}
    text = text_of(replace(world, units=units, states=states))
    assert f"{NEW_HASH[:7]}     0  the present file" in text


def test_checks_are_counted_where_there_are_any() -> None:
    world = rolling()
    assert "checks:" not in text_of(world)
    states = {pair: replace(each, health=UnitHealth.HEALTHY) for pair, each in world.states.items()}
    pair = next(iter(states))
    states[pair] = replace(states[pair], health=UnitHealth.UNHEALTHY)
    assert "checks: 5 healthy  1 unhealthy" in text_of(replace(world, states=states))


def test_a_global_unit_has_a_line_for_each_machine() -> None:
    text = text_of(scene(), "exporter.service")
    assert "global: on every machine that can" in text
    assert all(f"core-{number}" in text for number in (1, 2, 3))


async def test_detail_of_a_group_row_is_its_page_with_the_merged_journal() -> None:
    async with playing(rolling()) as play:
        assert play.main.views.open.table.select("shop@.service")
        await play.press("d")
        assert "template: 6 instances" in play.main.views.detail.page.text
        assert play.main.selection.units() == [f"shop@{number}.service" for number in range(1, 7)]
        await play.press("l")
        assert set(play.stage.journals.asked[-1]) == {f"shop@{number}.service" for number in range(1, 7)}


async def test_the_page_of_a_global_unit_is_of_all_its_machines() -> None:
    async with playing() as play:
        assert play.main.views.open.table.select("exporter.service")
        await play.press("d")
        assert "on machines" in play.main.views.detail.page.text


async def test_plus_starts_one_more_and_minus_asks_before_it_destroys_the_last() -> None:
    async with playing(rolling()) as play:
        assert play.main.views.open.table.select("shop@.service")
        await play.press("plus")
        assert play.stage.port.calls == [("submit launched", ("shop@7.service",))]
        await play.press("minus")
        assert "Scale shop@.service to 5?" in question(play)
        await play.press("enter")
        assert len(play.stage.port.calls) == 1
        await play.press("minus", "right", "enter")
        assert play.stage.port.calls[-1] == ("destroy", ("shop@6.service",))


async def test_scale_says_what_starts_and_what_is_destroyed() -> None:
    async with playing(rolling()) as play:
        await play.main.prompts.execute("scale shop@.service 3")
        await play.settle()
        told = question(play)
        assert "shop@4.service, shop@5.service, shop@6.service" in told
        assert "fleetctl scale shop@.service 3" in told
        await play.press("escape")
        await play.main.prompts.execute("scale shop@.service 6")
        assert "has 6 instances already" in play.text("hint")
        await play.main.prompts.execute("scale shop@.service 8")
        await play.settle()
        assert "By what is known now: 1 to core-" in question(play)
        await play.press("escape")
        await play.main.prompts.execute(f"scale shop@.service {7 + PREDICTED}")
        await play.settle()
        assert "Where each of them goes is worked out for up to 64 units." in question(play)
        assert "By what is known now" not in question(play)


async def test_scale_says_beforehand_what_finds_no_machine() -> None:
    told = rolling()
    full = {machine: Override(machine, Availability.CORDONED) for machine in told.machines}
    async with playing(replace(told, overrides=full)) as play:
        await play.main.prompts.execute("scale shop@.service 8")
        await play.settle()
        assert "shop@7.service, shop@8.service wait: " in question(play)
        await play.press("escape")
        assert play.main.views.open.table.select("shop@.service")
        await play.press("plus")  # one more that fits somewhere is not asked about
        assert "shop@7.service waits: " in question(play)
        assert play.stage.port.calls == []


def test_only_templates_are_scaled() -> None:
    context = CommandContext(rolling())
    assert parse_command("scale shop@ 2", context) == Scale("shop@.service", 2)
    with pytest.raises(UserError, match="no template"):
        parse_command("scale db.service 2", context)
