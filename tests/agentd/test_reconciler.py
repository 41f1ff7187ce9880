"""What one machine's agent does, and in which order: without root, with a systemd in memory."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from agentd import stopper, task_runner, unit_worker
from agentd.dependencies import BusLost, ListedUnit
from agentd.file_reader import FileReader
from agentd.pure.entry import LedgerEntry, Phase
from agentd.pure.file_facts import FileFacts
from agentd.pure.plan import DesiredState, TaskKind
from agentd.quadlets import Quadlets
from agentd.starter import Starter, monotonic_us
from registry.errors import SystemdError
from registry.model import Target, UnitState
from registry.units.file import file_hash
from tests.agentd.machine import NAME, TEXT, FakeMachine, FakeSystemd, machine

OTHER, QUADLET = "other.service", "web.container"


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unit_worker, "RETRY_S", (0.01, 0.05))
    monkeypatch.setattr(stopper, "STOP_AGAIN_S", 0.001)


def acts(log: list[str], name: str = NAME) -> list[str]:
    """What was done about a unit, without questions."""
    return [each.split()[0] for each in log if each.endswith(f" {name}")]


async def test_a_unit_is_claimed_loaded_and_started_once(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        await on.rest()
        assert acts(on.log) == ["claim", "start"]
        state = on.reconciler.table.state(NAME)
        assert state
        assert (state.target, state.active, state.main_pid, state.error) == (Target.LAUNCHED, "active", 7, "")
        on.want()  # the same again
        await on.rest()
        assert acts(on.log) == ["claim", "start"]


async def test_what_is_refused_is_told_once_and_a_quadlet_costs_one_reload_however_often_it_is_tried(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def complaint(_self: Quadlets, _name: str) -> str:
        return "unsupported key"

    monkeypatch.setattr(Quadlets, "complaint", complaint)
    root = tmp_path / "run"
    root.mkdir()
    async with machine(root) as on:
        on.want(QUADLET, "[Container]\nImage=a\n")
        await on.until(lambda: on.unit(QUADLET).blocked)
        for _ in range(2):
            await on.rest()
            on.reconciler.table.retry_blocked()
            assert not on.unit(QUADLET).blocked
            await on.until(lambda: on.unit(QUADLET).blocked)
        assert (on.log.count("reload"), caplog.text.count("load failed")) == (1, 1)
        on.want(QUADLET, "[Container]\nImage=b\n", generation=2)
        await on.until(lambda: on.unit(QUADLET).blocked)
        assert (on.log.count("reload"), caplog.text.count("load failed")) == (2, 2)


async def test_a_state_is_a_step_on_the_way_only_while_somebody_is_about_to_change_it(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        is_passing = on.reconciler.table.is_passing
        for act, order in ((f"start {NAME}", on.want), (f"stop {NAME}", on.withdraw)):
            on.systemd.hanging.add(act)
            order()
            await on.until(partial(on.log.__contains__, act))
            assert is_passing(NAME)
            on.systemd.hanging.discard(act)
            on.systemd.finish(act)
            await on.rest()
            assert not is_passing(NAME)
        on.want(OTHER)
        await on.launched(OTHER)
        on.systemd.hanging.add(f"stop {OTHER}")
        on.want(OTHER, target=Target.LOADED)
        await on.until(partial(on.log.__contains__, f"stop {OTHER}"))
        assert not is_passing(OTHER)  # it goes down, and belongs here


async def test_invariant_5_a_claim_is_given_up_after_the_unit_is_down_and_its_file_gone(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        on.systemd.hanging.add(f"stop {NAME}")
        on.withdraw()
        await on.until(lambda: f"stop {NAME}" in on.log)
        for _ in range(50):
            await asyncio.sleep(0.001)
        assert acts(on.log) == ["claim", "start", "stop"]
        assert on.entry().phase is Phase.STOPPING
        assert on.reconciler.table.state(NAME)  # the registry still shows it here
        on.systemd.finish(f"stop {NAME}")
        await on.gone()
        assert acts(on.log) == ["claim", "start", "stop", "forget"]
        assert not on.systemd.runs(NAME)
        assert not on.needs.directory.holds(NAME)
        assert not (on.needs.links / NAME).is_symlink()
        assert NAME not in on.needs.ledger.entries


async def test_the_news_that_a_stop_is_done_does_not_count_while_systemd_says_that_the_unit_runs(
    tmp_path: Path,
) -> None:
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        on.systemd.undying.add(NAME)
        on.withdraw()
        await on.until(lambda: "something starts it again" in on.entry().error)
        assert acts(on.log).count("stop") >= stopper.STOPS
        assert f"forget {NAME}" not in on.log
        assert ("fail", NAME, on.entry().error) in on.publisher.events
        on.systemd.undying.clear()  # it is tried again, without anybody's word
        await on.gone()


async def test_processes_that_outlive_their_unit_keep_the_claim(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        on.systemd.leaving[NAME] = (70, 71)
        on.withdraw()
        await on.until(lambda: "2 of its processes live on (pid 70, 71)" in on.entry().error)
        assert f"forget {NAME}" not in on.log
        on.systemd.leaving[NAME] = ()
        await on.gone()


async def test_a_start_that_hangs_is_given_up_for_a_stop_at_once(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.systemd.hanging.add(f"start {NAME}")
        on.want()
        await on.until(lambda: on.entry().phase is Phase.STARTING)
        on.withdraw()
        await on.gone()
        assert acts(on.log) == ["claim", "start", "stop", "forget"]


async def test_a_stop_that_comes_while_a_start_is_asked_for_does_not_wait_for_its_end(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.systemd.hanging.add(f"start {NAME}")
        ask = on.systemd.start

        async def start(unit: str) -> asyncio.Future[str]:
            job = await ask(unit)
            await asyncio.sleep(0.01)  # until all that systemd has to say of it is said
            on.withdraw()
            return job

        on.systemd.start = start  # type: ignore[method-assign]
        on.want()
        await on.gone()
        assert acts(on.log) == ["claim", "start", "stop", "forget"]


async def test_a_failed_task_does_not_rest_when_something_else_was_desired_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unit_worker, "RETRY_S", (1000.0, 1000.0))
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        ask = on.systemd.stop

        async def stop(unit: str) -> asyncio.Future[str] | None:
            on.systemd.stop = ask  # type: ignore[method-assign]
            on.want(generation=2)
            raise SystemdError(unit, "stop", "no")

        on.systemd.stop = stop  # type: ignore[method-assign]
        on.withdraw()
        await on.until(lambda: on.entry().generation == 2 and on.entry().phase is Phase.STARTED)


async def test_a_start_during_which_the_file_changes_is_noted_as_of_the_file_that_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = TEXT + "Restart=no\n"
    async with machine(tmp_path) as on:
        on.want(target=Target.LOADED)
        await on.until(lambda: on.entry().phase is Phase.LOADED)
        read, start, started = FileReader.read, on.systemd.start, list[tuple[str, str]]()

        async def read_meanwhile(self: FileReader, name: str, text: str) -> FileFacts:
            found = await read(self, name, text)
            if text == TEXT and on.unit().doing is TaskKind.START and on.unit().wanted().generation == 1:
                on.want(text=other, generation=2)
            return found

        async def noted(unit: str) -> asyncio.Future[str]:
            started.append((on.entry().hash, file_hash(on.needs.directory.text(unit))))
            return await start(unit)

        on.needs.directory.write(NAME, "# by somebody else\n")  # so it is written once more before the start
        monkeypatch.setattr(FileReader, "read", read_meanwhile)
        monkeypatch.setattr(on.systemd, "start", noted)
        on.want()
        await on.until(lambda: on.entry().hash == file_hash(other) and on.entry().phase is Phase.STARTED)
        assert started == [(file_hash(other), file_hash(other))]


async def test_a_start_that_failed_is_told_and_not_repeated_before_an_operator_says_so(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.systemd.errors[f"start {NAME}"] = SystemdError(NAME, "start", "it cannot be")
        on.want()
        await on.until(lambda: on.entry().phase is Phase.STARTED)
        await on.rest()
        assert on.entry().error == "start failed: it cannot be"
        assert acts(on.log) == ["claim", "start"]
        on.systemd.errors.clear()
        on.want(attempt=1)
        await on.launched()
        await on.rest()
        assert on.entry().error == ""


async def test_a_stop_that_failed_is_tried_again_and_its_error_stays_until_it_succeeds(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        on.systemd.errors[f"stop {NAME}"] = SystemdError(NAME, "stop", "no")
        on.withdraw()
        await on.until(lambda: acts(on.log).count("stop") > 2)
        assert on.entry().error == "stop failed: no"
        on.systemd.errors.clear()
        await on.gone()


async def test_a_lost_bus_is_waited_for_and_no_failure_of_the_unit(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.systemd.errors[f"start {NAME}"] = BusLost(NAME, "start", "gone")
        on.want()
        await on.until(lambda: f"start {NAME}" in on.log)
        on.systemd.errors.clear()
        await on.launched()
        assert on.entry().error == ""
        assert not on.publisher.events


@pytest.mark.parametrize("error", [None, BusLost(NAME, "release", "gone"), SystemdError(NAME, "release", "no")])
async def test_an_agent_ends_whatever_letting_go_of_a_unit_under_way_comes_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: SystemdError | None
) -> None:
    release = FakeSystemd.release

    async def fail(systemd: FakeSystemd, unit: str) -> None:
        if error is None:
            raise OSError("not foreseen")
        systemd.errors[f"release {unit}"] = error
        await release(systemd, unit)

    monkeypatch.setattr(FakeSystemd, "release", fail)
    async with asyncio.timeout(5):
        async with machine(tmp_path) as on:
            on.systemd.hanging.add(f"start {NAME}")
            on.want(text="[Unit]\nConditionPathExists=/\n[Service]\nExecStart=/bin/true\n")
            await on.until(lambda: on.entry().phase is Phase.STARTING)
            on.systemd.ready.clear()


async def test_invariant_8_an_error_that_nobody_foresaw_harms_no_other_unit(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.want(text="[Service]\n")
        on.files.texts.clear()  # a KeyError, where a kind of FleetError is promised
        on.want(OTHER)
        await on.launched(OTHER)
        await on.until(lambda: "internal error: KeyError" in on.entry().error)


async def test_invariant_10_stop_what_runs_is_parked_and_started_again_and_what_had_ended_is_not(
    tmp_path: Path,
) -> None:
    async with machine(tmp_path) as on:
        for name in (NAME, OTHER):
            on.want(name)
            await on.launched(name)
        on.systemd.become(OTHER, active="inactive", sub="dead", pids=())  # by itself
        await on.rest()
        on.reconciler.park(parked=True)
        await on.until(lambda: not on.systemd.runs(NAME))
        await on.rest()
        assert (acts(on.log)[-1], acts(on.log, OTHER)[-1]) == ("stop", "start")
        on.want("late.service")  # nothing new is begun
        await on.rest()
        assert not acts(on.log, "late.service")
        on.reconciler.park(parked=False)
        await on.launched()
        await on.launched("late.service")
        assert not on.systemd.runs(OTHER)


async def test_invariant_12_what_had_ended_stays_so_though_the_registry_is_back_before_systemd_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers, recall = asyncio.Event(), FakeSystemd.recall

    async def slow(systemd: FakeSystemd, unit: str) -> ListedUnit:
        await answers.wait()
        return await recall(systemd, unit)

    async with machine(tmp_path) as on:
        on.systemd.hanging.add(f"start {NAME}")
        on.want()
        await on.until(lambda: on.entry().phase is Phase.STARTING)
        unit = on.systemd.units[NAME]
        unit.active, unit.sub, unit.pids, unit.job = "failed", "failed", (), 0  # and nobody has heard of that yet
        monkeypatch.setattr(FakeSystemd, "recall", slow)
        on.reconciler.park(parked=True)
        for _ in range(20):
            await asyncio.sleep(0)
        on.reconciler.park(parked=False)
        answers.set()
        await on.until(lambda: on.entry().phase is Phase.STARTED)
        await on.rest()
        assert acts(on.log) == ["claim", "start"]


async def test_invariant_10_stop_what_is_killed_before_it_could_be_stopped_is_started_again(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        on.reconciler.note_stopping(NAME)
        await on.systemd.kill(NAME)
        on.reconciler.park(parked=True)
        await on.rest()
        assert not on.systemd.runs(NAME)
        on.reconciler.park(parked=False)
        await on.until(lambda: on.systemd.runs(NAME))


async def test_invariant_10_stop_a_lost_signal_leaves_no_unit_running_when_all_are_parked(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        on.systemd.become(NAME, active="inactive", sub="dead", pids=())
        await on.rest()
        unit = on.systemd.units[NAME]
        unit.active, unit.sub = "active", "running"  # and the signal is lost
        on.reconciler.park(parked=True)
        await on.until(lambda: not on.systemd.runs(NAME))


async def test_invariant_4_a_restarted_agent_touches_nothing_that_runs(tmp_path: Path) -> None:
    async with machine(tmp_path) as first:
        first.want()
        await first.launched()
        await first.rest()
    before = list(first.log)
    async with machine(tmp_path, first) as on:
        await on.rest()
        assert on.unit().status.running
        assert on.log == before  # and nothing while nobody has said what is desired
        on.reconciler.lease_held(3, [NAME])
        on.want()
        await on.rest()
        assert on.log == before


@pytest.mark.parametrize("began", [True, False])
async def test_invariant_12_a_start_that_was_interrupted_is_looked_up_and_repeated_only_if_it_never_began(
    tmp_path: Path, began: bool
) -> None:
    async with machine(tmp_path) as first:
        first.want(target=Target.LOADED)
        await first.until(lambda: first.entry().phase is Phase.LOADED)
        await first.rest()
        asking = LedgerEntry(NAME, file_hash(TEXT), 1, 7, Phase.ASKING, at_us=monotonic_us(), lease=3)
    first.needs.ledger.put(asking)
    if began:
        first.systemd.run(NAME)
    async with machine(tmp_path, first) as on:
        on.reconciler.lease_held(3, [NAME])
        on.want()
        await on.launched()
        assert acts(on.log).count("start") == (not began)


async def test_a_start_under_way_is_awaited_by_the_agent_that_finds_it(tmp_path: Path) -> None:
    async with machine(tmp_path) as first:
        first.systemd.hanging.add(f"start {NAME}")
        first.want()
        await first.until(lambda: first.entry().phase is Phase.STARTING)
    async with machine(tmp_path, first) as on:
        on.reconciler.lease_held(3, [NAME])
        on.want()
        await on.until(lambda: on.unit().worker)
        on.systemd.finish(f"start {NAME}")
        await on.launched()
        assert acts(on.log).count("start") == 1


async def test_invariant_12_what_has_ended_while_no_agent_looked_stays_ended_when_the_registry_is_back(
    tmp_path: Path,
) -> None:
    async with machine(tmp_path) as first:
        first.systemd.hanging.add(f"start {NAME}")
        first.want()
        await first.until(lambda: first.entry().phase is Phase.STARTING)
    del first.systemd.units[NAME]  # it has ended, and systemd has forgotten it
    async with machine(tmp_path, first) as on:
        on.want()
        on.reconciler.park(parked=True)
        await on.rest()
        on.reconciler.lease_held(3, [NAME])
        on.reconciler.park(parked=False)
        await on.rest()
        assert on.entry().phase is Phase.STARTED
        assert acts(on.log).count("start") == 1


async def test_an_agent_without_its_ledger_adopts_what_it_finds(tmp_path: Path) -> None:
    async with machine(tmp_path) as first:
        first.want()
        await first.launched()
        await first.rest()
        (tmp_path / "applied" / NAME).unlink()
    async with machine(tmp_path, first) as on:
        assert (on.entry().phase, on.entry().generation) == (Phase.STARTED, 0)
        on.want()
        await on.until(lambda: on.entry().generation == 1)
        await on.rest()
        assert acts(on.log) == ["claim", "start", "claim"]  # claimed again, and not started


async def test_invariant_11_a_name_of_the_host_is_refused_until_the_host_gives_it_up(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        (on.host / NAME).write_text(TEXT)
        on.systemd.run(NAME)
        on.want()
        await on.until(lambda: on.unit().blocked)
        state = on.reconciler.table.state(NAME)
        assert state
        assert "name belongs to this host" in state.error
        assert (state.active, state.main_pid) == ("", 0)  # how the host's own unit is goes nobody anything
        on.reconciler.table.retry_blocked()
        await on.rest()
        assert acts(on.log) == ["claim"]
        assert on.systemd.runs(NAME)
        (on.host / NAME).unlink()
        on.systemd.units.clear()
        on.reconciler.resync()
        await on.launched()


async def test_invariant_11_a_unit_of_the_host_is_neither_stopped_nor_given_up(
    tmp_path: Path,
) -> None:
    async with machine(tmp_path) as on:
        (on.host / NAME).write_text(TEXT)
        on.systemd.run(NAME)
        on.want()
        await on.until(lambda: on.unit().blocked)
        on.reconciler.park(parked=True)
        await on.rest()
        on.reconciler.park(parked=False)
        on.withdraw()
        await on.gone()
        assert "stop" not in acts(on.log)
        assert on.systemd.runs(NAME)
        assert (on.host / NAME).exists()


HOSTS_OWN = "[Service]\nExecStart=/bin/sleep 1000\n"


@pytest.mark.parametrize("restarted", [False, True], ids=["", "agent restarted"])
@pytest.mark.parametrize("text", [TEXT, HOSTS_OWN], ids=["a copy", "another command"])
@pytest.mark.parametrize("how", ["destroyed", "parked", "handed over"])
async def test_1_what_we_started_is_stopped_though_the_host_has_put_a_file_of_its_own_over_it(
    tmp_path: Path, how: str, text: str, *, restarted: bool
) -> None:
    async with machine(tmp_path) as first:
        first.want()
        await first.launched()
        await first.rest()
        (first.host / NAME).write_text(text)
        first.systemd.daemon_reload()
        if not restarted:
            await give_up(first, how)
    if restarted:
        async with machine(tmp_path, first) as on:
            on.reconciler.lease_held(3, [NAME])
            on.want()
            await give_up(on, how)


async def give_up(on: FakeMachine, how: str) -> None:
    on.reconciler.resync()
    await on.rest()
    assert on.systemd.runs(NAME), "nobody has asked for a stop"
    if how == "parked":
        on.reconciler.park(parked=True)
        await on.until(lambda: not on.systemd.runs(NAME))
        return
    if how == "destroyed":
        on.withdraw()
    else:
        on.reconciler.leave()
    await on.gone()
    assert acts(on.log) == ["claim", "start", "stop", "forget"] or acts(on.log)[-1] == "forget"
    assert not on.systemd.runs(NAME)
    assert (on.host / NAME).exists()


async def test_an_order_that_needs_a_name_the_host_has_taken_since_is_refused_and_what_runs_goes_on(
    tmp_path: Path,
) -> None:
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        (on.host / NAME).write_text(HOSTS_OWN)
        on.systemd.daemon_reload()
        on.want(generation=2)
        await on.until(lambda: on.unit().blocked)
        state = on.reconciler.table.state(NAME)
        assert state
        assert f"name belongs to this host ({on.host / NAME})" in state.error
        assert state.active == "active", "it is ours that runs, and shown"
        await on.rest()
        assert acts(on.log) == ["claim", "start"]
        (on.host / NAME).unlink()
        on.systemd.daemon_reload()
        on.reconciler.resync()
        await on.until(lambda: on.entry().generation == 2 and on.entry().phase is Phase.STARTED)


@pytest.mark.parametrize("how", ["destroyed", "parked", "restarted agent"])
async def test_invariant_11_what_the_host_has_started_from_its_own_file_since_is_left_alone(
    tmp_path: Path, how: str
) -> None:
    async with machine(tmp_path) as first:
        first.want()
        await first.launched()
        await first.rest()
        (first.host / NAME).write_text(HOSTS_OWN)
        first.systemd.daemon_reload()
        first.systemd.become(NAME, active="inactive", sub="dead", pids=())
        first.systemd.run(NAME)
        before = first.systemd.units[NAME].left_inactive_us
        await first.rest()
        await first.until(lambda: first.unit().foreign)
        if how == "parked":
            first.reconciler.park(parked=True)
            await first.rest()
        elif how == "destroyed":
            first.withdraw()
            await first.gone()
    if how == "restarted agent":
        async with machine(tmp_path, first) as on:
            on.withdraw()
            await on.gone()
    assert first.systemd.runs(NAME)
    assert first.systemd.units[NAME].left_inactive_us == before
    assert "stop" not in acts(first.log)


async def test_invariant_15_while_the_history_is_held_nothing_is_begun(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        on.reconciler.freeze()
        on.want(OTHER)
        on.want(generation=2)
        on.withdraw()
        await on.rest()
        assert acts(on.log) + acts(on.log, OTHER) == ["claim", "start"]
        on.reconciler.thaw()
        await on.rest()
        assert on.systemd.runs(NAME)  # what the accepted history says has not been read yet
        on.want(placement=3, epoch=1)
        await on.rest()
        assert acts(on.log) == ["claim", "start"]


async def test_all_units_are_handed_over_a_few_at_a_time(tmp_path: Path) -> None:
    names = [f"u{number}.service" for number in range(10)]
    async with machine(tmp_path) as on:
        for name in names:
            on.want(name)
        for name in names:
            await on.launched(name)
        on.systemd.hanging.update(f"stop {name}" for name in names)
        on.reconciler.leave()
        for done in range(len(names)):
            most = min(done + 4, 10)
            await on.until(lambda most=most: len(stopped(on)) == most)  # type: ignore[misc]
            on.systemd.finish(f"stop {stopped(on)[done]}")
            on.withdraw(stopped(on)[done])
        async with asyncio.timeout(10):
            await on.reconciler.table.emptied()
            await on.reconciler.table.forgotten()
        assert not any(on.systemd.runs(name) for name in names)


def stopped(on: FakeMachine) -> list[str]:
    return list(dict.fromkeys(each.removeprefix("stop ") for each in on.log if each.startswith("stop ")))


async def test_a_claim_whose_schedule_line_has_changed_touches_nothing(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.publisher.grants = False
        on.want()
        await on.until(lambda: f"claim {NAME}" in on.log)
        on.withdraw()
        await on.gone()
        assert set(acts(on.log)) == {"claim"}
        assert not on.needs.directory.holds(NAME)


async def test_a_claim_refused_for_a_line_that_has_changed_waits_for_no_news_that_has_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(task_runner, "STALE_S", 1000.0)
    async with machine(tmp_path) as on:
        claim = on.publisher.claim

        async def refused(desired: DesiredState, state: UnitState, on_granted: Callable[[int], None]) -> bool:  # noqa: ARG001
            on.publisher.claim = claim  # type: ignore[method-assign]
            on.want(placement=8)
            return False

        on.publisher.claim = refused  # type: ignore[method-assign]
        on.want()
        await on.launched()
        assert on.entry().placement == 8


@pytest.mark.parametrize("then", ["scheduled again", "handed over"])
async def test_a_claim_that_is_granted_after_its_line_has_gone_is_given_up(tmp_path: Path, then: str) -> None:
    async with machine(tmp_path) as on:
        claim, answers = on.publisher.claim, list[Callable[[int], None]]()

        async def delayed(desired: DesiredState, state: UnitState, on_granted: Callable[[int], None]) -> bool:  # noqa: ARG001
            on.publisher.claim = claim  # type: ignore[method-assign]
            on.log.append(f"claim {desired.unit}")
            answers.append(on_granted)
            return await asyncio.Event().wait()

        on.publisher.claim = delayed  # type: ignore[method-assign]
        on.want()
        await on.until(lambda: answers)
        on.withdraw()
        await on.gone()
        if then == "scheduled again":
            on.want(placement=8)
            await on.launched()
            answers[0](on.publisher.lease)
            assert on.entry().placement == 8
            on.withdraw()
        else:
            on.reconciler.leave()
            await asyncio.sleep(0.02)
            answers[0](on.publisher.lease)
        await on.gone()
        assert not on.systemd.runs(NAME)
        async with asyncio.timeout(10):
            await on.reconciler.table.emptied()
            await on.reconciler.table.forgotten()


async def test_a_file_is_replaced_after_the_old_copy_has_stopped(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        new = TEXT + "# new\n"
        on.want(text=new, generation=2)
        await on.until(lambda: on.entry().hash == file_hash(new) and on.entry().phase is Phase.STARTED)
        assert acts(on.log) == ["claim", "start", "stop", "start"]
        assert on.systemd.units[NAME].ran == new


async def test_a_unit_that_fails_later_is_told_with_its_cause_and_left(tmp_path: Path) -> None:
    async with machine(tmp_path) as on:
        on.want()
        await on.launched()
        await on.rest()
        early = on.entry()
        on.needs.ledger.put(early)
        on.systemd.become(NAME, active="failed", sub="failed", pids=())
        await on.until(lambda: on.publisher.events)
        await on.rest()
        assert on.publisher.events[0][:2] == ("fail", NAME)
        assert acts(on.log) == ["claim", "start"]


@pytest.mark.parametrize("restarted", [False, True])
async def test_a_start_that_failed_and_is_not_wanted_any_more_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, restarted: bool
) -> None:
    async def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Starter, "start", full)
    async with machine(tmp_path) as on:
        on.want()
        await on.until(lambda: "No space left" in _told(on))
        if not restarted:
            on.want(target=Target.LOADED)
            await on.until(lambda: not _told(on))
            await on.until(lambda: not on.entry().error)
    if restarted:  # the agent that saw it fail is no more
        async with machine(tmp_path) as on:
            on.want(target=Target.LOADED)
            await on.until(lambda: on.reconciler.table.units[NAME].claimed and not _told(on))


def _told(on: FakeMachine) -> str:
    state = on.reconciler.table.state(NAME)
    return state.error if state else "not told of"
