"""Pages are a function of the snapshot: why, what if, who needs whom, what changed. No screen here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fleettui.actions.versions import versions
from fleettui.console.operations.relations import Edge, edges_from, edges_to, stops_with
from fleettui.console.pages.dependencies import dependencies_page
from fleettui.console.pages.detail import Order, event_page, is_heavy, places, status_page, write
from fleettui.console.pages.file import change_counts, diff_lines, file_page, sharing
from fleettui.console.pages.machine import drain_page, facts_page, metadata_page
from fleettui.console.pages.placement import ONE_BY_ONE, if_drained, if_lost, placement_page, wishes
from fleettui.console.pages.rich_text import RichText, lines_of
from fleettui.console.screens.navigator import Location, Navigation
from fleettui.console.sources.hosts import Asked
from fleettui.console.text.cells import Cell, Line, Tone, ansi_lines, line_text
from fleettui.console.text.subject import Tab, machine_subject, unit_subject
from fleettui.console.widgets.drawing import width_of, wrapped
from registry.mirror import Snapshot
from registry.model import Availability, Event, Override, Target, UnitText
from registry.units.file import file_hash, parse
from registry.units.options import parse_options
from tests.console.fleetshow import CORES, NOW, PLAIN, WEB, build, machine, scene, state

UP = Target.LAUNCHED
DB = "[Service]\nExecStart=/bin/db\n"
APP = (
    "[Unit]\nAfter=network.target db.service\nRequires=db.service\n[Service]\nExecStart=/bin/app\n"
    "[Install]\nWantedBy=shop.target\n"
)
SIDE = "[Unit]\nBindsTo=app.service\n[Service]\nExecStart=/bin/side\n[X-Fleet]\nMachineOf=app.service\n"


def text_of(page: RichText) -> str:
    return "\n".join(line_text(line) for line in lines_of(page))


def shop(app_on: int = 1, db_on: int = 1) -> Snapshot:
    units = {"db.service": (DB, UP), "app.service": (APP, UP), "side.service": (SIDE, UP)}
    places_ = [("db.service", db_on), ("app.service", app_on), ("side.service", app_on)]
    states = [
        state("db.service", db_on, DB),
        state("app.service", app_on, APP),
        state("side.service", app_on, SIDE),
    ]
    return build(units, places_, states)


def test_a_running_unit_says_where_since_when_and_what_if() -> None:
    told = text_of(placement_page(scene(), "web@1.service", NOW))
    assert "launched on core-1" in told  # by its name, not its id
    assert "never beside web@*.service (Conflicts)" in told
    assert "core-2         ◌ refuses   4 units     conflicts with web@2.service" in told
    assert "core-1 is lost:" in told


def test_what_if_predicts_a_new_home_or_says_why_there_is_none() -> None:
    snapshot = scene()
    assert if_lost(snapshot, "db.service", CORES[3]).machine in (CORES[1], CORES[2])
    lost = if_lost(snapshot, "web@1.service", CORES[1])
    assert lost.machine == ""
    assert "conflict" in lost.reason
    assert if_drained(snapshot, "web@1.service", CORES[1]).machine == ""
    assert if_drained(snapshot, "cache.service", CORES[1]).machine in (CORES[2], CORES[3])


def test_hundreds_of_machines_are_told_in_groups() -> None:
    base = machine(1)
    machines = {
        f"{n:032x}": replace(
            base, id=f"{n:032x}", hostname=f"m{n}", metadata=(("region", "r1" if n % 2 else "r2"),)
        )
        for n in range(ONE_BY_ONE * 10)
    }
    text = "[Service]\nExecStart=/bin/x\n[X-Fleet]\nMachineMetadata=region=r1\n"
    snapshot = replace(build({"x.service": (text, UP)}, [], []), machines=machines)
    told = text_of(placement_page(snapshot, "x.service", NOW))
    assert "○ could     120 machines" in told
    assert "◌ refuses   120 machines   metadata region=r1 required; it has region=r2" in told
    assert "and 114 more" in told
    assert len(told.splitlines()) < 30


def test_relations_are_read_in_both_directions() -> None:
    snapshot = shop()
    assert Edge("Requires", "app.service", "db.service") in edges_from(snapshot, "app.service")
    assert Edge("Requires", "app.service", "db.service") in edges_to(snapshot, "db.service")
    assert Edge("Wants", "shop.target", "app.service") in edges_to(snapshot, "app.service")
    assert Edge("MachineOf", "side.service", "app.service", fleet=True) in edges_to(snapshot, "app.service")


def test_names_with_specifiers_are_read_for_each_unit() -> None:
    text = "[Unit]\nAfter=db@%i.service\n[Service]\nExecStart=/bin/x\n"
    units = {"x@1.service": (text, UP), "x@2.service": (text, UP), "db@2.service": (DB, UP)}
    assert edges_to(build(units, [], []), "db@2.service") == [Edge("After", "x@2.service", "db@2.service")]


def test_a_timer_activates_its_service() -> None:
    units = {"a.timer": ("[Timer]\nOnCalendar=daily\n", UP), "a.service": (DB, UP)}
    assert edges_to(build(units, [], []), "a.service") == [Edge("Activates", "a.timer", "a.service")]


def test_what_stops_with_a_unit_is_told_with_the_chain_and_only_on_its_machine() -> None:
    assert stops_with(shop(), "db.service") == {"app.service": "Requires=db.service",
                                                "side.service": "BindsTo=app.service"}  # fmt: skip
    assert stops_with(shop(app_on=1, db_on=2), "db.service") == {}


def test_a_dependency_on_another_machine_is_called_useless_and_mended() -> None:
    told = text_of(dependencies_page(shop(app_on=1, db_on=2), "app.service"))
    assert "on another machine, where systemd cannot see it; add MachineOf=" in told.replace("\n", " ")
    assert "network.target         each machine's own" in told


def test_a_pattern_of_conflicts_tells_the_units_it_means() -> None:
    page = dependencies_page(scene(), "web@1.service")
    told = text_of(page)
    assert "Conflicts          web@*.service  2 in the fleet" in told
    assert unit_subject("web@2.service") in [to for _, to in page]


def replaced() -> Snapshot:
    base = build({"a.service": (PLAIN + "Restart=no\n", UP)}, [], [])
    old = UnitText(file_hash(PLAIN), PLAIN)
    record = replace(base.units["a.service"], history=(old.hash,))
    events = {
        "1": Event("1", NOW - 900, "ann@desk", "start", "a.service"),
        "2": Event("2", NOW - 60, "bob@desk", "replace", "a.service", reason=f"was {old.hash[:7]}"),
    }
    return replace(base, units={"a.service": record}, files={**base.files, old.hash: old}, events=events)


def test_versions_know_who_brought_them_and_when() -> None:
    found = versions(replaced(), "a.service")
    assert [(each.by, each.at) for each in found] == [("bob@desk", NOW - 60), ("ann@desk", NOW - 900)]
    told = text_of(file_page(replaced(), "a.service", NOW))
    assert "by bob@desk, 60 s ago" in told
    assert "1 earlier version · < shows what changed" in told


def test_an_older_version_is_compared_with_the_present_one() -> None:
    told = text_of(file_page(replaced(), "a.service", NOW, older=5))
    assert "+ Restart=no" in told
    assert "by ann@desk" in told


def test_a_collected_version_and_a_missing_file_are_told() -> None:
    snapshot = replaced()
    files = {snapshot.units["a.service"].hash: snapshot.files[snapshot.units["a.service"].hash]}
    assert "no longer has the text" in text_of(file_page(replace(snapshot, files=files), "a.service", NOW, older=1))
    assert "submit it again" in text_of(file_page(replace(snapshot, files={}), "a.service", NOW))


def test_instances_that_share_a_text_are_told() -> None:
    assert sharing(scene(), "web@1.service", file_hash(WEB)) == ["web@.service", "web@2.service", "web@3.service"]
    assert sharing(scene(), "db.service", file_hash(PLAIN)) == []


def test_a_difference_counts_and_shows_no_control_characters() -> None:
    assert change_counts("a\nb\n", "a\nc\nd\n") == (2, 1)
    assert "\x1b" not in "".join(line_text(line) for line in diff_lines("a\n", "\x1b[31ma\n"))
    assert line_text(diff_lines("a\n", "a\n")[0]) == "nothing differs"
    assert "ends of lines" in line_text(diff_lines("a\n", "a")[0])


def test_colours_become_tones_and_all_else_is_shown() -> None:
    (line,) = ansi_lines("\x1b]8;;file:///x\x07\x1b[0;1;32mactive\x1b[0m \x1b[2Jgone \x1b[0;38;5;245mgrey")
    assert line == (Cell("active", Tone.GOOD), Cell(" ␛[2Jgone "), Cell("grey", Tone.QUIET))


def test_a_status_that_cannot_be_had_falls_back_to_the_registry_with_the_reason() -> None:
    homes = places(scene(), "sync.service")
    asked = Asked(homes[0], error="cannot reach core-2: no answer; is it up?")
    told = text_of(status_page(scene(), "sync.service", homes, asked, NOW))
    assert "cannot reach core-2" in told
    assert "what follows is from the registry" in told
    assert "exit-code, exit status 203" in told


def test_an_old_answer_stays_and_says_how_old_it_is() -> None:
    homes = places(scene(), "db.service")
    asked = replace(Asked(homes[0]).answered("hello\n", NOW - 40), error="cannot reach core-3")
    told = text_of(status_page(scene(), "db.service", homes, asked, NOW))
    assert "what follows is 40 s old" in told
    assert "hello" in told


@pytest.mark.parametrize(
    ("unit", "told"), [("mars.service", "on no machine"), ("exporter.service", "on 3 machines")]
)
def test_a_unit_on_no_machine_or_on_many_says_so(unit: str, told: str) -> None:
    assert told in text_of(status_page(scene(), unit, places(scene(), unit), Asked(), NOW))


def test_a_drain_is_told_before_it_begins_and_what_blocks_it() -> None:
    page = drain_page(scene(), CORES[1])
    told = text_of(page)
    assert "a drain of core-1 would move 2 units; 1 would stay and block it" in told
    assert "✖ web@1.service" in told
    assert "exporter.service" in told.split("belongs to the machine")[1]
    assert unit_subject("web@1.service") in [to for _, to in page]
    draining = replace(scene(), overrides={CORES[1]: Override(CORES[1], Availability.DRAINING)})
    assert "the drain of core-1 is blocked by 1 unit; 2 on the move" in text_of(drain_page(draining, CORES[1]))


def test_metadata_says_where_each_value_comes_from() -> None:
    override = Override(
        CORES[1], metadata=(("disk", "ssd"), ("node", ""), ("region", "mars")), by="ann@desk", at=NOW
    )
    told = text_of(metadata_page(replace(scene(), overrides={CORES[1]: override}), CORES[1], NOW))
    assert "mars                     set here, instead of its own r1" in told
    assert "(taken away)             set here, instead of its own n1" in told
    assert "set here by ann@desk" in told


def test_facts_of_a_lost_machine_and_of_one_that_lives() -> None:
    assert "10.91.0.11" in text_of(facts_page(scene(), CORES[1], NOW))
    lost = replace(scene(), machines={})
    assert "lost" in text_of(facts_page(lost, CORES[1], NOW))


def test_events_lead_to_the_other_party() -> None:
    page = event_page(scene(), unit_subject("web@3.service"), NOW)
    assert [line_text(line).split()[3] for line, _ in page] == ["place", "start"]
    assert page[0][1] == machine_subject(CORES[3])


def test_a_destroyed_unit_says_who_destroyed_it() -> None:
    gone = replace(scene(), units={}, events={"9": Event("9", NOW - 5, "ann@desk", "destroy", "db.service")})
    told = text_of(write(Order(unit_subject("db.service"), Tab.FILE), gone, NOW))
    assert "no longer in the registry: destroyed by ann@desk 5 s ago; it is still being stopped" in told


def test_no_page_lets_control_characters_through() -> None:
    bad = "[Unit]\nAfter=\x1b[31mx.service\n[Service]\nExecStart=/bin/\x1b]0;x\x07\n"
    snapshot = build({"a.service": (bad, UP)}, [("a.service", 1)], [state("a.service", 1, bad, error="\x1b[2J")])
    hostile = replace(machine(1), hostname="\x1b[1mroot", metadata=(("k", "\x1b[0m"),))
    snapshot = replace(snapshot, machines={**snapshot.machines, CORES[1]: hostile})
    subjects = (unit_subject("a.service"), machine_subject(CORES[1]))
    for subject in subjects:
        for tab in subject.tabs:
            told = text_of(write(Order(subject, tab), snapshot, NOW))
            assert told.replace("\n", "").isprintable(), (subject, tab)


def test_a_large_fleet_is_looked_at_beside_the_keys() -> None:
    order = Order(unit_subject("web@1.service"), Tab.PLACEMENT)
    assert not is_heavy(order, scene())
    many = {(CORES[1], f"u{n}.service"): scene().schedule[CORES[1], "web@1.service"] for n in range(4000)}
    assert is_heavy(order, replace(scene(), schedule=many))


def test_a_trail_goes_back_and_forward_and_forgets_what_was_ahead() -> None:
    trail = Navigation(Location("units"))
    one, two = Location("detail", subject=unit_subject("a"), tab=Tab.STATUS), Location("machines")
    trail.visit(one)
    trail.visit(two)
    assert trail.step(-1) == one
    assert trail.step(-1) == Location("units")
    assert trail.step(-1) is None
    assert trail.step(1) == one
    trail.visit(replace(one, tab=Tab.FILE))
    assert trail.step(1) is None
    assert trail.leave() == Location("units")


def test_a_place_remembers_the_row_it_was_left_on() -> None:
    trail = Navigation(Location("units", row="a"))
    trail.visit(Location("units", row="b"))
    assert trail.room() == (0, 0)
    assert trail.here.row == "b"


LONG: Line = (
    Cell("  name   ", Tone.STRONG),
    Cell("some words that do not fit in one line, and averyveryverylongword"),
)


@pytest.mark.parametrize("width", [24, 30, 41, 80, 200])
def test_wrapped_lines_fit_lose_nothing_and_hang_below_their_column(width: int) -> None:
    found = wrapped(LONG, width)
    assert all(sum(width_of(cell.text) for cell in line) <= width + 1 for line in found)  # a blank may hang over
    joined = "".join(line_text(line).strip() for line in found).replace(" ", "")
    assert joined == line_text(LONG).replace(" ", "")
    assert all(line_text(line).startswith(" " * 9) for line in found[1:])


def test_wide_letters_are_never_cut_in_two() -> None:
    found = wrapped((Cell("漢字" * 40),), 31)
    assert all(sum(width_of(cell.text) for cell in line) <= 31 for line in found)


def test_what_a_unit_needs_and_would_rather_have_is_told_in_words() -> None:
    lines = (
        "MemoryReserve=512M",
        "CPUReserve=50%",
        "SpreadOver=region",
        "PreferMetadata=disk=ssd",
        "Sticky=true",
        "MoveAfterFailures=3/10min",
    )
    options = parse_options(parse("[X-Fleet]\n" + "\n".join(lines)), "web@1.service")
    assert [*wishes(options)] == [
        "with 512M of memory and 0.5 CPUs free",
        "rather where few of its template are, by region (SpreadOver)",
        "rather where disk is ssd (PreferMetadata)",
        "rather where it was last (Sticky)",
        "rather not where it has failed 3 times in 10min (MoveAfterFailures)",
    ]
