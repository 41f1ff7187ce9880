from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentd.pure.entry import LedgerEntry, Phase
from agentd.pure.plan import DesiredState, PlanInput, Task, TaskKind, plan
from agentd.pure.unit_status import UnitStatus
from registry.model import Target

OLD, NEW = "a" * 64, "b" * 64
UP = UnitStatus(load="loaded", active="active", sub="running", left_inactive_us=500)
DOWN = UnitStatus(load="loaded", active="inactive", sub="dead")


def desired(
    target: Target = Target.LAUNCHED, sha: str = OLD, generation: int = 1, placement: int = 7, attempt: int = 0
) -> DesiredState:
    return DesiredState("a.service", sha, target, generation, placement, placement, attempt)


def entry(phase: Phase, sha: str = OLD, generation: int = 1, placement: int = 7, at_us: int = 0) -> LedgerEntry:
    return LedgerEntry("a.service", sha, generation, placement, phase, at_us)


FAILED = UnitStatus(load="loaded", active="failed", sub="failed", left_inactive_us=500)
AGAIN, WAITS = desired(attempt=1), replace(entry(Phase.STARTED), waits=("b.service",))


def kinds(view: PlanInput) -> str:
    return " ".join(task.kind for task in plan(view))


Parts = tuple[Callable[[], None], ...]
LAUNCH, LOADED = desired(), desired(Target.LOADED)


@pytest.mark.parametrize(
    ("view", "expected"),
    [
        pytest.param(PlanInput(), "", id="nothing"),
        pytest.param(PlanInput(LAUNCH), "claim fetch load start", id="new, launched"),
        pytest.param(PlanInput(LOADED), "claim fetch load", id="new, loaded"),
        pytest.param(PlanInput(LAUNCH, entry(Phase.STARTED), UP, claimed=True), "", id="done"),
        pytest.param(
            PlanInput(LAUNCH, entry(Phase.STARTED), DOWN, claimed=True), "", id="ended by itself: not started over"
        ),
        pytest.param(
            PlanInput(LOADED, entry(Phase.LOADED), UP, claimed=True), "", id="started by its timer: left alone"
        ),
        pytest.param(PlanInput(LOADED, entry(Phase.STARTED), UP, claimed=True), "stop", id="launched to loaded"),
        pytest.param(PlanInput(LAUNCH, entry(Phase.LOADED), DOWN, claimed=True), "start", id="loaded to launched"),
        pytest.param(PlanInput(None, entry(Phase.STARTED), UP, claimed=True), "stop unload forget", id="withdrawn"),
        pytest.param(PlanInput(None, entry(Phase.GONE), UP), "forget", id="withdrawn and removed"),
        pytest.param(
            PlanInput(None, entry(Phase.CLAIMED), foreign=True), "unload forget", id="the host's is not stopped"
        ),
        pytest.param(
            PlanInput(desired(sha=NEW), entry(Phase.STARTED), UP, claimed=True),
            "fetch stop load start",
            id="replaced",
        ),
        pytest.param(
            PlanInput(desired(Target.LOADED, NEW), entry(Phase.LOADED), DOWN, claimed=True),
            "fetch load",
            id="replaced, at rest",
        ),
        pytest.param(
            PlanInput(desired(Target.LOADED, NEW), entry(Phase.LOADED), UP, claimed=True),
            "fetch stop load",
            id="replaced while its timer has started it",
        ),
        pytest.param(
            PlanInput(desired(generation=2), entry(Phase.STARTED), UP, claimed=True), "stop start", id="restarted"
        ),
        pytest.param(
            PlanInput(desired(placement=9), entry(Phase.STARTED), UP, claimed=True), "stop start", id="placed anew"
        ),
        pytest.param(
            PlanInput(desired(Target.LOADED, generation=2), entry(Phase.LOADED), claimed=True),
            "record",
            id="only noted",
        ),
        pytest.param(PlanInput(LAUNCH, WAITS, DOWN, claimed=True), "", id="what it waits for is not there"),
        pytest.param(
            PlanInput(LAUNCH, WAITS, DOWN, claimed=True, due=True), "start", id="what it waits for is there"
        ),
        pytest.param(
            PlanInput(LOADED, WAITS, DOWN, claimed=True, due=True), "stop", id="it need not wait any more"
        ),
        pytest.param(
            PlanInput(LAUNCH, entry(Phase.STARTED), DOWN, claimed=True, due=True),
            "",
            id="invariant 12: it waited for none",
        ),
        pytest.param(PlanInput(AGAIN, WAITS, DOWN, claimed=True), "start", id="it waits, and is started again"),
        pytest.param(
            PlanInput(AGAIN, entry(Phase.STARTED), DOWN, claimed=True), "start", id="ended, started again"
        ),
        pytest.param(
            PlanInput(AGAIN, entry(Phase.STARTED), FAILED, claimed=True), "start", id="failed, started again"
        ),
        pytest.param(
            PlanInput(AGAIN, entry(Phase.STARTED), UP, claimed=True), "record", id="started again while it runs"
        ),
        pytest.param(
            PlanInput(AGAIN, entry(Phase.LOADED), DOWN, claimed=True), "start", id="stopped, started again"
        ),
        pytest.param(
            PlanInput(AGAIN, entry(Phase.STARTING), UP, claimed=True), "await", id="first the start under way"
        ),
        pytest.param(PlanInput(AGAIN, entry(Phase.STOPPING), UP, claimed=True), "stop start", id="first the stop"),
        pytest.param(
            PlanInput(AGAIN, entry(Phase.STARTED, generation=0, placement=0), DOWN, claimed=True),
            "record",
            id="adopted: nobody knows which attempt it was",
        ),
        pytest.param(
            PlanInput(desired(Target.LOADED, attempt=1), entry(Phase.STARTED), UP, claimed=True),
            "stop record",
            id="an attempt that was taken back",
        ),
        pytest.param(
            PlanInput(desired(generation=2, attempt=1), entry(Phase.STARTED), UP, claimed=True),
            "stop start",
            id="restarted and started",
        ),
        pytest.param(PlanInput(LAUNCH, entry(Phase.STARTED), UP), "claim", id="claimed again under a new lease"),
        pytest.param(
            PlanInput(LAUNCH, entry(Phase.GONE), claimed=True), "forget claim fetch load start", id="back at once"
        ),
        pytest.param(
            PlanInput(LAUNCH, entry(Phase.ASKING, at_us=600), UP, claimed=True), "start", id="start never asked for"
        ),
        pytest.param(
            PlanInput(LAUNCH, entry(Phase.ASKING, at_us=400), UP, claimed=True),
            "await",
            id="start begun, end not seen",
        ),
        pytest.param(
            PlanInput(LAUNCH, entry(Phase.STOPPING), UP, claimed=True), "stop start", id="a stop is finished"
        ),
        pytest.param(
            PlanInput(LAUNCH, entry(Phase.STARTED, generation=0, placement=0), UP, claimed=True),
            "record",
            id="adopted",
        ),
        pytest.param(
            PlanInput(desired(sha=NEW), entry(Phase.STARTED), UP, claimed=True, blocked=True), "", id="hindered"
        ),
        pytest.param(
            PlanInput(None, entry(Phase.STARTED), UP, blocked=True), "stop unload forget", id="hindered, withdrawn"
        ),
        pytest.param(
            PlanInput(LAUNCH, entry(Phase.STARTED), UP, claimed=True, parked=True), "stop", id="registry lost"
        ),
        pytest.param(PlanInput(LAUNCH, entry(Phase.LOADED), DOWN, parked=True), "", id="registry lost, at rest"),
        pytest.param(
            PlanInput(LAUNCH, entry(Phase.STARTING), DOWN, parked=True), "stop", id="registry lost, starting"
        ),
        pytest.param(
            PlanInput(LAUNCH, entry(Phase.STARTED), DOWN, parked=True), "", id="registry lost, ended by itself"
        ),
        pytest.param(
            PlanInput(LAUNCH, replace(entry(Phase.STARTING), at_us=400), FAILED, parked=True),
            "",
            id="registry lost, a start under an agent before us has failed",
        ),
        pytest.param(PlanInput(LAUNCH, parked=True), "", id="registry lost, not here"),
    ],
)
def test_tasks(view: PlanInput, expected: str) -> None:
    assert kinds(view) == expected


def test_every_task_has_a_reason() -> None:
    for phase in Phase:
        for wanted in (None, LAUNCH, LOADED, desired(sha=NEW), desired(generation=2)):
            for task in plan(PlanInput(wanted, entry(phase), UP)):
                assert task.reason


# ---- a machine in miniature: every task has a "before" in the ledger, an effect, and an "after"


@dataclass
class World:
    """systemd and the registry, as far as one unit goes; `starts` holds what was started and not stopped since."""

    entry: LedgerEntry | None = None
    claimed: bool = False
    registered: bool = False
    file: str = ""
    running: str = ""  # the hash that runs
    clock: int = 1
    started_at: int = 0
    starts: list[tuple[str, int, int, int]] = field(default_factory=list)

    def view(self, wanted: DesiredState | None) -> PlanInput:
        status = UnitStatus(
            load="loaded" if self.file else "not-found", active="active" if self.running else "inactive"
        )
        return PlanInput(
            wanted, self.entry, replace(status, left_inactive_us=self.started_at), claimed=self.claimed
        )

    def carry_out(self, task: Task, wanted: DesiredState | None, cut: int) -> None:
        """Do the task, but die after `cut` of its parts: the note before, the effect, the notes after."""
        self.clock += 1
        parts = _PARTS[task.kind](self, wanted)
        for part in parts[:cut]:
            part()

    def crash(self) -> None:
        """The agent's memory goes; the ledger, systemd and the registry stay.

        Registering again deletes states that the ledger does not know: `Publisher.resume`.
        """
        if self.entry and self.entry.phase is Phase.STARTING:
            self.started_at = 0  # it has ended, and systemd has forgotten it
        self.claimed = self.registered = self.registered and self.entry is not None


def _claim(world: World, wanted: DesiredState | None) -> Parts:
    assert wanted
    new = world.entry or wanted.entry()

    def effect() -> None:
        world.registered = world.claimed = True

    return (lambda: None, effect, lambda: setattr(world, "entry", new))


def _load(world: World, wanted: DesiredState | None) -> Parts:
    assert wanted

    def effect() -> None:
        assert not world.running, "the old copy must be down before the new file is loaded"
        world.file = wanted.hash

    new = wanted.entry(Phase.LOADED)
    return (lambda: None, effect, lambda: setattr(world, "entry", new))


def _start(world: World, wanted: DesiredState | None) -> Parts:
    assert wanted
    asking = replace(wanted.entry(Phase.ASKING), at_us=world.clock)
    starting, started = replace(asking, phase=Phase.STARTING), replace(asking, phase=Phase.STARTED)

    def effect() -> None:
        assert world.registered, "nothing runs that the registry does not know of"
        assert world.file == wanted.hash
        key = (wanted.hash, wanted.generation, wanted.placement, wanted.attempt)
        assert key not in world.starts, "started twice"
        world.starts.append(key)
        world.running, world.started_at = world.file, world.clock

    entries = [lambda each=each: setattr(world, "entry", each) for each in (asking, starting, started)]
    return (entries[0], effect, *entries[1:])


def _await(world: World, _: DesiredState | None) -> Parts:
    assert world.entry
    after = replace(world.entry, phase=Phase.STARTED)
    return (lambda: None, lambda: None, lambda: setattr(world, "entry", after))


def _stop(world: World, _: DesiredState | None) -> Parts:
    assert world.entry
    was = world.entry
    lively = was.phase in (Phase.ASKING, Phase.STARTING, Phase.STARTED, Phase.STOPPING)

    def before() -> None:
        world.entry = replace(was, phase=Phase.STOPPING) if lively else was

    def effect() -> None:
        world.running = ""
        world.starts.clear()

    def after() -> None:
        world.entry = was if was.phase is Phase.CLAIMED else replace(was, phase=Phase.LOADED)

    return (before, effect, after)


def _unload(world: World, _: DesiredState | None) -> Parts:
    assert world.entry
    gone = replace(world.entry, phase=Phase.GONE)

    def effect() -> None:
        assert not world.running, "no file is removed before its unit is down"
        world.file = ""

    return (lambda: None, effect, lambda: setattr(world, "entry", gone))


def _forget(world: World, _: DesiredState | None) -> Parts:
    def effect() -> None:
        assert not world.running
        assert not world.file
        world.registered = world.claimed = False

    return (lambda: None, effect, lambda: setattr(world, "entry", None))


def _record(world: World, wanted: DesiredState | None) -> Parts:
    assert world.entry
    assert wanted
    new = replace(world.entry, generation=wanted.generation, placement=wanted.placement, attempt=wanted.attempt)
    return (lambda: None, lambda: None, lambda: setattr(world, "entry", new))


_PARTS: dict[TaskKind, Callable[[World, DesiredState | None], Parts]] = {
    TaskKind.CLAIM: _claim,
    TaskKind.FETCH: lambda _, __: (lambda: None,) * 3,
    TaskKind.LOAD: _load,
    TaskKind.START: _start,
    TaskKind.AWAIT: _await,
    TaskKind.STOP: _stop,
    TaskKind.UNLOAD: _unload,
    TaskKind.FORGET: _forget,
    TaskKind.RECORD: _record,
}

desired_states = st.none() | st.builds(
    desired, st.sampled_from([Target.LOADED, Target.LAUNCHED]), st.sampled_from([OLD, NEW]), st.integers(1, 2),
    st.integers(7, 8), st.integers(0, 2),
)  # fmt: skip
stories = st.lists(st.tuples(desired_states, st.lists(st.integers(0, 4), max_size=6)), min_size=1, max_size=6)


def settle(world: World, wanted: DesiredState | None) -> None:
    for _ in range(12):
        tasks = plan(world.view(wanted))
        if not tasks:
            return
        for task in tasks:
            world.carry_out(task, wanted, 4)
    raise AssertionError(f"does not settle: {tasks}")


@given(stories)
def test_a_plan_interrupted_anywhere_still_converges_and_starts_once(
    story: list[tuple[DesiredState | None, list[int]]],
) -> None:
    world = World()
    for wanted, cuts in story:
        for cut in cuts:
            tasks = plan(world.view(wanted))
            if tasks:
                world.carry_out(tasks[0], wanted, cut)
            if cut < 4:
                world.crash()
    settle(world, wanted)
    if wanted is None:
        assert (world.entry, world.file, world.running, world.registered) == (None, "", "", False)
    else:
        assert world.entry
        assert world.registered
        assert world.file == world.entry.hash == wanted.hash
        applied = (world.entry.generation, world.entry.placement, world.entry.attempt)
        assert applied == (wanted.generation, wanted.placement, wanted.attempt)
        assert world.running == (wanted.hash if wanted.target is Target.LAUNCHED else "")


@given(stories)
def test_planning_again_after_all_is_done_plans_nothing(story: list[tuple[DesiredState | None, list[int]]]) -> None:
    world = World()
    for wanted, _ in story:
        settle(world, wanted)
        assert plan(world.view(wanted)) == ()
        assert plan(world.view(wanted)) == plan(world.view(wanted))


@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.booleans()), max_size=8))
def test_invariant_12_only_a_new_attempt_starts_what_has_ended_and_it_touches_nothing_that_runs(
    story: list[tuple[bool, bool, bool]],
) -> None:
    world, attempt = World(), 0
    settle(world, desired())
    for ends, crashes, again in story:
        if ends:
            world.running = ""
        if crashes:
            world.crash()
            world.claimed = world.registered
        attempt += again
        before = (world.running, world.started_at, len(world.starts))
        settle(world, desired(attempt=attempt))
        if before[0] or not again:
            assert (world.running, world.started_at, len(world.starts)) == before
        else:
            assert (world.running, len(world.starts)) == (OLD, before[2] + 1)
