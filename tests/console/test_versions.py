"""Versions in the console: which rows run an old file, how these are rolled out, how one comes back."""

from __future__ import annotations

from dataclasses import replace

from fleettui.console.commandline.commands import (
    CommandContext,
    RestoreVersion,
    RollUnits,
    ShowVersion,
    parse_command,
)
from fleettui.console.pages.file import file_page
from fleettui.console.screens.unit_operations import newest_texts
from fleettui.console.tables.query import parse_query
from fleettui.console.tables.units import UnitRows, version_cell
from fleettui.console.text.cells import line_text
from registry.keys import Address, Table
from registry.mirror import Snapshot
from registry.model import Config, ConfigVersion, RolloutState, Target, UnitText
from registry.units.file import file_hash
from registry.units.pins import pinned, pins_of
from tests.console.fleetshow import NOW, PLAIN, build, state
from tests.console.scenes import rolling
from tests.console.test_asking import question
from tests.console.test_screen import playing

NEW = PLAIN + "# new\n"
OLD_HASH, NEW_HASH = file_hash(PLAIN), file_hash(NEW)


def half_done() -> Snapshot:
    """The template has a new file; of its three instances one has it, too."""
    names = [f"shop@{n}.service" for n in (1, 2, 3)]
    world = build(
        {"shop@.service": (PLAIN, Target.INACTIVE), **dict.fromkeys(names, (PLAIN, Target.LAUNCHED))},
        [(name, at) for at, name in enumerate(names, 1)],
        [state(name, at, PLAIN) for at, name in enumerate(names, 1)],
    )  # fmt: skip
    units = dict(world.units)
    for name in ("shop@.service", "shop@1.service"):
        units[name] = replace(units[name], hash=NEW_HASH, history=(OLD_HASH,), generation=2)
    states = {
        pair: replace(each, hash=NEW_HASH, generation=2) if pair[1] == names[0] else each
        for pair, each in world.states.items()
    }
    return replace(world, units=units, states=states, files={**world.files, NEW_HASH: UnitText(NEW_HASH, NEW)})


def old_ones(rows: UnitRows) -> set[str]:
    query = parse_query("is:old")
    return {row.unit for row in rows.rows().values() if not row.is_group and query.test(0.0)(row)}


def rows_of(world: Snapshot) -> UnitRows:
    rows = UnitRows()
    rows.update(world)
    return rows


def test_an_instance_is_old_that_has_an_earlier_file_of_its_template() -> None:
    rows = rows_of(half_done())
    assert old_ones(rows) == {"shop@2.service", "shop@3.service"}
    found = rows.rows()
    assert version_cell(found["shop@2.service"], NOW).text == f"{OLD_HASH[:7]} old"
    assert version_cell(found["shop@1.service"], NOW).text == NEW_HASH[:7]
    assert version_cell(found["shop@.service"], NOW).text == "2 old"


def test_an_instance_is_old_also_where_the_template_has_no_record() -> None:
    world = half_done()
    units = {name: record for name, record in world.units.items() if name != "shop@.service"}
    after = replace(world, units=units)
    assert old_ones(rows_of(after)) == {"shop@2.service", "shop@3.service"}

    first = units["shop@1.service"]
    before = replace(after, units={**units, first.name: replace(first, hash=OLD_HASH, history=())})
    rows = rows_of(before)
    assert old_ones(rows) == {"shop@1.service"}  # it runs another file than its record names
    rows.update(after, frozenset({Address(Table.UNITS, first.name)}))
    assert old_ones(rows) == {"shop@2.service", "shop@3.service"}

    back = replace(units["shop@2.service"], history=(NEW_HASH,), at=first.at + 1)  # tried it, and went back since
    assert old_ones(rows_of(replace(after, units={**units, back.name: back}))) == {
        "shop@1.service",
        "shop@3.service",
    }


def test_a_template_that_changes_makes_its_instances_old_and_no_other_row_is_made_again() -> None:
    after, before = half_done(), half_done()
    template = replace(before.units["shop@.service"], hash=OLD_HASH, history=())
    before = replace(before, units={**before.units, "shop@.service": template})
    rows = rows_of(before)
    assert old_ones(rows) == set()
    delta = rows.update(after, frozenset({Address(Table.UNITS, "shop@.service")}))
    assert not delta.reset
    assert old_ones(rows) == {"shop@2.service", "shop@3.service"}


def test_what_a_rollout_has_yet_to_replace_is_old_until_it_is_over() -> None:
    rows = rows_of(rolling())
    assert old_ones(rows) == {"shop@5.service", "shop@6.service"}
    over = replace(rolling().rollouts["shop-2"], state=RolloutState.ABORTED)
    delta = rows.update(
        replace(rolling(), rollouts={"shop-2": over}), frozenset({Address(Table.ROLLOUTS, "shop-2")})
    )
    assert not delta.reset
    assert old_ones(rows) == set()


def test_a_unit_is_old_until_it_runs_what_its_record_names() -> None:
    world = half_done()
    units = {**world.units, "shop@3.service": replace(world.units["shop@3.service"], hash=NEW_HASH)}
    assert "shop@3.service" in old_ones(rows_of(replace(world, units=units)))


def test_the_newest_text_is_that_of_the_template_for_its_old_instances_alone() -> None:
    world = half_done()
    assert newest_texts([*world.units], world) == {"shop@2.service": NEW, "shop@3.service": NEW}


async def test_old_instances_of_a_group_are_rolled_out_by_one_key() -> None:
    async with playing(half_done()) as play:
        assert play.main.views.open.table.select("shop@.service")
        await play.press("O")
        assert "Roll out the template's file to 2 units?" in question(play)
        await play.press("right", "enter")
        assert play.stage.port.calls == [("roll 1", ("shop@2.service", "shop@3.service"))]


async def test_yesterdays_file_comes_back_from_the_file_page() -> None:
    async with playing(half_done()) as play:
        assert play.main.views.open.table.select("shop@1.service")
        await play.press("f", "less_than_sign", "B")
        assert f"Bring back {OLD_HASH[:7]} for shop@1.service?" in question(play)
        await play.press("right", "enter")
        assert play.stage.port.calls[0][1] == ("shop@1.service",)


def test_the_file_page_lists_the_versions_below_the_text() -> None:
    text = "\n".join(line_text(line) for line, _ in file_page(half_done(), "shop@1.service", NOW))
    assert text.index("ExecStart") < text.index("history") < text.index(f"1 back   {OLD_HASH[:7]}")
    text = "\n".join(line_text(line) for line, _ in file_page(half_done(), "shop@1.service", NOW, 1))
    assert "B restores it" in text


def test_the_command_line_knows_versions() -> None:
    context = CommandContext(half_done())
    rolled = parse_command("restart shop@1 --at-a-time 2", context)
    assert isinstance(rolled, RollUnits)
    assert rolled.flags.at_a_time == "2"
    assert isinstance(parse_command("rollout shop@1", context), RollUnits)
    assert parse_command("history shop@1", context) == ShowVersion("shop@1.service")
    assert parse_command("diff shop@1", context) == ShowVersion("shop@1.service", 1)
    found = parse_command(f"rollback shop@1 {OLD_HASH[:7]}", context)
    assert isinstance(found, RestoreVersion)
    assert (found.unit, found.back) == ("shop@1.service", 1)


def test_a_unit_whose_config_has_a_newer_version_is_old_and_says_so_and_a_rollout_gives_it_that() -> None:
    world, name = half_done(), "shop@3.service"
    text = pinned("[X-Fleet]\nConfig=web\n" + NEW, name, lambda _: "1" * 64)
    unit = replace(world.units[name], hash=file_hash(text), history=())
    states = {
        pair: replace(each, hash=unit.hash) if pair[1] == name else each for pair, each in world.states.items()
    }
    files = {**world.files, unit.hash: UnitText(unit.hash, text)}
    config = Config("web", (ConfigVersion("1" * 64, 1),))
    world = replace(world, units={**world.units, name: unit}, states=states, files=files, config={"web": config})
    rows = rows_of(world)
    assert name not in old_ones(rows)
    newer = Config("web", (ConfigVersion("2" * 64, 2), *config.versions))
    after = replace(world, config={"web": newer})
    delta = rows.update(after, frozenset({Address(Table.CONFIG, "web")}))
    assert not delta.reset
    assert set(delta.changed) <= {name, "shop@.service"}
    assert name in old_ones(rows)
    page = "\n".join(line_text(line) for line, _ in file_page(after, name, NOW))
    assert "config web  version 1, version 2 is the newest: a rollout brings it" in page
    assert pins_of(newest_texts([name], after)[name])[0].version == "2" * 64
