"""Whatever stops more than one running unit is asked about first, whichever way it is done; one stays one key."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any

import pytest
from textual.widgets import Button, Input

from fleettui.actions.outcome import Did, Outcome
from fleettui.console.operations.impact import (
    Care,
    Impact,
    Survey,
    impact_of,
    impact_of_drain,
    impact_of_metadata,
    impact_of_texts,
    impact_of_undoing,
    needs_answer,
    usual_pace,
    words_to_type,
)
from fleettui.console.operations.operation import Operation, OperationPhase
from fleettui.console.pages import detail
from fleettui.console.pages.bands import FleetIdentity
from fleettui.console.screens import unit_operations
from fleettui.console.screens.confirm import ConfirmScreen
from fleettui.console.widgets.drawing import Band
from fleettui.verbs import Verb
from registry.errors import RegistryUnavailable
from registry.keys import Keys
from registry.mirror import Snapshot
from registry.model import Rollout, RolloutState, RolloutStep, Target, Unit, UnitText
from registry.sync.follow import ConnectionState
from registry.units.file import file_hash
from tests.console.fleetshow import CORES, MARS, PLAIN, WEB, build, scene, state
from tests.console.test_screen import Play, playing

KEYS = Keys()
PROTECTED = FleetIdentity("production", "root", "10.91.0.1:2379", protected=True)


def many(number: int, target: Target = Target.LAUNCHED) -> Snapshot:
    """So many units, spread over three machines, that run where their target says so."""
    names = [f"job{each:03d}.service" for each in range(number)]
    places = [(name, each % 3 + 1) for each, name in enumerate(names)] if target is Target.LAUNCHED else []
    return build(dict.fromkeys(names, (PLAIN, target)), places, [state(name, at, PLAIN) for name, at in places])


def question(play: Play) -> str:
    screen = play.stage.app.screen
    texts = screen.query_one("#confirm-text", Band).texts if isinstance(screen, ConfirmScreen) else ()
    return " ".join(" ".join(texts).split())


async def until(play: Play, holds: Callable[[], bool]) -> None:
    """Wait for what is done in a thread."""
    async with asyncio.timeout(20):
        while not holds():
            await play.pilot.pause(0.02)


async def test_one_running_unit_stays_one_key() -> None:
    async with playing() as play:
        await play.press("j", "X")
        assert question(play) == ""
        assert play.stage.port.calls == [("stop", ("cache.service",))]


@pytest.mark.parametrize("key", ["X", "U", "R", "D"])
async def test_marked_units_are_stopped_only_after_a_question_with_cancel_focused(key: str) -> None:
    async with playing(many(6)) as play:
        await play.press("asterisk", key)
        told = question(play)
        assert "6 running units stop" in told
        assert "core-1 (2), core-2 (2), core-3 (2)" in told
        assert "job000.service, job001.service" in told
        assert play.stage.app.screen.query_one("#cancel", Button).has_focus
        await play.press("enter")
        assert play.stage.port.calls == []
        await play.press(key, "right", "enter")
        assert len(play.stage.port.calls[0][1]) == 6


@pytest.mark.parametrize(
    "line",
    [
        "stop *",
        "unload *",
        "destroy *",
        "restart *",
        "stop job000 job001",
        "stop job00{0..2}",
        "fleetctl stop job*",
    ],
)
async def test_the_command_line_asks_as_keys_do(line: str) -> None:
    async with playing(many(6)) as play:
        await play.main.prompts.execute(line)
        await play.settle()
        assert "running units stop" in question(play)
        assert play.stage.port.calls == []


async def test_many_units_want_their_number_typed_and_the_number_is_configured() -> None:
    async with playing(many(12)) as play:
        await play.press("asterisk", "X")
        assert "That is 12 stops on 3 machines: type 12 or demo to go on." in question(play)
        screen = play.stage.app.screen
        assert screen.query_one("#typed", Input).has_focus
        assert screen.query_one("#go", Button).disabled
        await play.press("enter", "1", "1", "enter")
        assert play.stage.port.calls == []
        await play.press("backspace", "2", "enter", "enter")
        assert len(play.stage.port.calls[0][1]) == 12
    async with playing(many(12), confirm_from=50) as play:
        await play.press("asterisk", "X")
        assert "type" not in question(play)


async def test_a_protected_cluster_wants_its_name_typed_from_two_units_on() -> None:
    async with playing(many(2), identity=PROTECTED) as play:
        await play.press("asterisk", "X")
        assert "This cluster is protected: type production or 2 to go on." in question(play)
        await play.press("right", "enter")
        assert play.stage.port.calls == []


async def test_units_that_joined_while_the_question_was_open_are_not_stopped_unasked() -> None:
    """Two of the named ones were down when the question was put, and somebody starts them before the answer."""
    world = many(4)
    two = dict(list(world.states.items())[:2])
    async with playing(replace(world, states=two)) as play:
        await play.press("asterisk", "X")
        assert "2 running units stop" in question(play)
        await play.show(world)
        await play.press("right", "enter")
        assert play.stage.port.calls == []
        assert "This changed while you were asked" in question(play)
        assert "4 running units stop" in question(play)
        await play.press("right", "enter")
        assert len(play.stage.port.calls[0][1]) == 4


async def test_the_answer_is_about_the_named_units_and_no_others() -> None:
    world = many(3)
    async with playing(world) as play:
        await play.press("asterisk", "X")
        more = many(9)
        await play.show(more)
        await play.press("right", "enter")
        assert play.stage.port.calls == [("stop", tuple(sorted(world.units)))]


async def test_nothing_is_done_when_the_link_is_lost_under_the_question() -> None:
    async with playing(many(3)) as play:
        await play.press("asterisk", "X")
        await play.show(many(3), ConnectionState.LOST, "timed out")
        await play.press("right", "enter")
        assert play.stage.port.calls == []
        assert "no connection to the registry" in play.text("hint")


async def test_undo_asks_before_it_stops_several_and_before_it_starts_many() -> None:
    async with playing(many(12, Target.INACTIVE), confirm_from=50) as play:
        await play.press("asterisk", "S")
        assert len(play.stage.port.calls) == 1
        await play.show(replace(many(12), revision=101))
        await play.press("u")
        assert "Undo: start of 12 units?" in question(play)
        assert "12 running units stop" in question(play)
        await play.press("enter")
        assert len(play.stage.port.calls) == 1
    async with playing(many(12)) as play:
        await play.press("asterisk", "X", "1", "2", "enter", "enter")
        await play.show(replace(many(12, Target.LOADED), revision=101))
        await play.press("u")
        assert "12 units start" in question(play)
        await play.press("right", "enter")
        assert play.stage.port.calls[-1][0] == "restore"


async def test_many_starts_are_asked_about_and_few_are_not() -> None:
    async with playing(many(12, Target.INACTIVE)) as play:
        await play.press("asterisk", "S")
        assert "12 units start" in question(play)
        await play.press("escape")
        assert play.stage.port.calls == []
    async with playing(many(3, Target.INACTIVE)) as play:
        await play.press("asterisk", "S")
        assert len(play.stage.port.calls) == 1


@pytest.mark.parametrize("size", [(80, 24), (60, 16), (140, 40)])
async def test_question_and_answers_stay_on_the_screen_however_long_the_names_are(size: tuple[int, int]) -> None:
    names = [f"{'very-long-' * 20}{each:03d}.service" for each in range(9)]
    world = build(dict.fromkeys(names, (PLAIN, Target.LAUNCHED)), [(name, 1) for name in names],
                  [state(name, 1, PLAIN) for name in names])  # fmt: skip
    async with playing(world, size=size) as play:
        await play.press("asterisk", "D")
        screen = play.stage.app.screen
        assert "Destroy 9 units?" in question(play)
        for name in ("#cancel", "#go"):
            region = screen.query_one(name, Button).region
            assert region.height == 1
            assert region.bottom < size[1]
            assert region.right <= size[0]


# What an act would do


def with_needs(*needs: tuple[str, str]) -> Snapshot:
    """Units that run on core-1; (unit, what its file says)."""
    units = {name: (f"[Unit]\n{said}\n[Service]\nExecStart=/bin/true\n", Target.LAUNCHED) for name, said in needs}
    return build(units, [(name, 1) for name in units], [state(name, 1, units[name][0]) for name in units])


def stopped(impact: Impact) -> set[str]:
    return {unit for _, unit in impact.stops}


def test_what_systemd_stops_along_counts_however_long_the_chain() -> None:
    world = with_needs(
        ("db.service", ""), ("web.service", "BindsTo=db.service"), ("cache.service", "PartOf=web.service")
    )
    impact = impact_of(Verb.STOP, ["db.service"], world, KEYS)
    assert stopped(impact) == {"db.service", "web.service", "cache.service"}
    assert needs_answer(Survey(verb="stop", impact=impact, names=("db.service",)), Care("demo"))


def test_a_global_unit_counts_on_every_machine() -> None:
    assert len(impact_of(Verb.STOP, ["exporter.service"], scene(), KEYS).stops) == 3


def test_a_start_counts_what_it_displaces_on_its_machine() -> None:
    units = {
        "new.service": (f"{PLAIN}[X-Fleet]\nReplaces=old*\n", Target.INACTIVE),
        **{f"old{each}.service": (PLAIN, Target.LAUNCHED) for each in range(3)},
    }
    names = [name for name in units if name.startswith("old")]
    world = build(units, [(name, 1) for name in names], [state(name, 1, PLAIN) for name in names])
    world = replace(world, machines={CORES[1]: world.machines[CORES[1]]})
    assert stopped(impact_of(Verb.START, ["new.service"], world, KEYS)) == {*names}
    conflicting = {**units, "new.service": ("[Unit]\nConflicts=old1.service\n", Target.INACTIVE)}
    other = replace(build(conflicting, [], []), states=world.states, machines=world.machines)
    assert stopped(impact_of(Verb.START, ["new.service"], other, KEYS)) == {"old1.service"}


@pytest.mark.parametrize(
    ("text", "replacing", "stops"), [(PLAIN + "# new\n", True, 4), (PLAIN, True, 0), (PLAIN + "# new\n", False, 0)]
)
def test_other_texts_restart_what_runs_with_the_old_one(text: str, replacing: bool, stops: int) -> None:
    world = many(4)
    texts = dict.fromkeys(world.units, text)
    assert len(impact_of_texts(texts, Target.INACTIVE, world, KEYS, replacing=replacing).stops) == stops


async def test_submitting_several_texts_in_the_place_of_running_ones_asks() -> None:
    async with playing(many(4)) as play:
        play.main.units.submit(dict.fromkeys(many(4).units, PLAIN + "# new\n"), Target.INACTIVE, replacing=True)
        await play.settle()
        assert "4 running units stop and start again" in question(play)
        assert play.stage.port.calls == []


def outcomes(before: Unit | None, after: Unit | None, names: Iterable[str]) -> list[Outcome]:
    def of(name: str, unit: Unit | None) -> Unit | None:
        return replace(unit, name=name) if unit else None

    return [Outcome(name, Did.CHANGED, of(name, before), of(name, after)) for name in names]


IDLE, UP, LOADED = (Unit("", "h", target) for target in (Target.INACTIVE, Target.LAUNCHED, Target.LOADED))
OTHER = replace(UP, hash="other")


@pytest.mark.parametrize(
    ("before", "after", "stops", "starts"),
    [
        (IDLE, UP, 4, 0),
        (LOADED, UP, 4, 0),
        (None, UP, 4, 0),
        (UP, OTHER, 4, 0),
        (UP, LOADED, 0, 4),
        (UP, None, 0, 4),
        (LOADED, IDLE, 0, 0),
    ],
)
def test_what_undoing_would_do(before: Unit | None, after: Unit | None, stops: int, starts: int) -> None:
    world = many(4)
    impact = impact_of_undoing("", outcomes(before, after, world.units), world, KEYS)
    assert (len(impact.stops), len(impact.starts)) == (stops, starts)


def test_a_drain_counts_what_leaves() -> None:
    assert len(impact_of_drain([CORES[1]], many(9), KEYS).stops) == 3


@pytest.mark.parametrize(("changes", "stops"), [({"region": "venus"}, 1), ({"disk": "ssd"}, 0)])
def test_metadata_count_what_may_not_stay(changes: Mapping[str, str | None], stops: int) -> None:
    text = MARS.replace("mars", "r1")
    units = {"bound.service": (text, Target.LAUNCHED), "free.service": (PLAIN, Target.LAUNCHED)}
    world = build(units, [(name, 1) for name in units], [state(name, 1, units[name][0]) for name in units])
    assert len(impact_of_metadata([CORES[1]], changes, world, KEYS).stops) == stops


def test_a_unit_that_only_moved_is_nothing_new() -> None:
    shown = Impact(frozenset({("m1", "a"), ("m1", "b")}))
    assert not Impact(frozenset({("m2", "a")})).exceeds(shown)
    assert Impact(frozenset({("m2", "c")})).exceeds(shown)
    assert Impact(starts=frozenset({"c"})).exceeds(shown)


@pytest.mark.parametrize(
    ("verb", "stops", "protected", "words"),
    [
        ("stop", 1, True, ()),
        ("stop", 2, True, ("demo", "2")),
        ("stop", 9, False, ()),
        ("stop", 10, False, ("10", "demo")),
        ("drain", 10, False, ("10", "demo")),
        ("destroy", 0, True, ("a", "demo")),
    ],
)
def test_when_a_word_must_be_typed(verb: str, stops: int, protected: bool, words: tuple[str, ...]) -> None:
    impact = Impact(frozenset(("m", str(each)) for each in range(stops)))
    assert words_to_type(Survey(verb=verb, impact=impact, names=("a",)), Care("demo", protected)) == words


async def test_a_text_for_many_instances_is_typed_for_after_it_was_reviewed() -> None:
    names = [f"web@{each}.service" for each in range(12)]
    world = build(dict.fromkeys(names, (WEB, Target.LAUNCHED)), [(name, 1) for name in names],
                  [state(name, 1, WEB) for name in names])  # fmt: skip
    async with playing(world) as play:
        texts = dict.fromkeys(names, WEB + "# new\n")
        survey = play.main.units.survey_texts(
            play.main.fleet.reading, texts, Target.INACTIVE, replacing=True, shown=True
        )
        assert needs_answer(survey, play.main.confirmer.care)
        few = play.main.units.survey_texts(
            play.main.fleet.reading, dict(list(texts.items())[:3]), Target.INACTIVE, replacing=True, shown=True
        )
        assert few.at_a_time == "1"  # how many at a time is asked in any case
        assert not words_to_type(few.paced("1"), play.main.confirmer.care)


async def test_on_a_large_fleet_the_question_is_prepared_beside_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """One at a time: a key that is pressed again meanwhile does nothing a second time."""
    monkeypatch.setattr(detail, "LARGE", 0)
    begun, go_on = threading.Event(), threading.Event()

    def slow(*arguments: Any) -> Impact:
        begun.set()
        assert go_on.wait(20)
        return impact_of(*arguments)

    monkeypatch.setattr(unit_operations, "impact_of", slow)
    async with playing(many(6)) as play:
        await play.press("asterisk", "X")
        await asyncio.to_thread(begun.wait, 20)
        assert "looking at what that would stop" in play.text("hint")
        await play.press("X")
        assert "one thing at a time" in play.text("hint")
        assert question(play) == ""
        go_on.set()
        await until(play, lambda: "6 running units stop" in question(play))
        await play.press("right", "enter")
        await until(play, lambda: bool(play.stage.port.calls))
        assert [len(names) for _, names in play.stage.port.calls] == [6]


# How many at a time


def instances(number: int) -> Snapshot:
    """So many instances that run."""
    names = [f"shop@{each}.service" for each in range(1, number + 1)]
    places = [(name, each % 3 + 1) for each, name in enumerate(names)]
    return build(
        dict.fromkeys(names, (PLAIN, Target.LAUNCHED)), places, [state(name, at, PLAIN) for name, at in places]
    )


@pytest.mark.parametrize(
    ("keys", "call"),
    [
        (("right", "enter"), "roll 1"),
        (("5", "enter", "enter"), "roll 5"),
        (("2", "5", "percent_sign", "enter", "enter"), "roll 25%"),
        (("a", "enter", "enter"), "restart"),
        (("0", "right", "enter"), "roll 1"),
    ],
)
async def test_restarting_several_asks_how_many_at_a_time(keys: tuple[str, ...], call: str) -> None:
    async with playing(instances(6)) as play:
        await play.press("asterisk", "R")
        assert "at a time" in play.stage.app.screen.query_one("#pace", Band).texts[0]
        await play.press(*keys)
        assert play.stage.port.calls == [(call, tuple(f"shop@{each}.service" for each in range(1, 7)))]


@pytest.mark.parametrize("typed", ["0", "-1", "101%", "soon", ""])
async def test_what_is_no_pace_cannot_be_answered(typed: str) -> None:
    async with playing(instances(6)) as play:
        await play.press("asterisk", "R")
        screen = play.stage.app.screen
        screen.query_one("#at-a-time", Input).value = typed
        await play.settle()
        assert screen.query_one("#go", Button).disabled
        assert "no number from 1" in screen.query_one("#pace", Band).texts[0]


async def test_the_pace_is_remembered_but_never_makes_all_at_once_the_first_choice() -> None:
    async with playing(instances(6)) as play:
        await play.press("asterisk", "R", "3", "enter", "enter")
        assert play.main.saved.state().pace == "3"
        await play.press("R")
        assert play.stage.app.screen.query_one("#at-a-time", Input).value == "3"
        await play.press("a", "enter", "enter")
        assert play.main.confirmer.pace == "3"
    assert usual_pace(3, "3") == "1"
    assert usual_pace(2, "all") == "1"
    assert usual_pace(200, "") == "10%"


async def test_the_number_that_stops_is_typed_only_where_so_many_stop_at_once() -> None:
    async with playing(instances(12)) as play:
        await play.press("asterisk", "R")
        screen = play.stage.app.screen
        assert not screen.query_one("#typed", Input).display
        await play.press("a")
        assert screen.query_one("#typed", Input).display
        assert screen.query_one("#go", Button).disabled
        await play.press("enter", "1", "2", "enter", "enter")
        assert play.stage.port.calls[0][0] == "restart"


async def test_a_protected_cluster_wants_its_name_at_any_pace_of_several() -> None:
    async with playing(instances(4), identity=PROTECTED) as play:
        await play.press("asterisk", "R", "2")
        assert play.stage.app.screen.query_one("#typed", Input).display


async def test_texts_for_several_that_run_are_rolled_out_with_what_they_are_based_on() -> None:
    world = instances(3)
    texts = dict.fromkeys(world.units, PLAIN + "# new\n")
    async with playing(world) as play:
        play.main.units.submit(texts, Target.INACTIVE, replacing=True)
        await play.settle()
        assert "--file shop@.service --at-a-time 1" in question(play)
        await play.press("right", "enter")
        assert play.stage.port.calls == [("roll 1", tuple(world.units))]
        assert play.stage.port.replaced[0] == texts


async def test_a_rollout_can_be_undone_by_the_same_key_as_all_else() -> None:
    world = instances(3)
    async with playing(world) as play:
        play.main.units.submit(dict.fromkeys(world.units, PLAIN + "# new\n"), Target.INACTIVE, replacing=True)
        await play.settle()
        await play.press("right", "enter")
        await play.show(replace(world, rollouts={"r1": Rollout("r1", (), RolloutState.FINISHED)}))
        await play.press("u")
        assert play.stage.port.calls[-1] == ("rollout undo", ("r1",))


async def test_undoing_a_replacement_of_several_asks_how_many_at_a_time() -> None:
    world = instances(3)
    new = PLAIN + "# new\n"
    async with playing(world) as play:
        done = []
        for name, unit in world.units.items():
            before = replace(unit, hash=file_hash(PLAIN))
            done.append(Outcome(name, Did.REPLACED, before, replace(before, hash=file_hash(new)), PLAIN))
        operation = Operation(1, Verb.SUBMIT, tuple(world.units), 0.0, OperationPhase.DONE, written=tuple(done))
        play.main.runner._undoable.append(operation)
        await play.press("u")
        assert "Each gets the file again that it had before" in question(play)
        await play.press("right", "enter")
        assert play.stage.port.calls == [("roll 1", tuple(world.units))]
        assert play.stage.port.replaced == (dict.fromkeys(world.units, PLAIN), file_hash(new))


async def test_what_was_taken_back_is_done_again_after_the_same_question() -> None:
    async with playing(many(12)) as play:
        await play.press("ctrl+r")
        assert "nothing to redo" in play.text("hint")
        await play.press("asterisk", "X", "1", "2", "enter", "enter")
        await play.show(replace(many(12, Target.LOADED), revision=101))
        await play.press("u", "right", "enter")
        assert play.stage.port.calls[-1][0] == "restore"
        await play.show(replace(many(12), revision=102))
        await play.press("colon", *"redo", "enter")
        assert "Redo: stop of 12 units?" in question(play)
        assert "12 running units stop" in question(play)
        await play.press("escape")
        assert play.stage.port.calls[-1][0] == "restore"
        await play.press("ctrl+r", "1", "2", "enter", "enter")
        assert play.stage.port.calls[-1][0] == "restore again"
        assert "redo: fleetctl stop" in play.text("operations")
        await play.show(replace(many(12, Target.LOADED), revision=103))
        await play.press("ctrl+r")
        assert "nothing to redo" in play.text("hint")
        await play.press("u", "right", "enter")  # and what was done again can be taken back again
        assert play.stage.port.calls[-1][0] == "restore"


async def test_a_new_action_leaves_nothing_to_redo() -> None:
    async with playing(many(3, Target.INACTIVE)) as play:
        await play.press("S", "u", "j", "S", "ctrl+r")
        assert [call for call, _ in play.stage.port.calls] == ["start", "restore", "start"]
        assert "nothing to redo" in play.text("hint")


async def test_an_undo_that_failed_leaves_nothing_to_redo() -> None:
    async with playing(many(3, Target.INACTIVE)) as play:
        await play.press("S")
        play.stage.port.error = RegistryUnavailable("no endpoint answered")
        await play.press("u", "ctrl+r")
        assert "nothing to redo" in play.text("hint")


async def test_machines_and_their_metadata_are_changed_again() -> None:
    async with playing() as play:
        await play.press("2", "C", "y", "u", "ctrl+r")
        assert [call for call, _ in play.stage.port.calls] == ["cordon", "restore machines", "restore machines"]
        assert "redo: fleetctl cordon" in play.text("operations")


@pytest.mark.parametrize("state", [RolloutState.FINISHED, RolloutState.RUNNING])
async def test_a_rollout_that_went_back_is_begun_again_once_it_is_over(state: RolloutState) -> None:
    world, new = instances(3), PLAIN + "# new\n"
    texts = dict.fromkeys(world.units, new)
    files = {**world.files, file_hash(new): UnitText(file_hash(new), new)}
    steps = tuple(RolloutStep(name, file_hash(PLAIN), file_hash(new), 1, at) for at, name in enumerate(world.units))
    async with playing(world) as play:
        play.main.units.submit(texts, Target.INACTIVE, replacing=True)
        await play.settle()
        await play.press("right", "enter")
        went = Rollout("r1", steps, RolloutState.FINISHED)
        await play.show(replace(world, files=files, rollouts={"r1": went}))
        await play.press("u", "y")
        assert play.stage.port.calls[-1] == ("rollout undo", ("r1",))
        back = replace(went, state=state, back=True)
        await play.show(replace(world, files=files, rollouts={"r1": back}))
        await play.press("ctrl+r")
        if state is RolloutState.RUNNING:
            assert "cannot redo: rollout r1 is still going back" in play.text("hint")
            return
        assert "Units get their new files again, 1 at a time." in question(play)
        await play.press("y")
        assert play.stage.port.calls[-1] == ("rollout redo", ("r1",))


async def test_what_was_taken_back_by_a_rollout_is_done_again_by_undoing_that() -> None:
    world, new = instances(3), PLAIN + "# new\n"
    async with playing(world) as play:
        done = []
        for name, unit in world.units.items():
            before = replace(unit, hash=file_hash(PLAIN))
            done.append(Outcome(name, Did.REPLACED, before, replace(before, hash=file_hash(new)), PLAIN))
        operation = Operation(1, Verb.SUBMIT, tuple(world.units), 0.0, OperationPhase.DONE, written=tuple(done))
        play.main.runner._undoable.append(operation)
        await play.press("u", "right", "enter")
        assert play.stage.port.calls[-1][0] == "roll 1"
        steps = tuple(RolloutStep(name, file_hash(new), file_hash(PLAIN), 1) for name in world.units)
        await play.show(replace(world, rollouts={"r1": Rollout("r1", steps, RolloutState.FINISHED)}))
        assert "✓" in play.text("operations")  # what went forward is no failure of an undo
        await play.press("ctrl+r", "y")
        assert play.stage.port.calls[-1] == ("rollout undo", ("r1",))
        back = Rollout("r1", steps, RolloutState.FINISHED, back=True)
        after = {name: replace(unit, hash=file_hash(new)) for name, unit in world.units.items()}
        files = {**world.files, file_hash(new): UnitText(file_hash(new), new)}
        await play.show(replace(world, units=after, files=files, rollouts={"r1": back}))
        await play.press("u")  # and what was done again can be taken back again
        assert "Units get their new files again, 1 at a time" in question(play)
        await play.press("y")
        assert play.stage.port.calls[-1] == ("rollout redo", ("r1",))
        await play.press("ctrl+r")
        assert "cannot redo: there is no rollout r1-again" in play.text("hint")
